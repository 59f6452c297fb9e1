"""The advection baseline: rain that moves with the wind is put back into its hours."""

import numpy as np
import pytest
from msm_store import make_fields, make_rain

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.advection import advection_hours, has_winds, row_and_column_km
from tenkizu.rain.baselines import equal_split
from tenkizu.rain.fields import MSM24, field_pairs
from tenkizu.rain.motion import motion_from_winds, motion_split

GRID = Grid("latlon", 36.0 - 0.05 * np.arange(40), 130.0 + 0.0625 * np.arange(60))


def steady(u: float, v: float, level: int = 850, shape: tuple[int, int] = GRID.shape) -> dict:
    """Winds that are the same everywhere and at both lead times."""
    return {
        f"{part}{level}_{lead}": np.full(shape, value, np.float32)
        for part, value in (("U", u), ("V", v))
        for lead in ("ft3", "ft6")
    }


def test_a_degree_of_longitude_is_shorter_in_the_north():
    rows, columns = row_and_column_km(GRID)
    assert rows == pytest.approx(0.05 * 111.195, rel=1e-4)
    by_hand = 0.0625 * 111.195 * np.cos(np.deg2rad(GRID.y))
    np.testing.assert_allclose(columns[:, 0], by_hand, rtol=1e-4)


def test_a_shower_in_the_wind_is_found_in_its_hours():
    """A band 20 cells wide that moves 2 cells east in an hour, at the speed of the wind."""
    columns = np.arange(60)

    def hour(k: float) -> np.ndarray:
        band = np.exp(-(((columns - 30 - 2 * (k - 5)) / 6) ** 2))
        return np.tile(10 * band, (40, 1)).astype(np.float32)

    hours = np.stack([hour(k) for k in range(1, 10)])
    previous, total, following = (hours[i : i + 3].sum(0) for i in (0, 3, 6))
    # At the middle latitude two columns an hour are this many m/s.
    speed = 2 * row_and_column_km(GRID)[1].mean() / 3.6
    found = advection_hours(previous, total, following, steady(speed, 0), GRID)
    np.testing.assert_allclose(found.sum(0), total, rtol=1e-5)
    wet = total >= 0.1

    def error(split: np.ndarray) -> float:
        return float(((split - hours[3:6])[:, wet] ** 2).sum())

    assert error(found) < 0.1 * error(equal_split(total))
    backwards = advection_hours(previous, total, following, steady(-speed, 0), GRID)
    assert error(backwards) > error(equal_split(total))


def test_northward_wind_moves_rain_to_smaller_rows():
    motion = motion_from_winds(np.zeros(GRID.shape), np.full(GRID.shape, 10.0), (5.0, 6.0))
    assert (motion[0] == -7.2).all()
    assert not motion[1].any()


def test_the_wind_turns_between_the_lead_times():
    """S goes to hour 4 by the motion at 4 h, two thirds of ft3 and one third of ft6."""
    rng = np.random.default_rng(3)
    total = rng.uniform(0.5, 9, (12, 12)).astype(np.float32)
    unknown = np.full_like(total, np.nan)
    first, last = np.zeros((2, 12, 12)), np.zeros((2, 12, 12))
    last[1] = 3.0
    turning = motion_split(unknown, total, unknown, first, last)
    fourth = motion_split(unknown, total, unknown, last / 3)
    sixth = motion_split(unknown, total, unknown, last * 2 / 3)
    # Shares have a common divisor; the ratio to hour 5, which does not move, has not.
    np.testing.assert_allclose(turning[0] / turning[1], fourth[0] / fourth[1], rtol=1e-4)
    np.testing.assert_allclose(turning[2] / turning[1], sixth[2] / sixth[1], rtol=1e-4)


def test_the_mean_of_levels_carries():
    rain = make_rain(np.random.default_rng(1), GRID.shape)
    args = rain[0], rain[4], rain[5]
    both = steady(4, 2, 850) | steady(8, -4, 300)
    np.testing.assert_allclose(
        advection_hours(*args, both, GRID, (850, 300)),
        advection_hours(*args, steady(6, -1), GRID),
        rtol=1e-5,
    )


def test_missing_winds_and_distances_are_said():
    rain = make_rain(np.random.default_rng(1), GRID.shape)
    args = rain[0], rain[4], rain[5]
    with pytest.raises(DataError, match="U300_ft3"):
        advection_hours(*args, steady(6, 1), GRID, (850, 300))
    index = Grid("index", np.arange(40.0), np.arange(60.0))
    with pytest.raises(DataError, match="distances"):
        advection_hours(*args, steady(6, 1), index)
    fields = dict(
        zip(field_pairs(MSM24), make_fields(np.random.default_rng(2), (8, 8)), strict=True)
    )
    assert has_winds(fields)
    assert has_winds(fields, (925, 850, 300))
    assert not has_winds({})
    assert not has_winds(fields, (500,))

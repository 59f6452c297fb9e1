"""Fractions skill score against the scores library, loops and hand-worked fields."""

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError
from scores.spatial import fss_2d

from tenkizu.core.verification import Tally
from tenkizu.rain.config import ScoresConfig
from tenkizu.rain.fss import fss_scores, fss_tally

THRESHOLDS = ScoresConfig().fss_thresholds
WINDOWS = [1, 3, 5, 9, 17]
FIELDS = 4


class Rain:
    """Windows of random showers, smooth enough that neighbours are alike."""

    def __init__(self, missing=0.0, shape=(24, 31)):
        rng = np.random.default_rng(8)
        noise = rng.lognormal(0.5, 1.6, (FIELDS, 3, shape[0] + 4, shape[1] + 4))
        box = np.lib.stride_tricks.sliding_window_view(noise, (5, 5), axis=(2, 3))
        self.truth = box.mean(axis=(-1, -2)).astype(np.float32).round(1)
        self.truth[self.truth < 2] = 0
        self.model = np.roll(self.truth, (1, 2), axis=(-2, -1)) * np.float32(0.9)
        self.total = self.truth.sum(axis=1)
        hidden = rng.random(self.total.shape) < missing
        self.total[hidden] = np.nan

    def tally(self, i, thresholds=THRESHOLDS, windows=WINDOWS):
        methods = {"model": self.model[i], "same": self.truth[i]}
        return fss_tally(methods, self.truth[i], self.total[i], thresholds, windows)

    def scores(self, thresholds=THRESHOLDS, windows=WINDOWS):
        total = sum((self.tally(i, thresholds, windows) for i in range(FIELDS)), Tally())
        return fss_scores(total, ["model", "same"], thresholds, windows)


def one_hour(truth, model, thresholds=(1,), windows=(1, 3), spacing=None):
    """Scores of one rainy hour between two dry ones."""
    truth, model = (
        np.stack([np.zeros_like(v), v, np.zeros_like(v)])
        for v in (np.array(truth, np.float32), np.array(model, np.float32))
    )
    tally = fss_tally({"model": model}, truth, truth.sum(axis=0), thresholds, windows)
    return fss_scores(tally, ["model"], thresholds, windows, spacing)


def test_it_agrees_with_the_scores_library_over_several_fields():
    rain = Rain()
    found = rain.scores()
    observed, forecast = (
        xr.DataArray(f, dims=("window", "hour", "y", "x")) for f in (rain.truth, rain.model)
    )
    compared = 0
    for i, threshold in enumerate(THRESHOLDS):
        if not ((rain.truth >= threshold).any() or (rain.model >= threshold).any()):
            assert np.isnan(found["model"][i]).all()
            continue
        for j, k in enumerate(WINDOWS):
            expected = fss_2d(
                forecast,
                observed,
                event_threshold=np.float32(threshold),
                window_size=(k, k),
                spatial_dims=("y", "x"),
                zero_padding=False,
                reduce_dims=["window", "hour", "y", "x"],
                threshold_operator=np.greater_equal,
            )
            assert found["model"][i][j] == pytest.approx(float(expected), abs=1e-12), (threshold, k)
            compared += 1
    assert compared >= 4 * len(WINDOWS)


@pytest.mark.parametrize("missing", [0.0, 0.01])
def test_it_agrees_with_loops_over_every_neighbourhood(missing):
    rain = Rain(missing, shape=(14, 12))
    windows = [1, 3, 7, 13]
    found = rain.scores([2, 5], windows)
    known = ~np.isnan(rain.total)
    for i, threshold in enumerate([2, 5]):
        for j, k in enumerate(windows):
            above = below = used = 0
            for field, hour, y, x in np.ndindex(FIELDS, 3, 14 - k + 1, max(12 - k + 1, 0)):
                place = np.s_[y : y + k, x : x + k]
                if not known[field][place].all():
                    continue
                used += 1
                forecast = (rain.model[field, hour][place] >= threshold).mean()
                truth = (rain.truth[field, hour][place] >= threshold).mean()
                above += (forecast - truth) ** 2
                below += forecast**2 + truth**2
            expected = 1 - above / below if below else np.nan
            assert found["model"][i][j] == pytest.approx(expected, nan_ok=True, abs=1e-12)
            assert used > 0 or found["fields"][j] == 0
        truth = np.moveaxis(rain.truth, 1, -1)[known]
        assert found["base_rate"][i] == pytest.approx((truth >= threshold).mean())


def test_one_cell_displaced_by_one_by_hand():
    # Side 1: no overlap, 0. Side 3 on 3 x 4: two neighbourhoods, of which the event at column 1 is
    # in both (1/9, 1/9) and that at column 0 in one (1/9, 0): 2 * 1 / (1 + 2).
    truth = [[0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]]
    model = [[0, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]
    scores = one_hour(truth, model)
    assert scores["model"] == [[0.0, pytest.approx(2 / 3)]]
    assert scores["base_rate"] == [pytest.approx(1 / 36)]
    assert scores["useful"] == [pytest.approx(0.5 + 1 / 72)]
    assert scores["fields"] == [3, 3]


def test_a_perfect_forecast_scores_one_wherever_there_is_an_event():
    same = np.array(Rain().scores()["same"])
    np.testing.assert_allclose(same[~np.isnan(same)], 1.0)
    assert not np.isnan(same[0]).any()


def test_no_event_on_either_side_is_undefined_and_on_one_side_zero():
    dry = np.zeros((5, 5))
    wet = np.where(np.arange(25).reshape(5, 5) == 12, 7.0, 0.0)
    assert np.isnan(one_hour(dry, dry)["model"]).all()
    assert one_hour(dry, wet)["model"] == [[0.0, 0.0]]
    assert one_hour(wet, dry)["model"] == [[0.0, 0.0]]
    scores = one_hour(dry, wet)
    assert (scores["base_rate"], scores["useful"]) == ([0.0], [0.5])


def test_windows_wider_than_the_grid_are_undefined_with_a_count_of_zero():
    truth = np.ones((4, 9))
    scores = one_hour(truth, truth, windows=(1, 3, 5, 9, 65))
    assert scores["fields"] == [3, 3, 0, 0, 0]
    np.testing.assert_array_equal(scores["model"], [[1, 1, np.nan, np.nan, np.nan]])


def test_a_value_equal_to_the_threshold_in_float32_is_an_event():
    truth = np.full((3, 3), np.float32(0.7))
    below = np.full((3, 3), np.nextafter(np.float32(0.7), np.float32(0)))
    assert one_hour(truth, truth, thresholds=(0.7,))["base_rate"] == [pytest.approx(1 / 3)]
    assert one_hour(truth, below, thresholds=(0.7,))["model"] == [[0.0, 0.0]]


def test_missing_cells_and_whatever_is_forecast_there_do_not_count():
    rain = Rain(missing=0.03)
    before = rain.scores()
    hidden = np.broadcast_to(np.isnan(rain.total)[:, None], rain.truth.shape)
    rain.truth[hidden] = np.nan
    rain.model[hidden] = 1e5
    after = rain.scores()
    for key in ("model", "fields", "base_rate"):
        np.testing.assert_array_equal(after[key], before[key])
    nothing = np.full((3, 6, 6), np.nan, np.float32)
    tally = fss_tally({"model": nothing}, nothing, nothing[0], [1], [1, 3])
    scores = fss_scores(tally, ["model"], [1], [1, 3])
    assert scores["fields"] == [0, 0]
    assert np.isnan([scores["model"][0], [scores["base_rate"][0], scores["useful"][0]]]).all()


def test_any_grouping_of_windows_gives_the_same_scores():
    rain = Rain(missing=0.002)
    parts = [rain.tally(i) for i in range(FIELDS)]
    grouped = (parts[3] + parts[1]) + (parts[2] + parts[0])
    again = fss_scores(grouped, ["model", "same"], THRESHOLDS, WINDOWS)
    scores = rain.scores()
    assert again["base_rate"] == scores["base_rate"]
    np.testing.assert_allclose(again["model"], scores["model"], rtol=1e-13)


def test_sides_are_given_in_km_where_the_grid_has_a_spacing():
    field = np.ones((5, 5))
    # Cells of 4 x 9 km have the area of squares of 6 km.
    assert one_hour(field, field, spacing=(4.0, 9.0))["windows_km"] == pytest.approx([6.0, 18.0])
    assert one_hour(field, field)["windows_km"] is None


def test_without_windows_or_thresholds_there_is_nothing_but_counts():
    scores = one_hour(np.ones((4, 4)), np.ones((4, 4)), thresholds=(), windows=())
    assert scores["model"] == []
    assert scores["fields"] == []


@pytest.mark.parametrize("windows", [[1, 2], [5, 3], [3, 3], [0, 1], [-1]])
def test_windows_are_odd_and_increasing_in_a_configuration(windows):
    assert ScoresConfig(fss_windows=[1, 3, 129]).fss_windows == [1, 3, 129]
    with pytest.raises(ValidationError):
        ScoresConfig(fss_windows=windows)

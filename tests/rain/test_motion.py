"""Splits along the motion of rain, on blobs whose motion and hours are known by construction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from tenkizu.rain.baselines import equal_split, linear_split
from tenkizu.rain.motion import (
    advect,
    estimate_motion,
    motion_from_winds,
    motion_split,
    trajectory_split,
)

SPLITS = [motion_split, trajectory_split]
SHAPE = (60, 80)


def uniform(down, right, shape=SHAPE):
    return np.stack([np.full(shape, float(down)), np.full(shape, float(right))])


def texture(shape=SHAPE, seed=3):
    return np.random.default_rng(seed).gamma(0.5, 4.0, shape).astype(np.float32)


def drifting_hours(velocity, shape=SHAPE, seed=5, blobs=40, hours=9, per_hour=12):
    """Hourly sums (hours, H, W) of round blobs; each moves by dx/dt = velocity(row, column)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    result = np.zeros((hours, *shape))
    for _ in range(blobs):
        # Centres at the middle of the nine hours; some lie outside and some leave.
        y, x = rng.uniform(-10, shape[0] + 10), rng.uniform(-10, shape[1] + 10)
        size, peak = rng.uniform(2, 4), rng.lognormal(0.5, 0.7)
        step = 1 / per_hour
        for direction in (-1, 1):
            place = np.array([y, x])
            for count in range(hours * per_hour // 2):
                rate = np.asarray(velocity(*place))
                place = place + direction * step * (0.5 if count == 0 else 1.0) * rate
                time = hours / 2 + direction * step * (count + 0.5)
                distance = (rows - place[0]) ** 2 + (columns - place[1]) ** 2
                result[int(time)] += step * peak * np.exp(-distance / (2 * size**2))
    return np.where(result < 0.01, 0, result).astype(np.float32)


def totals_of(hours):
    return [hours[i : i + 3].sum(axis=0) for i in (0, 3, 6)]


def skill(split, hours, total):
    wet = total >= 0.1
    truth = hours[3:6][:, wet]
    return 1 - ((split[:, wet] - truth) ** 2).sum() / ((total[wet] / 3 - truth) ** 2).sum()


EASTWARD = drifting_hours(lambda _y, _x: (-0.6, 2.2))


# ---------------------------------------------------------------------------- winds


def test_wind_becomes_cells_per_hour():
    # 10 m/s = 36 km/h: 3.6 columns of 10 km eastward; 5 m/s northward = 0.9 rows of 20 km up.
    motion = motion_from_winds(np.full((2, 3), 10.0), np.full((2, 3), 5.0), (20.0, 10.0))
    np.testing.assert_allclose(motion[0], -0.9)
    np.testing.assert_allclose(motion[1], 3.6)


# ---------------------------------------------------------------------------- advection


@pytest.mark.parametrize("hours", [-2.0, -1.0, 1.0, 3.0])
def test_whole_cells_move_like_a_roll(hours):
    field = texture()
    carried = advect(field, uniform(2, -3), hours)
    down, right = int(2 * hours), int(-3 * hours)
    rolled = np.roll(field, (down, right), axis=(0, 1))
    inner = np.s_[10:-10, 10:-10]
    np.testing.assert_allclose(carried[inner], rolled[inner], rtol=1e-5, atol=1e-5)
    assert carried.dtype == np.float32


def test_parts_of_cells_move_like_scipys_shift():
    field = texture().astype(np.float64)
    carried = advect(field, uniform(0.7, -1.2), 2.5)
    shifted = ndimage.shift(field, (1.75, -3.0), order=1, mode="nearest")
    np.testing.assert_allclose(carried, shifted, atol=1e-9)


def test_edges_are_replicated():
    field = np.arange(5.0)[None, :].repeat(3, axis=0)
    carried = advect(field, uniform(0, 2, (3, 5)), 1.0)
    np.testing.assert_allclose(carried[1], [0, 0, 0, 1, 2])


def test_a_constant_stays_constant_in_any_motion():
    motion = np.random.default_rng(0).normal(0, 3, (2, *SHAPE))
    np.testing.assert_allclose(advect(np.full(SHAPE, 7.5), motion, 1.7), 7.5)


def test_trajectories_bend_with_the_flow():
    # Solid rotation by 0.1 rad/h for 2 h: the midpoint rule finds departure points whose distance
    # d from here solves d = 2 tan(0.1) r along the chord, so the angle is 2 atan(0.1).
    rows, columns = np.indices((41, 41)) - 20.0
    motion = 0.1 * np.stack([columns, -rows])
    angle = 2 * np.arctan(0.1)
    row = advect(rows, motion, 2.0, iterations=30)
    expected = np.cos(angle) * rows - np.sin(angle) * columns
    inner = rows**2 + columns**2 < 15**2
    np.testing.assert_allclose(row[inner], expected[inner], atol=1e-6)
    thrice = advect(rows, motion, 2.0)
    np.testing.assert_allclose(thrice[inner], expected[inner], atol=0.01)


def test_a_missing_corner_leaves_the_average():
    field = np.array([[np.nan, 2.0, 4.0, 8.0]])
    quarter = advect(field, uniform(0, 0.25, (1, 4)), 1.0)
    np.testing.assert_allclose(quarter, [[np.nan, 2.0, 3.5, 7.0]])
    most = advect(field, uniform(0, 0.75, (1, 4)), 1.0)
    np.testing.assert_allclose(most, [[np.nan, np.nan, 2.5, 5.0]])


# ---------------------------------------------------------------------------- both splits


rain_amounts = st.one_of(
    st.just(0.0),
    st.just(float("nan")),
    st.floats(0.0, 600.0, width=32),
    st.sampled_from([1e-45, 1e-30, 1e-6, 0.1, 1e4]),
)


@pytest.mark.parametrize("split", SPLITS)
@settings(max_examples=60, deadline=None)
@given(
    totals=arrays(np.float32, (3, 5, 6), elements=rain_amounts),
    motion=arrays(np.float64, (2, 5, 6), elements=st.floats(-4, 4)),
)
def test_hours_add_up_to_the_total(split, totals, motion):
    previous, total, following = totals
    hours = split(previous, total, following, motion)
    assert hours.shape == (3, 5, 6)
    assert hours.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(hours), np.isnan(total)[None].repeat(3, axis=0))
    known = ~np.isnan(total)
    assert (hours[:, known] >= 0).all()
    assert (hours[:, total == 0] == 0).all()
    departure = np.abs(hours.astype(np.float64).sum(axis=0) - total)[known]
    # Denormal float32 numbers have no relative precision.
    assert (departure <= 1e-5 * total[known] + 1e-44).all()


@pytest.mark.parametrize("split", SPLITS)
def test_time_runs_as_well_backwards(split):
    previous, total, following = totals_of(EASTWARD)
    motion = uniform(-0.6, 2.2)
    forwards = split(previous, total, following, motion)
    backwards = split(following, total, previous, -motion)
    np.testing.assert_allclose(backwards[::-1], forwards, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("split", SPLITS)
def test_the_right_motion_beats_the_straight_line_and_the_opposite_one_loses(split):
    previous, total, following = totals_of(EASTWARD)
    line = skill(linear_split(previous, total, following), EASTWARD, total)
    right = skill(split(previous, total, following, uniform(-0.6, 2.2)), EASTWARD, total)
    wrong = skill(split(previous, total, following, uniform(0.6, -2.2)), EASTWARD, total)
    assert right > line + 0.2
    assert wrong < line


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_but_missing_rain_stays_missing(split):
    missing = np.full(SHAPE, np.nan, np.float32)
    assert np.isnan(split(missing, missing, missing, uniform(1, 1))).all()


# ---------------------------------------------------------------------------- carrying S


def row_of(*values):
    return np.asarray(values, np.float32)[None, :]


def test_motion_split_by_hand():
    # One cell an hour eastward; the third column of a row, S = 6 there.
    previous = row_of(9.0, 0.0, 0.0, 0.0, 0.0)
    total = row_of(0.0, 3.0, 6.0, 12.0, 0.0)
    following = row_of(0.0, 0.0, 0.0, 0.0, 1.5)
    hours = motion_split(previous, total, following, uniform(0, 1, (1, 5)))
    # e4: S one column east, 12, blended 2:1 with P two columns west, 9: 11.
    # e5: 6. e6: S one column west, 3, blended with N two columns east, 1.5: 2.5.
    estimates = np.array([11.01, 6.01, 2.51])
    np.testing.assert_allclose(hours[:, 0, 2], 6 * estimates / estimates.sum(), rtol=1e-5)


def test_without_motion_it_is_the_straight_line_but_for_the_trace():
    previous, total, following = totals_of(EASTWARD)
    wet = total > 5
    hours = motion_split(previous, total, following, uniform(0, 0))
    line = linear_split(previous, total, following)
    np.testing.assert_allclose(hours[:, wet], line[:, wet], rtol=5e-3)


def test_missing_neighbours_are_not_blended():
    total = row_of(0.0, 3.0, 6.0, 12.0, 0.0)
    missing = np.full_like(total, np.nan)
    hours = motion_split(missing, total, missing, uniform(0, 1, (1, 5)))
    estimates = np.array([12.01, 6.01, 3.01])
    np.testing.assert_allclose(hours[:, 0, 2], 6 * estimates / estimates.sum(), rtol=1e-5)


def test_where_carried_rain_is_missing_the_total_stays():
    total = row_of(0.0, 3.0, 6.0, np.nan, 0.0)
    previous = row_of(np.nan, 1.0, 1.0, 1.0, 1.0)
    following = row_of(0.0, 0.0, 0.0, 0.0, 9.0)
    hours = motion_split(previous, total, following, uniform(0, 1, (1, 5)))
    # e4: S to the east is missing, so 6; P is missing too. e6: (2 * 3 + 9) / 3.
    estimates = np.array([6.01, 6.01, 5.01])
    np.testing.assert_allclose(hours[:, 0, 2], 6 * estimates / estimates.sum(), rtol=1e-5)


# ---------------------------------------------------------------------------- along trajectories


def test_trajectories_undo_the_smearing_of_totals():
    previous, total, following = totals_of(EASTWARD)
    motion = uniform(-0.6, 2.2)
    carried = skill(motion_split(previous, total, following, motion), EASTWARD, total)
    along = skill(trajectory_split(previous, total, following, motion), EASTWARD, total)
    assert 1 - along < 0.5 * (1 - carried)


def test_steady_rain_is_split_evenly():
    steady = np.full(SHAPE, 6.0, np.float32)
    hours = trajectory_split(steady, steady, steady, uniform(1.5, -2))
    np.testing.assert_allclose(hours, 2.0, rtol=1e-5)


def test_missing_neighbours_do_not_pull_towards_themselves():
    total = totals_of(EASTWARD)[1]
    missing = np.full_like(total, np.nan)
    # With nothing before or after and no motion, nothing tells the hours apart.
    hours = trajectory_split(missing, total, missing, uniform(0, 0))
    wet = total >= 0.1
    np.testing.assert_allclose(hours[:, wet], equal_split(total)[:, wet], rtol=1e-4)
    # Motion alone tells some order, each neighbour more.
    motion = uniform(-0.6, 2.2)
    previous, _, following = totals_of(EASTWARD)
    alone, one, both = (
        skill(trajectory_split(p, total, n, motion), EASTWARD, total)
        for p, n in ((missing, missing), (previous, missing), (previous, following))
    )
    assert 0.2 < alone < one < both


# ---------------------------------------------------------------------------- estimated motion


@pytest.mark.parametrize(("down", "right"), [(0.0, 0.0), (-0.6, 2.2), (1.5, -1.0), (0.3, 3.4)])
def test_uniform_motion_is_recovered(down, right):
    hours = drifting_hours(lambda _y, _x: (down, right), seed=8)
    motion = estimate_motion(*totals_of(hours))
    assert motion.shape == (2, *SHAPE)
    wet = hours.sum(axis=0) > 0.5
    np.testing.assert_allclose(motion[0][wet], down, atol=0.35)
    np.testing.assert_allclose(motion[1][wet], right, atol=0.35)


def test_shear_is_recovered():
    # A deformation field without rotation: d(rows)/d(column) = d(columns)/d(row) = 0.02 per hour.
    shape = (96, 128)

    def velocity(y, x):
        return 0.02 * (x - 64) + 0.5, 0.02 * (y - 48) + 1.5

    hours = drifting_hours(velocity, shape, blobs=120, per_hour=6)
    motion = estimate_motion(*totals_of(hours))
    rows, columns = np.indices(shape)
    truth = np.stack(velocity(rows, columns))
    inner = np.s_[:, 16:-16, 16:-16]
    for part, true in zip(motion[inner], truth[inner], strict=True):
        assert np.corrcoef(part.ravel(), true.ravel())[0, 1] > 0.9
        assert np.abs(part - true).mean() < 0.35
        assert np.abs(part - true).mean() < 0.7 * np.abs(true.mean() - true).mean()


@pytest.mark.parametrize("lost", [0, 2])
def test_one_neighbour_is_enough(lost):
    totals = totals_of(EASTWARD)
    totals[lost] = np.full(SHAPE, np.nan, np.float32)
    motion = estimate_motion(*totals)
    np.testing.assert_allclose(motion.mean(axis=(1, 2)), [-0.6, 2.2], atol=0.35)


def test_missing_cells_do_not_anchor_the_motion():
    totals = totals_of(EASTWARD)
    rows, columns = np.indices(SHAPE) - np.array([30, 40])[:, None, None]
    for total in totals:
        total[rows**2 + columns**2 > 35**2] = np.nan  # a radar's circle
    motion = estimate_motion(*totals)
    np.testing.assert_allclose(motion[:, 25:35, 30:50].mean(axis=(1, 2)), [-0.6, 2.2], atol=0.35)


def test_coarser_steps_find_the_same_motion():
    # Twice the cells, twice as far: the search runs on cells of 3 x 3.
    hours = drifting_hours(lambda _y, _x: (-1.2, 4.4), (120, 160), per_hour=4, blobs=60)
    motion = estimate_motion(*totals_of(hours))
    np.testing.assert_allclose(motion.mean(axis=(1, 2)), [-1.2, 4.4], atol=0.5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (5, 4)])
@pytest.mark.parametrize("value", [0.0, 3.0, np.nan])
def test_rain_that_shows_no_motion_does_not_move(shape, value):
    flat = np.full(shape, value, np.float32)
    np.testing.assert_array_equal(estimate_motion(flat, flat, flat), np.zeros((2, *shape)))


def test_estimated_motion_beats_the_straight_line_from_totals_alone():
    previous, total, following = totals_of(EASTWARD)
    motion = estimate_motion(previous, total, following)
    line = skill(linear_split(previous, total, following), EASTWARD, total)
    assert skill(trajectory_split(previous, total, following, motion), EASTWARD, total) > line + 0.3

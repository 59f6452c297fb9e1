"""The splits a model must beat: conservation, values worked by hand, the climatological table."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tenkizu.rain.baselines import (
    SUM_BINS,
    Climatology,
    equal_split,
    hour_and_season,
    linear_split,
)

NAN = np.nan
START = np.datetime64("2023-07-10T12:00")  # t0 09 UTC in summer: hour class 3, JJA


def field(*values):
    return np.array([values], np.float32)


def trained(seed=0, windows=40):
    """A table of random windows over all hours and seasons."""
    rng = np.random.default_rng(seed)
    table = Climatology.empty()
    for i in range(windows):
        hours = rng.gamma(0.3, 9.0, (3, 6, 7)).astype(np.float32)
        start = np.datetime64("2023-01-01T00:00") + np.timedelta64(219 * i, "h")
        table += Climatology.of(start, hours, hours.sum(axis=0))
    return table


TRAINED = trained()
SPLITS = {
    "equal": lambda p, s, n: equal_split(s),
    "linear": linear_split,
    "climatological": lambda p, s, n: TRAINED.split(START, s),
}

amounts = arrays(
    np.float32,
    (2, 3),
    elements=st.one_of(st.just(0.0), st.floats(0.015625, 1e4, width=32), st.floats(0, 1, width=32)),
)


# ---------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("method", SPLITS)
@settings(deadline=None, max_examples=100)
@given(previous=amounts, total=amounts, following=amounts)
def test_every_split_conserves_the_total_and_is_zero_where_it_is(
    method, previous, total, following
):
    total = np.where(total < 1e-20, np.float32(0), total)
    hours = SPLITS[method](previous, total, following)
    assert hours.shape == (3, 2, 3)
    assert hours.dtype == np.float32
    assert (hours >= 0).all()
    assert (hours[:, total == 0] == 0).all()
    np.testing.assert_allclose(hours.sum(axis=0, dtype=np.float64), total, rtol=3e-7)


@pytest.mark.parametrize("method", SPLITS)
def test_a_missing_total_stays_missing_and_missing_neighbours_do_not_spread(method):
    missing = field(NAN, NAN, NAN)
    hours = SPLITS[method](missing, field(NAN, 0.0, 6.0), missing)
    assert np.isnan(hours[:, 0, 0]).all()
    assert (hours[:, 0, 1] == 0).all()
    assert hours[:, 0, 2].sum() == pytest.approx(6.0)


# ---------------------------------------------------------------------------- equal and linear


def test_equal_split_is_a_third_each():
    np.testing.assert_array_equal(
        equal_split(field(6.0, 0.3))[:, 0].T, [[2] * 3, [np.float32(0.1)] * 3]
    )


@pytest.mark.parametrize(
    ("previous", "total", "following", "expected"),
    [
        # Weights (2S + P)/3, S, (2S + N)/3 = 3, 3, 2 of 8 parts.
        (3.0, 3.0, 0.0, [9 / 8, 9 / 8, 6 / 8]),
        # 6, 4, 8/3 of 38/3: a falling line.
        (10.0, 4.0, 0.0, [36 / 19, 24 / 19, 16 / 19]),
        # Neighbours equal to S: no slope.
        (6.0, 6.0, 6.0, [2.0, 2.0, 2.0]),
        # A missing neighbour counts as S: weights 6, 6, 4.
        (NAN, 6.0, 0.0, [6 * 6 / 16, 6 * 6 / 16, 6 * 4 / 16]),
        (0.0, 6.0, NAN, [6 * 4 / 16, 6 * 6 / 16, 6 * 6 / 16]),
        (NAN, 6.0, NAN, [2.0, 2.0, 2.0]),
        # Dry in between: nothing to give out, however wet the neighbours.
        (9.0, 0.0, 9.0, [0.0, 0.0, 0.0]),
    ],
)
def test_linear_split_by_hand(previous, total, following, expected):
    hours = linear_split(field(previous), field(total), field(following))
    np.testing.assert_allclose(hours[:, 0, 0], expected, rtol=1e-6)


def test_linear_split_mirrors_in_time():
    rng = np.random.default_rng(1)
    previous, total, following = rng.gamma(0.5, 5.0, (3, 8, 8)).astype(np.float32)
    forwards = linear_split(previous, total, following)
    np.testing.assert_array_equal(linear_split(following, total, previous), forwards[::-1])


# ---------------------------------------------------------------------------- hour and season


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2023-03-01T00:00", (7, 0)),  # t0 28 February 21 UTC: winter
        ("2023-03-01T03:00", (0, 1)),  # t0 1 March 00 UTC: spring
        ("2024-03-01T00:00", (7, 0)),  # t0 29 February
        ("2023-06-01T00:00", (7, 1)),
        ("2023-06-01T03:00", (0, 2)),
        ("2023-09-01T15:00", (4, 3)),
        ("2023-12-01T00:00", (7, 3)),  # t0 30 November
        ("2023-12-01T06:00", (1, 0)),
        ("2023-01-01T00:00", (7, 0)),  # t0 in the year before
        ("1969-12-31T12:00", (3, 0)),  # before the epoch of the clock
    ],
)
def test_hour_and_season_are_those_of_t0(start, expected):
    assert hour_and_season(np.datetime64(start)) == expected
    assert hour_and_season(np.datetime64(start, "ns")) == expected


# ---------------------------------------------------------------------------- climatology


def test_climatology_counts_by_hour_season_and_amount():
    hours = np.stack(
        [field(1, 20, 0, 0.02, NAN), field(2, 20, 0, 0.02, 1), field(3, 20, 0, 0.02, 1)]
    )
    table = Climatology.of(START, hours, field(6, 60, 0, 0.06, NAN))
    # 6 mm is in bin 0.1-10, 60 mm in 60-100 (bins are [a, b)); dry, slight and missing cells are
    # not counted.
    expected = np.zeros((8, 4, 6, 3))
    expected[3, 2, 0] = 1, 2, 3
    expected[3, 2, 4] = 20, 20, 20
    np.testing.assert_array_equal(table.sums, expected)


def test_the_smallest_counted_total_is_a_tenth_of_a_millimetre_in_float32():
    hours = np.full((3, 1, 1), np.float32(0.1) / 3, np.float32)
    assert Climatology.of(START, hours, field(np.float32(0.1))).sums.sum() > 0
    assert Climatology.of(START, hours, field(np.nextafter(np.float32(0.1), 0))).sums.sum() == 0


def test_climatology_splits_by_the_ratio_of_sums():
    # Two cells of one class pooled: (1+5, 2+0, 3+1) / 12, not the mean of their shares.
    hours = np.stack([field(1, 5), field(2, 0), field(3, 1)])
    table = Climatology.of(START, hours, field(6, 6))
    split = table.split(START, field(9.0, 0.0, NAN))
    np.testing.assert_allclose(split[:, 0, 0], [4.5, 1.5, 3.0], rtol=1e-6)
    assert (split[:, 0, 1] == 0).all()
    assert np.isnan(split[:, 0, 2]).all()


def test_a_class_without_rain_falls_back_to_its_hour_then_to_everything_then_to_a_third():
    one_third = Climatology.empty().split(START, field(3.0))
    np.testing.assert_allclose(one_third[:, 0, 0], 1.0, rtol=1e-6)

    winter = np.datetime64("2023-01-10T12:00")  # hour class 3 as well
    night = np.datetime64("2023-07-10T00:00")  # hour class 7
    own = Climatology.of(START, np.stack([field(2), field(0), field(0)]), field(2))
    table = own + Climatology.of(winter, np.stack([field(0), field(6), field(0)]), field(6))
    table += Climatology.of(night, np.stack([field(0), field(0), field(8)]), field(8))
    hour, season = hour_and_season(START)
    shares = table.shares(hour, season)
    np.testing.assert_allclose(shares[0], [1, 0, 0])  # its own class
    np.testing.assert_allclose(shares[1:], [[0.25, 0.75, 0]] * 5)  # its hour, any season
    everything = [2 / 16, 6 / 16, 8 / 16]
    np.testing.assert_allclose(table.shares(0, season), [everything] * 6)


def test_shares_sum_to_one_in_every_class():
    for hour in range(8):
        for season in range(4):
            shares = TRAINED.shares(hour, season)
            assert shares.shape == (len(SUM_BINS), 3)
            np.testing.assert_allclose(shares.sum(axis=1), 1.0)


def test_tables_add_like_a_loop_over_every_cell():
    rng = np.random.default_rng(5)
    windows = []
    for day in range(6):
        hours = rng.gamma(0.4, 15.0, (3, 5, 4)).astype(np.float32)
        start = np.datetime64("2023-02-24T21:00") + np.timedelta64(33 * day, "h")
        windows.append((start, hours, hours.sum(axis=0)))
    expected = np.zeros((8, 4, 6, 3))
    for start, hours, total in windows:
        for row, column in np.ndindex(5, 4):
            lower = [i for i, edge in enumerate(SUM_BINS) if total[row, column] >= edge]
            if lower:
                expected[(*hour_and_season(start), lower[-1])] += hours[:, row, column]
    parts = [Climatology.of(*window) for window in windows]
    forwards = sum(parts[1:], parts[0])
    backwards = (parts[5] + parts[4] + parts[3]) + (parts[2] + parts[1] + parts[0])
    np.testing.assert_allclose(forwards.sums, expected, rtol=1e-12)
    np.testing.assert_allclose(backwards.sums, expected, rtol=1e-12)
    np.testing.assert_array_equal((parts[0] + Climatology.empty()).sums, parts[0].sums)


def test_the_table_survives_json():
    copied = Climatology.from_json(json.loads(json.dumps(TRAINED.to_json())))
    np.testing.assert_array_equal(copied.sums, TRAINED.sums)
    total = field(0.05, 5.0, 250.0)
    np.testing.assert_array_equal(copied.split(START, total), TRAINED.split(START, total))

"""Resampled days: blocks of a week, never across a gap, every day as likely as the other."""

import numpy as np
import pytest

from tenkizu.core.bootstrap import draws_for, interval, moving_blocks, resample
from tenkizu.patterns.verification.day_bootstrap import day_counts, ends


def days(*spans):
    """Consecutive days from each (first, count)."""
    return np.concatenate([np.datetime64(a, "m") + np.arange(n) * 1440 for a, n in spans])


def test_a_series_without_gaps_is_drawn_in_whole_weeks():
    counts, blocks = day_counts(days(("1998-01-01", 730)), resamples=300)
    assert (counts.shape, counts.dtype) == ((300, 730), np.uint16)
    assert blocks == 105
    assert (counts.sum(axis=1) == 735).all()
    # What begins on a day ends a week later, so sums of starts are counts of blocks.
    assert counts[:, 0].max() < 10
    np.testing.assert_array_equal(counts, day_counts(days(("1998-01-01", 730)), resamples=300)[0])
    assert (counts != day_counts(days(("1998-01-01", 730)), resamples=300, seed=1)[0]).any()


def test_intervals_agree_with_moving_blocks_of_sums():
    values = np.repeat(np.random.default_rng(0).normal(size=150), 4)
    counts, _ = day_counts(days(("1998-01-01", 600)))
    found = interval(counts @ values / counts.sum(axis=1))
    sums = resample(moving_blocks(np.stack([values, np.ones(600)], 1), 7), draws_for(600, 7))
    expected = interval(sums[:, 0] / sums[:, 1])
    np.testing.assert_allclose(found, expected, atol=0.1 * np.diff(expected).item())


def test_no_block_bridges_a_gap():
    # Runs of 3 and 7 days are one block each: they come whole.
    counts, blocks = day_counts(
        days(("1998-01-01", 3), ("1998-01-05", 7), ("1998-02-01", 40)), resamples=500
    )
    assert (np.ptp(counts[:, :3], axis=1) == 0).all()
    assert (np.ptp(counts[:, 3:10], axis=1) == 0).all()
    assert (counts[:, 0] != counts[:, 3]).any()
    assert blocks == 8  # 1 + 1 + 40 / 7


def test_days_of_short_runs_are_drawn_as_often_as_others():
    spans = [(np.datetime64("1998-01-01") + 10 * k, 2) for k in range(50)]
    counts, _ = day_counts(days(*spans, ("2000-01-01", 200)), resamples=4000)
    assert counts[:, :100].mean() == pytest.approx(1, abs=0.02)
    assert counts[:, 100:].mean() == pytest.approx(1, abs=0.02)


def test_single_days_are_drawn_singly():
    times = np.datetime64("1998-01-01", "m") + np.arange(60) * np.timedelta64(3, "D")
    counts, blocks = day_counts(times)
    assert blocks == 60
    assert (counts.sum(axis=1) == 60).all()
    assert counts.var() == pytest.approx(59 / 60, rel=0.05)  # binomial, as in the plain bootstrap


def test_times_of_one_day_stay_together():
    times = np.datetime64("1998-01-01", "m") + np.arange(120) * np.timedelta64(6, "h")
    counts, blocks = day_counts(times, resamples=50)
    assert blocks == 5  # 30 days
    assert (np.ptp(counts.reshape(50, 30, 4), axis=2) == 0).all()


def test_less_than_a_week_cannot_vary_and_has_no_interval():
    counts, blocks = day_counts(days(("1998-01-01", 5)))
    assert blocks == 1
    assert (counts == 1).all()
    assert np.isnan(ends(np.ones(1000), blocks)).all()
    assert ends(np.arange(1001.0), 2) == pytest.approx([25, 975])
    assert day_counts(days(("1998-01-01", 0)))[0].shape == (1000, 0)

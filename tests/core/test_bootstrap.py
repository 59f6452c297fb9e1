"""Blocks, resamples and intervals against draws written out and textbook formulas."""

import numpy as np
import pytest

from tenkizu.core.bootstrap import (
    draws_for,
    fixed_blocks,
    interval,
    moving_blocks,
    resample,
)


def test_fixed_blocks_add_the_units_of_each_label_in_any_order():
    sums = np.array([[1, 10], [2, 20], [4, 40], [8, 80]])
    expected = [[5, 50], [2, 20], [8, 80]]
    np.testing.assert_array_equal(fixed_blocks(sums, [3, 5, 3, 7]), expected)
    np.testing.assert_array_equal(fixed_blocks(sums[::-1], [7, 3, 5, 3]), expected)


def test_moving_blocks_are_all_runs_of_a_length():
    sums = np.array([1, 2, 4, 8])
    np.testing.assert_array_equal(moving_blocks(sums, 2), [3, 6, 12])
    np.testing.assert_array_equal(moving_blocks(sums, 1), sums)
    # A series shorter than a block is one block.
    np.testing.assert_array_equal(moving_blocks(sums, 7), [15])
    pairs = np.stack([sums, 10 * sums], axis=1)
    np.testing.assert_array_equal(moving_blocks(pairs, 3), [[7, 70], [14, 140]])
    assert draws_for(365, 7) == 53


def test_a_resample_is_the_sum_of_the_blocks_drawn():
    blocks = np.random.default_rng(1).normal(size=(7, 2, 3))
    picks = np.random.default_rng(5).integers(7, size=(20, 4))
    expected = [sum(blocks[k] for k in row) for row in picks]
    np.testing.assert_allclose(resample(blocks, 4, 20, seed=5), expected, atol=1e-12)


def test_resamples_are_as_long_as_the_data_and_always_the_same():
    counts = resample(np.ones((12, 1)))
    assert counts.shape == (1000, 1)
    assert (counts == 12).all()
    blocks = np.arange(9.0)
    np.testing.assert_array_equal(resample(blocks), resample(blocks))
    assert (resample(blocks) != resample(blocks, seed=1)).any()
    assert (resample(np.zeros((0, 3))) == np.zeros((1000, 3))).all()


def test_quantities_of_one_block_are_drawn_together():
    errors = np.random.default_rng(2).gamma(1.0, size=50)
    drawn = resample(np.stack([errors, 0.5 * errors], axis=1))
    # Halving every error is a skill of exactly one half in every resample.
    np.testing.assert_allclose(1 - drawn[:, 1] / drawn[:, 0], 0.5)


def test_the_interval_of_a_mean_of_independent_values_is_the_textbook_one():
    values = np.random.default_rng(3).normal(10, 2, 400)
    low, high = interval(resample(values) / 400)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)


@pytest.mark.parametrize("kind", ["fixed", "moving"])
def test_blocks_widen_the_interval_where_neighbours_agree(kind):
    # Each value stands for nine in a row: 1800 numbers, but 200 pieces of evidence.
    values = np.repeat(np.random.default_rng(4).normal(size=200), 9)
    if kind == "fixed":
        blocks, draws = fixed_blocks(values, np.arange(1800) // 36), None
    else:
        blocks, draws = moving_blocks(values, 36), draws_for(1800, 36)
    singly = np.diff(interval(resample(values) / 1800)).item()
    in_blocks = np.diff(interval(resample(blocks, draws) / 1800)).item()
    assert in_blocks / singly == pytest.approx(3, rel=0.25)


def test_interval_takes_percentiles_and_leaves_undefined_resamples_out():
    values = np.arange(101.0)
    np.testing.assert_allclose(interval(values, 0.9), [5, 95])
    np.testing.assert_allclose(interval(np.append(values, np.nan), 0.9), [5, 95])
    both = interval(np.stack([values, np.full(101, np.nan)], axis=1), 0.9)
    np.testing.assert_allclose(both, [[5, np.nan], [95, np.nan]])


@pytest.mark.filterwarnings("error")
def test_a_statistic_that_is_never_defined_is_nan_without_a_warning():
    assert np.isnan(interval(np.full(10, np.nan))).all()

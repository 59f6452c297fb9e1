"""Confidence intervals from resampled blocks of time, on sums that add.

Weather of one day resembles that of the next, so single windows or days are not independent and
resampling them one by one gives intervals that are too narrow. Blocks of neighbours are drawn
instead. Since every score is a ratio of sums, a resample is a sum of the drawn blocks' sums: the
cost does not depend on how many cells stand behind them, and quantities drawn together stay
paired.

Two ways to cut blocks: `fixed_blocks`, disjoint ones named by a label, also across gaps in time;
and `moving_blocks`, all overlapping runs of one length (Kuensch 1989), for a series without gaps.
"""

import math
import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
SEED = 20230101
"""Fixed, so that an evaluation run twice gives the same intervals."""


def fixed_blocks(sums: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Sums of each block, (B, ...), in the order of the labels.

    Args:
        sums: of each unit of time, (n, ...).
        labels: the block of each unit, (n,) integers.
    """
    values = np.asarray(sums, np.float64)
    names, members = np.unique(np.asarray(labels), return_inverse=True)
    blocks = np.zeros((len(names), *values.shape[1:]))
    np.add.at(blocks, members, values)
    return blocks


def moving_blocks(sums: ArrayLike, length: int) -> NDArray[np.float64]:
    """Sums of all runs of ``length`` consecutive units, (n - length + 1, ...).

    A series shorter than one block is one block.

    Args:
        sums: of each unit of time in order, (n, ...).
        length: of a block, units.
    """
    values = np.asarray(sums, np.float64)
    runs = np.lib.stride_tricks.sliding_window_view(values, min(length, len(values)), axis=0)
    blocks: NDArray[np.float64] = runs.sum(axis=-1)
    return blocks


def draws_for(units: int, length: int) -> int:
    """How many moving blocks of ``length`` make a resample as long as the series."""
    return math.ceil(units / length)


def resample(
    blocks: NDArray[np.float64],
    draws: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> NDArray[np.float64]:
    """Sums of blocks drawn with replacement.

    Args:
        blocks: sums of each block, (B, ...), finite.
        draws: blocks in a resample; by default as many as there are, which is right for disjoint
            blocks. See `draws_for` for moving ones.
        resamples: how many resamples.
        seed: of the draws; they depend on it and on the numbers of blocks and draws only.

    Returns:
        One sum per resample, (resamples, ...). Without any block all are 0.
    """
    count = len(blocks)
    shape = blocks.shape[1:]
    if not count:
        return np.zeros((resamples, *shape))
    size = count if draws is None else draws
    picks = np.random.default_rng(seed).integers(count, size=(resamples, size))
    # How often each block was drawn; a product with these counts is much faster than gathering.
    places = picks + count * np.arange(resamples)[:, None]
    times = np.bincount(places.ravel(), minlength=resamples * count).reshape(resamples, count)
    sums = times.astype(np.float64) @ blocks.reshape(count, -1)
    return sums.reshape(resamples, *shape)


def interval(values: NDArray[np.float64], level: float = 0.95) -> NDArray[np.float64]:
    """Percentile interval of a statistic over resamples.

    Args:
        values: the statistic of each resample, (R, ...); NaN, where a resample did not define it,
            is left out.
        level: of confidence.

    Returns:
        Low and high end, (2, ...); NaN where no resample defined the statistic.
    """
    tail = 50.0 * (1.0 - level)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        ends: NDArray[np.float64] = np.nanpercentile(values, [tail, 100.0 - tail], axis=0)
    return ends

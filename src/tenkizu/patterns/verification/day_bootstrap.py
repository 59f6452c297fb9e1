"""Resampled days: how often each day is drawn, shared by all scores and models compared.

Moving-block bootstrap (Kuensch 1989): runs of 7 consecutive days are drawn, since the pattern of
one day resembles that of the next.
"""

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.bootstrap import RESAMPLES, SEED, interval

BLOCK_DAYS = 7
LEVEL = 0.95


def day_counts(
    times: NDArray[np.datetime64],
    length: int = BLOCK_DAYS,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[NDArray[np.uint16], int]:
    """How often each day is in each resample.

    A block is ``length`` consecutive days; it never bridges a gap. A run of days shorter than that
    is one block. Blocks of a run of m days share the weight m / (days in a block), so that days of
    short and long runs are drawn alike; without gaps all blocks are equally likely. A resample has
    as many blocks as make, on average, the days there are.

    Args:
        times: in order, (n,); those of one UTC date belong together.
        length: of a block, days.
        resamples: how many.
        seed: of the draws, which depend on nothing else but the arguments.

    Returns:
        Counts (resamples, n) and the number of blocks in a resample.
    """
    dates, members = np.unique(times.astype("datetime64[D]"), return_inverse=True)
    starts, ends, weights = _blocks(dates.astype(np.int64), length)
    if not len(starts):
        return np.zeros((resamples, 0), np.uint16), 0
    draws = int(np.ceil(weights.sum() - 1e-9))
    generator = np.random.default_rng(seed)
    picks = generator.choice(
        len(starts), size=(resamples, draws), p=weights / weights.sum(), shuffle=False
    )
    # Blocks begin and end; the running difference is how many hold a day.
    row = (len(dates) + 1) * np.arange(resamples)[:, None]
    shape = (resamples, len(dates) + 1)
    begun = np.bincount((starts[picks] + row).ravel(), minlength=row[-1, 0] + shape[1])
    ended = np.bincount((ends[picks] + row).ravel(), minlength=row[-1, 0] + shape[1])
    counts = (begun - ended).reshape(shape).cumsum(axis=1)[:, :-1].astype(np.uint16)
    return counts[:, members], draws


def ends(values: NDArray[np.float64], blocks: int) -> list[float]:
    """Low and high end of the 95 % interval; NaN from a single block, which cannot vary.

    Args:
        values: a score of each resample, (R,), NaN where one does not define it.
        blocks: in a resample.
    """
    low, high = interval(values, LEVEL) if blocks > 1 else (np.nan, np.nan)
    return [float(low), float(high)]


def _blocks(
    dates: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Start, end (exclusive) and weight of every block, as indices of dates."""
    starts, ends, weights = [], [], []
    for run in np.split(np.arange(len(dates)), np.flatnonzero(np.diff(dates) != 1) + 1):
        size = min(length, len(run))
        if size:
            first = run[: len(run) - size + 1]
            starts.append(first)
            ends.append(first + size)
            weights.append(np.full(len(first), len(run) / size / len(first)))
    if not starts:
        empty = np.zeros(0, np.int64)
        return empty, empty, np.zeros(0)
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(weights)

"""Average precision of each class, for one or for very many weightings of the days."""

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import ratio

Floats = NDArray[np.float64]

_CELLS = 2**20
"""Days times weightings held at a time, which bounds the memory."""


def average_precision(
    truth: NDArray[np.bool_], scores: Floats, weights: NDArray[np.generic] | None = None
) -> Floats:
    """Area under the precision-recall steps, of each class.

    AP = sum over distinct scores, from the highest, of (R_k - R_(k-1)) P_k; days of equal score
    enter together. The same number is the mean over positive days of the precision among all
    days that score at least as high, which is how it is computed.

    Args:
        truth: (n, L).
        scores: (n, L), larger where a class is likelier; any monotone scale.
        weights: of the days, (n,), or R weightings of them, (R, n), none negative. Integers, as
            counts of days in a resample, are added exactly.

    Returns:
        (L,), or (R, L) for R weightings; NaN for a class without positive weight on a positive.
    """
    counts = np.ones(len(truth), np.int64) if weights is None else np.asarray(weights)
    table = np.atleast_2d(counts)
    result = np.full((len(table), truth.shape[1]), np.nan)
    step = max(1, _CELLS // max(1, len(truth)))
    orders = [_order(truth[:, c], scores[:, c]) for c in range(truth.shape[1])]
    for first in range(0, len(table), step):
        rows = slice(first, first + step)
        days = np.ascontiguousarray(table[rows].T)
        for c, (order, positive, reached) in enumerate(orders):
            if len(positive):
                result[rows, c] = _weighted(days[order], positive, reached)
    return result if counts.ndim == 2 else result[0]


Index = NDArray[np.int64]


def _order(truth: NDArray[np.bool_], scores: Floats) -> tuple[Index, Index, Index]:
    """Days from the highest score down to the lowest positive one, and where positives are.

    Returns:
        The order (m,); the places of the P positives in it (P,); for each of them the last place
        with its score (P,).
    """
    order = np.argsort(-scores, kind="stable")
    falling = -scores[order]
    positive = np.flatnonzero(truth[order])
    reached = np.searchsorted(falling, falling[positive], side="right") - 1
    return order[: reached.max(initial=-1) + 1], positive, reached


def _weighted(days: NDArray[np.generic], positive: Index, reached: Index) -> Floats:
    """AP of one class, (R,), from weights (m, R) of days in order of falling score."""
    dtype = np.int64 if np.issubdtype(days.dtype, np.integer) else np.float64
    ends = np.unique(reached)
    starts = np.append(0, ends[:-1] + 1)
    # Sums over the days between two scores of positives first: far fewer rows to add up.
    total = np.add.reduceat(days, starts, axis=0, dtype=dtype).cumsum(axis=0)
    weight = days[positive].astype(dtype)
    firsts = np.searchsorted(positive, starts)
    hits = np.add.reduceat(weight, firsts, axis=0)
    precision = ratio(hits.cumsum(axis=0), total)
    # Positives of a score without any weight have no precision, and no weight in the mean.
    gained = hits * np.where(hits > 0, precision, 0.0)
    return ratio(gained.sum(axis=0), hits.sum(axis=0))


def mean_over(values: Floats, classes: NDArray[np.bool_] | None = None) -> Floats:
    """Mean over the last axis of what is defined, such as mAP from AP; NaN where nothing is.

    Args:
        values: (..., L), NaN where undefined.
        classes: (L,) or (..., L), those that may count; default all.
    """
    known = ~np.isnan(values) if classes is None else ~np.isnan(values) & classes
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))

"""Scores of probabilities, one class at a time: ROC AUC, Brier score, log loss, reliability.

Arrays are (n, L) unless said otherwise: days and classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import ratio

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

BINS = 15
"""Bins of equal count for the expected calibration error and reliability curves."""


def roc_auc(truth: Bools, scores: Floats) -> Floats:
    """Share of pairs of a positive and a negative day in the right order, (L,); a tie is half.

    NaN for a class without both kinds of day. The formula is Mann and Whitney's.
    """
    positives = truth.sum(axis=0)
    places = np.stack([_places(column) for column in scores.T], axis=1)
    above = np.where(truth, places, 0.0).sum(axis=0) - positives * (positives - 1) / 2
    return ratio(above, positives * (len(truth) - positives))


def squared_errors(truth: Bools, probs: Floats) -> Floats:
    """(p - y)^2; its mean is the Brier score."""
    errors: Floats = np.square(probs - truth)
    return errors


def log_losses(truth: Bools, probs: Floats) -> Floats:
    """-ln of the probability given to what happened.

    Probabilities are kept one rounding step away from 0 and 1, so that a certainty that fails
    costs 36 and not infinity.
    """
    least = np.finfo(np.float64).eps
    given = np.where(truth, probs, 1.0 - probs)
    losses: Floats = -np.log(np.clip(given, least, 1.0 - least))
    return losses


def reliability(truth: Bools, probs: Floats, bins: int = BINS) -> dict[str, Any]:
    """Points of a reliability curve of one class, and its expected calibration error.

    Days are put in order of probability and cut into bins of equal count; days of equal
    probability stay together, so a bin may be larger and others empty. The error is the sum over
    bins of (days in the bin / n) |mean probability - observed share|.

    Args:
        truth: (n,).
        probs: (n,).
        bins: how many at most.

    Returns:
        ``mean_probability``, ``observed_share`` and ``days`` of each bin that holds any, and
        ``ece``, NaN without days.
    """
    count = len(probs)
    bin_of = np.floor((_places(probs) + 0.5) * bins / max(count, 1)).astype(np.int64)
    days = np.bincount(bin_of, minlength=bins)
    mean = ratio(np.bincount(bin_of, probs, minlength=bins), days)
    share = ratio(np.bincount(bin_of, truth, minlength=bins), days)
    held = days > 0
    gaps = np.where(held, days * np.abs(mean - share), 0.0)
    return {
        "mean_probability": mean[held].tolist(),
        "observed_share": share[held].tolist(),
        "days": days[held].tolist(),
        "ece": float(ratio(gaps.sum(), count)),
    }


def _places(values: Floats) -> Floats:
    """Place of each of (n,) values in rising order, from 0; equal ones share their mean place."""
    _, value, times = np.unique(values, return_inverse=True, return_counts=True)
    places: Floats = (np.cumsum(times) - (times + 1) / 2)[value]
    return places

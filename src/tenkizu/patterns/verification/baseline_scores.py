"""What a model must beat: baselines scored on the same days and resamples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.patterns.verification.average_precision import average_precision, mean_over
from tenkizu.patterns.verification.day_bootstrap import ends
from tenkizu.patterns.verification.days import Bools, DayTable, Floats
from tenkizu.patterns.verification.probability_scores import squared_errors

ALL_POSITIVE = "all_positive"
"""The rule that predicts every class every day: the floor under F1, without any ranking."""


def baseline_scores(
    table: DayTable,
    baselines: Mapping[str, Floats],
    ranking: Floats,
    counts: NDArray[np.uint16],
    blocks: int,
) -> dict[str, Any]:
    """Scores of each baseline, and how far the model is above it.

    Args:
        table: n days.
        baselines: probabilities (n, L) by name; rows of NaN are days it does not know.
        ranking: the model's probabilities that AP ranks by, (n, L).
        counts: how often each day is in each resample, (R, n).
        blocks: in a resample.

    Returns:
        By name: ``n_days`` it knows, ``map`` with ``map_classes`` and its ``interval``, ``ap`` by
        class, ``brier``, and ``map_gain``, the model's mAP less this one's on these days. Last
        `ALL_POSITIVE` with ``f1`` by class and ``macro_f1``.

    Raises:
        DataError: a baseline of another shape, or one with days known in part.
    """
    result = {}
    own: dict[bytes, tuple[Floats, Floats]] = {}  # the model on the days that a baseline knows
    for name, probs in baselines.items():
        known = _known(name, probs, table)
        truth, drawn = table.truth[known], counts[:, known]
        if known.tobytes() not in own:
            own[known.tobytes()] = _means(truth, ranking[known], drawn)[1:]
        ap, value, resampled = _means(truth, probs[known], drawn)
        model, model_resampled = own[known.tobytes()]
        low, high = ends(model_resampled - resampled, blocks)
        result[name] = {
            "n_days": int(known.sum()),
            "map": float(value),
            "map_classes": int((~np.isnan(ap)).sum()),
            "interval": ends(resampled, blocks),
            "map_gain": {"value": float(model - value), "low": low, "high": high},
            "ap": dict(zip(table.labels, ap.tolist(), strict=True)),
            "brier": float(mean_over(squared_errors(truth, probs[known]).ravel())),
        }
    return result | {ALL_POSITIVE: _all_positive(table)}


def _known(name: str, probs: Floats, table: DayTable) -> Bools:
    """Days (n,) on which a baseline says something."""
    if probs.shape != table.truth.shape:
        raise DataError(
            "a baseline of another shape",
            variable=name,
            found=probs.shape,
            expected=table.truth.shape,
        )
    missing = np.isnan(probs)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if partly.any():
        day = table.times[int(np.argmax(partly))]
        raise DataError("a baseline knows a day only in part", variable=name, found=f"NaN on {day}")
    return np.asarray(~missing.any(axis=1))


def _means(
    truth: Bools, scores: Floats, counts: NDArray[np.uint16]
) -> tuple[Floats, Floats, Floats]:
    """AP of each class, mAP, and mAP of each resample."""
    ap = average_precision(truth, scores)
    return ap, mean_over(ap), mean_over(average_precision(truth, scores, counts))


def _all_positive(table: DayTable) -> dict[str, Any]:
    """F1 = 2p / (1 + p) of a class on a share p of days; undefined for p = 0."""
    share = table.truth.mean(axis=0)
    f1 = np.where(share > 0, 2 * share / (1 + share), np.nan)
    return {
        "n_days": len(table),
        "macro_f1": float(mean_over(f1)),
        "macro_f1_classes": int((share > 0).sum()),
        "f1": dict(zip(table.labels, f1.tolist(), strict=True)),
    }

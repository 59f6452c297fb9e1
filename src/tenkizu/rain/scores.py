"""Scores of hourly splits: sums per window that add, ratios last (specification section 12).

Events are ``>=`` with thresholds cast to float32, bins are ``[a, b)``. "Conditional" means cells
with S >= 0.1 mm. Masked cells leave every method's sums alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import Tally, binary_scores, class_scores, ratio, skill

CONDITIONAL_MM = np.float32(0.1)
HOURS = ("FT+4", "FT+5", "FT+6")


def window_tally(
    methods: Mapping[str, NDArray[np.float32]],
    truth: NDArray[np.float32],
    total: NDArray[np.float32],
    thresholds: Sequence[float],
    categories: Sequence[float],
) -> Tally:
    """Sums of one window for every method.

    Args:
        methods: predictions by name, each (3, H, W) mm; ``equal`` must be among them.
        truth: observed hours (3, H, W), mm, NaN where missing.
        total: S, (H, W), mm, NaN where missing.
        thresholds: of hourly events, mm.
        categories: inner edges of hourly classes, mm.

    Returns:
        Per method ``sse.NAME`` and ``sae.NAME`` (2 subsets x 3 hours; subset 0 all cells, 1
        conditional), ``levels.NAME`` (3 hours x T+1 x T+1 counts: number of thresholds reached,
        truth along rows), ``classes.NAME`` (2 subsets x K x K counts, the hours pooled); shared:
        ``windows`` and ``cells`` (2 subsets); maxima ``sum_error.NAME``, the largest error of the
        sum of the hours relative to S.
    """
    valid = ~np.isnan(total) & ~np.isnan(truth).any(axis=0)
    amount = total[valid]
    observed = truth[:, valid]
    wet = amount >= CONDITIONAL_MM
    limits = np.asarray(thresholds, np.float32)
    edges = np.asarray(categories, np.float32)
    classes = len(edges) + 1
    observed_level = np.searchsorted(limits, observed, side="right")
    observed_class = np.searchsorted(edges, observed, side="right")
    result = Tally(
        {"windows": np.array(1), "cells": np.array([amount.size, np.count_nonzero(wet)])}
    )
    for name, field in methods.items():
        predicted = field[:, valid]
        error = predicted.astype(np.float64) - observed
        squared, absolute = error**2, np.abs(error)
        result.sums[f"sse.{name}"] = np.stack([squared.sum(1), squared[:, wet].sum(1)])
        result.sums[f"sae.{name}"] = np.stack([absolute.sum(1), absolute[:, wet].sum(1)])
        # One joint histogram of threshold levels holds the 2 x 2 table of every threshold.
        level = np.searchsorted(limits, predicted, side="right")
        joint = _joint(observed_level, level, len(limits) + 1)
        result.sums[f"levels.{name}"] = joint
        kind = np.searchsorted(edges, predicted, side="right")
        result.sums[f"classes.{name}"] = np.stack(
            [
                _joint(observed_class, kind, classes).sum(axis=0),
                _joint(observed_class[:, wet], kind[:, wet], classes).sum(axis=0),
            ]
        )
        rainy = amount > 0
        if rainy.any():
            parts = predicted[:, rainy].sum(axis=0, dtype=np.float64)
            departure = np.abs(parts - amount[rainy]) / amount[rainy]
            result.maxima[f"sum_error.{name}"] = float(departure.max())
    return result


def _joint(truth: NDArray[Any], predicted: NDArray[Any], n: int) -> NDArray[np.int64]:
    """Joint counts per hour, (3, n, n), truth along rows."""
    return np.stack(
        [
            np.bincount(t * n + p, minlength=n * n).reshape(n, n)
            for t, p in zip(truth, predicted, strict=True)
        ]
    ).astype(np.int64)


def _binary(joint: NDArray[np.int64], thresholds: Sequence[float]) -> dict[str, Any]:
    """Categorical scores per threshold from joint level counts (n, n)."""
    result = {}
    for i, threshold in enumerate(thresholds, start=1):
        result[f"{threshold:g}"] = binary_scores(
            hits=int(joint[i:, i:].sum()),
            misses=int(joint[i:, :i].sum()),
            false_alarms=int(joint[:i, i:].sum()),
            correct_negatives=int(joint[:i, :i].sum()),
        )
    return result


def summarise(
    tally: Tally, methods: Sequence[str], thresholds: Sequence[float], categories: Sequence[float]
) -> dict[str, Any]:
    """Turn summed tallies into scores.

    Args:
        tally: sum of `window_tally` over windows.
        methods: names, the model first as ``model``.
        thresholds: as given to `window_tally`.
        categories: as given to `window_tally`.

    Returns:
        A nested JSON-ready dictionary. RMSE is sqrt(SSE / (3 cells)), MAE the sum of absolute
        errors / (3 cells), skill 1 - SSE / SSE(S/3); undefined scores are NaN.
    """
    cells, rainy = (int(n) for n in tally["cells"])
    subsets = (("all", 0, cells), ("conditional", 1, rainy))
    scores: dict[str, Any] = {
        "n_windows": int(tally["windows"]),
        "n_cells": cells,
        "n_cells_conditional": rainy,
        "conditional_mm": float(CONDITIONAL_MM),
    }

    def per_method(make: Any) -> dict[str, Any]:  # noqa: ANN401
        return {name: make(name) for name in methods}

    for label, subset, n in subsets:
        suffix = "" if subset == 0 else "_conditional"
        scores[f"rmse_1h{suffix}"] = per_method(
            lambda m, s=subset, n=n: float(np.sqrt(ratio(tally[f"sse.{m}"][s].sum(), 3 * n)))
        )
        scores[f"mae_1h{suffix}"] = per_method(
            lambda m, s=subset, n=n: float(ratio(tally[f"sae.{m}"][s].sum(), 3 * n))
        )
        scores[f"rmse_per_hour{suffix}"] = per_method(
            lambda m, s=subset, n=n: dict(
                zip(HOURS, np.sqrt(ratio(tally[f"sse.{m}"][s], n)).tolist(), strict=True)
            )
        )
        by_method = per_method(
            lambda m, s=subset: float(
                skill(tally[f"sse.{m}"][s].sum(), tally["sse.equal"][s].sum())
            )
        )
        scores.setdefault("mse_skill", {})[label] = by_method.get("model", float("nan"))
        scores.setdefault("mse_skill_by_method", {})[label] = by_method
    scores["max_relative_sum_error"] = tally.maxima.get("sum_error.model", 0.0)
    scores["binary_hourly"] = per_method(
        lambda m: {
            "pooled": _binary(tally[f"levels.{m}"].sum(axis=0), thresholds),
            **{hour: _binary(tally[f"levels.{m}"][k], thresholds) for k, hour in enumerate(HOURS)},
        }
    )
    scores["categories_hourly"] = {"edges_mm": [0.0, *categories]} | per_method(
        lambda m: {
            label: class_scores(tally[f"classes.{m}"][subset]) for label, subset, _ in subsets
        }
    )
    return scores

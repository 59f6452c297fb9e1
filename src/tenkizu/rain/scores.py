"""Scores of hourly splits: sums per window that add, ratios last (specification section 12).

`window_tally` counts one window, tallies add with ``+``, `summarise` divides.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import Sums, Tally, binary_scores, class_scores, ratio, skill
from tenkizu.rain.baselines import SEASONS, SUM_BINS
from tenkizu.rain.score_cells import CONDITIONAL_MM, Values, joint_edges
from tenkizu.rain.score_tally import SURFACES, window_tally

__all__ = ["AMOUNTS", "HOURS", "SUBSETS", "hours_of_day", "summarise", "window_tally"]

HOURS = ("FT+4", "FT+5", "FT+6")
SUBSETS = ("all", "conditional")
AMOUNTS = (*(f"{a:g}-{b:g}" for a, b in pairwise(SUM_BINS)), f">={SUM_BINS[-1]:g}")
"""Labels of the S bins, mm."""

_BITS = np.array([k.bit_count() for k in range(8)])


def event_scores(
    joint: NDArray[np.int64], edges: Values, thresholds: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Categorical scores per threshold from joint level counts (L, L), truth along rows."""
    result = {}
    for threshold in thresholds:
        i = int(np.searchsorted(edges, np.float32(threshold))) + 1
        result[f"{threshold:g}"] = binary_scores(
            hits=int(joint[i:, i:].sum()),
            misses=int(joint[i:, :i].sum()),
            false_alarms=int(joint[:i, i:].sum()),
            correct_negatives=int(joint[:i, :i].sum()),
        )
    return result


def class_of_level(edges: Values, categories: Sequence[float]) -> NDArray[np.intp]:
    """The class of each joint level, (L,): an edge is reached exactly when its level is."""
    inner = np.asarray(categories, np.float32)
    return np.concatenate([[0], np.searchsorted(inner, edges, side="right")])


def merged_counts(joint: NDArray[Any], kinds: NDArray[Any]) -> NDArray[np.int64]:
    """Counts (K, K) of classes that each hold several rows and columns of ``joint``."""
    size = int(kinds.max()) + 1
    result = np.zeros((size, size), np.int64)
    np.add.at(result, (kinds[:, None], kinds[None, :]), joint)
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
        errors / (3 cells), skill 1 - SSE / SSE(S/3); skills by group are those of conditional
        cells. Undefined scores are NaN.
    """
    cells, heavy = (int(n) for n in tally["cells"])
    scores: dict[str, Any] = {
        "n_windows": int(tally["windows"]),
        "n_cells": cells,
        "n_cells_conditional": heavy,
        "conditional_mm": float(CONDITIONAL_MM),
    }
    for subset, n in enumerate((cells, heavy)):
        scores |= _errors(tally, methods, subset, n)
    by_method = scores["mse_skill_by_method"] = {
        label: {m: _skill(tally, m, subset) for m in methods}
        for subset, label in enumerate(SUBSETS)
    }
    scores["mse_skill"] = {
        label: by_method[label].get("model", float("nan")) for label in by_method
    }
    scores |= _by_group(tally, methods)
    scores["max_relative_sum_error"] = tally.maxima.get("sum_error.model", 0.0)
    if "sum_error.model" in tally.sums:
        scores["mean_relative_sum_error"] = float(ratio(tally["sum_error.model"], tally["rainy"]))
    edges = joint_edges(thresholds, categories)
    scores["binary_hourly"] = {}
    for m in methods:
        joint = tally[f"joint.{m}"][0]
        parts = {"pooled": joint.sum(axis=0), **dict(zip(HOURS, joint, strict=True))}
        scores["binary_hourly"][m] = {
            part: event_scores(counts, edges, thresholds) for part, counts in parts.items()
        }
    kinds = class_of_level(edges, categories)

    def per_subset(name: str, kinds: NDArray[Any]) -> dict[str, Any]:
        return {
            label: class_scores(merged_counts(_pooled(tally[name][subset]), kinds))
            for subset, label in enumerate(SUBSETS)
        }

    scores["categories_hourly"] = {"edges_mm": [0.0, *categories]} | {
        m: per_subset(f"joint.{m}", kinds) for m in methods
    }
    scores["wet_hours"] = {m: per_subset(f"pattern.{m}", _BITS) for m in methods}
    scores["wet_pattern"] = {m: class_scores(_counts(tally, f"pattern.{m}")[1]) for m in methods}
    scores["peak_hour"] = {
        m: {"ties_left_out": int(tally["peak_ties"])} | class_scores(_counts(tally, f"peak.{m}"))
        for m in methods
    }
    return scores


def _counts(tally: Tally, name: str) -> NDArray[np.int64]:
    return tally[name].astype(np.int64)


def _pooled(counts: NDArray[Any]) -> NDArray[Any]:
    """Counts (..., K, K) with the hours, if any, added together."""
    pooled: NDArray[Any] = counts.sum(axis=0) if counts.ndim == 3 else counts
    return pooled


def _skill(tally: Tally, method: str, subset: int) -> float:
    error, reference = (tally[f"sse.{m}"][subset].sum() for m in (method, "equal"))
    return float(skill(error, reference))


def _by_name(names: Iterable[str], values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))


def _errors(tally: Tally, methods: Sequence[str], subset: int, n: int) -> dict[str, Any]:
    """RMSE and MAE, pooled and per hour, and skill per hour, of one subset of ``n`` cells."""
    suffix = "" if subset == 0 else "_conditional"
    sse = {m: tally[f"sse.{m}"][subset] for m in methods}
    sae = {m: tally[f"sae.{m}"][subset] for m in methods}
    equal = tally["sse.equal"][subset]
    pooled: dict[str, Any] = {
        "rmse_1h": {m: float(np.sqrt(ratio(sse[m].sum(), 3 * n))) for m in methods},
        "mae_1h": {m: float(ratio(sae[m].sum(), 3 * n)) for m in methods},
        "rmse_per_hour": {m: _by_name(HOURS, np.sqrt(ratio(sse[m], n))) for m in methods},
        "mae_per_hour": {m: _by_name(HOURS, ratio(sae[m], n)) for m in methods},
        "mse_skill_per_hour": {m: _by_name(HOURS, skill(sse[m], equal)) for m in methods},
    }
    return {name + suffix: value for name, value in pooled.items()}


def hours_of_day(windows: Sums) -> list[int]:
    """UTC hours of t0 worth a line, given the number of windows at each of 24.

    All eight hours at which windows of the same phase begin, also those where none did.
    """
    phases = {int(hour) % 3 for hour in np.flatnonzero(windows)}
    return [hour for hour in range(24) if hour % 3 in phases]


def _by_group(tally: Tally, methods: Sequence[str]) -> dict[str, Any]:
    """Skill of conditional cells by S bin and, where they were summed, hour, season, surface."""
    members: dict[str, tuple[str, dict[str, int]]] = {
        "skill_by_amount": ("amount", {label: i for i, label in enumerate(AMOUNTS)})
    }
    if "windows_by.hour" in tally.sums:
        hours = hours_of_day(tally["windows_by.hour"])
        members["skill_by_hour_of_day"] = ("hour", {f"{hour:02d}": hour for hour in hours})
        members["skill_by_season"] = ("season", {label: i for i, label in enumerate(SEASONS)})
    if "cells_by.surface" in tally.sums:
        members["skill_by_surface"] = ("surface", {label: i for i, label in enumerate(SURFACES)})

    def of(method: str, group: str, place: int) -> dict[str, Any]:
        error, reference = (tally[f"sse_by.{group}.{m}"][place] for m in (method, "equal"))
        cells = int(tally[f"cells_by.{group}"][place])
        return {"skill": float(skill(error, reference)), "cells": cells}

    return {
        name: {m: {label: of(m, group, i) for label, i in places.items()} for m in methods}
        for name, (group, places) in members.items()
    }

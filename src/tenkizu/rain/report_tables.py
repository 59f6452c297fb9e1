"""Tables of an evaluation's scores for the report."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from tenkizu.core.report import Html, missing, number, paragraph, table
from tenkizu.rain.score_text import label_of

Scores = Mapping[str, Any]

_BINARY = {
    "probability_of_detection": "POD",
    "success_ratio": "success ratio",
    "critical_success_index": "CSI",
    "equitable_threat_score": "ETS",
    "frequency_bias": "bias",
    "f1_score": "F1",
    "accuracy": "accuracy",
}
_GROUPS = {
    "skill_by_amount": ("by 3-hour total S", "S, mm"),
    "skill_by_hour_of_day": ("by hour of t0", "t0, UTC"),
    "skill_by_season": ("by season", "season"),
    "skill_by_surface": ("over land and sea", "surface"),
}


def summary_table(splits: Mapping[str, Scores]) -> Html:
    """Model and baselines on every split: 1 h RMSE and MAE of all cells, and both skills.

    Args:
        splits: scores by the name of the split, in the order of rows.
    """
    columns = (
        "split",
        "method",
        "RMSE 1 h, mm",
        "MAE 1 h, mm",
        "skill, all cells",
        "skill, S ≥ 0.1 mm",
    )
    rows: list[list[str]] = []
    marked: list[int] = []
    for split, scores in splits.items():
        for method in scores.get("rmse_1h") or ():
            if method == "model":
                marked.append(len(rows))
            row = [split, label_of(method)]
            row += [number((scores.get(key) or {}).get(method)) for key in ("rmse_1h", "mae_1h")]
            row += [_skill(scores, method, subset) for subset in ("all", "conditional")]
            rows.append(row)
    return table(columns, rows, marked=marked)


def _skill(scores: Scores, method: str, subset: str) -> str:
    """MSE skill against S/3, with its interval where there is one."""
    skills = (scores.get("mse_skill_by_method") or {}).get(subset) or {}
    against = (scores.get("intervals") or {}).get("skill_against_equal") or {}
    return number(skills.get(method)) + interval((against.get(method) or {}).get(subset))


def interval(estimate: Mapping[str, float | None] | None) -> str:
    """The ends of an interval in brackets, after a space; empty without one."""
    low, high = ((estimate or {}).get(end) for end in ("low", "high"))
    if low is None or high is None or math.isnan(low) or math.isnan(high) or low == high:
        return ""
    return f" ({number(low)} to {number(high)})"


def verdict(split: str, scores: Scores) -> list[Html]:
    """Whether the split is better than S/3 at a given cell, in one sentence, where compared."""
    found = (scores.get("equal_split") or {}).get("overall")
    if not found:
        return []
    if not found["cells"]:
        return [paragraph(f"On {split} there is no cell with S ≥ 0.1 mm to compare.")]
    win, tie, loss = (
        number(None if share is None else 100 * share, 1)
        for share in (found["win_rate"]["value"], found["tie_rate"], found["loss_rate"])
    )
    return [
        paragraph(
            f"On {split}, at a given cell and time with S ≥ 0.1 mm, the model is nearer to the "
            f"truth than S/3 in {win} of 100 cases, as near in {tie} and further in {loss}; "
            f"verdict by the 1 h RMSE: {str(found['verdict']).lower()}."
        )
    ]


def interval_notes(scores: Scores) -> list[Html]:
    """How the intervals were made, and the model against the best baseline."""
    found = scores.get("intervals")
    if not found:
        return [missing("This evaluation has no confidence intervals.")]
    blocks, needed = found.get("blocks"), found.get("blocks_needed")
    parts = []
    if blocks is not None and needed is not None and blocks < needed:
        parts.append(
            paragraph(
                f"Too few blocks for intervals: {blocks} of at least {needed}, "
                f"{found.get('block_hours', math.nan):g} hours each.",
            )
        )
    elif blocks is not None:
        parts.append(
            paragraph(
                f"In brackets: {100 * found.get('level', 0.95):g} % intervals from "
                f"{found.get('resamples', '?')} resamples of {blocks} blocks of "
                f"{found.get('block_hours', math.nan):g} hours, all methods on the same blocks.",
                muted=True,
            )
        )
    best = found.get("skill_against_best_baseline")
    if best:
        estimate = best.get("conditional") or {}
        parts.append(
            paragraph(
                "MSE skill of the model against the best baseline, "
                f"{label_of(best.get('baseline', '?'))} (S ≥ 0.1 mm): "
                f"{number(estimate.get('value'))}{interval(estimate)}."
            )
        )
    return parts


def binary_table(scores: Scores) -> list[Html]:
    """Categorical scores of every threshold and method, the hours pooled."""
    binary = {m: found["pooled"] for m, found in scores["binary_hourly"].items()}
    return [_events(binary, "Hourly events, hours pooled, all cells")]


def _events(binary: Mapping[str, Mapping[str, Any]], caption: str) -> Html:
    """One row a threshold and method."""
    rows: list[list[str]] = []
    marked: list[int] = []
    for threshold in sorted(binary["model"], key=float):
        for method, found in binary.items():
            if method == "model":
                marked.append(len(rows))
            at = found[threshold]
            rows.append([f"≥ {threshold} mm", label_of(method), f"{at['hits'] + at['misses']:,}"])
            rows[-1] += [number(at[key]) for key in _BINARY]
    columns = ("event", "method", "observed", *_BINARY.values())
    return table(columns, rows, caption, marked)


def category_tables(scores: Scores) -> list[Html]:
    """Accuracy of every method over hourly classes, and the model's precision and recall."""
    return _categories(scores["categories_hourly"], "hourly amount")


def _categories(categories: Mapping[str, Any], of: str) -> list[Html]:
    """Two tables of the classes of something."""
    methods = [key for key in categories if key != "edges_mm"]
    overall = [
        [label_of(m), *(number(categories[m][s]["accuracy"]) for s in ("all", "conditional"))]
        for m in methods
    ]
    edges = [f"{edge:g}" for edge in categories["edges_mm"]]
    names = [f"{a} to {b} mm" for a, b in pairwise(edges)]
    names.append(f"≥ {edges[-1]} mm")
    model = categories["model"]["all"]
    classes = [
        [name, f"{support:,}", number(precision), number(recall)]
        for name, support, precision, recall in zip(
            names, model["support"], model["precision"], model["recall"], strict=True
        )
    ]
    return [
        table(
            ("method", "all cells", "S ≥ 0.1 mm"),
            overall,
            f"Classes of {of}: share in the right class",
            [0],
        ),
        table(
            ("class", "observed", "precision", "recall"),
            classes,
            f"Classes of {of}: the model, all cells",
        ),
    ]


def sum_tables(scores: Scores) -> list[Html]:
    """Errors, events and classes of 3-hour sums, of a model whose hours need not add to S."""
    if "rmse_sum" not in scores:
        return []
    errors = [
        [name, *(number(scores[key + suffix]["model"]) for key in ("rmse_sum", "mae_sum"))]
        for name, suffix in (("all cells", ""), ("S ≥ 0.1 mm", "_conditional"))
    ]
    return [
        table(("cells", "RMSE, mm", "MAE, mm"), errors, "3-hour sum of the model against S"),
        _events(scores["binary_sum"], "Events of 3-hour sums, all cells"),
        *_categories(scores["categories_sum"], "3-hour amount"),
    ]


def timing_table(scores: Scores) -> list[Html]:
    """Number and pattern of wet hours and the heaviest hour, where scored."""
    if not {"wet_hours", "wet_pattern", "peak_hour"} <= set(scores):
        return []
    rows = [
        [
            label_of(m),
            number(scores["wet_hours"][m]["all"]["accuracy"]),
            number(scores["wet_hours"][m]["conditional"]["accuracy"]),
            number(scores["wet_pattern"][m]["accuracy"]),
            number(scores["peak_hour"][m]["accuracy"]),
        ]
        for m in scores["wet_hours"]
    ]
    columns = (
        "method",
        "number of wet hours, all cells",
        "number of wet hours",
        "which hours are wet",
        "heaviest hour",
    )
    caption = "Share of right answers; cells with S ≥ 0.1 mm but for the first column"
    return [table(columns, rows, caption, [0])]


def group_tables(scores: Scores) -> list[Html]:
    """MSE skill against S/3 by amount, hour, season and surface, where scored."""
    tables = []
    for key, (title, heading) in _GROUPS.items():
        found = scores.get(key)
        if not found:
            continue
        rows = [
            [
                name.replace(">=", "≥ "),
                f"{entry['cells']:,}",
                *(number(found[m][name]["skill"]) for m in found),
            ]
            for name, entry in found["model"].items()
        ]
        columns = [heading, "cells", *(label_of(m) for m in found)]
        tables.append(table(columns, rows, f"MSE skill against S/3, {title}"))
    return tables

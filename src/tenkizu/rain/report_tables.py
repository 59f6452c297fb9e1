"""Tables of an evaluation's scores for the report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tenkizu.core.report import UNDEFINED, Html, Section, missing, paragraph, table
from tenkizu.rain.evaluation import LABELS

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


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number as it shall read; None and NaN are undefined."""
    if value is None or math.isnan(value):
        return UNDEFINED
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def label(method: str) -> str:
    """A method's name in tables."""
    return LABELS.get(method, method)


def summary_table(splits: Mapping[str, Scores]) -> Html:
    """Model and baselines on every split: 1 h RMSE and MAE of all cells, and both skills.

    Args:
        splits: scores by the name of the split, in the order of columns.
    """
    columns = ["method"]
    for split in splits:
        columns += [
            f"{split}: RMSE 1 h, mm",
            "MAE 1 h, mm",
            "skill, all cells",
            "skill, S ≥ 0.1 mm",
        ]
    rows = []
    for method in _methods(splits.values()):
        row = [label(method)]
        for scores in splits.values():
            row += [number(scores[key].get(method)) for key in ("rmse_1h", "mae_1h")]
            row += [_skill(scores, method, subset) for subset in ("all", "conditional")]
        rows.append(row)
    return table(columns, rows, marked=[0])


def _methods(splits: Any) -> list[str]:  # noqa: ANN401 - an iterable of scores
    """Methods of all splits, in order of appearance."""
    return list(dict.fromkeys(method for scores in splits for method in scores["rmse_1h"]))


def _skill(scores: Scores, method: str, subset: str) -> str:
    """MSE skill against S/3, with its interval where there is one."""
    text = number(scores["mse_skill_by_method"][subset].get(method))
    against = scores.get("intervals", {}).get("skill_against_equal", {})
    return text + interval(against.get(method, {}).get(subset))


def interval(estimate: Mapping[str, float | None] | None) -> str:
    """The ends of an interval in brackets, after a space; empty without one."""
    low, high = ((estimate or {}).get(end) for end in ("low", "high"))
    if low is None or high is None or math.isnan(low) or math.isnan(high) or low == high:
        return ""
    return f" ({number(low)} to {number(high)})"


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
                f"Skill of the model against the best baseline, {label(best.get('baseline', '?'))}"
                f" (S ≥ 0.1 mm): {number(estimate.get('value'))}{interval(estimate)}"
            )
        )
    return parts


def binary_table(scores: Scores) -> Html:
    """Categorical scores of every threshold and method, the hours pooled."""
    binary = scores["binary_hourly"]
    rows, marked = [], []
    for threshold in sorted(binary["model"]["pooled"], key=float):
        for method in binary:
            found = binary[method]["pooled"][threshold]
            if method == "model":
                marked.append(len(rows))
            rows.append(
                [
                    f"≥ {threshold} mm",
                    label(method),
                    f"{found['hits'] + found['misses']:,}",
                    *(number(found[key]) for key in _BINARY),
                ]
            )
    columns = ("event", "method", "observed", *_BINARY.values())
    return table(columns, rows, "Hourly events, hours pooled, all cells", marked)


def category_tables(scores: Scores) -> list[Html]:
    """Accuracy of every method over hourly classes, and the model's precision and recall."""
    categories = scores["categories_hourly"]
    methods = [key for key in categories if key != "edges_mm"]
    overall = [
        [label(m), *(number(categories[m][s]["accuracy"]) for s in ("all", "conditional"))]
        for m in methods
    ]
    edges = [f"{edge:g}" for edge in categories["edges_mm"]]
    names = [f"{a} to {b} mm" for a, b in zip(edges, edges[1:], strict=False)]
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
            "Classes of hourly amount: share in the right class",
            [0],
        ),
        table(
            ("class", "observed", "precision", "recall"),
            classes,
            "Classes of hourly amount: the model, all cells",
        ),
    ]


def timing_table(scores: Scores) -> Html | None:
    """Number and pattern of wet hours and the heaviest hour; None where they were not scored."""
    if not {"wet_hours", "wet_pattern", "peak_hour"} <= set(scores):
        return None
    rows = [
        [
            label(m),
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
    return table(
        columns, rows, "Share of right answers; cells with S ≥ 0.1 mm but for the first", [0]
    )


def group_tables(scores: Scores) -> list[Html]:
    """MSE skill against S/3 by amount, hour, season and surface, where scored."""
    tables = []
    for key, (title, heading) in _GROUPS.items():
        found = scores.get(key)
        if not found:
            continue
        rows = [
            [name, f"{entry['cells']:,}", *(number(found[m][name]["skill"]) for m in found)]
            for name, entry in found["model"].items()
        ]
        columns = [heading, "cells", *(label(m) for m in found)]
        tables.append(table(columns, rows, f"MSE skill against S/3, {title}"))
    return tables


def score_sections(scores: Scores) -> Sequence[Section]:
    """The tables of one split: events, classes, timing, groups."""
    sections = [
        Section("Events", [binary_table(scores)]),
        Section("Classes", category_tables(scores)),
    ]
    timing = timing_table(scores)
    if timing:
        sections.append(Section("Wet hours and the heaviest hour", [timing]))
    groups = group_tables(scores)
    if groups:
        sections.append(Section("Skill by amount, hour and season", groups))
    return sections

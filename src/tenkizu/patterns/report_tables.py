"""Tables of an evaluation's scores for the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenkizu.core.report import UNDEFINED, Html, missing, number, paragraph, table
from tenkizu.core.run_report import PURPOSE, purpose

Scores = Mapping[str, Any]

BASELINES = {
    "prevalence": "prevalence",
    "climatology": "day-of-year climatology",
    "persistence": "persistence",
    "knn": "nearest pressure maps",
    "all_positive": "every type every day",
}
"""Names of the baselines, in the order of rows; others follow."""

_GROUPS = {
    "by_season": "season",
    "by_year": "year",
    "by_kind": "kind of day",
}


def with_interval(value: float | None, ends: Sequence[float | None] | None) -> str:
    """A number with its interval in brackets, where there is one."""
    low, high = ends or (None, None)
    shown = number(value)
    if shown == UNDEFINED or low is None or high is None:
        return shown
    return f"{shown} ({number(low)} to {number(high)})"


def summary_table(splits: Mapping[str, Scores]) -> Html:
    """The model and every baseline on every split.

    Args:
        splits: scores by the name of the split, in the order of rows.
    """
    rows: list[list[str]] = []
    marked: list[int] = []
    for split, scores in splits.items():
        intervals = scores.get("intervals") or {}
        marked.append(len(rows))
        rows.append(
            [
                split,
                "model",
                with_interval(scores.get("map"), intervals.get("map")),
                _of(scores.get("map_classes"), scores),
                with_interval(scores.get("map_min10"), intervals.get("map_min10")),
                with_interval(scores.get("macro_f1"), intervals.get("macro_f1")),
                with_interval(scores.get("exact_match"), intervals.get("exact_match")),
                number(scores.get("brier"), 4),
                number(scores.get("ece")),
            ]
        )
        baselines = scores.get("baselines") or {}
        for name in sorted(baselines, key=lambda n: [*BASELINES, n].index(n)):
            found = baselines[name]
            rows.append(
                [
                    split,
                    BASELINES.get(name, name),
                    with_interval(found["map"], found.get("interval")) if "map" in found else "",
                    _of(found.get("map_classes"), scores),
                    "",
                    number(found["macro_f1"]) if "macro_f1" in found else "",
                    "",
                    number(found["brier"], 4) if "brier" in found else "",
                    "",
                ]
            )
    columns = (
        "split",
        "method",
        "mAP",
        "classes",
        "mAP, ≥ 10 days",
        "macro F1",
        "exact match",
        "Brier",
        "ECE",
    )
    return table(columns, rows, marked=marked)


def _of(count: int | None, scores: Scores) -> str:
    return "" if count is None else f"{count} of {len(scores.get('classes') or ())}"


def summary_notes(split: str, scores: Scores) -> list[Html]:
    """What must be known beside the numbers of a split: purpose, provenance, gain, notes."""
    said = []
    if provenance := scores.get("provenance"):
        meaning = {
            "held-out": "thresholds and calibration come from other days",
            "cross-fitted": "each part of the days is decided by what the other parts say",
            "in-sample": "thresholds or the model itself saw these very days",
        }.get(provenance, "")
        said.append(f"F1 and decisions are {provenance}" + (f": {meaning}." if meaning else "."))
    gains = {
        name: found["map_gain"]
        for name, found in (scores.get("baselines") or {}).items()
        if found.get("map_gain") and name != "persistence"
    }
    if gains:
        best = min(gains, key=lambda name: gains[name].get("value") or 0.0)
        gain = gains[best]
        said.append(
            f"The model's mAP less that of {BASELINES.get(best, best)}, the best baseline that a "
            f"classifier could use, is {_signed(gain.get('value'))}{_between(gain)}."
        )
    if undecided := scores.get("undecided"):
        said.append(f"Without a threshold, so never predicted: {', '.join(undecided)}.")
    # What these splits are for says the same as their notes.
    said += [] if split in PURPOSE else [f"{note}." for note in scores.get("notes") or ()]
    return [paragraph(f"{split}: {purpose(split)}. " + " ".join(said))]


def _signed(value: float | None) -> str:
    return number(value, sign=True)


def _between(gain: Mapping[str, float | None]) -> str:
    low, high = gain.get("low"), gain.get("high")
    return "" if low is None or high is None else f" ({_signed(low)} to {_signed(high)})"


def interval_note(scores: Scores) -> list[Html]:
    """How the intervals were made."""
    found = scores.get("intervals")
    if not found:
        return [missing("This evaluation has no confidence intervals.")]
    if (found.get("blocks") or 0) < 2:
        return [paragraph("No intervals: the days fill less than two blocks.")]
    return [
        paragraph(
            f"In brackets: {100 * (found.get('level') or 0.95):g} % intervals from "
            f"{found.get('resamples', '?')} resamples of {found.get('blocks')} blocks of "
            f"{found.get('block_days', '?')} days, the same for all methods. Persistence repeats "
            "yesterday's true labels, which a real classifier does not have.",
            muted=True,
        )
    ]


def class_table(scores: Scores, names: Mapping[str, str]) -> Html:
    """AP, decisions and calibration of each class.

    Args:
        scores: of a split.
        names: longer names of labels, shown after them.
    """
    baselines = scores.get("baselines") or {}
    climatology = (baselines.get("climatology") or {}).get("ap") or {}
    floor = (baselines.get("all_positive") or {}).get("f1") or {}
    rows = []
    for label, found in scores["classes"].items():
        intervals = found.get("intervals") or {}
        rows.append(
            [
                label,
                names.get(label, ""),
                f"{found['support']:,}" if "support" in found else "",
                with_interval(found.get("ap"), intervals.get("ap")),
                number(climatology.get(label)),
                with_interval(found.get("f1"), intervals.get("f1")),
                number(floor.get(label)),
                number(found.get("precision")),
                number(found.get("recall")),
                number(found.get("threshold")),
                str(found.get("status", "")).replace("_", " "),
                number(found.get("ece")),
            ]
        )
    columns = (
        "type",
        "name",
        "days",
        "AP",
        "AP, climatology",
        "F1",
        "F1, always yes",
        "precision",
        "recall",
        "threshold",
        "status",
        "ECE",
    )
    return table(columns, rows, f"Decisions: {scores.get('provenance', 'of unknown provenance')}")


def group_tables(scores: Scores) -> list[Html]:
    """Scores by season, year and kind of day, and of major types."""
    tables = []
    for key, heading in _GROUPS.items():
        groups = scores.get(key) or {}
        rows = [
            [
                name,
                f"{found['n_days']:,}",
                number(found.get("map")),
                str(found.get("map_classes", "")),
                number(found.get("macro_f1")),
                str(found.get("macro_f1_classes", "")),
                number(found.get("exact_match")),
            ]
            for name, found in groups.items()
        ]
        if rows:
            columns = (heading, "days", "mAP", "classes", "macro F1", "classes", "exact match")
            tables.append(table(columns, rows, f"By {heading}"))
    return tables


def major_table(scores: Scores, names: Mapping[str, str]) -> list[Html]:
    """Scores of major types, derived from their subtypes."""
    majors = scores.get("by_major") or {}
    rows = [
        [
            major,
            names.get(major, ""),
            ", ".join(found.get("labels") or ()),
            f"{found['support']:,}",
            *(number(found.get(key)) for key in ("ap", "f1", "precision", "recall")),
        ]
        for major, found in majors.items()
    ]
    if not rows:
        return []
    columns = ("major type", "name", "types", "days", "AP", "F1", "precision", "recall")
    return [table(columns, rows, "Major types: the largest probability among their types")]

"""The scores as plain text: ``evaluation.txt``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tenkizu.patterns.verification.baselines import NEIGHBOURS

NOTHING = "n/a"

_PERSISTENCE, _KNN = "persistence", "knn"
_GROUPS = {
    "by_season": "By season",
    "by_year": "By year",
    "by_kind": "By kind of day: one type, two at once, one turning into another",
}


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits; ``n/a`` where undefined."""
    return NOTHING if value is None or np.isnan(value) else f"{value:.{digits}f}"


def with_interval(value: float | None, ends: Sequence[float | None], digits: int = 3) -> str:
    """A number and its interval in brackets, as ``0.512 [0.480, 0.545]``."""
    low, high = (number(end, digits) for end in ends)
    shown = number(value, digits)
    return shown if NOTHING in (shown, low) else f"{shown} [{low}, {high}]"


def map_line(scores: Mapping[str, Any], name: str = "map") -> str:
    """The mAP as it is always given: "mAP (n of L classes)"."""
    title = "mAP" if name == "map" else "mAP, at least 10 positives"
    return f"{title} ({scores[f'{name}_classes']} of {len(scores['classes'])} classes)"


def as_text(scores: Mapping[str, Any]) -> str:
    """The scores as a plain-text report.

    Args:
        scores: what `tenkizu.patterns.verification.scores.score_days` returned, or ``scores.json``.
    """
    lines = [
        f"{scores['n_days']} days, {scores['first_day']} to {scores['last_day']}",
        f"Decisions and calibration: {scores['provenance']}. AP ranks by the "
        f"{scores['ranking']} probabilities.",
        _how_resampled(scores["intervals"]),
        *_summary(scores),
        *_baselines(scores),
        *_classes(scores),
        *_probabilities(scores),
        *_averages(scores),
    ]
    for name, title in _GROUPS.items():
        lines += _groups(scores, name, title)
    return "\n".join(line.rstrip() for line in [*lines, *_majors(scores)]) + "\n"


def _how_resampled(intervals: Mapping[str, Any]) -> str:
    if intervals["blocks"] < 2:
        return "No intervals: the days fill less than two blocks."
    return (
        f"Intervals: {100 * intervals['level']:g} %, {intervals['resamples']} resamples of "
        f"{intervals['blocks']} blocks of {intervals['block_days']} days; a class absent from a "
        "resample is skipped in it."
    )


def _summary(scores: Mapping[str, Any]) -> list[str]:
    titles = {
        "map": map_line(scores),
        "map_min10": map_line(scores, "map_min10"),
        "macro_f1": f"macro F1 ({scores['macro_f1_classes']} of {len(scores['classes'])} classes)",
        "micro_f1": "micro F1",
        "weighted_f1": "weighted F1",
        "exact_match": "exact match",
        "hamming_loss": "Hamming loss",
        "jaccard": "Jaccard index",
        "brier": "Brier score",
        "log_loss": "log loss",
    }
    rows = [
        [title, with_interval(scores[name], scores["intervals"][name])]
        for name, title in titles.items()
    ]
    others = [
        ["ECE, calibrated / raw", f"{number(scores['ece'])} / {number(scores['ece_raw'])}"],
        ["ROC AUC, mean over classes", number(scores["roc_auc"])],
        ["mAP / macro F1 of major types", _pair(scores, "major_map", "major_macro_f1")],
    ]
    lines = ["", *columns(rows), "", *columns(others)]
    if scores["undecided"]:
        names = ", ".join(scores["undecided"])
        lines += [f"Without a threshold, so never predicted and not in macro F1: {names}."]
    return lines


def _pair(scores: Mapping[str, Any], *names: str) -> str:
    return " / ".join(number(scores[name]) for name in names)


def _baselines(scores: Mapping[str, Any]) -> list[str]:
    found = scores["baselines"]
    rows = [["", "days", "mAP", "classes", "Brier", "model's mAP above it"]]
    for name, entry in found.items():
        if "map" not in entry:
            continue
        gain = entry["map_gain"]
        rows.append(
            [
                name,
                str(entry["n_days"]),
                with_interval(entry["map"], entry["interval"]),
                str(entry["map_classes"]),
                number(entry["brier"]),
                with_interval(gain["value"], (gain["low"], gain["high"])),
            ]
        )
    every = found["all_positive"]
    notes = [f"Every class every day: macro F1 {number(every['macro_f1'])}."]
    if _PERSISTENCE in found:
        notes += ["Persistence is yesterday's true labels, which a real classifier does not have."]
    if _KNN in found:
        notes += [
            f"knn: the types of the {NEIGHBOURS} training days nearest in standardised anomalies "
            "of sea level pressure."
        ]
    return [*heading("Baselines"), *columns(rows), *notes]


def _classes(scores: Mapping[str, Any]) -> list[str]:
    head = ["", "days", "AP", "prevalence", "precision", "recall", "F1", "all-positive F1"]
    rows = [[*head, "F_beta", "beta", "threshold", "status"]]
    floor = scores["baselines"]["all_positive"]["f1"]
    for name, entry in scores["classes"].items():
        rows.append(
            [
                name,
                str(entry["support"]),
                with_interval(entry["ap"], entry["intervals"]["ap"], 2),
                number(entry["prevalence"]),
                number(entry["precision"]),
                number(entry["recall"]),
                with_interval(entry["f1"], entry["intervals"]["f1"], 2),
                number(floor[name]),
                number(entry["fbeta"]),
                f"{entry['beta']:g}",
                number(entry["threshold"]),
                entry["status"],
            ]
        )
    note = f"Decisions: {scores['provenance']}; thresholds as exported."
    return [*heading("Classes", note), *columns(rows)]


def _probabilities(scores: Mapping[str, Any]) -> list[str]:
    names = ("roc_auc", "brier", "brier_raw", "log_loss", "log_loss_raw", "ece", "ece_raw")
    head = ["", "ROC AUC", "Brier", "raw", "log loss", "raw", "ECE", "raw"]
    rows = [[name, *(number(e[key]) for key in names)] for name, e in scores["classes"].items()]
    return [*heading("Probabilities, calibrated and raw"), *columns([head, *rows])]


def _averages(scores: Mapping[str, Any]) -> list[str]:
    names = ("precision", "recall", "f1", "fbeta")
    rows = [["", "precision", "recall", "F1", "F_beta", "F1 defined for"]]
    for name in ("micro", "macro", "weighted", "samples"):
        entry = scores["averages"][name]
        unit = "days" if name == "samples" else "classes"
        count = f"{entry['defined']['f1']} {unit}" if "defined" in entry else ""
        rows.append([name, *(number(entry[key]) for key in names), count])
    return [*heading("Averages", f"Decisions: {scores['provenance']}."), *columns(rows)]


def _groups(scores: Mapping[str, Any], name: str, title: str) -> list[str]:
    names = ("micro_f1", "weighted_f1", "exact_match", "jaccard", "brier")
    head = ["", "days", "mAP", "classes", "macro F1", "classes"]
    rows = [[*head, "micro F1", "weighted F1", "exact match", "Jaccard", "Brier"]]
    for label, entry in scores[name].items():
        means = [number(entry["map"]), str(entry["map_classes"])]
        means += [number(entry["macro_f1"]), str(entry["macro_f1_classes"])]
        rows.append([label, str(entry["n_days"]), *means, *(number(entry[key]) for key in names)])
    note = f"Decisions: {scores['provenance']}; classes without positives in a group leave it."
    return [*heading(title, note), *columns(rows)]


def _majors(scores: Mapping[str, Any]) -> list[str]:
    names = ("ap", "prevalence", "precision", "recall", "f1")
    rows = [["", "days", "AP", "prevalence", "precision", "recall", "F1"]]
    for name, entry in scores["by_major"].items():
        rows.append([name, str(entry["support"]), *(number(entry[key]) for key in names)])
    note = "Derived from the subtypes: the largest probability, any decision "
    note += f"({scores['provenance']})."
    return [*heading("Major types", note), *columns(rows)]


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines with aligned columns, the first to the left, the others to the right."""
    table = list(rows)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]


def heading(title: str, note: str = "") -> list[str]:
    """A blank line, a title with its rule and, below, what the numbers are."""
    return ["", title, "-" * len(title), *([note] if note else [])]

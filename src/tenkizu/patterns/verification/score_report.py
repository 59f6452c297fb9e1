"""``val_report.json`` and ``test_report.json``: the scores in the shape of a class report."""

from collections.abc import Mapping
from typing import Any

_AVERAGES = ("micro", "macro", "weighted", "samples")
_MEANS = ("map", "map_classes", "map_min10", "map_min10_classes")


def class_report(scores: Mapping[str, Any]) -> dict[str, Any]:
    """One entry per label and average, then what stands beside them.

    Args:
        scores: what `tenkizu.patterns.verification.scores.score_days` returned, or ``scores.json``.

    Returns:
        By label ``precision``, ``recall``, ``f1-score``, ``support``, ``ap``, ``brier``,
        ``threshold``, ``status`` and ``intervals``; "micro avg", "macro avg", "weighted avg" and
        "samples avg" with the first four; ``provenance``, ``n_days``, ``ap`` (the means),
        ``brier``, ``ece``, ``intervals`` and ``baselines``.
    """
    report: dict[str, Any] = {}
    for name, entry in scores["classes"].items():
        kept = ("ap", "brier", "threshold", "status", "intervals")
        report[name] = _row(entry) | {key: entry[key] for key in kept}
    for name in _AVERAGES:
        report[f"{name} avg"] = _row(scores["averages"][name])
    return report | {
        "provenance": scores["provenance"],
        "n_days": scores["n_days"],
        "ap": {key: scores[key] for key in _MEANS},
        "brier": {key: scores[key] for key in ("brier", "brier_raw")},
        "ece": {key: scores[key] for key in ("ece", "ece_raw")},
        "intervals": scores["intervals"],
        "baselines": scores["baselines"],
    }


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    names = {"precision": "precision", "recall": "recall", "f1-score": "f1", "support": "support"}
    return {shown: entry[name] for shown, name in names.items()}

"""Scores of each class, and their averages over classes and days."""

from typing import Any

import numpy as np

from tenkizu.core.verification import ratio
from tenkizu.patterns.verification.average_precision import mean_over
from tenkizu.patterns.verification.day_bootstrap import ends
from tenkizu.patterns.verification.days import Bools, DayTable, Floats
from tenkizu.patterns.verification.probability_scores import (
    log_losses,
    reliability,
    roc_auc,
    squared_errors,
)
from tenkizu.patterns.verification.score_summary import (
    Ranking,
    Scores,
    decision_scores,
    ranking_scores,
    weighted_mean,
)
from tenkizu.patterns.verification.thresholds import Thresholds, f_beta

_DECISION = ("precision", "recall", "f1", "fbeta")


def class_scores(
    table: DayTable,
    thresholds: Thresholds,
    provenance: str,
    point: Scores,
    drawn: Scores,
    blocks: int,
    ranking: Ranking,
) -> dict[str, Any]:
    """Everything about each class, by name.

    Args:
        table: n days.
        thresholds: as exported.
        provenance: of the decisions.
        point: what `summarise` says of the table.
        drawn: what it says of the resamples.
        blocks: in a resample.
        ranking: which probabilities ROC AUC ranks days by.
    """
    truth, predicted = table.truth, table.predicted
    auc = roc_auc(truth, ranking_scores(table, ranking))
    raw_brier = squared_errors(truth, table.raw).mean(axis=0)
    raw_loss = log_losses(truth, table.raw).mean(axis=0)
    hits = (truth & predicted).sum(axis=0)
    result = {}
    for c, name in enumerate(table.labels):
        own = truth[:, c]
        curves = {
            "raw": reliability(own, table.raw[:, c]),
            "calibrated": reliability(own, table.calibrated[:, c]),
        }
        support, called, hit = int(own.sum()), int(predicted[:, c].sum()), int(hits[c])
        result[name] = {
            "support": support,
            "prevalence": support / len(table),
            "threshold": float(thresholds.thresholds[c]),
            "status": thresholds.status[c],
            "beta": float(thresholds.beta[c]),
            "decided": bool(table.decided[c]),
            "provenance": provenance,
            **{k: float(point[k][0, c]) for k in ("ap", *_DECISION)},
            "roc_auc": float(auc[c]),
            "hits": hit,
            "misses": support - hit,
            "false_alarms": called - hit,
            "correct_negatives": len(table) - support - called + hit,
            "brier": float(point["brier"][0, c]),
            "brier_raw": float(raw_brier[c]),
            "log_loss": float(point["log_loss"][0, c]),
            "log_loss_raw": float(raw_loss[c]),
            "ece": curves["calibrated"]["ece"],
            "ece_raw": curves["raw"]["ece"],
            "intervals": {k: ends(drawn[k][:, c], blocks) for k in ("ap", "f1")},
            # A resample without the class, or without the means to judge it, is skipped.
            "resamples": {k: int((~np.isnan(drawn[k][:, c])).sum()) for k in ("ap", "f1")},
            "reliability": curves,
        }
    return result


def averages(table: DayTable, beta: Floats) -> dict[str, Any]:
    """Precision, recall, F1 and F_beta averaged in four ways.

    ``micro`` adds the counts of all classes, with a class that is not decided counted as not
    predicted. ``macro`` and ``weighted`` (by support) are means over the classes that define a
    score, ``samples`` over the days that do: ``defined`` says how many.

    Args:
        table: n days.
        beta: of F_beta, (L,); added up over classes like the counts, where they are together.
    """
    truth, predicted = table.truth, table.predicted
    both = truth & predicted
    hits, positives, called = (v.sum(axis=0).astype(float) for v in (both, truth, predicted))
    by_class = decision_scores(hits, positives, called, table.decided, beta)
    counts = {k: int((~np.isnan(by_class[k])).sum()) for k in _DECISION}
    support = int(truth.sum())
    daily = _together(both, truth, predicted, beta)
    over_all = _together(both.ravel(), truth.ravel(), predicted.ravel(), np.tile(beta, len(table)))
    return {
        "micro": {k: float(v) for k, v in over_all.items()} | {"support": support},
        "macro": {k: float(mean_over(by_class[k])) for k in _DECISION}
        | {"support": support, "defined": counts},
        "weighted": {k: float(weighted_mean(by_class[k], positives)) for k in _DECISION}
        | {"support": support, "defined": counts},
        "samples": {k: float(mean_over(v)) for k, v in daily.items()}
        | {"support": support, "defined": {k: int((~np.isnan(v)).sum()) for k, v in daily.items()}},
    }


def _together(both: Bools, truth: Bools, predicted: Bools, beta: Floats) -> dict[str, Floats]:
    """Scores of counts added over the last axis."""
    hits, positives, called = (v.sum(axis=-1) for v in (both, truth, predicted))
    squared = np.square(beta)
    top = ((1 + squared) * both).sum(axis=-1)
    return {
        "precision": ratio(hits, called),
        "recall": ratio(hits, positives),
        "f1": f_beta(hits, positives, called, 1.0),
        "fbeta": ratio(top, (squared * truth).sum(axis=-1) + called),
    }

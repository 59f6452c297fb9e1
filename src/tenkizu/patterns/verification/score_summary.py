"""The headline scores of a table of days, for one or many weightings of its days.

Every score here is a ratio of sums over days, or AP, so the numbers of a table, of its resamples
and of a season come from the same lines.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import ratio
from tenkizu.patterns.verification.average_precision import average_precision, mean_over
from tenkizu.patterns.verification.days import Bools, DayTable, Floats
from tenkizu.patterns.verification.probability_scores import log_losses, squared_errors
from tenkizu.patterns.verification.thresholds import f_beta

Ranking = Literal["raw", "calibrated"]
"""Which probabilities AP ranks days by: raw ones within one model, calibrated ones where days of
several models are pooled."""

MIN_POSITIVES = 10
"""mAP is given once more over classes with at least so many, since few days move AP much."""

Scores = dict[str, Floats]

_CELLS = 2**22


def ranking_scores(table: DayTable, ranking: Ranking) -> Floats:
    """The probabilities that AP ranks days by, (n, L)."""
    return table.raw if ranking == "raw" else table.calibrated


def decision_scores(
    hits: Floats, positives: Floats, predicted: Floats, decided: Bools, beta: Floats
) -> Scores:
    """Precision, recall, F1 and F_beta of each class from counts.

    Recall and F are undefined without positives, precision without predictions, all of them for a
    class that is not decided.

    Args:
        hits: true positives, (..., L).
        positives: days with the class, (..., L).
        predicted: days predicted, (..., L).
        decided: (L,).
        beta: (L,).
    """
    known = np.where(decided & (positives > 0), 1.0, np.nan)
    return {
        "precision": ratio(hits, predicted) * np.where(decided, 1.0, np.nan),
        "recall": ratio(hits, positives) * known,
        "f1": f_beta(hits, positives, predicted, 1.0) * known,
        "fbeta": f_beta(hits, positives, predicted, beta) * known,
    }


def summarise(
    table: DayTable,
    counts: NDArray[np.generic] | None = None,
    *,
    ranking: Ranking = "raw",
    beta: Floats | float = 1.0,
) -> Scores:
    """Headline scores of each weighting of the days.

    A class that is not decided counts as not predicted where classes are taken together (micro
    F1, exact match, Hamming loss, Jaccard index); it leaves the macro and weighted means.

    Args:
        table: n days.
        counts: how often each day counts, (R, n); default once each, R = 1.
        ranking: which probabilities AP ranks by.
        beta: of F_beta, one or (L,).

    Returns:
        Per class (R, L): ``ap``, ``precision``, ``recall``, ``f1``, ``fbeta``, ``brier``,
        ``log_loss``, ``support``. In all (R,): ``map`` with ``map_classes``, ``map_min10`` with
        ``map_min10_classes``, ``macro_f1`` with ``macro_f1_classes``, ``weighted_f1``,
        ``micro_f1``, ``exact_match``, ``hamming_loss``, ``jaccard``, ``brier_mean``,
        ``brier_raw_mean``, ``log_loss_mean``, ``log_loss_raw_mean``.
    """
    if counts is None:
        counts = np.ones((1, len(table)), np.int64)
    beta = np.broadcast_to(np.asarray(beta, np.float64), table.decided.shape)
    days = counts.sum(axis=1, dtype=np.float64)[:, None]
    sums = _sums(table, counts)
    hits, positives, predicted = sums["hits"], sums["positives"], sums["predicted"]
    scores = decision_scores(hits, positives, predicted, table.decided, beta)
    scores["ap"] = average_precision(table.truth, ranking_scores(table, ranking), counts)
    scores["support"] = positives
    scores["brier"] = ratio(sums["brier"], days)
    scores["log_loss"] = ratio(sums["log_loss"], days)
    frequent = table.truth.sum(axis=0) >= MIN_POSITIVES
    scores["map"] = mean_over(scores["ap"])
    scores["map_classes"] = _defined(scores["ap"])
    scores["map_min10"] = mean_over(scores["ap"], frequent)
    scores["map_min10_classes"] = _defined(scores["ap"] * np.where(frequent, 1.0, np.nan))
    scores["macro_f1"] = mean_over(scores["f1"])
    scores["macro_f1_classes"] = _defined(scores["f1"])
    scores["weighted_f1"] = weighted_mean(scores["f1"], positives)
    scores["micro_f1"] = f_beta(hits.sum(axis=1), positives.sum(axis=1), predicted.sum(axis=1), 1.0)
    scores["exact_match"] = ratio(sums["exact"], days)[:, 0]
    scores["hamming_loss"] = ratio(sums["wrong"], days * len(table.labels))[:, 0]
    scores["jaccard"] = ratio(sums["overlap"], sums["overlap_days"])[:, 0]
    for name in ("brier", "brier_raw", "log_loss", "log_loss_raw"):
        scores[f"{name}_mean"] = mean_over(ratio(sums[name], days))
    return scores


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Mean over the last axis weighted by support; what is undefined is left out."""
    known = np.where(np.isnan(values), 0.0, weights)
    return ratio((np.nan_to_num(values) * known).sum(axis=-1), known.sum(axis=-1))


def _defined(values: Floats) -> Floats:
    counts: Floats = (~np.isnan(values)).sum(axis=-1).astype(np.float64)
    return counts


def _sums(table: DayTable, counts: NDArray[np.generic]) -> Scores:
    """Weighted sums over days of what each day adds, (R, L) or (R, 1)."""
    truth, predicted = table.truth, table.predicted
    union = (truth | predicted).sum(axis=1, keepdims=True)
    day: dict[str, NDArray[np.generic]] = {
        "hits": truth & predicted,
        "positives": truth,
        "predicted": predicted,
        "exact": (truth == predicted).all(axis=1, keepdims=True),
        "wrong": (truth != predicted).sum(axis=1, keepdims=True),
        "overlap": (truth & predicted).sum(axis=1, keepdims=True) / np.maximum(union, 1),
        "overlap_days": union > 0,
        "brier": squared_errors(truth, table.calibrated),
        "brier_raw": squared_errors(truth, table.raw),
        "log_loss": log_losses(truth, table.calibrated),
        "log_loss_raw": log_losses(truth, table.raw),
    }
    columns = np.concatenate([v.astype(np.float64) for v in day.values()], axis=1)
    sums = np.concatenate([rows.astype(np.float64) @ columns for rows in _chunks(counts)])
    ends = np.cumsum([v.shape[1] for v in day.values()])[:-1]
    return dict(zip(day, np.split(sums, ends, axis=1), strict=True))


def _chunks(counts: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    step = max(1, _CELLS // max(1, counts.shape[1]))
    for first in range(0, len(counts), step):
        yield counts[first : first + step]

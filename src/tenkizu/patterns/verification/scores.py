"""All scores of an evaluation: the content of ``scores.json``.

What is undefined is NaN here and null in the file; the count that shows why stands beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tenkizu.core.bootstrap import RESAMPLES, SEED
from tenkizu.core.errors import DataError
from tenkizu.patterns.verification.average_precision import mean_over
from tenkizu.patterns.verification.baseline_scores import baseline_scores
from tenkizu.patterns.verification.class_scores import averages, class_scores
from tenkizu.patterns.verification.day_bootstrap import BLOCK_DAYS, LEVEL, day_counts, ends
from tenkizu.patterns.verification.days import DayTable, Floats
from tenkizu.patterns.verification.group_scores import group_scores, major_scores
from tenkizu.patterns.verification.probability_scores import reliability
from tenkizu.patterns.verification.score_summary import Ranking, ranking_scores, summarise
from tenkizu.patterns.verification.thresholds import Thresholds

_OF_DECISIONS = ("micro_f1", "weighted_f1", "exact_match", "hamming_loss", "jaccard")
_OF_PROBABILITIES = ("brier", "log_loss")


def score_days(
    table: DayTable,
    majors: Sequence[str],
    thresholds: Thresholds,
    provenance: str,
    baselines: Mapping[str, Floats],
    *,
    ranking: Ranking = "raw",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """Score a table of days beside its baselines.

    Decisions are those of the table; ``thresholds`` says what is exported. Probability scores
    (Brier, log loss, ECE) are of the calibrated probabilities, or with ``raw`` in their name of
    the raw ones; without a class they are means over classes. A class without positives has AP,
    recall and F1 undefined and leaves the macro means, in each resample too; a class without a
    threshold leaves the means over F1.

    Args:
        table: n days.
        majors: the major type of each label, (L,).
        thresholds: exported with the model; they give beta, status and threshold of each class.
        provenance: of decisions and calibration: held-out, cross-fitted or in-sample.
        baselines: probabilities (n, L) by name; rows of NaN are days that a baseline does not
            know, and it is compared with the model on the others.
        ranking: which probabilities AP and ROC AUC rank days by.
        resamples: of the bootstrap, which all scores and baselines share.
        seed: of its draws.

    Returns:
        Headline scores, ``intervals``, ``averages``, ``classes``, ``reliability``, ``by_season``,
        ``by_year``, ``by_kind``, ``by_major`` and ``baselines``.

    Raises:
        DataError: no days; thresholds, majors or baselines that do not fit the table.
    """
    _check(table, majors, thresholds)
    point = summarise(table, ranking=ranking, beta=thresholds.beta)
    counts, blocks = day_counts(table.times, resamples=resamples, seed=seed)
    drawn = summarise(table, counts, ranking=ranking, beta=thresholds.beta)
    classes = class_scores(table, thresholds, provenance, point, drawn, blocks, ranking)
    by_major = major_scores(table, majors, provenance)
    undecided = [x for x, known in zip(table.labels, table.decided, strict=True) if not known]

    result: dict[str, Any] = {
        "n_days": len(table),
        "first_day": str(table.times[0].astype("datetime64[D]")),
        "last_day": str(table.times[-1].astype("datetime64[D]")),
        "labels": list(table.labels),
        "provenance": provenance,
        "ranking": ranking,
    }
    for name in ("map", "map_min10", "macro_f1"):
        result[name] = float(point[name][0])
        result[f"{name}_classes"] = int(point[f"{name}_classes"][0])
    result["macro_f1_provenance"] = provenance
    result["undecided"] = undecided
    result |= {name: float(point[name][0]) for name in _OF_DECISIONS}
    for name in _OF_PROBABILITIES:
        result[name] = float(point[f"{name}_mean"][0])
        result[f"{name}_raw"] = float(point[f"{name}_raw_mean"][0])
    for name in ("ece", "ece_raw", "roc_auc"):
        result[name] = float(mean_over(np.array([c[name] for c in classes.values()])))
    result["major_map"] = _mean(by_major, "ap")
    result["major_macro_f1"] = _mean(by_major, "f1")
    scored = ("map", "map_min10", "macro_f1", *_OF_DECISIONS)
    return result | {
        "intervals": {
            "level": LEVEL,
            "method": "moving-block bootstrap, percentiles",
            "block_days": BLOCK_DAYS,
            "blocks": blocks,
            "resamples": resamples,
            "seed": seed,
            **{name: ends(drawn[name], blocks) for name in scored},
            **{name: ends(drawn[f"{name}_mean"], blocks) for name in _OF_PROBABILITIES},
        },
        "averages": {"provenance": provenance, **averages(table, thresholds.beta)},
        "classes": classes,
        "reliability": {
            "raw": reliability(table.truth.ravel(), table.raw.ravel()),
            "calibrated": reliability(table.truth.ravel(), table.calibrated.ravel()),
        },
        **group_scores(table, provenance, ranking),
        "by_major": by_major,
        "baselines": baseline_scores(
            table, baselines, ranking_scores(table, ranking), counts, blocks
        ),
    }


def paired_difference(
    a: DayTable,
    b: DayTable,
    *,
    ranking: Ranking = "raw",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """How much better model ``a`` is than ``b``, in mAP and macro F1 on the same resampled days.

    Returns:
        ``map`` and ``macro_f1``, those of ``a`` less those of ``b``, each with ``value``, ``low``
        and ``high``; and ``blocks``.

    Raises:
        DataError: the tables are not of the same days, labels and truth.
    """
    same = a.labels == b.labels and np.array_equal(a.times, b.times)
    if not same or not np.array_equal(a.truth, b.truth):
        raise DataError(
            "only models evaluated on the same labelled days can be compared",
            found=" and ".join(_extent(t) for t in (a, b)),
            expected="one set of days and labels",
            next_step="evaluate both on the same store and labels",
        )
    counts, blocks = day_counts(a.times, resamples=resamples, seed=seed)
    point = [summarise(table, ranking=ranking) for table in (a, b)]
    drawn = [summarise(table, counts, ranking=ranking) for table in (a, b)]
    result: dict[str, Any] = {"blocks": blocks}
    for name in ("map", "macro_f1"):
        low, high = ends(drawn[0][name] - drawn[1][name], blocks)
        value = float(point[0][name][0] - point[1][name][0])
        result[name] = {"value": value, "low": low, "high": high}
    return result


def mean_and_sd(
    scores: Sequence[Mapping[str, Any]],
    names: Sequence[str] = ("map", "map_min10", "macro_f1", "exact_match", "brier", "ece"),
) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of headline scores over folds or seeds.

    Args:
        scores: of each fold, as `score_days` gives them or from ``scores.json``.
        names: of the scores.

    Returns:
        By name ``mean``, ``sd`` (with n - 1, NaN for one fold) and ``n``, the folds that define it.
    """
    result = {}
    for name in names:
        values = np.array([entry[name] for entry in scores], np.float64)
        known = values[~np.isnan(values)]
        sd = float(known.std(ddof=1)) if len(known) > 1 else float("nan")
        result[name] = {"mean": float(mean_over(values)), "sd": sd, "n": len(known)}
    return result


def _check(table: DayTable, majors: Sequence[str], thresholds: Thresholds) -> None:
    if not len(table):
        raise DataError(
            "no labelled day to score",
            next_step="check the years of the split and the dates of the labels",
        )
    if thresholds.labels != table.labels or len(majors) != len(table.labels):
        raise DataError(
            "thresholds or major types of other labels",
            found=f"{', '.join(thresholds.labels)} and {len(majors)} majors",
            expected=f"{', '.join(table.labels)} with a major each",
        )


def _extent(table: DayTable) -> str:
    days = f"{len(table)} days"
    if len(table):
        days += f" from {table.times[0]} to {table.times[-1]}"
    return f"{days}, {len(table.labels)} labels, {np.count_nonzero(table.truth)} positives"


def _mean(entries: Mapping[str, Mapping[str, Any]], name: str) -> float:
    return float(mean_over(np.array([entry[name] for entry in entries.values()])))

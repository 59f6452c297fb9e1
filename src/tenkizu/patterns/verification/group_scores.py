"""Scores by season, year and kind of day, and of major types."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.patterns.verification.average_precision import average_precision
from tenkizu.patterns.verification.days import KINDS, DayTable
from tenkizu.patterns.verification.score_summary import Ranking, decision_scores, summarise

SEASONS = ("DJF", "MAM", "JJA", "SON")

_COUNTS = ("map_classes", "macro_f1_classes")
_SCORES = (
    "map",
    "macro_f1",
    "micro_f1",
    "weighted_f1",
    "exact_match",
    "hamming_loss",
    "jaccard",
)


def group_scores(table: DayTable, provenance: str, ranking: Ranking) -> dict[str, Any]:
    """Headline scores ``by_season``, ``by_year`` and ``by_kind`` of the groups that have days."""
    months = table.times.astype("datetime64[M]").astype(np.int64) % 12
    seasons = np.array(SEASONS)[(months + 1) % 12 // 3]
    years = table.times.astype("datetime64[Y]").astype(str)
    kinds = np.array(table.kinds)

    def each(names: NDArray[np.str_], order: Sequence[str]) -> dict[str, Any]:
        return {
            name: _headline(table.select(names == name), provenance, ranking)
            for name in order
            if (names == name).any()
        }

    return {
        "by_season": each(seasons, SEASONS),
        "by_year": each(years, sorted(set(years.tolist()))),
        "by_kind": each(kinds, KINDS),
    }


def _headline(table: DayTable, provenance: str, ranking: Ranking) -> dict[str, Any]:
    scores = summarise(table, ranking=ranking)
    return {
        "n_days": len(table),
        **{name: float(scores[name][0]) for name in _SCORES},
        **{name: int(scores[name][0]) for name in _COUNTS},
        "brier": float(scores["brier_mean"][0]),
        "provenance": provenance,
    }


def major_scores(table: DayTable, majors: Sequence[str], provenance: str) -> dict[str, Any]:
    """Scores of each major type, derived from its subtypes.

    A day has a major type if it has one of its subtypes, observed or predicted; its probability
    is the largest calibrated one among them.

    Args:
        table: n days.
        majors: of each label, (L,).
        provenance: of the decisions.
    """
    names = list(dict.fromkeys(majors))
    member = np.array([[m == name for m in majors] for name in names])
    truth, predicted = (
        np.stack([v[:, m].any(axis=1) for m in member], 1) for v in (table.truth, table.predicted)
    )
    probs = np.stack([table.calibrated[:, m].max(axis=1) for m in member], axis=1)
    decided = np.array([table.decided[m].any() for m in member])
    support = truth.sum(axis=0)
    ap = average_precision(truth, probs)
    decisions = decision_scores(
        (truth & predicted).sum(axis=0).astype(float),
        support.astype(float),
        predicted.sum(axis=0).astype(float),
        decided,
        np.ones(len(names)),
    )
    return {
        name: {
            "labels": [x for x, m in zip(table.labels, majors, strict=True) if m == name],
            "support": int(support[i]),
            "prevalence": float(support[i]) / len(table),
            "ap": float(ap[i]),
            **{k: float(decisions[k][i]) for k in ("precision", "recall", "f1")},
            "provenance": provenance,
        }
        for i, name in enumerate(names)
    }

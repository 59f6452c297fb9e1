"""Thresholds that turn probabilities into decisions, chosen by F_beta on validation days.

Every rule "probability >= s" with s a score that occurs is tried, with exact counts. What cannot
be tuned is named: a class without positives stays undecided, one with few or without skill gets a
fallback.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import ratio

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

TUNED, FEW, NO_SKILL, UNDEFINED = "tuned", "few_positives", "no_skill", "undefined"

_EQUAL = 1e-13
"""Two F values this close, relatively, are one: far below the difference of any two ratios of
counts of days, far above rounding."""


@dataclass(frozen=True)
class Thresholds:
    """One threshold per class.

    Attributes:
        labels: names, L.
        thresholds: (L,), NaN where undefined.
        status: ``tuned``, ``few_positives``, ``no_skill`` or ``undefined``, L.
        beta: weight of recall, (L,).
        fbeta: what the threshold reaches on the days it was chosen on, (L,), NaN where undefined.
        n_positive: positives among these days, (L,).
        tuned_on: says which days these are.
        applies_to: says which days it is meant for.
    """

    labels: tuple[str, ...]
    thresholds: Floats
    status: tuple[str, ...]
    beta: Floats
    fbeta: Floats
    n_positive: NDArray[np.int64]
    tuned_on: str = ""
    applies_to: str = ""

    @property
    def decided(self) -> Bools:
        """Classes with a threshold, (L,)."""
        return ~np.isnan(self.thresholds)

    def decide(self, probs: Floats) -> Bools:
        """Whether a probability reaches its threshold, (n, L); false for undefined classes."""
        return np.asarray(probs) >= self.thresholds

    def described(self, tuned_on: str, applies_to: str) -> Self:
        """The same thresholds that say where they come from."""
        return replace(self, tuned_on=tuned_on, applies_to=applies_to)

    def to_json(self) -> dict[str, Any]:
        """The content of ``thresholds.json``."""
        return {
            "labels": list(self.labels),
            "thresholds": _numbers(self.thresholds),
            "status": list(self.status),
            "beta": _numbers(self.beta),
            "fbeta": _numbers(self.fbeta),
            "n_positive": self.n_positive.tolist(),
            "tuned_on": self.tuned_on,
            "applies_to": self.applies_to,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            tuple(data["labels"]),
            np.array(data["thresholds"], np.float64),
            tuple(data["status"]),
            np.array(data["beta"], np.float64),
            np.array(data["fbeta"], np.float64),
            np.array(data["n_positive"], np.int64),
            data["tuned_on"],
            data["applies_to"],
        )


def tune_thresholds(
    truth: Bools,
    probs: Floats,
    labels: Sequence[str],
    beta: float | Sequence[float] | Floats = 1.0,
    min_positives: int = 10,
    fallback: float = 0.5,
) -> Thresholds:
    """Thresholds of largest F_beta.

    F_beta = (1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP). Of equal rules that of the
    higher score wins; the threshold lies midway to the next lower score.

    Args:
        truth: (n, L).
        probs: (n, L).
        labels: names, L.
        beta: one for all classes or one each, (L,).
        min_positives: a class with fewer keeps the fallback (``few_positives``).
        fallback: also for a class that is best predicted every day (``no_skill``).
    """
    count = len(labels)
    weights = np.broadcast_to(np.asarray(beta, np.float64), (count,)).copy()
    positives = truth.sum(axis=0, dtype=np.int64)
    values = np.full(count, np.nan)
    status = [UNDEFINED] * count
    for c in np.flatnonzero(positives):
        best = None
        if positives[c] >= min_positives:
            best = _best(truth[:, c], probs[:, c], float(weights[c]))
            status[c] = NO_SKILL if best is None else TUNED
        else:
            status[c] = FEW
        values[c] = fallback if best is None else best
    chosen = probs >= values
    hits = (chosen & truth).sum(axis=0)
    reached = f_beta(hits, positives, chosen.sum(axis=0), weights)
    fbeta = np.where(np.isnan(values), np.nan, reached)
    return Thresholds(tuple(labels), values, tuple(status), weights, fbeta, positives)


def f_beta(
    hits: NDArray[Any], positives: NDArray[Any], predicted: NDArray[Any], beta: Floats | float
) -> Floats:
    """F_beta from counts: hits TP, positives TP + FN, predicted TP + FP; NaN if all are 0."""
    squared = np.square(beta)
    return ratio((1 + squared) * hits, squared * positives + predicted)


def _best(truth: Bools, probs: Floats, beta: float) -> float | None:
    """The threshold of one class; None if the best rule predicts every day."""
    order = np.argsort(-probs, kind="stable")
    scores = probs[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    hits = np.cumsum(truth[order])[last]
    f = f_beta(hits, hits[-1], last + 1, beta)
    best = int(np.argmax(f >= f.max() * (1 - _EQUAL)))
    if best == len(last) - 1:
        return None
    score, lower = float(scores[last[best]]), float(scores[last[best + 1]])
    # Halves first: the sum of two scores that are not probabilities might overflow.
    middle = 0.5 * score + 0.5 * lower
    return middle if lower < middle < score else score


def _numbers(values: Floats) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]

"""Decisions on validation days that their own labels did not choose.

Thresholds and calibration tuned and reported on the same days look better than they are. Here each
group of days is calibrated and decided with what the other groups say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenkizu.patterns.verification.calibration import Kind, fit_calibration
from tenkizu.patterns.verification.thresholds import Bools, Floats, tune_thresholds

HELD_OUT, CROSS_FITTED, IN_SAMPLE = "held-out", "cross-fitted", "in-sample"
"""Provenance of a number that rests on thresholds: chosen on other days of another split, on the
other groups of the same split, or on the very days it is reported for."""

BLOCK_DAYS = 30


@dataclass(frozen=True)
class Decisions:
    """What cross-fitting gives, ready for a `tenkizu.patterns.verification.days.DayTable`.

    Attributes:
        calibrated: probabilities, (n, L).
        predicted: (n, L).
        decided: classes with any positive, (L,).
        provenance: `CROSS_FITTED`, or `IN_SAMPLE` where there was one group only.
    """

    calibrated: Floats
    predicted: Bools
    decided: Bools
    provenance: str


def validation_groups(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """The group of each day, (n,): its year, or the 30-day block if there is one year only.

    Args:
        days: local dates, (n,).
    """
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970
    if len(np.unique(years)) != 1:
        return years
    count = days.astype("datetime64[D]").astype(np.int64)
    blocks: NDArray[np.int64] = (count - count.min()) // BLOCK_DAYS
    return blocks


def cross_fit(
    logits: Floats,
    truth: Bools,
    groups: NDArray[np.int64],
    labels: Sequence[str],
    *,
    kind: Kind = "platt",
    pos_weight: Sequence[float] | Floats | None = None,
    loss: str = "bce",
    sampler: str = "shuffle",
    beta: float | Sequence[float] | Floats = 1.0,
    min_positives: int = 10,
    fallback: float = 0.5,
) -> Decisions:
    """Calibrate and decide each group of days with what is fitted on the others.

    A class that the others cannot tune gets the fallback, also where they have none of its
    positives; a class without any positive at all stays undecided.

    Args:
        logits: (n, L), or those of M networks whose calibrated probabilities are averaged,
            (M, n, L).
        truth: (n, L).
        groups: of the days, (n,), see `validation_groups`.
        labels: names, L.
        kind: of calibration; with pos_weight, loss and sampler as `fit_calibration` takes them.
        pos_weight: of the training loss, (L,).
        loss: kind of the training loss.
        sampler: kind of the training sampler.
        beta: as in `tune_thresholds`, like the next two.
        min_positives: a class with fewer in the other groups gets the fallback.
        fallback: the threshold of what cannot be tuned.
    """
    members = logits.reshape(-1, *truth.shape)
    calibrated = np.empty(truth.shape)
    predicted = np.zeros(truth.shape, bool)
    decided: Bools = np.asarray(truth.any(axis=0))
    names = np.unique(groups)
    for name in names:
        own = groups == name
        others = own if len(names) == 1 else ~own
        others_probs, own_probs = [], []
        for member in members:
            calibration = fit_calibration(
                kind,
                member[others],
                truth[others],
                labels,
                pos_weight=pos_weight,
                loss=loss,
                sampler=sampler,
            )
            others_probs.append(calibration.apply(member[others]))
            own_probs.append(calibration.apply(member[own]))
        calibrated[own] = np.mean(own_probs, axis=0)
        tuned = tune_thresholds(
            truth[others],
            np.mean(others_probs, axis=0),
            labels,
            beta=beta,
            min_positives=min_positives,
            fallback=fallback,
        )
        limits = np.where(tuned.decided, tuned.thresholds, fallback)
        predicted[own] = (calibrated[own] >= limits) & decided
    provenance = CROSS_FITTED if len(names) > 1 else IN_SAMPLE
    return Decisions(calibrated, predicted, decided, provenance)

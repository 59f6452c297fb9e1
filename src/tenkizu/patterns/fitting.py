"""What is fitted on validation days after training: calibration and thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.labelled_days import LabelledDays
from tenkizu.patterns.members import Member
from tenkizu.patterns.model import Outputs, combine, run_networks
from tenkizu.patterns.training import Fold
from tenkizu.patterns.verification.calibration import Calibration, fit_calibration
from tenkizu.patterns.verification.thresholds import Thresholds, tune_thresholds


@dataclass(frozen=True)
class Fitted:
    """A trained fold with what was fitted on its validation days."""

    fold: Fold
    members: list[Member]
    calibrations: list[Calibration]
    validation: Outputs


def calibrate(
    config: PatternsConfig, days: LabelledDays, fold: Fold, members: list[Member]
) -> Fitted:
    """Calibrate each member on the fold's validation days."""
    logits, embedding = run_networks(
        [member.net for member in members], members[0].loader(fold.validation)
    )
    truth = days.targets[fold.validation]
    calibrations = [
        fit_calibration(
            config.calibration.kind,
            own,
            truth,
            days.table.catalogue.labels,
            **loss_facts(config, member),
        ).described("all validation days")
        for own, member in zip(logits, members, strict=True)
    ]
    return Fitted(fold, members, calibrations, combine(logits, calibrations, embedding))


def learnt_truth(days: LabelledDays, one: Fitted) -> NDArray[np.bool_]:
    """Targets (n, L) of a fold's validation days, without types that no training day has.

    Such a type stays undefined whatever validation holds of it: the network cannot know it.
    """
    return days.targets[one.fold.validation] & days.targets[one.fold.train].any(axis=0)


def loss_facts(config: PatternsConfig, member: Member) -> dict[str, Any]:
    """What calibration must know of the training."""
    return {
        "pos_weight": member.weights,
        "loss": config.loss.kind,
        "sampler": config.sampler.kind,
    }


def _betas(config: PatternsConfig, labels: Sequence[str]) -> NDArray[np.float64]:
    beta = config.thresholds.beta
    if isinstance(beta, dict):
        return np.array([beta.get(name, 1.0) for name in labels])
    return np.full(len(labels), beta)


def tuning(config: PatternsConfig, labels: Sequence[str]) -> dict[str, Any]:
    """How thresholds are chosen."""
    return {
        "beta": _betas(config, labels),
        "min_positives": config.thresholds.min_positives,
        "fallback": config.thresholds.fallback,
    }


def exported_thresholds(
    config: PatternsConfig, days: LabelledDays, fitted: Sequence[Fitted]
) -> Thresholds:
    """The exported thresholds: of all validation days, each by its own fold's members."""
    labels = days.table.catalogue.labels
    truth = np.concatenate([learnt_truth(days, one) for one in fitted])
    probs = np.concatenate([one.validation.calibrated for one in fitted])
    return tune_thresholds(truth, probs, labels, **tuning(config, labels)).described(
        "all validation days", "days of no split"
    )

"""Rare types: weights of positives, how often days are drawn, and what that leaves of the sample.

All from the training days alone, in float64.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenkizu.core.errors import ConfigError
from tenkizu.patterns.config import LossConfig, SamplerConfig

Weights = NDArray[np.float64]


def pos_weight(
    counts: ArrayLike,
    n: int,
    mode: Literal["none", "sqrt", "ratio"] | Sequence[float] = "ratio",
    clip: tuple[float, float] = (1.0, 50.0),
) -> Weights:
    """Weight of positives in the loss, (L,).

    Args:
        counts: training days with each type, (L,).
        n: training days.
        mode: ``ratio`` for (n - count) / count, ``sqrt`` for its root, ``none`` for 1, or the
            weights themselves.
        clip: lowest and highest weight of the computed modes; the root is taken first.

    Returns:
        The weights; 1 for a type without training days, which stays undefined.

    Raises:
        ConfigError: as many weights as types are not given.
    """
    days = np.asarray(counts, np.float64)
    if not isinstance(mode, str):
        if len(mode) != len(days):
            raise ConfigError(
                "one weight a type is needed",
                variable="loss.pos_weight",
                found=f"{len(mode)} weights",
                expected=str(len(days)),
            )
        return np.asarray(mode, np.float64)
    if mode == "none":
        return np.ones(len(days))
    ratio = (n - days) / np.maximum(days, 1)
    weights = np.clip(np.sqrt(ratio) if mode == "sqrt" else ratio, *clip)
    return np.where(days > 0, weights, 1.0)


def inverse_weights(
    targets: ArrayLike, power: float = 1.0, max_draws: float | None = None
) -> Weights:
    """How likely each training day is to be drawn, (n,): ``(sum_c y_c / n_c) ^ power``.

    Args:
        targets: types of each day, (n, L), 0 and 1.
        power: 0 draws all days with a type alike.
        max_draws: the most draws of one day that n draws should expect; weights above are lowered
            to what gives just that.

    Returns:
        The weights, not normalised; a day without a type has 0.
    """
    truth = np.asarray(targets, np.float64)
    counts = truth.sum(axis=0)
    rarity = truth @ np.where(counts > 0, 1 / np.maximum(counts, 1), 0.0)
    weights = np.where(rarity > 0, rarity**power, 0.0)
    return weights if max_draws is None else _capped(weights, max_draws)


def expected_draws(weights: ArrayLike) -> Weights:
    """Draws of each day expected in an epoch of as many draws as days, (n,)."""
    share = np.asarray(weights, np.float64)
    draws: Weights = len(share) * share / share.sum()
    return draws


def effective_sample_size(weights: ArrayLike) -> float:
    """``(sum w)^2 / sum w^2``: days drawn alike that estimate a mean as well (Kish 1965)."""
    values = np.asarray(weights, np.float64)
    return float(values.sum() ** 2 / (values**2).sum())


def imbalance_warning(
    loss: LossConfig, sampler: SamplerConfig, targets: ArrayLike, labels: Sequence[str]
) -> str | None:
    """What to log of how rare types are favoured: three times over, or by weights in vain.

    Args:
        loss: of the run.
        sampler: of the run.
        targets: types of each training day, (n, L).
        labels: names of the types.

    Returns:
        The warning; None if there is nothing to say.
    """
    if loss.kind == "asl" and "pos_weight" in loss.model_fields_set and loss.pos_weight != "none":
        return (
            f"loss.pos_weight={loss.pos_weight} has no part in the asymmetric loss, whose "
            "exponents gamma_pos and gamma_neg favour positives; set loss.pos_weight=none"
        )
    if not loss.weighted or sampler.kind != "inverse" or loss.kind == "bce":
        return None
    truth = np.asarray(targets, bool)
    weights = inverse_weights(truth, sampler.power, sampler.max_draws)
    counts = truth.sum(axis=0)
    rarest = int(np.argmin(np.where(counts > 0, counts, len(truth) + 1)))
    draws = expected_draws(weights)[truth[:, rarest]].mean()
    return (
        f"imbalance is corrected three times: loss.pos_weight, sampler.kind=inverse and "
        f"loss.kind={loss.kind}; each of the {counts[rarest]} training days with {labels[rarest]} "
        f"is drawn about {draws:.0f} times an epoch, and the effective sample is "
        f"{effective_sample_size(weights):.0f} of {len(truth)} days; one correction is usually "
        "enough"
    )


def _capped(weights: Weights, max_draws: float) -> Weights:
    """Weights lowered to the ceiling c for which n c = max_draws * sum(min(w, c))."""
    n = len(weights)
    ordered = np.sort(weights)[::-1]
    rest = np.cumsum(ordered[::-1])[::-1]  # rest[k]: sum without the k largest
    for k in range(n):
        free = n - max_draws * k
        if free <= 0 or rest[k] <= 0:
            break
        ceiling = max_draws * rest[k] / free
        if ordered[k] <= ceiling:
            capped: Weights = np.minimum(weights, ceiling)
            return capped
    # Too few days have a type to be drawn so seldom: all of them alike comes nearest.
    return (weights > 0).astype(np.float64)

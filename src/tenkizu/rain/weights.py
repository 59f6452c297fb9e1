"""Weights of the loss by true amount: given, or computed from the exact training histograms."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.verification import Tally
from tenkizu.rain.config import LossConfig

INVERSE_LIMITS = (1.0, 100.0)
"""Range of inverse-frequency weights; without it the rarest bin would decide alone."""

POWER_LIMITS = (1.0, 1000.0)
"""Range of power weights, which grow more slowly; the upper limit is that of the manual ones."""


@dataclass(frozen=True)
class LossWeights:
    """One weight per bin.

    Attributes:
        rule: where they come from, a value of ``loss.weights``.
        hourly: for the bins of hourly amounts.
        total: for the bins of 3-hour totals; None where the loss has no term for totals.
    """

    rule: str
    hourly: list[float]
    total: list[float] | None

    @property
    def computed(self) -> bool:
        """Whether they depend on the training data."""
        return self.rule in ("inverse_frequency", "power")

    def to_json(self) -> dict[str, Any]:
        """For ``computed_weights.json`` and the model's metadata."""
        return asdict(self)


def loss_weights(loss: LossConfig, tables: Tally, totals: bool) -> LossWeights:
    """The weights of a configuration.

    Args:
        loss: names the rule and the bins.
        tables: of the training split (`tenkizu.rain.tables.window_tables`), exact counts.
        totals: whether the loss has a term for 3-hour totals, as that of the direct head.

    Raises:
        ConfigError: ``manual_weights_sum`` does not fit ``bins_sum``.
        DataError: a bin from which a weight is computed holds no training value.
    """
    if loss.weights in ("manual", "off"):
        kinds = len(loss.bins_sum) + 1
        given = loss.manual_weights_sum if loss.weights == "manual" else [1.0] * kinds
        if totals and len(given) != kinds:
            raise ConfigError(
                "one weight is needed per 3-hour bin",
                variable="loss.manual_weights_sum",
                found=len(given),
                expected=f"{kinds}, one more than the edges in loss.bins_sum",
            )
        return LossWeights(loss.weights, loss.hourly_weights, given if totals else None)

    def compute(name: str, edges: Sequence[float], key: str) -> list[float]:
        counts = np.asarray(tables[name], np.float64)
        empty = np.flatnonzero(counts == 0)
        if empty.size:
            borders = [0.0, *edges, np.inf]
            raise DataError(
                "a bin without a training value has no frequency",
                variable=f"loss.{key}",
                found="no value in "
                + ", ".join(f"{borders[i]:g}-{borders[i + 1]:g} mm" for i in empty),
                next_step=f"lower the edges in loss.{key}, or use loss.weights=manual",
            )
        if loss.weights == "power":
            weights, limits = power(counts, loss.alpha), POWER_LIMITS
        else:
            weights, limits = inverse_frequency(counts), INVERSE_LIMITS
        return [float(weight) for weight in weights.clip(*limits)]

    return LossWeights(
        loss.weights,
        compute("hourly", loss.bins_1h, "bins_1h"),
        compute("totals", loss.bins_sum, "bins_sum") if totals else None,
    )


def inverse_frequency(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (f + 1e-6), divided by its smallest value; f is the share of each bin."""
    raw = 1.0 / (counts / counts.sum() + 1e-6)
    weights: NDArray[np.float64] = raw / raw.min()
    return weights


def power(counts: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """(p_max / p)^alpha; p is the share of each bin."""
    weights: NDArray[np.float64] = (counts.max() / counts) ** alpha
    return weights

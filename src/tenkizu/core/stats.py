"""Channel statistics in one float64 pass, mergeable over blocks, processes and machines."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Moments:
    """Count, mean, sum of squared deviations and extremes of each channel; missing cells left out.

    All arrays have shape (C,). Two `Moments` add: the pairwise update of Chan, Golub and LeVeque
    (1979) keeps the sum of squared deviations exact to rounding where a running sum of squares
    would cancel.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]

    @classmethod
    def empty(cls, channels: int) -> Self:
        """Moments of nothing: the neutral element of ``+``."""
        zeros = np.zeros(channels)
        return cls(
            np.zeros(channels, np.int64),
            zeros,
            zeros,
            np.full(channels, np.inf),
            np.full(channels, -np.inf),
        )

    @classmethod
    def of(cls, values: ArrayLike) -> Self:
        """Moments of an array (C, ...); NaN and infinities count as missing."""
        array = np.asarray(values, np.float64)
        flat = array.reshape(len(array), -1)
        valid = np.isfinite(flat)
        count = valid.sum(axis=1)
        known = np.where(valid, flat, 0.0)
        mean = known.sum(axis=1) / np.maximum(count, 1)
        deviation = np.where(valid, flat - mean[:, None], 0.0)
        return cls(
            count.astype(np.int64),
            mean,
            np.einsum("cn,cn->c", deviation, deviation),
            np.where(valid, flat, np.inf).min(axis=1, initial=np.inf),
            np.where(valid, flat, -np.inf).max(axis=1, initial=-np.inf),
        )

    def __add__(self, other: Self) -> Self:
        """Moments of both sets of values together."""
        count = self.count + other.count
        total = np.maximum(count, 1)
        delta = other.mean - self.mean
        return type(self)(
            count,
            self.mean + delta * other.count / total,
            self.m2 + other.m2 + delta**2 * self.count * other.count / total,
            np.minimum(self.min, other.min),
            np.maximum(self.max, other.max),
        )

    @property
    def std(self) -> NDArray[np.float64]:
        """Population standard deviation, (C,); NaN where nothing was counted."""
        variance = self.m2 / np.maximum(self.count, 1)
        return np.where(self.count > 0, np.sqrt(variance), np.nan)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Channels without variation: std below 1e-6 of their root mean square, (C,)."""
        rms = np.sqrt(self.mean**2 + self.std**2)
        return ~(self.std > 1e-6 * rms)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready form from which `from_json` rebuilds the moments."""
        return {name: getattr(self, name).tolist() for name in ("count", "mean", "m2")} | {
            name: [float(v) if np.isfinite(v) else None for v in getattr(self, name)]
            for name in ("min", "max")
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            np.asarray(data["count"], np.int64),
            np.asarray(data["mean"], np.float64),
            np.asarray(data["m2"], np.float64),
            np.asarray([np.inf if v is None else v for v in data["min"]]),
            np.asarray([-np.inf if v is None else v for v in data["max"]]),
        )

"""Statistics of forecast fields over the training samples: moments, and quantiles by counting."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.stats import Moments
from tenkizu.core.verification import ratio
from tenkizu.rain.fields import range_of
from tenkizu.rain.summaries import QUANTILES

BINS = 4096
"""Equal parts of a field's range in which values are counted: 0.04 K for temperatures."""


class FieldSummary:
    """Sums over samples, channel by channel; additive, so that months combine.

    Args:
        channels: names of the fields.
    """

    def __init__(self, channels: Sequence[str]) -> None:
        self.channels = list(channels)
        self.moments = [Moments.empty(1) for _ in channels]
        self.counts = np.zeros((len(self.channels), BINS), np.int64)

    def add(self, channel: int, field: NDArray[np.float32]) -> None:
        """Count one field (H, W) of one training sample."""
        self.moments[channel] += Moments.of(field[None])
        ends = range_of(self.channels[channel])
        if ends is not None:
            low, high = ends
            place = (field.astype(np.float64) - low) * (BINS / (high - low))
            bins = np.clip(place, 0, BINS - 1).astype(np.int64).ravel()
            self.counts[channel] += np.bincount(bins, minlength=BINS)

    def __add__(self, other: "FieldSummary") -> "FieldSummary":
        """Both months together."""
        result = FieldSummary(self.channels)
        result.moments = [a + b for a, b in zip(self.moments, other.moments, strict=True)]
        result.counts = self.counts + other.counts
        return result

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "channels": self.channels,
            "moments": [moments.to_json() for moments in self.moments],
            # A month fills a part of each range only.
            "counts": [
                [int(first), row[first : last + 1].tolist()]
                for row, first, last in zip(self.counts, *self._filled(), strict=True)
            ],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "FieldSummary":
        """The inverse of `to_json`."""
        result = cls(data["channels"])
        result.moments = [Moments.from_json(item) for item in data["moments"]]
        for row, (first, counts) in zip(result.counts, data["counts"], strict=True):
            row[first : first + len(counts)] = counts
        return result

    def _filled(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first and the last part of each range that holds values."""
        there = self.counts > 0
        last = np.where(there.any(axis=1), BINS - 1 - there[:, ::-1].argmax(axis=1), -1)
        return there.argmax(axis=1), last

    def described(self, levels: Sequence[float] = QUANTILES) -> dict[str, Any]:
        """The entry ``statistics.fields`` of ``store.json``.

        A quantile is the middle of the part in which its level is reached; NaN for a field whose
        range is not known.
        """
        parts = [moments.to_json() | {"std": moments.std} for moments in self.moments]
        joined = {key: [part[key][0] for part in parts] for key in parts[0]}
        return joined | {"quantile_levels": levels, "quantiles": self._quantiles(levels)}

    def _quantiles(self, levels: Sequence[float]) -> NDArray[np.float64]:
        share = ratio(self.counts.cumsum(axis=1), self.counts.sum(axis=1, keepdims=True))
        index = np.stack([(share < level).sum(axis=1) for level in levels], axis=1)
        ends = np.array([range_of(name) or (np.nan, np.nan) for name in self.channels])
        low, width = ends[:, :1], np.diff(ends, axis=1) / BINS
        known = self.counts.sum(axis=1, keepdims=True) > 0
        return np.where(known, low + (index + 0.5) * width, np.nan)

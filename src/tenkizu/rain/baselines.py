"""What a model must beat: ways to split S that need no training, or only a table.

All conserve S and give 0 where S is 0. Arrays are (..., H, W) in mm, NaN where missing.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import ratio

Field = NDArray[np.float32]

SUM_BINS = (0.1, 10.0, 20.0, 40.0, 60.0, 100.0)
"""Lower edges of the S bins in mm, for the table here and for scores by amount."""

SEASONS = ("DJF", "MAM", "JJA", "SON")
"""Meteorological seasons in the order of the table."""


def equal_split(total: Field) -> Field:
    """S/3 in each hour, (3, H, W)."""
    third: Field = (total / np.float32(3.0)).astype(np.float32)
    return np.stack([third, third, third])


def linear_split(previous: Field, total: Field, following: Field) -> Field:
    """Hours from a straight line through the neighbouring totals, (3, H, W).

    Weights (2S + P)/3, S, (2S + N)/3, normalised to sum to S; a missing neighbour counts as S.
    """
    before = np.where(np.isnan(previous), total, previous)
    after = np.where(np.isnan(following), total, following)
    weights = np.stack([(2 * total + before) / 3, total, (2 * total + after) / 3]).astype(
        np.float64
    )
    shares = np.where(total > 0, weights / np.maximum(weights.sum(axis=0), 1e-30), 0.0)
    split: Field = (shares * total).astype(np.float32)
    return split


def hour_and_season(start: np.datetime64) -> tuple[int, int]:
    """Indices (0-7, 0-3) of the UTC hour and season of t0, three hours before ``start``."""
    t0 = start.astype("datetime64[m]") - np.timedelta64(180, "m")
    hour = int((t0 - t0.astype("datetime64[D]")) / np.timedelta64(1, "h"))
    month = int(t0.astype("datetime64[M]").astype(int)) % 12 + 1
    return hour // 3, (month % 12) // 3


@dataclass(frozen=True)
class Climatology:
    """Mean shares of the three hours by UTC hour of t0, season and amount.

    Attributes:
        sums: (8, 4, 6, 3) float64: over training cells with S >= 0.1 mm, sum of y_k by UTC hour
            of t0 (3-hour classes), season and S bin (`SUM_BINS`). The sum of S is the sum over
            the last axis.
    """

    sums: NDArray[np.float64]

    @classmethod
    def empty(cls) -> Self:
        """A table of nothing, to be added to."""
        return cls(np.zeros((8, len(SEASONS), len(SUM_BINS), 3)))

    @classmethod
    def of(cls, start: np.datetime64, hours: Field, total: Field) -> Self:
        """The sums of one window with hours (3, H, W) and total (H, W), mm."""
        table = cls.empty()
        scored = total >= np.float32(SUM_BINS[0])
        amount = np.digitize(total[scored], np.asarray(SUM_BINS, np.float32)) - 1
        hour, season = hour_and_season(start)
        for k in range(3):
            table.sums[hour, season, :, k] = np.bincount(
                amount, hours[k][scored].astype(np.float64), minlength=len(SUM_BINS)
            )
        return table

    def __add__(self, other: Self) -> Self:
        """The table of both sets of windows."""
        return type(self)(self.sums + other.sums)

    def shares(self, hour: int, season: int) -> NDArray[np.float64]:
        """Shares by S bin, (6, 3).

        A class without training rain takes the shares of its hour over all seasons and amounts,
        then of everything, then one third.
        """
        result = np.full((len(SUM_BINS), 3), 1.0 / 3.0)
        for sums in (
            self.sums.sum(axis=(0, 1, 2))[None, :],
            self.sums[hour].sum(axis=(0, 1))[None, :],
            self.sums[hour, season],
        ):
            known = ratio(sums, sums.sum(axis=1, keepdims=True))
            result = np.where(np.isnan(known), result, known)
        return result

    def split(self, start: np.datetime64, total: Field) -> Field:
        """Split S (H, W) by the table, (3, H, W)."""
        shares = self.shares(*hour_and_season(start))
        amount = np.digitize(np.nan_to_num(total), np.asarray(SUM_BINS, np.float32)) - 1
        per_cell = np.moveaxis(shares[np.maximum(amount, 0)], -1, 0)
        split: Field = (per_cell * total).astype(np.float32)
        return split

    def to_json(self) -> list[Any]:
        """A JSON-ready form."""
        return list(self.sums.tolist())

    @classmethod
    def from_json(cls, data: list[Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(np.asarray(data, np.float64))

"""The cells of one window that scores must look at, and the codes that every method shares.

Where it is dry in truth and prediction, every score counts a correct zero. Such cells, three in
four of them in most rain, are counted by subtraction and never touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.rain.baselines import SUM_BINS

CONDITIONAL_MM = np.float32(SUM_BINS[0])
"""Cells with at least this S are "conditional": 0.1 mm."""

TIE_MM = np.float32(1e-6)
"""True hours that differ by no more share the peak."""

Values = NDArray[np.float32]
Codes = NDArray[np.uint8]


def known_cells(truth: Values, total: Values) -> NDArray[np.bool_]:
    """Where S and all three hours are known, (H, W)."""
    # Written out, because `any` over a short first axis takes several times as long.
    first, second, third = np.isnan(truth)
    known: NDArray[np.bool_] = ~(np.isnan(total) | first | second | third)
    return known


def levels(values: Values, edges: Values) -> Codes:
    """Number of edges that each value reaches, as `numpy.digitize` but in a few vector passes."""
    reached = np.zeros(values.shape, np.uint8)
    for edge in edges:
        reached += values >= edge
    return reached


def wet_pattern(hours: Values, wet_mm: float) -> Codes:
    """Class 4 w4 + 2 w5 + w6 of each cell, (n,), from hours (3, n); w is 1 at ``wet_mm`` or more.

    The number of wet hours is the number of bits that are set.
    """
    first, second, third = (hours >= np.float32(wet_mm)).view(np.uint8)
    pattern: Codes = first * np.uint8(4) + second * np.uint8(2) + third
    return pattern


def peak_hour(hours: Values) -> Codes:
    """Index of the largest of three hours, (n,), the earliest where they are equal."""
    first, second, third = hours
    later = (third > second).view(np.uint8) + np.uint8(1)
    return np.where((first >= second) & (first >= third), np.uint8(0), later)


def peak_is_tied(hours: Values) -> NDArray[np.bool_]:
    """Where the two largest of three hours differ by at most 1e-6 mm, (n,)."""
    first, second, third = hours
    low, high = np.minimum(first, second), np.maximum(first, second)
    largest, middle = np.maximum(high, third), np.maximum(low, np.minimum(high, third))
    tied: NDArray[np.bool_] = largest - middle <= TIE_MM
    return tied


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of one window with their truth; the conditional ones come first.

    Attributes:
        valid: number of cells of the window whose S and hours are known.
        index: flat positions of the n cells held here.
        conditional: the first so many of them have S >= 0.1 mm.
        dry: flat positions of the other valid cells, dry in S and in every true hour.
        total: S, (n,), mm.
        truth: the hours, (3, n), mm.
        level: `levels` of the truth, (3, n).
        pattern: `wet_pattern` of the truth, (n,).
        peak: `peak_hour` of the truth, over the conditional cells.
        untied: positions within the conditional cells whose true peak is one hour.
        amount: bin of S (`SUM_BINS`) of the conditional cells.
    """

    valid: int
    index: NDArray[np.int64]
    conditional: int
    dry: NDArray[np.int64]
    total: Values
    truth: Values
    level: Codes
    pattern: Codes
    peak: Codes
    untied: NDArray[np.int64]
    amount: Codes

    @classmethod
    def of(
        cls, truth: Values, total: Values, edges: Values, wet_mm: float, every: bool = False
    ) -> Self:
        """Find the cells of one window.

        Args:
            truth: hours (3, H, W), mm, NaN where missing.
            total: S, (H, W), mm, NaN where missing.
            edges: positive and increasing, mm.
            wet_mm: an hour with at least this is wet.
            every: hold the dry cells too, for a method that gives rain where there is none.
        """
        known = known_cells(truth, total)
        heavy = known & (total >= CONDITIONAL_MM)
        rain = truth != 0
        rainy = (total != 0) | rain[0] | rain[1] | rain[2]
        first = np.flatnonzero(heavy)
        others = known & ~heavy
        rest = np.flatnonzero(others if every else others & rainy)
        index = np.concatenate([first, rest])
        hours = take(truth, index)
        amount = np.take(total, index)
        n = len(first)
        return cls(
            valid=int(np.count_nonzero(known)),
            index=index,
            conditional=n,
            dry=np.flatnonzero(others & ~rainy) if not every else index[:0],
            total=amount,
            truth=hours,
            level=levels(hours, edges),
            pattern=wet_pattern(hours, wet_mm),
            peak=peak_hour(hours[:, :n]),
            untied=np.flatnonzero(~peak_is_tied(hours[:, :n])),
            amount=levels(amount[:n], np.asarray(SUM_BINS[1:], np.float32)),
        )

    def miss_rain_of(self, field: Values) -> bool:
        """Whether a prediction (3, H, W) is not 0 somewhere among the cells left out."""
        return bool(take(field, self.dry).any())


def take(field: Values, index: NDArray[np.int64]) -> Values:
    """Values of a field (3, H, W) at flat positions, (3, n)."""
    return np.take(field.reshape(len(field), -1), index, axis=1)


def joint_edges(thresholds: Sequence[float], categories: Sequence[float]) -> Values:
    """All edges of events and classes together, so that one histogram serves both."""
    return np.unique(np.asarray([*thresholds, *categories], np.float32))

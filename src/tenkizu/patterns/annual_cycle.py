"""The mean annual cycle of every grid point, for `data.anomaly: climatology`."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

HARMONICS = 5
"""Mean, and sine and cosine of the year and of the half-year."""

Track = Callable[[Iterable[Any], str], Iterable[Any]]


def harmonics(season: NDArray[np.floating]) -> NDArray[np.float64]:
    """The terms 1, f1, f2, f3, f4 of each day, (T, 5), from the season terms (T, 4)."""
    return np.column_stack([np.ones(len(season)), season])


class AnnualCycle:
    """Least-squares fit of the harmonics at every grid point, from one pass over the days.

    Missing maps are left out; a cell that is missing in any other map has no cycle (0).

    Args:
        channels: number of map channels.
        shape: (H, W).
    """

    def __init__(self, channels: int, shape: tuple[int, int]) -> None:
        self.products = np.zeros((channels, HARMONICS, HARMONICS))
        self.sums = np.zeros((channels, HARMONICS, *shape))
        self.squares = np.zeros(channels)
        self.cells = np.zeros(channels)

    def add(self, maps: NDArray[np.floating], terms: NDArray[np.float64]) -> None:
        """Count one day: standardised maps (C, H, W) and its harmonics (5,)."""
        for c, field in enumerate(maps):
            known = np.isfinite(field)
            if not known.any():
                continue
            values = np.where(known, field, 0.0).astype(np.float64)
            self.products[c] += np.outer(terms, terms)
            self.sums[c] += terms[:, None, None] * values
            self.squares[c] += float(np.square(values).sum())
            self.cells[c] += known.sum()

    def fit(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Coefficients (C, 5, H, W) and the standard deviation about the cycle, (C,)."""
        coefficients = np.zeros_like(self.sums)
        for c, products in enumerate(self.products):
            if self.cells[c]:
                flat = self.sums[c].reshape(HARMONICS, -1)
                # Few days may not determine all harmonics: the smallest solution then.
                solved = np.linalg.lstsq(products, flat, rcond=1e-9)[0]
                coefficients[c] = solved.reshape(self.sums[c].shape)
        explained = np.einsum("ckhw,ckhw->c", coefficients, self.sums)
        variance = (self.squares - explained) / np.maximum(self.cells, 1)
        return coefficients.astype(np.float32), np.sqrt(np.maximum(variance, 0.0))

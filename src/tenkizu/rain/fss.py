"""Fractions skill score by threshold and window, as sums that add over fields.

Roberts and Lean (2008), Mon. Wea. Rev. 136, 78-97: with Pf and Po the fractions of a square
neighbourhood where forecast and truth reach the threshold,
FSS = 1 - sum (Pf - Po)^2 / (sum Pf^2 + sum Po^2), the sums over neighbourhoods and fields.
Expanding the square gives 2 sum Pf Po / (sum Pf^2 + sum Po^2), which is what is computed here.

Only neighbourhoods that lie whole within the grid and hold no missing cell count.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import Sums, Tally, ratio
from tenkizu.rain.score_cells import Values, known_cells

Mask = NDArray[np.bool_]


def fss_tally(
    methods: Mapping[str, Values],
    truth: Values,
    total: Values,
    thresholds: Sequence[float],
    windows: Sequence[int],
) -> Tally:
    """Sums of one window's three hours for every method.

    Args:
        methods: predictions by name, each (3, H, W), mm.
        truth: observed hours (3, H, W), mm, NaN where missing.
        total: S, (H, W), mm, NaN where missing.
        thresholds: T of them, mm, positive.
        windows: sides of the K neighbourhoods, cells, odd.

    Returns:
        ``fss_events`` (T, true events among known cells), ``fss_cells`` (known cells, all hours),
        ``fss_fields`` (K, fields with at least one whole neighbourhood), ``fss_truth`` (T x K,
        sum Po^2), and per method ``fss.NAME`` (2 x T x K, sum Pf^2 and sum Pf Po).
    """
    known = known_cells(truth, total)
    whole = {k: _whole(known, k) for k in windows}
    usable = [k for k in windows if whole[k] is not None]
    shape = (len(thresholds), len(windows))
    squares, products = np.zeros(shape), {name: np.zeros((2, *shape)) for name in methods}
    events = np.zeros(len(thresholds), np.int64)
    for i, threshold in enumerate(np.asarray(thresholds, np.float32)):
        for hour in range(len(truth)):
            observed = (truth[hour] >= threshold) & known
            given = {name: (field[hour] >= threshold) & known for name, field in methods.items()}
            events[i] += np.count_nonzero(observed)
            # Far from every event all fractions are 0 and add nothing.
            place = _surroundings([observed, *given.values()], max(usable, default=1) - 1)
            if place is None:
                continue
            real = _Fractions(observed, place)
            forecasts = {name: _Fractions(mask, place) for name, mask in given.items()}
            for j, k in enumerate(windows):
                mask = whole[k]
                if mask is None:
                    continue
                truths = real.counts(k, mask)
                squares[i, j] += _product(truths, truths) / k**4
                for name, forecast in forecasts.items():
                    counts = forecast.counts(k, mask)
                    products[name][0, i, j] += _product(counts, counts) / k**4
                    products[name][1, i, j] += _product(counts, truths) / k**4
    sums: dict[str, Sums] = {
        "fss_events": events,
        "fss_cells": np.array(len(truth) * np.count_nonzero(known)),
        "fss_fields": np.array([len(truth) * (k in usable) for k in windows], np.int64),
        "fss_truth": squares,
    }
    return Tally(sums | {f"fss.{name}": pair for name, pair in products.items()})


def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Sum of products; not by `numpy.dot`, whose threads cost more here than they save."""
    return float(np.einsum("i,i->", a, b))


def _whole(known: Mask, k: int) -> Mask | None:
    """Which neighbourhoods of side ``k`` miss no cell, (H-k+1, W-k+1); None without any.

    When all are whole the answer is an array of one true element, which broadcasts.
    """
    if k > min(known.shape):
        return None
    if known.all():
        return np.ones((1, 1), np.bool_)
    whole: Mask = _box_sums(_summed_area(known), k) == k * k
    return whole if whole.any() else None


def _surroundings(events: Sequence[Mask], margin: int) -> tuple[slice, slice] | None:
    """The rectangle that holds every event, wider by ``margin`` cells; None without events."""
    anywhere = np.logical_or.reduce(events)
    slices = []
    for axis in (1, 0):
        lines = np.flatnonzero(anywhere.any(axis=axis))
        if not len(lines):
            return None
        slices.append(slice(max(int(lines[0]) - margin, 0), int(lines[-1]) + margin + 1))
    return slices[0], slices[1]


def _summed_area(mask: Mask) -> NDArray[np.float64]:
    """Number of true cells north and west of each corner, (H+1, W+1): whole numbers, exact."""
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(mask, axis=0, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    return table.astype(np.float64)


def _box_sums(table: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Counts in all squares of side ``k`` from a summed-area table, (H-k+1, W-k+1)."""
    rows = table[k:] - table[:-k]
    counts: NDArray[np.float64] = rows[:, k:] - rows[:, :-k]
    return counts


class _Fractions:
    """Counts of one event mask in neighbourhoods of any size.

    Args:
        mask: events (H, W).
        place: the rectangle looked at.
    """

    def __init__(self, mask: Mask, place: tuple[slice, slice]) -> None:
        self.place = place
        self.table = _summed_area(mask[place])

    def counts(self, k: int, whole: Mask) -> NDArray[np.float64]:
        """Events in each whole neighbourhood of side ``k``, flat; 0 in the others."""
        counts = _box_sums(self.table, k)
        if whole.size > 1:
            top, left = (part.start for part in self.place)
            rows, columns = counts.shape
            counts *= whole[top : top + rows, left : left + columns]
        return counts.ravel()


def fss_scores(
    tally: Tally,
    methods: Sequence[str],
    thresholds: Sequence[float],
    windows: Sequence[int],
    spacing_km: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Turn summed tallies into scores.

    Args:
        tally: sum of `fss_tally` over windows.
        methods: names.
        thresholds: as given to `fss_tally`.
        windows: as given to `fss_tally`.
        spacing_km: distance of rows and of columns.

    Returns:
        ``thresholds_mm``, ``windows_cells``, ``windows_km`` (sides, with the geometric mean of
        both distances, or None), ``fields`` (per window: how many hourly fields hold a whole
        neighbourhood), ``base_rate`` f0 per threshold (share of events among known true values),
        ``useful`` (0.5 + f0 / 2) and the matrix of each method, thresholds x windows; NaN where
        neither side has an event.
    """
    base_rate = ratio(tally["fss_events"], tally["fss_cells"])
    side = None if spacing_km is None else float(np.sqrt(spacing_km[0] * spacing_km[1]))
    truths = tally["fss_truth"]
    return {
        "thresholds_mm": list(thresholds),
        "windows_cells": list(windows),
        "windows_km": None if side is None else [k * side for k in windows],
        "fields": tally["fss_fields"].tolist(),
        "base_rate": base_rate.tolist(),
        "useful": (0.5 + base_rate / 2).tolist(),
    } | {
        name: ratio(2 * tally[f"fss.{name}"][1], tally[f"fss.{name}"][0] + truths).tolist()
        for name in methods
    }

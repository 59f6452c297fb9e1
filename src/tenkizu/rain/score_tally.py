"""What one window adds to the scores of hourly splits (specification section 12).

Events are ``>=`` with thresholds cast to float32, bins are ``[a, b)``. "Conditional" means cells
with S >= 0.1 mm. Masked cells leave every method's sums alike.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import Tally
from tenkizu.rain.baselines import SEASONS, SUM_BINS, hour_and_season
from tenkizu.rain.score_cells import (
    Cells,
    Codes,
    Values,
    joint_edges,
    peak_hour,
    take,
    wet_pattern,
)
from tenkizu.rain.score_cells import levels as levels_of

SURFACES = ("land", "sea")
WET_HOUR_MM = 0.1


def initial_hour(start: np.datetime64) -> int:
    """UTC hour of t0, three hours before the window's start."""
    return int((start.astype("datetime64[h]").astype(int) - 3) % 24)


def window_tally(
    methods: Mapping[str, Values],
    truth: Values,
    total: Values,
    thresholds: Sequence[float],
    categories: Sequence[float],
    *,
    start: np.datetime64 | None = None,
    wet_hour_mm: float = WET_HOUR_MM,
    land: NDArray[np.bool_] | None = None,
) -> Tally:
    """Sums of one window for every method.

    Args:
        methods: predictions by name, each (3, H, W) mm; ``equal`` must be among them.
        truth: observed hours (3, H, W), mm, NaN where missing.
        total: S, (H, W), mm, NaN where missing.
        thresholds: of hourly events, mm, positive.
        categories: inner edges of hourly classes, mm, positive.
        start: of the window, UTC; without it nothing is summed by hour of day and season.
        wet_hour_mm: an hour with at least this is wet.
        land: (H, W), true on land; without it nothing is summed by surface.

    Returns:
        Shared: ``windows``, ``cells`` (2 subsets: all, conditional), ``rainy`` (cells with
        S > 0), ``peak_ties``, ``windows_by.hour`` (24, the UTC hour of t0) and, of conditional
        cells, ``cells_by.GROUP``. Per method:
        ``sse.NAME`` and ``sae.NAME`` (2 subsets x 3 hours), ``joint.NAME`` (2 x 3 x L x L counts
        of the levels of `joint_edges` reached, truth along rows), ``pattern.NAME`` (2 x 8 x 8),
        ``peak.NAME`` (3 x 3), ``sse_by.GROUP.NAME`` of conditional cells, ``sum_error.NAME`` (sum
        of |y4 + y5 + y6 - S| / S), and as maximum ``sum_error.NAME``. The groups are ``amount``
        (6), ``hour`` (24), ``season`` (4) and ``surface`` (2).
    """
    edges = joint_edges(thresholds, categories)
    cells = Cells.of(truth, total, edges, wet_hour_mm)
    rainy = int(np.count_nonzero(cells.total > 0))
    result = Tally(
        {
            "windows": np.array(1),
            "cells": np.array([cells.valid, cells.conditional]),
            "rainy": np.array(rainy),
            "peak_ties": np.array(cells.conditional - len(cells.untied)),
        }
    )
    groups = _groups(cells, start, land)
    if start is not None:
        result.sums["windows_by.hour"] = (np.arange(24) == initial_hour(start)).astype(np.int64)
    for group, members in groups.items():
        result.sums[f"cells_by.{group}"] = members(None).astype(np.int64)
    every: Cells | None = None
    for name, field in methods.items():
        held = cells
        if cells.miss_rain_of(field):
            held = every = every or Cells.of(truth, total, edges, wet_hour_mm, every=True)
        _add_method(result, name, take(field, held.index), held, edges, wet_hour_mm, groups)
    return result


Members = Callable[[NDArray[np.float64] | None], NDArray[Any]]


def _groups(
    cells: Cells, start: np.datetime64 | None, land: NDArray[np.bool_] | None
) -> dict[str, Members]:
    """For each group a function that sums a quantity of the conditional cells by member.

    None is summed as 1, which counts cells.
    """
    n = cells.conditional

    def summed(codes: NDArray[Any], size: int) -> Members:
        return lambda values: np.bincount(codes, values, minlength=size)

    def at(place: int, size: int) -> Members:
        def members(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
            result = np.zeros(size)
            result[place] = n if values is None else values.sum()
            return result

        return members

    groups = {"amount": summed(cells.amount.astype(np.intp), len(SUM_BINS))}
    if start is not None:
        groups["hour"] = at(initial_hour(start), 24)
        groups["season"] = at(hour_and_season(start)[1], len(SEASONS))
    if land is not None:
        sea = ~np.take(land.ravel(), cells.index[:n])
        groups["surface"] = summed(sea.astype(np.intp), len(SURFACES))
    return groups


def _add_method(
    result: Tally,
    name: str,
    predicted: Values,
    cells: Cells,
    edges: Values,
    wet_mm: float,
    groups: Mapping[str, Members],
) -> None:
    """Add one method's sums; ``predicted`` (3, n) belongs to ``cells``."""
    n = cells.conditional
    hours = predicted.astype(np.float64)
    parts = hours[0] + hours[1] + hours[2]
    error = np.subtract(hours, cells.truth, out=hours)
    absolute = np.abs(error)
    squared = np.square(error, out=error)

    def subsets(values: NDArray[np.float64]) -> NDArray[np.float64]:
        heavy = values[:, :n].sum(axis=1)
        return np.stack([heavy + values[:, n:].sum(axis=1), heavy])

    result.sums[f"sse.{name}"] = subsets(squared)
    result.sums[f"sae.{name}"] = subsets(absolute)
    per_cell = squared[0, :n] + squared[1, :n] + squared[2, :n]
    for group, members in groups.items():
        result.sums[f"sse_by.{group}.{name}"] = members(per_cell)
    left_out = cells.valid - len(cells.index)
    size = len(edges) + 1
    level = levels_of(predicted, edges)
    joint = [_joint(t, p, size, n, left_out) for t, p in zip(cells.level, level, strict=True)]
    result.sums[f"joint.{name}"] = np.stack(joint, axis=1)
    pattern = wet_pattern(predicted, wet_mm)
    result.sums[f"pattern.{name}"] = _joint(cells.pattern, pattern, 8, n, left_out)
    peak = peak_hour(predicted[:, :n])
    untied = cells.untied
    result.sums[f"peak.{name}"] = np.bincount(
        cells.peak[untied] * np.uint8(3) + peak[untied], minlength=9
    ).reshape(3, 3)
    departure = np.abs(parts - cells.total)
    np.divide(departure, cells.total, out=departure, where=cells.total > 0)
    departure[cells.total <= 0] = 0.0
    result.sums[f"sum_error.{name}"] = np.array(departure.sum())
    if departure.size:
        result.maxima[f"sum_error.{name}"] = float(departure.max())


def _joint(truth: Codes, predicted: Codes, size: int, n: int, left_out: int) -> NDArray[np.int64]:
    """Joint counts over all cells and over the first ``n``, (2, size, size), truth along rows.

    Cells left out are dry on both sides: class 0, 0.
    """
    code = truth.astype(np.intp)
    code *= size
    code += predicted
    heavy = np.bincount(code[:n], minlength=size * size)
    everywhere = heavy + np.bincount(code[n:], minlength=size * size)
    everywhere[0] += left_out
    return np.stack([everywhere, heavy]).reshape(2, size, size)

"""`stats`: how rain divides among the three hours of a window, in exact sums over all cells."""

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.parallel import run_tasks, usable_cpus
from tenkizu.core.verification import Sums, Tally, ratio
from tenkizu.rain.config import LossConfig
from tenkizu.rain.derived_blocks import Track
from tenkizu.rain.msm.pieces import Piece, find_pieces, open_piece
from tenkizu.rain.tables import QUANTILE_EDGES
from tenkizu.rain.weights import INVERSE_LIMITS, POWER_LIMITS, inverse_frequency, power

log = logging.getLogger(__name__)

POPULATIONS = ("all", "all_wet")
"""All cells, and those where each of the three hours is above 0."""

RANGE_LIMITS_MM = (0.0, 0.1, 0.5, 1.0, 2.0)
"""Of the difference between the largest and the smallest hour."""

HOURS = ("ft4", "ft5", "ft6")
PAIRS = tuple(combinations(range(3), 2))

BINS = LossConfig()
"""Gives the bins of hourly amounts and of totals."""


def stats(
    paths: Sequence[str | Path],
    output: str | Path,
    workers: int | None = None,
    scheduler: str | None = None,
    track: Track | None = None,
) -> dict[str, Any]:
    """Sum up all initial times of monthly files or a store, and write tables and figures.

    Args:
        paths: monthly files, folders of them, or a store.
        output: folder for ``stats.json``, ``stats.md`` and the figures.
        workers: processes; by default one for each processor.
        scheduler: address of a Dask scheduler, in place of processes here.
        track: shows progress.

    Returns:
        The content of ``stats.json``.

    Raises:
        DataError: a path holds nothing that can be read, a file is damaged, or all is missing.
    """
    from tenkizu.rain.msm.statistics_report import write_report

    pieces = find_pieces(paths)
    shown = track(pieces, "summing up") if track else pieces
    outcomes = run_tasks(piece_tally, pieces, workers or usable_cpus(), scheduler)
    parts: dict[int, Tally] = {}
    for _, (i, outcome) in zip(shown, outcomes, strict=False):
        if isinstance(outcome, Exception):
            raise outcome
        parts[i] = outcome
    # In their order, so that rounding does not depend on which came first.
    tally = sum((parts[i] for i in sorted(parts)), Tally())
    if not tally["cells"][0]:
        raise DataError("no cell has a value", file=str(paths[0]))
    summary = {"files": [str(piece) for piece in pieces], **summarise(tally)}
    write_report(Path(output), summary)
    return summary


def piece_tally(piece: Piece) -> Tally:
    """Sums of a monthly file or a block of a store.

    Raises:
        DataError: it cannot be read.
    """
    with open_piece(piece) as opened:
        parts = (window_sums(opened.rain(i)) for i in range(len(opened.times)))
        return sum(parts, Tally({"initial_times": np.array(len(opened.times))}))


def window_sums(rain: NDArray[np.float32]) -> Tally:
    """Sums of one initial time; cells where an hour or S is missing are left out.

    Args:
        rain: (6, H, W) in the order of `tables.RAIN`, mm.

    Returns:
        For both `POPULATIONS`, along the first axis: ``cells`` (2,), ``deviation`` and ``range``
        (2, 2; sum and sum of squares), ``within`` (2, 5; cells with a range up to each limit),
        ``errors`` (2, 3, 3; sums of error, absolute and squared error of each hour minus S/3),
        ``sums`` (2, 3) and ``products`` (2, 3, 3) of the hours, ``ranges`` (2, bins; fine
        histogram). Once: ``hourly`` (3, bins), ``totals`` (bins), ``patterns`` (8; class
        4 w4 + 2 w5 + w6, wet is above 0). Maxima of deviation, range and each error.
    """
    planes = rain[1:5].reshape(4, -1)
    planes = planes[:, ~np.isnan(planes).any(axis=0)]
    patterns = (planes[:3] > 0).T @ np.array([4, 2, 1])
    parts = [_population(planes.astype(np.float64))]
    parts.append(_population(planes[:, patterns == 7].astype(np.float64)))
    sums: dict[str, Any] = {
        name: np.stack([part.sums[name] for part in parts]) for name in parts[0].sums
    }
    edges = np.array(BINS.bins_1h, np.float32), np.array(BINS.bins_sum, np.float32)
    kinds = [len(e) + 1 for e in edges]
    sums["hourly"] = np.stack(
        [np.bincount(np.digitize(hour, edges[0]), minlength=kinds[0]) for hour in planes[:3]]
    )
    sums["totals"] = np.bincount(np.digitize(planes[3], edges[1]), minlength=kinds[1])
    sums["patterns"] = np.bincount(patterns, minlength=8)
    maxima = {
        f"{population} {name}": value
        for population, part in zip(POPULATIONS, parts, strict=True)
        for name, value in part.maxima.items()
    }
    return Tally(sums, maxima)


def _population(planes: NDArray[np.float64]) -> Tally:
    """Sums over cells, planes (4, n): three hours and S."""
    hours, total = planes[:3], planes[3]
    mean = hours.mean(axis=0)
    # Of the three hours as a whole population: divided by 3.
    deviation = np.sqrt(((hours - mean) ** 2).mean(axis=0))
    spread = hours.max(axis=0) - hours.min(axis=0)
    errors = hours - total / 3
    tally = Tally(
        {
            "cells": np.array(hours.shape[1]),
            "deviation": np.array([deviation.sum(), deviation @ deviation]),
            "range": np.array([spread.sum(), spread @ spread]),
            "within": np.array([np.count_nonzero(spread <= limit) for limit in RANGE_LIMITS_MM]),
            "errors": np.stack([errors.sum(1), np.abs(errors).sum(1), (errors**2).sum(1)], axis=1),
            "sums": hours.sum(axis=1),
            "products": hours @ hours.T,
            "ranges": np.histogram(spread, _FINE)[0],
        }
    )
    if hours.shape[1]:
        tally.maxima = {"deviation": float(deviation.max()), "range": float(spread.max())}
        worst = np.abs(errors).max(axis=1)
        tally.maxima |= {f"error {hour}": float(e) for hour, e in zip(HOURS, worst, strict=True)}
    return tally


_FINE = np.append(QUANTILE_EDGES, np.inf)


def summarise(tally: Tally) -> dict[str, Any]:
    """Ratios of the sums of `window_sums`, in the form of ``stats.json``; NaN is undefined."""
    cells = tally["cells"]
    summary: dict[str, Any] = {"initial_times": int(tally["initial_times"])}
    for p, population in enumerate(POPULATIONS):
        n = int(cells[p])
        summary[population] = {
            "cells": n,
            "share": float(ratio(n, cells[0])),
            "deviation_mm": _moments(tally, "deviation", p),
            "range_mm": _moments(tally, "range", p),
            "range_within": {
                f"{limit:g}": float(ratio(count, n))
                for limit, count in zip(RANGE_LIMITS_MM, tally["within"][p], strict=True)
            },
            "errors_mm": {hour: _errors(tally, p, k) for k, hour in enumerate(HOURS)},
            "correlation": {
                f"{HOURS[i]}, {HOURS[j]}": _correlation(tally, p, i, j) for i, j in PAIRS
            },
            "range_histogram": tally["ranges"][p].tolist(),
        }
    patterns = tally["patterns"]
    wet = [patterns[[c for c in range(8) if c.bit_count() == k]].sum() for k in range(4)]
    hourly = tally["hourly"].sum(axis=0)
    edges = BINS.bins_1h, BINS.bins_sum
    at_least = {
        f"{edge:g}": float(ratio(hourly[i + 1 :].sum(), hourly.sum()))
        for i, edge in enumerate(edges[0])
    }
    summary |= {
        "wet_patterns": {f"{c:03b}": int(count) for c, count in enumerate(patterns)},
        "wet_hours": {str(k): int(count) for k, count in enumerate(wet)},
        "wet_hours_share": {str(k): float(ratio(count, cells[0])) for k, count in enumerate(wet)},
        "partly_wet_share_of_rainy": float(ratio(wet[1] + wet[2], cells[0] - wet[0])),
        "hourly": {
            "edges_mm": [0.0, *edges[0]],
            "counts": hourly.tolist(),
            "counts_by_hour": dict(zip(HOURS, tally["hourly"].tolist(), strict=True)),
            "share_at_least": at_least,
        },
        "totals": {"edges_mm": [0.0, *edges[1]], "counts": tally["totals"].tolist()},
        "range_edges_mm": QUANTILE_EDGES.tolist(),
        "weights": {
            "hourly": _weights(hourly),
            "totals": _weights(tally["totals"]),
        },
    }
    return summary


def _moments(tally: Tally, name: str, p: int) -> dict[str, float]:
    """Mean, standard deviation and maximum of a quantity."""
    total, squares = tally[name][p]
    mean, square = (float(ratio(value, tally["cells"][p])) for value in (total, squares))
    largest = tally.maxima.get(f"{POPULATIONS[p]} {name}", float("nan"))
    return {"mean": mean, "std": float(np.sqrt(max(square - mean**2, 0.0))), "max": largest}


def _errors(tally: Tally, p: int, hour: int) -> dict[str, float]:
    """Of an hour minus S/3."""
    bias, absolute, squared = (float(ratio(e, tally["cells"][p])) for e in tally["errors"][p][hour])
    largest = tally.maxima.get(f"{POPULATIONS[p]} error {HOURS[hour]}", float("nan"))
    return {"mae": absolute, "rmse": float(np.sqrt(squared)), "bias": bias, "max": largest}


def _correlation(tally: Tally, p: int, i: int, j: int) -> float:
    """Of the amounts of two hours over all cells and times (Pearson)."""
    n, sums, products = tally["cells"][p], tally["sums"][p], tally["products"][p]
    covariance = n * products[i, j] - sums[i] * sums[j]
    spreads = [max(n * products[k, k] - sums[k] ** 2, 0.0) for k in (i, j)]
    return float(ratio(covariance, np.sqrt(spreads[0]) * np.sqrt(spreads[1])))


def _weights(counts: Sums) -> dict[str, list[float] | None]:
    """Weights that the loss would take from these counts; None where a bin is empty."""
    known = np.asarray(counts, np.float64)
    if not known.all():
        return {"inverse_frequency": None, "power": None}
    return {
        "inverse_frequency": inverse_frequency(known).clip(*INVERSE_LIMITS).tolist(),
        "power": power(known, BINS.alpha).clip(*POWER_LIMITS).tolist(),
    }

"""What `check` holds against all files together: coverage, grids, cells, the lag scan."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.grid import Grid
from tenkizu.core.verification import ratio
from tenkizu.rain.msm.check_piece import LAGS, PieceResult
from tenkizu.rain.msm.check_rules import Finding
from tenkizu.rain.msm.month_plans import STEP, expected_times, read_missing
from tenkizu.rain.msm.pieces import Piece
from tenkizu.rain.msm.variables import FOLLOWING, VARIABLES

Severity = Literal["error", "warning"]
Times = Mapping[Piece, NDArray[np.datetime64]]

YEAR = 2920
"""Initial times after which a cell that was always dry is worth a warning."""

ENOUGH = 30
"""Initial times of an hour after which rain nowhere is worth a warning."""

_NAMED = 5
"""Initial times that a finding names."""


def of_coverage(times: Times) -> Iterator[Finding]:
    """Months and initial times that are not there, or there twice."""
    months = _months(times)
    if months:
        absent = sorted(set(np.arange(min(months), max(months) + 1)) - set(months))
        if absent:
            names = ", ".join(map(str, absent))
            yield Finding("months", "error", "no file of these months", found=names)
    for month, piece in sorted(months.items()):
        listed = read_missing(piece.path.parent)
        lost = sorted(set(expected_times(month)) - set(times[piece]))
        known = [t0 for t0 in lost if str(t0.astype("datetime64[h]")) in listed]
        unknown = [t0 for t0 in lost if t0 not in known]
        if unknown:
            yield _lost("steps", "error", "initial times are not there", unknown, piece.path.name)
        if known:
            text = "initial times are not there, as missing.json says"
            yield _lost("steps", "warning", text, known, piece.path.name)
    gaps = _gaps(times)
    if gaps:
        text = "initial times between the first and the last are not there"
        yield _lost("steps", "warning", text, gaps, None)
    everywhere = [np.unique(values) for values in times.values()]
    values, counts = np.unique(_joined(everywhere), return_counts=True)
    if (counts > 1).any():
        yield _lost("time", "error", "the same t0 in several files", list(values[counts > 1]), None)


def missing_hours(times: Times) -> dict[str, int]:
    """Initial times that are not there, for each UTC hour."""
    lost = list(_gaps(times))
    for month, piece in _months(times).items():
        lost += set(expected_times(month)) - set(times[piece])
    hours = [int(t0.astype("datetime64[h]").astype(np.int64) % 24) for t0 in lost]
    return {f"{hour:02d}": hours.count(hour) for hour in range(0, 24, 3)}


def _months(times: Times) -> dict[np.datetime64, Piece]:
    """Monthly files by the month of their first t0."""
    return {
        values[0].astype("datetime64[M]"): piece
        for piece, values in times.items()
        if not piece.in_store and len(values)
    }


def _gaps(times: Times) -> list[np.datetime64]:
    """Initial times that lie between those of a store and are not in it."""
    stored = _joined([values for piece, values in times.items() if piece.in_store])
    if not stored.size:
        return []
    return sorted(set(np.arange(stored.min(), stored.max(), STEP)) - set(stored))


def _joined(several: Sequence[NDArray[np.datetime64]]) -> NDArray[np.datetime64]:
    return np.concatenate([np.array([], "datetime64[m]"), *several])


def _lost(
    rule: str, severity: Severity, text: str, which: Sequence[np.datetime64], file: str | None
) -> Finding:
    """A finding about several initial times."""
    names = ", ".join(str(t0.astype("datetime64[h]")) for t0 in which[:_NAMED])
    found = names + (f" and {len(which) - _NAMED} more" if len(which) > _NAMED else "")
    return Finding(rule, severity, text, file, found=found, count=len(which))


def of_grids(results: Sequence[tuple[Piece, PieceResult]]) -> Iterator[Finding]:
    """All pieces must have the grid of the first."""
    grids = [Grid.from_json(result.grid) for _, result in results]
    for (piece, _), grid in zip(results[1:], grids[1:], strict=True):
        if not grid.same_as(grids[0]):
            yield Finding(
                "grid",
                "error",
                "another grid than the first file's",
                piece.path.name,
                found=grid.describe(),
                expected=grids[0].describe(),
            )


def never(parts: Sequence[PieceResult]) -> dict[str, dict[str, int]]:
    """Cells of each variable that are missing, and zero, at all times."""
    cells: dict[str, dict[str, int]] = {}
    for kind in ("seen", "nonzero"):
        for name in VARIABLES:
            masks = [getattr(part, kind)[name] for part in parts if name in getattr(part, kind)]
            shapes = {len(mask) for mask in masks}
            if len(shapes) != 1:  # of other grids, which is a finding already
                continue
            height, width = Grid.from_json(parts[0].grid).shape
            ever = np.unpackbits(np.bitwise_or.reduce(masks), count=height * width)
            cells.setdefault(name, {})[kind] = int(np.count_nonzero(ever == 0))
    return {
        name: {"always_missing": counts["seen"], "always_zero": counts["nonzero"]}
        for name, counts in cells.items()
    }


def of_cells(cells: Mapping[str, Mapping[str, int]], samples: int) -> Iterator[Finding]:
    """Cells that never have a value, and those that are always 0.

    Where it never rains is only worth a word after a year.
    """
    for name, counts in cells.items():
        if counts["always_missing"] and name != FOLLOWING:
            found = f"{counts['always_missing']} cells"
            yield Finding("cells", "error", "always missing", variable=name, found=found)
        enough = samples >= YEAR if VARIABLES[name].kind == "rain" else samples > 1
        if counts["always_zero"] and enough:
            found = f"{counts['always_zero']} cells"
            yield Finding("cells", "warning", "always zero", variable=name, found=found)


def lag_scan(parts: Sequence[PieceResult]) -> list[dict[str, Any]]:
    """Correlation and root mean squared difference of S and the hours, by lag in steps of 3 h.

    At lag L the hours are those of the initial time L steps after that of S.
    """
    sums = np.sum([part.lags for part in parts], axis=0) if parts else np.zeros((len(LAGS), 6))
    rows = []
    for lag, (n, s, h, ss, hh, sh) in zip(LAGS, sums, strict=True):
        covariance = n * sh - s * h
        spread = np.sqrt(max(n * ss - s * s, 0.0) * max(n * hh - h * h, 0.0))
        rows.append(
            {
                "lag_steps": lag,
                "cells": int(n),
                "correlation": float(ratio(covariance, spread)),
                "rmse_mm": float(np.sqrt(np.maximum(ratio(ss - 2 * sh + hh, n), 0.0))),
            }
        )
    return rows


def best_lag(lags: Sequence[Mapping[str, Any]]) -> int | None:
    """The lag of the highest correlation, 0 among equals; None where none is defined."""
    known = [row for row in lags if np.isfinite(row["correlation"])]
    if not known:
        return None
    highest = max(row["correlation"] for row in known)
    equal = [row["lag_steps"] for row in known if row["correlation"] >= highest - 1e-9]
    return int(min(equal, key=abs))


def of_lags(lags: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """The hours must fit S at lag 0 best, or they carry another time."""
    best = best_lag(lags)
    if best is None:
        yield Finding("lag", "warning", "no rain to compare S and its hours by")
    elif best:
        text = "the hours fit S of another initial time better"
        yield Finding("lag", "error", text, found=f"{best:+d} steps of 3 h", expected="0")


def wet_hours(parts: Sequence[PieceResult]) -> dict[str, dict[str, float]]:
    """Initial times and share of cells with S >= 0.1 mm for each UTC hour of t0."""
    counts = np.sum([part.counts for part in parts] or [np.zeros(24, int)], axis=0)
    wet = np.sum([part.wet for part in parts] or [np.zeros((24, 2), int)], axis=0)
    share = ratio(wet[:, 0], wet[:, 1])
    return {
        f"{hour:02d}": {"initial_times": int(counts[hour]), "wet_fraction": float(share[hour])}
        for hour in range(24)
        if counts[hour]
    }


def of_wet_hours(wet: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
    """An hour of the day at which it never rains, while it does at others."""
    if not any(row["wet_fraction"] > 0 for row in wet.values()):
        return
    for hour, row in wet.items():
        if row["initial_times"] >= ENOUGH and row["wet_fraction"] == 0:
            found = f"no wet cell in {row['initial_times']} initial times"
            yield Finding("wet_hours", "warning", f"no rain at {hour} UTC", found=found)

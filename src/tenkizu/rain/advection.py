"""The advection baseline: totals carried along the forecast winds.

Specification section 14, baseline 4. Forecast fields come as planes (H, W) by channel name, such
as ``U850_ft3`` in m/s, at FT=3 and FT=6, between which the wind is interpolated in time.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.context import Planes
from tenkizu.rain.fields import LEADS
from tenkizu.rain.motion import Field, Motion, motion_from_winds, motion_split

STEERING_LEVELS = (850,)
"""Pressure levels, hPa, whose mean wind carries the rain."""


def has_winds(channels: Iterable[str], levels: Sequence[int] = STEERING_LEVELS) -> bool:
    """Whether the fields hold both wind components of all levels at both lead times."""
    return set(_wind_names(levels)) <= set(channels)


def advection_hours(
    previous: Field,
    total: Field,
    following: Field,
    fields: Planes,
    grid: Grid,
    levels: Sequence[int] = STEERING_LEVELS,
) -> Field:
    """Split S along the winds, (3, H, W), mm, by `tenkizu.rain.motion.motion_split`.

    Args:
        previous: P, (H, W), mm, NaN where missing.
        total: S.
        following: N.
        fields: planes with ``U850_ft3``, ``V850_ft3``, ``U850_ft6``, ``V850_ft6``, m/s; likewise
            for each level.
        grid: of all these; rows from north to south.
        levels: whose mean wind is taken, hPa.

    Raises:
        DataError: a wind is missing, or the grid has no distances.
    """
    missing = [name for name in _wind_names(levels) if name not in fields]
    if missing:
        raise DataError(
            "winds are missing for the advection baseline",
            found=", ".join(fields) or "no fields",
            expected=", ".join(missing),
            next_step="choose other levels in scores.advection_levels",
        )
    spacing = row_and_column_km(grid)
    motions = [
        motion_from_winds(
            _mean(fields, "U", lead, levels), _mean(fields, "V", lead, levels), spacing
        )
        for lead in LEADS
    ]
    return motion_split(previous, total, following, *motions)


def row_and_column_km(grid: Grid) -> tuple[float, Motion]:
    """Distance between rows, km, and between columns on each row, (H, 1), km.

    Raises:
        DataError: the grid is not known in degrees or on a plane.
    """
    spacing = grid.spacing_km
    if spacing is None:
        raise DataError(
            "winds move rain by km, and the grid has no distances",
            found=grid.describe(),
            expected="latitudes and longitudes",
        )
    columns = np.full((grid.shape[0], 1), spacing[1])
    if grid.kind == "latlon":
        # The grid's own figure is that of its middle latitude.
        cosine = np.cos(np.deg2rad(grid.y))[:, None]
        columns *= cosine / np.cos(np.deg2rad(grid.y.mean()))
    return spacing[0], columns


def _wind_names(levels: Sequence[int]) -> list[str]:
    return [f"{part}{level}_{lead}" for level in levels for part in "UV" for lead in LEADS]


def _mean(fields: Planes, part: str, lead: str, levels: Sequence[int]) -> Motion:
    """Mean of a wind component over levels, (H, W), float64."""
    mean: Motion = np.mean([fields[f"{part}{n}_{lead}"] for n in levels], axis=0, dtype=np.float64)
    return mean

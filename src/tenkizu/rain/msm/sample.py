"""One initial time from its GRIB2 files: 48 fields and the rain, on the model grid."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.rain.fields import LEADS, MSM24, field_pairs
from tenkizu.rain.msm.field_key import FieldKey
from tenkizu.rain.msm.files import FOLLOWING, InitialTime
from tenkizu.rain.msm.grib import GribField, select
from tenkizu.rain.msm.grids import (
    MODEL_SHAPE,
    PRESSURE_GRID,
    SURFACE_GRID,
    LatLonGrid,
    on_model_grid,
)
from tenkizu.rain.msm.keys import PRESSURE_BASES, SURFACE_BASES, field_keys, rain_keys
from tenkizu.rain.msm.sections import COPY_AGAIN
from tenkizu.rain.msm.variables import VARIABLES

ROUND_OFF_MM = 1e-3
"""Rain down to minus this is taken for packing noise around 0."""

MOST_RAIN_MM = 1000.0
"""No hour has more."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MsmSample:
    """What a prepared store keeps of one initial time.

    Attributes:
        t0: initial time, UTC, datetime64[m].
        fields: (48, H, W) float32 in the order of ``field_pairs(MSM24)``; Pa, m/s, K, %, gpm.
        rain: (6, H, W) float32 in the order of `tables.RAIN` (P, y4, y5, y6, S, N), mm; N is NaN
            everywhere where it was not read. P, S and N are float64 sums of hours, rounded once.
        negatives_zeroed: hourly values in the cropped domain that were in [-1e-3, 0) mm and
            became 0.
    """

    t0: np.datetime64
    fields: NDArray[np.float32]
    rain: NDArray[np.float32]
    negatives_zeroed: int


def read_initial_time(
    files: InitialTime,
    following: bool = True,
    crop: tuple[int, int, int, int] | None = None,
) -> MsmSample:
    """Read the fields and the rain of an initial time.

    Args:
        files: a complete initial time.
        following: read N where there is one; it needs hours 7 to 9.
        crop: first row, first column, rows and columns of the model grid; None for all.

    Raises:
        DataError: a file is damaged, of another initial time or grid, lacks a field or holds it
            twice; a value is missing or not plausible; rain is negative.
    """
    if files.missing:
        raise DataError(
            "an incomplete initial time",
            variable=f"{files.t0} UTC",
            found=", ".join(files.files) or "no file",
            expected=", ".join(files.missing),
            next_step="add the missing files",
        )
    top, left, height, width = crop or (0, 0, *MODEL_SHAPE)
    inside = (slice(top, top + height), slice(left, left + width))
    if (
        min(top, left) < 0
        or min(height, width) < 1
        or (top + height > MODEL_SHAPE[0] or left + width > MODEL_SHAPE[1])
    ):
        raise DataError(
            "not within the model grid", variable="crop", found=crop, expected="480 x 480 cells"
        )
    order = {name: i for i, name in enumerate(field_pairs(MSM24))}
    fields = np.empty((len(order), height, width), np.float32)
    frame = np.empty(MODEL_SHAPE, np.float32)
    rain: dict[int, NDArray[np.float64]] = {}
    negatives = 0
    for path, keys, grid in _plan(files, following):
        for key, one in select(path, keys, files.t0).items():
            values = _checked(one, key, grid)
            if key.name not in order:
                hour = on_model_grid(values, grid)[inside]
                below = hour < 0
                negatives += int(np.count_nonzero(below))
                hour[below] = 0.0
                rain[key.end_minutes // 60] = hour
            elif crop is None:
                on_model_grid(values, grid, fields[order[key.name]])
            else:
                fields[order[key.name]] = on_model_grid(values, grid, frame)[inside]
    if negatives:
        log.debug("%s: %d negative values of rain became 0", files.t0, negatives)
    return MsmSample(files.t0, fields, _rain(rain, (height, width)), negatives)


def _plan(files: InitialTime, following: bool) -> list[tuple[Path, list[FieldKey], LatLonGrid]]:
    """Each file once, with what is read from it and the grid it must have."""
    plan: list[tuple[str, list[FieldKey], LatLonGrid]]
    if files.layout == "operational":
        hours = range(1, 10 if following else 7)
        surface = field_keys(SURFACE_BASES) + rain_keys(hours)
        plan = [
            ("Lsurf_FH00-15", surface, SURFACE_GRID),
            ("L-pall_FH00-15", field_keys(PRESSURE_BASES), PRESSURE_GRID),
        ]
    else:
        plan = []
        for lead in LEADS:
            hour = int(lead.removeprefix("ft"))
            rain = f"Prr_FH{hour - 3:02d}-{hour:02d}"
            plan += [
                (f"Lsurf_FH{hour:02d}", field_keys(SURFACE_BASES, (lead,)), SURFACE_GRID),
                (f"L-pall_FH{hour:02d}", field_keys(PRESSURE_BASES, (lead,)), PRESSURE_GRID),
                (rain, rain_keys(range(hour - 2, hour + 1)), SURFACE_GRID),
            ]
        if following and FOLLOWING in files.files:
            plan.append((FOLLOWING, rain_keys((7, 8, 9)), SURFACE_GRID))
    return [(files.files[part], keys, grid) for part, keys, grid in plan]


def _checked(one: GribField, key: FieldKey, grid: LatLonGrid) -> NDArray[np.float64]:
    """The values of a field, on the grid it must have, all there and plausible."""
    if one.grid != grid:
        raise DataError(
            "another grid than that of the MSM",
            file=one.file,
            variable=str(key),
            found=one.grid,
            expected=grid,
            next_step="use the Rjp files of the MSM",
        )
    values = one.values()
    low, high = _plausible(key)
    least, most = float(values.min()), float(values.max())
    # A missing value makes both NaN.
    if not (low <= least and most <= high):
        count = int(np.count_nonzero(np.isnan(values)))
        raise DataError(
            f"{count} missing values" if count else "values that are not plausible",
            file=one.file,
            variable=str(key),
            found=None if count else f"{least:g} to {most:g}",
            expected=f"values from {low:g} to {high:g} {'everywhere' if count else ''}".strip(),
            next_step=COPY_AGAIN,
        )
    return values


def _plausible(key: FieldKey) -> tuple[float, float]:
    if key.name in VARIABLES:
        low, high = VARIABLES[key.name].plausible
        # Packing may round a humidity of 0 % to a little less.
        slack = 0.01 * (high - low)
        return low - slack, high + slack
    return -ROUND_OFF_MM, MOST_RAIN_MM


def _rain(hours: dict[int, NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.float32]:
    """P, y4, y5, y6, S, N from the hours by their end."""
    rain = np.full((6, *shape), np.nan, np.float32)
    for plane, ends in ((0, (1, 2, 3)), (1, (4,)), (2, (5,)), (3, (6,)), (4, (4, 5, 6))):
        rain[plane] = sum(hours[end] for end in ends)
    if 9 in hours:
        rain[5] = hours[7] + hours[8] + hours[9]
    return rain

"""Files that the reference program scaled to 0-1, brought back to mm and the fields' own units."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.rain.group_scaling import PRECIPITATION, SCALER_FILE, Bounds, group_of

SCALED_UNITS = ("1", "0-1")
"""Units that mark scaled values, beside none at all."""

FURTHEST = 0.5
"""How far outside 0 to 1 a scaled value may lie: later years reach beyond those of the scaling."""


def require_rain_bounds(bounds: Bounds, path: Path) -> None:
    """Refuse a scaling that cannot give back mm.

    Raises:
        DataError: it has no bounds of rain. (That the maximum is larger is checked on reading.)
    """
    if PRECIPITATION not in bounds:
        raise DataError(
            "the scaling of rain is missing, so rain cannot be brought back to mm",
            file=path,
            variable=f"group_minmax.{PRECIPITATION}",
            found=", ".join(bounds),
            next_step=f"bring the {SCALER_FILE} with which the files were written",
        )


def scaling_of(variable: str, bounds: Bounds | None, path: Path, units: str) -> tuple[float, float]:
    """Minimum and maximum with which a variable was scaled.

    Raises:
        DataError: none were given, or not those of its group.
    """
    found = f"units {units!r}" if units else "no units"
    if bounds is None:
        raise DataError(
            "no units, as in files that are scaled to 0-1",
            file=path,
            variable=variable,
            found=found,
            expected="units of the field, mm for rain",
            next_step=f"if they are scaled, name their {SCALER_FILE} in data.scaler_file; else "
            "convert the month again",
        )
    # N follows the window; it was scaled with the other amounts if it was at all.
    group = PRECIPITATION if variable.startswith("Prec_") else group_of(variable)
    if group not in bounds:
        raise DataError(
            "scaled, but the scaling of its group is missing",
            file=path,
            variable=variable,
            found=f"{found}; groups {', '.join(bounds)}",
            expected=f"group_minmax.{group} in data.scaler_file",
        )
    return bounds[group]


def physical(
    values: NDArray[np.float32], factor: float, base: float, path: Path, variable: str
) -> NDArray[np.float32]:
    """Scaled values in their own units, by way of float64.

    Raises:
        DataError: they are not scaled at all.
    """
    low, high = float(values.min()), float(values.max())
    if low < -FURTHEST or high > 1 + FURTHEST:
        raise DataError(
            "the values are not scaled to 0-1, though the units say so",
            file=path,
            variable=variable,
            found=f"{low:g} to {high:g}",
            next_step="write the true units into the file",
        )
    return (values.astype(np.float64) * factor + base).astype(np.float32)

"""Which dimensions of a rain variable are time, rows and columns, and the grid they make."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid

Axis = Literal["y", "x"]

_DEGREES: dict[Axis, frozenset[str]] = {
    "y": frozenset({"degrees_north", "degree_north", "degrees_n", "degree_n", "degreesn"}),
    "x": frozenset({"degrees_east", "degree_east", "degrees_e", "degree_e", "degreese"}),
}
_CF_NAMES: dict[Axis, tuple[str, str, str]] = {
    "y": ("latitude", "projection_y_coordinate", "grid_latitude"),
    "x": ("longitude", "projection_x_coordinate", "grid_longitude"),
}
_NAMES: dict[Axis, frozenset[str]] = {
    "y": frozenset({"lat", "latitude", "y", "yc", "rlat", "nj", "south_north", "northing", "row"}),
    "x": frozenset({"lon", "longitude", "x", "xc", "rlon", "ni", "west_east", "easting", "column"}),
}
_LENGTH_UNITS = {
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("km", "kilometer", "kilometers", "kilometre", "kilometres"), "km"),
}


@dataclass(frozen=True)
class Layout:
    """How a variable is stored.

    Attributes:
        time: name of the time dimension.
        grid: north row first and west column first.
        squeezed: other dimensions, all of size 1.
        rows_flipped: whether the file has the south row first.
        columns_flipped: whether the file has the east column first.
        notes: what was taken for granted, one sentence each.
    """

    time: str
    grid: Grid
    squeezed: tuple[str, ...]
    rows_flipped: bool
    columns_flipped: bool
    notes: tuple[str, ...]


def read_layout(dataset: xr.Dataset, name: str, time: str, path: Path) -> Layout:
    """The layout of ``dataset[name]``, whose time dimension is ``time``.

    One-dimensional latitude and longitude make a ``latlon`` grid; y and x in m or km a
    ``projected`` one; anything else an ``index`` grid, whose rows stay as stored.

    Raises:
        DataError: there is no single pair of row and column dimensions, a further dimension is
            longer than 1, or a coordinate is not strictly monotonic.
    """
    sizes = {str(d): n for d, n in dataset.variables[name].sizes.items() if d != time}
    axes = {d: _axis(dataset, d) for d in sizes}
    rows = [d for d in sizes if axes[d] == "y"]
    columns = [d for d in sizes if axes[d] == "x"]
    others = [d for d in sizes if axes[d] is None]
    notes = []
    long = [d for d in others if sizes[d] > 1]
    if not rows and not columns and len(long) == 2:
        rows, columns = long[:1], long[1:]
        others = [d for d in others if d not in long]
        long = []
        notes.append(f"dimensions {rows[0]} and {columns[0]} taken as rows and columns")
    if len(rows) != 1 or len(columns) != 1 or long:
        raise DataError(
            "the dimensions are not (time, y, x)",
            file=path,
            variable=name,
            found=", ".join(f"{d} = {n}" for d, n in dataset.variables[name].sizes.items()),
            expected="one dimension of times, one of rows, one of columns, all others of size 1",
            next_step=f"select one {long[0]}, e.g. ncks -d {long[0]},0 in.nc out.nc"
            if long
            else "name the dimensions time, y, x or time, lat, lon: ncrename -d old,new",
        )
    if others:
        notes.append(f"dimensions of size 1 dropped: {', '.join(others)}")
    y, y_units = _coordinate(dataset, rows[0], "y", path)
    x, x_units = _coordinate(dataset, columns[0], "x", path)
    kind: Literal["latlon", "projected", "index"] = "index"
    units = "1"
    if y is not None and x is not None and y_units == x_units:
        kind, units = ("latlon" if y_units == "degrees" else "projected"), y_units
    else:
        notes.append("no usable coordinates: the first row is taken as the north, spacing unknown")
        y, x = np.arange(float(sizes[rows[0]])), np.arange(float(sizes[columns[0]]))
    rows_flipped = kind != "index" and len(y) > 1 and bool(y[0] < y[-1])
    columns_flipped = kind != "index" and len(x) > 1 and bool(x[0] > x[-1])
    grid = Grid(
        kind=kind,
        y=y[::-1].copy() if rows_flipped else y,
        x=x[::-1].copy() if columns_flipped else x,
        y_name=rows[0],
        x_name=columns[0],
        units=units,
    )
    return Layout(time, grid, tuple(others), rows_flipped, columns_flipped, tuple(notes))


def _on_dimension(dataset: xr.Dataset, dimension: str) -> dict[Hashable, xr.Variable]:
    """One-dimensional variables along a dimension, its own coordinate first."""
    found = {n: v for n, v in dataset.variables.items() if v.dims == (dimension,)}
    return dict(sorted(found.items(), key=lambda item: item[0] != dimension))


def _axis(dataset: xr.Dataset, dimension: str) -> Axis | None:
    """Whether a dimension counts rows or columns, by CF attributes, then by name."""
    coordinates = _on_dimension(dataset, dimension)
    for axis in _NAMES:
        for variable in coordinates.values():
            attrs = {key: str(value) for key, value in variable.attrs.items()}
            if (
                attrs.get("standard_name") in _CF_NAMES[axis]
                or attrs.get("units", "").lower() in _DEGREES[axis]
                or attrs.get("axis", "").lower() == axis
            ):
                return axis
    for axis in _NAMES:
        if any(str(n).lower() in _NAMES[axis] for n in (dimension, *coordinates)):
            return axis
    return None


def _coordinate(
    dataset: xr.Dataset, dimension: str, axis: Axis, path: Path
) -> tuple[NDArray[np.float64], str] | tuple[None, str]:
    """Values and units (``degrees``, ``m`` or ``km``) along a dimension; None if not usable."""
    for name, variable in _on_dimension(dataset, dimension).items():
        units = str(variable.attrs.get("units", "")).lower()
        standard = variable.attrs.get("standard_name")
        degrees = (
            units in _DEGREES[axis]
            or standard == _CF_NAMES[axis][0]
            or (
                str(name).lower() in (_CF_NAMES[axis][0], _CF_NAMES[axis][0][:3])
                and units in ("", "degrees", "degree")
            )
        ) and standard != _CF_NAMES[axis][2]
        if degrees or units in _LENGTH_UNITS:
            values = np.asarray(variable.values, dtype=np.float64)
            _check_monotonic(values, str(name), path)
            if degrees and axis == "y" and np.abs(values).max() > 90.0:
                raise DataError(
                    "not a latitude",
                    file=path,
                    variable=str(name),
                    found=f"{values[np.abs(values).argmax()]:g}",
                    expected="-90 to 90 degrees",
                    next_step="correct the coordinate or its units attribute",
                )
            return values, "degrees" if degrees else _LENGTH_UNITS[units]
    return None, ""


def _check_monotonic(values: NDArray[np.float64], name: str, path: Path) -> None:
    """Raise unless a coordinate is finite and strictly increasing or decreasing."""
    steps = np.diff(values)
    # The direction of most steps, so that the odd one out is named.
    wrong = np.flatnonzero(~(steps * np.sign(np.median(steps)) > 0.0)) if len(steps) else steps
    if not np.isfinite(values).all():
        where = int(np.argmax(~np.isfinite(values)))
    elif len(wrong):
        where = int(wrong[0])
    else:
        return
    raise DataError(
        "coordinate not strictly increasing or decreasing",
        file=path,
        variable=name,
        found=", ".join(f"{v:g}" for v in values[where : where + 2]) + f" at position {where}",
        expected="every value beyond the one before",
        next_step="sort the file along it and drop repeated values; let longitudes that cross "
        "180 or 360 degrees run on, e.g. 350 ... 370",
    )

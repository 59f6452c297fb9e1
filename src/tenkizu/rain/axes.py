"""Which dimensions of a rain variable are time, rows and columns, and the grid they make."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.curvilinear import mean_steps, neighbour_km
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.georeference import (
    DEGREES_EAST,
    DEGREES_NORTH,
    Georeference,
    Places,
    find_places,
    read_georeference,
)

Axis = Literal["y", "x"]

UNEVEN = 0.2
"""Spacings that differ from their median by more than this share, within 90 % of the grid, are
told."""

_DEGREES: dict[Axis, frozenset[str]] = {"y": DEGREES_NORTH, "x": DEGREES_EAST}
_CF_NAMES: dict[Axis, tuple[str, str, str]] = {
    "y": ("latitude", "projection_y_coordinate", "grid_latitude"),
    "x": ("longitude", "projection_x_coordinate", "grid_longitude"),
}
_NAMES: dict[Axis, frozenset[str]] = {
    "y": frozenset({"lat", "latitude", "y", "yc", "rlat", "nj", "south_north", "northing", "row"}),
    "x": frozenset({"lon", "longitude", "x", "xc", "rlon", "ni", "west_east", "easting", "column"}),
}
_MEMBERS = frozenset(
    {"member", "members", "number", "realization", "realisation", "ensemble", "ensemble_member"}
)
_TAKEN = "dimensions {} and {} taken as rows and columns"
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
        georeference: what locates the cells, as the file has it.
        member: name of the dimension of ensemble members; None without one.
        members: their numbers, or their positions from 0 where the file has none.
    """

    time: str
    grid: Grid
    squeezed: tuple[str, ...]
    rows_flipped: bool
    columns_flipped: bool
    notes: tuple[str, ...]
    georeference: Georeference = field(default_factory=Georeference)
    member: str | None = None
    members: tuple[int, ...] = ()


def read_layout(
    dataset: xr.Dataset, name: str, time: str, path: Path, ensemble: bool = False
) -> Layout:
    """The layout of ``dataset[name]``, whose time dimension is ``time``.

    One-dimensional latitude and longitude make a ``latlon`` grid; y and x in m or km a
    ``projected`` one; anything else an ``index`` grid. The rows of the latter stay as stored,
    unless latitudes and longitudes in two dimensions say where the north is; these also give its
    spacing.

    Args:
        dataset: the opened file.
        name: the rain variable.
        time: its time dimension.
        path: of the file, for messages.
        ensemble: accept a dimension of ensemble members.

    Raises:
        DataError: there is no single pair of row and column dimensions, a further dimension is
            longer than 1, or a coordinate is not strictly monotonic.
    """
    sizes = {str(d): n for d, n in dataset.variables[name].sizes.items() if d != time}
    member = next((d for d, n in sizes.items() if n > 1 and _counts_members(dataset, d)), None)
    members = _member_numbers(dataset, member, path) if member and ensemble else ()
    rows, columns, others, notes = _dimensions(dataset, name, time, path, member if members else "")
    if others:
        notes.append(f"dimensions of size 1 dropped: {', '.join(others)}")
    y, y_units, y_name = _coordinate(dataset, rows, "y", path)
    x, x_units, x_name = _coordinate(dataset, columns, "x", path)
    kind: Literal["latlon", "projected", "index"] = "index"
    units, places, axes = "1", None, {rows: y_name, columns: x_name}
    if y is not None and x is not None and y_units == x_units:
        kind, units = ("latlon" if y_units == "degrees" else "projected"), y_units
    if kind != "latlon":
        places = find_places(dataset, name, time, (rows, columns), path)
    if kind == "index" and places is not None and _axis(dataset, rows) is None:
        # Dimensions that nothing names may stand in any order: rows are those of latitude.
        down, along = (np.nansum(np.abs(np.diff(places.lat, axis=i))) for i in (0, 1))
        if along > down:
            rows, columns = columns, rows
            # In place of the first sentence, which says the opposite.
            notes[0] = _TAKEN.format(rows, columns)
            places = Places(places.names, places.lat.T, places.lon.T)
    if kind == "index" or y is None or x is None:
        y, x = np.arange(float(sizes[rows])), np.arange(float(sizes[columns]))
        axes = {rows: rows, columns: columns}
        rows_flipped, columns_flipped = _turned(places)
    else:
        rows_flipped = len(y) > 1 and bool(y[0] < y[-1])
        columns_flipped = len(x) > 1 and bool(x[0] > x[-1])
        y, x = y[:: -1 if rows_flipped else 1].copy(), x[:: -1 if columns_flipped else 1].copy()
    lat, lon = (
        (None, None)
        if places is None
        else (
            values[:: -1 if rows_flipped else 1, :: -1 if columns_flipped else 1]
            for values in (places.lat, places.lon)
        )
    )
    cell_km = None
    if kind == "index" and places is not None:
        cell_km, remarks = _cell_km(places, path)
        notes += remarks
    elif kind == "index":
        notes.append("no usable coordinates: the first row is taken as the north, spacing unknown")
    grid = Grid(kind, y, x, rows, columns, units, lat, lon, cell_km)
    return Layout(
        time,
        grid,
        tuple(others),
        rows_flipped,
        columns_flipped,
        tuple(notes),
        read_georeference(dataset, name, axes, places),
        member if members else None,
        members,
    )


def _dimensions(
    dataset: xr.Dataset, name: str, time: str, path: Path, member: str | None
) -> tuple[str, str, list[str], list[str]]:
    """The dimensions of rows and of columns, those of size 1, and what was taken for granted."""
    sizes = {str(d): n for d, n in dataset.variables[name].sizes.items() if d not in (time, member)}
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
        notes.append(_TAKEN.format(rows[0], columns[0]))
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
    return rows[0], columns[0], others, notes


def _counts_members(dataset: xr.Dataset, dimension: str) -> bool:
    """Whether a dimension is one of ensemble members, by CF standard name or by its own name."""
    along = _on_dimension(dataset, dimension).values()
    standard = {str(variable.attrs.get("standard_name")) for variable in along}
    return "realization" in standard or dimension.lower() in _MEMBERS


def _member_numbers(dataset: xr.Dataset, dimension: str, path: Path) -> tuple[int, ...]:
    """Numbers of the members in the order of the file; positions from 0 if it has none."""
    size = dataset.sizes[dimension]
    found = dataset.variables.get(dimension)
    if found is None or found.dtype.kind not in "iuf":
        return tuple(range(size))
    numbers = np.asarray(found.values, dtype=np.float64)
    whole = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    if not whole or len(np.unique(numbers)) < size or np.abs(numbers).max() > 2**31 - 1:
        raise DataError(
            "ensemble members without a number of their own each",
            file=path,
            variable=dimension,
            found=", ".join(f"{number:g}" for number in numbers[:8]),
            expected="different whole numbers",
            next_step="correct the coordinate, or take it out: members then count from 0",
        )
    return tuple(int(number) for number in numbers)


def _turned(places: Places | None) -> tuple[bool, bool]:
    """Whether the south row, and the east column, come first; as stored where it is not known."""
    if places is None:
        return False, False
    northward, eastward = mean_steps(places.lat, places.lon)
    return northward > 0.0, eastward < 0.0


def _cell_km(places: Places, path: Path) -> tuple[tuple[float, float] | None, list[str]]:
    """Median distance of rows and of columns, and a sentence where it varies."""
    medians, notes = [], []
    for what, steps in zip(("rows", "columns"), neighbour_km(places.lat, places.lon), strict=True):
        steps = steps[np.isfinite(steps)]
        if not len(steps):
            return None, ["the spacing is unknown: no two neighbours have latitude and longitude"]
        low, median, high = (float(v) for v in np.quantile(steps, (0.05, 0.5, 0.95)))
        if not median > 0.0:
            raise DataError(
                f"neighbouring {what} have the same latitudes and longitudes",
                file=path,
                variable=", ".join(places.names),
                found=f"a median distance of {median:g} km",
                expected="a place of its own for each cell",
                next_step="correct the coordinates, or take them out of the file",
            )
        if low < (1 - UNEVEN) * median or high > (1 + UNEVEN) * median:
            notes.append(
                f"the distance of {what} varies over the grid, from {low:.3g} to {high:.3g} km: "
                f"its median, {median:.3g} km, is taken as the spacing"
            )
        medians.append(median)
    return (medians[0], medians[1]), notes


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
) -> tuple[NDArray[np.float64], str, str] | tuple[None, str, str]:
    """Values, units (``degrees``, ``m`` or ``km``) and name of a coordinate; None if not usable."""
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
            if degrees and axis == "x":
                values = _run_on(values)
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
            return values, "degrees" if degrees else _LENGTH_UNITS[units], str(name)
    return None, "", ""


def _run_on(longitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes that jump by a turn, as from 180 to -180, continued beyond it."""
    steps = np.diff(longitudes)
    jumps = np.flatnonzero(np.abs(steps) > 180.0)
    if len(jumps) != 1 or not np.isfinite(longitudes).all():
        return longitudes
    turned = longitudes.copy()
    turned[jumps[0] + 1 :] -= 360.0 * np.sign(steps[jumps[0]])
    return turned


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
        next_step="sort the file along it and drop repeated values",
    )

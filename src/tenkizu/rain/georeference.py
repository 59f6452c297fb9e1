"""Where the cells of a file lie: latitudes and longitudes in two dimensions, grid mappings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.errors import DataError

DEGREES_NORTH = frozenset({"degrees_north", "degree_north", "degrees_n", "degree_n", "degreesn"})
DEGREES_EAST = frozenset({"degrees_east", "degree_east", "degrees_e", "degree_e", "degreese"})

_KINDS = (
    ("latitude", DEGREES_NORTH, frozenset({"lat", "latitude", "xlat", "nav_lat", "lats"})),
    ("longitude", DEGREES_EAST, frozenset({"lon", "longitude", "xlong", "nav_lon", "lons"})),
)
# What other variables and attributes of the source they name are not in the output.
_NOT_COPIED = frozenset({"bounds", "coordinates", "grid_mapping", "ancillary_variables"})


@dataclass(frozen=True, eq=False)
class Georeference:
    """What locates the cells of a file, in its own order, to be written beside its rain again.

    Attributes:
        variables: coordinates along rows and columns by the names of these dimensions; latitudes
            and longitudes on (row, column) and grid mappings by their own names.
        coordinates: names of the latitudes and longitudes, for the attribute ``coordinates``.
        grid_mapping: the attribute ``grid_mapping`` of the rain; empty if it has none.
    """

    variables: dict[str, xr.Variable] = field(default_factory=dict)
    coordinates: tuple[str, ...] = ()
    grid_mapping: str = ""

    def regridded(self) -> "Georeference":
        """What still holds for other cells in the same projection: the (first) grid mapping."""
        name = self.grid_mapping.split(":")[0]
        return Georeference({k: v for k, v in self.variables.items() if k == name}, (), name)


@dataclass(frozen=True, eq=False)
class Places:
    """Latitude and longitude of each cell.

    Attributes:
        names: of the two variables.
        lat: (H, W), degrees north, in the order of the file.
        lon: (H, W), degrees east, in the order of the file.
    """

    names: tuple[str, str]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]


def find_places(
    dataset: xr.Dataset, name: str, time: str, dimensions: tuple[str, str], path: Path
) -> Places | None:
    """Latitudes and longitudes in two dimensions that belong to a variable.

    Those that its ``coordinates`` attribute names come first, then any on the same dimensions that
    are latitude and longitude by standard name, units or name. They may also be on the time
    dimension, as in WRF output, if they do not change.

    Args:
        dataset: the opened file.
        name: the rain variable.
        time: its time dimension.
        dimensions: of rows and of columns.
        path: of the file, for messages.

    Returns:
        The places; None where there are none, or every one is missing.

    Raises:
        DataError: they move with time, or are not latitudes.
    """
    found = []
    for kind, units, names in _KINDS:
        fitting = [
            label
            for label in _candidates(dataset, name)
            if set(dataset.variables[label].dims) - {time} == set(dimensions)
            and _is(dataset.variables[label], label, kind, units, names)
        ]
        if not fitting:
            return None
        found.append(fitting[0])
    lat, lon = (_values(dataset, label, time, dimensions, path) for label in found)
    if not np.isfinite(lat + lon).any():
        return None
    if np.nanmax(np.abs(lat)) > 90.0:
        raise DataError(
            "not a latitude",
            file=path,
            variable=found[0],
            found=f"{lat.flat[np.nanargmax(np.abs(lat))]:g}",
            expected="-90 to 90 degrees",
            next_step="correct the coordinate, or mark what is missing with _FillValue",
        )
    return Places((found[0], found[1]), lat, lon)


def read_georeference(
    dataset: xr.Dataset, name: str, axes: Mapping[str, str], places: Places | None
) -> Georeference:
    """All that locates the cells of a variable, read into memory.

    Of a file with a single grid mapping that the variable does not name, that one is taken.

    Args:
        dataset: the opened file.
        name: the rain variable.
        axes: names of the dimensions of rows and of columns, each with that of its coordinate.
        places: latitudes and longitudes in two dimensions.
    """
    variables = {
        dimension: dataset.variables[label].copy()
        for dimension, label in axes.items()
        if label in dataset.variables and dataset.variables[label].dtype.kind in "iuf"
    }
    if places is not None:
        pairs = zip(places.names, (places.lat, places.lon), _KINDS, strict=True)
        for label, values, (kind, units, _) in pairs:
            own = dataset.variables[label]
            attrs = {"standard_name": kind, **own.attrs}
            if str(attrs.get("units", "")).lower() not in units:
                attrs["units"] = "degrees_north" if kind == "latitude" else "degrees_east"
            variables[label] = xr.Variable(tuple(axes), values.astype(own.dtype), attrs)
    text, mappings = _grid_mapping(dataset, name, {*variables})
    for label in mappings:
        variables[label] = xr.Variable((), np.int32(0), dataset.variables[label].attrs)
    for variable in variables.values():
        variable.attrs = {k: v for k, v in variable.attrs.items() if k not in _NOT_COPIED}
    return Georeference(variables, places.names if places else (), text)


def _candidates(dataset: xr.Dataset, name: str) -> list[str]:
    """Names of variables, those that the ``coordinates`` attribute lists first."""
    variable = dataset.variables[name]
    # xarray moves the attribute to the encoding when it finds what it names.
    text = variable.attrs.get("coordinates", variable.encoding.get("coordinates", ""))
    listed = [label for label in str(text).split() if label in dataset.variables]
    return [*listed, *(str(label) for label in dataset.variables if label not in listed)]


def _is(
    variable: xr.Variable, label: str, kind: str, units: frozenset[str], names: frozenset[str]
) -> bool:
    """Whether a variable is the latitude or the longitude, by what it says or is called."""
    standard = variable.attrs.get("standard_name")
    stated = str(variable.attrs.get("units", "")).lower()
    if standard is not None:
        return bool(standard == kind)
    return stated in units or (label.lower() in names and stated in ("", "degree", "degrees"))


def _values(
    dataset: xr.Dataset, label: str, time: str, dimensions: tuple[str, str], path: Path
) -> NDArray[np.float64]:
    """Degrees on (row, column); of several times the first, if the last has the same."""
    variable = dataset.variables[label]
    if time in variable.dims:
        first, last = (variable.isel({time: i}) for i in (0, -1))
        if not np.array_equal(first.values, last.values, equal_nan=True):
            raise DataError(
                "the grid moves",
                file=path,
                variable=label,
                found=f"other values at the last {time} than at the first",
                expected="latitudes and longitudes that do not change",
                next_step="bring the rain to one grid, or split each part by itself",
            )
        variable = first
    return np.asarray(variable.transpose(*dimensions).values, dtype=np.float64)


def _grid_mapping(dataset: xr.Dataset, name: str, kept: set[str]) -> tuple[str, tuple[str, ...]]:
    """The attribute ``grid_mapping`` for the output, and the variables that it names."""
    variable = dataset.variables[name]
    text = str(variable.attrs.get("grid_mapping", variable.encoding.get("grid_mapping", "")))
    words = text.split()
    # The long form is "crs: x y other: lat lon".
    named = [word.removesuffix(":") for word in words if word.endswith(":")] or words[:1]
    named = [label for label in named if label in dataset.variables]
    if not named:
        every = [
            str(label)
            for label, one in dataset.variables.items()
            if "grid_mapping_name" in one.attrs or "crs_wkt" in one.attrs
        ]
        return (every[0], (every[0],)) if len(every) == 1 else ("", ())
    whole = all(word.removesuffix(":") in kept | {*named} for word in words)
    return (text, tuple(named)) if whole else (named[0], (named[0],))

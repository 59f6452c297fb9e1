"""Derived maps as CF NetCDF, written day block by day block.

One day of one field is one chunk, byte-shuffled and compressed: any day is read alone. With zstd,
NetCDF-C from 4.9 on reads the files without further plugins.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from tenkizu.core.grid import Grid
from tenkizu.core.store import atomic
from tenkizu.patterns.physics.channels import CHANNELS, Channel

DIMENSIONS = {"map": ("valid_time", "latitude", "longitude")} | {
    "scalar": ("valid_time",),
    "static": ("latitude", "longitude"),
}
EPOCH = np.datetime64("1970-01-01T00:00", "m")
BOUNDS = "valid_time_bnds"
LABEL = "label"
ZSTD: dict[str, Any] = {"shuffle": True, **hdf5plugin.Zstd(clevel=1)}
LZ4: dict[str, Any] = {"shuffle": True, **hdf5plugin.LZ4()}
NO_CACHE = {"rdcc_nbytes": 0}
"""For h5py: whole chunks are written, which HDF5 would keep, 8 MB of every field."""


class OpenYear:
    """A NetCDF file with all but the values of its fields written."""

    def __init__(self, file: h5py.File, names: Sequence[str]) -> None:
        self._file = file
        self._names = names

    def write(self, first: int, fields: Mapping[str, NDArray[np.float32]]) -> None:
        """Put fields in place from day number ``first`` on; those it does not hold are ignored.

        Args:
            first: position of the first day.
            fields: (T, H, W) for maps, (T,) for season terms, (H, W) for static ones.
        """
        for name in fields.keys() & set(self._names):
            values = fields[name]
            if CHANNELS[name].kind == "static":
                self._file[name][...] = values
            else:
                self._file[name][first : first + len(values)] = values

    def copy(self, first: int, packed: h5py.File) -> None:
        """Take over the maps of another file as they are packed there, from day ``first`` on.

        Args:
            first: position of its first day here.
            packed: holds data sets (T, H, W), one day a chunk, compressed as here.
        """
        for name in self._names:
            if CHANNELS[name].kind != "map":
                continue
            here, there = self._file[name].id, packed[name].id
            for day in range(packed[name].shape[0]):
                skipped_filters, chunk = there.read_direct_chunk((day, 0, 0))
                here.write_direct_chunk((first + day, 0, 0), chunk, skipped_filters)


@contextlib.contextmanager
def netcdf_year(
    path: Path,
    grid: Grid,
    times: NDArray[np.datetime64],
    names: Sequence[str],
    attributes: Mapping[str, str],
    compression: Mapping[str, Any] = ZSTD,
    labels: Sequence[str] | None = None,
    daily_means: bool = False,
) -> Iterator[OpenYear]:
    """Make one file; it takes its name only when the block ends without an error.

    Args:
        path: the file.
        grid: latitudes, north first, and longitudes.
        times: valid times (n,), UTC.
        names: fields of `CHANNELS` it will hold.
        attributes: global attributes besides ``Conventions``.
        compression: of the maps, `ZSTD` or `LZ4`.
        labels: a text for each time, to be written as ``label``.
        daily_means: whether maps are means over the day that begins at their time; otherwise they
            are of that instant, but for rain, which falls in the hour before.
    """
    with atomic(path) as part:
        with h5netcdf.File(part, "w") as file:
            file.attrs.update({"Conventions": "CF-1.11", **attributes})
            _coordinates(file, grid, times)
            if daily_means:
                _bounds(file, times, 0, 24)
            elif "tp" in names:
                _bounds(file, times, -1, 0)
            for name in names:
                variable = _variable(file, CHANNELS[name], compression)
                if daily_means and CHANNELS[name].kind == "map":
                    variable.attrs["cell_methods"] = "valid_time: mean"
                elif name == "tp":
                    variable.attrs["cell_methods"] = "valid_time: sum"
            if labels is not None:
                text = file.create_variable(LABEL, ("valid_time",), h5py.string_dtype())
                text[...] = np.array(labels, dtype=object)
                text.attrs["long_name"] = "pressure pattern of the local date"
        with h5py.File(part, "r+", **NO_CACHE) as opened:
            yield OpenYear(opened, names)


def _coordinates(file: h5netcdf.File, grid: Grid, times: NDArray[np.datetime64]) -> None:
    """Dimensions and their coordinate variables."""
    for name, values, attributes in (
        (
            "valid_time",
            _minutes(times),
            {
                "standard_name": "time",
                "long_name": "time",
                "units": "minutes since 1970-01-01 00:00:00",
                "calendar": "proleptic_gregorian",
                "axis": "T",
            },
        ),
        ("latitude", grid.y, {"units": "degrees_north", "axis": "Y"}),
        ("longitude", grid.x, {"units": "degrees_east", "axis": "X"}),
    ):
        file.dimensions[name] = len(values)
        variable = file.create_variable(name, (name,), values.dtype, values)
        variable.attrs.update({"standard_name": name, "long_name": name} | attributes)


def _bounds(file: h5netcdf.File, times: NDArray[np.datetime64], begin: int, end: int) -> None:
    """What maps are sums or means over, in hours from their time."""
    minutes = _minutes(times)
    file.dimensions["bounds"] = 2
    # CF takes their units and calendar from the time itself.
    values = np.stack([minutes + 60 * begin, minutes + 60 * end], axis=1)
    file.create_variable(BOUNDS, ("valid_time", "bounds"), values.dtype, values)
    file.variables["valid_time"].attrs["bounds"] = BOUNDS


def _minutes(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return (times.astype("datetime64[m]") - EPOCH).astype(np.int64)


def _variable(
    file: h5netcdf.File, channel: Channel, compression: Mapping[str, Any]
) -> h5netcdf.Variable:
    """An empty variable with its CF attributes."""
    dimensions = DIMENSIONS[channel.kind]
    options: dict[str, Any] = {}
    if channel.kind == "map":
        chunk = (1, *(file.dimensions[name].size for name in dimensions[1:]))
        options = {"chunks": chunk, **compression}
    variable = file.create_variable(
        channel.name, dimensions, np.float32, fillvalue=np.float32(np.nan), **options
    )
    variable.attrs["units"] = channel.units
    variable.attrs["long_name"] = channel.long_name
    if channel.standard_name:
        variable.attrs["standard_name"] = channel.standard_name
        if channel.units == "K":
            variable.attrs["units_metadata"] = "temperature: on_scale"
    return variable

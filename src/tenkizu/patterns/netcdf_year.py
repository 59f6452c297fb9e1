"""Derived maps as CF NetCDF, one file a year, written day block by day block.

One day of one field is one chunk, compressed with zstd after a byte shuffle: any day is read alone,
and NetCDF-C from 4.9 on reads it without further plugins.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import h5netcdf
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from tenkizu.core.grid import Grid
from tenkizu.core.store import atomic
from tenkizu.patterns.physics.channels import CHANNELS, Channel

Write = Callable[[int, Mapping[str, NDArray[np.float32]]], None]

DIMENSIONS = {"map": ("valid_time", "latitude", "longitude")} | {
    "scalar": ("valid_time",),
    "static": ("latitude", "longitude"),
}
EPOCH = np.datetime64("1970-01-01T00:00", "m")


@contextlib.contextmanager
def netcdf_year(
    path: Path,
    grid: Grid,
    times: NDArray[np.datetime64],
    names: Sequence[str],
    attributes: Mapping[str, str],
) -> Iterator[Write]:
    """Make one file; it takes its name only when the block ends without an error.

    Args:
        path: the file.
        grid: latitudes, north first, and longitudes.
        times: valid times (n,), UTC.
        names: fields of `CHANNELS` it will hold.
        attributes: global attributes besides ``Conventions``.

    Yields:
        ``write(first, fields)``: puts fields, (T, H, W) for maps, (T,) for scalars and (H, W) for
        static ones, in place from day number ``first`` on. Fields not among ``names`` are ignored.
    """
    with atomic(path) as part, h5netcdf.File(part, "w") as file:
        file.attrs.update({"Conventions": "CF-1.11", **attributes})
        _coordinates(file, grid, times)
        variables = {name: _variable(file, CHANNELS[name]) for name in names}

        def write(first: int, fields: Mapping[str, NDArray[np.float32]]) -> None:
            for name in variables.keys() & fields.keys():
                values = fields[name]
                if CHANNELS[name].kind == "static":
                    variables[name][...] = values
                else:
                    variables[name][first : first + len(values)] = values

        yield write


def _coordinates(file: h5netcdf.File, grid: Grid, times: NDArray[np.datetime64]) -> None:
    """Dimensions and their coordinate variables."""
    minutes = (times.astype("datetime64[m]") - EPOCH).astype(np.int64)
    for name, values, attributes in (
        (
            "valid_time",
            minutes,
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


def _variable(file: h5netcdf.File, channel: Channel) -> h5netcdf.Variable:
    """An empty variable with its CF attributes."""
    dimensions = DIMENSIONS[channel.kind]
    options = {}
    if channel.kind == "map":
        chunk = (1, *(file.dimensions[name].size for name in dimensions[1:]))
        options = {"chunks": chunk, "shuffle": True, **hdf5plugin.Zstd(clevel=1)}
    variable = file.create_variable(
        channel.name, dimensions, np.float32, fillvalue=np.float32(np.nan), **options
    )
    variable.attrs["units"] = channel.units
    variable.attrs["long_name"] = channel.long_name
    if channel.standard_name:
        variable.attrs["standard_name"] = channel.standard_name
    return variable

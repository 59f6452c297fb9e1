"""Writing a month of forecasts as CF NetCDF, from one small file for each initial time.

A worker packs each initial time into a file of its own. The month takes their compressed chunks as
they are: nothing is compressed twice, memory does not grow with the month, and what was packed
before an interruption is used again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from tenkizu.core.grid import Grid
from tenkizu.core.store import atomic
from tenkizu.rain.msm.grids import MODEL_SHAPE
from tenkizu.rain.msm.variables import FOLLOWING, MAPS, RAIN_NAMES, VARIABLES, time_features
from tenkizu.rain.tables import RAIN

DIMENSIONS = ("time", "lat", "lon")
TIME_UNITS = "hours since 1970-01-01"
EPOCH = np.datetime64("1970-01-01T00:00", "m")


def model_grid(crop: tuple[int, int, int, int] | None) -> Grid:
    """The grid of the reference network, or a part of it.

    Args:
        crop: first row and column, number of rows and columns; None for 480 x 480.
    """
    row, column, rows, columns = crop or (0, 0, *MODEL_SHAPE)
    latitude = np.round(46.95 - 0.05 * (row + np.arange(rows)), 4)
    return Grid(
        "latlon", latitude, 120.0 + 0.0625 * (column + np.arange(columns, dtype=np.float64))
    )


def packing(compression: str, shape: tuple[int, int]) -> dict[str, Any]:
    """How a variable on (time, lat, lon) is stored: one time a chunk, shuffled and compressed."""
    codec = hdf5plugin.Zstd(clevel=1) if compression == "zstd" else hdf5plugin.LZ4()
    return {"chunks": (1, *shape), "shuffle": True, **codec}


def named_maps(
    fields: NDArray[np.float32], rain: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Maps (H, W) by their names in a monthly file, in its order.

    Args:
        fields: (48, H, W) in the order of ``field_pairs(MSM24)``.
        rain: (6, H, W) or, without N, (5, H, W) in the order of `tables.RAIN`.
    """
    planes = dict(zip(RAIN, rain, strict=False))
    named = {RAIN_NAMES[plane]: values for plane, values in planes.items()}
    named |= zip(MAPS, fields, strict=False)
    return {name: named[name] for name in MAPS if name in named}


def write_part(
    path: Path,
    maps: Mapping[str, NDArray[np.float32]],
    compression: str,
    attributes: Mapping[str, Any],
) -> None:
    """Pack one initial time into a file.

    Args:
        path: the file; it is never half-written.
        maps: of `named_maps`.
        compression: ``zstd`` or ``lz4``.
        attributes: what is to be known about it.
    """
    with atomic(path) as part, h5py.File(part, "w") as file:
        file.attrs.update(attributes)
        for name, values in maps.items():
            file.create_dataset(
                name,
                data=np.ascontiguousarray(values[None], np.float32),
                fillvalue=np.float32(np.nan),
                **packing(compression, values.shape),
            )


def read_part(path: Path) -> dict[str, Any]:
    """The attributes of a packed initial time; empty where there is none, or a damaged one."""
    try:
        with h5py.File(path) as file:
            return dict(file.attrs)
    except OSError:
        return {}


def join_parts(
    path: Path,
    parts: Sequence[Path],
    times: NDArray[np.datetime64],
    grid: Grid,
    compression: str,
    attributes: Mapping[str, Any],
) -> None:
    """Write a month from packed initial times; it takes its name when the last byte is on disk.

    Args:
        path: the monthly file.
        parts: one file of `write_part` for each time, packed with the same compression.
        times: t0 (n,), increasing, UTC.
        grid: of all maps.
        compression: ``zstd`` or ``lz4``.
        attributes: global attributes beside ``Conventions``.
    """
    following = False
    for part in parts:
        with h5py.File(part) as source:
            following |= FOLLOWING in source
    with atomic(path) as unfinished:
        create_month(unfinished, times, grid, compression, following, attributes)
        with h5py.File(unfinished, "r+") as file:
            for i, part in enumerate(parts):
                with h5py.File(part) as source:
                    for name in source:
                        mask, chunk = source[name].id.read_direct_chunk((0, 0, 0))
                        file[name].id.write_direct_chunk((i, 0, 0), chunk, mask)


def create_month(
    path: Path,
    times: NDArray[np.datetime64],
    grid: Grid,
    compression: str,
    following: bool,
    attributes: Mapping[str, Any],
) -> None:
    """Make a monthly file that is complete but for its maps, which are missing values.

    Args:
        path: the file; made at once, so give a temporary name.
        times: t0 (n,), UTC.
        grid: of all maps.
        compression: ``zstd`` or ``lz4``.
        following: whether it shall hold N.
        attributes: global attributes beside ``Conventions``.
    """
    with h5netcdf.File(path, "w") as file:
        file.attrs.update({"Conventions": "CF-1.11", **attributes})
        _coordinates(file, grid, times)
        options = {"fillvalue": np.float32(np.nan), **packing(compression, grid.shape)}
        for name in MAPS:
            if following or name != FOLLOWING:
                _describe(file.create_variable(name, DIMENSIONS, np.float32, **options))
        for name, values in time_features(times).items():
            _describe(file.create_variable(name, ("time",), np.float32, values))


def _describe(variable: h5netcdf.Variable) -> None:
    """Give a variable its attributes."""
    known = VARIABLES[variable.name.strip("/")]
    variable.attrs["units"] = known.units
    for name, value in known.attributes.items():
        variable.attrs[name] = np.int32(value) if isinstance(value, int) else value


def _coordinates(file: h5netcdf.File, grid: Grid, times: NDArray[np.datetime64]) -> None:
    """Dimensions and their coordinate variables."""
    hours = (times.astype("datetime64[m]") - EPOCH).astype(np.int64) // 60
    for name, values, attributes in (
        (
            "time",
            hours.astype(np.int32),
            {
                "standard_name": "forecast_reference_time",
                "long_name": "initial time t0 of the forecast",
                "units": TIME_UNITS,
                "calendar": "proleptic_gregorian",
                "axis": "T",
            },
        ),
        (
            "lat",
            grid.y,
            {
                "standard_name": "latitude",
                "long_name": "latitude",
                "units": "degrees_north",
                "axis": "Y",
            },
        ),
        (
            "lon",
            grid.x,
            {
                "standard_name": "longitude",
                "long_name": "longitude",
                "units": "degrees_east",
                "axis": "X",
            },
        ),
    ):
        file.dimensions[name] = len(values)
        variable = file.create_variable(name, (name,), values.dtype, values)
        variable.attrs.update(attributes)

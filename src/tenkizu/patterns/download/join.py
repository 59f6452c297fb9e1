"""The months of a task joined into the file of the year, in the form of today's data store."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
from numpy.typing import NDArray

from tenkizu.core.store import atomic
from tenkizu.patterns.download.verify import checked_pieces, source_of, verify
from tenkizu.patterns.download.wanted import Request
from tenkizu.patterns.reading.era5 import Task
from tenkizu.patterns.reading.map_layout import Piece
from tenkizu.patterns.reading.natives import NATIVES

_MAPS_AT_ONCE = 31
_BYTES_A_VALUE = 4
_OVERHEAD_BYTES = 2**16


def join(whole: Request, months: Sequence[Request]) -> None:
    """Write the file of a year from those of its months; maps are the same numbers.

    Months are checked as they are read, 31 maps at a time. Values are float32, deflated
    as the store does it, dimensions valid_time, pressure_level, latitude, longitude.

    Raises:
        DataError: a month is not what it must be.
        OSError: the file cannot be written.
    """
    with atomic(whole.path) as part:
        _require_space(part, whole)
        _write(part, whole, months)
        verify(part, whole)


def _require_space(path: Path, whole: Request) -> None:
    """Raise if the disk has no room for a file, were it not compressed.

    HDF5 cannot be trusted with a full disk: it may crash when it closes a file that it could not
    write.
    """
    values = whole.grid.shape[0] * whole.grid.shape[1] * len(whole.times) * len(whole.task.fields)
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, values * _BYTES_A_VALUE + _OVERHEAD_BYTES)
        except OSError as error:
            error.filename = str(whole.path)
            raise


def _write(path: Path, whole: Request, months: Sequence[Request]) -> None:
    task, shape = whole.task, whole.grid.shape
    with h5netcdf.File(path, "w") as file:
        _coordinates(file, whole)
        dims: tuple[str, ...] = ("valid_time", "latitude", "longitude")
        if task.levels:
            dims = ("valid_time", "pressure_level", "latitude", "longitude")
        sizes = tuple(file.dimensions[dim].size for dim in dims)
        for name in task.short_names:
            variable = file.create_variable(
                name, dims, "f4", chunks=(min(_MAPS_AT_ONCE, sizes[0]), *sizes[1:-2], *shape),
                fillvalue=np.float32(np.nan), compression="gzip", compression_opts=1, shuffle=True,
            )  # fmt: skip
            variable.attrs.update(
                units=NATIVES[name].units, long_name=_long_name(task, name), coordinates="expver"
            )
        versions = file.create_variable("expver", ("valid_time",), h5py.string_dtype())
        start = 0
        for month in months:
            pieces = checked_pieces(month.path, month)
            versions[start : start + len(month.times)] = _versions(pieces[0])
            with source_of(pieces, month) as source:
                for first in range(0, len(month.times), _MAPS_AT_ONCE):
                    times = month.times[first : first + _MAPS_AT_ONCE]
                    for name in task.short_names:
                        fields = [f"{name}{level}" for level in _levels(task)] or [name]
                        maps = [source.read([field], times)[field] for field in fields]
                        block = np.stack(maps, axis=1) if task.levels else maps[0]
                        stop = start + len(times)
                        file.variables[name][start:stop] = block.astype(np.float32)
                    start += len(times)
        file.attrs.update(
            Conventions="CF-1.7",
            history="joined by tenkizu from " + ", ".join(month.name for month in months),
        )


def _coordinates(file: Any, whole: Request) -> None:  # noqa: ANN401 - h5netcdf has no types
    grid = whole.grid
    seconds = (whole.times - np.datetime64("1970-01-01")).astype("timedelta64[s]")
    axes: list[tuple[str, Any, dict[str, str]]] = [
        (
            "valid_time",
            seconds.astype(np.int64),
            {
                "units": "seconds since 1970-01-01",
                "calendar": "proleptic_gregorian",
                "standard_name": "time",
            },
        ),
        ("latitude", grid.y, {"units": "degrees_north", "standard_name": "latitude"}),
        ("longitude", grid.x, {"units": "degrees_east", "standard_name": "longitude"}),
    ]
    if whole.task.levels:
        levels = np.array(_levels(whole.task), dtype=np.float64)
        axes.append(("pressure_level", levels, {"units": "hPa", "standard_name": "air_pressure"}))
    for name, values, attrs in axes:
        file.dimensions[name] = len(values)
        file.create_variable(name, (name,), values.dtype, data=values).attrs.update(attrs)


def _levels(task: Task) -> list[int]:
    """Levels as the store orders them, lowest first."""
    return sorted(task.levels, reverse=True)


def _long_name(task: Task, name: str) -> str:
    variable = task.variables[task.short_names.index(name)]
    return variable.replace("_", " ").capitalize()


def _versions(piece: Piece) -> NDArray[np.object_]:
    """The version of each map as the store writes it: 0001 final, 0005 preliminary."""
    known = len(piece.expver) == len(piece.times) and "expver" not in piece.roles
    texts = piece.expver if known else ("1",) * len(piece.times)
    return np.array([text.zfill(4) for text in texts], dtype=object)

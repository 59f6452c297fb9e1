"""Whether a file is what was asked for: fields, levels, days, coordinates, units, values."""

import zipfile
from pathlib import Path

import numpy as np

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns.download.wanted import Request
from tenkizu.patterns.reading.file_kinds import FETCH_AGAIN, parts_of
from tenkizu.patterns.reading.map_checks import first_difference, refuse_empty
from tenkizu.patterns.reading.map_choice import require_times, window_of
from tenkizu.patterns.reading.map_files import NetcdfFile, netcdf_files
from tenkizu.patterns.reading.map_layout import Piece, pieces_of
from tenkizu.patterns.reading.map_times import list_times
from tenkizu.patterns.reading.maps import MapSource

_TOLERANCE = 1e-4
_MAPS_AT_ONCE = 31
_MOST_OF_A_YEAR = np.timedelta64(300, "D")
_NO_MAPS = ("valid_time", "expver", "number")


def require_plain(path: Path) -> None:
    """Raise unless a file is one NetCDF file, as was asked for, and no archive.

    Raises:
        DataError: naming the file, its size and what it is.
    """
    parts = parts_of(path)
    if parts[0].member is not None:
        raise DataError(
            "a ZIP archive where NetCDF was asked for",
            file=path,
            found=f"{path.stat().st_size} bytes with {_members(path)}",
            expected="one NetCDF file",
            next_step=FETCH_AGAIN,
        )


def verify(path: Path, request: Request, exact: bool = True) -> None:
    """Check every value of a file against the request that it answers, a month at a time.

    Args:
        path: NetCDF, or an archive of NetCDF files.
        request: what must be in it.
        exact: as in `checked_pieces`.

    Raises:
        DataError: as `checked_pieces`; units are others; a value is not finite, but for land in
            sst and cells of cin, or cannot be in its unit; a field has no value at all.
    """
    pieces = checked_pieces(path, request, exact)
    empty = {piece.name: piece for piece in pieces}
    with source_of(pieces, request) as source:
        for start in range(0, len(request.times), _MAPS_AT_ONCE):
            for name in source.names:
                maps = source.read([name], request.times[start : start + _MAPS_AT_ONCE])[name]
                if name in empty and np.isfinite(maps).any():
                    del empty[name]
    # A cold month may have no convection, in a small area; a year has some.
    if empty and request.times[-1] - request.times[0] > _MOST_OF_A_YEAR:
        refuse_empty(next(iter(empty.values())), request.times)


def source_of(pieces: list[Piece], request: Request) -> MapSource:
    """The maps of a request from the pieces of its file; values are checked when read."""
    return MapSource(pieces, request.times, window_of(pieces[0], None))


def checked_pieces(path: Path, request: Request, exact: bool = True) -> list[Piece]:
    """The fields of a file, in the order of the task; no map is read.

    Args:
        path: NetCDF, or an archive of NetCDF files.
        request: what must be in it.
        exact: whether it may hold no other times. A file that was there before may have other
            hours, and days before the first, as `tenkizu patterns prepare` accepts them.

    Raises:
        DataError: the file cannot be read; fields, levels, times or coordinates are others.
    """
    task = request.task
    level = float(task.levels[0]) if len(task.levels) == 1 else None
    files = netcdf_files(path)
    pieces = [piece for file in files for piece in pieces_of(file, level)]
    _require_fields(path, files, pieces, task.fields)
    for piece in pieces:
        require_times(piece, request.times, request.hours)
        if exact and len(piece.times) != len(request.times):
            other = piece.times[~np.isin(piece.times, request.times)]
            raise DataError(
                "times that were not asked for",
                file=piece.file.label,
                variable=piece.variable,
                found=f"{len(piece.times)} maps, also {list_times(other)}",
                expected=f"{len(request.times)} maps",
                next_step=FETCH_AGAIN,
            )
        _require_grid(piece, request.grid)
    return sorted(pieces, key=lambda piece: task.fields.index(piece.name))


def _require_fields(
    path: Path, files: list[NetcdfFile], pieces: list[Piece], expected: tuple[str, ...]
) -> None:
    """Raise unless the fields are exactly those expected, each once."""
    found = [piece.name for piece in pieces]
    known = {(piece.file.label, piece.variable) for piece in pieces}
    others = [
        name
        for file in files
        for name, variable in file.variables.items()
        if len(variable.dims) > 1 and name not in _NO_MAPS and (file.label, name) not in known
    ]
    if sorted(found) == sorted(expected) and not others:
        return
    missing = [name for name in expected if name not in found]
    raise DataError(
        "missing variable or level" if missing else "variables that were not asked for",
        file=path,
        variable=", ".join(missing) or None,
        found=f"{len(found) + len(others)} fields ({' '.join([*found, *others]) or 'none'})",
        expected=f"{len(expected)} fields ({' '.join(expected)})",
        next_step=FETCH_AGAIN,
    )


def _require_grid(piece: Piece, expected: Grid) -> None:
    """Raise unless coordinates are those of the request; longitudes count modulo 360 degrees."""
    found = piece.grid
    if found.shape == expected.shape:
        turns = np.round((found.x - expected.x) / 360.0)
        if turns.min() == turns.max():
            found = Grid("latlon", found.y, found.x - 360.0 * turns, found.y_name, found.x_name)
    if found.same_as(expected, _TOLERANCE):
        return
    raise DataError(
        "another grid than was asked for",
        file=piece.file.label,
        variable=piece.variable,
        found=piece.grid.describe(),
        expected=f"{expected.describe()} ({first_difference(expected, found)})",
        next_step=FETCH_AGAIN,
    )


def _members(path: Path) -> str:
    """Names in an archive, for messages."""
    with zipfile.ZipFile(path) as archive:
        return ", ".join(archive.namelist()[:5])

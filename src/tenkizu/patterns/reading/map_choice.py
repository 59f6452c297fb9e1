"""Which of the fields, times and cells found in files are the ones asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.patterns.reading.map_checks import check_same_grid
from tenkizu.patterns.reading.map_layout import Piece
from tenkizu.patterns.reading.map_times import Minutes, at_hours, hours_of, list_times
from tenkizu.patterns.reading.zarr_groups import is_zarr

FETCH = "fetch what is missing with `tenkizu patterns download CONFIG`, or check data.files"
"""Next step where something that was asked for is not there."""

_LISTED = 5
_SLACK = 1e-6


@dataclass(frozen=True)
class Window:
    """A part of a grid.

    Attributes:
        rows: of the grid, north first.
        columns: one slice, or two where the part crosses the seam of a global grid.
        x: longitudes of the columns, increasing.
    """

    rows: slice
    columns: tuple[slice, ...]
    x: NDArray[np.float64]


def require_files(paths: Sequence[Path]) -> None:
    """Raise unless every file is there, naming those that are not.

    Raises:
        DataError: some are missing, or none is given.
    """
    missing = [path for path in paths if not (path.is_file() or is_zarr(path))]
    if paths and not missing:
        return
    more = len(missing) - _LISTED
    raise DataError(
        "missing files" if paths else "no files are given",
        file=missing[0].parent if missing else None,
        found=f"{len(paths) - len(missing)} of {len(paths)}, missing "
        + ", ".join(path.name for path in missing[:_LISTED])
        + (f" and {more} more" if more > 0 else "")
        if paths
        else None,
        expected="exactly these files" if paths else "data.files",
        next_step=FETCH,
    )


def choose(
    pieces: Sequence[Piece], paths: Sequence[Path], names: Sequence[str] | None
) -> list[Piece]:
    """Pieces of the fields ``names`` in that order, or all of them.

    Raises:
        DataError: a field is in none of the files.
    """
    found = tuple(dict.fromkeys(piece.name for piece in pieces))
    missing = [name for name in names or () if name not in found]
    if missing or not pieces:
        several = len(paths) - 1
        raise DataError(
            "missing variable or level",
            file=f"{paths[0]}" + (f" and {several} more" if several else ""),
            variable=", ".join(missing) or None,
            found=f"{len(found)} fields ({' '.join(found) or 'none'})",
            expected=f"{len(names)} fields ({' '.join(names)})" if names else "maps",
            next_step=FETCH,
        )
    if names is None:
        return list(pieces)
    return [piece for name in names for piece in pieces if piece.name == name]


def require_same_grids(pieces: Sequence[Piece]) -> None:
    """Raise unless all fields lie on the grid of msl, or of the first if there is no msl."""
    reference = next((piece for piece in pieces if piece.name == "msl"), pieces[0])
    for piece in pieces:
        check_same_grid(reference, piece)


def require_times(piece: Piece, expected: Minutes, hours: Sequence[int]) -> None:
    """Raise unless a file holds the expected times, and no others of the same years.

    Raises:
        DataError: with the hours found if none of them is wanted, else with the times.
    """
    _require_hours([piece], hours)
    missing = expected[~np.isin(expected, piece.times)]
    # Of the year before the first, all but its last day may be there or not.
    within = (piece.times >= expected[0]) & at_hours(piece.times, hours)
    beyond = piece.times[within & ~np.isin(piece.times, expected)]
    if not len(missing) and not len(beyond):
        return
    count = len(expected) - len(missing)
    raise DataError(
        "missing days" if len(missing) else "days of another year",
        file=piece.file.label,
        variable=piece.variable,
        found=f"{count} of {len(expected)}, missing {list_times(missing)}"
        if len(missing)
        else list_times(beyond),
        expected=f"{len(expected)} times, {list_times(expected[[0]])} to "
        f"{list_times(expected[[-1]])}",
        next_step=FETCH,
    )


def common_times(pieces: Sequence[Piece], hours: Sequence[int], whole_days: bool = True) -> Minutes:
    """The times at ``hours`` that all fields have; msl may have the day before all others, too.

    Args:
        pieces: of all fields.
        hours: of day, UTC.
        whole_days: refuse days that have maps, but not at all of ``hours``.

    Raises:
        DataError: no map at these hours, on all days or on some, or a field lacks times that
            another has.
    """
    by_field: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_field.setdefault(piece.name, []).append(piece)
    times: dict[str, Minutes] = {}
    known: dict[tuple[int, ...], Minutes] = {}
    for name, group in by_field.items():
        _require_hours(group, hours)
        # Fields of one file share their times, which may be a million.
        key = tuple(id(piece.times) for piece in group)
        if key not in known:
            every = np.unique(np.concatenate([piece.times for piece in group]))
            if whole_days:
                _require_whole_days(group[0], every, hours)
            known[key] = every[at_hours(every, hours)]
        times[name] = known[key]
    different = {id(t): t for name, t in times.items() if name != "msl" or len(times) == 1}
    others = np.concatenate(list(different.values()))
    union = np.unique(np.concatenate([t for t in {id(t): t for t in times.values()}.values()]))
    yesterday = others.min() - np.timedelta64(24, "h")
    expected: Minutes = union if union[0] < yesterday else union[union >= others.min()]
    for name, own in times.items():
        missing = expected[~np.isin(expected, own)]
        if len(missing):
            piece = by_field[name][0]
            raise DataError(
                "missing days that other fields have",
                file=piece.file.label,
                variable=piece.variable,
                found=f"{len(expected) - len(missing)} of {len(expected)}, missing "
                + list_times(missing),
                expected=f"{len(expected)} times, as {_fullest(times)}",
                next_step=FETCH,
            )
    return expected


def window_of(piece: Piece, area: Sequence[float] | None) -> Window:
    """The part of a grid inside ``area``: north, west, south, east in degrees.

    Raises:
        DataError: the grid does not cover the area.
    """
    y, x = piece.grid.y, piece.grid.x
    if area is None:
        return Window(slice(0, len(y)), (slice(0, len(x)),), x)
    north, west, south, east = (float(edge) for edge in area)
    rows = np.flatnonzero((y <= north + _SLACK) & (y >= south - _SLACK))
    # A grid covers an area if one more row or column would lie outside it.
    step = float(np.abs(np.diff(y)).max(initial=0.0))
    covered = y[0] > north - step - _SLACK and y[-1] < south + step + _SLACK
    columns = _columns(x, west, east)
    if not covered or not len(rows) or columns is None:
        raise DataError(
            "the grid does not cover the area",
            file=piece.file.label,
            variable=piece.variable,
            found=piece.grid.describe(),
            expected=f"{north:g} to {south:g} N, {west:g} to {east:g} E",
            next_step="change data.area, with west below east, or fetch more",
        )
    return Window(slice(int(rows[0]), int(rows[-1]) + 1), *columns)


def _columns(
    x: NDArray[np.float64], west: float, east: float
) -> tuple[tuple[slice, ...], NDArray[np.float64]] | None:
    """Columns from west to east and their longitudes; None if the grid does not cover them.

    Longitudes that the file counts 360 degrees off, or across its seam, are found, too.
    """
    step = float(np.diff(x).max(initial=0.0)) + _SLACK
    for turns in ((0,), (-1, 0, 1)):
        every = np.concatenate([x + 360.0 * turn for turn in turns])
        chosen = np.flatnonzero((every >= west - _SLACK) & (every <= east + _SLACK))
        found = every[chosen]
        if not len(found) or len(found) > len(x):
            continue
        steps = np.diff(found)
        if (
            found[0] < west + step
            and found[-1] > east - step
            and (steps > 0.0).all()
            and (steps <= step).all()
        ):
            turn, column = np.divmod(chosen, len(x))
            parts = [column[turn == one] for one in np.unique(turn)]
            return tuple(slice(int(p[0]), int(p[-1]) + 1) for p in parts), found
    return None


def _require_hours(pieces: Sequence[Piece], hours: Sequence[int]) -> None:
    """Raise when files of a field have maps, but none at the wanted hours."""
    times = np.concatenate([piece.times for piece in pieces])
    if at_hours(times, hours).any():
        return
    wanted = ", ".join(f"{hour:02}" for hour in hours)
    raise DataError(
        f"no map at {wanted} UTC",
        file=pieces[0].file.label,
        variable=pieces[0].variable,
        found=f"hours {hours_of(times)} UTC" if len(times) else "no times",
        expected=f"{wanted} UTC (data.hours)",
        next_step="set data.hours to hours that are there, or fetch the hours that are wanted",
    )


def _require_whole_days(piece: Piece, every: Minutes, hours: Sequence[int]) -> None:
    """Raise when a day has maps, but none at a wanted hour; the first and last may be cut short.

    Days without any map are gaps, which others see by the times; a map at another hour than those
    of all other days is a mistake.
    """
    days = np.unique(every.astype("datetime64[D]"))[1:-1]
    of_day = np.array(sorted(hours), dtype="timedelta64[h]").astype("timedelta64[m]")
    expected = (days[:, None] + of_day).reshape(-1)
    missing = expected[~np.isin(expected, every)]
    if not len(missing):
        return
    day = missing[0].astype("datetime64[D]")
    raise DataError(
        "days with maps, but not at the wanted hours",
        file=piece.file.label,
        variable=piece.variable,
        found=f"nothing at {list_times(missing)}, but on {day} "
        f"{hours_of(every[every.astype('datetime64[D]') == day])} UTC",
        expected=f"{', '.join(f'{hour:02}' for hour in hours)} UTC on each day (data.hours)",
        next_step=FETCH,
    )


def _fullest(times: dict[str, Minutes]) -> str:
    """The field with the most times, for messages."""
    return max(times, key=lambda name: len(times[name]))

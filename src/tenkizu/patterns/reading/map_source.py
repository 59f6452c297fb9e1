"""Maps of named fields over one or many files, of which only those are read that are asked for."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns.reading.file_kinds import FETCH_AGAIN
from tenkizu.patterns.reading.map_checks import Maps, check_units, check_values
from tenkizu.patterns.reading.map_choice import Window
from tenkizu.patterns.reading.map_files import NetcdfFile
from tenkizu.patterns.reading.map_layout import Piece
from tenkizu.patterns.reading.map_pieces import read_piece
from tenkizu.patterns.reading.map_times import Minutes, list_times

_OPEN_FILES = 48
"""How many files stay open at once: a year of all tasks with its neighbour's."""

_DAY = np.timedelta64(24, "h")


class MapSource:
    """Maps of named fields on one grid, over one or many files, of which only those are read.

    Attributes:
        names: fields it holds, as `tenkizu.patterns.reading.natives` calls them.
        units: of each field.
        times: of the maps, UTC, strictly increasing; every field has a map at each of them.
        grid: north first.
        files: what the maps come from.

    It can be pickled, and used in a process forked from the one that made it: files are opened
    when they are read.
    """

    def __init__(self, pieces: Sequence[Piece], times: Minutes, window: Window) -> None:
        self._pieces: dict[str, list[Piece]] = {}
        for piece in pieces:
            self._pieces.setdefault(piece.name, []).append(piece)
        # A long archive has hundreds of fields, of which few are read: a single piece, which holds
        # no time twice, is indexed when it is.
        self._where = {name: _index(g) for name, g in self._pieces.items() if len(g) > 1}
        self._window = window
        self._open: OrderedDict[NetcdfFile, None] = OrderedDict()
        self._absent: dict[str, NDArray[np.bool_]] = {}
        self._units_checked: set[Piece] = set()
        self._versions: dict[tuple[str, str, str], set[int]] = {}
        self.names = tuple(self._pieces)
        self.units = {name: group[0].native.units for name, group in self._pieces.items()}
        self.times = times
        whole = pieces[0].grid
        self.grid = Grid("latlon", whole.y[window.rows], window.x, "latitude", "longitude")
        self.files: tuple[Path, ...] = tuple(dict.fromkeys(p.file.path for p in pieces))
        self._note_preliminary(pieces)

    @property
    def notes(self) -> list[str]:
        """What a user should know: maps of preliminary ERA5T (expver 5), counted when read."""
        return [
            f"{file}: {variable}: {len(times)} maps of expver {version}"
            + (" (preliminary ERA5T)" if version == "5" else "")
            for (file, variable, version), times in sorted(self._versions.items())
        ]

    def read(self, names: Sequence[str], times: NDArray[np.datetime64]) -> dict[str, Maps]:
        """Maps of fields at some of `times`, float64 (T, H, W), checked.

        Packed values are unpacked in float64. Cells are NaN only where a field has no value by
        nature: land in sst, no convection in cin, and all of ``msl@-24h`` where the day before
        has no map.

        Args:
            names: of `names`; ``NAME@-24h`` is the field of 24 hours before.
            times: UTC.

        Raises:
            DataError: a field or time that is not there, wrong units, values that are not finite
                or cannot be in these units, a damaged file.
        """
        wanted = times.astype("datetime64[m]")
        maps = {}
        for name in names:
            field, _, before = name.partition("@")
            if before and before != "-24h":
                raise ValueError(f"{name}: the field before is NAME@-24h")
            maps[name] = self.read_before(field, wanted) if before else self._read(name, wanted)
        return maps

    def read_before(self, name: str, times: NDArray[np.datetime64], hours: int = 24) -> Maps:
        """Maps of ``hours`` before ``times``, found by time; NaN maps where there is none.

        Maps outside `times` count, such as 31 December before the first year.
        """
        wanted = (times - np.timedelta64(hours, "h")).astype("datetime64[m]")
        there = self._has(name, wanted)
        maps = np.full((len(wanted), *self.grid.shape), np.nan)
        if there.any():
            maps[there] = self._read(name, wanted[there])
        return maps

    def files_at(
        self, times: NDArray[np.datetime64], names: Sequence[str] | None = None
    ) -> list[Path]:
        """The files with maps at ``times``, increasing, or within a day of them.

        Args:
            times: UTC.
            names: of the fields that count; None for all.
        """
        first, end = times[0] - _DAY, times[-1] + _DAY
        pieces = (piece for name in names or self.names for piece in self._pieces.get(name, []))
        return list(
            dict.fromkeys(
                piece.file.path
                for piece in pieces
                if ((piece.times >= first) & (piece.times < end)).any()
            )
        )

    def close(self) -> None:
        """Close all files; reading opens them again."""
        for file in self._open:
            file.close()
        self._open.clear()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all files."""
        self.close()

    def _field(self, name: str) -> tuple[Minutes, NDArray[np.intp], NDArray[np.intp]]:
        """Times of a field's maps with the piece and the position in it of each."""
        if name not in self._pieces:
            raise DataError(
                "no such field in these files",
                file=_several(self.files),
                variable=name,
                found=f"{len(self.names)} fields: {' '.join(self.names)}",
                next_step=FETCH_AGAIN,
            )
        if name not in self._where:
            self._where[name] = _index(self._pieces[name])
        return self._where[name]

    def _has(self, name: str, wanted: Minutes) -> NDArray[np.bool_]:
        """Which times a field has a map at."""
        return np.isin(wanted, self._field(name)[0])

    def _read(self, name: str, wanted: Minutes) -> Maps:
        """Maps of one field at times that it must have."""
        times, piece_of, index_of = self._field(name)
        at = np.searchsorted(times, wanted)
        absent = np.ones(len(wanted), dtype=bool)
        absent[at < len(times)] = times[at[at < len(times)]] != wanted[at < len(times)]
        if absent.any():
            raise DataError(
                "no maps at these times",
                file=_several(self.files),
                variable=name,
                found=f"{len(wanted) - np.count_nonzero(absent)} of {len(wanted)}, missing "
                + list_times(wanted[absent]),
                next_step=FETCH_AGAIN,
            )
        maps = np.empty((len(wanted), *self.grid.shape))
        for number in np.unique(piece_of[at]):
            mine = piece_of[at] == number
            maps[mine] = self._read_piece(self._pieces[name][number], index_of[at][mine])
        return maps

    def _read_piece(self, piece: Piece, indices: NDArray[np.intp]) -> Maps:
        """Maps of one file at positions in any order, checked."""
        unique, inverse = np.unique(indices, return_inverse=True)
        self._use(piece.file)
        maps, entries = read_piece(piece, unique, self._window.rows, self._window.columns)
        if piece not in self._units_checked:
            check_units(piece, maps)
            self._units_checked.add(piece)
        times = piece.times[unique]
        check_values(piece, maps, times, self._absent_cells(piece, maps, times))
        if entries is not None:
            self._note_versions(piece, unique, entries)
        return maps if np.array_equal(unique, indices) else maps[inverse]

    def _absent_cells(self, piece: Piece, maps: Maps, times: Minutes) -> NDArray[np.bool_]:
        """Cells without a value by nature, (H, W): for sst those of its first map, the land."""
        name = piece.name
        if not piece.native.may_be_missing or piece.native.name == "cin":
            return np.zeros(self.grid.shape, dtype=bool)
        if name not in self._absent:
            first, piece_of, index_of = self._field(name)
            if first[0] == times[0]:
                land = np.isnan(maps[0])
            else:
                source = self._pieces[name][piece_of[0]]
                self._use(source.file)
                window = self._window
                land = np.isnan(read_piece(source, index_of[:1], window.rows, window.columns)[0][0])
            self._absent[name] = land
        return self._absent[name]

    def _use(self, file: NetcdfFile) -> None:
        """Keep a file among the open ones, closing the one that was used longest ago."""
        self._open[file] = None
        self._open.move_to_end(file)
        if len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)[0].close()

    def _note_preliminary(self, pieces: Sequence[Piece]) -> None:
        """Count the maps that a coordinate ``expver`` says are not final."""
        for piece in pieces:
            if "expver" in piece.roles or set(piece.expver) <= {"1"}:
                continue
            chosen = np.isin(piece.times, self.times)
            for i in np.flatnonzero(chosen):
                if piece.expver[i] != "1":
                    key = (piece.file.label, piece.variable, piece.expver[i])
                    self._versions.setdefault(key, set()).add(int(i))

    def _note_versions(
        self, piece: Piece, indices: NDArray[np.intp], entries: NDArray[np.intp]
    ) -> None:
        """Count the maps taken from another than the first entry of a dimension ``expver``."""
        for index, entry in zip(indices[entries > 0], entries[entries > 0], strict=True):
            key = (piece.file.label, piece.variable, piece.expver[entry])
            self._versions.setdefault(key, set()).add(int(index))


def _index(pieces: Sequence[Piece]) -> tuple[Minutes, NDArray[np.intp], NDArray[np.intp]]:
    """All times of a field, sorted, with the piece and the position in it that hold each.

    Raises:
        DataError: two files hold a map of the same time.
    """
    times = np.concatenate([piece.times for piece in pieces])
    number = np.concatenate([np.full(len(p.times), i) for i, p in enumerate(pieces)])
    index = np.concatenate([np.arange(len(p.times)) for p in pieces])
    order = np.argsort(times, kind="stable")
    times, number, index = times[order], number[order], index[order]
    same = np.flatnonzero(times[1:] == times[:-1])
    if len(same):
        one, other = (pieces[number[same[0] + i]] for i in (0, 1))
        raise DataError(
            "duplicate times",
            file=other.file.label,
            variable=other.variable,
            found=f"{list_times(times[same])}, also in {one.file.label} ({one.variable})",
            expected=f"{len(times) - len(same)} different times",
            next_step="give each map once in data.files",
        )
    return times, number, index


def _several(paths: Sequence[Path]) -> str:
    """Files for messages: the first, and how many more."""
    more = len(paths) - 1
    return str(paths[0]) + (f" and {more} more" if more else "")

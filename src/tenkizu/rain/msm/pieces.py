"""Monthly files or a prepared store, as pieces that are read side by side."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.store import SampleStore
from tenkizu.rain.fields import units_of
from tenkizu.rain.msm.compact_blocks import CompactFields, is_compact
from tenkizu.rain.msm.monthly import Deviation, MonthFile
from tenkizu.rain.msm.variables import MAPS, RAIN_NAMES, VARIABLES
from tenkizu.rain.tables import RAIN

Maps = dict[str, NDArray[np.float32]]

BEFORE_WINDOW = np.timedelta64(180, "m")
"""A store names a window by its start, which is three hours after t0."""


@dataclass(frozen=True)
class Piece:
    """A monthly file, or a block of a store.

    Attributes:
        path: the file, or the folder of the store.
        first: number of its first sample in the store.
        count: its samples; None for those of a monthly file.
    """

    path: Path
    first: int = 0
    count: int | None = None

    @property
    def in_store(self) -> bool:
        """Whether it is a block of a store."""
        return self.count is not None

    def __str__(self) -> str:
        """For messages."""
        if self.count is None:
            return str(self.path)
        return f"{self.path}, samples {self.first} to {self.first + self.count - 1}"


class Opened(Protocol):
    """An open piece.

    Attributes:
        times: t0 (n,), datetime64[m].
        grid: of all maps.
    """

    times: NDArray[np.datetime64]
    grid: Grid

    def maps(self, index: int) -> Maps:
        """All maps (H, W) of an initial time by their names in a monthly file."""

    def rain(self, index: int) -> NDArray[np.float32]:
        """Its rain (6, H, W) in the order of `tables.RAIN`, NaN where missing."""

    def features(self) -> dict[str, NDArray[np.float32]]:
        """Time features (n,) that are kept."""

    def deviations(self) -> list[Deviation]:
        """Ways in which it is not what `convert` or `prepare` writes."""


class _Block:
    """Consecutive samples of a store."""

    def __init__(self, store: SampleStore, first: int, count: int) -> None:
        self.store, self.first = store, first
        starts = np.array(store.meta["starts"][first : first + count], "datetime64[m]")
        self.times: NDArray[np.datetime64] = np.subtract(starts, BEFORE_WINDOW)
        self.grid = Grid.from_json(store.meta["grid"])
        arrays = store.meta["arrays"]
        self.fields = arrays.get("fields", {}).get("channels", [])
        self.compact = CompactFields(store) if is_compact(store) else None
        self.planes = arrays["rain"]["channels"]

    def maps(self, index: int) -> Maps:
        rain = zip(self.planes, self.store.read("rain", self.first + index), strict=True)
        maps = {RAIN_NAMES[plane]: values for plane, values in rain}
        if self.compact is not None:
            maps |= self.compact.fields(self.first + index)
        elif self.fields:
            fields = self.store.read("fields", self.first + index)
            maps |= zip(self.fields, fields, strict=True)
        return {name: maps[name] for name in MAPS if name in maps}

    def rain(self, index: int) -> NDArray[np.float32]:
        stored = self.store.read("rain", self.first + index)
        rain = np.full((len(RAIN), *stored.shape[1:]), np.nan, np.float32)
        rain[: len(stored)] = stored
        return rain

    def features(self) -> dict[str, NDArray[np.float32]]:
        return {}

    def deviations(self) -> list[Deviation]:
        return list(_store_deviations(self.store.meta["arrays"]))


def _store_deviations(arrays: dict[str, Any]) -> Iterator[Deviation]:
    """Channels and units of a store against those of MSM."""
    rain = arrays["rain"]
    if tuple(rain["channels"]) not in (RAIN, RAIN[:-1]):
        yield Deviation("rain", "wrong channels", ", ".join(rain["channels"]), ", ".join(RAIN))
    if rain["units"] != "mm":
        yield Deviation("rain", "wrong units", rain["units"], "mm")
    fields = arrays.get("fields", {"channels": [], "units": []})
    for name, units in zip(fields["channels"], fields["units"], strict=True):
        # A field of the user's own has the units that it came with.
        if name in VARIABLES and units_of(name) != units:
            yield Deviation(name, "wrong units", units, units_of(name))


def find_pieces(paths: Sequence[str | Path]) -> list[Piece]:
    """Pieces of monthly files, folders of them, and stores, in order of their names.

    Raises:
        DataError: a path is not there, or holds neither.
    """
    pieces: list[Piece] = []
    for path in map(Path, paths):
        if (path / "store.json").is_file():
            blocks = SampleStore(path).meta["arrays"]["rain"]["blocks"]
            pieces += [Piece(path, block["first"], block["count"]) for block in blocks]
        elif path.is_dir():
            months = sorted(path.glob("[0-9][0-9][0-9][0-9][0-9][0-9].nc"))
            if not months:
                raise DataError(
                    "neither monthly files nor a store",
                    file=path,
                    expected="files such as 201801.nc, or store.json",
                    next_step="make them with `tenkizu rain convert`, or `tenkizu rain prepare`",
                )
            pieces += [Piece(month) for month in months]
        elif path.is_file():
            pieces.append(Piece(path))
        else:
            raise DataError("no such file or folder", file=path, next_step="check the path")
    return pieces


@contextmanager
def open_piece(piece: Piece, strict: bool = True) -> Iterator[Opened]:
    """Open a piece for reading, in the process that reads it.

    Args:
        piece: what to open.
        strict: refuse a monthly file that differs from what `convert` writes.

    Raises:
        DataError: it cannot be used.
    """
    if piece.count is not None:
        yield _Block(SampleStore(piece.path), piece.first, piece.count)
        return
    with MonthFile(piece.path) as file:
        for deviation in file.deviations() if strict else ():
            raise DataError(
                deviation.problem,
                file=file.path,
                variable=deviation.variable,
                found=deviation.found,
                expected=deviation.expected,
                next_step="convert the month again, with --overwrite",
            )
        yield file

"""Blocks of days of a store: each is a task of its own, in whatever process and order.

A block's maps go to their place in the ``.npy`` file of the year, which exists from the beginning.
All else that is made of them, packed maps for NetCDF and moments, goes to a file of the block,
which takes its name last: while it is not there, the block is not done.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tenkizu.core.grid import Grid
from tenkizu.core.store import atomic
from tenkizu.patterns.blocks import Maps, blocks_of
from tenkizu.patterns.moments import moment_rows, moments_of
from tenkizu.patterns.netcdf_year import NO_CACHE, ZSTD
from tenkizu.patterns.reading.maps import MapSource

Times = NDArray[np.datetime64]
Versions = dict[tuple[str, str, str], set[int]]
"""Positions of maps, by file, variable and ``expver``."""

BLOCKS = "blocks"
"""Folder of the files of blocks, inside the unfinished store."""

DAYS = 46
"""Days of a block, from 1 January. Chunks of ERA5 files hold 23 or 46 daily maps of a year, and
should be unpacked only once."""

SMALL_BYTES = 64e6
"""Blocks of smaller maps are larger, up to a year: a file for each costs more than its content."""


@dataclass(frozen=True)
class Fields:
    """What is written of every map.

    Attributes:
        maps: channels of the sample store.
        also: fields that only the NetCDF holds.
        static: channels that do not change, ``sea_mask`` or none.
        season: season terms in the NetCDF.
        factor: cells averaged to a side.
        grid: of the fields as they are written.
        mask: the sea mask of the first map (H, W), if it is wanted.
        origin: what the NetCDF says of its source; None for no NetCDF.
        daily_means: whether the maps are means over days.
    """

    maps: tuple[str, ...]
    also: tuple[str, ...]
    static: tuple[str, ...]
    season: tuple[str, ...]
    factor: int
    grid: Grid
    mask: Maps | None = field(default=None, repr=False)
    origin: str | None = None
    daily_means: bool = False

    @property
    def rows(self) -> list[str]:
        """Rows of the moments."""
        return moment_rows(self.maps)

    @property
    def packed(self) -> tuple[str, ...]:
        """Maps that go into the NetCDF."""
        return (*self.maps, *self.also) if self.origin is not None else ()

    @property
    def map_bytes(self) -> int:
        """Size of one field at one time, float32."""
        return 4 * self.grid.shape[0] * self.grid.shape[1]


@dataclass(frozen=True)
class Block:
    """Some adjacent maps of a year.

    Attributes:
        year: such as ``1991``.
        first: position of its first map in the year.
        times: of its maps, UTC.
    """

    year: str
    first: int
    times: Times = field(repr=False)

    def file(self, folder: Path) -> Path:
        """What is left of it beside its maps; it is done when this exists."""
        return folder / BLOCKS / f"{self.year}_{self.first:05}.h5"


@dataclass(frozen=True)
class BlockTask:
    """All that a process needs to make a block.

    Attributes:
        source: of the native maps.
        fields: what to write.
        block: of which days.
        folder: the unfinished store.
        parent: the process this one works for, if it is on the same machine.
    """

    source: MapSource
    fields: Fields
    block: Block
    folder: Path
    parent: int | None = None


@dataclass(frozen=True)
class Summary:
    """What is known of the maps of a block, a year or all years.

    Attributes:
        moments: (T, R, 5), as `moments_of` gives them.
        other_masks: how many maps have another sea mask than the first map of all.
        versions: maps of preliminary data.
    """

    moments: NDArray[np.float64] = field(repr=False)
    other_masks: int
    versions: Versions


def blocks_of_year(times: Times, fields: Fields) -> list[Block]:
    """Divide a year's maps (n,) into blocks, always in the same way."""
    year = times[0].astype("datetime64[Y]")
    of_year = (times - year).astype("timedelta64[D]").astype(int)
    length = max(DAYS, int(SMALL_BYTES // (len(fields.maps) * fields.map_bytes)) // DAYS * DAYS)
    starts = np.flatnonzero(np.diff(of_year // length, prepend=-1))
    pieces = np.split(times, starts[1:])
    return [Block(str(year), int(i), piece) for i, piece in zip(starts, pieces, strict=True)]


def allocate(folder: Path, year: str, count: int, fields: Fields) -> Path:
    """The file of a year's maps, (count, channels, H, W), made full of holes if it is not there."""
    path = folder / f"maps_{year}.npy"
    if not path.exists():
        shape = (count, len(fields.maps), *fields.grid.shape)
        with atomic(path) as part:
            np.lib.format.open_memmap(part, "w+", np.float32, shape)
    return path


def make_block(task: BlockTask) -> None:
    """Derive and write the maps of one block.

    Raises:
        DataError: a map cannot be read, or has values that are not finite.
        OSError: the disk is full.
    """
    fields, block = task.fields, task.block
    moments = np.empty((len(block.times), len(fields.rows), 5))
    other_masks = 0
    wanted = (*fields.maps, *(name for name in fields.packed if name in fields.also))
    # Written by calls, not through a memory map: so a full disk is an error and not a signal,
    # and several machines can write one file side by side.
    with (
        task.source as source,
        atomic(block.file(task.folder)) as part,
        h5py.File(part, "w", **NO_CACHE) as file,
        (task.folder / f"maps_{block.year}.npy").open("r+b") as maps,
    ):
        shape = (len(block.times), *fields.grid.shape)
        for name in fields.packed:
            file.create_dataset(name, shape, np.float32, chunks=(1, *shape[1:]), **ZSTD)
        np.lib.format.read_magic(maps)
        np.lib.format.read_array_header_1_0(maps)
        maps.seek(maps.tell() + block.first * len(fields.maps) * fields.map_bytes)
        done = 0
        derived = blocks_of(source, (*wanted, *fields.static), block.times, fields.factor)
        for times, values in derived:
            days = slice(done, done + len(times))
            done += len(times)
            moments[days] = moments_of(values, fields.rows)
            if fields.mask is not None:
                other_masks += int((values["sea_mask"] != fields.mask).any(axis=(1, 2)).sum())
            for day in range(len(times)):
                for name in fields.maps:
                    maps.write(values[name][day].data)
            for name in fields.packed:
                file[name][days] = values[name]
            values.clear()
            _require_parent(task.parent)
        maps.flush()
        os.fsync(maps.fileno())
        _put_summary(file, Summary(moments, other_masks, source_versions(source)))


def read_summary(path: Path) -> Summary:
    """What the file of a block, or of a year, says of its maps."""
    with h5py.File(path) as file:
        said = json.loads(file.attrs["summary"])
        versions = {tuple(key): set(indices) for key, indices in said["versions"]}
        return Summary(file["moments"][...], said["other_masks"], versions)


def write_summary(path: Path, parts: Sequence[Summary]) -> None:
    """Write the summaries of adjacent maps as one."""
    with atomic(path) as part, h5py.File(part, "w") as file:
        _put_summary(file, joined(parts))


def joined(parts: Sequence[Summary]) -> Summary:
    """The summary of several blocks or years, in their order."""
    versions: Versions = {}
    for part in parts:
        for key, indices in part.versions.items():
            versions.setdefault(key, set()).update(indices)
    moments = np.concatenate([part.moments for part in parts])
    return Summary(moments, sum(part.other_masks for part in parts), versions)


def source_versions(source: MapSource) -> Versions:
    """Which maps of which file and variable are of which ``expver``, as far as they were read."""
    return source._versions


def _put_summary(file: h5py.File, summary: Summary) -> None:
    file["moments"] = summary.moments
    versions = [[list(key), sorted(i)] for key, i in sorted(summary.versions.items())]
    said = {"other_masks": summary.other_masks, "versions": versions}
    file.attrs["summary"] = json.dumps(said)


def _require_parent(parent: int | None) -> None:
    """End this process if the one it works for was killed: another run may be at work by now."""
    if parent is not None and os.getppid() != parent:
        os._exit(1)

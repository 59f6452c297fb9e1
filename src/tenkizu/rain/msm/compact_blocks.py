"""The files of a compact store: fields as 16-bit integers, beside rain as it is."""

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.store import MAKE_AGAIN, SampleStore, StoreWriter, atomic, plain, read_json
from tenkizu.core.store import write_json as write_summary
from tenkizu.rain.msm.compact import (
    Nodes,
    Packed,
    compact_channels,
    compact_meta,
    on_pressure_level,
    pack,
    packing,
    place_of,
    unpack,
)

ARRAYS = ("surface", "pressure")

Store = Callable[[int, int, NDArray[np.float32]], None]


class CompactBlocks:
    """Writes the fields of a month as two arrays of 16-bit integers, resumable like other blocks.

    Args:
        writer: of the store.
        channels: names of the fields.
        grid: of the rain.

    Raises:
        DataError: the grid is no part of the model grid, or the range of a field is not known.
    """

    def __init__(self, writer: StoreWriter, channels: Sequence[str], grid: Grid) -> None:
        self.writer, self.channels = writer, list(channels)
        self.place, self.cells = place_of(grid), grid.shape
        self.nodes = Nodes.of(self.place, grid.shape)
        self.arrays = compact_meta(channels)
        self.blocks: dict[str, list[dict[str, Any]]] = {name: [] for name in ARRAYS}

    def block(
        self, month: str, first: int, count: int, walk: Callable[[Store], dict[str, Any]]
    ) -> dict[str, Any]:
        """Write one month, unless it is already there, and return its summary.

        Args:
            month: such as 201807.
            first: number of its first sample.
            count: its samples.
            walk: gives every field to a function of (sample, channel, field).

        Raises:
            DataError: a value is out of range, or a field on a pressure level is not interpolated
                from the pressure grid.
        """
        part = self.writer.part
        for name in ARRAYS:
            block = {"file": f"{name}_{month}.npy", "first": first, "count": count}
            self.blocks[name].append(block)
        summary = part / f"compact_{month}.json"
        files = [part / f"{name}_{month}.npy" for name in ARRAYS]
        if summary.exists() and all(file.exists() for file in files):
            return read_json(summary, "the summary of a block")
        sizes = {"surface": self.cells, "pressure": self.nodes.shape}
        with atomic(files[0]) as surface, atomic(files[1]) as pressure:
            mapped = {
                name: np.lib.format.open_memmap(
                    path, "w+", np.int16, (count, len(self.arrays[name]["channels"]), *sizes[name])
                )
                for name, path in zip(ARRAYS, (surface, pressure), strict=True)
            }
            result = plain(walk(self._packer(mapped)))
            for array in mapped.values():
                array.flush()
            del mapped
        write_summary(summary, result)
        return dict(result)

    def _packer(self, mapped: Mapping[str, Packed]) -> Store:
        members = compact_channels(self.channels)

        def store(sample: int, channel: int, field: NDArray[np.float32]) -> None:
            name = self.channels[channel]
            kind = "pressure" if on_pressure_level(name) else "surface"
            values = self.nodes.of_field(field) if kind == "pressure" else field
            packed = pack(values, name)
            if kind == "pressure":
                off = float(np.abs(self.nodes.to_field(unpack(packed, name)) - field).max())
                if off > packing(name)[0]:
                    raise DataError(
                        "this field is not interpolated from the pressure grid",
                        variable=name,
                        found=f"cells that differ by {off:g}",
                        expected=f"at most one step of packing, {packing(name)[0]:.3g}",
                        next_step="set data.layout=full",
                    )
            mapped[kind][sample, members[kind].index(name)] = packed
            if channel == len(self.channels) - 1:
                release(*mapped.values())

        return store

    def meta(self) -> dict[str, Any]:
        """The entry ``arrays.fields.compact`` of ``store.json``."""
        for name in ARRAYS:
            self.arrays[name]["blocks"] = self.blocks[name]
        return self.arrays | {"place": self.place}


class CompactFields:
    """Reads the two arrays of a compact store; memory maps are opened lazily in each process.

    Args:
        store: finished, with compact fields.

    Raises:
        DataError: its numbers are packed otherwise than this version unpacks them.
    """

    def __init__(self, store: SampleStore) -> None:
        self.path = store.path
        self.meta = store.meta["arrays"]["fields"]["compact"]
        self.channels: list[str] = store.meta["arrays"]["fields"]["channels"]
        self.place: tuple[int, int] = tuple(self.meta["place"])
        self.nodes = Nodes.of(self.place, Grid.from_json(store.meta["grid"]).shape)
        self.places = {
            name: {channel: i for i, channel in enumerate(members)}
            for name, members in compact_channels(self.channels).items()
        }
        self._maps: dict[str, Packed] = {}
        self._pid = os.getpid()
        expected = plain(compact_meta(self.channels))
        for name in ARRAYS:
            for key in ("channels", "scale", "offset"):
                if self.meta[name][key] != expected[name][key]:
                    raise DataError(
                        "fields are packed in another way than this version knows",
                        file=self.path / "store.json",
                        variable=f"arrays.fields.compact.{name}.{key}",
                        next_step=MAKE_AGAIN,
                    )

    def __getstate__(self) -> dict[str, Any]:
        """Leave open maps behind: each worker process opens its own."""
        return {**self.__dict__, "_maps": {}}

    def read(self, name: str, index: int) -> Packed:
        """One sample of ``surface`` (c, H, W) or ``pressure`` (c, h, w), a view of the file.

        Raises:
            DataError: a file of the store is missing, damaged or not of this store.
        """
        if self._pid != os.getpid():
            self._maps, self._pid = {}, os.getpid()
        for block in self.meta[name]["blocks"]:
            offset = index - block["first"]
            if 0 <= offset < block["count"]:
                view: Packed = self._open(block["file"], block["count"])[offset]
                return view
        raise IndexError(f"sample {index}")

    def _open(self, file: str, count: int) -> Packed:
        if file not in self._maps:
            try:
                mapped = np.lib.format.open_memmap(self.path / file, "r")
            except Exception as error:  # numpy meets a damaged header with many kinds of error
                raise DataError(
                    f"cannot be read: {error}", file=self.path / file, next_step=MAKE_AGAIN
                ) from None
            if mapped.dtype != np.int16 or mapped.shape[:1] != (count,):
                raise DataError(
                    "not the block that store.json describes",
                    file=self.path / file,
                    found=f"{mapped.dtype} {mapped.shape}",
                    expected=f"int16, {count} samples",
                    next_step=MAKE_AGAIN,
                )
            self._maps[file] = np.asarray(mapped)
        return self._maps[file]

    def fields(self, index: int) -> dict[str, NDArray[np.float32]]:
        """All fields of one sample at full resolution, (H, W) each, in the order of the store."""
        result = {}
        surface, pressure = (self.read(name, index) for name in ARRAYS)
        for channel in self.channels:
            if on_pressure_level(channel):
                nodes = unpack(pressure[self.places["pressure"][channel]], channel)
                result[channel] = self.nodes.to_field(nodes)
            else:
                result[channel] = unpack(surface[self.places["surface"][channel]], channel)
        return result


def release(*arrays: NDArray[Any]) -> None:
    """Take what was written to memory maps out of this process; the system writes it to disk.

    Else a process would seem to need as much memory as a month has bytes.
    """
    for array in arrays:
        if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            array.base.madvise(mmap.MADV_DONTNEED)


def is_compact(store: SampleStore) -> bool:
    """Whether a store keeps its fields in the compact layout."""
    return "compact" in store.meta["arrays"].get("fields", {})


def bytes_per_sample(
    layout: str, channels: Sequence[str] | Mapping[str, str], planes: int, grid: Grid
) -> int:
    """Size of a sample's rain and fields on disk.

    Args:
        layout: ``full`` or ``compact``.
        channels: names of the fields.
        planes: of rain.
        grid: of the rain.
    """
    cells = grid.shape[0] * grid.shape[1]
    if layout == "full":
        return 4 * cells * (planes + len(channels))
    rows, columns = Nodes.of(place_of(grid), grid.shape).shape
    members = compact_channels(list(channels))
    nodes = len(members["pressure"]) * rows * columns
    return 4 * cells * planes + 2 * (len(members["surface"]) * cells + nodes)

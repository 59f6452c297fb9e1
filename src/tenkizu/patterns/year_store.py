"""One year of a store: maps, moments of every day and CF NetCDF, in one pass over the source."""

import contextlib
import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu import __version__
from tenkizu.core.grid import Grid
from tenkizu.core.store import StoreWriter, atomic
from tenkizu.patterns.blocks import BLOCK_DAYS, FORMULA_VERSION, Maps, blocks_of
from tenkizu.patterns.moments import moment_rows, moments_of
from tenkizu.patterns.netcdf_year import Write, netcdf_year
from tenkizu.patterns.physics.season import season_terms
from tenkizu.patterns.reading.maps import MapSource

Times = NDArray[np.datetime64]
Track = Callable[[Iterable[Any], str], Iterable[Any]]
"""Wraps an iterable to show progress: (iterable, description) -> iterable."""

SEASON = ("f1_season", "f2_season", "f3_season", "f4_season")


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
    """

    maps: tuple[str, ...]
    also: tuple[str, ...]
    static: tuple[str, ...]
    season: tuple[str, ...]
    factor: int
    grid: Grid
    mask: Maps | None = field(default=None, repr=False)
    origin: str | None = None

    @property
    def rows(self) -> list[str]:
        """Rows of the moments."""
        return moment_rows(self.maps)


def write_year(
    writer: StoreWriter,
    source: MapSource,
    fields: Fields,
    times: Times,
    track: Track,
) -> dict[str, Any]:
    """Write the maps of one year, unless an earlier run has done so.

    While one block is written, compressed and summed up, the next is read and derived, in two
    threads: a second process would save a fifth of the time at most, take twice the memory, and
    could outlive a run that is killed.

    Args:
        writer: of the store.
        source: of the native maps.
        fields: what to write.
        times: of the year (n,), UTC.
        track: shows progress.

    Returns:
        ``file``, ``count``, and ``other_masks``: how many maps have another sea mask than the
        first map of all.
    """
    year = str(times[0].astype("datetime64[Y]"))
    name = f"maps_{year}"

    def fill(array: Maps) -> dict[str, Any]:
        moments = np.empty((len(times), len(fields.rows), 5))
        other_masks = 0

        def put(first: int, block: Mapping[str, Maps]) -> None:
            nonlocal other_masks
            count = len(next(iter(block.values())))
            days = slice(first, first + count)
            for c, channel in enumerate(fields.maps):
                array[days, c] = block[channel]
            moments[days] = moments_of(block, fields.rows)
            if fields.mask is not None:
                other_masks += int((block["sea_mask"] != fields.mask).any(axis=(1, 2)).sum())
            if to_netcdf:
                # The mask, one map a time here, is in the file already, once.
                to_netcdf(first, {k: v for k, v in block.items() if k not in fields.static})

        with contextlib.ExitStack() as stack:
            to_netcdf = None
            if fields.origin is not None:
                to_netcdf = stack.enter_context(_netcdf(writer.part, fields, times, year))
            background = stack.enter_context(ThreadPoolExecutor(1))
            pending: Future[None] | None = None
            wanted = (*fields.maps, *(fields.also if to_netcdf else ()), *fields.static)
            blocks = blocks_of(source, wanted, times, fields.factor)
            firsts = track(range(0, len(times), BLOCK_DAYS), f"preparing {year}")
            for first, (_, block) in zip(firsts, blocks, strict=True):
                if pending:
                    pending.result()
                pending = background.submit(put, first, block)
            if pending:
                pending.result()
        with atomic(moments_file(writer.part, year)) as part:
            np.save(part, moments)
        source.close()  # a year's files keep their caches until they are closed
        return {"file": f"{name}.npy", "count": len(times), "other_masks": other_masks}

    return writer.block(name, (len(times), len(fields.maps), *fields.grid.shape), fill)


def moments_file(folder: Path, year: str) -> Path:
    """Where the moments of one year wait for the other years."""
    return folder / f"moments_{year}.npy"


@contextlib.contextmanager
def _netcdf(folder: Path, fields: Fields, times: Times, year: str) -> Iterator[Write]:
    """The NetCDF file of a year with all but its maps written."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    attributes = {
        "title": f"Daily weather maps of {year} with derived fields",
        "source": fields.origin or "",
        "history": f"{now}: prepared by tenkizu {__version__}",
        "tenkizu_version": __version__,
        "formula_version": str(FORMULA_VERSION),
    }
    names = (*fields.maps, *fields.also, *fields.static, *fields.season)
    path = folder / f"maps_{year}.nc"
    with netcdf_year(path, fields.grid, times, names, attributes) as write:
        terms = season_terms(times).astype(np.float32).T
        write(0, dict(zip(SEASON, terms, strict=True)))
        if fields.mask is not None:
            write(0, {"sea_mask": fields.mask})
        yield write

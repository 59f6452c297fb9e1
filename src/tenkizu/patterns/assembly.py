"""Years of a store from their blocks, which may come from any process, on any day of the year."""

import contextlib
import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tenkizu import __version__
from tenkizu.patterns.blocks import FORMULA_VERSION
from tenkizu.patterns.netcdf_year import OpenYear, netcdf_year
from tenkizu.patterns.physics.season import season_terms
from tenkizu.patterns.reading.maps import MapSource
from tenkizu.patterns.side_by_side import made, workers_for
from tenkizu.patterns.year_store import (
    BLOCKS,
    Block,
    BlockTask,
    Fields,
    Summary,
    Times,
    allocate,
    joined,
    read_summary,
    write_summary,
)

Track = Callable[[Iterable[Any], str], Iterable[Any]]
"""Wraps an iterable to show progress: (iterable, description) -> iterable."""

SEASON = ("f1_season", "f2_season", "f3_season", "f4_season")

PACKED_SHARE = 0.75
"""Size of compressed maps, of float32; half for fields as they are read, more for derived ones."""

_TRANSIENT_BLOCKS = 4


def write_years(
    folder: Path,
    source: MapSource,
    fields: Fields,
    years: Sequence[Sequence[Block]],
    track: Track,
    workers: int | None = 1,
    scheduler: str | None = None,
) -> Summary:
    """Write the maps of all years, and their NetCDF, but for what an earlier run has done.

    While the blocks of a year are put together, the next are made.

    Args:
        folder: the unfinished store.
        source: of the native maps.
        fields: what to write.
        years: the blocks of each year, in order.
        track: shows progress.
        workers: processes; see `workers_for`.
        scheduler: address of a Dask scheduler, in place of processes here.

    Returns:
        What is known of all maps.
    """
    there = ready(folder)
    for blocks in years:
        allocate(folder, blocks[0].year, sum(len(b.times) for b in blocks), fields)
    left = missing(folder, years, there)
    tasks = [BlockTask(source, fields, block, folder) for block in left]
    count = 1 if scheduler else workers_for(tasks, workers)
    summaries = []
    results = made(tasks, count, scheduler)
    with contextlib.closing(results):
        for blocks in years:
            whole = _year_file(folder, blocks)
            if whole.name not in there:
                _write_year(folder, fields, blocks, there, results, track)
            summaries.append(read_summary(whole))
    return joined(summaries)


def ready(folder: Path) -> set[str]:
    """Files of blocks and years that are done."""
    (folder / BLOCKS).mkdir(parents=True, exist_ok=True)
    for torn in (folder / BLOCKS).glob(".*.part.*"):  # of a run that was killed
        torn.unlink()
    # One listing, and no question for single files: a shared file system would remember for a
    # while that they were not there.
    return {path.name for path in (folder / BLOCKS).iterdir()}


def missing(folder: Path, years: Sequence[Sequence[Block]], there: set[str]) -> list[Block]:
    """The blocks that are still to be made."""
    return [
        block
        for blocks in years
        if _year_file(folder, blocks).name not in there
        for block in blocks
        if block.file(folder).name not in there
    ]


def bytes_to_write(
    folder: Path, fields: Fields, years: Sequence[Sequence[Block]], there: set[str]
) -> float:
    """Space that is still needed, about; more than is kept, since blocks are copied once."""
    maps = sum(len(block.times) for block in missing(folder, years, there)) * fields.map_bytes
    to_join = [blocks for blocks in years if _year_file(folder, blocks).name not in there]
    days = sum(len(block.times) for blocks in to_join for block in blocks)
    longest = max((len(block.times) for blocks in to_join for block in blocks), default=0)
    transient = min(days, _TRANSIENT_BLOCKS * longest)
    packed = PACKED_SHARE * len(fields.packed) * fields.map_bytes
    return maps * len(fields.maps) + (days + transient) * packed


def _year_file(folder: Path, blocks: Sequence[Block]) -> Path:
    """The summary of a year that is finished."""
    return folder / BLOCKS / f"{blocks[0].year}.h5"


def _write_year(
    folder: Path,
    fields: Fields,
    blocks: Sequence[Block],
    there: set[str],
    results: Iterator[BlockTask],
    track: Track,
) -> None:
    """Wait for the blocks of a year, in order, and join them; ``there`` is kept up to date."""
    files = [block.file(folder) for block in blocks]
    times = np.concatenate([block.times for block in blocks])
    summaries = []
    with contextlib.ExitStack() as stack:
        netcdf = None
        if fields.origin is not None:
            netcdf = stack.enter_context(_netcdf(folder, fields, times, blocks[0].year))
        for block, path in track(list(zip(blocks, files, strict=True)), _doing(blocks[0].year)):
            while path.name not in there:
                there.add(next(results).block.file(folder).name)
            summaries.append(read_summary(path))
            if netcdf:
                with h5py.File(path) as packed:
                    netcdf.copy(block.first, packed)
    write_summary(_year_file(folder, blocks), summaries)
    for path in files:
        path.unlink(missing_ok=True)


def _doing(year: str) -> str:
    return f"preparing {year}"


@contextlib.contextmanager
def _netcdf(folder: Path, fields: Fields, times: Times, year: str) -> Iterator[OpenYear]:
    """The NetCDF file of a year with all but its maps written."""
    names = (*fields.maps, *fields.also, *fields.static, *fields.season)
    path = folder / f"maps_{year}.nc"
    about = attributes(f"Daily weather maps of {year} with derived fields", fields.origin or "")
    means = fields.daily_means
    with netcdf_year(path, fields.grid, times, names, about, daily_means=means) as file:
        file.write(0, dict(zip(SEASON, season_terms(times).astype(np.float32).T, strict=True)))
        if fields.mask is not None:
            file.write(0, {"sea_mask": fields.mask})
        yield file


def attributes(title: str, source: str) -> dict[str, str]:
    """Global attributes of a NetCDF file that is written now."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {
        "title": title,
        "source": source,
        "history": f"{now}: prepared by tenkizu {__version__}",
        "tenkizu_version": __version__,
        "formula_version": str(FORMULA_VERSION),
    }

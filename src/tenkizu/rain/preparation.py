"""From rain files to a sample store: windows, splits, statistics, exact tables."""

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from tenkizu.core.config import config_hash
from tenkizu.core.errors import DataError
from tenkizu.core.periods import SPLITS, SplitsConfig
from tenkizu.core.samples import input_path
from tenkizu.core.store import SampleStore, StoreWriter, open_finished, plain
from tenkizu.rain.baselines import boxes_of
from tenkizu.rain.coarsening import block_mean, coarser_grid
from tenkizu.rain.config import DataConfig, RainConfig
from tenkizu.rain.derived_blocks import DerivedBlocks, Track
from tenkizu.rain.fingerprints import fingerprint
from tenkizu.rain.hourly import RainSeries, SourceOptions, Window, open_rain, read_window
from tenkizu.rain.hourly import window_starts as starts_of
from tenkizu.rain.summaries import Summary
from tenkizu.rain.tables import RAIN, Rain

__all__ = ["LAYOUT", "Track", "assign_splits", "prepare", "prepare_all", "to_rain"]

log = logging.getLogger(__name__)

LAYOUT = 2
"""Raised when what `prepare` writes changes, so that older stores are made anew."""

THREE_HOURS = np.timedelta64(180, "m")


@dataclass(frozen=True)
class Planned:
    """A window to be stored."""

    start: np.datetime64
    split: str
    series: int


def assign_splits(
    starts: Sequence[np.datetime64], splits: SplitsConfig, every_hour: bool = False
) -> list[str | None]:
    """The split of each window, None for those left out.

    A window belongs to a split when all its three hours lie in one of its periods. The windows on
    both sides of a border between two splits are left out, since each would see the other's rain
    as its P or N.

    Args:
        starts: of the windows, UTC.
        splits: the periods.
        every_hour: windows may start at any hour, so that a part of P or N is enough to see rain
            of another split; otherwise a window cut by a border stands between its neighbours.
    """
    blocks = splits.blocks()

    def of(start: np.datetime64, partly: bool = False) -> set[str]:
        """The splits that hold three hours, or any part of them."""
        end = start + THREE_HOURS
        return {
            name
            for name, first, last in blocks
            if (first < end and start < last if partly else first <= start and end <= last)
        }

    result = []
    for start in starts:
        own = of(start)
        beside = of(start - THREE_HOURS, every_hour) | of(start + THREE_HOURS, every_hour)
        result.append(min(own) if own and beside <= own else None)
    return result


def to_rain(window: Window) -> Rain:
    """A window as the stored array (6, H, W); the hours are NaN when it has none."""
    hours = window.hours
    if hours is None:
        hours = np.full((3, *window.total.shape), np.nan, np.float32)
    return np.stack([window.previous, *hours, window.total, window.following])


def prepare_all(
    config: RainConfig, overwrite: bool = False, track: Track | None = None
) -> dict[str, SampleStore]:
    """Make or open the stores of all sources of a configuration, as `prepare` does each."""
    return {name: prepare(part, overwrite, track) for name, part in config.parts().items()}


def prepare(
    config: RainConfig,
    overwrite: bool = False,
    track: Track | None = None,
    workers: int | None = 1,
    scheduler: str | None = None,
) -> SampleStore:
    """Make the sample store of a configuration's (first) source, or open it if it is there.

    Windows are read one at a time. A month that is finished is kept when the run is interrupted.
    Of MSM forecasts the monthly files in ``data.msm`` are read; without it the store is only
    opened.

    Args:
        config: the run.
        overwrite: replace a store made from other settings or files.
        track: shows progress.
        workers: processes on this machine that make a store of MSM forecasts, a month each; None
            for all processors, if the work is worth starting them. Other stores take one.
        scheduler: address of a Dask scheduler, in place of those processes. Its workers must see
            the files and the store under the same names.

    Raises:
        ConfigError: the scheduler does not answer.
        DataError: a file cannot be used, grids differ, a split is empty, or a store of another
            plan stands in the way.
    """
    data, follow = config.data, track or (lambda items, _: items)
    if data.source == "msm":
        from tenkizu.rain.msm.preparation import prepare_msm

        return prepare_msm(config, overwrite, follow, workers, scheduler)
    paths = [input_path(name) for name in data.files]
    plan_hash = _plan_hash(config, paths)
    finished = open_finished(data.store, plan_hash, overwrite)
    if finished is not None:
        log.info("store %s is up to date: %d windows", data.store, len(finished))
        return finished
    options = SourceOptions(data.variable, data.units, data.time_stamp, data.totals)
    series = [open_rain(path, options, strict_time=True) for path in paths]
    try:
        return _write(config, series, plan_hash, follow)
    finally:
        for one in series:
            one.close()


def _plan_hash(config: RainConfig, paths: Sequence[Path]) -> str:
    """Hash of all that decides the store's content."""
    settings = config.data.model_dump(
        mode="json", include={"source", "files", "variable", "units", "time_stamp", "splits"}
    )
    bins = config.loss.model_dump(mode="json", include={"bins_1h", "bins_sum", "mask_mm"})
    inputs = [fingerprint(path) for path in paths]
    plan = {"layout": LAYOUT, "data": settings, "bins": bins, "inputs": inputs}
    if "motion" in config.data.context:
        plan["motion"] = True
    # Named only where they are set, so that stores made before there were such options stay valid.
    if config.data.every_hour:
        plan["every_hour"] = True
    if config.data.coarsen > 1:
        plan["coarsen"] = config.data.coarsen
    if config.data.totals:
        plan["totals"] = config.data.totals
    if config.data.climatology_boxes:
        plan["climatology_boxes"] = True
    return config_hash(plan)


def _plan(data: DataConfig, series: Sequence[RainSeries]) -> list[Planned]:
    """The windows to store, in order of time.

    Raises:
        DataError: grids differ, a window is in two files, or a split is empty.
    """
    for other in series[1:]:
        if not other.grid.same_as(series[0].grid):
            raise DataError(
                "the grid differs from the first file's",
                file=other.path,
                found=other.grid.describe(),
                expected=series[0].grid.describe(),
                next_step="prepare one store per grid",
            )
    where = sorted(
        (start, i) for i, one in enumerate(series) for start in _starts(one, data.every_hour)
    )
    starts = [start for start, _ in where]
    aligned = {start for one in series for start in starts_of(one)}
    for (start, i), (following, j) in pairwise(where):
        if start == following:
            raise DataError(
                "a window is in two files",
                file=series[j].path,
                found=f"{start}, also in {series[i].path}",
                next_step="remove one of the files from data.files",
            )
    assigned = assign_splits(starts, data.splits, data.every_hour)
    planned = [
        Planned(start, split, i)
        for (start, i), split in zip(where, assigned, strict=True)
        if split == "train" or (split is not None and start in aligned)
    ]
    counts = Counter(window.split for window in planned)
    for name in SPLITS:
        if getattr(data.splits, name) and not counts[name]:
            raise DataError(
                "an empty split",
                variable=f"data.splits.{name}",
                found=f"no complete window in {', '.join(getattr(data.splits, name))}",
                expected=f"periods within {starts[0]} to {starts[-1] + THREE_HOURS} UTC",
            )
    left_out = len(starts) - len(planned)
    if left_out:
        log.info("%d windows lie outside the periods or beside a border of two splits", left_out)
    return planned


def _starts(series: RainSeries, every_hour: bool) -> list[np.datetime64]:
    """Starts of the windows of a file: at 00, 03, ... UTC, or at every full hour."""
    starts = starts_of(series)
    for phase in (1, 2) if every_hour else ():
        # A short file may have no window that starts at these hours.
        with suppress(DataError):
            starts += starts_of(series, phase)
    return starts


def _write(
    config: RainConfig, series: Sequence[RainSeries], plan_hash: str, track: Track
) -> SampleStore:
    """Write the store month by month and sum up its statistics."""
    for one in series:
        if one.pieces_per_window != 3:
            raise DataError(
                "training needs hourly rain",
                file=one.path,
                variable=one.variable,
                found="3-hour totals",
                expected="hourly or sub-hourly amounts",
            )
        for note in one.notes:
            log.info("%s: %s", one.path.name, note)
    grid = coarser_grid(series[0].grid, config.data.coarsen)
    boxes = boxes_of(grid) if config.data.climatology_boxes else None
    planned = _plan(config.data, series)
    writer = StoreWriter(config.data.store, plan_hash)
    derived = DerivedBlocks(writer, config, grid.shape, track)
    blocks: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = []
    months = sorted({str(w.start.astype("datetime64[M]")) for w in planned})
    first = 0
    for month in months:
        windows = [w for w in planned if str(w.start.astype("datetime64[M]")) == month]
        name = f"rain_{month.replace('-', '')}"

        def fill(
            array: Rain, windows: list[Planned] = windows, month: str = month
        ) -> dict[str, Any]:
            parts = Summary(boxes)
            for i, window in enumerate(track(windows, f"preparing {month}")):
                array[i] = block_mean(_read(series, window), config.data.coarsen)
                parts.add(window.start, window.split, array[i], config.loss)
            return parts.to_json()

        summaries.append(writer.block(name, (len(windows), len(RAIN), *grid.shape), fill))
        blocks.append({"file": f"{name}.npy", "first": first, "count": len(windows)})
        derived.add(month.replace("-", ""), first)
        first += len(windows)
    parts = reduce(add, map(Summary.from_json, summaries))
    meta = {
        "kind": "rain",
        "plan_hash": plan_hash,
        "n_samples": len(planned),
        "starts": [str(w.start) for w in planned],
        "splits": [w.split for w in planned],
        "grid": grid.to_json(),
        "arrays": {"rain": {"channels": RAIN, "units": "mm", "blocks": blocks}, **derived.arrays},
        **parts.described(),
        "source": {
            "files": [one.path.name for one in series],
            "variable": series[0].variable,
            "negatives_zeroed": sum(one.negatives_zeroed for one in series),
        },
        "config": config.model_dump(mode="json", include={"data", "loss"}),
    }
    store = writer.finish(plain(meta))
    counts = Counter(w.split for w in planned)
    log.info("store %s: %s", store.path, ", ".join(f"{counts[s]} {s}" for s in SPLITS if counts[s]))
    return store


def _read(series: Sequence[RainSeries], window: Planned) -> Rain:
    """The stored array of a window; P or N may lie in a neighbouring file."""
    rain = to_rain(read_window(series[window.series], window.start))
    for index, end in ((0, window.start), (5, window.start + 2 * THREE_HOURS)):
        if len(series) > 1 and np.isnan(rain[index]).all():
            for one in series:
                pieces = one.three_hours(end)
                if pieces is not None:
                    rain[index] = pieces.sum(axis=0, dtype=np.float64)
                    break
    return rain

"""From monthly NetCDF files of MSM forecasts to a sample store, a month at a time."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.config import config_hash
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.periods import SPLITS
from tenkizu.core.store import SampleStore, StoreWriter, open_finished, plain
from tenkizu.core.verification import Tally
from tenkizu.rain.config import RainConfig
from tenkizu.rain.derived_blocks import DerivedBlocks, Track
from tenkizu.rain.fields import field_names
from tenkizu.rain.fingerprints import fingerprint
from tenkizu.rain.group_scaling import Bounds, read_scaler_groups
from tenkizu.rain.msm.compact_blocks import CompactBlocks, bytes_per_sample
from tenkizu.rain.msm.field_summaries import FieldSummary
from tenkizu.rain.msm.importing import require_rain_bounds
from tenkizu.rain.msm.month_files import MonthFile, month_paths
from tenkizu.rain.prepared import BEFORE_WINDOW, open_prepared, split_by_t0
from tenkizu.rain.summaries import Summary
from tenkizu.rain.tables import RAIN, Rain, check_units, window_tables

log = logging.getLogger(__name__)

LAYOUT = 1
"""Raised when what `prepare_msm` writes changes, so that older stores are made anew."""

FIRST_LOOK = 64
"""Samples of an imported folder on which units are checked before anything is written."""

_STEPS_A_DAY = 8


@dataclass(frozen=True)
class Month:
    """What a monthly file gives to the store.

    Attributes:
        name: such as 201807.
        path: the file.
        picked: positions of its samples that are in a split.
        starts: of their windows, UTC.
        splits: of each.
        has_following: whether it has N.
    """

    name: str
    path: Path
    picked: list[int]
    starts: list[np.datetime64]
    splits: list[str]
    has_following: bool


def prepare_msm(
    config: RainConfig, overwrite: bool = False, track: Track | None = None
) -> SampleStore:
    """Make the store of ``data.source=msm`` from the files in ``data.msm``, or open it.

    One field of one sample is in memory at a time. A month that is finished is kept when the run
    is interrupted.

    Args:
        config: the run.
        overwrite: replace a store made from other settings or files.
        track: shows progress.

    Raises:
        DataError: a file cannot be used, months are missing, grids differ, a split is empty,
            values are missing or not in the units they must be in, or a store of another plan
            stands in the way.
    """
    data = config.data
    if data.msm is None:
        return open_prepared(config)
    paths = month_paths(data.msm.monthly_dir, data.splits)
    plan_hash = _plan_hash(config, paths)
    if open_finished(data.store, plan_hash, overwrite) is not None:
        store = open_prepared(config)
        log.info("store %s is up to date: %d samples", data.store, len(store))
        return store
    bounds = read_scaler_groups(data.scaler_file) if data.scaler_file else None
    if bounds is not None and data.scaler_file is not None and _scaled(config, paths, bounds):
        require_rain_bounds(bounds, data.scaler_file)
    months, grid, units = _plan(config, paths, bounds)
    log.info(
        "%d months, %d samples of %.1f MB on %s",
        len(months),
        sum(len(month.picked) for month in months),
        bytes_per_sample(data.layout, units, 5 + _following(months), grid) / 1e6,
        grid.describe(),
    )
    _write(config, months, grid, units, bounds, plan_hash, track or (lambda items, _: items))
    return open_prepared(config)


def _plan_hash(config: RainConfig, paths: dict[str, Path]) -> str:
    """Hash of all that decides the store's content."""
    data = config.data
    plan = {
        "msm_layout": LAYOUT,
        "splits": data.splits.model_dump(mode="json"),
        "fields": field_names(data),
        "layout": data.layout,
        "motion": "motion" in data.context,
        "bins": config.loss.model_dump(mode="json", include={"bins_1h", "bins_sum", "mask_mm"}),
        "months": {month: fingerprint(path) for month, path in paths.items()},
        "scaler": fingerprint(data.scaler_file) if data.scaler_file else None,
    }
    return config_hash(plan)


def _scaled(config: RainConfig, paths: dict[str, Path], bounds: Bounds) -> bool:
    """Whether the first file is scaled to 0-1; without that the scaling may be of no use."""
    with MonthFile(next(iter(paths.values())), [], bounds) as file:
        scaled = file.scaled
    if not scaled and config.data.scaling == "standard":
        raise ConfigError(
            "the monthly files are in mm, so nothing reads this file",
            variable="data.scaler_file",
            next_step="leave it out, or set data.scaling=minmax_groups to scale inputs by it",
        )
    return scaled


def _plan(
    config: RainConfig, paths: dict[str, Path], bounds: Bounds | None
) -> tuple[list[Month], Grid, dict[str, str]]:
    """The samples to store, their grid and the units of the fields; every file is looked at.

    Raises:
        DataError: grids differ, or a split is empty.
    """
    channels = field_names(config.data)
    months: list[Month] = []
    grid: Grid | None = None
    units: dict[str, str] = {}
    early: list[Rain] = []
    for month, path in paths.items():
        with MonthFile(path, channels, bounds) as file:
            if grid is not None and not file.grid.same_as(grid):
                raise DataError(
                    "the grid differs from the first file's",
                    file=path,
                    found=file.grid.describe(),
                    expected=grid.describe(),
                    next_step="prepare one store per grid",
                )
            grid = grid or file.grid
            own = {name: file.units(name) for name in channels}
            if units and own != units:
                name = next(name for name in channels if own[name] != units[name])
                raise DataError(
                    "units differ from the first file's",
                    file=path,
                    variable=name,
                    found=own[name],
                    expected=units[name],
                )
            units = own
            starts = file.times + BEFORE_WINDOW
            splits = split_by_t0([str(start) for start in starts], config.data.splits)
            picked = [i for i, split in enumerate(splits) if split is not None]
            days = np.datetime64(month, "M") + 1 - np.datetime64(month, "D")
            absent = _STEPS_A_DAY * int(days.astype(int)) - len(starts)
            if absent:
                log.info("%s: %d initial times are not there", path.name, absent)
            kept = [str(splits[i]) for i in picked]
            name = month.replace("-", "")
            place = [starts[i] for i in picked]
            months.append(Month(name, path, picked, place, kept, file.has_following))
            if file.scaled:
                early += _spread(file, months[-1], len(paths))
    if grid is None:  # month_paths gives at least one
        raise DataError("no monthly file", file=config.data.store)
    counts = Counter(split for month in months for split in month.splits)
    for name in SPLITS:
        if getattr(config.data.splits, name) and not counts[name]:
            raise DataError(
                "an empty split",
                variable=f"data.splits.{name}",
                found=f"no sample with t0 in {', '.join(getattr(config.data.splits, name))}",
                expected=f"periods within {min(paths)} to {max(paths)}",
            )
    if early:
        tally = sum((window_tables(rain, config.loss) for rain in early), Tally())
        line = check_units(tally, config.data.checks, str(next(iter(paths.values())).parent))
        log.info("imported rain, %d samples: %s", len(early), line)
    return [month for month in months if month.picked], grid, units


def _spread(file: MonthFile, month: Month, files: int) -> list[Rain]:
    """Rain of some training samples of a scaled file, evenly spread, for a first look."""
    training = [i for i, s in zip(month.picked, month.splits, strict=True) if s == "train"]
    count = min(len(training), -(-FIRST_LOOK // files))
    chosen = [training[k * len(training) // count] for k in range(count)]
    return [_six(file.rain(i)) for i in chosen]


def _six(rain: Rain) -> Rain:
    """Rain with all planes of `RAIN`, NaN where there is none."""
    missing = np.full((len(RAIN) - len(rain), *rain.shape[1:]), np.nan, np.float32)
    return np.concatenate([rain, missing])


def _following(months: list[Month]) -> bool:
    """Whether the store keeps N: some month has it."""
    return any(month.has_following for month in months)


def _write(
    config: RainConfig,
    months: list[Month],
    grid: Grid,
    units: dict[str, str],
    bounds: Bounds | None,
    plan_hash: str,
    track: Track,
) -> None:
    """Write the store month by month and sum up its statistics."""
    data, channels = config.data, list(units)
    writer = StoreWriter(data.store, plan_hash)
    derived = DerivedBlocks(writer, config, grid.shape, track)
    planes = len(RAIN) if _following(months) else len(RAIN) - 1
    compact = CompactBlocks(writer, channels, grid) if data.layout == "compact" else None
    blocks: dict[str, list[dict[str, Any]]] = {"rain": [], "fields": []}
    rain_parts, field_parts = [], []
    first = 0
    for month in months:
        count = len(month.picked)
        with MonthFile(month.path, channels, bounds) as file:
            fill = _fill_rain(config, file, month, track)
            shape = (count, planes, *grid.shape)
            rain_parts.append(Summary.from_json(writer.block(f"rain_{month.name}", shape, fill)))
            if compact is not None:
                walk = _fields(file, month, channels, track)
                summary = compact.block(month.name, first, count, walk)
                field_parts.append(FieldSummary.from_json(summary))
            elif channels:
                shape = (count, len(channels), *grid.shape)
                fill = _fill_fields(file, month, channels, track)
                summary = writer.block(f"fields_{month.name}", shape, fill)
                field_parts.append(FieldSummary.from_json(summary))
        for name, entries in blocks.items():
            file_name = f"{name}_{month.name}.npy"
            entries.append({"file": file_name, "first": first, "count": count})
        derived.add(month.name, first)
        first += count
    whole: Summary = reduce(add, rain_parts)
    described = whole.described()
    arrays: dict[str, Any] = {
        "rain": {"channels": RAIN[:planes], "units": "mm", "blocks": blocks["rain"]}
    }
    if channels:
        described["statistics"]["fields"] = reduce(add, field_parts).described()
        entry: dict[str, Any] = {"channels": channels, "units": list(units.values())}
        kept = {"blocks": blocks["fields"]} if compact is None else {"compact": compact.meta()}
        arrays["fields"] = entry | kept
    meta = {
        "kind": "rain",
        "plan_hash": plan_hash,
        "n_samples": first,
        "starts": [str(start) for month in months for start in month.starts],
        "splits": [split for month in months for split in month.splits],
        "grid": grid.to_json(),
        "layout": data.layout,
        "bytes_per_sample": bytes_per_sample(data.layout, units, planes, grid),
        "arrays": arrays | derived.arrays,
        **described,
        "source": {
            "files": [month.path.name for month in months],
            "variable": "rain of MSM forecasts",
            "negatives_zeroed": 0,
        },
        "config": config.model_dump(mode="json", include={"data", "loss"}),
    }
    if bounds is not None and data.scaler_file is not None:
        meta["source"]["scaler_file"] = data.scaler_file.name
    store = writer.finish(plain(meta))
    counts = Counter(meta["splits"])
    log.info("store %s: %s", store.path, ", ".join(f"{counts[s]} {s}" for s in SPLITS if counts[s]))


def _fill_rain(
    config: RainConfig, file: MonthFile, month: Month, track: Track
) -> Callable[[Rain], dict[str, Any]]:
    """Writes the rain of a month, and sums it up."""

    def fill(array: Rain) -> dict[str, Any]:
        part = Summary()
        samples = zip(month.picked, month.starts, month.splits, strict=True)
        for i, (index, start, split) in enumerate(track(list(samples), f"rain of {month.name}")):
            rain = _six(file.rain(index))
            array[i] = rain[: array.shape[1]]
            part.add(start, split, rain, config.loss)
        return part.to_json()

    return fill


Walk = Callable[[Callable[[int, int, NDArray[np.float32]], None]], dict[str, Any]]
"""Gives every field to a function of (sample, channel, field), and returns their summary."""


def _fields(file: MonthFile, month: Month, channels: list[str], track: Track) -> Walk:
    """Reads the fields of a month one by one, and sums up those of training samples."""

    def walk(store: Callable[[int, int, NDArray[np.float32]], None]) -> dict[str, Any]:
        part = FieldSummary(channels)
        samples = list(zip(month.picked, month.splits, strict=True))
        for i, (index, split) in enumerate(track(samples, f"fields of {month.name}")):
            for j, channel in enumerate(channels):
                field = file.field(channel, index)
                store(i, j, field)
                if split == "train":
                    part.add(j, field)
        return part.to_json()

    return walk


def _fill_fields(
    file: MonthFile, month: Month, channels: list[str], track: Track
) -> Callable[[NDArray[np.float32]], dict[str, Any]]:
    """Writes the fields of a month as they are."""
    walk = _fields(file, month, channels, track)

    def fill(array: NDArray[np.float32]) -> dict[str, Any]:
        def store(sample: int, channel: int, field: NDArray[np.float32]) -> None:
            array[sample, channel] = field

        return walk(store)

    return fill

"""From monthly NetCDF files of MSM forecasts to a sample store, a month at a time."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np

from tenkizu.core.config import config_hash
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.periods import SPLITS
from tenkizu.core.store import SampleStore, StoreWriter, open_finished, plain
from tenkizu.core.verification import Tally
from tenkizu.rain.config import RainConfig
from tenkizu.rain.derived_blocks import Track
from tenkizu.rain.fields import field_names
from tenkizu.rain.fingerprints import fingerprint
from tenkizu.rain.group_scaling import Bounds, read_scaler_groups
from tenkizu.rain.msm.importing import require_rain_bounds
from tenkizu.rain.msm.month_blocks import Month, MonthBlocks, StorePlan
from tenkizu.rain.msm.month_samples import MonthSamples, month_paths
from tenkizu.rain.msm.side_by_side import make_months, workers_for
from tenkizu.rain.prepared import BEFORE_WINDOW, open_prepared, split_by_t0
from tenkizu.rain.tables import RAIN, Rain, check_units, window_tables

log = logging.getLogger(__name__)

LAYOUT = 1
"""Raised when what `prepare_msm` writes changes, so that older stores are made anew."""

FIRST_LOOK = 64
"""Samples of an imported folder on which units are checked before anything is written."""

_STEPS_A_DAY = 8


def prepare_msm(
    config: RainConfig, overwrite: bool, track: Track, workers: int | None, scheduler: str | None
) -> SampleStore:
    """`prepare` for ``data.source=msm``: make the store from the files in ``data.msm``, or open it.

    One field of one sample is in memory at a time, in each process. A month that is finished is
    kept when the run is interrupted, and the store does not depend on how many processes make it.
    The arguments are those of `prepare`.

    Raises:
        ConfigError: ``data.scaler_file`` is of no use, or the scheduler does not answer.
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
    months, plan = _plan(config, paths, bounds)
    log.info(
        "%d months, %d samples of %.1f MB on %s",
        len(months),
        sum(len(month.picked) for month in months),
        plan.sample_bytes / 1e6,
        plan.grid.describe(),
    )
    _write(plan, months, plan_hash, track, workers, scheduler)
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
    # Named only where it is set, so that stores made before there was this option stay valid.
    if data.climatology_boxes:
        plan["climatology_boxes"] = True
    return config_hash(plan)


def _scaled(config: RainConfig, paths: dict[str, Path], bounds: Bounds) -> bool:
    """Whether the first file is scaled to 0-1; without that the scaling may be of no use."""
    with MonthSamples(next(iter(paths.values())), [], bounds) as file:
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
) -> tuple[list[Month], StorePlan]:
    """The samples to store, and what they have in common; every file is looked at.

    Raises:
        DataError: grids differ, or a split is empty.
    """
    channels = field_names(config.data)
    months: list[Month] = []
    grid: Grid | None = None
    units: dict[str, str] = {}
    early: list[Rain] = []
    for month, path in paths.items():
        with MonthSamples(path, channels, bounds) as file:
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
            name, place = month.replace("-", ""), [starts[i] for i in picked]
            of_each = [str(splits[i]) for i in picked]
            months.append(Month(name, path, picked, place, of_each, file.has_following))
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
    kept = [month for month in months if month.picked]
    planes = len(RAIN) if any(month.has_following for month in kept) else len(RAIN) - 1
    return kept, StorePlan(config, grid, units, planes, bounds)


def _spread(file: MonthSamples, month: Month, files: int) -> list[Rain]:
    """Rain of some training samples of a scaled file, evenly spread, for a first look."""
    training = [i for i, s in zip(month.picked, month.splits, strict=True) if s == "train"]
    count = min(len(training), -(-FIRST_LOOK // files))
    chosen = [training[k * len(training) // count] for k in range(count)]
    return [file.rain(i) for i in chosen]


def _write(
    plan: StorePlan,
    months: list[Month],
    plan_hash: str,
    track: Track,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Write the store month by month and sum up its statistics."""
    config = plan.config
    writer = StoreWriter(config.data.store, plan_hash)
    count = workers_for(plan, months, workers)
    if count > 1 or scheduler is not None:
        make_months(writer.part, plan, months, count, scheduler, track)
    blocks = MonthBlocks(writer, plan, track)
    first = 0
    for month in months:
        blocks.add(month, first)
        first += len(month.picked)
    meta = {
        "kind": "rain",
        "plan_hash": plan_hash,
        "n_samples": first,
        "starts": [str(start) for month in months for start in month.starts],
        "splits": [split for month in months for split in month.splits],
        "grid": plan.grid.to_json(),
        "layout": config.data.layout,
        "bytes_per_sample": plan.sample_bytes,
        **blocks.described(),
        "source": {
            "files": [month.path.name for month in months],
            "variable": "rain of MSM forecasts",
            "negatives_zeroed": 0,
        },
        "config": config.model_dump(mode="json", include={"data", "loss"}),
    }
    if plan.bounds is not None and config.data.scaler_file is not None:
        meta["source"]["scaler_file"] = config.data.scaler_file.name
    store = writer.finish(plain(meta))
    counts = Counter(meta["splits"])
    log.info("store %s: %s", store.path, ", ".join(f"{counts[s]} {s}" for s in SPLITS if counts[s]))

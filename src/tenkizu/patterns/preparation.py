"""From raw maps to a sample store: derived fields, moments of every day, CF NetCDF, jc labels."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu import __version__
from tenkizu.core.config import config_hash
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.samples import input_path
from tenkizu.core.store import SampleStore, StoreWriter, atomic, open_finished, plain
from tenkizu.patterns.blocks import (
    FORMULA_VERSION,
    Maps,
    blocks_of,
    channel_names,
    coarse_grid,
    require_natives,
)
from tenkizu.patterns.catalogues import JC
from tenkizu.patterns.config import DataConfig, LabelsConfig, PatternsConfig
from tenkizu.patterns.jenkinson_collison import classify, indices
from tenkizu.patterns.labels import write_labels
from tenkizu.patterns.moments import FILE as MOMENTS
from tenkizu.patterns.physics.channels import CHANNELS
from tenkizu.patterns.physics.derive import required
from tenkizu.patterns.reading.era5 import file_name, plan, tasks_for
from tenkizu.patterns.reading.map_choice import require_files
from tenkizu.patterns.reading.maps import MapSource, open_era5, open_files
from tenkizu.patterns.year_store import Fields, Times, Track, moments_file, write_year

log = logging.getLogger(__name__)

LAYOUT = 1
"""Raised when what `prepare` writes changes, so that older stores are made anew."""

LABELS = "labels.csv"
ALSO_WRITTEN = ("cape", "cin", "viwve", "viwvn")
"""Fields that the NetCDF holds beside the channels, if the source has them."""

NO_DAY_BEFORE = "no map 24 h earlier"
_LABEL_DAYS = 31
_LISTED = 3


def prepare(
    config: PatternsConfig, overwrite: bool = False, track: Track | None = None
) -> SampleStore:
    """Make the sample store of a configuration, or open it if it is already there.

    Maps are read a few days at a time. A year that is finished is kept when the run is interrupted.
    Which days train is no matter of the store: it holds the moments of every day.

    Args:
        config: the run.
        overwrite: replace a store made from other settings or files.
        track: shows progress.

    Raises:
        ConfigError: a channel does not exist, or jc labels are asked for several maps a day.
        DataError: a file cannot be used, a channel cannot be made from the files, no day is left,
            or a store of another plan stands in the way.
    """
    inputs: dict[str, str] = {}
    for path in _input_files(config.data):
        inputs[str(path) if path.name in inputs else path.name] = _fingerprint(path)
    plan_hash = _plan_hash(config, inputs)
    finished = open_finished(config.data.store, plan_hash, overwrite)
    if finished is not None:
        log.info("store %s is up to date: %d days", finished.path, len(finished))
        return finished
    with open_source(config.data) as source:
        store = _write(config, source, inputs, plan_hash, track or (lambda items, _: items))
        for note in source.notes:
            log.info("%s", note)
    return store


def open_source(data: DataConfig) -> MapSource:
    """The maps that a configuration names, opened lazily; close it after use.

    Raises:
        DataError: a file is missing or cannot be used.
    """
    if data.source == "era5":
        assert data.raw_dir is not None  # the configuration saw to it
        return open_era5(data.raw_dir, data.years, _era5_fields(data), data.hours)
    return open_files(_input_files(data), data.hours, data.area)


def _input_files(data: DataConfig) -> list[Path]:
    """The files that a configuration names, without opening them.

    Raises:
        DataError: one is missing.
    """
    if data.source == "files":
        return [input_path(name) for name in data.files]
    assert data.raw_dir is not None
    paths = [file.path for file in plan(data.raw_dir, data.years, _era5_fields(data), data.hours)]
    require_files(paths)
    return paths


def _era5_fields(data: DataConfig) -> tuple[str, ...]:
    """Native fields of the channels, and of what is written beside them where it is there."""
    assert data.raw_dir is not None
    welcome = ("msl", *ALSO_WRITTEN) if data.netcdf else ("msl",)
    there = [
        name
        for name in welcome
        for task in tasks_for([name])
        if all((data.raw_dir / file_name(task, year)).is_file() for year in data.years)
    ]
    return required([*channel_names(data), *there])


def computed_labels(
    source: MapSource, times: Times, labels: LabelsConfig
) -> tuple[NDArray[np.datetime64], list[str]]:
    """Jenkinson-Collison types of maps of sea level pressure.

    Args:
        source: holds msl on its own grid.
        times: valid times (n,), UTC, of ``source.times``.
        labels: centre and rules.

    Returns:
        Local dates (n,) and label texts such as ``W`` or ``C+SW``.

    Raises:
        ConfigError: there are several maps on one date, or no centre is set.
        DataError: msl is missing, or the 16 points are not on the grid.
    """
    if labels.centre is None:
        raise ConfigError("needs a centre", variable="labels.centre", expected="[lat, lon]")
    offset = JC.utc_offset_hours if labels.utc_offset_hours is None else labels.utc_offset_hours
    days = (times + np.timedelta64(round(offset * 60), "m")).astype("datetime64[D]")
    if len(np.unique(days)) < len(days):
        raise ConfigError(
            "a day has one label, but several maps",
            variable="data.hours",
            found=f"{len(days)} maps on {len(np.unique(days))} dates",
            expected="one hour for labels.catalogue jc",
        )
    texts: list[str] = []
    for first in range(0, len(times), _LABEL_DAYS):
        msl = source.read(["msl"], times[first : first + _LABEL_DAYS])["msl"]
        found = indices(msl, source.grid, labels.centre, labels.interpolate, labels.constants)
        texts += classify(found, labels.u_limit)
    return days, texts


def _plan_hash(config: PatternsConfig, inputs: dict[str, str]) -> str:
    """Hash of all that decides the store's content."""
    data = config.data.model_dump(
        mode="json", include={"years", "hours", "area", "coarsen", "missing_dt24", "netcdf"}
    )
    content: dict[str, Any] = {
        "layout": LAYOUT,
        "formulas": FORMULA_VERSION,
        "data": data | {"channels": channel_names(config.data)},
        "inputs": inputs,
    }
    if config.labels.computed:
        content["labels"] = config.labels.model_dump(
            mode="json",
            include={"utc_offset_hours", "centre", "u_limit", "constants", "interpolate"},
        )
    return config_hash(content)


def _fingerprint(path: Path) -> str:
    """Size and hash of the first and last megabyte: cheap for any size of file."""
    size, piece = path.stat().st_size, 2**20
    with path.open("rb") as handle:
        digest = hashlib.sha256(handle.read(piece))
        handle.seek(max(size - piece, 0))
        digest.update(handle.read(piece))
    return f"{size}:{digest.hexdigest()}"


def _write(
    config: PatternsConfig,
    source: MapSource,
    inputs: dict[str, str],
    plan_hash: str,
    track: Track,
) -> SampleStore:
    """Write the store year by year."""
    data = config.data
    names = channel_names(data)
    times, left_out = _days_to_store(source, data, names)
    writer = StoreWriter(data.store, plan_hash)
    fields = _fields(source, data, names, writer, times[:1])
    years = times.astype("datetime64[Y]")
    first, blocks, other_masks = 0, [], 0
    for year in np.unique(years):
        written = write_year(writer, source, fields, times[years == year], track)
        blocks.append({"file": written["file"], "first": first, "count": written["count"]})
        first += written["count"]
        other_masks += written["other_masks"]
    if other_masks:
        log.warning(
            "sea_mask: %d of %d maps of sst cover other cells than that of %s; its mask is used",
            other_masks,
            len(times),
            times[0],
        )
    if config.labels.computed:
        write_labels(writer.part / LABELS, *computed_labels(source, times, config.labels))
    _join_moments(writer.part, [str(year) for year in np.unique(years)])
    static_blocks = [{"file": "static.npy", "first": 0, "count": 1}]
    arrays = {"maps": _described(fields.maps, blocks)} | (
        {"static": _described(fields.static, static_blocks)} if fields.static else {}
    )
    meta = {
        "kind": "patterns",
        "plan_hash": plan_hash,
        "n_samples": len(times),
        "days": [str(time) for time in times],
        "left_out": [{"time": str(time), "reason": NO_DAY_BEFORE} for time in left_out],
        "channels": names,
        "grid": fields.grid.to_json(),
        "arrays": arrays,
        "moment_rows": fields.rows,
        "inputs": inputs,
        "notes": source.notes,
        "formula_version": FORMULA_VERSION,
        "tenkizu_version": __version__,
        "config": config.model_dump(mode="json", include={"data", "labels"}),
    }
    store = writer.finish(plain(meta))
    log.info("store %s: %d days, %d left out", store.path, len(times), len(left_out))
    return store


def _days_to_store(
    source: MapSource, data: DataConfig, names: Sequence[str]
) -> tuple[Times, Times]:
    """Times to store and times left out, of the configured years.

    Raises:
        DataError: a configured year has no map, or none is left.
    """
    times = source.times
    if data.years:
        years = times.astype("datetime64[Y]").astype(int) + 1970
        if absent := sorted(set(data.years) - set(years.tolist())):
            raise DataError(
                "no map in some of the years",
                variable="data.years",
                found=f"none in {', '.join(map(str, absent))}; maps from {times[0]} to {times[-1]}",
                expected=f"maps of {len(data.years)} years",
                next_step="add the files of these years, or take them from data.years",
            )
        times = times[np.isin(years, data.years)]
    left_out = times[:0]
    if "msl_dt24" in names and data.missing_dt24 == "exclude":
        require_natives(["msl_dt24"], source.names, _where(source))
        known = np.isin(times - np.timedelta64(24, "h"), source.times)
        # A map of pressure alone may lie before the others: look for those that are not known.
        known[~known] = np.isfinite(source.read_before("msl", times[~known])).all(axis=(1, 2))
        times, left_out = times[known], times[~known]
        if len(left_out):
            log.info(
                "%d days without a map 24 h earlier are left out, the first %s",
                len(left_out),
                left_out[0],
            )
    if not len(times):
        raise DataError(
            "no day is left",
            variable="msl_dt24",
            found=f"{len(left_out)} maps, none with another 24 h earlier",
            expected="maps a day apart",
            next_step="give maps of adjacent days, set data.missing_dt24=zero, or leave the "
            "channel out: data.drop=[msl_dt24]",
        )
    return times, left_out


def _fields(
    source: MapSource,
    data: DataConfig,
    names: Sequence[str],
    writer: StoreWriter,
    first_time: Times,
) -> Fields:
    """What is to be written; the static channels are written at once.

    Raises:
        DataError: a channel cannot be made from the source.
    """
    require_natives(names, source.names, _where(source))
    of_kind = {
        kind: tuple(name for name in names if CHANNELS[name].kind == kind)
        for kind in ("map", "static", "scalar")
    }
    maps = of_kind["map"]
    if "msl" in source.names and "msl" not in maps:
        # Charts, analogues and computed labels need it, whatever the network sees.
        maps += ("msl",)
    static, mask = of_kind["static"], None
    if static:
        _, block = next(blocks_of(source, static, first_time, data.coarsen))
        mask = block["sea_mask"][0]

        def fill(array: Maps) -> dict[str, Any]:
            array[0] = [mask]
            return {}

        writer.block("static", (1, len(static), *mask.shape), fill)
    origin = "ERA5 reanalysis, files " if data.source == "era5" else "files "
    return Fields(
        maps=maps,
        also=tuple(name for name in ALSO_WRITTEN if name in source.names and name not in maps),
        static=static,
        season=of_kind["scalar"],
        factor=data.coarsen,
        grid=coarse_grid(source.grid, data.coarsen),
        mask=mask,
        origin=origin + _where(source) if data.netcdf else None,
    )


def _where(source: MapSource) -> str:
    """The files of a source, the first few of many."""
    listed = ", ".join(path.name for path in source.files[:_LISTED])
    more = len(source.files) - _LISTED
    return listed + (f" and {more} more" if more > 0 else "")


def _join_moments(folder: Path, years: Sequence[str]) -> None:
    """Put the moments of all years into one file; a killed run may have done so already."""
    yearly = [moments_file(folder, year) for year in years]
    if not (folder / MOMENTS).exists():
        with atomic(folder / MOMENTS) as part:
            np.save(part, np.concatenate([np.load(path) for path in yearly]))
    for path in yearly:
        path.unlink(missing_ok=True)


def _described(names: Sequence[str], blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Channels of an array as store.json lists them."""
    units = [CHANNELS[name].units for name in names]
    return {"channels": list(names), "units": units, "blocks": blocks}

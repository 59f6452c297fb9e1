"""From raw maps to a sample store: derived fields, moments of every day, CF NetCDF, jc labels."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu import __version__
from tenkizu.core.errors import ConfigError
from tenkizu.core.store import SampleStore, StoreWriter, atomic, open_finished, plain
from tenkizu.patterns.assembly import PACKED_SHARE, Track, bytes_to_write, ready, write_years
from tenkizu.patterns.blocks import FORMULA_VERSION, Maps, channel_names
from tenkizu.patterns.catalogues import JC
from tenkizu.patterns.config import LabelsConfig, PatternsConfig
from tenkizu.patterns.disk_space import full_disk_explained, require_space
from tenkizu.patterns.downloaded_inputs import require_size
from tenkizu.patterns.jenkinson_collison import classify, indices
from tenkizu.patterns.labelling import labels_of
from tenkizu.patterns.labels import write_labels
from tenkizu.patterns.merged import require_merged, write_merged
from tenkizu.patterns.moments import FILE as MOMENTS
from tenkizu.patterns.physics.channels import CHANNELS
from tenkizu.patterns.reading.fingerprints import fingerprint
from tenkizu.patterns.reading.maps import MapSource
from tenkizu.patterns.source_files import absolute, input_files, open_source
from tenkizu.patterns.store_plan import days_to_store, fields_of, plan_of
from tenkizu.patterns.year_store import (
    BLOCKS,
    Block,
    Fields,
    Times,
    blocks_of_year,
    source_versions,
)

log = logging.getLogger(__name__)

LABELS = "labels.csv"
NO_DAY_BEFORE = "no map 24 h earlier"
_LABEL_DAYS = 31


def prepare(
    config: PatternsConfig,
    overwrite: bool = False,
    track: Track | None = None,
    workers: int | None = 1,
    scheduler: str | None = None,
    merged: Path | None = None,
) -> SampleStore:
    """Make the sample store of a configuration, or open it if it is already there.

    Maps are read a few days at a time. Blocks of days that are finished are kept when the run is
    interrupted, and the store does not depend on how many processes make them. Which days train is
    no matter of the store: it holds the moments of every day.

    Args:
        config: the run.
        overwrite: replace a store made from other settings or files.
        track: shows progress.
        workers: processes on this machine; None for all processors, as far as memory allows.
        scheduler: address of a Dask scheduler, in place of processes here. Its workers must see
            the files and the store under the same names.
        merged: also write all maps with their labels into this one NetCDF file.

    Raises:
        ConfigError: a channel does not exist, jc labels are asked for several maps a day, a merged
            file is asked for without NetCDF, or the scheduler does not answer.
        DataError: a file cannot be used or is not what was downloaded, a channel cannot be made
            from the files, no day is left, a store of another plan stands in the way, or the disk
            is or would be full.
    """
    track = track or (lambda items, _: items)
    if merged is not None:
        require_merged(config, merged, overwrite)
    inputs: dict[str, str] = {}
    for path in input_files(config.data):
        require_size(path)
        inputs[str(path) if path.name in inputs else path.name] = fingerprint(path)
    store = open_finished(config.data.store, plan_of(config, inputs), overwrite)
    if store is not None:
        log.info("store %s is up to date: %d days", store.path, len(store))
    else:
        with open_source(absolute(config.data)) as source:
            store = _write(config, source, inputs, track, workers, scheduler, merged is not None)
            for note in source.notes:
                log.info("%s", note)
    # Of a run that was killed after the store had its name.
    shutil.rmtree(store.path / BLOCKS, ignore_errors=True)
    if merged is not None:
        written = write_merged(store, merged, labels_of(config.labels, store), track)
        log.info("%s is %s", merged, "written" if written else "up to date")
    return store


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


def _write(
    config: PatternsConfig,
    source: MapSource,
    inputs: dict[str, str],
    track: Track,
    workers: int | None,
    scheduler: str | None,
    merged: bool,
) -> SampleStore:
    """Write the store year by year."""
    data = config.data
    names = channel_names(data)
    times, left_out = days_to_store(source, data, names)
    fields = fields_of(source, data, names, times[:1])
    year_of = times.astype("datetime64[Y]").astype(int)
    years = [blocks_of_year(times[year_of == year], fields) for year in np.unique(year_of)]
    writer = StoreWriter(data.store, plan_of(config, inputs))
    folder = writer.part.absolute()
    needed = bytes_to_write(folder, fields, years, ready(folder))
    if merged:
        needed += PACKED_SHARE * len(times) * len(fields.packed) * fields.map_bytes
    require_space(folder, needed)
    with full_disk_explained(folder, needed):
        if fields.mask is not None:
            _write_static(writer, fields)
        summary = write_years(folder, source, fields, years, track, workers, scheduler)
        with atomic(folder / MOMENTS) as part:
            np.save(part, summary.moments)
        if config.labels.computed:
            write_labels(folder / LABELS, *computed_labels(source, times, config.labels))
        source_versions(source).update(summary.versions)
        if summary.other_masks:
            log.warning(
                "sea_mask: %d of %d maps of sst cover other cells than that of %s; its mask is "
                "used",
                summary.other_masks,
                len(times),
                times[0],
            )
        meta = {
            "kind": "patterns",
            "plan_hash": plan_of(config, inputs),
            "n_samples": len(times),
            "days": [str(time) for time in times],
            "left_out": [{"time": str(time), "reason": NO_DAY_BEFORE} for time in left_out],
            "channels": names,
            "grid": fields.grid.to_json(),
            "arrays": _arrays(fields, years),
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


def _write_static(writer: StoreWriter, fields: Fields) -> None:
    """Write the channels that do not change: the sea mask."""

    def fill(array: Maps) -> dict[str, Any]:
        array[0] = [fields.mask]
        return {}

    writer.block("static", (1, len(fields.static), *fields.grid.shape), fill)


def _arrays(fields: Fields, years: Sequence[Sequence[Block]]) -> dict[str, Any]:
    """The arrays as store.json lists them."""
    counts = [sum(len(block.times) for block in blocks) for blocks in years]
    blocks = [
        {"file": f"maps_{year[0].year}.npy", "first": sum(counts[:i]), "count": counts[i]}
        for i, year in enumerate(years)
    ]
    arrays = {"maps": _described(fields.maps, blocks)}
    if fields.static:
        only = {"file": "static.npy", "first": 0, "count": 1}
        arrays["static"] = _described(fields.static, [only])
    return arrays


def _described(names: Sequence[str], blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Channels of an array as store.json lists them."""
    units = [CHANNELS[name].units for name in names]
    return {"channels": list(names), "units": units, "blocks": blocks}

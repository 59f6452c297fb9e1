"""What a store will hold: days, fields, and a hash of all that decides them."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from tenkizu.core.config import config_hash
from tenkizu.core.errors import DataError
from tenkizu.patterns.blocks import (
    FORMULA_VERSION,
    blocks_of,
    channel_names,
    coarse_grid,
    require_natives,
)
from tenkizu.patterns.config import DataConfig, PatternsConfig
from tenkizu.patterns.downloaded_inputs import require_same_bytes
from tenkizu.patterns.physics.channels import CHANNELS
from tenkizu.patterns.physics.derive import required
from tenkizu.patterns.reading.maps import MapSource
from tenkizu.patterns.source_files import ALSO_WRITTEN
from tenkizu.patterns.year_store import Fields, Times

log = logging.getLogger(__name__)

LAYOUT = 2
"""Raised when what `prepare` writes changes, so that older stores are made anew."""

_LISTED = 3
_CONTENT = {"years", "hours", "daily", "area", "coarsen", "missing_dt24", "netcdf"}


def plan_of(config: PatternsConfig, inputs: dict[str, str]) -> str:
    """Hash of all that decides the store's content."""
    data = config.data.model_dump(mode="json", include=_CONTENT)
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


def days_to_store(source: MapSource, data: DataConfig, names: Sequence[str]) -> tuple[Times, Times]:
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


def fields_of(
    source: MapSource,
    data: DataConfig,
    names: Sequence[str],
    first_time: Times,
) -> Fields:
    """What is to be written of each map.

    Raises:
        DataError: a channel cannot be made from the source.
    """
    require_natives(names, source.names, _where(source))
    of_kind = {
        kind: tuple(name for name in names if CHANNELS[name].kind == kind)
        for kind in ("map", "static", "scalar")
    }
    maps = of_kind["map"]
    known = set(source.names)
    if "msl" in source.names and "msl" not in maps:
        # Charts, analogues and computed labels need it, whatever the network sees.
        maps += ("msl",)
    static, mask = of_kind["static"], None
    if static:
        require_same_bytes(source.files_at(first_time, ["sst"]))
        _, block = next(blocks_of(source, static, first_time, data.coarsen))
        mask = block["sea_mask"][0]
    origin = "ERA5 reanalysis, files " if data.source == "era5" else "files "
    return Fields(
        maps=maps,
        also=tuple(
            name
            for name in ALSO_WRITTEN
            if known.issuperset(required([name], known)) and name not in maps
        ),
        static=static,
        season=of_kind["scalar"],
        factor=data.coarsen,
        grid=coarse_grid(source.grid, data.coarsen),
        mask=mask,
        origin=origin + _where(source) if data.netcdf else None,
        daily_means=data.daily == "mean",
    )


def _where(source: MapSource) -> str:
    """The files of a source, the first few of many."""
    listed = ", ".join(path.name for path in source.files[:_LISTED])
    more = len(source.files) - _LISTED
    return listed + (f" and {more} more" if more > 0 else "")

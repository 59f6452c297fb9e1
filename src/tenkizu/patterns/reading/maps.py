"""Weather maps from files of any convention, read lazily through one door."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tenkizu.patterns.reading.daily_means import DailyMeans
from tenkizu.patterns.reading.era5 import plan
from tenkizu.patterns.reading.map_choice import (
    Window,
    choose,
    common_times,
    require_files,
    require_same_grids,
    require_times,
    window_of,
)
from tenkizu.patterns.reading.map_files import netcdf_files
from tenkizu.patterns.reading.map_layout import Piece, pieces_of
from tenkizu.patterns.reading.map_source import MapSource as MapSource
from tenkizu.patterns.reading.map_times import Minutes
from tenkizu.patterns.reading.natives import base_names

Daily = Literal["instant", "mean"]
"""Whether a map is that of an hour or the mean of a day."""

Chosen = Callable[[tuple[str, ...]], Sequence[str]]
"""Names the fields that are wanted among those found."""


def open_files(
    paths: Sequence[Path],
    hours: Sequence[int] = (0,),
    area: Sequence[float] | None = None,
    names: Sequence[str] | Chosen | None = None,
    daily: Daily = "instant",
) -> MapSource:
    """Open NetCDF files, ZIP archives of them or Zarr groups, which may split fields and times.

    Args:
        paths: exactly these files.
        hours: of day, UTC, of the maps.
        area: north, west, south, east in degrees; the grid is cut to it. West is below east: an
            area across Greenwich is -70 to 10, even where the files count from 0 to 360.
        names: fields that are wanted, all of which must be there; others are passed over. Or a
            function that names them, given those found. With None, every field found counts.
        daily: ``instant`` for the maps at ``hours``, ``mean`` for their mean over each UTC day.

    Returns:
        The maps at every time that is at one of ``hours``, or one mean map a day. All fields must
        have the same times, but msl may also have those of the day before, for the change over 24
        hours.

    Raises:
        DataError: a file that is no NetCDF or damaged, a missing field, hour or time, times that
            are doubled, grids that differ.
    """
    require_files(paths)
    found = [piece for path in paths for file in netcdf_files(path) for piece in pieces_of(file)]
    wanted = names(tuple(dict.fromkeys(p.name for p in found))) if callable(names) else names
    pieces = choose(found, paths, None if wanted is None else base_names(wanted))
    require_same_grids(pieces)
    # The mean has its own words for the hours that a day lacks.
    times = common_times(pieces, hours, whole_days=daily == "instant")
    return _source(pieces, times, window_of(pieces[0], area), hours, daily)


def open_era5(
    folder: Path,
    years: Sequence[int],
    names: Sequence[str],
    hours: Sequence[int] = (0,),
    daily: Daily = "instant",
) -> MapSource:
    """Open exactly the planned files of ERA5 fields: every day of every year must be there.

    Args:
        folder: with files called ``era5_{task}_{year}.nc``.
        years: whole years UTC.
        names: native fields; with ``msl@-24h``, 31 December before the first year is read, too.
        hours: of day, UTC, of the maps.
        daily: as in `open_files`.

    Raises:
        ConfigError: a field that no ERA5 request holds.
        DataError: as `open_files`, and for a file or day that is missing.
    """
    wanted = base_names(names)
    planned = plan(folder, years, names, hours)
    require_files([file.path for file in planned])
    pieces = []
    for file in planned:
        level = float(file.task.levels[0]) if len(file.task.levels) == 1 else None
        found = [p for part in netcdf_files(file.path) for p in pieces_of(part, level)]
        fields = [name for name in file.task.fields if name in wanted]
        chosen = choose(found, [file.path], fields)
        for piece in chosen:
            require_times(piece, file.times, hours)
        pieces += chosen
    require_same_grids(pieces)
    extra = planned[0].times if "msl@-24h" in names else planned[0].times[:0]
    times = np.unique(np.concatenate([file.times for file in planned]))
    times = times[~np.isin(times, extra)]
    return _source(pieces, times, window_of(pieces[0], None), hours, daily)


def _source(
    pieces: Sequence[Piece], times: Minutes, window: Window, hours: Sequence[int], daily: Daily
) -> MapSource:
    """The maps themselves, or their daily means."""
    if daily == "mean":
        return DailyMeans(pieces, times, window, hours)
    return MapSource(pieces, times, window)

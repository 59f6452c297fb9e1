"""Gridded hourly rain of any origin, read from NetCDF as windows of three hours in mm.

Specification section 17, "Generic hourly source". Interval lengths that divide an hour are summed
to hours; 3-hourly totals are read as windows without hours.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.rain.axes import read_layout
from tenkizu.rain.intervals import read_intervals, time_variable, utc
from tenkizu.rain.netcdf import first_line, open_netcdf
from tenkizu.rain.series import Field, RainSeries
from tenkizu.rain.units import choose_variable, rain_units

__all__ = [
    "RainSeries",
    "SourceOptions",
    "Window",
    "iterate_windows",
    "open_rain",
    "read_window",
    "window_starts",
]


@dataclass(frozen=True)
class SourceOptions:
    """What a user may state when the file does not say it.

    Attributes:
        variable: name of the rain variable.
        units: its units; they override those of the file.
        time_stamp: what a time stamp marks, for files without time bounds.
    """

    variable: str | None = None
    units: str | None = None
    time_stamp: Literal["start", "end"] | None = None

    def __post_init__(self) -> None:
        """Refuse a time stamp that would otherwise be read as the end."""
        if self.time_stamp not in (None, "start", "end"):
            raise ConfigError(
                "unknown meaning of a time stamp",
                variable="data.time_stamp (--time-stamp)",
                found=repr(self.time_stamp),
                expected="start or end",
            )


@dataclass(frozen=True, eq=False)
class Window:
    """Three hours of rain with the totals before and after, all in mm, NaN where missing.

    Attributes:
        start: of the window, datetime64[m]; t0 of the specification is 3 hours earlier.
        previous: total P of the 3 hours before, (H, W); all NaN when unknown.
        hours: the three hours, (3, H, W); None for 3-hourly input.
        total: S, (H, W), the float64 sum of the hours; NaN where any hour is missing.
        following: total N of the 3 hours after, (H, W); all NaN when unknown.
    """

    start: np.datetime64
    previous: Field
    hours: Field | None
    total: Field
    following: Field


def open_rain(
    path: str | Path, options: SourceOptions | None = None, strict_time: bool = False
) -> RainSeries:
    """Open a NetCDF file of gridded rain and check all but its values, which are read later.

    Args:
        path: NetCDF-4 or classic NetCDF-3.
        options: what the user states about the file.
        strict_time: refuse to assume that time stamps are ends of intervals.

    Raises:
        DataError: not such a file, no single rain variable, or unusable units, grid or times.
        ConfigError: an option is not understood.
    """
    path = Path(path)
    options = options or SourceOptions()
    dataset = open_netcdf(path)
    try:
        return _describe(path, dataset, options, strict_time)
    except (OSError, RuntimeError) as error:
        dataset.close()
        raise DataError(
            f"its coordinates cannot be read ({first_line(error)})",
            file=path,
            next_step="the file is damaged: fetch it again",
        ) from error
    except BaseException:
        dataset.close()
        raise


def window_starts(series: RainSeries, window_start_hour: int = 0) -> list[np.datetime64]:
    """Start of every complete window, at 00, 03, ... UTC + ``window_start_hour`` (modulo 3).

    Raises:
        DataError: there is none, or 3-hour totals begin at other hours.
    """
    phase = window_start_hour % 3
    ends = series.piece_ends
    hours = ends.astype("datetime64[h]").astype(int)
    if series.pieces_per_window == 1:
        found = int(hours[0]) % 3
        if found != phase:
            raise DataError(
                "the 3-hour totals begin at other hours than the windows",
                file=series.path,
                variable=series.variable,
                found=f"totals from {found:02d}, {found + 3:02d}, ... UTC",
                expected=f"{phase:02d}, {phase + 3:02d}, ... UTC",
                next_step=f"say --window-start {found}",
            )
        return list(ends - np.timedelta64(180, "m"))
    three = np.isin(hours - 1, hours) & np.isin(hours - 2, hours) & (hours % 3 == phase)
    if not three.any():
        when = f" from {utc(ends[0])} to {utc(ends[-1])}" if len(ends) else ""
        raise DataError(
            "no complete window of three hours",
            file=series.path,
            variable=series.variable,
            found=f"{len(ends)} complete hours" + (f", ending{when}" if when else ""),
            expected=f"three hours in a row from {phase:02d}, {phase + 3:02d}, ... UTC",
            next_step="bring a longer file, fill the gaps, or let windows start at another hour "
            "with --window-start",
        )
    return list(ends[three] - np.timedelta64(180, "m"))


def read_window(series: RainSeries, start: np.datetime64) -> Window:
    """The window that starts at ``start``, with P and N where their hours are in the file.

    Raises:
        DataError: an hour of the window itself is not in the file.
    """
    start = start.astype("datetime64[m]")
    three = np.timedelta64(180, "m")
    # In the order of time, so that the file is read forwards.
    before, own, after = (series.three_hours(start + i * three) for i in range(3))
    if own is None:
        raise DataError(
            "no complete window at this time",
            file=series.path,
            variable=series.variable,
            found=utc(start),
            expected="a time that window_starts gives",
        )
    unknown = np.full(series.grid.shape, np.nan, dtype=np.float32)
    return Window(
        start=start,
        previous=unknown if before is None else _total(before),
        hours=own if series.pieces_per_window == 3 else None,
        total=_total(own),
        following=unknown.copy() if after is None else _total(after),
    )


def iterate_windows(series: RainSeries, starts: Iterable[np.datetime64]) -> Iterator[Window]:
    """Windows one after another; with increasing starts every interval is read once.

    Nine hours and one block of the file (at most 256 MiB in float64, or one interval) are held.
    """
    for start in starts:
        yield read_window(series, start)


def _total(pieces: Field) -> Field:
    """Float64 sum over the first axis as float32."""
    total: Field = pieces.sum(axis=0, dtype=np.float64).astype(np.float32)
    return total


def _describe(
    path: Path, dataset: xr.Dataset, options: SourceOptions, strict_time: bool
) -> RainSeries:
    """Find the rain, its units, grid and times in an opened file."""
    names = [str(name) for name, v in dataset.variables.items() if v.ndim >= 3]
    candidates = [name for name in names if time_variable(dataset, name)]
    name, notes = choose_variable(dataset, candidates, options.variable, path)
    times = time_variable(dataset, name)
    if times is None:
        raise DataError(
            "no dimension of valid times",
            file=path,
            variable=name,
            found=f"dimensions {', '.join(map(str, dataset.variables[name].dims))}",
            expected="(time, y, x), with a time coordinate in units like 'hours since 1970-01-01'",
            next_step="a single time becomes a dimension with ncecat or ds.expand_dims('time'); "
            "forecast reference times are not valid times",
        )
    dimension, time = times
    units = rain_units(dataset.variables[name], name, options.units, path)
    in_file = str(dataset.variables[name].attrs.get("units", "none")).strip()
    if units.text != in_file:
        notes.append(f"units taken as {units.text}, as stated; the file says {in_file}")
    layout = read_layout(dataset, name, dimension, path)
    intervals = read_intervals(dataset, name, time, options.time_stamp, strict_time, path)
    notes += [*layout.notes, *intervals.notes]
    return RainSeries(path, dataset, name, units, layout, intervals, notes)

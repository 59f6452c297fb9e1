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
from tenkizu.core.samples import PREFIX, input_path
from tenkizu.rain.axes import read_layout
from tenkizu.rain.coverage import Coverage
from tenkizu.rain.file_times import time_variable, utc
from tenkizu.rain.forecast_runs import runs_in_a_row
from tenkizu.rain.intervals import read_intervals
from tenkizu.rain.netcdf import first_line, open_netcdf
from tenkizu.rain.series import Field, RainSeries
from tenkizu.rain.totals import Totals, intervals_of_totals, since_start
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
        totals: whether each value is the water since the start of a run, to be differenced, or that
            of its own interval; without it the file decides, and rain that looks like totals
            since a start, though the file does not say so, is an error.
    """

    variable: str | None = None
    units: str | None = None
    time_stamp: Literal["start", "end"] | None = None
    totals: Totals | None = None

    def __post_init__(self) -> None:
        """Refuse words that would otherwise be read as something else."""
        if self.time_stamp not in (None, "start", "end"):
            raise ConfigError(
                "unknown meaning of a time stamp",
                variable="data.time_stamp (--time-stamp)",
                found=repr(self.time_stamp),
                expected="start or end",
                next_step="leave it out if the file has time bounds",
            )
        if self.totals not in (None, "since-start", "interval"):
            raise ConfigError(
                "unknown kind of totals",
                variable="data.totals (--totals)",
                found=repr(self.totals),
                expected="since-start or interval",
                next_step="leave it out where the file says what its values are",
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
    path: str | Path,
    options: SourceOptions | None = None,
    strict_time: bool = False,
    ensemble: bool = False,
) -> RainSeries:
    """Open a NetCDF file of gridded rain and check all but its values, which are read later.

    Args:
        path: NetCDF-4 or classic NetCDF-3; ``sample:NAME`` for a shipped file.
        options: what the user states about the file.
        strict_time: refuse to assume that time stamps are ends of intervals.
        ensemble: accept a dimension of ensemble members, and read them one by one.

    Raises:
        DataError: not such a file, no single rain variable, or unusable units, grid or times.
        ConfigError: an option is not understood.
    """
    path = input_path(str(path)) if str(path).startswith(PREFIX) else Path(path)
    options = options or SourceOptions()
    dataset = runs_in_a_row(open_netcdf(path))
    try:
        return _describe(path, dataset, options, strict_time, ensemble)
    except (OSError, RuntimeError) as error:
        dataset.close()
        raise DataError(
            f"its coordinates cannot be read ({first_line(error)})",
            file=path,
            found=f"{path.stat().st_size} bytes",
            expected="a whole NetCDF file",
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


def read_window(series: RainSeries, start: np.datetime64, member: int = 0) -> Window:
    """The window that starts at ``start``, with P and N where their hours are in the file.

    Args:
        series: the opened file.
        start: one of `window_starts`.
        member: index of the ensemble member; 0 where there are none.

    Raises:
        DataError: an hour of the window itself is not in the file; or all windows of the file have
            been read, and none has a valid cell.
    """
    start = start.astype("datetime64[m]")
    three = np.timedelta64(180, "m")
    # In the order of time, so that the file is read forwards.
    before, own, after = (series.three_hours(start + i * three, member) for i in range(3))
    if own is None:
        raise DataError(
            "no complete window at this time",
            file=series.path,
            variable=series.variable,
            found=utc(start),
            expected="a time that window_starts gives",
            next_step="ask for one of those",
        )
    total = _total(own)
    _coverage(series, start).count(start, member, total)
    unknown = np.full(series.grid.shape, np.nan, dtype=np.float32)
    return Window(
        start=start,
        previous=unknown if before is None else _total(before),
        hours=own if series.pieces_per_window == 3 else None,
        total=total,
        following=unknown.copy() if after is None else _total(after),
    )


def iterate_windows(series: RainSeries, starts: Iterable[np.datetime64]) -> Iterator[Window]:
    """Windows one after another; with increasing starts every interval is read once.

    Nine hours and one block of the file (at most 256 MiB in float64, or one interval) are held.
    """
    for start in starts:
        yield read_window(series, start)


def _coverage(series: RainSeries, start: np.datetime64) -> Coverage:
    """What counts the missing cells of the windows that begin at such hours."""
    phase = int(start.astype("datetime64[h]").astype(int)) % 3
    if phase not in series.coverage:
        windows = len(window_starts(series, phase)) * max(1, len(series.members))
        series.coverage[phase] = Coverage(series.path, series.variable, windows)
    return series.coverage[phase]


def _total(pieces: Field) -> Field:
    """Float64 sum over the first axis as float32."""
    total: Field = pieces.sum(axis=0, dtype=np.float64).astype(np.float32)
    return total


def _describe(
    path: Path, dataset: xr.Dataset, options: SourceOptions, strict_time: bool, ensemble: bool
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
    layout = read_layout(dataset, name, dimension, path, ensemble)
    reason = None
    if units.seconds is None and options.totals is None:
        reason = since_start(dataset, name, dimension, time, path)
    elif options.totals == "since-start":
        if units.seconds is not None:
            raise ConfigError(
                "rates are no totals since a start",
                variable="data.totals (--totals)",
                found=units.text,
                expected="units of an amount, such as mm",
                next_step="leave --totals out, or state the right --units",
            )
        reason = "what is stated"
    if reason:
        intervals = intervals_of_totals(dataset, name, dimension, time, reason, path)
        if options.time_stamp:
            notes.append("--time-stamp not used: totals since a start are those up to their time")
    else:
        intervals = read_intervals(dataset, name, time, options.time_stamp, strict_time, path)
    units.require_length(intervals.step_minutes, name, path)
    notes += [*layout.notes, *intervals.notes]
    watch = options.totals is None
    return RainSeries(path, dataset, name, units, layout, intervals, notes, watch)

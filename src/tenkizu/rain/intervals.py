"""When the intervals of a rain series end and how long they are."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.errors import DataError

Minutes = NDArray[np.datetime64]
"""Times in UTC, datetime64[m]."""

_SPAN = r"(?:the )?(?:each )?(?:time )?(?:hour|interval|period|accumulation|averaging)"
_ENDS = re.compile(r"\b(?:ending (?:at|on|with)|hour ending|end of|preceding|previous)\b")
_STARTS = re.compile(
    rf"\b(?:(?:starting|beginning) (?:at|on|with)|(?:start|beginning) of {_SPAN}|following)\b"
)
_METHOD_INTERVAL = re.compile(r"interval:\s*(\d+)\s*(minutes?|mins?|hours?|hrs?|h|days?)\b")
_TRUE_CALENDARS = frozenset({"standard", "gregorian", "proleptic_gregorian"})


@dataclass(frozen=True)
class Intervals:
    """Intervals of equal length on one lattice, gaps allowed.

    Attributes:
        ends: end of each, strictly increasing, datetime64[m], shape (n,).
        step_minutes: length: a divisor of 60, 60 or 180.
        notes: what was assumed or noticed, one sentence each.
    """

    ends: Minutes
    step_minutes: int
    notes: tuple[str, ...]


def utc(time: np.datetime64) -> str:
    """A time for messages."""
    return f"{np.datetime_as_string(time, unit='m').replace('T', ' ')} UTC"


def time_variable(dataset: xr.Dataset, name: str) -> tuple[str, str] | None:
    """The time dimension of a variable and the variable that holds its valid times.

    Reference times of forecasts do not count. None if there is no such dimension, or several of
    them.
    """
    found: dict[str, list[str]] = {}
    for label, variable in dataset.variables.items():
        if (
            variable.ndim == 1
            and variable.dims[0] in dataset.variables[name].dims
            and " since " in str(variable.attrs.get("units", ""))
            and variable.attrs.get("standard_name") != "forecast_reference_time"
        ):
            found.setdefault(str(variable.dims[0]), []).append(str(label))
    if len(found) > 1:
        found = {d: labels for d, labels in found.items() if dataset.sizes[d] > 1}
    if len(found) != 1:
        return None
    ((dimension, labels),) = found.items()
    # GRIB converters keep the reference time as `time` beside `valid_time`.
    return dimension, min(labels, key=lambda label: (label != "valid_time", label != dimension))


def read_intervals(
    dataset: xr.Dataset,
    name: str,
    time: str,
    stated: Literal["start", "end"] | None,
    strict: bool,
    path: Path,
) -> Intervals:
    """The intervals of a variable.

    Their ends come from CF bounds, else from what the user stated, else from the words of the
    attributes ("ending at", "preceding", "starting at", ...), else the stamps are taken as ends.
    Their length comes from the bounds, else it is the smallest distance of two stamps, else (one
    time only) it is read in ``cell_methods``.

    Args:
        dataset: the opened file, times not decoded.
        name: the rain variable.
        time: the variable with its times.
        stated: what the user says that a stamp marks.
        strict: refuse to assume.
        path: of the file, for messages.

    Raises:
        DataError: times that are missing, repeated, decreasing or off the lattice; intervals that
            overlap, differ in length, or have a length or position that hours cannot be made of.
    """
    stamps = _decode(dataset, time, time, path)
    if len(stamps) == 0:
        raise DataError("the file holds no times", file=path, variable=time)
    bounds = _bounds(dataset, time, path)
    if bounds is not None:
        ends, step = bounds[:, 1], _length(bounds, time, path)
        _check_increasing(ends, time, path)
        notes = [f"--time-stamp {stated} not used: the file has time bounds"] if stated else []
    else:
        _check_increasing(stamps, time, path)
        step, notes = _spacing(stamps, dataset.variables[name], name, time, path)
        marks, remark = _meaning(dataset, name, time, stated, strict, path)
        ends = stamps if marks == "end" else stamps + np.timedelta64(step, "m")
        notes += remark
    _check_lattice(ends, step, time, path)
    return Intervals(ends, step, (*notes, *_gaps(ends, step)))


def _decode(dataset: xr.Dataset, label: str, time: str, path: Path) -> Minutes:
    """Times of a variable to the minute; ``time`` lends units and calendar to its bounds."""
    variable = dataset.variables[label]
    attrs = {**dataset.variables[time].attrs, **variable.attrs}
    units, calendar = str(attrs["units"]), str(attrs.get("calendar", "standard")).lower()
    reference = re.search(r"since\s+(\d{4})", units)
    if calendar == "julian" and reference and int(reference[1]) > 1900:
        # IMERG says julian; counted from a date of the last century both calendars name the same
        # days, as the next century without a leap day is 2100.
        calendar = "standard"
    if calendar not in _TRUE_CALENDARS:
        raise DataError(
            "calendar without real dates",
            file=path,
            variable=label,
            found=calendar,
            expected="the standard calendar",
            next_step="windows are counted in UTC: bring data with real dates",
        )
    # Bounds may carry no units of their own.
    plain = xr.Variable(variable.dims, variable.values, {"units": units, "calendar": calendar})
    try:
        decoded = xr.decode_cf(xr.Dataset({"decoded": plain}))["decoded"].values
    except (ValueError, OverflowError, ImportError) as error:
        raise DataError(
            "times cannot be decoded",
            file=path,
            variable=label,
            found=repr(units),
            expected="e.g. 'hours since 1970-01-01'",
        ) from error
    missing = np.isnat(decoded)
    if missing.any():
        raise DataError(
            "missing time",
            file=path,
            variable=label,
            found=f"no value at position {int(missing.argmax())}",
            next_step="drop these times from the file",
        )
    times: Minutes = (decoded + np.timedelta64(30, "s")).astype("datetime64[m]")
    # Bounds such as 00:00:00 to 00:29:59 are meant to touch; more than a second is no rounding.
    off = np.abs(decoded - times) > np.timedelta64(1, "s")
    if off.any():
        raise DataError(
            "time not on a full minute",
            file=path,
            variable=label,
            found=str((decoded[off][0] + np.timedelta64(500, "ms")).astype("datetime64[s]")),
            next_step="write the times as integers, e.g. minutes since 1970-01-01",
        )
    return times


def _bounds(dataset: xr.Dataset, time: str, path: Path) -> Minutes | None:
    """Start and end of each interval, shape (n, 2), None if the file has no bounds."""
    attrs = dataset.variables[time].attrs | dataset.variables[time].encoding
    names = (attrs.get("bounds"), f"{time}_bnds", f"{time}_bounds", "time_bnds", "time_bounds")
    size = dataset.variables[time].size
    for label in names:
        if label in dataset.variables and dataset.variables[label].shape == (size, 2):
            bounds = np.sort(_decode(dataset, str(label), time, path), axis=1)
            return bounds
    return None


def _length(bounds: Minutes, time: str, path: Path) -> int:
    """The common length in minutes of all intervals."""
    lengths = np.diff(bounds, axis=1)[:, 0].astype(int)
    if lengths.min() == lengths.max():
        return int(lengths[0])
    raise DataError(
        "intervals of different length",
        file=path,
        variable=time,
        found=f"{lengths.min()} to {lengths.max()} min in the time bounds",
        expected="one length",
        next_step="totals since the start of a run must be differenced first",
    )


def _spacing(
    stamps: Minutes, variable: xr.Variable, name: str, time: str, path: Path
) -> tuple[int, list[str]]:
    """Length of an interval in minutes, from the stamps or else from the cell methods."""
    match = _METHOD_INTERVAL.search(str(variable.attrs.get("cell_methods", "")))
    said = None
    if match:
        said = int(match[1]) * {"m": 1, "h": 60, "d": 1440}[match[2][0]]
    if len(stamps) > 1:
        step = int(np.diff(stamps).min().astype(int))
        if said is None or said == step:
            return step, []
        return step, [
            f"intervals of {step} min, as the times are apart; cell_methods says {said} min"
        ]
    if said is not None:
        return said, []
    raise DataError(
        "only one time and no time bounds, so the length of its interval is unknown",
        file=path,
        variable=name,
        found=f"{time} = {utc(stamps[0])}",
        expected="bounds on the time, or cell_methods 'time: sum (interval: 3 hours)'",
        next_step=f"ncatted -a cell_methods,{name},o,c,'time: sum (interval: 3 hours)' {path.name}",
    )


def _meaning(
    dataset: xr.Dataset,
    name: str,
    time: str,
    stated: Literal["start", "end"] | None,
    strict: bool,
    path: Path,
) -> tuple[Literal["start", "end"], list[str]]:
    """What a stamp marks, with a note where that is not certain."""
    words = " ".join(
        str(dataset.variables[n].attrs.get(key, ""))
        for n in (name, time)
        for key in ("long_name", "description", "comment")
    ).lower()
    ends, starts = bool(_ENDS.search(words)), bool(_STARTS.search(words))
    written: Literal["start", "end"] | None = None
    if ends != starts:
        written = "end" if ends else "start"
    if stated is not None:
        if written in (None, stated):
            return stated, []
        return stated, [f"time stamps taken as the {stated}, as stated; the file says {written}"]
    if written is not None:
        return written, []
    if strict:
        raise DataError(
            "the file does not say whether a time marks the start or the end of its interval",
            file=path,
            variable=name,
            expected="time bounds, or words such as 'ending at' in its long_name",
            next_step="state data.time_stamp: start or data.time_stamp: end (--time-stamp)",
        )
    return "end", [
        "time stamps taken as the END of each interval; if they are starts, say --time-stamp start"
    ]


def _check_increasing(times: Minutes, time: str, path: Path) -> None:
    """Raise at the first time that does not follow the one before."""
    wrong = np.flatnonzero(np.diff(times) <= np.timedelta64(0, "m"))
    if len(wrong) == 0:
        return
    before, after = times[wrong[0]], times[wrong[0] + 1]
    raise DataError(
        "duplicate time" if before == after else "times run backwards",
        file=path,
        variable=time,
        found=f"{utc(after)} after {utc(before)}, at position {wrong[0] + 1}",
        expected="strictly increasing times",
        next_step="sort the file in time and drop repeated times",
    )


def _check_lattice(ends: Minutes, step: int, time: str, path: Path) -> None:
    """Raise unless hours, or 3-hour totals on full hours, can be made of the intervals."""
    if step not in (60, 180) and (step <= 0 or 60 % step):
        raise DataError(
            "intervals that neither make up hours nor are 3-hour totals",
            file=path,
            variable=time,
            found=f"{step} min" + (f" ({step / 60:g} h)" if step > 60 else ""),
            expected="a divisor of 60 min, 60 min or 180 min",
            next_step="the model splits totals of 3 hours: longer ones cannot be used, others "
            "must be summed to hours first",
        )
    since_first = (ends - ends[0]).astype(int)
    off = since_first % step != 0
    if off.any():
        raise DataError(
            "intervals overlap or are out of step",
            file=path,
            variable=time,
            found=f"an interval ending {utc(ends[off][0])}, the first {utc(ends[0])}",
            expected=f"ends a multiple of {step} min apart",
            next_step="leave out the times between, or write time bounds",
        )
    late = int(ends[0].astype(int)) % min(step, 60)
    if late:
        minute = int(ends[0].astype(int)) % 60
        raise DataError(
            "intervals are not aligned on full hours",
            file=path,
            variable=time,
            found=f"the first one ends {utc(ends[0])}, at minute {minute}",
            expected="ends at minute 0" if step >= 60 else f"ends at multiples of {step} min",
            next_step="if the stamps are middles of intervals, write time bounds; if the shift is "
            "acceptable, move them to the full hour, e.g. ds['time'] = ds.time.dt.ceil('h')",
        )


def _gaps(ends: Minutes, step: int) -> list[str]:
    """A note on missing times, if any."""
    wide = np.flatnonzero(np.diff(ends) > np.timedelta64(step, "m"))
    if len(wide) == 0:
        return []
    count = "1 gap" if len(wide) == 1 else f"{len(wide)} gaps"
    return [
        f"{count} in time, the first between {utc(ends[wide[0]])} and {utc(ends[wide[0] + 1])}; "
        "there are no windows over gaps"
    ]

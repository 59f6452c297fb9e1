"""The times that a rain file holds: valid times, their bounds, and when forecasts began."""

import re
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.errors import DataError

Minutes = NDArray[np.datetime64]
"""Times in UTC, datetime64[m]."""

_TRUE_CALENDARS = frozenset({"standard", "gregorian", "proleptic_gregorian"})
_REFERENCES = frozenset({"forecast_reference_time", "reference_time", "reftime", "analysis_time"})
_LEADS = frozenset({"step", "forecast_period", "leadtime", "lead_time"})
_LEAD_SECONDS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "nano": 1e-9}


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
            variable.ndim > 0
            and set(variable.dims) <= set(dataset.variables[name].dims)
            and " since " in str(variable.attrs.get("units", ""))
            and variable.attrs.get("standard_name") != "forecast_reference_time"
        ):
            # GRIB converters give valid times of one run on (time, step), with one time.
            long = [str(d) for d in variable.dims if dataset.sizes[d] > 1]
            if variable.ndim == 1 or len(long) == 1:
                found.setdefault((long or [str(variable.dims[0])])[0], []).append(str(label))
    if len(found) > 1:
        found = {d: labels for d, labels in found.items() if dataset.sizes[d] > 1}
    if len(found) != 1:
        return None
    ((dimension, labels),) = found.items()
    # GRIB converters keep the reference time as `time` beside `valid_time`.
    return dimension, min(labels, key=lambda label: (label != "valid_time", label != dimension))


def decode_times(dataset: xr.Dataset, label: str, time: str, path: Path) -> Minutes:
    """Times of a variable to the minute, in its shape; ``time`` lends its bounds what they lack.

    Raises:
        DataError: a calendar without real dates, or times that are missing, not decodable or not
            on full minutes.
    """
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
            next_step=f"write them anew: ncatted -a units,{label},o,c,'hours since 1970-01-01'",
        ) from error
    missing = np.isnat(decoded)
    if missing.any():
        raise DataError(
            "missing time",
            file=path,
            variable=label,
            found=f"no value at position {int(missing.argmax())}",
            expected="a time at every position",
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
            expected="full minutes, within a second",
            next_step="write the times as integers, e.g. minutes since 1970-01-01",
        )
    return times


def time_bounds(dataset: xr.Dataset, time: str, path: Path) -> Minutes | None:
    """Start and end of each interval, shape (n, 2), None if the file has no bounds."""
    attrs = dataset.variables[time].attrs | dataset.variables[time].encoding
    names = (attrs.get("bounds"), f"{time}_bnds", f"{time}_bounds", "time_bnds", "time_bounds")
    size = dataset.variables[time].size
    for label in names:
        if label in dataset.variables and dataset.variables[label].shape == (size, 2):
            bounds = np.sort(decode_times(dataset, str(label), time, path), axis=1)
            return bounds
    return None


def run_starts(
    dataset: xr.Dataset, dimension: str, time: str, stamps: Minutes, path: Path
) -> Minutes | None:
    """When the forecast began that each time belongs to, shape (n,); None if the file is silent.

    Taken from a reference time, else from lead times, else from what WRF writes.

    Args:
        dataset: the opened file, times not decoded.
        dimension: of the times.
        time: the variable with the valid times.
        stamps: these times, (n,).
        path: of the file, for messages.
    """
    size = len(stamps)
    for label, variable in dataset.variables.items():
        named = (
            variable.attrs.get("standard_name") == "forecast_reference_time"
            or str(label) in _REFERENCES
            or (label == "time" and time == "valid_time")
        )
        on_times = variable.size == 1 or variable.dims == (dimension,)
        if named and on_times and " since " in str(variable.attrs.get("units", "")):
            begun = decode_times(dataset, str(label), str(label), path).reshape(-1)
            return begun if len(begun) == size else np.repeat(begun, size)
    for label, variable in dataset.variables.items():
        named = variable.attrs.get("standard_name") == "forecast_period" or str(label) in _LEADS
        unit = re.match("d|h|min|s|nano", str(variable.attrs.get("units", "")).lower())
        if named and unit and variable.dims == (dimension,) and variable.dtype.kind in "iuf":
            # In seconds first, as lead times may be 0.25 h.
            seconds = variable.values.astype(np.float64) * _LEAD_SECONDS[unit[0]]
            since: Minutes = stamps - np.rint(seconds).astype("timedelta64[s]")
            return since.astype("datetime64[m]")
    begun_at = str(dataset.attrs.get("SIMULATION_START_DATE", ""))
    if time == "XTIME" and not begun_at:
        begun_at = str(dataset.variables[time].attrs["units"]).partition(" since ")[2].strip()
    date = re.match(r"(\d{4}-\d{2}-\d{2})(?:[_T ](\d{2}:\d{2}))?", begun_at)
    if date is None:
        return None
    return np.repeat(np.datetime64(f"{date[1]}T{date[2] or '00:00'}", "m"), size)

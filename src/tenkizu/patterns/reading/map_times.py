"""Time coordinates of map files, decoded to UTC minutes."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.patterns.reading.file_kinds import FETCH_AGAIN
from tenkizu.patterns.reading.file_variables import Variable

Minutes = NDArray[np.datetime64]
"""UTC times, datetime64[m]."""

_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hr": 3600}
_SECONDS |= {"hour": 3600, "d": 86400, "day": 86400}
_SINCE = re.compile(
    r"(?P<unit>[a-z]+?)s?\s+since\s+(?P<y>\d{1,4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})"
    r"(?:[t\s]+(?P<H>\d{1,2})(?::(?P<M>\d{1,2})(?::(?P<S>\d{1,2})(?:\.\d*)?)?)?)?"
    r"\s*(?:z|utc|gmt|[+-]?0{1,2}:?0{0,2})?",
    re.IGNORECASE,
)
_GREGORIAN = ("standard", "gregorian", "proleptic_gregorian")
_LISTED = 6


def is_time(variable: Variable) -> bool:
    """Whether a variable counts time since an instant."""
    return variable.dtype.kind in "iuf" and " since " in str(variable.attrs.get("units", ""))


def decode_times(values: NDArray[Any], variable: Variable, name: str, file: str) -> Minutes:
    """UTC times of a time coordinate, datetime64[m], rounded to whole minutes.

    Args:
        values: counts as stored.
        variable: with the attributes ``units`` (``hours since 1900-01-01``) and ``calendar``.
        name: of the variable, for messages.
        file: for messages.

    Raises:
        DataError: the units or the calendar are not understood, or a count is not a time.
    """
    units = str(variable.attrs.get("units", "")).strip()
    calendar = str(variable.attrs.get("calendar", "standard")).lower()
    since = _SINCE.fullmatch(units)
    seconds = _SECONDS.get(since["unit"].lower()) if since else None
    if since is None or seconds is None or int(since["y"]) < 1583 or calendar not in _GREGORIAN:
        raise DataError(
            "time units that are not understood",
            file=file,
            variable=name,
            found=f"'{units}', calendar {calendar}",
            expected="such as 'hours since 1900-01-01', Gregorian calendar, from 1583 on",
            next_step="rewrite the times: cdo -setreftime,1900-01-01,00:00:00,1hour in.nc out.nc",
        )
    counts = np.asarray(values, dtype=np.float64).reshape(-1) * seconds
    try:
        epoch = np.datetime64(
            f"{int(since['y']):04}-{int(since['m']):02}-{int(since['d']):02}"
            f"T{int(since['H'] or 0):02}:{int(since['M'] or 0):02}:{int(since['S'] or 0):02}"
        )
        if not (np.abs(counts) < 1e12).all():
            raise ValueError("a missing or absurd time")
    except ValueError as error:
        raise DataError(
            f"times that cannot be read ({error})",
            file=file,
            variable=name,
            found=f"units '{units}'",
            next_step=FETCH_AGAIN,
        ) from error
    # Half a minute more makes the truncation to minutes a rounding.
    rounded = np.rint(counts + 30.0).astype(np.int64).astype("timedelta64[s]")
    return (epoch + rounded).astype("datetime64[m]")


def require_increasing(times: Minutes, name: str, file: str) -> None:
    """Raise unless every time is later than the one before."""
    steps = np.diff(times).astype(np.int64)
    if (steps > 0).all():
        return
    unique, counts = np.unique(times, return_counts=True)
    repeated = unique[counts > 1]
    raise DataError(
        "duplicate times" if len(repeated) else "times that are not in order",
        file=file,
        variable=name,
        found=list_times(repeated)
        if len(repeated)
        else f"{times[1:][steps < 0][0]} after {times[:-1][steps < 0][0]}",
        expected=f"{len(unique)} different times, increasing",
        next_step=FETCH_AGAIN,
    )


def at_hours(times: Minutes, hours: Iterable[int]) -> NDArray[np.bool_]:
    """Which times are at one of the full ``hours`` UTC."""
    minute_of_day = (times - times.astype("datetime64[D]")).astype(np.int64)
    return np.isin(minute_of_day, [60 * hour for hour in hours])


def hours_of(times: Minutes) -> str:
    """The hours of day that occur, for messages: ``06, 12, 18``."""
    minutes = np.unique((times - times.astype("datetime64[D]")).astype(np.int64))
    return ", ".join(f"{m // 60:02}" + (f":{m % 60:02}" if m % 60 else "") for m in minutes)


def list_times(times: Minutes) -> str:
    """Times for messages, the first few of many, midnights as dates."""
    texts = [str(t).removesuffix("T00:00") for t in times[:_LISTED]]
    more = len(times) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")

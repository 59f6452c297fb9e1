"""When the intervals of a rain series end, how long they are and where the file has them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.rain.file_times import Minutes, decode_times, time_bounds, utc

Indices = NDArray[np.intp]

_SPAN = r"(?:the )?(?:each )?(?:time )?(?:hour|interval|period|accumulation|averaging)"
_ENDS = re.compile(r"\b(?:ending (?:at|on|with)|hour ending|end of|preceding|previous)\b")
_STARTS = re.compile(
    rf"\b(?:(?:starting|beginning) (?:at|on|with)|(?:start|beginning) of {_SPAN}|following)\b"
)
_METHOD_INTERVAL = re.compile(r"interval:\s*(\d+)\s*(minutes?|mins?|hours?|hrs?|h|days?)\b")


@dataclass(frozen=True)
class Intervals:
    """Intervals of equal length on one lattice, gaps allowed.

    Attributes:
        ends: end of each, strictly increasing, datetime64[m], shape (n,).
        step_minutes: length: a divisor of 60, 60 or 180.
        notes: what was assumed or noticed, one sentence each.
        positions: where the file has the value of each, along its time dimension.
        before: where it has the total to be subtracted from that value, -1 where there is none to
            be; None where all values are amounts of their intervals.
    """

    ends: Minutes
    step_minutes: int
    notes: tuple[str, ...]
    positions: Indices
    before: Indices | None = None


def read_intervals(
    dataset: xr.Dataset,
    name: str,
    time: str,
    stated: Literal["start", "end"] | None,
    strict: bool,
    path: Path,
) -> Intervals:
    """The intervals of a variable that holds the amount or mean rate of each of them.

    Their ends come from CF bounds, else from what the user stated, else from the words of the
    attributes ("ending at", "preceding", "starting at", ...), else the stamps are taken as ends.
    Their length comes from the bounds, else it is the smallest distance of two stamps, else (one
    time only) it is read in ``cell_methods``. Times in another order are sorted.

    Args:
        dataset: the opened file, times not decoded.
        name: the rain variable.
        time: the variable with its times.
        stated: what the user says that a stamp marks.
        strict: refuse to assume.
        path: of the file, for messages.

    Raises:
        DataError: times that are missing, repeated or off the lattice; intervals that overlap,
            differ in length, or have a length or position that hours cannot be made of.
    """
    stamps = decode_times(dataset, time, time, path).reshape(-1)
    require_times(stamps, time, path)
    bounds = time_bounds(dataset, time, path)
    order = np.argsort(stamps if bounds is None else bounds[:, 1], kind="stable")
    notes = sorted_note(order)
    if bounds is not None:
        bounds = bounds[order]
        ends, step = bounds[:, 1], _length(bounds, time, path)
        check_distinct(ends, order, time, path)
        notes += [f"--time-stamp {stated} not used: the file has time bounds"] if stated else []
    else:
        stamps = stamps[order]
        check_distinct(stamps, order, time, path)
        step, remarks = _spacing(stamps, dataset.variables[name], name, time, path)
        marks, remark = _meaning(dataset, name, time, stated, strict, path)
        ends = stamps if marks == "end" else stamps + np.timedelta64(step, "m")
        notes += [*remarks, *remark]
    check_lattice(ends, step, time, path)
    return Intervals(ends, step, (*notes, *gaps(ends, step)), order)


def require_times(stamps: Minutes, time: str, path: Path) -> None:
    """Raise when there is no time at all."""
    if len(stamps) == 0:
        raise DataError(
            "the file holds no times",
            file=path,
            variable=time,
            found="a dimension of size 0",
            expected="at least three hours",
            next_step="look at how the file was made",
        )


def sorted_note(order: Indices) -> list[str]:
    """A note where the file has its times in another order than this one."""
    wrong = np.flatnonzero(np.diff(order) < 0)
    if len(wrong) == 0:
        return []
    return ["the times of the file are not in order: read in the order of time"]


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
        expected="one length, or totals since one start",
        next_step="write bounds of one length; those of totals since a start begin together",
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
            found="neither bounds nor such words",
            expected="time bounds, or words such as 'ending at' in its long_name",
            next_step="state data.time_stamp: start or data.time_stamp: end (--time-stamp)",
        )
    return "end", [
        "time stamps taken as the END of each interval; if they are starts, say --time-stamp start"
    ]


def check_distinct(times: Minutes, order: Indices, time: str, path: Path) -> None:
    """Raise at the first time that is there twice; ``order`` says where the file has each."""
    same = np.flatnonzero(np.diff(times) == np.timedelta64(0, "m"))
    if len(same) == 0:
        return
    first, second = order[same[0]], order[same[0] + 1]
    raise DataError(
        "duplicate time",
        file=path,
        variable=time,
        found=f"{utc(times[same[0]])} at positions {first} and {second}",
        expected="each time once",
        next_step="drop repeated times, e.g. ds.drop_duplicates('time')",
    )


def check_lattice(ends: Minutes, step: int, time: str, path: Path) -> None:
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


def gaps(ends: Minutes, step: int) -> list[str]:
    """A note on missing times, if any."""
    wide = np.flatnonzero(np.diff(ends) > np.timedelta64(step, "m"))
    if len(wide) == 0:
        return []
    count = "1 gap" if len(wide) == 1 else f"{len(wide)} gaps"
    return [
        f"{count} in time, the first between {utc(ends[wide[0]])} and {utc(ends[wide[0] + 1])}; "
        "there are no windows over gaps"
    ]

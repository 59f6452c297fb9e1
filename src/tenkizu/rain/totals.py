"""Totals since the start of a run: how they are recognised, and which are subtracted from which.

Weather models write rain as the water fallen since the forecast began. Specification section 17:
such totals are differenced. Nothing is read here but attributes and times; `RainSeries` subtracts.
"""

import re
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.rain.file_times import Minutes, decode_times, run_starts, time_bounds, utc
from tenkizu.rain.intervals import (
    Intervals,
    check_distinct,
    check_lattice,
    gaps,
    require_times,
    sorted_note,
)

Totals = Literal["since-start", "interval"]

_SINCE = re.compile(
    r"\baccumulated total\b"
    r"|\b(?:accum\w*|totals?|amounts?|sum|rain\w*|precip\w*)\b[^.;]*\bsince\b"
    r"(?! (?:the )?(?:previous|last|past|preceding))"
    r"|\bfrom (?:the )?(?:start|beginning) of (?:the )?(?:run|forecast|simulation|model)"
    r"|\brun[- ]total\b"
)
_OF_ITS_OWN = re.compile(
    r"\bhourly\b|\bper hour\b|\b\d+[- ]?(?:h|hrs?|hours?|mins?|minutes?)\b"
    r"|\b(?:in|over|during|of|for) (?:the |each |every )?(?:previous|last|past|preceding)\b"
    r"|\b(?:in|over|during|of|for) (?:the |each |every )?(?:hour|interval)\b"
)
_NAMES = re.compile(r"rainn?c|\w+_acc", re.IGNORECASE)


def since_start(
    dataset: xr.Dataset, name: str, dimension: str, time: str, path: Path
) -> str | None:
    """What in the file says that a variable holds totals since a start, in words; None if nothing.

    Bounds decide where there are any: intervals of different length, some of which begin together,
    are such totals, and others are not. Else it is the words of the attributes, unless these also
    name an interval; a name that WRF gives or that ends with ``_acc``; or accumulated GRIB fields
    of a forecast along its lead time.

    Args:
        dataset: the opened file, times not decoded.
        name: the rain variable.
        dimension: of its times.
        time: the variable with its valid times.
        path: of the file, for messages.
    """
    bounds = time_bounds(dataset, time, path)
    if bounds is not None:
        return "time bounds that begin together" if _begin_together(bounds) else None
    attrs = dataset.variables[name].attrs
    texts = [
        f"{key} '{attrs[key]}'"
        for key in ("long_name", "description", "comment", "cell_methods")
        if key in attrs
    ]
    if any(_OF_ITS_OWN.search(text.lower()) for text in texts):
        return None
    for text in texts:
        if _SINCE.search(text.lower()):
            return text
    if _NAMES.fullmatch(name):
        return f"the name {name}"
    if attrs.get("GRIB_stepType") == "accum":
        stamps = decode_times(dataset, time, time, path).reshape(-1)
        begun = run_starts(dataset, dimension, time, stamps, path)
        if begun is not None and (len(stamps) == 1 or len(set(stamps - begun)) > 1):
            return "GRIB_stepType 'accum' along the lead time of a forecast"
    return None


def _begin_together(bounds: Minutes) -> bool:
    """Whether intervals are of different length and some of them begin at the same time."""
    lengths = np.unique(np.diff(bounds, axis=1))
    return len(lengths) > 1 and len(np.unique(bounds[:, 0])) < len(bounds)


def intervals_of_totals(
    dataset: xr.Dataset, name: str, dimension: str, time: str, reason: str, path: Path
) -> Intervals:
    """The intervals between totals since the start of the same run.

    The first total of a run is the amount of an interval if the run is known to begin one step
    earlier. Without a start it is only what others are reckoned from. So is a total after a gap.

    Args:
        dataset: the opened file, times not decoded.
        name: the rain variable.
        dimension: of its times.
        time: the variable with its valid times.
        reason: why these are such totals, for the note.
        path: of the file, for messages.

    Raises:
        DataError: no interval is left, two runs give the same one, or hours cannot be made of them.
    """
    stamps = decode_times(dataset, time, time, path).reshape(-1)
    require_times(stamps, time, path)
    bounds = time_bounds(dataset, time, path)
    begun: Minutes | None
    if bounds is not None:
        ends = bounds[:, 1]
        together = _begin_together(bounds)
        begun = bounds[:, 0] if together else np.full(len(ends), bounds[:, 0].min())
    else:
        ends, begun = stamps, run_starts(dataset, dimension, time, stamps, path)
    known = begun is not None
    begun = np.zeros(len(ends), ends.dtype) if begun is None else begun
    order = np.lexsort((ends, begun))
    ends, begun = ends[order], begun[order]
    first = np.diff(begun, prepend=begun[:1] - 1) != np.timedelta64(0, "m")
    for run in np.split(np.arange(len(ends)), np.flatnonzero(first)[1:]):
        check_distinct(ends[run], order[run], time, path)
    before = np.where(first, -1, np.roll(order, 1))
    lengths = (ends - np.where(first, begun, np.roll(ends, 1))).astype(int)
    usable = lengths > 0 if known else ~first
    step = _usual(lengths[usable], name, ends, path)
    kept = np.flatnonzero(usable & (lengths == step))
    kept = kept[np.argsort(ends[kept], kind="stable")]
    notes = [
        f"taken as totals since the start of the run, because of {reason}, and differenced; if "
        "they are the amounts of their own intervals, say --totals interval"
    ]
    notes += sorted_note(order)
    notes += _left_out(int((lengths != 0).sum()) - len(kept), known, step)
    ends, positions, before = ends[kept], order[kept], before[kept]
    _require_one_run(ends, time, path)
    check_lattice(ends, step, time, path)
    return Intervals(ends, step, (*notes, *gaps(ends, step)), positions, before)


def _usual(lengths: NDArray[np.int_], name: str, ends: Minutes, path: Path) -> int:
    """The most frequent length in minutes, of several the shortest."""
    if len(lengths) == 0:
        raise DataError(
            "a single total since a start that is not known gives no amount",
            file=path,
            variable=name,
            found=f"{len(ends)} times, the last {utc(ends[-1])}",
            expected="two or more times of a run, or one and the reference time of the forecast",
            next_step="bring more of the run; if these are amounts of their own intervals, say "
            "--totals interval (data.totals)",
        )
    values, counts = np.unique(lengths, return_counts=True)
    return int(values[counts.argmax()])


def _left_out(count: int, known: bool, step: int) -> list[str]:
    """A note on totals that give no interval; those at the very start of a run need none."""
    if count == 0:
        return []
    why = "" if known else ": it is not known when the run began, so the first only serves as base"
    return [f"{count} of the totals are not {step} min after the one before{why}"]


def _require_one_run(ends: Minutes, time: str, path: Path) -> None:
    """Raise where two runs give the rain of the same interval."""
    same = np.flatnonzero(np.diff(ends) == np.timedelta64(0, "m"))
    if len(same) == 0:
        return
    raise DataError(
        "several runs give the rain of the same interval",
        file=path,
        variable=time,
        found=f"two intervals ending {utc(ends[same[0]])}",
        expected="runs that follow each other",
        next_step="keep the hours of each run up to the start of the next, or one run",
    )

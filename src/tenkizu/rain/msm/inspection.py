"""What a GRIB2 file holds, field by field, in plain words."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tenkizu.core.errors import DataError
from tenkizu.rain.msm.grib import GribField, fields_of
from tenkizu.rain.msm.parameters import (
    BITMAPS,
    LEVELS,
    PACKINGS,
    PARAMETERS,
    PROBABILITIES,
    STATISTICS,
)
from tenkizu.rain.msm.sections import number


def inspect_file(path: Path) -> dict[str, Any]:
    """Every field of a file with its values summed up.

    Args:
        path: any GRIB2 file.

    Returns:
        ``file``; ``fields``, a row for each (see `describe`); ``error``, what ended the reading,
        or None. Everything is ready for JSON.
    """
    rows: list[dict[str, Any]] = []
    error = None
    try:
        for one in fields_of(path):
            rows.append(describe(one))
    except DataError as problem:
        error = str(problem)
    return {"file": str(path), "fields": rows, "error": error}


def describe(one: GribField) -> dict[str, Any]:
    """A field in plain words, beside its numbers.

    Returns:
        ``position``, ``what``, ``units``, ``level``, ``time``, ``member``, ``parameter``
        (discipline/category/number), ``template``, ``packing``, ``bitmap``, ``grid``,
        ``reference``, ``start_minutes``, ``end_minutes``; ``min``, ``mean``, ``max`` (None without
        a value), ``points``, ``missing``; ``error``, None if the values can be decoded.
    """
    parameter = (one.discipline, one.category, one.number)
    name, units = PARAMETERS.get(parameter, ("unknown parameter", "?"))
    if one.template in PROBABILITIES:
        name, units = f"chance of a certain {name}", "%"
    row: dict[str, Any] = {
        "position": one.position,
        "what": _over(name, one),
        "units": units,
        "level": _level(one),
        "time": _time(one),
        "member": one.member,
        "parameter": "/".join(map(str, parameter)),
        "template": f"4.{one.template}",
        "packing": PACKINGS.get(one.packing, f"5.{one.packing}"),
        "bitmap": BITMAPS.get(one.bitmap, str(one.bitmap)),
        "grid": str(one.grid) if one.grid else f"grid template 3.{number(one.raw.grid, 13, 2)}",
        "reference": str(one.reference),
        "start_minutes": one.start_minutes,
        "end_minutes": one.end_minutes,
    }
    return row | _values(one)


def _values(one: GribField) -> dict[str, Any]:
    result: dict[str, Any] = {"min": None, "mean": None, "max": None, "points": None}
    result |= {"missing": None, "error": None}
    try:
        values = one.points()
    except DataError as problem:
        return result | {"error": str(problem)}
    known = values[~np.isnan(values)]
    result |= {"points": values.size, "missing": values.size - known.size}
    if known.size:
        result |= {
            "min": known.min().item(),
            "mean": known.mean().item(),
            "max": known.max().item(),
        }
    return result


def _over(name: str, one: GribField) -> str:
    """The name with what is done over the interval, if there is one."""
    if one.statistic is None:
        return name
    word = STATISTICS.get(one.statistic, f"statistic {one.statistic}")
    return f"{name}, {hours(one.length_minutes)} {word}"


def _level(one: GribField) -> str:
    if one.level_type not in LEVELS:
        value = "" if one.level is None else f" at {one.level:g}"
        return f"level type {one.level_type}{value}"
    words, unit, factor = LEVELS[one.level_type]
    if unit is None or one.level is None:
        return words
    return f"{one.level * factor:g} {unit} {words}".strip()


def _time(one: GribField) -> str:
    """Valid time or interval in UTC, and how far from the reference time."""
    start, end = (
        (one.reference + np.timedelta64(minutes, "m")).astype(object)
        for minutes in (one.start_minutes, one.end_minutes)
    )
    lead = f"{hours(one.end_minutes, sign=True)}"
    if one.statistic is None:
        return f"{end:%Y-%m-%d %H:%M} ({lead})"
    until = f"{end:%H:%M}" if end - start < timedelta(days=1) else f"{end:%Y-%m-%d %H:%M}"
    return f"{start:%Y-%m-%d %H:%M} to {until} ({hours(one.start_minutes, sign=True)} to {lead})"


def hours(minutes: int, sign: bool = False) -> str:
    """A length of time in hours where it is whole, else in minutes: 3 h, 90 min, +6 h."""
    plus = "+" if sign else ""
    return f"{minutes:{plus}d} min" if minutes % 60 else f"{minutes // 60:{plus}d} h"

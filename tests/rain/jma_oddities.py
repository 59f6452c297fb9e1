"""Archive layouts of an initial time in which one thing is odd, as in real archives and in ruins.

Each function writes a complete set of files with what its name says, and returns the file that is
odd. What a reader must do with it is said in the first line.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from jma_bytes import MINUTE, FieldSpec, message
from jma_files import archive_fields, msm_name, rain_field, write_parts
from jma_weather import RAIN_STEP, Weather

Fields = list[FieldSpec]


def _odd(
    folder: Path, t0: datetime, part: str, change: Callable[[Fields], Fields], seed: int = 0
) -> Path:
    parts = archive_fields(t0, Weather(seed), only_needed=True)
    parts[part] = change(parts[part])
    write_parts(folder, t0, parts)
    return folder / msm_name(t0, part)


def times_in_minutes(folder: Path, t0: datetime) -> Path:
    """Read it: hours of rain whose start and length are in minutes."""
    return _odd(
        folder,
        t0,
        "Prr_FH03-06",
        lambda hours: [
            replace(one, unit=MINUTE, start=60 * one.start, length=60, length_unit=MINUTE)
            for one in hours
        ],
    )


def mixed_units(folder: Path, t0: datetime) -> Path:
    """Read it: hours of rain that start at an hour and last 60 minutes."""
    return _odd(
        folder,
        t0,
        "Prr_FH03-06",
        lambda hours: [replace(one, length=60, length_unit=MINUTE) for one in hours],
    )


def with_totals(folder: Path, t0: datetime) -> Path:
    """Read it: beside each hour also the total since t0, same parameter and end."""
    totals = [rain_field(Weather(), t0, end, hours=end) for end in (2, 3)]
    return _odd(folder, t0, "Prr_FH00-03", lambda hours: [*hours, *totals])


def screen_level_2m(folder: Path, t0: datetime) -> Path:
    """Read it: temperature at 2 m where the MSM says 1.5 m."""
    return _change_temperature(folder, t0, lambda t: [replace(t, surface=(103, 0, 2))])


def temperature_at_10m(folder: Path, t0: datetime) -> Path:
    """Read it and take the one at 1.5 m: temperature is there at 10 m too."""
    other = (103, 0, 10)
    return _change_temperature(
        folder, t0, lambda t: [replace(t, values=t.values - 9, surface=other), t]
    )


def south_first(folder: Path, t0: datetime) -> Path:
    """Refuse it: rows from south to north."""
    return _odd(
        folder,
        t0,
        "Lsurf_FH06",
        lambda all_: [
            replace(one, values=one.values[::-1], grid=replace(one.grid, scan_mode=0x40))
            for one in all_
        ],
    )


def smaller_grid(folder: Path, t0: datetime) -> Path:
    """Refuse it: a grid without its last row."""
    return _odd(
        folder,
        t0,
        "Lsurf_FH03",
        lambda all_: [
            replace(one, values=one.values[:-1], grid=replace(one.grid, nj=504)) for one in all_
        ],
    )


def shifted_grid(folder: Path, t0: datetime) -> Path:
    """Refuse it: the right size, half a cell to the east."""
    return _odd(
        folder,
        t0,
        "L-pall_FH03",
        lambda all_: [replace(one, grid=replace(one.grid, west=120.0625)) for one in all_],
    )


def wrong_end(folder: Path, t0: datetime) -> Path:
    """Refuse it: an interval whose end contradicts its start and length."""
    late = t0 + timedelta(hours=6)
    return _odd(folder, t0, "Prr_FH03-06", lambda h: [h[0], replace(h[1], end=late), h[2]])


def wrong_length(folder: Path, t0: datetime) -> Path:
    """Refuse it: two hours where one is wanted, with an end that fits."""
    return _odd(folder, t0, "Prr_FH03-06", lambda h: [h[0], replace(h[1], start=3, length=2), h[2]])


def doubled_hour(folder: Path, t0: datetime) -> Path:
    """Refuse it: an hour twice."""
    return _odd(folder, t0, "Prr_FH03-06", lambda h: [*h, replace(h[1], values=h[0].values)])


def lost_hour(folder: Path, t0: datetime) -> Path:
    """Refuse it: an hour that is not there."""
    return _odd(folder, t0, "Prr_FH00-03", lambda h: h[:-1])


def mean_for_sum(folder: Path, t0: datetime) -> Path:
    """Refuse it: rain as an average over the hour, not its accumulation."""
    return _odd(folder, t0, "Prr_FH03-06", lambda h: [h[0], replace(h[1], process=0), h[2]])


def missing_cells(folder: Path, t0: datetime) -> Path:
    """Refuse it: a bitmap hides some cells of an MSM field."""

    def hide(fields: Fields) -> Fields:
        values = fields[0].values.copy()
        values[100:110, 200:220] = np.nan
        return [replace(fields[0], values=values), *fields[1:]]

    return _odd(folder, t0, "Lsurf_FH03", hide)


def full_bitmap(folder: Path, t0: datetime) -> Path:
    """Read it: a bitmap, reused by all other fields, that hides nothing."""

    def state(fields: Fields) -> Fields:
        return [replace(one, full_bitmap=i == 0, same_bitmap=i > 0) for i, one in enumerate(fields)]

    return _odd(folder, t0, "Lsurf_FH03", state)


def slightly_negative_rain(folder: Path, t0: datetime) -> Path:
    """Read it as zero: ten cells of -0.00098 mm, the rest in steps of 2**-10 mm."""
    return _negative(folder, t0, -(2.0**-10))


def negative_rain(folder: Path, t0: datetime) -> Path:
    """Refuse it: ten cells of -0.0625 mm."""
    return _negative(folder, t0, -RAIN_STEP)


def another_day(folder: Path, t0: datetime) -> Path:
    """Refuse it: a file whose name tells another initial time than its first section."""
    path = _odd(folder, t0, "Lsurf_FH06", list)
    before = t0 - timedelta(days=1)
    fields = archive_fields(before, Weather(), only_needed=True)["Lsurf_FH06"]
    path.write_bytes(message(fields, before))
    return path


def message_twice(folder: Path, t0: datetime) -> Path:
    """Refuse it: the whole message a second time."""
    path = _odd(folder, t0, "L-pall_FH03", list)
    path.write_bytes(path.read_bytes() * 2)
    return path


def message_each(folder: Path, t0: datetime) -> Path:
    """Read it: every field is a message of its own, as after a conversion with other tools."""
    path = _odd(folder, t0, "L-pall_FH03", list)
    fields = archive_fields(t0, Weather(), only_needed=True)["L-pall_FH03"]
    path.write_bytes(b"".join(message([field], t0) for field in fields))
    return path


READABLE = (
    times_in_minutes,
    mixed_units,
    with_totals,
    screen_level_2m,
    temperature_at_10m,
    full_bitmap,
    slightly_negative_rain,
    message_each,
)
"""A reader gives what it gives for the files that are not odd."""

REFUSED = (
    south_first,
    smaller_grid,
    shifted_grid,
    wrong_end,
    wrong_length,
    doubled_hour,
    lost_hour,
    mean_for_sum,
    missing_cells,
    negative_rain,
    another_day,
    message_twice,
)
"""A reader gives an error that names the file."""


def _change_temperature(folder: Path, t0: datetime, change: Callable[[FieldSpec], Fields]) -> Path:
    def apply(fields: Fields) -> Fields:
        return [
            new
            for one in fields
            for new in (change(one) if (one.category, one.number) == (0, 0) else [one])
        ]

    return _odd(folder, t0, "Lsurf_FH03", apply)


def _negative(folder: Path, t0: datetime, amount: float) -> Path:
    def change(hours: Fields) -> Fields:
        values = np.array(hours[1].values)
        dry = np.flatnonzero(values == 0)[:: values.size // 40][:10]
        values.flat[dry] = amount
        bits = 16 if abs(amount) < RAIN_STEP else 12
        return [hours[0], replace(hours[1], values=values, step=abs(amount), bits=bits), hours[2]]

    return _odd(folder, t0, "Prr_FH03-06", change)

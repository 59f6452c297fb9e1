"""Fields of any GRIB2 file of JMA, one by one; values are decoded when asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.rain.msm.decoding import decode
from tenkizu.rain.msm.field_key import FieldKey
from tenkizu.rain.msm.grids import LatLonGrid, grid_of, oriented
from tenkizu.rain.msm.sections import COPY_AGAIN, RawField, number, raw_fields, signed

_MINUTES = {0: 1, 1: 60, 2: 1440, 10: 180, 11: 360, 12: 720}
"""Minutes by unit of time range (code table 4.4)."""

_SECOND = 13

_CENTURY = 100 * 366 * 1440
"""Minutes; no forecast reaches so far."""

_END = {8: 35, 9: 48, 10: 36, 11: 38, 12: 37, 50008: 35, 50009: 35}
"""Octet of section 4 at which the end of the interval stands, by template."""

_MEMBER = {1: 36, 11: 36}
"""Octet of the number of the ensemble member, by template."""

_HORIZONTAL = {*range(16), 50008, 50009}
"""Templates that begin with the layout of 4.0: time in octets 18 to 22, level in 23 to 28."""


@dataclass(frozen=True)
class GribField:
    """One field of a file: its numbers, and on demand its values.

    Attributes:
        file: where it is.
        position: of the field in its file, from 0.
        discipline: with ``category`` and ``number``, the parameter.
        category: see ``discipline``.
        number: see ``discipline``.
        template: of the product definition (section 4), as the file has it.
        level_type: kind of the first fixed surface.
        level: its value in the unit of the kind (Pa for 100, m for 103); None if it has none.
        reference: initial time, or time of an analysis, UTC, datetime64[m].
        start_minutes: beginning of the interval, from the reference time; may be negative.
        end_minutes: its end; equal to the beginning for an instant.
        length_minutes: its length; 0 for an instant.
        statistic: what is done over it (code table 4.10); 1 is accumulation, None for an instant.
        member: number of the ensemble member; None where there is none.
        packing: template of the data representation (section 5).
        bitmap: 255 none, 0 its own, 254 that of an earlier field.
        centre: that made it; 34 is Tokyo.
        grid: regular latitude-longitude grid; None for any other.
    """

    file: Path
    position: int
    discipline: int
    category: int
    number: int
    template: int
    level_type: int
    level: float | None
    reference: np.datetime64
    start_minutes: int
    end_minutes: int
    length_minutes: int
    statistic: int | None
    member: int | None
    packing: int
    bitmap: int
    centre: int
    grid: LatLonGrid | None
    raw: RawField = field(repr=False, compare=False)

    def __str__(self) -> str:
        """The numbers, for messages."""
        level = "" if self.level is None else f" at {self.level:g}"
        text = (
            f"field {self.position}: {self.discipline}/{self.category}/{self.number}, template "
            f"4.{self.template}, level type {self.level_type}{level}, end {self.end_minutes} min"
        )
        if self.statistic is not None:
            text += f", length {self.length_minutes} min, statistic {self.statistic}"
        return text if self.member is None else f"{text}, member {self.member}"

    def points(self) -> NDArray[np.float64]:
        """Values in the order of the file, (n,), NaN where missing, on any grid.

        Raises:
            DataError: they cannot be decoded.
        """
        try:
            return decode(self.raw)
        except ValueError as error:
            raise DataError(
                str(error), file=self.file, variable=str(self), next_step=COPY_AGAIN
            ) from error

    def values(self) -> NDArray[np.float64]:
        """Values as (nj, ni), north and west first, NaN where missing.

        Raises:
            DataError: they cannot be decoded, or the grid is no latitude-longitude grid.
        """
        if self.grid is None:
            raise DataError(
                "not on a regular latitude-longitude grid",
                file=self.file,
                variable=str(self),
                found=f"grid template 3.{number(self.raw.grid, 13, 2)}",
                expected="3.0",
            )
        points = self.points()
        try:
            return oriented(points, self.grid)
        except ValueError as error:
            raise DataError(str(error), file=self.file, variable=str(self)) from error


def fields_of(path: Path) -> Iterator[GribField]:
    """Every field of a GRIB2 file in its order; no values are decoded yet.

    Raises:
        DataError: the file or one of its messages is not whole, or a time makes no sense.
    """
    for position, raw in enumerate(raw_fields(path)):
        try:
            yield _field(path, position, raw)
        except ValueError as error:
            raise DataError(
                str(error), file=path, variable=f"field {position}", next_step=COPY_AGAIN
            ) from error


def select(
    path: Path, wanted: Sequence[FieldKey], t0: np.datetime64 | None = None
) -> dict[FieldKey, GribField]:
    """The one field that each key names.

    Args:
        path: a GRIB2 file.
        wanted: the keys.
        t0: reference time that every field of the file must have; None for any.

    Returns:
        The fields by key, in the order of ``wanted``.

    Raises:
        DataError: a key names no field or several, a field has another reference time, or the
            file is not whole.
    """
    index: dict[tuple[int, ...], list[GribField]] = {}
    for one in fields_of(path):
        if t0 is not None and one.reference != t0:
            raise DataError(
                "a file of another initial time than its name says",
                file=path,
                variable=str(one),
                found=f"{one.reference} UTC",
                expected=f"{t0} UTC",
                next_step="give it its right name, or replace it",
            )
        index.setdefault(_numbers(one), []).append(one)
    chosen = {}
    for key in wanted:
        close = index.get(_numbers(key), [])
        found = [one for one in close if _fits(one, key)]
        if len(found) != 1:
            others = [one for group in index.values() for one in group if _parameter(one, key)]
            raise DataError(
                "several fields in place of one" if found else "no such field",
                file=path,
                variable=str(key),
                found=_listed(found or others),
                expected="exactly one",
                next_step=f"see what the file holds: tenkizu rain inspect {path}",
            )
        chosen[key] = found[0]
    return chosen


def _numbers(one: GribField | FieldKey) -> tuple[int, ...]:
    return (
        one.discipline,
        one.category,
        one.number,
        one.template,
        one.level_type,
        one.end_minutes,
        one.length_minutes,
    )


def _fits(one: GribField, key: FieldKey) -> bool:
    if one.member != key.member or one.statistic != key.statistic:
        return False
    level = one.level
    return not key.levels or (
        level is not None and any(abs(level - value) <= 1e-6 * value for value in key.levels)
    )


def _parameter(one: GribField, key: FieldKey) -> bool:
    return (one.discipline, one.category, one.number) == (key.discipline, key.category, key.number)


def _listed(found: list[GribField], most: int = 4) -> str:
    if not found:
        return "nothing of this parameter"
    text = "; ".join(map(str, found[:most]))
    return text if len(found) <= most else f"{text}; and {len(found) - most} more"


def _field(path: Path, position: int, raw: RawField) -> GribField:
    product = raw.product
    template = number(product, 8, 2)
    kind, level, start, length, statistic = 255, None, 0, 0, None
    reference, centre = _identification(raw.identification)
    if template in _HORIZONTAL:
        if len(product) < 34:
            raise ValueError(f"section 4 has {len(product)} bytes, fewer than its template 34")
        kind, level = number(product, 23), _level(product)
        start = _minutes(signed(product, 19, 4), number(product, 18))
    if template in _END:
        length, statistic = _interval(product, _END[template], reference, start)
    return GribField(
        path,
        position,
        raw.discipline,
        number(product, 10),
        number(product, 11),
        template,
        kind,
        level,
        reference,
        start,
        start + length,
        length,
        statistic,
        _member(product, template),
        number(raw.packing, 10, 2),
        raw.bitmap,
        centre,
        grid_of(raw.grid),
        raw,
    )


def _member(product: bytes, template: int) -> int | None:
    if template not in _MEMBER:
        return None
    if len(product) < _MEMBER[template] + 1:
        raise ValueError(f"section 4 has {len(product)} bytes, too few for an ensemble member")
    return number(product, _MEMBER[template])


def _level(product: bytes) -> float | None:
    """Scaled value / 10^scale factor of the first surface, both missing when all bits are set."""
    factor, value = number(product, 24), number(product, 25, 4)
    if factor == 0xFF or value == 0xFFFFFFFF:
        return None
    power = signed(product, 24)
    scaled = signed(product, 25, 4)
    return float(scaled * 10**-power) if power < 0 else scaled / 10**power


def _interval(product: bytes, octet: int, reference: np.datetime64, start: int) -> tuple[int, int]:
    """Length in minutes of the interval and what is done over it.

    The stated end, at ``octet``, must be where start and length lead.

    After the end (7 octets) come the number of time ranges, the count of missing values (4) and
    the ranges (12 each): process, increment, unit and length. The first range is the outermost.
    """
    ranges = number(product, octet + 7)
    if ranges < 1 or len(product) < octet + 11 + 12 * ranges:
        raise ValueError(f"section 4 has {len(product)} bytes for {ranges} time ranges")
    length = _minutes(number(product, octet + 15, 4), number(product, octet + 14))
    end = _date(product[octet - 1 : octet + 6])
    expected = reference + np.timedelta64(start + length, "m")
    if end != expected:
        raise ValueError(
            f"the interval ends at {end} by its date, but at {expected} by start and length"
        )
    return length, number(product, octet + 12)


def _minutes(count: int, unit: int) -> int:
    if unit == _SECOND and count % 60 == 0:
        return count // 60
    if unit not in _MINUTES:
        raise ValueError(f"a time of {count} in unit {unit} of code table 4.4 is not supported")
    if abs(count * _MINUTES[unit]) > _CENTURY:
        raise ValueError(f"a time of {count * _MINUTES[unit]} minutes")
    return count * _MINUTES[unit]


@lru_cache(maxsize=256)
def _identification(section: bytes) -> tuple[np.datetime64, int]:
    """Reference time and centre of section 1."""
    return _date(section[12:19]), int.from_bytes(section[5:7], "big")


@lru_cache(maxsize=256)
def _date(octets: bytes) -> np.datetime64:
    """Year (2 octets), month, day, hour, minute, second."""
    year = int.from_bytes(octets[:2], "big")
    month, day, hour, minute, second = octets[2:]
    try:
        time = datetime(year, month, day, hour, minute, second)
    except ValueError:
        time = None
    if time is None or second:
        raise ValueError(
            f"{year:04d}-{month:02d}-{day:02d} {hour:02d}:{minute:02d}:{second:02d} is not a time "
            "in whole minutes"
        )
    return np.datetime64(time, "m")

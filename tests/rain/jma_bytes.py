"""GRIB2 messages as JMA writes them, byte by byte: many fields in one message.

Sections 0, 1, 3, 4, 6 and 8 and the packings 5.0 and 5.200 are written here from the WMO Manual on
Codes (FM 92) and JMA's notes on templates 4.50008, 4.50009 and 5.200; complex packing (5.2, 5.3) is
ecCodes' own. What the real MEPS file says in an octet is said here too.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from jma_packing import packed

MISSING = (255, 255, 0xFFFFFFFF)
"""A fixed surface that is not given: type, scale factor, scaled value."""

MINUTE, HOUR = 0, 1
"""Units of time, code table 4.4."""

AVERAGE, ACCUMULATION = 0, 1
"""Statistical processes, code table 4.10."""


@dataclass(frozen=True)
class Grid:
    """Nodes of a latitude-longitude grid, north first; corners and steps in degrees."""

    nj: int
    ni: int
    north: float
    west: float
    dj: float
    di: float
    shape_of_earth: int = 6
    scan_mode: int = 0

    @property
    def south(self) -> float:
        return self.north - (self.nj - 1) * self.dj

    @property
    def east(self) -> float:
        return self.west + (self.ni - 1) * self.di

    @property
    def latitude(self) -> np.ndarray:
        return self.north - self.dj * np.arange(self.nj)

    @property
    def longitude(self) -> np.ndarray:
        return self.west + self.di * np.arange(self.ni)


SURFACE = Grid(505, 481, 47.6, 120.0, 0.05, 0.0625)
PRESSURE = Grid(253, 241, 47.6, 120.0, 0.1, 0.125)
GUIDANCE = Grid(560, 480, 47.975, 120.03125, 0.05, 0.0625, shape_of_earth=4)


@dataclass(frozen=True)
class FieldSpec:
    """One field of a message.

    Args:
        values: (nj, ni), in the unit of the parameter; NaN is missing.
        category, number, discipline: of the parameter.
        surface: type, scale factor and scaled value of the first fixed surface.
        template: number of the product definition template.
        start: forecast time in ``unit``; of an interval, when it begins. May be negative.
        length: of the interval, in ``length_unit``, for templates that have one.
        process: what is done over the interval.
        end: of the interval, when it shall contradict start and length.
        member, members: perturbation number and size of the ensemble.
        limit: upper limit of a probability (template 4.9), with scale factor 0.
        packing: simple, complex, spatial (complex with spatial differencing) or run_length.
        bits: of a packed number.
        step: least packing step; the true one is a power of two that holds the range.
        levels: values that run-length packing can say, as integers over 10 ** ``decimals``.
        full_bitmap: write a bitmap though no cell is missing.
        same_bitmap: the field has the missing cells of the one before it and says so with 254.
    """

    values: np.ndarray
    category: int
    number: int
    discipline: int = 0
    surface: tuple[int, int, int] = (1, 255, 0xFFFFFFFF)
    grid: Grid = SURFACE
    template: int = 0
    start: int = 0
    unit: int = HOUR
    length: int = 1
    length_unit: int = HOUR
    process: int = ACCUMULATION
    end: datetime | None = None
    member: int = 0
    members: int = 21
    limit: int = 1
    generating_process: int = 2
    background: int = 31
    packing: str = "simple"
    bits: int = 12
    step: float = 2.0**-20
    levels: Sequence[int] = ()
    decimals: int = 0
    full_bitmap: bool = False
    same_bitmap: bool = False


def message(
    fields: Sequence[FieldSpec],
    reference: datetime,
    significance: int = 1,
    processed: int = 1,
    centre: int = 34,
) -> bytes:
    """All fields in one message; the grid is said once, and again where it changes.

    Args:
        fields: in this order.
        reference: the time of section 1.
        significance: of the reference time; 1 is the start of the forecast, 0 an analysis.
        processed: type of the data; 1 is a forecast, 5 control and perturbed forecasts.
        centre: 34 is JMA, Tokyo.
    """
    parts = [_identification(reference, significance, processed, centre)]
    grid = None
    for field in fields:
        if field.grid != grid:
            grid = field.grid
            parts.append(grid_section(grid))
        parts.append(product_section(field, reference))
        parts.extend(data_sections(field))
    body = b"".join(parts) + b"7777"
    start = struct.pack(">4sHBBQ", b"GRIB", 0xFFFF, fields[0].discipline, 2, 16 + len(body))
    return start + body


def section(number: int, content: bytes) -> bytes:
    """A section with its length and number in front."""
    return struct.pack(">IB", 5 + len(content), number) + content


def signed(value: int, octets: int) -> bytes:
    """An integer as GRIB codes it: the first bit is the sign, the others the magnitude."""
    magnitude = abs(value) | (1 << (8 * octets - 1) if value < 0 else 0)
    return magnitude.to_bytes(octets, "big")


def clock(time: datetime) -> bytes:
    """A time in seven octets."""
    return struct.pack(">HBBBBB", *time.timetuple()[:6])


def grid_section(grid: Grid) -> bytes:
    """Section 3 with template 3.0, angles in millionths of a degree."""
    if grid.shape_of_earth == 4:
        # GRS80, its axes written out in tenths of a metre, as JMA does for mesh products.
        earth = b"\xff" * 5 + struct.pack(">BIBI", 1, 63781370, 1, 63567523)
    else:
        earth = b"\xff" * 15
    rows_south = grid.scan_mode & 0x40 == 0
    north, south = round(grid.north * 1e6), round(grid.south * 1e6)
    first, last = (north, south) if rows_south else (south, north)
    return section(
        3,
        struct.pack(">BIBBH", 0, grid.nj * grid.ni, 0, 0, 0)
        + struct.pack(">B", grid.shape_of_earth)
        + earth
        + struct.pack(">IIII", grid.ni, grid.nj, 0, 0xFFFFFFFF)
        + signed(first, 4)
        + signed(round(grid.west * 1e6), 4)
        + b"\x30"
        + signed(last, 4)
        + signed(round(grid.east * 1e6), 4)
        + struct.pack(">II", round(grid.di * 1e6), round(grid.dj * 1e6))
        + struct.pack(">B", grid.scan_mode),
    )


def product_section(field: FieldSpec, reference: datetime) -> bytes:
    """Section 4; templates 4.0, 4.1, 4.8, 4.9, 4.11, 4.50008 and 4.50009."""
    content = struct.pack(
        ">HHBBBBBHBB",
        0,
        field.template,
        field.category,
        field.number,
        field.generating_process,
        field.background,
        255,
        0,
        50,
        field.unit,
    )
    content += signed(field.start, 4) + _surface(field.surface) + _surface(MISSING)
    if field.template in (1, 11):
        kind = 0 if field.member == 0 else 3  # unperturbed control; else a perturbed member
        content += struct.pack(">BBB", kind, field.member, field.members)
    if field.template == 9:
        # The chance of more than an upper limit (code table 4.9, 1).
        content += struct.pack(">BBBBIBI", 255, 255, 1, 255, 0xFFFFFFFF, 0, field.limit)
    if field.template in (8, 9, 11, 50008, 50009):
        content += _interval(field, reference)
    if field.template in (50008, 50009):
        # Octets of JMA's own: which radars (twice eight octets) and gauges (eight) were in use,
        # bit by bit. A forecast goes on, about the model it blends in; no reader needs it.
        content += bytes(range(1, 25)) + bytes(4 if field.template == 50009 else 0)
    return section(4, content)


def data_sections(field: FieldSpec) -> list[bytes]:
    """Sections 5, 6 and 7."""
    values = np.asarray(field.values, np.float64).ravel()
    there = ~np.isnan(values)
    wanted = field.full_bitmap or field.same_bitmap or not there.all()
    if wanted and field.packing != "run_length":
        bitmap = b"\xfe" if field.same_bitmap else b"\x00" + np.packbits(there).tobytes()
        values = values[there]
    else:
        bitmap = b"\xff"
    representation, data = packed(field, values)
    return [section(5, representation), section(6, bitmap), section(7, data)]


def _identification(reference: datetime, significance: int, processed: int, centre: int) -> bytes:
    content = struct.pack(">HHBBB", centre, 0, 22, 1, significance)
    return section(1, content + clock(reference) + struct.pack(">BB", 0, processed))


def _surface(surface: tuple[int, int, int]) -> bytes:
    kind, scale, value = surface
    return (
        struct.pack(">B", kind)
        + (signed(scale, 1) if scale < 128 else b"\xff")
        + (struct.pack(">I", value))
    )


def _interval(field: FieldSpec, reference: datetime) -> bytes:
    minutes = {MINUTE: 1, HOUR: 60}
    end = field.end or reference + timedelta(
        minutes=field.start * minutes[field.unit] + field.length * minutes[field.length_unit]
    )
    return clock(end) + struct.pack(
        ">BIBBBIBI", 1, 0, field.process, 2, field.length_unit, field.length, field.length_unit, 0
    )

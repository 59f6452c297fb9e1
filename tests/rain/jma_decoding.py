"""GRIB2 read straight from the WMO Manual on Codes: the tests' own opinion.

Knows nothing of ecCodes, of the package or of the writer beside it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Decoded:
    """A field: its sections, where they begin in the file, and its bitmap.

    Attributes:
        discipline: of section 0.
        sections: bytes of sections 1, 3, 4, 5, 6 and 7 by number.
        offsets: of those sections in the file.
        bitmap: one flag a point, or None when all points have values.
    """

    discipline: int
    sections: dict[int, bytes]
    offsets: dict[int, int]
    bitmap: np.ndarray | None

    def octets(self, section: int, first: int, last: int) -> int:
        """The unsigned number in octets first to last, counted from 1 as the manual does."""
        return int.from_bytes(self.sections[section][first - 1 : last], "big")

    def signed(self, section: int, first: int, last: int) -> int:
        """A number whose first bit is the sign."""
        bits = 8 * (last - first + 1) - 1
        value = self.octets(section, first, last)
        return -(value & ((1 << bits) - 1)) if value >> bits else value

    @property
    def parameter(self) -> tuple[int, int, int]:
        return self.discipline, self.octets(4, 10, 10), self.octets(4, 11, 11)

    @property
    def template(self) -> int:
        return self.octets(4, 8, 9)

    @property
    def shape(self) -> tuple[int, int]:
        return self.octets(3, 35, 38), self.octets(3, 31, 34)

    @property
    def reference(self) -> tuple[int, ...]:
        return struct.unpack(">HBBBBB", self.sections[1][12:19])

    @property
    def values(self) -> np.ndarray:
        """(nj, ni) float64 in the order of the file, NaN where missing."""
        present = _unpacked(self)
        if self.bitmap is None:
            return present.reshape(self.shape)
        values = np.full(self.bitmap.size, np.nan)
        values[self.bitmap] = present
        return values.reshape(self.shape)


def fields(content: bytes) -> list[Decoded]:
    """All fields of all messages; ValueError where the bytes are no such thing."""
    return list(_fields(content))


def _fields(content: bytes) -> Iterator[Decoded]:
    start = 0
    while start < len(content):
        if content[start : start + 4] != b"GRIB":
            raise ValueError(f"no message at {start}")
        end = start + int.from_bytes(content[start + 8 : start + 16], "big")
        if content[end - 4 : end] != b"7777":
            raise ValueError(f"no end of the message at {start}")
        position = start + 16
        sections: dict[int, bytes] = {}
        offsets: dict[int, int] = {}
        bitmap: np.ndarray | None = None
        while position < end - 4:
            length, number = struct.unpack_from(">IB", content, position)
            if length < 5 or position + length > end - 4:
                raise ValueError(f"a section of {length} bytes at {position}")
            sections[number] = content[position : position + length]
            offsets[number] = position
            if number == 6 and sections[6][5] == 0:
                points = int.from_bytes(sections[3][6:10], "big")
                flags = np.unpackbits(np.frombuffer(sections[6][6:], np.uint8))
                bitmap = flags[:points].astype(bool)
            if number == 7:
                applied = bitmap if sections[6][5] in (0, 254) else None
                yield Decoded(content[start + 6], dict(sections), dict(offsets), applied)
            position += length
        start = end


def _unpacked(field: Decoded) -> np.ndarray:
    template = field.octets(5, 10, 11)
    if template == 200:
        return _run_lengths(field)
    reference = struct.unpack_from(">f", field.sections[5], 11)[0]
    binary, decimal = field.signed(5, 16, 17), field.signed(5, 18, 19)
    numbers = {0: _simple, 2: _groups, 3: _differenced}[template](field)
    return (reference + numbers * 2.0**binary) / 10.0**decimal


class _Bits:
    """A row of bits, read from the left."""

    def __init__(self, content: bytes) -> None:
        self.bits = np.unpackbits(np.frombuffer(content, np.uint8))
        self.position = 0

    def take(self, count: int, width: int) -> np.ndarray:
        """``count`` numbers of ``width`` bits."""
        end = self.position + count * width
        if end > self.bits.size:
            raise ValueError("the data section is too short")
        if width == 0:
            return np.zeros(count, np.int64)
        block = self.bits[self.position : end].reshape(count, width)
        self.position = end
        return block.astype(np.int64) @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))

    def octet(self) -> None:
        """Go on at the next whole octet."""
        self.position += -self.position % 8


def _simple(field: Decoded) -> np.ndarray:
    return _Bits(field.sections[7][5:]).take(field.octets(5, 6, 9), field.octets(5, 20, 20))


def _groups(field: Decoded, skip: int = 0) -> np.ndarray:
    """Numbers of complex packing: groups with a reference, a width and a length each."""
    count = field.octets(5, 32, 35)
    bits = _Bits(field.sections[7][5 + skip :])
    references = bits.take(count, field.octets(5, 20, 20))
    bits.octet()
    widths = field.octets(5, 36, 36) + bits.take(count, field.octets(5, 37, 37))
    bits.octet()
    lengths = bits.take(count, field.octets(5, 47, 47)) * field.octets(5, 42, 42)
    lengths += field.octets(5, 38, 41)
    bits.octet()
    lengths[-1] = field.octets(5, 43, 46)
    if lengths.sum() != field.octets(5, 6, 9):
        raise ValueError("the groups do not add to the number of values")
    parts = [
        reference + bits.take(int(length), int(width))
        for reference, width, length in zip(references, widths, lengths, strict=True)
    ]
    return np.concatenate(parts)


def _differenced(field: Decoded) -> np.ndarray:
    """Numbers of complex packing with spatial differencing of first or second order."""
    order, octets = field.octets(5, 48, 48), field.octets(5, 49, 49)
    # The first numbers lie above the reference value and have no sign; the least difference has.
    first = [field.octets(7, 6 + i * octets, 5 + (i + 1) * octets) for i in range(order)]
    least = field.signed(7, 6 + order * octets, 5 + (order + 1) * octets)
    differences = _groups(field, skip=(order + 1) * octets) + least
    differences[:order] = first
    if order == 1:
        return np.cumsum(differences)
    # x[n] = d[n] + 2 x[n-1] - x[n-2]: sum the differences of first order, then those.
    differences[1] -= differences[0]
    differences[1:] = np.cumsum(differences[1:])
    return np.cumsum(differences)


def _run_lengths(field: Decoded) -> np.ndarray:
    """JMA's run lengths (5.200), 8 bits each: a level, then digits that are larger than all."""
    width, largest, levels = (field.octets(5, *o) for o in ((12, 12), (13, 14), (15, 16)))
    scale = 10.0 ** field.signed(5, 17, 17)
    table = [np.nan] + [field.octets(5, 18 + 2 * i, 19 + 2 * i) / scale for i in range(levels)]
    if width != 8:
        raise ValueError("runs of other than 8 bits")
    values: list[float] = []
    weight = 1
    for code in field.sections[7][5:]:
        if code <= largest:
            values.append(table[code])
            weight = 1
        else:
            values.extend(values[-1:] * (weight * (code - largest - 1)))
            weight *= 255 - largest
    if len(values) != field.octets(5, 6, 9):
        raise ValueError("the runs do not add to the number of values")
    return np.array(values)

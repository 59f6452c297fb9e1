"""Whether what sections 5 and 7 say about sizes fits together, before anything believes it."""

import struct
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from tenkizu.rain.msm.sections import number, signed

SIMPLE, COMPLEX, SPATIAL, RUN_LENGTH = 0, 2, 3, 200
"""Packings that are checked; others are left to ecCodes."""

_LEAST = {SIMPLE: 21, COMPLEX: 47, SPATIAL: 49, RUN_LENGTH: 17}
"""Bytes of section 5, at least."""

_HEAD = 5
"""Bytes of section 7 before its data."""

_PADDING = 8
"""Bytes that may follow the data of section 7."""


def check_packing(section: bytes, data: bytes, present: int) -> bool:
    """Check the sizes of the packed data of a field.

    Args:
        section: its section 5.
        data: its section 7.
        present: points that have a value by the bitmap.

    Returns:
        Whether values can be missing by the packing itself.

    Raises:
        ValueError: what does not fit.
    """
    packing = number(section, 10, 2)
    if packing not in _LEAST:
        return True
    if len(section) < _LEAST[packing]:
        raise ValueError(f"section 5 has {len(section)} bytes, too few for packing 5.{packing}")
    count = number(section, 6, 4)
    if count != present:
        raise ValueError(f"{count} values are packed, the grid and bitmap have {present}")
    if packing == RUN_LENGTH:
        _run_lengths(section, data, count)
        return True
    reference, binary, decimal, bits = _scaling(section)
    if not isfinite(reference) or abs(binary) > 127 or abs(decimal) > 127 or bits > 32:
        raise ValueError(
            f"reference {reference}, binary scale {binary}, decimal scale {decimal} and {bits} bits"
        )
    if packing == SIMPLE:
        _exactly(data, (count * bits + 7) // 8)
        return False
    _groups(section, data, spatial=packing == SPATIAL)
    return section[22] != 0


def lowest_value(section: bytes) -> float | None:
    """Half a packing step below the least value that differences can honestly lead to.

    The reference value of section 5 is the least of the field; damaged differences run away from
    it in either direction. None for the packings that cannot go below it.
    """
    if number(section, 10, 2) != SPATIAL:
        return None
    reference, binary, decimal, _ = _scaling(section)
    return float((reference - 0.5 * 2.0**binary) * 10.0**-decimal)


def _scaling(section: bytes) -> tuple[float, int, int, int]:
    """Reference value, binary and decimal scale factor, bits of a packed value or reference."""
    (reference,) = struct.unpack(">f", section[11:15])
    return reference, signed(section, 16, 2), signed(section, 18, 2), section[19]


def _enough(data: bytes, needed: int) -> None:
    if len(data) - _HEAD < needed:
        raise ValueError(f"section 7 has {len(data) - _HEAD} bytes of data, {needed} are needed")


def _exactly(data: bytes, needed: int) -> None:
    """No less, and but for padding no more: a wrong number of bits would leave bytes over."""
    _enough(data, needed)
    if len(data) - _HEAD > needed + _PADDING:
        raise ValueError(f"section 7 has {len(data) - _HEAD} bytes of data, only {needed} are used")


def _groups(section: bytes, data: bytes, spatial: bool) -> None:
    """Groups of complex packing must hold all values and lie within section 7."""
    count, bits = number(section, 6, 4), section[19]
    groups, width_bits, length_bits = number(section, 32, 4), section[36], section[46]
    if not 0 < groups <= count or max(width_bits, length_bits) > 32:
        raise ValueError(f"{groups} groups for {count} values")
    start = _HEAD
    if spatial:
        order, octets = section[47], section[48]
        if order not in (1, 2) or not 0 < octets <= 8:
            raise ValueError(f"differences of order {order} with {octets} bytes of first values")
        start += (order + 1) * octets
    parts = [(groups * width + 7) // 8 for width in (bits, width_bits, length_bits)]
    _enough(data, start - _HEAD + sum(parts))
    at = start + parts[0]
    widths = section[35] + _bits(data[at : at + parts[1]], groups, width_bits)
    at += parts[1]
    lengths = number(section, 38, 4) + section[41] * _bits(
        data[at : at + parts[2]], groups, length_bits
    )
    lengths[-1] = number(section, 43, 4)
    if lengths.sum() != count or widths.max() > 32:
        raise ValueError(
            f"groups of {lengths.sum()} values up to {widths.max()} bits wide, for {count} values"
        )
    _exactly(data, start - _HEAD + sum(parts) + (int(widths @ lengths) + 7) // 8)


def _bits(data: bytes, count: int, width: int) -> NDArray[np.int64]:
    """``count`` whole numbers of ``width`` bits each."""
    if width == 0:
        return np.zeros(count, np.int64)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * width)
    places = 1 << np.arange(width - 1, -1, -1, dtype=np.int64)
    return bits.reshape(count, width) @ places


def _run_lengths(section: bytes, data: bytes, count: int) -> None:
    """Run lengths must add to the number of points, and levels have a value in the table.

    A number up to V, the highest level in use, begins a run; the numbers above it are digits of
    the run's length less one to the base 2^bits - 1 - V, the lowest first.
    """
    bits = section[11]
    if bits not in (8, 16):
        raise ValueError(f"run lengths in numbers of {bits} bits; 8 and 16 can be read")
    whole = len(data) - (len(data) - _HEAD) % (bits // 8)
    code = np.frombuffer(data[_HEAD:whole], f">u{bits // 8}").astype(np.int64)
    highest, table = number(section, 13, 2), number(section, 15, 2)
    base = (1 << bits) - 1 - highest
    if base < 1 or highest > table:
        raise ValueError(f"levels up to {highest} of {table} in {bits} bits")
    if len(section) < 17 + 2 * table:
        raise ValueError(f"section 5 has {len(section)} bytes, too few for {table} levels")
    starts = code <= highest
    if not starts.size or not starts[0]:
        raise ValueError("run lengths that do not begin with a level")
    index = np.arange(code.size)
    place = index - np.maximum.accumulate(np.where(starts, index, 0)) - 1
    digits = np.where(starts, 0, code - highest - 1) * float(base) ** np.clip(place, 0, 32)
    total = np.count_nonzero(starts) + digits.sum()
    if total != count:
        raise ValueError(f"runs of {total:.0f} values for {count} points")

"""How the numbers of a field are packed: simple and run-length here, complex through ecCodes."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from tenkizu.core.grib_library import eccodes


def packed(field: Any, values: np.ndarray) -> tuple[bytes, bytes]:
    """Sections 5 and 7 without their heads, for the packing that ``field`` names."""
    if field.packing == "simple":
        return simple(values, field.bits, field.step)
    if field.packing == "run_length":
        return run_length(values, field.levels, field.decimals, field.bits)
    return from_eccodes(values, field.packing, field.bits)


def simple(values: np.ndarray, bits: int, step: float) -> tuple[bytes, bytes]:
    """Template 5.0: reference value, and steps above it of some power of two."""
    least = np.float32(values.min()) if values.size else np.float32(0)
    if values.size and least > values.min():
        least = np.nextafter(least, np.float32(-np.inf))
    span = float(values.max()) - float(least) if values.size else 0.0
    exponent = round(math.log2(step))
    if span > 0:
        exponent = max(exponent, math.ceil(math.log2(span / (2**bits - 1))))
    numbers = np.rint((values - float(least)) * 2.0**-exponent).astype(np.uint16)
    head = struct.pack(">IHfHHBB", values.size, 0, least, _signed(exponent), 0, bits, 0)
    return head, bit_string(numbers, bits)


def bit_string(numbers: np.ndarray, bits: int) -> bytes:
    """Unsigned numbers of so many bits each, one after another, filled up to a whole octet."""
    if bits == 12:  # the common case, three octets for two numbers
        pairs = np.append(numbers, 0)[: numbers.size + numbers.size % 2].reshape(-1, 2)
        first, second = pairs[:, 0], pairs[:, 1]
        octets = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
        return octets.astype(np.uint8).tobytes()[: -(-numbers.size * 12 // 8)]
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint16)
    return np.packbits((numbers[:, None] >> shifts & 1).astype(np.uint8)).tobytes()


def run_length(
    values: np.ndarray, levels: Sequence[int], decimals: int, bits: int
) -> tuple[bytes, bytes]:
    """Template 5.200: the number of a level, then the length of its run to the base LNGU.

    A value is told as the nearest level; a missing one is level 0. The digits that follow a level
    are larger than the largest level in use, least significant first, to the base
    2**bits - 1 - largest level in use. The table may have more levels than are used.
    """
    table = np.asarray(levels, np.float64) / 10.0**decimals
    numbers = np.abs(values[:, None] - table).argmin(1) + 1
    numbers[np.isnan(values)] = 0
    largest = int(numbers.max())
    base = 2**bits - 1 - largest
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    code: list[int] = []
    for number, length in zip(
        numbers[starts].tolist(), np.diff(starts, append=numbers.size).tolist(), strict=True
    ):
        code.append(number)
        rest = length - 1
        while rest:
            rest, digit = divmod(rest, base)
            code.append(largest + 1 + digit)
    head = struct.pack(">IHBHHB", values.size, 200, bits, largest, len(table), decimals)
    head += struct.pack(f">{len(table)}H", *levels)
    return head, bit_string(np.array(code, np.uint16), bits)


def from_eccodes(values: np.ndarray, packing: str, bits: int) -> tuple[bytes, bytes]:
    """Sections 5 and 7 as ecCodes makes them for a field of these values."""
    names = {
        "eccodes_simple": "grid_simple",
        "complex": "grid_complex",
        "spatial": "grid_complex_spatial_differencing",
    }
    handle = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
    try:
        eccodes.codes_set(handle, "Ni", values.size)
        eccodes.codes_set(handle, "Nj", 1)
        eccodes.codes_set(handle, "packingType", names[packing])
        eccodes.codes_set(handle, "bitsPerValue", bits)
        eccodes.codes_set_values(handle, values)
        message = eccodes.codes_get_message(handle)
    finally:
        eccodes.codes_release(handle)
    found = {}
    position = 16
    while message[position : position + 4] != b"7777":
        length, number = struct.unpack_from(">IB", message, position)
        found[number] = message[position + 5 : position + length]
        position += length
    return found[5], found[7]


def _signed(exponent: int) -> int:
    return -exponent | 0x8000 if exponent < 0 else exponent

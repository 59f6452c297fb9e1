"""Values of one field from its sections, by ecCodes.

The sections are joined to a message of one field before ecCodes sees them. That message lies in
memory, so a template can be renamed, and a bitmap stand where a reference to it stood. ecCodes
believes what a message says about its own size, so `packing_checks` looks at that first.
"""

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.grib_library import eccodes
from tenkizu.rain.msm.packing_checks import check_packing, lowest_value
from tenkizu.rain.msm.sections import RawField, number

_AS_ACCUMULATION = {50008, 50009}
"""Product templates of Japan that begin with the layout of 4.8 and that ecCodes lacks."""

_MOST_POINTS = 1 << 28
"""More than any real field has; a message that says so is damaged."""


def decode(raw: RawField) -> NDArray[np.float64]:
    """All values of a field in the order of the file, (n,), NaN where missing.

    Raises:
        ValueError: the sections contradict each other, or ecCodes cannot decode them.
    """
    points = number(raw.grid, 7, 4)
    if not 0 < points <= _MOST_POINTS:
        raise ValueError(f"a grid of {points} points")
    if raw.defined_bitmap is None:
        raise ValueError("it reuses a bitmap, but no field before it has one")
    bitmap, data = raw.read(raw.defined_bitmap, raw.data)
    present = _present(bitmap, points)
    may_miss = check_packing(raw.packing, data, present) or present < points
    message = _message(raw, bitmap, data)
    try:
        handle = eccodes.codes_new_from_message(message)
        try:
            if may_miss:
                eccodes.codes_set(handle, "missingValue", np.nan)
            values: NDArray[np.float64] = eccodes.codes_get_values(handle)
        finally:
            eccodes.codes_release(handle)
    except eccodes.CodesInternalError as error:
        raise ValueError(
            f"ecCodes cannot decode it (product template 4.{number(raw.product, 8, 2)}, packing "
            f"5.{number(raw.packing, 10, 2)}): {error}"
        ) from error
    if values.shape != (points,):
        raise ValueError(f"{values.size} values were decoded for {points} points")
    lowest = lowest_value(raw.packing)
    if lowest is not None and np.fmin.reduce(values) < lowest:
        raise ValueError(
            f"a value of {np.fmin.reduce(values):g} is below the least that its packing allows, "
            f"{lowest:g}"
        )
    return values


def _present(bitmap: bytes, points: int) -> int:
    """How many points have a value."""
    kind = bitmap[5]
    if kind == 255:
        return points
    if kind != 0:
        raise ValueError(f"a bitmap defined elsewhere, indicator {kind}; 0, 254 or 255 can be read")
    if 8 * (len(bitmap) - 6) < points:
        raise ValueError(f"a bitmap of {len(bitmap) - 6} bytes for {points} points")
    flags = np.unpackbits(np.frombuffer(bitmap, np.uint8, offset=6), count=points)
    return int(np.count_nonzero(flags))


def _message(raw: RawField, bitmap: bytes, data: bytes) -> bytes:
    """The field as a message of its own."""
    product = raw.product
    if number(product, 8, 2) in _AS_ACCUMULATION:
        product = b"".join((product[:7], (8).to_bytes(2, "big"), product[9:]))
    parts = (raw.identification, raw.grid, product, raw.packing, bitmap, data)
    length = 16 + sum(map(len, parts)) + 4
    head = b"GRIB\xff\xff" + bytes((raw.discipline, 2)) + length.to_bytes(8, "big")
    return b"".join((head, *parts, b"7777"))

"""JMA files through ecCodes' own loop over a file, and comparisons of fields."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jma_decoding import Decoded, fields

from tenkizu.core.grib_library import eccodes


@contextmanager
def opened(path: Path) -> Iterator[list[int]]:
    """ecCodes' handles of all fields of a file."""
    eccodes.codes_grib_multi_support_on()
    handles = []
    try:
        with path.open("rb") as stream:
            while (handle := eccodes.codes_grib_new_from_file(stream)) is not None:
                handles.append(handle)
        yield handles
    finally:
        for handle in handles:
            eccodes.codes_release(handle)


def by_eccodes(path: Path, *keys: str) -> list[tuple[Any, ...]]:
    """Keys of every field."""
    with opened(path) as handles:
        return [tuple(eccodes.codes_get(handle, key) for key in keys) for handle in handles]


def values_by_eccodes(path: Path) -> list[np.ndarray]:
    """Values (nj, ni) of every field, NaN where missing."""
    found = []
    with opened(path) as handles:
        for handle in handles:
            eccodes.codes_set(handle, "missingValue", 1e30)
            values = eccodes.codes_get_values(handle)
            shape = eccodes.codes_get(handle, "Nj"), eccodes.codes_get(handle, "Ni")
            found.append(np.where(values == 1e30, np.nan, values).reshape(shape))
    return found


def step(field: Decoded) -> float:
    """Packing step of a field."""
    return 2.0 ** field.signed(5, 16, 17) / 10.0 ** field.signed(5, 18, 19)


def assert_close(found: np.ndarray, truth: np.ndarray, tolerance: float) -> None:
    """Missing in the same cells, and within the tolerance elsewhere."""
    np.testing.assert_array_equal(np.isnan(found), np.isnan(truth))
    there = ~np.isnan(truth)
    assert np.abs(found[there] - truth[there]).max() <= tolerance


def read(path: Path) -> list[Decoded]:
    """The fields of a file, by the tests' own decoder."""
    return fields(path.read_bytes())

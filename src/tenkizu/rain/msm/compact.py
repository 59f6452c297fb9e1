"""Fields in a quarter of the space: 16-bit integers, those on pressure levels on their own grid.

MSM gives fields on pressure levels on every second node of the surface grid. Those between are the
means of their neighbours, so the model grid's 480 x 480 cells hold them all: node (i, j) of the
pressure grid's part is cell (2i - 1, 2j) of the model grid. The northern row and the eastern column
of nodes lie outside, and follow from the means beside them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.fields import range_of

Packed = NDArray[np.int16]

LARGEST = 32767
"""Largest number that a value is packed to; the smallest is its negative."""

_FIRST_LAT, _FIRST_LON, _DLAT, _DLON = 46.95, 120.0, 0.05, 0.0625
_ON_NODE = 1e-3
"""Largest distance of a grid's first cell from one of the model grid, in cells."""


def on_pressure_level(channel: str) -> bool:
    """Whether a field such as T850_ft3 is on a pressure level, by its name; U10m_ft3 is not."""
    return re.match(r"[A-Z]+\d{2,4}_", channel) is not None


def packing(channel: str) -> tuple[float, float]:
    """Scale and offset of a field: value = packed * scale + offset.

    Raises:
        DataError: the range of its values is not known.
    """
    ends = range_of(channel)
    if ends is None:
        raise DataError(
            "no range is known in which to pack this field",
            variable=channel,
            next_step="set data.layout=full, or leave the field out of data.fields",
        )
    low, high = ends
    return (high - low) / (2 * LARGEST), (high + low) / 2


def pack(values: NDArray[np.float32], channel: str) -> Packed:
    """Values of a field as 16-bit integers, each within half a step.

    Raises:
        DataError: a value is outside the range of the field.
    """
    scale, offset = packing(channel)
    numbers = np.rint((values.astype(np.float64) - offset) / scale)
    # Not the other way round: NaN compares as false.
    if not (np.abs(numbers) <= LARGEST).all():
        raise DataError(
            "a value is outside the range of this field",
            variable=channel,
            found=f"{values.min():g} to {values.max():g}",
            expected="{:g} to {:g}".format(*(range_of(channel) or ())),
            next_step="look at the file with `tenkizu rain check`, or set data.layout=full",
        )
    return numbers.astype(np.int16)


def unpack(packed: Packed, channel: str) -> NDArray[np.float32]:
    """The inverse of `pack`."""
    scale, offset = packing(channel)
    return (packed * scale + offset).astype(np.float32)


@dataclass(frozen=True)
class Nodes:
    """The part of the pressure grid whose nodes surround a rectangle of the model grid.

    Attributes:
        first: first row and column of the rectangle on the doubled part: 0 or 1 each.
        shape: rows and columns of nodes.
        cells: rows and columns of the rectangle.
    """

    first: tuple[int, int]
    shape: tuple[int, int]
    cells: tuple[int, int]

    @classmethod
    def of(cls, place: tuple[int, int], cells: tuple[int, int]) -> "Nodes":
        """The nodes around a rectangle.

        Args:
            place: its first row and column on the doubled pressure grid, whose even rows and
                columns are nodes: row 1 is the first of the model grid.
            cells: its rows and columns.
        """
        first = (place[0] % 2, place[1] % 2)
        rows, columns = ((start + size) // 2 + 1 for start, size in zip(first, cells, strict=True))
        return cls(first, (rows, columns), cells)

    @property
    def cut(self) -> tuple[slice, slice]:
        """The rectangle in the doubled part."""
        (row, column), (rows, columns) = self.first, self.cells
        return slice(row, row + rows), slice(column, column + columns)

    def of_field(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """The nodes (h, w) of a field (H, W) that was interpolated from them."""
        values = field.astype(np.float64)
        for axis in (0, 1):
            values = _nodes(values.T, self.first[axis], self.shape[axis])
        return values.astype(np.float32)

    def to_field(self, nodes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The field (H, W) interpolated from its nodes (h, w)."""
        rows, columns = self.shape
        doubled = np.empty((2 * rows - 1, 2 * columns - 1), np.float32)
        doubled[::2, ::2] = nodes
        doubled[1::2, ::2] = (nodes[:-1] + nodes[1:]) / 2
        doubled[:, 1::2] = (doubled[:, :-2:2] + doubled[:, 2::2]) / 2
        return doubled[self.cut]


def _nodes(columns: NDArray[np.float64], first: int, count: int) -> NDArray[np.float64]:
    """Every second column, with those just outside found from the means; (count, rows)."""
    found = columns[:, first % 2 :: 2]
    if first:
        found = np.column_stack([2 * columns[:, 0] - columns[:, 1], found])
    if found.shape[1] < count:
        found = np.column_stack([found, 2 * columns[:, -1] - columns[:, -2]])
    return found


def place_of(grid: Grid) -> tuple[int, int]:
    """First row and column of a grid on the doubled pressure grid.

    Raises:
        DataError: it is no part of the model grid.
    """
    row = (_FIRST_LAT - float(grid.y[0])) / _DLAT
    column = (float(grid.x[0]) - _FIRST_LON) / _DLON
    steps = [np.diff(grid.y) / -_DLAT, np.diff(grid.x) / _DLON]
    off = max(abs(row - round(row)), abs(column - round(column)))
    if off > _ON_NODE or not all(np.allclose(s, 1, rtol=0, atol=_ON_NODE) for s in steps):
        raise DataError(
            "data.layout=compact is for the MSM model grid or a part of it",
            found=grid.describe(),
            expected="lat 46.95 - 0.05 k, lon 120 + 0.0625 k",
            next_step="set data.layout=full",
        )
    return round(row) + 1, round(column)


def compact_channels(channels: Sequence[str]) -> dict[str, list[str]]:
    """The fields in each of the two arrays, ``surface`` and ``pressure``, in their order."""
    return {
        "surface": [c for c in channels if not on_pressure_level(c)],
        "pressure": [c for c in channels if on_pressure_level(c)],
    }


def compact_meta(channels: Sequence[str]) -> dict[str, Any]:
    """Names, scales and offsets of the two arrays, for ``store.json``."""
    result: dict[str, Any] = {}
    for name, members in compact_channels(channels).items():
        scales = [packing(channel) for channel in members]
        result[name] = {
            "dtype": "int16",
            "channels": members,
            "scale": [scale for scale, _ in scales],
            "offset": [offset for _, offset in scales],
        }
    return result

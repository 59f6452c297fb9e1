"""A file of gridded rain, read piece by piece in mm."""

from functools import lru_cache
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.axes import Layout
from tenkizu.rain.intervals import Intervals, Minutes, utc
from tenkizu.rain.netcdf import READ_ERRORS, first_line
from tenkizu.rain.units import RainUnits

Field = NDArray[np.float32]
"""Rain in mm, (..., H, W)."""

LARGEST_MM = 1000.0
"""More than this in one interval is taken for wrong units."""

SMALLEST_MM = -1e-3
"""Negative rain down to this is packing round-off and becomes 0."""

_BLOCK_BYTES = 2**28
T = TypeVar("T", bound=np.generic)

_MARK_MISSING = (
    "if it stands for missing values, say so in the file: "
    "ncatted -a _FillValue,{name},o,f,VALUE {file}"
)


class RainSeries:
    """One opened file of gridded rain, read piece by piece; made by `open_rain`.

    Attributes:
        path: of the file.
        variable: name of the rain variable.
        grid: north row first, west column first, whatever the file's own order.
        step_minutes: length of an interval: a divisor of 60, 60 or 180.
        ends: end of each interval, datetime64[m], shape (n,).
        rows_flipped: whether the file has the south row first.
        columns_flipped: whether the file has the east column first.
        notes: what was assumed or noticed, for the caller to print.
        negatives_zeroed: values between -0.001 and 0 mm met so far and set to 0.
    """

    path: Path
    variable: str
    grid: Grid
    step_minutes: int
    ends: Minutes
    rows_flipped: bool
    columns_flipped: bool
    notes: list[str]
    negatives_zeroed: int

    def __init__(
        self,
        path: Path,
        dataset: xr.Dataset,
        variable: str,
        units: RainUnits,
        layout: Layout,
        intervals: Intervals,
        notes: list[str],
    ) -> None:
        """Take what `open_rain` has found out about an opened file."""
        self.path = path
        self.variable = variable
        self.grid = layout.grid
        self.step_minutes = intervals.step_minutes
        self.ends = intervals.ends
        self.rows_flipped = layout.rows_flipped
        self.columns_flipped = layout.columns_flipped
        self.notes = notes
        self.negatives_zeroed = 0
        self._dataset = dataset
        self._layout = layout
        self._mm_per_unit = units.mm_per_unit(self.step_minutes)
        # Whole rows of chunks are read at once: a chunk is decompressed whole in any case.
        chunks = dataset.variables[variable].encoding.get("chunksizes")
        together = chunks[dataset.variables[variable].dims.index(layout.time)] if chunks else 1
        cells = self.grid.shape[0] * self.grid.shape[1]
        self._block_length = max(1, min(int(together), _BLOCK_BYTES // (8 * cells)))
        self._block = lru_cache(maxsize=1)(self._read_block)
        self._seen: set[int] = set()
        # A piece is what windows are made of: an hour, or a 3-hour total.
        self._piece_minutes = max(60, self.step_minutes)
        self.piece_ends, self._piece_first = _complete_pieces(self.ends, self.step_minutes)
        self._piece = lru_cache(maxsize=3 * self.pieces_per_window)(self._read_piece)

    @property
    def pieces_per_window(self) -> int:
        """3 where the series gives hours, 1 where it gives 3-hour totals."""
        return 180 // self._piece_minutes

    def amounts(self, index: int) -> Field:
        """Rain of interval ``index`` in mm, (H, W), NaN where missing.

        Raises:
            DataError: the file cannot be read there, or holds infinite, negative or absurd rain.
        """
        if not 0 <= index < len(self.ends):
            raise IndexError(f"interval {index} of {len(self.ends)}")
        block, offset = divmod(index, self._block_length)
        amounts: Field = self._block(block)[offset].copy()
        return amounts

    def three_hours(self, end: np.datetime64) -> Field | None:
        """The pieces of the three hours up to ``end``, (3 or 1, H, W); None if one is not there."""
        steps = np.arange(1 - self.pieces_per_window, 1) * np.timedelta64(self._piece_minutes, "m")
        wanted = end + steps
        if not np.isin(wanted, self.piece_ends).all():
            return None
        return np.stack([self._piece(int(i)) for i in np.searchsorted(self.piece_ends, wanted)])

    def orient(self, field: NDArray[T]) -> NDArray[T]:
        """A field (..., H, W) in this class's orientation, turned to the order of the file."""
        rows = slice(None, None, -1 if self.rows_flipped else 1)
        columns = slice(None, None, -1 if self.columns_flipped else 1)
        return field[..., rows, columns]

    def close(self) -> None:
        """Close the file and forget what was read."""
        self._block.cache_clear()
        self._piece.cache_clear()
        self._dataset.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def _read_piece(self, piece: int) -> Field:
        """Float64 sum of the intervals of one piece; NaN where one of them is missing."""
        parts = self._piece_minutes // self.step_minutes
        first = int(self._piece_first[piece])
        if parts == 1:
            return self.amounts(first)
        total = np.zeros(self.grid.shape)
        for index in range(first, first + parts):
            total += self.amounts(index)
        return total.astype(np.float32)

    def _read_block(self, block: int) -> Field:
        """Intervals of one block in mm, (n, H, W), checked."""
        layout = self._layout
        first = block * self._block_length
        window = slice(first, min(first + self._block_length, len(self.ends)))
        picked = self._dataset.variables[self.variable].isel(
            {layout.time: window, **dict.fromkeys(layout.squeezed, 0)}
        )
        try:
            values = picked.to_numpy()
        except READ_ERRORS as error:
            raise DataError(
                f"cannot be read from {utc(self.ends[first])} on ({first_line(error)})",
                file=self.path,
                variable=self.variable,
                next_step="the file is damaged, or packed with a filter that is not installed: "
                "fetch it again or rewrite it with nccopy -d 1",
            ) from error
        order = (layout.time, self.grid.y_name, self.grid.x_name)
        values = values.transpose([picked.dims.index(name) for name in order])
        # float64 until the units are right; orient() undoes flips and so makes them, too.
        mm = self.orient((values.astype(np.float64) * self._mm_per_unit).astype(np.float32)).copy()
        self._check(mm, first)
        small = mm < 0.0
        if block not in self._seen:
            self._seen.add(block)
            self.negatives_zeroed += int(np.count_nonzero(small))
        mm[small] = 0.0
        return mm

    def _check(self, mm: Field, first: int) -> None:
        """Raise at the first value that cannot be rain; ``first`` is the index of mm[0]."""
        for wrong, problem, expected, next_step in (
            (np.isinf(mm), "infinite rain", "a number or a missing value", _MARK_MISSING),
            (
                mm < np.float32(SMALLEST_MM),
                "negative rain",
                f"0 mm or more (down to {SMALLEST_MM:g} is set to 0)",
                _MARK_MISSING,
            ),
            (
                mm > np.float32(LARGEST_MM),
                f"more rain than can fall in {self.step_minutes} min, which looks like wrong units",
                f"at most {LARGEST_MM:g} mm",
                "state the right units with --units (data.units), or mark the value as missing",
            ),
        ):
            if not wrong.any():
                continue
            time, row, column = (int(i) for i in np.argwhere(wrong)[0])
            raise DataError(
                problem,
                file=self.path,
                variable=self.variable,
                found=f"{mm[time, row, column]:g} mm at {utc(self.ends[first + time])}, "
                f"{self._place(row, column)}",
                expected=expected,
                next_step=next_step.format(name=self.variable, file=self.path.name),
            )

    def _place(self, row: int, column: int) -> str:
        """Where a cell is: in degrees, else by its row and column in the file, from 0."""
        if self.grid.kind == "latlon":
            return f"lat {self.grid.y[row]:g}, lon {self.grid.x[column]:g}"
        rows, columns = self.grid.shape
        row = rows - 1 - row if self.rows_flipped else row
        column = columns - 1 - column if self.columns_flipped else column
        return f"row {row}, column {column}"


def _complete_pieces(ends: Minutes, step: int) -> tuple[Minutes, NDArray[np.intp]]:
    """Ends of the hours (or 3-hour totals) with all their intervals, and the first of these."""
    if step >= 60:
        return ends, np.arange(len(ends))
    hours = (ends - np.timedelta64(1, "m")).astype("datetime64[h]") + np.timedelta64(1, "h")
    unique, first, count = np.unique(hours, return_index=True, return_counts=True)
    complete = count == 60 // step
    return unique[complete].astype("datetime64[m]"), first[complete]

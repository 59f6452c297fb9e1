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
from tenkizu.rain.coverage import Coverage
from tenkizu.rain.file_times import Minutes, utc
from tenkizu.rain.georeference import Georeference
from tenkizu.rain.growth import GrowthWatch
from tenkizu.rain.intervals import Intervals
from tenkizu.rain.netcdf import READ_ERRORS, first_line
from tenkizu.rain.units import RainUnits

Field = NDArray[np.float32]
"""Rain in mm, (..., H, W)."""

LARGEST_MM = 1000.0
"""More than this in one interval is taken for wrong units."""

SMALLEST_MM = -1e-3
"""Negative rain down to this is packing round-off and becomes 0."""

_RELATIVE_LOSS = 1e-4
"""A total that is not packed may lose this part of the largest one: GRIB keeps 16 bits or so."""

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
        members: numbers of the ensemble members; empty where there is no ensemble.
        georeference: what locates the cells, as the file has it.
        notes: what was assumed or noticed, for the caller to print.
        negatives_zeroed: values between -0.001 and 0 mm met so far and set to 0, and decreases of
            totals since a start within the precision of the file.
        coverage: the missing cells met so far, by the hour (modulo 3) at which windows begin.
    """

    path: Path
    variable: str
    grid: Grid
    step_minutes: int
    ends: Minutes
    rows_flipped: bool
    columns_flipped: bool
    members: tuple[int, ...]
    georeference: Georeference
    notes: list[str]
    negatives_zeroed: int
    coverage: dict[int, Coverage]

    def __init__(
        self,
        path: Path,
        dataset: xr.Dataset,
        variable: str,
        units: RainUnits,
        layout: Layout,
        intervals: Intervals,
        notes: list[str],
        watch: bool = True,
    ) -> None:
        """Take what `open_rain` has found out about an opened file.

        Args:
            path: of the file.
            dataset: the opened file.
            variable: name of the rain.
            units: its units.
            layout: its dimensions.
            intervals: its times.
            notes: for the caller to print.
            watch: refuse amounts that look like totals since a start.
        """
        self.path = path
        self.variable = variable
        self.grid = layout.grid
        self.step_minutes = intervals.step_minutes
        self.ends = intervals.ends
        self.rows_flipped = layout.rows_flipped
        self.columns_flipped = layout.columns_flipped
        self.members = layout.members
        self.georeference = layout.georeference
        self.notes = notes
        self.negatives_zeroed = 0
        self.coverage = {}
        self._dataset = dataset
        self._layout = layout
        self._mm_per_unit = units.mm_per_unit(self.step_minutes)
        self._positions, self._before = intervals.positions, intervals.before
        self._end_at = np.full(dataset.sizes[layout.time], np.datetime64("NaT"), self.ends.dtype)
        self._end_at[self._positions] = self.ends
        self._packing_mm = _packing(dataset.variables[variable]) * self._mm_per_unit
        watch = watch and units.seconds is None and self._before is None
        self._watch = GrowthWatch(max(-SMALLEST_MM, self._packing_mm)) if watch else None
        # Whole rows of chunks are read at once: a chunk is decompressed whole in any case.
        chunks = dict(
            zip(dataset.variables[variable].dims, _chunks(dataset, variable), strict=True)
        )
        together, beside = chunks[layout.time], chunks[layout.member] if layout.member else 1
        cells, count = self.grid.shape[0] * self.grid.shape[1], max(1, len(self.members))
        # Of an ensemble the blocks of all members are kept: windows come before members.
        self._block_length = max(1, min(together, _BLOCK_BYTES // (8 * cells * count)))
        room = _BLOCK_BYTES // (8 * cells * self._block_length)
        self._members_together = max(1, min(beside, room))
        groups = -(-count // self._members_together)
        self._block = lru_cache(maxsize=groups)(self._read_block)
        self._seen: set[tuple[int, int]] = set()
        # A piece is what windows are made of: an hour, or a 3-hour total.
        self._piece_minutes = max(60, self.step_minutes)
        self.piece_ends, self._piece_first = _complete_pieces(self.ends, self.step_minutes)
        window = 3 * self.pieces_per_window
        kept = max(window, min(window * count, _BLOCK_BYTES // (4 * cells)))
        self._piece = lru_cache(maxsize=kept)(self._read_piece)

    @property
    def pieces_per_window(self) -> int:
        """3 where the series gives hours, 1 where it gives 3-hour totals."""
        return 180 // self._piece_minutes

    def amounts(self, index: int, member: int = 0) -> Field:
        """Rain of interval ``index`` in mm, (H, W), NaN where missing.

        Args:
            index: of the interval.
            member: index of the ensemble member; 0 where there are none.

        Raises:
            DataError: the file cannot be read there, or holds infinite, negative or absurd rain.
        """
        if not 0 <= index < len(self.ends):
            raise IndexError(f"interval {index} of {len(self.ends)}")
        if self._before is not None:
            return self._difference(index, int(self._before[index]), member)
        amounts = self._stored(int(self._positions[index]), member).astype(np.float32)
        suspicion = self._watch.look(index, amounts) if self._watch and not member else None
        if suspicion:
            raise DataError(
                "these look like totals since the start of a run, not like amounts of intervals",
                file=self.path,
                variable=self.variable,
                found=f"up to {utc(self.ends[index])}, {suspicion}",
                expected="rain that falls less somewhere, or a word on what it is since",
                next_step="say --totals since-start (data.totals) to have them differenced, or "
                "--totals interval if each is the rain of its own interval after all",
            )
        return amounts

    def three_hours(self, end: np.datetime64, member: int = 0) -> Field | None:
        """The pieces of the three hours up to ``end``, (3 or 1, H, W); None if one is not there."""
        steps = np.arange(1 - self.pieces_per_window, 1) * np.timedelta64(self._piece_minutes, "m")
        wanted = end + steps
        if not np.isin(wanted, self.piece_ends).all():
            return None
        pieces = np.searchsorted(self.piece_ends, wanted)
        return np.stack([self._piece(int(i), member) for i in pieces])

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

    def _read_piece(self, piece: int, member: int) -> Field:
        """Float64 sum of the intervals of one piece; NaN where one of them is missing."""
        parts = self._piece_minutes // self.step_minutes
        first = int(self._piece_first[piece])
        if parts == 1:
            return self.amounts(first, member)
        total = np.zeros(self.grid.shape)
        for index in range(first, first + parts):
            total += self.amounts(index, member)
        return total.astype(np.float32)

    def _stored(self, position: int, member: int) -> NDArray[np.floating]:
        """What the file has at a position along its time dimension, in mm, (H, W)."""
        block, offset = divmod(position, self._block_length)
        group, place = divmod(member, self._members_together)
        field: NDArray[np.floating] = self._block(block, group)[offset, place]
        return field

    def _difference(self, index: int, before: int, member: int) -> Field:
        """Rain of an interval from the totals at its end and at its start, checked."""
        # In the order of time, so that the file is read forwards.
        early = self._stored(before, member) if before >= 0 else np.zeros(self.grid.shape)
        late = self._stored(int(self._positions[index]), member)
        mm = late - early
        precision = self._packing_mm * 1.001
        if not self._packing_mm:
            precision = max(-SMALLEST_MM, _RELATIVE_LOSS * float(np.nanmax(early, initial=0.0)))
        lost = mm < -precision
        if lost.any() and before >= 0:
            row, column = (int(i) for i in np.unravel_index(np.nanargmin(mm), mm.shape))
            of_member = f"member {self.members[member]}, " if self.members else ""
            raise DataError(
                "a total since the start of a run decreases",
                file=self.path,
                variable=self.variable,
                found=f"{-mm[row, column]:g} mm less at {utc(self.ends[index])} than at the time "
                f"before, {of_member}{self._place(row, column)}",
                expected=f"no less, but for {precision:.2g} mm of packing",
                next_step="if these are amounts of their own intervals, say --totals interval "
                "(data.totals); where totals begin anew, give each time a reference time or bounds",
            )
        small = (mm < 0.0) & ~lost
        if (index, -1 - member) not in self._seen:
            self._seen.add((index, -1 - member))
            self.negatives_zeroed += int(np.count_nonzero(small))
        mm[small] = 0.0
        amounts: Field = mm.astype(np.float32)
        self._check(amounts[None, None], self.ends[index : index + 1], member)
        return amounts

    def _read_block(self, block: int, group: int) -> NDArray[np.floating]:
        """One block of the file for some members in mm, (n, members, H, W).

        Amounts are checked here; of totals since a start only the differences can be.
        """
        layout = self._layout
        first = block * self._block_length
        window = slice(first, min(first + self._block_length, len(self._end_at)))
        members = slice(group * self._members_together, (group + 1) * self._members_together)
        ensemble = {layout.member: members} if layout.member else {}
        picked = self._dataset.variables[self.variable].isel(
            {layout.time: window, **ensemble, **dict.fromkeys(layout.squeezed, 0)}
        )
        try:
            values = picked.to_numpy()
        except READ_ERRORS as error:
            raise DataError(
                f"cannot be read from {utc(self._end_at[first])} on ({first_line(error)})",
                file=self.path,
                variable=self.variable,
                found=f"{self.path.stat().st_size} bytes",
                expected="a complete file, packed with a known filter",
                next_step="the file is damaged, or packed with a filter that is not installed: "
                "fetch it again or rewrite it with nccopy -d 1",
            ) from error
        order = (layout.time, *ensemble, self.grid.y_name, self.grid.x_name)
        values = values.transpose([picked.dims.index(name) for name in order])
        values = values if ensemble else values[:, None]
        # float64 until the units are right; orient() undoes flips and so makes them, too.
        exact = self.orient(values.astype(np.float64) * self._mm_per_unit)
        if self._before is not None:
            return exact.copy()
        mm = exact.astype(np.float32)
        self._check(mm, self._end_at[window], members.start)
        small = mm < 0.0
        if (block, group) not in self._seen:
            self._seen.add((block, group))
            self.negatives_zeroed += int(np.count_nonzero(small))
        mm[small] = 0.0
        return mm

    def _check(self, mm: Field, ends: Minutes, member: int) -> None:
        """Raise at the first value that cannot be rain of intervals with these ends.

        ``mm`` is (n, members, H, W), the first of its members that with this index.
        """
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
            time, place, row, column = (int(i) for i in np.argwhere(wrong)[0])
            of_member = f"member {self.members[member + place]}, " if self.members else ""
            raise DataError(
                problem,
                file=self.path,
                variable=self.variable,
                found=f"{mm[time, place, row, column]:g} mm at {utc(ends[time])}, "
                f"{of_member}{self._place(row, column)}",
                expected=expected,
                next_step=next_step.format(name=self.variable, file=self.path.name),
            )

    def _place(self, row: int, column: int) -> str:
        """Where a cell is: in degrees, else by its row and column in the file, from 0."""
        if self.grid.kind == "latlon":
            return f"lat {self.grid.y[row]:g}, lon {self.grid.x[column]:g}"
        if self.grid.lat is not None and self.grid.lon is not None:
            return f"lat {self.grid.lat[row, column]:g}, lon {self.grid.lon[row, column]:g}"
        rows, columns = self.grid.shape
        row = rows - 1 - row if self.rows_flipped else row
        column = columns - 1 - column if self.columns_flipped else column
        return f"row {row}, column {column}"


def _packing(variable: xr.Variable) -> float:
    """The step of a variable that is packed into integers; 0 where it is not."""
    stored = np.dtype(variable.encoding.get("dtype", variable.dtype))
    if stored.kind not in "iu":
        return 0.0
    return abs(float(np.squeeze(variable.encoding.get("scale_factor", 1.0))))


def _chunks(dataset: xr.Dataset, variable: str) -> tuple[int, ...]:
    """Chunk lengths of a variable along its dimensions; 1 each where it is stored in one piece."""
    found = dataset.variables[variable]
    return tuple(found.encoding.get("chunksizes") or (1,) * found.ndim)


def _complete_pieces(ends: Minutes, step: int) -> tuple[Minutes, NDArray[np.intp]]:
    """Ends of the hours (or 3-hour totals) with all their intervals, and the first of these."""
    if step >= 60:
        return ends, np.arange(len(ends))
    hours = (ends - np.timedelta64(1, "m")).astype("datetime64[h]") + np.timedelta64(1, "h")
    unique, first, count = np.unique(hours, return_index=True, return_counts=True)
    complete = count == 60 // step
    return unique[complete].astype("datetime64[m]"), first[complete]

"""Three-hour rain totals from GRIB2 files of any JMA product, whatever their intervals are.

Hours and shorter intervals are summed, three-hour totals taken as they are, totals since the
initial time differenced; members of an ensemble are kept apart.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.left_out import log_left_out
from tenkizu.rain.msm.grib import GribField, fields_of
from tenkizu.rain.msm.grids import LatLonGrid
from tenkizu.rain.msm.sections import signed
from tenkizu.rain.series import LARGEST_MM, SMALLEST_MM, Field

RAIN_PARAMETERS = ((0, 1, 8), (0, 1, 52), (0, 1, 200))
"""Forecast rain, guidance, radar analysis and short-range forecast."""

ACCUMULATION = 1
"""In code table 4.10."""

PROBABILITY = 9
"""Product template of probabilities, which have the numbers of what they are about."""

_THREE_HOURS = np.timedelta64(180, "m")
_SCALED_PACKINGS = (0, 2, 3)


class NoRainError(DataError):
    """GRIB2 files without any amount of rain, such as those of the pressure levels."""


Part = tuple[GribField, int]
"""A field and its sign in a sum."""


class GribTotals:
    """Rain of GRIB2 files as 3-hour totals in mm.

    Args:
        paths: files, read in their order.
        phase: hour (UTC, modulo 3) at which windows begin, for rain in shorter intervals.
        damaged: takes the files that cannot be read, and why, so that the totals are those of the
            others; without it such a file is an error.

    Attributes:
        files: those of the files that hold rain.
        grid: of all fields, north row first.
        members: numbers of ensemble members, increasing; empty where there is no ensemble.
        starts: of the windows that every member has, increasing, no two overlapping.
        references: initial time of each window.

    Raises:
        DataError: a file cannot be read, there is no rain in the files, it is a probability, two
            files have rain of one interval, or grids differ.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        phase: int = 0,
        damaged: dict[Path, DataError] | None = None,
    ) -> None:
        found, grid = _collect(paths, damaged)
        with_rain = {Path(one.file) for spans in found.values() for one in spans.values()}
        self.files = [path for path in paths if path in with_rain]
        self.grid = core_grid(grid)
        self.members = tuple(sorted(member for member in found if member is not None))
        self._keys: list[int | None] = list(self.members) or [None]
        self._windows = [_windows(found[key], phase % 3) for key in self._keys]
        common = set.intersection(*map(set, self._windows))
        starts = sorted(common)
        if not starts:
            ends = sorted({span[1] for spans in found.values() for span in spans})
            raise DataError(
                "no complete window of three hours",
                file=paths[0],
                found=f"rain that ends at {', '.join(f'{end} UTC' for end in ends[:4])}"
                + (f" and {len(ends) - 4} more times" if len(ends) > 4 else ""),
                expected=f"three hours in a row from {phase % 3:02d}, {phase % 3 + 3:02d}, ... UTC",
                next_step="add the files of the other hours, or let windows start at another hour "
                "with --window-start",
            )
        self.starts = [s for s in starts if (s - starts[0]) % _THREE_HOURS == np.timedelta64(0)]
        self.references = [self._windows[0][start][0][0].reference for start in self.starts]
        # Each total is P, S and N of three windows.
        self._total = lru_cache(maxsize=4 * len(self._keys))(self._read)

    def total(self, start: np.datetime64, member: int = 0) -> Field | None:
        """Total (H, W), mm, of the three hours from ``start``, NaN where missing; None if absent.

        Args:
            start: of the three hours, UTC.
            member: index in ``members``.

        Raises:
            DataError: a field cannot be decoded, or its rain is negative or absurd.
        """
        return self._total(start, member) if start in self._windows[member] else None

    def _read(self, start: np.datetime64, member: int) -> Field:
        parts = self._windows[member][start]
        total = np.zeros(self.grid.shape)
        for one, sign in parts:
            total += sign * one.values()
        # What differencing packed totals can be wrong by.
        slack = sum(packing_step(one) for one, _ in parts) if len(parts) > 1 else 0.0
        one = parts[0][0]
        for wrong, problem, expected in (
            (total < SMALLEST_MM - slack, "negative rain", f"{SMALLEST_MM - slack:g} mm or more"),
            (total > LARGEST_MM, "more rain than can fall", f"at most {LARGEST_MM:g} mm"),
            (np.isinf(total), "infinite rain", "a number"),
        ):
            if wrong.any():
                raise DataError(
                    problem,
                    file=one.file,
                    variable=str(one),
                    found=f"{total[wrong].flat[0]:g} mm in {int(wrong.sum())} cells",
                    expected=expected,
                    next_step="copy or download the file again",
                )
        total[total < 0] = 0.0
        result: Field = total.astype(np.float32)
        return result


def core_grid(grid: LatLonGrid) -> Grid:
    """The same grid with its latitudes from the north and longitudes from the west."""
    north = max(grid.first_lat, grid.last_lat)
    west = grid.last_lon if grid.scan & 0x80 else grid.first_lon
    latitudes = north - grid.dlat * np.arange(grid.nj, dtype=np.float64)
    longitudes = west + grid.dlon * np.arange(grid.ni, dtype=np.float64)
    return Grid("latlon", np.round(latitudes, 6), np.round(longitudes, 6))


def packing_step(one: GribField) -> float:
    """Distance between neighbouring packed values, mm: 2^E / 10^D; 0 for other packings."""
    section = one.raw.packing
    if one.packing not in _SCALED_PACKINGS:
        return 0.0
    return float(2.0 ** signed(section, 16, 2) / 10.0 ** signed(section, 18, 2))


_Span = tuple[np.datetime64, np.datetime64]
_Spans = dict[_Span, GribField]


def _collect(
    paths: Sequence[Path], damaged: dict[Path, DataError] | None
) -> tuple[dict[int | None, _Spans], LatLonGrid]:
    """Rain fields by member and interval, and the grid of them all."""
    found: dict[int | None, _Spans] = defaultdict(dict)
    grid: LatLonGrid | None = None
    probability: GribField | None = None
    for path in paths:
        try:
            # The whole file first: nothing is taken of one that is damaged further on.
            fields = [one for one in fields_of(path) if _parameter(one) in RAIN_PARAMETERS]
        except DataError as error:
            if damaged is None:
                raise
            damaged[path] = error
            log_left_out(path.name, error)
            continue
        for one in fields:
            if one.template == PROBABILITY:
                probability = one
                continue
            if one.statistic != ACCUMULATION or one.length_minutes <= 0:
                continue
            minutes = (one.start_minutes, one.end_minutes)
            first, last = (one.reference + np.timedelta64(m, "m") for m in minutes)
            _require_one(found[one.member].get((first, last)), one)
            if one.grid is None or (grid is not None and one.grid != grid):
                raise DataError(
                    "rain on another grid",
                    file=one.file,
                    variable=str(one),
                    found=one.grid or "no regular latitude-longitude grid",
                    expected=grid or "a regular latitude-longitude grid",
                    next_step="split the files of each grid on their own",
                )
            grid = one.grid
            found[one.member][first, last] = one
    if grid is None:
        raise NoRainError(
            "no rain amounts in the files",
            file=paths[0],
            variable="0/1/8, 0/1/52 or 0/1/200, accumulated",
            found=f"a probability of rain ({probability})" if probability else "other fields",
            expected="rain of an hour, of three hours, or since the initial time",
            next_step="`tenkizu rain inspect FILE` lists what is there",
        )
    return dict(found), grid


def _parameter(one: GribField) -> tuple[int, int, int]:
    return one.discipline, one.category, one.number


def _require_one(other: GribField | None, one: GribField) -> None:
    if other is None:
        return
    raise DataError(
        "two fields hold the rain of one interval",
        file=one.file,
        variable=str(one),
        found=f"also field {other.position} of {other.file}",
        expected="one",
        next_step="give the files of one initial time, each once",
    )


def _windows(spans: _Spans, phase: int) -> dict[np.datetime64, list[Part]]:
    """What to add up for the three hours from each start."""
    three = {
        first: [(one, 1)] for (first, last), one in spans.items() if last - first == _THREE_HOURS
    }
    starts = {first for first, _ in spans}
    if len(starts) == 1 and len(spans) > 1:
        return _differences(spans, starts.pop())
    if three:
        return three
    return _sums(spans, phase)


def _differences(spans: _Spans, start: np.datetime64) -> dict[np.datetime64, list[Part]]:
    """Totals since one time: the later less the earlier one."""
    by_end = {last: one for (_, last), one in spans.items()}
    windows: dict[np.datetime64, list[Part]] = {}
    for end, one in by_end.items():
        before = end - _THREE_HOURS
        if before == start:
            windows[before] = [(one, 1)]
        elif before in by_end:
            windows[before] = [(one, 1), (by_end[before], -1)]
    return windows


def _sums(spans: _Spans, phase: int) -> dict[np.datetime64, list[Part]]:
    """Intervals that follow each other and fill three hours."""
    by_start = dict(sorted(((first, (last, one)) for (first, last), one in spans.items())))
    windows: dict[np.datetime64, list[Part]] = {}
    for start in by_start:
        since = start - start.astype("datetime64[D]")
        if since % _THREE_HOURS != np.timedelta64(60 * phase, "m"):
            continue
        parts = list(_chain(by_start, start, start + _THREE_HOURS))
        if parts and parts[-1][0] == start + _THREE_HOURS:
            windows[start] = [(one, 1) for _, one in parts]
    return windows


def _chain(
    by_start: dict[np.datetime64, tuple[np.datetime64, GribField]],
    start: np.datetime64,
    end: np.datetime64,
) -> Iterable[tuple[np.datetime64, GribField]]:
    """Intervals one after another from ``start``, none beyond ``end``."""
    while start < end and start in by_start and by_start[start][0] <= end:
        yield by_start[start]
        start = by_start[start][0]

"""Tracks of tropical cyclones, and the channel `typhoon` that is made of them.

The channel says of each grid point how near the nearest centre is: exp(-(d / 500 km)^2), d the
great-circle distance; 0 where there is no storm.
"""

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import EARTH_RADIUS_M, Grid
from tenkizu.core.samples import input_path

log = logging.getLogger(__name__)

SCALE_KM = 500.0
"""Distance at which the channel is 1/e."""

LONGEST_GAP = np.timedelta64(12, "h")
"""Fixes of a storm further apart are not joined: one of the 6-hourly ones may be missing."""

COLUMNS = {
    "time": ("time", "iso_time", "datetime", "valid_time"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "longitude"),
    "storm": ("storm", "sid", "storm_id", "id"),
    "kind": ("track_type",),
}
"""Names of the columns, in any case; others, such as pressure and wind, are passed over."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?Z?")
_UNITS, _SPUR = "degrees_north", "spur"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BestTracks:
    """Ways of storms from one fix to the next, in order of their beginning.

    A fix by itself is a way that ends where and when it begins.

    Attributes:
        begin: times (s,), UTC.
        end: likewise, at most `LONGEST_GAP` later.
        start: latitude and longitude at the beginning, degrees, (s, 2).
        stop: at the end; longitudes run on across 180 degrees.
        source: the file, for messages.
    """

    begin: NDArray[np.datetime64] = field(repr=False)
    end: NDArray[np.datetime64] = field(repr=False)
    start: Floats = field(repr=False)
    stop: Floats = field(repr=False)
    source: str = ""

    @classmethod
    def of(
        cls,
        times: NDArray[np.datetime64],
        places: Floats,
        storms: Sequence[str] | None,
        source: str = "",
    ) -> Self:
        """Join fixes to ways.

        Args:
            times: of the fixes (n,), UTC, in any order.
            places: latitude and longitude (n, 2), degrees.
            storms: which storm each fix belongs to; None if unknown, then none are joined.
            source: the file.
        """
        begin, start = times.astype("datetime64[m]"), places
        end, stop = begin, start
        if storms is not None and len(times):
            names = np.unique(np.array(storms), return_inverse=True)[1]
            order = np.lexsort((begin, names))
            here, there = order[:-1], order[1:]
            joined = (names[here] == names[there]) & (begin[there] - begin[here] <= LONGEST_GAP)
            here, there = here[joined], there[joined]
            ahead = places[there].copy()
            ahead[:, 1] = places[here, 1] + (ahead[:, 1] - places[here, 1] + 180.0) % 360.0 - 180.0
            begin, end = np.append(begin, begin[here]), np.append(end, begin[there])
            start, stop = np.concatenate([start, places[here]]), np.concatenate([stop, ahead])
        order = np.argsort(begin, kind="stable")
        return cls(begin[order], end[order], start[order], stop[order], source)

    def centres(self, time: np.datetime64) -> Floats:
        """Latitude and longitude of the storms at a time, (k, 2); nothing is extrapolated."""
        time = time.astype("datetime64[m]")
        first = np.searchsorted(self.begin, time - LONGEST_GAP)
        last = np.searchsorted(self.begin, time, side="right")
        there = np.arange(first, last)[self.end[first:last] >= time]
        length = (self.end[there] - self.begin[there]).astype(np.float64)
        gone = (time - self.begin[there]).astype(np.float64)
        part = np.divide(gone, length, out=np.zeros_like(gone), where=length > 0)[:, None]
        found: Floats = self.start[there] + part * (self.stop[there] - self.start[there])
        return found

    def channel(self, times: NDArray[np.datetime64], grid: Grid) -> NDArray[np.float32]:
        """The channel ``typhoon`` at some times on a grid of degrees, (T, H, W), from 0 to 1."""
        maps = np.zeros((len(times), *grid.shape), np.float32)
        for map_, time in zip(maps, times, strict=True):
            for centre in self.centres(time):
                near = np.exp(-((distance_km(grid, centre) / SCALE_KM) ** 2))
                np.maximum(map_, near, out=map_, casting="same_kind")
        return maps

    def note_uncovered(self, times: NDArray[np.datetime64]) -> None:
        """Warn of times in years of which there is no fix: no storm is assumed there."""
        if not len(self.begin):
            return  # somebody said that there was none
        years = np.unique(self.begin.astype("datetime64[Y]"))
        without = times[~np.isin(times.astype("datetime64[Y]"), years)]
        if len(without):
            log.warning(
                "%s: no fix in %s: the channel typhoon is 0 on %d of %d maps",
                self.source,
                ", ".join(str(year) for year in np.unique(without.astype("datetime64[Y]"))),
                len(without),
                len(times),
            )


def require_tracks(channels: Sequence[str], tracks: BestTracks | None) -> BestTracks | None:
    """The tracks if a network sees them, else None.

    Raises:
        ConfigError: it sees them, and there are none.
    """
    if not channels:
        if tracks is not None:
            log.warning("%s is not used: the model sees no typhoons", tracks.source)
        return None
    if tracks is None:
        raise ConfigError(
            "the model sees the tracks of typhoons, and none are given",
            variable="--typhoons",
            expected="a CSV of best tracks (time,lat,lon in UTC) of the days to classify",
            next_step="name it: --typhoons FILE.csv; a header alone says that there was no storm",
        )
    return tracks


def distance_km(grid: Grid, centre: Floats) -> Floats:
    """Great-circle distance of each grid point (H, W) from a latitude and longitude, km."""
    lat, lon = np.deg2rad(grid.y)[:, None], np.deg2rad(grid.x)[None, :]
    lat_c, lon_c = np.deg2rad(centre)
    half = np.sin((lat - lat_c) / 2) ** 2
    half = half + np.cos(lat) * np.cos(lat_c) * np.sin((lon - lon_c) / 2) ** 2
    distance: Floats = 2 * EARTH_RADIUS_M / 1000.0 * np.arcsin(np.sqrt(np.minimum(half, 1.0)))
    return distance


def read_best_tracks(path: str | Path) -> BestTracks:
    """Read a CSV of fixes, one a line; see `COLUMNS`.

    Without a column of the storm, fixes count at their own times only. The CSV of IBTrACS is read
    as it is: its second line holds units. A file with a header alone says that there was no storm.

    Raises:
        DataError: there is no such file, a column is missing, or a line cannot be read.
    """
    file = input_path(str(path))
    return _read(file, file.stat().st_mtime_ns)


def tracks_of(path: str | Path | None) -> BestTracks | None:
    """The tracks of a file that a configuration or an option names, or None."""
    return None if path is None else read_best_tracks(path)


@lru_cache(maxsize=2)
def _read(path: Path, _changed: int) -> BestTracks:
    """Read a file; the second argument makes a changed file another one."""
    times: list[np.datetime64] = []
    places: list[tuple[float, float]] = []
    storms: list[str] = []
    named = False
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = csv.reader(handle)
            columns = _columns(path, next(rows, []))
            named = "storm" in columns
            for line, row in _entries(rows, columns):
                where = f"{path}, line {line}"
                if len(row) <= max(columns.values()):
                    raise DataError("a line is too short", file=where, found=",".join(row))
                times.append(_time(row[columns["time"]], where))
                places.append(
                    (
                        _degrees(row[columns["lat"]], where, "lat", -90.0, 90.0),
                        _degrees(row[columns["lon"]], where, "lon", -180.0, 360.0),
                    )
                )
                storms.append(row[columns["storm"]].strip() if named else "")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"no CSV: {error}", file=path, expected="best tracks") from None
    return BestTracks.of(
        np.array(times, "datetime64[m]"),
        np.array(places, np.float64).reshape(-1, 2),
        storms if named else None,
        path.name,
    )


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Where each column is.

    Raises:
        DataError: time, latitude or longitude is not there.
    """
    names = [name.strip().lower() for name in header]
    found = {
        column: names.index(known[0])
        for column, accepted in COLUMNS.items()
        if (known := [name for name in accepted if name in names])
    }
    if lacking := [column for column in ("time", "lat", "lon") if column not in found]:
        raise DataError(
            "a column of the best tracks is missing",
            file=path,
            variable=", ".join(lacking),
            found=", ".join(names[:12]) or "nothing",
            expected="time,lat,lon and, to interpolate, storm; or IBTrACS (SID, ISO_TIME, LAT, "
            "LON)",
            next_step="name the columns so in the first line",
        )
    return found


def _entries(rows: Iterator[list[str]], columns: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    """Lines with their number, without blank ones and the units and side tracks of IBTrACS."""
    kind = columns.get("kind")
    for line, row in enumerate(rows, 2):
        units = line == 2 and _UNITS in (cell.strip() for cell in row)
        spur = kind is not None and kind < len(row) and _SPUR in row[kind].lower()
        if not units and not spur and any(cell.strip() for cell in row):
            yield line, row


def _time(text: str, where: str) -> np.datetime64:
    try:
        if not _TIME.fullmatch(text.strip()):
            raise ValueError
        return np.datetime64(text.strip().removesuffix("Z"), "m")
    except ValueError:
        raise DataError(
            "not a time", file=where, variable="time", found=text, expected="1991-09-27 12:00, UTC"
        ) from None


def _degrees(text: str, where: str, name: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not low <= value <= high:
        raise DataError(
            "not a coordinate",
            file=where,
            variable=name,
            found=text,
            expected=f"degrees from {low:g} to {high:g}, north and east positive",
        )
    return value

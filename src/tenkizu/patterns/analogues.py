"""The training days most like a given day: by embedding, by pressure anomaly, or by S1."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import EARTH_RADIUS_M, Grid
from tenkizu.core.store import atomic

COUNT = 5
"""Analogues of a day."""

EXCLUDED_DAYS = 10
"""Training days this near to a day, before or after, are no analogues of it: they show the same
weather system."""

COLUMNS = ("date", "rank", "analogue_date", "distance", "label")

Measure = Literal["embedding", "rmse", "s1"]
Floats = NDArray[np.float64]

_CELLS = 2**24


@dataclass(frozen=True)
class Analogues:
    """The nearest training days of m days, k each, the nearest first.

    Attributes:
        index: among the training days, (m, k); -1 where fewer are allowed.
        distance: (m, k), NaN likewise.
    """

    index: NDArray[np.int64]
    distance: Floats


def nearest(
    distances: ArrayLike,
    days: NDArray[np.datetime64],
    train_days: NDArray[np.datetime64],
    count: int = COUNT,
    excluded_days: int = EXCLUDED_DAYS,
) -> Analogues:
    """The training days of least distance that are not too near in time.

    Args:
        distances: (m, n).
        days: of the rows, (m,).
        train_days: of the columns, (n,).
        count: k.
        excluded_days: a training day at most so many days away is passed over.
    """
    table = np.array(distances, np.float64)
    apart = np.abs(days.astype("datetime64[D]")[:, None] - train_days.astype("datetime64[D]"))
    table[apart <= np.timedelta64(excluded_days, "D")] = np.nan
    # NaN sorts last; of equal distances the earlier day comes first.
    order = np.argsort(table, axis=1, kind="stable")[:, :count]
    found = np.take_along_axis(table, order, axis=1)
    index = np.where(np.isnan(found), -1, order)
    short = ((0, 0), (0, count - index.shape[1]))
    return Analogues(
        np.pad(index, short, constant_values=-1), np.pad(found, short, constant_values=np.nan)
    )


def cosine_distances(embedding: ArrayLike, train: ArrayLike) -> Floats:
    """1 - cosine of the angle between embeddings.

    Args:
        embedding: (m, E).
        train: (n, E).

    Returns:
        (m, n), from 0 to 2; 1 where an embedding is 0.
    """
    a, b = (_unit(np.asarray(v, np.float64)) for v in (embedding, train))
    distance: Floats = 1.0 - a @ b.T
    return distance


def rmse_distances(msl: ArrayLike, train: ArrayLike, grid: Grid) -> Floats:
    """Root mean square difference of pressure anomalies, cells weighted by their area.

    The anomaly is the difference to the map's own mean, so that two days of one pattern at
    different levels of pressure are alike.

    Args:
        msl: pressure, (m, H, W).
        train: (n, H, W), in the same units.
        grid: of the maps.

    Returns:
        (m, n), in the units of the maps.
    """
    weight = _area(grid)
    a, b = (_weighted_anomaly(np.asarray(v, np.float64), weight) for v in (msl, train))
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2.0 * a @ b.T
    distance: Floats = np.sqrt(np.maximum(squares, 0.0))
    return distance


def s1_distances(msl: ArrayLike, train: ArrayLike, grid: Grid) -> Floats:
    """S1 = 100 sum |gradient error| / sum larger gradient (Teweles and Wobus 1954).

    Both sums run over the eastward and northward gradients between neighbouring points, in
    pressure per metre; larger is the larger magnitude of the two maps. Every pair of days is
    compared point by point, which takes m n H W steps: meant for few days or coarse maps.

    Args:
        msl: pressure, (m, H, W).
        train: (n, H, W), in the same units.
        grid: latitude-longitude grid of the maps.

    Returns:
        (m, n), from 0 to 200; NaN between two flat maps.
    """
    a, b = (_gradients(np.asarray(v, np.float64), grid) for v in (msl, train))
    result = np.empty((len(a), len(b)))
    step = max(1, _CELLS // max(1, a.shape[1]))
    for first in range(0, len(b), step):
        part = b[first : first + step]
        size = np.abs(part)
        for row, own in enumerate(a):
            larger = np.maximum(size, np.abs(own)).sum(axis=1)
            wrong = np.abs(part - own).sum(axis=1)
            with np.errstate(invalid="ignore"):
                result[row, first : first + step] = 100.0 * wrong / larger
    return result


def write_analogues(
    path: str | Path,
    days: NDArray[np.datetime64],
    found: Analogues,
    train_days: NDArray[np.datetime64],
    train_texts: Sequence[str],
) -> None:
    """Write ``date, rank, analogue_date, distance, label``, one line an analogue, rank from 1.

    Args:
        path: file to write.
        days: (m,).
        found: their analogues.
        train_days: (n,).
        train_texts: label strings of the training days, n.
    """
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(COLUMNS)
        for day, index, distance in zip(days, found.index, found.distance, strict=True):
            for rank, (i, d) in enumerate(zip(index, distance, strict=True), 1):
                if i >= 0:
                    other = str(train_days[i].astype("datetime64[D]"))
                    date = str(day.astype("datetime64[D]"))
                    rows.writerow([date, rank, other, f"{d:.6g}", train_texts[i]])


def read_analogues(path: str | Path) -> dict[str, list[dict[str, str]]]:
    """The lines of ``analogues.csv`` by date, in order of rank.

    Raises:
        DataError: the file is absent or has other columns.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            rows = list(reader)
            columns = tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read: {error}", file=path) from None
    if columns != COLUMNS:
        raise DataError(
            "not a table of analogues",
            file=path,
            found=", ".join(columns) or "nothing",
            expected=", ".join(COLUMNS),
            next_step="evaluate the run again",
        )
    by_date: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_date.setdefault(row["date"], []).append(row)
    return by_date


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def _area(grid: Grid) -> Floats:
    """Share of each cell in the area of the map, (H, W)."""
    rows = np.cos(np.deg2rad(grid.y)) if grid.kind == "latlon" else np.ones(len(grid.y))
    weight = np.repeat(rows[:, None], len(grid.x), axis=1)
    return np.asarray(weight / weight.sum())


def _weighted_anomaly(maps: Floats, weight: Floats) -> Floats:
    """Maps less their mean, times the root of the weight, flat: (n, H W)."""
    mean = (maps * weight).sum(axis=(1, 2), keepdims=True)
    return np.asarray(((maps - mean) * np.sqrt(weight)).reshape(len(maps), -1))


def _gradients(maps: Floats, grid: Grid) -> Floats:
    """Eastward and northward gradients per metre between neighbours, flat: (n, G)."""
    phi, lam = np.deg2rad(grid.y), np.deg2rad(grid.x)
    east = np.diff(maps, axis=2) / (EARTH_RADIUS_M * np.cos(phi)[:, None] * np.diff(lam))
    north = np.diff(maps, axis=1) / (EARTH_RADIUS_M * np.diff(phi)[:, None])
    return np.concatenate([g.reshape(len(maps), -1) for g in (east, north)], axis=1)

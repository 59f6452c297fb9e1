"""What a model must beat: ways to split S that need no training, or only a table.

All conserve S and give 0 where S is 0. Arrays are (..., H, W) in mm, NaN where missing.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.verification import ratio

Field = NDArray[np.float32]
Boxes = NDArray[np.int64]

SUM_BINS = (0.1, 10.0, 20.0, 40.0, 60.0, 100.0)
"""Lower edges of the S bins in mm, for the table here and for scores by amount."""

SEASONS = ("DJF", "MAM", "JJA", "SON")
"""Meteorological seasons in the order of the table."""

BOX_DEGREES = 3
"""Sides of the boxes that may have a table of their own."""

BOX_CELLS = 1000
"""A class of a box with fewer training cells takes the shares of all cells together."""


def equal_split(total: Field) -> Field:
    """S/3 in each hour, (3, H, W)."""
    third: Field = (total / np.float32(3.0)).astype(np.float32)
    return np.stack([third, third, third])


def linear_split(previous: Field, total: Field, following: Field) -> Field:
    """Hours from a straight line through the neighbouring totals, (3, H, W).

    Weights (2S + P)/3, S, (2S + N)/3, normalised to sum to S; a missing neighbour counts as S.
    """
    before = np.where(np.isnan(previous), total, previous)
    after = np.where(np.isnan(following), total, following)
    weights = np.stack([(2 * total + before) / 3, total, (2 * total + after) / 3]).astype(
        np.float64
    )
    shares = np.where(total > 0, weights / np.maximum(weights.sum(axis=0), 1e-30), 0.0)
    split: Field = (shares * total).astype(np.float32)
    return split


def hour_and_season(start: np.datetime64) -> tuple[int, int]:
    """Indices (0-7, 0-3) of the UTC hour and season of t0, three hours before ``start``."""
    t0 = start.astype("datetime64[m]") - np.timedelta64(180, "m")
    hour = int((t0 - t0.astype("datetime64[D]")) / np.timedelta64(1, "h"))
    month = int(t0.astype("datetime64[M]").astype(int)) % 12 + 1
    return hour // 3, (month % 12) // 3


def boxes_of(grid: Grid) -> Boxes:
    """Number of the box of 3 x 3 degrees that each cell lies in, (H, W).

    Boxes are counted over the globe, from 90 S 0 E, 120 to a row: tables of several grids add.

    Raises:
        DataError: the axes of the grid are not latitude and longitude.
    """
    if grid.kind != "latlon":
        raise DataError(
            "climatology by boxes needs latitude and longitude as the axes of the grid",
            variable="data.climatology_boxes",
            found=grid.describe(),
            next_step="set data.climatology_boxes=false",
        )
    # What is added keeps rounded coordinates on their side of a border.
    row, column = (
        np.floor((degrees + 1e-6) / BOX_DEGREES).astype(np.int64)
        for degrees in (grid.y + 90.0, grid.x % 360.0)
    )
    around = 360 // BOX_DEGREES
    return row[:, None] * around + column[None, :] % around


@dataclass(frozen=True)
class Climatology:
    """Mean shares of the three hours by UTC hour of t0, season and amount, and by box if wanted.

    Attributes:
        sums: (8, 4, 6, 3) float64: over training cells with S >= 0.1 mm, sum of y_k by UTC hour
            of t0 (3-hour classes), season and S bin (`SUM_BINS`). The sum of S is the sum over
            the last axis.
        boxes: (8, 4, 6, 4) float64 by number of the box (`boxes_of`): the same sums over its
            cells, and their number; empty unless boxes are given to `of`.
    """

    sums: NDArray[np.float64]
    boxes: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> Self:
        """A table of nothing, to be added to."""
        return cls(np.zeros((8, len(SEASONS), len(SUM_BINS), 3)))

    @classmethod
    def of(
        cls, start: np.datetime64, hours: Field, total: Field, boxes: Boxes | None = None
    ) -> Self:
        """The sums of one window with hours (3, H, W) and total (H, W), mm, and of its boxes."""
        table = cls.empty()
        scored = total >= np.float32(SUM_BINS[0])
        amount = np.digitize(total[scored], np.asarray(SUM_BINS, np.float32)) - 1
        hour, season = hour_and_season(start)
        places = np.zeros_like(amount) if boxes is None else boxes[scored]
        names, which = np.unique(places, return_inverse=True)
        shape = (len(names), len(SUM_BINS))
        index = which * len(SUM_BINS) + amount
        found = np.stack(
            [
                np.bincount(index, values, minlength=shape[0] * shape[1]).reshape(shape)
                for values in (*hours[:, scored].astype(np.float64), np.ones(len(index)))
            ],
            axis=-1,
        )
        table.sums[hour, season] = found[..., :3].sum(axis=0)
        if boxes is not None:
            for name, own in zip(names.tolist(), found, strict=True):
                table.boxes[name] = np.zeros((*table.sums.shape[:3], 4))
                table.boxes[name][hour, season] = own
        return table

    def __add__(self, other: Self) -> Self:
        """The table of both sets of windows."""
        boxes = dict(self.boxes)
        for name, sums in other.boxes.items():
            boxes[name] = boxes[name] + sums if name in boxes else sums
        return type(self)(self.sums + other.sums, boxes)

    def shares(self, hour: int, season: int, box: int | None = None) -> NDArray[np.float64]:
        """Shares by S bin, (6, 3), in a box if one is given.

        A class of fewer than `BOX_CELLS` cells in a box takes the shares of the class everywhere;
        one without training rain those of its hour over all seasons and amounts, then of
        everything, then one third.
        """
        result = np.full((len(SUM_BINS), 3), 1.0 / 3.0)
        levels = [
            self.sums.sum(axis=(0, 1, 2))[None, :],
            self.sums[hour].sum(axis=(0, 1))[None, :],
            self.sums[hour, season],
        ]
        if box in self.boxes:
            own = self.boxes[box][hour, season]
            levels.append(np.where(own[:, 3:] >= BOX_CELLS, own[:, :3], 0.0))
        for sums in levels:
            known = ratio(sums, sums.sum(axis=1, keepdims=True))
            result = np.where(np.isnan(known), result, known)
        return result

    def split(self, start: np.datetime64, total: Field, boxes: Boxes | None = None) -> Field:
        """Split S (H, W) by the table, (3, H, W), in each cell by that of its box if given."""
        when = hour_and_season(start)
        amount = np.digitize(np.nan_to_num(total), np.asarray(SUM_BINS, np.float32)) - 1
        places = np.full(total.shape, -1) if boxes is None else boxes
        names, which = np.unique(places, return_inverse=True)
        shares = np.stack([self.shares(*when, box) for box in names.tolist()])
        chosen = shares[which.reshape(total.shape), np.maximum(amount, 0)]
        per_cell = np.moveaxis(chosen, -1, 0)
        split: Field = (per_cell * total).astype(np.float32)
        return split

    def to_json(self) -> list[Any] | dict[str, Any]:
        """A JSON-ready form; with boxes a mapping, else the bare table."""
        table = list(self.sums.tolist())
        if not self.boxes:
            return table
        boxes = {str(name): sums.tolist() for name, sums in sorted(self.boxes.items())}
        return {"all": table, "boxes": boxes}

    @classmethod
    def from_json(cls, data: list[Any] | dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        table, boxes = (data["all"], data["boxes"]) if isinstance(data, dict) else (data, {})
        own = {int(name): np.asarray(sums, np.float64) for name, sums in boxes.items()}
        return cls(np.asarray(table, np.float64), own)

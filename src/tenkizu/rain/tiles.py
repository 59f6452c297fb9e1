"""Tiles of a frame: where they lie, how wet they are, and draws of wet ones without bias."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.store import SampleStore
from tenkizu.rain.data_config import DataConfig
from tenkizu.rain.tables import RAIN, Rain

LARGE_FRAME = 320
"""Frames with at least so many cells a side are cut into tiles of 160, smaller ones of 64."""

FLOOR = 1 / 16
"""Share of a tile's cells that is added to its wet cells where tiles are drawn.

It bounds the weight of tiles with a few wet cells only.
"""

Square = tuple[slice, slice]


@dataclass(frozen=True)
class Lattice:
    """Tiles at regular distances over a frame; the last ones end at its edges.

    Attributes:
        shape: of the frame, (H, W).
        side: cells of a tile, along an axis that has as many.
        stride: cells from one tile to the next.
    """

    shape: tuple[int, int]
    side: int
    stride: int

    @classmethod
    def of(cls, data: DataConfig, shape: tuple[int, int]) -> "Lattice":
        """The configured tiles, or the usual ones: half of each is in the next."""
        side = data.tile or usual_side(shape)
        return cls(shape, side, data.tile_stride or max(side // 2, 1))

    @cached_property
    def corners(self) -> tuple[list[int], list[int]]:
        """First rows and first columns."""
        rows, columns = (_corners(size, self.side, self.stride) for size in self.shape)
        return rows, columns

    @cached_property
    def squares(self) -> list[Square]:
        """All tiles, row by row."""
        rows, columns = self.corners
        height, width = (min(self.side, size) for size in self.shape)
        return [(slice(r, r + height), slice(c, c + width)) for r in rows for c in columns]

    def counts(self, wet: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Wet cells (H, W) in each tile, (rows, columns of tiles)."""
        running = np.pad(wet, [(1, 0), (1, 0)]).cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
        rows, columns = map(np.asarray, self.corners)
        bottom, right = (
            first + min(self.side, size)
            for first, size in zip((rows, columns), self.shape, strict=True)
        )
        return np.asarray(
            running[np.ix_(bottom, right)]
            - running[np.ix_(bottom, columns)]
            - running[np.ix_(rows, right)]
            + running[np.ix_(rows, columns)]
        )

    @cached_property
    def cover(self) -> NDArray[np.float32]:
        """Number of tiles over each cell, (H, W)."""
        cover = np.zeros(self.shape, np.float32)
        for square in self.squares:
            cover[square] += 1
        return cover


def usual_side(shape: tuple[int, int]) -> int:
    """Side of a tile where none is configured."""
    return 160 if min(shape) >= LARGE_FRAME else 64


def _corners(size: int, side: int, stride: int) -> list[int]:
    return [*range(0, size - side, stride), size - side] if size > side else [0]


def wet_cells(rain: Rain, mask_mm: float) -> NDArray[np.bool_]:
    """Cells of a stored window (5 or 6, H, W) whose total enters the loss, (H, W)."""
    total = rain[RAIN.index("S")]
    return np.asarray(total >= np.float32(mask_mm))


@dataclass(frozen=True)
class Drawn:
    """A tile that was drawn.

    Attributes:
        window: position among the windows drawn from.
        square: rows and columns.
        importance: weight of each of its cells in the loss, (height, width).
    """

    window: int
    square: Square
    importance: NDArray[np.float32]


class WetTiles:
    """Draws tiles of many windows, wet ones more often, dry ones never.

    A tile t is drawn with a probability q in proportion to its wet cells plus `FLOOR` of all its
    cells. A cell that lies in n tiles has the weight 1 / (q n T) when t is drawn, T the number of
    wet tiles; so the expected weighted sum over a drawn tile is that over all wet cells of all
    frames, each counted once, divided by T.

    Args:
        counts: wet cells of each tile, (windows, rows, columns of tiles).
        lattice: where the tiles are.
    """

    def __init__(self, counts: NDArray[np.int64], lattice: Lattice) -> None:
        self.lattice = lattice
        height, width = (min(lattice.side, size) for size in lattice.shape)
        flat = counts.ravel()
        self.wet = int(np.count_nonzero(flat))
        wanted = np.where(flat > 0, flat + FLOOR * height * width, 0.0)
        self.probability = wanted / max(wanted.sum(), 1.0)
        self.reached = self.probability.cumsum()
        self.per_window = len(lattice.squares)

    def draw(self, level: float) -> Drawn:
        """The tile at which the summed probabilities reach ``level``, a number in [0, 1)."""
        # The last sum may fall short of 1 by rounding.
        level = min(level * float(self.reached[-1]), np.nextafter(self.reached[-1], 0.0))
        return self.tile(int(np.searchsorted(self.reached, level, side="right")))

    def tile(self, index: int) -> Drawn:
        """Tile ``index`` of all windows' tiles in a row, as it is when drawn."""
        window, place = divmod(index, self.per_window)
        square = self.lattice.squares[place]
        share = float(self.probability[index]) * self.wet
        importance = np.float32(1.0 / share) / self.lattice.cover[square]
        return Drawn(window, square, importance.astype(np.float32))


def stored_counts(store: SampleStore, indices: list[int], lattice: Lattice) -> NDArray[np.int64]:
    """Wet cells of each tile of some windows, (windows, rows, columns of tiles).

    They are read if the store lists these tiles, else counted, which reads all totals once.
    """
    listed = store.meta["arrays"].get("tiles", {})
    mask_mm = float(store.meta["config"]["loss"]["mask_mm"])
    if (listed.get("side"), listed.get("stride")) == (lattice.side, lattice.stride):
        found = [store.read("tiles", i).astype(np.int64) for i in indices]
    else:
        found = [lattice.counts(wet_cells(store.read("rain", i), mask_mm)) for i in indices]
    shape = tuple(map(len, lattice.corners))
    return np.array(found, np.int64).reshape(len(indices), *shape)

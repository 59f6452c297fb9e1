"""Coarser grids: means over squares of cells. Depths of rain in mm average as they are."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.grid import Grid


def block_mean(planes: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means over factor x factor cells of (..., H, W); rows and columns left over are cut off.

    A square with a missing cell is missing, so that hours that add up to a total still do.
    """
    if factor == 1:
        return planes
    rows, columns = (size // factor for size in planes.shape[-2:])
    cut = planes[..., : rows * factor, : columns * factor]
    squares = cut.reshape(*planes.shape[:-2], rows, factor, columns, factor)
    means: NDArray[np.float32] = squares.mean(axis=(-3, -1), dtype=np.float64).astype(np.float32)
    return means


def coarser_grid(grid: Grid, factor: int) -> Grid:
    """The grid whose cells are factor x factor cells of ``grid``, each at their centre."""
    y, x = (
        axis[: len(axis) // factor * factor].reshape(-1, factor).mean(axis=1)
        for axis in (grid.y, grid.x)
    )
    return replace(grid, y=y, x=x)

"""The grids of MSM files and the model grid: checked, cropped, regridded by whole numbers."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tenkizu.rain.msm.sections import number, signed

Scalar = TypeVar("Scalar", bound=np.generic)

_I_WESTWARD, _J_NORTHWARD, _J_FIRST, _KNOWN = 0x80, 0x40, 0x20, 0xE0
"""Flags of the scanning mode (flag table 3.4)."""


@dataclass(frozen=True)
class LatLonGrid:
    """A regular latitude-longitude grid as section 3 states it.

    Attributes:
        nj: rows.
        ni: columns.
        first_lat: of the first point in the file, degrees north.
        first_lon: of the first point, degrees east.
        last_lat: of the last point.
        last_lon: of the last point.
        dlat: distance between rows, degrees, positive.
        dlon: distance between columns, degrees, positive.
        scan: scanning mode (flag table 3.4); 0 is rows from the west, north first.
    """

    nj: int
    ni: int
    first_lat: float
    first_lon: float
    last_lat: float
    last_lon: float
    dlat: float
    dlon: float
    scan: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.nj, self.ni

    def __str__(self) -> str:
        """Size, extent and spacing, for messages."""
        return (
            f"{self.nj} x {self.ni}, lat {self.first_lat:g}..{self.last_lat:g} by {self.dlat:g}, "
            f"lon {self.first_lon:g}..{self.last_lon:g} by {self.dlon:g}, scan {self.scan}"
        )


SURFACE_GRID = LatLonGrid(505, 481, 47.6, 120.0, 22.4, 150.0, 0.05, 0.0625, 0)
PRESSURE_GRID = LatLonGrid(253, 241, 47.6, 120.0, 22.4, 150.0, 0.1, 0.125, 0)
MODEL_SHAPE = (480, 480)
"""Rows at 46.95 - 0.05 k N, columns at 120 + 0.0625 k E."""


@lru_cache(maxsize=64)
def grid_of(section: bytes) -> LatLonGrid | None:
    """The grid of a section 3; None if it is no regular latitude-longitude grid.

    Raises:
        ValueError: rows times columns are not the number of points.
    """
    if number(section, 13, 2) != 0 or number(section, 11) != 0:
        return None
    if len(section) < 72:
        raise ValueError(f"section 3 has {len(section)} bytes, too few for its template 3.0")
    ni, nj, points = number(section, 31, 4), number(section, 35, 4), number(section, 7, 4)
    if ni * nj != points:
        raise ValueError(f"{nj} rows of {ni} columns, but {points} points")
    angle, parts = number(section, 39, 4), number(section, 43, 4)
    plain = angle in (0, 0xFFFFFFFF) or parts in (0, 0xFFFFFFFF)
    per_degree = 1_000_000 if plain else parts / angle
    first_lat, first_lon, last_lat, last_lon, dlon, dlat = (
        signed(section, octet, 4) / per_degree for octet in (47, 51, 56, 60, 64, 68)
    )
    scan = number(section, 72)
    return LatLonGrid(nj, ni, first_lat, first_lon, last_lat, last_lon, dlat, dlon, scan)


def oriented(points: NDArray[Scalar], grid: LatLonGrid) -> NDArray[Scalar]:
    """Points in the order of a file, (n,), as rows and columns, (nj, ni), north and west first.

    Raises:
        ValueError: rows that run to and fro, or other unusual scanning.
    """
    if grid.scan & ~_KNOWN:
        raise ValueError(f"scanning mode {grid.scan}")
    if grid.scan & _J_FIRST:
        rows = points.reshape(grid.ni, grid.nj).T
    else:
        rows = points.reshape(grid.shape)
    rows = rows[::-1] if grid.scan & _J_NORTHWARD else rows
    return rows[:, ::-1] if grid.scan & _I_WESTWARD else rows


def on_model_grid(
    values: NDArray[np.float64], grid: LatLonGrid, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Values of a surface or pressure grid on the model grid.

    The model grid is rows 13 to 492 and columns 0 to 479 of the surface grid. Pressure node (i, j)
    lies on surface node (2 i, 2 j), so bilinear regridding needs means of neighbours only: rows 6
    to 246 become 481 x 481 nodes, of which the first row and last column are left out.

    Args:
        values: (505, 481) or (253, 241), north first.
        grid: `SURFACE_GRID` or `PRESSURE_GRID`.
        out: (480, 480) to write to; means are taken in its precision. None for float64.

    Returns:
        (480, 480): ``out`` if it is given; else of a surface grid a view of ``values``.
    """
    if grid == SURFACE_GRID:
        cut = values[13:493, :480]
        if out is None:
            return cut
        out[:] = cut
        return out
    out = np.empty(MODEL_SHAPE) if out is None else out
    nodes = values[6:247].astype(out.dtype)
    wide = np.empty((241, 480), out.dtype)
    wide[:, 0::2] = nodes[:, :-1]
    wide[:, 1::2] = nodes[:, :-1] + nodes[:, 1:]
    wide[:, 1::2] *= 0.5
    out[1::2] = wide[1:]
    np.add(wide[:-1], wide[1:], out=out[0::2])
    out[0::2] *= 0.5
    return out

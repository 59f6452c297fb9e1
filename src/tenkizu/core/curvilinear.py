"""Grids whose cells are located by latitudes and longitudes in two dimensions."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator  # type: ignore[import-untyped]

from tenkizu.core.coastline import Line, coast_lines
from tenkizu.core.grid import EARTH_RADIUS_M, Grid

Array = NDArray[np.float64]

NODES = 64
"""Rows and columns that the way from degrees to the axes is interpolated between."""

MARGIN = 0.1
"""Share of the grid by which it is continued on each side, so that lines reach the border."""

_WORLD = (-180.0, 179.999, -90.0, 90.0)


def neighbour_km(lat: Array, lon: Array) -> tuple[Array, Array]:
    """Distances of neighbouring cells on the sphere, from latitudes and longitudes (H, W).

    The haversine formula with R = 6371 km.

    Returns:
        Between rows, (H - 1, W), and between columns, (H, W - 1), km; NaN where a cell has none.
    """
    return (
        _distance_km(lat[:-1], lon[:-1], lat[1:], lon[1:]),
        _distance_km(lat[:, :-1], lon[:, :-1], lat[:, 1:], lon[:, 1:]),
    )


def mean_steps(lat: Array, lon: Array) -> tuple[float, float]:
    """Mean degrees northward from row to row and eastward from column to column.

    Eastward degrees count by the cosine of latitude; missing cells do not count.
    """
    eastward = (np.diff(lon, axis=1) + 180.0) % 360.0 - 180.0
    eastward *= np.cos(np.deg2rad((lat[:, :-1] + lat[:, 1:]) / 2))
    return tuple(  # type: ignore[return-value]
        float(np.nanmean(steps)) if np.isfinite(steps).any() else 0.0
        for steps in (np.diff(lat, axis=0), eastward)
    )


@lru_cache(maxsize=4)
def coast_on(grid: Grid) -> list[Line]:
    """Pieces of coastline (n, 2) as x and y of a grid with latitudes and longitudes (H, W).

    Outlines and cells are brought to one plane, an azimuthal equal-area map about the middle of
    the grid (Snyder 1987, Map Projections - A Working Manual, chapter 24), and there the axes are
    interpolated linearly between cells.

    Args:
        grid: its axes may be in any units, also counted cells; x and y are in the same.

    Returns:
        Lines on the grid and little beyond its border; empty for a grid without ``lat``, of a
        single row or column, or far from every coast.
    """
    if grid.lat is None or grid.lon is None or min(grid.shape) < 2:
        return []
    centre = _middle(grid.lat, grid.lon)
    rows, columns = (
        np.unique(np.linspace(0, n - 1, NODES).round().astype(int)) for n in grid.shape
    )
    picked = np.ix_(rows, columns)
    nodes = np.stack(_plane(grid.lat[picked], grid.lon[picked], centre))
    known = np.stack(np.meshgrid(grid.y[rows], grid.x[columns], indexing="ij"))
    both = _continued(_continued(np.concatenate([nodes, known]), 1), 2).reshape(4, -1)
    both = both[:, np.isfinite(both).all(axis=0)]
    reach = np.hypot(*both[:2]).max()
    if both.shape[1] < 4 or np.linalg.matrix_rank(both[:2] - both[:2, :1]) < 2:
        return []
    lines = coast_lines(_WORLD)
    ends = np.cumsum([len(line) for line in lines])[:-1]
    vertices = np.concatenate(lines)
    places = np.stack(_plane(vertices[:, 1], vertices[:, 0], centre), axis=1)
    near = np.hypot(*places.T) <= reach
    found = np.full((len(vertices), 2), np.nan)
    found[near] = LinearNDInterpolator(both[:2].T, both[2:].T)(places[near])[:, ::-1]
    return [piece for line in np.split(found, ends) for piece in _known_runs(line)]


def _distance_km(lat1: Array, lon1: Array, lat2: Array, lon2: Array) -> Array:
    phi1, phi2 = np.deg2rad(lat1), np.deg2rad(lat2)
    half = np.sin((phi2 - phi1) / 2) ** 2
    half += np.cos(phi1) * np.cos(phi2) * np.sin(np.deg2rad(lon2 - lon1) / 2) ** 2
    distance: Array = 2 * EARTH_RADIUS_M / 1000.0 * np.arcsin(np.sqrt(half.clip(0.0, 1.0)))
    return distance


def _middle(lat: Array, lon: Array) -> tuple[float, float]:
    """Latitude and longitude of the mean of all cells in space, radians."""
    phi, lam = np.deg2rad(lat), np.deg2rad(lon)
    x, y, z = (
        float(np.nanmean(part))
        for part in (np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi))
    )
    return float(np.arctan2(z, np.hypot(x, y))), float(np.arctan2(y, x))


def _plane(lat: Array, lon: Array, centre: tuple[float, float]) -> tuple[Array, Array]:
    """Eastward and northward place on the map, in radii of the sphere."""
    middle = centre[0]
    phi, lam = np.deg2rad(lat), np.deg2rad(lon) - centre[1]
    toward = np.sin(middle) * np.sin(phi) + np.cos(middle) * np.cos(phi) * np.cos(lam)
    # The point opposite to the centre has no place; it is put far out.
    scale = np.sqrt(2.0 / (1.0 + toward).clip(1e-9))
    north = np.cos(middle) * np.sin(phi) - np.sin(middle) * np.cos(phi) * np.cos(lam)
    return scale * np.cos(phi) * np.sin(lam), scale * north


def _continued(values: Array, axis: int) -> Array:
    """Values continued in a straight line by `MARGIN` of their extent at both ends of an axis."""
    values = np.moveaxis(values, axis, 0)
    reach = MARGIN * (len(values) - 1)
    before = values[0] - reach * (values[1] - values[0])
    after = values[-1] + reach * (values[-1] - values[-2])
    return np.moveaxis(np.concatenate([before[None], values, after[None]]), 0, axis)


def _known_runs(line: Line) -> list[Line]:
    """Parts of two or more vertices in a row without a missing one."""
    known = np.isfinite(line).all(axis=1)
    change = np.flatnonzero(np.diff(np.concatenate(([False], known, [False])).astype(np.int8)))
    return [line[i:j] for i, j in change.reshape(-1, 2) if j - i > 1]

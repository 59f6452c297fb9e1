"""Highs and lows of a sea level pressure map, and the fine smooth field that charts are drawn from.

A centre is a local extremum of the smoothed field that stands out: whatever way one goes to a
stronger one, the pressure changes by at least `PROMINENCE_HPA` first.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage  # type: ignore[import-untyped]
from scipy.interpolate import RectBivariateSpline  # type: ignore[import-untyped]

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid

PROMINENCE_HPA = 1.0
"""How much deeper than its rim a low must be, and higher a high."""

DISTANCE_KM = 550.0
"""The least distance between two centres that are both marked."""

FINE_DEGREES = 0.25
"""Spacing to which coarser maps are interpolated, so that isobars are round."""

SMOOTHING_KM, CENTRE_SMOOTHING_KM = 40.0, 120.0
"""Standard deviation of the Gaussian that the isobars, and the search for centres, go through."""

Map = NDArray[np.float64]


@dataclass(frozen=True)
class Centre:
    """A high or low.

    Attributes:
        kind: ``H`` or ``L``.
        lat: degrees north.
        lon: degrees east, as on the grid.
        hpa: pressure at the centre.
    """

    kind: Literal["H", "L"]
    lat: float
    lon: float
    hpa: float


def refine(field: ArrayLike, grid: Grid, order: int = 3) -> tuple[Map, Grid]:
    """A map interpolated to a spacing of at most `FINE_DEGREES` by a spline through its values.

    The corners and all values at the old points stay; a map that is fine enough stays as it is.

    Args:
        field: shape (H, W), finite.
        grid: latitude-longitude grid of the field.
        order: of the spline: 3 for pressure, 1 for fields with jumps.

    Raises:
        DataError: the field does not lie on the grid or has missing values.
    """
    values = np.asarray(field, np.float64)
    if values.shape != grid.shape or not np.isfinite(values).all():
        raise DataError(
            "a chart needs a whole map on its grid",
            found=f"shape {values.shape}, {int((~np.isfinite(values)).sum())} missing values",
            expected=f"shape {grid.shape} without missing values",
            next_step="pass the grid that was read together with the map",
        )
    y, x = (_refined_axis(axis) for axis in (grid.y, grid.x))
    if (len(y), len(x)) == grid.shape:
        return values, grid
    # The spline wants ascending axes; ours descend from the north.
    orders = {"kx": min(order, len(grid.y) - 1), "ky": min(order, len(grid.x) - 1)}
    spline = RectBivariateSpline(-grid.y, grid.x, values, s=0, **orders)
    return spline(-y, x), Grid("latlon", y, x, grid.y_name, grid.x_name)


def smooth(field: Map, grid: Grid, km: float) -> Map:
    """A Gaussian mean with a standard deviation in km, the borders repeated outward."""
    spacing = grid.spacing_km
    if spacing is None:
        return field
    smoothed: Map = ndimage.gaussian_filter(field, [km / step for step in spacing], mode="nearest")
    return smoothed


def pressure_centres(hpa: ArrayLike, grid: Grid) -> list[Centre]:
    """Highs and lows of a map of sea level pressure, the most prominent first.

    Args:
        hpa: shape (H, W), hPa, on a fine grid such as `refine` gives.
        grid: its latitude-longitude grid.

    Returns:
        Centres away from the border, at least `DISTANCE_KM` apart and standing out by at least
        `PROMINENCE_HPA`. The same map always gives the same list.
    """
    values = np.asarray(hpa, np.float64)
    smoothed = smooth(values, grid, CENTRE_SMOOTHING_KM)
    found: list[tuple[float, Centre]] = []
    for kind, sign in (("L", 1.0), ("H", -1.0)):
        for row, column in _minima(sign * smoothed, grid):
            prominence = _prominence(sign * smoothed, row, column)
            if prominence >= PROMINENCE_HPA:
                place = float(grid.y[row]), float(grid.x[column])
                # Smoothing fills lows and lowers highs: the label is the value of the chart.
                near = values[_near(grid, *place, CENTRE_SMOOTHING_KM)]
                pressure = float(near.min() if sign > 0 else near.max())
                found.append((prominence, Centre(kind, *place, pressure)))  # type: ignore[arg-type]
    # North and west decide between equals, so that the order never depends on rounding.
    found.sort(key=lambda item: (-item[0], -item[1].lat, item[1].lon))
    kept: list[Centre] = []
    for _, centre in found:
        if all(_distance_km(centre, other) >= DISTANCE_KM for other in kept):
            kept.append(centre)
    return kept


def _refined_axis(axis: Map) -> Map:
    """The axis with every step cut into equal parts of at most `FINE_DEGREES`."""
    step = float(np.abs(np.diff(axis)).mean())
    parts = max(1, math.ceil(step / FINE_DEGREES - 1e-6))
    places = np.arange((len(axis) - 1) * parts + 1) / parts
    return np.interp(places, np.arange(len(axis)), axis)


def _minima(field: Map, grid: Grid) -> list[tuple[int, int]]:
    """Rows and columns of local minima within half of `DISTANCE_KM`, off the border."""
    spacing = grid.spacing_km or (1.0, 1.0)
    rows, columns = (max(1, round(0.5 * DISTANCE_KM / step)) for step in spacing)
    y, x = np.ogrid[-rows : rows + 1, -columns : columns + 1]
    disc = (y / rows) ** 2 + (x / columns) ** 2 <= 1.0
    least = field == ndimage.minimum_filter(field, footprint=disc, mode="nearest")
    # Room for the letter, and a rim to be lower than.
    margins = [max(1, round(0.025 * side)) for side in field.shape]
    inner = np.zeros_like(least)
    inner[margins[0] : -margins[0], margins[1] : -margins[1]] = True
    # Of a flat bottom, one point.
    plateaus, count = ndimage.label(least & inner)
    return [
        tuple(int(i) for i in np.argwhere(plateaus == number)[0])  # type: ignore[misc]
        for number in range(1, count + 1)
    ]


def _prominence(field: Map, row: int, column: int) -> float:
    """How far one must climb from a minimum before a lower point can be reached.

    Found by bisection over the level at which its basin first holds a lower value; the lowest
    point of a map counts from its highest.
    """
    value = field[row, column]
    low, high = float(value), float(field.max())
    if value > field.min():
        for _ in range(20):
            level = 0.5 * (low + high)
            basins, _count = ndimage.label(field <= level)
            if field[basins == basins[row, column]].min() < value:
                high = level
            else:
                low = level
    return high - float(value)


def _near(grid: Grid, lat: float, lon: float, km: float) -> NDArray[np.bool_]:
    """Points (H, W) within a distance of a place, on the plane tangent there."""
    per_degree = 111.2
    dy = (grid.y - lat)[:, None] * per_degree
    dx = (grid.x - lon)[None, :] * per_degree * math.cos(math.radians(lat))
    near: NDArray[np.bool_] = np.hypot(dy, dx) <= km
    near[np.abs(dy[:, 0]).argmin(), np.abs(dx[0]).argmin()] = True
    return near


def _distance_km(a: Centre, b: Centre) -> float:
    """Distance of two centres on the plane tangent between them."""
    dy = a.lat - b.lat
    dx = (a.lon - b.lon) * math.cos(math.radians(0.5 * (a.lat + b.lat)))
    return 111.2 * math.hypot(dy, dx)

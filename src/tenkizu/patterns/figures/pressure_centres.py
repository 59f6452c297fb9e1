"""Highs and lows of a sea level pressure map, and the fine smooth field that charts are drawn from.

A centre is a local extremum of the smoothed field around which the line `CLOSED_HPA` from it closes
within the map, and from which none stronger is reached without a rise of `PROMINENCE_HPA`.
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

PROMINENCE_HPA, CLOSED_HPA = 1.0, 0.25
"""How far a low must lie below any pass to a deeper one, and below a line that closes around it;
a high likewise above."""

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


def refine(
    field: ArrayLike, grid: Grid, order: int = 3, degrees: float = FINE_DEGREES
) -> tuple[Map, Grid]:
    """A map interpolated to a finer spacing by a spline through its values.

    The corners and all values at the old points stay; a map that is fine enough stays as it is.

    Args:
        field: shape (H, W), finite.
        grid: latitude-longitude grid of the field.
        order: of the spline: 3 for pressure, 1 for fields with jumps.
        degrees: the spacing that no step may exceed.

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
    y, x = (_refined_axis(axis, degrees) for axis in (grid.y, grid.x))
    fine = Grid("latlon", y, x, grid.y_name, grid.x_name)
    return regrid(values, grid, fine, order), fine


def regrid(field: ArrayLike, grid: Grid, target: Grid, order: int = 3) -> Map:
    """A map at the points of another grid by a spline through its values.

    Args:
        field: shape (H, W), finite.
        grid: latitude-longitude grid of the field.
        target: the points wanted, within the grid.
        order: of the spline.
    """
    values = np.asarray(field, np.float64)
    if grid.same_as(target):
        return values
    # The spline wants ascending axes; ours descend from the north.
    orders = {"kx": min(order, len(grid.y) - 1), "ky": min(order, len(grid.x) - 1)}
    spline = RectBivariateSpline(-grid.y, grid.x, values, s=0, **orders)
    found: Map = spline(-target.y, target.x)
    return found


def smooth(field: Map, grid: Grid, km: float) -> Map:
    """A Gaussian mean with a standard deviation in km, the borders repeated outward."""
    spacing = grid.spacing_km
    if spacing is None:
        return field
    smoothed: Map = ndimage.gaussian_filter(field, [km / step for step in spacing], mode="nearest")
    return smoothed


def pressure_centres(hpa: ArrayLike, grid: Grid, distance_km: float = DISTANCE_KM) -> list[Centre]:
    """Highs and lows of a map of sea level pressure, those furthest from its mean first.

    Args:
        hpa: shape (H, W), hPa, on a fine grid such as `refine` gives.
        grid: its latitude-longitude grid.
        distance_km: the least distance of two centres.

    Returns:
        Centres away from the border and at least so far apart; of two that are nearer, the one
        further from the mean. The same map always gives the same list.
    """
    values = np.asarray(hpa, np.float64)
    smoothed = smooth(values, grid, CENTRE_SMOOTHING_KM)
    mean = float(smoothed.mean())
    found: list[tuple[float, Centre]] = []
    signs: tuple[tuple[Literal["H", "L"], float], ...] = (("L", 1.0), ("H", -1.0))
    for kind, sign in signs:
        for row, column in _minima(sign * smoothed):
            place = float(grid.y[row]), float(grid.x[column])
            # Smoothing fills lows and lowers highs: the label is the value of the chart.
            near = values[_near(grid, *place, CENTRE_SMOOTHING_KM)]
            pressure = float(near.min() if sign > 0 else near.max())
            strength = abs(float(smoothed[row, column]) - mean)
            found.append((strength, Centre(kind, *place, pressure)))
    # North and west decide between equals, so that the order never depends on the search.
    found.sort(key=lambda item: (-item[0], -item[1].lat, item[1].lon))
    kept: list[Centre] = []
    for _, centre in found:
        if all(_distance_km(centre, other) >= distance_km for other in kept):
            kept.append(centre)
    return kept


def _refined_axis(axis: Map, degrees: float) -> Map:
    """The axis with every step cut into equal parts of at most so many degrees."""
    step = float(np.abs(np.diff(axis)).mean())
    parts = max(1, math.ceil(step / degrees - 1e-6))
    places = np.arange((len(axis) - 1) * parts + 1) / parts
    return np.interp(places, np.arange(len(axis)), axis)


def _minima(field: Map) -> list[tuple[int, int]]:
    """Rows and columns of local minima that are centres; of a flat bottom one."""
    # Room for the letter, and a rim to be lower than.
    rows, columns = (max(1, round(0.025 * side)) for side in field.shape)
    least = field == ndimage.minimum_filter(field, size=3, mode="nearest")
    inner = np.zeros_like(least)
    inner[rows:-rows, columns:-columns] = True
    plateaus, count = ndimage.label(least & inner)
    found = []
    for number in range(1, count + 1):
        row, column = (int(i) for i in np.argwhere(plateaus == number)[0])
        value = field[row, column]
        rim = _basin(field, row, column, value + CLOSED_HPA)
        closed = not (rim[[0, -1]].any() or rim[:, [0, -1]].any())
        if closed and field[_basin(field, row, column, value + PROMINENCE_HPA)].min() >= value:
            found.append((row, column))
    return found


def _basin(field: Map, row: int, column: int, level: float) -> NDArray[np.bool_]:
    """Points that can be reached from one without rising above a level, (H, W)."""
    basins, _ = ndimage.label(field <= level)
    return np.asarray(basins == basins[row, column])


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

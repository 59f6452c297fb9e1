"""Jenkinson-Collison types: a weather type for every pressure map, by rule.

Pressure is taken at 16 points around a centre, 5 degrees apart in latitude and 10 in longitude.
Westerly and southerly flow and their shear vorticities are differences of these pressures in
hPa per 10 degrees of latitude. After Jones, Hulme and Briffa (1993), as in Jones, Harpham and
Briffa (2013). The limit 6 below which a map is unclassified was set for the British Isles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid

Series = NDArray[np.float64]

POINTS: tuple[tuple[float, float], ...] = (
    *((10.0, x) for x in (-5.0, 5.0)),
    *((y, x) for y in (5.0, 0.0, -5.0) for x in (-15.0, -5.0, 5.0, 15.0)),
    *((-10.0, x) for x in (-5.0, 5.0)),
)
"""Offsets of p1 ... p16 from the centre: degrees north, degrees east."""

DIRECTIONS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
"""Sectors of 45 degrees that the flow comes from; N is centred on 0, E on 90 degrees."""

GALE_LIMITS = {"gale": 30.0, "severe gale": 40.0, "very severe gale": 50.0}
"""Gale index above which a day counts as each, set for the British Isles."""

_NODE = 1e-6  # degrees within which a grid node is the wanted point
_MIN_LATITUDE, _MAX_LATITUDE = 15.0, 75.0


@dataclass(frozen=True, eq=False)
class JcIndices:
    """Flow and vorticity indices, each (T,), hPa per 10 degrees of latitude at the centre.

    Attributes:
        W: westerly flow.
        S: southerly flow.
        F: resultant flow, sqrt(W^2 + S^2).
        ZW: westerly shear vorticity.
        ZS: southerly shear vorticity.
        Z: total shear vorticity ZW + ZS, cyclonic > 0.
        D: direction that the flow comes from, degrees clockwise from north, [0, 360).
    """

    W: Series
    S: Series
    F: Series
    ZW: Series
    ZS: Series
    Z: Series
    D: Series

    @property
    def gale(self) -> Series:
        """Gale index sqrt(F^2 + (Z/2)^2), (T,)."""
        return np.hypot(self.F, self.Z / 2)


def indices(
    msl_pa: NDArray[np.floating],
    grid: Grid,
    centre: tuple[float, float],
    interpolate: bool = False,
    constants: Literal["exact", "rounded"] = "exact",
) -> JcIndices:
    """Flow and vorticity around a point.

    W = (p12 + p13)/2 - (p4 + p5)/2; S = a [(p5 + 2 p9 + p13)/4 - (p4 + 2 p8 + p12)/4];
    ZW = b [(p15 + p16)/2 - (p8 + p9)/2] - c [(p8 + p9)/2 - (p1 + p2)/2];
    ZS = d [(p6 + 2 p10 + p14) - (p5 + 2 p9 + p13) - (p4 + 2 p8 + p12) + (p3 + 2 p7 + p11)]/4.

    Args:
        msl_pa: (T, H, W) mean sea level pressure, Pa.
        grid: its latitudes and longitudes; longitudes match modulo 360.
        centre: latitude and longitude, degrees; 15 < latitude < 75.
        interpolate: take pressure bilinearly where a point is not a grid node.
        constants: a, b, c, d for the latitude, or the same to two decimals as in publications.

    Raises:
        ConfigError: the centre is outside the latitudes for which the rules are made.
        DataError: a point is outside the grid, or no node of it and ``interpolate`` is off; or
            pressure is missing at a point.
    """
    a, b, c, d = flow_constants(centre[0], constants)
    p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, p16 = (
        pressure_at_points(msl_pa, grid, centre, interpolate) / 100.0
    )
    west, east = p4 + 2 * p8 + p12, p5 + 2 * p9 + p13
    far_west, far_east = p3 + 2 * p7 + p11, p6 + 2 * p10 + p14
    w = (p12 + p13) / 2 - (p4 + p5) / 2
    s = a * (east - west) / 4
    zw = b * ((p15 + p16) / 2 - (p8 + p9) / 2) - c * ((p8 + p9) / 2 - (p1 + p2) / 2)
    zs = d * (far_east - east - west + far_west) / 4
    direction = np.degrees(np.arctan2(-w, -s)) % 360.0 % 360.0  # -1e-20 % 360 is 360
    return JcIndices(W=w, S=s, F=np.hypot(w, s), ZW=zw, ZS=zs, Z=zw + zs, D=direction)


def classify(indices: JcIndices, u_limit: float = 6.0) -> list[str]:
    """The type of each map, as a label: ``W``, ``C``, ``U``, or ``C+SW`` for a hybrid.

    In this order: F and abs(Z) below ``u_limit``: U; abs(Z) < F: the direction; abs(Z) > 2 F: C
    for Z > 0, else A; otherwise C or A with the direction.
    """
    sector = ((indices.D + 22.5) % 360.0 // 45.0).astype(int)
    types = []
    for flow, vorticity, index in zip(indices.F, indices.Z, sector, strict=True):
        turning = "C" if vorticity > 0 else "A"
        if flow < u_limit and abs(vorticity) < u_limit:
            types.append("U")
        elif abs(vorticity) < flow:
            types.append(DIRECTIONS[index])
        elif abs(vorticity) > 2 * flow:
            types.append(turning)
        else:
            types.append(f"{turning}+{DIRECTIONS[index]}")
    return types


def flow_constants(
    latitude: float, constants: Literal["exact", "rounded"] = "exact"
) -> tuple[float, float, float, float]:
    """The constants a, b, c, d of the indices.

    a = 1/cos(phi), b = sin(phi)/sin(phi - 5), c = sin(phi)/sin(phi + 5), d = 1/(2 cos^2(phi)).

    Raises:
        ConfigError: the latitude is not between 15 and 75 N.
    """
    if not _MIN_LATITUDE < latitude < _MAX_LATITUDE:
        raise ConfigError(
            "the rules hold for the middle latitudes of the Northern Hemisphere",
            variable="labels.centre",
            found=f"latitude {latitude:g}",
            expected=f"more than {_MIN_LATITUDE:g} and less than {_MAX_LATITUDE:g}",
        )
    phi, step = np.radians(latitude), np.radians(5.0)
    values = (
        1 / np.cos(phi),
        np.sin(phi) / np.sin(phi - step),
        np.sin(phi) / np.sin(phi + step),
        1 / (2 * np.cos(phi) ** 2),
    )
    a, b, c, d = (round(float(v), 2) if constants == "rounded" else float(v) for v in values)
    return a, b, c, d


def pressure_at_points(
    msl_pa: NDArray[np.floating],
    grid: Grid,
    centre: tuple[float, float],
    interpolate: bool = False,
) -> Series:
    """Pressure at p1 ... p16, (16, T), in the unit given.

    Raises:
        DataError: as for `indices`.
    """
    if grid.kind != "latlon":
        raise DataError(
            "needs latitudes and longitudes", variable="msl", found=f"a grid of {grid.describe()}"
        )
    where = [(centre[0] + north, centre[1] + east) for north, east in POINTS]
    rows = [_position(-lat, -grid.y, None) for lat, _ in where]  # south is the increasing side
    columns = [_position(lon, grid.x, 360.0) for _, lon in where]
    nodes = [(r, c) for r, c in zip(rows, columns, strict=True) if r is not None and c is not None]
    if len(nodes) < len(POINTS):
        outside = [r is None or c is None for r, c in zip(rows, columns, strict=True)]
        raise DataError(
            "the grid does not reach all 16 points around the centre",
            variable="msl",
            found=f"{grid.describe()}; outside: {_named(where, outside)}",
            expected="10 degrees to the north and south of the centre, 15 to the west and east",
            next_step="choose another labels.centre, or maps of a larger area",
        )
    off_node = [row[2] > 0 or column[2] > 0 for row, column in nodes]
    if any(off_node) and not interpolate:
        raise DataError(
            "points around the centre are not on the grid",
            variable="msl",
            found=f"{grid.describe()}; not a node: {_named(where, off_node)}",
            expected=f"nodes within {_NODE:g} degrees",
            next_step="choose a centre whose points are nodes, or set labels.interpolate=true",
        )
    values = []
    for (north, south, down), (left, right, across) in nodes:
        corners = msl_pa[:, [north, south, north, south], [left, left, right, right]]
        weights = np.outer([1 - across, across], [1 - down, down]).ravel()
        values.append(corners.astype(np.float64) @ weights)
    pressure = np.stack(values)
    missing = ~np.isfinite(pressure).all(axis=0)
    if missing.any():
        raise DataError(
            "pressure is missing at points around the centre",
            variable="msl",
            found=f"{missing.sum()} of {missing.size} maps, the first number "
            f"{int(missing.argmax()) + 1}",
            expected="finite values",
        )
    return pressure


def _position(
    wanted: float, axis: NDArray[np.float64], period: float | None
) -> tuple[int, int, float] | None:
    """Neighbouring nodes of a point on an increasing axis and the weight of the second.

    A point on a node has that node twice and weight 0. None outside the axis; a periodic axis
    that goes around has no outside.
    """
    distance = axis - axis[0]
    offset = wanted - float(axis[0])
    if period is not None:
        offset %= period
        if period - offset < _NODE:
            offset = 0.0
    near = int(np.abs(distance - offset).argmin())
    if abs(float(distance[near]) - offset) <= _NODE:
        return near, near, 0.0
    if offset < 0:
        return None
    last = len(axis) - 1
    if offset > distance[last]:
        gap = (period or np.inf) - float(distance[last])
        if last == 0 or gap > 1.5 * float(distance[last]) / last:
            return None
        return last, 0, (offset - float(distance[last])) / gap
    after = int(np.searchsorted(distance, offset))
    before = after - 1
    return before, after, float((offset - distance[before]) / (distance[after] - distance[before]))


def _named(where: Sequence[tuple[float, float]], chosen: Sequence[bool]) -> str:
    """Points as text, such as ``p1 (65 N, 10 W)``."""
    parts = []
    for number, ((lat, lon), named) in enumerate(zip(where, chosen, strict=True), start=1):
        lon = (lon + 180) % 360 - 180
        if named:
            parts.append(f"p{number} ({lat:g} N, {abs(lon):g} {'E' if lon >= 0 else 'W'})")
    return ", ".join(parts)

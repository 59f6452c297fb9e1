"""The horizontal grid of a field: coordinates, spacing and orientation, checked at the edge."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_M = 6_371_000.0
"""Radius of the sphere on which spacings and derivatives are computed, in metres."""

_KM_PER_UNIT = {"km": 1.0, "m": 1e-3}


@dataclass(frozen=True, eq=False)
class Grid:
    """Axes of a two-dimensional field, row 0 in the north and column 0 in the west.

    Attributes:
        kind: ``latlon`` (degrees), ``projected`` (a map projection, metres or kilometres) or
            ``index`` (cells are counted: no coordinates, or latitudes and longitudes in two
            dimensions only).
        y: row coordinate, shape (H,), decreasing for ``latlon`` and ``projected``.
        x: column coordinate, shape (W,), increasing.
        y_name: name of the row dimension in files.
        x_name: name of the column dimension in files.
        units: of the two axes: ``degrees``, ``km``, ``m`` or ``1``.
        lat: latitude of each cell, shape (H, W), degrees north, where a file gives it so; only on
            ``projected`` and ``index`` grids.
        lon: longitude of each cell, shape (H, W), degrees east; with ``lat`` or not at all.
        cell_km: distance between rows and between columns of an ``index`` grid, where known.
    """

    kind: Literal["latlon", "projected", "index"]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    y_name: str = "lat"
    x_name: str = "lon"
    units: str = "degrees"
    lat: NDArray[np.float64] | None = None
    lon: NDArray[np.float64] | None = None
    cell_km: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, (H, W)."""
        return len(self.y), len(self.x)

    @property
    def spacing_km(self) -> tuple[float, float] | None:
        """Mean distance between rows and between columns in km; None without coordinates.

        On a latitude-longitude grid the column distance is taken at the middle latitude:
        R cos(phi) d(lambda), with R = 6371 km.
        """
        if self.kind == "index":
            return self.cell_km
        if min(self.shape) < 2:
            return None
        dy = abs(float(self.y[-1] - self.y[0])) / (len(self.y) - 1)
        dx = abs(float(self.x[-1] - self.x[0])) / (len(self.x) - 1)
        if self.kind == "projected":
            scale = _KM_PER_UNIT[self.units]
            return dy * scale, dx * scale
        km = EARTH_RADIUS_M / 1000.0
        middle = np.deg2rad(float(self.y.mean()))
        return float(np.deg2rad(dy) * km), float(np.deg2rad(dx) * km * np.cos(middle))

    def same_as(self, other: "Grid", tolerance: float = 1e-4) -> bool:
        """Whether two grids have the same kind, units, shape and, within ``tolerance``, axes.

        Latitudes and longitudes in two dimensions count where both grids have them.
        """
        return (
            self.kind == other.kind
            and self.units == other.units
            and self.shape == other.shape
            and bool(np.allclose(self.y, other.y, rtol=0, atol=tolerance))
            and bool(np.allclose(self.x, other.x, rtol=0, atol=tolerance))
            and _same_places(self.lat, other.lat, tolerance)
            and _same_places(self.lon, other.lon, tolerance)
        )

    def describe(self) -> str:
        """One line for messages: size, extent and spacing."""
        rows, columns = self.shape
        text = f"{rows} x {columns}"
        if self.kind == "index":
            where = "" if self.cell_km else " without coordinates"
            for name, values in (("lat", self.lat), ("lon", self.lon)):
                if values is not None:
                    where += f", {name} {np.nanmin(values):g}..{np.nanmax(values):g}"
            size = ", {:.3g} x {:.3g} km".format(*self.cell_km) if self.cell_km else ""
            return f"{text} cells{where}{size}"
        text += f", {self.y_name} {self.y[0]:g}..{self.y[-1]:g}"
        text += f", {self.x_name} {self.x[0]:g}..{self.x[-1]:g} {self.units}"
        if self.spacing_km:
            text += f", {self.spacing_km[0]:.3g} x {self.spacing_km[1]:.3g} km"
        return text

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description from which `from_json` rebuilds the grid.

        Exactly, but for latitudes and longitudes in two dimensions, which would be larger than
        what they describe; the spacing that they give stays.
        """
        size = {"cell_km": list(self.cell_km)} if self.cell_km else {}
        return {
            "kind": self.kind,
            "y": self.y.tolist(),
            "x": self.x.tolist(),
            "y_name": self.y_name,
            "x_name": self.x_name,
            "units": self.units,
            **size,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        size = tuple(data["cell_km"]) if "cell_km" in data else None
        axes = {name: np.asarray(data[name]) for name in ("y", "x")}
        return cls(**{**data, **axes, "cell_km": size})


def _same_places(
    one: NDArray[np.float64] | None, other: NDArray[np.float64] | None, tolerance: float
) -> bool:
    """Whether degrees agree, whole turns aside; what only one grid knows cannot differ."""
    if one is None or other is None:
        return True
    apart = (one - other + 180.0) % 360.0 - 180.0
    return bool(
        np.array_equal(np.isnan(one), np.isnan(other)) and not (abs(apart) > tolerance).any()
    )

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
            ``index`` (no usable coordinates).
        y: row coordinate, shape (H,), decreasing for ``latlon`` and ``projected``.
        x: column coordinate, shape (W,), increasing.
        y_name: name of the row dimension in files.
        x_name: name of the column dimension in files.
        units: of the two axes: ``degrees``, ``km``, ``m`` or ``1``.
    """

    kind: Literal["latlon", "projected", "index"]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    y_name: str = "lat"
    x_name: str = "lon"
    units: str = "degrees"

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
        if self.kind == "index" or min(self.shape) < 2:
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
        """Whether two grids have the same kind, units, shape and, within ``tolerance``, axes."""
        return (
            self.kind == other.kind
            and self.units == other.units
            and self.shape == other.shape
            and bool(np.allclose(self.y, other.y, rtol=0, atol=tolerance))
            and bool(np.allclose(self.x, other.x, rtol=0, atol=tolerance))
        )

    def describe(self) -> str:
        """One line for messages: size, extent and spacing."""
        rows, columns = self.shape
        text = f"{rows} x {columns}"
        if self.kind == "index":
            return f"{text} cells without coordinates"
        text += f", {self.y_name} {self.y[0]:g}..{self.y[-1]:g}"
        text += f", {self.x_name} {self.x[0]:g}..{self.x[-1]:g} {self.units}"
        if self.spacing_km:
            text += f", {self.spacing_km[0]:.3g} x {self.spacing_km[1]:.3g} km"
        return text

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description from which `from_json` rebuilds the grid exactly."""
        return {
            "kind": self.kind,
            "y": self.y.tolist(),
            "x": self.x.tolist(),
            "y_name": self.y_name,
            "x_name": self.x_name,
            "units": self.units,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**data, "y": np.asarray(data["y"]), "x": np.asarray(data["x"])})

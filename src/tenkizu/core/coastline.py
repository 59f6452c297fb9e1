"""Coastlines and land of any box of longitudes and latitudes, from the shipped 1:50m file."""

import json
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Line = NDArray[np.float64]
Box = tuple[float, float, float, float]
"""West, east, south, north in degrees; longitudes may run over either seam."""


def coast_lines(box: Box) -> list[Line]:
    """Pieces of coastline (n, 2) whose steps touch a box, in the box's own longitudes."""
    return [line + shift for shift, turned in _turns(box) for line in _lines_in_box(turned)]


def land_rings(box: Box) -> list[Line]:
    """Closed outlines (n, 2) of all land polygons that touch a box, in its own longitudes.

    Outlines of inner waters run the other way round than those of land.
    """
    west, east, south, north = box
    found = []
    for ring in _whole_rings():
        if ring[:, 1].max() < south or ring[:, 1].min() > north:
            continue
        first = int(np.ceil((west - ring[:, 0].max()) / 360.0))
        last = int(np.floor((east - ring[:, 0].min()) / 360.0))
        found += [ring + np.array([360.0 * turn, 0.0]) for turn in range(first, last + 1)]
    return found


def _turns(box: Box) -> list[tuple[Line, Box]]:
    """For each turn of 360 degrees: the shift of its outlines, and the box in -180..180."""
    west, east, south, north = box
    first, last = int(np.floor((west + 180.0) / 360.0)), int(np.floor((east + 180.0) / 360.0))
    return [
        (np.array([360.0 * turn, 0.0]), (west - 360.0 * turn, east - 360.0 * turn, south, north))
        for turn in range(first, last + 1)
    ]


@lru_cache(maxsize=1)
def _rings() -> list[Line]:
    """Outlines of all land polygons, each (n, 2) as longitude and latitude."""
    source = files("tenkizu") / "samples" / "coastline" / "land_50m.geojson"
    document = json.loads(source.read_text(encoding="utf-8"))
    rings: list[list[list[float]]] = []
    for feature in document["features"]:
        geometry = feature["geometry"]
        parts = geometry["coordinates"]
        for polygon in parts if geometry["type"] == "MultiPolygon" else [parts]:
            rings += polygon
    return [np.asarray(ring, dtype=np.float64)[:, :2] for ring in rings]


@lru_cache(maxsize=1)
def _whole_rings() -> list[Line]:
    """The outlines with those that step over the 180-degree seam and back made continuous."""
    rings = []
    for ring in _rings():
        jumps = int((np.abs(np.diff(ring[:, 0])) > 180.0).sum())
        # An odd number goes round the pole, where the polygon is cut along the seam.
        if jumps and jumps % 2 == 0:
            ring = np.column_stack((np.unwrap(ring[:, 0], period=360.0), ring[:, 1]))
        rings.append(ring)
    return rings


@lru_cache(maxsize=1)
def _coast_steps() -> tuple[Line, NDArray[np.bool_]]:
    """All outline vertices (n, 2) as longitude and latitude, and whether i to i+1 is coast (n-1,).

    Steps between rings, along the 180-degree seam, across it and along the south pole are not
    coast: the last three exist only because the file cuts polygons there.
    """
    rings = _rings()
    vertices = np.concatenate(rings)
    start, end = vertices[:-1], vertices[1:]
    coast = np.ones(len(start), dtype=bool)
    coast[np.cumsum([len(ring) for ring in rings])[:-1] - 1] = False
    coast &= ~((np.abs(start[:, 0]) == 180.0) & (np.abs(end[:, 0]) == 180.0))
    coast &= np.abs(end[:, 0] - start[:, 0]) < 180.0
    coast &= ~((start[:, 1] <= -89.9) & (end[:, 1] <= -89.9))
    return vertices, coast


@lru_cache(maxsize=16)
def _lines_in_box(box: Box) -> tuple[Line, ...]:
    """Coastline pieces (n, 2) whose steps touch a box within -180..180."""
    west, east, south, north = box
    vertices, coast = _coast_steps()
    low = np.minimum(vertices[:-1], vertices[1:])
    high = np.maximum(vertices[:-1], vertices[1:])
    keep = coast & (high[:, 0] >= west) & (low[:, 0] <= east)
    keep &= (high[:, 1] >= south) & (low[:, 1] <= north)
    change = np.flatnonzero(np.diff(np.concatenate(([False], keep, [False])).astype(np.int8)))
    return tuple(vertices[i : j + 1] for i, j in change.reshape(-1, 2))

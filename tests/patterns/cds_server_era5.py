"""The true file for a request of ERA5: what the Climate Data Store would deliver, coarser.

Today's NetCDF, that of before 2024, ZIP archives and GRIB 1, of the weather of `era5_files`.
"""

import functools
import io
import itertools
import json
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
from cds_server_grib import write_grib
from era5_files import ACCUMULATED, VARIABLES, write_file

SHORT_NAMES = {cds_name: short for short, (_, cds_name, *_) in VARIABLES.items()}
_WRITING = threading.Lock()

WEEK = {
    "product_type": ["reanalysis"],
    "year": ["1991"],
    "month": ["02"],
    "day": ["26", "27", "28", "29", "30", "31"],
    "time": ["00:00"],
    "area": [55, 115, 15, 155],
    "data_format": "netcdf",
    "download_format": "unarchived",
}
SINGLE, UPPER = "reanalysis-era5-single-levels", "reanalysis-era5-pressure-levels"
PRESSURE = WEEK | {"variable": ["mean_sea_level_pressure"]}
HEIGHT = WEEK | {"variable": ["geopotential"], "pressure_level": ["500", "1000"]}
"""Requests of three days that there are and three that there are not."""


FILE = bytes(range(256)) * 4000


def some_file(dataset: str, inputs: dict) -> bytes:
    """The same bytes for any request, where it does not matter what they are."""
    return FILE


def era5_response(
    dataset: str, inputs: dict, step: float = 5.0, convention: str = "today", seed: int = 0
) -> bytes:
    """The file of a request; asked again, the same bytes without delay.

    Args:
        dataset: of single levels or of pressure levels.
        inputs: what was asked: variable, pressure_level, year, month, day, time, area,
            data_format (grib unless netcdf), download_format (unarchived unless zip).
        step: spacing of the grid in degrees; the store's own would be 0.25.
        convention: of NetCDF, ``today`` or ``old``.
        seed: of the weather.

    Raises:
        ValueError: what the store could not serve.
    """
    asked = json.dumps(inputs, sort_keys=True)
    # One at a time: a second caller of the same file finds it made.
    with _WRITING:
        return _made(dataset, asked, step, convention, seed)


@functools.lru_cache(maxsize=1024)
def _made(dataset, asked, step, convention, seed):
    inputs = json.loads(asked)
    if _listed(inputs, "product_type") != ["reanalysis"]:
        raise ValueError("Request has not produced a valid combination of values")
    fields, times = _fields(dataset, inputs), _times(inputs)
    lat, lon = _grid(inputs.get("area", [90, -180, -90, 180 - step]), step)
    archived = inputs.get("download_format", "unarchived") == "zip"
    if inputs.get("data_format", "grib") == "grib":
        content = write_grib(fields, times, lat, lon, seed)
        return _archive("data.grib", content) if archived else content
    # Fields of both kinds come in an archive, whatever was asked.
    both = 0 < len(set(fields) & set(ACCUMULATED)) < len(fields)
    if archived or both:
        convention = "zip"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "response.nc"
        write_file(path, fields, times, (lat, lon), convention, seed)
        return path.read_bytes()


def _listed(inputs, key):
    """Values of a key as text; the store takes one value or a list."""
    values = inputs.get(key, [])
    return [str(value) for value in (values if isinstance(values, list) else [values])]


def _fields(dataset, inputs):
    """Native names: ``msl``, ``z500``."""
    levels = _listed(inputs, "pressure_level")
    upper = dataset == "reanalysis-era5-pressure-levels"
    names = [SHORT_NAMES.get(name, "") for name in _listed(inputs, "variable")]
    if not names or "" in names or upper != bool(levels):
        raise ValueError("Request has not produced a valid combination of values")
    return tuple(f"{name}{level}" for name in names for level in levels or [""])


def _times(inputs):
    """Every hour asked of every date that there is, in order."""
    found = []
    keys = ("year", "month", "day", "time")
    for year, month, day, time in itertools.product(*(_listed(inputs, key) for key in keys)):
        try:
            found.append(np.datetime64(f"{year}-{int(month):02}-{int(day):02}T{time}", "m"))
        except ValueError:
            # The 31st of every month may be asked.
            continue
    if not found:
        raise ValueError("Request has not produced a valid combination of values")
    return np.unique(np.array(found))


def _grid(area, step):
    """Latitudes and longitudes from the north-western corner; area is N, W, S, E."""
    north, west, south, east = (float(edge) for edge in area)
    rows, columns = int((north - south) / step + 1e-6), int((east - west) / step + 1e-6)
    return north - step * np.arange(rows + 1), west + step * np.arange(columns + 1)


def _archive(name, content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()

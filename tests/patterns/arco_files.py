"""Zarr folders in ARCO-ERA5's layout, with the weather of NetCDF files in them.

Dimensions time, level, latitude and longitude; hours since 1900 and levels as int64, an hour a
chunk, the whole globe from 90 N to 90 S and from 0 to 360 E, the long names of the variables.
"""

import warnings

import numpy as np
import xarray as xr
from era5_files import VARIABLES
from synthetic_weather import kind_of

from tenkizu.patterns.reading.maps import open_files

STEP = 5.0
LEVELS = (500, 850, 1000)


def globe(step=STEP):
    """Latitudes north first and longitudes from 0 of the globe."""
    return np.arange(90.0, -90.0 - step / 2, -step), np.arange(0.0, 360.0, step)


def write_arco(path, sources, fields, chunk=None, zarr_format=2, hours=24, **options):
    """Maps of NetCDF files at 00 UTC, in their region; other hours and places hold other weather.

    Args:
        path: folder to make.
        sources: NetCDF files.
        fields: native names.
        chunk: cells a side of a chunk; default the whole globe.
        hours: maps a day.
        options: of `xarray.Dataset.to_zarr`.
    """
    lat, lon = globe()
    with open_files(sources, names=fields) as source:
        days = source.times
        earlier = source.read_before("msl", days[:1])
        if np.isfinite(earlier).all():
            days = np.concatenate([days[:1] - np.timedelta64(1, "D"), days])
        times = (days[:, None] + np.arange(0, 24, 24 // hours) * np.timedelta64(1, "h")).ravel()
        rows = np.searchsorted(-lat, -source.grid.y)
        columns = np.searchsorted(lon, source.grid.x)
        variables = {}
        for field in fields:
            kind = kind_of(field) if field not in VARIABLES else field
            _, name, units, long_name = VARIABLES[kind]
            known = source.times
            maps = source.read([field], known)[field]
            if len(days) > len(known):
                # Of the day before the first only the pressure is needed.
                maps = np.concatenate([earlier if field == "msl" else maps[:1], maps])
            whole = np.full((len(days), hours, len(lat), len(lon)), np.nanmean(maps) * 1.01)
            whole[:, 0, rows[:, None], columns] = maps
            shape, dims = (len(times), len(lat), len(lon)), ("time", "latitude", "longitude")
            values = whole.reshape(shape).astype(np.float32)
            if field in VARIABLES:
                variables[name] = (dims, values, {"units": units, "long_name": long_name})
                continue
            if name not in variables:
                empty = np.full((shape[0], len(LEVELS), *shape[1:]), np.nan, np.float32)
                dims = ("time", "level", "latitude", "longitude")
                variables[name] = (dims, empty, {"units": units, "long_name": long_name})
            variables[name][1][:, LEVELS.index(int(field[len(kind) :]))] = values
    coordinates = {
        "time": times.astype("M8[ns]"),
        "level": np.array(LEVELS, np.int64),
        "latitude": lat.astype(np.float32),
        "longitude": lon.astype(np.float32),
    }
    dataset = xr.Dataset(variables, coordinates)
    hourly = {"units": "hours since 1900-01-01", "calendar": "proleptic_gregorian"}
    sizes = (chunk or len(lat), chunk or len(lon))
    encoding = {"time": hourly | {"dtype": "int64", "chunks": (len(times),)}} | {
        name: {"chunks": (1, *([len(LEVELS)] if "level" in v.dims else []), *sizes)}
        for name, v in dataset.data_vars.items()
    }
    with warnings.catch_warnings():
        # Consolidated metadata of format 3, which xarray and zarr have but no standard yet.
        warnings.simplefilter("ignore")
        dataset.to_zarr(path, zarr_format=zarr_format, encoding=encoding, **options)
    return path

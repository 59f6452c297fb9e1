"""Small rain files of any kind, and what is read from them or said against them."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import tenkizu
from tenkizu.core.errors import DataError
from tenkizu.rain.hourly import iterate_windows, open_rain, window_starts

SAMPLES = Path(tenkizu.__file__).parent / "samples" / "rain"
IMERG = SAMPLES / "imerg_sbrazil_hourly_20231102_03.nc"
RADOLAN = SAMPLES / "radolan_yw_hourly_20180510_20.nc"

LAT = np.array([40.0, 39.5, 39.0])
LON = np.array([130.0, 130.5, 131.0, 131.5])
MM = np.random.default_rng(7).gamma(0.3, 3.0, (24, 3, 4)).round(3)


def dataset(
    values=MM,
    *,
    name="rain",
    units="mm",
    start="2020-06-01T01:00",
    step=60,
    times=None,
    dims=("time", "lat", "lon"),
    coords=None,
    long_name="rain of the hour ending at time",
    **attrs,
):
    """Rain in a file as most are: `values` on (time, lat, lon), stamped at the end of the hour."""
    if times is None:
        times = np.datetime64(start, "ns") + np.arange(len(values)) * np.timedelta64(step, "m")
    times = np.asarray(times, dtype="datetime64[ns]")
    if coords is None:
        coords = {
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        }
    if units is not None:
        attrs["units"] = units
    if long_name is not None:
        attrs["long_name"] = long_name
    return xr.Dataset({name: (dims, np.asarray(values), attrs)}, {"time": times, **coords})


def all_amounts(path, options=None, **kwargs):
    with open_rain(path, options, **kwargs) as series:
        return np.stack([series.amounts(i) for i in range(len(series.ends))])


def fails(path, *words, options=None, strict_time=False, error=DataError):
    """Opening or reading must raise, and the message must hold the file's name and the words."""
    with pytest.raises(error) as caught, open_rain(path, options, strict_time) as series:
        for _ in iterate_windows(series, window_starts(series)):
            pass
    message = str(caught.value)
    for word in words:
        assert word in message, message
    if error is DataError:
        assert path.name in message
    return message

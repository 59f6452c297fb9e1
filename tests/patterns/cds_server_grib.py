"""GRIB as the Climate Data Store delivers ERA5: edition 1, a message for each time and field."""

import importlib

import numpy as np
from era5_files import ACCUMULATED, VARIABLES, kind_of
from synthetic_weather import Weather


def _eccodes():
    """ecCodes, after pyproj: both bring PROJ, and loaded the other way round the process dies."""
    importlib.import_module("pyproj")
    return importlib.import_module("eccodes")


def write_grib(fields, times, lat, lon, seed):
    """Native fields at times on a grid, 16 bits a value as MARS packs ERA5; the bytes."""
    weather = Weather(lat, lon, seed)
    maps = weather.fields(fields, times)
    messages = [
        _message(field, time, values, lat, lon)
        for index, time in enumerate(times)
        for field, values in ((field, maps[field][index]) for field in fields)
    ]
    return b"".join(messages)


def _message(field, time, values, lat, lon):
    upper = field not in VARIABLES
    short = kind_of(field) if upper else field
    base, step = time, 0
    if field in ACCUMULATED:
        # Short forecasts from 06 and 18 UTC; the sum is of the hour that ends.
        hour = int(time.astype("datetime64[h]").astype(int)) % 24
        step = (hour - 6 - 1) % 12 + 1
        base = time - np.timedelta64(step, "h")
    stamp = str(base)
    keys = {
        "marsClass": "ea", "marsType": "fc" if step else "an", "experimentVersionNumber": "0001",
        "paramId": VARIABLES[short][0],
        "dataDate": int(stamp[:10].replace("-", "")),
        "dataTime": int(stamp[11:16].replace(":", "")),
        "Ni": len(lon), "Nj": len(lat),
        "latitudeOfFirstGridPointInDegrees": lat[0], "latitudeOfLastGridPointInDegrees": lat[-1],
        "longitudeOfFirstGridPointInDegrees": lon[0], "longitudeOfLastGridPointInDegrees": lon[-1],
        "iDirectionIncrementInDegrees": lon[1] - lon[0],
        "jDirectionIncrementInDegrees": lat[0] - lat[1],
        "bitsPerValue": 16,
    }  # fmt: skip
    if upper:
        keys["level"] = int(field.removeprefix(short))
    if step:
        keys |= {"timeRangeIndicator": 4, "startStep": step - 1, "endStep": step}
    eccodes = _eccodes()
    sample = f"regular_ll_{'pl' if upper else 'sfc'}_grib1"
    message = eccodes.codes_grib_new_from_samples(sample)
    try:
        for key, value in keys.items():
            eccodes.codes_set(message, key, value)
        missing = 9999.0
        eccodes.codes_set(message, "missingValue", missing)
        eccodes.codes_set(message, "bitmapPresent", int(np.isnan(values).any()))
        eccodes.codes_set_values(message, np.nan_to_num(values, nan=missing).ravel().astype(float))
        return eccodes.codes_get_message(message)
    finally:
        eccodes.codes_release(message)


def read_grib(path):
    """(keys, values) of each message; values (rows, columns) are NaN where they are missing.

    Keys: edition, short name, level, date and time (UTC) of validity, steps in hours.
    """
    eccodes = _eccodes()
    found = []
    with open(path, "rb") as file:
        while (message := eccodes.codes_grib_new_from_file(file)) is not None:
            names = ("edition", "shortName", "level", "validityDate", "validityTime", "stepRange")
            keys = tuple(eccodes.codes_get(message, name) for name in names)
            shape = eccodes.codes_get(message, "Nj"), eccodes.codes_get(message, "Ni")
            values = eccodes.codes_get_values(message).reshape(shape)
            missing = eccodes.codes_get(message, "missingValue")
            found.append((keys, np.where(values == missing, np.nan, values)))
            eccodes.codes_release(message)
    return found

"""The variables of a monthly file: names, order, units and CF attributes."""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tenkizu.rain.fields import LEADS, MSM24

RAIN_NAMES = {
    "P": "Prec_ft3",
    "S": "Prec_4_6h_sum",
    "y4": "Prec_Target_ft4",
    "y5": "Prec_Target_ft5",
    "y6": "Prec_Target_ft6",
    "N": "Prec_6_9h_sum",
}
"""What the planes of `tables.RAIN` are called in a monthly file, in the file's order."""

FOLLOWING = RAIN_NAMES["N"]
"""The one variable that a file may lack."""

TIME_FEATURES = ("dayofyear_sin", "dayofyear_cos", "hour_sin", "hour_cos")

_QUANTITIES = {
    "Prmsl": ("Pa", "air_pressure_at_mean_sea_level", "air pressure at mean sea level"),
    "U": ("m s-1", "eastward_wind", "eastward wind"),
    "V": ("m s-1", "northward_wind", "northward wind"),
    "T": ("K", "air_temperature", "air temperature"),
    "R": ("%", "relative_humidity", "relative humidity"),
    # Units of the CF table; the geopotential metre (gpm) of GRIB2 is the same number.
    "GH": ("m", "geopotential_height", "geopotential height"),
}
_HOURS = {"P": (0, 3), "y4": (3, 4), "y5": (4, 5), "y6": (5, 6), "S": (3, 6), "N": (6, 9)}
_FEATURE_NAMES = {
    "dayofyear": "2 pi n / 366, n the day of the year of t0 (UTC, from 1)",
    "hour": "2 pi h / 24, h the hour of t0 (UTC)",
}
_PLAUSIBLE = {
    "Prmsl": (80_000.0, 110_000.0),
    "U": (-200.0, 200.0),
    "V": (-200.0, 200.0),
    "T": (170.0, 330.0),
    "R": (0.0, 110.0),
    "GH": (0.0, 20_000.0),
}


@dataclass(frozen=True)
class Variable:
    """A variable on (time, lat, lon), or on (time) for the time features.

    Attributes:
        name: in the file.
        units: in the file.
        plausible: least and largest value that is believed.
        attributes: CF attributes beside the units.
        kind: ``field``, ``rain`` or ``feature``.
    """

    name: str
    units: str
    plausible: tuple[float, float]
    kind: str
    attributes: dict[str, object] = field(default_factory=dict)


def _field(base: str, lead: str) -> Variable:
    """A forecast field such as T850 at ft3."""
    letters, digits, metres = re.fullmatch(r"(Prmsl|[A-Z]+)(\d*)(m?)", base).groups()  # type: ignore[union-attr]
    units, standard_name, words = _QUANTITIES[letters]
    hours = int(lead.removeprefix("ft"))
    level = "" if not digits else f" at {digits} m" if metres else f" at {digits} hPa"
    attributes = {
        "standard_name": standard_name,
        "long_name": f"{words}{level}, {hours} h after t0",
        "lead_hours": hours,
    }
    return Variable(f"{base}_{lead}", units, _PLAUSIBLE[letters], "field", attributes)


def _rain(plane: str) -> Variable:
    """Rain of one hour, or of three."""
    first, last = _HOURS[plane]
    length = "1 hour" if last - first == 1 else f"{last - first} hours"
    attributes = {
        "standard_name": "lwe_thickness_of_precipitation_amount",
        "long_name": f"rain from {first} to {last} h after t0",
        "cell_methods": f"time: sum (interval: {length})",
        "lead_start_hours": first,
        "lead_end_hours": last,
    }
    return Variable(RAIN_NAMES[plane], "mm", (0.0, 1000.0), "rain", attributes)


def _feature(name: str) -> Variable:
    angle, function = name.split("_")
    word = {"sin": "sine", "cos": "cosine"}[function]
    long_name = f"{word} of {_FEATURE_NAMES[angle]}"
    return Variable(name, "1", (-1.0, 1.0), "feature", {"long_name": long_name})


VARIABLES = {
    variable.name: variable
    for variable in (
        *(_field(base, lead) for base in MSM24 for lead in LEADS),
        *(_rain(plane) for plane in RAIN_NAMES),
        *(_feature(name) for name in TIME_FEATURES),
    )
}
"""All variables in the order of the file: 48 fields, 6 of rain, 4 time features."""

MAPS = tuple(name for name, variable in VARIABLES.items() if variable.kind != "feature")
"""Those on (time, lat, lon)."""


def time_features(times: NDArray[np.datetime64]) -> dict[str, NDArray[np.float32]]:
    """Sine and cosine of day of year (period 366, from 1) and hour (24) of t0, (n,) each.

    Args:
        times: t0 in UTC, (n,).
    """
    days = times.astype("datetime64[D]")
    of_year = (days - times.astype("datetime64[Y]")).astype(np.int64) + 1
    hours = (times.astype("datetime64[m]") - days).astype(np.int64) / 60
    angles = 2 * np.pi * of_year / 366, 2 * np.pi * hours / 24
    values = [f(angle).astype(np.float32) for angle in angles for f in (np.sin, np.cos)]
    return dict(zip(TIME_FEATURES, values, strict=True))

"""Plain words for the numbers of GRIB2: those that JMA's files use.

After the code tables of the WMO Manual on Codes (4.2, 4.4, 4.5, 4.10, 5.0) and JMA's notes on its
local entries. What is not here is shown by its numbers.
"""

PARAMETERS = {
    (0, 0, 0): ("temperature", "K"),
    (0, 0, 2): ("potential temperature", "K"),
    (0, 0, 3): ("equivalent potential temperature", "K"),
    (0, 0, 4): ("maximum temperature", "K"),
    (0, 0, 5): ("minimum temperature", "K"),
    (0, 0, 6): ("dew point", "K"),
    (0, 0, 7): ("dew point depression", "K"),
    (0, 1, 0): ("specific humidity", "kg/kg"),
    (0, 1, 1): ("relative humidity", "%"),
    (0, 1, 3): ("precipitable water", "kg/m2"),
    (0, 1, 7): ("precipitation rate", "kg/m2/s"),
    (0, 1, 8): ("precipitation", "mm"),
    (0, 1, 10): ("convective precipitation", "mm"),
    (0, 1, 11): ("snow depth", "m"),
    (0, 1, 29): ("snowfall", "m"),
    (0, 1, 52): ("precipitation (guidance)", "mm"),
    (0, 1, 200): ("precipitation (radar and gauges)", "mm"),
    (0, 2, 0): ("wind direction", "degrees"),
    (0, 2, 1): ("wind speed", "m/s"),
    (0, 2, 2): ("eastward wind", "m/s"),
    (0, 2, 3): ("northward wind", "m/s"),
    (0, 2, 4): ("stream function", "m2/s"),
    (0, 2, 5): ("velocity potential", "m2/s"),
    (0, 2, 8): ("vertical velocity", "Pa/s"),
    (0, 2, 9): ("vertical velocity", "m/s"),
    (0, 2, 10): ("absolute vorticity", "1/s"),
    (0, 2, 12): ("relative vorticity", "1/s"),
    (0, 2, 13): ("divergence", "1/s"),
    (0, 2, 22): ("gust", "m/s"),
    (0, 3, 0): ("pressure", "Pa"),
    (0, 3, 1): ("sea level pressure", "Pa"),
    (0, 3, 4): ("geopotential", "m2/s2"),
    (0, 3, 5): ("geopotential height", "gpm"),
    (0, 3, 6): ("height", "m"),
    (0, 4, 7): ("downward solar radiation", "W/m2"),
    (0, 5, 3): ("downward thermal radiation", "W/m2"),
    (0, 6, 1): ("total cloud", "%"),
    (0, 6, 3): ("low cloud", "%"),
    (0, 6, 4): ("medium cloud", "%"),
    (0, 6, 5): ("high cloud", "%"),
    (0, 7, 6): ("convective available energy", "J/kg"),
    (0, 7, 7): ("convective inhibition", "J/kg"),
    (0, 19, 0): ("visibility", "m"),
    (2, 0, 0): ("land cover (1 land, 0 sea)", "1"),
    (10, 0, 3): ("wave height", "m"),
    (10, 0, 5): ("wind wave height", "m"),
    (10, 0, 8): ("swell height", "m"),
    (10, 0, 10): ("wave direction", "degrees"),
    (10, 0, 11): ("wave period", "s"),
    (10, 3, 0): ("sea temperature", "K"),
}
"""Name and unit by discipline, category and number."""

PROBABILITIES = {5, 9}
"""Templates of section 4 whose values are chances of what the parameter says."""

STATISTICS = {0: "mean", 1: "sum", 2: "maximum", 3: "minimum", 4: "change", 5: "RMS", 6: "SD"}
"""What is done over an interval."""

LEVELS = {
    1: ("ground", None, 1.0),
    2: ("cloud base", None, 1.0),
    3: ("cloud top", None, 1.0),
    4: ("0 C level", None, 1.0),
    7: ("tropopause", None, 1.0),
    8: ("top of atmosphere", None, 1.0),
    10: ("whole atmosphere", None, 1.0),
    100: ("", "hPa", 0.01),
    101: ("sea level", None, 1.0),
    102: ("above sea level", "m", 1.0),
    103: ("above ground", "m", 1.0),
    104: ("sigma", "", 1.0),
    105: ("model level", "", 1.0),
    106: ("below ground", "m", 1.0),
    107: ("isentropic", "K", 1.0),
    255: ("no level", None, 1.0),
}
"""Words, unit shown (None: no value) and factor to it, by type of fixed surface."""

PACKINGS = {
    0: "simple",
    2: "complex",
    3: "spatial differences",
    4: "floats",
    40: "JPEG 2000",
    41: "PNG",
    42: "CCSDS",
    200: "run length",
}
"""By template of section 5."""

BITMAPS = {255: "none", 0: "own", 254: "reused"}
"""By indicator of section 6."""

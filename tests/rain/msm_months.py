"""Monthly files of made-up but plausible forecasts, written with the package's own layout.

Fields are smooth around typical values; showers drift east, a window's hours are those of its
valid times, and all numbers are known to the tests.
"""

from pathlib import Path

import h5netcdf
import numpy as np

from tenkizu.rain.msm.month_plans import expected_times
from tenkizu.rain.msm.monthly_writing import create_month, model_grid
from tenkizu.rain.msm.variables import MAPS, RAIN_NAMES, VARIABLES

TYPICAL = {
    "Prmsl": (101_000.0, 400.0), "U": (5.0, 6.0), "V": (1.0, 5.0), "T": (280.0, 6.0),
    "R": (60.0, 12.0), "GH500": (5700.0, 60.0), "GH300": (9400.0, 90.0),
}  # fmt: skip
CROP = (200, 150, 10, 12)
"""First row and column, rows and columns on the model grid."""


def month_of(year_month, count=None):
    """t0 of a month, or the first ``count`` of them, datetime64[m]."""
    return np.array(expected_times(np.datetime64(year_month, "M"))[:count])


def make_maps(times, shape=CROP[2:], seed=3):
    """All maps (n, H, W) by name: six variables of rain in multiples of 1/16 mm, and 48 fields."""
    rng = np.random.default_rng([seed, int(times[0].astype(int) % 2**31)])
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    maps = {}
    for name in MAPS:
        if VARIABLES[name].kind != "field":
            continue
        mean, spread = next(v for k, v in TYPICAL.items() if name.startswith(k))
        phase = rng.uniform(0, 6, (len(times), 3))
        wave = np.sin(rows / 4 + phase[:, 0, None, None]) + np.cos(
            columns / 5 + phase[:, 1, None, None]
        )
        maps[name] = (mean + spread * (wave / 2 + phase[:, 2, None, None] / 6)).astype(np.float32)
    hours = {}

    def hour(end):
        """Rain of the hour that ends ``end`` hours after 1970."""
        if end not in hours:
            draw = np.random.default_rng([seed, end])
            # Showers of six hours with pauses.
            shower = np.random.default_rng([seed, end // 6]).random(shape) < 0.3
            amount = draw.exponential(6.0, shape) * (shower & (draw.random(shape) < 0.6))
            amount *= np.exp(-(((columns - end % shape[1]) / 4) ** 2))
            hours[end] = np.floor(amount * 16) / 16
        return hours[end]

    start = times.astype("datetime64[h]").astype(int)
    ends = {"P": (1, 2, 3), "y4": (4,), "y5": (5,), "y6": (6,), "S": (4, 5, 6), "N": (7, 8, 9)}
    for plane, leads in ends.items():
        total = [sum(hour(int(t) + lead) for lead in leads) for t in start]
        maps[RAIN_NAMES[plane]] = np.array(total, np.float32)
    return {name: maps[name] for name in MAPS}


def write_maps(path: Path, times, maps, crop=CROP, **attributes):
    """A monthly file of these maps."""
    grid = model_grid(crop)
    path.parent.mkdir(parents=True, exist_ok=True)
    following = RAIN_NAMES["N"] in maps
    create_month(path, times, grid, "lz4", following, {"title": "made up", **attributes})
    with h5netcdf.File(path, "r+") as file:
        for name, values in maps.items():
            file.variables[name][...] = values
    return path

"""Generators of small stores and monthly files in the true layout of MSM: 48 fields and rain.

Numbers are made up but plausible: smooth fields around typical values, and showers that move two
cells east in an hour. The real domain is 480 x 480; these are a few hundred km over western Japan.
Samples are split by year of t0.
"""

from functools import reduce
from operator import add
from pathlib import Path

import h5netcdf
import hdf5plugin
import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import gaussian_filter

from tenkizu.core.grid import Grid
from tenkizu.core.stats import Moments
from tenkizu.core.store import SampleStore, StoreWriter, plain
from tenkizu.core.verification import Tally
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.config import LossConfig
from tenkizu.rain.fields import MSM24, field_pairs, units_of
from tenkizu.rain.tables import RAIN, window_tables

# Mean and spread by the beginning of the name.
TYPICAL = {
    "Prmsl": (101_000, 700), "U": (6, 8), "V": (0, 6), "T2m": (290, 8), "T9": (286, 8),
    "T85": (280, 7), "T50": (258, 6), "R": (60, 20), "GH500": (5700, 90), "GH300": (9400, 130),
}  # fmt: skip
TIMES = {
    "train": ("2018-07-05T03", "2019-06-28T15", "2020-01-20T06", "2021-12-31T21"),
    "validation": ("2022-01-01T00", "2022-08-03T12"),
    "test": ("2023-06-02T09", "2023-12-31T21"),
}
"""t0 of the samples; windows start three hours later, in two cases in the next year."""


def smooth(rng: np.random.Generator, shape: tuple[int, int], width: float) -> np.ndarray:
    """A smooth random field with mean 0 and standard deviation 1."""
    field = gaussian_filter(rng.normal(size=shape), width, mode="wrap")
    return (field - field.mean()) / field.std()


def make_fields(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """(48, H, W); what is at FT=6 resembles FT=3."""
    planes = []
    for base in MSM24:
        mean, spread = next(v for k, v in TYPICAL.items() if base.startswith(k))
        before, change = smooth(rng, shape, 6), smooth(rng, shape, 6)
        planes += [mean + spread * before, mean + spread * (0.9 * before + 0.3 * change)]
    return np.array(planes, np.float32)


def make_rain(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """(6, H, W) in the order of `RAIN`: nine hours of showers, in multiples of 0.01 mm."""
    shower = np.maximum(smooth(rng, shape, 2) - 1.1, 0) * 12
    strength = rng.uniform(0.6, 1.2, 9)
    hours = [(np.roll(shower, 2 * k, axis=1) * s).round(2) for k, s in enumerate(strength)]
    previous, total, following = (sum(hours[k : k + 3]) for k in (0, 3, 6))
    return np.stack([previous, *hours[3:6], total, following]).astype(np.float32)


def write_msm_store(
    folder: Path, shape: tuple[int, int] = (40, 40), n: bool = True, seed: int = 5
) -> SampleStore:
    """Write a store of eight samples; without ``n`` the rain has five planes."""
    rng = np.random.default_rng(seed)
    starts, splits = [], []
    for split, times in TIMES.items():
        starts += [np.datetime64(t, "m") + np.timedelta64(180, "m") for t in times]
        splits += [split] * len(times)
    fields = np.stack([make_fields(rng, shape) for _ in starts])
    rain = np.stack([make_rain(rng, shape) for _ in starts])
    if not n:
        rain[:, -1] = np.nan
    loss = LossConfig()
    tables = {split: Tally() for split in TIMES}
    climatology = Climatology.empty()
    for split, start, window in zip(splits, starts, rain, strict=True):
        tables[split] = tables[split] + window_tables(window, loss)
        if split == "train":
            climatology += Climatology.of(start, window[1:4], window[4])

    def moments(samples: np.ndarray) -> dict:
        """Of the training samples."""
        training = [
            Moments.of(s) for s, split in zip(samples, splits, strict=True) if split == "train"
        ]
        total = reduce(add, training)
        return total.to_json() | {"std": total.std}

    writer = StoreWriter(folder, "generated")
    count, half = len(starts), len(starts) // 2
    planes = len(RAIN) if n else len(RAIN) - 1
    arrays = {
        "fields": {
            "channels": field_pairs(MSM24),
            "units": [units_of(c) for c in field_pairs(MSM24)],
        },
        "rain": {"channels": RAIN[:planes], "units": "mm"},
    }
    for name, values in (("fields", fields), ("rain", rain[:, :planes])):
        blocks = []
        for first, last in ((0, half), (half, count)):

            def fill(array: np.ndarray, part: np.ndarray = values[first:last]) -> dict:
                array[:] = part
                return {}

            writer.block(f"{name}_{first}", (last - first, *values.shape[1:]), fill)
            blocks.append({"file": f"{name}_{first}.npy", "first": first, "count": last - first})
        arrays[name]["blocks"] = blocks
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    meta = {
        "kind": "rain",
        "plan_hash": "generated",
        "n_samples": count,
        "starts": [str(start) for start in starts],
        "splits": splits,
        "grid": Grid("latlon", 34.95 - 0.05 * rows, 130.0 + 0.0625 * columns).to_json(),
        "arrays": arrays,
        "statistics": {
            "period": "training samples only",
            "fields": moments(fields),
            "mm": moments(rain),
            "log1p_mm": moments(np.log1p(rain)),
        },
        "tables": {split: tally.to_json() for split, tally in tables.items()},
        "climatology": climatology.to_json(),
        "source": {"files": ["generated"], "variable": "rain", "negatives_zeroed": 0},
        "config": {"loss": loss.model_dump(mode="json")},
    }
    return writer.finish(plain(meta))


# ---------------------------------------------------------------------------- monthly files

RAIN_NAMES = (
    "Prec_ft3", "Prec_Target_ft4", "Prec_Target_ft5", "Prec_Target_ft6", "Prec_4_6h_sum",
    "Prec_6_9h_sum",
)  # fmt: skip
"""Variables of a monthly file in the order of `RAIN`."""

FILE_UNITS = {"gpm": "m"}
"""Units of a monthly file where they differ from those of a store."""


def axes(shape: tuple[int, int], place: tuple[int, int] = (240, 160)) -> tuple[np.ndarray, ...]:
    """Latitudes and longitudes of a rectangle of the model grid, by its first row and column."""
    rows, columns = place[0] + np.arange(shape[0]), place[1] + np.arange(shape[1])
    return 46.95 - 0.05 * rows, 120 + 0.0625 * columns


def interpolated(nodes: np.ndarray, place: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """A field on a rectangle of the model grid, by coordinates, from the pressure grid around it.

    Args:
        nodes: (h, w); the first is ((place[0] + 1) // 2, place[1] // 2) of the grid that begins at
            47.0 N, 120 E, with 0.1 x 0.125 degrees.
        place: first row and column of the rectangle in the model grid, whose first is at 46.95 N.
        shape: its rows and columns.
    """
    first_lat = 47.0 - 0.1 * ((place[0] + 1) // 2)
    first_lon = 120 + 0.125 * (place[1] // 2)
    lat = first_lat - 0.1 * np.arange(nodes.shape[0])
    lon = first_lon + 0.125 * np.arange(nodes.shape[1])
    find = RegularGridInterpolator((-lat, lon), nodes, bounds_error=False, fill_value=None)
    y, x = np.meshgrid(*axes(shape, place), indexing="ij")
    return find((-y, x))


def make_forecast(
    rng: np.random.Generator, shape: tuple[int, int], place: tuple[int, int]
) -> np.ndarray:
    """`make_fields`, those on pressure levels interpolated from every second node as in MSM."""
    fields = make_fields(rng, shape)
    coarse = make_fields(rng, (shape[0] // 2 + 2, shape[1] // 2 + 2))
    for i, name in enumerate(field_pairs(MSM24)):
        if not name.startswith("Prmsl") and "m_" not in name and "T2m" not in name:
            nodes = coarse[i].astype(np.float64)
            nodes = np.clip(nodes, 0, 100) if name.startswith("R") else nodes
            fields[i] = interpolated(nodes, place, shape)
    return fields


def write_month(
    path: Path,
    times: list[str],
    fields: np.ndarray,
    rain: np.ndarray,
    place: tuple[int, int] = (240, 160),
    change=None,
) -> Path:
    """Write one monthly file.

    Args:
        path: such as 201807.nc.
        times: t0 of each sample.
        fields: (n, 48, H, W).
        rain: (n, 6, H, W), or five planes without N.
        place: of the rectangle in the model grid.
        change: is given the file before it is closed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lat, lon = axes(fields.shape[2:], place)
    names = [*field_pairs(MSM24), *RAIN_NAMES[: rain.shape[1]]]
    units = [units_of(name) for name in field_pairs(MSM24)] + ["mm"] * rain.shape[1]
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": len(times), "lat": len(lat), "lon": len(lon)}
        hours = np.array(times, "datetime64[h]").astype(np.int64)
        file.create_variable("time", ("time",), np.int64, data=hours)
        file["time"].attrs["units"] = "hours since 1970-01-01"
        file["time"].attrs["standard_name"] = "forecast_reference_time"
        for name, values, text in (("lat", lat, "degrees_north"), ("lon", lon, "degrees_east")):
            file.create_variable(name, (name,), np.float64, data=values).attrs["units"] = text
        for i, (name, unit) in enumerate(zip(names, units, strict=True)):
            variable = file.create_variable(
                name,
                ("time", "lat", "lon"),
                np.float32,
                chunks=(1, len(lat), len(lon)),
                **hdf5plugin.Zstd(clevel=1),
            )
            variable[:] = np.concatenate([fields, rain], axis=1)[:, i]
            variable.attrs["units"] = FILE_UNITS.get(unit, unit)
        if change is not None:
            change(file)
    return path


def write_months(
    folder: Path,
    shape: tuple[int, int] = (40, 40),
    n: bool = True,
    seed: int = 5,
    place: tuple[int, int] = (240, 160),
) -> tuple[np.ndarray, np.ndarray]:
    """Write the eight samples of `TIMES` as monthly files.

    Returns:
        Fields (8, 48, H, W) and rain (8, 6, H, W), N missing without ``n``; in order of time.
    """
    rng = np.random.default_rng(seed)
    times = [time for split in TIMES.values() for time in split]
    fields = np.stack([make_forecast(rng, shape, place) for _ in times])
    rain = np.stack([make_rain(rng, shape) for _ in times])
    for month in dict.fromkeys(time[:7] for time in times):
        mine = [i for i, time in enumerate(times) if time.startswith(month)]
        path = folder / f"{month.replace('-', '')}.nc"
        amounts = rain[mine] if n else rain[mine, :5]
        write_month(path, [times[i] for i in mine], fields[mine], amounts, place)
    if not n:
        rain[:, 5] = np.nan
    return fields, rain

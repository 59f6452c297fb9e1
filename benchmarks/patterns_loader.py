"""How fast random days come out of the sample store.

Run ``python benchmarks/patterns_loader.py``. A store of synthetic days (42 maps of 161 x 161, in
two blocks) is read in random order, each day copied into memory, and so are the same bytes in one
contiguous memory map and in a NetCDF file with one zlib chunk a day, opened by xarray. The file
cache is warm and every way is timed several times in turn; the median is printed. The store must
reach 0.8 of the memory map and 10 times the NetCDF.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5netcdf
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tenkizu.core.grid import Grid
from tenkizu.core.store import SampleStore, StoreWriter
from tenkizu.patterns.dataset import PatternDataset
from tenkizu.patterns.inputs import Inputs
from tenkizu.patterns.physics.channels import CHANNELS, SEED

MAPS = (*(name for name in SEED if CHANNELS[name].kind == "map"), "cape", "cin")
SHAPE = (len(MAPS), 161, 161)
NETCDF_DAYS = 60  # of which the slowest way reads at random

Read = Callable[[int], object]


def synthetic_day(rng: np.random.Generator, patterns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth maps with the small-scale variance of weather, (C, H, W)."""
    mixed = np.tensordot(rng.normal(size=(SHAPE[0], len(patterns))), patterns, axes=1)
    noise = rng.normal(scale=0.01, size=SHAPE)
    return (280.0 + 10.0 * mixed + noise).astype(np.float32)


def make(folder: Path, days: int) -> tuple[SampleStore, NDArray[np.float32], xr.Dataset]:
    """The same days as a store, as one memory map and as NetCDF."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(24, *SHAPE[1:]))
    patterns = np.stack([gaussian_filter(p, 8) * 16 for p in raw]).astype(np.float32)
    whole = np.lib.format.open_memmap(folder / "whole.npy", "w+", np.float32, (days, *SHAPE))
    writer, half = StoreWriter(folder / "store", "benchmark"), days // 2
    blocks = []
    for first, count in ((0, half), (half, days - half)):

        def fill(array: NDArray[np.float32], first: int = first) -> dict[str, int]:
            for i in range(len(array)):
                array[i] = whole[first + i] = synthetic_day(rng, patterns)
            return {}

        writer.block(f"maps_{first}", (count, *SHAPE), fill)
        blocks.append({"file": f"maps_{first}.npy", "first": first, "count": count})
    valid_times = np.datetime64("1991-01-01T00:00", "m") + np.arange(days) * np.timedelta64(1, "D")
    grid = Grid("latlon", np.linspace(55, 15, SHAPE[1]), np.linspace(115, 155, SHAPE[2]))
    store = writer.finish(
        {
            "n_samples": days,
            "grid": grid.to_json(),
            "days": valid_times.astype(str).tolist(),
            "arrays": {"maps": {"channels": MAPS, "blocks": blocks}},
        }
    )
    path = folder / "daily.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = dict(zip("tcyx", (min(days, NETCDF_DAYS), *SHAPE), strict=True))
        maps = file.create_variable(
            "maps",
            tuple("tcyx"),
            np.float32,
            chunks=(1, *SHAPE),
            compression="gzip",
            compression_opts=4,
            shuffle=True,
        )
        for i in range(len(maps)):
            maps[i] = whole[i]
    print(f"zlib makes the NetCDF {maps_ratio(path, min(days, NETCDF_DAYS)):.2f} times smaller")
    dataset = xr.open_dataset(path, engine="h5netcdf", cache=False)
    return store, np.load(folder / "whole.npy", mmap_mode="r"), dataset


def maps_ratio(path: Path, days: int) -> float:
    """Bytes of the maps over bytes of the file."""
    return 4 * days * int(np.prod(SHAPE)) / path.stat().st_size


def rate(read: Read, days: Sequence[int]) -> float:
    """Days per second."""
    began = time.perf_counter()
    for day in days:
        read(int(day))
    return len(days) / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=400, help="days in the store")
    parser.add_argument("--repeats", type=int, default=7, help="timings of each way")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store, whole, dataset = make(Path(name), options.days)
        targets = np.zeros((options.days, 1), bool)
        samples = PatternDataset(store, Inputs(MAPS), np.arange(options.days), targets)
        ways: dict[str, tuple[Read, int]] = {
            "one contiguous memory map": (lambda i: np.array(whole[i]), options.days),
            "sample store": (lambda i: np.array(store.read("maps", i)), options.days),
            "sample store as training samples": (lambda i: samples[i], options.days),
            "NetCDF, zlib, a day a chunk, xarray": (
                lambda i: dataset["maps"].isel(t=i).to_numpy(),
                min(options.days, NETCDF_DAYS),
            ),
        }
        rng = np.random.default_rng(1)
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.repeats + 1):
            for way, (read, days) in ways.items():
                rates[way].append(rate(read, rng.permutation(days)))
        dataset.close()
    megabytes = 4 * np.prod(SHAPE) / 1e6
    print(
        f"{os.cpu_count()} cores; {options.days} days of {megabytes:.2f} MB, random order, warm\n"
    )
    median = {way: float(np.median(values[1:])) for way, values in rates.items()}
    mapped, _, _, netcdf = median.values()
    print(f"{'':38} {'days/s':>8} {'ms/day':>8} {'of mmap':>8} {'of NetCDF':>10}")
    for way, value in median.items():
        ratios = f"{value / mapped:8.2f} {value / netcdf:10.1f}"
        print(f"{way:38} {value:8.0f} {1000 / value:8.2f} {ratios}")


if __name__ == "__main__":
    main()

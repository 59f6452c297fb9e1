"""How fast random samples of MSM size come out of the sample store.

Run ``python benchmarks/rain_loader.py`` (a few minutes; 5 GB in the temporary folder, which is
emptied again). A store of synthetic samples, 48 fields and 5 planes of rain on 480 x 480 cells in
float32, is read in random order as `RainDataset` gives the 53 channels of the reference network,
with targets. So are the same bytes in one contiguous memory map, each sample copied, and in a
NetCDF file with zlib whose chunks hold several times, as those of climate files often do. Reading
goes through a data loader, without workers and with two. The file cache is warm, every way is timed
several times in turn and the median is printed. The store must reach 0.8 of the memory map and 20
times the NetCDF. With ``--quick`` samples are so small that ratios to the memory map mean little.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch.utils.data import DataLoader, Dataset

from tenkizu.core.grid import Grid
from tenkizu.core.store import SampleStore, StoreWriter, plain
from tenkizu.rain.dataset import TIME_FEATURES, RainDataset
from tenkizu.rain.fields import MSM24, PREVIOUS, field_pairs
from tenkizu.rain.tables import RAIN

FIELDS = field_pairs(MSM24)
CHANNELS = [*FIELDS, PREVIOUS, *TIME_FEATURES]
PLANES = len(FIELDS) + len(RAIN) - 1
BATCH = 2


class Mapped(Dataset[torch.Tensor]):
    """Samples of one contiguous memory map, each copied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.map: NDArray[np.float32] | None = None

    def __getitem__(self, index: int) -> torch.Tensor:
        """One sample, (planes, H, W)."""
        if self.map is None:
            self.map = np.load(self.path, mmap_mode="r")
        return torch.from_numpy(np.array(self.map[index]))


class TimeBlocked(Dataset[torch.Tensor]):
    """Samples of a NetCDF file; the chunks of each variable hold several times."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: Any = None

    def __getitem__(self, index: int) -> torch.Tensor:
        """One sample, (planes, H, W)."""
        if self.file is None:
            self.file = h5netcdf.File(self.path, "r")
        return torch.from_numpy(np.stack([v[index] for v in self.file.variables.values()]))


def synthetic(rng: np.random.Generator, patterns: NDArray[np.float32]) -> NDArray[np.float32]:
    """One sample (planes, H, W): smooth fields with small-scale noise, then showers."""
    mixed = np.tensordot(rng.normal(size=(PLANES, len(patterns))), patterns, axes=1)
    noise = rng.normal(scale=0.01, size=mixed.shape)
    sample = (280.0 + 10.0 * mixed + noise).astype(np.float32)
    hours = np.maximum(mixed[-4:] - 1.0, 0.0).round(2)
    sample[-5:] = np.stack([hours[3], *hours[:3], hours[:3].sum(axis=0)])
    return sample


def make(folder: Path, count: int, side: int, block: int, netcdf: int) -> SampleStore:
    """The same samples as a store, as one memory map and, the first of them, as NetCDF."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(8, side, side))
    patterns = np.stack([gaussian_filter(p, side / 16) * side / 10 for p in raw])
    shape = (PLANES, side, side)
    whole = np.lib.format.open_memmap(folder / "whole.npy", "w+", np.float32, (count, *shape))
    for sample in whole:
        sample[:] = synthetic(rng, patterns.astype(np.float32))
    writer = StoreWriter(folder / "store", "benchmark")
    parts = {"fields": slice(0, len(FIELDS)), "rain": slice(len(FIELDS), PLANES)}
    for name, planes in parts.items():

        def fill(array: NDArray[np.float32], planes: slice = planes) -> dict[str, int]:
            array[:] = whole[:, planes]
            return {}

        writer.block(name, (count, planes.stop - planes.start, side, side), fill)
    block_of = {name: [{"file": f"{name}.npy", "first": 0, "count": count}] for name in parts}
    starts = np.datetime64("2018-01-01T03:00", "m") + 180 * np.arange(count)
    cells = np.arange(side, dtype=np.float64)
    grid = Grid("latlon", 46.95 - 0.05 * cells, 120 + 0.0625 * cells)
    meta = {
        "n_samples": count,
        "starts": starts.astype(str).tolist(),
        "splits": ["train"] * count,
        "grid": grid.to_json(),
        "arrays": {
            "fields": {"channels": FIELDS, "blocks": block_of["fields"]},
            "rain": {"channels": RAIN[:-1], "blocks": block_of["rain"]},
        },
    }
    with h5netcdf.File(folder / "blocked.nc", "w") as file:
        file.dimensions = {"time": netcdf, "lat": side, "lon": side}
        for i in range(PLANES):
            variable = file.create_variable(
                f"v{i:02d}",
                ("time", "lat", "lon"),
                np.float32,
                chunks=(min(block, netcdf), side, side),
                compression="gzip",
                compression_opts=4,
                shuffle=True,
            )
            variable[:] = whole[:netcdf, i]
    return writer.finish(plain(meta))


def rate(dataset: Dataset[Any], order: list[int], workers: int) -> float:
    """Samples per second of one epoch, after a short one that starts the workers."""
    sampler = order[: 2 * BATCH]
    loader = DataLoader(
        dataset, BATCH, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
    )
    for _ in loader:
        pass
    sampler[:] = order
    began = time.perf_counter()
    for _ in loader:
        pass
    return len(order) / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=40, help="samples in the store")
    parser.add_argument("--block", type=int, default=8, help="times in a chunk of the NetCDF")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each way")
    parser.add_argument("--quick", action="store_true", help="16 samples of 160 x 160, 3 timings")
    options = parser.parse_args()
    side = 480
    if options.quick:
        options.samples, options.repeats, side = 16, 3, 160
    torch.set_num_threads(1)
    netcdf = min(options.samples, 2 * options.block)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = make(folder, options.samples, side, options.block, netcdf)
        blocked_way = f"NetCDF, zlib, {options.block} times a chunk"
        ways: dict[str, tuple[Dataset[Any], int]] = {
            "memory map, a copy of each sample": (Mapped(folder / "whole.npy"), options.samples),
            "sample store, training samples": (
                RainDataset(store, "train", CHANNELS),
                options.samples,
            ),
            blocked_way: (TimeBlocked(folder / "blocked.nc"), netcdf),
        }
        megabytes = 4 * PLANES * side**2 / 1e6
        print(
            f"{os.cpu_count()} cores; {options.samples} samples of {PLANES} x {side} x {side} "
            f"float32 ({megabytes:.1f} MB), random order, warm"
        )
        rng = np.random.default_rng(1)
        for workers in (0, 2):
            rates: dict[str, list[float]] = {way: [] for way in ways}
            for repeat in range(options.repeats):
                for way, (dataset, count) in ways.items():
                    order = rng.permutation(count).tolist()
                    if way == blocked_way:
                        # Slow, and steady: a few samples, twice, are enough.
                        if repeat > 1:
                            continue
                        order = order[: 4 * BATCH]
                    rates[way].append(rate(dataset, order, workers))
            median = {way: float(np.median(values)) for way, values in rates.items()}
            mapped, _, blocked = median.values()
            print(f"\n{workers} workers{'':24} {'samples/s':>10} {'ms':>8} {'of mmap':>8} ", end="")
            print(f"{'of NetCDF':>10}")
            for way, value in median.items():
                ratios = f"{value / mapped:8.2f} {value / blocked:10.1f}"
                print(f"{way:33} {value:10.1f} {1000 / value:8.1f} {ratios}")


if __name__ == "__main__":
    main()

"""How fast random samples of MSM size come out of the sample store.

Run ``python benchmarks/rain_loader.py`` (a few minutes; 5 GB in the temporary folder, which is
emptied again). A store of synthetic samples, 48 fields and 5 planes of rain on 480 x 480 cells in
float32, is read in random order as `RainDataset` gives the 53 channels of the reference network,
with targets. So is a compact store of the same size, 16-bit integers with those on pressure levels
on every second node: as packed samples that go to the device, and with the upsampling that the
device does. So are the same bytes in one contiguous memory map, each sample copied, and in a NetCDF
file with zlib whose chunks hold several times, as those of climate files often do.

Reading goes through `BatchLoader`, without workers and with two, which are threads. The NetCDF file
is read by torch's data loader, whose workers are processes: its library lets one thread read at a
time. So is the memory map once more, to see what processes cost. The file cache is warm, every way
is timed several times in turn and the median is printed. The two stores are also read cold, after
the system was asked to forget their files. The store must reach 0.8 of the memory map and 20 times
the NetCDF. With ``--quick`` samples are so small that ratios to the memory map mean little.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch.utils.data import DataLoader, Dataset

from tenkizu.core.grid import Grid
from tenkizu.core.heap import keep_freed_memory
from tenkizu.core.loading import BatchLoader, Parts, Samples, join
from tenkizu.core.store import SampleStore, StoreWriter, plain
from tenkizu.rain.dataset import TIME_FEATURES, RainDataset
from tenkizu.rain.fields import MSM24, PREVIOUS, field_pairs
from tenkizu.rain.msm.compact import compact_channels
from tenkizu.rain.msm.compact_blocks import ARRAYS, CompactBlocks, bytes_per_sample
from tenkizu.rain.msm.compact_views import Unpacking
from tenkizu.rain.tables import RAIN

FIELDS = field_pairs(MSM24)
CHANNELS = [*FIELDS, PREVIOUS, *TIME_FEATURES]
PLANES = len(FIELDS) + len(RAIN) - 1
BATCH = 2


class Mapped(Samples):
    """Samples of one contiguous memory map, each copied."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        self.map: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return self.count

    def parts(self, item: Any) -> Parts:
        """One sample, (planes, H, W)."""
        if self.map is None:
            self.map = np.load(self.path, mmap_mode="r")
        return {"input": np.array(self.map[item])}


class Upsampled(Samples):
    """Samples of a compact store with the full input, which else the device makes."""

    def __init__(self, dataset: RainDataset) -> None:
        self.dataset, self.unpacking = dataset, Unpacking(CHANNELS)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def parts(self, item: Any) -> Parts:
        """The input of one sample, (planes, H, W)."""
        batch = join([self.dataset.parts(item)])
        return {"input": self.unpacking(batch)[0].numpy()}


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


def make_compact(folder: Path, store: SampleStore, count: int, side: int) -> SampleStore:
    """A compact store of as many samples; its rain is that of ``store``, its fields resemble it."""
    writer = StoreWriter(folder / "compact", "benchmark")
    grid = Grid.from_json(store.meta["grid"])
    blocks = CompactBlocks(writer, FIELDS, grid)
    sizes = {"surface": grid.shape, "pressure": blocks.nodes.shape}
    members = compact_channels(FIELDS)
    for name in ARRAYS:
        rows, columns = sizes[name]
        shape = (count, len(members[name]), rows, columns)
        array = np.lib.format.open_memmap(writer.part / f"{name}_all.npy", "w+", np.int16, shape)
        for i in range(count):
            values = store.read("fields", i)[: len(members[name])]
            wide = np.pad(values, [(0, 0), (0, rows), (0, columns)], mode="wrap")
            array[i] = ((wide[:, :rows, :columns] - 280) * 100).clip(-32767, 32767)
        array.flush()
        blocks.blocks[name].append({"file": f"{name}_all.npy", "first": 0, "count": count})

    def fill(array: NDArray[np.float32]) -> dict[str, int]:
        for i in range(count):
            array[i] = store.read("rain", i)
        return {}

    writer.block("rain", (count, len(RAIN) - 1, side, side), fill)
    arrays = {**store.meta["arrays"]}
    arrays["fields"] = {"channels": FIELDS, "compact": blocks.meta()}
    return writer.finish(plain({**store.meta, "arrays": arrays}))


def forget(folder: Path) -> None:
    """Ask the system to drop a store's files from its cache."""
    for path in folder.glob("*.npy"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(dataset: Any, order: list[int], workers: int, processes: bool) -> float:
    """Samples per second of one epoch, after a short one that starts the workers."""
    sampler = order[: 2 * BATCH]
    loader: Iterable[Any] = BatchLoader(dataset, BATCH, sampler, workers)
    if processes:
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
    # As a training on CPU does before its workers start.
    keep_freed_memory()
    netcdf = min(options.samples, 2 * options.block)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = make(folder, options.samples, side, options.block, netcdf)
        mapped_file = Mapped(folder / "whole.npy", options.samples)
        by_torch = "memory map, torch's data loader"
        blocked_way = f"NetCDF, zlib, {options.block} times a chunk"
        compact = make_compact(folder, store, options.samples, side)
        packed = RainDataset(compact, "train", CHANNELS)
        ways: dict[str, tuple[Dataset[Any], int]] = {
            "memory map, a copy of each sample": (mapped_file, options.samples),
            "sample store, training samples": (
                RainDataset(store, "train", CHANNELS),
                options.samples,
            ),
            "compact store, packed samples": (packed, options.samples),
            "compact store, upsampled here": (Upsampled(packed), options.samples),
            by_torch: (mapped_file, options.samples),
            blocked_way: (TimeBlocked(folder / "blocked.nc"), netcdf),
        }
        megabytes = 4 * PLANES * side**2 / 1e6
        print(
            f"{os.cpu_count()} cores; {options.samples} samples of {PLANES} x {side} x {side} "
            f"float32 ({megabytes:.1f} MB), random order, warm"
        )
        grid = Grid.from_json(store.meta["grid"])
        small = bytes_per_sample("compact", FIELDS, len(RAIN) - 1, grid) / 1e6
        print(f"a compact sample: {small:.1f} MB")
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
                    processes = way in (by_torch, blocked_way)
                    rates[way].append(rate(dataset, order, workers, processes))
            median = {way: float(np.median(values)) for way, values in rates.items()}
            mapped, *_, blocked = median.values()
            print(f"\n{workers} workers{'':24} {'samples/s':>10} {'ms':>8} {'of mmap':>8} ", end="")
            print(f"{'of NetCDF':>10}")
            for way, value in median.items():
                ratios = f"{value / mapped:8.2f} {value / blocked:10.1f}"
                print(f"{way:33} {value:10.1f} {1000 / value:8.1f} {ratios}")
        cold: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            for one in (store, compact):
                forget(one.path)
                fresh = RainDataset(SampleStore(one.path), "train", CHANNELS)
                order = rng.permutation(options.samples).tolist()
                began = time.perf_counter()
                for index in order:
                    fresh[index]
                cold.setdefault(one.path.name, []).append(
                    len(order) / (time.perf_counter() - began)
                )
        full, smaller = (float(np.median(values)) for values in cold.values())
        print(
            f"\ncold: store {full:.1f}, compact {smaller:.1f} samples/s: {smaller / full:.2f} times"
        )


if __name__ == "__main__":
    main()

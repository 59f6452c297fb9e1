"""A year of raw ERA5 to a store and NetCDF, against an ordinary script and bare input and output.

Run ``python benchmarks/era5_prepare.py`` (about five minutes on an idle machine, 6 GB of temporary
files, 12 GB of memory for the ordinary script), or with ``--days 100`` for a shorter look; fewer
than 70 days are little work, for which one process is taken. Synthetic weather in the true raw
layout (23 files of 161 x 161 cells packed as the Climate Data Store packs them, and 31 December
before) goes through

- `prepare`, all processors: checks, derived fields, store with moments, NetCDF;
- an ordinary script: xarray's ``open_mfdataset``, everything loaded, derivatives by numpy.gradient,
  one ``to_netcdf`` with LZ4 and one day a chunk; it writes no store and no moments;
- bare input and output: every map of the raw files read and unpacked, and as many bytes as
  `prepare` leaves written, of maps that are packed already;
- below that, the bytes of all files alone, neither unpacked nor packed.

Each way has a process of its own, in turn, and the median of the times counts. Memory is RssAnon,
summed over a process and its children every 20 ms. Goals: at least 5 times as fast as the ordinary
script with at most a quarter of its memory; at most 2.5 times as long as bare input and output.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import xarray as xr

from tenkizu.core.parallel import usable_cpus
from tenkizu.core.store import fsync
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.physics.channels import SEED
from tenkizu.patterns.preparation import prepare

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "patterns"))
from era5_files import write_year
from peak_memory import Cost, in_a_process

YEAR = 1991
G0, RADIUS, PRESSURE = 9.80665, 6_371_000.0, 850.0
PIECE = 2**22


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365, help="days of the year")
    parser.add_argument("--repeats", type=int, default=3, help="timings of each way")
    parser.add_argument("--workers", type=int, help="processes of prepare; default as the command")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_year(folder / "raw", YEAR, 0.25, options.days)
        print(f"{usable_cpus()} processors; {options.days} days in {len(files)} raw files")
        config = configuration(folder, files)
        costs: dict[str, list[Cost]] = {"prepare": [], "script": [], "bare": [], "bytes": []}
        for _ in range(options.repeats):
            costs["prepare"].append(in_a_process(run_prepare, config, options.workers))
            written = sum(path.stat().st_size for path in config.data.store.iterdir())
            costs["script"].append(
                in_a_process(ordinary_script, files, folder / "script.nc", imports=("xarray",))
            )
            costs["bare"].append(in_a_process(bare, files, written, folder / "copy", True))
            costs["bytes"].append(in_a_process(bare, files, written, folder / "copy", False))
        print(f"written: {written / 1e6:.0f} MB\n")
    seconds = {way: float(np.median([c.seconds for c in cost])) for way, cost in costs.items()}
    memory = {way: max(c.peak_mb for c in cost) for way, cost in costs.items()}
    print(f"{'':44} {'seconds':>8} {'days/s':>7} {'MB':>6} {'of prepare':>18}")
    for way, words in (
        ("prepare", "prepare"),
        ("script", "ordinary script with xarray"),
        ("bare", "bare input unpacked, output bytes written"),
        ("bytes", "bytes of all files, neither unpacked"),
    ):
        print(
            f"{words:44} {seconds[way]:8.1f} {options.days / seconds[way]:7.1f} "
            f"{memory[way]:6.0f} {seconds[way] / seconds['prepare']:8.2f}x time"
        )
    faster, slower = seconds["script"] / seconds["prepare"], seconds["prepare"] / seconds["bare"]
    share = memory["prepare"] / memory["script"]
    for text, value, goal, met in (
        ("faster than the script", faster, "at least 5", faster >= 5),
        ("of its memory", share, "at most 0.25", share <= 0.25),
        ("the time of bare input and output", slower, "at most 2.5", slower <= 2.5),
    ):
        print(f"{text}: {value:.2f}, goal {goal}: {'met' if met else 'MISSED'}")


def configuration(folder: Path, files: list[Path]) -> PatternsConfig:
    """The seed's channels."""
    data = {"files": [str(path) for path in files], "years": [YEAR], "channels": "seed"}
    return PatternsConfig.model_validate(
        {"run": {"name": "benchmark"}, "data": data | {"store": str(folder / "store")}}
    )


def run_prepare(config: PatternsConfig, workers: int | None) -> None:
    """Make the store anew."""
    prepare(config, overwrite=True, workers=workers)


def bare(files: list[Path], written: int, path: Path, unpack: bool) -> None:
    """Read all files, as maps or as bytes, and write a number of bytes."""
    for source in files:
        if not unpack:
            with source.open("rb", buffering=0) as handle:
                while handle.read(PIECE):
                    pass
            continue
        with h5py.File(source) as file:
            for variable in file.values():
                if variable.ndim >= 3:
                    for first in range(0, len(variable), variable.chunks[0]):
                        variable[first : first + variable.chunks[0]]
    buffer = np.random.default_rng(0).bytes(PIECE)
    with path.open("wb", buffering=0) as handle:
        for first in range(0, written, PIECE):
            handle.write(memoryview(buffer)[: min(PIECE, written - first)])
    fsync(path)
    path.unlink()


def named_by_level(dataset: xr.Dataset) -> xr.Dataset:
    """Variables called u500, u850, ... in place of a level dimension, as the script wants them."""
    dataset = dataset.drop_vars(["number", "expver"], errors="ignore")
    if "pressure_level" not in dataset.dims:
        return dataset
    return xr.merge(
        [
            dataset.sel(pressure_level=level, drop=True).rename(
                {name: f"{name}{level:.0f}" for name in dataset.data_vars}
            )
            for level in dataset.pressure_level.values
        ]
    )


def ordinary_script(files: list[Path], path: Path) -> None:
    """The same fields with xarray and numpy, as one would write it, all days in memory."""
    warnings.simplefilter("ignore")
    ds = xr.open_mfdataset(
        files[1:], preprocess=named_by_level, engine="h5netcdf", join="inner", combine="by_coords"
    ).load()
    before = xr.open_dataset(files[0], engine="h5netcdf")["msl"].drop_vars(["number", "expver"])
    lat, lon = np.deg2rad(ds.latitude.values), np.deg2rad(ds.longitude.values)
    cos = np.cos(lat)[:, None]

    def ddx(field: xr.DataArray) -> xr.DataArray:
        return field.copy(data=np.gradient(field.values, lon, axis=2) / (RADIUS * cos))

    def ddy(field: xr.DataArray) -> xr.DataArray:
        return field.copy(data=np.gradient(field.values, lat, axis=1) / RADIUS)

    def steepness(field: xr.DataArray) -> xr.DataArray:
        return np.hypot(ddx(field), ddy(field))

    ds["gh500"], ds["gh1000"] = ds.z500 / G0, ds.z1000 / G0
    ds["thk_1000_500"] = ds.gh500 - ds.gh1000
    ds["grad_thk_1000_500"] = steepness(ds.thk_1000_500)
    q = ds.q850.clip(min=1e-7)
    r = q / (1 - q)
    e = r * PRESSURE / (0.622 + r)
    t_l = 2840 / (3.5 * np.log(ds.t850) - np.log(e) - 4.805) + 55
    theta = ds.t850 * (1000 / PRESSURE) ** (0.2854 * (1 - 0.28 * r))
    ds["thetae850"] = theta * np.exp((3.376 / t_l - 0.00254) * 1000 * r * (1 + 0.81 * r))
    ds["grad_thetae850"] = steepness(ds.thetae850)
    ds["div850"] = ds.d850
    ds["vmag500"], ds["vmag850"] = np.hypot(ds.u500, ds.v500), np.hypot(ds.u850, ds.v850)
    ds["vmag10"] = np.hypot(ds.u10, ds.v10)
    ds["shear_850_500"] = np.hypot(ds.u500 - ds.u850, ds.v500 - ds.v850)
    qu, qv = ds.q850 * ds.u850, ds.q850 * ds.v850
    ds["mfc850"] = -(ddx(qu) + ddy(qv) - qv * (np.tan(lat) / RADIUS)[:, None])
    ds["ivt"] = np.hypot(ds.viwve, ds.viwvn)
    ds["ivt_dir"] = np.rad2deg(np.arctan2(ds.viwvn, ds.viwve))
    ds["msl_dt24"] = ds.msl - xr.concat([before, ds.msl], "valid_time").shift(valid_time=1)
    ds["grad_msl"] = steepness(ds.msl)
    ds["lap_msl"] = ddx(ddx(ds.msl)) + ddy(ddy(ds.msl) * cos) / cos
    day = ds.valid_time.dt.dayofyear
    ds["f1_season"] = np.cos(2 * np.pi * (day + 10) / 365.2425)
    ds["f2_season"] = np.cos(4 * np.pi * (day + 10) / 365.2425)
    ds = ds.drop_vars(["z500", "z1000", "d850"]).astype(np.float32)
    missing = {*SEED} - {*ds.data_vars}
    if missing:
        raise SystemExit(f"the script lacks {sorted(missing)}")
    chunks = {"chunksizes": (1, *ds.msl.shape[1:]), **hdf5plugin.LZ4()}
    for variable in ds.variables.values():
        variable.encoding.clear()
    ds.to_netcdf(
        path,
        engine="h5netcdf",
        encoding={name: chunks for name in ds.data_vars if ds[name].ndim == 3},
    )
    fsync(path)
    path.unlink()


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") is None:
        print("OMP_NUM_THREADS is not set")
    main()

"""How fast raw ERA5 files become a store, and in how much memory.

Run ``python benchmarks/patterns_prepare.py`` (several minutes, 4 GB of temporary files), or with
``--days 60`` for a short look. A year of synthetic weather in the true raw layout (23 files of
161 x 161 cells, and 31 December before) goes through `prepare`: native maps are unpacked, fields
derived, and the sample store and CF NetCDF written. Beside it:

- xarray with MetPy's operators, which reads the same files, derives the same fields and writes the
  same NetCDF, on fewer days and scaled;
- the same files unpacked and as many bytes packed and written, with nothing derived and no store;
- the bytes of the raw files read, and those of the store and NetCDF written, as plain files.

Memory is RssAnon summed over the processes of `prepare`, sampled every 20 ms; mapped pages of files
do not count. It must stay below 2 GB. The file cache is warm. CPU time is that of all threads; it
is the fairer measure where other work shares the machine.
"""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5netcdf
import hdf5plugin
import numpy as np
import xarray as xr

from tenkizu.core.store import fsync
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.physics.channels import CHANNELS, SEED
from tenkizu.patterns.preparation import prepare

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "patterns"))
from era5_files import write_year
from peak_memory import Cost, in_a_process

YEAR = 1991
ALSO = ("cape", "cin", "viwve", "viwvn")
LIMIT_MB = 2000.0
G0 = 9.80665


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365, help="days of the year")
    parser.add_argument("--peer-days", type=int, default=16, help="days that MetPy derives")
    parser.add_argument("--repeats", type=int, default=3, help="timings of prepare and the limits")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_year(folder / "raw", YEAR, 0.25, options.days)
        raw_bytes = sum(path.stat().st_size for path in files)
        print(f"{options.days} days in {len(files)} raw files, {raw_bytes / 1e6:.0f} MB\n")
        config = configuration(folder, files, whole=options.days >= 365)
        costs: dict[str, list[Cost]] = {"prepare": [], "packed": [], "plain": []}
        for _ in range(options.repeats):
            costs["prepare"].append(in_a_process(run_prepare, config))
            costs["packed"].append(in_a_process(unpack_and_pack, files, folder / "packed.nc"))
            stored = sum(path.stat().st_size for path in config.data.store.iterdir())
            costs["plain"].append(in_a_process(copy_bytes, files, stored, folder / "copy"))
        peer_days = min(options.peer_days, options.days)
        costs["metpy"] = [
            in_a_process(
                with_metpy, files, folder / "metpy.nc", peer_days, imports=("metpy.calc", "xarray")
            )
        ]
    print(f"written: {stored / 1e6:.0f} MB\n")
    days = dict.fromkeys(costs, options.days) | {"metpy": peer_days}
    wall = {w: days[w] / float(np.median([c.seconds for c in cost])) for w, cost in costs.items()}
    cpu = {
        w: float(np.median([c.cpu_seconds for c in cost])) / days[w] for w, cost in costs.items()
    }
    print(f"{'':46} {'days/s':>8} {'prepare is':>11} {'CPU ms/day':>11} {'prepare':>8}")
    for way, text in (
        ("prepare", "prepare"),
        ("metpy", f"xarray and MetPy, {peer_days} days, scaled"),
        ("packed", "unpack the same files, pack as many bytes"),
        ("plain", "read and write the same bytes"),
    ):
        print(
            f"{text:46} {wall[way]:8.1f} {wall['prepare'] / wall[way]:10.2f}x "
            f"{1000 * cpu[way]:11.1f} {cpu['prepare'] / cpu[way]:7.2f}x"
        )
    peak = max(cost.peak_mb for cost in costs["prepare"])
    print(f"\nanonymous memory of prepare: {peak:.0f} MB, limit {LIMIT_MB:.0f} MB")
    metpy = costs["metpy"][0].peak_mb
    print(f"anonymous memory of xarray and MetPy for {peer_days} days: {metpy:.0f} MB")
    decade = 3653 / wall["prepare"] / 60
    print(f"a decade at this rate: {decade:.0f} minutes; the memory does not depend on length")


def configuration(folder: Path, files: list[Path], whole: bool) -> PatternsConfig:
    """The seed's channels; a part of a year is no ERA5 year and is given as files."""
    source: dict[str, Any] = {"source": "files", "files": [str(path) for path in files]}
    if whole:
        source = {"source": "era5", "raw_dir": str(folder / "raw")}
    data = source | {"years": [YEAR], "channels": "seed", "store": str(folder / "store")}
    return PatternsConfig.model_validate({"run": {"name": "benchmark"}, "data": data})


def run_prepare(config: PatternsConfig) -> None:
    """Make the store anew."""
    prepare(config, overwrite=True)


def native_blocks(files: list[Path]) -> Iterator[dict[str, np.ndarray]]:
    """Every map of the files as float64, 16 days at a time, each chunk unpacked once."""
    for path in files[1:]:
        with h5netcdf.File(path) as file:
            for name, variable in file.variables.items():
                if variable.ndim < 3:
                    continue
                step = max(1, variable.chunks[0])
                for first in range(0, len(variable), step):
                    yield {name: variable[first : first + step].astype(np.float64)}


def unpack_and_pack(files: list[Path], path: Path) -> None:
    """Read all raw maps, and write as many NetCDF maps as prepare does, compressed likewise."""
    wanted = len(written_fields())
    done = 0
    with h5netcdf.File(path, "w") as file:
        kept: list[np.ndarray] = []
        for block in native_blocks(files):
            for maps in block.values():
                flat = maps.reshape(-1, *maps.shape[-2:]).astype(np.float32)
                if not file.dimensions:
                    file.dimensions = {"t": None, "y": flat.shape[1], "x": flat.shape[2]}
                    variable = file.create_variable(
                        "maps",
                        ("t", "y", "x"),
                        np.float32,
                        chunks=(1, *flat.shape[1:]),
                        shuffle=True,
                        **hdf5plugin.Zstd(clevel=1),
                    )
                kept = [*kept[-3:], flat]
                file.resize_dimension("t", done + len(flat))
                variable[done : done + len(flat)] = flat
                done += len(flat)
        days = done // 26
        while done < wanted * days:
            flat = kept[done % len(kept)][: wanted * days - done]
            file.resize_dimension("t", done + len(flat))
            variable[done : done + len(flat)] = flat
            done += len(flat)
    fsync(path)
    path.unlink()


def copy_bytes(files: list[Path], written: int, path: Path) -> None:
    """Read the bytes of all files and write another number of bytes."""
    buffer = bytearray(2**22)
    for source in files:
        with source.open("rb", buffering=0) as handle:
            while handle.readinto(buffer):
                pass
    with path.open("wb", buffering=0) as handle:
        for first in range(0, written, len(buffer)):
            handle.write(memoryview(buffer)[: min(len(buffer), written - first)])
    fsync(path)
    path.unlink()


def written_fields() -> tuple[str, ...]:
    """Maps in the NetCDF of the seed's channels."""
    return tuple(name for name in SEED if CHANNELS[name].kind == "map") + ALSO


def with_metpy(files: list[Path], path: Path, days: int) -> None:
    """The same fields as one would write them with xarray and MetPy, all days in memory."""
    import metpy.calc as mpcalc
    from metpy.units import units

    warnings.simplefilter("ignore")
    native: dict[str, xr.DataArray] = {}
    before = xr.open_dataset(files[0], engine="h5netcdf")["msl"].load()
    for file in files[1:]:
        dataset = xr.open_dataset(file, engine="h5netcdf").isel(valid_time=slice(days)).load()
        for name, maps in dataset.data_vars.items():
            maps = maps.assign_coords(
                latitude=dataset.latitude.assign_attrs(units="degrees_north"),
                longitude=dataset.longitude.assign_attrs(units="degrees_east"),
            )
            if "pressure_level" in maps.dims:
                for level in maps.pressure_level.values:
                    one = maps.sel(pressure_level=level, drop=True)
                    native[f"{name}{level:.0f}"] = one
            else:
                native[str(name)] = maps
    out = {name: maps for name, maps in native.items() if name not in ("z500", "z1000", "d850")}
    unitless = ("tcc",)  # whose unit "(0 - 1)" is none to pint
    quantity = {n: maps.metpy.quantify() for n, maps in native.items() if n not in unitless}

    def length(east: xr.DataArray, north: xr.DataArray) -> xr.DataArray:
        return (east**2 + north**2) ** 0.5  # wind_speed refuses what is no wind

    def steepness(maps: xr.DataArray) -> xr.DataArray:
        return length(*mpcalc.geospatial_gradient(maps))

    for level in ("500", "1000"):
        out[f"gh{level}"] = quantity[f"z{level}"] / (G0 * units("m/s^2"))
    thickness = out["gh500"] - out["gh1000"]
    out |= {"thk_1000_500": thickness, "grad_thk_1000_500": steepness(thickness)}
    dew = mpcalc.dewpoint_from_specific_humidity(850 * units.hPa, quantity["q850"])
    theta = mpcalc.equivalent_potential_temperature(850 * units.hPa, quantity["t850"], dew)
    out |= {"thetae850": theta, "grad_thetae850": steepness(theta), "div850": native["d850"]}
    for level in ("500", "850"):
        wind = quantity[f"u{level}"], quantity[f"v{level}"]
        out[f"vmag{level}"] = mpcalc.wind_speed(*wind)
    out["vmag10"] = mpcalc.wind_speed(quantity["u10"], quantity["v10"])
    out["shear_850_500"] = mpcalc.wind_speed(
        quantity["u500"] - quantity["u850"], quantity["v500"] - quantity["v850"]
    )
    q850 = quantity["q850"]
    out["mfc850"] = -mpcalc.divergence(q850 * quantity["u850"], q850 * quantity["v850"])
    out["ivt"] = length(quantity["viwve"], quantity["viwvn"])
    out["ivt_dir"] = np.rad2deg(np.arctan2(native["viwvn"], native["viwve"]))
    joined = xr.concat([before, native["msl"]], "valid_time")
    out["msl_dt24"] = (joined - joined.shift(valid_time=1)).isel(valid_time=slice(1, None))
    out["grad_msl"] = steepness(quantity["msl"])
    out["lap_msl"] = mpcalc.geospatial_laplacian(quantity["msl"])
    dims, coords = native["msl"].dims, native["msl"].coords
    variables = {name: (dims, bare(out[name])) for name in written_fields()}
    xr.Dataset(variables, {dim: coords[dim] for dim in dims}).to_netcdf(
        path,
        engine="h5netcdf",
        encoding={
            name: {"chunksizes": (1, *native["msl"].shape[1:]), "shuffle": True}
            | dict(hdf5plugin.Zstd(clevel=1))
            for name in written_fields()
        },
    )
    fsync(path)


def bare(maps: Any) -> np.ndarray:
    """Numbers of a DataArray or quantity, float32."""
    data = getattr(maps, "data", maps)
    return np.asarray(getattr(data, "magnitude", data), np.float32)


if __name__ == "__main__":
    main()

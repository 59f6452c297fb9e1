"""Inputs that were damaged on the way, by a seed: what is done to them, and what came of it.

`SETS` are the true formats: files as the Climate Data Store gives them today and gave them before
2024, archives of today's, and forecasts as cfgrib writes them. `damage` breaks one file of a set;
`outcome` prepares a store of the set and says how it compares with that of the sound files.
"""

import shutil
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
from era5_files import days_of, write_file
from scipy.io import netcdf_file

from tenkizu.core.errors import TenkizuError
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.preparation import prepare

GRID, DAYS = 5.0, 12
CHANNELS = ["msl", "msl_dt24", "grad_msl", "gh500", "thk_1000_500", "tp", "vmag10", "sst"]
SETS = {
    "today": [("msl", "today"), ("z500 z1000", "today"), ("tp sst u10 v10", "today")],
    "old": [("msl", "old"), ("z500 z1000", "old"), ("tp sst u10 v10", "old")],
    "zip": [("msl", "zip"), ("z500 z1000", "zip"), ("tp sst u10 v10", "zip")],
    "cfgrib": [
        ("msl", "cfgrib"),
        ("tp", "cfgrib"),
        ("z500 z1000", "today"),
        ("sst u10 v10", "today"),
    ],
}
WAYS = ("truncated", "flipped bits", "zeros", "noise", "another type", "attributes", "coordinates")
ATTRIBUTES = ("units", "scale_factor", "add_offset", "_FillValue", "missing_value", "calendar")
VALUES = ("hPa", "K", "", "\xff", 0.0, 1e30, float("nan"), "hours since 1900-01-01", None)


def make_sets(folder):
    """The sound files of each set, in a folder of its own."""
    for name, files in SETS.items():
        own = Path(folder) / name
        own.mkdir(parents=True)
        for i, (fields, convention) in enumerate(files):
            write_file(
                own / f"{i}.nc", tuple(fields.split()), days_of(2001, DAYS), GRID, convention
            )


def config_for(folder, files):
    return PatternsConfig.model_validate(
        {
            "run": {"name": "damaged", "dir": str(folder)},
            "data": {
                "files": [str(path) for path in files],
                "channels": CHANNELS,
                "netcdf": False,
                "store": str(folder / "store"),
            },
        }
    )


def content(folder, files):
    """Days, grid and maps of the store of some files."""
    store = prepare(config_for(folder, files))
    maps = np.stack([np.array(store.read("maps", i)) for i in range(len(store))])
    return store.meta["days"], store.meta["grid"], maps


def references(folder):
    """The content of the stores of the sound sets, by name."""
    with tempfile.TemporaryDirectory() as scratch:
        return {
            name: content(Path(scratch) / name, sorted((Path(folder) / name).glob("*.nc")))
            for name in SETS
        }


def outcome(seed, folder, expected):
    """Damage one file of a set and prepare a store of it.

    Returns:
        The set, what was done, and what came of it: ``error``, the ``same`` store, or one of
        which so large a ``share`` of the maps differs.
    """
    rng = np.random.default_rng(seed)
    name = list(SETS)[seed % len(SETS)]
    with tempfile.TemporaryDirectory() as scratch:
        own = Path(scratch) / "files"
        shutil.copytree(Path(folder) / name, own)
        files = sorted(own.glob("*.nc"))
        way = WAYS[(seed // len(SETS)) % len(WAYS)]
        damage(files[int(rng.integers(len(files)))], way, rng)
        try:
            found = content(Path(scratch), files)
        except TenkizuError:
            if (Path(scratch) / "store").exists():
                return name, way, "a store in spite of the error"
            return name, way, "error"
    days, grid, maps = expected[name]
    # Coordinates may be 1e-4 degrees off, as everywhere; gradients then are by as little.
    if found[0] != days or found[2].shape != maps.shape or not _near(found[1], grid):
        return name, way, "other days or another grid"
    step = 1e-4 * np.nanstd(maps, axis=(0, 2, 3), keepdims=True)
    with np.errstate(invalid="ignore"):
        same = (np.abs(found[2] - maps) <= step) | (np.isnan(found[2]) & np.isnan(maps))
    return name, way, "same" if same.all() else float(1.0 - same.mean())


def _near(grid, other):
    return all(np.allclose(grid[axis], other[axis], rtol=0, atol=1e-4) for axis in ("y", "x"))


def outcomes(task):
    """What comes of many seeds: (folder of the sets, seeds); for a process of its own."""
    folder, seeds = task
    expected = references(folder)
    return [outcome(seed, folder, expected) for seed in seeds]


def damage(path, way, rng):
    """Break a file in one of `WAYS`; an archive as a whole or one of its members."""
    if zipfile.is_zipfile(path) and way in ("another type", "attributes", "coordinates"):
        _inside_archive(path, way, rng)
        return
    if way in ("another type", "attributes", "coordinates"):
        _by_library(path, way, rng)
        return
    data = bytearray(path.read_bytes())
    start = int(rng.integers(len(data)))
    length = int(rng.integers(1, 400))
    if way == "truncated":
        data = data[:start]
    elif way == "flipped bits":
        for at in rng.integers(len(data), size=rng.integers(1, 9)):
            data[at] ^= 1 << int(rng.integers(8))
    elif way == "zeros":
        data[start : start + length] = bytes(len(data[start : start + length]))
    else:
        data[start : start + length] = rng.bytes(len(data[start : start + length]))
    path.write_bytes(data)


def _inside_archive(path, way, rng):
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(scratch)
        members = sorted(Path(scratch).iterdir())
        _by_library(members[int(rng.integers(len(members)))], way, rng)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in members:
                archive.write(member, member.name)


def _by_library(path, way, rng):
    """Change what a sound file says: a type, an attribute or a coordinate."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r+") as file:
            names = [name for name, item in file.items() if item.dtype.kind in "fiu"]
            _change(file, names, way, rng)
        return
    with netcdf_file(path, "a", mmap=False) as file:
        _change_old(file, sorted(file.variables), way, rng)


def _change(file, names, way, rng):
    if way == "coordinates":
        names = [name for name in names if file[name].ndim == 1 and len(file[name]) > 1]
        name = names[int(rng.integers(len(names)))]
        at = int(rng.integers(len(file[name])))
        file[name][at] = file[name][at] + [1, -1, 0.5, 100, 1e6, -40][int(rng.integers(6))]
        return
    name = names[int(rng.integers(len(names)))]
    if way == "attributes":
        key = ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
        value = VALUES[int(rng.integers(len(VALUES)))]
        if value is None:
            file[name].attrs.pop(key, None)
        else:
            file[name].attrs[key] = value.encode() if isinstance(value, str) else value
        return
    # As if the type were another than that of the bytes, no number, or a wider one.
    kinds = ("bytes", "S4", "bool", "c8", "f8")
    dtype = kinds[int(rng.integers(len(kinds)))]
    values = file[name][...]
    if dtype == "bytes":
        size = values.dtype.itemsize
        values = values.view(f"i{size}" if values.dtype.kind == "f" else f"f{size}")
    else:
        with np.errstate(all="ignore"):
            values = np.nan_to_num(values).astype(dtype)
    attrs = {
        key: value
        for key, value in file[name].attrs.items()
        if key in ("units", "calendar", "DIMENSION_LIST")
    }
    # Dimension scales stay what they are: others point to them.
    if file[name].ndim > 1:
        del file[name]
        file.create_dataset(name, data=values).attrs.update(attrs)
    elif values.dtype.kind in "iuf":
        file[name][...] = values.reshape(file[name].shape)


def _change_old(file, names, way, rng):
    if way == "coordinates":
        names = [name for name in names if len(file.variables[name].dimensions) == 1]
        name = names[int(rng.integers(len(names)))]
        values = file.variables[name].data
        at = int(rng.integers(len(values)))
        step = [1, -1, 0.5, 100, 1e6, -40][int(rng.integers(6))]
        values[at] = values[at] + (step if values.dtype.kind == "f" else int(step))
        return
    variable = file.variables[names[int(rng.integers(len(names)))]]
    if way == "attributes":
        # SciPy itself cannot write a _FillValue of another type than the values.
        keys = [key for key in ATTRIBUTES if key != "_FillValue"]
        key = keys[int(rng.integers(len(keys)))]
        value = VALUES[int(rng.integers(len(VALUES)))]
        if value is None:
            variable._attributes.pop(key, None)
        else:
            setattr(variable, key, value.encode("latin-1") if isinstance(value, str) else value)
        return
    kinds = (">i4", ">f4", ">f8", "S1")
    dtype = kinds[int(rng.integers(len(kinds)))]
    with np.errstate(all="ignore"):
        variable.data = variable.data.astype(dtype)
    variable._typecode, variable._size = np.dtype(dtype).char, np.dtype(dtype).itemsize

"""What the tests of `prepare` share: configurations, and what two stores are compared by."""

import json
import os
import signal

import hdf5plugin  # noqa: F401  (lets xarray read zstd)
import xarray as xr

from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.reading.maps import MapSource

SHORT = ["msl", "msl_dt24", "grad_msl"]


def config_for(folder, files=(), labels=None, **data):
    """A run on files or, with ``raw_dir``, on downloaded years."""
    source = {"files": [str(path) for path in files]}
    if "raw_dir" in data:
        source = {"source": "era5"}
    return PatternsConfig.model_validate(
        {
            "run": {"name": "tiny", "dir": str(folder / "runs")},
            "data": source | {"store": str(folder / "store")} | data,
            "labels": labels or {},
        }
    )


def content(store):
    """Everything but the path of the store and the times at which things were written."""
    meta = json.loads((store.path / "store.json").read_text())
    meta["config"]["data"].pop("store")
    files = {
        path.name: path.read_bytes()
        for path in store.path.iterdir()
        if path.name not in ("store.json",) and path.suffix != ".nc"
    }
    for path in sorted(store.path.glob("*.nc")):
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as dataset:
            files[path.name] = {
                name: (values.to_numpy().tobytes(), str(values.attrs))
                for name, values in dataset.variables.items()
            }
    return meta, files


class DeadlySource(MapSource):
    """Kills the first process but the given one that has read some maps and holds them."""

    def read(self, names, times):
        maps = super().read(names, times)
        if os.getpid() != self.spared:
            try:
                self.poison.unlink()
            except FileNotFoundError:
                return maps
            os.kill(os.getpid(), signal.SIGKILL)
        return maps


def deadly(source, poison):
    """A source that kills once, which removes the file ``poison``."""
    poison.touch()
    source.__class__ = DeadlySource
    source.poison, source.spared = poison, os.getpid()
    return source

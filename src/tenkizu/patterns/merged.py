"""All prepared maps in one NetCDF file with their labels, and such a file as input."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers zstd with HDF5)
import numpy as np

from tenkizu.core.config import config_hash
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.store import SampleStore
from tenkizu.patterns.assembly import Track, attributes
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.disk_space import full_disk_explained, require_space
from tenkizu.patterns.labels import LabelTable
from tenkizu.patterns.netcdf_year import LZ4, NO_CACHE, netcdf_year
from tenkizu.patterns.physics.channels import CHANNELS

NAME = "era5_all_data_pp.nc"
"""What the merged file is called unless told otherwise."""

MADE_FROM = "tenkizu_made_from"
_DAYS = 16
_LARGER = 1.15
"""LZ4 packs a little less than zstd."""


def from_merged(config: PatternsConfig, path: Path) -> PatternsConfig:
    """The same run with a merged file as its only input.

    Native fields are taken from it, and heights and divergence (``gh500``, ``gh1000``, ``div850``)
    as it gives them; every derived field in it is passed over and computed again.

    Args:
        config: of the run; its years, if any, are chosen from the file.
        path: the merged file, of this or another program.
    """
    data = config.data.model_dump() | {"source": "files", "files": [str(path)], "raw_dir": None}
    return PatternsConfig.model_validate(config.model_dump() | {"data": data})


def require_merged(config: PatternsConfig, path: Path, overwrite: bool) -> None:
    """Refuse a merged file that could not be written once the store is made.

    Raises:
        ConfigError: the store has no NetCDF to make it of.
        DataError: a file that is not of this kind stands there.
    """
    if not config.data.netcdf:
        raise ConfigError(
            "the merged file is made of the NetCDF files of the years",
            variable="data.netcdf",
            found="false",
            expected="true with --merged",
        )
    if path.exists() and not overwrite and _made_from(path) is None:
        raise DataError(
            "another file stands where the merged file should go",
            file=path,
            expected="no file, or one that `prepare --merged` wrote",
            next_step="move it away, or replace it with --overwrite",
        )


def write_merged(store: SampleStore, path: Path, labels: LabelTable, track: Track) -> bool:
    """Write all years of a store into one file, a few days at a time.

    Fields are called as in `CHANNELS`, with LZ4 compression and one day a chunk; ``label`` holds
    the label of each day as text, empty where there is none. A file made of the same store and
    labels is left alone.

    Args:
        store: with NetCDF files.
        path: of the merged file.
        labels: of its days.
        track: shows progress.

    Returns:
        Whether it was written.

    Raises:
        DataError: a NetCDF file of the store is missing, or the disk is or would be full.
    """
    times = np.array(store.meta["days"], "datetime64[m]")
    texts = [label.text if label else "" for label in labels.lookup(times)]
    made_from = config_hash({"plan": store.meta["plan_hash"], "labels": texts})
    if path.exists() and _made_from(path) == made_from:
        return False
    blocks = store.meta["arrays"]["maps"]["blocks"]
    files = [(store.path / block["file"]).with_suffix(".nc") for block in blocks]
    with _opened(files[0]) as first:
        names = tuple(name for name in CHANNELS if name in first)
        source = str(first.attrs["source"])
    title = f"Daily weather maps of {times[0]} to {times[-1]} with derived fields and labels"
    about = attributes(title, source) | {MADE_FROM: made_from}
    grid = Grid.from_json(store.meta["grid"])
    means = store.meta["config"]["data"]["daily"] == "mean"
    needed = _LARGER * sum(file.stat().st_size for file in files)
    require_space(path.absolute().parent, needed)
    with (
        full_disk_explained(path.absolute().parent, needed),
        netcdf_year(path, grid, times, names, about, LZ4, texts, means) as merged,
    ):
        for block, file in track(list(zip(blocks, files, strict=True)), f"merging into {path}"):
            with _opened(file) as year:
                for start in range(0, block["count"], _DAYS):
                    days = slice(start, min(start + _DAYS, block["count"]))
                    for name in names:
                        if CHANNELS[name].kind != "static":
                            merged.write(block["first"] + start, {name: year[name][days]})
                        elif block["first"] + start == 0:
                            merged.write(0, {name: year[name][...]})
    return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """A NetCDF file of the store.

    Raises:
        DataError: it is not there, or damaged.
    """
    try:
        file = h5py.File(path, "r", **NO_CACHE)
    except OSError as error:
        raise DataError(
            "a NetCDF file of the store cannot be read",
            file=path,
            found=str(error).splitlines()[0][:200],
            next_step="make the store again: run `prepare` with --overwrite",
        ) from error
    with file:
        yield file


def _made_from(path: Path) -> str | None:
    """What a merged file says it was made of; None if it is none."""
    try:
        with h5py.File(path, "r") as file:
            said = file.attrs.get(MADE_FROM)
    except OSError:
        return None
    return None if said is None else str(said)

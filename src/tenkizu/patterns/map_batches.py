"""Maps of days as batches for a model: from a store or straight from files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.loading import BatchLoader
from tenkizu.core.store import SampleStore
from tenkizu.patterns.best_tracks import BestTracks, require_tracks, tracks_of
from tenkizu.patterns.blocks import blocks_of, coarse_grid
from tenkizu.patterns.config import LabelsConfig
from tenkizu.patterns.dataset import DAY, PatternDataset
from tenkizu.patterns.labelled_days import store_times
from tenkizu.patterns.labelling import labels_of
from tenkizu.patterns.labels import LabelTable
from tenkizu.patterns.model import PatternModel
from tenkizu.patterns.physics.coarsen import coarsen
from tenkizu.patterns.physics.derive import required
from tenkizu.patterns.physics.season import season_terms
from tenkizu.patterns.preparation import computed_labels
from tenkizu.patterns.pressure_neighbours import stored_pressure
from tenkizu.patterns.reading.era5 import tasks_for
from tenkizu.patterns.reading.map_checks import first_difference
from tenkizu.patterns.reading.map_paths import is_store_folder, map_path
from tenkizu.patterns.reading.maps import MapSource, open_files
from tenkizu.patterns.reading.natives import base_names

BATCH = 64
_SAME = 1e-4
"""Degrees by which coordinates may differ."""


@dataclass
class DayMaps:
    """Days whose maps a model can read, in order of time.

    Attributes:
        times: valid times (n,), UTC.
        labels: of all days by the rules of a configuration.
        batches: of chosen days (indices), with ``maps`` and ``season``.
        msl: sea level pressure of chosen days on the model's grid, Pa, (m, H, W).
        closer: closes what was opened.
    """

    times: NDArray[np.datetime64]
    labels: Callable[[LabelsConfig], LabelTable]
    batches: Callable[[NDArray[np.int64]], Iterator[dict[str, Tensor]]]
    msl: Callable[[NDArray[np.int64]], NDArray[np.float64]]
    closer: Callable[[], None] = field(default=lambda: None)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the files."""
        self.closer()


def store_maps(
    model: PatternModel, store: SampleStore, tracks: BestTracks | None = None
) -> DayMaps:
    """The days of a prepared store.

    Raises:
        DataError: a store of the other system, another grid, or a channel of the model is not
            stored.
    """
    if store.meta.get("kind") != "patterns":
        raise DataError(
            "a store of the other system",
            file=store.path,
            found=store.meta.get("kind"),
            expected="patterns",
            next_step="use `tenkizu rain`",
        )
    grid = Grid.from_json(store.meta["grid"])
    require_grid(model, grid, str(store.path))
    times = store_times(store)
    nothing = np.zeros((len(times), len(model.catalogue.labels)), bool)

    def batches(days: NDArray[np.int64]) -> Iterator[dict[str, Tensor]]:
        dataset = PatternDataset(store, model.inputs, days, nothing, tracks)
        return iter(BatchLoader(dataset, BATCH, range(len(dataset))))

    def msl(days: NDArray[np.int64]) -> NDArray[np.float64]:
        return stored_pressure(store, days).astype(np.float64)

    def labels(config: LabelsConfig) -> LabelTable:
        return labels_of(config, store)

    return DayMaps(times, labels, batches, msl)


def open_maps(
    model: PatternModel,
    names: Sequence[str | Path],
    typhoons: str | Path | None = None,
    pressure: bool = False,
) -> DayMaps:
    """The days of a prepared store, or of files or Zarr groups of maps.

    Args:
        model: that is to read them.
        names: one store, or files.
        typhoons: CSV of best tracks, for a model that sees them.
        pressure: whether sea level pressure is wanted, too, if it is there.

    Raises:
        ConfigError: the model sees typhoons, and there are no tracks.
        DataError: the data cannot be used, or are on another grid.
    """
    tracks = require_tracks(model.inputs.tracks, tracks_of(typhoons))
    if len(names) == 1 and is_store_folder(names[0]):
        maps = store_maps(model, SampleStore(Path(names[0]).expanduser()), tracks)
    else:
        maps = file_maps(model, open_model_files(model, names, pressure), tracks)
    if tracks is not None:
        tracks.note_uncovered(maps.times)
    return maps


def open_model_files(
    model: PatternModel, names: Sequence[str | Path], pressure: bool = False
) -> MapSource:
    """Open the fields of a model, at the hours and in the area that it was trained on.

    Fields that nothing here uses are passed over, whatever their times. Longitudes may be counted
    otherwise than in training, from 0 or from -180.

    Raises:
        DataError: a file cannot be used, or lacks fields that the model's channels need.
    """
    paths = [map_path(name) for name in names]
    where = ", ".join(path.name for path in paths)
    described, config = model.metadata, model.metadata["config"]
    # The network may not see it, but labels by rules and analogues rest on it.
    by_pressure = config["report"]["analogue_by"] != "embedding"
    pressure = pressure or by_pressure or config["labels"]["catalogue"] == "jc"
    # A model of before has no such key: its maps were those of an hour.
    daily = config["data"].get("daily", "instant")

    def wanted(found: tuple[str, ...]) -> list[str]:
        _require_fields(model.inputs.maps, found, where)
        fields = list(required(model.inputs.maps, found))
        return [*fields, "msl"] if pressure and "msl" in found else fields

    def opened(area: Sequence[float] | None) -> MapSource:
        return open_files(paths, described["hours"], area, wanted, daily)

    source = opened(described["area"])
    factor = int(described["coarsen"])
    turned = _turned_area(model.grid, source.grid, factor)
    if described["area"] is None and turned is not None:
        try:
            again = opened(turned)
        except DataError:
            return source  # what differs is said where the grids are compared
        source.close()
        return again
    return source


def _require_fields(channels: Sequence[str], found: Sequence[str], where: str) -> None:
    """Refuse files without the fields of a model's channels.

    Raises:
        DataError: what is missing, and which files of ERA5 hold it.
    """
    lacking = {}
    for name in channels:
        natives = base_names(required([name], found))
        if absent := [native for native in natives if native not in found]:
            lacking[name] = absent
    if not lacking:
        return
    fields = tuple(dict.fromkeys(native for absent in lacking.values() for native in absent))
    tasks = ", ".join(f"era5_{task.name}_YEAR.nc" for task in tasks_for(fields))
    raise DataError(
        "the files do not hold the fields of all channels",
        file=where,
        variable=", ".join(fields),
        found=", ".join(found) or "no field",
        expected=", ".join(f"{name} (needs {' and '.join(a)})" for name, a in lacking.items()),
        next_step=f"name the files that hold {', '.join(fields)}, too; of ERA5: {tasks}",
    )


def _turned_area(own: Grid, other: Grid, factor: int) -> tuple[float, ...] | None:
    """The area that takes another grid's columns from the model's first one on, or None.

    None if they begin there, or if no column does. The rows are those of the other grid.
    """
    step = float(other.x[1] - other.x[0]) if len(other.x) > 1 else 0.0
    west = float(own.x[0]) - (factor - 1) / 2 * step
    off = (other.x - west + 180.0) % 360.0 - 180.0
    if abs(float(other.x[0]) - west) < _SAME or not (np.abs(off) < _SAME).any():
        return None
    return float(other.y[0]), west, float(other.y[-1]), west + float(other.x[-1] - other.x[0])


def file_maps(model: PatternModel, source: MapSource, tracks: BestTracks | None = None) -> DayMaps:
    """The days of files; maps are derived and coarsened as in preparation.

    Days whose map 24 h earlier is missing see no change (the mean).

    Raises:
        DataError: another grid than the model's.
    """
    factor = int(model.metadata["coarsen"])
    grid = coarse_grid(source.grid, factor)
    require_grid(model, grid, ", ".join(path.name for path in source.files))

    def batches(days: NDArray[np.int64]) -> Iterator[dict[str, Tensor]]:
        inputs = model.inputs
        for times, fields in blocks_of(source, inputs.maps, source.times[days], factor):
            maps = [fields[name] for name in inputs.maps]
            if inputs.history:
                maps += _before(source, inputs.history, times, factor)
            if tracks is not None:
                maps += [tracks.channel(times, grid)]
            yield {
                "maps": torch.from_numpy(np.stack(maps, axis=1)),
                "season": torch.from_numpy(season_terms(times).astype(np.float32)),
            }

    def msl(days: NDArray[np.int64]) -> NDArray[np.float64]:
        # On the model's grid, so that analogues are sought among like with like.
        return coarsen({"msl": source.read(["msl"], source.times[days])["msl"]}, factor)["msl"]

    def labels(config: LabelsConfig) -> LabelTable:
        if not config.computed:
            return labels_of(config, None)
        days, texts = computed_labels(source, source.times, config)
        return LabelTable.of(model.catalogue, days, texts, "rules applied to the maps")

    return DayMaps(source.times, labels, batches, msl, source.close)


def _before(
    source: MapSource, names: Sequence[str], times: NDArray[np.datetime64], factor: int
) -> list[NDArray[np.float32]]:
    """Channels 24 h before each time; missing maps where there is none."""
    earlier = times - DAY
    there = np.isin(earlier, source.times)
    shape = (len(times), *coarse_grid(source.grid, factor).shape)
    result = [np.full(shape, np.nan, np.float32) for _ in names]
    if there.any():
        blocks = blocks_of(source, names, earlier[there], factor)
        parts = [fields for _, fields in blocks]
        for field, name in zip(result, names, strict=True):
            field[there] = np.concatenate([part[name] for part in parts])
    return result


def require_grid(model: PatternModel, grid: Grid, where: str) -> None:
    """Refuse maps on another grid than the model's.

    Raises:
        DataError: both grids, and the first coordinate that differs.
    """
    own = model.grid
    columns = len(own.x) == len(grid.x)
    turned = np.round((own.x - grid.x) / 360.0) * 360.0 if columns else np.zeros(1)
    # The same columns, counted from 0 to 360 or from -180 to 180.
    if columns and own.same_as(replace(grid, x=grid.x + turned), _SAME):
        return
    raise DataError(
        "another grid than the model's",
        file=where,
        found=grid.describe(),
        expected=f"{own.describe()} ({first_difference(own, grid)})",
        next_step="bring maps on the model's grid, or train a model on this one",
    )

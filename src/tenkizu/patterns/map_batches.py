"""Maps of days as batches for a model: from a store or straight from files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.samples import input_path
from tenkizu.core.store import SampleStore
from tenkizu.patterns.blocks import blocks_of, coarse_grid, require_natives
from tenkizu.patterns.config import LabelsConfig
from tenkizu.patterns.dataset import DAY, PatternDataset
from tenkizu.patterns.labelled_days import store_times
from tenkizu.patterns.labelling import labels_of
from tenkizu.patterns.labels import LabelTable
from tenkizu.patterns.model import PatternModel
from tenkizu.patterns.physics.coarsen import coarsen
from tenkizu.patterns.physics.season import season_terms
from tenkizu.patterns.preparation import computed_labels
from tenkizu.patterns.reading.map_checks import first_difference
from tenkizu.patterns.reading.maps import MapSource, open_files

BATCH = 64


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


def store_maps(model: PatternModel, store: SampleStore) -> DayMaps:
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
        dataset = PatternDataset(store, model.inputs, days, nothing)
        return iter(DataLoader(dataset, BATCH))

    def msl(days: NDArray[np.int64]) -> NDArray[np.float64]:
        column = store.meta["arrays"]["maps"]["channels"].index("msl")
        return np.stack([store.read("maps", int(i))[column] for i in days]).astype(np.float64)

    def labels(config: LabelsConfig) -> LabelTable:
        return labels_of(config, store)

    return DayMaps(times, labels, batches, msl)


def open_model_files(model: PatternModel, names: Sequence[str | Path]) -> MapSource:
    """Open files of maps at the hours and in the area that the model was trained on.

    Raises:
        DataError: a file cannot be used, or lacks fields that the model's channels need.
    """
    paths = [input_path(str(name)) for name in names]
    source = open_files(paths, model.metadata["hours"], model.metadata["area"])
    try:
        require_natives(model.inputs.maps, source.names, ", ".join(p.name for p in paths))
    except DataError:
        source.close()
        raise
    return source


def file_maps(model: PatternModel, source: MapSource) -> DayMaps:
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
    if own.same_as(grid):
        return
    raise DataError(
        "another grid than the model's",
        file=where,
        found=grid.describe(),
        expected=f"{own.describe()} ({first_difference(own, grid)})",
        next_step="bring maps on the model's grid, or train a model on this one",
    )

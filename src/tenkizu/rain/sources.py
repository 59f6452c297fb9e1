"""Several sources of rain, each with its grid and store, as one training set."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import accumulate
from operator import add
from typing import Any

import numpy as np

from tenkizu.core.grid import Grid
from tenkizu.core.loading import Parts, Samples
from tenkizu.core.stats import Moments
from tenkizu.core.store import SampleStore
from tenkizu.core.verification import Tally
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.config import RainConfig
from tenkizu.rain.dataset import RainDataset


class Sources(Samples):
    """Data sets of several sources in a row.

    Samples gain ``source``, the index of theirs, and ``loss_factor`` (1, 1, 1).

    Args:
        sets: one for each source.
        factors: on the squared error of each source's samples.
    """

    def __init__(self, sets: Sequence[RainDataset], factors: Sequence[float]) -> None:
        self.sets, self.factors = sets, factors
        self.ends = list(accumulate(len(part) for part in sets))

    def __len__(self) -> int:
        """Samples of all sources."""
        return self.ends[-1]

    def parts(self, item: int | tuple[int, int]) -> Parts:
        """What makes one sample; items are those of `RainDataset`, counted through all sources."""
        epoch, index = item if isinstance(item, tuple) else (0, item)
        source = bisect_right(self.ends, index)
        part = self.sets[source]
        sample = dict(part.parts((epoch, index - self.ends[source] + len(part))))
        sample["source"] = np.array(source)
        sample["loss_factor"] = np.full((1, 1, 1), self.factors[source], np.float32)
        return sample


def merged_tables(stores: Mapping[str, SampleStore]) -> Tally:
    """The training histograms of all stores together."""
    return sum((Tally.from_json(s.meta["tables"]["train"]) for s in stores.values()), Tally())


def merged_moments(stores: Mapping[str, SampleStore]) -> Moments:
    """The training moments of log(1 + mm) of all stores together."""
    statistics = (store.meta["statistics"]["log1p_mm"] for store in stores.values())
    return reduce(add, map(Moments.from_json, statistics))


def describe_sources(config: RainConfig, stores: Mapping[str, SampleStore]) -> dict[str, Any]:
    """What ``model.json`` says about the rain a model was trained on.

    Returns:
        ``climatology`` of all sources together; ``statistics``, those of a single store or the
        moments of all; ``grid``, ``spacing_km`` (of the first source) and
        ``spacing_range_km``; ``trained_on``.
    """
    first = next(iter(stores.values())).meta
    tables = reduce(add, (Climatology.from_json(s.meta["climatology"]) for s in stores.values()))
    moments = merged_moments(stores)
    grids = {name: Grid.from_json(store.meta["grid"]) for name, store in stores.items()}
    spacings = [
        spacing * factor
        for name, part in config.parts().items()
        for factor in part.data.coarser
        for spacing in grids[name].spacing_km or ()
    ]
    grid = next(iter(grids.values()))
    texts = [one.describe() for one in grids.values()]
    files = [file for store in stores.values() for file in store.meta["source"]["files"]]
    return {
        "climatology": tables.to_json(),
        "statistics": first["statistics"]
        if len(stores) == 1
        else {
            "period": "training windows of all sources",
            "log1p_mm": moments.to_json() | {"std": moments.std},
        },
        "grid": {"kind": grid.kind, "shape": grid.shape, "describe": "; ".join(texts)},
        "spacing_km": grid.spacing_km,
        "spacing_range_km": [min(spacings), max(spacings)] if spacings else None,
        "trained_on": first["source"]
        | {
            "files": files,
            "plan_hash": ", ".join(s.meta["plan_hash"] for s in stores.values()),
            "windows": sum(s.meta["splits"].count("train") for s in stores.values()),
        },
    }

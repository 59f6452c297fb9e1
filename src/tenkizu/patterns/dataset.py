"""Days of a store as training samples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.grid import Grid
from tenkizu.core.loading import Parts, Samples
from tenkizu.core.store import SampleStore
from tenkizu.patterns.best_tracks import BestTracks, require_tracks
from tenkizu.patterns.inputs import Inputs, require_channels
from tenkizu.patterns.labelled_days import store_times
from tenkizu.patterns.physics.season import season_terms

DAY = np.timedelta64(24, "h")


class PatternDataset(Samples):
    """Raw maps, season terms and targets of chosen days.

    A sample holds ``maps`` (C, H, W), raw, those of the day before and of storm tracks at the
    end; ``season`` (4,), the terms f1 to f4; ``target`` (L,); ``index``, its place in the store.

    Args:
        store: the prepared store.
        inputs: channels of the network.
        days: indices into the store.
        targets: (n, L) of all days of the store.
        tracks: of storms, where the network sees them.

    Raises:
        ConfigError: the network sees storms and there are no tracks.
        DataError: the store lacks a channel.
    """

    def __init__(
        self,
        store: SampleStore,
        inputs: Inputs,
        days: NDArray[np.int64],
        targets: NDArray[np.bool_],
        tracks: BestTracks | None = None,
    ) -> None:
        require_channels(inputs, available_channels(store), str(store.path))
        stored = store.meta["arrays"]["maps"]["channels"]
        self.store, self.inputs, self.days = store, inputs, days
        self.columns = _slice([stored.index(name) for name in inputs.maps])
        self.before = [stored.index(name) for name in inputs.history]
        self.targets = targets.astype(np.float32)
        self.tracks = require_tracks(inputs.tracks, tracks)
        self.grid = Grid.from_json(store.meta["grid"])
        self.times = times = store_times(store)
        self.season = season_terms(times).astype(np.float32)
        self.previous = np.searchsorted(times, times - DAY)
        self.has_previous = times[np.minimum(self.previous, len(times) - 1)] == times - DAY

    def __len__(self) -> int:
        """Number of days."""
        return len(self.days)

    def parts(self, item: int | tuple[int, int]) -> Parts:
        """What makes one day; of training items (epoch, item) the epoch does not matter here."""
        day = int(self.days[item[1] if isinstance(item, tuple) else item])
        maps = self.store.read("maps", day)[self.columns]
        if self.before:
            earlier = np.full((len(self.before), *maps.shape[1:]), np.nan, np.float32)
            if self.has_previous[day]:
                earlier = self.store.read("maps", int(self.previous[day]))[self.before]
            maps = np.concatenate([maps, earlier])
        if self.tracks:
            maps = np.concatenate([maps, self.tracks.channel(self.times[[day]], self.grid)])
        return {
            "maps": maps,
            "season": self.season[day],
            "target": self.targets[day],
            "index": np.array(day),
        }


def available_channels(store: SampleStore) -> list[str]:
    """Map and static channels of a store."""
    arrays = store.meta["arrays"]
    return [name for key in ("maps", "static") if key in arrays for name in arrays[key]["channels"]]


def static_maps(store: SampleStore, inputs: Inputs) -> NDArray[np.float32]:
    """The static channels of the network, (S, H, W)."""
    shape = store.read("maps", 0).shape[1:]
    if not inputs.static:
        return np.zeros((0, *shape), np.float32)
    stored = store.meta["arrays"]["static"]["channels"]
    values = store.read("static", 0)[[stored.index(name) for name in inputs.static]]
    return np.array(values, np.float32)


def _slice(columns: Sequence[int]) -> slice | list[int]:
    """Neighbouring columns as a slice, which reads a view instead of gathering."""
    first = columns[0] if columns else 0
    if list(columns) == list(range(first, first + len(columns))):
        return slice(first, first + len(columns))
    return list(columns)

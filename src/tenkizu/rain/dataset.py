"""From stored windows to training samples: channels, augmentation."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.loading import Parts, Samples
from tenkizu.core.normaliser import ChannelScale
from tenkizu.core.stats import Moments
from tenkizu.core.store import SampleStore
from tenkizu.rain.config import DataConfig
from tenkizu.rain.context import DERIVED, FIXED, Planes, derive, fixed_planes
from tenkizu.rain.fields import PREVIOUS, stored_fields
from tenkizu.rain.msm.compact_blocks import CompactFields, is_compact
from tenkizu.rain.msm.compact_views import compact_view
from tenkizu.rain.tables import MOTION, RAIN, Rain
from tenkizu.rain.tiles import Lattice, WetTiles, stored_counts
from tenkizu.rain.views import View, augment, changes_nothing, draw_view, random_tile, see

__all__ = [
    "TIME_FEATURES",
    "RainDataset",
    "assemble",
    "augment",
    "input_channels",
    "planes",
    "random_tile",
    "time_features",
    "to_parts",
]

TIME_FEATURES = ("dayofyear_sin", "dayofyear_cos", "hour_sin", "hour_cos")


def input_channels(
    data: DataConfig, log_moments: Moments, fields: Sequence[ChannelScale] = ()
) -> list[ChannelScale]:
    """The input channels in order, with their scaling.

    Args:
        data: names the context and whether time features are on.
        log_moments: training moments of log(1 + mm) for the channels of `RAIN`.
        fields: forecast fields, from `field_scales`; P follows them.
    """
    logs = {
        name: (float(mean), float(std))
        for name, mean, std in zip(RAIN, log_moments.mean, log_moments.std, strict=True)
    }
    channels = list(fields)
    if fields:
        channels.append(ChannelScale(PREVIOUS, "mm", "log1p", *logs["P"]))
    channels += [ChannelScale(name, "1") for name in TIME_FEATURES if data.time_features]
    for key in data.context:
        if key in FIXED:
            channels += FIXED[key]
        elif key == "motion":
            channels += [ChannelScale(name, "mm", "log1p", *logs["y5"]) for name in MOTION]
        elif key in DERIVED:
            # On the scale of log S, which they are made of.
            mean, std = logs["S"]
            centre = 0.0 if key == "gradient" else mean
            channels += [ChannelScale(name, "1", "linear", centre, std) for name in DERIVED[key]]
        else:
            name = key.upper()
            channels.append(ChannelScale(name, "mm", "log1p", *logs[name]))
            if name != "S":
                channels.append(ChannelScale(f"{name}_present", "1"))
    return channels


def time_features(start: np.datetime64) -> dict[str, float]:
    """Sine and cosine of day of year (period 366) and hour (24) of t0 = start - 3 h, UTC."""
    t0 = start.astype("datetime64[m]") - np.timedelta64(180, "m")
    day = (t0.astype("datetime64[D]") - t0.astype("datetime64[Y]")).astype(int) + 1
    hour = (t0 - t0.astype("datetime64[D]")).astype(int) / 60
    angles = (2 * np.pi * day / 366, 2 * np.pi * hour / 24)
    values = [f(a) for a in angles for f in (np.sin, np.cos)]
    return dict(zip(TIME_FEATURES, map(float, values), strict=True))


def assemble(
    names: Sequence[str], rain: Rain, start: np.datetime64, fixed: Planes | None = None
) -> Rain:
    """Raw input channels (C, H, W) of one window, unscaled, NaN where missing: see `planes`."""
    return np.stack(planes(names, rain, start, fixed))


def planes(
    names: Sequence[str], rain: Rain, start: np.datetime64, fixed: Planes | None = None
) -> list[Rain]:
    """Raw input channels of one window, (H, W) each, which may be views of what is given.

    Args:
        names: channel names in the model's order.
        rain: (6, H, W) in the order of `RAIN`, mm.
        start: start of the window, UTC.
        fixed: further channels, (H, W) each: forecast fields, those of the grid from
            `fixed_planes`, and the hours of the motion baseline.

    Raises:
        DataError: a channel is not known.
    """
    known: dict[str, float | Rain] = {**time_features(start), **(fixed or {})}
    known[PREVIOUS] = rain[RAIN.index("P")]
    derived = [(key, made) for key, made in DERIVED.items() if not set(made).isdisjoint(names)]
    if derived:
        log_total = np.log1p(rain[RAIN.index("S")])
        for key, made in derived:
            known.update(zip(made, derive(key, log_total), strict=True))
    found: list[float | Rain] = []
    for name in names:
        if name in known:
            found.append(known[name])
        elif name.endswith("_present"):
            found.append(~np.isnan(rain[RAIN.index(name.removesuffix("_present"))]))
        elif name == "S":
            # The presence planes tell missing neighbours apart; an unknown total is masked from
            # the result, and as input reads as dry ground.
            found.append(np.nan_to_num(rain[RAIN.index(name)]))
        elif name in RAIN:
            found.append(rain[RAIN.index(name)])
        else:
            raise DataError(
                "an input channel of the model is not given",
                variable=name,
                next_step="use a model without it, or data on a grid that has it",
            )
    shape = rain.shape[1:]
    return [np.broadcast_to(np.asarray(value, np.float32), shape) for value in found]


def to_parts(
    rain: Rain, names: Sequence[str], start: np.datetime64, fixed: Planes | None = None
) -> Parts:
    """One sample: input (C, H, W), target_1h (3, H, W), target_sum and mask (1, H, W), time."""
    return {
        "input": planes(names, rain, start, fixed),
        "target_1h": rain[1:4],
        "target_sum": rain[4:5],
        "mask": ~np.isnan(rain[1:5]).any(axis=0, keepdims=True),
        "time": start.astype("datetime64[m]").astype(np.int64),
    }


class RainDataset(Samples):
    """The windows of one split of a store.

    Samples are those of `to_parts`. Of a compact store ``input`` lacks the fields, which come
    packed (`compact_view`) and are put before the others on the device (`Unpacking`). Of tiles that
    are drawn from a lattice there is also ``importance`` (1, H, W), the weight of each cell in the
    loss.

    Args:
        store: prepared by ``tenkizu rain prepare``.
        split: ``train``, ``validation`` or ``test``.
        names: input channel names.
        augmentation: options for random views, or None for the windows as they are.
        seed: with `set_epoch`, decides every random choice; the number of workers does not.
        static_file: NetCDF with orography and land, if they are among ``names``.

    Raises:
        DataError: position or orography is asked for and cannot be had on this grid, or tiles do
            not fit into it.
    """

    def __init__(
        self,
        store: SampleStore,
        split: str,
        names: Sequence[str],
        augmentation: DataConfig | None = None,
        seed: int = 0,
        static_file: Path | None = None,
    ) -> None:
        self.store = store
        self.names = list(names)
        self.augmentation = augmentation
        self.seed = seed
        self.indices = [i for i, s in enumerate(store.meta["splits"]) if s == split]
        self.starts = np.array(store.meta["starts"], "datetime64[m]")[self.indices]
        side = augmentation.tile if augmentation else None
        grid = Grid.from_json(store.meta["grid"])
        self.fixed = fixed_planes(self.names, grid, static_file)
        stored = stored_fields(store)
        self.fields = {name: stored.index(name) for name in self.names if name in stored}
        self.compact = CompactFields(store) if is_compact(store) else None
        self.motion = not set(MOTION).isdisjoint(self.names)
        self.tiles: WetTiles | None = None
        # An epoch of tiles covers the area of an epoch of frames.
        self.per_window = 1
        if augmentation and side:
            cover = math.prod(math.ceil(size / side) for size in grid.shape)
            self.per_window = augmentation.tiles_per_window or cover
            widest = side * max(augmentation.coarser)
            if max(augmentation.coarser) > 1 and widest > min(grid.shape):
                raise DataError(
                    "the grid is smaller than a tile before averaging",
                    file=store.path,
                    variable="data.coarser",
                    found=f"{side} x {max(augmentation.coarser)} cells on {grid.describe()}",
                    next_step="leave the largest factor out of data.coarser, or lower data.tile",
                )

            if augmentation.tile_stride and self.indices:
                lattice = Lattice.of(augmentation, grid.shape)
                self.tiles = WetTiles(stored_counts(store, self.indices, lattice), lattice)
                if not self.tiles.wet:
                    raise DataError("no tile with rain", file=store.path, variable=split)

    def __len__(self) -> int:
        """Number of samples: windows, or tiles of them; of drawn tiles, the area that is wet."""
        frames = len(self.indices) * self.per_window
        if self.tiles is None or (self.augmentation and self.augmentation.tiles_per_window):
            return frames
        return max(round(frames * self.tiles.wet / len(self.tiles.probability)), 1)

    def _draw(self, item: int, epoch: int) -> tuple[int, View | None, Rain | None]:
        """The window an item is a view of, the view, and the importance of its cells."""
        options = self.augmentation
        if options is None or (self.tiles is None and changes_nothing(options)):
            return item // self.per_window, None, None
        generator = np.random.default_rng((self.seed, epoch, item))
        if self.tiles is None:
            window = item // self.per_window
            total = self.store.read("rain", self.indices[window])[RAIN.index("S")]
            return window, draw_view(total, options, generator), None
        # Each item has its own part of the summed probabilities: an epoch is spread evenly.
        drawn = self.tiles.draw((item + generator.random()) / len(self))
        total = self.store.read("rain", self.indices[drawn.window])[RAIN.index("S")]
        view = draw_view(total, options, generator, drawn.square)
        rows, columns = view.steps
        return drawn.window, view, np.ascontiguousarray(drawn.importance[::rows, ::columns])

    def window(self, item: int) -> tuple[np.datetime64, Rain]:
        """Start and rain (6, H, W) of one window."""
        return self.starts[item], self._rain(self.indices[item])

    def _rain(self, index: int) -> Rain:
        """Rain (6, H, W) of one stored window; stores without N hold five planes."""
        rain = self.store.read("rain", index)
        missing = [np.full((1, *rain.shape[1:]), np.nan, np.float32)] * (len(RAIN) - len(rain))
        return np.concatenate([rain, *missing]) if missing else rain

    def forecast(self, item: int) -> Planes:
        """The stored forecast fields of one window by channel name; none in a store of rain."""
        names = stored_fields(self.store)
        if not names:
            return {}
        if self.compact is not None:
            return self.compact.fields(self.indices[item])
        return dict(zip(names, self.store.read("fields", self.indices[item]), strict=True))

    def carried(self, item: int) -> Rain | None:
        """The hours of the motion baseline (3, H, W) of one window, if the store keeps them."""
        if "motion" not in self.store.meta["arrays"]:
            return None
        return self.store.read("motion", self.indices[item])[: len(MOTION)]

    def parts(self, item: int | tuple[int, int]) -> Parts:
        """What makes one sample; training items are (epoch, index), which decide its view."""
        epoch, item = item if isinstance(item, tuple) else (0, item)
        window, view, importance = self._draw(item, epoch)
        index = self.indices[window]
        start, rain = self.window(window)
        views = list(rain)
        # Views of the mapped files: only what is cut out of them is read and copied.
        if self.motion:
            every = self.store.read("motion", index)
            views.extend(every if view else every[: len(MOTION)])
        fields = () if self.compact else tuple(self.fields)
        if fields:
            stored = self.store.read("fields", index)
            views.extend(stored[self.fields[name]] for name in fields)
        views.extend(self.fixed.values())
        others = (*fields, *self.fixed)
        names = (MOTION if self.motion else ()) + others
        if view is None:
            cut = views[len(RAIN) :]
        else:
            seen = see(views, view, self.motion, others)
            rain, cut = seen[: len(RAIN)], list(seen[len(RAIN) :])
        wanted = [name for name in self.names if self.compact is None or name not in self.fields]
        sample = dict(to_parts(rain, wanted, start, dict(zip(names, cut, strict=True))))
        if self.compact is not None and self.fields:
            sample |= compact_view(self.compact, index, list(self.fields), view)
        if importance is not None:
            sample["importance"] = importance[None]
        return sample

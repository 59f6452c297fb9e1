"""From stored windows to training samples: channels, augmentation."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.normaliser import ChannelScale
from tenkizu.core.stats import Moments
from tenkizu.core.store import SampleStore
from tenkizu.rain.baselines import equal_split
from tenkizu.rain.coarsening import block_mean
from tenkizu.rain.config import DataConfig
from tenkizu.rain.context import DERIVED, FIXED, Planes, derive, fixed_planes
from tenkizu.rain.fields import PREVIOUS, stored_fields, wind_component
from tenkizu.rain.tables import MOTION, RAIN, Rain

DRAWS = 5
"""Attempts to find a training tile with rain in it."""

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
    """Raw input channels (C, H, W) of one window, unscaled, NaN where missing.

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
    planes = np.empty((len(names), *rain.shape[1:]), np.float32)
    for plane, name in zip(planes, names, strict=True):
        if name in known:
            plane[:] = known[name]
        elif name.endswith("_present"):
            plane[:] = ~np.isnan(rain[RAIN.index(name.removesuffix("_present"))])
        elif name in RAIN:
            plane[:] = rain[RAIN.index(name)]
            if name == "S":
                # The presence planes tell missing neighbours apart; an unknown total is masked
                # from the result, and as input reads as dry ground.
                np.nan_to_num(plane, copy=False)
        else:
            raise DataError(
                "an input channel of the model is not given",
                variable=name,
                next_step="use a model without it, or data on a grid that has it",
            )
    return planes


def changes_nothing(data: DataConfig) -> bool:
    """Whether `augment` with these options would give every window as it is."""
    shaped = data.tile is not None or data.flips or data.time_reversal
    return not (shaped or data.amount_scale > 1.0 or data.drop_neighbours)


def augment(
    planes: Sequence[Rain],
    data: DataConfig,
    generator: np.random.Generator,
    motion: bool = False,
    others: Sequence[str] = (),
) -> Rain:
    """A random view of one window, as the options of ``data`` allow.

    Time reversal swaps P with N and reverses the hours. A mirrored wind blows the other way.

    Args:
        planes: (H, W) each; the six of `RAIN`, then the nine stored for `MOTION` if ``motion``,
            then any others, which are cut and mirrored with them.
        data: the options.
        generator: makes every choice.
        motion: whether the hours of the motion baseline are there.
        others: names of the other planes, by which winds are known.

    Returns:
        The planes of `RAIN`, of `MOTION` as prediction would make them from the P and N that are
        left, and the others.
    """
    amounts = len(RAIN) + (3 * len(MOTION) if motion else 0)
    if data.tile is not None:
        # Drawn only if there is a choice, so that one spacing gives the views it always gave.
        factor = int(generator.choice(data.coarser)) if len(data.coarser) > 1 else data.coarser[0]
        rain = random_tile(planes, data.tile, generator, factor)
    else:
        rain = np.stack(planes)
    if data.time_reversal and generator.random() < 0.5:
        # Without P becomes without N.
        turned = [8, 7, 6, 14, 13, 12, 11, 10, 9] if motion else []
        rain = rain[[5, 3, 2, 1, 4, 0, *turned, *range(amounts, len(rain))]]
    if data.flips:
        step_y, step_x = generator.choice((-1, 1), 2)
        rain = rain[:, ::step_y, ::step_x]
        signs = {"eastward": step_x, "northward": step_y}
        for i, name in enumerate(others, amounts):
            component = wind_component(name)
            if component is not None:
                rain[i] *= signs[component]
    rain = np.ascontiguousarray(rain)
    if data.amount_scale > 1.0:
        rain[:amounts] *= np.float32(data.amount_scale ** generator.uniform(-1.0, 1.0))
    hidden = [generator.random() < data.drop_neighbours for _ in "PN"]
    for name, hide in zip("PN", hidden, strict=True):
        if hide:
            rain[RAIN.index(name)] = np.nan
    if not motion:
        return rain
    if all(hidden):
        hours = equal_split(rain[RAIN.index("S")])
    else:
        first = len(RAIN) + (3 if hidden[0] else 6 if hidden[1] else 0)
        hours = rain[first : first + len(MOTION)]
    return np.concatenate([rain[: len(RAIN)], hours, rain[amounts:]])


def random_tile(
    planes: Sequence[Rain], side: int, generator: np.random.Generator, factor: int = 1
) -> Rain:
    """A random square of a window, drawn again up to `DRAWS` times while it is dry.

    Args:
        planes: of a window, (H, W) each, in the order of `RAIN`.
        side: cells of the result, if the window is as large.
        generator: makes the choice.
        factor: the square is this much larger, and then averaged to ``side`` cells.
    """
    total = planes[RAIN.index("S")]
    rows, columns = (max(size - side * factor, 0) for size in total.shape)
    for _ in range(DRAWS):
        top, left = int(generator.integers(rows + 1)), int(generator.integers(columns + 1))
        square = slice(top, top + side * factor), slice(left, left + side * factor)
        if (total[square] >= np.float32(0.1)).any():
            break
    return block_mean(np.stack([plane[square] for plane in planes]), factor)


def to_sample(
    rain: Rain, names: Sequence[str], start: np.datetime64, fixed: Planes | None = None
) -> dict[str, Tensor]:
    """One sample: input (C, H, W), target_1h (3, H, W), target_sum and mask (1, H, W), time."""
    valid = ~np.isnan(rain[1:5]).any(axis=0, keepdims=True)
    return {
        "input": torch.from_numpy(assemble(names, rain, start, fixed)),
        "target_1h": torch.from_numpy(np.ascontiguousarray(rain[1:4])),
        "target_sum": torch.from_numpy(np.ascontiguousarray(rain[4:5])),
        "mask": torch.from_numpy(valid),
        "time": torch.tensor(start.astype("datetime64[m]").astype(np.int64)),
    }


class RainDataset(Dataset[dict[str, Tensor]]):
    """The windows of one split of a store.

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
        self.motion = not set(MOTION).isdisjoint(self.names)
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

    def __len__(self) -> int:
        """Number of samples: windows, or tiles of them."""
        return len(self.indices) * self.per_window

    def _index(self, item: int) -> int:
        """Place in the store of the window an item is a view of."""
        return self.indices[item // self.per_window]

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
        return dict(zip(names, self.store.read("fields", self.indices[item]), strict=True))

    def carried(self, item: int) -> Rain | None:
        """The hours of the motion baseline (3, H, W) of one window, if the store keeps them."""
        if "motion" not in self.store.meta["arrays"]:
            return None
        return self.store.read("motion", self.indices[item])[: len(MOTION)]

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Tensor]:
        """One sample; training items are (epoch, index) so that a worker knows the epoch."""
        epoch, item = item if isinstance(item, tuple) else (0, item)
        index = self._index(item)
        start, rain = self.window(item // self.per_window)
        views = list(rain)
        # Views of the mapped files: only what is cut out of them is read and copied.
        augmentation = self.augmentation
        if augmentation is not None and changes_nothing(augmentation):
            augmentation = None
        if self.motion:
            every = self.store.read("motion", index)
            views.extend(every if augmentation else every[: len(MOTION)])
        if self.fields:
            stored = self.store.read("fields", index)
            views.extend(stored[i] for i in self.fields.values())
        views.extend(self.fixed.values())
        others = (*self.fields, *self.fixed)
        names = (MOTION if self.motion else ()) + others
        if augmentation is None:
            rain, planes = np.array(rain), views[len(RAIN) :]
        else:
            generator = np.random.default_rng((self.seed, epoch, item))
            view = augment(views, augmentation, generator, self.motion, others)
            rain, planes = view[: len(RAIN)], list(view[len(RAIN) :])
        return to_sample(rain, self.names, start, dict(zip(names, planes, strict=True)))

"""From stored windows to training samples: channels, augmentation."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tenkizu.core.normaliser import ChannelScale
from tenkizu.core.stats import Moments
from tenkizu.core.store import SampleStore
from tenkizu.rain.config import DataConfig
from tenkizu.rain.tables import RAIN, Rain

DRAWS = 5
"""Attempts to find a training tile with rain in it."""

TIME_FEATURES = ("dayofyear_sin", "dayofyear_cos", "hour_sin", "hour_cos")


def input_channels(data: DataConfig, log_moments: Moments) -> list[ChannelScale]:
    """The input channels in order, with their scaling.

    Args:
        data: names the context and whether time features are on.
        log_moments: training moments of log(1 + mm) for the channels of `RAIN`.
    """
    channels = [ChannelScale(name, "1") for name in TIME_FEATURES if data.time_features]
    for key in data.context:
        name = key.upper()
        i = RAIN.index(name)
        mean, std = float(log_moments.mean[i]), float(log_moments.std[i])
        channels.append(ChannelScale(name, "mm", "log1p", mean, std))
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


def assemble(names: Sequence[str], rain: Rain, start: np.datetime64) -> Rain:
    """Raw input channels (C, H, W) of one window, unscaled, NaN where missing.

    Args:
        names: channel names in the model's order.
        rain: (6, H, W) in the order of `RAIN`, mm.
        start: start of the window, UTC.
    """
    features = time_features(start)
    planes = np.empty((len(names), *rain.shape[1:]), np.float32)
    for plane, name in zip(planes, names, strict=True):
        if name in features:
            plane[:] = features[name]
        elif name.endswith("_present"):
            plane[:] = ~np.isnan(rain[RAIN.index(name.removesuffix("_present"))])
        else:
            plane[:] = rain[RAIN.index(name)]
            if name == "S":
                # The presence planes tell missing neighbours apart; an unknown total is masked
                # from the result, and as input reads as dry ground.
                np.nan_to_num(plane, copy=False)
    return planes


def augment(rain: Rain, data: DataConfig, generator: np.random.Generator) -> Rain:
    """A random view of one window, as the options of ``data`` allow; rain alone has no winds.

    Time reversal swaps P with N and reverses the hours.
    """
    if data.tile is not None:
        rain = random_tile(rain, data.tile, generator)
    if data.time_reversal and generator.random() < 0.5:
        rain = rain[[5, 3, 2, 1, 4, 0]]
    if data.flips:
        step_y, step_x = generator.choice((-1, 1), 2)
        rain = rain[:, ::step_y, ::step_x]
    rain = np.ascontiguousarray(rain)
    if data.amount_scale > 1.0:
        rain = rain * np.float32(data.amount_scale ** generator.uniform(-1.0, 1.0))
    for index in (RAIN.index("P"), RAIN.index("N")):
        if generator.random() < data.drop_neighbours:
            rain[index] = np.nan
    return rain


def random_tile(rain: Rain, side: int, generator: np.random.Generator) -> Rain:
    """A random square of a window (6, H, W), drawn again up to `DRAWS` times while it is dry."""
    rows, columns = (max(size - side, 0) for size in rain.shape[1:])
    for _ in range(DRAWS):
        top, left = int(generator.integers(rows + 1)), int(generator.integers(columns + 1))
        tile = rain[:, top : top + side, left : left + side]
        if (tile[RAIN.index("S")] >= np.float32(0.1)).any():
            break
    return tile


def to_sample(rain: Rain, names: Sequence[str], start: np.datetime64) -> dict[str, Tensor]:
    """One sample: input (C, H, W), target_1h (3, H, W), target_sum and mask (1, H, W), time."""
    valid = ~np.isnan(rain[1:5]).any(axis=0, keepdims=True)
    return {
        "input": torch.from_numpy(assemble(names, rain, start)),
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
    """

    def __init__(
        self,
        store: SampleStore,
        split: str,
        names: Sequence[str],
        augmentation: DataConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.store = store
        self.names = list(names)
        self.augmentation = augmentation
        self.seed = seed
        self.indices = [i for i, s in enumerate(store.meta["splits"]) if s == split]
        self.starts = np.array(store.meta["starts"], "datetime64[m]")[self.indices]
        side = augmentation.tile if augmentation else None
        shape = store.meta["grid"]["y"], store.meta["grid"]["x"]
        # An epoch of tiles covers the area of an epoch of frames.
        self.per_window = math.prod(math.ceil(len(axis) / side) for axis in shape) if side else 1

    def __len__(self) -> int:
        """Number of samples: windows, or tiles of them."""
        return len(self.indices) * self.per_window

    def window(self, item: int) -> tuple[np.datetime64, Rain]:
        """Start and rain (6, H, W) of one window."""
        return self.starts[item], self.store.read("rain", self.indices[item])

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Tensor]:
        """One sample; training items are (epoch, index) so that a worker knows the epoch."""
        epoch, item = item if isinstance(item, tuple) else (0, item)
        start, rain = self.window(item // self.per_window)
        # A copy: the stored array is mapped read-only.
        rain = np.array(rain)
        if self.augmentation is not None:
            generator = np.random.default_rng((self.seed, epoch, item))
            rain = augment(rain, self.augmentation, generator)
        return to_sample(rain, self.names, start)

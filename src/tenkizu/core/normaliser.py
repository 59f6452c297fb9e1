"""Input scaling as a module, so that its values travel inside the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Transform = Literal["linear", "log1p"]


@dataclass(frozen=True)
class ChannelScale:
    """How one input channel is scaled: ``(f(x / s) - mean) / std``, f identity or log(1 + x).

    Attributes:
        name: channel name.
        units: units of the raw channel.
        transform: f.
        mean: of f(x / s) over the training period.
        std: of f(x / s) over the training period.
        scale: s, in the units of the raw channel.
    """

    name: str
    units: str
    transform: Transform = "linear"
    mean: float = 0.0
    std: float = 1.0
    scale: float = 1.0


class Normaliser(nn.Module):
    """Scales raw channels on the device and turns missing values into 0, the training mean.

    Missing is what is not finite, as in `tenkizu.core.stats.Moments`. A channel whose std is 0 (it
    never varied in training) becomes 0.

    Args:
        scales: one entry a channel, in the order of the input.
    """

    mean: Tensor
    factor: Tensor
    log: Tensor
    divisor: Tensor

    def __init__(self, scales: Sequence[ChannelScale]) -> None:
        super().__init__()
        self.scales = tuple(scales)

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)

        self.register_buffer("mean", column([s.mean for s in scales]))
        self.register_buffer("factor", column([1.0 / s.std if s.std > 0 else 0.0 for s in scales]))
        # Not stored with the weights: it is a constant of the channel, not a result of training.
        self.register_buffer("divisor", column([s.scale for s in scales]), persistent=False)
        log = torch.tensor([s.transform == "log1p" for s in scales]).reshape(-1, 1, 1)
        self.register_buffer("log", log)

    def forward(self, raw: Tensor) -> Tensor:
        """Scale raw input (B, C, H, W); the result is finite."""
        return torch.nan_to_num(self.standardise(raw), nan=0.0, posinf=0.0, neginf=0.0)

    def standardise(self, raw: Tensor) -> Tensor:
        """Scale raw input (B, C, H, W) and leave missing values missing."""
        value = raw / self.divisor
        value = torch.where(self.log, torch.log1p(value.clamp(min=-0.5)), value)
        return (value - self.mean) * self.factor

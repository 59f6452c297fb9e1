"""What the networks share: their three parts, dropout and the wide head."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenkizu.core.errors import ConfigError

MIN_SIDE = 16
"""Cells that a map must have in each direction."""


class Backbone(nn.Module, ABC):
    """A network in three parts: maps (N, C, H, W) to features, to an embedding, to logits (N, L).

    A subclass defines `features`, `embed` and `classify`.
    """

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Feature maps (N, D, h, w) of input (N, C, H, W), which is in channels-last order."""

    @abstractmethod
    def embed(self, spatial: Tensor) -> Tensor:
        """Input (N, E) of the last linear layer, of the features (N, D, h, w)."""

    @abstractmethod
    def classify(self, embedding: Tensor) -> Tensor:
        """Logits (N, L) of the embedding (N, E)."""

    def spatial(self, x: Tensor) -> Tensor:
        """The last layer that is a map, (N, D, h, w), of input (N, C, H, W).

        Raises:
            ConfigError: the maps are smaller than 16 x 16.
        """
        height, width = x.shape[-2:]
        if min(height, width) < MIN_SIDE:
            raise ConfigError(
                "the maps are too small for the network",
                variable="data.area",
                found=f"{height} x {width} cells",
                expected=f"at least {MIN_SIDE} x {MIN_SIDE}",
                next_step="widen data.area or lower data.coarsen",
            )
        # Convolutions on CPU, and in half precision on GPU, are faster in this order; what follows
        # keeps it. The weights stay as they are, since each call re-orders them anyway.
        return self.features(channels_last(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, L) of input (N, C, H, W)."""
        return self.classify(self.embed(self.spatial(x)))


def channels_last(x: Tensor) -> Tensor:
    """The same (N, C, H, W) with its channels side by side in memory.

    As transposed matrices, which torch copies in blocks: five times faster on CPU than asking for
    the memory format.
    """
    if x.is_contiguous(memory_format=torch.channels_last):
        return x
    samples, channels, height, width = x.shape
    cells = x.flatten(2).transpose(1, 2).contiguous()
    return cells.view(samples, height, width, channels).permute(0, 3, 1, 2)


class Dropout(nn.Module):
    """Dropout of single elements, drawn on CPU from whole random words.

    One 64-bit word decides eight elements at a rate that is a multiple of 1/256, else four, at the
    nearest multiple of 1/65536. `torch.nn.Dropout` draws a double for each, which costs `simple` a
    seventh of its time.

    Args:
        rate: probability of setting an element to zero; what is kept is scaled by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, not {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with some elements set to zero, in training."""
        if not self.training or self.rate == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.rate)
        dtype = torch.int8 if (256 * self.rate).is_integer() else torch.int16
        levels = 2 ** (8 * dtype.itemsize)
        dropped = round(self.rate * levels)
        words = torch.empty(-(-x.numel() * dtype.itemsize // 8), dtype=torch.int64)
        words.random_(-(2**63), None)
        draws = words.view(dtype)[: x.numel()]
        # The strides of x, or those of its copy where it does not fill its memory.
        draws = draws.as_strided(x.shape, torch.empty_like(x).stride())
        kept = (draws >= dropped - levels // 2).to(x.dtype).mul_(levels / (levels - dropped))
        dropped_out: Tensor = x * kept
        return dropped_out

    def extra_repr(self) -> str:
        """Show the rate when the model is printed."""
        return f"rate={self.rate:g}"


class WideHead(nn.Module):
    """Global mean, a hidden layer of 1024 with ReLU and dropout 0.5, and the last linear layer.

    Args:
        width: channels of the features.
        labels: number of logits.
    """

    HIDDEN = 1024

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, self.HIDDEN)
        self.dropout = Dropout(0.5)
        self.out = nn.Linear(self.HIDDEN, labels)

    def embed(self, spatial: Tensor) -> Tensor:
        """(N, D, h, w) to (N, 1024)."""
        embedding: Tensor = self.dropout(functional.relu(self.hidden(spatial.mean((2, 3)))))
        return embedding

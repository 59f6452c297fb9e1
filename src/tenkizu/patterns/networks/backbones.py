"""The networks by name, and the smallest of them.

Maps of any size from 16 x 16 on fit every network. Batch normalisation (`resnet_small`,
`deformable`, many of timm) takes its statistics over the micro-batch.
"""

import difflib
import inspect
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenkizu.core.errors import ConfigError
from tenkizu.patterns.networks.convnext import ConvNextTiny
from tenkizu.patterns.networks.deformable import Deformable
from tenkizu.patterns.networks.layers import Backbone, Dropout
from tenkizu.patterns.networks.projection import Projection
from tenkizu.patterns.networks.residual import ResnetSmall
from tenkizu.patterns.networks.timm_backbone import START_OPTIONS, TimmBackbone

__all__ = ["BACKBONES", "Backbone", "Simple", "build_backbone", "parameters", "rebuild_options"]


class Simple(Backbone):
    """Three convolutions, each with ReLU, max-pooling and dropout, then two linear layers.

    Args:
        channels: of the input.
        labels: number of logits.
        dropout: rate after each convolution.
        head_dropout: rate before the last linear layer.
        pool: side of the adaptive average pooling before the linear layers.
        max_pools: how many of the three convolutions, from the first, are followed by pooling.
    """

    WIDTHS = (32, 64, 64)
    HIDDEN = 512

    def __init__(
        self,
        channels: int,
        labels: int,
        dropout: float = 0.25,
        head_dropout: float = 0.5,
        pool: int = 4,
        max_pools: int = 3,
    ) -> None:
        super().__init__()
        if pool < 1 or not 0 <= max_pools <= len(self.WIDTHS):
            raise ValueError(f"pool must be at least 1, max_pools 0 to {len(self.WIDTHS)}")
        widths = (channels, *self.WIDTHS)
        self.convs = nn.ModuleList(
            [nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)]
        )
        self.max_pools = max_pools
        self.dropout = Dropout(dropout)
        self.pool = nn.AdaptiveAvgPool2d(pool)
        self.hidden = nn.Linear(self.WIDTHS[-1] * pool**2, self.HIDDEN)
        self.head_dropout = Dropout(head_dropout)
        self.out = nn.Linear(self.HIDDEN, labels)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 64, H / 8, W / 8), rounded down at each step."""
        for level, conv in enumerate(self.convs):
            x = conv(x)
            # ReLU is monotonic, so pooling may come first: equal values and gradients, on a
            # quarter of the cells.
            if level < self.max_pools:
                x = functional.max_pool2d(x, 2)
            x = self.dropout(functional.relu(x))
        return x

    def embed(self, spatial: Tensor) -> Tensor:
        """(N, 64, h, w) to (N, 512)."""
        hidden = functional.relu(self.hidden(self.pool(spatial).flatten(1)))
        embedding: Tensor = self.head_dropout(hidden)
        return embedding

    def classify(self, embedding: Tensor) -> Tensor:
        """(N, 512) to (N, L)."""
        logits: Tensor = self.out(embedding)
        return logits


NETWORKS: dict[str, type[Backbone]] = {
    "simple": Simple,
    "resnet_small": ResnetSmall,
    "deformable": Deformable,
    "convnext_tiny": ConvNextTiny,
    "projection": Projection,
}
BACKBONES = tuple(NETWORKS)
TIMM = "timm:"


def build_backbone(
    name: str,
    channels: int,
    labels: int,
    shape: tuple[int, int] | None = None,
    **options: Any,  # noqa: ANN401
) -> Backbone:
    """A network with random weights, or pretrained ones where the options of ``timm:NAME`` say so.

    Args:
        name: one of `BACKBONES`, or ``timm:NAME``.
        channels: of the input.
        labels: number of logits.
        shape: of a map, (H, W), which only ``projection`` must know.
        options: further arguments of that network.

    Raises:
        ConfigError: an unknown name or option, a value that does not fit, or timm is missing.
    """
    if name.startswith(TIMM):
        return TimmBackbone(name.removeprefix(TIMM), channels, labels, **options)
    network = NETWORKS.get(name)
    if network is None:
        raise ConfigError(
            "unknown network",
            variable="model.backbone",
            found=name,
            expected=f"{', '.join(BACKBONES)} or {TIMM}NAME",
            next_step=_suggestion(name, BACKBONES),
        )
    arguments = inspect.signature(network).parameters
    fixed: dict[str, Any] = {"channels": channels, "labels": labels}
    if "shape" in arguments:
        if shape is None:
            raise ConfigError("needs the size of the maps", variable="model.backbone", found=name)
        fixed["shape"] = shape
    known = [k for k in arguments if k not in fixed]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"{name} has no such option",
                variable="model.options",
                found=option,
                expected=", ".join(known) or "none",
                next_step=_suggestion(option, known),
            )
    try:
        return network(**fixed, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{name} cannot be built: {error}", variable="model.options", found=options
        ) from None


def parameters(
    name: str,
    channels: int,
    labels: int,
    shape: tuple[int, int] | None = None,
    **options: Any,  # noqa: ANN401
) -> int:
    """Parameters of a network, without making its weights; arguments as of `build_backbone`."""
    with torch.device("meta"):
        network = build_backbone(name, channels, labels, shape, **options)
    return sum(parameter.numel() for parameter in network.parameters())


def rebuild_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that only say where the first weights come from.

    A model whose own weights are at hand is built with these, so that nothing is downloaded.
    """
    return {key: value for key, value in options.items() if key not in START_OPTIONS}


def _suggestion(name: str, known: tuple[str, ...] | list[str]) -> str | None:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else None

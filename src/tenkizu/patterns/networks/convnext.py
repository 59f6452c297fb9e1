"""`convnext_tiny`: a small ConvNeXt (Liu et al. 2022, https://arxiv.org/abs/2201.03545)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenkizu.core.drop_path import DropPath
from tenkizu.patterns.networks.layers import Backbone

EPS = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each cell.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Depthwise 7 x 7 convolution and a two-layer perceptron, added to the input.

    Args:
        width: channels.
        layer_scale: first value of a learned factor for each channel; None for no factor.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, width: int, layer_scale: float | None, drop_path: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        # 1 x 1 convolutions, written as linear layers on cells whose channels come last.
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.scale = None
        if layer_scale is not None:
            self.scale = nn.Parameter(torch.full((width,), float(layer_scale)))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        out: Tensor = self.drop_path(x, self._branch)
        return out

    def _branch(self, x: Tensor) -> Tensor:
        """What is added to ``x``."""
        branch = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        branch = self.narrow(functional.gelu(self.widen(branch)))
        if self.scale is not None:
            branch = branch * self.scale
        moved: Tensor = branch.permute(0, 3, 1, 2)
        return moved


class ConvNextTiny(Backbone):
    """Patches of 4 x 4, three stages with halvings between, global mean, one linear layer.

    Args:
        channels: of the input.
        labels: number of logits.
        layer_scale: first value of the factor on each branch, such as 1e-6; None for no factor.
        drop_path: largest rate of stochastic depth, growing from 0 at the first block.
        final_norm: normalise the embedding.
    """

    DEPTHS = (2, 2, 6)
    WIDTHS = (64, 128, 256)

    def __init__(
        self,
        channels: int,
        labels: int,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        final_norm: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be at least 0 and less than 1, not {drop_path}")
        rates = iter(torch.linspace(0, drop_path, sum(self.DEPTHS), device="cpu").tolist())
        parts: list[nn.Module] = []
        before = channels
        for depth, width in zip(self.DEPTHS, self.WIDTHS, strict=True):
            step = 2 if parts else 4
            parts += [nn.Conv2d(before, width, step, step), ChannelNorm(width)]
            parts += [ConvNextBlock(width, layer_scale, next(rates)) for _ in range(depth)]
            before = width
        self.stages = nn.Sequential(*parts)
        self.norm = nn.LayerNorm(before, eps=EPS) if final_norm else nn.Identity()
        self.out = nn.Linear(before, labels)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 256, H / 16, W / 16), rounded down at each step."""
        features: Tensor = self.stages(x)
        return features

    def embed(self, spatial: Tensor) -> Tensor:
        """(N, 256, h, w) to (N, 256)."""
        embedding: Tensor = self.norm(spatial.mean((2, 3)))
        return embedding

    def classify(self, embedding: Tensor) -> Tensor:
        """(N, 256) to (N, L)."""
        logits: Tensor = self.out(embedding)
        return logits

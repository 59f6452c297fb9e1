"""`deformable`: a chain of deformable convolutions."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenkizu.patterns.networks.deform_conv import KERNEL, TAPS, deform_conv
from tenkizu.patterns.networks.layers import Backbone, Dropout, WideHead


class DeformableBlock(nn.Module):
    """Offsets, deformable convolution, batch normalisation, ReLU, dropout.

    Args:
        width_in: channels of the input.
        width: channels of the output.
        stride: of the output grid.
        dropout: rate at the end.
    """

    def __init__(self, width_in: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        self.offset = nn.Conv2d(width_in, 2 * TAPS, KERNEL, stride, 1)
        # Begins as an ordinary convolution.
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)
        self.weight = nn.Parameter(torch.empty(width, width_in, KERNEL, KERNEL))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as torch's own convolutions
        self.norm = nn.BatchNorm2d(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, H / stride, W / stride), rounded up."""
        x = self.norm(deform_conv(x, self.offset(x), self.weight, self.stride))
        out: Tensor = self.dropout(functional.relu_(x))
        return out


class Deformable(Backbone):
    """Seven deformable blocks, no residuals, and the wide head.

    Args:
        channels: of the input.
        labels: number of logits.
    """

    BLOCKS = (
        (64, 1, 0.10),
        (64, 1, 0.10),
        (64, 1, 0.10),
        (128, 2, 0.15),
        (128, 1, 0.15),
        (256, 2, 0.20),
        (256, 1, 0.20),
    )

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        widths = [channels, *(width for width, _, _ in self.BLOCKS)]
        self.blocks = nn.Sequential(
            *(DeformableBlock(a, *b) for a, b in zip(widths, self.BLOCKS, strict=False))
        )
        self.head = WideHead(widths[-1], labels)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 256, H / 4, W / 4), rounded up at each step."""
        features: Tensor = self.blocks(x)
        return features

    def embed(self, spatial: Tensor) -> Tensor:
        """(N, 256, h, w) to (N, 1024)."""
        return self.head.embed(spatial)

    def classify(self, embedding: Tensor) -> Tensor:
        """(N, 1024) to (N, L)."""
        logits: Tensor = self.head.out(embedding)
        return logits

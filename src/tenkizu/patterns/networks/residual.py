"""`resnet_small`: a residual network that keeps full resolution in its first stage.

He et al. 2016 (https://arxiv.org/abs/1512.03385) describe the blocks, Hu et al. 2018
(https://arxiv.org/abs/1709.01507) squeeze and excitation.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenkizu.patterns.networks.layers import Backbone, Dropout, WideHead


class SqueezeExcite(nn.Module):
    """Scales each channel by a factor in (0, 1) that the means of all channels decide.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(1, width // 16)
        self.squeeze = nn.Linear(width, hidden, bias=False)
        self.excite = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        factors = torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean((2, 3))))))
        return x * factors[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with squeeze and excitation, added to a shortcut.

    Args:
        width_in: channels of the input.
        width: channels of the output.
        stride: of the first convolution and the shortcut.
        dropout: rate at the end.
    """

    def __init__(self, width_in: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.scale = SqueezeExcite(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, H / stride, W / stride), rounded up."""
        # In place where no gradient needs the old value: maps are large at full resolution.
        branch = functional.relu_(self.norm1(self.conv1(x)))
        branch = self.scale(self.norm2(self.conv2(branch)))
        out: Tensor = self.dropout(functional.relu_(branch.add_(self.shortcut(x))))
        return out


class ResnetSmall(Backbone):
    """A full-resolution stem, three stages of two residual blocks, and the wide head.

    Args:
        channels: of the input.
        labels: number of logits.
    """

    STAGES = ((64, 1, 0.15), (128, 2, 0.20), (256, 2, 0.25))

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        width = self.STAGES[0][0]
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks = []
        for wider, stride, dropout in self.STAGES:
            blocks.append(ResidualBlock(width, wider, stride, dropout))
            blocks.append(ResidualBlock(wider, wider, 1, dropout))
            width = wider
        self.blocks = nn.Sequential(*blocks)
        self.head = WideHead(width, labels)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 256, H / 4, W / 4), rounded up at each step."""
        features: Tensor = self.blocks(functional.relu_(self.norm(self.stem(x))))
        return features

    def embed(self, spatial: Tensor) -> Tensor:
        """(N, 256, h, w) to (N, 1024)."""
        return self.head.embed(spatial)

    def classify(self, embedding: Tensor) -> Tensor:
        """(N, 1024) to (N, L)."""
        logits: Tensor = self.head.out(embedding)
        return logits

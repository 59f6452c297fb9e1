"""The Swin U-Net that turns one 3-hour input field into one map per hour.

Liu et al. 2021 (https://arxiv.org/abs/2103.14030) describe the blocks, Cao et al. 2021
(https://arxiv.org/abs/2105.05537) the U shape. Tokens are (B, H, W, C) throughout.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tenkizu.core.drop_path import DropPath
from tenkizu.core.errors import ConfigError
from tenkizu.rain.windows import WindowAttention

# Channels of the full-resolution skip.
SKIP_WIDTH = 32


class PatchEmbedding(nn.Module):
    """Project each patch of patch_size x patch_size cells to one token."""

    def __init__(self, in_channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, H / patch_size, W / patch_size, width)."""
        tokens: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return tokens


class SwinBlock(nn.Module):
    """Window attention, then a two-layer perceptron, each normalised first and added back."""

    def __init__(self, attention: WindowAttention, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        width = attention.proj.in_features
        hidden = int(width * mlp_ratio)
        self.attention_norm = nn.LayerNorm(width)
        self.attention = attention
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        tokens = self.drop_path(tokens, lambda x: self.attention(self.attention_norm(x)))
        tokens = self.drop_path(tokens, lambda x: self.mlp(self.mlp_norm(x)))
        return tokens


class PatchMerging(nn.Module):
    """Join each 2 x 2 tokens into one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    @staticmethod
    def gather(tokens: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H / 2, W / 2, 4C).

        The quarters follow as (even row, even column), (odd, even), (even, odd), (odd, odd).
        """
        batch, height, width, channels = tokens.shape
        pairs = tokens.view(batch, height // 2, 2, width // 2, 2, channels)
        return pairs.permute(0, 1, 3, 4, 2, 5).reshape(batch, height // 2, width // 2, 4 * channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H / 2, W / 2, 2C)."""
        merged: Tensor = self.reduce(self.norm(self.gather(tokens)))
        return merged


class Expansion(nn.Module):
    """Turn each token into factor x factor tokens, its channels read as (rows, columns, C)."""

    def __init__(self, width: int, factor: int, out_width: int) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(width, factor**2 * out_width, bias=False)
        self.norm = nn.LayerNorm(out_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) to (B, factor H, factor W, out_width)."""
        batch, height, width, _ = tokens.shape
        f = self.factor
        parts = self.expand(tokens).view(batch, height, width, f, f, -1).transpose(2, 3)
        spread: Tensor = self.norm(parts.reshape(batch, f * height, f * width, -1))
        return spread


class BilinearExpansion(nn.Module):
    """Refine the grid by bilinear interpolation, then mix with a 3 x 3 convolution.

    Neighbouring cells of the finer grid come from the same weights, so there is no checkerboard
    (Odena et al. 2016, https://doi.org/10.23915/distill.00003).
    """

    def __init__(self, width: int, factor: int, out_width: int) -> None:
        super().__init__()
        self.factor = factor
        self.mix = nn.Conv2d(width, out_width, 3, padding=1, bias=False)
        self.norm = nn.LayerNorm(out_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) to (B, factor H, factor W, out_width)."""
        fine = functional.interpolate(
            tokens.permute(0, 3, 1, 2),
            scale_factor=self.factor,
            mode="bilinear",
            align_corners=False,
        )
        spread: Tensor = self.norm(self.mix(fine).permute(0, 2, 3, 1))
        return spread


class FullResolutionSkip(nn.Module):
    """Bring the unpatched inputs to the last features, so that detail need not pass the patches.

    Two 3 x 3 convolutions read the inputs and one mixes them in, each followed by a GELU.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.read = nn.Sequential(
            nn.Conv2d(in_channels, SKIP_WIDTH, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(SKIP_WIDTH, SKIP_WIDTH, 3, padding=1),
            nn.GELU(),
        )
        self.mix = nn.Sequential(nn.Conv2d(width + SKIP_WIDTH, width, 3, padding=1), nn.GELU())

    def forward(self, features: Tensor, x: Tensor) -> Tensor:
        """Features (B, width, H, W) and inputs (B, in_channels, H, W) to new features."""
        # The features come from (B, H, W, C) tokens; the inputs take the same order in memory.
        x = x.contiguous(memory_format=torch.channels_last)
        mixed: Tensor = self.mix(torch.cat([features, self.read(x)], dim=1))
        return mixed


class SwinUNet(nn.Module):
    """Swin U-Net for fields of any size.

    Args:
        in_channels: input fields.
        out_channels: output maps, one per hour.
        embed_dim: channels of the first stage; each further stage has twice as many.
        depths: blocks per encoder stage, two stages or more; the decoder mirrors them.
        num_heads: attention heads per encoder stage.
        window_size: side of the attention window, in tokens.
        mlp_ratio: hidden width of the block's perceptron over its width.
        drop_path: stochastic depth of the last encoder block; it grows linearly from 0.
        patch_size: side of a patch, in cells.
        full_resolution_skip: lead the inputs past the patches to the last features.
        upsampling: ``shuffle`` (`Expansion`) or ``bilinear`` (`BilinearExpansion`).
        temperature_map: give one more map, the raw temperature of each cell.
        activation_checkpointing: in training, keep only the input of each block and compute the
            block again in the backward pass.
        fused_attention: use torch's fused attention where it is faster (not on CPU).

    Raises:
        ConfigError: the stages do not fit one another.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 3,
        embed_dim: int = 128,
        depths: Sequence[int] = (2, 2, 12, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        window_size: int = 5,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.2,
        patch_size: int = 4,
        full_resolution_skip: bool = False,
        upsampling: Literal["shuffle", "bilinear"] = "shuffle",
        temperature_map: bool = False,
        activation_checkpointing: bool = False,
        fused_attention: bool = True,
    ) -> None:
        super().__init__()
        _check_stages(embed_dim, depths, num_heads, drop_path)
        stages = len(depths)
        widths = [embed_dim * 2**i for i in range(stages)]
        rates = np.split(np.linspace(0, drop_path, sum(depths)), np.cumsum(depths)[:-1])

        def stage(i: int) -> nn.Sequential:
            attentions = (
                WindowAttention(
                    widths[i], num_heads[i], window_size, shifted=odd, fused=fused_attention
                )
                for odd in (block % 2 == 1 for block in range(depths[i]))
            )
            return nn.Sequential(
                *(
                    SwinBlock(attention, mlp_ratio, float(rate))
                    for attention, rate in zip(attentions, rates[i], strict=True)
                )
            )

        expansion = BilinearExpansion if upsampling == "bilinear" else Expansion
        self.activation_checkpointing = activation_checkpointing
        down, up = range(stages - 1), range(stages - 2, -1, -1)
        self.size_multiple = patch_size * 2 ** (stages - 1) * window_size
        self.patch_embed = PatchEmbedding(in_channels, embed_dim, patch_size)
        self.encoder_blocks = nn.ModuleList(stage(i) for i in range(stages))
        self.patch_merging = nn.ModuleList(PatchMerging(widths[i]) for i in down)
        self.bottleneck_norm = nn.LayerNorm(widths[-1])
        self.decoder_blocks = nn.ModuleList(stage(i) for i in up)
        self.patch_expanding = nn.ModuleList(expansion(2 * widths[i], 2, widths[i]) for i in up)
        self.skip_linears = nn.ModuleList(nn.Linear(2 * widths[i], widths[i]) for i in up)
        self.last_norm = nn.LayerNorm(embed_dim)
        self.final_x4 = expansion(embed_dim, patch_size, embed_dim)
        self.full_resolution_skip = (
            FullResolutionSkip(in_channels, embed_dim) if full_resolution_skip else None
        )
        self.head = nn.Conv2d(embed_dim, out_channels, 1, bias=False)
        half = max(embed_dim // 2, 1)
        self.temperature = (
            nn.Sequential(
                nn.Conv2d(embed_dim, half, 3, padding=1), nn.GELU(), nn.Conv2d(half, 1, 1)
            )
            if temperature_map
            else None
        )
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map the input fields (B, in_channels, H, W) to logits (B, out_channels, H, W).

        With ``temperature_map`` the raw temperature follows as one more channel.

        H and W are arbitrary: the fields are continued at the south and east with their edge
        values up to a multiple of patch_size * 2^(stages - 1) * window_size, and the result is cut.
        """
        height, width = x.shape[-2:]
        south, east = -height % self.size_multiple, -width % self.size_multiple
        if south or east:
            x = functional.pad(x, (0, east, 0, south), mode="replicate")

        tokens = self.patch_embed(x)
        skips = []
        for blocks, merge in zip(self.encoder_blocks, self.patch_merging, strict=False):
            # What the decoder gets is the input of the stage, not its output.
            skips.append(tokens)
            tokens = merge(self._through(blocks, tokens))
        tokens = self.bottleneck_norm(self._through(self.encoder_blocks[-1], tokens))

        for expand, join, blocks in zip(
            self.patch_expanding, self.skip_linears, self.decoder_blocks, strict=True
        ):
            joined = join(torch.cat([expand(tokens), skips.pop()], dim=-1))
            tokens = self._through(blocks, joined)

        features = self.final_x4(self.last_norm(tokens)).permute(0, 3, 1, 2)
        if self.full_resolution_skip is not None:
            features = self.full_resolution_skip(features, x)
        maps: Tensor = self.head(features)
        if self.temperature is not None:
            maps = torch.cat([maps, self.temperature(features)], dim=1)
        return maps[..., :height, :width].contiguous()

    def _through(self, blocks: nn.Module, tokens: Tensor) -> Tensor:
        """Send tokens through the blocks of a stage."""
        if not (self.activation_checkpointing and self.training and torch.is_grad_enabled()):
            through: Tensor = blocks(tokens)
            return through
        for block in blocks.children():
            # The generator is set back for the second pass, so that DropPath drops the same.
            tokens = checkpoint(block, tokens, use_reentrant=False)
        return tokens


def parameter_table(model: SwinUNet) -> dict[str, int]:
    """Count the parameters of each part, in the order of the data flow; they sum to the total."""
    return {
        name.replace("_", " ").replace("full res", "full-res"): sum(
            p.numel() for p in part.parameters()
        )
        for name, part in model.named_children()
    }


def _initialise(module: nn.Module) -> None:
    # The bias tables see to themselves; norms and convolutions keep the library's defaults.
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_stages(
    embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], drop_path: float
) -> None:
    if len(depths) < 2 or len(num_heads) != len(depths):
        raise ConfigError(
            "the stages of the network do not match",
            variable="depths, num_heads",
            found=f"{list(depths)}, {list(num_heads)}",
            expected="two lists of the same length, 2 or more",
            next_step="give one depth and one number of heads per stage",
        )
    for i, heads in enumerate(num_heads):
        if heads < 1 or embed_dim * 2**i % heads:
            raise ConfigError(
                f"the {embed_dim * 2**i} channels of stage {i} cannot be shared out evenly",
                variable="num_heads",
                found=heads,
                expected=f"a divisor of {embed_dim * 2**i}",
                next_step="change num_heads or embed_dim",
            )
    if not 0 <= drop_path < 1:
        raise ConfigError(
            "stochastic depth is a probability below 1",
            variable="drop_path",
            found=drop_path,
            expected="0 to below 1",
            next_step="use 0.2, or 0 to switch it off",
        )

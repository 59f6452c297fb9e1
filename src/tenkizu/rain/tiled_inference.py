"""Inference tile by tile: dry tiles cost nothing, the results of the others are blended."""

from collections.abc import Callable

import torch
from torch import Tensor

from tenkizu.rain.tiles import Lattice

OVERLAP = 4
"""Tiles overlap by one cell in so many: 40 of 160."""

AT_ONCE = 8
"""Tiles in one pass through the network."""

Output = tuple[Tensor, Tensor | float]
"""What `Disaggregator.output` gives: three maps and the temperature."""


def inference_lattice(shape: tuple[int, int], side: int) -> Lattice:
    """Tiles of ``side`` cells over a frame (H, W), a quarter of each in the next."""
    return Lattice(shape, side, max(side - side // OVERLAP, 1))


def tiled_output(
    output: Callable[[Tensor], Output], raw: Tensor, sum_mm: Tensor, side: int
) -> Output:
    """Network output of whole frames, computed on their wet tiles.

    Where tiles overlap, the logits (and temperatures) are averaged, each with a weight that falls
    linearly to the edges of its tile.

    Args:
        output: of a tile, such as `Disaggregator.output`.
        raw: raw input (B, C, H, W).
        sum_mm: S, (B, 1, H, W), mm; missing values count as dry.
        side: cells of a tile.

    Returns:
        Three maps (B, 3, H, W) and the temperature; maps are 0, temperatures 1, where no wet tile
        is.
    """
    rows, columns = raw.shape[-2:]
    lattice = inference_lattice((rows, columns), side)
    wet = [
        (sample, square)
        for sample in range(len(raw))
        for square in lattice.squares
        if bool((sum_mm[sample, 0][square] > 0).any())
    ]
    maps = raw.new_zeros((len(raw), 3, rows, columns))
    weights = raw.new_zeros((len(raw), 1, rows, columns))
    taus: Tensor | None = None
    tau: Tensor | float = 1.0
    ramp = _ramp(side, raw)
    for first in range(0, len(wet), AT_ONCE):
        chosen = wet[first : first + AT_ONCE]
        found, tau = output(torch.stack([raw[sample][:, *square] for sample, square in chosen]))
        if isinstance(tau, Tensor) and tau.ndim and taus is None:
            taus = torch.zeros_like(weights)
        weight = ramp[: found.shape[-2], None] * ramp[None, : found.shape[-1]]
        for i, (sample, square) in enumerate(chosen):
            maps[sample][:, *square] += weight * found[i].float()
            weights[sample][:, *square] += weight
            if taus is not None and isinstance(tau, Tensor):
                taus[sample][:, *square] += weight * tau[i].float()
    covered = weights > 0
    divisor = torch.where(covered, weights, 1.0)
    if taus is not None:
        tau = torch.where(covered, taus / divisor, 1.0)
    return maps / divisor, tau


def _ramp(side: int, like: Tensor) -> Tensor:
    """Weights along one axis of a tile: 1 inside, falling towards both edges over the overlap."""
    cells = torch.arange(side, dtype=torch.float32, device=like.device)
    inside = torch.minimum(cells, side - 1 - cells) + 1
    return (inside / (side // OVERLAP + 1)).clamp(max=1.0)

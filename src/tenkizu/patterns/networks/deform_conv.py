"""Deformable convolution (Dai et al. 2017, https://arxiv.org/abs/1703.06211), fast on CPU too.

Each of the 9 taps of a 3 x 3 kernel reads the map at its own place plus a learned offset, by
bilinear interpolation, zero outside the map. torchvision's operator does this well on GPU; on CPU
its loops are some twenty times slower than the same sums written as two library calls:

- reading is the product of a sparse matrix, four weights in each row, with the cells of the map.
  Weighted sums of table rows are what an embedding bag computes.
- its gradient with regard to the map is the product with the transposed matrix, another bag.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tenkizu.core.errors import ConfigError

KERNEL = 3
TAPS = KERNEL**2
COLUMN_BYTES = 64 * 2**20
"""Samples are read together up to about this size of interpolated values."""


def deform_conv(x: Tensor, offset: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """3 x 3 deformable convolution with padding 1, without bias and modulation.

    Values and gradients equal those of `torchvision.ops.deform_conv2d`, which does the work on
    other devices than the CPU.

    Args:
        x: (N, C, H, W).
        offset: (N, 18, h, w), cells: southward, eastward of each tap in turn.
        weight: (O, C, 3, 3).
        stride: of the output grid.

    Returns:
        (N, O, h, w), h = ceil(H / stride).

    Raises:
        ConfigError: the operator of this device is not installed.
    """
    result: Tensor
    if x.device.type == "cpu":
        # Under autocast too in the precision of the weights, as torchvision's operator does.
        with torch.autocast("cpu", enabled=False):
            moved = offset.to(weight.dtype)
            result = _DeformConv.apply(x.to(weight.dtype), moved, weight, stride)
        return result
    try:
        from torchvision.ops import deform_conv2d  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError(
            f"the deformable network needs torchvision on this device ({x.device.type})",
            variable="model.backbone",
            next_step="pip install torchvision, or train on the CPU",
        ) from None
    result = deform_conv2d(x, offset, weight, stride=stride, padding=1)
    return result


def corners(offset: Tensor, shape: tuple[int, int], stride: int) -> tuple[Tensor, Tensor]:
    """Where each tap reads and how much each of the four cells counts.

    Args:
        offset: (N, h, w, 9, 2), cells.
        shape: of the map, (H, W).
        stride: of the output grid.

    Returns:
        Cell (N h w 9, 4), numbered through all samples, and its weight (N h w 9, 4), which is 0
        outside the map and differentiable with regard to the offset.
    """
    cells: list[list[Tensor]] = []
    shares: list[list[Tensor]] = []
    for axis, size in enumerate(shape):
        count = offset.shape[1 + axis]
        tap = torch.arange(KERNEL).repeat_interleave(KERNEL) if axis == 0 else None
        tap = torch.arange(KERNEL).repeat(KERNEL) if tap is None else tap
        start = stride * torch.arange(count)[:, None] + tap - 1
        start = start[:, None] if axis == 0 else start
        place = offset[..., axis] + start
        low = place.detach().floor()
        part = place - low
        pair = ((low, 1 - part), (low + 1, part))
        inside = [(cell >= 0) & (cell <= size - 1) for cell, _ in pair]
        cells.append([cell.clamp(0, size - 1).long() for cell, _ in pair])
        shares.append([torch.where(ok, p[1], 0.0) for ok, p in zip(inside, pair, strict=True)])
    height, width = shape
    first = (height * width * torch.arange(len(offset))).reshape(-1, 1, 1, 1)
    index = [first + row * width + column for row in cells[0] for column in cells[1]]
    weight = [row * column for row in shares[0] for column in shares[1]]
    return torch.stack(index, -1).reshape(-1, 4), torch.stack(weight, -1).reshape(-1, 4)


def interpolate(cells: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of four rows of ``cells`` (M, C) each: (P, C)."""
    return functional.embedding_bag(index, cells, per_sample_weights=weight, mode="sum")


def spread(gradient: Tensor, index: Tensor, weight: Tensor, count: int) -> Tensor:
    """The transpose of `interpolate`: gradient (P, C) to one of the cells (M, C), M = ``count``."""
    order = torch.argsort(index.flatten(), stable=True)
    ends = torch.bincount(index.flatten(), minlength=count).cumsum(0)
    starts = functional.pad(ends[:-1], (1, 0))
    source = order.div(4, rounding_mode="floor")
    return functional.embedding_bag(
        source, gradient, starts, per_sample_weights=weight.flatten()[order], mode="sum"
    )


class _DeformConv(torch.autograd.Function):
    """The CPU path: keeps its inputs only, and interpolates again on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offset: Tensor, weight: Tensor, stride: int) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, offset, weight)
        ctx.stride = stride
        shape = (x.shape[2], x.shape[3])
        kernel = _kernel(weight)
        out = x.new_empty(len(x), *offset.shape[2:], len(weight))
        for part in _parts(x, offset):
            columns = interpolate(_cells(x[part]), *corners(_pairs(offset[part]), shape, stride))
            rows = columns.view(-1, TAPS * x.shape[1])
            out[part] = (rows @ kernel.T).view(out[part].shape)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, offset, weight = ctx.saved_tensors
        height, width = shape = (x.shape[2], x.shape[3])
        kernel = _kernel(weight)
        grad_x = x.new_empty(len(x), height, width, x.shape[1])
        grad_offset, grad_kernel = torch.empty_like(offset), torch.zeros_like(kernel)
        for part in _parts(x, offset):
            with torch.enable_grad():
                moved = offset[part].detach().requires_grad_()
                index, shares = corners(_pairs(moved), shape, ctx.stride)
                columns = interpolate(_cells(x[part]), index, shares)
            rows = gradients[0][part].permute(0, 2, 3, 1).reshape(-1, len(weight))
            grad_kernel += rows.T @ columns.detach().view(-1, TAPS * x.shape[1])
            grad_columns = (rows @ kernel).view(columns.shape)
            (grad_offset[part],) = torch.autograd.grad(columns, moved, grad_columns)
            if ctx.needs_input_grad[0]:
                cells = grad_x[part]
                count = cells.shape[:3].numel()
                cells.copy_(spread(grad_columns, index, shares.detach(), count).view(cells.shape))
        grad_weight = grad_kernel.view(len(weight), KERNEL, KERNEL, -1).permute(0, 3, 1, 2)
        wanted = grad_x.permute(0, 3, 1, 2) if ctx.needs_input_grad[0] else None
        return wanted, grad_offset, grad_weight, None


def _parts(x: Tensor, offset: Tensor) -> list[slice]:
    """Groups of samples, each a slice."""
    each = TAPS * offset.shape[2:].numel() * x.shape[1] * x.element_size()
    step = max(1, COLUMN_BYTES // each)
    return [slice(start, start + step) for start in range(0, len(x), step)]


def _cells(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N H W, C), without a copy in channels-last order."""
    return x.detach().permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _pairs(offset: Tensor) -> Tensor:
    """(N, 18, h, w) to (N, h, w, 9, 2)."""
    samples, _, height, width = offset.shape
    return offset.permute(0, 2, 3, 1).reshape(samples, height, width, TAPS, 2)


def _kernel(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) to (O, 9 C), taps outside, channels inside."""
    return weight.detach().permute(0, 2, 3, 1).reshape(len(weight), -1)

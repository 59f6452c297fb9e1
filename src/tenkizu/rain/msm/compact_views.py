"""Packed fields as samples: cut and mirrored on the nodes, upsampled on the device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tenkizu.rain.fields import is_field
from tenkizu.rain.msm.compact import Nodes, compact_channels, packing
from tenkizu.rain.msm.compact_blocks import ARRAYS, CompactFields
from tenkizu.rain.views import View


def compact_view(
    fields: CompactFields, index: int, channels: Sequence[str], view: View | None
) -> dict[str, NDArray[Any]]:
    """The packed fields of one sample.

    Args:
        fields: of the store.
        index: number of the sample in the store.
        channels: names of the wanted fields, in the order of the network's input.
        view: what is cut out and mirrored; sides of squares are even.

    Returns:
        ``surface`` (c, H, W) and ``pressure`` (c, h, w), int16; ``first`` (2,), the first row and
        column of the cells in the doubled ``pressure``.
    """
    view = view or View()
    height, width = fields.nodes.cells
    spans = [cut.indices(size) for cut, size in zip(view.square, (height, width), strict=True)]
    rows, columns = (slice(start, stop) for start, stop, _ in spans)
    # Where the square begins on the doubled grid of the stored nodes.
    begins = [
        first + cut.start for first, cut in zip(fields.nodes.first, (rows, columns), strict=True)
    ]
    cells = (rows.stop - rows.start, columns.stop - columns.start)
    nodes = Nodes.of((begins[0], begins[1]), cells)
    cuts = {
        "surface": (rows, columns),
        "pressure": tuple(
            slice(begin // 2, begin // 2 + size)
            for begin, size in zip(begins, nodes.shape, strict=True)
        ),
    }
    members = compact_channels(channels)
    step_y, step_x = view.steps
    sample: dict[str, NDArray[Any]] = {}
    for name in ARRAYS:
        stored = fields.read(name, index)
        places = fields.places[name]
        picked = [stored[places[channel]][cuts[name]] for channel in members[name]]
        turned = [
            part[::step_y, ::step_x] * np.int16(view.sign(channel))
            for channel, part in zip(members[name], picked, strict=True)
        ]
        shape = cells if name == "surface" else nodes.shape
        sample[name] = np.stack(turned) if turned else np.empty((0, *shape), np.int16)
    # Mirrored, the cells begin where they ended.
    first = [
        start if step > 0 else 2 * count - 1 - size - start
        for start, step, count, size in zip(
            nodes.first, view.steps, nodes.shape, cells, strict=True
        )
    ]
    sample["first"] = np.array(first)
    return sample


class Unpacking(nn.Module):
    """Makes the full input of a batch on its device: fields unpacked, those between nodes filled.

    A bilinear interpolation with aligned corners to twice the nodes less one, of which each sample
    takes its cells. Batches without packed fields stay as they are.

    Args:
        channels: names of the network's input; fields stand before all others.
    """

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__()
        fields = [name for name in channels if is_field(name)]
        members = compact_channels(fields)
        stored = [*members["surface"], *members["pressure"]]
        self.order = [stored.index(name) for name in fields]
        self.members = members

    def _factors(self, name: str, like: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and offset of the fields in an array, (c, 1, 1) each."""
        pairs = torch.tensor([packing(channel) for channel in self.members[name]]).reshape(-1, 2)
        scale, offset = pairs.to(like.device, torch.float32).T[..., None, None]
        return scale, offset

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Raw input (B, C, H, W), float32, of a batch of `RainDataset`."""
        if "pressure" not in batch:
            return batch["input"]
        parts = []
        for name in ARRAYS:
            values = batch[name].float()
            if name == "pressure" and values.shape[1]:
                values = self._cells(values, batch["first"], batch["target_sum"].shape[-2:])
            elif name == "pressure":
                values = values.new_empty((len(values), 0, *batch["target_sum"].shape[-2:]))
            scale, offset = self._factors(name, values)
            parts.append(values * scale + offset)
        fields = torch.cat(parts, dim=1)[:, self.order]
        return torch.cat([fields, batch["input"]], dim=1)

    @staticmethod
    def _cells(nodes: Tensor, first: Tensor, shape: torch.Size) -> Tensor:
        rows, columns = nodes.shape[-2:]
        size = (2 * rows - 1, 2 * columns - 1)
        doubled = interpolate(nodes, size, mode="bilinear", align_corners=True)
        height, width = shape
        cut = [
            one[:, row : row + height, column : column + width]
            for one, (row, column) in zip(doubled, first.tolist(), strict=True)
        ]
        return torch.stack(cut)

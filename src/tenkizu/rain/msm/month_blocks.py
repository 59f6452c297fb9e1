"""Blocks of a month in a store: rain, fields, and what is made of the rain."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.grid import Grid
from tenkizu.core.store import StoreWriter
from tenkizu.rain.baselines import boxes_of
from tenkizu.rain.config import RainConfig
from tenkizu.rain.derived_blocks import DerivedBlocks, Track
from tenkizu.rain.group_scaling import Bounds
from tenkizu.rain.msm.compact_blocks import CompactBlocks, bytes_per_sample, release
from tenkizu.rain.msm.field_summaries import FieldSummary
from tenkizu.rain.msm.month_samples import MonthSamples
from tenkizu.rain.summaries import Summary
from tenkizu.rain.tables import RAIN, Rain

Walk = Callable[[Callable[[int, int, NDArray[np.float32]], None]], dict[str, Any]]
"""Gives every field to a function of (sample, channel, field), and returns their summary."""


@dataclass(frozen=True)
class Month:
    """What a monthly file gives to the store.

    Attributes:
        name: such as 201807.
        path: the file.
        picked: positions of its samples that are in a split.
        starts: of their windows, UTC.
        splits: of each.
        has_following: whether it has N.
    """

    name: str
    path: Path
    picked: list[int] = field(repr=False)
    starts: list[np.datetime64] = field(repr=False)
    splits: list[str] = field(repr=False)
    has_following: bool


@dataclass(frozen=True)
class StorePlan:
    """What all months of a store have in common.

    Attributes:
        config: the run.
        grid: of all samples.
        units: of the fields, by channel in their order.
        planes: of rain, 6 or, where no month has N, 5.
        bounds: minima and maxima with which scaled files are brought back.
    """

    config: RainConfig
    grid: Grid
    units: dict[str, str]
    planes: int
    bounds: Bounds | None

    @property
    def channels(self) -> list[str]:
        """Names of the fields."""
        return list(self.units)

    @property
    def sample_bytes(self) -> int:
        """Size of a sample's rain and fields on disk."""
        layout = self.config.data.layout
        return bytes_per_sample(layout, self.units, self.planes, self.grid)


class MonthBlocks:
    """Writes the blocks of a store month by month, and knows what ``store.json`` says of them.

    Args:
        writer: of the store.
        plan: of the store.
        track: shows progress.
    """

    def __init__(self, writer: StoreWriter, plan: StorePlan, track: Track) -> None:
        self.writer, self.plan, self.track = writer, plan, track
        self.derived = DerivedBlocks(writer, plan.config, plan.grid.shape, track)
        self.compact = None
        if plan.config.data.layout == "compact":
            self.compact = CompactBlocks(writer, plan.channels, plan.grid)
        self.blocks: dict[str, list[dict[str, Any]]] = {"rain": [], "fields": []}
        self.rain_parts: list[Summary] = []
        self.field_parts: list[FieldSummary] = []

    def add(self, month: Month, first: int) -> None:
        """Write the blocks of a month, but for those that are there.

        Args:
            month: its samples.
            first: number of its first sample in the store.

        Raises:
            DataError: a value cannot be read, is missing, negative, out of range or does not fit
                the layout.
        """
        count, channels = len(month.picked), self.plan.channels
        with MonthSamples(month.path, channels, self.plan.bounds) as file:
            shape = (count, self.plan.planes, *self.plan.grid.shape)
            summary = self.writer.block(f"rain_{month.name}", shape, self._rain(file, month))
            self.rain_parts.append(Summary.from_json(summary))
            if channels:
                walk = self._fields(file, month)
                if self.compact is not None:
                    summary = self.compact.block(month.name, first, count, walk)
                else:
                    shape = (count, len(channels), *self.plan.grid.shape)
                    summary = self.writer.block(f"fields_{month.name}", shape, _as_they_are(walk))
                self.field_parts.append(FieldSummary.from_json(summary))
        for name, entries in self.blocks.items():
            file_name = f"{name}_{month.name}.npy"
            entries.append({"file": file_name, "first": first, "count": count})
        self.derived.add(month.name, first)

    def described(self) -> dict[str, Any]:
        """The entries of ``store.json`` on arrays, statistics, tables and climatology."""
        channels, blocks = self.plan.channels, self.blocks
        whole: Summary = reduce(add, self.rain_parts)
        described = whole.described()
        arrays: dict[str, Any] = {
            "rain": {
                "channels": RAIN[: self.plan.planes],
                "units": "mm",
                "blocks": blocks["rain"],
            }
        }
        if channels:
            described["statistics"]["fields"] = reduce(add, self.field_parts).described()
            units = list(self.plan.units.values())
            kept = (
                {"blocks": blocks["fields"]}
                if self.compact is None
                else {"compact": self.compact.meta()}
            )
            arrays["fields"] = {"channels": channels, "units": units, **kept}
        return {"arrays": arrays | self.derived.arrays, **described}

    def _rain(self, file: MonthSamples, month: Month) -> Callable[[Rain], dict[str, Any]]:
        """Writes the rain of a month, and sums it up."""

        def fill(array: Rain) -> dict[str, Any]:
            data, grid = self.plan.config.data, self.plan.grid
            part = Summary(boxes_of(grid) if data.climatology_boxes else None)
            samples = list(zip(month.picked, month.starts, month.splits, strict=True))
            shown = self.track(samples, f"rain of {month.name}")
            for i, (index, start, split) in enumerate(shown):
                rain = file.rain(index)
                array[i] = rain[: array.shape[1]]
                part.add(start, split, rain, self.plan.config.loss)
                release(array)
            return part.to_json()

        return fill

    def _fields(self, file: MonthSamples, month: Month) -> Walk:
        """Reads the fields of a month one by one, and sums up those of training samples."""

        def walk(store: Callable[[int, int, NDArray[np.float32]], None]) -> dict[str, Any]:
            part = FieldSummary(self.plan.channels)
            samples = list(zip(month.picked, month.splits, strict=True))
            shown = self.track(samples, f"fields of {month.name}")
            for i, (index, split) in enumerate(shown):
                for j, channel in enumerate(self.plan.channels):
                    values = file.read(channel, index)
                    store(i, j, values)
                    if split == "train":
                        part.add(j, values)
            return part.to_json()

        return walk


def _as_they_are(walk: Walk) -> Callable[[NDArray[np.float32]], dict[str, Any]]:
    """Writes the fields of a month as float32."""

    def fill(array: NDArray[np.float32]) -> dict[str, Any]:
        def store(sample: int, channel: int, values: NDArray[np.float32]) -> None:
            array[sample, channel] = values
            if channel == array.shape[1] - 1:
                release(array)

        return walk(store)

    return fill

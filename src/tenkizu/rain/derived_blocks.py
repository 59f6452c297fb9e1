"""Blocks of a store that follow from a finished block of rain: carried rain, wet tiles."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tenkizu.core.store import StoreWriter
from tenkizu.rain.config import RainConfig
from tenkizu.rain.motion import motion_hours
from tenkizu.rain.tables import MOTION, Rain
from tenkizu.rain.tiles import Lattice, wet_cells

Track = Callable[[Iterable[Any], str], Iterable[Any]]
"""Wraps an iterable to show progress: (iterable, description) -> iterable."""


class DerivedBlocks:
    """Writes, beside each block of rain, what is made from it.

    Args:
        writer: of the store.
        config: says whether the hours of the motion baseline are wanted, and how tiles lie.
        shape: of a frame, (H, W).
        track: shows progress.

    Attributes:
        arrays: their entries in ``store.json``.
    """

    def __init__(
        self, writer: StoreWriter, config: RainConfig, shape: tuple[int, int], track: Track
    ) -> None:
        self.writer, self.track, self.shape = writer, track, shape
        self.lattice = Lattice.of(config.data, shape)
        self.mask_mm = config.loss.mask_mm
        self.arrays: dict[str, dict[str, Any]] = {
            "tiles": {
                "what": f"cells with S >= {self.mask_mm:g} mm",
                "units": "1",
                "side": self.lattice.side,
                "stride": self.lattice.stride,
                "rows": self.lattice.corners[0],
                "columns": self.lattice.corners[1],
                "blocks": [],
            }
        }
        if "motion" in config.data.context:
            self.arrays["motion"] = {"channels": 3 * MOTION, "units": "mm", "blocks": []}

    def add(self, month: str, first: int) -> None:
        """Write the blocks of a month whose rain is in ``rain_MONTH``.

        Args:
            month: such as 202311.
            first: number of the month's first sample in the store.
        """
        stored: Rain = np.load(self.writer.part / f"rain_{month}.npy", mmap_mode="r")
        sizes = {"tiles": tuple(map(len, self.lattice.corners)), "motion": (9, *self.shape)}
        fills = {"tiles": self._tiles, "motion": self._motion}
        # Tiles are no part of what makes a store another: an interrupted run may go on with others.
        labels = {"tiles": f"tiles{self.lattice.side}by{self.lattice.stride}", "motion": "motion"}
        for name, entry in self.arrays.items():

            def fill(array: Rain, name: str = name) -> dict[str, Any]:
                slow = name == "motion"
                windows = self.track(stored, f"motion of {month}") if slow else stored
                for i, rain in enumerate(windows):
                    array[i] = fills[name](rain)
                return {}

            file = f"{labels[name]}_{month}"
            self.writer.block(file, (len(stored), *sizes[name]), fill)
            entry["blocks"].append({"file": f"{file}.npy", "first": first, "count": len(stored)})

    def _tiles(self, rain: Rain) -> Rain:
        return self.lattice.counts(wet_cells(rain, self.mask_mm)).astype(np.float32)

    def _motion(self, rain: Rain) -> Rain:
        """Hours from P, S and N, without P, and without N."""
        unknown = np.full_like(rain[4], np.nan)
        following = rain[5] if len(rain) > 5 else unknown
        given = ((rain[0], following), (unknown, following), (rain[0], unknown))
        hours = [motion_hours(before, rain[4], after) for before, after in given]
        return np.concatenate(hours).astype(np.float32)

"""The training days that travel with a model, to be found again as analogues."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.store import atomic, read_json, write_json
from tenkizu.patterns.analogues import (
    Analogues,
    Measure,
    cosine_distances,
    nearest,
    rmse_distances,
    s1_distances,
)
from tenkizu.patterns.blocks import coarse_grid
from tenkizu.patterns.members import Member
from tenkizu.patterns.model import run_networks
from tenkizu.patterns.physics.coarsen import coarsen

ARRAYS, DAYS = "analogues.safetensors", "analogues.json"

MOST_CELLS = 2000
"""Cells of the pressure maps that travel: enough for a pattern, few enough for a small folder."""


@dataclass(frozen=True)
class AnalogueBank:
    """Training days with their embedding and coarse pressure.

    Attributes:
        days: local dates (n,).
        texts: label string of each day.
        embedding: by the first member, (n, E).
        msl: coarse sea level pressure, Pa, (n, h, w); (n, 0, 0) where the data have none.
        factor: cells averaged to a side.
        grid: of the coarse maps.
    """

    days: NDArray[np.datetime64]
    texts: list[str]
    embedding: NDArray[np.float32]
    msl: NDArray[np.float32]
    factor: int
    grid: Grid

    def search(
        self,
        by: Measure,
        days: NDArray[np.datetime64],
        embedding: NDArray[np.float32],
        msl: NDArray[np.floating[Any]],
        count: int,
    ) -> Analogues:
        """The training days most like some days.

        Args:
            by: embedding, rmse or s1; the embedding serves where there is no pressure.
            days: local dates (m,); training days within ten days are left out.
            embedding: (m, E).
            msl: sea level pressure on the model's grid, Pa, (m, H, W).
            count: analogues of each day.
        """
        if by == "embedding" or not self.msl.size:
            distances = cosine_distances(embedding, self.embedding)
        else:
            coarse = coarsen({"msl": np.asarray(msl, np.float64)}, self.factor)["msl"]
            measure = rmse_distances if by == "rmse" else s1_distances
            distances = measure(coarse, self.msl, self.grid)
        return nearest(distances, days, self.days, count)

    @classmethod
    def load(cls, folder: Path) -> "AnalogueBank | None":
        """The bank of a model folder; None if it has none.

        Raises:
            DataError: a file of it is damaged.
        """
        if not (folder / DAYS).exists():
            return None
        meta = read_json(folder / DAYS, "the training days of a model")
        try:
            arrays = load_file(folder / ARRAYS)
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"cannot be read: {error}",
                file=folder / ARRAYS,
                next_step="copy the whole model folder again",
            ) from None
        return cls(
            np.array(meta["days"], "datetime64[D]"),
            list(meta["labels"]),
            arrays["embedding"],
            arrays["msl"],
            int(meta["factor"]),
            Grid.from_json(meta["grid"]),
        )


def write_bank(folder: Path, member: Member, days: NDArray[np.int64]) -> AnalogueBank:
    """Write the training days of a model into its folder.

    Args:
        folder: of the model.
        member: its first network, trained.
        days: indices of all training days.
    """
    _, embedding = run_networks([member.net], member.loader(days))
    grid = Grid.from_json(member.store.meta["grid"])
    factor = 1
    while (grid.shape[0] // factor) * (grid.shape[1] // factor) > MOST_CELLS:
        factor += 1
    channels = member.store.meta["arrays"]["maps"]["channels"]
    msl = np.zeros((len(days), 0, 0), np.float32)
    if "msl" in channels:
        column = channels.index("msl")
        maps = (member.store.read("maps", int(day))[column][None] for day in days)
        msl = np.concatenate([coarsen({"msl": m}, factor)["msl"] for m in maps]).astype(np.float32)
    labels = member.days.table.lookup(member.days.times[days])
    bank = AnalogueBank(
        member.days.local[days],
        [label.text if label else "" for label in labels],
        embedding,
        msl,
        factor,
        coarse_grid(grid, factor),
    )
    with atomic(folder / ARRAYS) as part:
        save_file({"embedding": bank.embedding, "msl": bank.msl}, part)
    write_json(
        folder / DAYS,
        {
            "days": [str(day) for day in bank.days],
            "labels": bank.texts,
            "factor": factor,
            "grid": bank.grid.to_json(),
        },
    )
    return bank

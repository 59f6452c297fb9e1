"""The baseline `knn`: the types of the training days whose pressure is most alike."""

import logging
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.store import SampleStore
from tenkizu.patterns.analogue_bank import AnalogueBank
from tenkizu.patterns.catalogues import Catalogue
from tenkizu.patterns.labels import parse_label
from tenkizu.patterns.physics.coarsen import coarsen
from tenkizu.patterns.verification.baselines import knn

log = logging.getLogger(__name__)

_CHUNK = 64
"""Full maps held at a time: 64 of 161 x 161 cells are 13 MB."""

Indices = NDArray[np.int64]
Pressure = Callable[[Indices], NDArray[np.floating[Any]]]
"""Sea level pressure (m, H, W), Pa, of some days by index."""


class PressureNeighbours:
    """Training days by their coarse maps of sea level pressure.

    What is compared is the standardised anomaly: at each grid point the training mean is taken
    off and the training deviation is the unit, so that winters and high latitudes, where pressure
    varies most, do not decide alone.

    Args:
        msl: of n training days, Pa, (n, h, w).
        targets: their types, (n, L).
        factor: cells of a full map averaged to a side.
    """

    def __init__(
        self, msl: NDArray[np.floating[Any]], targets: NDArray[np.bool_], factor: int
    ) -> None:
        self.mean = msl.mean(axis=0, dtype=np.float64)
        std = msl.std(axis=0, dtype=np.float64)
        self.unit = np.where(std > 0, std, 1.0)
        self.known, self.targets, self.factor = self._anomalies(msl), targets, factor

    @classmethod
    def of_bank(
        cls, bank: AnalogueBank, catalogue: Catalogue, rows: NDArray[np.bool_] | None = None
    ) -> Self | None:
        """The training days that travel with a model; None if they have no pressure.

        Args:
            bank: of the model.
            catalogue: its types.
            rows: which of the days (n,) count; all of them unless given.
        """
        if not bank.msl.size:
            log.warning("no baseline knn: the training days have no sea level pressure")
            return None
        column = {name: i for i, name in enumerate(catalogue.labels)}
        targets = np.zeros((len(bank.texts), len(column)), bool)
        for row, text in zip(targets, bank.texts, strict=True):
            label = parse_label(text, catalogue, "training days of the model")
            row[[column[part] for part in label.parts] if label else []] = True
        chosen = np.ones(len(targets), bool) if rows is None else rows
        return cls(bank.msl[chosen], targets[chosen], bank.factor)

    def probabilities(self, pressure: Pressure, days: Indices) -> NDArray[np.float64]:
        """Shares of the types among the nearest training days, (m, L); see `knn`.

        Args:
            pressure: gives full maps; a few days are asked for at a time.
            days: indices (m,).
        """
        coarse = []
        for first in range(0, len(days), _CHUNK):
            maps = np.asarray(pressure(days[first : first + _CHUNK]), np.float64)
            coarse.append(self._anomalies(coarsen({"msl": maps}, self.factor)["msl"]))
        if not coarse:
            return np.zeros((0, self.targets.shape[1]))
        return knn(self.known, self.targets, np.concatenate(coarse))

    def _anomalies(self, msl: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Standardised and flattened, (n, h w)."""
        values: NDArray[np.float64] = (msl - self.mean) / self.unit
        return values.reshape(len(msl), -1)


def stored_pressure(store: SampleStore, days: Indices) -> NDArray[np.float32]:
    """Sea level pressure (m, H, W), Pa, of some days of a store."""
    column = store.meta["arrays"]["maps"]["channels"].index("msl")
    return np.stack([store.read("maps", int(day))[column] for day in days])

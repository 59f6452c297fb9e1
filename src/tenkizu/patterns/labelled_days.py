"""The days of a store with their labels: what training, evaluation and baselines share."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.store import SampleStore
from tenkizu.patterns.labels import LabelTable
from tenkizu.patterns.model import Outputs
from tenkizu.patterns.verification.baselines import Climatology, persistence, prevalence
from tenkizu.patterns.verification.days import DayTable

BASELINES = ("prevalence", "climatology", "persistence")


def store_times(store: SampleStore) -> NDArray[np.datetime64]:
    """Valid times (n,) of a store's maps, UTC."""
    return np.array(store.meta["days"], "datetime64[m]")


@dataclass(frozen=True)
class LabelledDays:
    """Maps in order of time with their labels.

    Attributes:
        times: valid times (n,), UTC.
        table: all labels, of other days too.
        targets: (n, L).
        known: whether a day is labelled, (n,).
    """

    times: NDArray[np.datetime64]
    table: LabelTable
    targets: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, times: NDArray[np.datetime64], table: LabelTable) -> Self:
        """Look up the labels of valid times.

        Raises:
            DataError: none of the days is labelled.
        """
        targets, known = table.multi_hot(times)
        if not known.any():
            labelled = sorted(day for day, label in table.by_day.items() if label is not None)
            local = table.catalogue.local_days(times)
            raise DataError(
                "no day of the maps is labelled",
                file=table.source,
                found=f"labels from {labelled[0]} to {labelled[-1]}" if labelled else "no label",
                expected=f"labels for {local[0]} to {local[-1]} (local dates)",
                next_step="bring labels of these days: labels.file, or --labels",
            )
        return cls(times, table, targets, known)

    @property
    def local(self) -> NDArray[np.datetime64]:
        """Local dates (n,)."""
        return self.table.catalogue.local_days(self.times)

    def baselines(
        self, days: NDArray[np.int64], share: NDArray[np.float64], climatology: Climatology
    ) -> dict[str, NDArray[np.float64]]:
        """Probabilities (m, L) of every baseline on some days.

        Args:
            days: indices (m,).
            share: training prevalence (L,).
            climatology: of the training days.
        """
        local = self.local[days]
        return {
            "prevalence": np.tile(share, (len(days), 1)),
            "climatology": climatology.probabilities(local),
            # Filled with the prevalence where yesterday is unlabelled: all on the same days.
            "persistence": persistence(local, self.table, share),
        }

    def training_tables(self, days: NDArray[np.int64]) -> tuple[NDArray[np.float64], Climatology]:
        """Prevalence and climatology of training days."""
        targets = self.targets[days]
        return prevalence(targets), Climatology.of(self.local[days], targets)

    def day_table(
        self,
        days: NDArray[np.int64],
        outputs: Outputs,
        predicted: NDArray[np.bool_],
        decided: NDArray[np.bool_],
    ) -> DayTable:
        """Labelled days (m,) with what a model said of them."""
        labels = [label for label in self.table.lookup(self.times[days]) if label is not None]
        return DayTable(
            self.table.catalogue.labels,
            self.times[days],
            [label.text for label in labels],
            [str(label.kind) for label in labels],
            self.targets[days],
            outputs.raw,
            outputs.calibrated,
            predicted,
            decided,
        )

"""What `prepare` sums up over windows: statistics, tables and climatology that add over months."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tenkizu.core.stats import Moments
from tenkizu.core.verification import Tally
from tenkizu.rain.baselines import Boxes, Climatology
from tenkizu.rain.config import LossConfig
from tenkizu.rain.tables import RAIN, Rain, quantiles, window_tables

QUANTILES = (0.01, 0.5, 0.99)


class Summary:
    """Sums over stored windows: additive, so that months combine.

    Args:
        boxes: (H, W), that the climatology is also made for (`boxes_of`); None for none.

    Attributes:
        moments: of the planes of `RAIN` in the training windows, mm.
        log_moments: of log(1 + mm).
        climatology: of the training windows.
        tables: exact histograms by split.
    """

    def __init__(self, boxes: Boxes | None = None) -> None:
        self.boxes = boxes
        self.moments = Moments.empty(len(RAIN))
        self.log_moments = Moments.empty(len(RAIN))
        self.climatology = Climatology.empty()
        self.tables: dict[str, Tally] = {}

    def add(self, start: np.datetime64, split: str, rain: Rain, loss: LossConfig) -> None:
        """Count one window (6, H, W); statistics and climatology take training windows only."""
        self.tables[split] = self.tables.get(split, Tally()) + window_tables(rain, loss)
        if split == "train":
            self.moments += Moments.of(rain)
            self.log_moments += Moments.of(np.log1p(rain))
            self.climatology += Climatology.of(start, rain[1:4], rain[4], self.boxes)

    def __add__(self, other: "Summary") -> "Summary":
        """Both months together."""
        result = Summary()
        result.moments = self.moments + other.moments
        result.log_moments = self.log_moments + other.log_moments
        result.climatology = self.climatology + other.climatology
        for split in {**self.tables, **other.tables}:
            both = [s.tables.get(split, Tally()) for s in (self, other)]
            result.tables[split] = both[0] + both[1]
        return result

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "moments": self.moments.to_json(),
            "log_moments": self.log_moments.to_json(),
            "climatology": self.climatology.to_json(),
            "tables": {split: tally.to_json() for split, tally in self.tables.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Summary":
        """The inverse of `to_json`."""
        result = cls()
        result.moments = Moments.from_json(data["moments"])
        result.log_moments = Moments.from_json(data["log_moments"])
        result.climatology = Climatology.from_json(data["climatology"])
        result.tables = {k: Tally.from_json(v) for k, v in data["tables"].items()}
        return result

    def described(self, levels: Sequence[float] = QUANTILES) -> dict[str, Any]:
        """The entries of ``store.json`` that follow: statistics, tables, climatology."""
        return {
            "statistics": {
                "period": "training windows only",
                "mm": self.moments.to_json() | {"std": self.moments.std},
                "log1p_mm": self.log_moments.to_json() | {"std": self.log_moments.std},
                "quantile_levels": levels,
                "quantiles_mm": quantiles(self.tables["train"], levels),
            },
            "tables": {split: tally.to_json() for split, tally in self.tables.items()},
            "climatology": self.climatology.to_json(),
        }

"""Scores as ratios of sums that add over batches, processes and resamples.

Everything here counts first (`Tally`) and divides last. A ratio whose denominator is 0 is NaN, and
the count that shows why is reported beside it. Names follow the ``scores`` library.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.int64] | NDArray[np.float64]


@dataclass
class Tally:
    """Named sums and counts that add with ``+``; maxima, kept apart, combine by the larger.

    A maximum that is NaN stays NaN: it shows that something went wrong in one of the parts.

    Attributes:
        sums: arrays of any shape, int64 or float64.
        maxima: single numbers.
    """

    sums: dict[str, Sums] = field(default_factory=dict)
    maxima: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: Self) -> Self:
        """The tally of both parts together; a name absent on one side counts as 0."""
        sums = dict(self.sums)
        for name, value in other.sums.items():
            sums[name] = sums[name] + value if name in sums else value
        maxima = dict(self.maxima)
        for name, number in other.maxima.items():
            maxima[name] = float(np.maximum(number, maxima.get(name, -np.inf)))
        return type(self)(sums, maxima)

    def __getitem__(self, name: str) -> Sums:
        """The sums called ``name``."""
        return self.sums[name]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready form from which `from_json` rebuilds the tally."""
        return {
            "sums": {
                name: {"dtype": value.dtype.name, "values": value.tolist()}
                for name, value in self.sums.items()
            },
            # JSON has no infinities and no NaN; `float` reads their names.
            "maxima": {k: v if np.isfinite(v) else str(v) for k, v in self.maxima.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            {
                name: np.asarray(item["values"], item["dtype"])
                for name, item in data["sums"].items()
            },
            {k: float(v) for k, v in data["maxima"].items()},
        )


def ratio(numerator: Sums | float, denominator: Sums | float) -> NDArray[np.float64]:
    """``numerator / denominator`` in float64, NaN where the denominator is 0."""
    top = np.asarray(numerator, np.float64)
    bottom = np.asarray(denominator, np.float64)
    result = np.full(np.broadcast(top, bottom).shape, np.nan)
    np.divide(top, bottom, out=result, where=bottom != 0)
    return result


def skill(error: Sums | float, reference: Sums | float) -> NDArray[np.float64]:
    """Skill score ``1 - error / reference`` of summed squared errors; NaN without a reference."""
    return 1.0 - ratio(error, reference)


def binary_scores(
    hits: int, misses: int, false_alarms: int, correct_negatives: int
) -> dict[str, Any]:
    """Categorical scores of one 2 x 2 contingency table, computed by the ``scores`` library.

    Returns:
        The four counts and accuracy, probability of detection (recall), success ratio (precision),
        F1, critical success index, false alarm ratio, probability of false detection (false alarm
        *rate*), equitable threat score and frequency bias; NaN where a denominator is 0.
    """
    import xarray as xr
    from scores.categorical import BasicContingencyManager

    counts = {
        "tp_count": hits,
        "fn_count": misses,
        "fp_count": false_alarms,
        "tn_count": correct_negatives,
        "total_count": hits + misses + false_alarms + correct_negatives,
    }
    # float64 first: products of int64 counts overflow at the size of the full MSM data.
    table = BasicContingencyManager({k: xr.DataArray(float(v)) for k, v in counts.items()})
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {
            "accuracy": table.accuracy(),
            "probability_of_detection": table.probability_of_detection(),
            "success_ratio": table.success_ratio(),
            "f1_score": table.f1_score(),
            "critical_success_index": table.critical_success_index(),
            "false_alarm_ratio": table.false_alarm_ratio(),
            "probability_of_false_detection": table.probability_of_false_detection(),
            "equitable_threat_score": table.equitable_threat_score(),
            "frequency_bias": table.frequency_bias(),
        }
    finite = {k: float(v) if np.isfinite(float(v)) else float("nan") for k, v in values.items()}
    return {
        "hits": int(hits),
        "misses": int(misses),
        "false_alarms": int(false_alarms),
        "correct_negatives": int(correct_negatives),
        **finite,
    }


def class_scores(confusion: NDArray[np.int64]) -> dict[str, Any]:
    """Overall accuracy and, per class, precision, recall and support.

    Args:
        confusion: counts (K, K), truth along rows, prediction along columns.
    """
    diagonal = np.diag(confusion)
    return {
        "confusion_truth_by_prediction": confusion.tolist(),
        "accuracy": float(ratio(diagonal.sum(), confusion.sum())),
        "precision": ratio(diagonal, confusion.sum(axis=0)).tolist(),
        "recall": ratio(diagonal, confusion.sum(axis=1)).tolist(),
        "support": confusion.sum(axis=1).tolist(),
    }

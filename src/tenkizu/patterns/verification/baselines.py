"""What a model must beat: probabilities from the labels of the training days, or from yesterday.

Targets are (n, L), one column a type; days are local dates. Give labelled days only.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import ratio
from tenkizu.patterns.labels import LabelTable

Targets = NDArray[np.bool_]
Probabilities = NDArray[np.float64]

YEAR_DAYS = 365.2425
"""Mean length of the calendar year, around which days of the year are neighbours."""

KERNEL_DAYS = 10.0
"""Standard deviation of the climatology's kernel, days."""

NEIGHBOURS = 30
"""Training maps that `knn` takes the types from."""

_YEAR_SLOTS = 366


def prevalence(targets: Targets) -> Probabilities:
    """The share of days with each type, (L,): the same forecast every day."""
    return np.asarray(targets.mean(axis=0, dtype=np.float64))


def all_positive_f1(share: Probabilities) -> Probabilities:
    """F1 of the rule that says yes every day, 2p / (1 + p), p the share of days with the type.

    The only other constant rule never says yes and has an F1 of 0, so this is the floor of any F1
    in a report. NaN for a type without a day.
    """
    share = np.asarray(share, np.float64)
    return np.where(share > 0, 2 * share / (1 + share), np.nan)


@dataclass(frozen=True)
class Climatology:
    """How often each type comes around a day of the year.

    The probability on a day is the mean of the training targets, weighted by
    exp(-(delta / 10 d)^2 / 2). Delta is the difference of the days of the calendar year (0 on
    1 January), taken around a year of 365.2425 days. Since only the day of the year counts, sums
    by day of the year hold all that is needed.

    Attributes:
        days: (366,) training days by day of the year.
        positives: (366, L) those with each type.
    """

    days: NDArray[np.int64]
    positives: NDArray[np.int64]

    @classmethod
    def of(cls, days: NDArray[np.datetime64], targets: Targets) -> Self:
        """The table of training days (n,) with targets (n, L)."""
        slots = day_of_year(days)
        positives = np.zeros((_YEAR_SLOTS, targets.shape[1]), np.int64)
        np.add.at(positives, slots, targets)
        return cls(np.bincount(slots, minlength=_YEAR_SLOTS).astype(np.int64), positives)

    def probabilities(self, days: NDArray[np.datetime64]) -> Probabilities:
        """Probabilities on any dates (m,), (m, L); NaN from a table without days."""
        apart = np.abs(day_of_year(days)[:, None] - np.arange(_YEAR_SLOTS))
        apart = np.minimum(apart, YEAR_DAYS - apart)
        weights = np.exp(-0.5 * (apart / KERNEL_DAYS) ** 2)
        return np.asarray(ratio(weights @ self.positives, (weights @ self.days)[:, None]))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {"days": self.days.tolist(), "positives": self.positives.T.tolist()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        positives = np.asarray(data["positives"], np.int64).reshape(-1, _YEAR_SLOTS).T
        return cls(np.asarray(data["days"], np.int64), positives)


def climatology(
    train_days: NDArray[np.datetime64], train: Targets, days: NDArray[np.datetime64]
) -> Probabilities:
    """Day-of-year climatology (`Climatology`) of training days on other days, (m, L)."""
    return Climatology.of(train_days, train).probabilities(days)


def persistence(
    days: NDArray[np.datetime64], table: LabelTable, unknown: Probabilities | None = None
) -> Probabilities:
    """The true types of the day before, (m, L) of 0 and 1.

    No classifier of today's map knows them: the score shows how much of it is mere persistence.

    Args:
        days: local dates (m,).
        table: the labels of all days that have any, also of those outside the split: the day
            before the first validation day is a training day.
        unknown: the row (L,) for a day after an unlabelled one, usually the prevalence, so that
            all baselines are scored on the same days; NaN if not given.
    """
    targets, known = table.on_days(days.astype("datetime64[D]") - 1)
    filling = np.full(targets.shape[1], np.nan) if unknown is None else unknown
    return np.where(known[:, None], targets.astype(np.float64), filling)


def knn(
    train_maps: NDArray[np.floating],
    train: Targets,
    maps: NDArray[np.floating],
    k: int = NEIGHBOURS,
) -> Probabilities:
    """Shares of the types among the k training maps most like each map, (m, L).

    Alike is the Euclidean distance between sea level pressures after the mean over each map is
    taken off, since the type lies in the shape of the isobars; a neighbour at distance r counts
    1/r^2.

    Args:
        train_maps: (n, P) flattened maps, finite.
        train: (n, L).
        maps: (m, P), finite.
        k: neighbours, at most n.
    """
    known = train_maps - train_maps.mean(axis=1, dtype=np.float64, keepdims=True)
    asked = maps - maps.mean(axis=1, dtype=np.float64, keepdims=True)
    squares = (known**2).sum(axis=1)
    k = min(k, len(known))
    result = np.empty((len(asked), train.shape[1]))
    for i, row in enumerate(asked):
        distance = np.maximum(squares - 2 * (known @ row) + row @ row, 1e-12 * squares.mean())
        nearest = np.argpartition(distance, k - 1)[:k]
        weights = 1 / distance[nearest]
        result[i] = weights @ train[nearest] / weights.sum()
    return result


def day_of_year(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Days since 1 January of the same year, 0 to 365."""
    new_year = days.astype("datetime64[Y]").astype("datetime64[D]")
    return np.asarray((days.astype("datetime64[D]") - new_year).astype(np.int64))

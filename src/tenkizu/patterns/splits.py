"""Which days train, choose and are reported on: by local date, in whole blocks."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.periods import SPLITS
from tenkizu.patterns.config import SplitsConfig

log = logging.getLogger(__name__)

Days = NDArray[np.datetime64]
Fold = dict[str, NDArray[np.int64]]

ONE_DAY = np.timedelta64(1, "D")


def folds(splits: SplitsConfig, days: Days) -> list[Fold]:
    """Divide days into training, validation and test.

    Args:
        splits: the scheme. With ``blocked_cv`` the years from the first to the last day are cut
            into blocks of ``block_years``, years left over joining the last; each block is the
            test of one fold, the next one (the first after the last) its validation, the rest its
            training, without the ``purge_days`` that lie beside a test or validation block.
        days: local dates (n,), datetime64[D], in any order.

    Returns:
        One dictionary a fold of sorted indices into ``days``: ``train``, ``validation`` (empty
        when the scheme has no such period) and, when there is one, ``test``.

    Raises:
        DataError: a split has no day; years and counts are named.
    """
    days = days.astype("datetime64[D]")
    if splits.scheme == "blocked_cv":
        return _blocked(splits, days)
    blocks = splits.periods().blocks()
    fold: Fold = {}
    for name in SPLITS:
        own = [(start, end) for split, start, end in blocks if split == name]
        inside = np.zeros(len(days), bool)
        for start, end in own:
            inside |= (days >= start) & (days + ONE_DAY <= end)
        if own and not inside.any():
            raise _empty(name, ", ".join(getattr(splits.periods(), name)), days)
        if own or name != "test":
            fold[name] = np.flatnonzero(inside)
    outside = len(days) - sum(map(len, fold.values()))
    if outside:
        log.info("%d of %d days lie outside the periods of the splits", outside, len(days))
    return [fold]


def _blocked(splits: SplitsConfig, days: Days) -> list[Fold]:
    """The folds of a cross-validation over blocks of years."""
    years = days.astype("datetime64[Y]").astype(int)
    first, count = years.min(initial=9999), np.ptp(years) + 1 if len(years) else 0
    n_blocks = int(count // splits.block_years)
    if n_blocks < 3:
        raise DataError(
            "too few years for cross-validation",
            variable="data.splits",
            found=f"{n_blocks} blocks of {splits.block_years} years in {by_year(days)}",
            expected="at least 3: a test, a validation and a training block",
            next_step="give more years, a smaller data.splits.block_years or another scheme",
        )
    block = np.minimum((years - first) // splits.block_years, n_blocks - 1)
    result = []
    for test in range(n_blocks):
        validation = (test + 1) % n_blocks
        held = (block == test) | (block == validation)
        near = _beside(days, days[held], splits.purge_days)
        fold = {
            "train": np.flatnonzero(~held & ~near),
            "validation": np.flatnonzero(block == validation),
            "test": np.flatnonzero(block == test),
        }
        for name, indices in fold.items():
            if not len(indices):
                raise _empty(name, f"fold {test + 1} of {n_blocks}", days)
        result.append(fold)
    return result


def _beside(days: Days, held: Days, distance: int) -> NDArray[np.bool_]:
    """Which days lie at most ``distance`` days from one of ``held``."""
    held = np.unique(held)
    after = np.searchsorted(held, days)
    following = held[np.minimum(after, len(held) - 1)]
    previous = held[np.maximum(after - 1, 0)]
    reach = distance * ONE_DAY
    near: NDArray[np.bool_] = (abs(following - days) <= reach) | (abs(days - previous) <= reach)
    return near


def _empty(name: str, where: str, days: Days) -> DataError:
    return DataError(
        "an empty split",
        variable=f"data.splits.{name}",
        found=f"no day in {where}",
        expected=f"some of the days at hand, {by_year(days)}",
        next_step="prepare the years of this split, or choose other periods (scheme: periods)",
    )


def by_year(days: Sequence[np.datetime64] | Days) -> str:
    """Days of each local year, for messages: ``1991: 365, 1992: 366``."""
    years, counts = np.unique(np.asarray(days, "datetime64[Y]"), return_counts=True)
    return ", ".join(f"{y}: {n}" for y, n in zip(years, counts, strict=True)) or "no days"

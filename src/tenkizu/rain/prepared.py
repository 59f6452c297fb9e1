"""A finished store of MSM forecasts, checked against the configuration that would train on it."""

from collections import Counter

import numpy as np

from tenkizu.core.errors import DataError
from tenkizu.core.periods import SPLITS, SplitsConfig
from tenkizu.core.store import SampleStore
from tenkizu.rain.config import RainConfig
from tenkizu.rain.fields import field_scales
from tenkizu.rain.tables import RAIN

BEFORE_WINDOW = np.timedelta64(180, "m")
"""t0 is this long before the start of a window."""


def open_prepared(config: RainConfig) -> SampleStore:
    """Open the finished store of ``data.source=msm``.

    Besides what every store of rain has, it has the fields that `tenkizu.rain.fields` describes.
    Its rain may lack the last plane, N; the statistics have six entries all the same. Each sample
    is in the split that has its t0.

    Raises:
        DataError: there is no store, or it does not fit the configuration.
    """
    path = config.data.store
    if not path.is_dir():
        raise DataError(
            "no such store, and no monthly files to prepare one from",
            file=path,
            variable="data.store",
            expected="a finished store with rain and fields",
            next_step="name the folder of monthly files in data.msm.monthly_dir, or copy a "
            "finished store there",
        )
    store = SampleStore(path)
    arrays = store.meta["arrays"]
    rain = arrays["rain"]
    if tuple(rain["channels"]) not in (RAIN, RAIN[:-1]) or rain["units"] != "mm":
        raise _unfit(
            store,
            "arrays.rain",
            f"{', '.join(rain['channels'])} in {rain['units']}",
            f"{', '.join(RAIN)}, of which N may lack, in mm",
        )
    if "motion" in config.data.context and "motion" not in arrays:
        raise _unfit(store, "arrays", ", ".join(arrays), "motion, as in data.context")
    field_scales(config.data, store)
    bins = store.meta["config"]["loss"]
    for name in ("bins_1h", "bins_sum", "mask_mm"):
        if bins[name] != getattr(config.loss, name):
            raise _unfit(store, f"loss.{name}", bins[name], getattr(config.loss, name))
    stored, wanted = store.meta["splits"], split_by_t0(store.meta["starts"], config.data.splits)
    if stored != wanted:
        raise _unfit(store, "data.splits", _counts(stored), f"{_counts(wanted)}, by t0")
    for name in SPLITS:
        if getattr(config.data.splits, name) and name not in stored:
            raise _unfit(store, f"data.splits.{name}", "no sample", "at least one")
    return store


def split_by_t0(starts: list[str], splits: SplitsConfig) -> list[str | None]:
    """The split whose periods hold t0 of each window, None where there is none.

    Args:
        starts: of the windows, UTC; t0 is three hours before.
        splits: the periods.
    """
    blocks = splits.blocks()
    times = (np.datetime64(start, "m") - BEFORE_WINDOW for start in starts)
    return [next((name for name, a, b in blocks if a <= t0 < b), None) for t0 in times]


def _counts(splits: list[str | None]) -> str:
    """Samples of each split, in words."""
    return ", ".join(f"{n} {name or 'of none'}" for name, n in Counter(splits).items())


def _unfit(store: SampleStore, variable: str, found: object, expected: object) -> DataError:
    """The error that a store is not what the configuration describes."""
    return DataError(
        "the store does not fit the configuration",
        file=store.path / "store.json",
        variable=variable,
        found=found,
        expected=expected,
        next_step="change the configuration, or prepare the store again",
    )

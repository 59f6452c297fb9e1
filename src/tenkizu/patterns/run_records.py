"""What a run writes about itself: the model's description, ``norm.json``, ``history.json``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.store import SampleStore, read_json, write_json
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.fitting import Fitted
from tenkizu.patterns.labelled_days import LabelledDays
from tenkizu.patterns.members import Member
from tenkizu.patterns.moments import load_moments
from tenkizu.patterns.verification.calibration import Calibration


def model_details(
    config: PatternsConfig,
    store: SampleStore,
    days: LabelledDays,
    fitted: Sequence[Fitted],
    train_days: NDArray[np.int64],
    best: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """What the model's description holds beside the networks."""
    share, climatology = days.training_tables(train_days)
    first = fitted[0]
    select = config.train.select
    records = list(best.values())
    return {
        "name": config.run.name,
        "grid": store.meta["grid"],
        "coarsen": config.data.coarsen,
        "hours": config.data.hours,
        "area": config.data.area,
        "transforms": config.data.transforms,
        "daily_mean": _daily_means(store, first.members[0], train_days),
        "baselines": {
            "prevalence": share.tolist(),
            "climatology": climatology.to_json(),
            "training_days": len(train_days),
        },
        "split": {
            name: _runs(days.local[np.concatenate([getattr(one.fold, name) for one in fitted])])
            for name in ("train", "validation", "test")
        },
        "trained_on": {
            "files": list(store.meta["inputs"]),
            "plan_hash": store.meta["plan_hash"],
        },
        "labels_source": Path(days.table.source).name,
        "chosen_by": {
            "quantity": select,
            "on": "validation",
            "epoch": records[0].get("epoch"),
            "value": records[0].get(select),
            "members": [{"epoch": r.get("epoch"), "value": r.get(select)} for r in records],
        },
        "config": config.model_dump(mode="json"),
    }


def _daily_means(
    store: SampleStore, member: Member, train_days: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Mean and deviation of each channel's daily area mean over the training days."""
    rows, moments = load_moments(store)
    means = moments[train_days][..., 1]
    return {
        name: {
            "mean": float(means[:, rows.index(name)].mean()),
            "std": float(means[:, rows.index(name)].std()),
        }
        for name in member.inputs.maps
    }


def _runs(days: NDArray[np.datetime64]) -> list[str]:
    """Dates as periods FIRST/LAST without gaps."""
    if not len(days):
        return []
    unique = np.unique(days)
    breaks = np.flatnonzero(np.diff(unique) > np.timedelta64(1, "D")) + 1
    return [f"{run[0]}/{run[-1]}" for run in np.split(unique, breaks)]


def calibration_json(calibrations: Sequence[Calibration]) -> dict[str, Any]:
    """The content of ``calibration.json``: of the first member, the others beside it."""
    first, *others = [calibration.to_json() for calibration in calibrations]
    return first | ({"members": [first, *others]} if others else {})


def norm(
    config: PatternsConfig,
    days: LabelledDays,
    fitted: Sequence[Fitted],
    best: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """The content of ``norm.json``, of the first network."""
    member, record = fitted[0].members[0], next(iter(best.values()))
    season = member.net.season.scales if member.net.season else ()
    scales = [*member.net.normaliser.scales, *season]

    def years(indices: NDArray[np.int64]) -> list[int]:
        found = np.unique(days.local[indices].astype("datetime64[Y]").astype(int) + 1970)
        return [int(year) for year in found]

    return {
        "channel_names": [scale.name for scale in scales],
        "units": [scale.units for scale in scales],
        "transform": [scale.transform for scale in scales],
        "mean": [scale.mean for scale in scales],
        "std": [scale.std for scale in scales],
        "constant": [scale.std == 0 for scale in scales],
        "count": len(fitted[0].fold.train),
        "selected_variables": list(member.inputs.names),
        "use_seasonal_as_channels": bool(member.inputs.season),
        "train_years": years(fitted[0].fold.train),
        "val_years": years(fitted[0].fold.validation),
        "base_labels": list(days.table.catalogue.labels),
        "best_val_map": record.get("val_map"),
        "best_val_loss": record.get("val_loss"),
        "best_epoch": record.get("epoch"),
        "selection_metric": config.train.select,
    }


def write_history(folder: Path, best: dict[str, dict[str, Any]]) -> None:
    """``history.json`` of the run: the first network's, with its best values and the others'."""
    histories = {
        name: read_json(folder / name / "history.json", "a training history") for name in best
    }
    first = next(iter(histories))
    record = best[first]
    summary = histories[first] | {
        "best_val_loss": record.get("val_loss"),
        "best_map": record.get("val_map"),
    }
    if len(histories) > 1:
        summary["members"] = histories
    write_json(folder / "history.json", summary)

"""What follows training: calibration, thresholds, export, evaluation, report."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.store import SampleStore, read_json, write_json
from tenkizu.patterns.analogue_bank import AnalogueBank, write_bank
from tenkizu.patterns.calibration import Calibration, fit_calibration
from tenkizu.patterns.cases import write_cases
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.cross_fitting import HELD_OUT, IN_SAMPLE, cross_fit, validation_groups
from tenkizu.patterns.days import DayTable
from tenkizu.patterns.evaluation import write_evaluation
from tenkizu.patterns.labelled_days import LabelledDays
from tenkizu.patterns.members import Member
from tenkizu.patterns.model import Outputs, PatternModel, combine, export, run_networks
from tenkizu.patterns.moments import load_moments
from tenkizu.patterns.score_report import class_report
from tenkizu.patterns.thresholds import Thresholds, tune_thresholds
from tenkizu.patterns.training import Fold

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """A table of days, how its decisions came about, and the baselines on the same days."""

    table: DayTable
    provenance: str
    baselines: dict[str, Floats]


@dataclass(frozen=True)
class Fitted:
    """A trained fold with what was fitted on its validation days."""

    fold: Fold
    members: list[Member]
    calibrations: list[Calibration]
    validation: Outputs


def finish(
    config: PatternsConfig,
    store: SampleStore,
    days: LabelledDays,
    trained: Sequence[tuple[Fold, list[Member]]],
    best: dict[str, dict[str, Any]],
) -> None:
    """Calibrate, choose thresholds, export, score every split, draw, report.

    Args:
        config: the run.
        store: of the maps.
        days: with their labels.
        trained: folds with their trained members.
        best: record of the best epoch of each member, by its folder's name.
    """
    folder = config.run.dir / config.run.name
    fitted = [_calibrate(config, days, fold, members) for fold, members in trained]
    thresholds = _thresholds(config, days, fitted)
    nets = [member.net for one in fitted for member in one.members]
    calibrations = [calibration for one in fitted for calibration in one.calibrations]
    train_days = np.unique(np.concatenate([one.fold.train for one in fitted]))
    details = _details(config, store, days, fitted, train_days, best)
    export(folder, nets, calibrations, thresholds, days.table.catalogue, details)
    write_json(folder / "thresholds.json", thresholds.to_json())
    write_json(folder / "calibration.json", _calibration_json(calibrations))
    write_json(folder / "norm.json", _norm(config, days, fitted, best))
    _write_history(folder, best)
    bank = write_bank(folder, fitted[0].members[0], train_days)
    model = PatternModel.load(folder)
    scored = {"validation": _validation(config, days, fitted, thresholds)}
    if any(len(one.fold.test) for one in fitted):
        scored["test"] = _test(config, days, fitted)
    headline: dict[str, Any] = {}
    for split, one in scored.items():
        short = "val" if split == "validation" else split
        one.table.to_csv(folder / f"probabilities_{split}.csv")
        headline = write_evaluation(
            folder / "evaluation" / split,
            one.table,
            days.table.catalogue,
            thresholds,
            one.provenance,
            one.baselines,
            {
                "model": config.run.name,
                "weights": model.weights_hash,
                "data": f"{split} days of {store.path}",
                "epoch_chosen_on": "validation",
                "notes": _notes(split),
            },
            members=_member_tables(days, fitted, split) if len(nets) > 1 else None,
        )
        write_json(folder / f"{short}_report.json", class_report(headline))
    try:
        _draw(config, store, folder, model, scored, bank, headline)
    except Exception:
        log.exception("figures could not be drawn; scores and model are in %s", folder)


def _notes(split: str) -> list[str]:
    if split == "validation":
        return ["These days chose the epoch, so the scores flatter the model a little."]
    return []


def _calibrate(
    config: PatternsConfig, days: LabelledDays, fold: Fold, members: list[Member]
) -> Fitted:
    """Calibrate each member on the fold's validation days."""
    logits, embedding = run_networks(
        [member.net for member in members], members[0].loader(fold.validation)
    )
    truth = days.targets[fold.validation]
    calibrations = [
        fit_calibration(
            config.calibration.kind,
            own,
            truth,
            days.table.catalogue.labels,
            **_loss_facts(config, member),
        ).described("all validation days")
        for own, member in zip(logits, members, strict=True)
    ]
    return Fitted(fold, members, calibrations, combine(logits, calibrations, embedding))


def _loss_facts(config: PatternsConfig, member: Member) -> dict[str, Any]:
    return {
        "pos_weight": member.weights,
        "loss": config.loss.kind,
        "sampler": config.sampler.kind,
    }


def _betas(config: PatternsConfig, labels: Sequence[str]) -> Floats:
    beta = config.thresholds.beta
    if isinstance(beta, dict):
        return np.array([beta.get(name, 1.0) for name in labels])
    return np.full(len(labels), beta)


def _tuning(config: PatternsConfig, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "beta": _betas(config, labels),
        "min_positives": config.thresholds.min_positives,
        "fallback": config.thresholds.fallback,
    }


def _thresholds(config: PatternsConfig, days: LabelledDays, fitted: Sequence[Fitted]) -> Thresholds:
    """The exported thresholds: of all validation days, each by its own fold's members."""
    labels = days.table.catalogue.labels
    truth = np.concatenate([days.targets[one.fold.validation] for one in fitted])
    probs = np.concatenate([one.validation.calibrated for one in fitted])
    return tune_thresholds(truth, probs, labels, **_tuning(config, labels)).described(
        "all validation days", "days of no split"
    )


def _validation(
    config: PatternsConfig, days: LabelledDays, fitted: Sequence[Fitted], thresholds: Thresholds
) -> Scored:
    """The validation days of all folds, decided as ``thresholds.tune`` says."""
    labels = days.table.catalogue.labels
    tables, baselines, provenance = [], [], IN_SAMPLE
    for one in fitted:
        indices = one.fold.validation
        outputs = one.validation
        if config.thresholds.tune == "cross_fit":
            decisions = cross_fit(
                outputs.logits,
                days.targets[indices],
                validation_groups(days.local[indices]),
                labels,
                kind=config.calibration.kind,
                **_loss_facts(config, one.members[0]),
                **_tuning(config, labels),
            )
            outputs = Outputs(outputs.logits, outputs.raw, decisions.calibrated, outputs.embedding)
            predicted, decided = decisions.predicted, decisions.decided
            provenance = decisions.provenance
        else:
            predicted, decided = thresholds.decide(outputs.calibrated), thresholds.decided
        tables.append(days.day_table(indices, outputs, predicted, decided))
        baselines.append(_baselines(days, one.fold, indices))
    return _pooled(tables, baselines, provenance)


def _test(config: PatternsConfig, days: LabelledDays, fitted: Sequence[Fitted]) -> Scored:
    """The test days of all folds, decided by what their validation days say."""
    labels = days.table.catalogue.labels
    tables, baselines = [], []
    for one in fitted:
        own = tune_thresholds(
            days.targets[one.fold.validation],
            one.validation.calibrated,
            labels,
            **_tuning(config, labels),
        )
        outputs = _test_outputs(one)
        predicted = own.decide(outputs.calibrated)
        tables.append(days.day_table(one.fold.test, outputs, predicted, own.decided))
        baselines.append(_baselines(days, one.fold, one.fold.test))
    return _pooled(tables, baselines, HELD_OUT)


def _test_outputs(one: Fitted) -> Outputs:
    logits, embedding = run_networks(
        [member.net for member in one.members], one.members[0].loader(one.fold.test)
    )
    return combine(logits, one.calibrations, embedding)


def _baselines(days: LabelledDays, fold: Fold, indices: NDArray[np.int64]) -> dict[str, Floats]:
    share, climatology = days.training_tables(fold.train)
    return days.baselines(indices, share, climatology)


def _pooled(
    tables: Sequence[DayTable], baselines: Sequence[dict[str, Floats]], provenance: str
) -> Scored:
    """All folds' days in order of time."""
    order = np.argsort(np.concatenate([table.times for table in tables]), kind="stable")
    joined = DayTable.join(tables)
    stacked = {
        name: np.concatenate([one[name] for one in baselines])[order] for name in baselines[0]
    }
    return Scored(joined, provenance, stacked)


def _member_tables(days: LabelledDays, fitted: Sequence[Fitted], split: str) -> dict[str, DayTable]:
    """The days of a split as each single network sees them, for mean and spread."""
    result = {}
    for one in fitted:
        indices = one.fold.validation if split == "validation" else one.fold.test
        if not len(indices):
            continue
        outputs = one.validation if split == "validation" else _test_outputs(one)
        truth = days.targets[one.fold.validation]
        labels = days.table.catalogue.labels
        for number, calibration in enumerate(one.calibrations):
            own = combine(outputs.logits[number : number + 1], [calibration], outputs.embedding)
            fitted_on = calibration.apply(one.validation.logits[number])
            limits = tune_thresholds(truth, fitted_on, labels)
            name = " ".join(filter(None, [one.fold.name, f"member_{number + 1}"]))
            result[name] = days.day_table(
                indices, own, limits.decide(own.calibrated), limits.decided
            )
    return result


def _details(
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


def _calibration_json(calibrations: Sequence[Calibration]) -> dict[str, Any]:
    """The content of ``calibration.json``: of the first member, the others beside it."""
    first, *others = [calibration.to_json() for calibration in calibrations]
    return first | ({"members": [first, *others]} if others else {})


def _norm(
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


def _write_history(folder: Path, best: dict[str, dict[str, Any]]) -> None:
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


def _draw(
    config: PatternsConfig,
    store: SampleStore,
    folder: Path,
    model: PatternModel,
    scored: dict[str, Scored],
    bank: AnalogueBank,
    headline: dict[str, Any],
) -> None:
    """Curves, confusion of the last split, charts of the best and worst days, and the report."""
    from tenkizu.patterns.case_figures import Cases, draw_days
    from tenkizu.patterns.class_panels import draw_confusion_matrices
    from tenkizu.patterns.loss_curve import draw_loss_curve
    from tenkizu.patterns.reporting import report

    draw_loss_curve(folder / "loss_curve.png", read_json(folder / "history.json", "a history"))
    draw_confusion_matrices(folder / "confusion_matrices.png", headline)
    for split, one in scored.items():
        if config.report.cases:
            write_cases(folder, split, one.table, store, model, bank, config.report)
            cases = Cases.read(folder / "cases" / f"{split}.npz")
            for kind in ("best", "worst"):
                draw_days(
                    folder / "evaluation" / split / f"{kind}_days.png", cases, kind, one.table
                )
    report(folder)

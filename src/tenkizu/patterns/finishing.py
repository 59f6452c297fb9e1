"""What follows training: calibration, thresholds, export, evaluation, report."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.store import SampleStore, atomic, read_json, write_json
from tenkizu.patterns.analogue_bank import AnalogueBank, write_bank
from tenkizu.patterns.cases import write_cases
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.evaluation import write_evaluation
from tenkizu.patterns.fitting import (
    Fitted,
    calibrate,
    exported_thresholds,
    learnt_truth,
    loss_facts,
    tuning,
)
from tenkizu.patterns.labelled_days import LabelledDays
from tenkizu.patterns.members import Member
from tenkizu.patterns.model import Outputs, PatternModel, combine, export, run_networks
from tenkizu.patterns.pressure_neighbours import PressureNeighbours, stored_pressure
from tenkizu.patterns.run_records import calibration_json, model_details, norm, write_history
from tenkizu.patterns.training import Fold
from tenkizu.patterns.verification.cross_fitting import (
    HELD_OUT,
    IN_SAMPLE,
    cross_fit,
    validation_groups,
)
from tenkizu.patterns.verification.days import DayTable
from tenkizu.patterns.verification.score_report import class_report
from tenkizu.patterns.verification.thresholds import Thresholds

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

ARTEFACTS = (
    "history.json",
    "norm.json",
    "thresholds.json",
    "calibration.json",
    "val_report.json",
    "test_report.json",
    "probabilities_validation.csv",
    "probabilities_test.csv",
    "loss_curve.png",
    "confusion_matrices.png",
)
"""Files that ``run.prefix`` gives a second name."""


@dataclass(frozen=True)
class Scored:
    """A table of days, how its decisions came about, and the baselines on the same days."""

    table: DayTable
    provenance: str
    baselines: dict[str, Floats]


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
    fitted = [calibrate(config, days, fold, members) for fold, members in trained]
    thresholds = exported_thresholds(config, days, fitted)
    nets = [member.net for one in fitted for member in one.members]
    calibrations = [calibration for one in fitted for calibration in one.calibrations]
    train_days = np.unique(np.concatenate([one.fold.train for one in fitted]))
    details = model_details(config, store, days, fitted, train_days, best)
    export(folder, nets, calibrations, thresholds, days.table.catalogue, details)
    write_json(folder / "thresholds.json", thresholds.to_json())
    write_json(folder / "calibration.json", calibration_json(calibrations))
    write_json(folder / "norm.json", norm(config, days, fitted, best))
    write_history(folder, best)
    bank = write_bank(folder, fitted[0].members[0], train_days)
    model = PatternModel.load(folder)
    baselines = _Baselines(config, store, days, bank, train_days)
    scored = {"validation": _validation(config, days, fitted, thresholds, baselines)}
    if any(len(one.fold.test) for one in fitted):
        scored["test"] = _test(config, days, fitted, baselines)
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
            model.ranking,
            members=_member_tables(config, days, fitted, split) if len(nets) > 1 else None,
        )
        write_json(folder / f"{short}_report.json", class_report(headline))
    try:
        _draw(config, store, folder, model, scored, bank, headline)
    except Exception:
        log.exception("figures could not be drawn; scores and model are in %s", folder)
    if config.run.prefix:
        for name in ARTEFACTS:
            if (folder / name).exists():
                with atomic(folder / f"{config.run.prefix}{name}") as part:
                    shutil.copyfile(folder / name, part)


def _notes(split: str) -> list[str]:
    if split == "validation":
        return ["These days chose the epoch, so the scores flatter the model a little."]
    return []


def _validation(
    config: PatternsConfig,
    days: LabelledDays,
    fitted: Sequence[Fitted],
    thresholds: Thresholds,
    baselines: "_Baselines",
) -> Scored:
    """The validation days of all folds, decided as ``thresholds.tune`` says."""
    tables, beside, provenance = [], [], IN_SAMPLE
    for one in fitted:
        table, provenance = _validation_table(config, days, one, thresholds)
        tables.append(table)
        beside.append(baselines.of(one.fold, one.fold.validation))
    return _pooled(tables, beside, provenance)


def _validation_table(
    config: PatternsConfig, days: LabelledDays, one: Fitted, thresholds: Thresholds
) -> tuple[DayTable, str]:
    """The validation days of one fold, and how their decisions came about."""
    labels, indices, outputs = days.table.catalogue.labels, one.fold.validation, one.validation
    if config.thresholds.tune == "validation":
        predicted = thresholds.decide(outputs.calibrated)
        return days.day_table(indices, outputs, predicted, thresholds.decided), IN_SAMPLE
    decisions = cross_fit(
        outputs.logits,
        learnt_truth(days, one),
        validation_groups(days.local[indices]),
        labels,
        kind=config.calibration.kind,
        **loss_facts(config, one.members[0]),
        **tuning(config, labels),
    )
    outputs = Outputs(outputs.logits, outputs.raw, decisions.calibrated, outputs.embedding)
    table = days.day_table(indices, outputs, decisions.predicted, decisions.decided)
    return table, decisions.provenance


def _test(
    config: PatternsConfig, days: LabelledDays, fitted: Sequence[Fitted], baselines: "_Baselines"
) -> Scored:
    """The test days of all folds, decided by what their validation days say."""
    tables = [_test_table(config, days, one) for one in fitted]
    beside = [baselines.of(one.fold, one.fold.test) for one in fitted]
    return _pooled(tables, beside, HELD_OUT)


def _test_table(config: PatternsConfig, days: LabelledDays, one: Fitted) -> DayTable:
    """The test days of one fold."""
    thresholds = exported_thresholds(config, days, [one])
    logits, embedding = run_networks(
        [member.net for member in one.members], one.members[0].loader(one.fold.test)
    )
    outputs = combine(logits, one.calibrations, embedding)
    predicted = thresholds.decide(outputs.calibrated)
    return days.day_table(one.fold.test, outputs, predicted, thresholds.decided)


@dataclass(frozen=True)
class _Baselines:
    """What every fold's days are scored beside, each from that fold's training days."""

    config: PatternsConfig
    store: SampleStore
    days: LabelledDays
    bank: AnalogueBank
    train_days: NDArray[np.int64]

    def of(self, fold: Fold, indices: NDArray[np.int64]) -> dict[str, Floats]:
        """Probabilities (m, L) by name."""
        share, climatology = self.days.training_tables(fold.train)
        found = self.days.baselines(indices, share, climatology)
        if self.config.evaluation.knn:
            own = np.isin(self.train_days, fold.train)
            catalogue = self.days.table.catalogue
            if near := PressureNeighbours.of_bank(self.bank, catalogue, own):
                found["knn"] = near.probabilities(
                    lambda some: stored_pressure(self.store, some), indices
                )
        return found


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


def _member_tables(
    config: PatternsConfig, days: LabelledDays, fitted: Sequence[Fitted], split: str
) -> dict[str, DayTable]:
    """The days of a split as each single network decides them, for mean and spread."""
    result = {}
    for one in fitted:
        for number, (member, calibration) in enumerate(
            zip(one.members, one.calibrations, strict=True), 1
        ):
            own = one.validation.logits[number - 1 : number]
            outputs = combine(own, [calibration], one.validation.embedding)
            single = Fitted(one.fold, [member], [calibration], outputs)
            name = " ".join(filter(None, [one.fold.name, f"member_{number}"]))
            if split == "validation":
                limits = exported_thresholds(config, days, [single])
                result[name] = _validation_table(config, days, single, limits)[0]
            elif len(one.fold.test):
                result[name] = _test_table(config, days, single)
    return result


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
    from tenkizu.patterns.figures.case_figures import Cases, draw_days
    from tenkizu.patterns.figures.class_panels import draw_confusion_matrices
    from tenkizu.patterns.figures.loss_curve import draw_loss_curve
    from tenkizu.patterns.reporting import report

    draw_loss_curve(folder / "loss_curve.png", read_json(folder / "history.json", "a history"))
    draw_confusion_matrices(folder / "confusion_matrices.png", headline)
    charts = "msl" in store.meta["arrays"]["maps"]["channels"]
    if not charts:
        log.warning("no charts of days: the store holds no sea level pressure")
    for split, one in scored.items():
        if config.report.cases and charts:
            write_cases(folder, split, one.table, store, model, bank, config.report)
            cases = Cases.read(folder / "cases" / f"{split}.npz")
            for kind in ("best", "worst"):
                draw_days(
                    folder / "evaluation" / split / f"{kind}_days.png", cases, kind, one.table
                )
    report(folder)

"""`evaluate`: a model beside every baseline, on a store or on files of maps."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.checkpoint import find_model
from tenkizu.core.config import build_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.periods import parse_period
from tenkizu.core.store import write_json, write_text
from tenkizu.patterns.analogue_bank import AnalogueBank
from tenkizu.patterns.catalogues import Catalogue
from tenkizu.patterns.config import LabelsConfig
from tenkizu.patterns.labelled_days import LabelledDays
from tenkizu.patterns.labelling import read_labels_file
from tenkizu.patterns.map_batches import DayMaps, open_maps
from tenkizu.patterns.model import PatternModel
from tenkizu.patterns.pressure_neighbours import PressureNeighbours
from tenkizu.patterns.verification.baselines import Climatology
from tenkizu.patterns.verification.cross_fitting import HELD_OUT, IN_SAMPLE
from tenkizu.patterns.verification.days import DayTable
from tenkizu.patterns.verification.score_summary import Ranking
from tenkizu.patterns.verification.score_text import as_text
from tenkizu.patterns.verification.scores import score_days
from tenkizu.patterns.verification.thresholds import Thresholds

log = logging.getLogger(__name__)

Track = Callable[[Iterable[Any], str], Iterable[Any]]
Floats = NDArray[np.float64]


def evaluate(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    labels: str | Path | None = None,
    days: str | None = None,
    track: Track | None = None,
    knn: bool = False,
    typhoons: str | Path | None = None,
) -> dict[str, Any]:
    """Score a model on labelled days, beside the baselines.

    The model folder brings thresholds, calibration and the tables of the baselines.

    Args:
        model: a run folder, an exported model folder or a shipped model's name.
        data: a prepared store, or files or Zarr groups of maps with the fields that the model
            needs.
        output: folder for ``scores.json``, ``evaluation.txt``, ``probabilities.csv``, figures.
        labels: CSV or Python file; by default the labels the model was trained with, or those of
            its rules where they follow from the maps.
        days: a period FIRST/LAST of local dates; by default all days that are labelled.
        track: shows progress.
        knn: add the types of the nearest training maps of pressure as a baseline, whether or not
            the model's configuration asks for it.
        typhoons: CSV of best tracks, for a model that sees them.

    Returns:
        The scores, as written to ``scores.json``.

    Raises:
        ConfigError: the period cannot be read, or the model needs best tracks.
        DataError: the model, the data or the labels cannot be used, or no day is labelled.
    """
    loaded = PatternModel.load(model)
    names = [data] if isinstance(data, str | Path) else list(data)
    # A model of before has no such section.
    knn = knn or loaded.metadata["config"].get("evaluation", {}).get("knn", False)
    with open_maps(loaded, names, typhoons, pressure=knn) as maps:
        if labels is not None:
            table = read_labels_file(labels, loaded.catalogue)
        else:
            described = loaded.metadata["config"]["labels"]
            table = maps.labels(build_config(LabelsConfig, described, f"model {model}: labels"))
        labelled = LabelledDays.of(maps.times, table)
        chosen = np.flatnonzero(labelled.known & _within(labelled.local, days))
        if not len(chosen):
            raise DataError(
                "no labelled day in the period",
                variable="--days",
                found=days,
                expected=f"some of {labelled.local[labelled.known][0]} to "
                f"{labelled.local[labelled.known][-1]}",
            )
        follow = track or (lambda items, _: items)
        outputs = loaded.outputs(follow(maps.batches(chosen), "evaluating"))
        near = _neighbours(model, loaded, maps, chosen, knn)
    provenance, notes = _provenance(loaded, labelled.local[chosen])
    for note in notes:
        log.warning("%s", note)
    thresholds = loaded.thresholds
    share = np.array(loaded.metadata["baselines"]["prevalence"])
    climatology = Climatology.from_json(loaded.metadata["baselines"]["climatology"])
    day_table = labelled.day_table(
        chosen, outputs, thresholds.decide(outputs.calibrated), thresholds.decided
    )
    day_table.to_csv(Path(output) / "probabilities.csv")
    return write_evaluation(
        Path(output),
        day_table,
        loaded.catalogue,
        thresholds,
        provenance,
        labelled.baselines(chosen, share, climatology) | near,
        {
            "model": loaded.metadata["name"],
            "weights": loaded.weights_hash,
            "data": ", ".join(Path(name).name for name in names),
            "labels_source": Path(table.source).name,
            "notes": notes,
        },
        loaded.ranking,
    )


def _neighbours(
    folder: str | Path, model: PatternModel, maps: DayMaps, days: NDArray[np.int64], wanted: bool
) -> dict[str, Floats]:
    """The baseline of nearest pressure maps, if it is wanted and the model has training days."""
    if not wanted:
        return {}
    bank = AnalogueBank.load(find_model(folder))
    near = None if bank is None else PressureNeighbours.of_bank(bank, model.catalogue)
    if bank is None:
        log.warning("no baseline knn: the model folder has no training days (analogues.json)")
    return {} if near is None else {"knn": near.probabilities(maps.msl, days)}


def _within(days: NDArray[np.datetime64], period: str | None) -> NDArray[np.bool_]:
    if period is None:
        return np.ones(len(days), bool)
    try:
        start, end = parse_period(period)
    except ValueError as error:
        raise ConfigError(str(error), variable="--days") from None
    return np.asarray((days >= start) & (days < end))


def _provenance(model: PatternModel, days: NDArray[np.datetime64]) -> tuple[str, list[str]]:
    """Whether decisions rest on other days, and what the reader must know."""
    notes = []
    for split, meaning in (("train", "trained the network"), ("validation", "chose its epoch")):
        seen = np.zeros(len(days), bool)
        for period in model.metadata["split"][split]:
            start, end = parse_period(period)
            seen |= (days >= start) & (days < end)
        if seen.any():
            notes.append(
                f"{seen.sum()} of {len(days)} days {meaning}: the scores are no measure of new days"
            )
    return (IN_SAMPLE if notes else HELD_OUT), notes


def write_evaluation(
    output: Path,
    table: DayTable,
    catalogue: Catalogue,
    thresholds: Thresholds,
    provenance: str,
    baselines: Mapping[str, Floats],
    details: Mapping[str, Any],
    ranking: Ranking,
    members: Mapping[str, DayTable] | None = None,
) -> dict[str, Any]:
    """Score a table of days and write scores, text and figures; a failing figure loses no scores.

    Args:
        output: folder.
        table: the days.
        catalogue: the types.
        thresholds: exported with the model.
        provenance: of the decisions.
        baselines: probabilities (n, L) by name.
        details: JSON-ready facts that go on top.
        ranking: which probabilities AP and ROC AUC rank days by.
        members: the same days as single members of an ensemble see them.

    Returns:
        The scores, as written.
    """
    scores = score_days(table, catalogue.majors, thresholds, provenance, baselines, ranking=ranking)
    result = {**details, **scores}
    if members:
        result["members"] = _spread(members, catalogue, thresholds, provenance)
    write_json(output / "scores.json", result)
    write_text(output / "evaluation.txt", as_text(result))
    try:
        for name, draw in _drawings(table, catalogue, result).items():
            draw(output / name)
    except Exception:
        log.exception("figures could not be drawn; the scores are in %s", output / "scores.json")
    return result


def _spread(
    members: Mapping[str, DayTable],
    catalogue: Catalogue,
    thresholds: Thresholds,
    provenance: str,
) -> dict[str, Any]:
    """Scores of each member, with mean and standard deviation."""
    scores = {
        name: score_days(table, catalogue.majors, thresholds, provenance, {}, resamples=1)
        for name, table in members.items()
    }
    rows = {
        name: {key: one[key] for key in ("map", "macro_f1", "brier")}
        for name, one in scores.items()
    }
    values = {key: np.array([row[key] for row in rows.values()]) for key in ("map", "macro_f1")}
    return {
        "each": rows,
        "mean": {key: float(v.mean()) for key, v in values.items()},
        "std": {key: float(v.std(ddof=1)) for key, v in values.items() if len(v) > 1},
    }


def _drawings(
    table: DayTable, catalogue: Catalogue, scores: Mapping[str, Any]
) -> dict[str, Callable[[Path], Any]]:
    """The figures of an evaluation by file name."""
    from tenkizu.patterns.figures.calendar_chart import draw_calendar
    from tenkizu.patterns.figures.class_panels import (
        draw_confusion_matrices,
        draw_pr_curves,
        draw_reliability,
    )
    from tenkizu.patterns.figures.score_bars import draw_class_bars

    return {
        "class_scores.png": lambda path: draw_class_bars(path, scores),
        "confusion_matrices.png": lambda path: draw_confusion_matrices(path, scores),
        "pr_curves.png": lambda path: draw_pr_curves(path, table, scores["ranking"]),
        "reliability.png": lambda path: draw_reliability(path, scores),
        "calendar.png": lambda path: draw_calendar(
            path, table, catalogue.majors, catalogue.major_names
        ),
    }

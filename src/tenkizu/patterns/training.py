"""`train`: from a prepared store to a run folder with an exported, evaluated model."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.config import dump_config
from tenkizu.core.errors import DataError
from tenkizu.core.launch import Place
from tenkizu.core.runs import run_training
from tenkizu.core.store import SampleStore
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.imbalance import imbalance_warning
from tenkizu.patterns.labelled_days import LabelledDays, store_times
from tenkizu.patterns.labelling import labels_of
from tenkizu.patterns.preparation import prepare
from tenkizu.patterns.splits import by_year, folds

log = logging.getLogger(__name__)

Track = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class Fold:
    """One division of the labelled days.

    Attributes:
        name: ``fold_1`` and so on in a cross-validation, else empty.
        train: indices of training days.
        validation: of the days that choose the epoch, calibration and thresholds.
        test: of the days that are only reported on; may be empty.
    """

    name: str
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def train(
    config: PatternsConfig,
    resume: bool = False,
    overwrite: bool = False,
    track: Track | None = None,
) -> Path:
    """Train, calibrate, export and evaluate the model of a configuration.

    The store is prepared first if it is not there. With several GPUs (or ``train.devices``
    processes on a CPU) the training runs in as many processes.

    Args:
        config: the run.
        resume: go on from the last complete epoch, exactly as if never interrupted.
        overwrite: start again in a run folder that holds another run.
        track: shows progress of preparing.

    Returns:
        The run folder, with the files that docs/patterns.md lists.

    Raises:
        ConfigError: the run folder holds another run.
        DataError: the store cannot be made, labels are wrong, or a split is empty.
        TrainingError: training could not go on.
    """
    return run_training(
        config,
        dump_config(config),
        PatternsConfig,
        resume,
        overwrite,
        lambda: _prepare(config, track),
        lambda: _train_here(config, resume),
    )


def _prepare(config: PatternsConfig, track: Track | None) -> None:
    """Make the store; arithmetic that cannot be had here is refused before, not hours later."""
    if config.train.precision is not None:
        from tenkizu.core.training import resolve_precision

        resolve_precision(config.train)
    prepare(config, track=track)


def open_days(config: PatternsConfig, store: SampleStore) -> LabelledDays:
    """The days of a store with the configured labels."""
    return LabelledDays.of(store_times(store), labels_of(config.labels, store))


def divide(config: PatternsConfig, days: LabelledDays) -> list[Fold]:
    """The folds of a run, labelled days only.

    Raises:
        DataError: a split has no labelled day.
    """
    parts = folds(config.data.splits, days.local)
    result = []
    for number, part in enumerate(parts, 1):
        known = {name: indices[days.known[indices]] for name, indices in part.items()}
        for name in ("train", "validation"):
            if not len(known[name]):
                raise DataError(
                    "no labelled day in a split",
                    file=days.table.source,
                    variable=f"data.splits.{name}",
                    found=f"maps of {by_year(days.local[part[name]])}"
                    if len(part[name])
                    else "no period",
                    expected="labels of days that train, and of others that choose the epoch",
                    next_step="bring labels of these days, or name other periods",
                )
        left = sum(len(part[name]) - len(known[name]) for name in part)
        if left:
            log.info("%d unlabelled days are left out of training and scores", left)
        name = f"fold_{number}" if len(parts) > 1 else ""
        none = np.zeros(0, np.int64)
        result.append(Fold(name, known["train"], known["validation"], known.get("test", none)))
    return result


def _train_here(config: PatternsConfig, resume: bool) -> Path:
    """The training proper, in this process; one of several under a launcher."""
    import pytorch_lightning as pl

    from tenkizu.patterns.members import Member

    folder = config.run.dir / config.run.name
    store = SampleStore(config.data.store)
    days = open_days(config, store)
    parts = divide(config, days)
    rank = Place.here().rank
    if rank == 0:
        _describe(config, days, parts)
    trained: list[tuple[Fold, list[Any]]] = []
    best: dict[str, dict[str, Any]] = {}
    for fold in parts:
        members = []
        for number in range(config.train.members):
            name = "/".join(filter(None, [fold.name, _member_name(config, number)]))
            seed = config.train.seed + number
            pl.seed_everything(seed, workers=False, verbose=False)
            place = folder / name
            member = Member(config, store, days, fold.train, fold.validation, place, seed)
            if rank == 0 and name:
                log.info("training %s, seed %d", name.replace("/", ", "), seed)
            best[name] = member.fit(resume)
            members.append(member)
        trained.append((fold, members))
    if rank == 0:
        from tenkizu.patterns.finishing import finish

        finish(config, store, days, trained, best)
    return folder


def _member_name(config: PatternsConfig, number: int) -> str:
    return f"member_{number + 1}" if config.train.members > 1 else ""


def _describe(config: PatternsConfig, days: LabelledDays, parts: Sequence[Fold]) -> None:
    """Log what is trained on what, and what may go wrong with the labels."""
    labels = days.table.catalogue.labels
    for fold in parts:
        sizes = {
            "train": len(fold.train),
            "validation": len(fold.validation),
            "test": len(fold.test),
        }
        log.info(
            "%s%s",
            f"{fold.name}: " if fold.name else "",
            ", ".join(f"{count} {name} days" for name, count in sizes.items() if count),
        )
        counts = days.targets[fold.train].sum(axis=0)
        log.debug(
            "training days with each type: %s",
            ", ".join(f"{name} {n}" for name, n in zip(labels, counts, strict=True)),
        )
        if absent := [name for name, n in zip(labels, counts, strict=True) if not n]:
            log.warning(
                "no training day has %s: the model cannot know them, they stay undefined",
                ", ".join(absent),
            )
    warning = imbalance_warning(config.loss, config.sampler, days.targets[parts[0].train], labels)
    if warning:
        log.warning(warning)

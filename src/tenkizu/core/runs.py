"""What every training does around the training itself: run folder, processes, outcome."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tenkizu.core.config import Section, dump_config, load_config
from tenkizu.core.errors import ConfigError
from tenkizu.core.launch import Place, log_to, processes, run_processes, supervised
from tenkizu.core.run_config import RunConfig, TrainConfig
from tenkizu.core.store import output_folder, write_text

log = logging.getLogger(__name__)

UNDONE = ("last.ckpt", "best.ckpt", "model.json", "model.safetensors", "run.log")
"""What is removed from a folder whose run begins again."""


class HasRun(Protocol):
    """A configuration that describes a training."""

    @property
    def kind(self) -> str:
        """The system's name, which is that of its commands too."""

    @property
    def run(self) -> RunConfig:
        """Name and place."""

    @property
    def train(self) -> TrainConfig:
        """How it is trained."""


def run_training(
    config: HasRun,
    text: str,
    schema: type[Section],
    resume: bool,
    overwrite: bool,
    prepare: Callable[[], object],
    train_here: Callable[[], Path],
) -> Path:
    """Open the run folder, prepare the data, and train in as many processes as configured.

    Args:
        config: the run.
        text: the same as resolved YAML, from `tenkizu.core.config.dump_config`.
        schema: its class.
        resume: go on from the last complete epoch.
        overwrite: start again in a folder that holds another run.
        prepare: makes the store; called once, before the processes start.
        train_here: trains in this process, one of several under a launcher.

    Returns:
        The run folder.

    Raises:
        ConfigError: the run folder holds another run.
        TrainingError: a process failed.
    """
    place = Place.here()
    folder = config.run.dir / config.run.name

    def work() -> Path:
        if place.rank == 0:
            open_run_folder(config.run, text, schema, resume, overwrite)
            log_to(folder, 0)
            log.debug("command: %s", " ".join(sys.argv))
        if place.world == 1:
            prepare()
            count = processes(config.train)
            if count > 1:
                arguments = [config.kind, "train", str(folder / "config.yaml")]
                run_processes(count, arguments + (["--resume"] if resume else []))
                return folder
        log_to(folder, place.rank)
        return train_here()

    return work() if place.rank or place.child else supervised(config.run, work)


def open_run_folder(
    run: RunConfig, text: str, schema: type[Section], resume: bool, overwrite: bool
) -> Path:
    """Make or reopen the run folder; a configuration that is resumed must not change.

    Keys that are newer than the run count as what they are by default.

    Raises:
        ConfigError: the folder holds a run and neither ``resume`` nor ``overwrite`` is asked for,
            or the run to resume began with another configuration.
    """
    folder = run.dir / run.name
    written = folder / "config.yaml"
    begun = any(folder.glob("**/last.ckpt"))
    if begun and not (resume or overwrite):
        raise ConfigError(
            "the run folder holds a run already",
            file=folder,
            next_step="go on with --resume, start again with --overwrite, or choose another "
            "run.name",
        )
    if resume and not begun:
        log.info("nothing to resume in %s: starting from the beginning", folder)
    if resume and written.exists() and written.read_text(encoding="utf-8") != text:
        old = dump_config(load_config(schema, written))
        if old != text:
            known = old.splitlines()
            changed = [line.strip() for line in text.splitlines() if line not in known]
            raise ConfigError(
                "the configuration differs from the one this run began with",
                file=written,
                found="; ".join(changed) or "fewer keys",
                next_step="resume with the run's own config.yaml, or choose another run.name",
            )
    if overwrite and not resume:
        for name in UNDONE:
            for path in folder.glob(f"**/{name}"):
                path.unlink()
    output_folder(folder)
    write_text(written, text)
    return folder

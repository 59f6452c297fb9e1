"""`train`: from a prepared store to a run folder with an exported, evaluated model."""

import logging
from pathlib import Path
from typing import Any

from tenkizu.core.config import dump_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.launch import Place
from tenkizu.core.runs import run_training
from tenkizu.core.stats import Moments
from tenkizu.core.store import SampleStore, write_json
from tenkizu.core.verification import Tally
from tenkizu.rain.config import RainConfig
from tenkizu.rain.preparation import Track, prepare
from tenkizu.rain.tables import check_units, equal_split_error
from tenkizu.rain.weights import loss_weights

log = logging.getLogger(__name__)


def train(
    config: RainConfig, resume: bool = False, overwrite: bool = False, track: Track | None = None
) -> Path:
    """Train, export and evaluate the model of a configuration.

    The store is prepared first if it is not there. With several GPUs (or ``train.devices``
    processes on a CPU) the training runs in as many processes.

    Args:
        config: the run.
        resume: go on from the last complete epoch, exactly as if never interrupted.
        overwrite: start again in a run folder that holds another run.
        track: shows progress of preparing and evaluating.

    Returns:
        The run folder, with ``model.safetensors``, ``model.json``, ``history.json``,
        ``loss_curve.png`` and an evaluation folder for each split that is not trained on.

    Raises:
        ConfigError: the run folder holds another run.
        DataError: the store cannot be made or the rain does not look like mm.
        TrainingError: training could not go on.
    """
    return run_training(
        config,
        dump_config(config),
        resume,
        overwrite,
        lambda: prepare(config, track=track),
        lambda: _train_here(config, resume, track),
    )


def _train_here(config: RainConfig, resume: bool, track: Track | None) -> Path:
    """The training proper, in this process; one of several under a launcher.

    Rank 0 checks before, and exports and evaluates after.
    """
    import pytorch_lightning as pl
    import torch
    from torch.utils.data import DataLoader

    from tenkizu.core.sampling import EpochSampler, ShardSampler
    from tenkizu.core.training import fit
    from tenkizu.rain.dataset import RainDataset, input_channels
    from tenkizu.rain.model import Disaggregator, export
    from tenkizu.rain.module import MODES, RainModule
    from tenkizu.rain.swin_unet import parameter_table

    place = Place.here()
    folder = config.run.dir / config.run.name
    store = SampleStore(config.data.store)
    tables = Tally.from_json(store.meta["tables"]["train"])
    if place.rank == 0:
        log.info("training rain: %s", check_units(tables, config.data.checks, str(store.path)))
    pl.seed_everything(config.train.seed, workers=False, verbose=False)
    moments = Moments.from_json(store.meta["statistics"]["log1p_mm"])
    scales = input_channels(config.data, moments)
    net = Disaggregator(config.model, scales)
    for part, count in parameter_table(net.network).items():
        log.debug("parameters: %s %d", part, count)
    log.info(
        "%d parameters, input %s",
        sum(p.numel() for p in net.parameters()),
        ", ".join(net.channels),
    )
    weights = loss_weights(config.loss, tables, config.model.head == "direct")
    if weights.computed and place.rank == 0:
        write_json(folder / "computed_weights.json", weights.to_json())
    module = RainModule(net, config, equal_split_error(tables, weights.hourly), weights)
    settings = config.train
    static = config.data.static_file
    training = RainDataset(store, "train", net.channels, config.data, settings.seed, static)
    choosing = RainDataset(store, "validation", net.channels, static_file=static)
    if not len(choosing):
        raise DataError(
            "no validation windows to choose the epoch by",
            file=store.path,
            next_step="name periods in data.splits.validation",
        )
    batch = settings.micro_batch or settings.batch_size
    if len(training) < batch * place.world:
        raise ConfigError(
            "fewer training windows than one batch",
            variable="train.batch_size",
            found=f"{len(training)} windows for {place.world} x {batch}",
            next_step="lower train.batch_size",
        )
    common: dict[str, Any] = {
        "num_workers": settings.workers,
        "persistent_workers": settings.workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }
    history = fit(
        module,
        DataLoader(
            training,
            batch,
            sampler=EpochSampler(len(training), settings.seed, place.rank, place.world),
            drop_last=True,
            **common,
        ),
        DataLoader(
            choosing, batch, sampler=ShardSampler(len(choosing), place.rank, place.world), **common
        ),
        settings,
        folder,
        MODES,
        {"train_loss": ".3f", "val_loss": ".3f", "val_skill": ".3f", "val_rmse_1h": ".3f"},
        resume=resume and (folder / "last.ckpt").exists(),
    )
    if place.rank == 0:
        from tenkizu.core.grid import Grid

        grid = Grid.from_json(store.meta["grid"])
        best = history.best or {}
        export(
            folder,
            net,
            config.model,
            {
                "name": config.run.name,
                "climatology": store.meta["climatology"],
                "statistics": store.meta["statistics"],
                "grid": {"kind": grid.kind, "shape": grid.shape, "describe": grid.describe()},
                "spacing_km": grid.spacing_km,
                "trained_on": store.meta["source"] | {"plan_hash": store.meta["plan_hash"]},
                "chosen_by": {
                    "quantity": settings.select,
                    "on": "validation",
                    "epoch": best.get("epoch"),
                    "value": best.get(settings.select),
                },
                "computed_weights": weights.to_json() if weights.computed else None,
                "config": config.model_dump(mode="json"),
            },
        )
        _finish(config, folder, store, track)
    return folder


def _finish(config: RainConfig, folder: Path, store: SampleStore, track: Track | None) -> None:
    """Curves and evaluation after training; a failing figure never loses scores."""
    from tenkizu.core.store import read_json
    from tenkizu.rain.curves import draw_epoch_curves
    from tenkizu.rain.evaluation import evaluate_store
    from tenkizu.rain.plots import draw_loss_curve
    from tenkizu.rain.reporting import report

    try:
        history = read_json(folder / "history.json", "a training history")
        draw_loss_curve(folder / "loss_curve.png", history)
        draw_epoch_curves(folder, history)
    except Exception:
        log.exception("the curves could not be drawn")
    for split in ("validation", "test"):
        if split in store.meta["splits"]:
            evaluate_store(folder, store, split, folder / "evaluation" / split, config, track)
    try:
        report(folder)
    except Exception:
        log.exception("the report could not be written; `tenkizu rain report` tries again")

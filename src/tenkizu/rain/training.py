"""`train`: from a prepared store to a run folder with an exported, evaluated model."""

import logging
from pathlib import Path
from typing import Any

from tenkizu.core.config import dump_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.launch import Place
from tenkizu.core.runs import run_training
from tenkizu.core.store import SampleStore, write_json
from tenkizu.core.verification import Tally
from tenkizu.rain.config import RainConfig
from tenkizu.rain.preparation import Track, prepare_all
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
        ``loss_curve.png`` and an evaluation folder for each split that is not trained on: of
        further sources it bears their name.

    Raises:
        ConfigError: the run folder holds another run.
        DataError: the store cannot be made or the rain does not look like mm.
        TrainingError: training could not go on.
    """
    return run_training(
        config,
        dump_config(config),
        RainConfig,
        resume,
        overwrite,
        lambda: prepare_all(config, track=track),
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
    from tenkizu.rain.fields import field_scales
    from tenkizu.rain.group_scaling import (
        SCALER_FILE,
        bounds_of,
        group_scaled,
        read_scaler_groups,
        scaler_groups,
    )
    from tenkizu.rain.model import Disaggregator, export
    from tenkizu.rain.module import MODES, RainModule
    from tenkizu.rain.sources import Sources, describe_sources, merged_moments, merged_tables
    from tenkizu.rain.swin_unet import parameter_table

    place = Place.here()
    folder = config.run.dir / config.run.name
    parts = config.parts()
    stores = {name: SampleStore(part.data.store) for name, part in parts.items()}
    tables = merged_tables(stores)
    if place.rank == 0:
        for name, store in stores.items():
            own = Tally.from_json(store.meta["tables"]["train"])
            line = check_units(own, parts[name].data.checks, str(store.path))
            log.info("training rain: %s%s", f"{name}: " if len(parts) > 1 else "", line)
    pl.seed_everything(config.train.seed, workers=False, verbose=False)
    fields = field_scales(config.data, stores[config.data.name])
    scales = input_channels(config.data, merged_moments(stores), fields)
    if config.data.scaling == "minmax_groups":
        given = config.data.scaler_file
        bounds = read_scaler_groups(given) if given else bounds_of(stores[config.data.name])
        scales = group_scaled(scales, bounds, given or config.data.store)
        if place.rank == 0:
            write_json(folder / SCALER_FILE, scaler_groups(bounds))
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
    d0 = equal_split_error(tables, weights.hourly)
    module = RainModule(net, config, d0, weights, list(parts) if len(parts) > 1 else ())
    settings = config.train
    static = config.data.static_file
    views = [
        RainDataset(stores[name], "train", net.channels, part.data, settings.seed, static)
        for name, part in parts.items()
    ]
    whole = [
        RainDataset(store, "validation", net.channels, static_file=static)
        for store in stores.values()
    ]
    # Each source's error in units of its own S/3: heavy rain does not drown the others.
    own_d0 = [
        equal_split_error(merged_tables({name: stores[name]}), weights.hourly) for name in parts
    ]
    factors = [d0 / own for own in own_d0]
    training = Sources(views, factors) if len(parts) > 1 else views[0]
    choosing = Sources(whole, factors) if len(parts) > 1 else whole[0]
    if not len(choosing):
        raise DataError(
            "no validation windows to choose the epoch by",
            file=config.data.store,
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
            choosing,
            # Windows of several grids do not fit into one batch.
            batch if len(parts) == 1 else 1,
            sampler=ShardSampler(len(choosing), place.rank, place.world),
            **common,
        ),
        settings,
        folder,
        MODES,
        {"train_loss": ".3f", "val_loss": ".3f", "val_skill": ".3f", "val_rmse_1h": ".3f"},
        resume=resume and (folder / "last.ckpt").exists(),
    )
    if place.rank == 0:
        best = history.best or {}
        export(
            folder,
            net,
            config.model,
            {
                "name": config.run.name,
                **describe_sources(config, stores),
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
        _finish(config, folder, stores, track)
    return folder


def _finish(
    config: RainConfig, folder: Path, stores: dict[str, SampleStore], track: Track | None
) -> None:
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
    for name, part in config.parts().items():
        for split in ("validation", "test"):
            if split in stores[name].meta["splits"]:
                # The first source, in most runs the only one, gives the headline.
                where = split if name == config.data.name else f"{split}_{name}"
                output = folder / "evaluation" / where
                evaluate_store(folder, stores[name], split, output, part, track)
    try:
        report(folder)
    except Exception:
        log.exception("the report could not be written; `tenkizu rain report` tries again")

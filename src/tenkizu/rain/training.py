"""`train`: from a prepared store to a run folder with an exported, evaluated model."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenkizu.core.config import dump_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.launch import Place
from tenkizu.core.runs import run_training
from tenkizu.core.store import SampleStore, write_json
from tenkizu.core.verification import Tally
from tenkizu.rain.config import RainConfig
from tenkizu.rain.context import read_land
from tenkizu.rain.preparation import Track, prepare_all
from tenkizu.rain.tables import check_units, equal_split_error
from tenkizu.rain.weights import LossWeights, loss_weights

if TYPE_CHECKING:
    from tenkizu.rain.model import Disaggregator

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
        further sources it bears their name. That of the test, or else of the validation, holds a
        short film, ``film.mp4`` or where there is no ffmpeg ``film.gif``.

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
        lambda: _prepare(config, track),
        lambda: _train_here(config, resume, track),
    )


def _prepare(config: RainConfig, track: Track | None) -> None:
    """Make the store; what cannot work is refused before, not after the hours that this takes."""
    if config.train.precision is not None:
        from tenkizu.core.training import resolve_precision

        resolve_precision(config.train)
    files = {
        "data.static_file": config.data.static_file,
        "data.scaler_file": config.data.scaler_file,
        "scores.land_file": config.scores.land_file,
    }
    for key, file in files.items():
        if file is not None and not Path(file).is_file():
            raise DataError("no such file", file=file, variable=key)
    prepare_all(config, track=track)


def _train_here(config: RainConfig, resume: bool, track: Track | None) -> Path:
    """The training proper, in this process; one of several under a launcher.

    Rank 0 checks before, and exports and evaluates after.
    """
    import pytorch_lightning as pl

    from tenkizu.core.training import fit
    from tenkizu.rain.module import MODES, RainModule
    from tenkizu.rain.sources import merged_tables

    place = Place.here()
    folder = config.run.dir / config.run.name
    parts = config.parts()
    stores = {name: SampleStore(part.data.store) for name, part in parts.items()}
    if place.rank == 0:
        _check_rain(config, stores)
    pl.seed_everything(config.train.seed, workers=False, verbose=False)
    net = _network(config, stores, folder, place)
    tables = merged_tables(stores)
    weights = loss_weights(config.loss, tables, config.model.head == "direct")
    if weights.computed and place.rank == 0:
        write_json(folder / "computed_weights.json", weights.to_json())
    d0 = equal_split_error(tables, weights.hourly)
    module = RainModule(net, config, d0, weights, list(parts) if len(parts) > 1 else ())
    # Each source's error in units of its own S/3: heavy rain does not drown the others.
    factors = [
        d0 / equal_split_error(merged_tables({name: stores[name]}), weights.hourly)
        for name in parts
    ]
    training, choosing = _loaders(config, stores, net.channels, factors, place)
    history = fit(
        module,
        training,
        choosing,
        config.train,
        folder,
        MODES,
        {"train_loss": ".3f", "val_loss": ".3f", "val_skill": ".3f", "val_rmse_1h": ".3f"},
        resume=resume and (folder / "last.ckpt").exists(),
    )
    if place.rank == 0:
        _export(config, folder, net, stores, weights, history.best or {})
        _finish(config, folder, stores, track)
    return folder


def _check_rain(config: RainConfig, stores: Mapping[str, SampleStore]) -> None:
    """Log what the training rain of each source looks like.

    Raises:
        DataError: it does not look like mm, or the land file of the scores is not on its grid.
    """
    for name, part in config.parts().items():
        store = stores[name]
        own = Tally.from_json(store.meta["tables"]["train"])
        line = check_units(own, part.data.checks, str(store.path))
        log.info("training rain: %s%s", f"{name}: " if len(stores) > 1 else "", line)
        if part.scores.land_file is not None:
            read_land(part.scores.land_file, Grid.from_json(store.meta["grid"]))


def _network(
    config: RainConfig, stores: Mapping[str, SampleStore], folder: Path, place: Place
) -> "Disaggregator":
    """The network with its input scales, those of all sources together."""
    from tenkizu.rain.dataset import input_channels
    from tenkizu.rain.fields import field_scales
    from tenkizu.rain.group_scaling import (
        SCALER_FILE,
        bounds_of,
        group_scaled,
        read_scaler_groups,
        scaler_groups,
    )
    from tenkizu.rain.model import Disaggregator
    from tenkizu.rain.sources import merged_moments
    from tenkizu.rain.swin_unet import parameter_table

    first = stores[config.data.name]
    scales = input_channels(config.data, merged_moments(stores), field_scales(config.data, first))
    if config.data.scaling == "minmax_groups":
        given = config.data.scaler_file
        bounds = read_scaler_groups(given) if given else bounds_of(first)
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
    return net


def _loaders(
    config: RainConfig,
    stores: Mapping[str, SampleStore],
    channels: Sequence[str],
    factors: Sequence[float],
    place: Place,
) -> tuple[Any, Any]:
    """Batches of views that train, and of whole windows that choose the epoch, of this process.

    Args:
        config: the run.
        stores: by source.
        channels: that the network reads.
        factors: of each source in the loss.
        place: of this process among all.

    Raises:
        DataError: no window chooses the epoch.
        ConfigError: fewer windows than one batch.
    """
    from tenkizu.core.loading import BatchLoader
    from tenkizu.core.sampling import EpochSampler, ShardSampler
    from tenkizu.rain.dataset import RainDataset
    from tenkizu.rain.sources import Sources

    settings, static = config.train, config.data.static_file
    parts = config.parts()
    views = [
        RainDataset(stores[name], "train", channels, part.data, settings.seed, static)
        for name, part in parts.items()
    ]
    whole = [
        RainDataset(store, "validation", channels, static_file=static) for store in stores.values()
    ]
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
    return BatchLoader(
        training,
        batch,
        EpochSampler(len(training), settings.seed, place.rank, place.world),
        settings.workers,
        drop_last=True,
    ), BatchLoader(
        choosing,
        # Windows of several grids do not fit into one batch.
        batch if len(parts) == 1 else 1,
        ShardSampler(len(choosing), place.rank, place.world),
        settings.workers,
    )


def _export(
    config: RainConfig,
    folder: Path,
    net: "Disaggregator",
    stores: dict[str, SampleStore],
    weights: LossWeights,
    best: Mapping[str, Any],
) -> None:
    """Write the model of the best epoch, with all that is known of how it was made."""
    from tenkizu.rain.model import export
    from tenkizu.rain.sources import describe_sources

    select = config.train.select
    export(
        folder,
        net,
        config.model,
        {
            "name": config.run.name,
            **describe_sources(config, stores),
            "chosen_by": {
                "quantity": select,
                "on": "validation",
                "epoch": best.get("epoch"),
                "value": best.get(select),
            },
            "computed_weights": weights.to_json() if weights.computed else None,
            "config": config.model_dump(mode="json"),
        },
    )


def _finish(
    config: RainConfig, folder: Path, stores: dict[str, SampleStore], track: Track | None
) -> None:
    """Curves, evaluation, film and report after training; a failing figure never loses scores."""
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
    heaviest: dict[str, str] = {}
    for name, part in config.parts().items():
        for split in ("validation", "test"):
            if split in stores[name].meta["splits"]:
                # The first source, in most runs the only one, gives the headline.
                where = split if name == config.data.name else f"{split}_{name}"
                output = folder / "evaluation" / where
                scores = evaluate_store(folder, stores[name], split, output, part, track)
                if where == split and scores["cases"]["heaviest"]:
                    heaviest[split] = scores["cases"]["heaviest"][0]
    if config.plots.video and heaviest:
        try:
            _film(folder, heaviest, track)
        except Exception:
            log.exception("the film could not be made; `tenkizu rain video` makes one")
    try:
        report(folder)
    except Exception:
        log.exception("the report could not be written; `tenkizu rain report` tries again")


def _film(folder: Path, heaviest: Mapping[str, str], track: Track | None) -> None:
    """The film of the test, or of the validation where there is no test."""
    from tenkizu.rain.run_film import draw_run_film

    split = "test" if "test" in heaviest else "validation"
    output = folder / "evaluation" / split / "film.mp4"
    log.info("film: %s", draw_run_film(folder, split, heaviest[split], output, track))

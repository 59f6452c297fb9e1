"""The training of one network on one division of the days."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError
from tenkizu.core.launch import Place
from tenkizu.core.loading import BatchLoader
from tenkizu.core.normaliser import ChannelScale
from tenkizu.core.sampling import EpochSampler, ShardSampler, WeightedEpochSampler
from tenkizu.core.store import SampleStore
from tenkizu.core.training import fit
from tenkizu.patterns.annual_cycle import AnnualCycle, harmonics
from tenkizu.patterns.best_tracks import tracks_of
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.dataset import PatternDataset, static_maps
from tenkizu.patterns.imbalance import inverse_weights, pos_weight
from tenkizu.patterns.inputs import Inputs, map_scales, season_scales
from tenkizu.patterns.labelled_days import LabelledDays
from tenkizu.patterns.losses import make_loss
from tenkizu.patterns.module import MODES, PatternModule
from tenkizu.patterns.network import PatternNet
from tenkizu.patterns.physics.season import season_terms

log = logging.getLogger(__name__)


class Member:
    """One network, the days it is trained on and chosen by, and the folder it is trained in.

    Args:
        config: the run.
        store: of the maps.
        days: with their labels.
        train: indices of training days.
        validation: indices of the days that choose the epoch.
        folder: of checkpoints and history.
        seed: of weights, order and dropout.
    """

    def __init__(
        self,
        config: PatternsConfig,
        store: SampleStore,
        days: LabelledDays,
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        folder: Path,
        seed: int,
    ) -> None:
        self.config, self.store, self.days = config, store, days
        self.train, self.validation = train, validation
        self.folder = folder
        self.settings = config.train.model_copy(update={"seed": seed})
        self.inputs = Inputs.of(config.data)
        self.tracks = tracks_of(config.data.typhoons)
        if self.tracks:
            self.tracks.note_uncovered(days.times[np.concatenate([train, validation])])
        self.weights = class_weights(config, days.targets[train])
        self.net = self._network()

    def _network(self) -> PatternNet:
        data, shape = self.config.data, self.store.read("maps", 0).shape[1:]
        scales = map_scales(self.store, self.inputs, data, self.train)
        season = season_scales(self.days.times[self.train], self.inputs)
        arguments = (self.inputs, self.config.model, self.days.table.catalogue.majors)
        torch.manual_seed(self.settings.seed)
        net = PatternNet(*arguments, scales, season, shape, data.anomaly)
        net.static.copy_(torch.from_numpy(static_maps(self.store, self.inputs)))
        if data.anomaly == "climatology":
            cycle, stds = self._annual_cycle(net, scales)
            rescaled = [
                ChannelScale(**{**vars(s), "std": s.std * float(f)})
                for s, f in zip(scales, stds, strict=False)
            ] + scales[net.fields :]
            torch.manual_seed(self.settings.seed)
            net = PatternNet(*arguments, rescaled, season, shape, data.anomaly)
            net.static.copy_(torch.from_numpy(static_maps(self.store, self.inputs)))
            factor = np.where(stds > 0, stds, 1.0)[:, None, None, None]
            net.cycle.copy_(torch.from_numpy((cycle / factor).astype(np.float32)))
        return net

    def _annual_cycle(
        self, net: PatternNet, scales: Sequence[ChannelScale]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """The cycle of the standardised training maps, and the deviation about it."""
        shape = net.shape
        cycle = AnnualCycle(net.fields, shape)
        terms = harmonics(season_terms(self.days.times))
        dataset = self.dataset(self.train)
        for item in (dataset[i] for i in range(len(dataset))):
            maps = net.normaliser.standardise(item["maps"][None])[0].numpy()
            cycle.add(maps[: net.fields], terms[int(item["index"])])
        return cycle.fit()

    def dataset(self, days: NDArray[np.int64]) -> PatternDataset:
        """Some days as samples."""
        return PatternDataset(self.store, self.inputs, days, self.days.targets, self.tracks)

    def loader(self, days: NDArray[np.int64]) -> BatchLoader:
        """Some days in batches, in order, on every process alike."""
        return BatchLoader(self.dataset(days), self._batch, range(len(days)))

    @property
    def _batch(self) -> int:
        return self.settings.micro_batch or self.settings.batch_size

    def fit(self, resume: bool) -> dict[str, Any]:
        """Train; the network then holds the weights of the best epoch.

        Returns:
            The record of the best epoch.
        """
        place, settings, sampling = Place.here(), self.settings, self.config.sampler
        training, choosing = self.dataset(self.train), self.dataset(self.validation)
        if len(training) < place.world:
            raise ConfigError(
                "fewer training days than processes",
                variable="train.devices",
                found=f"{len(training)} days, {place.world} processes",
            )
        sampler = EpochSampler(len(training), settings.seed, place.rank, place.world)
        if sampling.kind == "inverse":
            drawn = inverse_weights(
                self.days.targets[self.train], sampling.power, sampling.max_draws
            )
            sampler = WeightedEpochSampler(drawn, settings.seed, place.rank, place.world)
        weight = None if self.weights is None else torch.from_numpy(self.weights).float()
        names = np.datetime_as_string(self.days.times, "m").tolist()
        module = PatternModule(
            self.net, make_loss(self.config.loss, weight), settings, len(sampler), names
        )
        shards = ShardSampler(len(choosing), place.rank, place.world)
        history = fit(
            module,
            BatchLoader(training, self._batch, sampler, settings.workers),
            BatchLoader(choosing, self._batch, shards, settings.workers),
            settings,
            self.folder,
            MODES,
            {"train_loss": ".4f", "val_loss": ".4f", "val_map": ".4f"},
            resume=resume and (self.folder / "last.ckpt").exists(),
        )
        return history.best or {}


def class_weights(config: PatternsConfig, targets: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Weights of positives (L,) in the loss, from training targets; None for none."""
    loss = config.loss
    if not loss.weighted:
        return None
    return pos_weight(targets.sum(axis=0), len(targets), loss.pos_weight, loss.pos_weight_clip)

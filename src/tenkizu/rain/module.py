"""Training of the rain network: one step, one validation, nothing else."""

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tenkizu.core.errors import ConfigError
from tenkizu.core.training import TrainingModule, all_reduce, gather, world
from tenkizu.core.verification import Tally, skill
from tenkizu.rain.baselines import equal_split
from tenkizu.rain.config import RainConfig
from tenkizu.rain.epoch_record import epoch_record
from tenkizu.rain.losses import (
    Ratio,
    bin_weights,
    divide,
    energy_score_sums,
    focal_boost,
    scored_cells,
    share_divergence_sums,
    wmse_sums,
)
from tenkizu.rain.model import Disaggregator
from tenkizu.rain.msm.compact_views import Unpacking
from tenkizu.rain.noise import random_noise, window_noise
from tenkizu.rain.scores import summarise, window_tally
from tenkizu.rain.sum_scores import sum_tally, summarise_sums
from tenkizu.rain.weights import LossWeights, loss_weights

log = logging.getLogger(__name__)

MODES = {"val_skill": "max", "val_loss": "min", "val_rmse_1h": "min"}
"""Whether more or less of each validation quantity is better."""


Output = tuple[Tensor, Tensor | float]
"""What `Disaggregator.output` gives: three maps and the temperature."""


class RainModule(TrainingModule):
    """Trains a `Disaggregator` on batches of `RainDataset`.

    The loss is the weighted squared error of the hours over that of S/3; with the direct head also
    that of their sum, on the same scale; and ``loss.kl`` times the divergence of the shares. All
    that is of the split without noise, as are the scores of validation. With several
    ``loss.members`` the energy score of as many splits with noise is added.

    Args:
        net: the module to train.
        config: the run.
        d0: mean weighted squared error of S/3 per scored training cell, mm2.
        weights: of the loss; may be left out unless they are computed from the data.
        sources: names of the sources, if there are several; batches then say their ``source`` and
            ``loss_factor``.

    Raises:
        ConfigError: the divergence of shares is asked of the direct head.
    """

    def __init__(
        self,
        net: Disaggregator,
        config: RainConfig,
        d0: float,
        weights: LossWeights | None = None,
        sources: Sequence[str] = (),
    ) -> None:
        super().__init__(config.train)
        if net.head == "direct" and config.loss.kl:
            raise ConfigError(
                "the direct head has no shares to compare",
                variable="loss.kl",
                found=config.loss.kl,
                expected="0 with model.head=direct",
            )
        self.spares_memory = config.model.activation_checkpointing
        self.net = net
        self.unpacking = Unpacking(net.channels)
        self.loss = config.loss
        self.weights = weights or loss_weights(config.loss, Tally(), net.head == "direct")
        self.d0 = d0 if config.loss.normaliser == "equal_split" else None
        self.scores = config.scores
        self.sums = torch.zeros(0)
        self.sources = sources
        self.tallies = [Tally() for _ in sources or "1"]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        batch = {**batch, "input": self.unpacking(batch)}
        noise = None
        if self.loss.members > 1:
            # From the generator that is seeded before each batch, as stochastic depth.
            count, (rows, columns) = len(batch["input"]), batch["input"].shape[-2:]
            noise = random_noise(
                self.loss.members * count, self.net.noise, (rows, columns), batch["input"]
            )
        output = self.net.output(batch["input"])
        ranks = world()[1]
        loss = self._loss(output, batch, lambda total: all_reduce(total) / ranks, noise)
        size = len(batch["input"])
        self.log(
            "train_loss",
            loss.detach(),
            on_step=False,
            on_epoch=True,
            batch_size=size,
            sync_dist=ranks > 1,
        )
        if self.global_step == 0 and batch_idx == 0:
            self._describe_first(batch, loss)
        return self.guarded(loss, _dates(batch))

    def _loss(
        self,
        output: Output,
        batch: dict[str, Tensor],
        reduce_sum: Callable[[Tensor], Tensor],
        noise: Tensor | None = None,
    ) -> Tensor:
        predicted = self.net.hours(*output, batch["target_sum"])
        terms = self._terms(output, predicted, batch, noise)
        values = [factor * divide(term, reduce_sum) for factor, term in terms]
        return torch.stack(values).sum()

    def _terms(
        self,
        output: Output,
        predicted: Tensor,
        batch: dict[str, Tensor],
        noise: Tensor | None = None,
    ) -> Iterator[tuple[float, Ratio]]:
        """The terms of the loss, each with its factor; sums are of the dtype of ``predicted``."""
        target, total = batch["target_1h"], batch["target_sum"]
        cells = scored_cells(total, batch["mask"], self.loss.mask_mm)
        weight = self._weight(target, self.loss.bins_1h, self.weights.hourly)
        if self.loss.focal:
            boost = focal_boost(target, self.loss.focal)
            weight = boost if weight is None else weight * boost
        factors = [batch[name] for name in ("loss_factor", "importance") if name in batch]
        for factor in factors:
            factor = factor.expand_as(target)
            weight = factor if weight is None else weight * factor
        yield 1.0, self._weighted(predicted, target, cells, weight, batch)
        if self.weights.total is not None:
            weight = self._weight(total, self.loss.bins_sum, self.weights.total)
            for factor in factors:
                weight = factor.expand_as(total) if weight is None else weight * factor
            summed = predicted.sum(1, keepdim=True)
            yield 1.0, self._weighted(summed, total, cells, weight, batch)
        if self.loss.kl:
            logits, tau = output
            log_shares = torch.log_softmax(logits.float() / tau, dim=1)
            # The weights of drawn tiles make it that of whole frames, as those above.
            weight = batch.get("importance")
            yield self.loss.kl, share_divergence_sums(log_shares, target, cells, weight)
        if noise is not None:
            yield from self._energy_scores(noise, cells, batch, predicted.dtype)

    def _energy_scores(
        self, noise: Tensor, cells: Tensor, batch: dict[str, Tensor], dtype: torch.dtype
    ) -> Iterator[tuple[float, Ratio]]:
        """`energy_score_sums` of splits with noise (M B, K, H, W), members one after the other."""
        count, total = self.loss.members, batch["target_sum"]
        output = self.net.output(batch["input"].repeat(count, 1, 1, 1), noise)
        hours = self.net.hours(*output, total.repeat(count, 1, 1, 1)).to(dtype)
        members = hours.reshape(count, *batch["target_1h"].shape)
        weight = batch.get("importance")
        if "loss_factor" in batch:
            # That is a ratio of squared errors, and the score is no square.
            factor = batch["loss_factor"].sqrt()
            weight = factor if weight is None else weight * factor
        squares = self.loss.member_squares
        for side in squares:
            sums = energy_score_sums(members, batch["target_1h"], total, cells, weight, side)
            yield 1 / len(squares), sums

    def _fixed_noise(self, batch: dict[str, Tensor]) -> Tensor:
        """Noise of validation: the draws 1 to M of each window, whatever the batch and epoch."""
        rows, columns = batch["mask"].shape[-2:]
        starts = batch["time"].cpu().numpy().astype("datetime64[m]")
        draws = [
            window_noise(self.net.noise, (rows, columns), start, draw)
            for draw in range(1, self.loss.members + 1)
            for start in starts
        ]
        return torch.from_numpy(np.stack(draws)).to(batch["mask"].device)

    def _weighted(
        self,
        predicted: Tensor,
        target: Tensor,
        cells: Tensor,
        weight: Tensor | None,
        batch: dict[str, Tensor],
    ) -> Ratio:
        """`wmse_sums`; cells of drawn tiles count by their importance below the line too."""
        numerator, denominator = wmse_sums(predicted, target, cells, weight, self.d0)
        if "importance" in batch and self.d0 is not None:
            denominator = (batch["importance"] * cells).sum() * self.d0
        return numerator, denominator

    def _weight(self, truth: Tensor, edges: list[float], weights: list[float]) -> Tensor | None:
        return None if self.weights.rule == "off" else bin_weights(truth, edges, weights)

    def on_validation_epoch_start(self) -> None:
        """Begin the sums of one validation: two for each term of the loss, and the scores."""
        terms = 1 + (self.weights.total is not None) + (self.loss.kl > 0)
        if self.loss.members > 1:
            terms += len(self.loss.member_squares)
        self.sums = torch.zeros(2 * terms, dtype=torch.float64, device=self._sum_device())
        self.tallies = [Tally() for _ in self.tallies]

    def _sum_device(self) -> torch.device:
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add a batch to the sums; ratios come last, so batches and ranks do not matter."""
        target, total = batch["target_1h"], batch["target_sum"]
        batch = {**batch, "input": self.unpacking(batch)}
        output = self.net.output(batch["input"])
        predicted = self.net.hours(*output, total)
        noise = self._fixed_noise(batch) if self.loss.members > 1 else None
        parts: list[Tensor] = []
        terms = self._terms(output, predicted.double(), batch, noise)
        for factor, (numerator, denominator) in terms:
            parts += [factor * numerator, denominator]
        self.sums += torch.stack([p.double().to(self.sums.device) for p in parts])
        arrays = (a.detach().float().cpu().numpy() for a in (predicted, target, total[:, 0]))
        starts = batch["time"].cpu().numpy().astype("datetime64[m]")
        source = batch["source"].tolist() if self.sources else [0] * len(total)
        settings = (self.scores.thresholds_1h, self.scores.categories_1h)
        of_sums = (self.scores.thresholds_sum, self.scores.categories_sum)
        wet = self.scores.wet_hour_mm
        for hours, truth, amount, start, i in zip(*arrays, starts, source, strict=True):
            methods = {"model": hours, "equal": equal_split(amount)}
            self.tallies[i] += window_tally(
                methods, truth, amount, *settings, start=start, wet_hour_mm=wet
            )
            if not self.net.conserves:
                self.tallies[i] += sum_tally(hours, truth, amount, *of_sums)

    def on_validation_epoch_end(self) -> None:
        """Log loss, conditional MSE skill against S/3 and 1 h RMSE over all ranks.

        Of several sources the skill of each and their mean; the other scores are of all cells
        together.
        """
        terms = all_reduce(self.sums).tolist()
        ratios = [n / d for n, d in zip(terms[::2], terms[1::2], strict=True) if d]
        settings = (self.scores.thresholds_1h, self.scores.categories_1h)
        tallies = [sum(tallies, Tally()) for tallies in zip(*gather(self.tallies), strict=True)]
        every = sum(tallies, Tally())
        scores = summarise(every, ("model", "equal"), *settings)
        scores |= summarise_sums(every, self.scores.thresholds_sum, self.scores.categories_sum)
        skills = {
            f"val_skill_{name}": float(
                skill(tally["sse.model"][1].sum(), tally["sse.equal"][1].sum())
            )
            for name, tally in zip(self.sources, tallies, strict=False)
            if tally.sums
        }
        self.epoch_scores = epoch_record(scores)
        self.log_dict(
            {
                "val_loss": sum(ratios) if terms[1] else float("nan"),
                "val_skill": float(np.mean(list(skills.values())))
                if skills
                else scores["mse_skill"]["conditional"],
                "val_rmse_1h": scores["rmse_1h"]["model"],
                **skills,
            }
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient norm of the first step, before clipping, beside its loss."""
        if self.global_step == 0:
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            log.debug("first gradient norm %.4g", float(torch.nn.utils.get_total_norm(gradients)))
        super().on_before_optimizer_step(optimizer)

    def _describe_first(self, batch: dict[str, Tensor], loss: Tensor) -> None:
        """Log per-channel range of the first batch, raw, and its loss."""
        raw = batch["input"]
        for i, scale in enumerate(self.net.normaliser.scales):
            known = raw[:, i][~torch.isnan(raw[:, i])]
            low, mean, high = (
                (float(known.min()), float(known.mean()), float(known.max()))
                if known.numel()
                else (float("nan"),) * 3
            )
            log.debug(
                "channel %s [%s]: %.4g / %.4g / %.4g", scale.name, scale.units, low, mean, high
            )
        log.debug("first loss %.4f (%s)", float(loss.detach()), _dates(batch))


def _dates(batch: dict[str, Tensor]) -> str:
    """The window starts of a batch, for messages."""
    minutes = batch["time"].cpu().numpy().astype("datetime64[m]")
    return ", ".join(np.datetime_as_string(minutes))

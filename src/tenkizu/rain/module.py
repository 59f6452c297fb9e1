"""Training of the rain network: one step, one validation, nothing else."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tenkizu.core.training import TrainingModule, all_reduce, world
from tenkizu.rain.config import RainConfig
from tenkizu.rain.losses import bin_weights, masked_wmse, scored_cells
from tenkizu.rain.model import Disaggregator

log = logging.getLogger(__name__)

MODES = {"val_skill": "max", "val_loss": "min", "val_rmse_1h": "min"}
"""Whether more or less of each validation quantity is better."""


class RainModule(TrainingModule):
    """Trains a `Disaggregator` on batches of `RainDataset`.

    Args:
        net: the module to train.
        config: the run.
        d0: mean weighted squared error of S/3 per scored training cell, mm2.
    """

    def __init__(self, net: Disaggregator, config: RainConfig, d0: float) -> None:
        super().__init__(config.train)
        self.net = net
        self.loss = config.loss
        self.d0 = d0 if config.loss.normaliser == "equal_split" else None
        self.sums = torch.zeros(0)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        predicted = self.net(batch["input"], batch["target_sum"])
        ranks = world()[1]
        loss = self._loss(predicted, batch, lambda total: all_reduce(total) / ranks)
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
        predicted: Tensor,
        batch: dict[str, Tensor],
        reduce_sum: Callable[[Tensor], Tensor],
    ) -> Tensor:
        target = batch["target_1h"]
        cells = scored_cells(batch["target_sum"], batch["mask"], self.loss.mask_mm)
        weight = None
        if self.loss.weights != "off":
            weight = bin_weights(target, self.loss.bins_1h, self.loss.hourly_weights)
        return masked_wmse(predicted, target, cells, weight, self.d0, reduce_sum)

    def on_validation_epoch_start(self) -> None:
        """Begin the sums of one validation."""
        self.sums = torch.zeros(6, dtype=torch.float64, device=self._sum_device())

    def _sum_device(self) -> torch.device:
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add a batch to the sums; ratios come last, so batches and ranks do not matter."""
        predicted = self.net(batch["input"], batch["target_sum"])
        target, total, valid = batch["target_1h"], batch["target_sum"], batch["mask"]
        wet = scored_cells(total, valid, 0.1)
        error = (predicted.double() - target) ** 2
        equal = (total.double() / 3 - target) ** 2
        cells = scored_cells(total, valid, self.loss.mask_mm)
        weight = bin_weights(target, self.loss.bins_1h, self.loss.hourly_weights).double()

        def total_of(values: Tensor, where: Tensor) -> Tensor:
            return torch.where(where.expand_as(values), values, 0.0).sum()

        scale = cells.sum() * self.d0 if self.d0 is not None else total_of(weight, cells)
        parts = [
            total_of(error, wet),
            total_of(equal, wet),
            total_of(error, valid),
            valid.sum(),
            total_of(weight * error, cells),
            scale,
        ]
        self.sums += torch.stack([p.double().to(self.sums.device) for p in parts])

    def on_validation_epoch_end(self) -> None:
        """Log loss, conditional MSE skill against S/3 and 1 h RMSE over all ranks."""
        wet, equal, everywhere, cells, loss, scale = all_reduce(self.sums).tolist()
        nan = float("nan")
        self.log_dict(
            {
                "val_loss": loss / scale if scale else nan,
                "val_skill": 1 - wet / equal if equal else nan,
                "val_rmse_1h": (everywhere / (3 * cells)) ** 0.5 if cells else nan,
            }
        )

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

"""Training of the pattern network: one step, one validation, nothing else."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tenkizu.core.training import TrainingModule, gather, world
from tenkizu.patterns.config import PatternsTrainConfig
from tenkizu.patterns.network import PatternNet
from tenkizu.patterns.verification.average_precision import average_precision, mean_over

MODES = {"val_map": "max", "val_loss": "min"}
"""Whether more or less of each validation quantity is better."""

Loss = Callable[[Tensor, Tensor], Tensor]


class PatternModule(TrainingModule):
    """Trains a `PatternNet` on batches of `PatternDataset`.

    Micro-batches count by their size, so that the gradient of a step is that of its whole batch,
    the last and shorter one of an epoch too.

    Args:
        net: the network.
        loss: mean loss of logits and targets (N, L).
        train: the training section.
        per_epoch: training days of this rank in an epoch.
        names: date of each day of the store, for messages.
    """

    def __init__(
        self,
        net: PatternNet,
        loss: Loss,
        train: PatternsTrainConfig,
        per_epoch: int,
        names: list[str],
    ) -> None:
        super().__init__(train)
        self.net, self.loss = net, loss
        self.plateau = (train.select, "max" if MODES[train.select] == "max" else "min")
        self.per_epoch, self.names = per_epoch, names
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of one micro-batch, scaled to its part of the batch."""
        logits = self.net(batch["maps"], batch["season"])
        loss = self.loss(logits, batch["target"])
        size = len(logits)
        self.log(
            "train_loss",
            loss.detach(),
            on_step=False,
            on_epoch=True,
            batch_size=size,
            sync_dist=world()[1] > 1,
        )
        dates = ", ".join(self.names[i] for i in batch["index"].tolist())
        return self.guarded(loss * self.part_of_step(batch_idx, size), dates)

    def part_of_step(self, batch_idx: int, size: int) -> float:
        """What the mean loss of a micro-batch counts, before Lightning divides by their number."""
        train = self.train_config
        micro = train.micro_batch or train.batch_size
        together = train.batch_size // micro
        first = batch_idx // together * train.batch_size
        return size * together / min(train.batch_size, self.per_epoch - first)

    def on_validation_epoch_start(self) -> None:
        """Begin a validation."""
        self.seen = []

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Keep logits; scores of all days together come at the end."""
        logits = self.net(batch["maps"], batch["season"])
        self.seen.append((batch["index"].cpu(), logits.cpu(), batch["target"].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log loss and mean average precision over the days of all ranks, in order of time."""
        parts = [part for rank in gather(self.seen) for part in rank]
        days, logits, targets = (torch.cat(column) for column in zip(*parts, strict=True))
        order = torch.argsort(days)
        truth = targets[order].numpy().astype(bool)
        scores = average_precision(truth, logits[order].double().numpy())
        self.epoch_scores = {"map_classes": int(truth.any(axis=0).sum())}
        self.log_dict(
            {
                "val_loss": float(self.loss(logits[order], targets[order])),
                "val_map": float(np.asarray(mean_over(scores))),
            }
        )

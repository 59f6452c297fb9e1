"""What happens around the training loop: averaging, history, progress."""

import json
import logging
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, WeightAveraging
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from tenkizu.core.store import plain, write_json, write_text

log = logging.getLogger(__name__)


class ExponentialAverage(WeightAveraging):
    """Exponential mean of the weights with decay min(d, (1 + t) / (10 + t)) at step t.

    Validation and the exported model use the mean; buffers are copied, not averaged.

    Args:
        decay: d, below 1.
    """

    def __init__(self, decay: float) -> None:
        def average(mean: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            d = min(decay, (1 + int(updates)) / (10 + int(updates)))
            return mean + (1 - d) * (current - mean)

        super().__init__(use_buffers=False, avg_fn=average)


class History(Callback):
    """Keeps one record an epoch, counted from 1, in the checkpoint and in the run folder.

    ``metrics.jsonl`` has one line an epoch; ``history.json`` has a list per quantity and the best
    epoch. A resumed run rewrites both from its checkpoint, so epochs that were undone vanish.

    Args:
        folder: the run folder.
        monitor: the quantity that decides the best epoch.
        mode: ``max`` or ``min``.
    """

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        self.folder, self.monitor, self.sign = folder, monitor, 1 if mode == "max" else -1
        self.records: list[dict[str, Any]] = []
        self._began = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """The records so far."""
        return {"records": self.records}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the records."""
        self.records = list(state_dict["records"])

    @property
    def best(self) -> dict[str, Any] | None:
        """The record of the best epoch; the earlier of equals. None before the first epoch."""
        known = [r for r in self.records if r.get(self.monitor) is not None]
        return max(known, key=lambda r: self.sign * r[self.monitor], default=None)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch."""
        record: dict[str, Any] = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "bad_batches": getattr(pl_module, "bad_batches", 0),
        }
        for name, value in sorted(trainer.callback_metrics.items()):
            number = float(value)
            record[name] = number if number == number else None
        if getattr(pl_module, "epoch_scores", None) is not None:
            record["scores"] = plain(pl_module.epoch_scores)
        record["seconds"] = round(time.perf_counter() - self._began, 3)
        record["peak_memory_mb"] = round(peak_memory_mb(), 1)
        self.records.append(record)
        if trainer.is_global_zero:
            self.write()

    def write(self) -> None:
        """Write ``metrics.jsonl`` and ``history.json``."""
        lines = (json.dumps(record, ensure_ascii=False) for record in self.records)
        write_text(self.folder / "metrics.jsonl", "".join(line + "\n" for line in lines))
        names = dict.fromkeys(name for record in self.records for name in record)
        best = self.best
        write_json(
            self.folder / "history.json",
            {name: [r.get(name) for r in self.records] for name in names}
            | {"monitor": self.monitor, "best_epoch": best["epoch"] if best else None},
        )


def peak_memory_mb() -> float:
    """Peak memory of this process so far, MB: on a GPU the allocator's, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


class TrainingProgress(Callback):
    """One bar for the whole training in a terminal; a log line an epoch everywhere.

    Args:
        shown: quantities to log, name and format.
        headline: the one of them that fits beside the bar.
    """

    def __init__(self, shown: Mapping[str, str], headline: str) -> None:
        self.shown, self.headline = shown, headline
        self.bar: Progress | None = None
        self.task: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        console = Console(stderr=True)
        if not (trainer.is_global_zero and console.is_terminal):
            return
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(),
            TextColumn("left"),
            TextColumn("{task.fields[scores]}"),
            console=console,
        )
        total = int(trainer.estimated_stepping_batches)
        self.task = self.bar.add_task("", total=total, completed=trainer.global_step, scores="")
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ANN401
        """Advance the bar."""
        if self.bar is not None:
            self.bar.update(self.task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the epoch's scores."""
        metrics = trainer.callback_metrics
        text = "  ".join(
            f"{name} {float(metrics[name]):{form}}"
            for name, form in self.shown.items()
            if name in metrics
        )
        if self.bar is not None and self.headline in metrics:
            value = f"{float(metrics[self.headline]):{self.shown.get(self.headline, '.3f')}}"
            epoch = trainer.current_epoch + 1
            self.bar.update(self.task, scores=f"epoch {epoch} {self.headline} {value}")
        if trainer.is_global_zero:
            # To the file only when the bar is there to show it.
            level = logging.DEBUG if self.bar is not None else logging.INFO
            log.log(
                level, "epoch %d of %s  %s", trainer.current_epoch + 1, trainer.max_epochs, text
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar before the error is printed."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

"""`plan`: what a training would cost in disk, memory and time, measured on this machine."""

import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenkizu.core.grid import Grid
from tenkizu.core.store import SampleStore
from tenkizu.rain.config import DataConfig, RainConfig
from tenkizu.rain.dataset import RainDataset
from tenkizu.rain.fields import field_names
from tenkizu.rain.msm.compact_blocks import bytes_per_sample

MODEL_SIDE = 480
"""Rows and columns of the MSM model grid."""

SAMPLES_A_DAY = 8
RAIN_PLANES = 6


@dataclass(frozen=True)
class Plan:
    """What a training takes.

    Attributes:
        samples: training samples; None where there is neither a store nor MSM periods.
        shape: rows and columns of one sample, or tile, as the network sees it.
        stored_shape: rows and columns of one stored sample.
        sample_bytes: of one sample in the store.
        year_bytes: of a year of stored samples, eight a day.
        steps: optimiser steps of the whole training in one process.
        seconds_per_step: median of the measured steps; None if none was asked for.
        memory_bytes: peak of the process, or of the GPU, in these steps.
        sample_memory_bytes: what one sample more in a step takes; of two sizes of batch.
        device: on which it was measured.
    """

    samples: int | None
    shape: tuple[int, int]
    stored_shape: tuple[int, int]
    sample_bytes: int
    year_bytes: int
    steps: int | None
    seconds_per_step: float | None
    memory_bytes: float | None
    sample_memory_bytes: float | None
    device: str

    @property
    def seconds(self) -> float | None:
        """The steps of the whole training, without reading, validation and evaluation."""
        if self.steps is None or self.seconds_per_step is None:
            return None
        return self.steps * self.seconds_per_step

    def lines(self) -> list[str]:
        """The plan in words, a line each."""
        rows, columns = self.stored_shape
        said = [
            f"store: {self.sample_bytes / 1e6:.1f} MB a sample of {rows} x {columns} cells, "
            f"{self.year_bytes / 1e9:.0f} GB a year of {SAMPLES_A_DAY} samples a day",
        ]
        if self.samples is not None:
            said.append(f"training samples: {self.samples:,}; {self.steps:,} optimiser steps")
        if self.seconds_per_step is None or self.memory_bytes is None:
            return said
        rows, columns = self.shape
        more = (self.sample_memory_bytes or 0) / 1e9
        said += [
            f"measured on {self.device}, inputs of {rows} x {columns} cells:",
            f"  memory: {self.memory_bytes / 1e9:.1f} GB at this batch, about {more:.2f} GB for "
            "each sample more in it",
            f"  time: {self.seconds_per_step:.2f} s a step",
        ]
        if self.seconds is not None:
            said.append(
                f"  all steps in one process: {_duration(self.seconds)}, without reading, "
                "validation and evaluation"
            )
        return said


def _duration(seconds: float) -> str:
    """Days, hours or minutes, whichever is the largest of at least one."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def plan(config: RainConfig, steps: int = 2) -> Plan:
    """Count what a configuration stores and trains on, and measure some of its steps.

    The steps are real ones (forward, loss, backward, optimiser) of the configured network, batch
    and tile, on random rain. Without a store, of MSM the full grid or ``data.msm.crop`` is taken,
    and eight samples on each day of the training periods.

    Args:
        config: the run.
        steps: to measure, after one that is not counted; 0 for none.

    Raises:
        DataError: the store does not fit the configuration.
    """
    data = config.data
    grid = _stored_grid(data)
    stored = grid.shape
    sample = _sample_bytes(data, grid)
    samples = _samples(config)
    shape = (data.tile, data.tile) if data.tile else stored
    count = None
    if samples is not None:
        per_epoch = max(1, samples * _tiles(data, stored) // config.train.batch_size)
        count = per_epoch * config.train.epochs
    batch = config.train.micro_batch or config.train.batch_size
    seconds, peak, more = _measure(config, shape, batch, steps) if steps else (None, None, None)
    return Plan(
        samples=samples,
        shape=shape,
        stored_shape=stored,
        sample_bytes=sample,
        year_bytes=365 * SAMPLES_A_DAY * sample,
        steps=count,
        seconds_per_step=None if seconds is None else seconds * (config.train.batch_size // batch),
        memory_bytes=peak,
        sample_memory_bytes=more,
        device=_device(),
    )


def _stored_grid(data: DataConfig) -> Grid:
    if data.store.is_dir():
        return Grid.from_json(_store(data).meta["grid"])
    if data.source == "msm":
        from tenkizu.rain.msm.monthly_writing import model_grid

        return model_grid(data.msm.crop if data.msm else None)
    side = data.tile or MODEL_SIDE
    return Grid("index", np.arange(float(side)), np.arange(float(side)))


def _sample_bytes(data: DataConfig, grid: Grid) -> int:
    """Bytes of a stored sample; of a finished store what it really takes."""
    if data.store.is_dir():
        store = _store(data)
        files = sum(path.stat().st_size for path in store.path.glob("*.npy"))
        return files // max(1, len(store))
    return bytes_per_sample(data.layout, field_names(data), RAIN_PLANES, grid)


def _samples(config: RainConfig) -> int | None:
    """Training samples: of the store, or by the calendar."""
    if config.data.store.is_dir():
        return int(_store(config.data).meta["splits"].count("train"))
    if config.data.source != "msm":
        return None
    blocks = [b for b in config.data.splits.blocks() if b[0] == "train"]
    return sum(int((last - first) / np.timedelta64(1, "D")) for _, first, last in blocks) * (
        SAMPLES_A_DAY
    )


def _tiles(data: DataConfig, shape: tuple[int, int]) -> int:
    """Tiles a sample in an epoch; 1 without tiles."""
    if data.tile is None:
        return 1
    if data.store.is_dir():
        dataset = RainDataset(_store(data), "train", (), data)
        return max(1, len(dataset) // max(1, len(dataset.indices)))
    cover = -(-shape[0] // data.tile) * -(-shape[1] // data.tile)
    return data.tiles_per_window or cover


def _store(data: DataConfig) -> SampleStore:
    path: Path = data.store / data.name if data.more else data.store
    return SampleStore(path)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU, {torch.get_num_threads()} threads"


def _measure(
    config: RainConfig, shape: tuple[int, int], batch: int, steps: int
) -> tuple[float, float, float]:
    """Seconds of a micro-batch, peak bytes, and bytes that one sample more takes."""
    import torch

    from tenkizu.core.training import resolve_precision
    from tenkizu.rain.model import Disaggregator, unscaled_inputs

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # What stochastic depth leaves out differs by step: the most that a step takes is measured.
    model = config.model.model_copy(update={"drop_path": 0.0})
    net = Disaggregator(model, unscaled_inputs(config)).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.train.lr)
    half = resolve_precision(config.train) == "bf16-mixed"

    # With members a sample goes through the network once without noise, and once for each.
    passes = 1 if config.loss.members == 1 else 1 + config.loss.members

    def step(samples: int) -> float:
        size = passes * samples
        raw = torch.rand(size, len(net.channels), *shape, device=device)
        total = 10 * torch.rand(size, 1, *shape, device=device)
        begin = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            hours = net(raw, total)
        hours.float().square().mean().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    step(1)
    alone = _peak(device)
    step(batch)
    seconds = statistics.median(step(batch) for _ in range(steps))
    peak = _peak(device)
    more = (peak - alone) / (batch - 1) if batch > 1 else peak
    return seconds, peak, more


def _peak(device: str) -> float:
    """Peak memory so far, bytes."""
    import resource

    import torch

    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)

"""How fast the pattern networks train, beside the plain way of training the same network.

Run ``python benchmarks/patterns_train.py`` (about two minutes; ``--quick`` for a look). Samples are
42 x 161 x 161, random numbers. A step is forward, backward and AdamW on 64 samples.

- ours: `simple` as built by tenkizu, two threads, micro-batches of 16 that add up to 64, read at
  random from a memory map on disk, freed memory kept.
- plain: the same network as a list of torch's layers, one thread, maps as they lie in a file
  (channels first), the whole batch at once, everything in memory.

Both run in turns, each in its own process, so that they meet the same machine; medians after
warm-up. Arithmetic is that of convolutions and matrix products, counted by torch, over the time of
the whole step, reading and all; the peak is the best torch matrix product of the same process with
the same threads, in the same turns. Some libraries multiply faster inside a convolution than
outside, so the peak of a 1 x 1 convolution is given too.
"""

import argparse
import multiprocessing as mp
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (42, 161, 161)
LABELS = 15
BATCH, MICRO = 64, 16
DAYS = 128
THREADS = 2
OTHERS = {"convnext_tiny": 8, "resnet_small": 4, "deformable": 2}
"""Samples of a step of the other networks."""
GOAL_RATIO, GOAL_SHARE = 2.4, 0.65


def serve(connection: Connection, make: Callable[..., Any], threads: int, keep: bool, *args: Any):
    """In a process of its own: make something that works, and work whenever asked."""
    import torch

    from tenkizu.core.heap import keep_freed_memory

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if keep:
        keep_freed_memory()
    work = make(*args)
    while connection.recv():
        connection.send(work())


class Worker:
    """A process that works when asked; calling it gives what the work returns."""

    def __init__(self, make: Callable[..., Any], *args: Any, threads: int = THREADS, keep=True):
        context = mp.get_context("spawn")
        self.connection, child = context.Pipe()
        self.process = context.Process(
            target=serve, args=(child, make, threads, keep, *args), daemon=True
        )
        self.process.start()

    def __call__(self) -> Any:
        """What one piece of work returns."""
        self.connection.send(True)
        return self.connection.recv()

    def close(self) -> None:
        """End the process."""
        self.connection.send(False)
        self.process.join()


def plain_simple():
    """`simple` as one writes it down at first."""
    from torch import nn

    layers: list[nn.Module] = []
    width = SHAPE[0]
    for wider in (32, 64, 64):
        conv = nn.Conv2d(width, wider, 3, padding=1)
        layers += [conv, nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
        width = wider
    head = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 512), nn.ReLU()]
    return nn.Sequential(*layers, *head, nn.Dropout(0.5), nn.Linear(512, LABELS))


def stepper(net: Any, maps: np.ndarray, batch: int, micro: int) -> Callable[[], float]:
    """A function that trains on ``batch`` random days of ``maps`` and returns the seconds."""
    import torch

    from tenkizu.patterns.config import LossConfig
    from tenkizu.patterns.losses import make_loss

    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    loss = make_loss(LossConfig(), torch.full((LABELS,), 3.0))
    target = (torch.rand(len(maps), LABELS) < 0.1).float()
    generator = np.random.default_rng(0)

    def step() -> float:
        days = generator.permutation(len(maps))[:batch]
        begin = time.perf_counter()
        optimizer.zero_grad()
        for some in np.split(days, range(micro, batch, micro)):
            x = torch.from_numpy(np.take(maps, some, axis=0))
            (loss(net(x), target[some]) * (len(some) / batch)).backward()
        optimizer.step()
        return time.perf_counter() - begin

    return step


def ours(path: str) -> Callable[[], float]:
    """A step of `simple` as tenkizu trains it."""
    from tenkizu.patterns.networks.backbones import build_backbone

    maps = np.load(path, mmap_mode="r")
    return stepper(build_backbone("simple", SHAPE[0], LABELS), maps, BATCH, MICRO)


def plain(path: str) -> Callable[[], float]:
    """A step of the plain way."""
    return stepper(plain_simple(), np.load(path), BATCH, BATCH)


def other(name: str, path: str, batch: int) -> Callable[[], float]:
    """A step of another network."""
    from tenkizu.patterns.networks.backbones import build_backbone

    maps = np.load(path, mmap_mode="r")
    return stepper(build_backbone(name, SHAPE[0], LABELS), maps, batch, batch)


def library_deformable(path: str) -> Callable[[], float]:
    """A step of `deformable` with torchvision's operator on CPU."""
    from torchvision.ops import deform_conv2d

    from tenkizu.patterns.networks import deformable

    def library(x, offset, weight, stride):
        return deform_conv2d(x, offset, weight, stride=stride, padding=1)

    deformable.deform_conv = library
    return other("deformable", path, 1)


def products() -> Callable[[], tuple[float, float]]:
    """Operations per second of a matrix product, and of the same as a 1 x 1 convolution."""
    import torch
    from torch.nn import functional

    n = 2048
    a, b = torch.randn(n, n), torch.randn(n, n)
    cells = a.view(1, 64, n // 64, n).permute(0, 3, 1, 2)
    kernel = b.view(n, n, 1, 1)
    works = (lambda: a @ b, lambda: functional.conv2d(cells, kernel))

    def rate(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(4):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
        return 2 * n**3 / min(times)

    def rates() -> tuple[float, float]:
        with torch.no_grad():
            return rate(works[0]), rate(works[1])

    return rates


def arithmetic(name: str) -> float:
    """Operations of forward and backward for one sample, in convolutions and matrix products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from tenkizu.patterns.networks.backbones import build_backbone

    net = build_backbone(name, SHAPE[0], LABELS)
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(2, *SHAPE)).sum().backward()
    return counter.get_total_flops() / 2


def in_turns(workers: dict[str, Worker], rounds: int, warm_up: int) -> dict[str, np.ndarray]:
    """Medians of what each worker returns."""
    found: dict[str, list[Any]] = {name: [] for name in workers}
    for _ in range(warm_up + rounds):
        for name, worker in workers.items():
            found[name].append(worker())
    for worker in workers.values():
        worker.close()
    return {name: np.median(values[warm_up:], axis=0) for name, values in found.items()}


def report(name: str, rate: float, peak: float, convolution: float) -> None:
    """Print samples per second and the arithmetic achieved."""
    done = rate * arithmetic(name)
    print(
        f"{name:14s} {rate:8.2f} samples/s {done / 1e9:6.0f} GFLOP/s, {done / peak:.0%} of the "
        f"matrix product, {done / convolution:.0%} of the 1 x 1 convolution",
        flush=True,
    )


def main() -> None:
    """Print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Few steps, on `simple` alone.")
    quick = parser.parse_args().quick
    rounds, warm_up = (3, 1) if quick else (9, 2)
    print(f"42 x 161 x 161, {os.cpu_count()} cores; {THREADS} threads but where said", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "maps.npy")
        maps = np.lib.format.open_memmap(path, "w+", np.float32, (DAYS, *SHAPE))
        generator = np.random.default_rng(1)
        for day in maps:
            day[:] = generator.standard_normal(SHAPE, np.float32)
        maps.flush()
        found = in_turns(
            {
                "ours": Worker(ours, path),
                "plain": Worker(plain, path, threads=1, keep=False),
                "peaks": Worker(products),
            },
            rounds,
            warm_up,
        )
        peaks = found["peaks"]
        rates = {name: BATCH / found[name] for name in ("ours", "plain")}
        print(f"peaks: matrix product {peaks[0] / 1e9:.0f} GFLOP/s, 1 x 1 convolution ", end="")
        print(f"{peaks[1] / 1e9:.0f} GFLOP/s")
        report("simple", rates["ours"], *peaks)
        print(f"  goal: at least {GOAL_SHARE:.0%} of the matrix product")
        print(f"plain, 1 thread {rates['plain']:7.2f} samples/s")
        ratio = rates["ours"] / rates["plain"]
        print(f"ratio, ours to plain {ratio:.2f} (goal: at least {GOAL_RATIO:g})", flush=True)
        if quick:
            return
        for name, batch in OTHERS.items():
            workers = {"step": Worker(other, name, path, batch), "peaks": Worker(products)}
            found = in_turns(workers, 3, 1)
            report(name, batch / found["step"], *found["peaks"])
        seconds = in_turns({"step": Worker(library_deformable, path)}, 1, 0)["step"]
        print(f"deformable with torchvision's operator {1 / seconds:.2f} samples/s")


if __name__ == "__main__":
    main()

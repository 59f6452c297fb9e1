"""How fast the reference network trains, beside the textbook way of writing the same network.

Run ``python benchmarks/rain_step.py`` on an idle machine (about four minutes and 16 GB; ``--quick``
for a look at a small network). A step is forward, loss, backward, clipping and AdamW on one sample
of 53 x 480 x 480 cells with the 111,418,992 parameters of `v5`, on CPU in float32.

- ours: as `tenkizu rain train` runs it, freed memory kept in a compact heap, AdamW fused.
- ours, checkpointed: the same with ``model.activation_checkpointing=true``.
- textbook: windows copied out of the grid and back, softmax of scores with bias and mask added one
  after the other, four strided slices joined on the way down, branches that stochastic depth drops
  computed and multiplied by 0; the memory is left to the C library. Its weights have the same
  names, and its output is compared with ours first.

Each runs in a process of its own, in turns, so that they meet the same machine; medians after
warm-up. Arithmetic is that of the matrix products of one forward and backward pass, counted by
torch: all of them for the textbook way, and for ours the mean of 50 draws of stochastic depth, not
counting what checkpointing does again. The peak is the best square matrix product of the same
process with the same threads, in the same turns. Memory is the highest RssAnon of the process.
Beside another program that uses a core, threads wait for each other and a step can take ten times
as long.
"""

import argparse
import multiprocessing as mp
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tenkizu.core.drop_path import DropPath
from tenkizu.core.heap import COMPACT, keep_freed_memory
from tenkizu.core.normaliser import ChannelScale
from tenkizu.rain.allocation import allocation_logits_to_mm
from tenkizu.rain.config import V5, LossConfig, ModelConfig
from tenkizu.rain.losses import bin_weights, divide, scored_cells, wmse_sums
from tenkizu.rain.model import Disaggregator
from tenkizu.rain.windows import WindowAttention, relative_position_index, shift_mask

CHANNELS = 53
SMALL = {"embed_dim": 32, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}
WAYS = ("textbook", "ours", "ours, checkpointed")
MATRIX = 2048  # side of the matrices whose product is the peak
WARM_UP = 2
DRAWS = 50


class TextbookAttention(nn.Module):
    """Window attention step by step, with the weights of a `WindowAttention`."""

    def __init__(self, ours: WindowAttention) -> None:
        super().__init__()
        self.heads, self.side, self.shift = ours.heads, ours.window_size, ours.shift
        self.bias_table, self.qkv, self.proj = ours.bias_table, ours.qkv, ours.proj

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        batch, height, width, channels = tokens.shape
        side = min(self.side, height)
        shift = self.shift if height > side else 0
        if shift:
            tokens = torch.roll(tokens, (-shift, -shift), (1, 2))
        # Cut into windows.
        tokens = tokens.view(batch, height // side, side, width // side, side, channels)
        windows = tokens.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, side**2, channels)
        # Attend.
        count, cells, _ = windows.shape
        parts = self.qkv(windows).reshape(count, cells, 3, self.heads, channels // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        scores = q * (channels // self.heads) ** -0.5 @ k.transpose(-2, -1)
        index = relative_position_index(side, side, self.side, tokens.device)
        bias = self.bias_table[index.flatten()].view(cells, cells, self.heads).permute(2, 0, 1)
        scores = scores + bias.contiguous()[None]
        if shift:
            mask = shift_mask((height, width), (side, side), (shift, shift), tokens.device)
            scores = scores.view(batch, -1, self.heads, cells, cells) + mask[None]
            scores = scores.view(-1, self.heads, cells, cells)
        attended = (torch.softmax(scores, dim=-1) @ v).transpose(1, 2)
        attended = self.proj(attended.reshape(count, cells, channels))
        # Put the windows back.
        grid = attended.view(batch, height // side, width // side, side, side, channels)
        tokens = grid.permute(0, 1, 3, 2, 4, 5).contiguous().view(batch, height, width, channels)
        return torch.roll(tokens, (shift, shift), (1, 2)) if shift else tokens


class TextbookDropPath(DropPath):
    """Stochastic depth that computes every branch, and multiplies those it drops by 0."""

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """``x`` plus what is kept of ``branch(x)``."""
        if not self.training or self.rate == 0:
            return x + branch(x)
        kept = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - self.rate)
        return x + branch(x) * (kept / (1 - self.rate))


def gather_slices(tokens: Tensor) -> Tensor:
    """(B, H, W, C) to (B, H / 2, W / 2, 4C) from four strided slices."""
    corners = [tokens[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    return torch.cat(corners, dim=-1)


def build(way: str, shape: ModelConfig) -> Disaggregator:
    """The network of one way, with random weights."""
    shape = shape.model_copy(update={"activation_checkpointing": way == WAYS[2]})
    net = Disaggregator(shape, [ChannelScale(f"c{i}", "1") for i in range(CHANNELS)])
    if way == "textbook":
        for blocks in (*net.network.encoder_blocks, *net.network.decoder_blocks):
            for block in blocks.children():
                block.attention = TextbookAttention(block.attention)
                block.drop_path = TextbookDropPath(block.drop_path.rate)
        for merge in net.network.patch_merging:
            setattr(merge, "gather", gather_slices)  # noqa: B010 - mypy takes it for a module
    return net


def difference(shape: ModelConfig, side: int) -> float:
    """Largest difference between both networks' logits for the same weights, over the largest."""
    ours, textbook = build("ours", shape).eval(), build("textbook", shape).eval()
    textbook.load_state_dict(ours.state_dict())
    raw = torch.randn(1, CHANNELS, side, side)
    with torch.inference_mode():
        a, b = ours.output(raw)[0], textbook.output(raw)[0]
    return float((a - b).abs().max() / a.abs().max())


def gflop(way: str, shape: ModelConfig, side: int) -> float:
    """Arithmetic of the matrix products of one training step, 10^9 operations, mean of draws."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net = build(way, shape).train()
        for _ in range(DRAWS):
            loss: Tensor = net.network(torch.empty(1, CHANNELS, side, side)).sum()
            torch.autograd.backward(loss)
    return float(counter.get_total_flops()) / DRAWS / 1e9


class Stepper:
    """Trains one network on one made-up sample; calling it gives seconds of a step and the peak."""

    def __init__(self, way: str, shape: ModelConfig, side: int, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        if way != "textbook":
            keep_freed_memory()
        self.net = build(way, shape).train()
        fused = way != "textbook"
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=5e-5, fused=fused)
        self.loss = LossConfig(normaliser="weights")
        self.raw = torch.randn(1, CHANNELS, side, side)
        self.hours = torch.relu(torch.randn(1, 3, side, side) * 3)
        self.matrix = torch.randn(MATRIX, MATRIX)
        self.memory_mb = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Keep the highest RssAnon."""
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            now = next(float(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.memory_mb = max(self.memory_mb, now / 1e3)
            time.sleep(0.01)

    def __call__(self) -> tuple[float, float, float]:
        """Seconds of one step, 10^9 operations a second of the best product, MB so far."""
        total = self.hours.sum(1, keepdim=True)
        cells = scored_cells(total, torch.ones_like(total, dtype=torch.bool), self.loss.mask_mm)
        began = time.perf_counter()
        self.optimizer.zero_grad()
        output, tau = self.net.output(self.raw)
        predicted = allocation_logits_to_mm(output, total, tau)
        weight = bin_weights(self.hours, self.loss.bins_1h, self.loss.manual_weights)
        sums = wmse_sums(predicted, self.hours, cells, weight, None)
        divide(sums, lambda value: value).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        seconds = time.perf_counter() - began
        products = []
        for _ in range(3):
            began = time.perf_counter()
            self.matrix @ self.matrix
            products.append(time.perf_counter() - began)
        return seconds, 2e-9 * MATRIX**3 / min(products), self.memory_mb


def serve(connection: Connection, *arguments: Any) -> None:
    """In a process of its own: make a `Stepper` and call it whenever asked."""
    step = Stepper(*arguments)
    while connection.recv():
        connection.send(step())


def start(way: str, *arguments: Any) -> tuple[Callable[[], Any], Callable[[], None]]:
    """A process with a `Stepper`: what calls it, and what ends it."""
    context = mp.get_context("spawn")
    connection, child = context.Pipe()
    process = context.Process(target=serve, args=(child, way, *arguments), daemon=True)
    # `tenkizu` starts itself anew with this setting when it trains.
    os.environ.pop("GLIBC_TUNABLES", None)
    if way != "textbook":
        os.environ["GLIBC_TUNABLES"] = COMPACT
    process.start()
    child.close()

    def call() -> Any:
        connection.send(True)
        return connection.recv()

    def end() -> None:
        connection.send(False)
        process.join()

    return call, end


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=480, help="cells on a side, a multiple of 160")
    parser.add_argument("--turns", type=int, default=7, help="timed steps of each way")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each process")
    parser.add_argument("--quick", action="store_true", help="a small network on 160 x 160 cells")
    options = parser.parse_args()
    shape, side = V5, options.side
    if options.quick:
        shape, side, options.turns = V5.model_copy(update=SMALL), 160, 3
    work = {way: gflop(way, shape, side) for way in WAYS[:2]}
    parameters = sum(p.numel() for p in build("ours", shape).parameters())
    print(
        f"{os.cpu_count()} cores, {options.threads} threads; {parameters:,} parameters, one sample "
        f"of {CHANNELS} x {side} x {side}, {work['textbook']:.0f} GFLOP a step, {work['ours']:.0f} "
        "without what stochastic depth drops"
    )
    apart = difference(shape, 160)
    print(f"largest difference between both outputs: {apart:.1g} of the largest")
    steppers = {way: start(way, shape, side, options.threads) for way in WAYS}
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for _ in range(WARM_UP + options.turns):
        for way, (call, _) in steppers.items():
            found[way].append(call())
    for _, end in steppers.values():
        end()
    rows = {way: np.array(values[WARM_UP:]) for way, values in found.items()}
    peak = float(max(values[:, 1].max() for values in rows.values()))
    print(f"\n{'':20}{'s a step':>10}{'first':>8}{'of peak':>9}{'peak MB':>10}")
    for way, values in rows.items():
        seconds = float(np.median(values[:, 0]))
        share = work.get(way, work["ours"]) / seconds / peak
        print(f"{way:20}{seconds:10.3f}{found[way][0][0]:8.2f}{share:9.2f}{values[-1, 2]:10.0f}")
    textbook, ours, checkpointed = (float(np.median(values[:, 0])) for values in rows.values())
    theirs, kept, spared = (values[-1, 2] for values in rows.values())
    print(f"\npeak of the matrix product: {peak:.0f} GFLOP/s, {options.threads} threads")
    for text, value, goal in (
        ("ours, times as fast as the textbook", textbook / ours, "at least 1.2"),
        ("checkpointed, of the textbook's memory", spared / theirs, "at most 0.7"),
        ("checkpointed, of the textbook's speed", textbook / checkpointed, "at least 0.8"),
        ("checkpointed, of our memory", spared / kept, ""),
        ("checkpointed, of our speed", ours / checkpointed, ""),
    ):
        print(f"{text:42}{value:6.2f}   {goal and 'goal: ' + goal}")


if __name__ == "__main__":
    main()

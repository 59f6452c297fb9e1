"""Blocks of windows, and the 95 % intervals of skill that follow from resampling them.

Specification section 13: blocks of whole windows, the shorter of five days and a tenth of the
period; 1,000 resamples, fixed seed, all methods on the same ones. Blocks are fixed in time, not
moving: the windows of a store may be separate events, which no block may join.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.bootstrap import RESAMPLES, fixed_blocks, interval, resample
from tenkizu.core.verification import skill
from tenkizu.rain.scores import SUBSETS

LEVEL = 0.95
MIN_BLOCKS = 8
"""With fewer blocks there is no interval and no verdict."""

_WINDOW = 180  # minutes
_LONGEST_BLOCK = 5 * 24 * 60


def time_blocks(starts: Sequence[np.datetime64]) -> tuple[NDArray[np.int64], float]:
    """The block of each window, by its start, and the length of a block in hours.

    The period runs from the first start to the end of the last window.
    """
    minutes = np.array([s.astype("datetime64[m]").astype(np.int64) for s in starts], np.int64)
    if not len(minutes):
        return minutes, 0.0
    since = minutes - minutes.min()
    period = int(since.max()) + _WINDOW
    if period > 10 * _LONGEST_BLOCK:
        return since // _LONGEST_BLOCK, _LONGEST_BLOCK / 60
    return since * 10 // period, period / 600


@dataclass
class WindowSums:
    """Small sums kept for each window; they add as lists, in any order.

    Attributes:
        starts: of the windows, UTC.
        rows: one array per window, all of one shape.
    """

    starts: list[np.datetime64] = field(default_factory=list)
    rows: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, start: np.datetime64, row: NDArray[np.float64]) -> None:
        """Keep the sums of one window."""
        self.starts.append(start)
        self.rows.append(row)

    def __add__(self, other: Self) -> Self:
        """The windows of both."""
        return type(self)(self.starts + other.starts, self.rows + other.rows)

    def blocks(self, rows: NDArray[np.float64], cells: NDArray[Any]) -> NDArray[np.float64]:
        """Sums of each block, (B, ...), of windows in order of time.

        Args:
            rows: of the windows in the order of ``starts``, (n, ...).
            cells: what was evaluated in each window, (n,); a block with nothing evaluated says
                nothing and is not counted as one.
        """
        labels, _ = time_blocks(self.starts)
        ordered = np.argsort(np.array(self.starts, "datetime64[m]"), kind="stable")
        chosen = ordered[cells[ordered] > 0]
        return fixed_blocks(rows[chosen], labels[chosen])

    def describe(self, blocks: int) -> dict[str, Any]:
        """How the intervals were made, JSON-ready."""
        return {
            "level": LEVEL,
            "resamples": RESAMPLES,
            "blocks": blocks,
            "blocks_needed": MIN_BLOCKS,
            "block_hours": time_blocks(self.starts)[1],
        }


def estimate(value: float, resampled: NDArray[np.float64], blocks: int) -> dict[str, float]:
    """A score with the ends of its interval, NaN with too few blocks."""
    low, high = interval(resampled, LEVEL) if blocks >= MIN_BLOCKS else (np.nan, np.nan)
    return {"value": float(value), "low": float(low), "high": float(high)}


def skill_intervals(windows: WindowSums, methods: Sequence[str]) -> dict[str, Any]:
    """MSE skill with intervals: every method against S/3, the model against the best baseline.

    Args:
        windows: each row (2, 1 + M): for all and for conditional cells their number and the
            summed squared error of each method.
        methods: the M names, with ``equal`` and ``model`` among them.

    Returns:
        ``skill_against_equal`` by method and subset, ``skill_against_best_baseline`` of the model
        by subset with the ``baseline`` that has the least conditional error, and how the
        intervals were made.
    """
    rows = np.array(windows.rows, np.float64).reshape(-1, 2, 1 + len(methods))
    blocks = windows.blocks(rows, rows[:, 1, 0])
    drawn, sums = resample(blocks), rows.sum(axis=0)

    def against(method: str, reference: str) -> dict[str, dict[str, float]]:
        a, b = 1 + methods.index(method), 1 + methods.index(reference)
        return {
            label: estimate(
                float(skill(sums[i, a], sums[i, b])),
                skill(drawn[:, i, a], drawn[:, i, b]),
                len(blocks),
            )
            for i, label in enumerate(SUBSETS)
        }

    baselines = [m for m in methods if m != "model"]
    best = min(baselines, key=lambda m: float(sums[1, 1 + methods.index(m)]))
    return windows.describe(len(blocks)) | {
        "skill_against_equal": {m: against(m, "equal") for m in methods},
        "skill_against_best_baseline": {"baseline": best} | against("model", best),
    }

"""Equal-split detailed evaluation (specification section 13): is the split better than S/3?

Only cells with S >= 0.1 mm count. Per cell and window, SSE is the sum of the squared errors of the
three hours; it is a tie if the SSE of model and S/3 differ by at most 1e-6 S^2, else a win or a
loss of the model.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.bootstrap import resample
from tenkizu.core.grid import Grid
from tenkizu.core.verification import ratio, skill
from tenkizu.rain.baselines import SEASONS, SUM_BINS, equal_split, hour_and_season
from tenkizu.rain.score_cells import CONDITIONAL_MM, Values, known_cells, levels, take
from tenkizu.rain.score_intervals import MIN_BLOCKS, WindowSums, estimate
from tenkizu.rain.score_tally import SURFACES, initial_hour
from tenkizu.rain.scores import AMOUNTS, HOURS, hours_of_day

TIE = 1e-6
"""Ties differ by no more than this times S^2."""

BETTER, WORSE, UNCLEAR = "Better", "Worse", "No clear difference"
TOO_FEW, EMPTY = "too few blocks", "n/a"

# Quantities of a row, and the rows of a window: all, three hours, S bins, land and sea.
_CELLS, _MODEL, _EQUAL, _WINS, _LOSSES = range(5)
_ROWS = 1 + len(HOURS) + len(AMOUNTS) + len(SURFACES)


class EqualSplit:
    """Sums of the comparison: maps for places, small rows per window for everything else.

    Args:
        shape: rows and columns of the grid, (H, W).
        land: (H, W), true on land, to report on land and sea apart.
    """

    def __init__(self, shape: tuple[int, int], land: NDArray[np.bool_] | None = None) -> None:
        self.land = land
        self.counts = {name: np.zeros(shape, np.int64) for name in ("win", "tie", "loss")}
        self.sse = {name: np.zeros(shape) for name in ("model", "equal")}
        self.windows = WindowSums()

    def add(self, start: np.datetime64, predicted: Values, truth: Values, total: Values) -> None:
        """Add one window.

        Args:
            start: of the window, UTC.
            predicted: hours (3, H, W), mm.
            truth: observed hours (3, H, W), mm, NaN where missing.
            total: S, (H, W), mm, NaN where missing.
        """
        index = np.flatnonzero(known_cells(truth, total) & (total >= CONDITIONAL_MM))
        amount, hours = np.take(total, index), take(truth, index)
        model = _squared(take(predicted, index), hours)
        equal = _squared(equal_split(amount), hours)
        sse_model, sse_equal = model[0] + model[1] + model[2], equal[0] + equal[1] + equal[2]
        difference = sse_model - sse_equal
        tie = np.abs(difference) <= TIE * np.square(amount, dtype=np.float64)
        win = (difference < 0) & ~tie
        # A prediction that is not a number counts as a loss.
        loss = ~(win | tie)
        for name, outcome in (("win", win), ("tie", tie), ("loss", loss)):
            self.counts[name].ravel()[index] += outcome
        self.sse["model"].ravel()[index] += sse_model
        self.sse["equal"].ravel()[index] += sse_equal

        kinds = levels(amount, np.asarray(SUM_BINS[1:], np.float32)).astype(np.intp)
        row = np.zeros((_ROWS, 5))
        row[1:4, _CELLS] = len(index)
        row[1:4, _MODEL], row[1:4, _EQUAL] = model.sum(axis=1), equal.sum(axis=1)
        columns = (None, sse_model, sse_equal, win, loss)
        for quantity, values in enumerate(columns):
            row[4:10, quantity] = np.bincount(kinds, values, minlength=len(AMOUNTS))
        row[0] = row[4:10].sum(axis=0)
        if self.land is not None:
            sea = (~np.take(self.land, index)).astype(np.intp)
            for quantity, values in enumerate(columns):
                row[10:, quantity] = np.bincount(sea, values, minlength=len(SURFACES))
        self.windows.add(start, row)

    def __add__(self, other: Self) -> Self:
        """The comparison over the windows of both."""
        result = type(self)(self.counts["win"].shape, self.land)
        result.counts = {name: self.counts[name] + other.counts[name] for name in self.counts}
        result.sse = {name: self.sse[name] + other.sse[name] for name in self.sse}
        result.windows = self.windows + other.windows
        return result

    def maps(self, grid: Grid) -> dict[str, Any]:
        """The content of ``equal_split_maps.npz``.

        Returns:
            Maps (H, W): ``improved_count_map`` (wins), ``total_count_map`` (evaluated times),
            ``tie_count_map``, ``loss_count_map``, int64; ``mean_sse_diff_map`` (mean SSE of the
            model less that of S/3 in mm2, negative where the model errs less, NaN where nothing
            was evaluated), ``sse_model_map``, ``sse_base_map`` (sums, mm2), float64; ``n_times``
            (windows); ``lat`` (H), ``lon`` (W), NaN unless the grid is one of latitudes and
            longitudes; ``y``, ``x`` (the grid's own axes) and their ``axis_units``; ``cell_lat``
            and ``cell_lon`` (H, W) where the source has them in two dimensions.
        """
        total = sum(self.counts.values(), np.zeros_like(self.counts["win"]))
        located = grid.kind == "latlon"
        places = {"cell_lat": grid.lat, "cell_lon": grid.lon} if grid.lat is not None else {}
        return {
            **places,
            "improved_count_map": self.counts["win"],
            "total_count_map": total,
            "mean_sse_diff_map": ratio(self.sse["model"] - self.sse["equal"], total),
            "tie_count_map": self.counts["tie"],
            "loss_count_map": self.counts["loss"],
            "sse_model_map": self.sse["model"],
            "sse_base_map": self.sse["equal"],
            "n_times": np.array(len(self.windows.starts)),
            "lat": np.array(grid.y if located else np.full(len(grid.y), np.nan)),
            "lon": np.array(grid.x if located else np.full(len(grid.x), np.nan)),
            "y": np.array(grid.y),
            "x": np.array(grid.x),
            "axis_units": np.array(grid.units),
        }

    def summary(self) -> dict[str, Any]:
        """Counts, scores and intervals, JSON-ready.

        Returns:
            How the intervals were made and, under ``overall``, ``by_hour``, ``by_amount``,
            ``by_hour_of_day``, ``by_season`` and, with a mask, ``by_surface``, for each member:
            ``cells``, ``blocks`` (with such cells), ``rmse_model``, ``rmse_equal``,
            ``rmse_difference`` (model less S/3, mm) and ``skill`` with intervals, ``verdict``
            and, but for single hours, ``wins``, ``ties``, ``losses`` and their rates (0 to 1),
            the ``win_rate`` with an interval.
        """
        starts, n = self.windows.starts, len(self.windows.starts)
        rows = np.array(self.windows.rows, np.float64).reshape(n, _ROWS, 5)
        hours = np.array([initial_hour(s) for s in starts], np.intp)
        seasons = np.array([hour_and_season(s)[1] for s in starts], np.intp)
        shown = hours_of_day(np.bincount(hours, minlength=24))
        by_time = np.zeros((n, len(shown) + len(SEASONS), 5))
        by_time[np.arange(n), np.searchsorted(shown, hours)] = rows[:, 0]
        by_time[np.arange(n), len(shown) + seasons] = rows[:, 0]
        names = [("overall", "")]
        names += [("by_hour", label) for label in HOURS]
        names += [("by_amount", label) for label in AMOUNTS]
        names += [("by_surface", label) for label in SURFACES]
        names += [("by_hour_of_day", f"{hour:02d}") for hour in shown]
        names += [("by_season", label) for label in SEASONS]

        table = np.concatenate([rows, by_time], axis=1)
        blocks = self.windows.blocks(table, rows[:, 0, _CELLS])
        drawn, sums = resample(blocks), table.sum(axis=0)
        held = (blocks[:, :, _CELLS] > 0).sum(axis=0)
        result = self.windows.describe(len(blocks)) | {"windows": n}
        for i, (group, label) in enumerate(names):
            if group == "by_surface" and self.land is None:
                continue
            entry = _entry(sums[i], drawn[:, i], int(held[i]), group == "by_hour")
            if label:
                result.setdefault(group, {})[label] = entry
            else:
                result[group] = entry
        return result


def _squared(predicted: Values, truth: Values) -> NDArray[np.float64]:
    """Squared errors (3, n), mm2, in float64."""
    error = predicted.astype(np.float64) - truth
    return np.square(error, out=error)


def _entry(
    sums: NDArray[np.float64], drawn: NDArray[np.float64], blocks: int, single_hour: bool
) -> dict[str, Any]:
    """Scores of one group from its sums (5,) and resampled sums (R, 5)."""
    hours = 1 if single_hour else len(HOURS)

    def rmse(part: NDArray[np.float64], quantity: int) -> NDArray[np.float64]:
        return np.sqrt(ratio(part[..., quantity], part[..., _CELLS] * hours))

    def difference(part: NDArray[np.float64]) -> NDArray[np.float64]:
        return rmse(part, _MODEL) - rmse(part, _EQUAL)

    entry: dict[str, Any] = {
        "cells": int(sums[_CELLS]),
        "blocks": blocks,
        "rmse_model": float(rmse(sums, _MODEL)),
        "rmse_equal": float(rmse(sums, _EQUAL)),
        "rmse_difference": estimate(float(difference(sums)), difference(drawn), blocks),
        "skill": estimate(
            float(skill(sums[_MODEL], sums[_EQUAL])),
            skill(drawn[:, _MODEL], drawn[:, _EQUAL]),
            blocks,
        ),
    }
    entry["verdict"] = _verdict(entry)
    if single_hour:
        return entry
    cells, wins, losses = (int(sums[i]) for i in (_CELLS, _WINS, _LOSSES))
    ties = cells - wins - losses
    return entry | {
        "wins": wins,
        "ties": ties,
        "losses": losses,
        "win_rate": estimate(
            float(ratio(wins, cells)), ratio(drawn[:, _WINS], drawn[:, _CELLS]), blocks
        ),
        "tie_rate": float(ratio(ties, cells)),
        "loss_rate": float(ratio(losses, cells)),
    }


def _verdict(entry: dict[str, Any]) -> str:
    if not entry["cells"]:
        return EMPTY
    if entry["blocks"] < MIN_BLOCKS:
        return TOO_FEW
    low, high = entry["rmse_difference"]["low"], entry["rmse_difference"]["high"]
    return BETTER if high < 0 else WORSE if low > 0 else UNCLEAR

"""Exact histograms and sums of a store, and the checks that guard against rain in wrong units."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.verification import Tally, ratio
from tenkizu.rain.config import ChecksConfig, LossConfig

RAIN = ("P", "y4", "y5", "y6", "S", "N")
"""Order of the stored rain array (6, H, W); mm, NaN where missing."""

MOTION = ("M4", "M5", "M6")
"""The hours of the motion baseline (3, H, W), mm, that the network sees on request.

The store keeps them three times, (9, H, W): from P, S and N, without P, and without N, since
training hides a neighbour now and then.
"""

Rain = NDArray[np.float32]

QUANTILE_EDGES = np.concatenate([[0.0], np.geomspace(0.01, 1000.0, 2049)])
"""Fine bins for quantiles of rain amounts, mm: about 0.6 % wide, the first holds dry values."""


def window_label(start: np.datetime64) -> str:
    """Name of a window in files and tables: its t0 = ``start`` - 3 h, such as 2023-11-02_18."""
    t0 = start.astype("datetime64[m]") - np.timedelta64(180, "m")
    return str(t0.astype("datetime64[h]")).replace("T", "_")


def window_tables(rain: Rain, loss: LossConfig) -> Tally:
    """Sums of one stored window, over cells where the hours and S are known.

    Args:
        rain: (6, H, W) in the order P, y4, y5, y6, S, N; mm, NaN where missing.
        loss: names the bins and the mask.

    Returns:
        ``hourly`` and ``totals`` (counts per loss bin), ``cells`` (valid, S > 0, scored),
        ``equal_sse`` (all valid cells), ``scored_sse`` (squared error of S/3 per hourly bin over
        scored cells), ``ge_1mm`` (hourly values >= 1 mm), ``wet_pattern`` (class
        4 w4 + 2 w5 + w6 over scored cells), ``fine`` (6 fine histograms for quantiles); maxima
        ``total``, ``hour`` and ``sum_error`` (|y4 + y5 + y6 - S|), mm.
    """
    valid = ~np.isnan(rain[1:5]).any(axis=0)
    hours, total = rain[1:4, valid], rain[4, valid]
    scored = total >= np.float32(loss.mask_mm)
    squared = (total.astype(np.float64) / 3 - hours) ** 2
    hourly_bin = _bins(hours, loss.bins_1h)
    wet = hours[:, scored] >= np.float32(0.1)
    kinds = len(loss.bins_1h) + 1
    tally = Tally(
        {
            "hourly": np.bincount(hourly_bin.ravel(), minlength=kinds),
            "totals": np.bincount(_bins(total, loss.bins_sum), minlength=len(loss.bins_sum) + 1),
            "cells": np.array([total.size, np.count_nonzero(total > 0), np.count_nonzero(scored)]),
            "equal_sse": np.array(squared.sum()),
            "scored_sse": np.bincount(
                hourly_bin[:, scored].ravel(), squared[:, scored].ravel(), minlength=kinds
            ),
            "ge_1mm": np.array(np.count_nonzero(hours >= 1)),
            "wet_pattern": np.bincount(wet[0] * 4 + wet[1] * 2 + wet[2] * 1, minlength=8),
            "fine": np.stack([np.histogram(plane[~np.isnan(plane)], _FINE)[0] for plane in rain]),
        }
    )
    if total.size:
        parts = hours.sum(axis=0, dtype=np.float64)
        tally.maxima = {
            "total": float(total.max()),
            "hour": float(hours.max()),
            "sum_error": float(np.abs(parts - total).max()),
        }
    return tally


_FINE = np.append(QUANTILE_EDGES, np.inf)


def _bins(values: Rain, edges: Sequence[float]) -> NDArray[np.int64]:
    """Index of the bin [a, b) of each value."""
    return np.digitize(values, np.asarray(edges, np.float32))


def quantiles(tally: Tally, levels: Sequence[float]) -> NDArray[np.float64]:
    """Quantiles of the six stored channels from the fine histograms, (6, len(levels)), mm.

    The value is the lower edge of the bin in which the level is reached: exact for dry values,
    within 0.6 % for rain. NaN for a channel without values.
    """
    counts = np.asarray(tally["fine"], np.float64)
    share = ratio(counts.cumsum(axis=1), counts.sum(axis=1, keepdims=True))
    index = np.stack([(share < level).sum(axis=1) for level in levels], axis=1)
    values = QUANTILE_EDGES[np.minimum(index, len(QUANTILE_EDGES) - 1)]
    return np.where(counts.sum(axis=1, keepdims=True) > 0, values, np.nan)


def equal_split_error(tally: Tally, weights: Sequence[float]) -> float:
    """d0: mean over scored cells of the hourly-weighted squared error of S/3, mm2.

    Raises:
        DataError: no cell of the training period is scored.
    """
    scored = int(tally["cells"][2])
    d0 = float(ratio(np.dot(np.asarray(weights), tally["scored_sse"]), scored))
    if not d0 > 0:
        raise DataError(
            "the training periods hold no rain that varies within its three hours",
            found=f"{scored} cells above the mask",
            next_step="choose wetter periods in data.splits.train",
        )
    return d0


def check_units(tally: Tally, checks: ChecksConfig, source: str) -> str:
    """One line that shows whether rain is in mm and S is the sum of its hours.

    Args:
        tally: tables of the training split.
        checks: the bounds.
        source: what is checked, for the message.

    Returns:
        The line to print before training.

    Raises:
        DataError: a value is outside its bounds.
    """
    cells = int(tally["cells"][0])
    share_1mm = float(ratio(tally["ge_1mm"], 3 * cells))
    filled = int(np.count_nonzero(tally["hourly"]))
    rmse = float(np.sqrt(ratio(tally["equal_sse"], 3 * cells)))
    largest = tally.maxima.get("total", float("nan"))
    worst = tally.maxima.get("sum_error", float("nan"))
    line = (
        f"max S {largest:.1f} mm, hourly values >= 1 mm {100 * share_1mm:.2f} %, "
        f"cells with S > 0 {100 * float(ratio(tally['cells'][1], cells)):.1f} %, "
        f"hourly bins filled {filled} of {len(tally['hourly'])}, "
        f"equal-split 1 h RMSE {rmse:.3f} mm, worst |y4+y5+y6-S| {worst:.1g} mm"
    )
    low, high = checks.share_1mm
    rmse_low, rmse_high = checks.equal_rmse_mm
    failures = [
        text
        for ok, text in (
            (largest >= checks.min_max_sum_mm, f"max S is below {checks.min_max_sum_mm:g} mm"),
            (low <= share_1mm <= high, f"share >= 1 mm is outside {low:g} to {high:g}"),
            (filled >= checks.min_bins, f"fewer than {checks.min_bins} hourly bins hold values"),
            (rmse_low <= rmse <= rmse_high, f"RMSE is outside {rmse_low:g} to {rmse_high:g} mm"),
            (worst <= 1e-4 + 1e-6 * largest, "the hours do not add to S"),
        )
        if not ok
    ]
    if failures:
        # 1 itself too: scaling by the range puts the largest value there. S may reach three times
        # that, so the hours decide.
        if tally.maxima.get("hour", np.inf) <= 1:
            failures.append("no hourly value is above 1: the data look normalised, not in mm")
        raise DataError(
            "the rain does not look like mm: " + "; ".join(failures),
            file=source,
            found=line,
            next_step="check the units of the input; for another climate set data.checks",
        )
    return line

"""How long the rain scores of one sample take, beside a plain implementation of the same scores.

Run ``python benchmarks/rain_scores.py``. One sample is 480 x 480 cells and three hours of real
satellite rain, shipped with tenkizu and mirrored to that size; the window is the one whose share
of rainy cells is nearest to that of the MSM (27 %). All scores of `evaluate` for one method are
timed but the fractions skill score, whose time is printed apart. The plain implementation looks at
whole fields: the ``scores`` library for events, numpy for the rest. Both give the same numbers,
which is checked before any time is taken.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scores.categorical import ThresholdEventOperator

from tenkizu.core.samples import input_path
from tenkizu.rain.baselines import SUM_BINS, equal_split, linear_split
from tenkizu.rain.config import ScoresConfig
from tenkizu.rain.equal_split import EqualSplit
from tenkizu.rain.fss import fss_tally
from tenkizu.rain.hourly import open_rain, read_window, window_starts
from tenkizu.rain.scores import HOURS, summarise, window_tally

SAMPLE = "sample:imerg_sbrazil_hourly_20231111_18.nc"
SIDE = 480
WET_SHARE = 0.27
GOAL_MS = 30.0

EVENT_SCORES = (
    "accuracy",
    "probability_of_detection",
    "success_ratio",
    "f1_score",
    "critical_success_index",
    "false_alarm_ratio",
    "probability_of_false_detection",
    "equitable_threat_score",
    "frequency_bias",
)

Field = NDArray[np.float32]
CONFIG = ScoresConfig()
THRESHOLDS, CATEGORIES = CONFIG.thresholds_1h, CONFIG.categories_1h


def real_rain() -> tuple[np.datetime64, dict[str, Field], Field, Field]:
    """Start, methods (3, H, W), true hours (3, H, W) and S (H, W) of one sample, mm."""
    with open_rain(input_path(SAMPLE)) as series:
        windows = [read_window(series, start) for start in window_starts(series)]
    window = min(windows, key=lambda w: abs(np.mean(w.total > 0) - WET_SHARE))

    def large(field: Field) -> Field:
        rows, columns = field.shape[-2:]
        pads = [(0, 0)] * (field.ndim - 2) + [(0, SIDE - rows), (0, SIDE - columns)]
        return np.pad(field, pads, mode="symmetric")

    assert window.hours is not None
    truth, total = large(window.hours), large(window.total)
    model = linear_split(large(window.previous), total, large(window.following))
    return window.start, {"model": model, "equal": equal_split(total)}, truth, total


def plain_scores(predicted: Field, equal: Field, truth: Field, total: Field) -> dict[str, Any]:
    """The scores of one method, written down as one would at first."""
    valid = np.isfinite(total) & np.isfinite(truth).all(axis=0)
    subsets = {"all": valid, "conditional": valid & (total >= np.float32(0.1))}
    result: dict[str, Any] = {"events": {}}
    dims = ("hour", "y", "x")
    forecast = xr.DataArray(np.where(valid, predicted, np.nan), dims=dims)
    observed = xr.DataArray(np.where(valid, truth, np.nan), dims=dims)
    for threshold in THRESHOLDS:
        manager = ThresholdEventOperator().make_contingency_manager(
            forecast, observed, event_threshold=np.float32(threshold)
        )
        result["events"][threshold] = (
            manager.transform(),
            manager.transform(preserve_dims=["hour"]),
        )
    edges = [0, *CATEGORIES, np.inf]
    wet = [(f >= np.float32(CONFIG.wet_hour_mm)).astype(int) for f in (truth, predicted)]
    for label, cells in subsets.items():
        error = (predicted.astype(float) - truth)[:, cells]
        reference = (equal.astype(float) - truth)[:, cells]
        result[label] = {
            "rmse": np.sqrt((error**2).mean()),
            "mae": np.abs(error).mean(),
            "skill": 1 - (error**2).sum() / (reference**2).sum(),
            "rmse_hours": np.sqrt((error**2).mean(axis=1)),
            "mae_hours": np.abs(error).mean(axis=1),
            "skill_hours": 1 - (error**2).sum(axis=1) / (reference**2).sum(axis=1),
            "classes": np.histogram2d(
                truth[:, cells].ravel(), predicted[:, cells].ravel(), bins=[edges, edges]
            )[0],
            "wet_hours": np.histogram2d(
                *(w.sum(axis=0)[cells] for w in wet), bins=[np.arange(5) - 0.5] * 2
            )[0],
        }
    cells = subsets["conditional"]
    codes = [(4 * w[0] + 2 * w[1] + w[2])[cells] for w in wet]
    result["patterns"] = np.histogram2d(*codes, bins=[np.arange(9) - 0.5] * 2)[0]
    ordered = np.sort(truth[:, cells], axis=0)
    single = ordered[2] - ordered[1] > 1e-6
    peaks = [f[:, cells].argmax(axis=0)[single] for f in (truth, predicted)]
    result["peaks"] = np.histogram2d(*peaks, bins=[np.arange(4) - 0.5] * 2)[0]
    squared, base = (
        ((f.astype(float) - truth) ** 2).sum(axis=0) for f in (predicted, total / np.float32(3))
    )
    result["by_amount"] = [
        1 - squared[inside].sum() / base[inside].sum() if inside.any() else np.nan
        for low, high in zip(SUM_BINS, [*SUM_BINS[1:], np.inf], strict=True)
        for inside in [valid & (total >= np.float32(low)) & (total < np.float32(high))]
    ]
    tie = np.abs(squared - base)[cells] <= 1e-6 * total[cells].astype(float) ** 2
    result["wins"] = int(((squared < base)[cells] & ~tie).sum())
    rainy = valid & (total > 0)
    departure = np.abs(predicted[:, rainy].sum(axis=0, dtype=float) - total[rainy]) / total[rainy]
    result["departure"] = (departure.max(), departure.mean())
    return result


def require_same(ours: dict[str, Any], wins: int, plain: dict[str, Any]) -> None:
    """Stop unless both implementations give the same numbers."""
    for label, suffix in (("all", ""), ("conditional", "_conditional")):
        found = plain[label]
        np.testing.assert_allclose(ours[f"rmse_1h{suffix}"]["model"], found["rmse"], rtol=1e-6)
        np.testing.assert_allclose(ours[f"mae_1h{suffix}"]["model"], found["mae"], rtol=1e-6)
        np.testing.assert_allclose(ours["mse_skill"][label], found["skill"], rtol=1e-6)
        np.testing.assert_allclose(
            list(ours[f"mse_skill_per_hour{suffix}"]["model"].values()),
            found["skill_hours"],
            rtol=1e-6,
        )
        for key, name in (("categories_hourly", "classes"), ("wet_hours", "wet_hours")):
            matrix = ours[key]["model"][label]["confusion_truth_by_prediction"]
            np.testing.assert_array_equal(matrix, found[name])
    for key, name in (("wet_pattern", "patterns"), ("peak_hour", "peaks")):
        matrix = ours[key]["model"]["confusion_truth_by_prediction"]
        np.testing.assert_array_equal(matrix, plain[name])
    amounts = [entry["skill"] for entry in ours["skill_by_amount"]["model"].values()]
    np.testing.assert_allclose(amounts, plain["by_amount"], rtol=1e-6)
    for threshold, tables in plain["events"].items():
        for table, parts in zip(tables, (["pooled"], HOURS), strict=True):
            for name in EVENT_SCORES:
                found = [ours["binary_hourly"]["model"][p][f"{threshold:g}"][name] for p in parts]
                expected = np.atleast_1d(getattr(table, name)())
                np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(ours["max_relative_sum_error"], plain["departure"][0], rtol=1e-6)
    assert wins == plain["wins"], (wins, plain["wins"])


def median_ms(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median wall times in ms, after one run to warm up; in turns, so that all meet one machine."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - begin)
    return {name: 1e3 * float(np.median(spent[1:])) for name, spent in times.items()}


def main() -> None:
    """Print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=21, help="Timed runs of ours.")
    repeats = parser.parse_args().repeats
    start, methods, truth, total = real_rain()
    model, equal = methods["model"], methods["equal"]
    comparison = EqualSplit(total.shape)

    def tally(names: tuple[str, ...]) -> Any:
        chosen = {name: methods[name] for name in names}
        return window_tally(chosen, truth, total, THRESHOLDS, CATEGORIES, start=start)

    def ours() -> None:
        tally(("model",))
        comparison.add(start, model, truth, total)

    def fss() -> None:
        fss_tally({"model": model}, truth, total, CONFIG.fss_thresholds, CONFIG.fss_windows)

    warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0 in the plain one and in the library
    scores = summarise(tally(("model", "equal")), ("model", "equal"), THRESHOLDS, CATEGORIES)
    comparison.add(start, model, truth, total)
    wins = comparison.summary()["overall"]["wins"]
    require_same(scores, wins, plain_scores(model, equal, truth, total))

    ms = median_ms(
        {
            "ours": ours,
            "sums": lambda: tally(("model",)),
            "two": lambda: tally(("model", "equal")),
            "comparison": lambda: comparison.add(start, model, truth, total),
        },
        repeats,
    )
    ms |= median_ms(
        {"plain": lambda: plain_scores(model, equal, truth, total), "fss": fss},
        max(repeats // 7, 1),
    )
    print(f"{SIDE} x {SIDE} x 3 cells, {np.mean(total > 0):.1%} with rain, {os.cpu_count()} cores")
    print(f"all scores of one method, FSS apart {ms['ours']:8.1f} ms (goal: at most {GOAL_MS:g})")
    print(f"  sums of one method                {ms['sums']:8.1f} ms")
    print(f"  sums of two methods               {ms['two']:8.1f} ms")
    print(f"  comparison with S/3 at each cell  {ms['comparison']:8.1f} ms")
    print(f"plain implementation                {ms['plain']:8.1f} ms")
    print(f"ratio, plain to ours                {ms['plain'] / ms['ours']:8.1f}")
    print(f"FSS of one method                   {ms['fss']:8.1f} ms")


if __name__ == "__main__":
    main()

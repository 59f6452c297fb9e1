"""Average precision of each class with its interval, beside the baselines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from tenkizu.core import charts
from tenkizu.core.errors import DataError

WIDTH_PX = 1600

BASELINE_STYLES = {
    "prevalence": ("#8c8c8c", "prevalence"),
    "climatology": ("#2f855a", "day-of-year climatology"),
    "persistence": ("#8a5cab", "persistence (yesterday's labels, not available to a classifier)"),
    "knn": ("#c05a11", "nearest pressure maps"),
}
"""Colour and name of each baseline with AP."""

_MODEL, _MEAN = "#7ba7d7", "#2b6cb0"
_INK, _MUTED = "#333333", "#777777"


def draw_class_bars(path: str | Path, scores: Mapping[str, Any]) -> Path:
    """Draw AP of each class and their mean as bars with intervals, baselines as marks across.

    Args:
        path: file to write.
        scores: as `tenkizu.patterns.verification.scores.score_days` gives them: ``classes`` by
            name with ``ap``, ``support`` and ``intervals``; ``map``; ``baselines`` by name with
            ``ap`` by class and ``map``. None is undefined.

    Returns:
        The path written.

    Raises:
        DataError: there is no class.
    """
    classes: Mapping[str, Mapping[str, Any]] = scores.get("classes") or {}
    if not classes:
        raise DataError("no class to draw", variable="classes", next_step="evaluate the run again")
    places = np.arange(len(classes)) + 1.6  # the mean stands apart on the left
    everywhere = np.append(0.0, places)
    intervals = scores.get("intervals") or {}
    values = _numbers([scores.get("map"), *(c.get("ap") for c in classes.values())])
    low, high = _ends(
        [intervals.get("map"), *((c.get("intervals") or {}).get("ap") for c in classes.values())]
    )
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, 700)
        ax = figure.subplots()
        colours = [_MEAN] + [_MODEL] * len(classes)
        ax.bar(everywhere, np.nan_to_num(values), width=0.72, color=colours, zorder=2)
        known = np.isfinite(low) & np.isfinite(high) & np.isfinite(values)
        spread = np.abs(np.stack([values - low, high - values]))[:, known]
        ax.errorbar(
            everywhere[known], values[known], spread, fmt="none", ecolor=_INK, elinewidth=1.1,
            capsize=2.5, zorder=4,
        )  # fmt: skip
        for place in everywhere[np.isnan(values)]:
            ax.text(place, 0.015, "undefined", rotation=90, ha="center", va="bottom",
                    color=_MUTED, style="italic")  # fmt: skip
        shown = _draw_baselines(ax, scores.get("baselines") or {}, classes, everywhere)
        support = [f"\n{c['support']:,}" if "support" in c else "" for c in classes.values()]
        names = [f"{name}{days}" for name, days in zip(classes, support, strict=True)]
        ax.set_xticks(everywhere, ["mAP\ndays:", *names], fontsize=9)
        ax.get_xticklabels()[0].set_fontweight("bold")
        ax.tick_params(axis="x", length=0)
        ax.axvline(0.8, color="#c8c8c8", linewidth=0.8)
        ax.set_xlim(-0.6, places[-1] + 0.6)
        ax.set_ylim(0.0, 1.02)
        ax.set_ylabel("average precision")
        ax.grid(True, axis="y")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        interval = Line2D([], [], color=_INK, marker="|", markersize=7, linewidth=1.1)
        handles = [Patch(color=_MODEL), *([interval] if known.any() else []), *shown.values()]
        level = 100 * float(intervals.get("level") or 0.95)
        labels = ["model", *([f"{level:g} % interval"] if known.any() else []), *shown]
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
        return charts.save_figure(figure, path)


def _draw_baselines(
    ax: Axes,
    baselines: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str] | Mapping[str, object],
    places: NDArray[np.float64],
) -> dict[str, Line2D]:
    """Marks across the bars; returns what the legend shows of them."""
    shown = {}
    for name, (colour, label) in BASELINE_STYLES.items():
        found = baselines.get(name) or {}
        by_class = found.get("ap") or {}
        if not by_class:
            continue
        values = _numbers([found.get("map"), *(by_class.get(c) for c in classes)])
        ax.hlines(values, places - 0.42, places + 0.42, color="white", linewidth=3.6, zorder=3)
        ax.hlines(values, places - 0.42, places + 0.42, color=colour, linewidth=2.0, zorder=3)
        shown[label] = Line2D([], [], color=colour, linewidth=2.0)
    return shown


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], np.float64)


def _ends(
    intervals: Sequence[Sequence[float | None] | None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high ends of intervals, NaN where there is none."""
    pairs = [(None, None) if pair is None else pair for pair in intervals]
    return _numbers([p[0] for p in pairs]), _numbers([p[1] for p in pairs])

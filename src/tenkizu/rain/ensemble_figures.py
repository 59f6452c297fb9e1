"""Figures of an ensemble's scores: rank histogram and reliability diagram."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tenkizu.core import charts
from tenkizu.rain.scores import HOURS

WIDTH_PX = 1600
"""Width of both figures."""

_BLUE, _ORANGE, _INK = "#2b6cb0", "#c05a11", "#333333"


def draw_rank_histogram(path: str | Path, histogram: Mapping[str, Any]) -> Path:
    """Draw how often the truth takes each rank among the members, for each hour.

    Args:
        path: file to write.
        histogram: ``per_hour`` counts (M + 1) by hour, ``outside``, ``outside_expected`` and
            ``ties``, as `summarise_ensemble` gives them.

    Returns:
        The path written.
    """
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, 640)
        axes = figure.subplots(1, len(HOURS), sharey=True)
        figure.suptitle(
            "Rank of the truth among the members; dashed: a reliable ensemble\n"
            f"ties are broken {histogram['ties']}",
        )
        for ax, hour in zip(axes, HOURS, strict=True):
            counts = np.asarray(histogram["per_hour"][hour], np.float64)
            ax.set_title(hour, loc="left", fontweight="bold", color=_INK)
            ax.set_xlabel("members below the truth")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if not counts.sum():
                charts.write_note(ax, "no cell with rain")
                continue
            ax.bar(np.arange(len(counts)), counts / counts.sum(), color=_BLUE, width=0.85)
            ax.axhline(1 / len(counts), color=_INK, linewidth=1.0, linestyle=(0, (4, 3)))
        axes[0].set_ylabel("share of hours")
        return charts.save_figure(figure, path)


def draw_reliability(path: str | Path, brier: Mapping[str, Any]) -> Path:
    """Draw observed frequency against forecast probability, one panel a threshold.

    Below each, on a logarithmic scale, is how often each probability was given.

    Args:
        path: file to write.
        brier: by threshold in mm: ``table``, ``base_rate``, ``brier_fair`` and ``events``.

    Returns:
        The path written.
    """
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, 860)
        panels = figure.subplots(
            2, len(brier), squeeze=False, sharex=True, height_ratios=[3.0, 1.0]
        )
        figure.suptitle("Reliability of hourly events; dashed: perfect, dotted: observed frequency")
        for i, (threshold, scores) in enumerate(brier.items()):
            _reliability(panels[0, i], threshold, scores)
            table = scores["table"]
            counts = np.asarray(table["count"], np.float64)
            width = min(0.1, 0.8 / (len(counts) - 1))
            panels[1, i].bar(table["probability"], counts, width=width, color=_BLUE)
            panels[1, i].set_xlabel("share of members")
            if counts.any():
                panels[1, i].set_yscale("log")
                panels[1, i].set_ylim(bottom=0.5)
        panels[0, 0].set_ylabel("observed frequency")
        panels[1, 0].set_ylabel("hours")
        return charts.save_figure(figure, path)


def _reliability(ax: Axes, threshold: str, scores: Mapping[str, Any]) -> None:
    """One reliability curve; how often each probability was given is in the panel below."""
    ax.set_title(f"≥ {threshold} mm", loc="left", fontweight="bold", color=_INK)
    ax.set_xlim(-0.06, 1.06)
    ax.set_ylim(-0.03, 1.03)
    if not scores["events"]:
        charts.write_note(ax, "no event")
        return
    ax.plot([0, 1], [0, 1], color=_INK, linewidth=1.0, linestyle=(0, (4, 3)))
    ax.axhline(scores["base_rate"], color=_INK, linewidth=1.0, linestyle=":")
    table = scores["table"]
    observed = np.array(table["observed_frequency"], np.float64)
    known = np.isfinite(observed)
    probability = np.array(table["probability"])
    ax.plot(probability[known], observed[known], color=_ORANGE, marker="o", markersize=5)
    ax.text(
        0.03,
        0.97,
        f"Brier score {scores['brier_fair']:.4f} (fair)",
        transform=ax.transAxes,
        va="top",
        color=_INK,
    )

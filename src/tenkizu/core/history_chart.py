"""Quantities of a training over its epochs, one panel above the other, the best epoch marked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tenkizu.core import charts
from tenkizu.core.errors import DataError

TRAIN_COLOUR, VALIDATION_COLOUR = "#c05a11", "#2b6cb0"
_INK = "#333333"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows.
        curves: name and colour by the key in the history; the last is the one marked as best.
        unit: written after the value of the best epoch, with a space before.
        neutral: value at which the quantity says nothing, drawn as a line.
        height: relative to the other panels.
    """

    title: str
    curves: Mapping[str, tuple[str, str]]
    unit: str = ""
    neutral: float | None = None
    height: float = 1.0


def draw_history(
    path: str | Path,
    history: Mapping[str, Any],
    panels: Sequence[Panel],
    size_px: tuple[int, int],
    dpi: float = charts.DPI,
) -> Path:
    """Draw the panels over the epochs that exist.

    Args:
        path: file to write.
        history: ``epoch`` (epochs from 1 if absent) and the panels' quantities, lists of one
            length with None where a value was not computed, and ``best_epoch``, an epoch or None.
        panels: from the top.
        size_px: width and height of the figure.
        dpi: its resolution.

    Returns:
        The path written.

    Raises:
        DataError: there is no epoch.
    """
    epochs = _epochs(history, panels)
    best = history.get("best_epoch")
    with charts.style():
        figure = charts.new_figure(*size_px, dpi)
        axes = figure.subplots(
            len(panels), 1, sharex=True, squeeze=False, height_ratios=[p.height for p in panels]
        )[:, 0]
        for ax, panel in zip(axes, panels, strict=True):
            ax.set_title(panel.title, loc="left", fontweight="bold", color=_INK)
            drawn = {key: _numbers(history.get(key), len(epochs)) for key in panel.curves}
            if not any(np.isfinite(values).any() for values in drawn.values()):
                charts.write_note(ax, "not computed")
                ax.set_yticks([])
                continue
            for key, (name, colour) in panel.curves.items():
                ax.plot(epochs, drawn[key], color=colour, marker="o", markersize=3, label=name)
            if best is not None and best in epochs:
                ax.axvline(best, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
                value = float(drawn[key][epochs == best][0])
                if math.isfinite(value):
                    ax.plot([best], [value], "o", color=colour, markersize=7, mec="white")
                    text = f"best epoch {best:g}: {name} {value:.4g}{panel.unit}"
                    ax.set_title(text, loc="right", color=_INK)
            if panel.neutral is not None:
                ax.axhline(panel.neutral, color="#8a8a8a", linewidth=0.9, zorder=1)
            if len(panel.curves) > 1:
                ax.legend(loc="best")
            ax.grid(True)
            ax.margins(y=0.12)
        axes[-1].set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
        axes[-1].xaxis.set_major_locator(MaxNLocator(nbins=16, integer=True, min_n_ticks=1))
        axes[-1].set_xlabel("epoch")
        return charts.save_figure(figure, path)


def _epochs(history: Mapping[str, Any], panels: Sequence[Panel]) -> NDArray[np.float64]:
    found = history.get("epoch")
    if found is None:
        keys = [key for panel in panels for key in panel.curves]
        found = range(1, 1 + max((len(history.get(key) or ()) for key in keys), default=0))
    if not len(found):
        raise DataError("no epoch to draw", variable="epoch", next_step="train at least one epoch")
    return np.asarray(found, np.float64)


def _numbers(values: Sequence[float | None] | None, count: int) -> NDArray[np.float64]:
    """A curve as floats, with NaN where a value is None or the whole curve is absent."""
    listed = [None] * count if values is None else values
    return np.array([math.nan if v is None else v for v in listed], dtype=np.float64)

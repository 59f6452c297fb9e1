"""Small multiples, one panel a class: confusion matrices, precision-recall, reliability."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from tenkizu.core import charts
from tenkizu.core.errors import DataError
from tenkizu.core.report import number
from tenkizu.patterns.verification.average_precision import average_precision
from tenkizu.patterns.verification.days import DayTable
from tenkizu.patterns.verification.score_summary import Ranking, ranking_scores

COLUMNS = 5

RAW_COLOUR, MODEL_COLOUR = "#c05a11", "#2b6cb0"
_INK, _MUTED = "#333333", "#777777"
_PANEL_PX = 300
_DPI = 150


def draw_confusion_matrices(path: str | Path, scores: Mapping[str, Any]) -> Path:
    """Draw one 2 x 2 table of days a class, truth along rows and decision along columns.

    All panels share one scale of blues; its steps go with the square root of the count, else the
    many days without a class would leave all others white.

    Args:
        path: file to write.
        scores: as `tenkizu.patterns.verification.scores.score_days` gives them: ``classes`` by
            name with ``hits``, ``misses``, ``false_alarms``, ``correct_negatives`` and ``decided``.

    Returns:
        The path written.

    Raises:
        DataError: there is no class.
    """
    classes = _classes(scores)
    keys = (("correct_negatives", "false_alarms"), ("misses", "hits"))
    tables = {n: np.array([[c[k] for k in row] for row in keys]) for n, c in classes.items()}
    norm = PowerNorm(0.5, 0.0, max(1, *(int(t.max()) for t in tables.values())))
    blues = matplotlib.colormaps["Blues"]
    # 3 x 3 inches a panel.
    with _figure(path, classes, panel_px=3 * _DPI, dpi=_DPI) as (figure, axes):
        for ax, (name, counts) in zip(axes, tables.items(), strict=False):
            ax.imshow(counts, norm=norm, cmap=blues, aspect="equal")
            for (row, column), count in np.ndenumerate(counts):
                dark = norm(count) > 0.55
                ax.text(
                    column, row, f"{count:,}", ha="center", va="center", fontsize=15,
                    color="white" if dark else _INK,
                )  # fmt: skip
            undecided = not classes[name].get("decided", True)
            ax.set_title(name + (": no threshold" if undecided else ""), fontsize=13, color=_INK)
            ax.set_xticks([0, 1], ["not predicted", "predicted"], fontsize=9.5)
            ax.set_yticks([0, 1], ["absent", "present"], fontsize=9.5, rotation=90, va="center")
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
            ax.set_xticks([0.5], minor=True)
            ax.set_yticks([0.5], minor=True)
            ax.tick_params(which="minor", length=0)
            ax.grid(True, which="minor", color="white", linewidth=3)
        bar = figure.colorbar(
            ScalarMappable(norm, blues), ax=axes, orientation="horizontal", shrink=0.4,
            aspect=40, pad=0.01,
        )  # fmt: skip
        bar.outline.set_linewidth(0.6)
        bar.ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        bar.ax.tick_params(labelsize=9.5)
        bar.set_label("days (colour by the square root)", fontsize=10.5)
    return Path(path)


def draw_pr_curves(path: str | Path, table: DayTable, ranking: Ranking = "raw") -> Path:
    """Draw precision against recall over all thresholds, and where the decisions lie.

    The dashed line is the share of days with the class, which a forecast without skill reaches;
    grey curves join points of equal F1.

    Args:
        path: file to write.
        table: the days.
        ranking: which probabilities rank them, as for AP.

    Returns:
        The path written.
    """
    probs = ranking_scores(table, ranking)
    ap = average_precision(table.truth, probs)
    if ap.ndim > 1:
        ap = ap[0]
    heading = "Precision and recall; AP in the titles; dot: the decisions; dashed: share of days"
    with _figure(path, table.labels, heading=heading, share=True) as (_, axes):
        for i, (ax, name) in enumerate(zip(axes, table.labels, strict=False)):
            truth, predicted = table.truth[:, i], table.predicted[:, i]
            _unit_square(ax, "recall", "precision")
            ax.set_title(f"{name}   {number(ap[i])}", loc="left", fontweight="bold", color=_INK)
            if not truth.any():
                charts.write_note(ax, "on no day")
                continue
            _equal_f1(ax)
            ax.axhline(truth.mean(), color=_MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            recall, precision = _precision_recall(truth, probs[:, i])
            ax.step(recall, precision, where="pre", color=MODEL_COLOUR)
            hits = int((truth & predicted).sum())
            if table.decided[i] and predicted.any():
                point = hits / truth.sum(), hits / predicted.sum()
                ax.plot(*point, "o", color=RAW_COLOUR, mec="white", markersize=6.5, zorder=5)
    return Path(path)


def draw_reliability(path: str | Path, scores: Mapping[str, Any]) -> Path:
    """Draw the observed share of days against the predicted probability, raw and calibrated.

    Args:
        path: file to write.
        scores: as `tenkizu.patterns.verification.scores.score_days` gives them: ``classes`` by
            name with ``reliability``, and one of all classes together.

    Returns:
        The path written.

    Raises:
        DataError: there is no class.
    """
    curves = {name: c.get("reliability") or {} for name, c in _classes(scores).items()}
    if scores.get("reliability"):
        curves["all classes"] = scores["reliability"]
    kinds = {"raw": ("raw", RAW_COLOUR), "calibrated": ("calibrated", MODEL_COLOUR)}
    heading = "Observed share against predicted probability; titles: ECE calibrated (raw)"
    with _figure(path, curves, heading=heading, share=True, legend=True) as (figure, axes):
        for ax, (name, found) in zip(axes, curves.items(), strict=False):
            _unit_square(ax, "predicted probability", "observed share")
            ax.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            for kind, (label, colour) in kinds.items():
                curve = found.get(kind) or {}
                x, y = curve.get("mean_probability") or [], curve.get("observed_share") or []
                ax.plot(x, y, color=colour, marker="o", markersize=3.5, linewidth=1.2, label=label)
            calibrated, raw = ((found.get(k) or {}).get("ece") for k in ("calibrated", "raw"))
            ax.set_title(
                f"{name}   {number(calibrated)} ({number(raw)})",
                loc="left", fontweight="bold", color=_INK,
            )  # fmt: skip
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return Path(path)


def _classes(scores: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    classes = dict(scores.get("classes") or {})
    if not classes:
        raise DataError("no class to draw", variable="classes", next_step="evaluate the run again")
    return classes


@contextmanager
def _figure(
    path: str | Path,
    names: Sequence[str] | Mapping[str, object],
    *,
    panel_px: int = _PANEL_PX,
    dpi: float = charts.DPI,
    heading: str = "",
    share: bool = False,
    legend: bool = False,
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with one square panel a name in `COLUMNS` columns, saved at the end."""
    rows = math.ceil(len(names) / COLUMNS)
    below = 90 if not share else 100 + 45 * legend + 55 * bool(len(names) % COLUMNS)
    with charts.style():
        figure = charts.new_figure(COLUMNS * panel_px, rows * panel_px + below, dpi)
        if heading:
            figure.suptitle(heading, color=_INK)
        grid = figure.subplots(rows, COLUMNS, sharex=share, sharey=share, squeeze=False).ravel()
        for ax in grid[len(names) :]:
            ax.set_axis_off()
            if share:  # the panel above now carries the labels of its column
                above = grid[list(grid).index(ax) - COLUMNS]
                above.tick_params(labelbottom=True)
        axes = list(grid[: len(names)])
        yield figure, axes
        if share:
            for i, ax in enumerate(axes):
                if i % COLUMNS:
                    ax.set_ylabel("")
                if i + COLUMNS < len(axes):
                    ax.set_xlabel("")
        charts.save_figure(figure, path)


def _unit_square(ax: Axes, x: str, y: str) -> None:
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.03, 1.03)
    ax.set_aspect("equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(FixedLocator([0.0, 0.5, 1.0]))
    ax.grid(True)
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def _equal_f1(ax: Axes) -> None:
    """Curves P = F R / (2 R - F) of F1 = 0.2, 0.4, 0.6, 0.8."""
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / 2 + 1e-3, 1.0, 200)
        precision = f1 * recall / (2 * recall - f1)
        ax.plot(recall, np.where(precision <= 1.0, precision, np.nan), color="#dcdcdc", lw=0.8)


def _precision_recall(truth: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision of "at least s" for every distinct score s, from (0, first) on."""
    order = np.argsort(-probs, kind="stable")
    last = np.flatnonzero(np.append(np.diff(probs[order]) != 0, True))
    hits = np.cumsum(truth[order])[last]
    recall, precision = hits / truth.sum(), hits / (last + 1)
    return np.append(0.0, recall), np.append(precision[0], precision)

"""Scores of the validation periods over the epochs of a training, one figure per family."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from tenkizu.core import charts

WIDTH_PX = 1600
"""Width of every figure."""

CAPTIONS = {
    "binary_hourly_metrics": "Hourly events at least as large as each threshold, hours pooled",
    "categorical_hourly_overall_accuracy": "Share of hours in the right class of amount",
    "categorical_hourly_perclass_precision": "Share of the predicted hours of a class that are it",
    "categorical_hourly_perclass_recall": "Share of the true hours of a class that are predicted",
    "wet_hour_pattern_accuracy": "Share of cells with the right wet hours and heaviest hour",
    "rmse_1h_baseline": "1 h RMSE of the model and of the equal split S/3",
    "binary_sum_metrics": "3-hour events at least as large as each threshold",
    "categorical_sum_overall_accuracy": "Share of 3-hour sums in the right class of amount",
    "categorical_sum_perclass_precision": "Share of the predicted sums of a class that are it",
    "categorical_sum_perclass_recall": "Share of the true sums of a class that are predicted",
    "rmse_sum": "RMSE of the 3-hour sum",
}
"""What each figure shows, by its name without ``_over_epochs.png``; all on validation periods."""

_METRICS = {
    "probability_of_detection": "POD (recall)",
    "success_ratio": "success ratio (precision)",
    "critical_success_index": "CSI",
    "equitable_threat_score": "ETS",
    "frequency_bias": "frequency bias",
    "f1_score": "F1",
    "accuracy": "accuracy",
}
_SHARES = {
    "number of wet hours": "wet_hours_accuracy",
    "wet pattern": "wet_pattern_accuracy",
    "heaviest hour": "peak_hour_accuracy",
}
_METHODS = {"model": ("model", "#2b6cb0"), "equal": ("equal split S/3", "#c05a11")}
_INK = "#333333"

Values = NDArray[np.float64]


@dataclass(frozen=True)
class _Panel:
    """Curves by label on common axes, and the value at which a score is neutral, if any."""

    title: str
    curves: Mapping[str, Values]
    colours: Sequence[ArrayLike]
    neutral: float | None = None


def draw_epoch_curves(folder: str | Path, history: Mapping[str, Any]) -> list[Path]:
    """Draw ``NAME_over_epochs.png`` for every family of scores that the history has.

    The epochs are those of the history; an epoch without a score leaves a gap. The best epoch, by
    which the model was chosen, is marked.

    Args:
        folder: where to write.
        history: list ``epoch``, list ``scores`` of one dictionary (or None) an epoch, and
            ``best_epoch``. Scores of 3-hour sums (``binary_sum``, ``categories_sum``,
            ``rmse_sum``), which only a head that does not conserve S has, are drawn if present.

    Returns:
        The files written, in the order of `CAPTIONS`; none for a history without scores.
    """
    epochs = np.asarray(history.get("epoch") or (), np.float64)
    records = [record or {} for record in history.get("scores") or ()][: len(epochs)]
    records += [{}] * (len(epochs) - len(records))
    written = []
    for name, panels in _figures(records).items():
        path = Path(folder) / f"{name}_over_epochs.png"
        written.append(_draw(path, CAPTIONS[name], epochs, history.get("best_epoch"), panels))
    return written


def _figures(records: Sequence[Mapping[str, Any]]) -> dict[str, list[_Panel]]:
    """The panels of every figure for which at least one epoch has a record."""
    figures = {}
    for kind in ("hourly", "sum"):
        if thresholds := _keys(records, f"binary_{kind}"):
            thresholds.sort(key=float)
            colours = _shades(len(thresholds))
            figures[f"binary_{kind}_metrics"] = [
                _Panel(
                    title,
                    {
                        f"≥ {t} mm": _series(records, f"binary_{kind}", t, metric)
                        for t in thresholds
                    },
                    colours,
                    1.0 if metric == "frequency_bias" else None,
                )
                for metric, title in _METRICS.items()
            ]
        if _keys(records, f"categories_{kind}"):
            figures |= _category_figures(records, kind)
    had = {key for record in records for key in record}
    if shares := {label: key for label, key in _SHARES.items() if key in had}:
        curves = {label: _series(records, key) for label, key in shares.items()}
        panel = _Panel("accuracy", curves, ["#2b6cb0", "#2f855a", "#8a5cab"][: len(curves)])
        figures["wet_hour_pattern_accuracy"] = [panel]
    for key, name in (("rmse_1h", "rmse_1h_baseline"), ("rmse_sum", "rmse_sum")):
        if methods := [m for m in _METHODS if m in _keys(records, key)]:
            curves = {_METHODS[m][0]: _series(records, key, m) for m in methods}
            figures[name] = [_Panel("RMSE (mm)", curves, [_METHODS[m][1] for m in methods])]
    return {name: figures[name] for name in CAPTIONS if name in figures}


def _category_figures(records: Sequence[Mapping[str, Any]], kind: str) -> dict[str, list[_Panel]]:
    """Overall accuracy, and precision and recall of each class."""
    key = f"categories_{kind}"
    edges: list[float] = next(
        (r[key]["edges_mm"] for r in records if (r.get(key) or {}).get("edges_mm")), []
    )
    names = [f"{low:g} to {high:g} mm" for low, high in itertools.pairwise(edges)]
    names += [f"≥ {edges[-1]:g} mm"] if edges else []
    overall = _Panel("overall accuracy", {"model": _series(records, key, "accuracy")}, ["#2b6cb0"])
    figures = {f"categorical_{kind}_overall_accuracy": [overall]}
    for score in ("precision", "recall"):
        curves = {name: _series(records, key, score, i) for i, name in enumerate(names)}
        panel = _Panel(f"{score} of each class", curves, _shades(len(names)))
        figures[f"categorical_{kind}_perclass_{score}"] = [panel]
    return figures


def _keys(records: Sequence[Mapping[str, Any]], family: str) -> list[str]:
    """Keys that a family of scores has in any epoch, in order of appearance."""
    return list(dict.fromkeys(key for record in records for key in record.get(family) or ()))


def _series(records: Sequence[Mapping[str, Any]], *path: str | int) -> Values:
    """One score over the epochs, NaN where it is None or absent."""
    values = []
    for record in records:
        value: Any = record
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                value = None
        values.append(math.nan if value is None else float(value))
    return np.array(values)


def _shades(count: int) -> list[ArrayLike]:
    """Colours of increasing amounts, all dark enough for lines."""
    return list(charts.rain_colormap()(np.linspace(0.3, 1.0, count)))


def _draw(
    path: Path, title: str, epochs: Values, best: float | None, panels: Sequence[_Panel]
) -> Path:
    """One figure: panels side by side and, for several panels or curves, one legend."""
    columns = min(len(panels), 4)
    # The place after the last panel is left to the legend.
    rows = math.ceil((len(panels) + 1) / columns) if columns > 1 else 1
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, 160 + 470 * rows if rows > 1 else 640)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        marked = f"; dashed: best epoch {best:g}" if best is not None and best in epochs else ""
        figure.suptitle(f"{title} (validation periods{marked})")
        for ax, panel in zip(axes, panels, strict=False):
            _draw_panel(ax, panel, epochs, best)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        handles, labels = axes[0].get_legend_handles_labels()
        if columns > 1:
            axes[len(panels)].legend(handles, labels, loc="center", fontsize=9)
        elif len(labels) > 1:
            figure.legend(handles, labels, loc="outside right center")
        return charts.save_figure(figure, path)


def _draw_panel(ax: Axes, panel: _Panel, epochs: Values, best: float | None) -> None:
    """Curves of one panel, the best epoch marked, undefined curves named."""
    ax.set_title(panel.title, loc="left", fontweight="bold", color=_INK)
    if panel.neutral is not None:
        ax.axhline(panel.neutral, color="#8a8a8a", linewidth=0.9, zorder=1)
    if best is not None and best in epochs:
        ax.axvline(best, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for (label, values), colour in zip(panel.curves.items(), panel.colours, strict=True):
        if not np.isfinite(values).any():
            label += ", undefined"
        ax.plot(epochs, values, color=colour, marker="o", markersize=3, label=label)
    if not any(np.isfinite(values).any() for values in panel.curves.values()):
        ax.text(
            0.5,
            0.5,
            "undefined in every epoch",
            transform=ax.transAxes,
            ha="center",
            va="center",
            color="#777777",
            style="italic",
        )
        ax.set_yticks([])
    ax.grid(True)
    ax.margins(y=0.12)
    low, high = ax.get_ylim()
    if not any((values < 0.0).any() for values in panel.curves.values()):
        # Room for the markers of zeros, but no empty band of impossible scores.
        ax.set_ylim(bottom=max(low, -0.03 * high))
    ax.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    ticks = MaxNLocator(nbins=8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    ax.xaxis.set_major_locator(ticks)
    ax.set_xlabel("epoch")

"""Figures of an evaluation's scores: fractions skill score and performance diagram.

`score_drawings` lists these, the spectra and the improvement maps for one evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from tenkizu.core import charts
from tenkizu.core.errors import DataError
from tenkizu.rain.improvement_maps import draw_improvement_maps
from tenkizu.rain.score_text import counted, label_of
from tenkizu.rain.spectra_figure import draw_spectra, drawable

WIDTH_PX = 1600
"""Width of every figure."""

_INK, _MUTED = "#333333", "#777777"
_MARKERS = "osD^vPX*<>hd"
_METHOD_COLOURS = ("#2b6cb0", "#c05a11", "#2f855a", "#8a5cab", "#b83280", "#6b7280")
_CSI_LEVELS = np.arange(0.1, 0.95, 0.1)
_BIAS_RAYS = (0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0)

Matrix = NDArray[np.float64]


def score_drawings(
    folder: Path, scores: Mapping[str, Any]
) -> dict[str, Callable[[str | Path], Path]]:
    """The figures that an evaluation's results allow, by file name, each drawn when called.

    Args:
        folder: of the evaluation; holds ``equal_split_maps.npz`` or not.
        scores: the content of ``scores.json``.
    """
    drawings: dict[str, Callable[[str | Path], Path]] = {}
    if scores.get("binary_hourly"):
        drawings["performance.png"] = partial(
            draw_performance_diagram, binary=scores["binary_hourly"]
        )
    fss = scores.get("fss") or {}
    if fss.get("thresholds_mm") and fss.get("windows_cells"):
        found = (scores.get("intervals") or {}).get("skill_against_best_baseline") or {}
        drawings["fss.png"] = partial(draw_fss_matrix, fss=fss, best=found.get("baseline"))
    if drawable(spectra := scores.get("spectra") or {}):
        drawings["spectra.png"] = partial(draw_spectra, spectra=spectra)
    maps = folder / "equal_split_maps.npz"
    if maps.exists():
        drawings["improvement_maps.png"] = partial(draw_improvement_maps, maps=maps)
    return drawings


def draw_fss_matrix(path: str | Path, fss: Mapping[str, Any], best: str | None = None) -> Path:
    """Draw the fractions skill score by threshold and window, and its gain over baselines.

    Every cell prints its value. Cells with useful skill, FSS >= 0.5 + f0 / 2 with the base rate f0
    (Roberts and Lean 2008), are outlined; cells without an event are grey.

    Args:
        path: file to write.
        fss: as `tenkizu.rain.fss.fss_scores` gives it: ``thresholds_mm`` (T), ``windows_cells``
            (W), ``windows_km`` (W) or None, ``fields`` (W), ``useful`` (T), ``model`` (T, W) and,
            for further panels, those of baselines (T, W); None is undefined.
        best: name of the best baseline; without it, and where it is the equal split, the gain
            over the equal split alone is drawn.

    Returns:
        The path written.

    Raises:
        DataError: a matrix does not have the shape of its axes.
    """
    shape = len(fss["thresholds_mm"]), len(fss["windows_cells"])
    model = _matrix(fss["model"], "model", shape)
    # A wrong shape of a baseline's matrix is found as well as one of the model's.
    baselines = [m for m in dict.fromkeys(("equal", best)) if m and fss.get(m) is not None]
    gains = {m: model - _matrix(fss[m], m, shape) for m in baselines}
    useful = np.array(fss["useful"], np.float64)[:, None]
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, 330 + 66 * shape[0])
        axes = figure.subplots(1, 1 + len(gains), squeeze=False, sharey=True)[0]
        figure.suptitle(
            f"Fractions skill score, {counted(max(fss['fields'], default=0), 'hourly field')}; "
            "outlined: useful skill, at least 0.5 + base rate / 2"
            + "; differences: blue, model better"
            * bool(gains)
        )
        scales = (matplotlib.colormaps["YlGnBu"], Normalize(0.0, 1.0), "{:.2f}")
        _heat_map(axes[0], model, *scales, fss)
        _outline(axes[0], model >= useful)
        axes[0].set_title("model", loc="left", fontweight="bold", color=_INK)
        known = [float(abs(v)) for gain in gains.values() for v in gain[np.isfinite(gain)]]
        # One scale for all differences, so that they can be compared.
        half = max([*known, 0.05])
        scales = (matplotlib.colormaps["RdBu"], Normalize(-half, half), "{:+.2f}")
        for ax, (method, gain) in zip(axes[1:], gains.items(), strict=True):
            _heat_map(ax, gain, *scales, fss)
            title = f"model minus {label_of(method)}"
            title += ",\nthe best baseline" * (method == best != "equal")
            ax.set_title(title, loc="left", fontweight="bold", color=_INK)
            ax.set_ylabel("")
        return charts.save_figure(figure, path)


def draw_performance_diagram(path: str | Path, binary: Mapping[str, Any]) -> Path:
    """Draw POD against success ratio, one marker a threshold, for the model and its baselines.

    Contours are CSI = 1 / (1/SR + 1/POD - 1), rays are frequency bias = POD / SR (Roebber 2009).

    Args:
        path: file to write.
        binary: ``[method]["pooled"][threshold]`` with ``probability_of_detection`` and
            ``success_ratio``; None or NaN is undefined and left out.

    Returns:
        The path written.

    Raises:
        DataError: there is no method.
    """
    if not binary:
        raise DataError("no method to draw", variable="binary_hourly")
    thresholds = sorted({t for scores in binary.values() for t in scores["pooled"]}, key=float)
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, 1240)
        ax = figure.subplots()
        _performance_axes(ax)
        methods, drawn = [], set()
        for i, (method, scores) in enumerate(binary.items()):
            colour = _METHOD_COLOURS[i % len(_METHOD_COLOURS)]
            points = [_point(scores["pooled"].get(t)) for t in thresholds]
            x, y = np.array(points).T
            ax.plot(x, y, color=colour, linewidth=1.0, zorder=4)
            for j in np.flatnonzero(np.isfinite(x) & np.isfinite(y)):
                drawn.add(thresholds[j])
                ax.plot(
                    x[j],
                    y[j],
                    marker=_MARKERS[j % len(_MARKERS)],
                    color=colour,
                    # The model stands out, and points that coincide stay visible.
                    markerfacecolor=colour if i == 0 else "white",
                    markersize=9 if i == 0 else 7,
                    clip_on=False,
                    zorder=6 if i == 0 else 5,
                )
            methods.append(Line2D([], [], color=colour, label=label_of(method)))
        if not drawn:
            charts.write_note(ax, "at no threshold are events both observed and predicted")
            figure.legend(handles=methods, loc="outside right center", fontsize=9)
            return charts.save_figure(figure, path)
        shapes = [
            Line2D(
                [],
                [],
                linestyle="none",
                color=_INK,
                marker=_MARKERS[j % len(_MARKERS)],
                label=f"≥ {t} mm" + ("" if t in drawn else ", undefined"),
            )
            for j, t in enumerate(thresholds)
        ]
        figure.legend(handles=[*methods, *shapes], loc="outside right center", fontsize=9)
        return charts.save_figure(figure, path)


def _matrix(values: ArrayLike, name: str, shape: tuple[int, int]) -> Matrix:
    """A matrix of floats, None as NaN."""
    matrix = np.array(values, np.float64)
    if matrix.shape != shape:
        raise DataError(
            "the scores do not have the shape of their axes",
            variable=f"fss.{name}",
            found=f"shape {matrix.shape}",
            expected=f"{shape[0]} thresholds x {shape[1]} windows",
            next_step="run `evaluate` again",
        )
    return matrix


def _heat_map(
    ax: Axes,
    values: Matrix,
    colours: Colormap,
    norm: Normalize,
    form: str,
    fss: Mapping[str, Any],
) -> None:
    """Coloured cells with their values, thresholds from the top, windows from the left."""
    scale = min(1.0, ax.get_window_extent().width / (70 * len(fss["windows_cells"])))
    shown = np.ma.masked_invalid(values)
    ax.imshow(shown, cmap=colours.with_extremes(bad=charts.MISSING_COLOUR), norm=norm)
    ax.set_aspect("auto")
    for (row, column), value in np.ndenumerate(values):
        text, colour = "no\nevent" if fss["fields"][column] else "wider\nthan grid", _MUTED
        if np.isfinite(value):
            red, green, blue, _ = colours(norm(value))
            # Perceived brightness of the cell decides the colour of its text.
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
            # Adding zero turns a rounded -0.0 into 0.0.
            text = form.format(round(value, 2) + 0.0).replace("-", "\N{MINUS SIGN}")
            colour = "white" if dark else _INK
        # Cells of three panels side by side are narrow.
        size = (9 if np.isfinite(value) else 7) * scale
        ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    kilometres: Sequence[float] = fss.get("windows_km") or ()
    labels = [f"{cells}" for cells in fss["windows_cells"]]
    unit = "cells"
    if len(kilometres) == len(labels):
        labels = [f"{c}\n{km:.3g}" for c, km in zip(labels, kilometres, strict=True)]
        unit = "cells, below in km"
    ax.set_xticks(range(len(labels)), labels)
    ax.set_yticks(range(len(values)), [f"≥ {t:g}" for t in fss["thresholds_mm"]])
    ax.set_xlabel(f"side of the window ({unit})")
    ax.set_ylabel("threshold (mm in 1 h)")
    ax.tick_params(length=0)


def _outline(ax: Axes, inside: NDArray[np.bool_]) -> None:
    """A line around the cells that are inside."""
    padded = np.pad(inside, 1)
    for row, column in np.argwhere(inside):
        # Neighbour in the padded array, and the side of the cell that faces it.
        top, left = row - 0.5, column - 0.5
        for (down, right), xs, ys in (
            ((0, 1), (left, left + 1), (top, top)),
            ((2, 1), (left, left + 1), (top + 1, top + 1)),
            ((1, 0), (left, left), (top, top + 1)),
            ((1, 2), (left + 1, left + 1), (top, top + 1)),
        ):
            if not padded[row + down, column + right]:
                ax.plot(xs, ys, color="black", linewidth=2.0, clip_on=False)


def _performance_axes(ax: Axes) -> None:
    """Unit square with contours of CSI and rays of frequency bias."""
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="success ratio (1 \N{MINUS SIGN} false alarm ratio)")
    ax.set_ylabel("probability of detection (POD)")
    ax.set_aspect("equal")
    ax.set_title(
        "Hourly events, hours pooled; contours: CSI, dashed: frequency bias",
        loc="left",
        color=_INK,
        pad=18,
    )
    side = np.linspace(0.005, 1.0, 200)
    csi = 1.0 / (1.0 / side[None, :] + 1.0 / side[:, None] - 1.0)
    lines = ax.contour(side, side, csi, levels=_CSI_LEVELS, colors="#b9c4cf", linewidths=0.8)
    ax.clabel(lines, fmt="%.1f", fontsize=7.5, colors="#8494a3")
    for bias in _BIAS_RAYS:
        x, y = min(1.0, 1.0 / bias), min(1.0, bias)
        ax.plot([0, x], [0, y], color="#c9c9c9", linewidth=0.8, linestyle=(0, (5, 4)), zorder=1)
        ax.annotate(
            f"{bias:g}",
            (x, y),
            xytext=(4, 0) if bias <= 1.0 else (0, 3),
            textcoords="offset points",
            va="center" if bias <= 1.0 else "bottom",
            ha="left" if bias <= 1.0 else "center",
            color=_MUTED,
            fontsize=7.5,
            annotation_clip=False,
        )


def _point(scores: Mapping[str, float | None] | None) -> tuple[float, float]:
    """Success ratio and POD of one threshold, NaN where undefined."""
    x, y = ((scores or {}).get(k) for k in ("success_ratio", "probability_of_detection"))
    return np.nan if x is None else float(x), np.nan if y is None else float(y)

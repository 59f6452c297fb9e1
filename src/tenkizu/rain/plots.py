"""Figures of hourly rain: prediction against truth, training curves, methods compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from tenkizu.core import charts
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.history_chart import TRAIN_COLOUR, VALIDATION_COLOUR, Panel, draw_history
from tenkizu.rain.tables import window_label

WIDTH_PX = 1600
"""Width of every figure."""

UPPER_PERCENTILE = 99.0
"""Percentile of the positive values at which the rain scales end."""

LINEAR_UPPER_MM = (1.0, 600.0)
"""Bounds of the upper limit of the linear scale, mm."""

_MAP_WIDTH_PX = 322
"""Width of a map, unless it is so tall that its height is bounded."""

_HEIGHT_OVER_WIDTH = (0.2, 3.0)
"""Bounds of the room for a map, so that neither a strip nor a needle spoils the figure."""

_NAME_PX, _TITLE_PX, _BAR_PX = 120, 260, 340
"""Room for a row's upright name, a column's title and an upright colour bar with its label."""

_HOUR = np.timedelta64(1, "h")
_INK = "#333333"
_BLUE, _ORANGE = VALIDATION_COLOUR, TRAIN_COLOUR

_LOSS_PANELS = (
    Panel(
        "loss",
        # Not of the same rain: amounts may be scaled and tiles chosen, and P and N are hidden.
        {"train_loss": ("training, augmented", _ORANGE), "val_loss": ("validation", _BLUE)},
        height=1.4,
    ),
    Panel("1 h RMSE (mm), validation", {"val_rmse_1h": ("validation", _BLUE)}, unit=" mm"),
    Panel("MSE skill against S/3, validation", {"val_skill": ("validation", _BLUE)}, neutral=0.0),
)


def panel_name(start: np.datetime64) -> str:
    """File name of a window's panels, by its initial time t0 = ``start`` - 3 h."""
    return f"validation_{window_label(start)}.png"


def rain_limits(
    amounts: Sequence[ArrayLike], *, scale: Literal["log", "linear"], vmin_mm: float = 0.1
) -> tuple[float, float]:
    """Lower and upper limit in mm of the colours shared by all panels.

    The upper limit is the 99th percentile of the positive values. On the linear scale, which
    starts at 0, it is clipped to 1..600 mm; on the logarithmic scale, which starts at ``vmin_mm``,
    it is at least twice the lower limit. Without any rain it is 1 mm or ten times ``vmin_mm``.
    """
    positive = np.concatenate([np.asarray(a)[np.asarray(a) > 0.0] for a in amounts])
    if scale == "linear":
        upper = float(np.percentile(positive, UPPER_PERCENTILE)) if positive.size else 0.0
        return 0.0, float(np.clip(upper, *LINEAR_UPPER_MM))
    if not positive.size:
        return vmin_mm, 10.0 * vmin_mm
    return vmin_mm, max(float(np.percentile(positive, UPPER_PERCENTILE)), 2.0 * vmin_mm)


def draw_panels(
    path: str | Path,
    grid: Grid,
    start: np.datetime64,
    predicted: ArrayLike,
    truth: ArrayLike | None,
    *,
    scale: Literal["log", "linear"],
    vmin_mm: float = 0.1,
    vmax_mm: float | None = None,
    subtitle: str = "",
    truth_label: str = "observed",
    t0: np.datetime64 | None = None,
) -> Path:
    """Draw the 3 h sum and the three hours of one window, prediction above truth.

    Args:
        path: file to write.
        grid: grid of the fields.
        start: beginning of the 3-hour window, UTC.
        predicted: shape (3, H, W), mm; NaN is missing.
        truth: shape (3, H, W), mm; None draws the prediction alone.
        scale: ``log``, transparent below ``vmin_mm``, or ``linear`` from 0.
        vmin_mm: lower limit of the logarithmic scale, mm.
        vmax_mm: fixed upper limit in mm instead of the percentile of `rain_limits`.
        subtitle: second line of the title.
        truth_label: name of the second row.
        t0: initial time of the forecast; by default three hours before the start.

    Returns:
        The path written.

    Raises:
        ConfigError: ``vmin_mm`` is not positive, or ``vmax_mm`` not above the lower limit.
        DataError: the arrays do not have shape (3, H, W).
    """
    rows = [("predicted", _with_sum(predicted, grid, "predicted"))]
    if truth is not None:
        rows.append((truth_label, _with_sum(truth, grid, "truth")))
    fields = [amounts for _, amounts in rows]
    if scale == "log" and not vmin_mm > 0.0:
        raise ConfigError(
            "a logarithmic scale starts above zero",
            variable="plots.lognorm_vmin_mm",
            found=vmin_mm,
            expected="a positive number of mm",
            next_step="set it to the least amount worth a colour, such as 0.1",
        )
    lower, upper = rain_limits(fields, scale=scale, vmin_mm=vmin_mm)
    if vmax_mm is not None:
        if not vmax_mm > lower:
            raise ConfigError(
                "the upper limit of the colours is not above the lower",
                variable="vmax_mm",
                found=vmax_mm,
                expected=f"more than {lower:g} mm",
                next_step="raise it, or leave it out to use the 99th percentile",
            )
        upper = vmax_mm
    norm = LogNorm(lower, upper) if scale == "log" else Normalize(lower, upper)
    colours = charts.rain_colormap()
    start = start.astype("datetime64[m]")
    t0 = start - 3 * _HOUR if t0 is None else t0
    title = _panel_title(start, t0, subtitle)

    with charts.style():
        figure = charts.new_figure(
            WIDTH_PX, _panel_height_px(grid, len(rows), title.count("\n") + 1)
        )
        map_width, map_height = _map_size_px(grid)
        narrow, low = map_width < _TITLE_PX, map_height < _NAME_PX
        if narrow:
            # The usual layout would push needles together until their titles overlap.
            figure.set_layout_engine("constrained")
        axes = figure.subplots(len(rows), 4, squeeze=False)
        figure.suptitle(title, linespacing=1.4)
        for row, (name, amounts) in enumerate(rows):
            for column, field in enumerate(amounts):
                ax = axes[row, column]
                charts.map_axes(ax, grid)
                # A dry cell lies below every limit, also below a linear scale's zero.
                shown = np.where(field == 0.0, -1.0, field)
                charts.draw_field(ax, grid, shown, norm, colours)
                charts.draw_coastlines(ax, grid)
                _note_empty(ax, field, lower)
                ax.label_outer()
                if narrow:
                    ax.set_xticks(ax.get_xticks()[::2])
                if row == 0:
                    ax.set_title(_column_title(start, t0, column))
            label = axes[row, 0].set_ylabel(name, fontsize=10, fontweight="bold", color=_INK)
            if low:
                label.set(rotation="horizontal", ha="right", va="center")
        _add_colour_bar(figure, axes, ScalarMappable(norm, colours), fields, len(rows) * map_height)
        return charts.save_figure(figure, path)


def draw_loss_curve(path: str | Path, history: Mapping[str, Any]) -> Path:
    """Draw loss, 1 h RMSE and MSE skill over the epochs that exist, the best epoch marked.

    Args:
        path: file to write.
        history: lists ``epoch``, ``train_loss``, ``val_loss``, ``val_rmse_1h`` (mm) and
            ``val_skill`` (against S/3) of one length, None where a value was not computed, and
            ``best_epoch``, an epoch or None.

    Returns:
        The path written.

    Raises:
        DataError: there is no epoch.
    """
    return draw_history(path, history, _LOSS_PANELS, (WIDTH_PX, 1240))


def draw_hourly_comparison(path: str | Path, rows: Sequence[tuple[str, float]]) -> Path:
    """Draw the conditional MSE skill of several methods against S/3 as horizontal bars.

    Args:
        path: file to write.
        rows: name and skill of each method, drawn from the top; NaN is shown as undefined.

    Returns:
        The path written.

    Raises:
        DataError: there is no method.
    """
    if not rows:
        raise DataError("no method to compare", variable="rows", next_step="pass at least one")
    names = [name for name, _ in rows]
    skills = np.array([skill for _, skill in rows], dtype=np.float64)
    defined = np.isfinite(skills)
    lengths = np.where(defined, skills, 0.0)
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, 220 + 70 * len(rows))
        ax = figure.subplots()
        places = np.arange(len(rows))
        ax.barh(places, lengths, height=0.62, color=np.where(lengths >= 0.0, _BLUE, _ORANGE))
        for place, skill, known in zip(places, skills, defined, strict=True):
            left = bool(known and skill < 0.0)
            ax.annotate(
                # Adding zero turns a rounded -0.0 into 0.0.
                f"{round(skill, 3) + 0.0:+.3f}".replace("-", "\N{MINUS SIGN}")
                if known
                else "undefined",
                (float(lengths[place]), float(place)),
                xytext=(-5 if left else 5, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                color=_INK if known else "#777777",
                style="normal" if known else "italic",
            )
        ax.axvline(0.0, color=_INK, linewidth=0.9)
        # The printed values stand outside the bars and need room on the side they stand on.
        low, high = min(0.0, float(lengths.min())), max(0.0, float(lengths.max()))
        room = 0.15 * max(high - low, 0.1)
        ax.set_xlim(low - room if low < 0.0 else -room / 6, high + room)
        ax.set_yticks(places, names, fontsize=9)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(True, axis="x")
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.set_xlabel(
            "MSE skill against S/3, cells with S ≥ 0.1 mm  (0 = as good as S/3, 1 = exact)"
        )
        return charts.save_figure(figure, path)


def _with_sum(hours: ArrayLike, grid: Grid, name: str) -> NDArray[np.float64]:
    """The sum and the three hours, shape (4, H, W), mm."""
    amounts = np.asarray(hours, dtype=np.float64)
    if amounts.shape != (3, *grid.shape):
        raise DataError(
            "panels need three hours on the grid",
            variable=name,
            found=f"shape {amounts.shape}",
            expected=f"shape {(3, *grid.shape)}",
            next_step="pass the hours t0+4, t0+5 and t0+6 of one window",
        )
    return np.concatenate([amounts.sum(axis=0, keepdims=True), amounts])


def _map_size_px(grid: Grid) -> tuple[float, float]:
    """About the width and height of one map in pixels."""
    ratio = charts.map_height_over_width(grid)
    height = _MAP_WIDTH_PX * float(np.clip(ratio, *_HEIGHT_OVER_WIDTH))
    return min(_MAP_WIDTH_PX, height / ratio), height


def _panel_height_px(grid: Grid, rows: int, title_lines: int) -> int:
    """Figure height that fits maps of the grid's shape, the same for all windows of a grid."""
    maps = rows * _map_size_px(grid)[1]
    bar = 110 if maps < _BAR_PX else 0
    axis_label = 0 if grid.kind == "latlon" else 24
    return round(76 + 26 * title_lines + axis_label + bar + maps + 26 * rows)


def _clock(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time.astype("datetime64[m]"), unit="m"))[11:]


def _panel_title(start: np.datetime64, t0: np.datetime64, subtitle: str) -> str:
    date = str(start.astype("datetime64[D]"))
    hours = f"{_clock(start)}\N{EN DASH}{_clock(start + 3 * _HOUR)}"
    title = f"t0 {t0.astype('datetime64[D]')} {_clock(t0)} UTC,  valid {date} {hours} UTC"
    return f"{title}\n{subtitle}" if subtitle else title


def _column_title(start: np.datetime64, t0: np.datetime64, column: int) -> str:
    if column == 0:
        return f"3 h sum  {_clock(start)}\N{EN DASH}{_clock(start + 3 * _HOUR)} UTC"
    hours = f"{_clock(start + (column - 1) * _HOUR)}\N{EN DASH}{_clock(start + column * _HOUR)}"
    lead = (start - t0) / _HOUR + column
    return f"FT+{lead:g}  {hours} UTC"


def _rain_ticks(lower: float, upper: float, scale: str) -> list[float]:
    """Colour bar ticks in mm within the limits: 1, 2, 5 per decade, or even steps."""
    if scale == "linear":
        ticks = np.asarray(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]).tick_values(lower, upper))
    else:
        decades = 10.0 ** np.arange(np.floor(np.log10(lower)), np.ceil(np.log10(upper)) + 1)
        ticks = np.outer(decades, [1.0, 2.0, 5.0]).ravel()
    slack = 1e-9 * upper
    return [float(t) for t in ticks if lower - slack <= t <= upper + slack]


def _add_colour_bar(
    figure: Figure,
    axes: NDArray[np.object_],
    colours: ScalarMappable,
    fields: Sequence[NDArray[np.float64]],
    height_px: float,
) -> None:
    """One colour bar for all panels, with its limits, units and the meaning of grey in words.

    It stands beside the panels if their height leaves room for its label, or lies below them.
    """
    below = height_px < _BAR_PX
    lower, upper = colours.get_clim()
    scale: Literal["log", "linear"] = "log" if isinstance(colours.norm, LogNorm) else "linear"
    exceeded = any(bool((amounts > upper).any()) for amounts in fields)
    missing = any(bool(np.isnan(amounts).any()) for amounts in fields)
    bar = figure.colorbar(
        colours,
        ax=axes.ravel().tolist(),
        extend="max" if exceeded else "neither",
        location="bottom" if below else "right",
        aspect=50 if below else max(30.0, height_px / 30),
        shrink=0.6 if below else 1.0,
        pad=0.04 if below else 0.015,
    )
    bar.set_ticks(_rain_ticks(lower, upper, scale))
    axis = bar.ax.xaxis if below else bar.ax.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    bar.outline.set_linewidth(0.6)
    limits = f"{lower:g} to {upper:.3g} mm" + (", grey: missing" if missing else "")
    between = ", " if below else "\n"
    bar.set_label(f"rain (mm), {scale} scale{between}{limits}", color=_INK, linespacing=1.3)


def _note_empty(ax: Axes, field: NDArray[np.float64], lower: float) -> None:
    """Say in the middle of a panel why it shows no colour."""
    if not np.isfinite(field).any():
        charts.write_note(ax, "no data")
    elif not (field > 0.0).any():
        charts.write_note(ax, "no rain")
    elif not (field >= lower).any():
        charts.write_note(ax, f"no rain ≥ {lower:g} mm")

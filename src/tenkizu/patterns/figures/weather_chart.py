"""Weather charts: isobars every 4 hPa with labels, highs and lows, coastlines, shading beneath."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, withStroke
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from tenkizu.core import charts
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns.figures.pressure_centres import (
    DISTANCE_KM,
    FINE_DEGREES,
    SMOOTHING_KM,
    Centre,
    Map,
    pressure_centres,
    refine,
    smooth,
)

WIDTH_PX = 1600
"""Width of every figure."""

STEP_HPA, THICK_STEP_HPA = 4, 20
"""Distance of isobars, and of those drawn thicker."""

SEA_COLOUR = "#f6f9fb"
_COAST = "#7d7566"
ISOBAR_COLOUR = "#2b2f36"
CENTRE_COLOURS = {"H": "#1d4f9e", "L": "#b3231b"}
_INK, _MUTED = "#222222", "#555555"
_ISOBAR_LABEL, _CENTRE = "isobar label", "centre"


def draw_charts(
    path: str | Path,
    msl_pa: ArrayLike,
    grid: Grid,
    titles: Sequence[str],
    shading: ArrayLike | None = None,
    *,
    shading_label: str = "",
    columns: int | None = None,
    heading: str = "",
) -> Path:
    """Draw one weather chart a map, side by side in rows.

    Args:
        path: file to write.
        msl_pa: sea level pressure, shape (k, H, W), Pa; a map of NaN leaves its place empty.
        grid: latitude-longitude grid of the maps.
        titles: of each chart; the first line is set bold, as for the date, the others below it.
        shading: field under the isobars, shape (k, H, W), one scale for all charts: symmetric
            about 0 if it has both signs, else from 0. NaN stays clear.
        shading_label: name and units of the shading, beside its colour bar.
        columns: charts in a row; by default 2 or 3. From 4 on the charts are small: isobars
            without labels and ticks.
        heading: of the whole figure.

    Returns:
        The path written.

    Raises:
        DataError: the maps, shading and titles do not fit together, or pressures are not in Pa.
    """
    maps = _checked(msl_pa, grid, titles)
    shades = None if shading is None else np.asarray(shading, np.float64)
    if shades is not None and shades.shape != maps.shape:
        raise DataError(
            "the shading does not fit the charts",
            variable="shading",
            found=f"shape {shades.shape}",
            expected=f"shape {maps.shape}",
        )
    columns = min(columns or (3 if len(maps) in (3, 5, 6, 9) else 2), len(maps))
    rows = math.ceil(len(maps) / columns)
    small = columns > 3
    scale = None if shades is None else shading_scale(shades)
    lines = max(title.count("\n") + 1 for title in titles)
    with charts.style():
        size = _size_px(grid, rows, columns, lines, small, scale is not None, bool(heading))
        figure = charts.new_figure(*size)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        if heading:
            figure.suptitle(heading, fontweight="bold", color=_INK)
        for i, ax in enumerate(axes):
            if i >= len(maps) or np.isnan(maps[i]).all():
                ax.set_axis_off()
                continue
            under = None if shades is None else shades[i]
            draw_weather_map(ax, maps[i], grid, under, scale, small=small)
            _write_title(ax, titles[i], small)
            if not small:
                ax.label_outer()
        if scale is not None:
            _add_colour_bar(figure, axes, scale, shading_label)
        if not small:
            _thin_labels(figure)
        return charts.save_figure(figure, path)


def draw_weather_map(
    ax: Axes,
    msl_pa: ArrayLike,
    grid: Grid,
    shading: ArrayLike | None = None,
    scale: tuple[Normalize, Colormap] | None = None,
    *,
    small: bool = False,
) -> list[Centre]:
    """Draw one chart into axes.

    Args:
        ax: empty axes.
        msl_pa: sea level pressure, shape (H, W), Pa.
        grid: latitude-longitude grid of the map.
        shading: field under the isobars, shape (H, W), or None.
        scale: norm and colours of the shading.
        small: leave out isobar labels and ticks and set letters smaller.

    Returns:
        The highs and lows that were marked.
    """
    degrees = (2.0 if small else 1.0) * FINE_DEGREES
    field, fine = refine(np.asarray(msl_pa, np.float64) / 100.0, grid, degrees=degrees)
    hpa = smooth(field, fine, SMOOTHING_KM)
    ax.set_facecolor(SEA_COLOUR)
    charts.map_axes(ax, fine)
    charts.draw_land(ax, fine)
    if shading is not None and scale is not None:
        # Bilinear, so that a lone strong cell neither rings nor spreads beyond its neighbours.
        filled, _ = refine(np.nan_to_num(np.asarray(shading)), grid, 1, degrees)
        charts.draw_field(ax, fine, filled, *scale)
    if (coast := charts.draw_coastlines(ax, fine)) is not None:
        coast.set_color(_COAST)
    _draw_isobars(ax, hpa, fine, small)
    # Maps end at their outermost points: beyond them there are no isobars.
    ax.set_xlim(fine.x[0], fine.x[-1])
    ax.set_ylim(fine.y[-1], fine.y[0])
    if small:
        ax.set_xticks([])
        ax.set_yticks([])
    else:
        ax.grid(True, color="#9aa5ad", linewidth=0.4, linestyle=(0, (1, 3)), zorder=1.5)
        ax.set_axisbelow(False)
    # Letters of small charts cover more kilometres.
    centres = pressure_centres(hpa, fine, (1.8 if small else 1.0) * DISTANCE_KM)
    _draw_centres(ax, centres, small)
    return centres


def shading_scale(shading: Map) -> tuple[Normalize, Colormap]:
    """Limits and colours for a field: orange above 0 and purple below, clear at 0.

    The limit is the 99.5th percentile of the magnitudes, so that one cell does not pale the rest.
    """
    known = np.abs(shading[np.isfinite(shading)])
    limit = float(np.percentile(known, 99.5)) if known.size else 0.0
    limit = limit if limit > 0.0 else 1.0
    signed = bool((shading < 0.0).any())
    base = matplotlib.colormaps["PuOr_r"]
    places = np.linspace(0.1 if signed else 0.5, 0.9, 256)
    colours = base(places)
    colours[:, 3] = np.clip(3.2 * np.abs(2.0 * places - 1.0), 0.0, 1.0)
    cmap = LinearSegmentedColormap.from_list("shading", colours.tolist(), N=256)
    return Normalize(-limit if signed else 0.0, limit), cmap


def _checked(msl_pa: ArrayLike, grid: Grid, titles: Sequence[str]) -> Map:
    """The maps in float64.

    Raises:
        DataError: wrong shape, number or units.
    """
    maps = np.asarray(msl_pa, np.float64)
    if maps.ndim != 3 or not len(maps) or maps.shape[1:] != grid.shape or len(titles) != len(maps):
        raise DataError(
            "charts need maps on their grid and a title each",
            variable="msl",
            found=f"shape {maps.shape}, {len(titles)} titles",
            expected=f"shape (k, {grid.shape[0]}, {grid.shape[1]}), k titles",
        )
    low, high = (float(end(maps[np.isfinite(maps)], initial=1e5)) for end in (np.min, np.max))
    if not 80_000.0 < low <= high < 120_000.0:
        raise DataError(
            "not sea level pressure in Pa",
            variable="msl",
            found=f"values from {low:g} to {high:g}",
            expected="values between 80000 and 120000 Pa",
            next_step="pass pressure in Pa; hPa times 100",
        )
    return maps


def _size_px(
    grid: Grid,
    rows: int,
    columns: int,
    title_lines: int,
    small: bool,
    bar: bool,
    heading: bool,
) -> tuple[int, int]:
    """A figure that fits the charts without bare margins."""
    shape = min(max(charts.map_height_over_width(grid), 0.3), 2.0)
    margin, gap = (20, 24) if small else (100, 24)
    # Few charts, or tall ones, would be larger than a page if they filled the width.
    width = min(WIDTH_PX, round(margin + columns * (gap + 700 / max(shape, 1.0))))
    row = ((width - margin) / columns - gap) * shape + title_lines * (18 if small else 22)
    row += 14 if small else 24
    return width, round(rows * row + (4 if small else 34) + 90 * bar + 36 * heading)


def _draw_isobars(ax: Axes, hpa: Map, grid: Grid, small: bool) -> None:
    """Isobars over the range of the map, with their labels."""
    first = STEP_HPA * math.floor(float(hpa.min()) / STEP_HPA)
    last = STEP_HPA * math.ceil(float(hpa.max()) / STEP_HPA)
    levels = list(range(first, last + 1, STEP_HPA))
    thin, thick = (0.5, 1.0) if small else (0.75, 1.6)
    widths = [thick if level % THICK_STEP_HPA == 0 else thin for level in levels]
    lines = ax.contour(
        grid.x, grid.y, hpa, levels=levels, colors=ISOBAR_COLOUR, linewidths=widths, zorder=4
    )
    if small:
        return
    for label in lines.clabel(fmt="%d", fontsize=6.5, inline=False, colors=ISOBAR_COLOUR):
        # The halo hides the line under the digits; cut lines would stay cut where a label goes.
        label.set_path_effects([withStroke(linewidth=3.5, foreground="white"), Normal()])
        label.set_zorder(5)
        label.set_gid(_ISOBAR_LABEL)


def _draw_centres(ax: Axes, centres: Sequence[Centre], small: bool) -> None:
    """Letter and central pressure of every high and low, kept inside the frame."""
    letter, digits = (8.5, 5.0) if small else (14.0, 7.5)
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    edge = 0.1 if small else 0.06
    for centre in centres:
        across = (centre.lon - west) / (east - west)
        # Near the lower border the pressure would be cut off, near the sides the digits' ends.
        lift = 1.2 * digits if (centre.lat - south) / (north - south) < edge else 0.0
        side = "left" if across < edge else "right" if across > 1.0 - edge else "center"
        base = lift - 0.32 * letter
        for text, size, offset, align in (
            (centre.kind, letter, base, "baseline"),
            (f"{centre.hpa:.0f}", digits, base - 1.5, "top"),
        ):
            ax.annotate(
                text, (centre.lon, centre.lat), (0, offset), textcoords="offset points",
                fontsize=size, ha=side, va=align, color=CENTRE_COLOURS[centre.kind],
                fontweight="bold", path_effects=[withStroke(linewidth=2.4, foreground="white")],
                zorder=6, gid=_CENTRE,
            )  # fmt: skip


def _thin_labels(figure: Figure) -> None:
    """Remove isobar labels that would touch a centre, a label already kept, or the frame."""
    figure.draw_without_rendering()
    # Places are settled; doing it again would take as long as the drawing.
    figure.set_layout_engine("none")
    for ax in figure.axes:
        frame = ax.get_window_extent()
        texts = ax.findobj(Text)
        taken = [t.get_window_extent() for t in texts if t.get_gid() == _CENTRE]
        labels = [t for t in texts if t.get_gid() == _ISOBAR_LABEL]
        # Those of thick isobars first: they tell the most.
        for label in sorted(labels, key=lambda t: int(t.get_text()) % THICK_STEP_HPA != 0):
            box = label.get_window_extent().padded(2.0)
            inside = box.x0 > frame.x0 and box.x1 < frame.x1
            inside = inside and box.y0 > frame.y0 and box.y1 < frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
            else:
                label.remove()


def _write_title(ax: Axes, title: str, small: bool) -> None:
    """The first line bold, the rest below it."""
    first, _, rest = title.partition("\n")
    size = 6.5 if small else 9.0
    lines = rest.count("\n") + 1 if rest else 0
    ax.set_title(
        first, loc="left", fontweight="bold", color=_INK, fontsize=size,
        pad=3 + lines * 1.25 * size,
    )  # fmt: skip
    if rest:
        ax.annotate(
            rest, (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
            ha="left", va="bottom", color=_MUTED, fontsize=size - 0.5 * (not small),
        )  # fmt: skip


def _add_colour_bar(
    figure: Figure, axes: NDArray[np.object_], scale: tuple[Normalize, Colormap], label: str
) -> None:
    """One horizontal bar for the shading of all charts."""
    bar = figure.colorbar(
        ScalarMappable(*scale), ax=axes.tolist(), orientation="horizontal", shrink=0.5,
        aspect=45, pad=0.02, extend="both" if (scale[0].vmin or 0.0) < 0.0 else "max",
    )  # fmt: skip
    bar.outline.set_linewidth(0.6)
    bar.set_label(label, color=_INK)

"""Maps drawn with plain matplotlib: axes, coastlines from our own file, fields, colours, saving.

Everything goes through the object API (`Figure` and the Agg canvas), so no display is needed and
no pyplot state is shared.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Path2D
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike, NDArray

from tenkizu.core.coastline import Box, coast_lines, land_rings
from tenkizu.core.curvilinear import coast_on
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.store import atomic

MISSING_COLOUR = "#d4d4d4"
"""Light grey of cells without a value."""

COAST_COLOUR = "#4a4a4a"
"""Dark grey of coastlines."""

LAND_COLOUR = "#f0ece1"
"""Pale tint of land on charts of lines."""

DPI = 160
"""Resolution at which all sizes in points were chosen."""

# DejaVu Sans comes with matplotlib itself, so figures look the same on every machine.
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "figure.titlesize": 10.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#8a8a8a",
    "xtick.color": "#8a8a8a",
    "ytick.color": "#8a8a8a",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}
_STYLE_LOCK = threading.RLock()

# Steps of equal CIELAB lightness, 92 down to 26, while the hue runs from sky blue over indigo and
# purple to dark red: order survives grey printing and colour-blind eyes.
_RAIN_COLOURS = (
    "#ceedfa",
    "#98dafb",
    "#6bc3fd",
    "#4fa9fa",
    "#538cf2",
    "#7e69cf",
    "#9a4098",
    "#a10050",
    "#860013",
)

_WIDE_KM = 10_000.0
_AXIS_SCALE = {"degrees": 1.0, "km": 1.0, "m": 1e-3, "1": 1.0}


@contextmanager
def style() -> Iterator[None]:
    """Our matplotlib settings for the body of a ``with`` statement, which draws and saves.

    Settings are global to the process, so one thread draws at a time; others wait.
    """
    with _STYLE_LOCK, matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def new_figure(width_px: int, height_px: int, dpi: float = DPI) -> Figure:
    """An empty figure of even pixel size with constrained layout on an Agg canvas.

    The layout is matplotlib's compressed one, which also packs maps of fixed aspect closely.
    Sizes are rounded up to even numbers because H.264 video accepts no odd ones.
    """
    width, height = (side + side % 2 for side in (width_px, height_px))
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, layout="compressed")
    FigureCanvasAgg(figure)
    return figure


def save_figure(fig: Figure, path: str | Path) -> Path:
    """Write a figure beside its place and rename it when complete.

    It keeps the figure's own resolution. The format follows the suffix of ``path``. Missing folders
    are made.

    Returns:
        The path written.
    """
    path = Path(path)
    with atomic(path) as part:
        fig.savefig(part, format=path.suffix.lstrip(".") or "png", dpi=fig.dpi)
    return path


def rain_colormap() -> Colormap:
    """The sequential colours of rain: light blue, blue, purple, dark red.

    Lightness falls evenly, so amounts keep their order in grey print and for colour-blind readers.
    Below the lower limit it is transparent, above the upper limit nearly black, and missing values
    are light grey.
    """
    colours = LinearSegmentedColormap.from_list("rain", _RAIN_COLOURS, N=256)
    return colours.with_extremes(bad=MISSING_COLOUR, under=(1.0, 1.0, 1.0, 0.0), over="#3d0008")


def map_axes(ax: Axes, grid: Grid) -> None:
    """Give axes the extent, aspect, ticks and frame of a grid, row 0 at the top.

    Latitude-longitude axes are in degrees with aspect 1/cos(middle latitude), which keeps shapes
    true there; projected axes are in km with aspect 1, and index axes in cells with the aspect of
    these, 1 where it is not known.
    """
    y, x = _edges(grid, "y"), _edges(grid, "x")
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[-1], y[0])
    ax.set_aspect(map_aspect(grid))
    degrees = grid.kind == "latlon"
    common = _tick_step(max(np.ptp(x), np.ptp(y)), degrees)
    for axis, name, edges in ((ax.xaxis, "x", x), (ax.yaxis, "y", y)):
        # One step for both axes reads as a scale, unless the short side would stay bare.
        extent = float(np.ptp(edges))
        step = common if extent >= 2 * common else _tick_step(extent, degrees, intervals=3)
        # A label at a corner would reach into the next panel.
        low, high = edges.min() + 0.04 * extent, edges.max() - 0.04 * extent
        axis.set_ticks(step * np.arange(np.ceil(low / step), np.floor(high / step) + 1))
        if degrees:
            axis.set_major_formatter(FuncFormatter(_DEGREE_LABELS[name]))
        else:
            axis.set_label_text("km" if grid.kind == "projected" else "cells", color="#333333")


def map_aspect(grid: Grid) -> float:
    """Height of one axis unit in y over the width of one in x, as `map_axes` sets it."""
    if grid.kind == "index" and grid.cell_km:
        return grid.cell_km[0] / grid.cell_km[1]
    if grid.kind != "latlon":
        return 1.0
    middle = np.deg2rad((grid.y[0] + grid.y[-1]) / 2)
    # The floor keeps a map that reaches the pole from becoming a needle.
    return 1.0 / max(float(np.cos(middle)), 0.1)


def map_height_over_width(grid: Grid) -> float:
    """Height of the drawn map over its width."""
    y, x = _edges(grid, "y"), _edges(grid, "x")
    return float(abs(y[0] - y[-1]) / abs(x[-1] - x[0])) * map_aspect(grid)


def draw_field(
    ax: Axes, grid: Grid, field: ArrayLike, norm: Normalize, cmap: Colormap
) -> ScalarMappable:
    """Colour every cell of a field on its grid; NaN takes the colour map's bad colour.

    Args:
        ax: axes, normally prepared by `map_axes`.
        grid: where the field lies, row 0 in the north.
        field: shape (H, W), in the units of ``norm``.
        norm: value limits and scale.
        cmap: colours with ``under``, ``over`` and ``bad`` set.

    Returns:
        The mappable, for a colour bar.

    Raises:
        DataError: the field has another shape than the grid.
    """
    values = np.ma.masked_invalid(np.asarray(field, dtype=np.float64))
    if values.shape != grid.shape:
        raise DataError(
            "the field does not lie on the grid",
            variable="field",
            found=f"shape {values.shape}",
            expected=f"shape {grid.shape}",
            next_step="pass the grid that was read together with the field",
        )
    if isinstance(norm, LogNorm):
        # A logarithm would turn dry cells, zero, into missing ones: put them below the limit.
        values = np.ma.maximum(values, float(norm.vmin or 1.0) / 10.0)
    y, x = _edges(grid, "y"), _edges(grid, "x")
    if _is_regular(y) and _is_regular(x):
        return ax.imshow(
            values,
            norm=norm,
            cmap=cmap,
            extent=(x[0], x[-1], y[-1], y[0]),
            aspect=map_aspect(grid),
            origin="upper",
            # Averaging colours when cells are smaller than pixels keeps thin rain bands.
            interpolation="auto" if min(values.shape) > 300 else "nearest",
            interpolation_stage="rgba",
        )
    return ax.pcolormesh(x, y, values, norm=norm, cmap=cmap, shading="flat", rasterized=True)


def draw_coastlines(ax: Axes, grid: Grid) -> LineCollection | None:
    """Draw the coastlines of a grid's area from the shipped 1:50m file.

    Longitudes may run -180..180 or 0..360 or cross either seam. Axis limits stay as they are.

    Returns:
        The lines, or None on grids without latitude and longitude and where there is no coast.
    """
    if grid.kind == "latlon":
        box = _box(grid)
        lines, wide = coast_lines(box), box[1] - box[0] >= 90.0
    else:
        lines = [line * _AXIS_SCALE.get(grid.units, 1.0) for line in coast_on(grid)]
        wide = (grid.spacing_km or (0.0, 0.0))[1] * grid.shape[1] >= _WIDE_KM
    if not lines:
        return None
    coast = LineCollection(
        lines,
        colors=COAST_COLOUR,
        # Islands of a hemisphere run together when drawn as thick as those of a region.
        linewidths=0.35 if wide else 0.6,
        capstyle="round",
        zorder=3,
    )
    ax.add_collection(coast, autolim=False)
    return coast


def draw_land(ax: Axes, grid: Grid, colour: str = LAND_COLOUR) -> PathPatch | None:
    """Tint the land of a latitude-longitude grid's area, under everything else.

    Returns:
        The patch, or None on other kinds of grid and where no land can be near.
    """
    if grid.kind != "latlon":
        return None
    rings = land_rings(_box(grid))
    if not rings:
        return None
    # One path of all rings: inner ones run the other way round and so stay open water.
    outline = Path2D.make_compound_path(*(Path2D(ring, closed=True) for ring in rings))
    land = PathPatch(outline, facecolor=colour, edgecolor="none", zorder=0)
    land.set_clip_path(ax.patch)
    ax.add_artist(land)
    return land


def _box(grid: Grid) -> Box:
    """West, east, south and north edge of a grid in degrees."""
    y, x = _edges(grid, "y"), _edges(grid, "x")
    south, north = sorted((float(y[0]), float(y[-1])))
    return float(x[0]), float(x[-1]), south, north


def _edges(grid: Grid, axis: str) -> NDArray[np.float64]:
    """Cell edges (n + 1,) along ``y`` or ``x`` in degrees, km or cells."""
    centres = np.asarray(grid.y if axis == "y" else grid.x, dtype=np.float64)
    centres = centres * _AXIS_SCALE.get(grid.units, 1.0)
    if len(centres) == 1:
        half = -0.5 if axis == "y" and grid.kind != "index" else 0.5
        return np.array([centres[0] - half, centres[0] + half])
    inner = (centres[:-1] + centres[1:]) / 2
    first, last = 2 * centres[0] - inner[0], 2 * centres[-1] - inner[-1]
    edges = np.concatenate(([first], inner, [last]))
    return np.clip(edges, -90.0, 90.0) if grid.kind == "latlon" and axis == "y" else edges


def _tick_step(extent: float, degrees: bool, intervals: int = 5) -> float:
    """The finest round step in degrees, km or cells that gives at most ``intervals`` intervals."""
    if degrees and extent > 50.0:
        steps = np.array([15.0, 30.0, 45.0, 60.0, 90.0])
    else:
        steps = 10.0 ** np.floor(np.log10(extent / intervals)) * np.array([1.0, 2.0, 5.0, 10.0])
    return float(steps[extent / steps <= intervals][0])


def _is_regular(edges: NDArray[np.float64]) -> bool:
    steps = np.diff(edges)
    return bool(np.allclose(steps, steps.mean(), rtol=1e-3, atol=0))


def _longitude_label(value: float, _position: int | None = None) -> str:
    value = round((value + 180.0) % 360.0 - 180.0, 6)
    if value in (0.0, -180.0):
        return f"{abs(value):g}°"
    return f"{abs(value):g}°{'E' if value > 0 else 'W'}"


def _latitude_label(value: float, _position: int | None = None) -> str:
    if value == 0.0:
        return "0°"
    return f"{abs(value):g}°{'N' if value > 0 else 'S'}"


_DEGREE_LABELS = {"x": _longitude_label, "y": _latitude_label}


def write_note(ax: Axes, text: str) -> None:
    """Say in the middle of a panel why it shows nothing."""
    box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    ax.text(
        0.5,
        0.5,
        text,
        transform=ax.transAxes,
        ha="center",
        va="center",
        color="#777777",
        style="italic",
        bbox=box,
        zorder=5,
    )

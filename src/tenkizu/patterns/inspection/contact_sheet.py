"""All channels of one day as small maps, each with its own scale: the contact sheet."""

import math
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from tenkizu.core import charts
from tenkizu.core.grid import Grid
from tenkizu.core.store import SampleStore
from tenkizu.patterns.inspection.overview import SEASON, stored_times, text_of_label
from tenkizu.patterns.physics.channels import CHANNELS
from tenkizu.patterns.physics.season import season_terms

COLUMNS, PANELS = 4, 24
"""Panels side by side, and the most of them on one page."""

SIGNED = ("u", "v", "vo", "div", "d", "w", "viwve", "viwvn")
"""Channels whose sign means a direction, without their level; white lies at zero."""

FROM_ZERO = ("tp", "tclw", "tciw", "tcrw", "tcsw", "ivt", "tcwv", "cape", "tcc")
"""Amounts, whose scale starts at zero."""

_WIDTH, _MARGIN, _GAP = 1600, 24, 26
_HEADING, _TITLE, _BAR = 64, 46, 52
_INK, _MUTED = "#222222", "#666666"
_LONGEST = 47
_SEA, _LAND = "#9cc3dd", "#d9cfb4"
_DIVERGING = "RdBu_r"

Map = NDArray[np.float64]


def draw_contact_sheet(folder: str | Path, store: SampleStore, index: int) -> list[Path]:
    """Draw all channels of one day, up to 24 a page: ``channels_DATE_1.png``.

    Args:
        folder: where the pages go.
        store: a prepared store.
        index: of the day in the store.

    Returns:
        The pages.
    """
    time = stored_times(store)[index]
    grid = Grid.from_json(store.meta["grid"])
    arrays = store.meta["arrays"]
    maps = arrays["maps"]["channels"]
    static = arrays["static"]["channels"] if "static" in arrays else []
    names = [*store.meta["channels"], *(n for n in maps if n not in store.meta["channels"])]
    pages = math.ceil(len(names) / PANELS)
    label = text_of_label(store, time)
    stamp = str(time).replace("T", " ").removesuffix(":00") + " UTC"
    date, _, clock = str(time).partition("T")
    paths = []
    for page in range(pages):
        own = names[page * PANELS : (page + 1) * PANELS]
        heading = f"{store.path.name}   {stamp}" + (f"   label {label}" if label else "")
        heading += f"   page {page + 1} of {pages}" if pages > 1 else ""
        with charts.style():
            figure, axes = _page(len(own), grid, heading)
            for name, (ax, bar) in zip(own, axes, strict=True):
                if name in SEASON:
                    _draw_term(ax, bar, name, time)
                    continue
                source, among = ("maps", maps) if name in maps else ("static", static)
                sample = store.read(source, index if source == "maps" else 0)
                _draw_map(ax, bar, grid, name, sample[among.index(name)].astype(np.float64))
            name = f"channels_{date}{'' if clock == '00:00' else '_' + clock[:2]}_{page + 1}.png"
            paths.append(charts.save_figure(figure, Path(folder) / name))
    return paths


def _page(panels: int, grid: Grid, heading: str) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A page with places for maps and their colour bars, laid out by hand.

    Twenty-four maps with a bar each take matplotlib's own layout as long as all the drawing.
    """
    columns = min(COLUMNS, panels)
    rows = math.ceil(panels / columns)
    width = (_WIDTH - 2 * _MARGIN - (COLUMNS - 1) * _GAP) / COLUMNS
    height = width * min(max(charts.map_height_over_width(grid), 0.3), 1.6)
    # Even numbers, as `new_figure` makes them.
    across = 2 * round((2 * _MARGIN + columns * width + (columns - 1) * _GAP) / 2)
    across = max(across, _WIDTH // 2)
    row = _TITLE + height + _BAR
    down = 2 * math.ceil((_HEADING + rows * row + _MARGIN) / 2)
    figure = charts.new_figure(across, down)
    figure.set_layout_engine("none")

    def place(x: float, y: float, w: float, h: float) -> Axes:
        """Axes at pixels from the upper left corner."""
        return figure.add_axes((x / across, 1.0 - (y + h) / down, w / across, h / down))

    figure.text(
        _MARGIN / across, 1.0 - 22 / down, heading, fontsize=10, fontweight="bold", color=_INK,
        va="top",
    )  # fmt: skip
    axes = []
    for i in range(panels):
        x = _MARGIN + (i % columns) * (width + _GAP)
        y = _HEADING + (i // columns) * row + _TITLE
        axes.append((place(x, y, width, height), place(x, y + height + 6, width, 9)))
    return figure, axes


def _draw_map(ax: Axes, bar: Axes, grid: Grid, name: str, values: Map) -> None:
    """One map with its title, coast and colour bar; missing cells are grey."""
    charts.map_axes(ax, grid)
    ax.set_xticks([])
    ax.set_yticks([])
    finite = values[np.isfinite(values)]
    if not finite.size:
        ax.set_facecolor(charts.MISSING_COLOUR)
        charts.write_note(ax, "no value on this day")
        bar.set_axis_off()
        _write_title(ax, name, CHANNELS[name].units)
        return
    shown, units = _in_readable_units(name, values)
    norm, cmap = _scale(name, shown)
    image = charts.draw_field(ax, grid, shown, norm, cmap)
    charts.draw_coastlines(ax, grid)
    _write_title(ax, name, units)
    if CHANNELS[name].units == "1" and set(np.unique(finite)) <= {0.0, 1.0}:
        bar.set_axis_off()
        bar.text(0, 0, "0 land, 1 sea" if name == "sea_mask" else "0, 1", va="center", fontsize=6.5)
        return
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    beyond = (low < float(norm.vmin or 0.0), high > float(norm.vmax or 0.0))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
    colours = ax.figure.colorbar(
        image, cax=bar, orientation="horizontal", extend=extend.get(beyond, "neither")
    )
    colours.outline.set_linewidth(0.4)
    colours.locator = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])
    colours.formatter = FuncFormatter(lambda value, _: f"{0.0 if abs(value) < 1e-9 else value:g}")
    colours.update_ticks()
    bar.tick_params(labelsize=6.5, length=2, pad=1.5)
    bar.annotate(
        f"{low:.4g} to {high:.4g}", (1, 1), xycoords=ax.transAxes, xytext=(-3, -3),
        textcoords="offset points", ha="right", va="top", fontsize=6, color=_INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.2},
    )  # fmt: skip


def _draw_term(ax: Axes, bar: Axes, name: str, time: np.datetime64) -> None:
    """A season term over the year, and its value on the day."""
    year = time.astype("datetime64[Y]")
    days = np.arange(year.astype("datetime64[D]"), (year + 1).astype("datetime64[D]"))
    column = SEASON.index(name)
    curve = season_terms(days.astype("datetime64[m]"))[:, column]
    (value,) = season_terms(np.array([time]))[:, column]
    at = (time - year) / np.timedelta64(1, "D")
    ax.plot(np.arange(len(days)), curve, color="#8a8a8a")
    ax.plot([at], [value], "o", color="#b3231b", markersize=4)
    left = at > 183.0
    ax.annotate(
        f"{value:.3f}", (float(at), float(value)), (-6 if left else 6, 0),
        textcoords="offset points", ha="right" if left else "left", va="center", fontsize=7,
        color=_INK, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
    )  # fmt: skip
    ax.axhline(0.0, color="#c8c8c8", linewidth=0.6)
    ax.set_xlim(-8, 373)
    ax.set_ylim(-1.25, 1.25)
    ax.set_yticks([])
    ax.set_xticks([0, 90, 181, 273], ["Jan", "Apr", "Jul", "Oct"], fontsize=6.5)
    bar.set_axis_off()
    _write_title(ax, name, CHANNELS[name].units)


def _write_title(ax: Axes, name: str, units: str) -> None:
    """Name and units, and the long name below them."""
    long_name = CHANNELS[name].long_name
    if len(long_name) > _LONGEST:
        long_name = long_name[: _LONGEST - 1].rstrip() + "\u2026"
    for text, x, y, size, weight, colour in (
        (name, 0, 11, 8.0, "bold", _INK),
        (units, 1, 11, 7.5, "normal", _INK),
        (long_name, 0, 3, 6.0, "normal", _MUTED),
    ):
        ax.annotate(
            text, (x, 1), (0, y), xycoords="axes fraction", textcoords="offset points",
            ha="right" if x else "left", va="bottom", fontsize=size, fontweight=weight,
            color=colour,
        )  # fmt: skip


def _in_readable_units(name: str, values: Map) -> tuple[Map, str]:
    """Pressure in hPa; numbers far from 1 with a power of ten in their unit."""
    units = CHANNELS[name].units
    if name == "msl":
        return values / 100.0, "hPa"
    power = _power(values)
    return values / 10.0**power, f"$10^{{{power}}}$ {units}" if power else units


def _power(values: Map) -> int:
    """Power of ten to take out of values smaller than a tenth."""
    largest = float(np.nanmax(np.abs(values)))
    return 0 if largest == 0.0 or largest >= 0.1 else math.floor(math.log10(largest))


def _scale(name: str, values: Map) -> tuple[Normalize, Colormap]:
    """Limits and colours: about zero for signed channels, from zero for amounts.

    The limits are percentiles, so that one cell does not pale the rest; the panel's text gives the
    extremes.
    """
    kind = name.rstrip("0123456789")
    finite = values[np.isfinite(values)]
    if name == "ivt_dir":
        return Normalize(-180.0, 180.0), _colours("twilight")
    if name == "sea_mask":
        return Normalize(0.0, 1.0), ListedColormap([_LAND, _SEA])
    if kind in SIGNED or name in ("msl_dt24", "lap_msl", "mfc850", "ivt_cos", "ivt_sin"):
        limit = float(np.percentile(np.abs(finite), 99.5)) or 1.0
        return Normalize(-limit, limit), _colours(_DIVERGING)
    if kind in FROM_ZERO:
        limit = float(np.percentile(finite, 99.5)) or float(finite.max()) or 1.0
        return Normalize(0.0, limit), _colours("YlGnBu")
    low, high = (float(end) for end in np.percentile(finite, (0.5, 99.5)))
    if high <= low:
        low, high = low - 0.5, low + 0.5
    return Normalize(low, high), _light_viridis()


def _light_viridis() -> Colormap:
    """Viridis without its darkest fifth, on which coastlines would not be seen."""
    colours = matplotlib.colormaps["viridis"](np.linspace(0.22, 1.0, 256))
    return ListedColormap(colours.tolist()).with_extremes(bad=charts.MISSING_COLOUR)


def _colours(name: str) -> Colormap:
    return matplotlib.colormaps[name].with_extremes(bad=charts.MISSING_COLOUR)

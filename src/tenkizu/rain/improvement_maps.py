"""Where a model splits rain better than S/3: maps from ``equal_split_maps.npz``."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tenkizu.core import charts
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.verification import ratio, skill

MIN_EVALUATIONS = 30
"""Cells that were evaluated less often are grey: their shares would be mostly chance."""

WIDTH_PX = 1600
"""Width of the figure."""

_INK = "#333333"
_NEEDED = (
    "improved_count_map",
    "total_count_map",
    "mean_sse_diff_map",
    "sse_model_map",
    "sse_base_map",
)


def draw_improvement_maps(path: str | Path, maps: str | Path) -> Path:
    """Draw win rate, mean difference of the squared error, and skill against S/3 at every cell.

    Blue always means that the model is better. A win rate is the share of the evaluated times at
    which the model's squared error is smaller, ties counted as no win. Colours are centred at no
    difference (0.5 for the win rate) and end at the 99th percentile of the departures.

    Args:
        path: file to write.
        maps: the ``.npz`` file, with the content of `tenkizu.rain.equal_split.EqualSplit.maps`;
            without usable axes the maps are drawn in plain cells.

    Returns:
        The path written.

    Raises:
        DataError: the file cannot be read or a map is missing.
    """
    found = _read(Path(maps))
    total = found["total_count_map"]
    grid = _grid(found, total.shape)
    enough = total >= MIN_EVALUATIONS
    win_rate = ratio(found["improved_count_map"], total)
    difference = np.asarray(found["mean_sse_diff_map"], np.float64)
    gain = skill(found["sse_model_map"], found["sse_base_map"])
    panels: tuple[tuple[str, NDArray[np.float64], float, str, str], ...] = (
        ("win rate", win_rate, 0.5, "RdBu", "share of the evaluated times"),
        ("mean difference of the squared error", difference, 0.0, "RdBu_r", "mm², three hours"),
        ("MSE skill against S/3", gain, 0.0, "RdBu", "1 = exact"),
    )
    height = 190 + round(500 * min(max(charts.map_height_over_width(grid), 0.4), 3.0))
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, height)
        figure.suptitle(
            f"Model against the equal split, up to {int(total.max(initial=0))} evaluations a cell "
            f"(S ≥ 0.1 mm); blue: model better; grey: fewer than {MIN_EVALUATIONS}"
        )
        for ax, (title, values, centre, colours, unit) in zip(
            figure.subplots(1, len(panels)), panels, strict=True
        ):
            shown = np.where(enough, values, np.nan)
            _draw_map(ax, grid, shown, centre, colours, unit)
            ax.set_title(title, loc="left", fontweight="bold", color=_INK)
        return charts.save_figure(figure, path)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = dict(file)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(
            f"cannot be read: {error}", file=path, next_step="run `evaluate` again"
        ) from None
    for name in _NEEDED:
        if name not in found:
            raise DataError(
                "a map is missing",
                file=path,
                variable=name,
                found=", ".join(sorted(found)),
                next_step="run `evaluate` again",
            )
    return found


def _grid(found: dict[str, NDArray[Any]], shape: tuple[int, ...]) -> Grid:
    """The grid of the file: latitude and longitude, a projection's y and x, or plain cells."""
    units = str(found.get("axis_units", "1"))
    for kind, y_name, x_name in (("latlon", "lat", "lon"), ("projected", "y", "x")):
        y, x = (np.asarray(found.get(name, ()), np.float64) for name in (y_name, x_name))
        fits = y.ndim == x.ndim == 1 and (len(y), len(x)) == shape
        if not fits or not (np.isfinite(y).all() and np.isfinite(x).all()):
            continue
        if kind == "latlon":
            return Grid("latlon", y, x)
        if units in ("km", "m"):
            return Grid("projected", y, x, "y", "x", units)
    rows, columns = (np.arange(float(size)) for size in shape)
    return Grid("index", rows, columns, "y", "x", "1")


def _draw_map(
    ax: Axes, grid: Grid, values: NDArray[np.float64], centre: float, colours: str, unit: str
) -> None:
    """One map with its colour bar, symmetric about the centre."""
    departures = np.abs(values[np.isfinite(values)] - centre)
    half = float(np.percentile(departures, 99.0)) if departures.size else 0.0
    half = min(half or 0.5, 0.5) if centre else half or 1.0
    cmap = matplotlib.colormaps[colours].with_extremes(bad=charts.MISSING_COLOUR)
    charts.map_axes(ax, grid)
    mappable = charts.draw_field(ax, grid, values, Normalize(centre - half, centre + half), cmap)
    charts.draw_coastlines(ax, grid)
    if not departures.size:
        charts.write_note(ax, f"no cell with {MIN_EVALUATIONS} evaluations")
    exceeded = bool((departures > half).any())
    figure = ax.get_figure()
    if figure is not None:
        bar = figure.colorbar(
            mappable,
            ax=ax,
            orientation="horizontal",
            extend="both" if exceeded else "neither",
            aspect=30,
            pad=0.03,
        )
        bar.locator = MaxNLocator(nbins=5)
        bar.outline.set_linewidth(0.6)
        bar.set_label(unit, color=_INK)

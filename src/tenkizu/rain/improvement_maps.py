"""Where a model splits rain better than S/3: maps from ``equal_split_maps.npz``."""

from collections.abc import Mapping
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

LARGEST_BLOCK = 16
"""Cells along a side beyond which blocks would show a number, and no map."""

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

    Cells with fewer than 30 evaluations are grey. In a short evaluation, where those are more than
    half, the sums of blocks of 2 x 2, 4 x 4, ... cells stand in their place, as `block_side` says.

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
    shape = found["total_count_map"].shape
    grid = _grid(found, shape)
    side = block_side(found["total_count_map"])
    if side > 1:
        found = pool_maps(found, side)
    total = found["total_count_map"]
    win_rate = ratio(found["improved_count_map"], total)
    difference = np.asarray(found["mean_sse_diff_map"], np.float64)
    gain = skill(found["sse_model_map"], found["sse_base_map"])
    panels: tuple[tuple[str, NDArray[np.float64], float, str, str], ...] = (
        ("win rate", win_rate, 0.5, "RdBu", "share of the evaluated times"),
        ("mean difference of the squared error", difference, 0.0, "RdBu_r", "mm², three hours"),
        ("MSE skill against S/3", gain, 0.0, "RdBu", "1 = exact"),
    )
    enough = total >= MIN_EVALUATIONS
    most = int(total.max(initial=0))
    what = f"Model against the equal split, up to {most} evaluations a cell"
    if side > 1:
        what = f"Model against S/3, blocks of {side} x {side} cells, up to {most} evaluations each"
    height = 190 + round(500 * min(max(charts.map_height_over_width(grid), 0.4), 3.0))
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, height)
        figure.suptitle(
            f"{what} (S ≥ 0.1 mm); blue: model better; grey: fewer than {MIN_EVALUATIONS}"
        )
        for ax, (title, values, centre, colours, unit) in zip(
            figure.subplots(1, len(panels)), panels, strict=True
        ):
            shown = _on_cells(np.where(enough, values, np.nan), side, shape)
            _draw_map(ax, grid, shown, centre, colours, unit)
            ax.set_title(title, loc="left", fontweight="bold", color=_INK)
        return charts.save_figure(figure, path)


def block_side(total: NDArray[Any]) -> int:
    """Cells along a side of the blocks that are drawn.

    Args:
        total: evaluations of each cell, (H, W).

    Returns:
        The smallest of 1, 2, 4, 8 and 16 for which at least half of the blocks with any evaluation
        have 30 or more; 1 when there is none of which the shorter axis holds two.
    """
    side = 1
    while side <= min(LARGEST_BLOCK, min(total.shape) // 2):
        counts = _pool(total, side)
        if 2 * (counts >= MIN_EVALUATIONS).sum() >= (counts > 0).sum():
            return side
        side *= 2
    return 1


def pool_maps(found: Mapping[str, NDArray[Any]], side: int) -> dict[str, NDArray[Any]]:
    """Maps (H, W) of ``equal_split_maps.npz`` as maps of blocks, (ceil(H / side), ceil(W / side)).

    Counts and squared errors are summed, and the mean difference follows from the sums. Blocks
    begin at the first row and column; those at the last ones may have fewer cells.
    """
    evaluated = found["total_count_map"] > 0
    sums = {
        # What was never evaluated may be NaN in files of others.
        name: _pool(np.where(evaluated, found[name], 0), side)
        for name in _NEEDED
        if name != "mean_sse_diff_map"
    }
    difference = sums["sse_model_map"] - sums["sse_base_map"]
    return sums | {"mean_sse_diff_map": ratio(difference, sums["total_count_map"])}


def _pool(field: NDArray[Any], side: int) -> NDArray[Any]:
    """Sums over blocks of ``side`` x ``side`` cells of a field (H, W)."""
    rows, columns = (np.arange(0, size, side) for size in field.shape)
    pooled: NDArray[Any] = np.add.reduceat(np.add.reduceat(field, rows, axis=0), columns, axis=1)
    return pooled


def _on_cells(
    blocks: NDArray[np.float64], side: int, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """The value of its block at every cell, (H, W)."""
    rows, columns = shape
    return blocks.repeat(side, axis=0).repeat(side, axis=1)[:rows, :columns]


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
    places = [found.get(name) for name in ("cell_lat", "cell_lon")]
    lat, lon = (p if p is not None and p.shape == shape else None for p in places)
    for kind, y_name, x_name in (("latlon", "lat", "lon"), ("projected", "y", "x")):
        y, x = (np.asarray(found.get(name, ()), np.float64) for name in (y_name, x_name))
        fits = y.ndim == x.ndim == 1 and (len(y), len(x)) == shape
        if not fits or not (np.isfinite(y).all() and np.isfinite(x).all()):
            continue
        if kind == "latlon":
            return Grid("latlon", y, x)
        if units in ("km", "m"):
            return Grid("projected", y, x, "y", "x", units, lat, lon)
    rows, columns = (np.arange(float(size)) for size in shape)
    return Grid("index", rows, columns, "y", "x", "1", lat, lon)


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

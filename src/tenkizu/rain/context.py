"""Input channels beside the rain itself: what surrounds a cell, and where it lies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.normaliser import ChannelScale
from tenkizu.rain.netcdf import open_netcdf

Planes = dict[str, NDArray[np.float32]]
"""Fields (H, W) by channel name."""

DERIVED = {"box5": ("S_box5",), "box15": ("S_box15",), "gradient": ("S_dx", "S_dy")}
"""Channels made from log(1 + S), by context option."""

FIXED = {
    # Absolute, so that a place has the same values on every grid.
    "position": (
        ChannelScale("latitude", "degrees_north", std=90.0),
        ChannelScale("longitude", "degrees_east", std=180.0),
    ),
    "static": (ChannelScale("orography", "m", std=1000.0), ChannelScale("land", "1")),
}
"""Channels of the grid, by context option; latitude and longitude end up in [-1, 1]."""

NODE_TOLERANCE = 1e-4
"""Largest distance between the same node of two grids, in units of their axes."""

_STANDARD_NAMES = {
    "orography": ("surface_altitude", "height_above_mean_sea_level"),
    "land": ("land_binary_mask", "land_area_fraction"),
}


def derive(option: str, log_total: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The channels `DERIVED` lists for an option, from log(1 + S) (H, W), NaN where missing."""
    if option == "gradient":
        return central_differences(log_total)
    return [box_mean(log_total, int(option.removeprefix("box")))]


def box_mean(field: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Mean over the known cells of the side x side box around each cell, 0 where there is none.

    Boxes end at the edge of the field.

    Args:
        field: (H, W), NaN where missing.
        side: odd.
    """
    known = ~np.isnan(field)
    cells = _box_sum(known, side)
    amount = _box_sum(np.where(known, field, 0.0), side)
    mean: NDArray[np.float32] = (amount / np.maximum(cells, 1.0)).astype(np.float32)
    return mean


def _box_sum(values: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Sum over the box around each cell: along each axis the difference of two running sums."""
    sums = values.astype(np.float64)
    for _ in range(2):
        running = np.pad(sums, [(side // 2 + 1, side // 2), (0, 0)]).cumsum(axis=0)
        sums = (running[side:] - running[:-side]).T
    return sums


def central_differences(field: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Half the difference between the two neighbours: east minus west, then north minus south.

    Beyond its edge the field goes on with its edge value; 0 where a neighbour is missing.

    Args:
        field: (H, W), north row first, NaN where missing.
    """
    wider = np.pad(field, 1, mode="edge")
    east = (wider[1:-1, 2:] - wider[1:-1, :-2]) / 2
    north = (wider[:-2, 1:-1] - wider[2:, 1:-1]) / 2
    return [np.nan_to_num(east), np.nan_to_num(north)]


def fixed_planes(names: Sequence[str], grid: Grid, static_file: str | Path | None) -> Planes:
    """The channels among ``names`` that belong to the grid: position and static fields.

    Args:
        names: channel names.
        grid: of the rain.
        static_file: NetCDF with orography and land, if they are wanted.

    Returns:
        Degrees (longitude in [-180, 180)), m, and 1 on land; in the order of `FIXED`.

    Raises:
        DataError: the grid has no latitude and longitude, or the file does not cover it.
    """
    planes: Planes = {}
    position, static = ([c.name for c in FIXED[key]] for key in ("position", "static"))
    if not set(position).isdisjoint(names):
        if grid.kind != "latlon":
            raise DataError(
                "position needs latitude and longitude as the axes of the grid",
                variable="data.context",
                found=grid.describe(),
                next_step="leave 'position' out of data.context, or use a model without it",
            )
        wrapped = (grid.x + 180.0) % 360.0 - 180.0
        pair = np.meshgrid(grid.y.astype(np.float32), wrapped.astype(np.float32), indexing="ij")
        planes |= dict(zip(position, pair, strict=True))
    if not set(static).isdisjoint(names):
        if static_file is None:
            raise DataError(
                "orography is an input, but its file is not named",
                variable="data.static_file",
                next_step="name the NetCDF file that the model was trained with",
            )
        planes |= read_static(static_file, grid)
    return planes


def read_static(file: str | Path, grid: Grid) -> Planes:
    """Orography (m) and land (1, sea 0) on a grid, from a NetCDF file on this or a larger one.

    Variables are found by standard name (surface_altitude; land_binary_mask, land_area_fraction)
    or by the names ``orography`` and ``land``. Without a land mask, land is where the orography is
    above 0.

    Raises:
        DataError: the file cannot be read, lacks orography in m, or lacks a node of the grid.
    """
    orography, land = _static_fields(file, grid)
    if orography is None:
        raise DataError(
            "no orography",
            file=file,
            expected="a variable with standard_name surface_altitude, or called orography",
        )
    if land is None:
        land = (orography > 0).astype(np.float32)
    return {"orography": orography, "land": land}


def read_land(file: str | Path, grid: Grid) -> NDArray[np.bool_]:
    """Where there is land, (H, W), found as `read_static` does; half land counts as land.

    Raises:
        DataError: the file cannot be read, has neither land nor orography, or lacks a node.
    """
    orography, land = _static_fields(file, grid)
    if land is not None:
        return land >= 0.5
    if orography is None:
        raise DataError(
            "neither land nor orography",
            file=file,
            expected="a variable with standard_name land_binary_mask, land_area_fraction or "
            "surface_altitude, or called land or orography",
        )
    return orography > 0


def _static_fields(
    file: str | Path, grid: Grid
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Orography and land of a file on a grid; None for what it has not."""
    with open_netcdf(Path(file)) as dataset:
        return _on_grid(dataset, "orography", grid, file), _on_grid(dataset, "land", grid, file)


def _on_grid(
    dataset: xr.Dataset, channel: str, grid: Grid, file: str | Path
) -> NDArray[np.float32] | None:
    """A variable at the nodes of a grid, None if there is none."""
    found = [
        name
        for name, variable in dataset.data_vars.items()
        if variable.attrs.get("standard_name") in _STANDARD_NAMES[channel] or name == channel
    ]
    if not found:
        return None
    field = dataset[found[0]].squeeze(drop=True)
    units = str(field.attrs.get("units", "none"))
    if channel == "orography" and units not in ("m", "metre", "metres", "meter", "meters", "gpm"):
        raise DataError(
            "unknown units", file=file, variable=str(found[0]), found=units, expected="m"
        )
    try:
        rows, columns = field.dims
        # By name of the axis: without coordinates xarray would select by number.
        axes = {rows: field.coords[rows], columns: field.coords[columns]}
        field = field.sel(
            {axis: v for axis, v in zip(axes, (grid.y, grid.x), strict=True)},
            method="nearest",
            tolerance=NODE_TOLERANCE,
        )
    except (KeyError, ValueError):
        raise DataError(
            "not on the grid of the rain",
            file=file,
            variable=str(found[0]),
            found=", ".join(f"{d} ({n})" for d, n in field.sizes.items()),
            expected=f"the nodes of {grid.describe()}",
            next_step="resample it to the grid of the rain",
        ) from None
    values: NDArray[np.float32] = field.values.astype(np.float32)
    return values

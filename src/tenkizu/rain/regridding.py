"""Rain on a grid of the spacing a model was trained at, conservatively, and only when asked for.

Specification section 17: a grid within 20 % of the training spacing is split as it is; any other
needs the user's word, ``conservative`` or ``native``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.fields import is_field
from tenkizu.rain.tables import RAIN, Rain

if TYPE_CHECKING:
    from tenkizu.rain.model import RainModel

Regrid = Literal["conservative", "native"]
"""What a user may ask for on a grid whose spacing is far from that of the training."""

SLIVER = 1e-9
"""Overlap, in units of the smaller cell's length, that is round-off of coordinates."""


@dataclass(frozen=True, eq=False)
class Remap:
    """First-order conservative remapping: a target cell is the area-weighted mean of its parts.

    Cells are products of an interval of rows and one of columns, so that the weights of a cell are
    those of its row times those of its column. Their areas are products, too: rows count by the
    difference of the sines of their latitudes (by length in a projection), columns by length. See
    Jones (1999), Monthly Weather Review 127, 2204-2210.

    Attributes:
        source: grid of the rain.
        target: the new grid; its cells fill the same domain without remainder.
        rows: weights (h, H), each row of sum 1; only positive ones are stored.
        columns: weights (w, W), the same.
        y_edges: borders of the target's rows, (h + 1,), from the north.
        x_edges: borders of its columns, (w + 1,), from the west.
    """

    source: Grid
    target: Grid
    rows: Any
    columns: Any
    y_edges: NDArray[np.float64]
    x_edges: NDArray[np.float64]

    def __call__(self, field: NDArray[Any]) -> NDArray[np.float64]:
        """A field (H, W) on the new grid, (h, w).

        A cell is missing (NaN) when any cell that it overlaps is.
        """
        # Sparse products pass over what is not stored, so NaN reaches covered cells only.
        half = self.rows @ field.astype(np.float64)
        remapped: NDArray[np.float64] = np.ascontiguousarray((self.columns @ half.T).T)
        return remapped

    def window(self, rain: Rain) -> Rain:
        """A window (6, H, W) in the order of `tables.RAIN` on the new grid, mm.

        Where the hours are known S is the sum of the remapped ones, so that they add up exactly.
        """
        # One plane at a time: a fine grid in float64 is large.
        remapped = np.stack([self(plane).astype(np.float32) for plane in rain])
        if not np.isnan(rain[1:4]).all():
            remapped[RAIN.index("S")] = remapped[1:4].sum(axis=0, dtype=np.float64)
        return remapped

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (H, W) on the new grid, (h, w): where it holds on half of a cell or more."""
        return np.asarray(self(mask) >= 0.5)

    def describe(self) -> str:
        """One sentence for notes and files."""
        return (
            f"regridded by first-order conservative (area-weighted) remapping from "
            f"{self.source.describe()} to {self.target.describe()}"
        )


def conservative(source: Grid, spacing_km: tuple[float, float]) -> Remap:
    """The remapping of a grid to another spacing on the same domain.

    The domain ends half a cell beyond the outer nodes. It is cut into equal rows and equal columns,
    so many that their spacing is as near as possible to the one that is wanted; an axis that has it
    already is left alone.

    Args:
        source: with coordinates, at least 2 x 2 cells.
        spacing_km: wanted distance of rows and of columns, the latter at the middle latitude.

    Raises:
        DataError: the grid has no spacing.
    """
    found = source.spacing_km
    if found is None or source.kind == "index":
        raise DataError("a grid without coordinates along its axes", found=source.describe())
    sphere = source.kind == "latlon"
    # Rows from the north: with the sign changed they increase as columns do.
    south = _edges(-source.y)
    if sphere:
        south = south.clip(-90.0, 90.0)
    y, y_edges, rows = _axis(-source.y, south, found[0] / spacing_km[0], sphere)
    x, x_edges, columns = _axis(source.x, _edges(source.x), found[1] / spacing_km[1], False)
    target = Grid(source.kind, -y, x, source.y_name, source.x_name, source.units)
    return Remap(source, target, rows, columns, -y_edges, x_edges)


def choose_grid(
    model: "RainModel", grid: Grid, regrid: Regrid | None, name: str
) -> tuple[Remap | None, list[str]]:
    """Decide on which grid rain is split.

    Args:
        model: that splits it.
        grid: of the rain.
        regrid: what the user asked for.
        name: of the source, for messages.

    Returns:
        The remapping, None for the grid as it is; and what the user should be told.

    Raises:
        DataError: the spacing is far from that of the training and nothing was asked for;
            or ``conservative`` was, but a spacing is not known, the model has forecast fields, the
            grid has coordinates in two dimensions only, or the domain is too small.
        ConfigError: there is no such way to regrid.
    """
    if regrid is not None and regrid not in get_args(Regrid):
        raise ConfigError(
            "no such way to regrid",
            variable="regrid (--regrid)",
            found=repr(regrid),
            expected=" or ".join(get_args(Regrid)),
        )
    wanted, trained = model.nearest_spacing(grid), model.spacing_range_km
    if wanted is None and regrid == "conservative" and not (grid.spacing_km and trained):
        raise DataError(
            "cannot be regridded, since a spacing is not known",
            file=name,
            found=f"{grid.describe()}; a model trained at "
            + ("{:.3g} to {:.3g} km".format(*trained) if trained else "an unknown spacing"),
            expected="rows and columns of a latitude-longitude grid, or of a projection in m or km",
            next_step="leave --regrid out: hours are then split on the grid as it is",
        )
    if wanted is None and regrid == "conservative":
        return None, ["not regridded: the spacing is within 20 % of that of the training"]
    if wanted is None or regrid == "native":
        return None, list(filter(None, [model.check_grid(grid)]))
    fields = any(is_field(channel) for channel in model.net.channels)
    counted = grid.kind == "index"
    if regrid is None or fields or counted:
        native = "--regrid native splits hours on the grid as it is, and scores may be lower"
        remapping = f"--regrid conservative brings it to {_text(wanted)} km first; "
        problem = "the grid spacing is far from that of the training"
        if regrid:
            problem = "forecast fields are not regridded"
        if regrid and counted:
            problem = "a grid with latitudes and longitudes in two dimensions is not regridded"
        raise DataError(
            problem,
            file=name,
            found=f"{_text(grid.spacing_km)} km",
            expected=f"within 20 % of {_range(trained)} km, at which the model was trained",
            next_step=("" if fields or counted else remapping) + native,
        )
    remap = conservative(grid, wanted)
    if model.nearest_spacing(remap.target) is not None or min(remap.target.shape) < 2:
        raise DataError(
            "the domain is too small for cells of the size of the training's",
            file=name,
            found=grid.describe(),
            expected=f"several cells of {_text(wanted)} km",
            next_step="use --regrid native, or a larger domain",
        )
    return remap, [remap.describe()]


def _text(spacing_km: tuple[float, float] | None) -> str:
    return "unknown" if spacing_km is None else "{:.3g} x {:.3g}".format(*spacing_km)


def _range(spacing_km: tuple[float, float] | None) -> str:
    if spacing_km is None:
        return "unknown"
    low, high = spacing_km
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _edges(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Borders of cells: halfway between nodes, and as far beyond the outer ones; increasing."""
    middle = (nodes[:-1] + nodes[1:]) / 2
    ends = (2 * nodes[:1] - middle[:1], 2 * nodes[-1:] - middle[-1:])
    return np.concatenate([ends[0], middle, ends[1]])


def _axis(
    nodes: NDArray[np.float64], edges: NDArray[np.float64], ratio: float, sphere: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], Any]:
    """Nodes, borders and weights of an axis with ``ratio`` times as many cells."""
    if np.isclose(ratio, 1.0):
        return nodes, edges, sparse.eye_array(len(nodes), format="csr")
    count = max(1, round(len(nodes) * ratio))
    target = np.linspace(edges[0], edges[-1], count + 1)
    return (target[:-1] + target[1:]) / 2, target, _weights(edges, target, sphere)


def _weights(source: NDArray[np.float64], target: NDArray[np.float64], sphere: bool) -> Any:  # noqa: ANN401 - scipy has no types
    """Share of each target cell (row) that lies in each source cell (column), sparse.

    Args:
        source: borders of cells, increasing.
        target: borders of cells from the first to the last of those.
        sphere: count degrees of latitude by the area between them.
    """
    # Between two neighbouring borders of either kind lies one piece of one cell each.
    cuts = np.union1d(source, target)
    middle = (cuts[:-1] + cuts[1:]) / 2
    own = np.searchsorted(source, middle, side="right") - 1
    covering = np.searchsorted(target, middle, side="right") - 1
    size = np.diff(np.sin(np.deg2rad(cuts)) if sphere else cuts)
    smaller = min(float(np.diff(source).min()), float(np.diff(target).min()))
    kept = np.diff(cuts) > SLIVER * smaller
    size, own, covering = size[kept], own[kept], covering[kept]
    whole = np.bincount(covering, size, minlength=len(target) - 1)
    shape = (len(target) - 1, len(source) - 1)
    return sparse.csr_array((size / whole[covering], (covering, own)), shape=shape)

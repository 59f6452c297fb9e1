"""What maps are checked for: units, plausible and finite values, one grid."""

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns.reading.map_layout import Piece
from tenkizu.patterns.reading.map_times import Minutes, list_times
from tenkizu.patterns.reading.natives import plain_units

Maps = NDArray[np.float64]
"""Maps of one field, (T, H, W)."""

_CONVERT = "convert the file, e.g. cdo -setattribute,{name}@units={units} -mulc,FACTOR in.nc out.nc"
_DROP = "fetch the file again; `prepare` can leave the field out: data.drop"
NOWHERE = (
    "fetch the file again; where the area has no such values by nature, such as no sea, leave "
    "their channels out, as data.drop=[sst,sea_mask], and fetch with download.tasks=needed"
)
"""Next step for a field without any value."""


def check_units(piece: Piece, first: Maps) -> None:
    """Raise unless the file gives the field in its unit.

    Args:
        piece: the field in the file.
        first: some of its maps, whose values the message shows.
    """
    text = str(piece.attrs().get("units", ""))
    if plain_units(text) in piece.native.spellings:
        return
    raise DataError(
        "wrong units" if text else "no units",
        file=piece.file.label,
        variable=piece.variable,
        found=f"'{text}', values {_value_range(first)}",
        expected=piece.native.units,
        next_step=_CONVERT.format(name=piece.variable, units=piece.native.units),
    )


def check_values(piece: Piece, maps: Maps, times: Minutes, absent: NDArray[np.bool_]) -> None:
    """Raise unless maps are finite, and their mean and extremes plausible in the field's unit.

    Args:
        piece: the field in the file.
        maps: (T, H, W), NaN where missing.
        times: of the maps.
        absent: (H, W), cells that have no value by nature, such as land in sst.
    """
    # A sum is finite only if all its terms are: one pass in the usual case.
    if np.isfinite(maps.sum()):
        mean, smallest, largest = float(maps.mean()), float(maps.min()), float(maps.max())
    else:
        _check_finite(piece, maps, times, absent)
        finite = maps[np.isfinite(maps)]
        if not finite.size:
            if piece.native.name != "cin":  # some days have no convection anywhere
                refuse_empty(piece, times)
            return
        mean, smallest, largest = float(finite.mean()), float(finite.min()), float(finite.max())
    low, high = piece.native.mean_range(piece.hpa)
    if not low <= mean <= high:
        raise DataError(
            "values that do not fit the units",
            file=piece.file.label,
            variable=piece.variable,
            found=f"mean {mean:g}, values {_value_range(maps)}, units "
            f"'{piece.attrs().get('units', '')}'",
            expected=f"a mean of {low:g} to {high:g} {piece.native.units}",
            next_step=_CONVERT.format(name=piece.variable, units=piece.native.units),
        )
    low, high = piece.native.cell_range(piece.hpa)
    if low <= smallest and largest <= high:
        return
    wrong = (maps < low) | (maps > high)
    day, row, column = (int(i) for i in np.argwhere(wrong)[0])
    raise DataError(
        "values that no weather has",
        file=piece.file.label,
        variable=piece.variable,
        found=f"{maps[day, row, column]:g} on {list_times(times[day : day + 1])} at row {row}, "
        f"column {column}, and {np.count_nonzero(wrong) - 1} more",
        expected=f"{low:g} to {high:g} {piece.native.units}",
        next_step=_DROP,
    )


def _check_finite(piece: Piece, maps: Maps, times: Minutes, absent: NDArray[np.bool_]) -> None:
    """Raise at missing or infinite values that are not there by nature."""
    wrong = np.isinf(maps)
    if piece.native.name != "cin":
        wrong |= np.isnan(maps) & ~absent
    if not wrong.any():
        return
    bad = wrong.any(axis=(1, 2))
    row, column = (int(i) for i in np.argwhere(wrong[int(np.argmax(bad))])[0])
    raise DataError(
        "non-finite values" + (" outside land" if absent.any() else ""),
        file=piece.file.label,
        variable=piece.variable,
        found=f"{np.count_nonzero(wrong)} in {np.count_nonzero(bad)} of {len(times)} maps read, "
        f"first on {list_times(times[bad][:1])} at row {row}, column {column}",
        expected="a value in every cell",
        next_step=_DROP,
    )


def refuse_empty(piece: Piece, times: Minutes) -> NoReturn:
    """Refuse maps of a field that may lack cells, but not all of them.

    Raises:
        DataError: always.
    """
    raise DataError(
        "missing everywhere",
        file=piece.file.label,
        variable=piece.variable,
        found=f"{len(times)} maps without a value, {list_times(times)}",
        expected="values outside land" if piece.native.name == "sst" else "values",
        next_step=NOWHERE,
    )


def check_same_grid(reference: Piece, piece: Piece) -> None:
    """Raise when a field lies on another grid than the reference, which is msl if there is one."""
    if reference.grid.same_as(piece.grid):
        return
    raise DataError(
        f"another grid than {reference.name} in {reference.file.path.name}",
        file=piece.file.label,
        variable=piece.variable,
        found=piece.grid.describe(),
        expected=f"{reference.grid.describe()} ({first_difference(reference.grid, piece.grid)})",
        next_step="fetch all fields for one area and resolution; nothing is interpolated",
    )


def first_difference(expected: Grid, found: Grid) -> str:
    """Where two grids first differ, for messages."""
    for name, one, other in (("latitude", expected.y, found.y), ("longitude", expected.x, found.x)):
        shared = min(len(one), len(other))
        differs = np.flatnonzero(np.abs(one[:shared] - other[:shared]) > 1e-4)
        if len(differs):
            at = int(differs[0])
            return f"{name} {at} is {other[at]:g}, not {one[at]:g}"
        if len(one) != len(other):
            return f"{len(other)} values of {name}, not {len(one)}"
    return "they are the same"


def _value_range(maps: Maps) -> str:
    """Smallest to largest value, for messages."""
    finite = maps[np.isfinite(maps)]
    return f"{finite.min():g} to {finite.max():g}" if finite.size else "all missing"

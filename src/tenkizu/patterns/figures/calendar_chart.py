"""The calendar of a split: observed above predicted major types, a row a year, a column a day."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from numpy.typing import NDArray

from tenkizu.core import charts
from tenkizu.core.errors import DataError
from tenkizu.patterns.verification.days import DayTable

WIDTH_PX = 1700

MAJOR_COLOURS = (
    "#3f78b5",
    "#d2603a",
    "#e9bf45",
    "#57a06c",
    "#b0457f",
    "#6b4fa0",
    "#58b8c9",
    "#8a6d4b",
    "#a8c256",
    "#e695b5",
    "#4d5b6b",
    "#c9a227",
)
"""Colours of major types in their order; further ones begin again."""

NOTHING_COLOUR, ABSENT_COLOUR = "#d9d9d9", "#ffffff"
"""A day without any type, and one that is not in the table."""

_STRIP = 12
"""Pixels a strip is drawn from: 12 splits evenly into 2, 3 or 4 types."""
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_INK = "#333333"


def draw_calendar(
    path: str | Path,
    table: DayTable,
    majors: Sequence[str],
    major_names: Mapping[str, str] | None = None,
) -> Path:
    """Draw every day of a table twice, observed above predicted, coloured by major type.

    A day of several types is split from the top: observed ones in the order of its label, so that
    a transition reads downward, predicted ones by falling probability. A day of two types within
    one major type is not split, but counts once.

    Args:
        path: file to write.
        table: the days; their dates are those of the valid times in UTC.
        majors: major type of each label, (L,).
        major_names: longer names for the legend.

    Returns:
        The path written.

    Raises:
        DataError: no day, or majors that do not fit the labels.
    """
    if not len(table) or len(majors) != len(table.labels):
        raise DataError(
            "nothing to draw a calendar of",
            found=f"{len(table)} days, {len(majors)} majors for {len(table.labels)} labels",
            expected="at least one day, and a major for each label",
        )
    types = list(dict.fromkeys(majors))
    colours = {m: MAJOR_COLOURS[i % len(MAJOR_COLOURS)] for i, m in enumerate(types)}
    days = table.times.astype("datetime64[D]")
    years = list(range(int(str(days[0])[:4]), int(str(days[-1])[:4]) + 1))
    strips = _strips(table, np.asarray(majors), colours)
    with charts.style():
        figure = charts.new_figure(WIDTH_PX, 100 + (84 if len(years) < 5 else 64) * len(years))
        axes = figure.subplots(len(years), 1, sharex=True, squeeze=False)[:, 0]
        for ax, year in zip(axes, years, strict=True):
            _draw_year(ax, year, days, strips)
        _label_months(axes[-1])
        names = [(major_names or {}).get(m, m) for m in types]
        named = [m if m == name else f"{m}  {name}" for m, name in zip(types, names, strict=True)]
        handles = [Patch(color=colours[m], label=n) for m, n in zip(types, named, strict=True)]
        if (strips[:, :, 0] == to_rgb(NOTHING_COLOUR)).all(axis=-1).any():
            handles.append(Patch(color=NOTHING_COLOUR, label="none"))
        figure.legend(
            handles=handles, loc="outside upper left", ncols=len(handles), handlelength=1.2,
            columnspacing=1.4, fontsize=9,
        )  # fmt: skip
        return charts.save_figure(figure, path)


def _strips(
    table: DayTable, majors: NDArray[np.str_], colours: Mapping[str, str]
) -> NDArray[np.float64]:
    """Colours (n, 2, 12, 3) of each day's observed and predicted strip, from the top down."""
    strips = np.empty((len(table), 2, _STRIP, 3))
    for day, text in enumerate(table.texts):
        said = re.split(r"\W+", text)
        written = {label: said.index(label) for label in table.labels if label in said}
        observed = sorted(
            np.flatnonzero(table.truth[day]), key=lambda i: written.get(table.labels[i], len(said))
        )
        order = np.argsort(-table.calibrated[day], kind="stable")
        predicted = [i for i in order if table.predicted[day, i]]
        for strip, labels in enumerate((observed, predicted)):
            shown = list(dict.fromkeys(str(majors[i]) for i in labels))
            parts = [to_rgb(colours[m]) for m in shown] or [to_rgb(NOTHING_COLOUR)]
            pixels = np.arange(_STRIP) * len(parts) // _STRIP
            strips[day, strip] = np.asarray(parts)[pixels]
    return strips


def _draw_year(
    ax: Axes,
    year: int,
    days: NDArray[np.datetime64],
    strips: NDArray[np.float64],
) -> None:
    """One row: two strips with a gap, by the day of a leap year."""
    gap = 2
    image = np.empty((2 * _STRIP + gap, 366, 3))
    image[:] = to_rgb(ABSENT_COLOUR)
    held = days.astype("datetime64[Y]").astype(int) + 1970 == year
    columns = _columns(days[held])
    for row, own in ((0, strips[held, 0]), (_STRIP + gap, strips[held, 1])):
        image[row : row + _STRIP, columns] = own.transpose(1, 0, 2)
    ax.imshow(image, aspect="auto", interpolation="nearest", extent=(0, 366, len(image), 0))
    ax.set_yticks([_STRIP / 2, len(image) - _STRIP / 2], ["observed", "predicted"], fontsize=7)
    ax.set_ylabel(
        str(year), rotation=0, ha="right", va="center", fontweight="bold", color=_INK, fontsize=9.5
    )
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for start in _month_starts()[1:]:
        ax.axvline(start, color="white", linewidth=1.4)


def _label_months(ax: Axes) -> None:
    starts = [*_month_starts(), 366]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(starts)]
    ax.set_xticks(middles, _MONTHS, fontsize=8.5)


def _columns(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Place of dates in a leap year, so that months stand under each other in all years."""
    months = days.astype("datetime64[M]")
    in_month = (days - months).astype(np.int64)
    starts: NDArray[np.int64] = np.asarray(_month_starts())
    columns: NDArray[np.int64] = starts[months.astype(np.int64) % 12] + in_month
    return columns


def _month_starts() -> list[int]:
    lengths = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30)
    return [0, *np.cumsum(lengths).tolist()]

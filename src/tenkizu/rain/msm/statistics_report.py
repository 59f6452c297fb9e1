"""What `stats` writes: JSON, a Markdown page with tables, and figures."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from tenkizu.core import charts
from tenkizu.core.store import write_json, write_text
from tenkizu.rain.msm.markdown import number, table

TITLES = {"all": "all cells", "all_wet": "all three hours wet"}
"""The two populations in words."""

_WIDTH_PX = 1600
_INK = "#333333"
_BLUE, _ORANGE = "#2b6cb0", "#c05a11"


def write_report(folder: Path, summary: Mapping[str, Any]) -> list[Path]:
    """Write ``stats.json``, ``stats.md`` and three figures.

    Args:
        folder: where to; it is made if need be.
        summary: of `tenkizu.rain.msm.statistics.stats`.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("stats.json", "stats.md")]
    write_json(paths[0], summary)
    write_text(paths[1], as_markdown(summary))
    return [
        *paths,
        draw_amounts(folder / "amounts.png", summary),
        draw_patterns(folder / "wet_patterns.png", summary),
        draw_range(folder / "range.png", summary),
    ]


def as_markdown(summary: Mapping[str, Any]) -> str:
    """The page: one table for both populations, then amounts, patterns and weights."""
    populations = [summary[name] for name in TITLES]

    def row(title: str, *keys: str) -> list[str]:
        """Values at a path in both populations, such as mean / std / max."""
        cells = []
        for population in populations:
            value: Any = population
            for key in keys:
                value = value[key]
            cells.append(" / ".join(number(v) for v in value.values()))
        return [title, *cells]

    rows = [
        [
            "cell-times",
            *(f"{p['cells']:,} ({number(100 * p['share'], 2)} %)" for p in populations),
        ],
        row("SD of hours, mean / std / max (mm)", "deviation_mm"),
        row("range, mean / std / max (mm)", "range_mm"),
        [
            f"range <= {', '.join(populations[0]['range_within'])} mm (%)",
            *(
                ", ".join(number(100 * v, 2) for v in p["range_within"].values())
                for p in populations
            ),
        ],
        *(
            row(f"{hour} - S/3, MAE / RMSE / bias / max (mm)", "errors_mm", hour)
            for hour in populations[0]["errors_mm"]
        ),
        [
            f"r({'), r('.join(populations[0]['correlation'])})",
            *(", ".join(number(v, 3) for v in p["correlation"].values()) for p in populations),
        ],
    ]
    shares, cells = summary["wet_hours_share"], populations[0]["cells"]
    at_least = summary["hourly"]["share_at_least"]
    parts = [
        "# Statistics of hourly rain in its 3-hour totals\n",
        f"{summary['initial_times']:,} initial times from {len(summary['files'])} files. "
        "S is the sum of the three hours; SD is over the three hours of a cell (divided by 3), "
        "wet is above 0.\n",
        table(["quantity", *TITLES.values()], rows),
        "\n## Wet and dry hours\n",
        table(
            ["wet hours of three", "cell-times", "%"],
            [
                [k, f"{count:,}", number(100 * shares[k], 2)]
                for k, count in summary["wet_hours"].items()
            ],
        ),
        f"\n{number(100 * summary['partly_wet_share_of_rainy'], 2)} % of rainy cell-times have one "
        "or two wet hours.\n",
        table(
            ["wet hours: 4, 5, 6", "cell-times", "%"],
            [
                [
                    ", ".join(str(4 + i) for i in range(3) if name[i] == "1") or "none",
                    f"{count:,}",
                    number(100 * count / cells, 2),
                ]
                for name, count in summary["wet_patterns"].items()
            ],
        ),
        "\n![Wet patterns](wet_patterns.png)\n",
        "\n## Amounts\n",
        "Hours of at least "
        + ", ".join(f"{edge} mm: {number(100 * v, 4)} %" for edge, v in at_least.items())
        + ".\n",
        *(_amounts(summary, kind, word) for kind, word in (("hourly", "hour"), ("totals", "S"))),
        "\n![Amounts](amounts.png)\n",
        "\n![Range](range.png)\n",
    ]
    return "\n".join(parts)


def _amounts(summary: Mapping[str, Any], kind: str, word: str) -> str:
    """Counts and suggested weights by bin."""
    counts, weights = summary[kind]["counts"], summary["weights"][kind]
    total = sum(counts)
    rows = []
    for i, (label, count) in enumerate(
        zip(_labels(summary[kind]["edges_mm"]), counts, strict=True)
    ):
        share = number(100 * count / total if total else math.nan, 4)
        suggested = (number(w[i], 2) if w else "-" for w in weights.values())
        rows.append([label, f"{count:,}", share, *suggested])
    head = [f"{word} (mm)", "count", "%", "inverse_frequency", "power"]
    note = "" if weights["power"] else "\nNo weights: a bin is empty.\n"
    return table(head, rows) + note


def _labels(edges: Sequence[float]) -> list[str]:
    """Bins in words: the first begins at 0."""
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [*inner, f"≥ {edges[-1]:g}"]


def draw_amounts(path: Path, summary: Mapping[str, Any]) -> Path:
    """Draw how often hours and totals fall into each bin, on a logarithmic scale."""
    with charts.style():
        figure = charts.new_figure(_WIDTH_PX, 620)
        axes = figure.subplots(1, 2)
        for ax, kind, title in zip(
            axes, ("hourly", "totals"), ("hours", "3-hour totals S"), strict=True
        ):
            counts = np.array(summary[kind]["counts"], np.float64)
            labels = _labels(summary[kind]["edges_mm"])
            _bars(ax, labels, counts, "cell-hours" if kind == "hourly" else "cells", _BLUE)
            ax.set_title(f"Amounts of {title}", loc="left", fontweight="bold", color=_INK)
            ax.set_xlabel("mm")
        return charts.save_figure(figure, path)


def draw_patterns(path: Path, summary: Mapping[str, Any]) -> Path:
    """Draw how often each pattern of wet and dry hours occurs."""
    with charts.style():
        figure = charts.new_figure(_WIDTH_PX, 620)
        left, right = figure.subplots(1, 2)
        patterns = summary["wet_patterns"]
        names = ["".join("●" if wet == "1" else "○" for wet in name) for name in patterns]
        _bars(left, names, np.array(list(patterns.values()), np.float64), "cells", _BLUE)
        left.set_title("Hours 4, 5, 6: ● wet, ○ dry", loc="left", fontweight="bold", color=_INK)
        hours = summary["wet_hours"]
        _bars(right, list(hours), np.array(list(hours.values()), np.float64), "cells", _ORANGE)
        right.set_title("Number of wet hours", loc="left", fontweight="bold", color=_INK)
        right.set_xlabel("wet hours of three")
        return charts.save_figure(figure, path)


def draw_range(path: Path, summary: Mapping[str, Any]) -> Path:
    """Draw the share of cells whose hours differ by at most so much, and by how much from S/3."""
    edges = np.array(summary["range_edges_mm"])[1:]
    with charts.style():
        figure = charts.new_figure(_WIDTH_PX, 620)
        left, right = figure.subplots(1, 2)
        for (name, title), colour in zip(TITLES.items(), (_BLUE, _ORANGE), strict=True):
            counts = np.array(summary[name]["range_histogram"], np.float64)
            if counts.sum():
                share = 100 * counts.cumsum()[: len(edges)] / counts.sum()
                left.plot(edges, share, color=colour, label=title)
        left.set_xscale("log")
        left.set_xlim(0.01, 100)
        left.set_ylim(0, 102)
        left.set_xlabel("largest minus smallest hour (mm)")
        left.set_ylabel("% of cells within")
        left.set_title("Range of the three hours", loc="left", fontweight="bold", color=_INK)
        left.legend(loc="lower right")
        left.grid(True)
        errors = {name: summary[name]["errors_mm"] for name in TITLES}
        places = np.arange(len(errors["all"]))
        for k, ((name, title), colour) in enumerate(
            zip(TITLES.items(), (_BLUE, _ORANGE), strict=True)
        ):
            values: ArrayLike = [error["rmse"] for error in errors[name].values()]
            right.bar(places + 0.4 * k - 0.2, values, 0.38, color=colour, label=title)
        right.set_xticks(places, list(errors["all"]))
        right.set_ylabel("RMSE (mm)")
        right.set_title("Error of S/3", loc="left", fontweight="bold", color=_INK)
        right.margins(y=0.25)
        right.legend(loc="upper right", ncols=2)
        right.grid(True, axis="y")
        right.set_axisbelow(True)
        return charts.save_figure(figure, path)


def _bars(ax: Axes, labels: Sequence[str], counts: ArrayLike, what: str, colour: str) -> None:
    """Counts as bars on a logarithmic scale, each with its share."""
    values = np.asarray(counts, np.float64)
    places = range(len(values))
    ax.bar(places, values, color=colour)
    ax.set_yscale("log")
    ax.set_ylim(0.5, max(values.max(initial=0.0), 1.0) * 6)
    total = values.sum()
    for place, value in zip(places, values, strict=True):
        share = f"{100 * value / total:.3g} %" if total else "n/a"
        ax.text(place, max(value, 0.5) * 1.2, share, ha="center", fontsize=7.5, color=_INK)
    ax.set_xticks(places, list(labels))
    ax.set_ylabel(what)
    ax.grid(True, axis="y")
    ax.set_axisbelow(True)

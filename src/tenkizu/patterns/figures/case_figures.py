"""Best and worst days of an evaluation: ``cases/{split}.npz`` and its figures."""

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core import charts
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns.analogues import read_analogues
from tenkizu.patterns.figures.pressure_centres import regrid
from tenkizu.patterns.figures.weather_chart import draw_charts
from tenkizu.patterns.verification.days import DayTable

CHANNELS = 12
"""Channels drawn of each day, those of the largest totals."""

TOWARDS, AGAINST = "#d9812e", "#7b68a6"
"""Colours of what speaks for and against a type, as on the charts."""
_INK = "#333333"
_LONG = 34

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cases:
    """Single days with what explains them; k days.

    Attributes:
        times: valid times, UTC, (k,).
        kinds: ``best`` or ``worst``, k.
        msl: sea level pressure, (k, H, W), Pa.
        grid: of the maps.
        attribution: share of each cell in the logit of the explained label, (k, H, W), or None.
        explained: the label that it explains, k; empty where unknown.
        by_channel: totals of attribution, (k, C), or None.
        grad_cam: where the last spatial layer speaks for the explained label, from 0 to 1,
            (k, H, W), or None.
        channels: their names, C.
        analogue_msl: pressure of the nearest training days, (k, n, h, w), Pa, NaN where there is
            none, or None.
        analogue_grid: of these maps, which may be coarser.
        analogues: of each day, lines of the table beside the file in order of rank, with ``date``,
            ``analogue_date``, ``distance`` and ``label``; empty without a table.
    """

    times: NDArray[np.datetime64]
    kinds: list[str]
    msl: Floats
    grid: Grid
    attribution: Floats | None = None
    explained: list[str] | None = None
    by_channel: Floats | None = None
    grad_cam: Floats | None = None
    channels: tuple[str, ...] = ()
    analogue_msl: Floats | None = None
    analogue_grid: Grid | None = None
    analogues: tuple[Sequence[Mapping[str, str]], ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> "Cases":
        """Read ``cases/{split}.npz`` and, if it is there, ``cases/{split}_analogues.csv``.

        The file holds ``times``, ``kind``, ``msl``, ``lat``, ``lon`` and, if they were computed,
        ``attribution``, ``attributed_label``, ``attribution_by_channel``, ``grad_cam``,
        ``channels``, ``analogue_msl``, ``analogue_lat`` and ``analogue_lon``.

        Raises:
            DataError: the file is absent, damaged or lacks one of the first five.
        """
        path = Path(path)
        rows = path.with_name(f"{path.stem}_analogues.csv")
        try:
            with np.load(path) as held:
                data: dict[str, NDArray[Any]] = dict(held)
            times = data["times"].astype("datetime64[m]")
            labels = data.get("attributed_label")
            near = tuple(read_analogues(rows).values()) if rows.exists() else ()
            return cls(
                times,
                [str(kind) for kind in data["kind"]],
                data["msl"].astype(np.float64),
                _grid(data["lat"], data["lon"]),
                data.get("attribution"),
                None if labels is None else [str(label) for label in labels],
                data.get("attribution_by_channel"),
                data.get("grad_cam"),
                tuple(str(name) for name in data.get("channels", ())),
                data.get("analogue_msl"),
                _grid(data["analogue_lat"], data["analogue_lon"])
                if "analogue_lat" in data
                else None,
                # A line less or more would give every day another's analogues.
                near if len(near) == len(times) else (),
            )
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise DataError(
                f"cannot be read: {error}",
                file=path,
                expected="times, kind, msl, lat and lon of single days",
                next_step="train the run again",
            ) from None

    def of(self, kind: str) -> list[int]:
        """Indices of the best or worst days."""
        return [i for i, own in enumerate(self.kinds) if own == kind]


def day_texts(table: DayTable | None, times: NDArray[np.datetime64]) -> list[str]:
    """``observed ..., predicted ...`` of some days; empty where the table has none."""
    if table is None:
        return [""] * len(times)
    place = {_stamp(time): i for i, time in enumerate(table.times)}
    said = table.predicted_texts()
    found = [place.get(_stamp(time)) for time in times]
    return [
        "" if i is None else f"observed {table.texts[i]}   predicted {said[i] or 'none'}"
        for i in found
    ]


def draw_days(path: str | Path, cases: Cases, kind: str, table: DayTable | None = None) -> Path:
    """Draw the best or the worst days as weather charts, attribution under the isobars.

    Args:
        path: file to write.
        cases: the days.
        kind: ``best`` or ``worst``.
        table: the days of the evaluation, for observed and predicted labels.

    Returns:
        The path written.

    Raises:
        DataError: there is no such day.
    """
    days = cases.of(kind)
    titles = _titles(cases, days, table, "shaded: for {}")
    shading = None if cases.attribution is None else cases.attribution[days]
    return draw_charts(
        path,
        cases.msl[days],
        cases.grid,
        titles,
        shading,
        shading_label="share in the logit of the shaded type (orange: for it, purple: against)",
    )


def draw_grad_cam(path: str | Path, cases: Cases, table: DayTable | None = None) -> Path:
    """Draw all days with Grad-CAM under the isobars, the best ones first.

    Args:
        path: file to write.
        cases: with ``grad_cam``.
        table: the days of the evaluation, for observed and predicted labels.

    Returns:
        The path written.

    Raises:
        DataError: there is no Grad-CAM.
    """
    if cases.grad_cam is None or not len(cases.kinds):
        raise DataError("no Grad-CAM of these days", variable="grad_cam")
    days = list(range(len(cases.kinds)))
    titles = [
        f"{title}" if cam.any() else f"{title} (no part of the map)"
        for title, cam in zip(_titles(cases, days, table, "for {}"), cases.grad_cam, strict=True)
    ]
    return draw_charts(
        path,
        cases.msl,
        cases.grid,
        titles,
        cases.grad_cam,
        shading_label="what speaks for the type, 1 at the strongest place of each day",
    )


def _titles(cases: Cases, days: Sequence[int], table: DayTable | None, explained: str) -> list[str]:
    """Date, then observed and predicted labels with the label that is explained."""
    texts = day_texts(table, cases.times[days])
    labels = [(cases.explained or [""] * len(cases.kinds))[i] for i in days]
    titles = []
    for day, text, label in zip(days, texts, labels, strict=True):
        said = explained.format(label) if label else ""
        # On a line of its own where it would run into the next chart.
        apart = ["   ".join(filter(None, [text, said]))] if len(text) < _LONG else [text, said]
        titles.append("\n".join(filter(None, [_stamp(cases.times[day]), *apart])))
    return titles


def draw_analogues(path: str | Path, cases: Cases, table: DayTable | None = None) -> Path:
    """Draw each day and its analogues as small charts, a row a day.

    Args:
        path: file to write.
        cases: with ``analogue_msl``.
        table: the days of the evaluation, for their labels.

    Returns:
        The path written.

    Raises:
        DataError: there are no analogues.
    """
    if cases.analogue_msl is None or not len(cases.kinds):
        raise DataError("no maps of analogues", variable="analogue_msl")
    grid = cases.analogue_grid or cases.grid
    count = cases.analogue_msl.shape[1]
    own = np.stack([regrid(map_, cases.grid, grid) for map_ in cases.msl])
    maps = np.concatenate([own[:, None], cases.analogue_msl], axis=1)
    texts = {} if table is None else dict(zip(map(_stamp, table.times), table.texts, strict=True))
    titles = []
    for i, day in enumerate(map(_stamp, cases.times)):
        titles.append(f"{day}\n{cases.kinds[i]}: {texts.get(day, '')}")
        rows = cases.analogues[i] if cases.analogues else ()
        said = [f"{row['analogue_date']}\n{row['label']}" for row in rows]
        titles += (said + [f"analogue {n + 1}\n" for n in range(len(said), count)])[:count]
    return draw_charts(path, maps.reshape(-1, *grid.shape), grid, titles, columns=count + 1)


def draw_channel_totals(path: str | Path, cases: Cases, table: DayTable | None = None) -> Path:
    """Draw how much each channel speaks for or against the explained type, a panel a day.

    Args:
        path: file to write.
        cases: with ``by_channel`` and ``channels``.
        table: the days of the evaluation, for their labels.

    Returns:
        The path written.

    Raises:
        DataError: there are no totals.
    """
    totals, names = cases.by_channel, cases.channels
    if totals is None or not len(totals) or totals.shape[1] != len(names):
        raise DataError(
            "no totals by channel",
            variable="attribution_by_channel",
            found=None if totals is None else f"shape {totals.shape}, {len(names)} names",
        )
    columns = min(4, len(totals))
    rows = math.ceil(len(totals) / columns)
    shown = min(CHANNELS, len(names))
    texts = day_texts(table, cases.times)
    with charts.style():
        figure = charts.new_figure(1600, rows * (90 + 30 * shown) + 40)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for i, ax in enumerate(axes):
            if i >= len(totals):
                ax.set_axis_off()
                continue
            order = np.argsort(-np.abs(totals[i]), kind="stable")[:shown]
            values = totals[i][order]
            colours = np.where(values >= 0.0, TOWARDS, AGAINST)
            ax.barh(np.arange(shown), values, height=0.7, color=colours)
            ax.set_yticks(np.arange(shown), [names[j] for j in order])
            ax.set_ylim(shown - 0.4, -0.6)
            ax.axvline(0.0, color=_INK, linewidth=0.8)
            ax.tick_params(axis="y", length=0)
            ax.grid(True, axis="x")
            ax.set_axisbelow(True)
            ax.spines[["top", "right", "left"]].set_visible(False)
            explained = f"   for {cases.explained[i]}" if cases.explained else ""
            ax.set_title(
                f"{_stamp(cases.times[i])}  {cases.kinds[i]}{explained}\n{texts[i]}",
                loc="left", color=_INK, fontsize=8,
            )  # fmt: skip
        figure.supxlabel("total share in the logit of the type", color=_INK, fontsize=8.5)
        return charts.save_figure(figure, path)


def _grid(lat: NDArray[Any], lon: NDArray[Any]) -> Grid:
    return Grid("latlon", lat.astype(np.float64), lon.astype(np.float64))


def _stamp(time: np.datetime64) -> str:
    """The date, with the hour unless it is 00 UTC."""
    date, _, clock = str(time.astype("datetime64[m]")).partition("T")
    return date if clock == "00:00" else f"{date} {clock} UTC"

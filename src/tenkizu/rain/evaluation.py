"""`evaluate`: a model beside every baseline, on identical cells, window by window."""

import logging
from collections.abc import Iterable, Iterator
from heapq import heappush, heappushpop
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tenkizu.core.grid import Grid
from tenkizu.core.store import SampleStore, write_json, write_text
from tenkizu.core.verification import Tally
from tenkizu.rain.baselines import Climatology, equal_split, linear_split
from tenkizu.rain.config import PlotsConfig, RainConfig, ScoresConfig
from tenkizu.rain.hourly import SourceOptions, open_rain, read_window, window_starts
from tenkizu.rain.preparation import Track, to_rain
from tenkizu.rain.scores import summarise, window_tally
from tenkizu.rain.tables import Rain

log = logging.getLogger(__name__)

METHODS = ("model", "equal", "linear", "climatological")
"""The model and its baselines, in the order of tables."""

SCALES: tuple[Literal["log", "linear"], ...] = ("log", "linear")

LABELS = {
    "model": "model",
    "equal": "equal split S/3",
    "linear": "linear interpolation",
    "climatological": "climatological shares",
}


def baseline_splits(rain: Rain, start: np.datetime64, climatology: Climatology) -> dict[str, Rain]:
    """Every baseline's hours (3, H, W) for one stored window (6, H, W), mm."""
    previous, total, following = rain[0], rain[4], rain[5]
    return {
        "equal": equal_split(total),
        "linear": linear_split(previous, total, following),
        "climatological": climatology.split(start, total),
    }


def evaluate(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    options: SourceOptions | None = None,
    window_start: int = 0,
    cases: int | None = None,
    track: Track | None = None,
) -> dict[str, Any]:
    """Score a model on a file of hourly rain, beside the baselines.

    Args:
        model: a run folder, an exported model folder or a shipped model's name.
        data: NetCDF of hourly or sub-hourly rain.
        output: folder for ``scores.json``, ``evaluation.txt`` and figures.
        options: what the file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.
        cases: number of heaviest windows to draw; by default as the model's run.
        track: shows progress.

    Returns:
        The scores, as written to ``scores.json``.

    Raises:
        DataError: the model or the file cannot be used.
    """
    from tenkizu.rain.model import RainModel

    loaded = RainModel.load(model)
    run = loaded.metadata["config"]
    scores, plots = ScoresConfig(**run["scores"]), PlotsConfig(**run["plots"])
    if cases is not None:
        plots = plots.model_copy(update={"cases": cases})
    with open_rain(data, options) as series:
        _require_hours(series.pieces_per_window, series.path)
        notes = [*series.notes, loaded.check_grid(series.grid)]
        for note in filter(None, notes):
            log.warning("%s: %s", series.path.name, note)
        starts = window_starts(series, window_start)
        follow = track or (lambda items, _: items)
        windows = ((s, to_rain(read_window(series, s))) for s in follow(starts, "evaluating"))
        result = _evaluate(
            loaded,
            windows,
            series.grid,
            Path(output),
            scores,
            plots,
            {"data": series.path.name, "notes": [n for n in notes if n]},
        )
    return result


def evaluate_store(
    model: str | Path,
    store: SampleStore,
    split: str,
    output: Path,
    config: RainConfig,
    track: Track | None = None,
) -> dict[str, Any]:
    """Score a model on one split of a store; as `evaluate` otherwise."""
    from tenkizu.rain.dataset import RainDataset
    from tenkizu.rain.model import RainModel

    dataset = RainDataset(store, split, ())
    follow = track or (lambda items, _: items)
    windows = (dataset.window(i) for i in follow(range(len(dataset)), f"evaluating {split}"))
    return _evaluate(
        RainModel.load(model),
        windows,
        Grid.from_json(store.meta["grid"]),
        output,
        config.scores,
        config.plots,
        {"data": f"{store.path.name}, {split}"},
    )


def _require_hours(pieces: int, path: Path) -> None:
    from tenkizu.core.errors import DataError

    if pieces != 3:
        raise DataError(
            "evaluation needs the true hours",
            file=path,
            found="3-hour totals",
            expected="hourly or sub-hourly rain",
            next_step="use `tenkizu rain predict` for totals",
        )


def _evaluate(
    model: Any,  # noqa: ANN401 - RainModel, imported where torch is
    windows: Iterable[tuple[np.datetime64, Rain]],
    grid: Grid,
    output: Path,
    scores: ScoresConfig,
    plots: PlotsConfig,
    details: dict[str, Any],
) -> dict[str, Any]:
    """Sum over windows, write scores, then draw; a failing figure never loses scores."""
    tally, heaviest = Tally(), _Heaviest(plots.cases)
    settings = (scores.thresholds_1h, scores.categories_1h)
    for start, rain in windows:
        predicted = model.net.split(rain, start)
        methods = {"model": predicted} | baseline_splits(rain, start, model.climatology)
        tally = tally + window_tally(methods, rain[1:4], rain[4], *settings)
        heaviest.offer(start, rain, predicted)
    result = {
        "model": model.metadata.get("name"),
        "weights": model.weights_hash,
        **details,
        "grid": grid.describe(),
        **summarise(tally, METHODS, *settings),
    }
    write_json(output / "scores.json", result)
    write_text(output / "evaluation.txt", as_text(result))
    try:
        _draw(result, heaviest, grid, output, plots)
    except Exception:
        log.exception("figures could not be drawn; the scores are in %s", output / "scores.json")
    return result


class _Heaviest:
    """The windows with the largest total rain, for the panels.

    Args:
        count: how many to keep.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.heap: list[tuple[float, int, np.datetime64, Rain, Rain]] = []

    def offer(self, start: np.datetime64, rain: Rain, predicted: Rain) -> None:
        """Keep a window if it is among the heaviest so far."""
        if not self.count:
            return
        amount = float(np.nansum(rain[4], dtype=np.float64))
        # The start in minutes breaks ties, since arrays cannot be compared.
        entry = (
            amount,
            int(start.astype("datetime64[m]").astype(int)),
            start,
            rain[1:4].copy(),
            predicted,
        )
        if len(self.heap) < self.count:
            heappush(self.heap, entry)
        else:
            heappushpop(self.heap, entry)

    def __iter__(self) -> Iterator[tuple[np.datetime64, Rain, Rain]]:
        """Start, truth and prediction of each, in order of time."""
        return iter([(s, t, p) for _, _, s, t, p in sorted(self.heap, key=lambda e: e[1])])


def _draw(
    result: dict[str, Any], heaviest: _Heaviest, grid: Grid, output: Path, plots: PlotsConfig
) -> None:
    """Panels of the heaviest windows and the bars of skill."""
    from tenkizu.rain.plots import draw_hourly_comparison, draw_panels, panel_name

    skill = result["mse_skill_by_method"]["conditional"]
    draw_hourly_comparison(output / "skill.png", [(LABELS[m], skill[m]) for m in METHODS])
    for start, truth, predicted in heaviest:
        for scale in SCALES:
            draw_panels(
                output / f"panels_{scale}" / panel_name(start),
                grid,
                start,
                predicted,
                truth,
                scale=scale,
                vmin_mm=plots.lognorm_vmin_mm,
            )


def table_rows(result: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Method, 1 h RMSE and MAE over all cells, skill over all and conditional cells, as text."""

    def text(value: float) -> str:
        return "n/a" if value is None or np.isnan(value) else f"{value:.3f}"

    return [
        (
            LABELS[m],
            text(result["rmse_1h"][m]),
            text(result["mae_1h"][m]),
            text(result["mse_skill_by_method"]["all"][m]),
            text(result["mse_skill_by_method"]["conditional"][m]),
        )
        for m in METHODS
    ]


COLUMNS = ("method", "RMSE 1 h, mm", "MAE 1 h, mm", "skill, all cells", "skill, S >= 0.1 mm")


def as_text(result: dict[str, Any]) -> str:
    """The scores as a plain-text report."""
    rows = [COLUMNS, *table_rows(result)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = [
        f"Model {result['model']} ({result['weights']}) on {result['data']}",
        f"{result['n_windows']} windows, {result['n_cells']} cells, "
        f"{result['n_cells_conditional']} of them with S >= 0.1 mm; grid {result['grid']}",
        "Skill is MSE skill against the equal split, 1 - SSE / SSE(S/3).",
        f"Largest relative departure of the sum from S: {result['max_relative_sum_error']:.1e}",
        "",
    ]
    lines += ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines += ["", "Hourly events, all hours together"]
    head = ("threshold, mm", "method", "events", "POD", "success ratio", "CSI", "ETS", "bias")
    lines.append("  ".join(h.rjust(13) for h in head))
    for threshold in result["binary_hourly"]["model"]["pooled"]:
        for method in METHODS:
            s = result["binary_hourly"][method]["pooled"][threshold]
            numbers = [
                s[name]
                for name in (
                    "probability_of_detection",
                    "success_ratio",
                    "critical_success_index",
                    "equitable_threat_score",
                    "frequency_bias",
                )
            ]
            cells = [threshold, method, str(s["hits"] + s["misses"])]
            cells += ["n/a" if np.isnan(v) else f"{v:.3f}" for v in numbers]
            lines.append("  ".join(c.rjust(13) for c in cells))
    return "\n".join(line.rstrip() for line in lines) + "\n"

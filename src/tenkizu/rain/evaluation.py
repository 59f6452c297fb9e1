"""`evaluate`: a model beside every baseline, on identical cells, window by window."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.store import SampleStore, atomic, output_folder, write_json, write_text
from tenkizu.core.verification import Tally, skill
from tenkizu.rain.advection import advection_hours, has_winds
from tenkizu.rain.baselines import Boxes, Climatology, boxes_of, equal_split, linear_split
from tenkizu.rain.case_windows import CAPTIONS, Case, CaseWindows
from tenkizu.rain.cases import MSM_TRUTH, OBSERVED
from tenkizu.rain.config import PlotsConfig, RainConfig, ScoresConfig
from tenkizu.rain.context import Planes, read_land
from tenkizu.rain.equal_split import EqualSplit
from tenkizu.rain.equal_split_text import equal_split_text
from tenkizu.rain.fss import fss_scores, fss_tally
from tenkizu.rain.hourly import SourceOptions, open_rain, read_window, window_starts
from tenkizu.rain.motion import motion_hours
from tenkizu.rain.preparation import Track, to_rain
from tenkizu.rain.regridding import Regrid, choose_grid
from tenkizu.rain.score_intervals import WindowSums, skill_intervals
from tenkizu.rain.score_text import (
    COLUMNS,
    LABELS,
    as_text,
    counted,
    label_of,
    number,
    table_rows,
)
from tenkizu.rain.scores import summarise, window_tally
from tenkizu.rain.spectra import Spectra
from tenkizu.rain.sum_scores import sum_tally, summarise_sums
from tenkizu.rain.tables import Rain, window_label
from tenkizu.rain.window_panels import WindowPanels

__all__ = [
    "COLUMNS",
    "LABELS",
    "as_text",
    "baseline_splits",
    "evaluate",
    "evaluate_store",
    "table_rows",
]

log = logging.getLogger(__name__)

Land = NDArray[np.bool_]

_Case = tuple[np.datetime64, Rain, Rain | None, Planes]
"""Start, rain (6, H, W), hours of the motion baseline if stored, forecast fields by channel."""


def baseline_splits(
    rain: Rain,
    start: np.datetime64,
    climatology: Climatology,
    motion: Rain | None = None,
    boxes: Boxes | None = None,
) -> dict[str, Rain]:
    """Every baseline's hours (3, H, W) for one stored window (6, H, W), mm.

    The hours of the motion baseline are taken if they are given, else made. Boxes of the cells
    (`boxes_of`) are for a climatology by box.
    """
    previous, total, following = rain[0], rain[4], rain[5]
    return {
        "equal": equal_split(total),
        "linear": linear_split(previous, total, following),
        "climatological": climatology.split(start, total, boxes),
        "motion": motion_hours(previous, total, following) if motion is None else motion,
    }


def evaluate(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    options: SourceOptions | None = None,
    window_start: int = 0,
    cases: int | str | None = None,
    track: Track | None = None,
    land: Land | str | Path | None = None,
    regrid: Regrid | None = None,
) -> dict[str, Any]:
    """Score a model on a file of hourly rain, beside the baselines.

    Args:
        model: a run folder, an exported model folder or a shipped model's name.
        data: NetCDF of hourly or sub-hourly rain.
        output: folder for ``scores.json``, ``evaluation.txt``, ``equal_split_detailed.txt``,
            ``equal_split_maps.npz`` and figures.
        options: what the file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.
        cases: windows to draw, as ``plots.cases``: a number of those with most rain, with highest
            and with lowest skill, ``all``, or such as ``every 10``; by default as the model's run.
        track: shows progress.
        land: for scores by surface: (H, W), true on land, or a file as ``scores.land_file``.
        regrid: for a grid whose spacing is off that of the training by more than 20 %:
            ``conservative`` scores on a grid of that spacing, on which truth, totals and land are
            area-weighted means, ``native`` on the grid as it is.

    Returns:
        The scores, as written to ``scores.json``.

    Raises:
        ConfigError: ``cases`` does not say which windows.
        DataError: the model or the file cannot be used, or the spacing is off and ``regrid`` is
            not given.
    """
    from tenkizu.rain.model import RainModel

    loaded = RainModel.load(model)
    run = loaded.metadata["config"]
    scores, plots = ScoresConfig(**run["scores"]), PlotsConfig(**run["plots"])
    if cases is not None:
        try:
            plots = PlotsConfig(**{**run["plots"], "cases": cases})
        except ValueError:
            raise ConfigError(
                "not a choice of windows",
                variable="cases",
                found=cases,
                expected="a number, all, or one in so many, such as every 10",
            ) from None
    loaded.require_rain_alone(data)
    output_folder(output)
    with open_rain(data, options) as series:
        _require_hours(series.pieces_per_window, series.path)
        remap, grid_notes = choose_grid(loaded, series.grid, regrid, series.path.name)
        notes = [*series.notes, *grid_notes]
        for note in notes:
            log.warning("%s: %s", series.path.name, note)
        if remap is not None and land is not None:
            land = remap.mask(_land_on(land, series.grid))
        starts = window_starts(series, window_start)
        follow = track or (lambda items, _: items)
        windows: Iterator[_Case] = (
            (s, remap.window(rain) if remap else rain, None, {})
            for s in follow(starts, "evaluating")
            for rain in [to_rain(read_window(series, s))]
        )
        result = _evaluate(
            loaded,
            windows,
            remap.target if remap else series.grid,
            Path(output),
            scores,
            plots,
            {
                "data": series.path.name,
                "truth": OBSERVED,
                "notes": notes,
            },
            land,
        )
    return result


def evaluate_store(
    model: str | Path,
    store: SampleStore,
    split: str,
    output: Path,
    config: RainConfig,
    track: Track | None = None,
    land: Land | str | Path | None = None,
) -> dict[str, Any]:
    """Score a model on one split of a store; as `evaluate` otherwise.

    Without ``land``, that of the configuration is taken.
    """
    from tenkizu.rain.dataset import RainDataset
    from tenkizu.rain.model import RainModel

    dataset = RainDataset(store, split, ())
    follow = track or (lambda items, _: items)
    windows = (
        (*dataset.window(i), dataset.carried(i), dataset.forecast(i))
        for i in follow(range(len(dataset)), f"evaluating {split}")
    )
    return _evaluate(
        RainModel.load(model),
        windows,
        Grid.from_json(store.meta["grid"]),
        output,
        config.scores,
        config.plots,
        {
            "data": f"{', '.join(getattr(config.data.splits, split))} ({split})",
            "truth": MSM_TRUTH if config.data.source == "msm" else OBSERVED,
        },
        config.scores.land_file if land is None else land,
    )


def _require_hours(pieces: int, path: Path) -> None:
    if pieces != 3:
        raise DataError(
            "evaluation needs the true hours",
            file=path,
            found="3-hour totals",
            expected="hourly or sub-hourly rain",
            next_step="use `tenkizu rain predict` for totals",
        )


def _land_on(land: Land | str | Path, grid: Grid) -> Land:
    """A land mask, (H, W), which must be on the grid of the rain."""
    if isinstance(land, str | Path):
        land = read_land(land, grid)
    if land.shape != grid.shape:
        raise DataError(
            "the land mask is not on this grid",
            variable="land",
            found=land.shape,
            expected=grid.shape,
            next_step="crop or resample the mask to the grid of the rain",
        )
    return land


def _evaluate(
    model: Any,  # noqa: ANN401 - RainModel, imported where torch is
    windows: Iterable[_Case],
    grid: Grid,
    output: Path,
    scores: ScoresConfig,
    plots: PlotsConfig,
    details: dict[str, Any],
    land: Land | str | Path | None = None,
) -> dict[str, Any]:
    """Sum over windows, write scores, then draw; a failing figure never loses scores."""
    if land is not None:
        land = _land_on(land, grid)
    settings = (scores.thresholds_1h, scores.categories_1h)
    neighbourhoods = (scores.fss_thresholds, scores.fss_windows)
    of_sums = (scores.thresholds_sum, scores.categories_sum)
    tally, squares, cases = Tally(), WindowSums(), CaseWindows(plots.heaviest)
    against_equal, spectra = EqualSplit(grid.shape, land), Spectra(grid.spacing_km)
    panels = WindowPanels(output, grid, plots, details["truth"])
    # A grid without latitude and longitude takes the shares of all cells together.
    boxes = boxes_of(grid) if model.climatology.boxes and grid.kind == "latlon" else None
    names: list[str] = []
    by_window: dict[str, float] = {}
    for start, rain, carried, fields in windows:
        truth, total = rain[1:4], rain[4]
        baselines = baseline_splits(rain, start, model.climatology, carried, boxes)
        if has_winds(fields, scores.advection_levels):
            baselines["advection"] = advection_hours(
                rain[0], total, rain[5], fields, grid, scores.advection_levels
            )
        predicted = model.split(rain, start, grid, baselines["motion"], fields)
        methods = {"model": predicted} | baselines
        names = list(methods)
        own = window_tally(
            methods,
            truth,
            total,
            *settings,
            start=start,
            wet_hour_mm=scores.wet_hour_mm,
            land=land,
        )
        tally = tally + own + fss_tally(methods, truth, total, *neighbourhoods)
        errors = [own["cells"], *(own[f"sse.{m}"].sum(axis=1) for m in names)]
        squares.add(start, np.stack(errors, axis=1).astype(np.float64))
        against_equal.add(start, predicted, truth, total)
        spectra.add(methods, truth)
        if not model.net.conserves:
            tally += sum_tally(predicted, truth, total, *of_sums)
        own_skill = float(skill(own["sse.model"][1].sum(), own["sse.equal"][1].sum()))
        by_window[window_label(start)] = own_skill
        cases.offer(start, truth, total, predicted, own_skill)
        panels.offer(start, truth, predicted)
    if not names:
        raise DataError(
            "no window to score",
            variable=str(details["data"]),
            next_step="name a longer period, or bring a longer file",
        )
    if not tally["cells"][0]:
        raise DataError(
            "no cell of any window has both its total and its hours",
            variable=str(details["data"]),
            found=f"{counted(len(by_window), 'window')} of missing values",
            expected="some cells with known rain",
            next_step="look at the file, its missing values and its land or radar mask",
        )
    chosen = cases.chosen()
    result = {
        "model": model.metadata.get("name"),
        "weights": model.weights_hash,
        **details,
        "grid": grid.describe(),
        "wet_hour_mm": scores.wet_hour_mm,
        "conserves": model.net.conserves,
        **summarise(tally, names, *settings),
        **summarise_sums(tally, *of_sums),
        "fss": fss_scores(tally, names, *neighbourhoods, grid.spacing_km),
        "spectra": spectra.summary(),
        "intervals": skill_intervals(squares, names),
        "equal_split": against_equal.summary(),
        "skill_by_window": by_window,
        "cases": {kind: [window_label(c.start) for c in found] for kind, found in chosen.items()},
    }
    write_json(output / "scores.json", result)
    write_text(output / "evaluation.txt", as_text(result))
    write_text(output / "equal_split_detailed.txt", equal_split_text(result))
    with atomic(output / "equal_split_maps.npz") as part:
        np.savez_compressed(part, **against_equal.maps(grid))
    try:
        _draw(result, chosen, panels, output)
    except Exception:
        log.exception("figures could not be drawn; the scores are in %s", output / "scores.json")
    return result


def _draw(
    result: dict[str, Any], chosen: dict[str, list[Case]], panels: WindowPanels, output: Path
) -> None:
    """Panels of the chosen windows, the bars of skill and the figures of the scores."""
    from tenkizu.rain.plots import draw_hourly_comparison
    from tenkizu.rain.score_figures import score_drawings

    by_method = result["mse_skill_by_method"]["conditional"]
    draw_hourly_comparison(output / "skill.png", [(label_of(m), by_method[m]) for m in by_method])
    for name, draw in score_drawings(output, result).items():
        draw(output / name)
    reasons: dict[np.datetime64, list[str]] = {}
    for kind, cases in chosen.items():
        for case in cases:
            reasons.setdefault(case.start, []).append(CAPTIONS[kind])
    every = {case.start: case for cases in chosen.values() for case in cases}
    for start, case in sorted(every.items()):
        told = number(case.skill).replace("-", "\N{MINUS SIGN}")
        why = f"{', '.join(reasons[start])}; MSE skill against S/3 {told}"
        panels.draw(start, case.truth, case.predicted, why)

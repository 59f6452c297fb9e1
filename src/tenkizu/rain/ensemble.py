"""Several splits of each total as an ensemble: scored together, and its hours.

Members are draws of a model with noise, models trained from different seeds, or both. Every member
adds to S, so the spread of the members is uncertainty in how S is shared, and nothing else.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.bootstrap import resample
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.store import atomic, write_json, write_text
from tenkizu.core.verification import Tally, skill
from tenkizu.rain.cases import Cases, on_chosen_grid, open_cases
from tenkizu.rain.ensemble_members import Member, describe, load_members, models_of
from tenkizu.rain.ensemble_scores import ensemble_tally, summarise_ensemble
from tenkizu.rain.ensemble_text import as_text
from tenkizu.rain.hourly import SourceOptions
from tenkizu.rain.motion import motion_hours
from tenkizu.rain.prediction_file import PredictionFile
from tenkizu.rain.preparation import Track
from tenkizu.rain.regridding import Regrid
from tenkizu.rain.score_intervals import WindowSums, estimate
from tenkizu.rain.tables import MOTION, Rain

log = logging.getLogger(__name__)

Data = str | Path | Sequence[str | Path]


def evaluate_ensemble(
    models: Sequence[str | Path],
    data: Data,
    output: str | Path,
    options: SourceOptions | None = None,
    window_start: int = 0,
    track: Track | None = None,
    regrid: Regrid | None = None,
    members: int | None = None,
) -> dict[str, Any]:
    """Score an ensemble on hourly rain.

    One window is held at a time, with its hours by every member.

    Args:
        models: run folders, exported model folders or shipped models' names: one or more with
            noise, or two or more.
        data: NetCDF of hourly or sub-hourly rain; or GRIB2 files as `predict` takes them, if they
            hold the true hours.
        output: folder for ``ensemble_scores.json``, ``ensemble.txt``, ``rank_histogram.png`` and
            ``reliability.png``.
        options: what a NetCDF file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.
        track: shows progress.
        regrid: as `evaluate`.
        members: draws of each model with noise; by default `DRAWS`.

    Returns:
        The scores, as written to ``ensemble_scores.json``.

    Raises:
        ConfigError: fewer than two members, a model twice, or draws of models without noise.
        DataError: the models do not belong together or do not conserve S, or the data cannot be
            used; or part of GRIB2 input cannot be read, when the others are scored and written.
    """
    output = Path(output)
    tally, windows = Tally(), WindowSums()
    with _opened(models, members, data, options, window_start, regrid) as (ensemble, cases):
        if not cases.hours:
            raise DataError(
                "scores need the true hours",
                file=cases.name,
                found="3-hour totals",
                expected="hourly or sub-hourly rain",
                next_step="write the members' hours instead: -o hours.nc",
            )
        indices = range(len(cases))
        for i in track(indices, "evaluating") if track else indices:
            made = cases.attempt(i, partial(_hours, ensemble, cases, i))
            if made is None:
                continue
            rain, hours = made
            own = ensemble_tally(hours, rain[1:4], rain[4], cases.starts[i])
            tally = tally + own
            hourly = (own[name].sum() for name in ("crps", "sae.equal", "sae.mean"))
            windows.add(cases.starts[i], np.array([own["cells"], *hourly], np.float64))
        cases.require_some()
        result = {
            "models": describe(ensemble),
            "data": cases.name,
            "truth": cases.truth,
            "notes": cases.notes,
            "grid": cases.grid.describe(),
            **summarise_ensemble(tally),
            "intervals": _intervals(windows),
        }
    write_json(output / "ensemble_scores.json", result)
    write_text(output / "ensemble.txt", as_text(result))
    _draw(result, output)
    cases.require_all(output)
    return result


def predict_ensemble(
    models: Sequence[str | Path],
    data: Data,
    output: str | Path,
    options: SourceOptions | None = None,
    window_start: int = 0,
    track: Track | None = None,
    regrid: Regrid | None = None,
    members: int | None = None,
) -> Path:
    """Split every complete window of an input by every member.

    Args:
        models: as `evaluate_ensemble`.
        data: as `predict`, but not an ensemble itself.
        output: NetCDF file to write.
        options: what a NetCDF file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.
        track: shows progress.
        regrid: as `predict`.
        members: as `evaluate_ensemble`.

    Returns:
        The output file, as that of `predict` with a ``member`` dimension before rows and columns:
        members 1, 2, ... in the order of the models, which ``tenkizu_model`` and
        ``tenkizu_weights_sha256`` list, with the number of members of each in
        ``tenkizu_members``.

    Raises:
        ConfigError, DataError: as `evaluate_ensemble`; or the output would overwrite the input.
    """
    output = Path(output)
    inputs = [Path(one) for one in ([data] if isinstance(data, str | Path) else data)]
    if output.exists() and any(one.exists() and output.samefile(one) for one in inputs):
        raise ConfigError("the output is the input file", file=output)
    with (
        _opened(models, members, inputs, options, window_start, regrid) as (ensemble, cases),
        atomic(output) as part,
    ):
        numbered = replace(cases, members=tuple(range(1, len(ensemble) + 1)))
        with PredictionFile(part, numbered, ensemble[0].model, share=False) as writer:
            used = models_of(ensemble)
            names = ", ".join(str(one.metadata.get("name")) for one in used)
            hashes = ", ".join(one.weights_hash for one in used)
            source, history = (str(writer.file.attrs[key]) for key in ("source", "history"))
            writer.file.attrs.update(
                {
                    "source": f"{source.partition(', model ')[0]}, models {names}, weights "
                    f"{hashes}; totals from {cases.name} ({cases.variable})",
                    "history": history.replace("rain predict", "rain ensemble", 1),
                    "tenkizu_model": names,
                    "tenkizu_weights_sha256": ", ".join(
                        str(one.metadata["weights_sha256"]) for one in used
                    ),
                    "tenkizu_members": ", ".join(
                        str(len(one["members"])) for one in describe(ensemble)
                    ),
                }
            )
            indices = range(len(cases))
            for i in track(indices, "predicting") if track else indices:
                made = cases.attempt(i, partial(_hours, ensemble, cases, i))
                if made is None:
                    continue
                rain, hours = made
                for m, own in enumerate(hours):
                    writer.write(i, m, rain[4], own)
            cases.require_some()
    cases.require_all(output)
    return output


@contextmanager
def _opened(
    models: Sequence[str | Path],
    members: int | None,
    data: Data,
    options: SourceOptions | None,
    window_start: int,
    regrid: Regrid | None,
) -> Generator[tuple[list[Member], Cases]]:
    """The members, and the windows on the one grid on which all of them are to split them."""
    ensemble = load_members(models, members)
    used = models_of(ensemble)
    with open_cases(used[0], data, options, window_start) as opened:
        if opened.members:
            raise DataError(
                "the input is an ensemble itself",
                file=opened.name,
                found=f"{len(opened.members)} members",
                expected="one forecast or analysis",
                next_step="split it with one model: tenkizu rain predict",
            )
        cases = on_chosen_grid(used[0], opened, regrid)
        for path, model in zip(models[1:], used[1:], strict=True):
            other = on_chosen_grid(model, opened, regrid)
            if other.grid.to_json() != cases.grid.to_json():
                raise DataError(
                    "the models were trained at different grid spacings",
                    file=path,
                    found=other.grid.describe(),
                    expected=f"{cases.grid.describe()}, as for {models[0]}",
                    next_step="use --regrid native, or models of one configuration",
                )
            cases.notes.extend(note for note in other.notes if note not in cases.notes)
        for note in cases.notes:
            log.warning("%s: %s", cases.name, note)
        yield ensemble, cases


def _hours(
    ensemble: Sequence[Member], cases: Cases, index: int
) -> tuple[Rain, NDArray[np.float32]]:
    """Rain (6, H, W) of one window and the hours of every member, (M, 3, H, W), mm."""
    rain, fields = cases.read(index, 0)
    carried = None
    if any(MOTION[0] in member.model.net.channels for member in ensemble):
        # Once for all members.
        carried = motion_hours(rain[0], rain[4], rain[5])
    start = cases.starts[index]
    hours = [
        member.model.split(rain, start, cases.grid, carried, fields, member.draw)
        for member in ensemble
    ]
    return rain, np.stack(hours)


def _intervals(windows: WindowSums) -> dict[str, Any]:
    """CRPS skill against S/3 and the members' mean, with intervals from a block bootstrap.

    Args:
        windows: each row (4): cells, and the summed CRPS of ensemble, S/3 and the mean.
    """
    rows = np.array(windows.rows)
    blocks = windows.blocks(rows, rows[:, 0])
    drawn, sums = resample(blocks), rows.sum(axis=0)
    return windows.describe(len(blocks)) | {
        f"crps_skill_against_{name}": estimate(
            float(skill(sums[1], sums[k])), skill(drawn[:, 1], drawn[:, k]), len(blocks)
        )
        for k, name in ((2, "equal"), (3, "mean"))
    }


def _draw(result: dict[str, Any], output: Path) -> None:
    """Both figures; one that fails never loses the scores."""
    from tenkizu.rain.ensemble_figures import draw_rank_histogram, draw_reliability

    try:
        draw_rank_histogram(output / "rank_histogram.png", result["rank_histogram"])
        draw_reliability(output / "reliability.png", result["brier"])
    except Exception:
        log.exception("figures could not be drawn; the scores are in %s", output)

"""Several models, trained from different seeds, as an ensemble: scored together, and its hours.

Every member adds to S, so the spread of the members is uncertainty in how S is shared, and nothing
else.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.bootstrap import resample
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.store import atomic, write_json, write_text
from tenkizu.core.verification import Tally, skill
from tenkizu.rain.cases import Cases, on_chosen_grid, open_cases
from tenkizu.rain.ensemble_scores import ensemble_tally, summarise_ensemble
from tenkizu.rain.ensemble_text import as_text
from tenkizu.rain.fields import is_field
from tenkizu.rain.hourly import SourceOptions
from tenkizu.rain.motion import motion_hours
from tenkizu.rain.prediction_file import PredictionFile
from tenkizu.rain.preparation import Track
from tenkizu.rain.regridding import Regrid
from tenkizu.rain.score_intervals import WindowSums, estimate
from tenkizu.rain.tables import MOTION, Rain

if TYPE_CHECKING:
    from tenkizu.rain.model import RainModel

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
) -> dict[str, Any]:
    """Score several models together on hourly rain, as an ensemble.

    One window is held at a time, with its hours by every member.

    Args:
        models: two or more run folders, exported model folders or shipped models' names.
        data: NetCDF of hourly or sub-hourly rain; or GRIB2 files as `predict` takes them, if they
            hold the true hours.
        output: folder for ``ensemble_scores.json``, ``ensemble.txt``, ``rank_histogram.png`` and
            ``reliability.png``.
        options: what a NetCDF file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.
        track: shows progress.
        regrid: as `evaluate`.

    Returns:
        The scores, as written to ``ensemble_scores.json``.

    Raises:
        ConfigError: fewer than two models, or one of them twice.
        DataError: the models do not belong together or do not conserve S, or the data cannot be
            used.
    """
    output = Path(output)
    members = load_members(models)
    tally, windows = Tally(), WindowSums()
    with _open(members, models, data, options, window_start, regrid) as cases:
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
            rain, hours = _split(members, cases, i)
            own = ensemble_tally(hours, rain[1:4], rain[4], cases.starts[i])
            tally = tally + own
            hourly = (own[name].sum() for name in ("crps", "sae.equal", "sae.mean"))
            windows.add(cases.starts[i], np.array([own["cells"], *hourly], np.float64))
        result = {
            "models": [_described(one, path) for one, path in zip(members, models, strict=True)],
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
    return result


def predict_ensemble(
    models: Sequence[str | Path],
    data: Data,
    output: str | Path,
    options: SourceOptions | None = None,
    window_start: int = 0,
    track: Track | None = None,
    regrid: Regrid | None = None,
) -> Path:
    """Split every complete window of an input by every model.

    Args:
        models: as `evaluate_ensemble`.
        data: as `predict`, but not an ensemble itself.
        output: NetCDF file to write.
        options: what a NetCDF file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.
        track: shows progress.
        regrid: as `predict`.

    Returns:
        The output file, as that of `predict` with a ``member`` dimension before rows and columns:
        members 1, 2, ... in the order of the models, which ``tenkizu_model`` and
        ``tenkizu_weights_sha256`` list.

    Raises:
        ConfigError, DataError: as `evaluate_ensemble`; or the output would overwrite the input.
    """
    output = Path(output)
    inputs = [Path(one) for one in ([data] if isinstance(data, str | Path) else data)]
    if output.exists() and any(one.exists() and output.samefile(one) for one in inputs):
        raise ConfigError("the output is the input file", file=output)
    members = load_members(models)
    with (
        _open(members, models, inputs, options, window_start, regrid) as cases,
        atomic(output) as part,
    ):
        numbered = replace(cases, members=tuple(range(1, len(members) + 1)))
        with PredictionFile(part, numbered, members[0], share=False) as writer:
            names = ", ".join(str(one.metadata.get("name")) for one in members)
            hashes = ", ".join(one.weights_hash for one in members)
            source, history = (str(writer.file.attrs[key]) for key in ("source", "history"))
            writer.file.attrs.update(
                {
                    "source": f"{source.partition(', model ')[0]}, models {names}, weights "
                    f"{hashes}; totals from {cases.name} ({cases.variable})",
                    "history": history.replace("rain predict", "rain ensemble", 1),
                    "tenkizu_model": names,
                    "tenkizu_weights_sha256": ", ".join(
                        str(one.metadata["weights_sha256"]) for one in members
                    ),
                }
            )
            indices = range(len(cases))
            for i in track(indices, "predicting") if track else indices:
                rain, hours = _split(members, cases, i)
                for m, own in enumerate(hours):
                    writer.write(i, m, rain[4], own)
    return output


def load_members(models: Sequence[str | Path]) -> list["RainModel"]:
    """Load the models of an ensemble, which must be several, different and alike in their needs.

    Raises:
        ConfigError: fewer than two, or one of them twice.
        DataError: one cannot be loaded or does not conserve S, or they need different fields.
    """
    from tenkizu.rain.model import RainModel

    if len(models) < 2:
        raise ConfigError(
            "an ensemble has at least two models",
            variable="models (-m)",
            found=len(models),
            next_step="train the same configuration from another seed: "
            "tenkizu rain train CONFIG train.seed=2 run.name=NAME_2",
        )
    members: list[RainModel] = []
    seen: dict[str, str | Path] = {}
    for path in models:
        one = RainModel.load(path)
        first = seen.setdefault(str(one.metadata["weights_sha256"]), path)
        if len(seen) == len(members):
            raise ConfigError(
                "the same model twice is no ensemble",
                variable="models (-m)",
                found=f"{path} has the weights of {first}",
                next_step="name each model once, or train with another train.seed",
            )
        if not one.net.conserves:
            raise DataError(
                "this model's hours do not add to the total, so they are not shares of it",
                file=path,
                next_step="use models with model.rescale=true or model.head=allocation",
            )
        members.append(one)
        _require_alike(one, members[0], path, models[0])
    return members


def _require_alike(
    one: "RainModel", other: "RainModel", path: str | Path, first: str | Path
) -> None:
    """Refuse models that cannot be fed from the same windows."""
    needs = [{name for name in model.net.channels if is_field(name)} for model in (one, other)]
    if needs[0] != needs[1]:
        extra, lacking = sorted(needs[0] - needs[1]), sorted(needs[1] - needs[0])
        raise DataError(
            "the models need different forecast fields",
            file=path,
            found=f"also {', '.join(extra) or 'nothing'}, not {', '.join(lacking) or 'nothing'}",
            expected=f"those of {first}",
            next_step="train all members from one configuration with different train.seed",
        )


@contextmanager
def _open(
    members: Sequence["RainModel"],
    models: Sequence[str | Path],
    data: Data,
    options: SourceOptions | None,
    window_start: int,
    regrid: Regrid | None,
) -> Generator[Cases]:
    """The windows on the one grid on which all members are to split them."""
    with open_cases(members[0], data, options, window_start) as opened:
        if opened.members:
            raise DataError(
                "the input is an ensemble itself",
                file=opened.name,
                found=f"{len(opened.members)} members",
                expected="one forecast or analysis",
                next_step="split it with one model: tenkizu rain predict",
            )
        cases = on_chosen_grid(members[0], opened, regrid)
        for path, member in zip(models[1:], members[1:], strict=True):
            other = on_chosen_grid(member, opened, regrid)
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
        yield cases


def _split(
    members: Sequence["RainModel"], cases: Cases, index: int
) -> tuple[Rain, NDArray[np.float32]]:
    """Rain (6, H, W) of one window and the hours of every member, (M, 3, H, W), mm."""
    rain, fields = cases.read(index, 0)
    carried = None
    if any(MOTION[0] in member.net.channels for member in members):
        # Once for all members.
        carried = motion_hours(rain[0], rain[4], rain[5])
    start = cases.starts[index]
    hours = [member.split(rain, start, cases.grid, carried, fields) for member in members]
    return rain, np.stack(hours)


def _described(model: "RainModel", path: str | Path) -> dict[str, str]:
    name = str(model.metadata.get("name"))
    return {"model": str(path), "name": name, "weights": model.weights_hash}


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

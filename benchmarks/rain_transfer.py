"""How well a rain-only model carries over to a source it never saw, on the shipped rain.

Run ``python benchmarks/rain_transfer.py``. For each source a network is trained on the others, by
the recipe of ``configs/rain_only.yaml`` shortened to 3 epochs, and scored on that source, beside
its baselines: the leave-one-source-out table of the card of the shipped model. A quarter of an hour
on one core, and once ten minutes to prepare the stores.

``--final`` scores the shipped model instead, on the days it never saw; ``--options`` measures what
mirroring, time reversal, tiles and an ensemble bring at prediction time, and ``--curve`` what the
amount of training data brings. ``--one-spacing`` and ``--without-power`` leave one source out with
a part of the recipe taken away. ``--card`` is all of it, one after another: every number of the
card, in half an hour on one core. What was trained before is not trained again.

Skill is 1 - SSE / SSE(S/3) over cells with S >= 0.1 mm, pooled over the windows of a file, and the
gain 1 - SSE / SSE(best baseline); in brackets 95 % intervals by block bootstrap, where there are at
least 8 blocks of windows.
"""

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenkizu.core.config import build_config, load_config
from tenkizu.core.grid import Grid
from tenkizu.core.samples import input_path, shipped_configs
from tenkizu.core.store import SampleStore, read_json, write_json
from tenkizu.rain import evaluate, train
from tenkizu.rain.config import RainConfig
from tenkizu.rain.dataset import RainDataset
from tenkizu.rain.evaluation import evaluate_store
from tenkizu.rain.model import RainModel
from tenkizu.rain.preparation import prepare_all
from tenkizu.rain.tables import Rain

SHORT = ["train.epochs=3", "plots.cases=0", "scores.fss_windows=[]"]

FILES = {
    "imerg": ["imerg_sbrazil_hourly_20231102_03.nc", "imerg_sbrazil_hourly_20231111_18.nc"],
    "radolan_yw": ["radolan_yw_hourly_20180510_20.nc"],
    "radolan_rw": ["radolan_rw_germany_hourly_20221018.nc"],
    "knmi": ["knmi_radar_hourly_20100826.nc"],
    "msg": ["msg_crr_europe_hourly_20180601.nc"],
}
"""What each source is scored on: all its windows at 00, 03, ... UTC, on the grid of the file."""

WITHOUT_POWER = ["model.temperature=none", "model.tau=1.0"]
"""Start at the shares of the carried rain themselves."""

METHODS = ("model", "motion", "linear", "climatological")


def recipe(folder: Path, overrides: Sequence[str] = ()) -> RainConfig:
    """The configuration of the shipped model, writing below a folder."""
    where = [f"run.dir={folder / 'runs'}", f"data.store={folder / 'stores'}"]
    return load_config(RainConfig, shipped_configs()["rain_only"], [*where, *overrides])


def changed(config: RainConfig, name: str, sources: list[dict[str, Any]]) -> RainConfig:
    """The same run under another name on other sources."""
    first, *more = sources
    plain = config.model_dump(mode="json")
    plain["run"]["name"] = name
    plain["data"] |= {**first, "more": more}
    return build_config(RainConfig, plain, name)


def sources_of(config: RainConfig) -> list[dict[str, Any]]:
    """The sources of a configuration, each with its keys."""
    plain = config.model_dump(mode="json")["data"]
    keys = plain["more"][0]
    return [{key: plain[key] for key in keys}, *plain["more"]]


def trained(config: RainConfig) -> Path:
    """The run folder, trained now unless it is there."""
    folder = config.run.dir / config.run.name
    if not (folder / "model.json").exists():
        began = time.perf_counter()
        train(config, overwrite=True)
        print(f"{config.run.name}: trained in {time.perf_counter() - began:.0f} s", flush=True)
    return folder


def row(label: str, result: dict[str, Any]) -> str:
    """One line of the table."""
    intervals = result["intervals"]["skill_against_equal"]
    parts = [f"{label:46}{result['n_windows']:4}"]
    for method in METHODS:
        one = intervals[method]["conditional"]
        parts.append(with_span(one) if method in METHODS[:2] else f"{one['value']:7.3f}")
    best = result["intervals"]["skill_against_best_baseline"]
    parts.append(f"{with_span(best['conditional'])} over {best['baseline']}")
    return "  ".join(parts)


def with_span(one: Mapping[str, Any]) -> str:
    """A skill with its interval, where there is one."""
    known = one["low"] is not None and np.isfinite(one["low"])
    return f"{one['value']:7.3f}" + (f" [{one['low']:6.3f}, {one['high']:6.3f}]" if known else "")


def leave_one_out(
    folder: Path, names: Sequence[str], one_spacing: bool = False, without_power: bool = False
) -> None:
    """Train without each source in turn and score on it."""
    config = recipe(folder, [*SHORT, *(WITHOUT_POWER if without_power else ())])
    prepare_all(config)
    print(f"{'left out, and scored on':46}windows  " + ", ".join(METHODS) + ", gain on the best")
    for name in names:
        rest = [source for source in sources_of(config) if source["name"] != name]
        run_name = f"without_{name}"
        if one_spacing:
            rest = [source | {"coarser": [1]} for source in rest]
            run_name += "_one_spacing"
        if without_power:
            run_name += "_without_power"
        run = trained(changed(config, run_name, rest))
        for file in FILES[name]:
            data, output = input_path(f"sample:{file}"), run / Path(file).stem
            # As it is: how a model does on a spacing that it has not met is part of the question.
            result = evaluate(run, data, output, cases=0, regrid="native")
            print(row(file.removesuffix(".nc"), result), flush=True)


def unseen(folder: Path) -> Iterable[tuple[str, SampleStore, RainConfig]]:
    """The test periods, which train nothing and choose nothing."""
    config = recipe(folder, SHORT)
    stores = prepare_all(config)
    for name, part in config.parts().items():
        if part.data.splits.test:
            yield name, stores[name], part


def final(folder: Path, model: str) -> None:
    """Score a model on the test periods."""
    for name, store, part in unseen(folder):
        result = evaluate_store(model, store, "test", folder / "final" / name, part)
        print(row(f"{name} {', '.join(part.data.splits.test)}", result), flush=True)


def ways_to_predict(
    models: Sequence[RainModel], rain: Rain, start: np.datetime64, grid: Grid, carried: Rain
) -> dict[str, Rain]:
    """Hours (3, H, W) of one window by each way to predict.

    Views take the carried rain along, as training does.
    """
    shipped = models[0]
    in_tiles = RainModel(shipped.net, shipped.metadata, tiles=True)
    views = [(i, j) for i in (1, -1) for j in (1, -1)]
    mirrored = [
        shipped.split(np.ascontiguousarray(rain[:, ::i, ::j]), start, grid, carried[:, ::i, ::j])
        for i, j in views
    ]
    once = mirrored[0]
    images = [hours[:, ::i, ::j] for hours, (i, j) in zip(mirrored, views, strict=True)]
    backwards = shipped.split(rain[[5, 3, 2, 1, 4, 0]], start, grid, carried[::-1])[::-1]
    members = [model.split(rain, start, grid, carried) for model in models[1:]]
    result = {
        "once": once,
        "tile by tile": in_tiles.split(rain, start, grid, carried),
        "mean of four mirror images": np.mean(images, axis=0),
        "mean with backwards in time": (once + backwards) / 2,
    }
    for model, hours in zip(models[1:], members, strict=True):
        result[f"{model.metadata['name']} alone"] = hours
    if members:
        result[f"mean of all {len(models)} models"] = np.mean([once, *members], axis=0)
    return result


def options(folder: Path, model: str) -> None:
    """What predicting in tiles or more than once brings, on the test periods.

    The ensemble is the model and those of the leave-one-source-out table that saw both sources of
    the test periods.
    """
    members = [folder / "runs" / f"without_{name}" for name in ("radolan_rw", "knmi", "msg")]
    models = [RainModel.load(model), *(RainModel.load(one) for one in members if one.exists())]
    skills: dict[str, list[str]] = {}
    names = []
    for name, store, _ in unseen(folder):
        dataset = RainDataset(store, "test", ())
        grid = Grid.from_json(store.meta["grid"])
        errors: dict[str, float] = {}
        reference = 0.0
        for item in range(len(dataset)):
            start, rain = dataset.window(item)
            carried = dataset.carried(item)
            assert carried is not None
            scored = rain[4] >= np.float32(0.1)
            truth = rain[1:4, scored].astype(np.float64)
            reference += float(((rain[4, scored] / 3.0 - truth) ** 2).sum())
            for way, hours in ways_to_predict(models, rain, start, grid, carried).items():
                error = float(((hours[:, scored] - truth) ** 2).sum())
                errors[way] = errors.get(way, 0.0) + error
        names.append(name)
        for way, error in errors.items():
            skills.setdefault(way, []).append(f"{1 - error / reference:12.4f}")
    print(f"{'conditional skill':46}" + "".join(f"{name:>12}" for name in names))
    for way, values in skills.items():
        print(f"{way:46}" + "".join(values), flush=True)


def thinned(store: SampleStore, folder: Path, every: int) -> None:
    """A copy of a store, sharing its arrays, with every n-th training window only."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = read_json(store.path / "store.json", "a store")
    training = [i for i, split in enumerate(meta["splits"]) if split == "train"]
    for i in set(training) - set(training[::every]):
        meta["splits"][i] = "left out"
    write_json(folder / "store.json", meta)
    for path in store.path.glob("*.npy"):
        (folder / path.name).unlink(missing_ok=True)
        (folder / path.name).symlink_to(path.resolve())


def curve(folder: Path) -> None:
    """Train as many steps on fewer windows of every source."""
    config = recipe(folder, SHORT)
    stores = prepare_all(config)
    for every in (1, 3, 9):
        own = folder / f"stores_{every}"
        less = []
        for source in sources_of(config):
            thinned(stores[source["name"]], own / source["name"], every)
            training = stores[source["name"]].meta["splits"].count("train")
            # As many tiles from fewer windows.
            tiles = source["tiles_per_window"] * training / len(range(0, training, every))
            less.append(source | {"tiles_per_window": round(tiles)})
        data = config.data.model_copy(update={"store": own})
        run = changed(config.model_copy(update={"data": data}), f"one_in_{every}", less)
        print(f"one training window in {every}")
        final(folder, str(trained(run)))


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("rain_transfer"), help="for all files")
    parser.add_argument("--sources", nargs="+", default=list(FILES), help="to leave out")
    parser.add_argument("--one-spacing", action="store_true", help="train without coarser tiles")
    parser.add_argument("--without-power", action="store_true", help="start at the plain shares")
    parser.add_argument("--model", default="rain-only", help="for --final and --options")
    parser.add_argument("--final", action="store_true")
    parser.add_argument("--options", action="store_true")
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--card", action="store_true", help="all numbers of the model card")
    chosen = parser.parse_args()
    folder = chosen.folder
    if chosen.card:
        leave_one_out(folder, list(FILES))
    if chosen.card or chosen.final:
        final(folder, chosen.model)
    if chosen.card or chosen.options:
        options(folder, chosen.model)
    if chosen.card or chosen.curve:
        curve(folder)
    if chosen.card:
        leave_one_out(folder, ["radolan_yw"], one_spacing=True)
        leave_one_out(folder, ["imerg", "radolan_yw", "radolan_rw"], without_power=True)
    elif not (chosen.final or chosen.options or chosen.curve):
        leave_one_out(folder, chosen.sources, chosen.one_spacing, chosen.without_power)


if __name__ == "__main__":
    main()

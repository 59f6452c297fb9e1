"""`tenkizu patterns`: pressure patterns from daily maps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tenkizu.core.console import Config, Overrides, track
from tenkizu.patterns.cli_prepare import prepare
from tenkizu.patterns.download.cli import download
from tenkizu.patterns.inspection.cli import inspect

app = typer.Typer(
    no_args_is_help=True,
    help="Pressure patterns from daily maps: download, prepare, train, evaluate, predict.",
    rich_markup_mode="rich",
)
for command in (download, prepare, inspect):
    app.command()(command)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Run folder, exported model folder, or a name that `tenkizu models` lists.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the last complete epoch, exactly.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start again in the folder of an earlier run.")
]

Typhoons = Annotated[
    Path | None,
    typer.Option(help="CSV of best tracks (time,lat,lon in UTC), for a model that sees typhoons."),
]


@app.command()
def train(
    config: Config,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained, on what, and stop.")
    ] = False,
) -> None:
    """Train, calibrate, choose thresholds, export and evaluate; prepares the store if need be.

    Fit for the background: `nohup tenkizu patterns train CONFIG &` writes all to the run folder,
    and run.on_finish is called with the outcome.
    """
    from tenkizu.patterns import train as run

    settings = _load(config, overrides)
    if dry_run:
        _plan(settings)
        return
    folder = run(settings, resume=resume, overwrite=overwrite, track=track)
    from tenkizu.core.launch import Place

    place = Place.here()
    if place.rank or place.child:
        return
    from tenkizu.core.store import read_json

    for split in ("validation", "test"):
        scores = folder / "evaluation" / split / "scores.json"
        if scores.exists():
            show_scores(read_json(scores, "scores"), split)
    typer.echo(f"run folder: {folder}")
    typer.echo(f"report: {folder / 'report' / 'index.html'}")


@app.command()
def compare(
    config: Config,
    overrides: Overrides = None,
    backbones: Annotated[
        str | None,
        typer.Option(help="Backbones, separated by commas; default: the four of tenkizu."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, separated by commas; default: train.seed.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="A setting and its values: loss.kind=bce,focal. May be given again."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs, and which are trained, and stop.")
    ] = False,
) -> None:
    """Train every combination of backbones, seeds and settings; compare them on validation days.

    Equal runs that are finished are used again. Writes compare.csv and compare.json.
    """
    from tenkizu.core.config import dump_config
    from tenkizu.core.store import write_text
    from tenkizu.patterns.comparison import BACKBONES, finished, plan_runs
    from tenkizu.patterns.comparison import compare as run
    from tenkizu.patterns.comparison_text import comparison_text

    settings = _load(config, overrides)

    def with_settings(values: dict[str, Any]) -> Any:  # noqa: ANN401 - PatternsConfig, lazily
        lines = [f"{key}={value}" for key, value in values.items()]
        return _load(config, [*(overrides or []), *lines])

    names = backbones.split(",") if backbones else list(BACKBONES)
    numbers = _integers(seeds) if seeds else [settings.train.seed]
    runs = plan_runs(settings, names, numbers, _grid(grid or []), with_settings)
    if dry_run:
        for planned in runs:
            state = "trained" if finished(planned) else "to train"
            typer.echo(f"{planned.folder}  {state}")
        return
    output = settings.run.dir / settings.run.name
    write_text(output / "compare.yaml", dump_config(settings))
    rows = run(runs, output, track=track)
    typer.echo(comparison_text(rows))
    typer.echo(f"tables: {output / 'compare.csv'}, {output / 'compare.json'}")
    if failed := [row for row in rows if "error" in row]:
        from tenkizu.core.errors import CheckFailed

        raise CheckFailed(
            f"{len(failed)} of {len(runs)} runs failed",
            found=", ".join(Path(row["out_dir"]).name for row in failed),
            next_step="read the messages above and run.log in their folders, then run this again",
        )


@app.command()
def evaluate(
    model: Model,
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="STORE_OR_FILE...", help="A prepared store, or files or Zarr groups of maps."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for scores and figures.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV (date,label) or Python file; default: as the model was trained."),
    ] = None,
    days: Annotated[
        str | None, typer.Option(help="A period FIRST/LAST of local dates; default: all days.")
    ] = None,
    knn: Annotated[
        bool, typer.Option("--knn", help="Add the nearest training maps of pressure as a baseline.")
    ] = False,
    typhoons: Typhoons = None,
) -> None:
    """Score a model on labelled days, beside prevalence, climatology and persistence."""
    from tenkizu.patterns import evaluate as run

    scores = run(model, data, output, labels, days, track, knn=knn, typhoons=typhoons)
    show_scores(scores, "all days")
    typer.echo(f"scores: {output / 'scores.json'}, {output / 'evaluation.txt'}")


@app.command()
def predict(
    model: Model,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Files or Zarr groups of maps with the model's fields."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Table (.csv) or CF NetCDF (.nc) to write.")
    ],
    typhoons: Typhoons = None,
) -> None:
    """Classify the days of files: probabilities, decisions, major types, analogues."""
    from tenkizu.patterns import predict as run

    typer.echo(f"written: {run(model, files, output, track, typhoons)}")


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: report/index.html in it.")
    ] = None,
) -> None:
    """Write the run as one self-contained HTML page."""
    from tenkizu.patterns import report as run

    typer.echo(f"written: {run(run_folder, output)}")


@app.command(name="label-jc")
def label_jc(
    file: Annotated[Path, typer.Argument(metavar="FILE.nc", help="Sea level pressure maps.")],
    centre: Annotated[str, typer.Option(help="Point that is classified: LAT,LON, such as 55,-5.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV to write: date,label.")],
    hour: Annotated[int, typer.Option(min=0, max=23, help="Hour (UTC) of the maps.")] = 0,
    u_limit: Annotated[
        float, typer.Option(min=0.0, help="Flow and vorticity below this are unclassified.")
    ] = 6.0,
    rounded: Annotated[
        bool, typer.Option("--rounded", help="Use the published, rounded constants.")
    ] = False,
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Interpolate to points that are not on the grid.")
    ] = False,
) -> None:
    """Label days with Jenkinson-Collison types, from the pressure at 16 points."""
    from tenkizu.core.errors import ConfigError
    from tenkizu.patterns.config import LabelsConfig
    from tenkizu.patterns.labels import write_labels
    from tenkizu.patterns.preparation import computed_labels
    from tenkizu.patterns.reading.map_paths import map_path
    from tenkizu.patterns.reading.maps import open_files

    try:
        latitude, longitude = (float(part) for part in centre.split(","))
    except ValueError:
        raise ConfigError(
            "not a point", variable="--centre", found=centre, expected="LAT,LON such as 55,-5"
        ) from None
    if output.resolve() == file.resolve():
        raise ConfigError("the output is the input file", file=output, next_step="name another")
    rules = LabelsConfig(
        catalogue="jc",
        centre=(latitude, longitude),
        u_limit=u_limit,
        constants="rounded" if rounded else "exact",
        interpolate=interpolate,
    )
    with open_files([map_path(file)], [hour]) as source:
        days, texts = computed_labels(source, source.times, rules)
    write_labels(output, days, texts)
    typer.echo(f"written: {output}, {len(texts)} days, {len(set(texts))} types")


def _load(config: Path, overrides: list[str] | None) -> Any:  # noqa: ANN401 - PatternsConfig
    from tenkizu.core.config import load_config
    from tenkizu.patterns.config import PatternsConfig

    return load_config(PatternsConfig, config, overrides or ())


def _integers(text: str) -> list[int]:
    from tenkizu.core.errors import ConfigError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            "not whole numbers", variable="--seeds", found=text, expected="such as 1,2,3"
        ) from None


def _grid(options: list[str]) -> dict[str, list[str]]:
    from tenkizu.core.errors import ConfigError

    result = {}
    for option in options:
        key, equals, values = option.partition("=")
        if not equals or not values:
            raise ConfigError(
                "cannot be read",
                variable="--grid",
                found=option,
                expected="key=value,value such as loss.kind=bce,focal",
            )
        result[key] = values.split(",")
    return result


def _plan(settings: Any) -> None:  # noqa: ANN401
    """Print what a training would do."""
    from tenkizu.patterns.inputs import Inputs
    from tenkizu.patterns.labelling import catalogue_of

    inputs, catalogue = Inputs.of(settings.data), catalogue_of(settings.labels)
    splits = settings.data.splits
    typer.echo(f"run folder   {settings.run.dir / settings.run.name}")
    typer.echo(f"store        {settings.data.store}")
    typer.echo(f"channels     {len(inputs.names)}: {', '.join(inputs.names)}")
    typer.echo(f"types        {catalogue.name}: {' '.join(catalogue.labels)}")
    if splits.scheme == "blocked_cv":
        typer.echo(f"splits       cross-validation over blocks of {splits.block_years} years")
    else:
        for name, first, last in splits.periods().blocks():
            end = (last - 1).astype("datetime64[D]")
            typer.echo(f"{name:<12} {first.astype('datetime64[D]')} to {end} (local dates)")
    network = settings.model.backbone
    count = _parameters(settings, len(inputs.names), catalogue)
    size = "size known after prepare" if count is None else f"{count:,} parameters"
    typer.echo(f"network      {network}, {size}, {settings.train.members} member(s)")
    typer.echo(
        f"training     up to {settings.train.epochs} epochs of batches of "
        f"{settings.train.batch_size}, best epoch by {settings.train.select}"
    )


def _parameters(settings: Any, channels: int, catalogue: Any) -> int | None:  # noqa: ANN401
    """Parameters of the network; None if they depend on the size of maps not yet prepared."""
    from tenkizu.core.grid import Grid
    from tenkizu.core.store import SampleStore
    from tenkizu.patterns.networks.backbones import parameters

    shape, model = None, settings.model
    if settings.data.store.is_dir():
        shape = Grid.from_json(SampleStore(settings.data.store).meta["grid"]).shape
    elif model.backbone == "projection":
        return None
    outputs = len(catalogue.labels)
    if model.hierarchy == "head":
        outputs += len(catalogue.major_labels)
    return parameters(model.backbone, channels, outputs, shape, **model.options)


def show_scores(scores: Mapping[str, Any], split: str) -> None:
    """Print the main scores beside the baselines, and those of each type."""
    from rich.console import Console
    from rich.table import Table

    from tenkizu.patterns.verification.score_text import number, with_interval

    console = Console()
    table = Table(title=f"{split}: {scores['n_days']} days", title_justify="left")
    for i, column in enumerate(("", "mAP", "macro F1", "exact", "Brier")):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    intervals = scores["intervals"]
    table.add_row(
        "model",
        with_interval(scores["map"], intervals["map"]),
        with_interval(scores["macro_f1"], intervals["macro_f1"]),
        number(scores["exact_match"]),
        number(scores["brier"]),
        style="bold",
    )
    for name, one in scores["baselines"].items():
        if "map" in one:
            table.add_row(name, number(one["map"]), "", "", number(one["brier"]))
        else:
            table.add_row("yes every day", "", number(one["macro_f1"]), "", "")
    console.print(table)
    classes = Table(title_justify="left")
    for i, column in enumerate(("type", "days", "AP", "F1", "threshold", "status")):
        classes.add_column(column, justify="right" if 0 < i < 5 else "left")
    for name, one in scores["classes"].items():
        classes.add_row(
            name,
            str(one["support"]),
            number(one["ap"]),
            number(one["f1"]),
            number(one["threshold"]),
            one["status"],
        )
    console.print(classes)
    console.print(
        f"mAP over {scores['map_classes']} of {len(scores['classes'])} types; "
        f"decisions {scores['provenance']}",
        style="dim",
    )

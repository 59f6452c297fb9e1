"""`tenkizu rain`: hourly rain from 3-hour totals."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tenkizu.core.console import Config, Overrides, track
from tenkizu.rain.cli_ensemble import ensemble
from tenkizu.rain.cli_export import export
from tenkizu.rain.msm.cli_data import Scheduler, Workers, check, convert, stats
from tenkizu.rain.msm.cli_inspect import inspect

app = typer.Typer(
    no_args_is_help=True,
    help="Hourly rain from 3-hour totals: prepare, train, evaluate, predict.",
    rich_markup_mode="rich",
)
for command in (inspect, convert, check, stats):
    app.command()(command)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Run folder, exported model folder, or a name that `tenkizu models` lists.",
    ),
]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA.nc", help="NetCDF file of gridded rain; sample:NAME for one that ships."
    ),
]
Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA...",
        help="NetCDF file of gridded rain (sample:NAME for one that ships), GRIB2 files of one "
        "forecast, or a folder of them.",
    ),
]
Variable = Annotated[
    str | None, typer.Option("--var", help="Rain variable, when the file does not make it clear.")
]
Units = Annotated[
    str | None, typer.Option(help="Units of the rain, when the file states none: mm, m, mm/h, ...")
]
TimeStamp = Annotated[
    Literal["start", "end"] | None,
    typer.Option(help="What a time stamp marks, when the file has no time bounds."),
]
Totals = Annotated[
    Literal["since-start", "interval"] | None,
    typer.Option(
        help="What the values of a NetCDF file are, when it does not say so: the water since the "
        "start of a run, to be differenced, or that of each interval."
    ),
]
WindowStart = Annotated[
    int, typer.Option(min=0, max=23, help="Hour (UTC) at which a window begins; 0 is 00, 03, ...")
]
Regrid = Annotated[
    Literal["conservative", "native"] | None,
    typer.Option(
        help="For a grid whose spacing is off that of the training by more than 20 %: bring the "
        "rain to a grid of that spacing by area-weighted means (conservative), or take it as it is "
        "(native)."
    ),
]


@app.command()
def prepare(
    config: Config,
    overrides: Overrides = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a store made from other settings.")
    ] = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Make the sample store that training reads, with statistics and exact histograms.

    An interrupted run goes on where it stopped; a finished store is left alone. MSM forecasts are
    prepared a month at a time by --workers processes, or on a Dask cluster.
    """
    from tenkizu.core.verification import Tally
    from tenkizu.rain import prepare as run
    from tenkizu.rain.tables import check_units

    for settings in _load(config, overrides).parts().values():
        store = run(settings, overwrite, track, workers, scheduler)
        tables = Tally.from_json(store.meta["tables"]["train"])
        typer.echo(f"store: {store.path}")
        typer.echo(f"checks: {check_units(tables, settings.data.checks, str(store.path))}")


@app.command()
def train(
    config: Config,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last complete epoch, exactly.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start again in the folder of an earlier run.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained, on what, and stop.")
    ] = False,
) -> None:
    """Train, export and evaluate a model; prepares the store if need be.

    Fit for the background: `nohup tenkizu rain train CONFIG &` writes all to the run folder, and
    run.on_finish is called with the outcome.
    """
    from tenkizu.rain import train as run

    settings = _load(config, overrides)
    if dry_run:
        _plan(settings)
        return
    folder = run(settings, resume=resume, overwrite=overwrite, track=track)
    from tenkizu.core.launch import Place

    place = Place.here()
    if place.rank or place.child:
        return
    for scores in sorted(folder.glob("evaluation/*/scores.json"), reverse=True):
        from tenkizu.core.store import read_json

        show_scores(read_json(scores, "scores"))
    typer.echo(f"run folder: {folder}")


@app.command()
def plan(
    config: Config,
    overrides: Overrides = None,
    steps: Annotated[
        int, typer.Option(min=0, help="Training steps to measure here; 0 measures nothing.")
    ] = 2,
) -> None:
    """Print what a training takes before anybody spends a week: disk, memory, time.

    The steps are real ones on random rain, on this machine's GPU or CPU. Try the shipped
    configurations: `tenkizu rain plan configs/rain_msm_v5.yaml train.batch_size=2`.
    """
    from tenkizu.rain.model import describe_network
    from tenkizu.rain.planning import plan as run

    settings = _load(config, overrides)
    channels, table = describe_network(settings)
    typer.echo(f"network: {len(channels)} channels, {sum(table.values()):,} parameters")
    for line in run(settings, steps).lines():
        typer.echo(line)


@app.command()
def evaluate(
    model: Model,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for scores and figures.")],
    var: Variable = None,
    units: Units = None,
    time_stamp: TimeStamp = None,
    totals: Totals = None,
    window_start: WindowStart = 0,
    cases: Annotated[
        str | None,
        typer.Option(
            help="Draw panels of so many windows with most rain, and of as many with the highest "
            "and with the lowest skill; or of `all` windows, or of one in so many: `every 10`.",
        ),
    ] = None,
    land: Annotated[
        Path | None,
        typer.Option(help="NetCDF with a land mask or orography: scores over land and over sea."),
    ] = None,
    regrid: Regrid = None,
) -> None:
    """Score a model on hourly rain, beside S/3, linear interpolation and climatology."""
    from tenkizu.rain import evaluate as run
    from tenkizu.rain.hourly import SourceOptions

    options = SourceOptions(var, units, time_stamp, totals)
    result = run(model, data, output, options, window_start, cases, track, land, regrid)
    show_scores(result)
    typer.echo(f"written: {output / 'scores.json'}, {output / 'evaluation.txt'} and figures")


@app.command()
def predict(
    model: Model,
    data: Inputs,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write: .nc, or .grib2 for GRIB2."),
    ],
    var: Variable = None,
    units: Units = None,
    time_stamp: TimeStamp = None,
    totals: Totals = None,
    window_start: WindowStart = 0,
    share: Annotated[
        bool, typer.Option("--share", help="Also write each hour's share of its total.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option("--map", help="PNG file: draw the window with most rain.")
    ] = None,
    film: Annotated[
        Path | None, typer.Option("--film", help=".mp4 or .gif file: film all windows.")
    ] = None,
    regrid: Regrid = None,
) -> None:
    """Split 3-hour totals into hours that add up to them, as CF NetCDF or GRIB2.

    DATA is NetCDF of 3-hourly totals or hourly rain, of which only the totals are used; or JMA
    GRIB2: MSM in both layouts, an ensemble (members become a dimension), guidance, radar analyses
    and short-range forecasts. Totals since the initial time are differenced.
    `tenkizu rain inspect FILE` lists what a GRIB2 file holds.

    What cannot be read of several GRIB2 files (an initial time for a model that needs forecast
    fields, else a file or a window) is left out. All others are written, and the command then lists
    what was left out and ends with exit code 3. Beside it the rain before or after is not known.
    """
    from tenkizu.rain import predict as run
    from tenkizu.rain.hourly import SourceOptions

    options = SourceOptions(var, units, time_stamp, totals)
    if film:
        from tenkizu.rain.film import film_path

        film = film_path(film)
    run(model, data, output, options, window_start, share, track, picture, film, regrid)
    for path in filter(None, (output, picture, film)):
        typer.echo(f"written: {path}")


@app.command()
def watch(
    model: Model,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where files arrive.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the predictions, not in FOLDER.")
    ],
    var: Variable = None,
    units: Units = None,
    time_stamp: TimeStamp = None,
    totals: Totals = None,
    window_start: WindowStart = 0,
    grib: Annotated[bool, typer.Option("--grib", help="Write GRIB2, not NetCDF.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks at the folder.")
    ] = 30.0,
    once: Annotated[bool, typer.Option("--once", help="Split what is there, and stop.")] = False,
    regrid: Regrid = None,
) -> None:
    """Split every file that arrives in a folder, once, until stopped; a restart goes on.

    The outcome of each file is kept in watched.json beside the predictions. A file that cannot be
    used is reported and left until it changes, or until this command is started with other options
    or another model. With --once the exit code is 1 if any failed.

    What is done stays done, whatever it was made with. To do it again name another --output, or
    delete its entry from watched.json, or the whole file, while nothing watches.
    """
    from collections import Counter

    from tenkizu.core.errors import CheckFailed
    from tenkizu.rain.hourly import SourceOptions
    from tenkizu.rain.watching import watch as run

    options = SourceOptions(var, units, time_stamp, totals)
    suffix = ".grib2" if grib else ".nc"
    result = run(model, folder, output, options, window_start, suffix, interval, once, regrid)
    counts = Counter(outcome.partition(":")[0] for outcome in result.values())
    said = ", ".join(f"{counts[word]} {word}" for word in ("done", "skipped", "failed"))
    typer.echo(f"{said}; {output / 'watched.json'}")
    failed = [name for name, outcome in result.items() if outcome.startswith("failed")]
    if failed:
        raise CheckFailed("inputs that could not be split", found=", ".join(failed))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, finished or not.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file to write; report/index.html in RUN."),
    ] = None,
) -> None:
    """Write a run as one HTML page: checks, curves, scores, maps, cases, configuration."""
    from tenkizu.rain import report as write

    path = write(run, output)
    typer.echo(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB, open it in a browser)")


@app.command()
def video(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help=".mp4 or .gif file to write.")],
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DATA...]",
            help="NetCDF file of rain, GRIB2 files or a folder of them; else the run's store.",
        ),
    ] = None,
    var: Variable = None,
    units: Units = None,
    time_stamp: TimeStamp = None,
    totals: Totals = None,
    window_start: WindowStart = 0,
    split: Annotated[
        Literal["train", "validation", "test"],
        typer.Option(help="Windows of the run's store to film, without DATA.nc."),
    ] = "test",
    vmax: Annotated[
        float | None,
        typer.Option(help="Upper end of the colours, mm; by default found in the rain."),
    ] = None,
    regrid: Regrid = None,
) -> None:
    """Film all windows, prediction above truth, on one colour scale: H.264, or GIF.

    What cannot be read of several GRIB2 files is left out, listed at the end with exit code 3, as
    by `tenkizu rain predict`.
    """
    from tenkizu.rain import video as film
    from tenkizu.rain.hourly import SourceOptions

    options = SourceOptions(var, units, time_stamp, totals)
    path = film(model, data or None, output, options, window_start, split, vmax, track, regrid)
    typer.echo(f"written: {path}")


app.command()(ensemble)
app.command()(export)


def _load(config: Path, overrides: list[str] | None) -> Any:  # noqa: ANN401 - RainConfig, lazily
    from tenkizu.core.config import load_config
    from tenkizu.rain.config import RainConfig

    return load_config(RainConfig, config, overrides or ())


def _plan(settings: Any) -> None:  # noqa: ANN401
    """Print what a training would do."""
    from collections import Counter

    from tenkizu.core.store import SampleStore
    from tenkizu.rain.dataset import RainDataset
    from tenkizu.rain.model import describe_network

    typer.echo(f"run folder: {settings.run.dir / settings.run.name}")
    tiles = 0
    for name, part in settings.parts().items():
        if not part.data.store.exists():
            typer.echo(f"store: {part.data.store} would be prepared first")
            continue
        store = SampleStore(part.data.store)
        counts = Counter(store.meta["splits"])
        label = f"windows of {name}" if settings.data.more else "windows"
        typer.echo(f"{label}: " + ", ".join(f"{n} {s}" for s, n in counts.items()))
        tiles += len(RainDataset(store, "train", (), part.data))
    steps = tiles // settings.train.batch_size * settings.train.epochs
    if steps:
        typer.echo(f"training: {settings.train.epochs} epochs, about {steps} steps a process")
    channels, table = describe_network(settings)
    typer.echo("input: " + ", ".join(channels))
    show_table(table)


def show_table(table: dict[str, int]) -> None:
    """Print a parameter table with its total."""
    for part, count in [*table.items(), ("total", sum(table.values()))]:
        typer.echo(f"  {part:<24}{count:>14,}")


def show_scores(result: dict[str, Any]) -> None:
    """Print the score table of an evaluation."""
    from rich.console import Console
    from rich.table import Table

    from tenkizu.rain.score_text import COLUMNS, counted, sum_words, table_rows

    title = f"{result['data']}: {counted(result['n_windows'], 'window')}"
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if i else "left", no_wrap=not i)
    for row in table_rows(result):
        table.add_row(*row, style="bold" if row[0] == "model" else None)
    console = Console()
    console.print(table)
    console.print(
        f"skill: MSE skill against the equal split; {sum_words(result)}", style="dim", markup=False
    )

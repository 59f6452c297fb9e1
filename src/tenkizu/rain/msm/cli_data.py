"""`tenkizu rain convert`, `check` and `stats`: MSM forecasts before they are prepared."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tenkizu.core.console import Overrides, track

Data = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", help="Monthly files, folders of them, or a prepared store."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; by default one for each processor.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Dask scheduler, such as tcp://host:8786, in place of processes here; its workers "
        "must see the same files under the same names.",
    ),
]


def convert(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="YAML file of the run, with a section data.msm."),
    ] = None,
    overrides: Overrides = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of GRIB2 files, without CONFIG.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--to", help="Folder of the monthly files, without CONFIG.")
    ] = None,
    months: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST/LAST", help="Months of t0, such as 2018-01/2018-12; default: all found."
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at an incomplete or unreadable initial time."),
    ] = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace months made from other settings or files, and try unreadable initial "
            "times again.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and stop.")
    ] = False,
) -> None:
    """Turn GRIB2 files of JMA's MSM into monthly NetCDF files.

    Give a configuration whose data.msm names the folders, or --from and --to:

    tenkizu rain convert --from /data/msm --to monthly --months 2018-01/2018-12

    Files are found by their names in any folder below, in both layouts: operational (Lsurf and
    L-pall FH00-15) and archive (one lead time a file, rain in Prr files). Each month of initial
    times becomes YYYYMM.nc: 48 fields at 3 and 6 hours, rain of the hours around the window and
    time features, on the 480 x 480 grid.

    An initial time that is incomplete or cannot be read is left out and listed in missing.json
    beside the months. An interrupted run goes on where it stopped; a finished month is left alone.
    """
    from tenkizu.rain.msm.conversion import convert as run
    from tenkizu.rain.msm.month_plans import plan_months

    settings = _settings(config, overrides, source, target, months, strict)
    if dry_run:
        _show_plan(plan_months(settings, overwrite))
        return
    report = run(settings, workers, scheduler, overwrite, track)
    for month in report.months:
        typer.echo(f"{month.name}: {month.converted} of {month.expected}, {month.state}")
    left_out = [entry for month in report.months for entry in month.missing]
    unusable = [entry for entry in left_out if entry["reason"] != "no file"]
    for entry in unusable[:10]:
        parts = f" ({', '.join(entry['parts'])})" if "parts" in entry else ""
        typer.echo(f"left out: {entry['t0']}: {entry['reason']}{parts}")
    if len(unusable) > 10:
        typer.echo(f"and {len(unusable) - 10} more")
    absent = len(left_out) - len(unusable)
    typer.echo(
        f"{sum(month.converted for month in report.months)} initial times; {len(unusable)} left "
        f"out, {absent} without files: {report.missing_file}"
    )


def check(
    paths: Data,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="JSON file to write; check.json in the (first) folder"),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Check monthly files, or a prepared store, and say what is wrong.

    Every value is read once: expected months and initial times, variables, units and grid, time
    features, hours against their sum, missing, negative, constant and implausible values, cells
    that never hold any, and a scan of lags that catches labels of another time. Writes check.json
    and check.md; the exit code is 1 if there is an error.
    """
    from tenkizu.core.errors import CheckFailed
    from tenkizu.rain.msm.check import check as run

    result = run(paths, output, workers, scheduler, track)
    _show_check(result)
    if result["errors"]:
        raise CheckFailed(
            f"{result['errors']} errors", file=result["path"], next_step="read the findings there"
        )


def stats(
    paths: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables and figures.")],
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Sum up how rain divides among the three hours: stats.json, stats.md and figures.

    Spread and range of the hours, errors of the equal split S/3, correlation from hour to hour,
    histograms, wet patterns and suggested loss weights; over all cells, and over those where all
    three hours are wet. All sums are exact and over all values.
    """
    from tenkizu.rain.msm.statistics import stats as run

    result = run(paths, output, workers, scheduler, track)
    typer.echo(
        f"{result['initial_times']} initial times, {result['all']['cells']:,} cells, "
        f"{100 * result['all_wet']['share']:.2f} % with three wet hours"
    )
    typer.echo(f"written: {output / 'stats.md'}, stats.json and figures")


def _settings(
    config: Path | None,
    overrides: list[str] | None,
    source: Path | None,
    target: Path | None,
    months: str | None,
    strict: bool,
) -> Any:  # noqa: ANN401 - MsmConfig, imported when it is needed
    """The section data.msm of a configuration, or one made from options."""
    from tenkizu.core.config import build_config, load_config
    from tenkizu.core.errors import ConfigError
    from tenkizu.rain.config import RainConfig
    from tenkizu.rain.msm.config import MsmConfig

    given: dict[str, Any] = {"grib_dir": source, "monthly_dir": target}
    given = {key: str(value) for key, value in given.items() if value is not None}
    if months is not None:
        given["months"] = [month.strip() for month in months.split("/")]
    if strict:
        given["strict"] = True
    if config is not None:
        settings = load_config(RainConfig, config, overrides or ()).data.msm
        if settings is None:
            raise ConfigError(
                "missing",
                file=config,
                variable="data.msm",
                expected="a section with grib_dir and monthly_dir",
            )
        return build_config(MsmConfig, {**settings.model_dump(mode="json"), **given}, str(config))
    if source is None or target is None:
        raise ConfigError(
            "which files?",
            expected="a configuration with data.msm, or --from and --to",
            next_step="tenkizu rain convert --help",
        )
    return build_config(MsmConfig, given, "command line")


def _show_plan(plans: list[Any]) -> None:
    """Print what a conversion would do."""
    for plan in plans:
        incomplete = [entry for entry in plan.missing.values() if entry["reason"] != "no file"]
        state = "up to date" if plan.finished else f"{plan.path} would be written"
        typer.echo(
            f"{plan.name}: {len(plan.ready)} of {len(plan.expected)} initial times complete, "
            f"{len(incomplete)} incomplete; {state}"
        )
        for entry in incomplete[:3]:
            typer.echo(f"  {entry['t0']} lacks {', '.join(entry.get('parts', ()))}")


def _show_check(result: dict[str, Any]) -> None:
    """Print the table of rules, and the findings."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(
        title=f"{result['initial_times']} initial times in {len(result['files'])} files",
        title_justify="left",
    )
    for name in ("rule", "what must hold"):
        table.add_column(name)
    for name in ("errors", "warnings"):
        table.add_column(name, justify="right")
    for rule, row in result["rules"].items():
        style = "bold red" if row["errors"] else "yellow" if row["warnings"] else None
        table.add_row(rule, row["text"], str(row["errors"]), str(row["warnings"]), style=style)
    console.print(table)
    for one in result["findings"][:20]:
        where = ": ".join(one[key] for key in ("file", "variable") if key in one)
        details = [f"found {one['found']}"] if "found" in one else []
        details += [f"expected {one['expected']}"] if "expected" in one else []
        details += [f"first at {one['first']}"] if "first" in one else []
        details += [f"{one['count']} times"] if one["count"] > 1 else []
        text = "; ".join([f"{where}: {one['text']}" if where else one["text"], *details])
        console.print(f"[bold]{one['severity']}[/] {escape(text)}", soft_wrap=True)
    if len(result["findings"]) > 20:
        console.print(f"and {len(result['findings']) - 20} more findings")
    best = result["best_lag_steps"]
    console.print(
        "lag scan: "
        + (f"S fits its hours best at {best:+d} steps of 3 h" if best is not None else "no rain"),
        f"written: {result['path']}",
        sep="\n",
        soft_wrap=True,
    )

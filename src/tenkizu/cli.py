"""The `tenkizu` command. Heavy libraries are imported inside the commands, so help is instant."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tenkizu import __version__
from tenkizu.config_cli import app as config_app
from tenkizu.core.errors import TenkizuError
from tenkizu.core.heap import restart_with_compact_heap
from tenkizu.patterns.cli import app as patterns_app
from tenkizu.rain.cli import app as rain_app
from tenkizu.rain.cli import show_table

FILES = 6
"""Files of the training that `models` names."""


class System(StrEnum):
    """The two systems."""

    patterns = "patterns"
    rain = "rain"


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="[b]tenkizu[/b] (天気図): pressure patterns from daily maps, and hourly rain from 3-hour "
    "totals, with scores you can check.\n\n"
    "Start with [b]tenkizu demo[/b]. Every command has --help.",
)
app.add_typer(patterns_app, name="patterns")
app.add_typer(rain_app, name="rain")
app.add_typer(config_app, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tenkizu {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show details, and tracebacks of errors.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Set up what all commands share."""
    from tenkizu.core.launch import log_to_terminal

    log_to_terminal(verbose)


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for stores, runs and pictures.")
    ] = Path("demo"),
    only: Annotated[
        System | None, typer.Option(help="Run the demo of one system; default: both.")
    ] = None,
) -> None:
    """Train and score small networks on the shipped real data: about 6 minutes on 2 cores."""
    from tenkizu.core.console import track

    files: list[tuple[Path, str]] = []
    if only != System.rain:
        from tenkizu.patterns.cli import show_scores as show_patterns
        from tenkizu.patterns.demo import demo as patterns_demo

        scores, made = patterns_demo(output / "patterns", track=track)
        show_patterns(scores, "test, 2009-2010")
        files += made
    if only != System.patterns:
        from tenkizu.rain.cli import show_scores as show_rain
        from tenkizu.rain.demo import demo as rain_demo

        scores, made = rain_demo(output / "rain")
        show_rain(scores)
        files += made
    typer.echo("\nLook at:")
    for path, what in files:
        typer.echo(f"  {path}  ({what})")


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="A model or one of the networks v5 and default.")
    ] = None,
) -> None:
    """List the shipped models and networks, or describe one."""
    from tenkizu.core.checkpoint import find_model, shipped_models
    from tenkizu.core.store import read_json
    from tenkizu.patterns.networks.backbones import BACKBONES, parameters
    from tenkizu.rain.model import NETWORKS, network_table

    if name in NETWORKS:
        typer.echo(f"network {name}, parameters by part:")
        show_table(network_table(*NETWORKS[name]))
        return
    if name in BACKBONES:
        total = parameters(name, 42, 15, (161, 161))
        typer.echo(f"network {name}: {total:,} parameters for 42 maps of 161 x 161 and 15 types")
        return
    if name is not None:
        _describe_model(read_json(find_model(name) / "model.json", "a model"))
        return
    folders = shipped_models()
    typer.echo("Shipped models:" if folders else "Shipped models: none in this version")
    for shipped, folder in folders.items():
        meta = read_json(folder / "model.json", "a model")
        typer.echo(f"  {shipped:<15}{meta['kind']:<9}{meta['parameters']:>12,} parameters")
    typer.echo("Networks (tenkizu models NAME for the parts):")
    for network, arguments in NETWORKS.items():
        total = sum(network_table(*arguments).values())
        typer.echo(f"  {network:<15}{'rain':<9}{total:>12,} parameters")
    for network in BACKBONES:
        total = parameters(network, 42, 15, (161, 161))
        typer.echo(f"  {network:<15}{'patterns':<9}{total:>12,} parameters (42 maps, 15 types)")


def _describe_model(meta: dict[str, Any]) -> None:
    """Print what a model is, what it was trained on and what it reads."""
    from tenkizu.core.grid import Grid

    chosen = meta["chosen_by"]
    grid = meta["grid"].get("describe") or Grid.from_json(meta["grid"]).describe()
    typer.echo(f"{meta['name']}: {meta['kind']}, {meta['parameters']:,} parameters")
    typer.echo(f"  weights     {meta['weights_sha256'][:12]}")
    names = [channel["name"] for channel in meta["channels"]]
    if "members" in meta:
        names = [name for kind in meta["members"][0]["inputs"].values() for name in kind]
    files = meta["trained_on"]["files"]
    listed = ", ".join(files[:FILES]) + (f", ... ({len(files)} files)" if files[FILES:] else "")
    typer.echo(f"  input       {', '.join(names)}")
    typer.echo(f"  trained on  {listed}")
    typer.echo(f"  grid        {grid}")
    typer.echo(
        f"  chosen by   {chosen['quantity']} {chosen['value']:.3f} on {chosen['on']}, "
        f"epoch {chosen['epoch']}"
    )


@app.command()
def doctor() -> None:
    """Print versions, devices, memory, and what is missing."""
    from tenkizu.core.doctor import report

    rows = report()
    for item, finding, ok in rows:
        typer.echo(f"{'ok  ' if ok else 'MISS'}  {item:<24}{finding}")
    if not all(ok for _, _, ok in rows):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; expected errors become one message and their own exit code."""
    if "train" in sys.argv:
        restart_with_compact_heap()
    try:
        app()
    except TenkizuError as error:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)

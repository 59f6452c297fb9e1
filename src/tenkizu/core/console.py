"""What the command-line files share: progress bars and option texts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Settings that replace those of the file: train.epochs=3"
    ),
]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the run.")]


def track(items: Iterable[Any], description: str) -> Iterable[Any]:
    """Show a progress bar on the error stream, if that is a terminal."""
    from rich.console import Console
    from rich.progress import track as bar

    console = Console(stderr=True)
    return bar(items, description, console=console, disable=not console.is_terminal)

"""`tenkizu config`: make, check and read the YAML file of a run."""

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenkizu.core.console import Config, Overrides
from tenkizu.core.errors import ConfigError

if TYPE_CHECKING:
    from tenkizu.core.config import Section

app = typer.Typer(no_args_is_help=True, help="Make, check and read the YAML file of a run.")

KINDS = {
    "patterns": ("tenkizu.patterns.config", "PatternsConfig"),
    "rain": ("tenkizu.rain.config", "RainConfig"),
}
"""Where each system's configuration is defined."""

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A system (patterns, rain) or a shipped file (rain_demo)."),
]


def _schema(kind: str) -> "type[Section]":
    if kind not in KINDS:
        raise ConfigError(
            "no such system", variable="kind", found=kind, expected=" or ".join(KINDS)
        )
    module, name = KINDS[kind]
    schema: type[Section] = getattr(importlib.import_module(module), name)
    return schema


def _read(path: Path, overrides: list[str] | None) -> "Section":
    from tenkizu.core.config import load_config, read_kind

    return load_config(_schema(read_kind(path)), path, overrides or ())


@app.command()
def new(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: the terminal.")
    ] = None,
) -> None:
    """Write a commented file to start from: every key of a system, or a shipped configuration."""
    from tenkizu.core.config import template
    from tenkizu.core.samples import shipped_configs
    from tenkizu.core.store import write_text

    shipped = shipped_configs()
    if name in shipped:
        text = shipped[name].read_text(encoding="utf-8")
    elif name in KINDS:
        text = template(_schema(name))
    else:
        raise ConfigError(
            "no such system or shipped file",
            found=name,
            expected=", ".join([*KINDS, *sorted(shipped)]),
        )
    if output is None:
        typer.echo(text, nl=False)
        return
    if output.exists():
        raise ConfigError(
            "the file exists", file=output, next_step="choose another name, or delete it first"
        )
    write_text(output, text)
    typer.echo(f"written: {output}")


@app.command()
def check(config: Config, overrides: Overrides = None) -> None:
    """Check a file and its overrides; say what is wrong, or that all is well."""
    _read(config, overrides)
    typer.echo(f"{config}: ok")


@app.command()
def show(config: Config, overrides: Overrides = None) -> None:
    """Print the resolved file: every key with the value a run would use."""
    from tenkizu.core.config import dump_config

    typer.echo(dump_config(_read(config, overrides)), nl=False)


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="The system: patterns or rain.")],
) -> None:
    """Print the JSON Schema of a system's configuration, for editors that complete YAML."""
    from tenkizu.core.config import json_schema

    typer.echo(json.dumps(json_schema(_schema(kind)), indent=2, ensure_ascii=False))

"""`tenkizu rain inspect`: what GRIB2 files hold."""

from pathlib import Path
from typing import Annotated, Any

import typer

_COLUMNS = (
    "position",
    "what",
    "units",
    "level",
    "time",
    "member",
    "parameter",
    "template",
    "packing",
    "bitmap",
    "grid",
    "min",
    "mean",
    "max",
    "missing",
)
_HEADINGS = {"position": "#", "parameter": "number", "time": "time, UTC"}
_RIGHT = {"position", "min", "mean", "max", "missing", "member"}


def inspect(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="GRIB2 files of any JMA product.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, full digits and all.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1.0, help="Give up a file after this many seconds.")
    ] = 300.0,
) -> None:
    """List every field of GRIB2 files: what it is, where, when, how packed, and its values.

    One line a field: parameter and unit, level, valid time or interval (UTC, and hours from the
    reference time), ensemble member, parameter as discipline/category/number, product template,
    packing, bitmap (own, reused from an earlier field, or none), grid, least, mean and largest
    value, and how many are missing. What is not known by name is shown by its numbers.

    Values are decoded in a process of their own, so a damaged file ends in a message. The exit
    code is 3 if a file or a field could not be read; the others are listed all the same.
    """
    import json

    from tenkizu.core.parallel import run_tasks
    from tenkizu.rain.msm.inspection import inspect_file

    results: dict[int, dict[str, Any]] = {}
    for position, outcome in run_tasks(inspect_file, files, workers=1, timeout=timeout):
        if isinstance(outcome, Exception):
            outcome = {"file": str(files[position]), "fields": [], "error": str(outcome)}
        results[position] = outcome
    ordered = [results[position] for position in sorted(results)]
    if as_json:
        typer.echo(json.dumps(ordered, indent=2))
    else:
        typer.echo("\n\n".join(_table(result) for result in ordered))
    problems = [part["error"] for one in ordered for part in (one, *one["fields"]) if part["error"]]
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if problems:
        raise typer.Exit(3)


def _table(result: dict[str, Any]) -> str:
    """A file as text: a heading, its grids, and a line for each field."""
    fields = result["fields"]
    references = sorted({row["reference"].replace("T", " ") for row in fields})
    lines = [f"{result['file']}: {len(fields)} fields, reference time {', '.join(references)} UTC"]
    if not fields:
        return f"{result['file']}: no field could be read"
    grids = list(dict.fromkeys(row["grid"] for row in fields))
    lines += [f"grid {chr(65 + i % 26)}: {grid}" for i, grid in enumerate(grids)]
    rows = [[_HEADINGS.get(column, column) for column in _COLUMNS]]
    rows += [[_cell(row, column, grids) for column in _COLUMNS] for row in fields]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            text.rjust(width) if column in _RIGHT else text.ljust(width)
            for text, width, column in zip(row, widths, _COLUMNS, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cell(row: dict[str, Any], column: str, grids: list[str]) -> str:
    value = row[column]
    if column == "grid":
        return chr(65 + grids.index(value) % 26)
    if value is None:
        return "error" if column == "mean" and row["error"] else "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

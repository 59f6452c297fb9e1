"""`check`: are monthly files, or a prepared store, what they should be?"""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.parallel import run_tasks, usable_cpus
from tenkizu.core.store import plain, write_json, write_text
from tenkizu.rain.derived_blocks import Track
from tenkizu.rain.msm.check_piece import LAGS, CheckTask, PieceResult, check_piece
from tenkizu.rain.msm.check_report import as_markdown
from tenkizu.rain.msm.check_rules import RULES, Finding
from tenkizu.rain.msm.check_together import (
    best_lag,
    lag_scan,
    missing_hours,
    never,
    of_cells,
    of_coverage,
    of_grids,
    of_lags,
    of_wet_hours,
    wet_hours,
)
from tenkizu.rain.msm.month_plans import STEP
from tenkizu.rain.msm.pieces import Piece, find_pieces, open_piece
from tenkizu.rain.msm.variables import VARIABLES

log = logging.getLogger(__name__)


def check(
    paths: Sequence[str | Path],
    output: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    track: Track | None = None,
) -> dict[str, Any]:
    """Hold all of `RULES` against monthly files or a store, several files at once.

    Args:
        paths: monthly files, folders of them, or a store.
        output: the JSON file to write; by default ``check.json`` in the (first) folder. Beside it
            lies the same as Markdown, ``check.md``.
        workers: processes; by default one for each processor.
        scheduler: address of a Dask scheduler, in place of processes here.
        track: shows progress.

    Returns:
        What was written: ``errors`` and ``warnings`` (numbers of findings), ``files``,
        ``initial_times``, ``findings``, ``rules``, ``missing_per_utc_hour``, ``extremes``,
        ``cells`` (always missing or zero), ``lag_scan``, ``best_lag_steps`` and
        ``wet_per_utc_hour``; besides, the ``path``.

    Raises:
        ConfigError: the output has the name of a Markdown page.
        DataError: a path is not there or holds neither.
    """
    if output is not None and Path(output).suffix == ".md":
        raise ConfigError(
            "the JSON file needs another name than the Markdown page beside it",
            variable="output",
            found=output,
            expected="a name such as check.json",
        )
    pieces = find_pieces(paths)
    times, findings = _times(pieces)
    tasks = [CheckTask(piece, _before(times, piece)) for piece in times]
    results: dict[int, PieceResult] = {}
    shown = track(tasks, "checking") if track else tasks
    outcomes = run_tasks(check_piece, tasks, workers or usable_cpus(), scheduler)
    for _, (i, outcome) in zip(shown, outcomes, strict=False):
        if isinstance(outcome, Exception):
            findings.append(_unreadable(tasks[i].piece, outcome))
        else:
            results[i] = outcome
    parts = [results[i] for i in sorted(results)]
    findings += [finding for part in parts for finding in part.findings]
    findings += of_coverage(times)
    findings += of_grids([(tasks[i].piece, results[i]) for i in sorted(results)])
    cells, lags, wet = never(parts), lag_scan(parts), wet_hours(parts)
    findings += of_cells(cells, sum(len(part.times) for part in parts))
    findings += [*of_lags(lags), *of_wet_hours(wet)]
    order = list(RULES)
    findings.sort(key=lambda one: (one.severity, order.index(one.rule), one.file or ""))
    summary = {
        "errors": sum(one.severity == "error" for one in findings),
        "warnings": sum(one.severity == "warning" for one in findings),
        "files": [str(piece) for piece in pieces],
        "initial_times": sum(map(len, times.values())),
        "findings": [one.to_json() for one in findings],
        "rules": _by_rule(findings),
        "missing_per_utc_hour": missing_hours(times),
        "extremes": _extremes(parts),
        "cells": cells,
        "lag_scan": lags,
        "best_lag_steps": best_lag(lags),
        "wet_per_utc_hour": wet,
    }
    first = Path(paths[0])
    path = Path(output) if output else (first if first.is_dir() else first.parent) / "check.json"
    write_json(path, summary)
    write_text(path.with_suffix(".md"), as_markdown(summary))
    log.info("%s: %d errors, %d warnings", path, summary["errors"], summary["warnings"])
    return {**plain(summary), "path": str(path)}


def _times(
    pieces: Sequence[Piece],
) -> tuple[dict[Piece, NDArray[np.datetime64]], list[Finding]]:
    """t0 of each piece that can be opened, and a finding for each that cannot."""
    times, findings = {}, []
    for piece in pieces:
        try:
            with open_piece(piece, strict=False) as opened:
                times[piece] = opened.times
        except DataError as error:
            findings.append(_unreadable(piece, error))
    return times, findings


def _unreadable(piece: Piece, error: Exception) -> Finding:
    name = str(piece.path if piece.in_store else piece.path.name)
    return Finding("file", "error", str(error).splitlines()[0], name)


def _before(
    times: dict[Piece, NDArray[np.datetime64]], piece: Piece
) -> tuple[tuple[Piece, int], ...]:
    """Where the three initial times before the first of a piece are, if in other pieces."""
    if not len(times[piece]):
        return ()
    first = times[piece].min()
    wanted = {first - k * STEP for k in range(1, max(LAGS) + 1)}
    found = [
        (t0, other, i)
        for other, values in times.items()
        if other != piece and other.in_store == piece.in_store
        for i, t0 in enumerate(values)
        if t0 in wanted
    ]
    return tuple((other, i) for _, other, i in sorted(found, key=lambda one: one[0]))


def _by_rule(findings: Sequence[Finding]) -> dict[str, dict[str, Any]]:
    """What each rule says, and its numbers of findings."""
    kinds = Counter((one.rule, one.severity) for one in findings)
    return {
        rule: {"text": text, "errors": kinds[rule, "error"], "warnings": kinds[rule, "warning"]}
        for rule, text in RULES.items()
    }


def _extremes(parts: Sequence[PieceResult]) -> dict[str, dict[str, Any]]:
    """Largest and smallest value of each variable, with its time and place."""
    rows: dict[str, dict[str, Any]] = {}
    for name, variable in VARIABLES.items():
        for label, sign in (("max", 1), ("min", -1)):
            known = [
                (extreme, part)
                for part in parts
                if (extreme := (part.largest if sign > 0 else part.smallest).get(name))
            ]
            if not known:
                continue
            best, part = max(known, key=lambda one: sign * one[0].value)
            rows.setdefault(name, {"units": variable.units})[label] = {
                "value": best.value,
                "t0": best.t0,
                "lat": part.grid["y"][best.row],
                "lon": part.grid["x"][best.column],
            }
    return rows

"""`compare`: the same data with several backbones, seeds and settings, in one table."""

import csv
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tenkizu.core.config import config_hash, dump_config
from tenkizu.core.errors import ConfigError, TenkizuError
from tenkizu.core.store import atomic, read_json, write_json
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.training import train
from tenkizu.patterns.verification.days import DayTable
from tenkizu.patterns.verification.score_summary import Ranking
from tenkizu.patterns.verification.scores import paired_difference

log = logging.getLogger(__name__)

BACKBONES = ("simple", "resnet_small", "deformable", "convnext_tiny")

COLUMNS = (
    "backbone", "seed", "settings", "parameters", "best_epoch", "best_val_loss", "best_val_map",
    "map_low", "map_high", "macro_f1", "weighted_f1", "difference_to_best", "difference_low",
    "difference_high", "seconds", "out_dir",
)  # fmt: skip
"""Columns of ``compare.csv``; ``NA`` where a row has no such number."""

Track = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class Planned:
    """One training of a comparison.

    Attributes:
        config: the run, in a folder named by backbone and configuration hash.
        settings: what differs from the common configuration beside backbone and seed.
    """

    config: PatternsConfig
    settings: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.config.run.dir / self.config.run.name


def plan_runs(
    config: PatternsConfig,
    backbones: Sequence[str],
    seeds: Sequence[int],
    grid: Mapping[str, Sequence[Any]],
    with_settings: Callable[[dict[str, Any]], PatternsConfig],
) -> list[Planned]:
    """Every combination of backbone, seed and settings.

    Args:
        config: what all runs share; their folders go into its run folder.
        backbones: names.
        seeds: of weights and order.
        grid: values of each setting, by dotted key.
        with_settings: the common configuration with other settings, checked.
    """
    parent = config.run.dir / config.run.name
    planned = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        for backbone, seed in itertools.product(backbones, seeds):
            chosen = with_settings({"model.backbone": backbone, "train.seed": seed, **settings})
            body = chosen.model_dump(mode="json", exclude={"run", "download"})
            name = f"{backbone.replace(':', '_')}_{config_hash(body)}"
            run = chosen.run.model_copy(update={"dir": parent, "name": name})
            planned.append(Planned(chosen.model_copy(update={"run": run}), settings))
    return planned


def finished(run: Planned) -> bool:
    """Whether an equal run has ended well."""
    written = run.folder / "config.yaml"
    return (
        (run.folder / "model.json").exists()
        and (run.folder / "val_report.json").exists()
        and written.exists()
        and written.read_text(encoding="utf-8") == dump_config(run.config)
    )


def compare(
    runs: Sequence[Planned], output: Path, track: Track | None = None
) -> list[dict[str, Any]]:
    """Train what is not trained yet and write ``compare.csv`` and ``compare.json``.

    Args:
        runs: from `plan_runs`.
        output: folder of the tables.
        track: shows progress of preparing.

    Returns:
        One row a run in the plan's order, then means over seeds, then baselines. A run that failed
        has ``error``.

    Raises:
        ConfigError: there is nothing to compare.
    """
    if not runs:
        raise ConfigError("nothing to compare", expected="at least one backbone and seed")
    rows: list[dict[str, Any]] = []
    tables: list[DayTable | None] = []
    for run in runs:
        row: dict[str, Any] = {
            "backbone": run.config.model.backbone,
            "seed": run.config.train.seed,
            "settings": " ".join(f"{k}={v}" for k, v in run.settings.items()),
            "out_dir": str(run.folder),
        }
        rows.append(row)
        try:
            if finished(run):
                log.info("%s is trained already", run.folder)
            else:
                train(run.config, resume=True, track=track)
            row |= _measured(run)
            tables.append(DayTable.from_csv(run.folder / "probabilities_validation.csv"))
        except Exception as error:
            # Hours of other runs must not be lost to a fault in one of them.
            log.error(
                "%s failed: %s",
                run.folder.name,
                error,
                exc_info=not isinstance(error, TenkizuError),
            )
            row["error"] = str(error)
            tables.append(None)
    _add_differences(rows, tables)
    result = [*rows, *_means(rows), *_baselines(runs, rows)]
    write_json(output / "compare.json", {"columns": COLUMNS, "rows": result})
    _write_csv(output / "compare.csv", result)
    return result


def _measured(run: Planned) -> dict[str, Any]:
    """Numbers of a finished run, on its validation days."""
    scores = read_json(run.folder / "evaluation" / "validation" / "scores.json", "scores")
    model = read_json(run.folder / "model.json", "a model")
    history = read_json(run.folder / "history.json", "a training history")
    interval = scores["intervals"]["map"]
    networks = history["members"].values() if "members" in history else [history]
    return {
        "parameters": model["parameters"],
        "best_epoch": history["best_epoch"],
        "best_val_loss": history["best_val_loss"],
        "best_val_map": scores["map"],
        "map_low": interval[0],
        "map_high": interval[1],
        "macro_f1": scores["macro_f1"],
        "weighted_f1": scores["averages"]["weighted"]["f1"],
        "provenance": scores["provenance"],
        "ranking": scores["ranking"],
        "seconds": sum(sum(one["seconds"]) for one in networks),
    }


def _add_differences(rows: list[dict[str, Any]], tables: Sequence[DayTable | None]) -> None:
    """MAP of each run less that of the best, on the same resampled days."""
    known = [i for i, row in enumerate(rows) if row.get("best_val_map") is not None]
    if not known:
        return
    best = max(known, key=lambda i: rows[i]["best_val_map"])
    reference = tables[best]
    for i in known:
        own = tables[i]
        if i == best or own is None or reference is None:
            continue
        # The calibrated probability of a single network ranks (nearly) like its own.
        pooled = "calibrated" in (rows[i]["ranking"], rows[best]["ranking"])
        ranking: Ranking = "calibrated" if pooled else "raw"
        found = paired_difference(own, reference, ranking=ranking)["map"]
        rows[i] |= {
            "difference_to_best": found["value"],
            "difference_low": found["low"],
            "difference_high": found["high"],
        }


def _means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds of each backbone and settings."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("best_val_map") is not None:
            groups.setdefault((row["backbone"], row["settings"]), []).append(row)
    result = []
    for (backbone, settings), members in groups.items():
        if len(members) < 2:
            continue
        for name, of in (("mean", np.mean), ("sd", lambda v: np.std(v, ddof=1))):
            numbers = {
                key: float(of([row[key] for row in members]))
                for key in ("best_val_loss", "best_val_map", "macro_f1", "weighted_f1", "seconds")
            }
            head = {"backbone": backbone, "seed": name, "settings": settings}
            result.append(head | numbers)
    return result


def _baselines(runs: Sequence[Planned], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The baselines as rows; they are the same for all runs on the same days."""
    for run, row in zip(runs, rows, strict=True):
        if row.get("best_val_map") is not None:
            scores = read_json(run.folder / "evaluation" / "validation" / "scores.json", "scores")
            return [
                {"backbone": f"({name})", "best_val_map": baseline["map"]}
                for name, baseline in scores["baselines"].items()
                if "map" in baseline
            ]
    return []


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Six decimals, ``NA`` where a number is absent."""

    def text(value: object) -> str:
        if value is None:
            return "NA"
        return f"{value:.6f}" if isinstance(value, float) else str(value)

    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([text(row.get(column)) for column in COLUMNS] for row in rows)

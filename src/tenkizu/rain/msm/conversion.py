"""`convert`: GRIB2 files of MSM forecasts to monthly NetCDF."""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tenkizu import __version__
from tenkizu.core.errors import DataError
from tenkizu.core.parallel import WorkerDied, run_tasks, usable_cpus
from tenkizu.core.store import lock_beside, read_json, write_json
from tenkizu.rain.derived_blocks import Track
from tenkizu.rain.msm.config import MsmConfig
from tenkizu.rain.msm.month_plans import MISSING, MonthPlan, plan_months
from tenkizu.rain.msm.monthly_writing import join_parts, model_grid, read_part
from tenkizu.rain.msm.packing_task import PackTask, pack

log = logging.getLogger(__name__)

TIMEOUT_S = 600.0
"""After this the process of an initial time is taken for hung; a second is usual."""

_TITLE = "Forecasts of JMA's Mesoscale Model (MSM) around the hours 3 to 6 after the initial time"
_SOURCE = (
    "Japan Meteorological Agency, MSM GPV, GRIB2: surface fields and rain as issued, fields on "
    "pressure levels from 0.1 x 0.125 degrees, bilinear"
)


@dataclass(frozen=True)
class MonthReport:
    """What became of a month.

    Attributes:
        name: such as 201801.
        path: the file; None if no initial time could be used.
        state: ``written``, ``up to date`` or ``empty``.
        converted: initial times in the file.
        expected: eight for each day.
        missing: entries of ``missing.json``.
    """

    name: str
    path: Path | None
    state: str
    converted: int
    expected: int
    missing: list[dict[str, Any]]


@dataclass(frozen=True)
class ConversionReport:
    """What became of all months, and where missing initial times are listed."""

    months: list[MonthReport]
    missing_file: Path


def convert(
    config: MsmConfig,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    track: Track | None = None,
) -> ConversionReport:
    """Write monthly NetCDF files from GRIB2 files, each initial time in a process that may die.

    Initial times are packed one by one into a hidden folder beside the month, where the next run
    finds them after an interruption. Those that are incomplete or cannot be read are left out and
    listed in ``missing.json`` with the reason. A month that is finished is left alone.

    Args:
        config: folders and settings.
        workers: processes; by default one for each processor.
        scheduler: address of a Dask scheduler, in place of processes here.
        overwrite: replace months made from other settings or files, and try again those in which
            an initial time could not be read.
        track: shows progress.

    Raises:
        ConfigError: the configuration names no GRIB2 files, or the scheduler does not answer.
        DataError: there is no MSM file, another run is at work, a month made from other settings
            or files is there, or not one initial time can be read; with ``strict``, an initial
            time is incomplete or cannot be read.
    """
    folder = config.monthly_dir.expanduser().resolve()
    with lock_beside(folder) as held:
        plans = plan_months(config, overwrite)
        finished = {plan.name for plan in plans if plan.finished}
        done: set[str] = set()
        try:
            for plan in _pack_all(plans, config, workers or usable_cpus(), scheduler, track):
                _join(plan, config)
                done.add(plan.name)
        finally:
            # Also of the months written before an interruption or an error.
            known = [plan for plan in plans if plan.name in done | finished]
            _write_missing(folder / MISSING, known)
            Path(held.name).unlink(missing_ok=True)
    reports = [_report(plan, plan.name in finished) for plan in plans]
    if not any(report.path for report in reports):
        reasons = [e["reason"] for plan in plans for e in plan.missing.values()]
        raise DataError(
            "not one initial time could be converted",
            file=config.grib_dir,
            found=next((reason for reason in reasons if reason != "no file"), None),
            next_step=f"see {folder / MISSING}",
        )
    return ConversionReport(reports, folder / MISSING)


def _pack_all(
    plans: list[MonthPlan],
    config: MsmConfig,
    workers: int,
    scheduler: str | None,
    track: Track | None,
) -> Iterator[MonthPlan]:
    """Pack initial times that are not yet packed, and yield each month when all of its are."""
    tasks: list[PackTask] = []
    waiting: dict[str, set[np.datetime64]] = {}
    for plan in (plan for plan in plans if not plan.finished):
        todo = _tasks(plan, config)
        waiting[plan.name] = {task.files.t0 for task in todo}
        tasks += todo
        if not todo:
            yield plan
    by_month = {plan.month: plan for plan in plans}
    for last in (False, True):
        if not tasks:
            return
        again: list[PackTask] = []
        began = time.monotonic()
        shown = track(tasks, "converting") if track else tasks
        results = run_tasks(pack, tasks, workers, scheduler, TIMEOUT_S)
        for done, (_, (i, outcome)) in enumerate(zip(shown, results, strict=False), 1):
            task = tasks[i]
            plan = by_month[task.files.t0.astype("datetime64[M]")]
            if isinstance(outcome, WorkerDied) and not last:
                # Perhaps memory was short: once more, when the others are done.
                again.append(task)
                continue
            if isinstance(outcome, Exception):
                _leave_out(plan, task, outcome, config.strict)
            waiting[plan.name].remove(task.files.t0)
            if not waiting[plan.name]:
                yield plan
                left = (time.monotonic() - began) / done * (len(tasks) - done)
                log.info("%d of %d initial times, %.0f s left", done, len(tasks), left)
        tasks = again


def _tasks(plan: MonthPlan, config: MsmConfig) -> list[PackTask]:
    """What is left to be packed of a month."""
    tasks = []
    for one in plan.ready:
        path, key = plan.part(one.t0), plan.keys[one.t0]
        if read_part(path).get("key") != key:
            tasks.append(
                PackTask(one, path, key, config.following, config.crop, config.compression)
            )
    return tasks


def _leave_out(plan: MonthPlan, task: PackTask, error: Exception, strict: bool) -> None:
    """List an initial time that could not be packed; raise what is not its own fault."""
    label = str(task.files.t0.astype("datetime64[h]"))
    if isinstance(error, OSError):
        raise DataError(
            f"cannot be written: {error.strerror or error}",
            file=task.path,
            next_step="run the same command again when there is room; it goes on from here",
        ) from error
    if strict:
        raise DataError(
            f"the initial time cannot be read: {error}",
            variable=label,
            next_step="fetch its files again, or list it in missing.json with "
            "data.msm.strict=false",
        ) from error
    reason = str(error).splitlines()[0]
    if isinstance(error, WorkerDied):
        reason += " (" + ", ".join(path.name for path in task.files.files.values()) + ")"
    log.warning("%s is left out: %s", label, reason)
    plan.miss(task.files.t0, reason)


def _join(plan: MonthPlan, config: MsmConfig) -> None:
    """Write a month from its packed initial times."""
    times = [one.t0 for one in plan.ready if one.t0 not in plan.missing]
    if not times:
        return
    parts = [plan.part(t0) for t0 in times]
    attributes = {
        "title": _TITLE,
        "source": _SOURCE,
        # Without the date, so that the same input makes the same bytes.
        "history": f"tenkizu {__version__} rain convert, configuration {plan.config_hash}",
        "tenkizu_version": __version__,
        "config_hash": plan.config_hash,
        "inputs_hash": plan.inputs_hash,
        "negatives_zeroed": np.int64(sum(int(read_part(p)["negatives_zeroed"]) for p in parts)),
    }
    grid = model_grid(config.crop)
    join_parts(plan.path, parts, np.array(times), grid, config.compression, attributes)
    shutil.rmtree(plan.parts_folder, ignore_errors=True)
    log.info("%s: %d of %d initial times", plan.path, len(times), len(plan.expected))


def _report(plan: MonthPlan, finished: bool) -> MonthReport:
    entries = [plan.missing[t0] for t0 in sorted(plan.missing)]
    converted = sum(one.t0 not in plan.missing for one in plan.ready)
    state = "up to date" if finished else "written" if converted else "empty"
    path = plan.path if converted else None
    return MonthReport(plan.name, path, state, converted, len(plan.expected), entries)


def _write_missing(path: Path, plans: Sequence[MonthPlan]) -> None:
    """List what is missing in these months; what is known of others stays."""
    months = read_json(path, "a list of missing initial times")["months"] if path.exists() else {}
    for report in (_report(plan, plan.finished) for plan in plans):
        months[report.name] = {
            "expected": report.expected,
            "converted": report.converted,
            "missing": report.missing,
        }
    write_json(path, {"months": dict(sorted(months.items()))})

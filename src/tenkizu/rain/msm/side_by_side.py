"""The months of a store in several processes, or on a cluster, however many of them die."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tenkizu.core.errors import DataError
from tenkizu.core.parallel import WorkerDied, run_tasks, usable_cpus
from tenkizu.core.store import StoreWriter
from tenkizu.rain.derived_blocks import Track
from tenkizu.rain.msm.month_blocks import Month, MonthBlocks, StorePlan

log = logging.getLogger(__name__)

TRIES = 3
"""How often a month is begun whose process dies."""

_SMALL_JOB_BYTES = 2e9


@dataclass(frozen=True)
class MonthTask:
    """All that a process needs to make a month.

    Attributes:
        folder: the unfinished store.
        plan: of the store.
        month: which.
        parent: the process this one works for, if it is on the same machine.
    """

    folder: Path
    plan: StorePlan
    month: Month
    parent: int | None


class _FolderWriter(StoreWriter):
    """Writes blocks of a store that another process builds; that one holds its lock."""

    def __init__(self, part: Path) -> None:
        self.part = part


def make_month(task: MonthTask) -> None:
    """Write the blocks of a month, but for those that are there.

    Raises:
        DataError: its file cannot be used.
    """

    def watch(items: Iterable[Any], _: str) -> Iterator[Any]:
        for item in items:
            # If the process this one works for was killed, another run may be at work by now.
            if task.parent not in (None, os.getppid(), os.getpid()):
                os._exit(1)
            yield item

    MonthBlocks(_FolderWriter(task.folder), task.plan, watch).add(task.month, 0)


def make_months(
    folder: Path,
    plan: StorePlan,
    months: Sequence[Month],
    workers: int,
    scheduler: str | None,
    track: Track,
) -> None:
    """Write the blocks of all months, a month a task.

    Args:
        folder: the unfinished store.
        plan: of the store.
        months: of the store.
        workers: processes of this machine.
        scheduler: address of a Dask scheduler, in place of processes.
        track: shows progress.

    Raises:
        ConfigError: the scheduler does not answer.
        DataError: a month cannot be made, or its process died every time.
    """
    folder, parent = folder.absolute(), os.getpid() if scheduler is None else None
    left = [
        MonthTask(folder, plan, replace(month, path=month.path.absolute()), parent)
        for month in months
    ]
    for _ in range(TRIES):
        died = []
        shown = track(left, f"preparing {left[0].month.name} to {left[-1].month.name}")
        outcomes = run_tasks(make_month, left, workers, scheduler)
        for _, (i, outcome) in zip(shown, outcomes, strict=False):
            if isinstance(outcome, WorkerDied | BrokenExecutor):
                log.warning("the process of %s died: %s", left[i].month.name, outcome)
                died.append(left[i])
            elif isinstance(outcome, Exception):
                raise outcome
        for torn in folder.glob(".*.part.*"):
            torn.unlink()
        left = sorted(died, key=lambda task: task.month.name)
        if not left:
            return
    raise DataError(
        "the processes that make the store died again and again",
        found=f"{TRIES} times, in {', '.join(task.month.name for task in left)}",
        next_step="look for a lack of memory (dmesg) or of room on the disk (df), or take fewer "
        "processes: --workers 1; finished months are kept",
    )


def workers_for(plan: StorePlan, months: Sequence[Month], wanted: int | None) -> int:
    """Processes of this machine for these months.

    Args:
        plan: of the store.
        months: of the store.
        wanted: so many, but not more than months; None for all processors, if the work is worth
            starting them.
    """
    if wanted is None:
        size = plan.sample_bytes * sum(len(month.picked) for month in months)
        wanted = usable_cpus() if size > _SMALL_JOB_BYTES else 1
    return min(wanted, len(months))

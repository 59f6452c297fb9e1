"""The blocks of a store in several processes, or on a cluster, however many of them die."""

import logging
import os
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import replace

from tenkizu.core.errors import DataError
from tenkizu.core.parallel import WorkerDied, run_tasks, usable_cpus
from tenkizu.patterns.blocks import BLOCK_DAYS
from tenkizu.patterns.downloaded_inputs import require_same_bytes
from tenkizu.patterns.physics.derive import required
from tenkizu.patterns.year_store import BLOCKS, BlockTask, make_block

log = logging.getLogger(__name__)

LogLine = tuple[str, int, str]
"""Logger, level and text."""

MEMORY_LIMIT = 1.8e9
"""Bytes for all processes together when their number is not given."""

TRIES = 3
"""How often a block is begun whose process dies."""

_PARENT_BYTES = 100e6
_PROCESS_BYTES = 250e6  # the program and what HDF5 keeps of the files it reads
_SMALL_JOB_BYTES = 300e6


def made(
    tasks: Sequence[BlockTask], workers: int, scheduler: str | None = None
) -> Generator[BlockTask]:
    """Make blocks and yield each task that is done, in any order.

    Args:
        tasks: the blocks to be made.
        workers: processes of this machine; 1 for this process.
        scheduler: address of a Dask scheduler, in place of processes.

    Raises:
        DataError: a block cannot be made, a file is not what was downloaded, or the process of a
            block died every time.
    """
    if scheduler is None and workers == 1:
        for task in tasks:
            _make(task)
            yield task
        return
    parent = os.getpid() if scheduler is None else None
    left = [replace(task, parent=parent) for task in tasks]
    for _ in range(TRIES):
        died = []
        for i, outcome in run_tasks(make_block_elsewhere, left, workers, scheduler):
            if isinstance(outcome, WorkerDied | BrokenExecutor):
                log.warning("the process of days %s died: %s", _days(left[i]), outcome)
                died.append(left[i])
                continue
            if isinstance(outcome, Exception):
                raise outcome
            for name, level, text in outcome:
                logging.getLogger(name).log(level, text)
            yield left[i]
        left = died
        if not left:
            return
    raise DataError(
        "the processes that make the store died again and again",
        found=f"{TRIES} times, {len(left)} blocks of days left, the first {_days(left[0])}",
        next_step="look for a lack of memory (dmesg), or take fewer processes: --workers 1; "
        "finished days are kept",
    )


def make_block_elsewhere(task: BlockTask) -> list[LogLine]:
    """Make a block in another process; returns what it logged."""
    lines: list[LogLine] = []
    thread = threading.get_ident()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:  # a Dask worker may run several tasks
                lines.append((record.name, record.levelno, record.getMessage()))

    logger, keep = logging.getLogger("tenkizu"), Keep(logging.INFO)
    logger.setLevel(logging.INFO)
    logger.addHandler(keep)
    try:
        _make(task)
    finally:
        logger.removeHandler(keep)
    return lines


def _make(task: BlockTask) -> None:
    """`make_block` of files that are still what was downloaded."""
    require_same_bytes(task.source.files_at(task.block.times), task.folder / BLOCKS)
    make_block(task)


def worker_bytes(task: BlockTask) -> float:
    """Anonymous memory of a process that makes blocks: itself, native, derived and coarse maps."""
    source, fields = task.source, task.fields
    height, width = source.grid.shape
    written = (*fields.maps, *fields.also, *fields.static)
    maps = 8 * len({*required(written, source.names), *written}) * height * width
    return _PROCESS_BYTES + 1.3 * min(BLOCK_DAYS, len(task.block.times)) * maps


def workers_for(tasks: Sequence[BlockTask], wanted: int | None) -> int:
    """Processes of this machine for these tasks.

    Args:
        tasks: blocks that are not done.
        wanted: so many, but not more than tasks; None for all processors, as far as the memory of
            all processes stays below `MEMORY_LIMIT` and the work is worth starting them.
    """
    most = max(1, len(tasks))
    if wanted is not None or most == 1:
        return min(wanted or 1, most)
    fields = tasks[0].fields
    if sum(len(task.block.times) for task in tasks) * len(fields.maps) * fields.map_bytes < (
        _SMALL_JOB_BYTES
    ):
        return 1
    cpus = min(usable_cpus(), most)
    fit = max(1, int((MEMORY_LIMIT - _PARENT_BYTES) / worker_bytes(tasks[0])))
    if fit < cpus:
        log.info(
            "%d of %d processes: each needs %.0f MB, and %.1f GB are for all; more with --workers",
            fit,
            cpus,
            worker_bytes(tasks[0]) / 1e6,
            MEMORY_LIMIT / 1e9,
        )
    return min(cpus, fit)


def _days(task: BlockTask) -> str:
    times = task.block.times.astype("datetime64[D]")
    return f"{times[0]} to {times[-1]}"

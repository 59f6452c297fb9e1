"""Tasks side by side: in processes of this machine, or on a Dask cluster.

A task that fails, or whose process dies or hangs, comes back as that error; the others go on.
"""

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from typing import Any, TypeVar

from tenkizu.core.errors import ConfigError, DataError

T = TypeVar("T")

log = logging.getLogger(__name__)


class WorkerDied(DataError):
    """The process of a task ended or hung; `run_tasks` gives this as the task's result."""


def usable_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    function: Callable[[T], Any],
    tasks: Sequence[T],
    workers: int = 1,
    scheduler: str | None = None,
    timeout: float | None = None,
) -> Iterator[tuple[int, Any]]:
    """Call ``function`` on every task and yield results as they come.

    Args:
        function: importable by name, since another process calls it; so must its arguments be.
        tasks: its argument, one each.
        workers: processes of this machine; they are started afresh, not forked.
        scheduler: address of a Dask scheduler such as ``tcp://host:8786``, in place of processes
            here. Workers must see the same files under the same names.
        timeout: seconds after which a task in a process of this machine is ended.

    Yields:
        The position of a task and what ``function`` returned or raised for it; `WorkerDied` when
        its process did not live to say so. Exceptions that are no `Exception`, such as
        KeyboardInterrupt, are raised.

    Raises:
        ConfigError: the scheduler cannot be reached, or Dask is not installed.
    """
    if scheduler is not None:
        yield from _on_cluster(function, tasks, scheduler)
    else:
        yield from _in_processes(function, tasks, workers, timeout)


def _in_processes(
    function: Callable[[T], Any], tasks: Sequence[T], workers: int, timeout: float | None
) -> Iterator[tuple[int, Any]]:
    from pebble import ProcessExpired, ProcessPool

    pool = ProcessPool(
        max_workers=max(1, min(workers, len(tasks))),
        context=multiprocessing.get_context("spawn"),
    )
    try:
        waiting: dict[Future[Any], int] = {
            pool.schedule(function, args=(task,), timeout=timeout): i
            for i, task in enumerate(tasks)
        }
        pool.close()
        for future in as_completed(waiting):
            outcome = future.exception()
            if isinstance(outcome, ProcessExpired):
                outcome = WorkerDied(
                    "the process of a task ended", found=f"exit {outcome.exitcode}"
                )
            elif timeout is not None and isinstance(outcome, TimeoutError):
                outcome = WorkerDied("a task took too long", found=f"more than {timeout:g} s")
            elif outcome is not None and not isinstance(outcome, Exception):
                raise outcome
            yield waiting[future], future.result() if outcome is None else outcome
    finally:
        # Also when the caller stops listening or is interrupted: leave no process behind.
        pool.stop()
        pool.join()


def _on_cluster(
    function: Callable[[T], Any], tasks: Sequence[T], scheduler: str
) -> Iterator[tuple[int, Any]]:
    try:
        from distributed import Client, KilledWorker
        from distributed import as_completed as finished
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a cluster needs Dask, which is not installed",
            variable="scheduler",
            next_step="pip install 'tenkizu[cluster]'",
        ) from error
    try:
        client = Client(scheduler, timeout=10, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(
            "the Dask scheduler does not answer",
            variable="scheduler",
            found=scheduler,
            expected="an address such as tcp://host:8786",
            next_step="start one with `dask scheduler`, and workers with `dask worker ADDRESS`",
        ) from error
    with client:
        log.info("cluster %s: %d workers", scheduler, len(client.scheduler_info()["workers"]))
        futures = client.map(function, tasks, pure=False, retries=0)
        position = {future.key: i for i, future in enumerate(futures)}
        try:
            for future in finished(futures, loop=client.loop):
                outcome = future.exception()
                if isinstance(outcome, KilledWorker):
                    outcome = WorkerDied("the workers of a task died", found=str(outcome))
                yield position[future.key], future.result() if outcome is None else outcome
        finally:
            client.cancel(futures)

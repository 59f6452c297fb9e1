"""Work in a process of its own: its time, and the anonymous memory of it and its children."""

import importlib
import multiprocessing
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock and of all processors together, and MB of RssAnon at the highest."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def in_a_process(work, *args, imports=()):
    """What ``work``, a function of a module, costs in a new process, without the imports.

    Memory is RssAnon summed over the process and its descendants, sampled every 20 ms.
    """
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_timed, args=(theirs, work, args, imports))
    process.start()
    theirs.close()
    peak, done = 0.0, threading.Event()

    def sample():
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, sum(map(anonymous_mb, family(process.pid or 0))))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        seconds, cpu_seconds = mine.recv()
    finally:
        done.set()
        sampler.join()
        process.join()
    return Cost(seconds, cpu_seconds, peak)


def _timed(pipe, work, args, imports):
    for module in imports:
        importlib.import_module(module)
    began, cpu = time.perf_counter(), time.process_time()
    work(*args)
    pipe.send((time.perf_counter() - began, time.process_time() - cpu))


def family(pid):
    """A process and all its descendants."""
    members = [pid]
    for parent in members:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            members += map(int, children.read_text().split())
    return members


def anonymous_mb(pid):
    """RssAnon of a process in MB; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3

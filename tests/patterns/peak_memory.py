"""Work in a process of its own, with the anonymous memory that it and its children take."""

import multiprocessing
import threading
import time
from pathlib import Path


def in_a_process(work, *args):
    """Seconds of ``work`` in a new process, imports apart, and its peak anonymous memory in MB.

    Memory is RssAnon summed over the process and its descendants, sampled every 20 ms. ``work``, a
    function of a module, may return its own seconds.
    """
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_timed, args=(theirs, work, args))
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
        seconds = float(mine.recv())
    finally:
        done.set()
        sampler.join()
        process.join()
    return seconds, peak


def _timed(pipe, work, args):
    began = time.perf_counter()
    taken = work(*args)
    pipe.send(taken or time.perf_counter() - began)


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

"""Tasks side by side: results, failures, deaths, and what is left when the caller stops."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import distributed
import pytest

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.parallel import WorkerDied, run_tasks, usable_cpus


def square(number):
    return number * number


def whatever(task):
    """Does what it is told, in a process of its own."""
    if task == "refuse":
        raise DataError("no such month", file="201802.nc")
    if task == "die":
        os._exit(7)
    if task == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "hang":
        time.sleep(600)
    return f"{task} in {os.getpid()}"


def outcomes(tasks, **how):
    return dict(run_tasks(whatever, tasks, **how))


def test_every_result_comes_back_with_its_position():
    found = list(run_tasks(square, [3, 1, 2], workers=2))
    assert sorted(found) == [(0, 9), (1, 1), (2, 4)]


def test_no_task_gives_nothing():
    assert list(run_tasks(square, [])) == []


def test_one_that_fails_dies_crashes_or_hangs_takes_no_other_along():
    tasks = ["good", "refuse", "die", "crash", "hang", "good", "good"]
    found = outcomes(tasks, workers=3, timeout=3.0)
    assert sorted(found) == list(range(7))
    for position in (0, 5, 6):
        assert found[position].startswith("good in ")
        assert str(os.getpid()) not in found[position]
    assert isinstance(found[1], DataError)
    assert "201802.nc" in str(found[1])
    for position, words in ((2, "exit 7"), (3, "exit -11"), (4, "more than 3 s")):
        assert isinstance(found[position], WorkerDied), found[position]
        assert words in str(found[position])
        assert found[position].exit_code == 3


def test_a_caller_that_stops_listening_leaves_no_process():
    results = run_tasks(whatever, ["good", "hang", "hang", "hang"], workers=2)
    assert next(results)[0] == 0
    started = multiprocessing.active_children()
    assert started
    results.close()
    assert not any(child.is_alive() for child in started)


INTERRUPTED = """
import signal
import sys
sys.path.insert(0, {folder!r})
from test_parallel import whatever
from tenkizu.core.parallel import run_tasks

# A shell that starts tests in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if __name__ == "__main__":
    for position, outcome in run_tasks(whatever, ["good", "hang", "hang"], workers=2):
        print(outcome, flush=True)
"""


def test_an_interrupt_leaves_no_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED.format(folder=os.path.dirname(__file__)))
    # A group of its own, as a terminal gives a command: whatever stays behind is in it.
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline().startswith("good in ")
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
        assert process.returncode != 0
        assert "KeyboardInterrupt" in errors
        # The tracker that Python starts with them notices the end of its parent a little later.
        end = time.monotonic() + 5
        while running(process.pid) and time.monotonic() < end:
            time.sleep(0.02)
        assert not running(process.pid)


def running(group):
    """Whether a group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_at_least_one_processor():
    assert 1 <= usable_cpus() <= os.cpu_count()


# ---------------------------------------------------------------------------- Dask


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two worker processes on this machine."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit=0,
        env={"PYTHONPATH": os.path.dirname(__file__)},
    ) as cluster:
        yield cluster.scheduler_address


def test_a_cluster_gives_results_and_exceptions(cluster):
    found = outcomes(["good", "refuse", "good", "good"], scheduler=cluster)
    assert sorted(found) == [0, 1, 2, 3]
    assert isinstance(found[1], DataError)
    assert "201802.nc" in str(found[1])
    for position in (0, 2, 3):
        assert found[position].startswith("good in ")
        assert str(os.getpid()) not in found[position]


def test_a_task_that_kills_workers_is_told_and_the_others_go_on(cluster):
    found = outcomes(["good", "die", "good"], scheduler=cluster)
    assert isinstance(found[1], WorkerDied)
    assert found[0].startswith("good in ")
    assert found[2].startswith("good in ")


def test_a_scheduler_that_is_not_there_is_a_wrong_setting(monkeypatch):
    # One second of waiting in place of ten.
    real = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda at, **how: real(at, **how | {"timeout": 1}))
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConfigError, match="does not answer") as caught:
        outcomes(["good"], scheduler=address)
    assert address in str(caught.value)


def test_an_address_that_is_none_is_a_wrong_setting():
    with pytest.raises(ConfigError, match="does not answer"):
        outcomes(["good"], scheduler="over there")

"""Where a process stands, where its log goes, and what a run reports when it ends."""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.launch import Place, log_to, log_to_terminal, processes, supervised
from tenkizu.core.run_config import RunConfig, TrainConfig

LOGGERS = ("tenkizu", "pytorch_lightning", "lightning.pytorch", "lightning_fabric")


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(one.handlers, one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.handlers = []
    yield
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        for handler in one.handlers:
            handler.close()
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


# Place


@pytest.fixture
def launched(monkeypatch):
    """Set the environment of a process that torchrun started."""

    monkeypatch.delenv("TENKIZU_CHILD", raising=False)

    def launch(rank, world, local_world):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local_world))

    return launch


def test_process_without_a_launcher_is_alone(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert Place.here() == Place(rank=0, world=1, local_world=1)


def test_variables_that_other_tools_leave_behind_are_no_launcher(monkeypatch, launched):
    launched(3, 8, 4)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert Place.here() == Place(0, 1, 1)


def test_place_is_read_from_the_launcher(monkeypatch, launched):
    launched(rank=5, world=8, local_world=4)
    assert Place.here() == Place(rank=5, world=8, local_world=4, child=False)
    monkeypatch.setenv("TENKIZU_CHILD", "1")  # set by run_processes
    assert Place.here() == Place(rank=5, world=8, local_world=4, child=True)


@pytest.mark.parametrize(
    ("gpus", "devices", "count"), [(0, "auto", 1), (4, "auto", 4), (0, 2, 2), (4, 2, 2), (4, 4, 4)]
)
def test_one_process_for_each_gpu_unless_told_otherwise(monkeypatch, gpus, devices, count):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert processes(TrainConfig(devices=devices)) == count


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"train\.devices: .*found 3, expected 2"):
        processes(TrainConfig(devices=3))


# Logs


def test_log_goes_to_the_run_folder_and_is_appended(tmp_path):
    log_to(tmp_path / "run", 0)
    logging.getLogger("tenkizu.rain").debug("first 雨")
    log_to(tmp_path / "run", 0)
    logging.getLogger("tenkizu.rain").warning("second")
    lines = (tmp_path / "run" / "run.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in lines if "rain" in line] == [
        "DEBUG tenkizu.rain: first 雨",
        "WARNING tenkizu.rain: second",
    ]
    assert sum(f"process {os.getpid()} on " in line for line in lines) == 2


def test_second_run_of_a_process_does_not_write_to_the_log_of_the_first(tmp_path):
    log_to(tmp_path / "first", 0)
    log_to(tmp_path / "second", 0)
    logging.getLogger("tenkizu.rain").info("of the package")
    logging.getLogger("pytorch_lightning.trainer").warning("of lightning")
    first, second = ((tmp_path / name / "run.log").read_text() for name in ("first", "second"))
    assert "of the package" not in first
    assert "of lightning" not in first
    assert second.count("of the package") == second.count("of lightning") == 1


def test_lightning_is_heard_only_when_it_warns(tmp_path):
    log_to(tmp_path, 0)
    for name in LOGGERS[1:]:
        logging.getLogger(name).info("tip")
        logging.getLogger(name).warning("warning of %s", name)
    text = (tmp_path / "run.log").read_text()
    assert "tip" not in text
    assert all(text.count(f"warning of {name}") == 1 for name in LOGGERS[1:])


def test_rank_0_is_shown_in_the_terminal_too_and_other_ranks_are_not(tmp_path, capsys):
    for rank in (0, 1):
        log_to_terminal(verbose=False)
        log_to(tmp_path, rank)
        logging.getLogger("tenkizu.rain").info("epoch 1 on rank %d", rank)
        logging.getLogger("tenkizu.rain").debug("detail on rank %d", rank)
    shown = capsys.readouterr().err
    assert "epoch 1 on rank 0" in shown
    assert "detail" not in shown
    assert "rank 1" not in shown
    own, other = ((tmp_path / name).read_text() for name in ("run.log", "run.rank1.log"))
    assert "epoch 1 on rank 0" in own
    assert "detail on rank 0" in own
    assert "epoch 1 on rank 1" in other
    assert "rank 1" not in own


# The end of a run

TELL = 'printf "%s\\n%s\\n%s" "$TENKIZU_STATUS" "$TENKIZU_RUN_DIR" "$TENKIZU_MESSAGE" > told'


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose on_finish writes its outcome to the file ``told``."""
    monkeypatch.chdir(tmp_path)
    return RunConfig(name="demo", dir=Path("runs"), on_finish=TELL)


def told(folder):
    status, run_dir, message = (folder / "told").read_text(encoding="utf-8").split("\n", 2)
    assert run_dir == str(folder / "runs" / "demo")
    return status, message


def raising(error):
    def work():
        raise error

    return work


def test_finished_run_is_reported(run, tmp_path):
    assert supervised(run, lambda: Path("runs/demo")) == Path("runs/demo")
    assert told(tmp_path) == ("finished", "run demo finished")


def test_expected_error_is_reported_with_its_whole_message_and_raised(run, tmp_path):
    error = DataError("雨 in furlongs", file="$HOME/`rain`.nc", next_step="use 'mm'")
    with pytest.raises(DataError) as caught:
        supervised(run, raising(error))
    assert caught.value is error
    assert told(tmp_path) == ("failed", str(error))


def test_unexpected_error_is_reported_with_its_type_and_raised(run, tmp_path):
    with pytest.raises(ZeroDivisionError):
        supervised(run, lambda: 1 / 0)
    assert told(tmp_path) == ("failed", "ZeroDivisionError: division by zero")


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(1)])
def test_interruption_is_reported_and_stays_one(run, tmp_path, stop):
    with pytest.raises(KeyboardInterrupt):
        supervised(run, raising(stop))
    assert told(tmp_path) == ("interrupted", "run demo was interrupted; continue with --resume")


def test_nothing_is_called_unless_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", raising(AssertionError("called")))
    run = RunConfig(name="demo", dir=tmp_path)
    assert supervised(run, lambda: tmp_path) == tmp_path


def test_termination_is_handled_as_before_once_the_run_has_ended(run):
    def own_handler(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, own_handler)
    try:
        supervised(run, lambda: Path("runs/demo"))
        with pytest.raises(ZeroDivisionError):
            supervised(run, lambda: 1 / 0)
        assert signal.getsignal(signal.SIGTERM) is own_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_run_in_a_thread_is_reported_too(run, tmp_path):
    thread = threading.Thread(target=supervised, args=(run, lambda: Path("runs/demo")))
    thread.start()
    thread.join()
    assert told(tmp_path)[0] == "finished"


@pytest.mark.parametrize(
    ("command", "warning"),
    [
        ("exit 7", "run.on_finish ended with exit code 7: exit 7"),
        ("no-such-program-here 2>/dev/null", "run.on_finish ended with exit code 127"),
    ],
)
def test_failing_command_is_logged_and_changes_nothing(tmp_path, caplog, command, warning):
    run = RunConfig(name="demo", dir=tmp_path, on_finish=command)
    assert supervised(run, lambda: tmp_path) == tmp_path
    assert warning in caplog.text
    with pytest.raises(DataError, match="too dry"):
        supervised(run, raising(DataError("too dry")))


@pytest.mark.parametrize("message", ["x" * 10**6, "zero \0 byte"], ids=["too long", "zero byte"])
def test_message_that_no_environment_can_hold_does_not_hide_the_error(run, caplog, message):
    with pytest.raises(DataError) as caught:
        supervised(run, raising(DataError(message)))
    assert str(caught.value) == message
    assert "run.on_finish could not be run" in caplog.text


TERMINATED = """
import signal, sys, time
from pathlib import Path
from tenkizu.core.launch import supervised
from tenkizu.core.run_config import RunConfig

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if started by "command &"

def work():
    print("working", flush=True)
    time.sleep(60)

supervised(RunConfig(name="demo", dir=Path("runs"), on_finish=sys.argv[1]), work)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_from_outside_is_reported_as_an_interruption(tmp_path, number):
    command = [sys.executable, "-c", TERMINATED, TELL]
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **options) as process:
        try:
            assert process.stdout.readline() == "working\n"
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert told(tmp_path) == ("interrupted", "run demo was interrupted; continue with --resume")
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")

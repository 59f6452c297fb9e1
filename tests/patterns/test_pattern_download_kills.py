"""Downloads that are killed, interrupted, locked out or out of disk, and how they go on."""

import functools
import os
import pty
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from download_runs import account, contents, era5_config, in_process, store, submissions

from tenkizu.core.config import dump_config
from tenkizu.core.errors import DownloadError
from tenkizu.patterns.download.downloader import download

FOREVER = 10**6


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Files and calls of a download that nobody killed, by the way that they were asked for."""

    @functools.cache
    def fetched(split):
        folder = tmp_path_factory.mktemp(split)
        with pytest.MonkeyPatch.context() as patch, store(patch) as server:
            download(era5_config(folder, split=split))
        return contents(folder / "raw"), len(server.log)

    return fetched


def kill_and_resume(tmp_path, monkeypatch, undisturbed, seed, split="year"):
    """Kill a download after some of its calls, let another finish it, compare."""
    expected, calls = undisturbed(split)
    rng = random.Random(seed)
    moment, later = rng.randrange(1, calls + 1), rng.uniform(0.0, 0.03)
    config = era5_config(tmp_path, split=split)
    with store(monkeypatch) as server:
        process = in_process(config, server)
        while len(server.log) < moment and process.poll() is None:
            time.sleep(0.001)
        time.sleep(later)
        process.kill()
        process.communicate()
        for name, content in contents(tmp_path / "raw").items():
            assert name not in expected or content == expected[name]
        download(config)
        # The killed process may have left half a call behind, which is no fault of the store.
        server.errors.clear()
    assert contents(tmp_path / "raw") == expected
    assert not list((tmp_path / "raw").glob("*part*"))
    assert server.max_in_flight <= 4
    # What the killed run had submitted was picked up, not submitted again.
    assert len(server.jobs) == (3 if split == "year" else 25)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_twice(tmp_path, monkeypatch, undisturbed, seed):
    kill_and_resume(tmp_path, monkeypatch, undisturbed, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 21))
def test_killed_at_random_moments(tmp_path, monkeypatch, undisturbed, seed):
    kill_and_resume(tmp_path, monkeypatch, undisturbed, seed, ("year", "month")[seed % 2])


def test_interrupted_it_ends_within_seconds_and_goes_on(tmp_path, monkeypatch, undisturbed):
    config = era5_config(tmp_path)
    with store(monkeypatch, queue_polls=FOREVER) as server:
        process = in_process(config, server)
        while len(server.calls("POST", "/execution")) < 3:
            time.sleep(0.01)
        time.sleep(0.2)
        with pytest.raises(DownloadError, match="another process downloads into this folder"):
            download(config)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, error = process.communicate(timeout=20)
        assert time.monotonic() - begun < 5
        assert process.returncode == 130
        assert "3 requests under way, which go on at the server" in error
        assert "run the same command again" in error
        assert "Traceback" not in error
        server.queue_polls = 0
        download(config)
        assert submissions(server) == 3
    assert contents(tmp_path / "raw") == undisturbed("year")[0]


@pytest.mark.parametrize("split", ["year", pytest.param("month", marks=pytest.mark.slow)])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, undisturbed, split):
    expected = undisturbed(split)[0]
    config = era5_config(tmp_path, split=split, channels=["msl", "msl_dt24"])
    with store(monkeypatch) as server:
        # Files of more bytes cannot be written: a year, but a month and the day before can.
        process = in_process(
            config,
            server,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
        )
        _, error = process.communicate(timeout=60)
        assert process.returncode == 4
        assert "the disk is full" in error
        assert "Traceback" not in error
        before, months = "era5_msl_2000.nc", 12 if split == "month" else 0
        there = contents(tmp_path / "raw")
        assert len(there) <= 1 + months
        assert there.get(before, expected[before]) == expected[before]
        download(config)
        assert len(server.jobs) == 1 + max(months, 1)
    names = (before, "era5_msl_2001.nc")
    assert contents(tmp_path / "raw") == {name: expected[name] for name in names}


def test_the_table_shows_what_happens(tmp_path, monkeypatch):
    with store(monkeypatch) as server:
        master, slave = pty.openpty()
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        config = tmp_path / "config.yaml"
        config.write_text(dump_config(era5_config(tmp_path)), encoding="utf-8")
        program = Path(__file__).with_name("download_process.py")
        environment = {**os.environ, **account(server)}
        process = subprocess.Popen(
            [sys.executable, program, config], stderr=slave, stdout=subprocess.PIPE, env=environment
        )
        os.close(slave)
        shown = b""
        while block := _read(master):
            shown += block
        output, _ = process.communicate()
        os.close(master)
    assert process.returncode == 0
    assert b"3 files" in output
    assert b"era5_z_500_1000_2001.nc" in shown
    assert b"3 done" in shown
    assert b"submits" not in shown.rpartition(b"3 done")[2]


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""

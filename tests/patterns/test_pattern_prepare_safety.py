"""Interrupted, killed, side by side, on a full disk: the store is the undisturbed one, or none."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from era5_files import edit, write_file
from peak_memory import family
from prepared_stores import SHORT, config_for, content, deadly

from tenkizu.core.config import dump_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.parallel import WorkerDied
from tenkizu.core.store import SampleStore
from tenkizu.patterns import disk_space, preparation, side_by_side
from tenkizu.patterns.preparation import prepare


@pytest.fixture(scope="module")
def two_years(tmp_path_factory):
    """Sixty days around New Year, with the store that an undisturbed run makes of them."""
    folder = tmp_path_factory.mktemp("two")
    dates = np.arange("1999-12-01", "2000-01-30", dtype="datetime64[D]")
    files = []
    for fields in (("msl",), ("sst",), ("tp",), ("u850", "v850"), ("q850",)):
        files.append(folder / f"{fields[0]}.nc")
        write_file(files[-1], fields, dates.astype("datetime64[m]"), 5.0)
    channels = [*SHORT, "sst", "sea_mask", "tp", "mfc850", "vmag850", "f1_season"]
    rules = {"catalogue": "jc", "centre": [35, 135]}

    def config(place):
        return config_for(place, files, rules, channels=channels)

    return config, content(prepare(config(folder)))


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of eight days, so that a tiny year has several, as a real one."""
    monkeypatch.setattr("tenkizu.patterns.year_store.DAYS", 8)
    monkeypatch.setattr("tenkizu.patterns.year_store.SMALL_BYTES", 0)


# ---------------------------------------------------------------------------- interruption


@pytest.mark.parametrize("moment", [1, 5])
def test_an_interrupted_run_goes_on_to_the_same_store(moment, two_years, short_blocks, tmp_path):
    make, expected = two_years
    config, seen = make(tmp_path), []

    def interrupt(items, description):
        for item in items:
            if len(seen) == moment:
                raise KeyboardInterrupt
            seen.append(description)
            yield item

    with pytest.raises(KeyboardInterrupt):
        prepare(config, track=interrupt)
    with pytest.raises(DataError, match="unfinished"):
        SampleStore(config.data.store)
    read = []

    def count(items, description):
        read.append(description)
        return items

    assert content(prepare(config, track=count)) == expected
    # Five blocks, and four: a year that was finished is not read again.
    assert read == (["preparing 1999"] if moment < 4 else []) + ["preparing 2000"]


KILLED = """
import sys
from tenkizu.core.config import load_config
from tenkizu.patterns import year_store
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.preparation import prepare

year_store.DAYS, year_store.SMALL_BYTES = 8, 0
config = load_config(PatternsConfig, sys.argv[1])
print("ready", flush=True)
prepare(config, workers=int(sys.argv[2]))
print("done", flush=True)
"""


def start(config, folder, workers):
    """`prepare` in a process of its own, as far as its first act."""
    yaml = folder / "run.yaml"
    yaml.write_text(dump_config(config))
    command = [sys.executable, "-c", KILLED, str(yaml), str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def undisturbed(two_years, folder, workers):
    """Seconds that prepare takes here when nobody kills it."""
    with start(two_years[0](folder), folder, workers) as process:
        began = time.perf_counter()
        assert process.stdout.read() == "done\n"
        return time.perf_counter() - began


def kill_and_resume(seed, two_years, folder, workers, longest):
    """SIGKILL at a random moment of prepare, then go on; returns whether it came in time."""
    make, expected = two_years
    config = make(folder)
    with start(config, folder, workers) as process:
        time.sleep(random.Random(seed).uniform(0.0, longest))
        process.kill()
        # The processes that worked for it hold this pipe, too: they must all end.
        done = "done" in process.stdout.read()
    assert done or process.returncode == -signal.SIGKILL
    assert content(prepare(config)) == expected
    assert not config.data.store.with_name("store.part").exists()
    return not done


@pytest.mark.parametrize(("seed", "workers", "longest"), [(1, 1, 0.8), (2, 2, 3.0)])
def test_a_killed_run_goes_on_to_the_same_store(
    seed, workers, longest, two_years, short_blocks, tmp_path
):
    kill_and_resume(seed, two_years, tmp_path, workers, longest)


@pytest.mark.slow
def test_twenty_kills(two_years, short_blocks, tmp_path):
    folders = {name: tmp_path / str(name) for name in ("one", "two", *range(20))}
    for folder in folders.values():
        folder.mkdir()
    took = {k: undisturbed(two_years, folders[name], k) for k, name in ((1, "one"), (2, "two"))}
    in_time = 0
    for seed in range(20):
        workers = 1 + seed % 2
        longest = 0.95 * took[workers]
        in_time += kill_and_resume(100 + seed, two_years, folders[seed], workers, longest)
    assert in_time >= 10


def test_finished_blocks_are_not_made_again(two_years, short_blocks, tmp_path, monkeypatch):
    make, expected = two_years
    config, made = make(tmp_path), []
    genuine = side_by_side.make_block

    def count(task):
        if len(made) == 6:
            raise KeyboardInterrupt
        genuine(task)
        made.append((task.block.year, task.block.first))

    monkeypatch.setattr(side_by_side, "make_block", count)
    with pytest.raises(KeyboardInterrupt):
        prepare(config)
    # Eights from 1 January: 2 December is the last day of one, 29 January in the fourth.
    assert made == [("1999", i) for i in (0, 1, 9, 17, 25)] + [("2000", 0)]
    made.clear()
    assert content(prepare(config)) == expected
    assert made == [("2000", 8), ("2000", 16), ("2000", 24)]


# ---------------------------------------------------------------------------- side by side


def workers_of(pid):
    """Processes of a pool that a process has started."""
    command = {p: Path(f"/proc/{p}/cmdline").read_text() for p in family(pid)[1:]}
    return [p for p, text in command.items() if "spawn_main" in text]


@pytest.fixture
def poison(tmp_path, monkeypatch):
    """A file that is gone once a process has been killed in the middle of a block."""
    poison = tmp_path / "poison"
    genuine = preparation.open_source
    monkeypatch.setattr(preparation, "open_source", lambda data: deadly(genuine(data), poison))
    return poison


def test_two_processes_one_of_them_killed(two_years, short_blocks, poison, tmp_path, caplog):
    make, expected = two_years
    store = prepare(make(tmp_path), workers=2)
    assert not poison.exists()
    assert "the process of days 1999-12-" in caplog.text
    assert content(store) == expected
    assert workers_of(os.getpid()) == []


def test_a_block_whose_process_dies_is_made_again(two_years, short_blocks, tmp_path, monkeypatch):
    make, expected = two_years
    given, death = [], [WorkerDied("the process of a task ended", found="exit -9")]

    def die_often(function, tasks, workers, scheduler):
        given.append(len(tasks))
        for i, task in enumerate(tasks):
            if i % 2 == 0 and len(given) < fatal:
                yield i, death[0]
            else:
                yield i, function(task)

    monkeypatch.setattr(side_by_side, "run_tasks", die_often)
    monkeypatch.setattr(os, "getppid", os.getpid)  # all in this process
    fatal = 3
    assert content(prepare(make(tmp_path), workers=2)) == expected
    assert given == [9, 5, 3]
    given.clear()
    # A process that dies with the lock of the pool leaves none of its tasks alive.
    fatal, death[0] = 9, BrokenProcessPool("deadlock")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="died again and again") as caught:
        prepare(make(tmp_path / "b"), workers=2)
    assert "2 blocks of days left, the first 1999-12-02 to 1999-12-02" in str(caught.value)
    assert given == [9, 5, 3]


def test_an_error_in_another_process_is_the_same_error(two_years, short_blocks, tmp_path):
    make, _ = two_years
    config = make(tmp_path)
    holed = tmp_path / "msl.nc"
    dates = np.arange("1999-12-01", "2000-01-30", dtype="datetime64[D]").astype("datetime64[m]")
    write_file(holed, ("msl",), dates, 5.0)
    edit(holed, "msl", at=(50, 3, 3), value=np.nan)
    files = [str(holed), *config.data.files[1:]]
    broken = config.model_copy(update={"data": config.data.model_copy(update={"files": files})})
    with pytest.raises(DataError, match="2000-01-20"):
        prepare(broken, workers=2)
    assert not config.data.store.exists()


def test_a_cluster_of_two_workers_one_of_them_killed(two_years, short_blocks, poison, tmp_path):
    from distributed import LocalCluster

    make, expected = two_years
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    ) as cluster:
        store = prepare(make(tmp_path), scheduler=cluster.scheduler_address)
    assert not poison.exists()
    assert content(store) == expected


def test_a_scheduler_that_is_not_there(two_years, tmp_path, monkeypatch):
    make, _ = two_years
    monkeypatch.setattr("distributed.Client", _refuse)
    with pytest.raises(ConfigError, match="does not answer"):
        prepare(make(tmp_path), scheduler="tcp://127.0.0.1:1")


def _refuse(*_, **__):
    raise OSError("Timed out trying to connect")


def test_processes_are_as_many_as_memory_allows(two_years, short_blocks, tmp_path, monkeypatch):
    make, _ = two_years
    seen = []

    def none(tasks, workers, scheduler):
        seen.append(side_by_side.workers_for(tasks, None))
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("tenkizu.patterns.assembly.made", none)
    monkeypatch.setattr(side_by_side, "usable_cpus", lambda: 64)
    for small, limit in ((3e8, 9e9), (0, 9e9), (0, 1.2e9)):
        monkeypatch.setattr(side_by_side, "_SMALL_JOB_BYTES", small)
        monkeypatch.setattr(side_by_side, "MEMORY_LIMIT", limit)
        with pytest.raises(KeyboardInterrupt):
            prepare(make(tmp_path))
    # Little work is done here; else as many as there are blocks, or as fit.
    assert seen == [1, 9, 4]


# ---------------------------------------------------------------------------- full disk


def previous(two_years, folder):
    """A finished store of other settings, in whose place another is to be made."""
    make, _ = two_years
    config = make(folder)
    few = config.data.model_copy(update={"channels": ["msl"]})
    return config, content(prepare(config.model_copy(update={"data": few})))


LIMITED = """
import resource, sys
from tenkizu.core.config import load_config
from tenkizu.core.errors import TenkizuError
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.preparation import prepare

config = load_config(PatternsConfig, sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    prepare(config, overwrite=True, workers=int(sys.argv[2]))
except TenkizuError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("share", [0.1, pytest.param(0.8, marks=pytest.mark.slow)])
def test_a_full_disk_leaves_the_store_that_was_there(share, two_years, tmp_path):
    """A limit on the size of files, met by the maps or, later, by the NetCDF."""
    config, before = previous(two_years, tmp_path)
    yaml = tmp_path / "run.yaml"
    yaml.write_text(dump_config(config))
    _, whole = two_years
    limit = int(share * max(len(file) for file in whole[1].values() if isinstance(file, bytes)))
    command = [sys.executable, "-c", LIMITED, str(yaml), "1", str(limit)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    assert "the disk is full (EFBIG)" in ended.stdout
    assert "expected about" in ended.stdout
    assert content(SampleStore(config.data.store)) == before
    # With space, the same command makes the new store of what is left.
    assert content(prepare(config, overwrite=True)) == whole


def test_space_is_looked_for_first(two_years, tmp_path, monkeypatch):
    config, before = previous(two_years, tmp_path)
    monkeypatch.setattr(disk_space, "_free", lambda _: 10_000)
    with pytest.raises(DataError, match="not enough space") as caught:
        prepare(config, overwrite=True)
    assert "found 1e-05 GB free, expected about 0.000" in str(caught.value)
    assert "data.netcdf=false" in str(caught.value)
    assert content(SampleStore(config.data.store)) == before

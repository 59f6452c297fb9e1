"""Months of a store in several processes: the store is that of one process, whoever dies."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from msm_store import make_forecast, make_rain, write_month

from tenkizu.core.config import load_config
from tenkizu.core.errors import DataError
from tenkizu.core.parallel import WorkerDied
from tenkizu.core.samples import shipped_configs
from tenkizu.rain import prepare
from tenkizu.rain.config import RainConfig
from tenkizu.rain.fields import MSM24, field_pairs, units_of
from tenkizu.rain.msm import side_by_side
from tenkizu.rain.msm.month_blocks import Month, StorePlan
from tenkizu.rain.msm.monthly_writing import model_grid
from tenkizu.rain.msm.side_by_side import workers_for

MONTHS = ("2018-07", "2018-08", "2018-09")
SHAPE = (24, 26)
PLACE = (240, 160)
LAYOUTS = {
    "full": ["data.fields=[T850, U10m]", "data.context=[s, p, n, motion]"],
    "compact": ["data.layout=compact"],
}


@pytest.fixture(scope="module")
def months(tmp_path_factory):
    """Folder of three monthly files with four samples each, one without N; read only."""
    folder = tmp_path_factory.mktemp("months")
    rng = np.random.default_rng(7)
    for month in MONTHS:
        times = [f"{month}-{day:02}T{3 * day:02}" for day in range(1, 5)]
        fields = np.stack([make_forecast(rng, SHAPE, PLACE) for _ in times])
        rain = np.stack([make_rain(rng, SHAPE) for _ in times])
        planes = 5 if month == "2018-08" else 6
        write_month(folder / f"{month.replace('-', '')}.nc", times, fields, rain[:, :planes], PLACE)
    return folder


def recipe(months, place, layout):
    periods = {"train": f"{MONTHS[0]}/{MONTHS[1]}", "validation": f"{MONTHS[2]}/{MONTHS[2]}"}
    splits = [f"data.splits.{name}=[{period}]" for name, period in periods.items()]
    splits.append("data.splits.test=[]")
    where = [f"data.msm.monthly_dir={months}", f"data.store={place / 'store'}"]
    return load_config(
        RainConfig, shipped_configs()["rain_msm"], [*where, *splits, *LAYOUTS[layout]]
    )


def content(store):
    """All files of a store by name; store.json without the name of the store itself."""
    files = {path.name: path.read_bytes() for path in store.path.iterdir()}
    meta = json.loads(files.pop("store.json"))
    del meta["config"]["data"]["store"]
    return files, meta


@pytest.fixture(scope="module")
def alone(months, tmp_path_factory):
    """What one process makes, by layout; read only."""
    return {
        layout: content(prepare(recipe(months, tmp_path_factory.mktemp(layout), layout)))
        for layout in LAYOUTS
    }


@pytest.fixture
def here(monkeypatch):
    """Tasks run in this process, in another order than that of the months."""

    def backwards(function, tasks, workers, scheduler):
        for i in reversed(range(len(tasks))):
            yield i, function(tasks[i])

    monkeypatch.setattr(side_by_side, "run_tasks", backwards)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_months_in_any_order_make_the_same_store(months, alone, tmp_path, layout, here):
    seen = []

    def track(items, description):
        seen.append((len(items), description))
        return items

    store = prepare(recipe(months, tmp_path, layout), track=track, workers=2)
    assert content(store) == alone[layout]
    # Nothing is left to be done when the months are put together.
    assert seen == [(3, "preparing 201807 to 201809")]


class Killer(threading.Thread):
    """Kills the first process that is found in the middle of a block."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.killed, self.stop = folder, None, False

    def run(self):
        while not (self.killed or self.stop):
            for path in self.folder.glob(".*.part.npy"):
                pid = int(path.name.split(".")[-3])
                if pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
                    self.killed = path
                    return
            time.sleep(0.0005)


def test_two_processes_one_of_them_killed(months, alone, tmp_path, caplog):
    killer = Killer(tmp_path / "store.part")
    killer.start()
    try:
        store = prepare(recipe(months, tmp_path, "full"), workers=2)
    finally:
        killer.stop = True
    killer.join()
    assert "died: the process of a task ended; found exit -9" in caplog.text
    # What the dead process had begun is not left in the store.
    assert not list(store.path.glob(".*"))
    assert content(store) == alone["full"]


def test_finished_months_are_kept_when_a_file_is_bad(months, alone, tmp_path, monkeypatch):
    genuine, made = side_by_side.make_month, []

    def make(task):
        made.append(task.month.name)
        if len(made) == 2:
            raise DataError("cannot be read", file=task.month.path)
        genuine(task)

    def in_turn(function, tasks, workers, scheduler):
        for i, task in enumerate(tasks):
            try:
                yield i, make(task)
            except DataError as error:
                yield i, error

    monkeypatch.setattr(side_by_side, "run_tasks", in_turn)
    config = recipe(months, tmp_path, "compact")
    with pytest.raises(DataError, match=r"201808\.nc: cannot be read"):
        prepare(config, workers=2)
    part = tmp_path / "store.part"
    kept = {path.name: path.stat().st_mtime_ns for path in part.glob("*201807*")}
    assert {"rain_201807.npy", "surface_201807.npy", "pressure_201807.npy"} <= kept.keys()
    store = prepare(config, workers=2)
    assert {name: (store.path / name).stat().st_mtime_ns for name in kept} == kept
    assert content(store) == alone["compact"]


def test_a_month_whose_process_dies_every_time_is_named(months, tmp_path, monkeypatch):
    given = []

    def die(function, tasks, workers, scheduler):
        given.append([task.month.name for task in tasks])
        for i, task in enumerate(tasks):
            fatal = task.month.name == "201808"
            yield i, WorkerDied("the process of a task ended") if fatal else function(task)

    monkeypatch.setattr(side_by_side, "run_tasks", die)
    with pytest.raises(DataError) as caught:
        prepare(recipe(months, tmp_path, "compact"), workers=2)
    assert given == [["201807", "201808", "201809"], ["201808"], ["201808"]]
    for words in ("3 times, in 201808", "--workers 1", "finished months are kept"):
        assert words in str(caught.value)


def test_processes_for_the_work(monkeypatch):
    """A month of 248 samples of 49 MB is worth processes, a few small samples are not."""
    monkeypatch.setattr(side_by_side, "usable_cpus", lambda: 8)

    def months(count, samples):
        starts = [np.datetime64("2018-01-01T03", "m")] * samples
        return [Month("201801", Path("201801.nc"), list(range(samples)), starts, [], True)] * count

    plan = StorePlan(
        load_config(RainConfig, shipped_configs()["rain_msm"]),
        model_grid(None),
        {name: units_of(name) for name in field_pairs(MSM24)},
        5,
        None,
    )
    assert plan.sample_bytes == 53 * 480 * 480 * 4
    assert workers_for(plan, months(12, 248), None) == 8
    assert workers_for(plan, months(3, 248), None) == 3
    assert workers_for(plan, months(12, 2), None) == 1
    assert workers_for(plan, months(12, 2), 4) == 4


@pytest.mark.slow
def test_a_cluster_makes_the_same_store(months, alone, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        store = prepare(recipe(months, tmp_path, "full"), scheduler=address)
    assert content(store) == alone["full"]

"""Three initial times of MSM as GRIB2 files, and `convert` of them in this process."""

from datetime import datetime, timedelta

from jma_files import Weather, write_archive, write_operational

from tenkizu.rain.msm import conversion
from tenkizu.rain.msm.config import MsmConfig

WEATHER = Weather(seed=4)
FIRST = datetime(2018, 7, 31, 18)
TIMES = [FIRST + timedelta(hours=3 * k) for k in range(3)]
"""Two initial times of July, the second in the archive layout, and one of August."""
ROW, COLUMN, ROWS, COLUMNS = CROP = (101, 40, 24, 30)


def write_grib(folder):
    """The files of `TIMES`, in both layouts, beside one that is none."""
    write_operational(folder / "201807", TIMES[0], WEATHER, only_needed=True)
    write_archive(folder / "deep/er", TIMES[1], WEATHER, following=True, only_needed=True)
    write_operational(folder / "201808", TIMES[2], WEATHER, only_needed=True)
    (folder / "notes.txt").write_text("not a GRIB file")
    return folder


def config(grib, target, **other):
    return MsmConfig(grib_dir=grib, monthly_dir=target, crop=CROP, **other)


def tasks_here(monkeypatch):
    """Have tasks run in this process, which is quick; returns the list of those that ran."""
    calls = []

    def run_here(function, tasks, workers=1, scheduler=None, timeout=None):
        for i, task in enumerate(tasks):
            calls.append(str(task.files.t0))
            try:
                yield i, function(task)
            except Exception as error:
                yield i, error

    monkeypatch.setattr(conversion, "run_tasks", run_here)
    return calls


def rain_of(t0, *ends):
    hours = sum(WEATHER.rain(t0, end) for end in ends)
    return hours[13:493, :480][ROW : ROW + ROWS, COLUMN : COLUMN + COLUMNS]

"""`convert` where files are bad, and where it ran before, in whole or in part."""

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta

import pytest
from jma_files import msm_name, write_operational
from msm_conversions import TIMES, WEATHER, config, tasks_here, write_grib

from tenkizu.core.errors import DataError
from tenkizu.core.parallel import WorkerDied
from tenkizu.core.store import read_json
from tenkizu.rain.msm import conversion
from tenkizu.rain.msm.conversion import convert
from tenkizu.rain.msm.month_plans import plan_months


@pytest.fixture(scope="module")
def grib(tmp_path_factory):
    return write_grib(tmp_path_factory.mktemp("grib"))


@pytest.fixture
def copy(grib, tmp_path):
    """A folder of hard links that may be changed: delete a file before writing to it."""
    return shutil.copytree(grib, tmp_path / "grib", copy_function=os.link)


@pytest.fixture
def here(monkeypatch):
    return tasks_here(monkeypatch)


def test_a_finished_month_is_left_alone_until_its_files_change(grib, copy, tmp_path, here):
    target = tmp_path / "monthly"
    first = convert(config(copy, target))
    before = {path.name: path.read_bytes() for path in target.glob("*.nc")}
    here.clear()
    again = convert(config(copy, target))
    assert not here
    assert [m.state for m in again.months] == ["up to date"] * 2
    assert [m.converted for m in again.months] == [m.converted for m in first.months]
    changed = copy / "201808" / msm_name(TIMES[2], "Lsurf_FH00-15")
    os.utime(changed, (0, 0))
    with pytest.raises(DataError, match=r"201808.nc \(other files\)[\s\S]*--overwrite"):
        convert(config(copy, target))
    with pytest.raises(DataError, match=r"other settings"):
        convert(config(copy, target, following=False))
    assert {path.name: path.read_bytes() for path in target.glob("*.nc")} == before
    assert [m.state for m in convert(config(copy, target), overwrite=True).months] == [
        "up to date",
        "written",
    ]
    assert here == ["2018-08-01T00:00"]


def test_bad_initial_times_are_left_out_and_named(copy, tmp_path, here):
    """Truncated, misfiled and incomplete ones; the others are converted."""
    truncated = copy / "201807" / msm_name(TIMES[0], "L-pall_FH00-15")
    content = truncated.read_bytes()
    truncated.unlink()
    truncated.write_bytes(content[: len(content) // 2])
    (copy / "deep/er" / msm_name(TIMES[1], "Prr_FH03-06")).unlink()
    misfiled = TIMES[2] + timedelta(hours=3)
    for part in ("Lsurf_FH00-15", "L-pall_FH00-15"):
        os.link(copy / "201808" / msm_name(TIMES[2], part), copy / msm_name(misfiled, part))
    report = convert(config(copy, tmp_path / "monthly"))
    july, august = report.months
    assert (july.state, july.path, july.converted) == ("empty", None, 0)
    assert (august.state, august.converted) == ("written", 1)
    listed = {e["t0"]: e for m in report.months for e in m.missing if e["reason"] != "no file"}
    assert list(listed) == ["2018-07-31T18", "2018-07-31T21", "2018-08-01T03"]
    assert truncated.name in listed["2018-07-31T18"]["reason"]
    assert listed["2018-07-31T21"] == {
        "t0": "2018-07-31T21",
        "reason": "incomplete",
        "parts": ["Prr_FH03-06"],
    }
    assert msm_name(misfiled, "Lsurf_FH00-15") in listed["2018-08-01T03"]["reason"]
    # What is finished is not tried again, and its entries stay.
    here.clear()
    again = convert(config(copy, tmp_path / "monthly", months=("2018-08", "2018-08")))
    assert not here
    assert again.months[0].missing == august.missing
    for month in ("201807", "201808"):
        assert month in read_json(report.missing_file, "missing")["months"]


def test_strict_stops_at_the_first_fault(copy, tmp_path, here):
    lost = copy / "deep/er" / msm_name(TIMES[1], "Prr_FH03-06")
    content = lost.read_bytes()
    lost.unlink()
    settings = config(copy, tmp_path / "monthly", strict=True)
    with pytest.raises(DataError, match=r"2018-07-31T21: the initial time is incomplete.*Prr_FH03"):
        convert(settings)
    assert not here
    lost.write_bytes(content[:1000])
    with pytest.raises(DataError, match=r"2018-07-31T21: the initial time cannot be read"):
        convert(settings)
    lost.write_bytes(content)
    assert [m.converted for m in convert(settings).months] == [2, 1]
    # When months are asked for, all their initial times are due.
    with pytest.raises(DataError, match="2018-08-01T03: the initial time is not there"):
        convert(config(copy, tmp_path / "other", strict=True, months=("2018-08", "2018-08")))


def test_packed_initial_times_are_used_again(grib, tmp_path, here, monkeypatch):
    """Interrupted after two of three, then run again: only the third is decoded."""
    target = tmp_path / "monthly"
    whole = convert(config(grib, tmp_path / "undisturbed"))
    here.clear()
    with monkeypatch.context() as patch:
        run_here = conversion.run_tasks

        def interrupted(*arguments, **options):
            for k, result in enumerate(run_here(*arguments, **options)):
                yield result
                if k == 0:
                    raise KeyboardInterrupt

        patch.setattr(conversion, "run_tasks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert(config(grib, target))
    assert here == ["2018-07-31T18:00"]
    # What a killed process leaves of a file that it was writing.
    (target / ".201807.part" / ".2018-07-31T21.99999.part.h5").write_bytes(b"half")
    convert(config(grib, target))
    assert here == ["2018-07-31T18:00", "2018-07-31T21:00", "2018-08-01T00:00"]
    for month in whole.months:
        assert (target / month.path.name).read_bytes() == month.path.read_bytes()
    assert not list(target.glob(".*"))


def test_a_packed_initial_time_of_other_settings_is_not_used(grib, tmp_path, here):
    target = tmp_path / "monthly"
    plan = plan_months(config(grib, target, compression="lz4"))[1]
    task = conversion._tasks(plan, config(grib, target, compression="lz4"))[0]
    conversion.pack(task)
    convert(config(grib, target, months=("2018-08", "2018-08")))
    assert here == ["2018-08-01T00:00"]


def test_a_worker_that_dies_is_given_a_second_chance(grib, tmp_path, here, monkeypatch):
    run_here = conversion.run_tasks
    died = []

    def with_deaths(function, tasks, *rest):
        for i, result in run_here(function, tasks, *rest):
            name = str(tasks[i].files.t0)
            # One dies once, another every time.
            if name.endswith("T18:00") or (name.endswith("T00:00") and name not in died):
                died.append(name)
                yield i, WorkerDied("the process of a task ended", found="exit -11")
            else:
                yield i, result

    monkeypatch.setattr(conversion, "run_tasks", with_deaths)
    report = convert(config(grib, tmp_path / "monthly"))
    assert died == ["2018-07-31T18:00", "2018-08-01T00:00", "2018-07-31T18:00"]
    assert [m.converted for m in report.months] == [1, 1]
    (entry,) = (e for e in report.months[0].missing if e["reason"] != "no file")
    assert "exit -11" in entry["reason"]
    assert msm_name(TIMES[0], "Lsurf_FH00-15") in entry["reason"]
    # With --overwrite it is tried again, and the month that is complete is left alone.
    monkeypatch.setattr(conversion, "run_tasks", run_here)
    here.clear()
    again = convert(config(grib, tmp_path / "monthly"), overwrite=True)
    assert [m.converted for m in again.months] == [2, 1]
    assert here == ["2018-07-31T18:00", "2018-07-31T21:00"]


def test_a_full_disk_is_no_fault_of_the_initial_time(grib, tmp_path, here, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion, "pack", full)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        convert(config(grib, tmp_path / "monthly"))


PROGRAM = """
import sys
from pathlib import Path
from tenkizu.rain.msm.config import MsmConfig
from tenkizu.rain.msm.conversion import convert

if __name__ == "__main__":
    convert(MsmConfig(grib_dir=Path(sys.argv[1]), monthly_dir=Path(sys.argv[2])), workers=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("parts_before", [1, 3])
def test_killed_and_resumed_is_as_if_undisturbed(tmp_path, parts_before):
    grib, target = tmp_path / "grib", tmp_path / "killed"
    for k in range(6):
        t0 = datetime(2018, 7, 1) + timedelta(hours=3 * k)
        write_operational(grib, t0, WEATHER, only_needed=True)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(grib)]
    process = subprocess.Popen([*command, str(target)], start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(target.glob(".201807.part/2*.h5"))) < parts_before:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (target / "201807.nc").exists()
    kept = {path: path.stat().st_mtime_ns for path in target.glob(".201807.part/2*.h5")}
    assert len(kept) >= parts_before
    subprocess.run([*command, str(target)], check=True)
    subprocess.run([*command, str(tmp_path / "undisturbed")], check=True)
    made = [folder / "201807.nc" for folder in (target, tmp_path / "undisturbed")]
    assert made[0].read_bytes() == made[1].read_bytes()
    assert not list(target.glob(".*"))

"""`convert`: GRIB2 files in JMA's true format to monthly NetCDF, against the weather in them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta

import h5netcdf
import numpy as np
import pytest
import typer
import xarray as xr
from jma_files import PRESSURE, SURFACE, Weather, msm_name, write_archive, write_operational
from scipy.interpolate import RegularGridInterpolator
from typer.testing import CliRunner

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.parallel import WorkerDied
from tenkizu.core.store import read_json
from tenkizu.rain.dataset import time_features
from tenkizu.rain.fields import MSM24, field_pairs
from tenkizu.rain.msm import conversion
from tenkizu.rain.msm.check import check
from tenkizu.rain.msm.cli_data import convert as convert_command
from tenkizu.rain.msm.config import MsmConfig
from tenkizu.rain.msm.conversion import convert
from tenkizu.rain.msm.month_plans import plan_months
from tenkizu.rain.msm.monthly_writing import MODEL_SHAPE
from tenkizu.rain.msm.variables import VARIABLES

WEATHER = Weather(seed=4)
FIRST = datetime(2018, 7, 31, 18)
TIMES = [FIRST + timedelta(hours=3 * k) for k in range(3)]
"""Two initial times of July, the second in the archive layout, and one of August."""
ROW, COLUMN, ROWS, COLUMNS = CROP = (101, 40, 24, 30)


@pytest.fixture(scope="module")
def grib(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grib")
    write_operational(folder / "201807", TIMES[0], WEATHER, only_needed=True)
    write_archive(folder / "deep/er", TIMES[1], WEATHER, following=True, only_needed=True)
    write_operational(folder / "201808", TIMES[2], WEATHER, only_needed=True)
    (folder / "notes.txt").write_text("not a GRIB file")
    return folder


@pytest.fixture
def copy(grib, tmp_path):
    """A folder of hard links that may be changed: delete a file before writing to it."""
    return shutil.copytree(grib, tmp_path / "grib", copy_function=os.link)


def config(grib, target, **other):
    return MsmConfig(grib_dir=grib, monthly_dir=target, crop=CROP, **other)


@pytest.fixture
def here(monkeypatch):
    """Tasks run in this process, which is quick; one test below has processes of its own."""
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


@pytest.fixture(scope="module")
def converted(grib, tmp_path_factory):
    """The two months, made in processes."""
    folder = tmp_path_factory.mktemp("monthly")
    return convert(config(grib, folder), workers=2), folder


def rain_of(t0, *ends):
    hours = sum(WEATHER.rain(t0, end) for end in ends)
    return hours[13:493, :480][ROW : ROW + ROWS, COLUMN : COLUMN + COLUMNS]


def field_of(base, t0, lead):
    """Truth at the model's nodes, and the largest error of packing in 12 bits."""
    values = WEATHER.field(base, t0, lead)
    latitude = 46.95 - 0.05 * np.arange(ROW, ROW + ROWS)
    longitude = 120 + 0.0625 * np.arange(COLUMN, COLUMN + COLUMNS)
    grid = SURFACE if values.shape == (505, 481) else PRESSURE
    # South first, as scipy wants it.
    at = RegularGridInterpolator((grid.latitude[::-1], grid.longitude), values[::-1])
    nodes = np.stack(np.meshgrid(latitude, longitude, indexing="ij"), axis=-1)
    return at(nodes), np.ptp(values) / 4095 * 1.01 + 1e-6 * np.abs(values).max()


def test_months_hold_the_weather_of_the_files(converted):
    report, folder = converted
    assert [(m.name, m.state, m.converted, m.expected) for m in report.months] == [
        ("201807", "written", 2, 248),
        ("201808", "written", 1, 248),
    ]
    index = 0
    for name, t0s in (("201807", TIMES[:2]), ("201808", TIMES[2:])):
        with xr.open_dataset(folder / f"{name}.nc") as data:
            assert list(data.time.values) == [np.datetime64(t0) for t0 in t0s]
            for i, t0 in enumerate(t0s):
                index += 1
                month = data.isel(time=i)
                for variable, ends in {
                    "Prec_ft3": (1, 2, 3),
                    "Prec_Target_ft4": (4,),
                    "Prec_Target_ft5": (5,),
                    "Prec_Target_ft6": (6,),
                    "Prec_4_6h_sum": (4, 5, 6),
                    "Prec_6_9h_sum": (7, 8, 9),
                }.items():
                    # Amounts are multiples of the packing step, so they come back exactly.
                    np.testing.assert_array_equal(month[variable].values, rain_of(t0, *ends))
                for base in MSM24:
                    for lead in (3, 6):
                        truth, error = field_of(base, t0, lead)
                        found = month[f"{base}_ft{lead}"].values
                        assert np.abs(found - truth).max() <= error, (base, lead)
                features = time_features(np.datetime64(t0, "m") + np.timedelta64(180, "m"))
                for variable, value in features.items():
                    assert float(month[variable]) == pytest.approx(value, abs=1e-7)
    assert index == 3


def test_layout_of_a_file(converted):
    _, folder = converted
    with h5netcdf.File(folder / "201807.nc") as file:
        assert list(file.variables) == ["time", "lat", "lon", *VARIABLES]
        assert set(field_pairs(MSM24)) < set(file.variables)
        for name in VARIABLES.keys() - set(time_features(np.datetime64("2018-07-01T03"))):
            variable = file.variables[name]
            assert variable.dimensions == ("time", "lat", "lon")
            assert variable.dtype == np.float32
            assert variable.chunks == (1, ROWS, COLUMNS)
            assert {"32015"} <= set(variable._h5ds._filters), "zstd"
        latitude, longitude = file.variables["lat"][:], file.variables["lon"][:]
        assert latitude == pytest.approx(46.95 - 0.05 * np.arange(ROW, ROW + ROWS))
        assert longitude == pytest.approx(120 + 0.0625 * np.arange(COLUMN, COLUMN + COLUMNS))
        assert file.variables["time"].attrs["standard_name"] == "forecast_reference_time"
        assert file.variables["time"].attrs["units"] == "hours since 1970-01-01"
        for name, expected in {
            "T850_ft6": {"units": "K", "standard_name": "air_temperature", "lead_hours": 6},
            "GH500_ft3": {"units": "m", "standard_name": "geopotential_height", "lead_hours": 3},
            "V10m_ft3": {"units": "m s-1", "standard_name": "northward_wind", "lead_hours": 3},
            "Prec_Target_ft5": {
                "units": "mm",
                "standard_name": "lwe_thickness_of_precipitation_amount",
                "cell_methods": "time: sum (interval: 1 hour)",
                "lead_start_hours": 4,
                "lead_end_hours": 5,
            },
            "Prec_4_6h_sum": {
                "cell_methods": "time: sum (interval: 3 hours)",
                "lead_start_hours": 3,
                "lead_end_hours": 6,
            },
        }.items():
            attributes = dict(file.variables[name].attrs)
            assert expected.items() <= attributes.items()
            assert attributes["long_name"]
        assert file.attrs["Conventions"] == "CF-1.11"
        for name in ("title", "source", "history", "tenkizu_version", "config_hash"):
            assert file.attrs[name]


def test_what_was_not_there_is_listed_and_check_agrees(converted, monkeypatch):
    report, folder = converted
    assert report.missing_file == folder / "missing.json"
    july = read_json(report.missing_file, "missing")["months"]["201807"]
    assert (july["expected"], july["converted"], len(july["missing"])) == (248, 2, 246)
    assert july["missing"][0] == {"t0": "2018-07-01T00", "reason": "no file"}
    monkeypatch.setattr(
        "tenkizu.rain.msm.check.run_tasks",
        lambda function, tasks, *_: enumerate(map(function, tasks)),
    )
    result = check([folder])
    assert result["errors"] == 0
    assert {f["rule"] for f in result["findings"]} == {"steps"}
    # Not a trace of the work is left.
    assert {p.name for p in folder.iterdir()} == {
        "201807.nc", "201808.nc", "missing.json", "check.json",
    }  # fmt: skip
    assert not list(folder.parent.glob(f".{folder.name}*"))


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


def test_lz4_and_without_n(grib, tmp_path, here):
    target = tmp_path / "monthly"
    settings = config(
        grib, target, following=False, compression="lz4", months=("2018-08", "2018-08")
    )
    (month,) = convert(settings).months
    with h5netcdf.File(month.path) as file:
        assert "Prec_6_9h_sum" not in file.variables
        assert "32004" in file.variables["T2m_ft3"]._h5ds._filters
        np.testing.assert_array_equal(
            file.variables["Prec_4_6h_sum"][0], rain_of(TIMES[2], 4, 5, 6)
        )


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


def test_nothing_to_convert(tmp_path, here):
    with pytest.raises(ConfigError, match=r"data\.msm\.grib_dir"):
        convert(MsmConfig(monthly_dir=tmp_path))
    with pytest.raises(ConfigError, match="no such folder"):
        convert(config(tmp_path / "absent", tmp_path / "monthly"))
    with pytest.raises(DataError, match="no MSM file"):
        convert(config(tmp_path, tmp_path / "monthly"))
    for months in (("2018-07", "2018-06"), ("July", "August")):
        with pytest.raises(ConfigError, match="not a range of months"):
            convert(config(tmp_path, tmp_path / "monthly", months=months))


def test_command(grib, tmp_path, here, monkeypatch):
    app = typer.Typer()
    app.command()(convert_command)

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    folders = ("--from", grib, "--to", tmp_path / "monthly", "--months", "2018-07/2018-07")
    result = run(*folders, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "201807: 2 of 248 initial times complete" in result.output
    assert not here
    assert not (tmp_path / "monthly").exists()
    result = run("--from", grib)
    assert isinstance(result.exception, ConfigError)
    # The whole grid: section 4's 480 x 480 cells.
    result = run(*folders)
    assert result.exit_code == 0, result.output
    assert "2 initial times; 0 left out, 246 without files" in result.output
    with h5netcdf.File(tmp_path / "monthly" / "201807.nc") as file:
        assert file.variables["T2m_ft3"].shape == (2, *MODEL_SHAPE)
        assert file.variables["lat"][[0, -1]] == pytest.approx([46.95, 23.0])
        assert file.variables["lon"][[0, -1]] == pytest.approx([120.0, 149.9375])
        values = file.variables["Prec_4_6h_sum"][0, ROW : ROW + ROWS, COLUMN : COLUMN + COLUMNS]
        np.testing.assert_array_equal(values, rain_of(TIMES[0], 4, 5, 6))


def test_on_a_cluster(grib, tmp_path):
    """Two Dask workers; in threads here, as processes in the slow test."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        report = convert(config(grib, tmp_path), scheduler=cluster.scheduler_address)
    assert [m.converted for m in report.months] == [2, 1]
    with h5netcdf.File(report.months[0].path) as file:
        np.testing.assert_array_equal(
            file.variables["Prec_4_6h_sum"][1], rain_of(TIMES[1], 4, 5, 6)
        )


@pytest.mark.slow
def test_on_a_cluster_of_processes(grib, converted, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        report = convert(config(grib, tmp_path), scheduler=cluster.scheduler_address)
    for month in report.months:
        assert month.path.read_bytes() == (converted[1] / month.path.name).read_bytes()


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

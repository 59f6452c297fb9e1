"""`convert`: GRIB2 files in JMA's true format to monthly NetCDF, against the weather in them."""

import h5netcdf
import numpy as np
import pytest
import typer
import xarray as xr
from jma_files import PRESSURE, SURFACE
from msm_conversions import (
    COLUMN,
    COLUMNS,
    ROW,
    ROWS,
    TIMES,
    WEATHER,
    config,
    rain_of,
    tasks_here,
    write_grib,
)
from scipy.interpolate import RegularGridInterpolator
from typer.testing import CliRunner

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.store import read_json
from tenkizu.rain.dataset import time_features
from tenkizu.rain.fields import MSM24, field_pairs
from tenkizu.rain.msm.check import check
from tenkizu.rain.msm.cli_data import convert as convert_command
from tenkizu.rain.msm.config import MsmConfig
from tenkizu.rain.msm.conversion import convert
from tenkizu.rain.msm.monthly_writing import MODEL_SHAPE
from tenkizu.rain.msm.variables import VARIABLES


@pytest.fixture(scope="module")
def grib(tmp_path_factory):
    return write_grib(tmp_path_factory.mktemp("grib"))


@pytest.fixture
def here(monkeypatch):
    return tasks_here(monkeypatch)


@pytest.fixture(scope="module")
def converted(grib, tmp_path_factory):
    """The two months, made in processes."""
    folder = tmp_path_factory.mktemp("monthly")
    return convert(config(grib, folder), workers=2), folder


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
        "201807.nc", "201808.nc", "missing.json", "check.json", "check.md",
    }  # fmt: skip
    assert not list(folder.parent.glob(f".{folder.name}*"))


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

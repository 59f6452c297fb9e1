"""From a folder of MSM forecasts in GRIB2 to hourly rain and its scores, command by command."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from jma_files import (
    SURFACE,
    Weather,
    archive_fields,
    write_archive,
    write_operational,
    write_parts,
)
from jma_products import SMALL, smooth_rain, write_guidance, write_meps_rain

from tenkizu import cli
from tenkizu.core.samples import shipped_configs

TIMES = {
    "train": ("2018-07-05T03", "2019-06-10T12", "2020-09-01T00", "2021-08-11T18"),
    "validation": ("2022-07-01T06", "2022-08-10T09"),
    "test": ("2023-06-02T15", "2023-09-08T21"),
}
INCOMPLETE = datetime(2023, 9, 9)
CROP = (120, 200, 40, 40)
"""It rains there at most of these times."""
SHORT = [
    *(
        f"data.splits.{split}=[{', '.join(f'{time[:7]}/{time[:7]}' for time in times)}]"
        for split, times in TIMES.items()
    ),
    # Eight samples of 40 x 40 cells do not hold the rain of six years.
    "data.checks.min_max_sum_mm=1", "data.checks.share_1mm=[0,1]", "data.checks.min_bins=1",
    "data.checks.equal_rmse_mm=[0,10]", "model.embed_dim=8", "model.depths=[1,1]",
    "model.num_heads=[1,2]", "train.epochs=1", "train.batch_size=2", "train.workers=0",
    "train.devices=1", "plots.cases=1", "scores.fss_windows=[1]",
]  # fmt: skip
RECIPES = {
    "rain_msm_v5": [],
    # Tiles, and the store that keeps pressure levels on their own grid.
    "rain_msm": ["data.tile=20", "data.layout=compact"],
}
WEATHER = Weather()
STEP = 1 / 16
"""Packing step of the rain in the files, mm."""


def tenkizu(*words, code=0):
    """Run a command as a user does; what it printed."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", ["tenkizu", "rain", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert (stop.value.code or 0) == code, (words, said.getvalue())
    return said.getvalue()


def write_forecasts(folder):
    """Eight initial times, in both layouts in turn, and a ninth of which a file is missing."""
    times = [datetime.fromisoformat(time) for split in TIMES.values() for time in split]
    for i, t0 in enumerate(times):
        write = write_archive if i % 2 else write_operational
        more = {"following": True} if i % 2 else {}
        write(folder / f"{t0:%Y/%m}", t0, WEATHER, only_needed=True, **more)
    parts = archive_fields(INCOMPLETE, WEATHER, only_needed=True)
    del parts["Prr_FH03-06"]
    write_parts(folder / "2023" / "09", INCOMPLETE, parts)
    return folder


@dataclass
class Walk:
    """Where the commands worked, and what they printed."""

    folder: Path
    run: Path
    said: dict[str, str]


@pytest.fixture(
    scope="module", params=["rain_msm_v5", pytest.param("rain_msm", marks=pytest.mark.slow)]
)
def walk(request, tmp_path_factory):
    """GRIB2 files converted, checked, summed up, prepared and trained on; read only."""
    folder, name = tmp_path_factory.mktemp("walk"), request.param
    config = [
        shipped_configs()[name],
        f"data.msm.grib_dir={write_forecasts(folder / 'msm')}",
        f"data.msm.monthly_dir={folder / 'monthly'}",
        f"data.msm.crop=[{', '.join(map(str, CROP))}]",
        f"data.store={folder / 'store'}",
        f"run.dir={folder / 'runs'}",
        *SHORT,
        *RECIPES[name],
    ]
    run = folder / "runs" / name
    said = {
        "plan": tenkizu("plan", *config, "--steps", 1),
        "dry run": tenkizu("convert", *config, "--dry-run"),
        "convert": tenkizu("convert", *config, "--workers", 1),
        # Months between those of the test are not there, which is an error.
        "check": tenkizu("check", folder / "monthly", "--workers", 1, code=1),
        "stats": tenkizu("stats", folder / "monthly", "-o", folder / "stats", "--workers", 1),
        "prepare": tenkizu("prepare", *config),
        "train": tenkizu("train", *config),
        "report": tenkizu("report", run, "-o", folder / "report.html"),
    }
    return Walk(folder, run, said)


@pytest.fixture(scope="module")
def forecast(walk):
    """The hours of both initial times of the test years, with a map and a film."""
    output = walk.folder / "hours.nc"
    pictures = ["--map", walk.folder / "map.png", "--film", walk.folder / "film.gif"]
    said = tenkizu("predict", walk.run, walk.folder / "msm" / "2023", "-o", output, *pictures)
    assert str(output) in said
    with xr.open_dataset(output, engine="h5netcdf", decode_timedelta=False) as dataset:
        return dataset.load()


def truth(t0, hour, latitude, longitude):
    """Rain of an hour on these nodes, taken from the weather that the files were made from."""
    rows = [int(np.abs(SURFACE.latitude - one).argmin()) for one in latitude]
    columns = [int(np.abs(SURFACE.longitude - one).argmin()) for one in longitude]
    return WEATHER.rain(t0, hour)[np.ix_(rows, columns)]


# ---------------------------------------------------------------------------- to a trained model


def test_converting_says_what_it_left_out(walk):
    assert "202309: 1 of 240 initial times complete, 1 incomplete" in walk.said["dry run"]
    assert "2023-09-09T00 lacks Prr_FH03-06" in walk.said["dry run"]
    assert "8 initial times; 1 left out" in walk.said["convert"]
    missing = json.loads((walk.folder / "monthly" / "missing.json").read_text())
    assert "Prr_FH03-06" in json.dumps(missing)


def test_the_monthly_files_hold_the_rain_of_the_weather(walk):
    t0 = datetime(2022, 8, 10, 9)
    with xr.open_dataset(walk.folder / "monthly" / "202208.nc", engine="h5netcdf") as month:
        latitude, longitude = month.lat.values, month.lon.values
        hours = np.stack([month[f"Prec_Target_ft{hour}"].values[0] for hour in (4, 5, 6)])
        total = month["Prec_4_6h_sum"].values[0]
    # 47.6 N, less thirteen rows of frame and the first of the crop, 0.05 degrees each.
    assert latitude[0] == pytest.approx(47.6 - 0.05 * (13 + CROP[0]))
    assert longitude[0] == pytest.approx(120 + 0.0625 * CROP[1])
    expected = np.stack([truth(t0, hour, latitude, longitude) for hour in (4, 5, 6)])
    assert expected.max() > 1
    np.testing.assert_allclose(hours, expected, atol=STEP / 2)
    np.testing.assert_allclose(total, expected.sum(0), atol=3 * STEP / 2)


def test_check_finds_months_that_are_not_there_and_no_lag(walk):
    check = json.loads((walk.folder / "monthly" / "check.json").read_text())
    errors = [one for one in check["findings"] if one["severity"] == "error"]
    assert [one["text"] for one in errors] == ["no file of these months"]
    assert check["best_lag_steps"] == 0
    assert "best at +0 steps" in walk.said["check"]
    assert "8 initial times" in walk.said["stats"]
    assert (walk.folder / "stats" / "stats.md").exists()


def test_prepare_and_train_say_what_they_see(walk):
    assert "max S" in walk.said["prepare"]
    assert "carried by the winds" in walk.said["train"]
    assert "MB a sample of 40 x 40 cells" in walk.said["plan"]
    assert "s a step" in walk.said["plan"]


def test_the_winds_stand_beside_the_model_in_every_score(walk):
    for split in ("validation", "test"):
        folder = walk.run / "evaluation" / split
        scores = json.loads((folder / "scores.json").read_text())
        assert scores["n_windows"] == 2
        assert scores["max_relative_sum_error"] <= 1e-5
        assert {"model", "equal", "advection"} <= set(scores["rmse_1h"])
        # These showers are carried by the 850 hPa wind, and by nothing else.
        assert scores["mse_skill_by_method"]["all"]["advection"] > 0.7
        assert "carried by the winds" in (folder / "evaluation.txt").read_text()
    assert "carried by the winds" in (walk.folder / "report.html").read_text()


# ---------------------------------------------------------------------------- and back to hours


def test_both_layouts_become_hours_that_add_to_the_forecast(walk, forecast):
    assert forecast.rain_1h.shape == (6, 480, 480)
    for window, text in enumerate(TIMES["test"]):
        t0 = datetime.fromisoformat(text)
        begin = 3 * window
        ends = [np.datetime64(t0 + timedelta(hours=hour)) for hour in (4, 5, 6)]
        assert list(forecast.time.values[begin : begin + 3]) == ends
        assert forecast.forecast_reference_time.values[begin] == np.datetime64(t0)
        hours = [truth(t0, hour, forecast.lat.values, forecast.lon.values) for hour in (4, 5, 6)]
        given = forecast.rain_3h.values[window]
        np.testing.assert_allclose(given, sum(hours), atol=3 * STEP / 2)
        split = forecast.rain_1h.values[begin : begin + 3]
        np.testing.assert_allclose(split.sum(0, dtype=np.float64), given, rtol=1e-5, atol=1e-6)
        assert (split >= 0).all()
    assert (walk.folder / "map.png").stat().st_size > 20_000
    assert (walk.folder / "film.gif").stat().st_size > 20_000


def test_the_same_hours_as_grib(walk, forecast, tmp_path):
    [named] = (walk.folder / "msm" / "2023" / "06").glob("*Lsurf*")
    tenkizu("predict", walk.run, named, "-o", tmp_path / "hours.grib2")
    fields = json.loads(tenkizu("inspect", tmp_path / "hours.grib2", "--json"))[0]["fields"]
    assert [one["reference"][:13] for one in fields] == ["2023-06-02T15"] * 3
    for hour, one in enumerate(fields):
        assert f"+{hour + 3} h to +{hour + 4} h" in one["time"]
        assert one["max"] == pytest.approx(float(forecast.rain_1h[hour].max()), rel=1e-5)
        assert one["mean"] == pytest.approx(float(forecast.rain_1h[hour].mean()), rel=1e-4)


def test_a_watched_folder_gives_each_initial_time_once(walk, forecast, tmp_path):
    watched = ["watch", walk.run, walk.folder / "msm" / "2023", "-o", tmp_path, "--once"]
    assert "2 done, 0 skipped, 0 failed" in tenkizu(*watched)
    made = sorted(tmp_path.glob("*.nc"))
    assert [path.name for path in made] == ["20230602T15.nc", "20230908T21.nc"]
    for window, path in enumerate(made):
        with xr.open_dataset(path, engine="h5netcdf", decode_timedelta=False) as one:
            expected = forecast.rain_1h[3 * window : 3 * window + 3]
            np.testing.assert_array_equal(one.rain_1h, expected)
    before = [path.stat().st_mtime_ns for path in made]
    assert "2 done" in tenkizu(*watched)
    assert [path.stat().st_mtime_ns for path in made] == before


def test_an_incomplete_initial_time_is_named(walk, tmp_path):
    write_parts(
        tmp_path, INCOMPLETE, {"Lsurf_FH03": archive_fields(INCOMPLETE, WEATHER)["Lsurf_FH03"]}
    )
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        tenkizu("predict", walk.run, tmp_path, "-o", tmp_path / "hours.nc", code=3)
    message = errors.getvalue()
    assert "2023-09-09T00:00 UTC, without Lsurf_FH06, L-pall_FH03" in message
    assert "with Prmsl_ft3, Prmsl_ft6, U10m_ft3 and 45 more" in message
    assert not (tmp_path / "hours.nc").exists()


# ---------------------------------------------------------------------------- rain alone


def test_three_hourly_guidance_and_members_need_no_fields(tmp_path):
    t0 = datetime(2024, 7, 5, 6)
    guidance = write_guidance(tmp_path / "guidance", t0, (3, 6), grid=SMALL)
    output = tmp_path / "guidance.nc"
    pictures = ["--map", tmp_path / "map.png", "--film", tmp_path / "film.gif"]
    tenkizu("predict", "rain-only", *guidance, "-o", output, "--share", *pictures)
    with xr.open_dataset(output, engine="h5netcdf") as dataset:
        land = dataset.rain_3h.notnull()[1].values
        np.testing.assert_allclose(
            dataset.rain_3h[1].values[land], smooth_rain(SMALL, 6)[land], atol=STEP
        )
        shares = dataset.share[3:].sum("time").values[dataset.rain_3h[1].values > 0]
        np.testing.assert_allclose(shares, 1, rtol=1e-5)
    for name in ("map.png", "film.gif"):
        assert (tmp_path / name).stat().st_size > 10_000
    write_meps_rain(tmp_path / "meps", t0, range(1, 7), members=2)
    tenkizu("predict", "rain-only", tmp_path / "meps", "-o", tmp_path / "members.grib2")
    [listed] = json.loads(tenkizu("inspect", tmp_path / "members.grib2", "--json"))
    assert [one["member"] for one in listed["fields"]] == [0] * 3 + [1] * 3 + [0] * 3 + [1] * 3

"""`check`: every rule finds its planted fault, and a sound month passes."""

import shutil

import h5netcdf
import numpy as np
import pytest
import typer
from msm_months import CROP, make_maps, month_of, write_maps
from msm_store import write_msm_store
from typer.testing import CliRunner

from tenkizu.core.errors import CheckFailed, ConfigError, DataError
from tenkizu.core.store import read_json, write_json
from tenkizu.rain.msm.check import check
from tenkizu.rain.msm.check_piece import LAGS, CheckTask, check_piece
from tenkizu.rain.msm.check_together import (
    best_lag,
    lag_scan,
    missing_hours,
    never,
    of_cells,
    of_coverage,
    of_grids,
    of_lags,
    of_wet_hours,
    wet_hours,
)
from tenkizu.rain.msm.cli_data import check as check_command
from tenkizu.rain.msm.pieces import Piece
from tenkizu.rain.msm.variables import VARIABLES

TIMES = month_of("2018-07", 9)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A file of nine initial times, and its maps."""
    maps = make_maps(TIMES)
    return write_maps(tmp_path_factory.mktemp("sound") / "201807.nc", TIMES, maps), maps


@pytest.fixture
def here(monkeypatch):
    """Tasks run in this process, which is quick; the test of the command has its own."""
    monkeypatch.setattr("tenkizu.rain.msm.check.run_tasks", in_turn)


def in_turn(function, tasks, workers=1, scheduler=None):
    for i, task in enumerate(tasks):
        yield i, function(task)


def found_in(path):
    """(rule, severity, variable, number of occurrences) of all findings in a file."""
    result = check_piece(CheckTask(Piece(path)))
    return [(f.rule, f.severity, f.variable, f.count) for f in result.findings]


def test_a_sound_file_has_no_finding(sound):
    assert found_in(sound[0]) == []


def set_values(name, value, *where):
    def plant(file):
        file.variables[name][where] = value

    return plant


def set_attribute(name, value):
    def plant(file):
        file.variables[name].attrs["units"] = value

    return plant


def add_variable(file):
    file.create_variable("U700_ft3", ("time", "lat", "lon"), np.float32)


def forget_units(file):
    del file.variables["T2m_ft3"].attrs["units"]


def raise_hour(file):
    """An hour above S, and S with it no longer the sum."""
    file.variables["Prec_Target_ft5"][4, 2, 3] = file.variables["Prec_4_6h_sum"][4, 2, 3] + 1


FAULTS = {
    "other units": (set_attribute("Prec_4_6h_sum", "m"), [("variables", "Prec_4_6h_sum", 1)]),
    "no units": (forget_units, [("variables", "T2m_ft3", 1)]),
    "unknown variable": (add_variable, [("variables", "U700_ft3", 1)]),
    "rows turned": (set_values("lat", np.arange(10.0) + 30, slice(None)), [("grid", "lat", 1)]),
    "off the grid": (set_values("lon", np.arange(12) * 0.0625 + 125.01), [("grid", "lon", 1)]),
    "time in other units": (
        lambda file: file.variables["time"].attrs.update(units="hours since 1970-01-02"),
        # A day later all around: the features of the day no longer fit, those of the hour do.
        [
            ("variables", "time", 1),
            ("time_features", "dayofyear_sin", 9),
            ("time_features", "dayofyear_cos", 9),
        ],
    ),
    "time goes back": (
        set_values("time", (TIMES[[1, 0, *range(2, 9)]]).astype("M8[h]").astype(int), slice(None)),
        # The features were those of the right order; hour 0 and 3 differ in both functions.
        [("time", None, 1), ("time_features", "hour_sin", 2), ("time_features", "hour_cos", 2)],
    ),
    "not an MSM hour": (
        set_values("time", int(TIMES[8].astype("M8[h]").astype(int)) + 1, 8),
        [("time", None, 1), ("time_features", "hour_sin", 1), ("time_features", "hour_cos", 1)],
    ),
    "not a unit vector": (
        set_values("dayofyear_sin", 0.5, 3),
        [
            ("time_features", "dayofyear_sin", 1),
            ("time_features", "dayofyear_sin, dayofyear_cos", 1),
        ],
    ),
    "an hour too large": (
        raise_hour,
        [("sum", "Prec_4_6h_sum", 1), ("hour", "Prec_Target_ft5", 1)],
    ),
    "S off by a little": (
        set_values("Prec_4_6h_sum", 0.001, [2, 5], slice(0, 1), slice(0, 1)),
        [("sum", "Prec_4_6h_sum", 2)],
    ),
    "NaN": (set_values("U850_ft6", np.nan, [1, 6], 4, 4), [("missing", "U850_ft6", 2)]),
    "infinite": (set_values("R925_ft3", np.inf, 0, 0, 0), [("missing", "R925_ft3", 1)]),
    "all missing": (set_values("T500_ft3", np.nan, 5), [("missing", "T500_ft3", 1)]),
    "negative rain": (set_values("Prec_ft3", -0.5, 3, 1, 1), [("negative", "Prec_ft3", 1)]),
    "a constant map": (set_values("V300_ft3", 3.0, 7), [("constant", "V300_ft3", 1)]),
    "Celsius": (set_values("T2m_ft6", 20.0, 7, 2, 2), [("range", "T2m_ft6", 1)]),
    "too much rain": (
        set_values("Prec_6_9h_sum", 1001.0, 0, 0, 0),
        [("range", "Prec_6_9h_sum", 1)],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_nothing_else(sound, tmp_path, fault):
    plant, expected = FAULTS[fault]
    path = tmp_path / "201807.nc"
    shutil.copy(sound[0], path)
    with h5netcdf.File(path, "r+") as file:
        if fault == "S off by a little":
            for name in ("Prec_Target_ft4", "Prec_Target_ft5", "Prec_Target_ft6"):
                file.variables[name][:, 0, 0] = 0
            file.variables["Prec_4_6h_sum"][:, 0, 0] = 0
        plant(file)
    errors = [(rule, name, n) for rule, kind, name, n in found_in(path) if kind == "error"]
    assert sorted(errors, key=str) == sorted(expected, key=str)


def test_the_file_of_another_month(sound, tmp_path):
    path = tmp_path / "201808.nc"
    shutil.copy(sound[0], path)
    assert found_in(path) == [("time", "error", None, 9)]


def test_missing_variables_and_a_file_without_n(tmp_path):
    maps = make_maps(TIMES)
    del maps["Prec_6_9h_sum"]
    path = write_maps(tmp_path / "201807.nc", TIMES, maps)
    assert found_in(path) == []
    with h5netcdf.File(path, "r+") as file:
        del file._h5group["GH500_ft6"]
    assert found_in(path) == [("variables", "error", "GH500_ft6", 1)]


def test_n_may_be_unknown_as_a_whole_but_not_in_part(tmp_path):
    maps = make_maps(TIMES)
    maps["Prec_6_9h_sum"][2:4] = np.nan
    path = write_maps(tmp_path / "a" / "201807.nc", TIMES, maps)
    assert found_in(path) == [("missing", "warning", "Prec_6_9h_sum", 2)]
    maps["Prec_6_9h_sum"][3, 1:, 1:] = 0
    path = write_maps(tmp_path / "b" / "201807.nc", TIMES, maps)
    assert ("missing", "error", "Prec_6_9h_sum", 1) in found_in(path)


def test_a_variable_that_never_changes(tmp_path):
    maps = make_maps(TIMES)
    maps["U10m_ft3"][:] = 4.0
    for name in ("Prec_ft3", "Prec_6_9h_sum"):
        maps[name][:] = {"Prec_ft3": 0.0, "Prec_6_9h_sum": 2.0}[name]
    path = write_maps(tmp_path / "201807.nc", TIMES, maps)
    assert sorted(found_in(path)) == [
        ("constant", "error", "Prec_6_9h_sum", 1),
        ("constant", "error", "U10m_ft3", 1),
        ("constant", "error", "U10m_ft3", 9),
        ("constant", "warning", "Prec_ft3", 1),
    ]


def test_extremes_have_their_time_and_place(sound):
    path, maps = sound
    result = check_piece(CheckTask(Piece(path)))
    assert result.largest.keys() == maps.keys()
    for name, values in maps.items():
        i, row, column = np.unravel_index(values.argmax(), values.shape)
        largest = result.largest[name]
        assert largest.value == values.max()
        assert (largest.t0, largest.row, largest.column) == (str(TIMES[i]), row, column)
        assert result.smallest[name].value == values.min()


# --- over several files ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_files(tmp_path_factory):
    """Three days at the turn of a month without one initial time, in two files, and all maps."""
    times = np.concatenate([month_of("2018-07")[-12:], month_of("2018-08", 12)])
    times = np.delete(times, 14)
    maps = make_maps(times)
    folder = tmp_path_factory.mktemp("two")
    tasks, early = [], times < np.datetime64("2018-08")
    for name, which in (("201807", early), ("201808", ~early)):
        part = {key: values[which] for key, values in maps.items()}
        tasks.append(CheckTask(Piece(write_maps(folder / f"{name}.nc", times[which], part))))
    # The three initial times before August.
    before = tuple((tasks[0].piece, i) for i in (9, 10, 11))
    tasks[1] = CheckTask(tasks[1].piece, before)
    return times, maps, [check_piece(task) for task in tasks]


def test_lag_scan_is_that_of_all_pairs(two_files):
    times, maps, parts = two_files
    total = maps["Prec_4_6h_sum"].astype(float)
    hours = sum(maps[f"Prec_Target_ft{k}"].astype(float) for k in (4, 5, 6))
    for row in lag_scan(parts):
        pairs = [
            (a, b)
            for i, a in enumerate(total)
            for j, b in enumerate(hours)
            if times[j] - times[i] == row["lag_steps"] * np.timedelta64(180, "m")
        ]
        a, b = (np.ravel([pair[k] for pair in pairs]) for k in (0, 1))
        assert row["cells"] == a.size
        assert row["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
        assert row["rmse_mm"] == pytest.approx(np.sqrt(np.mean((a - b) ** 2)), rel=1e-12)
    assert best_lag(lag_scan(parts)) == 0
    assert list(of_lags(lag_scan(parts))) == []


@pytest.mark.parametrize("shift", [-3, -1, 1, 2])
def test_lag_scan_finds_hours_of_another_time(tmp_path, shift):
    """S and its hours of all initial times but one are those of a time ``shift`` steps later."""
    maps = make_maps(TIMES)
    for k in (4, 5, 6):
        maps[f"Prec_Target_ft{k}"] = np.roll(maps[f"Prec_Target_ft{k}"], shift, axis=0)
    result = check_piece(CheckTask(Piece(write_maps(tmp_path / "201807.nc", TIMES, maps))))
    scan = lag_scan([result])
    assert best_lag(scan) == shift
    (finding,) = of_lags(scan)
    assert (finding.rule, finding.severity) == ("lag", "error")
    assert finding.found == f"{shift:+d} steps of 3 h"


def test_wet_share_of_each_hour(two_files):
    times, maps, parts = two_files
    wet = maps["Prec_4_6h_sum"] >= np.float32(0.1)
    hours = times.astype("M8[h]").astype(int) % 24
    result = wet_hours(parts)
    assert list(result) == ["00", "03", "06", "09", "12", "15", "18", "21"]
    for name, row in result.items():
        here = hours == int(name)
        assert row["initial_times"] == here.sum()
        assert row["wet_fraction"] == pytest.approx(wet[here].mean(), rel=1e-12)
    assert list(of_wet_hours(result)) == []
    dry = {hour: dict(row, initial_times=40) for hour, row in result.items()}
    dry["09"]["wet_fraction"] = 0.0
    (finding,) = of_wet_hours(dry)
    assert "09 UTC" in finding.text


def test_cells_that_never_hold_anything(two_files):
    _, maps, parts = two_files
    cells = never(parts)
    for name, values in maps.items():
        zero = int(np.count_nonzero((values == 0).all(axis=0)))
        assert cells[name] == {"always_missing": 0, "always_zero": zero}
    # Dry cells are worth a word only after a year; fields at once.
    assert list(of_cells({"Prec_4_6h_sum": {"always_missing": 0, "always_zero": 7}}, 100)) == []
    (dry,) = of_cells({"Prec_4_6h_sum": {"always_missing": 0, "always_zero": 7}}, 2920)
    (zero,) = of_cells({"U10m_ft3": {"always_missing": 0, "always_zero": 1}}, 2)
    (missing,) = of_cells({"U10m_ft3": {"always_missing": 3, "always_zero": 0}}, 2)
    assert [dry.severity, zero.severity, missing.severity] == ["warning", "warning", "error"]


def test_months_and_initial_times_that_are_not_there(tmp_path):
    february = np.delete(month_of("2020-02"), [5, 231])
    times = {
        Piece(tmp_path / "202002.nc"): february,
        Piece(tmp_path / "202004.nc"): month_of("2020-04"),
    }
    absent, lost = of_coverage(times)
    assert (absent.rule, absent.found) == ("months", "2020-03")
    assert (lost.rule, lost.severity, lost.count) == ("steps", "error", 2)
    assert lost.found == "2020-02-01T15, 2020-02-29T21"
    assert {k: n for k, n in missing_hours(times).items() if n} == {"15": 1, "21": 1}
    write_json(
        tmp_path / "missing.json",
        {"months": {"202002": {"missing": [{"t0": "2020-02-01T15", "reason": "incomplete"}]}}},
    )
    _, unknown, known = of_coverage(times)
    assert (unknown.severity, unknown.found) == ("error", "2020-02-29T21")
    assert (known.severity, known.found) == ("warning", "2020-02-01T15")


def test_one_initial_time_in_two_files(tmp_path):
    whole = month_of("2020-04")
    pieces = {Piece(tmp_path / "202004.nc"): whole, Piece(tmp_path / "other" / "202004.nc"): whole}
    assert ("time", 240) in [(f.rule, f.count) for f in of_coverage(pieces)]


def test_another_grid(sound, tmp_path):
    shifted = (CROP[0] + 1, *CROP[1:])
    other = write_maps(tmp_path / "201808.nc", month_of("2018-08", 9), make_maps(TIMES), shifted)
    results = [(Piece(path), check_piece(CheckTask(Piece(path)))) for path in (sound[0], other)]
    (finding,) = of_grids(results)
    assert (finding.rule, finding.file) == ("grid", "201808.nc")


# --- the command ------------------------------------------------------------------------------


def run(*arguments):
    app = typer.Typer()
    app.command()(check_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command_on_a_sound_month_and_on_a_broken_one(tmp_path, monkeypatch):
    times = month_of("2019-02")
    whole = write_maps(tmp_path / "201902.nc", times, make_maps(times, (4, 5)), (0, 0, 4, 5))
    result = run(tmp_path, "--workers", 1)
    assert result.exit_code == 0, result.output
    report = read_json(tmp_path / "check.json", "a check")
    assert (report["errors"], report["warnings"], report["initial_times"]) == (0, 0, 224)
    assert report["best_lag_steps"] == 0
    place = report["extremes"]["Prec_4_6h_sum"]["max"]
    assert (place["lat"], place["lon"]) == pytest.approx(
        (46.95 - 0.05 * round((46.95 - place["lat"]) / 0.05), place["lon"])
    )
    (tmp_path / "201903.nc").write_bytes(whole.read_bytes()[:5000])
    monkeypatch.setattr("tenkizu.rain.msm.check.run_tasks", in_turn)
    result = run(tmp_path, "-o", tmp_path / "second.json")
    assert isinstance(result.exception, CheckFailed)
    assert result.exception.exit_code == 1
    assert "201903.nc" in result.output
    report = read_json(tmp_path / "second.json", "a check")
    assert [f["rule"] for f in report["findings"] if f["severity"] == "error"] == ["file"]


def test_the_page_holds_all_that_the_json_holds(two_files, tmp_path, here):
    times, maps, _ = two_files
    early = times < np.datetime64("2018-08")
    for name, which in (("201807", early), ("201808", ~early)):
        part = {key: values[which].copy() for key, values in maps.items()}
        if name == "201808":
            part["Prec_ft3"][3, 1, 1] = -0.5
        write_maps(tmp_path / f"{name}.nc", times[which], part)
    result = check([tmp_path])
    page = (tmp_path / "check.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    assert f"23 initial times in 2 files: {result['errors']} errors" in page
    assert (
        "- **error** (negative) 201808.nc: Prec_ft3: negative rain; found -0.5 mm at row 1, "
        "column 1; expected >= 0; first at 2018-08-01T12:00"
    ) in page
    for hour, missing in result["missing_per_utc_hour"].items():
        there = result["wet_per_utc_hour"][hour]
        percent = f"{100 * there['wet_fraction']:.2f}"
        assert [hour, str(there["initial_times"]), str(missing), percent] in rows
    for lag in result["lag_scan"]:
        row = [f"{lag['lag_steps']:+d}", f"{lag['cells']:,}", f"{lag['correlation']:.4f}"]
        assert [*row, f"{lag['rmse_mm']:.4f}"] in rows
    assert "The best lag is +0." in page
    for name in VARIABLES.keys() & maps.keys():
        top, low = result["extremes"][name]["max"], result["extremes"][name]["min"]
        (row,) = (row for row in rows if row[0] == name and len(row) == 6)
        assert row[2] == f"{top['value']:g}"
        assert row[3] == f"{top['t0']}, {top['lat']:g}, {top['lon']:g}"
        assert row[4] == f"{low['value']:g}"
        cells = result["cells"][name]
        assert [name, str(cells["always_missing"]), str(cells["always_zero"])] in rows
    errors = {row[0]: row[2] for row in rows if len(row) == 4 and row[0] in result["rules"]}
    assert errors["negative"] == "1"
    assert errors["lag"] == "0"


def test_the_page_does_not_take_the_place_of_the_json(sound, tmp_path):
    with pytest.raises(ConfigError, match=r"check\.json"):
        check([sound[0]], tmp_path / "check.md")


def test_a_store_is_checked_too(tmp_path, here):
    store = write_msm_store(tmp_path / "store", n=False)
    result = check([store.path], workers=1)
    findings = {
        (f["rule"], f["severity"])
        for f in result["findings"]
        # The made-up humidity is sometimes beyond 0 to 110 %.
        if not f.get("variable", "").startswith("R")
    }
    # Its eight samples are of four years, so most initial times between them are not there.
    assert findings == {("steps", "warning")}
    assert result["initial_times"] == 8
    assert set(result["extremes"]) == set(VARIABLES) - {
        "Prec_6_9h_sum", "dayofyear_sin", "dayofyear_cos", "hour_sin", "hour_cos",
    }  # fmt: skip
    block = store.path / store.meta["arrays"]["rain"]["blocks"][1]["file"]
    rain = np.load(block, mmap_mode="r+")
    rain[1, 4, 3, 3] += 5
    rain.flush()
    result = check([store.path], tmp_path / "check.json", workers=1)
    (error,) = (f for f in result["findings"] if f["rule"] not in ("range", "steps"))
    assert (error["rule"], error["variable"]) == ("sum", "Prec_4_6h_sum")


def test_a_path_without_data(tmp_path):
    with pytest.raises(DataError, match="neither monthly files nor a store"):
        check([tmp_path])
    with pytest.raises(DataError, match="no such file"):
        check([tmp_path / "nothing.nc"])


def test_lags_cover_three_steps_both_ways():
    assert LAGS == (-3, -2, -1, 0, 1, 2, 3)

"""`tenkizu patterns inspect`: what a store holds, in numbers and as charts."""

import csv
import json
import re

import numpy as np
import pytest
import typer
from era5_files import days_of, write_file, write_year
from PIL import Image
from typer.testing import CliRunner

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.store import SampleStore
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.inspection.cli import inspect
from tenkizu.patterns.inspection.contact_sheet import draw_contact_sheet
from tenkizu.patterns.inspection.overview import index_of_day, overview, stored_times
from tenkizu.patterns.inspection.overview_text import as_text
from tenkizu.patterns.labels import shipped_calendar
from tenkizu.patterns.preparation import prepare

app = typer.Typer()
app.command()(inspect)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def make(folder, files, labels=None, **data):
    return prepare(
        PatternsConfig.model_validate(
            {
                "run": {"name": "tiny", "dir": str(folder / "runs")},
                "data": {"files": [str(f) for f in files], "store": str(folder / "store")}
                | {"netcdf": False}
                | data,
                "labels": labels or {},
            }
        )
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Twenty days around New Year of the 46 channels, on 9 x 9 cells; read only."""
    folder = tmp_path_factory.mktemp("default")
    days = np.arange("1999-12-22", "2000-01-11", dtype="datetime64[D]").astype("M8[m]")
    files = write_year(folder / "raw", 2000, 5.0, days, before=False)
    write_file(files[0], ("msl",), np.concatenate([days[:1] - np.timedelta64(1, "D"), days]), 5.0)
    return make(folder, files, netcdf=True)


@pytest.fixture(scope="module")
def found(store):
    return overview(store)


def stored(store, name):
    column = store.meta["arrays"]["maps"]["channels"].index(name)
    return np.stack([store.read("maps", i)[column] for i in range(len(store))]).astype(np.float64)


def by_name(found):
    return {channel["name"]: channel for channel in found["channels"]}


def test_statistics_are_those_of_all_maps(store, found):
    channels = by_name(found)
    assert list(channels) == store.meta["channels"]
    for name in store.meta["arrays"]["maps"]["channels"]:
        values, channel = stored(store, name), channels[name]
        np.testing.assert_allclose(
            [channel["mean"], channel["sd"], channel["min"], channel["max"]],
            [np.nanmean(values), np.nanstd(values), np.nanmin(values), np.nanmax(values)],
            rtol=1e-6,
            atol=1e-6 * np.nanstd(values),
            err_msg=name,
        )
        assert channel["missing"] == pytest.approx(np.isnan(values).mean(), abs=1e-12)
    assert channels["sst"]["missing"] > 0.1
    assert channels["mfc850"]["units"] == "s-1"


def test_channels_that_are_no_daily_maps(store, found):
    mask = store.read("static", 0)[0]
    channels = by_name(found)
    assert channels["sea_mask"]["kind"] == "static"
    assert channels["sea_mask"]["mean"] == pytest.approx(mask.mean())
    assert channels["sea_mask"]["missing"] == 0
    # Around the solstice the annual cosine hardly leaves 1.
    assert 0.9 < channels["f1_season"]["min"] <= channels["f1_season"]["max"] <= 1
    assert channels["f3_season"]["min"] <= 0 < channels["f3_season"]["max"]


def test_labels_are_counted_by_local_year(found):
    labels = found["labels"]
    assert labels["catalogue"] == "yoshino"
    assert {year: c["days"] for year, c in labels["years"].items()} == {"1999": 10, "2000": 10}
    assert labels["all"]["unlabelled"] == 0
    for kind in ("single", "composite", "transition"):
        assert labels["all"][kind] == sum(c[kind] for c in labels["years"].values())
    # Counted in the shipped calendar itself: days whose label names the type.
    with shipped_calendar().open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if "1999-12-22" <= row["date"] < "2000-01-11"]
    of_type = [row["date"][:4] for row in rows if "1" in re.split(r"[+-]", row["label"])]
    assert len(rows) == 20
    for year, counts in labels["years"].items():
        assert counts["types"]["1"] == of_type.count(year) > 0
    assert labels["all"]["types"]["6C"] == 0


def test_size_and_grid(store, found):
    files = [path for path in store.path.rglob("*") if path.is_file()]
    assert found["size"]["all"] == sum(path.stat().st_size for path in files)
    # Twenty days of 41 maps of 9 x 9 cells in single precision, and a few bytes of header.
    assert found["size"]["maps"] == pytest.approx(4 * 20 * 41 * 81 + 4 * 81, abs=1000)
    assert found["size"]["netcdf"] > 0
    assert found["grid"]["rows"] == found["grid"]["columns"] == 9
    assert found["gaps"] == []


def test_gaps_are_ranges_with_reasons(tmp_path):
    dates = ["2000-12-01", "2000-12-02", "2000-12-03", "2000-12-09", "2000-12-10", "2000-12-30"]
    write_file(tmp_path / "msl.nc", ("msl",), days_of(2000, [*dates, "2000-12-31"]), 5.0)
    found = overview(make(tmp_path, [tmp_path / "msl.nc"], channels=["msl", "msl_dt24"]))
    listed = [(g["first"][:10], g["last"][:10], g["days"], g["reason"]) for g in found["gaps"]]
    first = "no map 24 h earlier"
    assert listed == [
        ("2000-12-01", "2000-12-01", 1, first),
        ("2000-12-04", "2000-12-08", 5, "no map"),
        ("2000-12-09", "2000-12-09", 1, first),
        ("2000-12-11", "2000-12-29", 19, "no map"),
        ("2000-12-30", "2000-12-30", 1, first),
    ]
    text = as_text(found)
    assert "Gaps: 27 days in 5 ranges" in text
    assert "  2000-12-11 to 2000-12-29  19 days: no map\n" in text


def test_years_that_are_not_asked_for_are_no_gap(tmp_path):
    days = np.concatenate([days_of(2000, 3), days_of(2003, 3)])
    write_file(tmp_path / "msl.nc", ("msl",), days, 5.0)
    options = {"channels": ["msl"], "years": [2000, 2003]}
    gaps = overview(make(tmp_path, [tmp_path / "msl.nc"], **options))["gaps"]
    assert [(gap["first"][:10], gap["last"][:10]) for gap in gaps] == [("2000-01-04", "2000-12-31")]


def test_one_day_one_channel_and_no_label(tmp_path):
    write_file(tmp_path / "msl.nc", ("msl",), days_of(2020, 1), 5.0)
    store = make(tmp_path, [tmp_path / "msl.nc"], channels=["grad_msl"])
    found = overview(store)
    assert found["days"] == 1
    assert "no day of the store is labelled; labels from 1991-01-01" in found["labels"]["problem"]
    assert [(c["name"], c["seen_by_network"]) for c in found["channels"]] == [
        ("grad_msl", True),
        ("msl", False),
    ]
    assert "* kept for charts" in as_text(found)
    (page,) = draw_contact_sheet(tmp_path / "out", store, 0)
    assert page.name == "channels_2020-01-01_1.png"


def test_labels_that_cannot_be_read_are_no_obstacle(tmp_path):
    write_file(tmp_path / "msl.nc", ("msl",), days_of(2000, 2), 5.0)
    labels = {"file": str(tmp_path / "gone.csv")}
    found = overview(make(tmp_path, [tmp_path / "msl.nc"], labels, channels=["msl"]))
    assert "gone.csv: no such file" in found["labels"]["problem"]


def test_a_day_without_a_value_is_drawn_so(tmp_path):
    write_file(tmp_path / "msl.nc", ("msl",), days_of(2000, 2), 5.0)
    options = {"channels": ["msl", "msl_dt24", "lap_msl"], "missing_dt24": "zero"}
    store = make(tmp_path, [tmp_path / "msl.nc"], **options)
    assert by_name(overview(store))["msl_dt24"]["missing"] == 0.5
    (page,) = draw_contact_sheet(tmp_path / "out", store, 0)
    with Image.open(page) as image:
        # The middle panel is grey: the second of three, all of one width.
        middle = image.convert("RGB").getpixel((image.width // 2, image.height * 3 // 4))
    assert middle == (212, 212, 212)


# ---------------------------------------------------------------------------- the command


def test_the_command_prints_tables_and_writes_nothing(store):
    before = sorted(store.path.iterdir())
    result = run(store.path)
    assert result.exit_code == 0, result.output
    for words in ("days     20, 1999-12-22", "9 x 9, latitude 55..15", "Gaps: none", "thetae850"):
        assert words in result.output
    # A row a year, then all.
    assert [line.split()[:2] for line in result.output.splitlines()[-5:-2]] == [
        ["1999", "10"],
        ["2000", "10"],
        ["all", "20"],
    ]
    assert sorted(store.path.iterdir()) == before


def test_with_a_folder_it_writes_text_json_and_charts(store, tmp_path):
    result = run(store.path, "-o", tmp_path, "--day", "2000-01-03")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "channels_2000-01-03_1.png",
        "channels_2000-01-03_2.png",
        "inspection.json",
        "inspection.txt",
    ]
    assert (tmp_path / "inspection.txt").read_text() in result.output
    written = json.loads((tmp_path / "inspection.json").read_text())
    assert written == json.loads(json.dumps(overview(SampleStore(store.path))))
    for page in tmp_path.glob("*.png"):
        with Image.open(page) as image:
            assert image.width == 1600
            assert image.height > 2000


def test_days_are_found_or_the_nearest_is_named(store):
    times = stored_times(store)
    assert index_of_day(times, None) == 10
    assert index_of_day(times, "1999-12-24") == 2
    assert index_of_day(times, "1999-12-24T00:00") == 2
    with pytest.raises(DataError, match=r"no map of this day.*the nearest is 2000-01-10T00:00"):
        index_of_day(times, "2000-03-01")
    with pytest.raises(DataError, match="not a date"):
        index_of_day(times, "yesterday")
    assert isinstance(run(store.path, "--day", "2000-01-03").exception, ConfigError)


def test_a_store_that_is_none(tmp_path):
    result = run(tmp_path / "absent")
    assert isinstance(result.exception, DataError)
    assert "no such store" in str(result.exception)

"""`predict`: any days, from nothing but the model folder, as a table or as CF NetCDF."""

import csv
import json
import logging
import shutil

import fsspec
import numpy as np
import pytest
import xarray as xr
import yaml
from era5_files import days_of, write_file, write_year
from short_runs import atlantic, command, moved, undrawn

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.samples import input_path
from tenkizu.patterns import predict, train
from tenkizu.patterns.catalogues import JC
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.verification.days import DayTable
from tenkizu.patterns.verification.thresholds import Thresholds

JAPAN = "sample:era5_msl_japan_2p5_6h_20251201_20260228.nc"
FOLDER = ("model.json", "model.safetensors", "analogues.json", "analogues.safetensors")


@pytest.fixture(scope="module")
def model(tiny_pattern_run, tmp_path_factory):
    """A copy of the model folder: four files of the run."""
    folder = tmp_path_factory.mktemp("copied") / "model"
    folder.mkdir()
    for name in FOLDER:
        shutil.copy(tiny_pattern_run / name, folder)
    return folder


@pytest.fixture(scope="module")
def spring(tmp_path_factory):
    """Maps of ten days of the test year, one of them after a change of the clocks."""
    return atlantic(tmp_path_factory.mktemp("spring") / "spring.nc", "2003-03-25", "2003-04-03")


@pytest.fixture(scope="module")
def table(model, spring, tmp_path_factory):
    """The predicted table of these days, by column."""
    return columns(predict(model, spring, tmp_path_factory.mktemp("table") / "days.csv"))


@pytest.fixture(scope="module")
def dataset(model, spring, tmp_path_factory):
    """The same as NetCDF."""
    path = predict(model, [spring], tmp_path_factory.mktemp("netcdf") / "days.nc")
    with xr.open_dataset(path) as opened:
        return opened.load()


@pytest.fixture(scope="module")
def own(tiny_pattern_run):
    """What the run itself said of these days."""
    days = DayTable.from_csv(tiny_pattern_run / "probabilities_test.csv")
    first = np.datetime64("2003-03-25")
    return days.select((days.times >= first) & (days.times < first + np.timedelta64(10, "D")))


def columns(path):
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_the_table_has_the_runs_own_probabilities_and_decisions(table, own):
    assert table["date"] == [str(t.astype("datetime64[D]")) for t in own.times]
    assert table["valid_time"][0] == "2003-03-25T00:00"
    for i, label in enumerate(JC.labels):
        found = np.array(table[f"p_{label}"], float)
        np.testing.assert_allclose(found, own.calibrated[:, i], atol=1e-5)
        if own.decided[i]:
            assert [int(text) for text in table[f"decided_{label}"]] == list(own.predicted[:, i])
    assert table["predicted"] == own.predicted_texts()
    assert any(text.count("+") for text in table["predicted"])


def test_a_major_type_for_each_predicted_type(table):
    major = dict(zip(JC.labels, JC.majors, strict=True))
    for types, majors in zip(table["predicted"], table["major"], strict=True):
        wanted = {major[name] for name in types.split("+") if name}
        assert set(filter(None, majors.split("+"))) == wanted


def test_thresholds_that_were_not_tuned_are_named(table, tiny_pattern_run):
    data = json.loads((tiny_pattern_run / "thresholds.json").read_text())
    thresholds = Thresholds.from_json(data)
    wanted = [
        f"{label} {status}"
        for label, status in zip(thresholds.labels, thresholds.status, strict=True)
        if status != "tuned"
    ]
    assert wanted
    assert table["thresholds_not_tuned"] == ["; ".join(wanted)] * 10


def test_analogues_are_training_days_with_their_labels(table, tiny_pattern_store):
    rows = csv.reader((tiny_pattern_store.path / "labels.csv").open())
    label_of = dict(rows)
    for text in table["analogues"]:
        found = [part.rstrip(")").split(" (") for part in text.split("; ")]
        assert len(found) == 5
        for date, label in found:
            assert date.startswith("2001-")
            assert label == label_of[date]


def test_no_analogue_is_within_ten_days_of_a_training_day(model, tmp_path):
    january = atlantic(tmp_path / "january.nc", "2001-01-01", "2001-01-31")
    table = columns(predict(model, january, tmp_path / "days.csv"))
    for day, text in zip(table["date"], table["analogues"], strict=True):
        dates = np.array([part[:10] for part in text.split("; ")], "datetime64[D]")
        assert np.abs(dates - np.datetime64(day)).astype(int).min() > 10


def test_the_netcdf_file_says_the_same(dataset, table, own):
    assert dict(dataset.sizes) == {"time": 10, "label": 11, "rank": 5}
    assert list(dataset["label"].values) == list(JC.labels)
    np.testing.assert_array_equal(dataset["time"], own.times.astype("datetime64[ns]"))
    np.testing.assert_allclose(dataset["probability"], own.calibrated, atol=1e-5)
    np.testing.assert_allclose(dataset["probability_raw"], own.raw, atol=1e-5)
    decided = dataset["threshold_status"].values != "undefined"
    expected = np.where(decided, own.predicted, -1)
    np.testing.assert_array_equal(dataset["decision"], expected)
    np.testing.assert_array_equal(np.isfinite(dataset["threshold"]), decided)
    assert list(dataset["major_type"].values) == list(JC.majors)
    assert list(dataset["local_date"].values) == table["date"]
    texts = ["; ".join(row) for row in dataset["analogue"].values]
    assert texts == table["analogues"]


def test_the_netcdf_file_is_cf(dataset):
    assert dataset.attrs["Conventions"].startswith("CF-1.")
    assert "model tiny (" in dataset.attrs["source"]
    assert "spring.nc" in dataset.attrs["source"]
    assert (
        "Jenkinson" in dataset.attrs["title"] + dataset.attrs["references"]
        or "Jones" in (dataset.attrs["references"])
    )
    for name, variable in dataset.variables.items():
        assert variable.attrs["long_name"], name
        if variable.dtype.kind in "fi":
            assert variable.attrs["units"] == "1", name
    assert dataset["time"].dtype.kind == "M"
    assert dataset["time"].attrs["standard_name"] == "time"
    assert dataset["time"].encoding["units"].split()[1:2] == ["since"]
    flags = dataset["decision"].attrs
    assert len(flags["flag_values"]) == len(flags["flag_meanings"].split()) == 3


def test_a_day_far_outside_the_training_range_is_flagged(model, monkeypatch, tmp_path, caplog):
    def high(days):
        days["msl"][2] += 6000.0
        return days

    file = atlantic(tmp_path / "high.nc", "2003-03-25", "2003-03-29", high)
    monkeypatch.setattr(logging.getLogger("tenkizu"), "propagate", True)
    table = columns(predict(model, file, tmp_path / "days.csv"))
    assert table["outside_training_range"] == ["", "", "msl", "", ""]
    assert "2003-03-27 lies outside the training range: msl" in caplog.text
    with xr.open_dataset(predict(model, file, tmp_path / "days.nc")) as dataset:
        assert list(dataset["outside_training_range"].values) == ["", "", "msl", "", ""]
        assert "6 standard deviations" in dataset["outside_training_range"].attrs["long_name"]


def test_a_store_is_predicted_like_a_file(model, tiny_pattern_store, own, tmp_path):
    table = columns(predict(model, tiny_pattern_store.path, tmp_path / "days.csv"))
    assert len(table["date"]) == 3 * 365
    first = table["date"].index("2003-03-25")
    found = np.array(table["p_W"][first : first + 10], float)
    np.testing.assert_allclose(found, own.calibrated[:, JC.labels.index("W")], atol=1e-5)


def test_the_command_writes_and_says_where(model, spring, tmp_path):
    out = tmp_path / "new" / "days.csv"
    code, said, err = command("patterns", "predict", model, spring, "-o", out)
    assert (code, said) == (0, f"written: {out}\n"), err
    assert out.stat().st_size > 0
    assert [path.name for path in out.parent.iterdir()] == ["days.csv"]


def test_other_kinds_of_output_and_overwriting_the_input_are_refused(model, spring, tmp_path):
    with pytest.raises(ConfigError, match=r"days.txt: unknown kind .*\.csv or \.nc"):
        predict(model, spring, tmp_path / "days.txt")
    before = spring.read_bytes()
    with pytest.raises(ConfigError, match="the output is an input file"):
        predict(model, [spring], spring)
    assert spring.read_bytes() == before


def test_fields_that_the_model_needs_and_the_file_lacks(model, tmp_path):
    file = tmp_path / "t.nc"
    axes = np.arange(70.0, 29.0, -2.5), np.arange(-30.0, 11.0, 2.5)
    write_file(file, ("t850",), days_of(2003, 3), axes)
    with pytest.raises(DataError) as failure:
        predict(model, file, tmp_path / "days.csv")
    message = str(failure.value)
    assert message.startswith(f"{file.name}: msl: the files do not hold the fields of all channels")
    assert "found t850, expected msl (needs msl), grad_msl (needs msl)" in message
    # Channels of a trained model cannot be left out.
    assert message.endswith("next: name the files that hold msl, too; of ERA5: era5_msl_YEAR.nc")


def test_fields_that_the_model_does_not_use_may_have_other_times(model, spring, table, tmp_path):
    other = tmp_path / "t.nc"
    write_file(
        other, ("t850",), days_of(2001, 1), (np.arange(40.0, 29.0, -5), np.arange(0.0, 9, 5))
    )
    found = columns(predict(model, [other, spring], tmp_path / "days.csv"))
    assert found["p_W"] == table["p_W"]


def test_zarr_folders_and_addresses_are_predicted_like_files(model, spring, table, tmp_path):
    folder = tmp_path / "spring.zarr"
    with xr.open_dataset(spring) as days:
        days.to_zarr(folder, zarr_format=2)
    # An address of a bucket in this process.
    fsspec.filesystem("memory").put(str(folder), "/maps/spring.zarr", recursive=True)
    for name in (folder, "memory://maps/spring.zarr"):
        code, _, err = command("patterns", "predict", model, name, "-o", tmp_path / "days.csv")
        assert code == 0, err
        assert columns(tmp_path / "days.csv")["p_W"] == table["p_W"]


def around(days, first):
    """The same maps on the globe, counted from ``first``; elsewhere there is nothing to read."""
    lon = np.arange(first, first + 360.0, 2.5)
    return days.assign_coords(lon=(days["lon"] - first) % 360.0 + first).reindex(lon=lon)


@pytest.mark.parametrize("first", [0.0, -180.0])
def test_longitudes_may_be_counted_otherwise(model, table, tmp_path, first):
    def turned(days):
        return around(days, first)

    file = atlantic(tmp_path / "globe.nc", "2003-03-25", "2003-04-03", turned)
    assert columns(predict(model, file, tmp_path / "days.csv"))["p_W"] == table["p_W"]


@pytest.fixture(scope="module")
def winter(tmp_path_factory):
    """A run on daily means of six-hourly maps over Japan, on whatever grid the file has."""
    folder = tmp_path_factory.mktemp("winter")
    periods = {"train": ["2025-12-01/2026-01-20"], "validation": ["2026-01-21/2026-02-28"]}
    config = PatternsConfig(
        run={"name": "winter", "dir": folder},
        data={
            "files": [JAPAN], "hours": [0, 6, 12, 18], "daily": "mean", "channels": ["msl"],
            "netcdf": False, "store": folder / "store", "splits": {"scheme": "periods", **periods},
        },
        labels={"catalogue": "jc", "centre": [35, 135]},
        model={"backbone": "projection", "options": {"hidden": 8, "depth": 1}},
        train={"epochs": 1, "workers": 0},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        return train(config)


def test_a_model_of_daily_means_reads_daily_means(winter, tmp_path):
    own = DayTable.from_csv(winter / "probabilities_validation.csv")
    found = columns(predict(winter, JAPAN, tmp_path / "days.csv"))
    days = [str(time.astype("datetime64[D]")) for time in own.times]
    assert found["date"][-len(days) :] == days
    # Raw logits are compared where nothing was cross-fitted: the calibrated ones differ by fold.
    with xr.open_dataset(predict(winter, JAPAN, tmp_path / "days.nc")) as dataset:
        raw = dataset["probability_raw"].values[-len(days) :]
    np.testing.assert_allclose(raw, own.raw, atol=1e-5)


@pytest.mark.parametrize("turn", [360.0, -360.0])
def test_a_grid_that_was_never_cut_is_found_modulo_360(winter, tmp_path, turn):
    with xr.open_dataset(input_path(JAPAN)) as dataset:
        days = dataset.isel(time=slice(0, 8)).load()
    found = []
    for number, moved_ in enumerate((days, days.assign_coords(lon=days["lon"] + turn))):
        moved_.to_netcdf(tmp_path / f"{number}.nc")
        file = predict(winter, tmp_path / f"{number}.nc", tmp_path / f"{number}.csv")
        found.append(columns(file)["p_W"])
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_a_globe_that_begins_elsewhere_is_turned(winter, tmp_path):
    # Sixteen columns of Japan, 22.5 degrees apart, stand for a globe.
    with xr.open_dataset(input_path(JAPAN)) as dataset:
        days = dataset.isel(lon=slice(0, 16)).load().assign_coords(lon=np.arange(0.0, 360, 22.5))
    days.to_netcdf(tmp_path / "globe.nc")
    config = PatternsConfig(**yaml.safe_load((winter / "config.yaml").read_text()))
    labels = config.labels.model_copy(
        update={"file": str(config.data.store / "labels.csv"), "centre": None}
    )
    data = config.data.model_copy(
        update={"files": [str(tmp_path / "globe.nc")], "store": tmp_path / "store"}
    )
    run = config.run.model_copy(update={"dir": tmp_path})
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        folder = train(config.model_copy(update={"data": data, "labels": labels, "run": run}))
    turned = days.roll(lon=8, roll_coords=False).assign_coords(lon=np.arange(-180.0, 180, 22.5))
    turned.to_netcdf(tmp_path / "turned.nc")
    found = [
        columns(predict(folder, tmp_path / f"{name}.nc", tmp_path / f"{name}.csv"))
        for name in ("globe", "turned")
    ]
    assert found[0] == found[1]
    assert len(set(found[0]["p_W"])) > 10


def test_longitudes_between_those_of_the_model_are_refused(winter, tmp_path):
    with xr.open_dataset(input_path(JAPAN)) as dataset:
        off = dataset.assign_coords(lon=dataset["lon"] - 360.0 + 1.25).load()
    off.to_netcdf(tmp_path / "off.nc")
    with pytest.raises(DataError) as failure:
        predict(winter, tmp_path / "off.nc", tmp_path / "days.csv")
    message = str(failure.value)
    assert message.startswith("off.nc: another grid than the model's; found 17 x 17")
    assert "expected 17 x 17" in message


def test_other_hours_and_another_region_are_refused(model, spring, tmp_path):
    noon = moved(shutil.copy(spring, tmp_path / "noon.nc"), 12)
    with pytest.raises(DataError, match=r"no map at 00 UTC; found hours 12 UTC"):
        predict(model, noon, tmp_path / "days.csv")
    with pytest.raises(DataError, match="the grid does not cover the area"):
        predict(model, JAPAN, tmp_path / "days.csv")
    assert not (tmp_path / "days.csv").exists()


def test_a_model_folder_that_is_not_whole(model, spring, tmp_path):
    def copy(name):
        return shutil.copytree(model, tmp_path / name)

    (copy("without_weights") / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors: cannot be read"):
        predict(tmp_path / "without_weights", spring, tmp_path / "days.csv")
    bank = copy("damaged") / "analogues.safetensors"
    bank.write_bytes(bank.read_bytes()[:100])
    with pytest.raises(DataError, match=r"(?s)analogues\.safetensors: cannot be read.*copy the"):
        predict(tmp_path / "damaged", spring, tmp_path / "days.csv")
    for name in FOLDER[2:]:
        (tmp_path / "damaged" / name).unlink()
    # Without the training days there are no analogues, and all else is the same.
    table = columns(predict(tmp_path / "damaged", spring, tmp_path / "days.csv"))
    assert table["analogues"] == [""] * 10
    assert len(table["predicted"]) == 10


def test_a_type_without_threshold_is_neither_yes_nor_no(
    pattern_config, tiny_pattern_store, monkeypatch, spring, tmp_path
):
    undrawn(monkeypatch)
    lines = (tiny_pattern_store.path / "labels.csv").read_text().splitlines()
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(line.replace(",U", ",A") for line in lines))
    folder = train(
        pattern_config(
            tmp_path,
            data={"store": tmp_path / "store"},
            labels={"catalogue": "jc", "file": str(labels), "centre": None},
            train={"epochs": 1},
            report={"analogue_by": "s1", "analogues": 2},
        )
    )
    table = columns(predict(folder, spring, tmp_path / "days.csv"))
    assert table["decided_U"] == [""] * 10
    assert not any("U" in text.split("+") for text in table["predicted"])
    assert "U undefined" in table["thresholds_not_tuned"][0]
    assert all(text.count("; ") == 1 for text in table["analogues"])
    with xr.open_dataset(predict(folder, spring, tmp_path / "days.nc")) as dataset:
        u = dataset.sel(label="U")
        assert (u["decision"] == -1).all()
        assert np.isnan(u["threshold"])
        assert u["threshold_status"] == "undefined"


def test_a_model_without_pressure_has_analogues_and_no_charts(monkeypatch, caplog, tmp_path):
    undrawn(monkeypatch, keep_cases=True)
    monkeypatch.setattr("tenkizu.patterns.reporting.report", lambda folder: folder)
    write_year(tmp_path, 1991, tasks=["z_500_1000"])
    splits = {"train": ["1991-01/1991-08"], "validation": ["1991-09/1991-10"]}
    config = PatternsConfig(
        run={"name": "heights", "dir": tmp_path},
        data={
            "source": "era5", "raw_dir": tmp_path, "years": [1991], "channels": ["gh500"],
            "store": tmp_path / "store", "splits": {"scheme": "periods", **splits},
        },
        train={"epochs": 1, "workers": 0},
        report={"analogue_by": "s1"},
    )  # fmt: skip
    monkeypatch.setattr(logging.getLogger("tenkizu"), "propagate", True)
    folder = train(config)
    assert "no charts of days: the store holds no sea level pressure" in caplog.text
    assert "figures could not be drawn" not in caplog.text
    file = tmp_path / "era5_z_500_1000_1991.nc"
    table = columns(predict(folder, file, tmp_path / "days.csv"))
    assert len(table["date"]) == 365
    # By what the network makes of the maps, since there is no pressure to compare.
    assert all(text.count("; ") == 4 for text in table["analogues"])

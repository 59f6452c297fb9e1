"""Every shipped configuration through the real commands, shortened."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from era5_files import write_year
from short_runs import command, undrawn

from tenkizu.core.store import SampleStore
from tenkizu.patterns.catalogues import YOSHINO
from tenkizu.patterns.physics.channels import DEFAULT, SEED
from tenkizu.patterns.verification.days import DayTable

CONFIGS = Path(__file__).parents[2] / "configs"

# Days with each type among the test days 2009-2010, by an independent count.
ATLANTIC_TEST = (233, 207, 44, 30, 21, 22, 67, 117, 97, 66, 14)
ATLANTIC_BASELINES = {"prevalence": 0.114, "climatology": 0.127, "persistence": 0.217}
YOSHINO_BASELINES = {"prevalence": 0.102, "climatology": 0.232, "persistence": 0.225}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def scores_of(folder, split):
    return read(folder / "evaluation" / split / "scores.json")


def run_through(name, place, *overrides):
    """Check, prepare, plan and train a shipped configuration; returns the run folder."""
    config = CONFIGS / f"{name}.yaml"
    settings = [f"run.dir={place}", f"data.store={place / 'store'}", *overrides]
    code, out, err = command("config", "check", config)
    assert (code, out) == (0, f"{config}: ok\n"), err
    for more in (["prepare"], ["train", "--dry-run"], ["train"]):
        code, out, err = command("patterns", more[0], config, *settings, *more[1:])
        assert code == 0, err
    assert "yes every day" in out
    return place / name


def assert_baselines(scores, expected):
    found = {name: scores["baselines"][name]["map"] for name in expected}
    assert found == pytest.approx(expected, abs=5e-4)


def test_every_shipped_configuration_is_run_here():
    shipped = {path.stem for path in CONFIGS.glob("patterns_*.yaml")}
    assert shipped == {
        "patterns_demo", "patterns_natlantic", "patterns_jc_japan",
        "patterns_japan", "patterns_japan_seed",
    }  # fmt: skip


def test_the_demo(tmp_path, monkeypatch):
    undrawn(monkeypatch)
    folder = run_through("patterns_demo", tmp_path, "train.epochs=4", "train.members=1")
    scores = scores_of(folder, "test")
    assert scores["n_days"] == 730
    assert tuple(one["support"] for one in scores["classes"].values()) == ATLANTIC_TEST
    assert scores["by_kind"]["composite"]["n_days"] == 188
    assert scores["macro_f1_provenance"] == "held-out"
    assert_baselines(scores, ATLANTIC_BASELINES)
    # Four epochs of one network see more than any baseline.
    assert scores["map"] > 0.4


def test_the_long_atlantic_run(tmp_path, monkeypatch):
    undrawn(monkeypatch)
    folder = run_through("patterns_natlantic", tmp_path, "train.epochs=2", "train.members=2")
    scores = scores_of(folder, "test")
    assert set(scores["members"]["each"]) == {"member_1", "member_2"}
    assert scores["ranking"] == "calibrated"
    assert_baselines(scores, ATLANTIC_BASELINES)


def test_another_region_and_grid_need_no_code(tmp_path, monkeypatch):
    undrawn(monkeypatch)
    folder = run_through("patterns_jc_japan", tmp_path, "train.epochs=3")
    sizes = {split: scores_of(folder, split)["n_days"] for split in ("validation", "test")}
    assert sizes == {"validation": 19, "test": 20}
    model = read(folder / "model.json")
    assert model["config"]["labels"]["centre"] == [35.0, 135.0]
    assert len(model["grid"]["y"]) == len(model["grid"]["x"]) == 17
    with (folder / "analogues.json").open() as handle:
        assert len(json.load(handle)["days"]) == 51


@pytest.fixture(scope="module")
def two_years(tmp_path_factory):
    """ERA5 files of all 23 tasks of 1991 and 1998, 2.5 degrees, with 31 December 1990."""
    folder = tmp_path_factory.mktemp("era5")
    write_year(folder, 1991)
    write_year(folder, 1998, before=False)
    return folder


@pytest.fixture(scope="module")
def decade(tmp_path_factory):
    """ERA5 files of all 23 tasks of 1991 to 2000, 2.5 degrees: 231 files."""
    folder = tmp_path_factory.mktemp("decade")
    for year in range(1991, 2001):
        write_year(folder, year, before=year == 1991)
    assert len(list(folder.iterdir())) == 231
    return folder


def japan(name, place, raw, *overrides):
    return run_through(name, place, f"data.raw_dir={raw}", "train.workers=0", *overrides)


def test_japan_on_two_years_and_from_raw_files_alone(two_years, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    short = ["data.years=[1991,1998]", "train.epochs=1"]
    folder = japan("patterns_japan", tmp_path, two_years, *short)
    norm, thresholds = read(folder / "norm.json"), read(folder / "thresholds.json")
    assert norm["selected_variables"][:3] == ["msl", "gh500", "t850"]
    assert set(norm["selected_variables"]) == set(DEFAULT)
    assert read(folder / "model.json")["parameters"] == 580256 + 288 * 46 + 513 * 15
    assert norm["units"][0] == "Pa"
    assert norm["transform"][norm["channel_names"].index("tp")] == "log1p"
    assert (norm["train_years"], norm["val_years"]) == ([1991], [1998])
    # 1 January 1998 has no map of the day before.
    assert norm["count"] == 365
    validation = scores_of(folder, "validation")
    assert validation["n_days"] == 364
    assert validation["provenance"] == "cross-fitted"
    counts = [one["support"] for one in validation["classes"].values()]
    of_1998 = [73, 50, 19, 47, 26, 51, 48, 26, 18, 88, 61, 28, 8, 4, 0]
    of_1998[YOSHINO.labels.index("2C")] -= 1  # the label of 1 January
    assert counts == of_1998
    status = dict(zip(thresholds["labels"], thresholds["status"], strict=True))
    assert status["6A"] == status["6B"] == "few_positives"
    assert status["6C"] == "undefined"
    assert thresholds["thresholds"][-1] is None
    assert thresholds["thresholds"][status_index(thresholds, "6B")] == 0.5
    log = (folder / "run.log").read_text()
    assert "no training day has 6C" in log
    assert "corrected three times" not in log

    # As a user with a model folder and nine hours later on the calendar than UTC.
    files = sorted(two_years.glob("era5_*_1998.nc"))
    out = tmp_path / "days.nc"
    code, _, err = command("patterns", "predict", folder, *files, "-o", out)
    assert code == 0, err
    own = DayTable.from_csv(folder / "probabilities_validation.csv")
    with xr.open_dataset(out) as dataset:
        assert dataset.sizes["time"] == 365
        assert list(dataset["label"].values) == list(YOSHINO.labels)
        np.testing.assert_array_equal(dataset["time"][1:], own.times.astype("datetime64[ns]"))
        np.testing.assert_allclose(dataset["probability_raw"][1:], own.raw, atol=1e-5)
        assert (dataset["decision"].sel(label="6C") == -1).all()
    choice = ["--days", "1998-01-02/1998"]
    code, _, err = command(
        "patterns", "evaluate", folder, *files, "-o", tmp_path / "scores", *choice
    )
    assert code == 0, err
    again = read(tmp_path / "scores" / "scores.json")
    assert again["map"] == pytest.approx(validation["map"], abs=1e-6)
    assert again["provenance"] == "in-sample"
    assert again["labels_source"] == "yoshino_1991_2000.csv"
    fewer = [path for path in files if "_q_850_" not in path.name]
    code, _, err = command("patterns", "predict", folder, *fewer, "-o", out)
    assert code == 3
    assert "thetae850 (needs q850)" in err


def status_index(thresholds, label):
    return thresholds["labels"].index(label)


def test_the_seed_recipe_on_two_years(two_years, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    short = ["data.years=[1991,1998]", "train.epochs=1"]
    folder = japan("patterns_japan_seed", tmp_path, two_years, *short)
    norm, thresholds = read(folder / "norm.json"), read(folder / "thresholds.json")
    assert set(norm["selected_variables"]) == set(SEED)
    assert len(SEED) == 42
    assert read(folder / "model.json")["parameters"] == 600_047
    assert norm["units"][0] == "hPa"
    assert 980 < norm["mean"][0] < 1040
    assert set(norm["transform"]) == {"linear"}
    assert thresholds["thresholds"][status_index(thresholds, "6B")] == 0.7
    assert thresholds["status"][-1] == "undefined"
    scores = scores_of(folder, "validation")
    assert scores["macro_f1_provenance"] == scores["provenance"] == "in-sample"
    assert scores["undecided"] == ["6C"]
    assert all(one["provenance"] == "in-sample" for one in scores["classes"].values())
    calibrated = DayTable.from_csv(folder / "probabilities_validation.csv")
    np.testing.assert_array_equal(calibrated.raw, calibrated.calibrated)
    assert "imbalance is corrected three times" in (folder / "run.log").read_text()


@pytest.mark.slow
def test_japan_on_the_decade(decade, tmp_path):
    folder = japan("patterns_japan", tmp_path, decade, "train.epochs=2")
    store = SampleStore(tmp_path / "store")
    assert len(store) == 3653
    assert store.meta["left_out"] == []
    assert read(folder / "norm.json")["count"] == 2557
    scores = scores_of(folder, "validation")
    assert scores["n_days"] == 1096
    assert [one["support"] for one in scores["classes"].values()] == [
        226, 185, 88, 112, 73, 97, 171, 95, 51, 212, 177, 110, 50, 20, 3,
    ]  # fmt: skip
    assert_baselines(scores, YOSHINO_BASELINES)
    assert scores["map_classes"] == 15
    assert scores["map_min10_classes"] == 14
    assert scores["provenance"] == "cross-fitted"
    assert read(folder / "thresholds.json")["status"][-1] == "few_positives"
    assert (folder / "report" / "index.html").stat().st_size > 100_000
    with (folder / "cases" / "validation_analogues.csv").open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert len(rows) > 8 * 5


@pytest.mark.slow
def test_the_seed_recipe_on_the_decade(decade, tmp_path):
    folder = japan("patterns_japan_seed", tmp_path, decade, "train.epochs=2")
    scores = scores_of(folder, "validation")
    assert scores["provenance"] == "in-sample"
    assert_baselines(scores, YOSHINO_BASELINES)
    log = (folder / "run.log").read_text()
    assert "each of the 2 training days with 6C is drawn about 85 times an epoch" in log
    assert "the effective sample is 366 of 2557 days" in log


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet_small", "deformable", "convnext_tiny"])
def test_japan_with_the_other_backbones(two_years, tmp_path, monkeypatch, backbone):
    undrawn(monkeypatch)
    parameters = {
        "resnet_small": 3_058_048 + 576 * 46 + 1025 * 15,
        "deformable": 1_558_910 + 738 * 46 + 1025 * 15,
        "convnext_tiny": 3_748_032 + 1024 * 46 + 257 * 15,
    }
    short = ["data.years=[1991,1998]", "train.epochs=1", "data.splits.scheme=periods"]
    days = ["data.splits.train=[1991-01-01/1991-01-31]", "data.splits.validation=[1998-01/1998-03]"]
    chosen = f"model.backbone={backbone}"
    folder = japan("patterns_japan", tmp_path, two_years, *short, *days, chosen)
    assert read(folder / "model.json")["parameters"] == parameters[backbone]
    assert scores_of(folder, "validation")["n_days"] == 89

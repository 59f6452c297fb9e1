"""`evaluate` from a file or a store to all that it writes; the model is an untrained network."""

import json
import logging

import numpy as np
import pytest
import torch
import xarray as xr

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.stats import Moments
from tenkizu.rain import evaluation
from tenkizu.rain.config import DataConfig, ModelConfig, RainConfig, ScoresConfig
from tenkizu.rain.dataset import input_channels
from tenkizu.rain.evaluation import evaluate, evaluate_store
from tenkizu.rain.model import Disaggregator, export
from tenkizu.rain.preparation import prepare

ENDS = ("best", "worst")
METHODS = ["model", "equal", "linear", "climatological", "motion"]
WRITTEN = ("scores.json", "evaluation.txt", "equal_split_detailed.txt", "equal_split_maps.npz")
DATA = {"files": ["none"], "store": "none", "splits": {"train": ["2023-05-30/2023-06-01"]}}


@pytest.fixture(scope="module")
def make_model(tiny_store, tmp_path_factory):
    """Export an untrained model, with settings for ``scores``."""

    def make(**scores):
        shape = ModelConfig(
            embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=2, patch_size=2
        )
        torch.manual_seed(1)
        moments = Moments.from_json(tiny_store.meta["statistics"]["log1p_mm"])
        net = Disaggregator(shape, input_channels(DataConfig(**DATA), moments))
        details = {
            "name": "untrained",
            "climatology": tiny_store.meta["climatology"],
            "config": {"scores": scores, "plots": {"cases": 0}},
        }
        return export(tmp_path_factory.mktemp("model"), net, shape, details)

    return make


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def evaluated(model, tiny_rain_file, tmp_path_factory):
    """The scores of 40 windows and the folder they were written to."""
    folder = tmp_path_factory.mktemp("evaluation")
    return evaluate(model, tiny_rain_file, folder), folder


def read(folder):
    return json.loads((folder / "scores.json").read_text())


# ---------------------------------------------------------------------------- what is written


def test_everything_promised_is_written(evaluated):
    _, folder = evaluated
    for name in WRITTEN:
        assert (folder / name).stat().st_size > 0, name
    assert not list(folder.glob(".*"))


def test_scores_json_keeps_its_keys_and_has_the_new_ones(evaluated):
    scores = read(evaluated[1])
    assert scores["n_windows"] == 40
    assert scores["n_cells"] == 40 * 24 * 32
    for key in ("rmse_1h", "mae_1h", "rmse_1h_conditional", "wet_hours", "wet_pattern"):
        assert list(scores[key]) == METHODS, key
    assert set(scores["mse_skill"]) == {"all", "conditional"}
    for subset in ("all", "conditional"):
        skill = scores["mse_skill"][subset]
        assert isinstance(skill, float)
        assert skill == scores["mse_skill_by_method"][subset]["model"]
    assert scores["max_relative_sum_error"] < 1e-6
    assert set(scores["binary_hourly"]["model"]) == {"pooled", "FT+4", "FT+5", "FT+6"}
    assert set(scores["categories_hourly"]) == {"edges_mm", *METHODS}
    for key in ("skill_by_amount", "skill_by_hour_of_day", "skill_by_season"):
        for method in METHODS:
            for entry in scores[key][method].values():
                assert set(entry) == {"skill", "cells"}
    assert list(scores["skill_by_season"]["model"]) == ["DJF", "MAM", "JJA", "SON"]
    assert scores["skill_by_season"]["model"]["DJF"] == {"skill": None, "cells": 0}
    assert len(scores["wet_pattern"]["linear"]["confusion_truth_by_prediction"]) == 8
    assert len(scores["peak_hour"]["model"]["confusion_truth_by_prediction"]) == 3


def test_fss_has_its_matrices_and_what_is_too_wide_is_undefined(evaluated):
    fss = read(evaluated[1])["fss"]
    assert fss["thresholds_mm"] == [1, 5, 10, 20, 30, 50]
    assert fss["windows_cells"] == [1, 3, 5, 9, 17, 33, 65]
    # 24 x 32 cells: 33 does not fit.
    assert fss["fields"] == [120] * 5 + [0, 0]
    assert fss["windows_km"][1] == pytest.approx(3 * fss["windows_km"][0])
    for method in METHODS:
        matrix = fss[method]
        assert [len(row) for row in matrix] == [7] * 6
        assert all(row[5:] == [None, None] for row in matrix)
        assert 0 < matrix[0][0] < matrix[0][4] <= 1
    for f0, useful in zip(fss["base_rate"], fss["useful"], strict=True):
        assert useful == pytest.approx(0.5 + f0 / 2)
    assert fss["base_rate"] == sorted(fss["base_rate"], reverse=True)


def test_spectra_tell_how_smooth_each_method_is(evaluated):
    _, folder = evaluated
    spectra = read(folder)["spectra"]
    assert (spectra["windows_used"], spectra["windows_left_out"]) == (40, 0)
    assert (spectra["rows"], spectra["columns"]) == ([0, 23], [0, 31])
    assert list(spectra["ratio"]) == METHODS
    assert list(spectra["power"]) == ["truth", *METHODS]
    for method in METHODS:
        for hour in ("FT+4", "FT+5", "FT+6", "pooled"):
            own, truth = (np.array(spectra["power"][m][hour]) for m in (method, "truth"))
            np.testing.assert_allclose(spectra["ratio"][method][hour], own / truth, rtol=1e-9)
    # A third of the total has the variance of the mean of three hours, less than that of one.
    assert max(spectra["ratio"]["equal"]["pooled"]) < 1
    text = (folder / "evaluation.txt").read_text()
    lines = text[text.index("Power spectrum, ratio to the truth") :].splitlines()
    # 4, 8 and 16 cells; the longest wave is 24 or 32 cells, and 24 is not near 32.
    assert [len(line.split("  ")) > 3 for line in lines[4:]] == [True] * (1 + len(METHODS))
    cells = np.array(spectra["wavelengths_cells"])
    ring = int(np.abs(np.log(cells / 4)).argmin())
    assert f"{spectra['wavelengths_km'][ring]:.3g} km" in lines[4]
    assert f"{spectra['ratio']['equal']['pooled'][ring]:.3f}" in lines[6]
    assert (folder / "spectra.png").stat().st_size > 0


def test_scores_agree_with_the_file_itself(evaluated, tiny_rain):
    scores = read(evaluated[1])
    windows = tiny_rain.reshape(40, 3, 24, 32).astype(np.float64)
    total = windows.sum(axis=1, keepdims=True)
    wet = np.broadcast_to(total.astype(np.float32) >= np.float32(0.1), windows.shape)
    error = windows - total / 3
    assert scores["rmse_1h"]["equal"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    expected = np.sqrt((error[wet] ** 2).mean())
    assert scores["rmse_1h_conditional"]["equal"] == pytest.approx(expected, rel=1e-6)
    assert scores["equal_split"]["overall"]["rmse_equal"] == pytest.approx(expected, rel=1e-6)
    ever = (tiny_rain >= np.float32(1)).mean()
    assert scores["fss"]["base_rate"][0] == pytest.approx(ever)


def test_the_parts_of_an_evaluation_agree_with_each_other(evaluated):
    scores, folder = evaluated
    found = scores["equal_split"]
    assert found["overall"]["cells"] == scores["n_cells_conditional"]
    skill = scores["mse_skill"]["conditional"]
    assert found["overall"]["skill"]["value"] == pytest.approx(skill, rel=1e-12)
    against = scores["intervals"]["skill_against_equal"]
    assert list(against) == METHODS
    assert against["model"]["conditional"]["value"] == pytest.approx(skill, rel=1e-12)
    assert against["model"]["conditional"] == pytest.approx(found["overall"]["skill"], rel=1e-9)
    for label, entry in scores["skill_by_amount"]["model"].items():
        assert found["by_amount"][label]["cells"] == entry["cells"]
        mine = found["by_amount"][label]["skill"]["value"]
        assert mine == pytest.approx(entry["skill"], rel=1e-9, nan_ok=True)
    with np.load(folder / "equal_split_maps.npz") as maps:
        assert maps["total_count_map"].sum() == scores["n_cells_conditional"]
        assert maps["improved_count_map"].sum() == found["overall"]["wins"]
        assert maps["n_times"] == 40
        assert maps["lat"].shape == (24,)
        assert maps["lat"][0] > maps["lat"][-1]
        assert maps["lon"].shape == (32,)


def test_intervals_hold_the_value_and_name_the_best_baseline(evaluated):
    scores, _ = evaluated
    made = scores["intervals"]
    assert made["blocks"] == 10
    assert made["block_hours"] == pytest.approx(12)
    for entry in made["skill_against_equal"].values():
        for estimate in (entry["all"], entry["conditional"]):
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
    best = made["skill_against_best_baseline"]
    errors = {m: scores["rmse_1h_conditional"][m] for m in METHODS[1:]}
    assert best["baseline"] == min(errors, key=errors.get)
    ratio = scores["rmse_1h_conditional"]["model"] / errors[best["baseline"]]
    assert best["conditional"]["value"] == pytest.approx(1 - ratio**2)


def test_the_report_names_every_score(evaluated):
    text = (evaluated[1] / "evaluation.txt").read_text()
    for part in (
        "equal split S/3", "linear interpolation", "climatological shares", "RMSE FT+4",
        "Skill by S, mm", "Skill by UTC hour of t0", "Skill by season of t0", "Hourly events, FT+6",
        "Hourly classes", "Number and pattern of wet hours", "Peak hour",
        "Fractions skill score", "best baseline", "95 % intervals",
    ):  # fmt: skip
        assert part in text, part
    assert "nan" not in text.lower()
    assert "None" not in text


# ---------------------------------------------------------------------------- ways to ask


def test_a_store_gives_the_scores_of_its_file(make_model, tiny_config, tiny_store, tiny_rain_file,
                                              tiny_rain, write_rain, tmp_path):  # fmt: skip
    model = make_model(fss_windows=[1, 3])
    config = RainConfig(
        **tiny_config.model_dump(exclude={"scores", "plots"}),
        scores=ScoresConfig(fss_windows=[1, 3]),
        plots={"cases": 0},
    )
    stored = evaluate_store(model, tiny_store, "test", tmp_path / "store", config)
    # The seven test windows: 3 June from 03 UTC, with their neighbours.
    assert stored["n_windows"] == 7
    assert stored["data"].endswith("(test)")
    assert stored["equal_split"]["overall"]["verdict"] == "too few blocks"
    assert np.isnan(stored["intervals"]["skill_against_equal"]["model"]["all"]["low"])
    file = write_rain(tmp_path / "day.nc", tiny_rain[-24:], np.datetime64("2023-06-03T01:00"))
    day = evaluate(model, file, tmp_path / "file")
    assert day["n_windows"] == 8
    # The window on the border of the splits, t0 = 21 UTC, is in the file only.
    rest = stored["skill_by_hour_of_day"]["equal"]
    assert rest.pop("21")["cells"] == 0
    for hour, entry in rest.items():
        assert entry["cells"] == day["skill_by_hour_of_day"]["equal"][hour]["cells"], hour


def test_a_land_mask_adds_scores_by_surface(make_model, tiny_rain, write_rain, tmp_path):
    model = make_model(fss_windows=[])
    file = write_rain(tmp_path / "day.nc", tiny_rain[:24])
    land = np.arange(32) < np.full((24, 1), 10)
    scores = evaluate(model, file, tmp_path / "out", land=land)
    entries = scores["skill_by_surface"]["model"]
    wet = tiny_rain[:24].reshape(8, 3, 24, 32).sum(axis=1, dtype=np.float64) >= 0.1
    assert entries["land"]["cells"] == wet[:, land].sum()
    assert entries["sea"]["cells"] == wet[:, ~land].sum()
    assert set(scores["equal_split"]["by_surface"]) == {"land", "sea"}
    assert "Land and sea" in (tmp_path / "out" / "equal_split_detailed.txt").read_text()
    assert "Skill on land and sea" in (tmp_path / "out" / "evaluation.txt").read_text()
    # No windows were asked for, so there is no section on them.
    assert "Fractions" not in (tmp_path / "out" / "evaluation.txt").read_text()
    with pytest.raises(DataError, match="land mask"):
        evaluate(model, file, tmp_path / "out", land=land[:, :-1])


# ---------------------------------------------------------------------------- dry and short runs


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_all_dry_run_comes_out_whole(model, write_rain, tmp_path):
    file = write_rain(tmp_path / "dry.nc", np.zeros((30, 8, 9), np.float32))
    evaluate(model, file, tmp_path / "out")
    scores = read(tmp_path / "out")
    assert scores["n_cells"] == 10 * 72
    assert scores["n_cells_conditional"] == 0
    assert scores["mse_skill"] == {"all": None, "conditional": None}
    assert scores["rmse_1h"]["model"] == 0.0
    assert scores["equal_split"]["overall"]["verdict"] == "n/a"
    assert scores["fss"]["model"][0] == [None] * 7
    assert scores["fss"]["base_rate"][0] == 0
    assert scores["wet_hours"]["model"]["all"]["confusion_truth_by_prediction"][0][0] == 720
    for name in WRITTEN:
        assert (tmp_path / "out" / name).exists(), name
    assert "n/a" in (tmp_path / "out" / "equal_split_detailed.txt").read_text()


def test_windows_without_a_single_known_cell_are_refused(
    model, tiny_config, tiny_rain, write_rain, tmp_path
):
    rain = tiny_rain.copy()
    # The last day, 3 June, is the test period.
    rain[-24:] = np.nan
    file = write_rain(tmp_path / "gone.nc", rain)
    config = tiny_config.model_copy(
        update={"data": tiny_config.data.model_copy(update={"files": [str(file)]})}
    )
    with pytest.raises(DataError, match=r"\(test\): no cell .* found 7 windows of missing values"):
        evaluate_store(model, prepare(config), "test", tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_one_window_comes_out_whole_without_a_verdict(model, tiny_rain, write_rain, tmp_path):
    file = write_rain(tmp_path / "one.nc", tiny_rain[60:63], np.datetime64("2023-06-01T13:00"))
    scores = evaluate(model, file, tmp_path / "out")
    assert scores["n_windows"] == 1
    assert scores["equal_split"]["overall"]["verdict"] == "too few blocks"
    text = (tmp_path / "out" / "equal_split_detailed.txt").read_text()
    assert "too few blocks" in text
    assert "Better" not in text
    assert "\n1 window, " in (tmp_path / "out" / "evaluation.txt").read_text()
    # Nothing but the windows that were asked for is drawn, and the model's run asked for none.
    assert scores["cases"] == {"heaviest": [], "best": [], "worst": []}
    for name in WRITTEN:
        assert (tmp_path / "out" / name).exists(), name


def test_which_windows_are_drawn_can_be_said_in_words(
    make_model, tiny_rain, write_rain, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(evaluation.WindowPanels, "draw", lambda _, *window: drawn.append(window))
    file, model = write_rain(tmp_path / "day.nc", tiny_rain[:24]), make_model(fss_windows=[])
    scores = evaluate(model, file, tmp_path / "all", cases="all")
    assert len({start for start, *_ in drawn}) == scores["n_windows"] == 8
    with pytest.raises(ConfigError, match="cases: not a choice of windows; found some"):
        evaluate(model, file, tmp_path / "some", cases="some")
    assert not (tmp_path / "some").exists()


def test_panels_of_the_windows_with_most_rain_and_of_both_ends_of_skill(
    make_model, tiny_rain, write_rain, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(evaluation.WindowPanels, "draw", lambda _, *window: drawn.append(window))
    file = write_rain(tmp_path / "days.nc", tiny_rain[:48])
    scores = evaluate(make_model(fss_windows=[]), file, tmp_path / "out", cases=1)
    skills, (best,), (worst,) = scores["skill_by_window"], *map(scores["cases"].get, ENDS)
    ranked = [v for v in skills.values() if np.isfinite(v)]
    # Windows with little rain may be further out, but are not called the best or the worst.
    assert min(ranked) <= skills[worst] < np.median(ranked) < skills[best] <= max(ranked)
    totals = tiny_rain[:48].reshape(16, -1).sum(axis=1, dtype=np.float64)
    (heaviest,) = scores["cases"]["heaviest"]
    assert heaviest == list(skills)[totals.argmax()]
    said = {evaluation.window_label(start): why for start, _, _, why in drawn}
    assert set(said) == {best, worst, heaviest}
    assert "highest skill" in said[best]
    assert f"MSE skill against S/3 {skills[best]:.3f}".replace("-", "\N{MINUS SIGN}") in said[best]


def test_missing_cells_leave_every_score_alike(model, tiny_rain, write_rain, tmp_path):
    rain = tiny_rain[:30].copy()
    rain[4, 5, 6] = np.nan
    rain[:, 0, :] = np.nan
    scores = evaluate(model, write_rain(tmp_path / "gaps.nc", rain), tmp_path / "out")
    assert scores["n_cells"] == 10 * 23 * 32 - 1
    for method in METHODS:
        assert np.isfinite(scores["rmse_1h"][method])
        counts = scores["binary_hourly"][method]["pooled"]["1"]
        names = ("hits", "misses", "false_alarms", "correct_negatives")
        assert sum(counts[name] for name in names) == 3 * scores["n_cells"]
    known = tiny_rain[:30, 1:].astype(np.float64)
    hidden = known[3:6, 4, 6]
    events = (known >= 1).sum() - (hidden >= 1).sum()
    assert scores["fss"]["base_rate"][0] == pytest.approx(events / (3 * scores["n_cells"]))


def test_a_failing_figure_never_loses_scores(model, tiny_rain, write_rain, tmp_path, monkeypatch,
                                             caplog):  # fmt: skip
    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(evaluation, "_draw", broken)
    file = write_rain(tmp_path / "day.nc", tiny_rain[:12])
    with caplog.at_level(logging.ERROR):
        scores = evaluate(model, file, tmp_path / "out")
    assert "figures could not be drawn" in caplog.text
    assert read(tmp_path / "out")["n_windows"] == scores["n_windows"] == 4
    for name in WRITTEN:
        assert (tmp_path / "out" / name).exists(), name


def test_a_land_file_does_as_a_mask(make_model, tiny_rain, write_rain, tmp_path):
    model = make_model(fss_windows=[])
    file = write_rain(tmp_path / "day.nc", tiny_rain[:24])
    land = np.arange(32) < np.full((24, 1), 10)
    with xr.open_dataset(file, engine="h5netcdf") as rain:
        rows, columns = rain["rain"].dims[1:] if "rain" in rain else ("lat", "lon")
        south_first = bool(rain[rows][0] < rain[rows][-1])
        axes = {name: rain[name].values for name in (rows, columns)}
    values = land[::-1] if south_first else land
    static = xr.Dataset({"land": ((rows, columns), values.astype(np.float32))}, axes)
    static.to_netcdf(tmp_path / "land.nc", engine="h5netcdf")
    evaluate(model, file, tmp_path / "file", land=tmp_path / "land.nc")
    evaluate(model, file, tmp_path / "mask", land=land)
    by_file, by_mask = ((tmp_path / name / "scores.json").read_text() for name in ("file", "mask"))
    assert by_file == by_mask
    assert '"sea"' in by_file

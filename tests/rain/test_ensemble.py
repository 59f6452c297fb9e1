"""`evaluate_ensemble`, `predict_ensemble` and the command, with untrained networks of two seeds."""

import json
import shutil
from datetime import datetime

import numpy as np
import pytest
import torch
import typer
import xarray as xr
from jma_bytes import FieldSpec, message
from jma_products import SMALL, sea_mask, smooth_rain, write_guidance, write_meps_rain
from matplotlib.image import imread
from typer.testing import CliRunner

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.normaliser import ChannelScale
from tenkizu.core.stats import Moments
from tenkizu.rain.cli_ensemble import ensemble
from tenkizu.rain.config import DataConfig, ModelConfig
from tenkizu.rain.dataset import input_channels
from tenkizu.rain.ensemble import evaluate_ensemble, predict_ensemble
from tenkizu.rain.ensemble_figures import draw_reliability
from tenkizu.rain.ensemble_members import load_members
from tenkizu.rain.model import Disaggregator, RainModel, export
from tenkizu.rain.prediction import predict

WRITTEN = ["ensemble.txt", "ensemble_scores.json", "rank_histogram.png", "reliability.png"]
DATA = {"files": ["none"], "store": "none", "splits": {"train": ["2023-05-30/2023-06-01"]}}


def wind_scale(name):
    return ChannelScale(name, "m s-1", std=10.0)


@pytest.fixture(scope="module")
def make_model(tiny_store, tmp_path_factory):
    """Export an untrained model of a seed, with changes to its shape, inputs and description."""

    def make(seed, shape=None, fields=(), **details):
        small = ModelConfig(
            # With a prior every untrained model would give the prior.
            prior="none",
            embed_dim=8,
            depths=[2, 2],
            num_heads=[1, 2],
            window_size=2,
            patch_size=2,
            **(shape or {}),
        )
        torch.manual_seed(seed)
        moments = Moments.from_json(tiny_store.meta["statistics"]["log1p_mm"])
        channels = [*input_channels(DataConfig(**DATA), moments), *map(wind_scale, fields)]
        net = Disaggregator(small, channels)
        description = {
            "name": f"seed{seed}",
            "climatology": tiny_store.meta["climatology"],
            "config": {"scores": {}, "plots": {"cases": 0}},
        }
        folder = tmp_path_factory.mktemp(f"seed{seed}")
        return export(folder, net, small, description | details)

    return make


@pytest.fixture(scope="module")
def models(make_model):
    return [make_model(1), make_model(2)]


@pytest.fixture(scope="module")
def evaluated(models, tiny_rain_file, tmp_path_factory):
    """The scores of 40 windows and the folder they were written to."""
    folder = tmp_path_factory.mktemp("ensemble")
    return evaluate_ensemble(models, tiny_rain_file, folder), folder


@pytest.fixture
def without_figures(monkeypatch):
    """Draw nothing, to save time."""
    monkeypatch.setattr("tenkizu.rain.ensemble._draw", lambda *_: None)


@pytest.fixture(scope="module")
def hours(models, tiny_rain_file, tmp_path_factory):
    """Both members' hours (2, 120, 24, 32), mm, by `predict`, which knows no ensemble."""
    folder = tmp_path_factory.mktemp("hours")
    files = [predict(m, tiny_rain_file, folder / f"{i}.nc") for i, m in enumerate(models)]
    return np.stack([xr.load_dataset(file, engine="h5netcdf")["rain_1h"] for file in files])


# ---------------------------------------------------------------------------- scores


def test_everything_promised_is_written(evaluated):
    scores, folder = evaluated
    assert sorted(path.name for path in folder.iterdir()) == WRITTEN
    stored = json.loads((folder / "ensemble_scores.json").read_text())
    assert stored["n_windows"] == 40
    assert stored["n_members"] == 2
    assert [one["name"] for one in stored["models"]] == ["seed1", "seed2"]
    assert stored["crps"] == scores["crps"]
    assert set(stored["brier"]) == {"1", "5", "10"}
    for name in WRITTEN[2:]:
        assert imread(folder / name).shape[1] == 1600


def test_scores_agree_with_the_members_own_files(evaluated, hours, tiny_rain):
    scores, _ = evaluated
    windows = tiny_rain.reshape(40, 3, 24, 32)
    total = windows.sum(axis=1, dtype=np.float64).astype(np.float32)
    wet = np.repeat(total[:, None] >= np.float32(0.1), 3, axis=1)
    members = hours.astype(np.float64).reshape(2, *windows.shape)[:, wet]
    truth = windows.astype(np.float64)[wet]
    assert scores["n_cells_conditional"] == wet[:, 0].sum()
    # Of two members, by hand: their mean distance from the truth less half that between them.
    error = np.abs(members - truth)
    expected = (error.mean(axis=0) - np.abs(members[0] - members[1]) / 2).mean()
    assert scores["crps"]["ensemble"]["pooled"] == pytest.approx(expected, rel=1e-6)
    assert scores["crps"]["one_member"]["pooled"] == pytest.approx(error.mean(), rel=1e-6)
    third = np.abs(np.repeat(total[:, None] / 3, 3, axis=1)[wet] - truth)
    assert scores["crps"]["equal"]["pooled"] == pytest.approx(third.mean(), rel=1e-6)
    rmse = np.sqrt(((members.mean(axis=0) - truth) ** 2).mean())
    assert scores["rmse_1h_conditional"]["mean"] == pytest.approx(rmse, rel=1e-6)
    assert scores["max_relative_sum_error"] < 1e-6
    made = scores["intervals"]
    assert scores["crps"]["mean"]["pooled"] == scores["mae_1h_conditional"]["mean"]
    for name in ("equal", "mean"):
        found = made[f"crps_skill_against_{name}"]
        assert found["value"] == pytest.approx(scores["crps_skill"][name]["pooled"], rel=1e-12)
        assert found["low"] < found["value"] < found["high"]


def test_the_order_of_models_changes_nothing(
    models, tiny_rain, write_rain, tmp_path, without_figures
):
    file = write_rain(tmp_path / "hours.nc", tiny_rain[60:75], np.datetime64("2023-06-01T13:00"))
    scores = evaluate_ensemble(models, file, tmp_path / "one")
    other = evaluate_ensemble(models[::-1], file, tmp_path / "other")
    for key in ("crps", "crps_skill", "energy_score"):
        for name, value in scores[key].items():
            assert other[key][name] == pytest.approx(value, rel=1e-9), (key, name)
    assert other["spread_error"]["ratio"] == pytest.approx(scores["spread_error"]["ratio"])
    assert other["rank_histogram"] == scores["rank_histogram"]
    for threshold, value in scores["brier"].items():
        assert other["brier"][threshold]["table"]["count"] == value["table"]["count"]
    members = scores["mse_skill_conditional"]["members"]
    assert members[0] != members[1]
    assert other["mse_skill_conditional"]["members"] == pytest.approx(members[::-1])


def test_the_text_has_every_score(evaluated):
    text = (evaluated[1] / "ensemble.txt").read_text()
    for part in (
        "40 windows, 2 members", "seed1", "mean of the members", "equal split S/3", "CRPS, mm",
        "skill against S/3", "95 % intervals", "Energy score", "Spread against error",
        "Brier score", "Reliability, >= 10 mm", "Rank histogram", "ties broken at random",
    ):  # fmt: skip
        assert part in text, part
    assert "nan" not in text.lower()
    assert max(map(len, text.splitlines())) < 120


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_dry_hours_come_out_whole(models, write_rain, tmp_path):
    file = write_rain(tmp_path / "dry.nc", np.zeros((6, 8, 9), np.float32))
    evaluate_ensemble(models, file, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == WRITTEN
    scores = json.loads((tmp_path / "out" / "ensemble_scores.json").read_text())
    assert scores["n_cells_conditional"] == 0
    assert scores["crps_skill"]["equal"]["pooled"] is None
    assert "n/a" in (tmp_path / "out" / "ensemble.txt").read_text()


def test_scores_survive_a_figure_that_fails(models, tiny_rain, write_rain, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no canvas")

    monkeypatch.setattr("tenkizu.rain.ensemble_figures.draw_rank_histogram", fail)
    file = write_rain(tmp_path / "hours.nc", tiny_rain[:6])
    assert evaluate_ensemble(models, file, tmp_path / "out")["n_windows"] == 2
    assert (tmp_path / "out" / "ensemble_scores.json").exists()


def test_a_reliability_curve_leaves_out_what_was_never_forecast(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr("tenkizu.core.charts.save_figure", lambda f, p: figures.append(f) or p)
    table = {"probability": [0.0, 0.5, 1.0], "count": [90, 0, 10]}
    found = {
        "table": table | {"observed_frequency": [0.1, np.nan, 0.6]},
        "base_rate": 0.15,
        "brier_fair": 0.12,
        "events": 15,
    }
    draw_reliability(tmp_path / "reliability.png", {"1": found, "5": found | {"events": 0}})
    first, second, *_ = figures[0].axes
    (curve,) = [line for line in first.lines if line.get_marker() == "o"]
    assert curve.get_xdata().tolist() == [0.0, 1.0]
    assert curve.get_ydata().tolist() == [0.1, 0.6]
    assert [text.get_text() for text in second.texts] == ["no event"]


# ---------------------------------------------------------------------------- hours


def test_hours_of_every_member_are_written_as_by_the_model_alone(
    models, hours, tiny_rain_file, tiny_rain, tmp_path
):
    file = predict_ensemble(models, tiny_rain_file, tmp_path / "members.nc")
    ds = xr.load_dataset(file, engine="h5netcdf")
    assert ds["rain_1h"].dims == ("time", "member", "lat", "lon")
    assert ds["member"].values.tolist() == [1, 2]
    assert ds["member"].attrs["standard_name"] == "realization"
    np.testing.assert_array_equal(np.moveaxis(ds["rain_1h"].values, 1, 0), hours)
    sums = ds["rain_1h"].values.reshape(40, 3, 2, 24, 32).sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(sums, ds["rain_3h"].values, rtol=1e-5, atol=1e-9)
    total = tiny_rain.reshape(40, 3, 24, 32).sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(ds["rain_3h"].values[:, 1], total, rtol=1e-6)
    assert ds.attrs["tenkizu_model"] == "seed1, seed2"
    hashes = ds.attrs["tenkizu_weights_sha256"].split(", ")
    assert [h[:12] for h in hashes] == [RainModel.load(m).weights_hash for m in models]
    assert all(h[:12] in ds.attrs["source"] for h in hashes)
    assert "tenkizu rain ensemble" in ds.attrs["history"]


def test_the_input_is_never_overwritten(models, tiny_rain_file):
    with pytest.raises(ConfigError, match="the output is the input"):
        predict_ensemble(models, tiny_rain_file, tiny_rain_file)


# ---------------------------------------------------------------------------- what is no ensemble


def test_one_model_is_refused(models, tiny_rain_file, tmp_path):
    with pytest.raises(
        ConfigError, match=r"at least two models.*found 1\n.*train.seed=2"
    ) as caught:
        evaluate_ensemble(models[:1], tiny_rain_file, tmp_path)
    assert "config new rain_ensemble" in str(caught.value)


def test_the_same_weights_twice_are_refused(models, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(models[0], copy)
    with pytest.raises(ConfigError, match="same model twice") as caught:
        load_members([*models, copy])
    assert str(copy) in str(caught.value)
    assert str(models[0]) in str(caught.value)


def test_models_that_need_different_fields_are_refused(models, make_model):
    windy = make_model(3, fields=["U850_ft3"])
    with pytest.raises(DataError, match=r"different forecast fields.*also U850_ft3, not nothing"):
        load_members([models[0], windy])
    with pytest.raises(DataError, match=r"different forecast fields.*also nothing, not U850_ft3"):
        load_members([windy, models[0]])


def test_a_model_that_does_not_conserve_the_total_is_refused(models, make_model):
    direct = make_model(4, {"head": "direct", "rescale": False})
    with pytest.raises(DataError, match="do not add to the total"):
        load_members([models[0], direct])


def test_models_of_different_spacings_need_a_common_grid(make_model, tiny_rain_file, tmp_path):
    # The rain is on cells of about 10 km.
    coarse = [make_model(5, spacing_km=[20.0, 20.0]), make_model(6, spacing_km=[40.0, 40.0])]
    with pytest.raises(DataError, match="different grid spacings"):
        evaluate_ensemble(coarse, tiny_rain_file, tmp_path, regrid="conservative")
    with pytest.raises(DataError, match="far from that of the training"):
        evaluate_ensemble(coarse, tiny_rain_file, tmp_path)


def test_regridded_scores_are_those_of_the_coarse_grid(
    make_model, tiny_rain_file, tmp_path, without_figures
):
    coarse = [make_model(seed, spacing_km=[20.0, 20.0]) for seed in (7, 8)]
    scores = evaluate_ensemble(coarse, tiny_rain_file, tmp_path, regrid="conservative")
    assert scores["grid"].startswith("13 x 15")
    assert sum("regridded" in note for note in scores["notes"]) == 1


def test_totals_have_no_truth(models, saved, tmp_path):
    times = np.datetime64("2023-06-01T03:00", "ns") + np.arange(4) * np.timedelta64(3, "h")
    attrs = {"units": "mm", "long_name": "rain of the interval ending at time"}
    file = saved(
        xr.Dataset(
            {"rain": (("time", "lat", "lon"), np.ones((4, 8, 9), np.float32), attrs)},
            {
                "time": times,
                "lat": ("lat", 30.0 + 0.1 * np.arange(8), {"units": "degrees_north"}),
                "lon": ("lon", 130.0 + 0.1 * np.arange(9), {"units": "degrees_east"}),
            },
        )
    )
    with pytest.raises(DataError, match=r"need the true hours(.|\n)*-o hours.nc"):
        evaluate_ensemble(models, file, tmp_path / "out")
    hours = xr.load_dataset(predict_ensemble(models, file, tmp_path / "h.nc"), engine="h5netcdf")
    assert hours["rain_1h"].shape == (12, 2, 8, 9)


def test_grib_totals_are_split_but_an_ensemble_is_not(models, tmp_path):
    t0 = datetime(2024, 7, 5, 6)
    guidance = write_guidance(tmp_path / "guidance", t0, grid=SMALL)
    file = predict_ensemble(models, guidance, tmp_path / "hours.nc", regrid="native")
    hours = xr.load_dataset(file, engine="h5netcdf")
    land = sea_mask(SMALL)
    assert np.isnan(hours["rain_1h"].values[..., ~land]).all()
    sums = hours["rain_1h"].values[:3].sum(axis=0)[:, land]
    np.testing.assert_allclose(sums, hours["rain_3h"].values[0][:, land], rtol=1e-5, atol=1e-6)
    meps = write_meps_rain(tmp_path / "meps", t0, range(1, 7), members=2)
    with pytest.raises(DataError, match=r"the input is an ensemble itself.*found 2 members"):
        predict_ensemble(models, meps, tmp_path / "hours.nc", regrid="native")


# ---------------------------------------------------------------------------- the command


def test_the_command_scores_or_writes_hours(models, tiny_rain, write_rain, tmp_path):
    app = typer.Typer()
    app.command()(ensemble)
    file = write_rain(tmp_path / "hours.nc", tiny_rain[:12])
    members = [word for model in models for word in ("-m", str(model))]
    result = CliRunner().invoke(app, [str(file), *members, "-o", str(tmp_path / "scores")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "scores" / "ensemble.txt").read_text() in result.output
    result = CliRunner().invoke(app, [str(file), *members, "-o", str(tmp_path / "members.nc")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "members.nc").exists()
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "train.seed=2" in shown


def test_a_damaged_file_costs_its_window_and_is_named(models, tmp_path):
    files = []
    for hour in range(0, 12, 3):
        rain = FieldSpec(smooth_rain(SMALL, hour), 1, 8, template=8, grid=SMALL, step=1 / 16,
                         start=hour, length=3)  # fmt: skip
        files.append(tmp_path / f"rain_{hour:02d}.grib2")
        files[-1].write_bytes(message([rain], datetime(2024, 7, 5, 6)))
    files[1].write_bytes(files[1].read_bytes()[:-100])
    output = tmp_path / "hours.nc"
    with pytest.raises(DataError, match=r"1 of 4 files could not be split.*holds the others"):
        predict_ensemble(models, files, output, regrid="native")
    with xr.open_dataset(output) as written:
        assert written.sizes["window"] == 3
        assert written.sizes["member"] == len(models)

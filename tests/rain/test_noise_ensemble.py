"""`tenkizu rain ensemble` with draws of one network, and with draws and seeds together."""

import json

import numpy as np
import pytest
import torch
import typer
import xarray as xr
from typer.testing import CliRunner

from tenkizu.core.errors import ConfigError
from tenkizu.core.stats import Moments
from tenkizu.rain.cli_ensemble import ensemble
from tenkizu.rain.config import DataConfig, ModelConfig
from tenkizu.rain.dataset import input_channels
from tenkizu.rain.ensemble import evaluate_ensemble, predict_ensemble
from tenkizu.rain.ensemble_members import DRAWS, load_members
from tenkizu.rain.model import Disaggregator, RainModel, export
from tenkizu.rain.prediction import predict

FIRST_END = np.datetime64("2023-06-01T13:00")


@pytest.fixture(scope="module")
def make_model(tiny_store, tmp_path_factory):
    """Export an untrained model of a seed, with so many channels of noise."""

    def make(seed, noise):
        small = ModelConfig(
            prior="none", embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2,
            patch_size=2, noise=noise,
        )  # fmt: skip
        torch.manual_seed(seed)
        moments = Moments.from_json(tiny_store.meta["statistics"]["log1p_mm"])
        data = {"files": ["none"], "store": "none", "splits": {"train": ["2023-05-30/2023-06-01"]}}
        net = Disaggregator(small, input_channels(DataConfig(**data), moments))
        details = {"name": f"noise{noise}", "climatology": tiny_store.meta["climatology"]}
        folder = tmp_path_factory.mktemp("model")
        return export(folder, net, small, details | {"config": {"scores": {}, "plots": {}}})

    return make


@pytest.fixture(scope="module")
def noisy(make_model):
    return make_model(1, 4)


@pytest.fixture(scope="module")
def plain(make_model):
    return make_model(2, 0)


@pytest.fixture(scope="module")
def file(tiny_rain, write_rain, tmp_path_factory):
    """Five windows of hourly rain."""
    return write_rain(tmp_path_factory.mktemp("rain") / "r.nc", tiny_rain[60:75], FIRST_END)


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr("tenkizu.rain.ensemble._draw", lambda *_: None)


def hours_of(path):
    with xr.open_dataset(path, engine="h5netcdf") as ds:
        return np.moveaxis(ds["rain_1h"].values, 1, 0)


def test_one_network_gives_as_many_members_as_are_asked_for(noisy, file, tiny_rain, tmp_path):
    hours = hours_of(predict_ensemble([noisy], file, tmp_path / "h.nc", members=5))
    assert hours.shape == (5, 15, 24, 32)
    total = tiny_rain[60:75].reshape(5, 3, 24, 32).sum(axis=1, dtype=np.float64)
    sums = hours.reshape(5, 5, 3, 24, 32).sum(axis=2, dtype=np.float64)
    np.testing.assert_allclose(sums, np.repeat(total[None], 5, axis=0), rtol=1e-6)
    for i in range(5):
        for j in range(i):
            assert np.abs(hours[i] - hours[j]).max() > 0.01
    with xr.open_dataset(tmp_path / "h.nc", engine="h5netcdf") as ds:
        assert (ds.attrs["tenkizu_model"], ds.attrs["tenkizu_members"]) == ("noise4", "5")
        assert ds["member"].values.tolist() == [1, 2, 3, 4, 5]


def test_a_member_depends_on_its_number_and_its_window_alone(
    noisy, file, tiny_rain, write_rain, tmp_path
):
    many = hours_of(predict_ensemble([noisy], file, tmp_path / "many.nc", members=4))
    few = hours_of(predict_ensemble([noisy], file, tmp_path / "few.nc", members=2))
    np.testing.assert_array_equal(few, many[:2])
    # The same windows, met in a file that begins three hours later.
    later = write_rain(tmp_path / "later.nc", tiny_rain[63:75], FIRST_END + np.timedelta64(3, "h"))
    found = hours_of(predict_ensemble([noisy], later, tmp_path / "found.nc", members=2))
    # The first of them lacks the total before, and the network sees it.
    np.testing.assert_array_equal(found[:, 3:], few[:, 6:])


def test_predict_takes_no_noise(noisy, file, tmp_path):
    once = xr.load_dataset(predict(noisy, file, tmp_path / "a.nc"), engine="h5netcdf")["rain_1h"]
    again = xr.load_dataset(predict(noisy, file, tmp_path / "b.nc"), engine="h5netcdf")["rain_1h"]
    np.testing.assert_array_equal(once, again)
    drawn = hours_of(predict_ensemble([noisy], file, tmp_path / "c.nc", members=2))
    assert all(np.abs(one - once.values).max() > 0.01 for one in drawn)


def test_draws_and_seeds_mix_in_the_order_of_the_models(
    noisy, plain, make_model, file, tmp_path, without_figures
):
    other = make_model(3, 2)
    members = load_members([noisy, plain, other], 3)
    assert [(one.path, one.draw) for one in members] == [
        (noisy, 1), (noisy, 2), (noisy, 3), (plain, None), (other, 1), (other, 2), (other, 3),
    ]  # fmt: skip
    hours = hours_of(predict_ensemble([noisy, plain, other], file, tmp_path / "h.nc", members=3))
    alone = xr.load_dataset(predict(plain, file, tmp_path / "p.nc"), engine="h5netcdf")["rain_1h"]
    np.testing.assert_array_equal(hours[3], alone)
    turned = hours_of(predict_ensemble([plain, noisy], file, tmp_path / "t.nc", members=3))
    np.testing.assert_array_equal(turned, hours[[3, 0, 1, 2]])
    scores = evaluate_ensemble([noisy, plain, other], file, tmp_path / "scores", members=3)
    assert scores["n_members"] == 7
    assert [one["members"] for one in scores["models"]] == [[1, 2, 3], [4], [5, 6, 7]]
    assert scores["max_relative_sum_error"] < 1e-6


def test_the_scores_are_those_of_the_written_hours(
    noisy, file, tiny_rain, tmp_path, without_figures
):
    scores = evaluate_ensemble([noisy], file, tmp_path / "scores", members=6)
    hours = hours_of(predict_ensemble([noisy], file, tmp_path / "h.nc", members=6))
    truth = tiny_rain[60:75].astype(np.float64)
    total = truth.reshape(5, 3, 24, 32).sum(axis=1).astype(np.float32)
    wet = np.repeat(total >= np.float32(0.1), 3, axis=0)
    x, y = hours.astype(np.float64)[:, wet], truth[wet]
    assert scores["spread_error"]["ratio"] == pytest.approx(
        np.sqrt(7 / 6 * x.var(axis=0, ddof=1).mean() / ((x.mean(axis=0) - y) ** 2).mean()), rel=1e-5
    )
    pairs = np.abs(x[:, None] - x).sum(axis=(0, 1)) / (2 * 6 * 5)
    crps = (np.abs(x - y).mean(axis=0) - pairs).mean()
    assert scores["crps"]["ensemble"]["pooled"] == pytest.approx(crps, rel=1e-5)
    lines = (tmp_path / "scores" / "ensemble.txt").read_text().splitlines()
    (own,) = [line for line in lines if line.startswith("1-6: noise4")]
    rmse = np.sqrt(((x - y) ** 2).mean())
    assert f"{rmse:.4f}" in own
    assert f"{np.abs(x - y).mean():.4f}" in own


# ---------------------------------------------------------------------------- what is no ensemble


def test_the_number_of_draws_has_a_default(noisy):
    assert len(load_members([noisy])) == DRAWS == 20


def test_draws_of_models_without_noise_are_refused(plain, make_model):
    with pytest.raises(ConfigError, match=r"drawn from a model with noise.*model\.noise"):
        load_members([plain, make_model(4, 0)], 20)
    with pytest.raises(ConfigError, match=r"at least two models(.|\n)*config new rain_ensemble"):
        load_members([plain])


def test_one_draw_is_no_ensemble(noisy, plain):
    with pytest.raises(ConfigError, match=r"at least two members.*found 1\n.*--members 20"):
        load_members([noisy], 1)
    with pytest.raises(ConfigError, match="no such number"):
        load_members([noisy], 0)
    assert [one.draw for one in load_members([noisy, plain], 1)] == [1, None]


def test_the_same_model_with_noise_twice_is_refused(noisy):
    with pytest.raises(ConfigError, match="same model twice"):
        load_members([noisy, noisy], 5)


# ---------------------------------------------------------------------------- the command


def test_the_command_draws_members(noisy, file, tmp_path, without_figures):
    app = typer.Typer()
    app.command()(ensemble)
    words = [str(file), "-m", str(noisy), "--members", "3"]
    result = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "scores")])
    assert result.exit_code == 0, result.output
    assert "5 windows, 3 members" in result.output
    stored = json.loads((tmp_path / "scores" / "ensemble_scores.json").read_text())
    assert stored["models"][0]["weights"] == RainModel.load(noisy).weights_hash
    result = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "h.nc")])
    assert result.exit_code == 0, result.output
    assert hours_of(tmp_path / "h.nc").shape[0] == 3
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "rain_ensemble" in shown
    assert "--members" in shown

import numpy as np
import pytest
import torch

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.stats import Moments
from tenkizu.rain.allocation import PRIOR_MM
from tenkizu.rain.baselines import Climatology, linear_split
from tenkizu.rain.config import V5, ModelConfig
from tenkizu.rain.dataset import input_channels
from tenkizu.rain.model import (
    NETWORKS,
    Disaggregator,
    RainModel,
    describe_network,
    export,
    network_table,
)

START = np.datetime64("2023-06-01T03:00", "m")


@pytest.fixture
def net(tiny_config, tiny_store):
    torch.manual_seed(3)
    moments = Moments.from_json(tiny_store.meta["statistics"]["log1p_mm"])
    return Disaggregator(tiny_config.model, input_channels(tiny_config.data, moments)).eval()


def details(grid=None):
    return {
        "name": "toy",
        "climatology": Climatology.empty().to_json(),
        "spacing_km": grid.spacing_km if grid else None,
        "config": {},
    }


def test_an_untrained_network_with_the_linear_prior_is_linear_interpolation(net, tiny_store):
    rain = np.array(tiny_store.read("rain", 5))
    predicted = net.split(rain, START)
    previous, total, following = rain[0], rain[4], rain[5]
    weights = np.stack([(2 * total + previous) / 3, total, (2 * total + following) / 3]) + PRIOR_MM
    expected = weights / weights.sum(axis=0) * total
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-5)
    wet = total > 20
    linear = linear_split(previous, total, following)
    np.testing.assert_allclose(predicted[:, wet], linear[:, wet], rtol=0.02)


def test_without_neighbours_the_linear_prior_is_even(net, tiny_store):
    rain = np.array(tiny_store.read("rain", 5))
    rain[[0, 5]] = np.nan
    np.testing.assert_allclose(
        net.split(rain, START), np.repeat(rain[None, 4] / 3, 3, axis=0), rtol=1e-5, atol=1e-6
    )


def test_the_hours_themselves_are_never_looked_at(net, tiny_store):
    torch.nn.init.normal_(net.network.head.weight)
    rain = np.array(tiny_store.read("rain", 5))
    first = net.split(rain, START)
    rain[1:4] = np.nan
    np.testing.assert_array_equal(net.split(rain, START), first)
    assert np.ptp(first, axis=0).max() > 1


def test_missing_cells_stay_missing_and_do_not_spread(net, tiny_store):
    torch.nn.init.normal_(net.network.head.weight)
    rain = np.array(tiny_store.read("rain", 5))
    rain[:, 3, 4] = np.nan
    split = net.split(rain, START)
    missing = np.isnan(split)
    assert missing[:, 3, 4].all()
    assert missing.sum() == 3
    rain[:] = np.nan
    assert np.isnan(net.split(rain, START)).all()


def test_a_network_that_fails_is_an_error_and_not_rain(net, tiny_store):
    with torch.no_grad():
        net.network.head.weight.fill_(float("nan"))
    with pytest.raises(DataError, match="not finite"):
        net.split(np.array(tiny_store.read("rain", 5)), START)


def test_an_exported_model_predicts_the_same(net, tiny_config, tiny_store, tmp_path):
    torch.nn.init.normal_(net.network.head.weight)
    folder = export(tmp_path / "model", net, tiny_config.model, details())
    loaded = RainModel.load(folder, device="cpu")
    rain = np.array(tiny_store.read("rain", 5))
    np.testing.assert_array_equal(loaded.net.split(rain, START), net.split(rain, START))
    assert loaded.metadata["network"]["embed_dim"] == 8
    assert [c["units"] for c in loaded.metadata["channels"]][-5:] == ["mm", "mm", "1", "mm", "1"]


def test_another_grid_spacing_is_said_aloud(net, tiny_config, tmp_path):
    trained = Grid("latlon", np.linspace(36, 34, 21), np.linspace(130, 133, 31))
    folder = export(tmp_path / "model", net, tiny_config.model, details(trained))
    model = RainModel.load(folder, device="cpu")
    assert model.check_grid(trained) is None
    slightly = Grid("latlon", np.linspace(36, 34, 20), np.linspace(130, 133, 30))
    assert model.check_grid(slightly) is None
    fine = Grid("projected", np.arange(20.0)[::-1], np.arange(30.0), "y", "x", "km")
    assert "1 x 1 km, the model was trained at 9.11 to 11.1 km" in model.check_grid(fine)
    assert model.check_grid(Grid("index", np.arange(5.0), np.arange(5.0), units="1")) is None


def test_the_named_networks_have_the_stated_sizes(tiny_config):
    assert sum(network_table(V5, 53).values()) == 111_418_992
    assert sum(network_table(*NETWORKS["v5"]).values()) == 111_418_992
    lean = ModelConfig()
    assert (lean.embed_dim, lean.depths, lean.window_size) == (64, [2, 2, 6, 2], 5)
    channels, table = describe_network(tiny_config)
    assert len(channels) == 9
    assert table["patch embed"] == 9 * 2 * 2 * 8 + 8 + 2 * 8

"""The motion baseline as what the network starts from: store, random views, prediction."""

import numpy as np
import pytest
import torch

from tenkizu.core.config import build_config
from tenkizu.core.errors import ConfigError
from tenkizu.core.stats import Moments
from tenkizu.rain.allocation import PRIOR_MM
from tenkizu.rain.config import RainConfig
from tenkizu.rain.dataset import RainDataset, augment, input_channels
from tenkizu.rain.model import Disaggregator
from tenkizu.rain.motion import motion_hours
from tenkizu.rain.preparation import prepare
from tenkizu.rain.tables import MOTION


@pytest.fixture
def config(tiny_config):
    data = tiny_config.model_dump(mode="json")
    data["data"]["context"] = ["s", "p", "n", "motion"]
    data["model"]["prior"] = "motion"
    return RainConfig(**data)


@pytest.fixture
def net(config, tiny_store):
    moments = Moments.from_json(tiny_store.meta["statistics"]["log1p_mm"])
    return Disaggregator(config.model, input_channels(config.data, moments)).eval()


def test_the_store_keeps_the_hours_with_and_without_each_neighbour(config):
    store = prepare(config)
    rain, motion = store.read("rain", 7), store.read("motion", 7)
    assert motion.shape == (9, *rain.shape[1:])
    previous, total, following = rain[0], rain[4], rain[5]
    unknown = np.full_like(total, np.nan)
    np.testing.assert_array_equal(motion[:3], motion_hours(previous, total, following))
    np.testing.assert_array_equal(motion[3:6], motion_hours(unknown, total, following))
    np.testing.assert_array_equal(motion[6:], motion_hours(previous, total, unknown))
    np.testing.assert_allclose(motion[:3].sum(axis=0), total, rtol=1e-5)


def test_without_any_neighbour_the_hours_are_even(tiny_store):
    total = tiny_store.read("rain", 7)[4]
    unknown = np.full_like(total, np.nan)
    hours = motion_hours(unknown, total, unknown)
    np.testing.assert_allclose(hours, np.repeat(total[None] / 3, 3, axis=0), rtol=1e-6)


def labelled():
    """Planes that hold their own number: P, y4, y5, y6, S, N are 0 to 5, motion 6 to 14."""
    return np.arange(16, dtype=np.float32)[:, None, None] * np.ones((1, 4, 5), np.float32)


def numbers(planes):
    return [None if np.isnan(plane).all() else int(plane[0, 0]) for plane in planes]


@pytest.mark.parametrize("reverse", [False, True])
def test_random_views_take_the_hours_of_the_neighbours_that_are_left(config, reverse):
    update = {"tile": None, "flips": False, "time_reversal": reverse, "drop_neighbours": 0.5}
    data = config.data.model_copy(update=update | {"amount_scale": 1.0})
    forward = {
        (0, 5): [6, 7, 8],
        (None, 5): [9, 10, 11],
        (0, None): [12, 13, 14],
    }
    # Backwards in time P is the old N, and "without P" the old "without N".
    backward = {
        (5, 0): [8, 7, 6],
        (None, 0): [14, 13, 12],
        (5, None): [11, 10, 9],
    }
    expected = forward | (backward if reverse else {})
    met = set()
    generator = np.random.default_rng(2)
    for _ in range(200):
        view = numbers(augment(labelled(), data, generator, motion=True))
        assert len(view) == 10
        assert view[9] == 15
        neighbours = (view[0], view[5])
        met.add(neighbours)
        if neighbours == (None, None):
            # S is plane 4, so an even split is 4/3.
            assert view[6:9] == [1, 1, 1]
        else:
            assert view[6:9] == expected[neighbours]
    assert met == {(None, None), *expected}


def test_the_dataset_shows_them_as_channels(config, net):
    store = prepare(config)
    dataset = RainDataset(store, "validation", net.channels)
    sample = dataset[2]
    at = net.channels.index(MOTION[0])
    stored = store.read("motion", dataset.indices[2])
    np.testing.assert_array_equal(sample["input"][at : at + 3].numpy(), stored[:3])


def test_an_untrained_network_starts_from_the_carried_rain_and_makes_it_itself(
    config, net, tiny_store
):
    rain = np.array(tiny_store.read("rain", 7))
    carried = motion_hours(rain[0], rain[4], rain[5])
    weights = carried + PRIOR_MM
    expected = weights / weights.sum(axis=0) * rain[4]
    start = np.datetime64("2023-06-01T03:00", "m")
    made = net.split(rain, start)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)
    given = net.split(rain, start, dict(zip(MOTION, carried, strict=True)))
    np.testing.assert_array_equal(made, given)
    torch.nn.init.normal_(net.network.head.weight)
    assert np.abs(net.split(rain, start) - made).max() > 0.1


def test_the_prior_needs_its_channels(tiny_config):
    data = tiny_config.model_dump(mode="json")
    data["model"]["prior"] = "motion"
    with pytest.raises(ConfigError, match=r"needs 'motion' in data\.context"):
        build_config(RainConfig, data, "my.yaml")

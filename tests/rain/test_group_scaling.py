"""The reference program's scaling by groups: bounds, the file, and what the network receives."""

import json

import numpy as np
import pytest
import torch
from msm_store import write_msm_store

from tenkizu.core.errors import DataError
from tenkizu.core.normaliser import ChannelScale, Normaliser
from tenkizu.rain.config import DataConfig
from tenkizu.rain.fields import MSM24, field_names, field_scales
from tenkizu.rain.group_scaling import (
    bounds_of,
    group_scaled,
    read_scaler_groups,
    scaler_groups,
)

DATA = DataConfig(
    source="msm", store="store", fields="msm24", context=[], splits={"train": ["2018/2021"]}
)
TRAINING = range(4)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_msm_store(tmp_path_factory.mktemp("groups") / "store")


def test_a_group_is_both_lead_times_of_a_field_in_the_training_years(store):
    bounds = bounds_of(store)
    assert set(bounds) == {*MSM24, "precip"}
    fields = np.stack([store.read("fields", i) for i in TRAINING])
    rain = np.stack([store.read("rain", i) for i in TRAINING])
    for i, base in enumerate(MSM24):
        pair = fields[:, 2 * i : 2 * i + 2]
        assert bounds[base] == (pair.min(), pair.max())
    # P, the total and its hours, but not what follows.
    assert bounds["precip"] == (rain[:, :5].min(), rain[:, :5].max())


def test_the_network_receives_0_to_1(store):
    scales = [*field_scales(DATA, store), ChannelScale("Prec_ft3", "mm", "log1p", 0.2, 0.5)]
    scales = group_scaled(scales, bounds_of(store), "store")
    raw = np.stack(
        [np.concatenate([store.read("fields", i), store.read("rain", i)[:1]]) for i in TRAINING]
    )
    scaled = Normaliser(scales)(torch.from_numpy(raw)).numpy()
    assert scaled.min() == pytest.approx(0, abs=1e-4)
    assert scaled.max() == pytest.approx(1, abs=1e-4)
    # Each pair reaches both ends, one of the two at least.
    pairs = scaled[:, :48].reshape(4, 24, -1)
    np.testing.assert_allclose(pairs.min(axis=(0, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(pairs.max(axis=(0, 2)), 1, atol=1e-4)


def test_other_channels_keep_their_scaling(store):
    total = ChannelScale("S", "mm", "log1p", 0.3, 0.6)
    assert group_scaled([total], bounds_of(store), "store") == [total]


def test_the_file_names_every_variable_and_comes_back(store, tmp_path):
    bounds = bounds_of(store)
    content = scaler_groups(bounds)
    assert content.keys() == {"var_to_group", "group_to_vars", "group_minmax"}
    rain = ["Prec_4_6h_sum", "Prec_Target_ft4", "Prec_Target_ft5", "Prec_Target_ft6", "Prec_ft3"]
    assert content["group_to_vars"]["precip"] == rain
    assert content["group_to_vars"]["U850"] == ["U850_ft3", "U850_ft6"]
    assert set(content["var_to_group"]) == {*field_names(DATA), *rain}
    path = tmp_path / "scaler_groups.json"
    path.write_text(json.dumps(content))
    assert read_scaler_groups(path) == bounds


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 0.0), (1.0, 0.0), (0.0, 1e-13), (0.0, None), ("0", 1.0), (0.0, float("inf"))],
)
def test_bounds_that_cannot_scale_are_refused(tmp_path, low, high):
    path = tmp_path / "scaler_groups.json"
    path.write_text(json.dumps({"group_minmax": {"T2m": {"min": low, "max": high}}}))
    with pytest.raises(DataError, match="T2m: these bounds cannot scale a group"):
        read_scaler_groups(path)


@pytest.mark.parametrize("content", [{}, {"group_minmax": []}, {"group_minmax": {"T2m": [0, 1]}}])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "scaler_groups.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="not the scaling of groups"):
        read_scaler_groups(path)


def test_a_group_without_bounds_is_an_error_and_not_left_unscaled(store):
    bounds = bounds_of(store)
    del bounds["precip"]
    rain = ChannelScale("Prec_ft3", "mm", "log1p", 0.2, 0.5)
    with pytest.raises(DataError, match="precip: the scaling of a group is missing"):
        group_scaled([rain], bounds, "scaler_groups.json")

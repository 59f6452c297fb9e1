"""Statistics that stay right over billions of values, and the scaling made from them."""

import json
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tenkizu.core.stats import Moments


def as_json(moments):
    """What a store keeps: the moments through JSON text and back."""
    return Moments.from_json(json.loads(json.dumps(moments.to_json(), allow_nan=False)))


def assert_same(one, other, **tolerance):
    for name in ("count", "mean", "m2", "min", "max"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), **tolerance, err_msg=name
        )


def test_moments_by_hand():
    moments = Moments.of([[[1.0, 2.0], [4.0, 5.0]], [[0.5, np.nan], [np.nan, 1.5]]])
    assert moments.count.tolist() == [4, 2]
    assert moments.mean.tolist() == [3.0, 1.0]
    assert moments.m2.tolist() == [10.0, 0.5]  # 4 + 1 + 1 + 4 and 0.25 + 0.25
    np.testing.assert_allclose(moments.std, [np.sqrt(2.5), 0.5])
    assert moments.min.tolist() == [1.0, 0.5]
    assert moments.max.tolist() == [5.0, 1.5]


def test_tens_of_millions_of_large_values_where_a_float32_sum_fails():
    # Heights of the 500 hPa surface in m, in the blocks that a store would be read in.
    generator = np.random.default_rng(500)
    parts, running = Moments.empty(1), np.float32(0)
    for _ in range(17):
        values = 5600 + 200 * generator.standard_normal((1, 2**21), np.float32)
        parts += Moments.of(values)
        values[0, 0] += running
        running = np.cumsum(values[0])[-1]
    assert parts.count[0] == 17 * 2**21 > 2**25
    assert parts.mean[0] == pytest.approx(5600, rel=1e-3)
    assert parts.std[0] == pytest.approx(200, rel=1e-3)
    assert running.dtype == np.float32
    assert running / parts.count[0] < 0.8 * 5600


VALUES = hnp.arrays(
    np.float64,
    st.tuples(st.just(3), st.integers(0, 40)),
    elements=st.one_of(st.floats(-1e4, 1e4), st.sampled_from([np.nan, 0.0, 1e5])),
)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.lists(st.integers(0, 40), max_size=6), st.randoms())
def test_any_partition_in_any_order_equals_numpy(values, cuts, random):
    parts = [Moments.of(part) for part in np.split(values, sorted(cuts), axis=1)]
    random.shuffle(parts)
    merged = reduce(add, parts, Moments.empty(3))
    for channel, numbers in enumerate(values):
        known = numbers[~np.isnan(numbers)]
        assert merged.count[channel] == known.size
        if not known.size:
            assert np.isnan(merged.std[channel])
            assert merged.min[channel] == np.inf
            assert merged.max[channel] == -np.inf
            continue
        np.testing.assert_allclose(merged.mean[channel], known.mean(), rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(merged.std[channel], known.std(), rtol=1e-9, atol=1e-9)
        assert merged.min[channel] == known.min()
        assert merged.max[channel] == known.max()


def test_small_spread_on_a_large_mean_does_not_cancel():
    # Mean sea level pressure in Pa with a spread of 0.01 Pa: E[x^2] - E[x]^2 would lose it.
    values = 101325 + 0.01 * np.random.default_rng(1).standard_normal((1, 10000))
    merged = reduce(add, [Moments.of(part) for part in np.split(values, 100, axis=1)])
    np.testing.assert_allclose(merged.std, values.std(), rtol=1e-9)


def test_nothing_is_neutral():
    moments = Moments.of([[1.0, 2.0], [np.nan, np.nan]])
    assert_same(moments + Moments.empty(2), moments)
    assert_same(Moments.empty(2) + moments, moments)
    assert_same(Moments.of(np.empty((2, 0))), Moments.empty(2))


def test_infinite_values_count_as_missing():
    moments = Moments.of([[1.0, np.inf, 3.0, -np.inf, np.nan]])
    assert (moments.count[0], moments.mean[0], moments.max[0]) == (2, 2.0, 3.0)


def test_float32_input_is_summed_in_float64():
    values = np.full((1, 1000), 0.1, np.float32)
    assert Moments.of(values).mean[0] == pytest.approx(float(np.float32(0.1)), rel=1e-14)


def test_channels_without_variation_are_found():
    ramp = np.linspace(0, 1, 1001)
    channels = {
        "varies": (250 + 30 * ramp, False),
        "varies little": (101325 + ramp, False),
        "symmetric around zero": (ramp - 0.5, False),
        "tiny but varying": (1e-12 * ramp, False),
        "zero": (0 * ramp, True),
        "constant": (0 * ramp + 5600.1, True),
        "constant but for float32 rounding": (5600.1 + 3e-4 * ramp, True),
        "missing": (0 * ramp + np.nan, True),
    }
    values = np.stack([v for v, _ in channels.values()])
    merged = reduce(add, [Moments.of(part) for part in np.array_split(values, 7, axis=1)])
    found = dict(zip(channels, merged.constant.tolist(), strict=True))
    assert found == {name: constant for name, (_, constant) in channels.items()}


def test_json_keeps_every_bit_and_what_has_no_values():
    moments = Moments.of([[0.1, 0.7, 1e-300], [np.nan] * 3, [1e100, -1 / 3, 5600.1]])
    back = as_json(moments)
    assert_same(back, moments, rtol=0)
    assert back.count.dtype == np.int64
    assert_same(back + moments, moments + moments, rtol=0)
    assert_same(as_json(Moments.empty(2)), Moments.empty(2), rtol=0)


# Scaling


def test_scaling_equals_numpy_and_makes_missing_values_zero():
    import torch

    from tenkizu.core.normaliser import ChannelScale, Normaliser

    generator = np.random.default_rng(2)
    rain = generator.gamma(0.3, 3.0, (5, 6, 7)).astype(np.float32)
    pressure = (101325 + 800 * generator.standard_normal((5, 6, 7))).astype(np.float32)
    orography = np.full((5, 6, 7), 12.5, np.float32)
    rain[0, 1, 2] = pressure[1, 2, 3] = orography[2, 3, 4] = np.nan
    moments = Moments.of([np.log1p(rain), pressure, orography])
    assert moments.constant.tolist() == [False, False, True]
    named = [("S", "mm", "log1p"), ("msl", "Pa", "linear"), ("orography", "m", "linear")]
    scales = [
        ChannelScale(*name, mean, std)
        for name, mean, std in zip(named, moments.mean.tolist(), moments.std.tolist(), strict=True)
    ]
    raw = torch.from_numpy(np.stack([rain, pressure, orography], axis=1))
    scaled = Normaliser(scales)(raw)
    assert scaled.dtype == torch.float32
    expected = np.zeros((5, 3, 6, 7))
    logarithm = np.log(1 + rain.astype(np.float64))
    expected[:, 0] = (logarithm - np.nanmean(logarithm)) / np.nanstd(logarithm)
    wide = pressure.astype(np.float64)
    expected[:, 1] = (wide - np.nanmean(wide)) / np.nanstd(wide)
    np.testing.assert_allclose(scaled.numpy(), np.nan_to_num(expected), atol=1e-4)
    assert scaled[0, 0, 1, 2] == scaled[1, 1, 2, 3] == 0
    assert (scaled[:, 2] == 0).all()


def test_what_is_not_finite_never_becomes_a_number():
    import torch

    from tenkizu.core.normaliser import ChannelScale, Normaliser

    scales = [
        ChannelScale("T", "K", "linear", 280.0, 10.0),
        ChannelScale("S", "mm", "log1p", 0.5, 1.0),
        ChannelScale("constant", "1", "linear", 3.0, 0.0),
        ChannelScale("never seen", "1", "linear", 0.0, float("nan")),
    ]
    bad = torch.tensor([float("nan"), float("inf"), -float("inf")]).reshape(1, 1, 1, 3)
    scaled = Normaliser(scales)(bad.expand(2, 4, 1, 3))
    assert scaled[:, [0, 2, 3]].eq(0).all()
    assert scaled[:, 1, :, :2].eq(0).all()
    assert scaled.isfinite().all()


def test_scaling_travels_in_the_state_of_the_model():
    import torch

    from tenkizu.core.normaliser import ChannelScale, Normaliser

    fitted = Normaliser(
        [ChannelScale("S", "mm", "log1p", 0.3, 0.7), ChannelScale("T", "K", "linear", 280.0, 12.0)]
    )
    fresh = Normaliser([ChannelScale("S", "mm"), ChannelScale("T", "K")])
    raw = torch.rand(2, 2, 3, 3) * 300
    assert not torch.equal(fresh(raw), fitted(raw))
    fresh.load_state_dict(fitted.state_dict())
    assert torch.equal(fresh(raw), fitted(raw))
    assert not list(fitted.parameters())  # nothing for an optimiser to change

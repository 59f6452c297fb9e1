import logging

import numpy as np
import pytest
import torch
from torch import nn

from tenkizu.patterns.attribution import grad_cam, integrated_gradients
from tenkizu.patterns.networks.backbones import build_backbone


class ThreeParts(nn.Module):
    """A network of three given functions."""

    def __init__(self, spatial, embed, classify):
        super().__init__()
        self.spatial, self.embed, self.classify = spatial, embed, classify


def day(seed, shape=(2, 4, 5)):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


WEIGHTS = day(1)
LINEAR = ThreeParts(
    lambda x: x,
    lambda x: x.flatten(1),
    lambda x: torch.stack([x @ WEIGHTS.flatten(), 3.0 * x[:, 0] + 1.0], dim=1),
)


def test_in_a_linear_network_each_value_has_its_weight_times_itself():
    x = torch.stack([day(2), day(3)])
    found = integrated_gradients(LINEAR, x, [0, 0])
    np.testing.assert_allclose(found.values, (WEIGHTS * x).numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.maps, (WEIGHTS * x).sum(dim=1).numpy(), rtol=1e-4)
    np.testing.assert_allclose(found.by_channel.sum(axis=1), found.rise, rtol=1e-5)
    np.testing.assert_allclose(found.error, 0.0, atol=1e-5)


def test_each_day_is_explained_for_its_own_label():
    x = torch.stack([day(2), day(3)])
    found = integrated_gradients(LINEAR, x, [0, 1])
    assert found.values[1, 0, 0, 0] == pytest.approx(3.0 * float(x[1, 0, 0, 0]), rel=1e-5)
    assert np.count_nonzero(found.values[1]) == 1


def test_the_baseline_is_where_the_way_begins():
    x, start = day(2)[None], day(4)
    found = integrated_gradients(LINEAR, x, [0], baseline=start)
    np.testing.assert_allclose(found.values[0], (WEIGHTS * (x[0] - start)).numpy(), rtol=1e-4)


def test_a_product_is_shared_equally_between_its_factors():
    # f = x y from (0, 0): the gradient of each factor is on average half the other.
    product = ThreeParts(lambda x: x, lambda x: x.flatten(1), lambda x: x.prod(dim=1, keepdim=True))
    x = torch.tensor([[[[3.0, 5.0]]]])
    found = integrated_gradients(product, x, [0])
    np.testing.assert_allclose(found.values.ravel(), [7.5, 7.5])
    assert found.rise == pytest.approx(15.0)


def test_a_step_between_two_points_is_missed_and_warned_of(caplog):
    steep = ThreeParts(
        lambda x: x, lambda x: x.flatten(1), lambda x: torch.sigmoid(1e4 * (x[:, :1] - 0.5))
    )
    x = torch.ones(1, 1, 1, 1)
    with caplog.at_level(logging.WARNING):
        found = integrated_gradients(steep, x, [0])
    assert found.error[0] == pytest.approx(1.0)
    assert "completeness error 100.0 % on 1 of 1 days" in caplog.text


def test_without_a_rise_the_error_is_undefined():
    flat = ThreeParts(lambda x: x, lambda x: x.flatten(1), lambda x: 0.0 * x)
    found = integrated_gradients(flat, torch.ones(1, 1, 2, 2), [0])
    assert np.isnan(found.error[0])
    assert not found.values.any()


def test_a_real_network_is_nearly_complete_and_left_as_it_was(caplog):
    torch.manual_seed(0)
    net = build_backbone("simple", 3, 4).train()
    x = torch.stack([day(s, (3, 17, 33)) for s in (5, 6)])
    with caplog.at_level(logging.WARNING):
        found = integrated_gradients(net, x, [1, 2])
        again = integrated_gradients(net, x, [1, 2], batch=5)
    assert net.training
    assert (found.error < 0.05).all()
    assert not caplog.text
    np.testing.assert_allclose(found.values, again.values, atol=1e-7)
    net.eval()
    logits = net(x).detach() - net(torch.zeros_like(x)).detach()
    np.testing.assert_allclose(found.rise, logits[[0, 1], [1, 2]], atol=1e-6)


def test_what_makes_logits_of_the_outputs_is_part_of_the_way():
    x = day(2)[None]
    found = integrated_gradients(LINEAR, x, [0], output=lambda out: 2.0 * out)
    np.testing.assert_allclose(found.values[0], (2.0 * WEIGHTS * x[0]).numpy(), rtol=1e-5)


POOLED = ThreeParts(
    lambda x: x,
    lambda s: s.mean(dim=(2, 3)),
    lambda e: e @ torch.tensor([[1.0, -1.0], [-2.0, 0.0]]),
)


def test_grad_cam_weighs_feature_maps_by_their_mean_gradient():
    # Gradients of the first logit: 1/4 and -2/4 a point; cam = relu(a - 2 b) / 4.
    a = torch.tensor([[4.0, 0.0], [2.0, 1.0]])
    b = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    cam = grad_cam(POOLED, torch.stack([a, b])[None], [0])
    np.testing.assert_allclose(cam[0], [[1.0, 0.0], [0.0, 0.5]])


def test_grad_cam_is_zero_where_all_speaks_against():
    cam = grad_cam(POOLED, torch.ones(1, 2, 3, 3), [1])
    np.testing.assert_array_equal(cam, np.zeros((1, 3, 3)))


def test_grad_cam_of_a_real_network_has_the_size_of_its_input():
    torch.manual_seed(0)
    net = build_backbone("simple", 3, 4).train()
    x = torch.stack([day(s, (3, 17, 33)) for s in (5, 6)])
    cam = grad_cam(net, x, [1, 2])
    assert net.training
    assert cam.shape == (2, 17, 33)
    assert cam.min() >= 0.0
    np.testing.assert_allclose(cam.max(axis=(1, 2)), 1.0)

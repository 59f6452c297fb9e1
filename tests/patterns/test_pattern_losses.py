"""The losses against values by hand, their formulas in numpy, and torchvision's focal loss."""

import math

import numpy as np
import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from tenkizu.patterns.config import LossConfig, SamplerConfig
from tenkizu.patterns.imbalance import imbalance_warning
from tenkizu.patterns.losses import asymmetric, binary_cross_entropy, focal, make_loss

LN3 = math.log(3)  # the logit of 3/4
LOGITS = torch.tensor([[LN3, LN3, 0.0, -LN3]])
TARGET = torch.tensor([[1.0, 0.0, 1.0, 0.0]])


@pytest.fixture
def batch():
    """Logits over a wide range and targets, (64, 15), double."""
    generator = torch.Generator().manual_seed(3)
    logits = 6 * torch.randn(64, 15, dtype=torch.float64, generator=generator)
    target = (torch.rand(64, 15, generator=generator) < 0.2).double()
    return logits, target


def test_cross_entropy_by_hand():
    expected = [[-math.log(0.75), -math.log(0.25), math.log(2), -math.log(0.75)]]
    torch.testing.assert_close(binary_cross_entropy(LOGITS, TARGET), torch.tensor(expected))
    weighted = binary_cross_entropy(LOGITS, TARGET, torch.tensor([5.0, 5.0, 1.0, 5.0]))
    expected[0][0] *= 5  # negatives are not weighted
    torch.testing.assert_close(weighted, torch.tensor(expected))


def test_focal_by_hand():
    # p_t is 3/4, 1/4, 1/2, 3/4; gamma 2.
    cross_entropy = np.array([-math.log(0.75), -math.log(0.25), math.log(2), -math.log(0.75)])
    expected = cross_entropy * [1 / 16, 9 / 16, 1 / 4, 1 / 16]
    np.testing.assert_allclose(focal(LOGITS, TARGET)[0].double().numpy(), expected, rtol=1e-6)
    balanced = focal(LOGITS, TARGET, alpha=0.25)[0].double().numpy()
    np.testing.assert_allclose(balanced, expected * [0.25, 0.75, 0.25, 0.75], rtol=1e-6)


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_equals_torchvision_in_value_and_gradient(batch, gamma, alpha):
    logits, target = batch
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = make_loss(LossConfig(kind="focal", gamma=gamma, alpha=alpha), None)(ours, target)
    reference = sigmoid_focal_loss(theirs, target, -1 if alpha is None else alpha, gamma, "mean")
    torch.testing.assert_close(loss, reference, rtol=1e-7, atol=0)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-9)


def test_focal_of_a_sure_hit_keeps_a_floor():
    # 1 - p = 4e-18 counts as 1e-6.
    logits, target = torch.tensor([[40.0]]).double(), torch.ones(1, 1).double()
    np.testing.assert_allclose(focal(logits, target).item(), math.exp(-40) * 1e-12, rtol=1e-6)


@pytest.mark.parametrize(
    ("gamma_pos", "gamma_neg", "margin"), [(0, 4, 0.05), (1, 2, 0.2), (0, 1, 0)]
)
def test_asymmetric_loss_is_its_formula(batch, gamma_pos, gamma_neg, margin):
    logits, target = batch
    p, y = 1 / (1 + np.exp(-logits.numpy())), target.numpy()
    shifted = np.maximum(p - margin, 0)
    expected = -y * (1 - p) ** gamma_pos * np.log(p)
    expected -= (1 - y) * shifted**gamma_neg * np.log(1 - shifted)
    config = LossConfig(kind="asl", gamma_pos=gamma_pos, gamma_neg=gamma_neg, margin=margin)
    assert make_loss(config, None)(logits, target).item() == pytest.approx(expected.mean(), 1e-12)


def test_asymmetric_loss_by_hand():
    # Negatives at p = 1/4 and 1/20 with margin 1/20: 0.2^4 * -ln 0.8, and nothing.
    logits = torch.tensor([[-LN3, math.log(1 / 19), LN3]])
    found = asymmetric(logits, torch.tensor([[0.0, 0.0, 1.0]]))[0].tolist()
    expected = [0.0016 * -math.log(0.8), 0, -math.log(0.75)]
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_weights_of_positives_are_of_cross_entropy_and_focal_loss_alone(batch):
    logits, target = batch
    weight = torch.linspace(2, 9, 15).double()
    for kind, weighted in (("bce", True), ("focal", True), ("asl", False)):
        config = LossConfig(kind=kind, pos_weight="ratio")
        plain, with_weights = (make_loss(config, w)(logits, target) for w in (None, weight))
        assert (with_weights > 1.5 * plain) == weighted
        assert (with_weights == plain) != weighted
        assert config.weighted == weighted
    assert not LossConfig(pos_weight="none").weighted


def test_smoothed_targets():
    loss = make_loss(LossConfig(label_smoothing=0.2), None)(LOGITS, TARGET).item()
    # y is 0.9 or 0.1; -ln p and -ln (1 - p) of p = 3/4, 3/4, 1/2, 1/4.
    near, far, half = -math.log(0.75), -math.log(0.25), math.log(2)
    expected = (2 * (0.9 * near + 0.1 * far) + 0.9 * far + 0.1 * near + half) / 4
    assert loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["bce", "focal", "asl"])
def test_losses_are_computed_in_float32_under_autocast(kind, batch):
    logits, target = (value.bfloat16() for value in batch)
    weight = torch.linspace(1, 10, 15)
    loss = make_loss(LossConfig(kind=kind), weight)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(logits, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), loss(logits.double(), target), rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["bce", "focal", "asl"])
@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_extreme_logits_give_finite_losses_and_gradients(kind, margin):
    logits = torch.tensor([[-200.0, 200.0, -200.0, 200.0]], requires_grad=True)
    loss = make_loss(LossConfig(kind=kind, margin=margin), None)(logits, TARGET)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_weights_that_the_asymmetric_loss_cannot_use_are_warned_of():
    truth, sampler = np.eye(4, dtype=bool), SamplerConfig()
    text = imbalance_warning(LossConfig(kind="asl", pos_weight="ratio"), sampler, truth, "abcd")
    assert text is not None
    assert "loss.pos_weight=ratio has no part in the asymmetric loss" in text
    # The default is for the losses that have weights: nobody asked for it here.
    for quiet in (LossConfig(kind="asl"), LossConfig(kind="asl", pos_weight="none")):
        assert imbalance_warning(quiet, sampler, truth, "abcd") is None

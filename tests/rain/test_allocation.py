"""The conservation law of the allocation head, for any logits and any total."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tenkizu.rain.allocation import (
    allocation_logits_to_mm,
    direct_to_mm,
    learned_temperature,
    raw_temperature,
    rescale_to_total,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]

logit = st.one_of(
    st.floats(-30, 30, width=32),
    st.floats(-1e4, 1e4, width=32),
    st.sampled_from([1e4, -1e4, 0.0]),
)
# Below the smallest normal number a product has no relative precision left.
amount = st.one_of(
    st.just(0.0),
    st.floats(0, 1e4, width=32, allow_subnormal=False),
    st.sampled_from([0.01, 0.1, 599.4375, 1e4]),
)


def split(logits, total, **options):
    return allocation_logits_to_mm(torch.as_tensor(logits), torch.as_tensor(total), **options)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=150)
@given(
    logits=arrays(np.float32, (1, 3, 2, 3), elements=logit),
    total=arrays(np.float32, (1, 1, 2, 3), elements=amount),
    tau=st.sampled_from([0.05, 0.5, 1.0, 4.0]),
)
def test_hours_conserve_the_total_for_any_logits(dtype, logits, total, tau):
    mm = split(torch.as_tensor(logits).to(dtype), total, tau=tau)
    assert mm.dtype == torch.float32
    assert (mm >= 0).all()
    dry = torch.as_tensor(total == 0).expand_as(mm)
    assert (mm[dry] == 0).all()
    departure = np.abs(mm.numpy().sum(axis=1, dtype=np.float64) - total[:, 0])
    assert (departure <= 1e-5 * total[:, 0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_whole_field_conserves_to_float32_rounding(dtype):
    torch.manual_seed(3)
    logits = (4 * torch.randn(2, 3, 64, 64)).to(dtype)
    total = torch.rand(2, 1, 64, 64) * 600
    mm = split(logits, total)
    departure = (mm.double().sum(1, keepdim=True) - total.double()).abs() / total
    assert departure.max() < 5e-7


def test_shares_are_the_softmax_by_hand():
    # exp of the logits is 1, 2 and 5, so 16 mm divide into 2, 4 and 10 mm.
    logits = torch.tensor([1.0, 2.0, 5.0]).log().reshape(1, 3, 1, 1)
    total = torch.full((1, 1, 1, 1), 16.0)
    torch.testing.assert_close(split(logits, total).flatten(), torch.tensor([2.0, 4.0, 10.0]))
    # tau 0.5 squares the odds: 1, 4 and 25 of 30.
    sharp = split(logits, total, tau=0.5).flatten()
    torch.testing.assert_close(sharp, 16 * torch.tensor([1.0, 4.0, 25.0]) / 30)
    even = split(logits, total, tau=1e6).flatten()
    torch.testing.assert_close(even, torch.full((3,), 16 / 3), rtol=1e-5, atol=0)


def test_one_huge_logit_takes_everything():
    for dtype in DTYPES:
        logits = torch.tensor([-1e4, 1e4, -1e4], dtype=dtype).reshape(1, 3, 1, 1)
        assert split(logits, torch.full((1, 1, 1, 1), 7.5)).flatten().tolist() == [0.0, 7.5, 0.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_missing_total_gives_missing_hours_and_leaves_its_neighbours_alone(dtype):
    total = torch.tensor([[[[1.0, torch.nan], [0.0, 4.0]]]])
    mm = split(torch.zeros(1, 3, 2, 2, dtype=dtype), total)
    third = torch.tensor([1 / 3, torch.nan, 0.0, 4 / 3]).expand(3, 4)
    torch.testing.assert_close(mm.reshape(3, 4), third, equal_nan=True)


def test_autocast_does_not_reach_the_shares():
    torch.manual_seed(5)
    logits, total = torch.randn(1, 3, 16, 16), torch.rand(1, 1, 16, 16) * 50
    plain = split(logits, total)
    with torch.autocast("cpu", torch.bfloat16):
        assert split(logits @ torch.eye(16), total).dtype == torch.float32
        assert torch.equal(split(logits, total), plain)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_finite_even_for_extreme_logits_and_missing_totals(dtype):
    logits = torch.tensor(
        [[[[1e4, 0.0, 0.0, -1e4]], [[-1e4, 0.0, 1.0, -1e4]], [[0.0, 0.0, 2.0, 1e4]]]], dtype=dtype
    ).requires_grad_()
    total = torch.tensor([[[[1e4, torch.nan, 0.0, 3.0]]]])
    target = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(1, 3, 1, 4)
    mm = split(logits, total)
    # The loss leaves out the missing cell; its zero gradient must not turn into NaN on the way.
    error = torch.where(torch.isnan(total).expand_as(mm), 0.0, mm - target)
    error.square().sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[..., 1] == 0).all()


def test_the_gradient_is_that_of_the_softmax():
    torch.manual_seed(7)
    logits = torch.randn(1, 3, 2, 2, dtype=torch.float32, requires_grad=True)
    total = torch.rand(1, 1, 2, 2) * 10
    upstream = torch.randn(1, 3, 2, 2)
    split(logits, total).backward(upstream)
    # d(S p_k)/dz_j = S p_k (1[k = j] - p_j), written out.
    p = torch.softmax(logits.detach(), 1)
    by_hand = total * p * (upstream - (upstream * p).sum(1, keepdim=True))
    torch.testing.assert_close(logits.grad, by_hand)


# ---------------------------------------------------------------------------- temperature


@pytest.mark.parametrize("tau", [0.0501, 0.3, 1.0, 4.0, 100.0])
def test_a_learned_temperature_starts_where_it_is_told(tau):
    raw = torch.tensor(raw_temperature(tau))
    assert learned_temperature(raw).item() == pytest.approx(tau, rel=1e-6)


def test_a_learned_temperature_never_falls_below_its_limit():
    raw = torch.tensor([-1e4, -10.0, 0.0], requires_grad=True)
    tau = learned_temperature(raw)
    assert tau.tolist() == pytest.approx([0.05, 0.05 + np.log1p(np.exp(-10)), 0.05 + np.log(2)])
    tau.sum().backward()
    assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_map_of_temperatures_conserves_and_acts_cell_by_cell(dtype):
    torch.manual_seed(8)
    logits, total = torch.randn(2, 3, 4, 5).to(dtype), torch.rand(2, 1, 4, 5) * 50
    tau = learned_temperature(3 * torch.randn(2, 1, 4, 5))
    mm = split(logits, total, tau=tau)
    torch.testing.assert_close(mm.sum(1, keepdim=True), total, rtol=1e-5, atol=0)
    for row, column in ((0, 0), (3, 2)):
        cell = split(logits, total, tau=tau[1, 0, row, column].item())
        torch.testing.assert_close(mm[1, :, row, column], cell[1, :, row, column])


def test_the_gradient_reaches_the_temperature():
    logits = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    raw = torch.zeros((), requires_grad=True)
    split(logits, torch.ones(1, 1, 1, 1), tau=learned_temperature(raw))[0, 0].sum().backward()
    # A higher temperature takes from the largest share.
    assert raw.grad.item() < 0


# ---------------------------------------------------------------------------- direct head


def test_direct_amounts_are_what_is_above_zero():
    output = torch.tensor([-1.0, 0.0, 2.5], dtype=torch.bfloat16)
    amounts = direct_to_mm(output)
    assert amounts.dtype == torch.float32
    assert amounts.tolist() == [0.0, 0.0, 2.5]


def test_rescaled_hours_keep_their_ratios_and_the_total():
    predicted = torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    total = torch.tensor([8.0, 6.0, 0.0])
    hours = rescale_to_total(predicted.reshape(1, 3, 1, 3), total.reshape(1, 1, 1, 3))
    # 1 : 1 : 2 of 8 mm; nothing predicted of 6 mm, so even; nothing to share.
    assert hours.reshape(3, 3).T.tolist() == [[2, 2, 4], [2, 2, 2], [0, 0, 0]]


@settings(deadline=None, max_examples=100)
@given(
    predicted=arrays(np.float32, (1, 3, 2, 3), elements=st.floats(0, 1e5, width=32)),
    total=arrays(np.float32, (1, 1, 2, 3), elements=amount),
)
def test_rescaling_conserves_any_prediction(predicted, total):
    hours = rescale_to_total(torch.from_numpy(predicted), torch.from_numpy(total)).numpy()
    assert (hours >= 0).all()
    departure = np.abs(hours.sum(axis=1, dtype=np.float64) - total[:, 0])
    assert (departure <= 1e-5 * total[:, 0]).all()


def test_rescaling_leaves_a_missing_total_missing():
    total = torch.tensor([torch.nan, 3.0]).reshape(1, 1, 1, 2)
    hours = rescale_to_total(torch.ones(1, 3, 1, 2), total)
    assert torch.isnan(hours[..., 0]).all()
    assert (hours[..., 1] == 1).all()

"""The masked, weighted squared error: its scale, its mask and its gradients."""

import numpy as np
import pytest
import torch

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.verification import Tally
from tenkizu.rain.allocation import allocation_logits_to_mm
from tenkizu.rain.config import LossConfig
from tenkizu.rain.losses import (
    bin_weights,
    divide,
    focal_boost,
    scored_cells,
    share_divergence_sums,
    wmse_sums,
)
from tenkizu.rain.tables import equal_split_error, window_tables
from tenkizu.rain.weights import inverse_frequency, loss_weights, power

MANUAL = LossConfig()
PLAIN = LossConfig(weights="off")


@pytest.fixture(scope="module")
def rain(moving_rain):
    """Eight windows as stored, (8, 6, H, W), with a few missing cells."""
    hours = moving_rain(hours=30, seed=2).reshape(10, 3, 24, 32)
    totals = hours.sum(axis=1, dtype=np.float64).astype(np.float32)
    rain = np.stack(
        [np.stack([totals[i - 1], *hours[i], totals[i], totals[i + 1]]) for i in range(1, 9)]
    )
    rain[:, 1:5, :3, :5] = np.nan
    return rain


def batch(rain):
    """target, S and valid mask of windows, as the dataset gives them."""
    target = torch.from_numpy(rain[:, 1:4].copy())
    total = torch.from_numpy(rain[:, 4:5].copy())
    valid = ~torch.isnan(torch.from_numpy(rain[:, 1:5])).any(1, keepdim=True)
    return target, total, valid


def masked_wmse(predicted, target, cells, weight=None, d0=None, reduce_sum=None):
    return divide(wmse_sums(predicted, target, cells, weight, d0), reduce_sum)


def loss_of(predicted, rain, loss, d0, reduce_sum=None):
    target, total, valid = batch(rain)
    cells = scored_cells(total, valid, loss.mask_mm)
    weight = bin_weights(target, loss.bins_1h, loss.hourly_weights)
    return masked_wmse(predicted, target, cells, weight, d0, reduce_sum)


# ---------------------------------------------------------------------------- weights


def test_weights_follow_the_true_value_in_half_open_bins():
    below = np.nextafter(np.float32([1, 5, 10, 20, 30, 50]), np.float32(0))
    truth = torch.tensor([0.0, *below, 1, 5, 10, 20, 30, 50, 599.4375], dtype=torch.float32)
    weights = bin_weights(truth, MANUAL.bins_1h, MANUAL.manual_weights)
    assert weights[:7].tolist() == [1, 1, 5, 20, 100, 250, 500]
    assert weights[7:].tolist() == [5, 20, 100, 250, 500, 1000, 1000]


def test_the_weight_is_that_of_the_truth_and_not_of_the_prediction():
    cells = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    heavy, light = torch.tensor([[[[60.0]]]]).repeat(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)

    def loss(predicted, target):
        weight = bin_weights(target, MANUAL.bins_1h, MANUAL.manual_weights)
        return masked_wmse(predicted, target, cells, weight, 1.0).item()

    assert loss(light, heavy) == 3 * 1000 * 3600
    assert loss(heavy, light) == 3 * 1 * 3600


# ---------------------------------------------------------------------------- computed weights

# Published counts of the MSM, 2018-2023, and the weights published with them.
HOURS = [11_617_353_737, 419_108_337, 57_722_776, 17_371_480, 2_505_170, 1_011_650, 280_450]
TOTALS = [3_802_669_186, 190_532_508, 32_200_570, 10_603_498, 1_706_796, 605_853, 132_789]


def msm_tables(hours=HOURS, totals=TOTALS):
    return Tally({"hourly": np.array(hours), "totals": np.array(totals)})


def test_inverse_frequency_gives_the_published_weights():
    raw = inverse_frequency(np.array(HOURS, np.float64))
    assert raw == pytest.approx([1, 27.7, 201, 668, 4615, 11348, 39709], rel=2e-3)
    weights = loss_weights(LossConfig(weights="inverse_frequency"), msm_tables(), totals=True)
    assert weights.hourly == pytest.approx([1, 27.7, 100, 100, 100, 100, 100], rel=2e-3)
    # 190,532,508 of 4,038,451,200 totals are a share of 0.04718, the smallest one 0.94162.
    assert weights.total[:2] == pytest.approx([1, 0.94162 / 0.04718], rel=1e-3)


def test_power_gives_the_published_weights():
    weights = loss_weights(LossConfig(weights="power"), msm_tables(), totals=True)
    assert weights.hourly == pytest.approx([1, 5.3, 14.2, 25.9, 68, 107, 204], rel=1e-2)
    assert weights.total == pytest.approx([1, 4.5, 10.9, 18.9, 47, 79, 169], rel=1e-2)
    steep = loss_weights(LossConfig(weights="power", alpha=1.0), msm_tables(), totals=False)
    assert steep.hourly[1] == pytest.approx(HOURS[0] / HOURS[1])
    assert steep.hourly[-1] == 1000
    assert steep.total is None
    assert power(np.array([4.0, 1.0]), 0.5).tolist() == [1, 2]


@pytest.mark.parametrize("rule", ["inverse_frequency", "power"])
def test_an_empty_bin_has_no_computed_weight(rule):
    loss = LossConfig(weights=rule)
    with pytest.raises(DataError, match=r"bins_1h.*no value in 30-50 mm, 50-inf mm"):
        loss_weights(loss, msm_tables(hours=[*HOURS[:5], 0, 0]), totals=False)
    empty_total = msm_tables(totals=[*TOTALS[:6], 0])
    assert loss_weights(loss, empty_total, totals=False).computed
    with pytest.raises(DataError, match=r"bins_sum.*100-inf mm"):
        loss_weights(loss, empty_total, totals=True)


def test_given_weights_need_no_tables():
    weights = loss_weights(MANUAL, Tally(), totals=True)
    assert weights.hourly == weights.total == [1, 5, 20, 100, 250, 500, 1000]
    assert not weights.computed
    assert loss_weights(PLAIN, Tally(), totals=True).total == [1.0] * 7
    with pytest.raises(ConfigError, match="manual_weights_sum"):
        loss_weights(LossConfig(bins_sum=[2, 10]), Tally(), totals=True)


# ---------------------------------------------------------------------------- further terms


def test_the_focal_boost_grows_from_10_to_50_mm():
    truth = torch.tensor([0.0, 10.0, 30.0, 50.0, 99.0])
    assert focal_boost(truth, 1.0).tolist() == [1, 1, 1 + 0.75 / 4, 1.75, 1.75]
    assert focal_boost(truth, 2.0).tolist() == [1, 1, 1 + 1.5 / 4, 2.5, 2.5]
    assert focal_boost(truth, 0.0).tolist() == [1] * 5


def divergence(target, shares):
    target = torch.tensor(target).reshape(1, 3, 1, -1)
    log_shares = torch.tensor(shares).reshape(1, 3, 1, -1).log()
    cells = torch.ones(1, 1, 1, target.shape[-1], dtype=torch.bool)
    return divide(share_divergence_sums(log_shares, target, cells)).item()


def test_the_divergence_of_shares_by_hand():
    # All in one hour against even shares: log 3. Half and half: log(3 / 2).
    third = [1 / 3] * 3
    assert divergence([4.0, 0.0, 0.0], third) == pytest.approx(np.log(3))
    assert divergence([2.0, 2.0, 0.0], third) == pytest.approx(np.log(1.5))
    assert divergence([1.0, 2.0, 5.0], [0.125, 0.25, 0.625]) == pytest.approx(0, abs=1e-6)
    # Below 0.2 mm the target is 0.98, 0.01, 0.01.
    expected = 0.98 * np.log(3 * 0.98) + 0.02 * np.log(3 * 0.01)
    assert divergence([0.15, 0.0, 0.0], third) == pytest.approx(expected, rel=1e-5)


def test_the_divergence_counts_cells_by_their_weight():
    """Two cells of 6 mm, split evenly by the model: all in one hour, and (1, 1, 0) halves."""
    target = torch.tensor([[6.0, 0.0, 0.0], [3.0, 3.0, 0.0]]).T.reshape(1, 3, 1, 2)
    even = torch.full_like(target, 1 / 3).log()
    cells = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    weight = torch.tensor([3.0, 0.5]).reshape(1, 1, 1, 2)
    numerator, denominator = share_divergence_sums(even, target, cells, weight)
    # log 3 for the first, log 3 - log 2 for the second.
    assert numerator.item() == pytest.approx(3 * np.log(3) + 0.5 * np.log(1.5))
    assert denominator.item() == 3.5


def test_the_divergence_is_a_mean_over_rainy_cells_that_are_scored():
    target = torch.tensor([[4.0, 0.0, 0.0, torch.nan], [0.0, 2.0, 0.0, 1.0], [0.0, 2.0, 0.0, 1.0]])
    cells = torch.tensor([True, True, True, False]).reshape(1, 1, 1, 4)
    logits = torch.zeros(1, 3, 1, 4, requires_grad=True)
    term = share_divergence_sums(logits.log_softmax(1), target.reshape(1, 3, 1, 4), cells)
    loss = divide(term)
    loss.backward()
    # The dry cell has no shares and the missing one is not scored: two cells are left.
    assert loss.item() == pytest.approx((np.log(3) + np.log(1.5)) / 2)
    # d KL / dz = p - q.
    by_hand = torch.tensor([[1 / 3 - 1, 1 / 3, 0, 0], *[[1 / 3, 1 / 3 - 1 / 2, 0, 0]] * 2]) / 2
    torch.testing.assert_close(logits.grad.reshape(3, 4), by_hand)


# ---------------------------------------------------------------------------- mask


def test_cells_at_the_limit_are_scored_in_float32():
    at_limit = np.float32(0.1)
    total = torch.tensor([[[[at_limit, np.nextafter(at_limit, np.float32(0)), 5.0, torch.nan]]]])
    valid = torch.tensor([[[[True, True, False, False]]]])
    assert scored_cells(total, valid, 0.1).flatten().tolist() == [True, False, False, False]
    assert scored_cells(total, valid, 0.0).flatten().tolist() == [True, True, False, False]


def test_cells_outside_the_mask_change_nothing(rain):
    torch.manual_seed(1)
    predicted = torch.rand(8, 3, 24, 32) * 5
    before = loss_of(predicted, rain, MANUAL, 2.0)
    _, total, valid = batch(rain)
    outside = ~scored_cells(total, valid, MANUAL.mask_mm)
    disturbed = torch.where(outside.expand_as(predicted), torch.tensor(1e6), predicted)
    assert outside.any()
    assert torch.equal(loss_of(disturbed, rain, MANUAL, 2.0), before)


@pytest.mark.parametrize("d0", [None, 3.0])
def test_missing_cells_give_a_finite_loss_and_finite_gradients(rain, d0):
    torch.manual_seed(2)
    logits = torch.randn(8, 3, 24, 32, requires_grad=True)
    total = batch(rain)[1]
    assert torch.isnan(total).any()
    loss = loss_of(allocation_logits_to_mm(logits, total), rain, MANUAL, d0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() > 0
    assert (logits.grad[:, :, :3, :5] == 0).all()


@pytest.mark.parametrize("d0", [None, 3.0])
def test_a_missing_hour_under_a_known_total_reaches_no_gradient_either(d0):
    predicted = torch.ones(1, 3, 2, 2, requires_grad=True)
    target = torch.full((1, 3, 2, 2), 2.0)
    target[0, 1, 0, 0] = torch.nan
    cells = torch.tensor([[[[False, True], [True, True]]]])
    weight = bin_weights(target, MANUAL.bins_1h, MANUAL.manual_weights)
    loss = masked_wmse(predicted, target, cells, weight, d0)
    loss.backward()
    # Weight 5 and error 1 in nine places, over 3 cells times d0 or over the weights.
    assert loss.item() == pytest.approx(45 / (45 if d0 is None else 9))
    assert (predicted.grad[:, :, 0, 0] == 0).all()
    assert torch.isfinite(predicted.grad).all()


@pytest.mark.parametrize("d0", [None, 3.0])
def test_without_a_scored_cell_the_loss_is_zero_and_so_are_its_gradients(d0):
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    total = torch.zeros(2, 1, 8, 8)
    total[0, 0, :4] = torch.nan
    target = total.repeat(1, 3, 1, 1)
    cells = scored_cells(total, ~torch.isnan(total), 0.1)
    weight = bin_weights(target, MANUAL.bins_1h, MANUAL.manual_weights)
    loss = masked_wmse(allocation_logits_to_mm(logits, total), target, cells, weight, d0)
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


# ---------------------------------------------------------------------------- denominators


@pytest.mark.parametrize("loss", [MANUAL, PLAIN, LossConfig(mask_mm=0)], ids=["w", "off", "all"])
def test_the_equal_split_has_a_loss_of_one_on_the_data_its_d0_comes_from(rain, loss):
    tables = sum((window_tables(window, loss) for window in rain), Tally())
    d0 = equal_split_error(tables, loss.hourly_weights)
    third = batch(rain)[1].expand(8, 3, 24, 32) / 3
    assert loss_of(third, rain, loss, d0).item() == pytest.approx(1.0, abs=2e-6)
    # Half way from S/3 to the truth leaves a quarter of the squared error.
    halfway = (third + batch(rain)[0]) / 2
    assert loss_of(halfway, rain, loss, d0).item() == pytest.approx(0.25, abs=1e-6)


def test_divided_by_the_weights_it_is_the_weighted_mean_of_numpy(rain):
    rng = np.random.default_rng(4)
    predicted = rng.gamma(0.5, 4.0, (8, 3, 24, 32)).astype(np.float32)
    truth, total = rain[:, 1:4].astype(np.float64), rain[:, 4:5]
    scored = np.broadcast_to(total >= np.float32(0.1), truth.shape)
    weight = np.select(
        [truth >= 50, truth >= 30, truth >= 20, truth >= 10, truth >= 5, truth >= 1],
        [1000, 500, 250, 100, 20, 5],
        1,
    )
    expected = np.average((predicted - truth)[scored] ** 2, weights=weight[scored])
    assert loss_of(torch.from_numpy(predicted), rain, MANUAL, None).item() == pytest.approx(
        expected, rel=1e-5
    )
    target, total_mm, valid = batch(rain)
    unweighted = masked_wmse(
        torch.from_numpy(predicted), target, scored_cells(total_mm, valid, 0.1)
    )
    assert unweighted.item() == pytest.approx(((predicted - truth)[scored] ** 2).mean(), rel=1e-5)


def denominator(rain, d0):
    """What a rank with these windows hands in to be summed, caught before the division."""
    caught = []

    def catch(own):
        caught.append(own)
        return own

    loss_of(torch.zeros(len(rain), 3, 24, 32), rain, MANUAL, d0, catch)
    return caught[0]


@pytest.mark.parametrize("d0", [None, 3.0], ids=["weights", "equal_split"])
def test_two_ranks_have_the_gradient_of_the_whole_batch(rain, d0):
    torch.manual_seed(6)
    logits = torch.randn(8, 3, 24, 32)

    def training_step(*parts):
        """Loss and gradient, averaged over ranks that hold the windows of one part each."""
        shift = torch.zeros(3, 1, 1, requires_grad=True)
        shared = sum(denominator(rain[part], d0) for part in parts) / len(parts)
        losses = [
            loss_of(
                allocation_logits_to_mm(logits[part] + shift, batch(rain[part])[1]),
                rain[part],
                MANUAL,
                d0,
                lambda own: shared,
            )
            for part in parts
        ]
        mean = sum(losses) / len(losses)
        mean.backward()
        return mean.detach(), shift.grad

    first, second = slice(0, 4), slice(4, 8)
    loss, gradient = training_step(slice(0, 8))
    for parts in ((first, second), (slice(0, 1), slice(1, 8))):
        shared_loss, shared_gradient = training_step(*parts)
        torch.testing.assert_close(shared_loss, loss, rtol=1e-5, atol=0)
        torch.testing.assert_close(shared_gradient, gradient, rtol=1e-5, atol=1e-7)
    # The mean of two losses, each divided by its own denominator, is something else.
    separate = (training_step(first)[1] + training_step(second)[1]) / 2
    assert not torch.allclose(separate, gradient, rtol=1e-3, atol=0)

"""The energy score as a loss: its value, its mask, its gradient, and what it teaches."""

from itertools import product

import numpy as np
import pytest
import torch

from tenkizu.core.normaliser import ChannelScale
from tenkizu.rain.config import ModelConfig
from tenkizu.rain.ensemble_scores import fair_energy_score
from tenkizu.rain.losses import divide, energy_score_sums
from tenkizu.rain.model import Disaggregator
from tenkizu.rain.noise import random_noise

EVERYWHERE = torch.ones(2, 1, 4, 5, dtype=torch.bool)


def drawn(members, seed=0):
    """Members (M, 2, 3, 4, 5), truth (2, 3, 4, 5) and S (2, 1, 4, 5), mm, each adding to S."""
    rng = np.random.default_rng(seed)
    total = rng.gamma(0.8, 6.0, (2, 4, 5))
    hours = np.moveaxis(rng.dirichlet([0.7] * 3, (members + 1, 2, 4, 5)), -1, 2) * total[:, None]
    hours = torch.from_numpy(hours)
    return hours[1:], hours[0], torch.from_numpy(total[:, None])


@pytest.mark.parametrize("members", [2, 3, 5])
def test_it_is_the_score_of_a_loop_over_cells_and_pairs(members):
    hours, truth, total = drawn(members)
    cells = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(1)) < 0.7
    score = distance = 0.0
    for b, row, column in np.argwhere(cells[:, 0].numpy()):
        own = hours[:, b, :, row, column].numpy()
        true = truth[b, :, row, column].numpy()
        score += np.mean([np.linalg.norm(one - true) for one in own])
        pairs = product(range(members), repeat=2)
        between = sum(np.linalg.norm(own[i] - own[j]) for i, j in pairs)
        score -= between / (2 * members * (members - 1))
        distance += np.linalg.norm(total[b, 0, row, column].item() / 3 - true)
    found = energy_score_sums(hours, truth, total, cells)
    assert [value.item() for value in found] == pytest.approx([score, distance], rel=1e-12)


def test_it_is_the_score_of_the_evaluation():
    hours, truth, total = drawn(4)
    score, _ = energy_score_sums(hours, truth, total, EVERYWHERE)
    x = hours.movedim(2, 1).reshape(4, 3, -1).numpy()
    expected = fair_energy_score(x, truth.movedim(1, 0).reshape(3, -1).numpy()).sum()
    assert score.item() == pytest.approx(expected, rel=1e-12)


def test_equal_members_of_thirds_score_1():
    _, truth, total = drawn(2)
    thirds = (total / 3).expand(3, 2, 3, 4, 5)
    assert divide(energy_score_sums(thirds, truth, total, EVERYWHERE)).item() == pytest.approx(1)


def test_a_cell_of_weight_2_counts_like_two_cells():
    hours, truth, total = drawn(3)
    weight = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    found = energy_score_sums(hours, truth, total, EVERYWHERE, weight)
    twice = [torch.cat([x, x[..., 1:, :, :, :]], dim=-4) for x in (hours, truth, total)]
    expected = energy_score_sums(*twice, torch.ones(3, 1, 4, 5, dtype=torch.bool))
    torch.testing.assert_close(found, expected)


def test_of_squares_it_is_the_score_of_their_mean_amounts():
    hours, truth, total = drawn(3)
    cells = EVERYWHERE.clone()
    cells[0, 0, 0, 0] = False
    found = energy_score_sums(hours, truth, total, cells, side=2)

    def means(maps):
        maps = torch.where(cells, maps, 0.0)
        rows = torch.cat([maps[..., 0:2, :].mean(-2, True), maps[..., 2:4, :].mean(-2, True)], -2)
        # Five columns: the last square is half of one.
        blocks = [rows[..., 0:2], rows[..., 2:4], rows[..., 4:5]]
        return torch.stack([block.mean(-1) for block in blocks], dim=-1)

    every = torch.ones(2, 1, 2, 3, dtype=torch.bool)
    expected = energy_score_sums(means(hours), means(truth), means(total), every)
    torch.testing.assert_close(found, expected)


def test_only_squares_see_members_that_turn_from_cell_to_cell():
    early, late = (torch.tensor(hours).reshape(3, 1, 1) for hours in ([6.0, 0, 0], [0, 0, 6.0]))
    turning = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0
    area = torch.stack([x.expand(3, 4, 4) for x in (early, late)])[:, None]
    speckle = torch.stack([torch.where(turning, x, y) for x, y in ((early, late), (late, early))])
    total = torch.full((1, 1, 4, 4), 6.0)

    def loss(members, side):
        sums = [
            energy_score_sums(members, truth.expand(1, 3, 4, 4), total, total > 0, None, side)
            for truth in (early, late)
        ]
        return sum(score.item() for score, _ in sums)

    assert loss(area, 1) == pytest.approx(loss(speckle[:, None], 1))
    # Either of two equally likely outcomes, 6 sqrt(2) apart: no error but half of their distance
    # less that between the two members; the mean of both errs by half of the distance, always.
    assert loss(area, 4) == pytest.approx(0, abs=1e-5)
    assert loss(speckle[:, None], 4) == pytest.approx(2 * 18**0.5)


@pytest.mark.parametrize("members", [2, 3])
def test_its_expectation_does_not_depend_on_the_number_of_members(members):
    # Members drawn independently from three triples: all tuples, each with its probability.
    triples = torch.tensor([[6.0, 0, 0], [1, 2, 3], [0, 0, 6]], dtype=torch.float64)
    chances, truth = [0.5, 0.2, 0.3], torch.tensor([2.0, 4, 0], dtype=torch.float64)
    cell = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    expected = 0.0
    for chosen in product(range(3), repeat=members):
        hours = triples[list(chosen)].reshape(members, 1, 3, 1, 1)
        score, _ = energy_score_sums(hours, truth.reshape(1, 3, 1, 1), 6.0 * cell, cell)
        expected += np.prod([chances[i] for i in chosen]) * score.item()
    # Of the distribution itself: E |X - o| - E |X - X'| / 2.
    errors = np.linalg.norm(triples - truth, axis=1)
    between = np.linalg.norm(triples[:, None] - triples, axis=2)
    whole = np.dot(chances, errors) - np.dot(chances, between @ chances) / 2
    assert expected == pytest.approx(whole, rel=1e-12)


def test_no_gradient_is_nan_where_distances_are_zero_or_values_missing():
    logits = torch.zeros(2, 1, 3, 2, 2, requires_grad=True)
    # A dry cell, one where all members are exact, one that misses, and one that errs.
    total = torch.tensor([[0.0, 3.0], [float("nan"), 6.0]]).reshape(1, 1, 2, 2)
    truth = (total / 3).repeat(1, 3, 1, 1)
    truth[0, :, 1, 1] = torch.tensor([6.0, 0, 0])
    cells = torch.isfinite(total)
    hours = logits.softmax(dim=2) * torch.where(cells, total, torch.nan)
    score, distance = energy_score_sums(hours, truth, total, cells)
    score.backward()
    # |(-4, 2, 2)| and nothing else.
    assert score.item() == pytest.approx(24**0.5)
    assert distance.item() == pytest.approx(24**0.5)
    known = logits.grad[..., 1, 1]
    assert torch.isfinite(known).all()
    assert (known[:, 0, 0] < 0).all()
    dry_or_exact = logits.grad[..., 0, :]
    assert (dry_or_exact == 0).all()


def test_nothing_is_scored_without_cells():
    hours, truth, total = drawn(2)
    hours.requires_grad_()
    loss = divide(energy_score_sums(hours, truth, total, ~EVERYWHERE))
    loss.backward()
    assert loss.item() == 0
    assert (hours.grad == 0).all()


def test_members_spread_as_the_truth_does_when_it_cannot_be_known():
    """All rain in the first hour or all in the third, at even odds and alike over the frame."""
    torch.manual_seed(0)
    shape = ModelConfig(
        embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=2, patch_size=2,
        drop_path=0.0, prior="none", noise=2, full_resolution_skip=False,
    )  # fmt: skip
    net = Disaggregator(shape, [ChannelScale("S", "mm", "log1p", 1.0, 1.0)])
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    total = torch.full((16, 1, 8, 8), 6.0)
    cells = total > 0

    def members(count):
        noise = random_noise(count * len(total), 2, (8, 8), total)
        repeated = total.repeat(count, 1, 1, 1)
        return net.hours(*net.output(repeated, noise), repeated).reshape(count, 16, 3, 8, 8)

    for _ in range(150):
        first = (torch.rand(16, 1, 1, 1) < 0.5).float()
        truth = torch.cat([first, torch.zeros_like(first), 1 - first], dim=1) * total
        both = members(2)
        terms = [energy_score_sums(both, truth, total, cells, side=side) for side in (1, 4)]
        loss = divide(terms[0]) + divide(terms[1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        shares = (members(8) / 6).reshape(128, 3, 8, 8)
    # Each draw is one of the two outcomes rather than their mean, and both are as frequent.
    assert ((shares[:, 0] < 0.25) | (shares[:, 0] > 0.75)).float().mean() > 0.8
    assert shares[:, 1].mean() < 0.05
    assert 0.3 < shares[:, 0].mean() < 0.7
    # Spread over error, with truth at even odds: the variance of each share is that of the truth.
    assert shares[:, 0].var(dim=0).mean().sqrt() == pytest.approx(0.5, abs=0.1)

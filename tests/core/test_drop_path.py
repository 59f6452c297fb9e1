"""Stochastic depth: who is dropped, and that what is dropped is not computed."""

import pytest
import torch

from tenkizu.core.drop_path import DropPath


def test_drop_path_drops_whole_samples():
    torch.manual_seed(0)
    out = DropPath(0.25)(torch.zeros(4000, 2, 3), torch.ones_like)
    assert torch.unique(out).tolist() == pytest.approx([0, 4 / 3])
    assert ((out == 0).all((1, 2)) | (out > 0).all((1, 2))).all()
    assert (out[:, 0, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert out.mean().item() == pytest.approx(1, abs=0.03)
    ones = torch.ones(5, 2)
    torch.testing.assert_close(DropPath(0.25).eval()(ones, lambda x: 3 * x), 4 * ones)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_drop_path_is_the_branch_times_zero_or_one_over_the_rate(batch):
    torch.manual_seed(batch)
    branch = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.GELU(), torch.nn.Linear(5, 3))
    x = torch.randn(batch, 4, 3, requires_grad=True)
    sizes = set()

    def noted(part):
        sizes.add(len(part))
        return branch(part)

    for seed in range(20):
        torch.manual_seed(seed)
        found = DropPath(0.4)(x, noted)
        torch.manual_seed(seed)
        kept = torch.empty(batch, 1, 1).bernoulli_(0.6)
        expected = x + branch(x) * kept / 0.6
        torch.testing.assert_close(found, expected)
        wanted = [x, *branch.parameters()]
        pairs = (torch.autograd.grad(out.square().sum(), wanted) for out in (found, expected))
        # Gradients of a branch that nobody took are 0 and not missing.
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one, other)
    # The branch is computed for those alone that keep it.
    assert min(sizes) < batch

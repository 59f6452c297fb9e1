"""Stochastic depth, for networks of both systems."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: in training, leave out a branch for a sample with probability ``rate``.

    What is kept is scaled by 1 / (1 - rate), so the expectation stays (Huang et al. 2016,
    https://arxiv.org/abs/1603.09382). The branch is not computed for samples that leave it out,
    which saves the mean rate of a network's time.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """Return ``x + branch(x)`` for ``x`` (B, ...), of which ``branch`` keeps the shape."""
        if not self.training or self.rate == 0:
            return x + branch(x)
        keep = 1 - self.rate
        # Drawn on the processor, since the number of kept samples has to be known here.
        kept = torch.empty(len(x), device="cpu").bernoulli_(keep).bool()
        if kept.all():
            return torch.add(x, branch(x), alpha=1 / keep)
        # Without any sample the branch still runs, so that its weights get gradients of 0: the
        # optimiser and processes that exchange gradients expect one for every weight.
        index = kept.nonzero().flatten().to(x.device)
        return x.index_add(0, index, branch(x[index]).to(x.dtype), alpha=1 / keep)

    def extra_repr(self) -> str:
        """Show the rate when the model is printed."""
        return f"rate={self.rate:.3f}"

"""Stochastic depth, for networks of both systems."""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: in training, drop the whole branch of a sample with probability ``rate``.

    What is kept is scaled by 1 / (1 - rate), so the expectation stays (Huang et al. 2016,
    https://arxiv.org/abs/1603.09382).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Return ``branch`` (B, ...) with some samples set to zero."""
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        kept = branch.new_empty(len(branch), *[1] * (branch.ndim - 1)).bernoulli_(keep)
        return branch * (kept / keep)

    def extra_repr(self) -> str:
        """Show the rate when the model is printed."""
        return f"rate={self.rate:.3f}"

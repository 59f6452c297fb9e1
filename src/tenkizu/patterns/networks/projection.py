"""A network of few whole-map patterns, for types that follow from where pressure is high."""

import itertools

from torch import Tensor, nn
from torch.nn import functional

from tenkizu.patterns.networks.layers import Backbone, Dropout


class Projection(Backbone):
    """Some learned patterns of the whole map, and a small network on how strong each of them is.

    A pattern is one weight a channel and cell; its strength is the weighted sum over the map, as
    with the principal components of a map, but learned for the types. The place of a high or low
    counts to the cell, which pooling would blur, and the few patterns leave little to overfit.

    Args:
        channels: of the input.
        labels: number of logits.
        shape: of a map, (H, W); no other size fits.
        patterns: whole-map patterns.
        hidden: width of the hidden layers.
        depth: hidden layers.
        dropout: rate after each of them.
    """

    def __init__(
        self,
        channels: int,
        labels: int,
        shape: tuple[int, int],
        patterns: int = 8,
        hidden: int = 256,
        depth: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if min(patterns, hidden, depth) < 1:
            raise ValueError("patterns, hidden and depth must be at least 1")
        self.patterns = nn.Linear(channels * shape[0] * shape[1], patterns)
        widths = [patterns] + depth * [hidden]
        self.hidden = nn.ModuleList([nn.Linear(a, b) for a, b in itertools.pairwise(widths)])
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(hidden, labels)

    def features(self, x: Tensor) -> Tensor:
        """The maps themselves: there is no coarser layer."""
        return x

    def embed(self, spatial: Tensor) -> Tensor:
        """(N, C, H, W) to (N, hidden)."""
        value = self.patterns(spatial.flatten(1))
        for layer in self.hidden:
            value = self.dropout(functional.gelu(layer(value)))
        embedding: Tensor = value
        return embedding

    def classify(self, embedding: Tensor) -> Tensor:
        """(N, hidden) to (N, L)."""
        logits: Tensor = self.out(embedding)
        return logits

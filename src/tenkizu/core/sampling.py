"""Which samples a process sees, and in what order; exact over ranks, decided by seed and epoch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class EpochSampler(Sampler[Any]):
    """Shuffles by (seed, epoch) and gives each rank an equal share, for training.

    Yields (epoch, index). The order is a function of the epoch alone, so a resumed run gets the
    batches an undisturbed one would have had. With several ranks the last few windows of an
    epoch's order are left out to keep the ranks in step.
    """

    def __init__(self, n: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.n, self.seed, self.rank, self.world = n, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Items for this rank."""
        return self.n // self.world

    def order(self) -> NDArray[np.int64]:
        """The epoch's order, before it is shared among the ranks."""
        return np.random.default_rng((self.seed, self.epoch)).permutation(self.n)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The items of this rank for the current epoch."""
        mine = self.order()[self.rank : len(self) * self.world : self.world]
        return iter([(self.epoch, int(i)) for i in mine])


class WeightedEpochSampler(EpochSampler):
    """Draws with replacement in proportion to weights, as many items an epoch as there are.

    Args:
        weights: of each item, (n,), not negative.
        seed: of the draws, with the epoch.
        rank: of this process.
        world: number of processes.
    """

    def __init__(
        self, weights: NDArray[np.float64], seed: int, rank: int = 0, world: int = 1
    ) -> None:
        super().__init__(len(weights), seed, rank, world)
        self.probabilities = np.asarray(weights, np.float64) / np.sum(weights)

    def order(self) -> NDArray[np.int64]:
        """The epoch's draws, before they are shared among the ranks."""
        generator = np.random.default_rng((self.seed, self.epoch))
        return generator.choice(self.n, self.n, p=self.probabilities)


class ShardSampler(Sampler[int]):
    """Every item exactly once over all ranks, for evaluation: neither pads nor repeats."""

    def __init__(self, n: int, rank: int = 0, world: int = 1) -> None:
        self.items = list(range(rank, n, world))

    def __len__(self) -> int:
        """Items for this rank."""
        return len(self.items)

    def __iter__(self) -> Iterator[int]:
        """The items of this rank."""
        return iter(self.items)

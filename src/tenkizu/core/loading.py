"""Batches of samples, read ahead by threads."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler

Batch = dict[str, Tensor]
Parts = Mapping[str, NDArray[Any] | list[NDArray[Any]]]
"""One sample: arrays by name, and for a list of them the array that stacks them. They may be views
of mapped files, which are read when a batch is put together."""


class Samples(ABC):
    """A data set whose samples have the same names."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def parts(self, item: int | tuple[int, int]) -> Parts:
        """What makes one sample; several threads call this at once.

        Args:
            item: number of the sample; in training (epoch, number).
        """

    def __getitem__(self, item: int | tuple[int, int]) -> Batch:
        """One sample as tensors."""
        return {name: values[0] for name, values in join([self.parts(item)]).items()}


def join(samples: Sequence[Parts]) -> Batch:
    """A batch of samples, as tensors with one axis more; each value is copied once."""
    batch = {}
    for name, first in samples[0].items():
        values = [sample[name] for sample in samples]
        if isinstance(first, list):
            # One call for all: while numpy copies, other threads run.
            stacked = np.stack([plane for planes in values for plane in planes])
            stacked = stacked.reshape(len(samples), len(first), *stacked.shape[1:])
        else:
            stacked = np.stack(values)
        # Not by torch, which would start threads of its own in each reader.
        batch[name] = torch.from_numpy(stacked)
    return batch


class BatchLoader:
    """Batches of a data set, in the order of a sampler, read ahead by threads of this process.

    Samples are mostly copied out of mapped files, and while numpy copies other threads run. Threads
    need no shared memory: processes hand each batch on in new pages of it, and clearing those takes
    far longer than reading (`benchmarks/rain_loader.py`). On GPU machines batches come pinned.

    Args:
        samples: the data set.
        batch_size: samples in a batch.
        sampler: yields the items, anew for each epoch.
        workers: threads; 0 reads each batch when it is asked for.
        drop_last: leave out a last batch that is not full.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        sampler: Iterable[Any],
        workers: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.samples, self.workers = samples, workers
        # Lightning looks here for a sampler that has to know the epoch.
        self.batch_sampler = BatchSampler(sampler, batch_size, drop_last)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of an epoch; what a thread raises is raised here."""
        if not self.workers:
            yield from map(self._read, self.batch_sampler)
            return
        ahead: deque[Future[Batch]] = deque()
        # A new thread would pin memory for the first GPU, whichever this process trains on.
        gpu = torch.cuda.current_device() if torch.cuda.is_available() else None
        pool = ThreadPoolExecutor(self.workers, "reader", _choose_gpu, (gpu,))
        try:
            for batch in self.batch_sampler:
                ahead.append(pool.submit(self._read, batch))
                # One batch is ready when all threads are at work.
                if len(ahead) > self.workers + 1:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, items: Sequence[Any]) -> Batch:
        """One batch."""
        batch = join([self.samples.parts(item) for item in items])
        if torch.cuda.is_available():
            batch = {name: values.pin_memory() for name, values in batch.items()}
        return batch


def _choose_gpu(gpu: int | None) -> None:
    if gpu is not None:
        torch.cuda.set_device(gpu)

"""Batches by threads: the order, the values, failures, and what is left behind."""

import threading
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tenkizu.core.errors import DataError
from tenkizu.core.loading import BatchLoader, Samples, join
from tenkizu.core.sampling import EpochSampler


class Numbers(Samples):
    """Samples that take longer the smaller their number, so that threads overtake each other."""

    def __init__(self, count, slow=0.0):
        self.count, self.slow = count, slow
        self.threads = set()

    def __len__(self):
        return self.count

    def parts(self, item):
        epoch, number = item if isinstance(item, tuple) else (0, item)
        if number == 99:
            raise DataError("is damaged", file="a.npy")
        self.threads.add(threading.current_thread().name)
        time.sleep(self.slow * (self.count - number))
        planes = [np.full((2, 3), number + k, np.float32) for k in range(4)]
        return {"input": planes, "epoch": np.array(epoch), "row": np.arange(3) + number}


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_are_those_of_the_data_loader_of_torch(workers, drop_last):
    samples, order = Numbers(11, slow=0.001), [7, 3, 9, 0, 1, 2, 10, 5]
    ours = BatchLoader(samples, 3, order, workers, drop_last)
    torchs = DataLoader(Numbers(11), 3, sampler=order, drop_last=drop_last)
    assert len(ours) == len(torchs) == (2 if drop_last else 3)
    for _ in range(2):
        for found, expected in zip(ours, torchs, strict=True):
            assert found.keys() == expected.keys()
            for name, values in expected.items():
                torch.testing.assert_close(found[name], values, rtol=0, atol=0)
    assert (threading.current_thread().name in samples.threads) == (workers == 0)


def test_planes_are_stacked_and_may_be_views(tmp_path):
    stored = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (2, 3, 4, 5))
    stored[:] = np.random.default_rng(0).normal(size=stored.shape)
    one = np.broadcast_to(np.float32(7), (4, 5))
    batch = join([{"input": [*sample, one], "first": sample[:1]} for sample in stored])
    expected = np.concatenate([stored, np.full((2, 1, 4, 5), 7)], axis=1)
    np.testing.assert_array_equal(batch["input"].numpy(), expected)
    batch["first"][:] = 0
    assert np.count_nonzero(stored)


def test_the_sampler_is_asked_anew_and_knows_the_epoch():
    sampler = EpochSampler(6, seed=1)
    loader = BatchLoader(Numbers(6), 4, sampler, 2, drop_last=True)
    seen = []
    for epoch in range(3):
        # As Lightning does.
        loader.batch_sampler.sampler.set_epoch(epoch)
        [batch] = loader
        assert batch["epoch"].tolist() == [epoch] * 4
        seen.append(batch["row"][:, 0].tolist())
        assert seen[-1] == [number for _, number in sampler][:4]
    assert seen[0] != seen[1]


def test_an_error_of_a_reader_is_that_of_the_reader():
    loader = BatchLoader(Numbers(100), 2, [0, 1, 2, 3, 4, 99, 5, 6], workers=2)
    found = iter(loader)
    assert next(found)["row"][:, 0].tolist() == [0, 1]
    assert next(found)["row"][:, 0].tolist() == [2, 3]
    with pytest.raises(DataError, match="is damaged"):
        next(found)


def test_readers_end_with_an_epoch_that_is_broken_off():
    samples = Numbers(1000)
    for _ in BatchLoader(samples, 2, range(1000), workers=2):
        break
    assert not [t for t in threading.enumerate() if t.name.startswith("reader")]
    # Not far ahead of what was asked for.
    assert len(samples.threads) == 2


def test_few_batches_wait():
    read = []

    class Noted(Numbers):
        def parts(self, item):
            read.append(item)
            return super().parts(item)

    batches = iter(BatchLoader(Noted(100), 1, range(100), workers=2))
    next(batches)
    time.sleep(0.2)
    assert len(read) <= 4
    batches.close()


def test_readers_pin_memory_for_the_gpu_of_their_process(monkeypatch):
    chosen, pinned = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda x: pinned.append(x.shape) or x)
    batches = list(BatchLoader(Numbers(4), 2, range(4), workers=2))
    assert len(batches) == 2
    assert set(chosen) == {3}
    assert len(pinned) == 2 * 3

"""Who sees which sample, and when."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenkizu.core.sampling import EpochSampler, ShardSampler


def epoch_of(n, seed, epoch, rank=0, world=1):
    sampler = EpochSampler(n, seed, rank, world)
    sampler.set_epoch(epoch)
    items = list(sampler)
    assert len(items) == len(sampler)
    assert {e for e, _ in items} <= {epoch}
    return [index for _, index in items]


@pytest.mark.parametrize("world", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("n", [0, 1, 4, 5, 23])
def test_evaluation_sees_every_item_exactly_once(n, world):
    shards = [ShardSampler(n, rank, world) for rank in range(world)]
    assert sorted(i for shard in shards for i in shard) == list(range(n))
    assert [len(list(shard)) for shard in shards] == [len(shard) for shard in shards]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_evaluation_in_one_process_keeps_the_order():
    assert list(ShardSampler(5)) == [0, 1, 2, 3, 4]


@settings(deadline=None)
@given(n=st.integers(0, 60), world=st.integers(1, 5), seed=st.integers(0, 9))
def test_ranks_share_an_epoch_without_overlap_and_stay_in_step(n, world, seed):
    shares = [epoch_of(n, seed, 2, rank, world) for rank in range(world)]
    together = [i for share in shares for i in share]
    assert len(set(together)) == len(together) == n - n % world
    assert set(together) <= set(range(n))
    assert {len(share) for share in shares} == {n // world}


def test_ranks_deal_out_the_order_of_a_single_process():
    alone = epoch_of(10, seed=3, epoch=1)
    assert epoch_of(10, 3, 1, rank=0, world=2) == alone[0::2]
    assert epoch_of(10, 3, 1, rank=1, world=2) == alone[1::2]


def test_order_depends_on_seed_and_epoch():
    orders = {tuple(epoch_of(50, seed, epoch)) for seed in range(4) for epoch in range(5)}
    assert len(orders) == 20
    assert tuple(range(50)) not in orders


def test_items_left_out_change_from_epoch_to_epoch():
    seen = set()
    for epoch in range(20):
        for rank in range(3):
            seen.update(epoch_of(11, 1, epoch, rank, 3))
    assert seen == set(range(11))


def test_resumed_run_gets_the_epochs_of_an_undisturbed_one():
    undisturbed = EpochSampler(12, seed=5, rank=1, world=2)
    epochs = []
    for epoch in range(4):
        undisturbed.set_epoch(epoch)
        epochs.append(list(undisturbed))
    assert list(undisturbed) == epochs[3]  # asked again, it answers the same

    resumed = EpochSampler(12, seed=5, rank=1, world=2)
    resumed.set_epoch(3)
    assert list(resumed) == epochs[3]

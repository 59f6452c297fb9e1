"""From stored windows to samples: channels, masks, random views."""

import numpy as np
import pytest
import torch

from tenkizu.core.loading import join
from tenkizu.core.stats import Moments
from tenkizu.rain.config import DataConfig
from tenkizu.rain.dataset import (
    RainDataset,
    assemble,
    augment,
    input_channels,
    time_features,
    to_parts,
)
from tenkizu.rain.tables import RAIN

NAMES = [
    "dayofyear_sin",
    "dayofyear_cos",
    "hour_sin",
    "hour_cos",
    "S",
    "P",
    "P_present",
    "N",
    "N_present",
]
START = np.datetime64("2023-07-10T12:00")
P, Y4, Y5, Y6, S, N = range(6)


@pytest.fixture
def rain():
    """One window as stored, (6, 20, 24), with rain everywhere."""
    rain = np.random.default_rng(1).gamma(0.8, 6.0, (6, 20, 24)).astype(np.float32)
    rain[S] = rain[Y4 : Y6 + 1].sum(axis=0, dtype=np.float64)
    return rain


@pytest.fixture
def views(tiny_config):
    """DataConfig of random views: everything off but what is asked for."""

    def make(**options):
        quiet = {"tile": None, "flips": False, "time_reversal": False, "amount_scale": 1.0}
        update = quiet | {"drop_neighbours": 0.0} | options
        return tiny_config.data.model_copy(update=update)

    return make


def drawn(rain, options, count=40):
    """Many random views of one window."""
    generator = np.random.default_rng(0)
    return [augment(rain.copy(), options, generator) for _ in range(count)]


def same(a, b):
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


# ---------------------------------------------------------------------------- channels


def test_channels_come_in_a_fixed_order_with_their_scaling(tiny_config, tiny_store):
    moments = Moments.from_json(tiny_store.meta["statistics"]["log1p_mm"])
    channels = input_channels(tiny_config.data, moments)
    assert [c.name for c in channels] == NAMES
    by_name = {c.name: c for c in channels}
    for name in ("S", "P", "N"):
        i = RAIN.index(name)
        scale = by_name[name]
        assert (scale.units, scale.transform) == ("mm", "log1p")
        assert (scale.mean, scale.std) == (moments.mean[i], moments.std[i])
    plain = [c for c in channels if c.name not in ("S", "P", "N")]
    assert {(c.units, c.transform, c.mean, c.std) for c in plain} == {("1", "linear", 0.0, 1.0)}


@pytest.mark.parametrize(
    ("context", "time", "expected"),
    [
        (["s"], False, ["S"]),
        (["s", "n"], False, ["S", "N", "N_present"]),
        (["n", "p", "s"], False, ["S", "P", "P_present", "N", "N_present"]),
        (["s"], True, [*NAMES[:4], "S"]),
        (["gradient", "box15", "s", "box5"], False, ["S", "S_box5", "S_box15", "S_dx", "S_dy"]),
        (
            ["static", "position", "p", "s"],
            False,
            ["S", "P", "P_present", "latitude", "longitude", "orography", "land"],
        ),
    ],
)
def test_context_and_time_features_choose_the_channels(tiny_config, context, time, expected):
    entries = tiny_config.data.model_dump() | {"context": context, "time_features": time}
    entries["static_file"] = "orography.nc" if "static" in context else None
    channels = input_channels(DataConfig(**entries), Moments.empty(len(RAIN)))
    assert [c.name for c in channels] == expected


@pytest.mark.parametrize(
    ("start", "day", "hour"),
    [
        ("2023-01-01T03:00", 1, 0),
        ("2023-01-01T00:00", 365, 21),  # t0 is still in the old year
        ("2023-07-02T15:00", 183, 12),
        ("2024-12-31T21:00", 366, 18),
        ("2023-03-01T04:30", 60, 1.5),
    ],
)
def test_time_features_are_those_of_t0(start, day, hour):
    found = time_features(np.datetime64(start))
    expected = [f(2 * np.pi * day / 366) for f in (np.sin, np.cos)]
    expected += [f(2 * np.pi * hour / 24) for f in (np.sin, np.cos)]
    assert list(found) == NAMES[:4]
    assert list(found.values()) == pytest.approx(expected, abs=1e-12)


def test_time_features_by_hand():
    # t0 on 2 July, day 183 = half of 366, at 06 UTC, a quarter of the day.
    found = time_features(np.datetime64("2023-07-02T09:00"))
    assert list(found.values()) == pytest.approx([0, -1, 1, 0], abs=1e-12)


def test_assembled_planes_are_raw_and_constant_where_they_should_be(rain):
    planes = assemble(NAMES, rain, START)
    assert planes.shape == (9, 20, 24)
    assert planes.dtype == np.float32
    for name, index in (("S", S), ("P", P), ("N", N)):
        np.testing.assert_array_equal(planes[NAMES.index(name)], rain[index])
    assert (planes[[6, 8]] == 1).all()
    for plane, value in zip(planes[:4], time_features(START).values(), strict=True):
        assert (plane == np.float32(value)).all()
    np.testing.assert_array_equal(assemble(["N", "S"], rain, START), rain[[N, S]])


def test_presence_planes_say_where_a_neighbour_is_missing(rain):
    rain[P] = np.nan
    rain[N, :5] = np.nan
    planes = dict(zip(NAMES, assemble(NAMES, rain, START), strict=True))
    assert (planes["P_present"] == 0).all()
    assert np.isnan(planes["P"]).all()
    assert (planes["N_present"][:5] == 0).all()
    assert (planes["N_present"][5:] == 1).all()


def test_an_unknown_total_reads_as_dry_and_leaves_the_stored_window_alone(rain):
    rain[S, 3, 3] = np.nan
    planes = assemble(NAMES, rain, START)
    assert planes[NAMES.index("S"), 3, 3] == 0
    assert np.isnan(rain[S, 3, 3])


def test_the_hours_are_no_input(rain):
    before = assemble(NAMES, rain, START)
    rain[Y4 : Y6 + 1] = 99
    np.testing.assert_array_equal(assemble(NAMES, rain, START), before)


# ---------------------------------------------------------------------------- samples


def test_a_sample_holds_input_targets_mask_and_time(rain):
    rain[Y5, 2, 2] = np.nan
    rain[S, 4, 4] = np.nan
    rain[P, 6, 6] = np.nan
    sample = {k: v[0] for k, v in join([to_parts(rain, NAMES, START)]).items()}
    assert {k: (tuple(v.shape), v.dtype) for k, v in sample.items()} == {
        "input": ((9, 20, 24), torch.float32),
        "target_1h": ((3, 20, 24), torch.float32),
        "target_sum": ((1, 20, 24), torch.float32),
        "mask": ((1, 20, 24), torch.bool),
        "time": ((), torch.int64),
    }
    # Where an hour or S is missing there is nothing to learn; a missing P does not matter.
    assert (~sample["mask"][0]).nonzero().tolist() == [[2, 2], [4, 4]]
    np.testing.assert_array_equal(sample["target_1h"].numpy(), rain[Y4 : Y6 + 1])
    np.testing.assert_array_equal(sample["target_sum"][0].numpy(), rain[S])
    assert np.datetime64(sample["time"].item(), "m") == START


def test_a_dataset_is_the_windows_of_its_split(tiny_store):
    sizes = {}
    for split in ("train", "validation", "test"):
        dataset = RainDataset(tiny_store, split, NAMES)
        sizes[split] = len(dataset)
        assert [tiny_store.meta["splits"][i] for i in dataset.indices] == [split] * len(dataset)
        for item in (0, len(dataset) - 1):
            stored = tiny_store.read("rain", dataset.indices[item])
            sample = dataset[item]
            np.testing.assert_array_equal(sample["target_1h"].numpy(), stored[Y4 : Y6 + 1])
            start = np.datetime64(tiny_store.meta["starts"][dataset.indices[item]])
            assert np.datetime64(sample["time"].item(), "m") == start
            np.testing.assert_array_equal(sample["input"].numpy(), assemble(NAMES, stored, start))
    assert sizes == {"train": 23, "validation": 6, "test": 7}


# ---------------------------------------------------------------------------- random views


def test_nothing_asked_for_changes_nothing(rain, views):
    for view in drawn(rain, views(), 3):
        assert same(view, rain)


def test_time_reversal_swaps_the_neighbours_and_reverses_the_hours(rain, views):
    reversed_ = np.stack([rain[i] for i in (N, Y6, Y5, Y4, S, P)])
    seen = [same(view, reversed_) for view in drawn(rain, views(time_reversal=True))]
    kept = [same(view, rain) for view in drawn(rain, views(time_reversal=True))]
    assert 5 < sum(seen) < 35
    assert np.logical_xor(seen, kept).all()


def test_flips_mirror_all_channels_alike(rain, views):
    mirrored = [rain[:, ::y, ::x] for y in (1, -1) for x in (1, -1)]
    counts = [0] * 4
    for view in drawn(rain, views(flips=True)):
        counts[[same(view, one) for one in mirrored].index(True)] += 1
        assert view.flags.c_contiguous
    assert min(counts) > 2


def test_amounts_are_scaled_by_one_factor_and_still_add(rain, views):
    factors = []
    for view in drawn(rain, views(amount_scale=2.0)):
        factor = float(view[S, 0, 0] / rain[S, 0, 0])
        np.testing.assert_allclose(view, rain * factor, rtol=1e-6)
        np.testing.assert_allclose(view[Y4 : Y6 + 1].sum(axis=0), view[S], rtol=1e-6)
        factors.append(factor)
    # Between a half and two, as often below one as above.
    assert 0.5 <= min(factors) < 0.7
    assert 1.4 < max(factors) <= 2.0
    assert abs(np.mean(np.log2(factors))) < 0.25


def test_neighbours_are_dropped_one_by_one_and_as_often_as_asked(rain, views):
    views_ = drawn(rain, views(drop_neighbours=0.25), 400)
    dropped = np.array([[np.isnan(v[i]).all() for i in (P, N)] for v in views_])
    # 400 trials with probability 1/4: 100 give or take 9.
    assert (np.abs(dropped.sum(axis=0) - 100) < 35).all()
    assert 5 < np.logical_and(*dropped.T).sum() < 50
    for view in views_:
        assert same(view[Y4 : S + 1], rain[Y4 : S + 1])


def test_tiles_are_squares_of_the_window_at_any_place(rain, views):
    corners = set()
    for view in drawn(rain, views(tile=16), 60):
        assert view.shape == (6, 16, 16)
        ((top, left),) = np.argwhere(rain[S] == view[S, 0, 0])
        np.testing.assert_array_equal(view, rain[:, top : top + 16, left : left + 16])
        corners.add((int(top), int(left)))
    assert {top for top, _ in corners} == set(range(5))
    assert {left for _, left in corners} == set(range(9))


def test_a_tile_larger_than_the_grid_is_the_grid(rain, views):
    for view in drawn(rain, views(tile=22), 10):
        assert view.shape == (6, 20, 22)
    for view in drawn(rain, views(tile=64), 3):
        assert same(view, rain)


def test_missing_cells_move_with_their_window(rain, views):
    rain[1:5, 3, 4] = np.nan
    for view in drawn(rain, views(flips=True, time_reversal=True, amount_scale=2.0)):
        missing = np.isnan(view)
        assert missing[1:5].sum() == 4
        assert missing[[P, N]].sum() == 0
        assert len(np.unique(np.argwhere(missing)[:, 1:], axis=0)) == 1


# ---------------------------------------------------------------------------- reproducible


@pytest.fixture
def training(tiny_store, views):
    options = {"flips": True, "time_reversal": True, "amount_scale": 2.0, "drop_neighbours": 0.1}

    def make(seed=1, **more):
        return RainDataset(tiny_store, "train", NAMES, views(**options | more), seed)

    return make


def equal(a, b):
    """Whether two samples are the same, missing values included."""
    return all(
        same(a[k].numpy(), b[k].numpy()) for k in ("input", "target_1h", "target_sum", "time")
    )


@pytest.mark.parametrize("tile", [None, 16])
def test_seed_epoch_and_item_decide_a_sample(training, tile):
    first, second = training(tile=tile), training(tile=tile)
    items = [(0, 3), (1, 3), (0, 9)]
    early = [first[item] for item in items]
    # In another order, after other items, from another object.
    second[0, 5]
    late = [second[item] for item in reversed(items)][::-1]
    assert all(equal(a, b) for a, b in zip(early, late, strict=True))


@pytest.mark.parametrize("tile", [None, 16])
def test_another_epoch_and_another_seed_give_another_view(training, tile):
    dataset, other = training(tile=tile), training(seed=2, tile=tile)
    views = [dataset[epoch, 4] for epoch in range(4)] + [other[0, 4]]
    assert len({view["time"].item() for view in views}) == 1
    for i, view in enumerate(views):
        assert not any(equal(view, earlier) for earlier in views[:i])


def test_samples_conserve_their_total_after_every_change(training):
    for tile in (None, 16):
        dataset = training(tile=tile)
        for item in range(len(dataset)):
            sample = dataset[2, item]
            torch.testing.assert_close(
                sample["target_1h"].sum(0, keepdim=True), sample["target_sum"], rtol=1e-5, atol=1e-5
            )
            assert sample["mask"].all()


def test_an_epoch_of_tiles_covers_every_window_as_often(training):
    # 24 x 32 cells in tiles of 16: two by two.
    dataset = training(tile=16)
    assert len(dataset) == 4 * 23
    times = [dataset[0, item]["time"].item() for item in range(len(dataset))]
    assert all(times.count(time) == 4 for time in times)
    assert dataset[0, 0]["input"].shape == (9, 16, 16)


def test_tiles_prefer_rain(views):
    dry = np.zeros((6, 64, 64), np.float32)
    dry[1:5, 48:, 48:] = 5.0
    wet = [(view[S] > 0).any() for view in drawn(dry, views(tile=16), 400)]
    # Of the 49 x 49 places of a tile, 16 x 16 reach the wet corner: one in nine.
    assert np.mean(wet) > 2 * (16 / 49) ** 2
    assert not all(wet)


def test_reading_samples_leaves_the_store_unchanged(tiny_store, views):
    before = [np.array(tiny_store.read("rain", i)) for i in range(len(tiny_store))]
    # Nothing here but the dropping of neighbours would make a copy of the mapped file.
    dataset = RainDataset(tiny_store, "train", NAMES, views(drop_neighbours=0.9))
    dropped = [dataset[0, item]["input"][NAMES.index("P_present")].max() == 0 for item in range(23)]
    assert sum(dropped) > 10
    for i, rain in enumerate(before):
        assert same(tiny_store.read("rain", i), rain)

"""Tiles: where they lie, how wet they are, draws without bias, and inference by tiles."""

import numpy as np
import pytest
import torch

from tenkizu.core.grid import Grid
from tenkizu.core.samples import input_path
from tenkizu.rain.config import DataConfig
from tenkizu.rain.dataset import RainDataset
from tenkizu.rain.hourly import open_rain, read_window, window_starts
from tenkizu.rain.motion import motion_hours
from tenkizu.rain.preparation import to_rain
from tenkizu.rain.tiled_inference import inference_lattice, tiled_output
from tenkizu.rain.tiles import Lattice, WetTiles, stored_counts

NAMES = ["P", "S", "N"]


@pytest.fixture
def tiled(tiny_config):
    """DataConfig of tiles of 16 every 8 cells, and nothing else at random."""

    def make(**options):
        update = {"tile": 16, "tile_stride": 8, "drop_neighbours": 0.0} | options
        return tiny_config.data.model_copy(update=update)

    return make


# ---------------------------------------------------------------------------- where they lie


def test_a_full_msm_frame_has_5_by_5_tiles():
    lattice = Lattice.of(
        DataConfig(files=["a"], store="s", splits={"train": ["2020/2020"]}), (480, 480)
    )
    assert (lattice.side, lattice.stride) == (160, 80)
    assert lattice.corners == ([0, 80, 160, 240, 320], [0, 80, 160, 240, 320])


def test_the_last_tile_ends_at_the_edge():
    lattice = Lattice((100, 60), 64, 32)
    assert lattice.corners == ([0, 32, 36], [0])
    assert lattice.squares[1] == (slice(32, 96), slice(0, 60))
    assert lattice.squares[2] == (slice(36, 100), slice(0, 60))


def test_counts_are_those_of_every_square():
    wet = np.random.default_rng(0).random((50, 37)) < 0.2
    lattice = Lattice((50, 37), 16, 7)
    rows, columns = map(len, lattice.corners)
    expected = np.array([wet[square].sum() for square in lattice.squares]).reshape(rows, columns)
    np.testing.assert_array_equal(lattice.counts(wet), expected)


def test_every_cell_is_covered():
    for shape in ((24, 32), (50, 37), (16, 16), (10, 90)):
        assert Lattice(shape, 16, 12).cover.min() >= 1


def test_the_store_lists_its_tiles(tiny_store):
    # 24 x 32 cells are fewer than a tile of 64: one tile, the frame.
    listed = tiny_store.meta["arrays"]["tiles"]
    assert (listed["side"], listed["stride"], listed["rows"], listed["columns"]) == (
        64,
        32,
        [0],
        [0],
    )
    for i in range(len(tiny_store)):
        expected = (tiny_store.read("rain", i)[4] >= np.float32(0.1)).sum()
        assert tiny_store.read("tiles", i).tolist() == [[expected]]


def test_listed_and_counted_tiles_agree(tiny_config):
    from tenkizu.rain import prepare

    data = tiny_config.data.model_copy(update={"tile": 16, "tile_stride": 8})
    store = prepare(tiny_config.model_copy(update={"data": data}))
    lattice = Lattice.of(data, (24, 32))
    indices = [3, 0, 7]
    listed = stored_counts(store, indices, lattice)
    del store.meta["arrays"]["tiles"]
    np.testing.assert_array_equal(listed, stored_counts(store, indices, lattice))
    assert listed.shape == (3, 2, 3)


# ---------------------------------------------------------------------------- draws


def test_the_expected_weighted_sum_is_that_over_all_frames():
    rng = np.random.default_rng(4)
    lattice = Lattice((40, 56), 16, 8)
    frames = np.where(rng.random((6, 40, 56)) < 0.05, rng.gamma(1.0, 5.0, (6, 40, 56)), 0.0)
    frames[:, 10:30, 20:40] *= 3
    frames[5] = 0
    wet = frames >= 0.1
    tiles = WetTiles(np.stack([lattice.counts(one) for one in wet]), lattice)
    expected, cells = 0.0, 0.0
    for index, probability in enumerate(tiles.probability):
        if probability:
            drawn = tiles.tile(index)
            values = np.where(wet, frames, 0.0)[drawn.window][drawn.square]
            expected += probability * (drawn.importance.astype(np.float64) * values).sum()
            cells += probability * (drawn.importance * wet[drawn.window][drawn.square]).sum()
    assert tiles.probability.sum() == pytest.approx(1)
    assert expected * tiles.wet == pytest.approx(frames[wet].sum(), rel=1e-5)
    assert cells * tiles.wet == pytest.approx(wet.sum(), rel=1e-5)


def test_wet_tiles_are_drawn_more_often_and_dry_ones_never():
    lattice = Lattice((32, 32), 16, 16)
    counts = np.array([[[0, 256], [16, 0]]])
    tiles = WetTiles(counts, lattice)
    # 256 + 16 and 16 + 16 of 304.
    np.testing.assert_allclose(tiles.probability, [0, 272 / 304, 32 / 304, 0])
    levels = np.linspace(0, 1, 1000, endpoint=False)
    squares = [tiles.draw(level).square for level in levels]
    assert squares.count((slice(0, 16), slice(16, 32))) == pytest.approx(1000 * 272 / 304, abs=1)
    assert squares.count((slice(16, 32), slice(0, 16))) == pytest.approx(1000 * 32 / 304, abs=1)
    assert tiles.draw(np.nextafter(1.0, 0.0)).square == (slice(16, 32), slice(0, 16))


def test_samples_are_tiles_with_the_importance_of_their_cells(tiny_store, tiled):
    dataset = RainDataset(tiny_store, "train", NAMES, tiled(flips=True), seed=1)
    starts = np.array(tiny_store.meta["starts"], "datetime64[m]")
    for item in range(len(dataset)):
        sample = dataset[2, item]
        assert sample["target_sum"].shape == sample["importance"].shape == (1, 16, 16)
        assert (sample["target_sum"] >= 0.1).any()
        window = int(np.flatnonzero(starts == np.datetime64(sample["time"].item(), "m"))[0])
        total = tiny_store.read("rain", window)[4]
        # The importance is mirrored with the rain: it is least where most tiles overlap.
        tile = sample["target_sum"][0].numpy()
        turned = [
            (y, x, square)
            for square in dataset.tiles.lattice.squares
            for y in (1, -1)
            for x in (1, -1)
            if np.array_equal(total[square][::y, ::x], tile)
        ]
        weights = sample["importance"][0].numpy()
        assert any(
            np.ptp(weights * dataset.tiles.lattice.cover[square][::y, ::x]) < 1e-5 * weights.max()
            for y, x, square in turned
        )


def test_seed_epoch_and_item_decide_a_tile(tiny_store, tiled):
    first, second = (RainDataset(tiny_store, "train", NAMES, tiled(), seed=1) for _ in range(2))
    second[0, 3]
    for key, value in first[4, 9].items():
        torch.testing.assert_close(second[4, 9][key], value, equal_nan=True, rtol=0, atol=0)
    assert any(
        not torch.equal(first[epoch, 9]["target_sum"], first[4, 9]["target_sum"])
        for epoch in range(4)
    )


def test_an_epoch_covers_the_wet_area(tiny_store, tiled):
    dataset = RainDataset(tiny_store, "train", NAMES, tiled())
    counts = stored_counts(tiny_store, dataset.indices, dataset.tiles.lattice)
    share = np.count_nonzero(counts) / counts.size
    assert 0.2 < share < 1
    # 24 x 32 cells in tiles of 16: two by two, of which that share.
    assert len(dataset) == round(23 * 4 * share)
    assert len(RainDataset(tiny_store, "train", NAMES, tiled(tiles_per_window=3))) == 69


@pytest.mark.parametrize(
    ("normaliser", "weights", "kl"),
    [("equal_split", "off", 0), ("weights", "manual", 0), ("equal_split", "off", 0.1)],
)
def test_the_expected_loss_is_that_of_whole_frames(
    tiny_config, tiny_store, tiled, normaliser, weights, kl
):
    from tenkizu.core.loading import join
    from tenkizu.core.stats import Moments
    from tenkizu.rain.dataset import input_channels, to_parts
    from tenkizu.rain.model import Disaggregator
    from tenkizu.rain.module import RainModule

    settings = {"normaliser": normaliser, "weights": weights, "kl": kl}
    loss = tiny_config.loss.model_copy(update=settings)
    config = tiny_config.model_copy(update={"loss": loss, "data": tiled()})
    moments = Moments.from_json(tiny_store.meta["statistics"]["log1p_mm"])
    # Before training the network is linear interpolation, cell by cell: tiles change nothing.
    net = Disaggregator(config.model, input_channels(config.data, moments))
    module = RainModule(net, config, d0=2.5)
    dataset = RainDataset(tiny_store, "train", net.channels, tiled())

    def terms(sample):
        batch = join([sample])
        with torch.no_grad():
            output = net.output(batch["input"])
            predicted = net.hours(*output, batch["target_sum"]).double()
            batch = {key: value.double() for key, value in batch.items()}
            batch["mask"] = batch["mask"].bool()
            pairs = [pair for _, pair in module._terms(output, predicted, batch)]
        return np.array([[float(value) for value in pair] for pair in pairs])

    n_terms = 1 + (kl > 0)
    whole, expected = np.zeros((n_terms, 2)), np.zeros((n_terms, 2))
    for window in range(2):
        start, rain = dataset.window(window)
        whole += terms(to_parts(rain, net.channels, start))
    few = WetTiles(stored_counts(tiny_store, dataset.indices[:2], dataset.tiles.lattice),
                   dataset.tiles.lattice)  # fmt: skip
    for index, probability in enumerate(few.probability):
        if probability:
            drawn = few.tile(index)
            start, rain = dataset.window(drawn.window)
            sample = to_parts(rain[:, *drawn.square], net.channels, start)
            expected += probability * terms(sample | {"importance": drawn.importance[None]})
    np.testing.assert_allclose(expected * few.wet, whole, rtol=1e-5)
    assert whole.min() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile_stride": 8}, "tile_stride needs a tile"),
        ({"tile": 16, "tile_stride": 32}, "tile_stride needs a tile"),
        ({"tile": 16, "tile_stride": 8, "coarser": [1, 2]}, "do not go together"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DataConfig(files=["a"], store="s", splits={"train": ["2020/2020"]}, **options)


# ---------------------------------------------------------------------------- inference


def showers(shape, seed=0):
    """S (1, 1, H, W) with a wet corner in each of two places and dry ground elsewhere."""
    total = torch.zeros(1, 1, *shape)
    generator = torch.Generator().manual_seed(seed)
    total[..., 3:20, 4:30] = 10 * torch.rand(17, 26, generator=generator)
    total[..., 60:70, 80:90] = 5
    return total


def test_tiles_of_a_network_without_neighbours_give_the_whole_frame():
    total = showers((96, 128))

    def network(raw):
        return torch.cat([raw, 2 * raw, raw**2], dim=1), 0.5 + raw

    maps, tau = tiled_output(network, total, total, 32)
    whole, temperature = network(total)
    wet = total > 0
    torch.testing.assert_close(maps[wet.expand_as(maps)], whole[wet.expand_as(whole)])
    torch.testing.assert_close(tau[wet], temperature[wet])


def test_dry_tiles_never_reach_the_network():
    total = showers((96, 128))
    lattice = inference_lattice((96, 128), 32)
    assert lattice.stride == 24
    wet = sum(bool((total[0, 0][square] > 0).any()) for square in lattice.squares)
    seen = []

    def network(raw):
        seen.append(len(raw))
        return torch.ones(len(raw), 3, 32, 32), 1.0

    maps, _ = tiled_output(network, total, total, 32)
    assert sum(seen) == wet < len(lattice.squares)
    reached = torch.zeros(96, 128, dtype=torch.bool)
    for square in lattice.squares:
        if (total[0, 0][square] > 0).any():
            reached[square] = True
    assert (maps[0] == reached.float()).all()


def test_where_tiles_meet_one_gives_way_to_the_other():
    total = torch.ones(1, 1, 16, 28)
    answers = iter([0.0, 1.0])

    def network(raw):
        levels = torch.tensor([next(answers) for _ in raw]).reshape(-1, 1, 1, 1)
        return levels.expand(len(raw), 3, *raw.shape[-2:]).clone(), 1.0

    row = tiled_output(network, total, total, 16)[0][0, 0, 8]
    # Tiles at 0 and 12 share the columns 12 to 15.
    assert row[:12].eq(0).all()
    assert row[16:].eq(1).all()
    torch.testing.assert_close(row[12:16], torch.tensor([0.2, 0.4, 0.6, 0.8]))


def test_a_model_by_tiles_conserves_and_is_dry_where_it_is_dry(tiny_config, tiny_store):
    from tenkizu.core.stats import Moments
    from tenkizu.rain.dataset import input_channels
    from tenkizu.rain.model import Disaggregator

    moments = Moments.from_json(tiny_store.meta["statistics"]["log1p_mm"])
    torch.manual_seed(0)
    net = Disaggregator(tiny_config.model, input_channels(tiny_config.data, moments)).eval()
    torch.nn.init.normal_(net.network.head.weight, std=0.05)
    rain = np.array(tiny_store.read("rain", 4))
    rain[1:5, :, 20:] = 0
    rain[4, 2, 2] = np.nan
    start = np.datetime64(tiny_store.meta["starts"][4])
    hours = net.split(rain, start, tile=16)
    known = ~np.isnan(rain[4])
    np.testing.assert_allclose(hours.sum(axis=0)[known], rain[4][known], rtol=1e-5, atol=1e-7)
    assert (hours[:, rain[4] == 0] == 0).all()
    assert np.isnan(hours[:, 2, 2]).all()
    whole = net.split(rain, start)
    assert not np.array_equal(hours, whole, equal_nan=True)
    # One tile that holds the frame is the frame.
    np.testing.assert_allclose(net.split(rain, start, tile=64), whole, rtol=1e-5, atol=1e-6)


def test_the_run_decides_whether_its_model_goes_by_tiles(tiny_config, tiny_store):
    from tenkizu.rain.model import RainModel

    class Net:
        channels = ()

        def eval(self):
            return self

        def split(self, rain, start, fixed, tile, draw):
            return tile

    grid = Grid.from_json(tiny_store.meta["grid"])
    for tiled, tile, given, expected in (
        (True, 48, None, 48), (True, None, None, 64), (False, 48, None, None),
        (False, 48, True, 48), (True, 48, False, None),
    ):  # fmt: skip
        data = {"tiled_inference": tiled, "tile": tile}
        metadata = {"config": {"data": data}, "climatology": tiny_store.meta["climatology"]}
        model = RainModel(Net(), metadata, given)
        assert (
            model.split(tiny_store.read("rain", 0), np.datetime64("2023-01-01"), grid) == expected
        )


def test_the_shipped_model_is_as_good_by_tiles_and_zero_in_dry_ones():
    from tenkizu.rain.model import RainModel

    by_frame, by_tiles = (
        RainModel.load("rain-only", "cpu", tiles=tiles) for tiles in (False, True)
    )
    with open_rain(input_path("sample:imerg_sbrazil_hourly_20231102_03.nc")) as series:
        grid = series.grid
        # The only windows of the file with tiles that hold no rain.
        starts = window_starts(series)[-2:]
        windows = [to_rain(read_window(series, start)) for start in starts]
    for start, rain, n_dry in zip(starts, windows, (2, 3), strict=True):
        truth, total = rain[1:4], rain[4]
        motion = motion_hours(rain[0], total, rain[5])
        whole, tiled = (model.split(rain, start, grid, motion) for model in (by_frame, by_tiles))
        assert not np.array_equal(whole, tiled)
        scored = total >= np.float32(0.1)
        rmse = [np.sqrt(np.mean((hours - truth)[:, scored] ** 2)) for hours in (whole, tiled)]
        assert rmse[1] == pytest.approx(rmse[0], rel=0.01)
        # S/3 is worse by far more, so that agreement says something.
        assert np.sqrt(np.mean((total / 3 - truth)[:, scored] ** 2)) > 1.1 * rmse[0]
        squares = inference_lattice(grid.shape, 64).squares
        dry = [square for square in squares if not (total[square] > 0).any()]
        assert len(dry) == n_dry
        for square in dry:
            assert (tiled[:, *square] == 0).all()

"""Several sources with grids of their own in one training, and what makes more of each."""

import json

import numpy as np
import pytest
import torch

from tenkizu.core.config import build_config, load_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.samples import input_path, shipped_configs
from tenkizu.core.stats import Moments
from tenkizu.core.store import SampleStore
from tenkizu.core.verification import skill
from tenkizu.rain import prepare, train
from tenkizu.rain.coarsening import block_mean, coarser_grid
from tenkizu.rain.config import RainConfig
from tenkizu.rain.dataset import RainDataset, input_channels, random_tile
from tenkizu.rain.model import Disaggregator, RainModel
from tenkizu.rain.module import RainModule
from tenkizu.rain.preparation import _plan_hash, prepare_all
from tenkizu.rain.sources import Sources, merged_moments, merged_tables

NAMES = ["S", "P", "P_present", "N", "N_present"]
P, Y4, Y5, Y6, S, N = range(6)


@pytest.fixture(scope="module")
def other_file(tmp_path_factory, moving_rain, write_rain):
    """Two days of heavier rain on a larger grid."""
    rain = 3 * moving_rain(48, (40, 36), seed=5)
    return write_rain(tmp_path_factory.mktemp("other") / "other.nc", rain, south=0.0)


@pytest.fixture
def both(tiny_config, other_file):
    """A run on the rain of ``tiny_config`` and on another grid, as plain keys and values."""
    plain = tiny_config.model_dump(mode="json")
    plain["data"] |= {"name": "small", "tile": 16, "time_features": False}
    splits = {"train": ["2023-05-30/2023-05-30"], "validation": ["2023-05-31/2023-05-31"]}
    plain["data"]["more"] = [
        {"name": "large", "files": [str(other_file)], "splits": splits, "coarser": [1, 2]}
    ]
    return plain


def read(plain):
    return build_config(RainConfig, plain, "test")


# ---------------------------------------------------------------------------- coarser grids


def test_blocks_are_means_and_what_is_left_over_is_cut_off():
    plane = np.arange(15, dtype=np.float32).reshape(1, 3, 5)
    # (0 + 1 + 5 + 6) / 4 and (2 + 3 + 7 + 8) / 4; the last row and column have no partner.
    np.testing.assert_array_equal(block_mean(plane, 2), [[[3.0, 5.0]]])
    assert block_mean(plane, 1) is plane


def test_a_missing_cell_makes_its_block_missing_so_that_hours_still_add_up():
    rain = np.random.default_rng(3).gamma(0.8, 4.0, (6, 8, 8)).astype(np.float32)
    rain[S] = rain[Y4 : Y6 + 1].sum(axis=0)
    rain[Y4 : S + 1, 2, 3] = np.nan
    coarse = block_mean(rain, 4)
    assert np.isnan(coarse[S]).tolist() == [[True, False], [False, False]]
    np.testing.assert_allclose(coarse[Y4 : Y6 + 1].sum(axis=0), coarse[S], rtol=1e-6)


def test_a_coarser_grid_has_its_cells_at_the_centres():
    grid = coarser_grid(Grid("projected", np.arange(7.0)[::-1], np.arange(6.0), "y", "x", "km"), 3)
    assert (grid.y.tolist(), grid.x.tolist()) == ([5.0, 2.0], [1.0, 4.0])
    assert (grid.spacing_km, grid.kind, grid.units) == ((3.0, 3.0), "projected", "km")


def test_a_store_of_coarser_rain(tiny_config, tiny_store, tmp_path):
    update = {"coarsen": 2, "store": tmp_path / "coarse"}
    data = tiny_config.data.model_copy(update=update)
    store = prepare(tiny_config.model_copy(update={"data": data}))
    assert Grid.from_json(store.meta["grid"]).shape == (12, 16)
    assert store.meta["starts"] == tiny_store.meta["starts"]
    fine = tiny_store.read("rain", 4)
    np.testing.assert_allclose(store.read("rain", 4)[S, 0, 0], fine[S, :2, :2].mean(), rtol=1e-6)
    assert store.meta["plan_hash"] != tiny_store.meta["plan_hash"]


def test_a_tile_may_be_averaged_from_a_larger_square():
    rain = np.arange(6 * 32 * 32, dtype=np.float32).reshape(6, 32, 32)
    view = random_tile(list(rain), 16, np.random.default_rng(1), factor=2)
    # The only square of 32 cells is the whole.
    np.testing.assert_array_equal(view, block_mean(rain, 2))
    assert random_tile(rain, 16, np.random.default_rng(1)).shape == (6, 16, 16)


def test_a_tile_that_does_not_fit_before_averaging(tiny_config, tiny_store):
    data = tiny_config.data.model_copy(update={"tile": 16, "coarser": [1, 2]})
    with pytest.raises(DataError, match="smaller than a tile before averaging"):
        RainDataset(tiny_store, "train", NAMES, data)


# ---------------------------------------------------------------------------- every hour


def test_windows_of_every_hour_train_and_only_they(tiny_config, tiny_store, tmp_path):
    update = {"every_hour": True, "store": tmp_path / "hourly"}
    data = tiny_config.data.model_copy(update=update)
    store = prepare(tiny_config.model_copy(update={"data": data}))
    starts = np.array(store.meta["starts"], "datetime64[m]")
    splits = np.array(store.meta["splits"])
    train_starts = starts[splits == "train"]
    # From 30 May 00 UTC to the last hour whose N ends with the last training day.
    expected = np.arange("2023-05-30T00", "2023-06-01T19", dtype="datetime64[h]")
    np.testing.assert_array_equal(train_starts, expected.astype("datetime64[m]"))
    for split in ("validation", "test"):
        aligned = np.array(tiny_store.meta["starts"], "datetime64[m]")
        of_split = np.array(tiny_store.meta["splits"]) == split
        np.testing.assert_array_equal(starts[splits == split], aligned[of_split])
    rain = store.read("rain", list(starts).index(np.datetime64("2023-05-30T04:00")))
    before = store.read("rain", list(starts).index(np.datetime64("2023-05-30T03:00")))
    np.testing.assert_array_equal(rain[Y4], before[Y5])


def test_stores_made_before_these_options_stay_valid():
    config = load_config(RainConfig, shipped_configs()["rain_demo"])
    # The hash that stores of the demo have had since motion came in.
    assert _plan_hash(config, [input_path(name) for name in config.data.files]) == "4eec443cc024"


# ---------------------------------------------------------------------------- several sources


def test_each_source_is_a_run_of_its_own(both):
    config = read(both)
    parts = config.parts()
    assert list(parts) == ["small", "large"]
    assert [p.data.store for p in parts.values()] == [
        config.data.store / "small",
        config.data.store / "large",
    ]
    assert parts["large"].data.coarser == [1, 2]
    # What is not of the files is shared.
    assert {p.data.tile for p in parts.values()} == {16}
    assert not any(p.data.more for p in parts.values())


def test_one_source_is_the_run_itself(tiny_config):
    assert tiny_config.parts() == {"main": tiny_config}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tile": None}, "sources with grids of their own need tile"),
        ({"name": "large"}, "a name of its own"),
        ({"more": [], "coarser": [2], "tile": None}, "coarser needs tile"),
    ],
)
def test_sources_that_cannot_be_trained_together(both, changes, words):
    both["data"] |= changes
    with pytest.raises(ConfigError, match=words):
        read(both)


def test_samples_of_all_sources_in_a_row(both):
    config = read(both)
    stores = prepare_all(config)
    parts = [
        RainDataset(stores[name], "train", NAMES, part.data, seed=1)
        for name, part in config.parts().items()
    ]
    joined = Sources(parts, [1.0, 0.25])
    assert len(joined) == len(parts[0]) + len(parts[1])
    first, last = joined[0, len(parts[0]) - 1], joined[0, len(parts[0])]
    assert (first["source"].item(), last["source"].item()) == (0, 1)
    assert (first["loss_factor"].item(), last["loss_factor"].item()) == (1.0, 0.25)
    torch.testing.assert_close(last["target_1h"], parts[1][0, 0]["target_1h"], equal_nan=True)
    assert last["input"].shape == first["input"].shape == (5, 16, 16)


def test_statistics_and_histograms_are_those_of_all_windows(both):
    stores = prepare_all(read(both))
    windows = [
        store.read("rain", i)
        for store in stores.values()
        for i, split in enumerate(store.meta["splits"])
        if split == "train"
    ]
    moments = merged_moments(stores)
    for channel in range(6):
        values = np.concatenate([np.log1p(w[channel].ravel().astype(np.float64)) for w in windows])
        values = values[~np.isnan(values)]
        assert moments.mean[channel] == pytest.approx(values.mean(), rel=1e-6)
        assert moments.std[channel] == pytest.approx(values.std(), rel=1e-6)
    cells = sum(int((~np.isnan(w[1:5]).any(axis=0)).sum()) for w in windows)
    assert merged_tables(stores)["cells"][0] == cells


def test_the_loss_counts_each_source_by_its_own_equal_split(both):
    config = read(both)
    scales = input_channels(config.data, Moments.empty(6))
    torch.manual_seed(1)
    net = Disaggregator(config.model, scales).eval()
    truth = torch.rand(2, 3, 16, 16)
    total = truth.sum(1, keepdim=True)
    raw = torch.cat([total, *[torch.ones_like(total)] * 4], dim=1)
    batch = {
        "input": raw,
        "target_1h": truth,
        "target_sum": total,
        "mask": torch.ones(2, 1, 16, 16, dtype=torch.bool),
        "source": torch.tensor([0, 1]),
        "loss_factor": torch.tensor([1.0, 0.25]).view(2, 1, 1, 1),
    }
    module = RainModule(net, config, 2.0, sources=["small", "large"])
    weights = torch.where(truth >= 1, 5.0, 1.0)
    squared = (weights * (net(raw, total) - truth) ** 2).sum(dim=(1, 2, 3))
    cells = (total >= 0.1).sum()
    expected = (squared[0] + 0.25 * squared[1]) / (cells * 2.0)
    found = module._loss(net.output(raw), batch, lambda x: x)
    torch.testing.assert_close(found, expected)


@pytest.fixture(scope="module")
def trained(tiny_rain_file, other_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    # A few windows of each: the motion of every window takes a while.
    splits = {"train": ["2023-05-30/2023-05-30T12"], "validation": ["2023-06-02/2023-06-02T09"]}
    more = {"train": ["2023-05-30/2023-05-30T09"], "validation": ["2023-05-31/2023-05-31T09"]}
    config = read(
        {
            "run": {"name": "both", "dir": str(folder)},
            "data": {
                "name": "small",
                "files": [str(tiny_rain_file)],
                "splits": splits | {"test": ["2023-06-03/2023-06-03T09"]},
                "more": [{"name": "large", "files": [str(other_file)], "splits": more}],
                "store": str(folder / "stores"),
                "context": ["s", "p", "n", "motion"],
                "tile": 16,
                "time_features": False,
            },
            "model": {
                "embed_dim": 8,
                "depths": [1, 1],
                "num_heads": [1, 2],
                "window_size": 2,
                "patch_size": 2,
                "prior": "motion",
            },
            "train": {"epochs": 1, "batch_size": 8, "lr": 1e-3, "workers": 0, "devices": 1},
            "plots": {"cases": 0},
            "scores": {"fss_windows": []},
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        # Figures and the page take most of the time, and have tests of their own.
        for name in ("evaluation._draw", "curves.draw_epoch_curves", "reporting.report"):
            patch.setattr(f"tenkizu.rain.{name}", lambda *_, **__: None)
        return train(config), config


def test_a_training_on_two_grids_chooses_by_the_mean_of_their_skills(trained):
    folder, _ = trained
    history = json.loads((folder / "history.json").read_text())
    by_source = [history[f"val_skill_{name}"][0] for name in ("small", "large")]
    assert history["val_skill"][0] == pytest.approx(np.mean(by_source))
    for name, where in (("small", "validation"), ("large", "validation_large")):
        scores = json.loads((folder / "evaluation" / where / "scores.json").read_text())
        found = scores["mse_skill"]["conditional"]
        assert found == pytest.approx(history[f"val_skill_{name}"][0], abs=1e-5)
    assert sorted(p.name for p in (folder / "evaluation").iterdir()) == [
        "test",
        "validation",
        "validation_large",
    ]


def test_its_model_knows_all_files_and_spacings(trained):
    folder, _ = trained
    model = RainModel.load(folder, device="cpu")
    assert model.metadata["trained_on"]["files"] == ["tiny.nc", "other.nc"]
    assert "24 x 32" in model.metadata["grid"]["describe"]
    assert "40 x 36" in model.metadata["grid"]["describe"]
    low, high = model.metadata["spacing_range_km"]
    assert low < high
    at = Grid("projected", 10.0 * np.arange(20)[::-1], 10.0 * np.arange(30), "y", "x", "km")
    assert model.check_grid(at) is None
    fine = Grid("projected", np.arange(20.0)[::-1], np.arange(30.0), "y", "x", "km")
    assert "trained at" in model.check_grid(fine)


def test_scores_from_the_store_are_those_of_its_carried_rain(trained):
    folder, config = trained
    store = SampleStore(config.data.store / "small")
    dataset = RainDataset(store, "test", ())
    errors = np.zeros(2)
    for item in range(len(dataset)):
        rain = dataset.window(item)[1].astype(np.float64)
        wet = rain[S] >= np.float32(0.1)
        errors += [
            ((split[:, wet] - rain[Y4 : Y6 + 1, wet]) ** 2).sum()
            for split in (dataset.carried(item), np.repeat(rain[S : S + 1] / 3, 3, axis=0))
        ]
    scores = json.loads((folder / "evaluation" / "test" / "scores.json").read_text())
    by_method = scores["mse_skill_by_method"]["conditional"]
    assert by_method["motion"] == pytest.approx(float(skill(*errors)), abs=1e-6)

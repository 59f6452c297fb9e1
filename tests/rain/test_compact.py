"""The compact layout: fields as 16-bit integers, those on pressure levels on every second node."""

import numpy as np
import pytest
import torch
from msm_store import interpolated, make_fields, make_rain, write_month, write_months

from tenkizu.core.config import load_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.samples import shipped_configs
from tenkizu.core.store import SampleStore
from tenkizu.core.verification import Tally
from tenkizu.rain import prepare
from tenkizu.rain.config import RainConfig
from tenkizu.rain.dataset import RainDataset
from tenkizu.rain.fields import MSM24, field_pairs
from tenkizu.rain.msm.check import check
from tenkizu.rain.msm.compact import Nodes, on_pressure_level, pack, packing, place_of, unpack
from tenkizu.rain.msm.compact_blocks import CompactFields, bytes_per_sample
from tenkizu.rain.msm.compact_views import Unpacking
from tenkizu.rain.msm.pieces import find_pieces, open_piece
from tenkizu.rain.msm.statistics import piece_tally, window_sums

CHANNELS = field_pairs(MSM24)
STEPS = np.array([packing(name)[0] for name in CHANNELS])[:, None, None]
ONE_MONTH = ["data.splits.train=[2018-07/2018-07]", "data.splits.validation=[]",
             "data.splits.test=[]"]  # fmt: skip
SPLITS = [
    "data.splits.train=[2018-07/2018-07,2019-06/2019-06,2020-01/2020-01,2021-12/2021-12]",
    "data.splits.validation=[2022-01/2022-01,2022-08/2022-08]",
    "data.splits.test=[2023-06/2023-06,2023-12/2023-12]",
]
MODEL_GRID = Grid("latlon", 46.95 - 0.05 * np.arange(480), 120 + 0.0625 * np.arange(480))


def recipe(folder, store, *overrides):
    where = [f"data.msm.monthly_dir={folder}", f"data.store={store}", f"run.dir={store.parent}"]
    return load_config(RainConfig, shipped_configs()["rain_msm"], [*where, *overrides])


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The same eight samples in both layouts, on cells that begin between nodes in both axes."""
    folder = tmp_path_factory.mktemp("compact")
    write_months(folder / "in", (40, 44), place=(240, 161))
    for layout in ("full", "compact"):
        config = recipe(folder / "in", folder / layout, *SPLITS, f"data.layout={layout}")
        prepare(config)
    return SampleStore(folder / "full"), SampleStore(folder / "compact"), folder


# ---------------------------------------------------------------------------- nodes and numbers


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (5, 8), (4, 7)])
@pytest.mark.parametrize("shape", [(8, 8), (9, 12), (11, 9)])
def test_nodes_are_found_again_and_give_the_field(place, shape):
    nodes = np.random.default_rng(0).normal(size=(9, 9))
    field = interpolated(nodes, place, shape)
    # Row 0 of the model grid lies between the first two rows of nodes.
    part = Nodes.of((place[0] + 1, place[1]), shape)
    found = part.of_field(field.astype(np.float32))
    np.testing.assert_allclose(found, nodes[: part.shape[0], : part.shape[1]], atol=3e-6)
    np.testing.assert_allclose(part.to_field(found), field, atol=3e-6)


def test_the_model_grid_needs_241_by_241_nodes():
    part = Nodes.of(place_of(MODEL_GRID), MODEL_GRID.shape)
    assert part.shape == (241, 241)
    assert part.cut == (slice(1, 481), slice(0, 480))


def test_sizes_of_a_full_sample():
    assert bytes_per_sample("full", CHANNELS, 5, MODEL_GRID) == 4 * 53 * 480**2  # 48.8 MB
    # 8 surface fields, 40 on nodes, 5 planes of rain.
    expected = 2 * 8 * 480**2 + 2 * 40 * 241**2 + 4 * 5 * 480**2
    assert bytes_per_sample("compact", CHANNELS, 5, MODEL_GRID) == expected
    assert round(expected / 1e6, 1) == 12.9


def test_fields_on_pressure_levels_are_known_by_name():
    assert sum(map(on_pressure_level, CHANNELS)) == 40
    surface = [name for name in CHANNELS if not on_pressure_level(name)]
    assert [name.partition("_")[0] for name in surface[::2]] == ["Prmsl", "U10m", "V10m", "T2m"]


@pytest.mark.parametrize("name", ["Prmsl_ft3", "U300_ft6", "T850_ft3", "R500_ft3", "GH500_ft3"])
def test_packing_errs_by_half_a_step(name):
    scale, offset = packing(name)
    values = np.linspace(offset - 32767 * scale, offset + 32767 * scale, 1001).astype(np.float32)
    packed = pack(values, name)
    assert packed.dtype == np.int16
    off = np.abs(unpack(packed, name).astype(np.float64) - values)
    # float32 itself rounds by up to 2^-25 of a value.
    assert off.max() <= 0.5 * scale + 2**-23 * np.abs(values).max()


def test_steps_are_finer_than_forecasts_are():
    limits = {"Prmsl": 0.5, "U": 0.01, "T": 0.01, "R": 0.01, "GH500": 0.1, "GH300": 0.1}
    for name in CHANNELS:
        limit = next((v for k, v in limits.items() if name.startswith(k)), 0.01)
        assert packing(name)[0] < limit


@pytest.mark.parametrize("value", [120_000.0, np.nan])
def test_a_value_out_of_range_is_refused(value):
    with pytest.raises(DataError, match="Prmsl_ft3: a value is outside"):
        pack(np.array([101_000.0, value], np.float32), "Prmsl_ft3")


def test_half_precision_is_refused():
    with pytest.raises(ConfigError, match=r"data\.layout"):
        load_config(RainConfig, shipped_configs()["rain_msm"], ["data.layout=float16"])


# ---------------------------------------------------------------------------- the two layouts


def test_compact_fields_are_within_one_step_and_rain_is_the_same(stores):
    full, compact, _ = stores
    fields = CompactFields(compact)
    for i in range(8):
        np.testing.assert_array_equal(compact.read("rain", i), full.read("rain", i))
        found = fields.fields(i)
        assert list(found) == CHANNELS
        off = np.abs(np.stack(list(found.values())) - full.read("fields", i))
        assert (off <= STEPS).all()
    for key in ("statistics", "tables", "climatology", "splits", "starts"):
        assert compact.meta[key] == full.meta[key]


def test_statistics_of_a_compact_store_are_those_of_the_monthly_files(stores):
    _, compact, folder = stores
    from_files = Tally()
    for piece in find_pieces([folder / "in"]):
        with open_piece(piece, strict=False) as month:  # these months lack the time features
            for i in range(len(month.times)):
                from_files += window_sums(month.rain(i))
    from_store = sum(map(piece_tally, find_pieces([compact.path])), Tally())
    assert int(from_store.sums.pop("initial_times")) == 8
    assert from_store.sums.keys() == from_files.sums.keys()
    for name, values in from_files.sums.items():
        # A store may have other blocks than files, so that sums differ in their last bits.
        np.testing.assert_allclose(from_store[name], values, rtol=1e-12, err_msg=name)
    assert from_store.maxima == from_files.maxima


def test_check_finds_in_a_compact_store_what_is_in_the_monthly_files(stores, tmp_path, monkeypatch):
    def in_turn(function, tasks, workers, scheduler):
        return ((i, function(task)) for i, task in enumerate(tasks))

    monkeypatch.setattr("tenkizu.rain.msm.check.run_tasks", in_turn)
    _, compact, folder = stores
    found = check([compact.path], tmp_path / "store.json")
    expected = check([folder / "in"], tmp_path / "files.json")
    assert found["initial_times"] == expected["initial_times"] == 8
    for key in ("wet_per_utc_hour", "cells"):
        assert found[key] == expected[key]
    assert found["best_lag_steps"] == expected["best_lag_steps"] == 0
    for name, extremes in expected["extremes"].items():
        step = packing(name)[0] if name in CHANNELS else 0.0
        for end in ("max", "min"):
            off = abs(found["extremes"][name][end]["value"] - extremes[end]["value"])
            assert off <= step, (name, end)
    kinds = [{(f["rule"], f.get("variable")) for f in one["findings"]} for one in (found, expected)]
    # Files have more to be missed: months between theirs, most initial times, time features.
    of_files = {"months", "steps", "variables"}
    assert {kind for kind in kinds[0] if kind[0] not in of_files} == {
        kind for kind in kinds[1] if kind[0] not in of_files
    }


def test_compact_files_are_smaller(stores):
    full, compact, _ = stores
    sizes = [
        sum(path.stat().st_size for path in store.path.glob("*.npy") if "tiles" not in path.name)
        for store in (full, compact)
    ]
    assert sizes[1] < 0.35 * sizes[0]
    assert compact.meta["bytes_per_sample"] * 8 == pytest.approx(sizes[1], rel=0.05)


def batched(dataset, items):
    return torch.utils.data.default_collate([dataset[item] for item in items])


@pytest.mark.parametrize(
    "views",
    [
        [],
        ["data.flips=true"],
        ["data.tile=16"],
        ["data.tile=18", "data.flips=true"],
        ["data.tile=16", "data.tile_stride=7", "data.flips=true"],
    ],
)
def test_the_device_makes_the_input_of_the_full_layout(stores, views):
    full, compact, folder = stores
    quiet = ["data.tile=null", "data.tiles_per_window=null", "data.drop_neighbours=0"]
    data = recipe(folder / "in", folder / "full", *SPLITS, *quiet, *views).data
    names = [*CHANNELS, "Prec_ft3", "hour_sin", "S"]
    datasets = [RainDataset(store, "train", names, data, seed=3) for store in (full, compact)]
    assert len(datasets[0]) == len(datasets[1])
    items = [(1, item) for item in range(4)]
    expected, packed = (batched(dataset, items) for dataset in datasets)
    assert packed["pressure"].dtype == packed["surface"].dtype == torch.int16
    found = Unpacking(names)(packed)
    assert found.shape == expected["input"].shape
    assert ((found - expected["input"]).abs()[:, :48] <= torch.from_numpy(STEPS)).all()
    torch.testing.assert_close(found[:, 48:], expected["input"][:, 48:], rtol=0, atol=0)
    for key in expected.keys() - {"input"}:
        torch.testing.assert_close(packed[key], expected[key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("fields", [["GH500", "U850"], ["T2m"], ["U10m", "T850"]])
def test_some_fields_in_any_order(stores, fields):
    full, compact, _ = stores
    names = [*field_pairs(fields), "Prec_ft3"]
    expected, packed = (
        batched(RainDataset(store, "test", names), [0, 1]) for store in (full, compact)
    )
    found = Unpacking(names)(packed)
    steps = np.array([packing(name)[0] for name in names[:-1]] + [0.0])[:, None, None]
    assert ((found - expected["input"]).abs() <= torch.from_numpy(steps)).all()


def test_both_layouts_give_the_same_validation(stores):
    from tenkizu.core.stats import Moments
    from tenkizu.rain.dataset import input_channels
    from tenkizu.rain.fields import field_scales
    from tenkizu.rain.model import Disaggregator
    from tenkizu.rain.module import RainModule

    full, compact, folder = stores
    small = ["model.embed_dim=8", "model.depths=[1,1]", "model.num_heads=[1,2]", "model.prior=none"]
    config = recipe(folder / "in", folder / "full", *SPLITS, *small, "data.context=[s]")
    moments = Moments.from_json(full.meta["statistics"]["log1p_mm"])
    scales = input_channels(config.data, moments, field_scales(config.data, compact))
    assert scales == input_channels(config.data, moments, field_scales(config.data, full))
    torch.manual_seed(1)
    module = RainModule(Disaggregator(config.model, scales).eval(), config, d0=1.0)
    sums = []
    for store in (full, compact):
        module.on_validation_epoch_start()
        with torch.no_grad():
            dataset = RainDataset(store, "validation", module.net.channels)
            module.validation_step(batched(dataset, [0, 1]), 0)
        sums.append(module.sums)
    torch.testing.assert_close(*sums, rtol=1e-4, atol=0)
    # The packed numbers do reach the network.
    assert not torch.equal(*sums)


@pytest.mark.slow
def test_a_compact_store_trains_on_wet_tiles_and_is_scored(stores, tmp_path):
    from tenkizu.rain import train

    _, compact, folder = stores
    small = [
        "model.embed_dim=8", "model.depths=[1,1]", "model.num_heads=[1,2]", "train.epochs=1",
        "train.batch_size=2", "train.workers=0", "train.devices=1", "plots.cases=0",
        "scores.fss_windows=[1]", "data.tile=20", "data.tile_stride=10", "data.layout=compact",
        "data.tiled_inference=true", "train.micro_batch=null", "data.tiles_per_window=2",
        "data.context=[s, p, n, gradient]",
    ]  # fmt: skip
    config = recipe(folder / "in", compact.path, *SPLITS, *small, f"run.dir={tmp_path}")
    run = train(config)
    assert (run / "evaluation" / "test" / "scores.json").exists()


# ---------------------------------------------------------------------------- what is refused


def one_month(tmp_path, change=None, place=(240, 160), **arrays):
    rng = np.random.default_rng(1)
    fields = arrays.get("fields", make_fields(rng, (20, 20))[None])
    rain = make_rain(rng, (20, 20))[None]
    path = tmp_path / "in" / "201807.nc"
    write_month(path, ["2018-07-05T03"], fields, rain, place, change)
    return recipe(tmp_path / "in", tmp_path / "store", *ONE_MONTH, "data.layout=compact")


def test_a_field_that_was_not_interpolated_is_refused(tmp_path):
    with pytest.raises(DataError, match="U975_ft3: this field is not interpolated"):
        prepare(one_month(tmp_path))
    assert not (tmp_path / "store").exists()


def test_another_grid_than_that_of_the_model_is_refused(tmp_path):
    def shift(file):
        file["lat"][:] = file["lat"][:] + 0.02

    with pytest.raises(DataError, match="MSM model grid or a part of it"):
        prepare(one_month(tmp_path, shift))


def test_numbers_packed_in_another_way_are_refused(stores):
    compact = SampleStore(stores[1].path)
    compact.meta["arrays"]["fields"]["compact"]["surface"]["scale"][0] *= 2
    with pytest.raises(DataError, match=r"surface\.scale: fields are packed in another way"):
        CompactFields(compact)


@pytest.mark.parametrize("override", ["data.tile=21", "data.coarser=[2]"])
def test_settings_that_compact_fields_cannot_follow_are_refused(override):
    with pytest.raises(ConfigError, match="layout=compact needs an even tile"):
        load_config(RainConfig, shipped_configs()["rain_msm"], ["data.layout=compact", override])

"""The options of network, head, loss and context: each does what it says, and all at once."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.stats import Moments
from tenkizu.core.verification import Tally
from tenkizu.rain import predict, train
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.config import V5, RainConfig
from tenkizu.rain.context import box_mean, central_differences, fixed_planes
from tenkizu.rain.dataset import RainDataset, assemble, augment, input_channels
from tenkizu.rain.model import Disaggregator, RainModel, export, network_table
from tenkizu.rain.module import RainModule
from tenkizu.rain.tables import RAIN

START = np.datetime64("2023-06-01T03:00", "m")
S = RAIN.index("S")
EVERYTHING = ["s", "p", "n", "box5", "box15", "gradient", "position", "static"]
PLACES = ["latitude", "longitude", "orography", "land"]
DEGREES = Grid("latlon", np.array([36.0, 35.5, 35.0]), np.array([178.0, 179.0, 180.0, 181.0]))


def changed(config, **changes):
    """A configuration with other values: changed(config, train__epochs=3)."""
    data = config.model_dump(mode="json")
    for key, value in changes.items():
        section, _, name = key.partition("__")
        data[section][name] = value
    return RainConfig(**data)


@pytest.fixture
def static_file(tmp_path, tiny_store):
    """Orography, south row first, on the grid of ``tiny_config`` and two nodes around it."""
    grid = Grid.from_json(tiny_store.meta["grid"])
    lat = np.linspace(grid.y[-1] - 0.2, grid.y[0] + 0.2, len(grid.y) + 4)
    lon = np.linspace(grid.x[0] - 0.2, grid.x[-1] + 0.2, len(grid.x) + 4)
    heights = 1000 * (lat[:, None] - lat[0]) + (lon[None, :] - lon[0]) - 300
    attrs = {"units": "m", "standard_name": "surface_altitude"}
    path = tmp_path / "orography.nc"
    xr.Dataset(
        {"hgt": (("lat", "lon"), heights.astype(np.float32), attrs)}, {"lat": lat, "lon": lon}
    ).to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture
def build(tiny_config, tiny_store):
    """Make a network for changed settings of ``tiny_config``."""

    def make(**changes):
        config = changed(tiny_config, **changes)
        torch.manual_seed(3)
        moments = Moments.from_json(tiny_store.meta["statistics"]["log1p_mm"])
        return config, Disaggregator(config.model, input_channels(config.data, moments))

    return make


def batch_of(store, net, split="train", count=4, **options):
    dataset = RainDataset(store, split, net.channels, **options)
    samples = [dataset[i] for i in range(count)]
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


# ---------------------------------------------------------------------------- context


@pytest.mark.parametrize("side", [5, 15])
def test_box_means_are_those_of_the_known_cells_in_reach(side):
    field = np.random.default_rng(1).gamma(0.5, 2.0, (20, 24)).astype(np.float32)
    field[3:6, 2:20] = np.nan
    found = box_mean(field, side)
    half = side // 2
    for row, column in ((0, 0), (4, 4), (10, 12), (19, 23), (2, 23)):
        box = field[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
        assert found[row, column] == pytest.approx(np.nanmean(box), rel=1e-6)


def test_a_box_without_a_known_cell_reads_as_dry():
    field = np.full((12, 12), np.nan, np.float32)
    field[0, 0] = 2.0
    found = box_mean(field, 5)
    assert (found[:3, :3] == 2).all()
    assert (found[3:] == 0).all()


def test_differences_point_east_and_north():
    rows, columns = np.mgrid[:4, :5].astype(np.float32)
    east, north = central_differences(3 * columns - 2 * rows)
    # Row 0 lies in the north, so what falls with the row number grows northwards.
    assert (east[:, 1:-1] == 3).all()
    assert (north[1:-1] == 2).all()
    assert (east[:, [0, -1]] == 1.5).all()
    missing = 3 * columns
    missing[1, 2] = np.nan
    east, north = central_differences(missing)
    assert np.isfinite(east).all()
    assert east[1, [1, 3]].tolist() == [0, 0]
    assert north[[0, 2], 2].tolist() == [0, 0]


def test_context_is_made_of_the_logarithm_of_the_total():
    rain = np.random.default_rng(2).gamma(0.5, 9.0, (6, 20, 24)).astype(np.float32)
    log_total = np.log1p(rain[S])
    names = ["S_dy", "S", "S_box15", "S_dx", "S_box5"]
    planes = dict(zip(names, assemble(names, rain, START), strict=True))
    np.testing.assert_array_equal(planes["S"], rain[S])
    np.testing.assert_array_equal(planes["S_box15"], box_mean(log_total, 15))
    np.testing.assert_array_equal(planes["S_box5"], box_mean(log_total, 5))
    for name, expected in zip(("S_dx", "S_dy"), central_differences(log_total), strict=True):
        np.testing.assert_array_equal(planes[name], expected)


def test_context_is_scaled_like_the_total_and_places_into_their_range(
    build, tiny_store, static_file
):
    _, net = build(data__context=EVERYTHING, data__static_file=str(static_file))
    assert net.channels[4:] == [
        "S", "P", "P_present", "N", "N_present", "S_box5", "S_box15", "S_dx", "S_dy", *PLACES
    ]  # fmt: skip
    scales = {scale.name: scale for scale in net.normaliser.scales}
    log_s = (scales["S"].mean, scales["S"].std)
    assert (scales["S_box5"].mean, scales["S_box5"].std, scales["S_box5"].transform) == (
        *log_s, "linear"
    )  # fmt: skip
    assert (scales["S_dx"].mean, scales["S_dx"].std) == (0, log_s[1])
    batch = batch_of(tiny_store, net, static_file=static_file)
    scaled = dict(zip(net.channels, net.normaliser(batch["input"]).unbind(1), strict=True))
    grid = Grid.from_json(tiny_store.meta["grid"])
    assert scaled["latitude"][0, :, 0].tolist() == pytest.approx(list(grid.y / 90))
    assert scaled["longitude"][0, 0].tolist() == pytest.approx(list(grid.x / 180))


@pytest.mark.parametrize(
    ("context", "channels"), [("box5", 1), ("box15", 1), ("gradient", 2), ("position", 2)]
)
def test_context_costs_one_patch_of_weights_a_channel(build, context, channels):
    def weights(names):
        net = build(data__context=names)[1]
        return sum(network_table(V5, len(net.channels)).values())

    assert weights(["s", context]) - weights(["s"]) == 2048 * channels


def test_longitudes_lie_between_minus_and_plus_180():
    planes = fixed_planes(["latitude", "longitude"], DEGREES, None)
    assert planes["longitude"][1].tolist() == [178, 179, -180, -179]
    assert planes["latitude"][:, 2].tolist() == [36, 35.5, 35]
    assert fixed_planes(["S", "P"], Grid("index", np.arange(2.0), np.arange(2.0)), None) == {}


@pytest.mark.parametrize(
    "grid",
    [
        Grid("projected", np.arange(3.0)[::-1], np.arange(4.0), "y", "x", "km"),
        Grid("index", np.arange(3.0), np.arange(4.0), units="1"),
    ],
)
def test_position_needs_latitude_and_longitude(grid):
    with pytest.raises(DataError, match="position needs latitude and longitude"):
        fixed_planes(["latitude"], grid, None)


def test_static_fields_are_found_at_the_nodes_of_the_grid(static_file, tiny_store):
    grid = Grid.from_json(tiny_store.meta["grid"])
    planes = fixed_planes(PLACES[2:], grid, static_file)
    # The file has its south row first and begins 0.2 degrees south-west of the grid.
    south, west = grid.y[-1] - 0.2, grid.x[0] - 0.2
    expected = 1000 * (grid.y[:, None] - south) + (grid.x[None, :] - west) - 300
    np.testing.assert_allclose(planes["orography"], expected, rtol=1e-5, atol=1e-2)
    np.testing.assert_array_equal(planes["land"], expected > 0)
    assert 0 < planes["land"].mean() < 1


def test_a_land_mask_is_taken_as_it_is(static_file, tiny_store, tmp_path):
    dataset = xr.open_dataset(static_file).load()
    coast = xr.zeros_like(dataset.hgt) + 0.25
    path = tmp_path / "both.nc"
    dataset.assign(lsm=coast.assign_attrs(standard_name="land_area_fraction", units="1")).to_netcdf(
        path, engine="h5netcdf"
    )
    grid = Grid.from_json(tiny_store.meta["grid"])
    assert (fixed_planes(PLACES, grid, path)["land"] == 0.25).all()


def test_static_fields_of_elsewhere_or_in_other_units_are_refused(
    static_file, tiny_store, tmp_path
):
    with pytest.raises(DataError, match="not on the grid of the rain"):
        fixed_planes(["orography"], DEGREES, static_file)
    with pytest.raises(DataError, match=r"data\.static_file"):
        fixed_planes(["orography"], DEGREES, None)
    grid = Grid.from_json(tiny_store.meta["grid"])
    for attrs, message in (({"units": "feet"}, "unknown units"), ({}, "unknown units")):
        dataset = xr.open_dataset(static_file).load().rename(hgt="orography")
        dataset["orography"].attrs = attrs
        dataset.to_netcdf(tmp_path / "wrong.nc", engine="h5netcdf")
        with pytest.raises(DataError, match=message):
            fixed_planes(["orography"], grid, tmp_path / "wrong.nc")
    dataset.rename(orography="other").to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(DataError, match="no orography"):
        fixed_planes(["orography"], grid, tmp_path / "other.nc")


def test_static_fields_and_their_file_need_each_other(tiny_config):
    for entries in ({"context": ["s", "static"]}, {"static_file": "orography.nc"}):
        with pytest.raises(ValueError, match="need each other"):
            type(tiny_config.data)(**tiny_config.data.model_dump() | entries)


def test_places_move_with_the_rain_in_random_views(tiny_config):
    options = tiny_config.data.model_copy(
        update={"tile": 16, "flips": True, "time_reversal": True, "amount_scale": 3.0}
    )
    cell = np.arange(20 * 24, dtype=np.float32).reshape(20, 24) + 1
    generator = np.random.default_rng(4)
    seen = set()
    for _ in range(20):
        view = augment(np.stack([cell] * 8), options, generator)
        assert view.shape == (8, 16, 16)
        # The rain is scaled, the two planes after it are not.
        np.testing.assert_array_equal(view[6], view[7])
        np.testing.assert_allclose(view[S] / view[6], view[S, 0, 0] / view[6, 0, 0], rtol=1e-5)
        seen.add((view[6, 0, 1] - view[6, 0, 0], view[6, 1, 0] - view[6, 0, 0]))
    assert seen == {(1, 24), (-1, 24), (1, -24), (-1, -24)}


def test_a_model_with_position_asks_for_it(build, tiny_store):
    _, net = build(data__context=["s", "position"])
    rain = np.array(tiny_store.read("rain", 5))
    with pytest.raises(DataError, match=r"latitude.*not given"):
        net.eval().split(rain, START)
    grid = Grid.from_json(tiny_store.meta["grid"])
    hours = net.split(rain, START, fixed_planes(net.channels, grid, None))
    np.testing.assert_allclose(hours.sum(axis=0), rain[S], rtol=1e-5)


# ---------------------------------------------------------------------------- temperature


def test_v5_with_a_dynamic_temperature_has_the_published_size(build):
    dynamic = V5.model_copy(update={"temperature": "dynamic"})
    assert sum(network_table(dynamic, 53).values()) == 111_492_849
    count = {}
    for kind in ("none", "global"):
        _, net = build(model__temperature=kind)
        count[kind] = sum(p.numel() for p in net.parameters())
    assert count["global"] - count["none"] == 1


@pytest.mark.parametrize("prior", ["none", "linear"])
@pytest.mark.parametrize("kind", ["global", "dynamic"])
def test_training_starts_at_the_given_temperature(build, tiny_store, kind, prior):
    _, fixed = build(model__tau=0.7, model__prior=prior)
    config, learned = build(model__tau=0.7, model__prior=prior, model__temperature=kind)
    learned.load_state_dict(fixed.state_dict(), strict=False)
    batch = batch_of(tiny_store, fixed)
    arguments = batch["input"], batch["target_sum"]
    torch.testing.assert_close(learned(*arguments), fixed(*arguments), rtol=1e-5, atol=1e-5)
    # A network that says something has a temperature to learn.
    torch.nn.init.normal_(learned.network.head.weight)
    loss = RainModule(learned, config, 1.0)._loss(
        learned.output(batch["input"]), batch, lambda total: total
    )
    loss.backward()
    last = learned.raw_tau if kind == "global" else learned.network.temperature[-1].bias
    assert last.grad.abs().item() > 0


def test_a_learned_temperature_must_start_above_its_limit(tiny_config):
    with pytest.raises(ValueError, match="above its lower limit"):
        changed(tiny_config, model__temperature="global", model__tau=0.05)


# ---------------------------------------------------------------------------- direct head


def test_the_direct_head_has_no_link_to_the_total(build, tiny_store):
    _, net = build(model__head="direct", model__prior="none")
    rain = np.array(tiny_store.read("rain", 5))
    hours = net.eval().split(rain, START)
    assert not net.conserves
    assert (hours >= 0).all()
    assert hours[:, rain[S] == 0].max() > 0
    assert np.abs(hours.sum(axis=0) - rain[S]).max() > 1
    rain[S, 3, 4] = np.nan
    assert np.isnan(net.split(rain, START)[:, 3, 4]).all()
    # A dry window is predicted, not skipped.
    dry = np.zeros_like(rain)
    assert net.split(dry, START).max() > 0


def test_the_direct_head_is_rescaled_except_in_training(build, tiny_store):
    _, net = build(model__head="direct", model__prior="none", model__rescale=True)
    batch = batch_of(tiny_store, net)
    free = net.train()(batch["input"], batch["target_sum"])
    scaled = net.eval()(batch["input"], batch["target_sum"])
    total = batch["target_sum"]
    assert net.conserves
    assert (free.sum(1, keepdim=True) - total).abs().max() > 1
    torch.testing.assert_close(scaled.sum(1, keepdim=True), total, rtol=1e-5, atol=0)
    both = (free > 0).all(1) & (total[:, 0] > 0)
    ratio = (scaled / free).movedim(1, 0)[:, both]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__head": "direct"}, "set prior and temperature to none"),
        ({"model__rescale": True}, "rescale is for the direct head"),
        (
            {"model__head": "direct", "model__prior": "none", "model__temperature": "global"},
            "set prior and temperature to none",
        ),
    ],
)
def test_options_that_exclude_each_other_are_refused(tiny_config, changes, message):
    with pytest.raises(ValueError, match=message):
        changed(tiny_config, **changes)


def test_the_direct_head_has_no_shares_to_compare(build):
    config, net = build(model__head="direct", model__prior="none", loss__kl=0.1)
    with pytest.raises(ConfigError, match=r"loss\.kl"):
        RainModule(net, config, 1.0)


# ---------------------------------------------------------------------------- terms of the loss


def loss_of(build, store, **changes):
    """Loss of one batch with d0 = 2, the net and the batch."""
    config, net = build(**changes)
    torch.nn.init.normal_(net.network.head.weight, std=0.2)
    batch = batch_of(store, net)
    module = RainModule(net, config, 2.0)
    output = net.output(batch["input"])
    return module._loss(output, batch, lambda total: total).item(), net, batch


def test_the_divergence_is_added_with_its_weight(build, tiny_store):
    plain, net, batch = loss_of(build, tiny_store)
    both = loss_of(build, tiny_store, loss__kl=0.1)[0]
    hours, total = batch["target_1h"].double(), batch["target_sum"].double()
    cells = (total >= 0.1).expand_as(hours)
    q = torch.where(total < 0.2, 0.97 * hours / total + 0.01, hours / total)
    log_p = net.output(batch["input"])[0].double().log_softmax(1)
    each = torch.where(q > 0, q * (q.log() - log_p), 0.0)
    expected = each[cells].sum() / (cells.sum() / 3)
    assert both - plain == pytest.approx(0.1 * expected.item(), rel=1e-4)


def test_the_focal_boost_multiplies_the_hourly_weight(build, tiny_store):
    plain, net, batch = loss_of(build, tiny_store, loss__weights="off")
    boosted = loss_of(build, tiny_store, loss__weights="off", loss__focal=2.0)[0]
    error = (net(batch["input"], batch["target_sum"]) - batch["target_1h"]).square()
    cells = batch["target_sum"] >= 0.1
    extra = 1.5 * ((batch["target_1h"] - 10) / 40).clamp(0, 1) ** 2
    expected = (extra * error)[cells.expand_as(error)].sum() / (2.0 * cells.sum())
    assert expected > 0.01
    assert boosted - plain == pytest.approx(expected.item(), rel=1e-4)


def test_the_direct_loss_adds_the_error_of_the_sum_weighted_by_the_total(build, tiny_store):
    direct = {"model__head": "direct", "model__prior": "none"}
    loss, net, batch = loss_of(build, tiny_store, **direct)
    predicted = net(batch["input"], batch["target_sum"]).detach().double().numpy()
    hours, total = batch["target_1h"].double().numpy(), batch["target_sum"].double().numpy()
    cells = batch["target_sum"].numpy() >= np.float32(0.1)
    table = np.array([1, 5, 20, 100, 250, 500, 1000])
    hourly = table[np.digitize(hours, [1, 5, 10, 20, 30, 50])] * (predicted - hours) ** 2
    summed = (
        table[np.digitize(total, [2, 10, 20, 40, 60, 100])]
        * (predicted.sum(1, keepdims=True) - total) ** 2
    )
    expected = (hourly * cells).sum() + (summed * cells).sum()
    assert loss == pytest.approx(expected / (2.0 * cells.sum()), rel=1e-4)


@pytest.mark.parametrize("head", ["allocation", "direct"])
@pytest.mark.parametrize("normaliser", ["equal_split", "weights"])
def test_validation_loss_is_that_of_all_windows_at_once(
    build, tiny_store, monkeypatch, head, normaliser
):
    options = {"loss__normaliser": normaliser, "loss__focal": 1.0, "model__head": head}
    options |= {"model__prior": "none"} if head == "direct" else {"loss__kl": 0.2}
    config, net = build(**options)
    module = RainModule(net.eval(), config, 2.0)
    logged = {}
    monkeypatch.setattr(module, "log_dict", logged.update)
    whole = batch_of(tiny_store, net, "validation", 6)
    module.on_validation_epoch_start()
    for part in (slice(0, 1), slice(1, 6)):
        module.validation_step({key: value[part] for key, value in whole.items()}, 0)
    module.on_validation_epoch_end()
    loss = module._loss(net.output(whole["input"]), whole, lambda total: total)
    assert logged["val_loss"] == pytest.approx(loss.item(), rel=1e-5)


# ---------------------------------------------------------------------------- everything at once


def test_models_and_configurations_from_before_the_options_still_load(build, tiny_store, tmp_path):
    config, net = build()
    details = {"climatology": Climatology.empty().to_json(), "config": {}}
    folder = export(tmp_path / "old", net.eval(), config.model, details)
    metadata = json.loads((folder / "model.json").read_text())
    options = {"upsampling", "activation_checkpointing", "head", "rescale", "temperature"}
    for name in options:
        del metadata["network"][name]
    (folder / "model.json").write_text(json.dumps(metadata))
    rain, grid = np.array(tiny_store.read("rain", 5)), Grid.from_json(tiny_store.meta["grid"])
    loaded = RainModel.load(folder, device="cpu")
    np.testing.assert_array_equal(loaded.split(rain, START, grid), net.split(rain, START))
    data = config.model_dump(mode="json")
    new = {"model": options, "data": {"static_file"}}
    new["loss"] = {"manual_weights_sum", "alpha", "kl", "focal"}
    for section, names in new.items():
        data[section] = {k: v for k, v in data[section].items() if k not in names}
    assert RainConfig(**data) == config


@pytest.mark.slow
def test_all_options_train_predict_and_travel(tiny_config, tiny_rain_file, static_file, tmp_path):
    config = changed(
        tiny_config,
        data__context=EVERYTHING,
        data__static_file=str(static_file),
        data__tile=16,
        data__flips=True,
        model__full_resolution_skip=True,
        model__upsampling="bilinear",
        model__activation_checkpointing=True,
        model__temperature="dynamic",
        model__drop_path=0.2,
        loss__weights="power",
        loss__bins_1h=[1, 5, 10, 20],
        loss__kl=0.1,
        loss__focal=1.0,
        train__epochs=1,
        train__ema=0.9,
    )
    folder = train(config)
    weights = json.loads((folder / "computed_weights.json").read_text())
    metadata = json.loads((folder / "model.json").read_text())
    assert metadata["computed_weights"] == weights
    store_meta = json.loads((config.data.store / "store.json").read_text())
    counts = Tally.from_json(store_meta["tables"]["train"])["hourly"]
    assert weights["hourly"] == pytest.approx(np.sqrt(counts[0] / counts))
    assert (weights["rule"], weights["total"]) == ("power", None)
    output = predict(folder, tiny_rain_file, tmp_path / "hours.nc", share=True)
    with xr.open_dataset(output) as hours:
        given, split = hours.rain_3h.values, hours.rain_1h.values.reshape(-1, 3, 24, 32)
        np.testing.assert_allclose(split.sum(axis=1), given, rtol=1e-5)


def test_a_direct_model_trains_predicts_and_has_no_shares(tiny_config, tiny_rain_file, tmp_path):
    config = changed(
        tiny_config,
        model__head="direct",
        model__prior="none",
        loss__weights="inverse_frequency",
        loss__bins_1h=[1, 5, 10, 20],
        loss__bins_sum=[2, 10],
        train__epochs=1,
    )
    folder = train(config)
    weights = json.loads((folder / "computed_weights.json").read_text())
    assert [len(weights[key]) for key in ("hourly", "total")] == [5, 3]
    assert not RainModel.load(folder).net.conserves
    output = predict(folder, tiny_rain_file, tmp_path / "hours.nc")
    with xr.open_dataset(output) as hours:
        assert float(hours.rain_1h.min()) >= 0
    with pytest.raises(ConfigError, match="do not add to the total"):
        predict(folder, tiny_rain_file, tmp_path / "shares.nc", share=True)

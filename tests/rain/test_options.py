"""The options of network, head and loss: each does what it says, and all at once."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from option_networks import EVERYTHING, START, S, batch_of, changed

from tenkizu.core.errors import ConfigError
from tenkizu.core.grid import Grid
from tenkizu.core.verification import Tally
from tenkizu.rain import predict, train
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.config import V5, RainConfig
from tenkizu.rain.model import RainModel, export, network_table
from tenkizu.rain.module import RainModule

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

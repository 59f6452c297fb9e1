"""Noise beside the input: what it is, what a network makes of it, and how it is trained with."""

import itertools
import json

import numpy as np
import pytest
import torch
from option_networks import START, S, batch_of, build_network, changed
from safetensors.torch import load_file

from tenkizu.core.grid import Grid
from tenkizu.rain import train
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.ensemble_scores import fair_energy_score
from tenkizu.rain.model import RainModel, export
from tenkizu.rain.module import RainModule
from tenkizu.rain.noise import SPACING, random_noise, window_noise
from tenkizu.rain.onnx_export import export_onnx
from tenkizu.rain.tiled_inference import inference_lattice

LATER = START + np.timedelta64(3, "h")
NOISY = {
    "model__noise": 3,
    "model__drop_path": 0.0,
    "model__prior": "none",
    "loss__members": 2,
    "loss__weights": "off",
}


@pytest.fixture
def noisy(tiny_config, tiny_store):
    """A configuration with noise, and its untrained network."""
    return build_network(tiny_config, tiny_store, **NOISY)


# ---------------------------------------------------------------------------- the noise itself


def test_noise_has_mean_0_and_variance_1_in_every_cell():
    torch.manual_seed(0)
    noise = random_noise(4000, 3, (13, 18), torch.zeros(()))
    assert noise.shape == (4000, 3, 13, 18)
    # Means of 4000 scatter by 1 / sqrt(4000) = 0.016, variances by sqrt(2 / 4000) = 0.022.
    assert noise.mean(dim=0).abs().max() < 5 * 0.016
    assert (noise.var(dim=0) - 1).abs().max() < 5 * 0.022
    between_channels = noise[:, :, 4, 4].T.corrcoef().fill_diagonal_(0)
    assert between_channels.abs().max() < 5 * 0.016


def test_noise_varies_over_areas_and_not_from_cell_to_cell():
    torch.manual_seed(0)
    noise = random_noise(3000, 2, (4, 40), torch.zeros(()))
    along = noise[:, 0, 2].T.corrcoef()[0]
    assert along[1] > 0.95
    assert along[SPACING].abs() < 0.1
    assert along[2 * SPACING].abs() < 0.1


def test_the_noise_of_a_window_goes_by_its_start_and_the_number_of_the_draw():
    first, second = (window_noise(3, (20, 30), START, draw) for draw in (1, 2))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(window_noise(3, (20, 30), START, 1), first)
    others = [second, window_noise(3, (20, 30), LATER, 1)]
    for other in others:
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.5
    # Of the same kind as that of the training.
    many = np.stack([window_noise(3, (13, 18), START, draw) for draw in range(2000)])
    assert np.abs(many.mean(axis=0)).max() < 5 / np.sqrt(2000)
    assert np.abs(many.var(axis=0) - 1).max() < 5 * np.sqrt(2 / 2000)


# ---------------------------------------------------------------------------- the network


def test_a_network_without_noise_is_what_it_was(tiny_config, tiny_store, tmp_path):
    config, net = build_network(tiny_config, tiny_store, model__prior="none")
    assert net.network.patch_embed.proj.in_channels == len(net.channels)
    folder = export(tmp_path, net, config.model, {"climatology": Climatology.empty().to_json()})
    description = json.loads((folder / "model.json").read_text())
    # As models were written before there was noise.
    del description["network"]["noise"]
    (folder / "model.json").write_text(json.dumps(description))
    rain = np.array(tiny_store.read("rain", 5))
    loaded = RainModel.load(folder, device="cpu")
    np.testing.assert_array_equal(loaded.net.split(rain, START), net.eval().split(rain, START))


def test_noise_is_no_channel_and_costs_weights_of_the_input_alone(tiny_config, tiny_store, noisy):
    _, net = noisy
    without = NOISY | {"model__noise": 0, "loss__members": 1}
    _, plain = build_network(tiny_config, tiny_store, **without)
    assert net.channels == plain.channels
    more = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in plain.parameters())
    # Patches of 2 x 2 cells to 8 channels, and 3 x 3 cells to the 32 of the skip.
    assert more == 3 * (2 * 2 * 8 + 3 * 3 * 32)


def test_without_a_draw_noise_is_0_and_nothing_is_random(noisy, tiny_store):
    _, net = noisy
    net.eval()
    raw = batch_of(tiny_store, net)["input"]
    with torch.inference_mode():
        zeros = torch.zeros(len(raw), 3, *raw.shape[-2:])
        torch.testing.assert_close(net.output(raw)[0], net.output(raw, zeros)[0], rtol=0, atol=0)
    rain = np.array(tiny_store.read("rain", 5))
    first = net.split(rain, START)
    torch.manual_seed(99)
    np.testing.assert_array_equal(net.split(rain, START), first)


def test_draws_differ_come_again_and_conserve_the_total(noisy, tiny_store):
    _, net = noisy
    net.eval()
    rain = np.array(tiny_store.read("rain", 5))
    rain[:, 3, 4] = np.nan
    hours = [net.split(rain, START, draw=draw) for draw in (1, 2, 3)]
    torch.manual_seed(99)
    np.testing.assert_array_equal(net.split(rain, START, draw=2), hours[1])
    known = ~np.isnan(rain[S])
    for one, other in itertools.combinations(hours, 2):
        assert np.nanmax(np.abs(one - other)) > 0.01
    for one in hours:
        assert np.isnan(one[:, ~known]).all()
        assert (one[:, known] >= 0).all()
        assert (one[:, rain[S] == 0] == 0).all()
        total = rain[S][known]
        np.testing.assert_allclose(one.sum(axis=0)[known], total, rtol=1e-6, atol=0)
    assert np.abs(net.split(rain, LATER, draw=1) - hours[0])[:, known].max() > 0.01


def test_tiles_are_cut_from_the_noise_of_the_whole_frame(noisy, tiny_store, monkeypatch):
    _, net = noisy
    net.eval()
    rain = np.array(tiny_store.read("rain", 5))
    rain[S] = 1.0
    whole = window_noise(3, rain.shape[1:], START, 7)
    one_tile = net.split(rain, START, tile=64, draw=7)
    np.testing.assert_allclose(one_tile, net.split(rain, START, draw=7), rtol=1e-5, atol=1e-6)
    seen = []
    output = net.output

    def watched(raw, noise):
        seen.extend(noise.numpy())
        return output(raw, noise)

    monkeypatch.setattr(net, "output", watched)
    net.split(rain, START, tile=16, draw=7)
    squares = inference_lattice(rain.shape[1:], 16).squares
    assert len(seen) == len(squares) > 4
    for found, square in zip(seen, squares, strict=True):
        np.testing.assert_array_equal(found, whole[:, *square])


def test_a_model_folder_gives_the_draws_of_its_network(noisy, tiny_store, tmp_path):
    config, net = noisy
    details = {"climatology": Climatology.empty().to_json(), "config": {}}
    model = RainModel.load(export(tmp_path, net, config.model, details), device="cpu")
    grid = Grid.from_json(tiny_store.meta["grid"])
    rain = np.array(tiny_store.read("rain", 5))
    for draw in (None, 1, 2):
        expected = net.eval().split(rain, START, draw=draw)
        np.testing.assert_array_equal(model.split(rain, START, grid, draw=draw), expected)


@pytest.mark.slow
def test_an_onnx_file_splits_without_noise(noisy, tmp_path):
    config, net = noisy
    details = {"name": "noisy", "climatology": Climatology.empty().to_json(), "config": {}}
    folder = export(tmp_path / "model", net, config.model, details)
    written = export_onnx(folder, tmp_path / "model.onnx", (8, 12))
    # Compared with torch when it is written, in which no noise is given.
    assert written.difference_mm < 1e-4
    assert written.channels == net.channels


# ---------------------------------------------------------------------------- training


def energy_skill_of(net, batch, draws):
    """Summed energy score of draws, and of S/3, by the evaluation's own code."""
    score = distance = 0.0
    for b, start in enumerate(batch["time"].numpy().astype("datetime64[m]")):
        total = batch["target_sum"][b]
        cells = (batch["mask"][b] & (total >= 0.1))[0].numpy()
        shape = tuple(total.shape[-2:])
        noise = [torch.from_numpy(window_noise(net.noise, shape, start, d))[None] for d in draws]
        with torch.no_grad():
            raw = batch["input"][b : b + 1]
            hours = [net.hours(*net.output(raw, z), total[None])[0].double() for z in noise]
        x = np.stack([one.numpy()[:, cells] for one in hours])
        truth = batch["target_1h"][b].double().numpy()[:, cells]
        score += fair_energy_score(x, truth).sum()
        distance += np.linalg.norm(total[0].double().numpy()[cells] / 3 - truth, axis=0).sum()
    return score, distance


def test_validation_scores_the_same_draws_whatever_the_batch(noisy, tiny_store, tiny_config):
    config, net = noisy
    config = changed(config, loss__members=3, loss__member_squares=[1])
    net.eval()
    batch = batch_of(tiny_store, net, "validation", count=4)
    score, distance = energy_skill_of(net, batch, (1, 2, 3))

    def sums(*batches):
        module = RainModule(net, config, 1.0)
        module.on_validation_epoch_start()
        before = torch.get_rng_state()
        with torch.no_grad():
            for part in batches:
                module.validation_step(part, 0)
        assert torch.equal(torch.get_rng_state(), before)
        return module.sums

    found = sums(batch)
    assert found[2:].tolist() == pytest.approx([score, distance], rel=1e-5)
    halves = [
        {key: value[part] for key, value in batch.items()} for part in (slice(2), slice(2, 4))
    ]
    torch.testing.assert_close(sums(*halves), found, rtol=1e-6, atol=1e-9)
    # The first term is that of the split without noise, as for a network that has none.
    plain = RainModule(net, changed(tiny_config, model__drop_path=0.0, loss__weights="off"), 1.0)
    plain.on_validation_epoch_start()
    plain.validation_step(batch, 0)
    torch.testing.assert_close(plain.sums, found[:2])


def test_the_loss_is_that_of_the_split_without_noise_and_the_energy_score(noisy, tiny_store):
    config, net = noisy
    # Weights and other terms are for the split without noise alone.
    weighted = {"loss__weights": "manual", "loss__focal": 1.0, "loss__kl": 0.1}
    config = changed(config, loss__member_squares=[1, 2], **weighted)
    batch = batch_of(tiny_store, net)
    module = RainModule(net, config, 0.7)
    noise = module._fixed_noise(batch)
    output = net.output(batch["input"])
    plain = module._loss(output, batch, lambda x: x)
    both = module._loss(output, batch, lambda x: x, noise)
    score, distance = energy_skill_of(net, batch, (1, 2))
    *_, (half, (coarse, coarse_distance)) = module._energy_scores(
        noise, batch["mask"] & (batch["target_sum"] >= 0.1), batch, torch.float64
    )
    assert half == 0.5
    expected = plain + 0.5 * score / distance + 0.5 * coarse / coarse_distance
    assert both.item() == pytest.approx(expected.item(), rel=1e-5)
    assert 0 < coarse_distance < distance
    # With weights of drawn tiles, and of sources, both sums of a cell are weighted.
    weighted = batch | {
        "importance": torch.full_like(batch["target_sum"], 3.0),
        "loss_factor": torch.full((4, 1, 1, 1), 4.0),
    }
    (_, (more, distances)), _ = module._energy_scores(
        noise, batch["mask"] & (batch["target_sum"] >= 0.1), weighted, torch.float64
    )
    assert (more.item(), distances.item()) == pytest.approx((6 * score, 6 * distance), rel=1e-5)


@pytest.fixture
def without_what_follows(monkeypatch):
    """No evaluation, figures and page after training."""
    monkeypatch.setattr("tenkizu.rain.training._finish", lambda *_: None)


def test_a_run_with_noise_that_died_resumes_bit_for_bit(
    tiny_config, monkeypatch, without_what_follows
):
    config = changed(
        tiny_config, **NOISY, train__epochs=2, train__ema=0.9, train__select="val_loss"
    )
    whole = train(config)
    again = changed(config, run__name="again")
    counter = itertools.count()
    original = RainModule.training_step

    def dying(self, batch, batch_idx):
        if next(counter) == 7:
            raise RuntimeError("power cut")
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(RainModule, "training_step", dying)
        with pytest.raises(RuntimeError, match="power cut"):
            train(again)
    folder = train(again, resume=True)
    old, new = (load_file(run / "model.safetensors") for run in (whole, folder))
    assert all(torch.equal(old[name], new[name]) for name in old)
    lines = [(run / "metrics.jsonl").read_text().splitlines() for run in (whole, folder)]
    keys = ("epoch", "step", "train_loss", "val_loss", "val_skill", "grad_norm")
    one, other = ([[json.loads(line)[key] for key in keys] for line in run] for run in lines)
    assert one == other
    model = RainModel.load(folder)
    assert (model.net.noise, len(model.metadata["channels"])) == (3, 9)


def test_a_loss_of_one_member_never_meets_noise(tiny_config, tiny_store, monkeypatch):
    config, net = build_network(tiny_config, tiny_store)
    monkeypatch.setattr("tenkizu.rain.module.random_noise", None)
    monkeypatch.setattr("tenkizu.rain.module.window_noise", None)
    module = RainModule(net, config, 1.0)
    batch = batch_of(tiny_store, net)
    module.on_validation_epoch_start()
    module.validation_step(batch, 0)
    assert len(module.sums) == 2


# ---------------------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss__members": 1}, "belong together"),
        ({"model__noise": 0}, "belong together"),
        ({"model__drop_path": 0.1}, "in training only"),
        ({"model__head": "direct"}, "needs model.head=allocation"),
        ({"loss__member_squares": []}, "member_squares"),
    ],
)
def test_settings_that_make_no_ensemble_are_refused(tiny_config, changes, message):
    with pytest.raises(ValueError, match=message):
        changed(tiny_config, **(NOISY | changes))


def test_two_processes_train_with_noise_that_differs_and_losses_that_add(tiny_config):
    folders = [
        train(changed(tiny_config, run__name=f"{count}", train__devices=count, train__epochs=1,
                      train__batch_size=4 // count, train__lr_scale_world=False, **NOISY))
        for count in (1, 2)
    ]  # fmt: skip
    one, two = (json.loads((folder / "metrics.jsonl").read_text()) for folder in folders)
    # Noise of training is drawn by process: the losses are near each other. That of validation is
    # of the window, and after one epoch the networks have hardly come apart.
    assert one["step"] == two["step"]
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=0.02)
    assert two["train_loss"] != one["train_loss"]
    assert two["val_loss"] == pytest.approx(one["val_loss"], rel=0.01)

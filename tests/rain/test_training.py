import itertools
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from option_networks import changed
from safetensors.torch import load_file

from tenkizu.core.callbacks import ExponentialAverage, History
from tenkizu.core.config import dump_config
from tenkizu.core.errors import ConfigError, DataError, TrainingError
from tenkizu.core.run_config import TrainConfig
from tenkizu.core.training import make_schedule, resolve_precision
from tenkizu.rain import train
from tenkizu.rain.model import RainModel
from tenkizu.rain.module import RainModule
from tenkizu.rain.preparation import prepare


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(left, right):
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_folder_holds_all_that_the_run_was_and_predicts_alone(tiny_config, tmp_path):
    folder = train(tiny_config)
    assert folder == tiny_config.run.dir / "tiny"
    for name in (
        "config.yaml", "run.log", "metrics.jsonl", "history.json", "loss_curve.png", "best.ckpt",
        "last.ckpt", "model.json", "model.safetensors", "evaluation/test/scores.json",
        "evaluation/validation/evaluation.txt",
    ):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tb").glob("events*"))
    records = metrics(folder)
    assert [r["epoch"] for r in records] == [1, 2]
    assert records[0]["lr"] > records[1]["lr"] == pytest.approx(1e-6)
    history = json.loads((folder / "history.json").read_text())
    best = max(records, key=lambda r: r["val_skill"])
    assert history["best_epoch"] == best["epoch"]
    assert history["val_skill"] == [r["val_skill"] for r in records]
    scores = json.loads((folder / "evaluation" / "validation" / "scores.json").read_text())
    # Validation during training and the evaluation afterwards count the same cells.
    assert scores["mse_skill"]["conditional"] == pytest.approx(best["val_skill"], abs=1e-5)
    assert scores["rmse_1h"]["model"] == pytest.approx(best["val_rmse_1h"], abs=1e-5)
    alone = (folder / "model.json").rename(tmp_path / "model.json").parent
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    assert RainModel.load(alone).net.channels[-5:] == ["S", "P", "P_present", "N", "N_present"]
    state = torch.load(folder / "last.ckpt", weights_only=True)
    assert {"optimizer_states", "lr_schedulers", "state_dict"} <= state.keys()


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 9])
def test_a_run_that_died_resumes_bit_for_bit(tiny_config, tmp_path, monkeypatch, step):
    settings = {"train__epochs": 3, "train__ema": 0.9, "model__drop_path": 0.3}
    extra = {"data__flips": True, "data__amount_scale": 2.0}
    config = changed(tiny_config, **settings, **extra)
    whole = train(config)
    again = changed(config, run__name="again")
    counter = itertools.count()
    original = RainModule.training_step

    def dying(self, batch, batch_idx):
        if next(counter) == step:
            raise RuntimeError("power cut")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(RainModule, "training_step", dying)
    with pytest.raises(RuntimeError, match="power cut"):
        train(again)
    monkeypatch.undo()
    folder = train(again, resume=True)
    assert same(weights(whole), weights(folder))
    keys = ("epoch", "step", "lr", "train_loss", "val_loss", "val_skill", "grad_norm")
    assert [[r[k] for k in keys] for r in metrics(folder)] == [
        [r[k] for k in keys] for r in metrics(whole)
    ]


def test_a_killed_process_resumes_bit_for_bit(tiny_config, tmp_path):
    config = changed(tiny_config, train__epochs=4)
    whole = train(config)
    killed = changed(config, run__name="killed")
    folder = killed.run.dir / "killed"
    file = tmp_path / "killed.yaml"
    file.write_text(dump_config(killed))
    command = [sys.executable, "-m", "tenkizu", "rain", "train", str(file)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not (folder / "last.ckpt").exists() and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (folder / "model.json").exists()
    with pytest.raises(DataError, match="no exported model yet"):
        RainModel.load(folder)
    train(killed, resume=True)
    assert same(weights(whole), weights(folder))


def test_two_processes_train_and_evaluate_like_one(tiny_config):
    one = train(changed(tiny_config, train__batch_size=4, train__epochs=2))
    shared = changed(tiny_config, run__name="two", train__batch_size=2, train__devices=2)
    two = train(changed(shared, train__lr_scale_world=False))
    for single, double in zip(metrics(one), metrics(two), strict=True):
        # 23 training windows: 5 steps of 4 from one process, and from two with 2 each.
        assert single["step"] == double["step"]
        for name in ("train_loss", "val_loss", "val_skill", "val_rmse_1h", "grad_norm"):
            assert double[name] == pytest.approx(single[name], rel=2e-5), name
    assert (two / "run.rank1.log").stat().st_size > 0
    assert (two / "evaluation" / "test" / "scores.json").exists()


def test_a_failing_process_ends_the_others_and_is_reported(tiny_config, tmp_path):
    outcome = tmp_path / "outcome"
    config = changed(
        tiny_config, run__on_finish=f'echo "$TENKIZU_STATUS" > {outcome}', train__devices=2
    )
    prepare(config)
    for block in config.data.store.glob("*.npy"):
        os.truncate(block, 1000)
    began = time.monotonic()
    with pytest.raises(TrainingError, match="a training process failed"):
        train(config)
    assert time.monotonic() - began < 60
    assert outcome.read_text().strip() == "failed"


def test_on_finish_learns_the_outcome(tiny_config, tmp_path):
    outcome = tmp_path / "outcome"
    command = f'echo "$TENKIZU_STATUS $TENKIZU_RUN_DIR" > {outcome}'
    folder = train(changed(tiny_config, run__on_finish=command, train__epochs=1))
    assert outcome.read_text().split() == ["finished", str(folder.resolve())]


def test_an_existing_run_is_neither_lost_nor_mixed(tiny_config):
    folder = train(changed(tiny_config, train__epochs=1))
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="holds a run already"):
        train(changed(tiny_config, train__epochs=1))
    with pytest.raises(ConfigError, match=r"differs .*epochs: 2"):
        train(changed(tiny_config, train__epochs=2), resume=True)
    assert (folder / "model.safetensors").read_bytes() == before
    train(changed(tiny_config, train__epochs=1, train__seed=5), overwrite=True)
    assert (folder / "model.safetensors").read_bytes() != before


def test_rain_that_looks_normalised_stops_before_the_first_step(
    tiny_config, tiny_rain, write_rain, tmp_path
):
    file = write_rain(tmp_path / "scaled.nc", tiny_rain / 599.4375)
    config = changed(tiny_config, data__files=[str(file)])
    with pytest.raises(DataError, match="look normalised"):
        train(config)
    assert not (config.run.dir / "tiny" / "last.ckpt").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train__precision": "16-mixed"}, "16-mixed needs a GPU"),
        ({"scores__land_file": "nowhere.nc"}, r"nowhere\.nc: scores\.land_file: no such file"),
        (
            {"data__context": ["s", "p", "n", "static"], "data__static_file": "nowhere.nc"},
            r"nowhere\.nc: data\.static_file: no such file",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_preparing(tiny_config, monkeypatch, change, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = changed(tiny_config, **change)
    with pytest.raises((ConfigError, DataError), match=said):
        train(config)
    assert not config.data.store.exists()


def test_a_land_file_without_land_is_refused_before_the_first_step(tiny_config, tiny_rain_file):
    config = changed(tiny_config, scores__land_file=str(tiny_rain_file))
    with pytest.raises(DataError, match="neither land nor orography"):
        train(config)
    assert config.data.store.exists()
    assert not list(config.run.dir.glob("tiny/*.ckpt"))


def test_bad_batches_are_skipped_and_three_in_a_row_stop(tiny_config, monkeypatch):
    original = RainModule._loss
    calls = itertools.count()

    def poisoned(bad):
        def loss(*arguments):
            value = original(*arguments)
            return value * float("nan") if next(calls) in bad else value

        return loss

    monkeypatch.setattr(RainModule, "_loss", poisoned({1, 3}))
    folder = train(changed(tiny_config, train__epochs=1))
    (record,) = metrics(folder)
    assert record["bad_batches"] == 2
    assert record["val_loss"] is not None
    assert all(torch.isfinite(w).all() for w in weights(folder).values())
    assert "step skipped: 2023-" in (folder / "run.log").read_text()
    calls = itertools.count()
    monkeypatch.setattr(RainModule, "_loss", poisoned({0, 1, 2}))
    with pytest.raises(TrainingError, match="3 steps in a row"):
        train(changed(tiny_config, run__name="bad"))


def test_bfloat16_trains_and_float16_is_refused_on_a_cpu(tiny_config):
    folder = train(changed(tiny_config, train__precision="bf16-mixed", train__epochs=1))
    scores = json.loads((folder / "evaluation" / "test" / "scores.json").read_text())
    assert scores["max_relative_sum_error"] < 1e-5
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="16-mixed needs a GPU"):
            resolve_precision(TrainConfig(precision="16-mixed"))


def test_ema_follows_its_recursion(tmp_path):
    decay, values, mean = 0.9, [4.0, -1.0, 2.0, 7.0, 0.5], 3.0
    net = torch.nn.Linear(1, 1, bias=False)
    net.register_buffer("constant", torch.tensor([5.0]))
    callback = ExponentialAverage(decay)
    with torch.no_grad():
        net.weight.fill_(mean)
    averaged = torch.optim.swa_utils.AveragedModel(net, use_buffers=False, **callback._kwargs)
    # torch copies at the first update and averages from the second on, t = 1.
    expected = values[0]
    for t, value in enumerate(values):
        with torch.no_grad():
            net.weight.fill_(value)
            net.constant.fill_(value)
        averaged.update_parameters(net)
        if t:
            d = min(decay, (1 + t) / (10 + t))
            expected = d * expected + (1 - d) * value
    assert float(averaged.module.weight.detach()) == pytest.approx(expected)
    assert float(averaged.module.constant) == values[-1]


def test_schedules_have_the_stated_shape():
    def rates(steps=100, **settings):
        parameter = torch.nn.Parameter(torch.zeros(1))
        config = TrainConfig(lr=1e-3, **settings)
        optimizer = torch.optim.AdamW([parameter], lr=config.lr)
        schedule = make_schedule(optimizer, config, config.lr, steps)
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return np.array([*found, optimizer.param_groups[0]["lr"]])

    cosine = rates(min_lr=1e-6)
    wanted = 1e-6 + (1e-3 - 1e-6) * 0.5 * (1 + np.cos(np.pi * np.arange(101) / 100))
    np.testing.assert_allclose(cosine, wanted, rtol=1e-6)
    warm = rates(warmup_steps=10)
    np.testing.assert_allclose(warm[:10], 1e-4 * np.arange(1, 11))
    assert warm.argmax() in (9, 10)
    assert warm[-1] == pytest.approx(1e-6)
    once = rates(scheduler="onecycle")
    assert once[0] == pytest.approx(1e-3 / 25)
    assert once.argmax() == pytest.approx(30, abs=1)


def test_decay_acts_on_matrices_and_kernels_only(tiny_config):
    store = prepare(tiny_config)
    from tenkizu.core.stats import Moments
    from tenkizu.rain.dataset import input_channels
    from tenkizu.rain.model import Disaggregator

    moments = Moments.from_json(store.meta["statistics"]["log1p_mm"])
    net = Disaggregator(tiny_config.model, input_channels(tiny_config.data, moments))
    module = RainModule(net, changed(tiny_config, train__scheduler="none"), 1.0)
    decayed, free = module.configure_optimizers().param_groups
    assert decayed["weight_decay"] == 0.01
    assert free["weight_decay"] == 0.0
    assert all(p.ndim >= 2 for p in decayed["params"])
    names = {id(p): name for name, p in module.named_parameters()}
    assert any("bias_table" in names[id(p)] for p in free["params"])
    everything = changed(tiny_config, train__decay_all=True, train__scheduler="none")
    (group,) = RainModule(net, everything, 1.0).configure_optimizers().param_groups
    assert group["weight_decay"] == 0.01


def test_the_best_epoch_is_the_first_of_equals(tmp_path):
    history = History(tmp_path, "val_skill", "max")
    skills = [0.1, 0.3, None, 0.3, 0.2]
    history.records = [{"epoch": i + 1, "val_skill": s} for i, s in enumerate(skills)]
    assert history.best == {"epoch": 2, "val_skill": 0.3}
    assert math.isclose(history.best["val_skill"], 0.3)


def test_two_runs_with_one_seed_are_identical(tiny_config):
    config = changed(tiny_config, train__epochs=1, model__drop_path=0.2)
    first = weights(train(config))
    second = weights(train(changed(config, run__name="second")))
    third = weights(train(changed(config, run__name="third", train__seed=2)))
    assert same(first, second)
    assert not same(first, third)


@pytest.fixture(autouse=True)
def quiet_lightning():
    """Undo the handlers a run leaves on the package's logger."""
    root = logging.getLogger("tenkizu")
    before = list(root.handlers)
    yield
    for handler in [h for h in root.handlers if h not in before]:
        root.removeHandler(handler)
        handler.close()
    pl.seed_everything(0, verbose=False)

import itertools
import json
import logging
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tenkizu.core.config import dump_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.patterns import train
from tenkizu.patterns.losses import make_loss
from tenkizu.patterns.model import PatternModel
from tenkizu.patterns.module import PatternModule
from tenkizu.patterns.training import divide, open_days
from tenkizu.patterns.verification.days import DayTable

pytestmark = pytest.mark.usefixtures("no_figures")


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def same_weights(left, right):
    a, b = (load_file(folder / "model.safetensors") for folder in (left, right))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_folder_holds_every_artefact_under_its_name(tiny_pattern_run):
    for name in (
        "config.yaml", "run.log", "metrics.jsonl", "best.ckpt", "last.ckpt", "model.safetensors",
        "model.json", "history.json", "norm.json", "thresholds.json", "calibration.json",
        "val_report.json", "test_report.json", "probabilities_validation.csv",
        "probabilities_test.csv", "loss_curve.png", "confusion_matrices.png", "report/index.html",
        "evaluation/validation/scores.json", "evaluation/test/evaluation.txt", "cases/test.npz",
        "cases/test_analogues.csv", "analogues.safetensors", "analogues.json",
    ):  # fmt: skip
        assert (tiny_pattern_run / name).stat().st_size > 0, name
    assert list((tiny_pattern_run / "tb").glob("events*"))
    norm = read(tiny_pattern_run / "norm.json")
    assert norm["channel_names"] == ["msl", "grad_msl", "f1_season"]
    assert norm["units"] == ["Pa", "Pa m-1", "1"]
    assert norm["train_years"] == [2001]
    assert norm["val_years"] == [2002]
    assert norm["count"] == 365
    history = read(tiny_pattern_run / "history.json")
    assert history["best_map"] == max(history["val_map"])
    assert history["best_val_loss"] == history["val_loss"][history["best_epoch"] - 1]
    torch.load(tiny_pattern_run / "last.ckpt", weights_only=True)


def test_scores_have_the_promised_keys_and_follow_from_the_table(tiny_pattern_run):
    scores = read(tiny_pattern_run / "evaluation" / "test" / "scores.json")
    table = DayTable.from_csv(tiny_pattern_run / "probabilities_test.csv")
    assert scores["n_days"] == len(table) == 365
    assert scores["macro_f1_provenance"] == "held-out"
    assert scores["exact_match"] == pytest.approx((table.predicted == table.truth).all(1).mean())
    assert scores["brier"] == pytest.approx(np.square(table.calibrated - table.truth).mean())
    for name in ("prevalence", "climatology", "persistence"):
        assert 0 < scores["baselines"][name]["map"] < 1
    assert set(scores["classes"]["W"]) >= {"ap", "f1", "threshold", "status"}
    validation = read(tiny_pattern_run / "evaluation" / "validation" / "scores.json")
    assert validation["macro_f1_provenance"] == "cross-fitted"
    assert read(tiny_pattern_run / "thresholds.json")["tuned_on"] == "all validation days"


def test_the_best_epoch_is_what_the_exported_model_is(tiny_pattern_run, tiny_pattern_store):
    history = read(tiny_pattern_run / "history.json")
    scores = read(tiny_pattern_run / "evaluation" / "validation" / "scores.json")
    assert scores["map"] == pytest.approx(history["best_map"], abs=1e-6)
    model = PatternModel.load(tiny_pattern_run)
    assert model.metadata["chosen_by"]["epoch"] == history["best_epoch"]
    assert model.metadata["split"] == {
        "train": ["2001-01-01/2001-12-31"],
        "validation": ["2002-01-01/2002-12-31"],
        "test": ["2003-01-01/2003-12-31"],
    }


def test_arithmetic_that_cannot_be_had_is_refused_before_preparing(
    pattern_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    store = tmp_path / "other_store"
    config = pattern_config(tmp_path, data={"store": store}, train={"precision": "16-mixed"})
    with pytest.raises(ConfigError, match="16-mixed needs a GPU"):
        train(config)
    assert not store.exists()


def test_two_runs_with_one_seed_are_identical(pattern_config, tiny_pattern_run, tmp_path):
    folder = train(pattern_config(tmp_path))
    assert same_weights(folder, tiny_pattern_run)
    keys = ("train_loss", "val_loss", "val_map", "grad_norm")
    assert [[r[k] for k in keys] for r in metrics(folder)] == [
        [r[k] for k in keys] for r in metrics(tiny_pattern_run)
    ]


@pytest.mark.parametrize("step", [4, 14])
def test_a_run_that_died_resumes_bit_for_bit(pattern_config, tmp_path, monkeypatch, step):
    settings = {"epochs": 3, "micro_batch": 16, "ema": 0.9}
    extra = {"sampler": {"kind": "inverse"}, "report": {"cases": 0}}
    whole = train(pattern_config(tmp_path / "whole", train=settings, **extra))
    config = pattern_config(tmp_path / "again", train=settings, **extra)
    counter = itertools.count()
    original = PatternModule.training_step

    def dying(self, batch, batch_idx):
        if next(counter) == step * 4:
            raise RuntimeError("power cut")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(PatternModule, "training_step", dying)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config)
    monkeypatch.undo()
    folder = train(config, resume=True)
    assert same_weights(whole, folder)
    assert [r["val_map"] for r in metrics(folder)] == [r["val_map"] for r in metrics(whole)]


def test_a_killed_process_resumes_bit_for_bit(pattern_config, tiny_pattern_store, tmp_path):
    settings = {"train": {"epochs": 12, "micro_batch": 16}, "report": {"cases": 0}}
    whole = train(pattern_config(tmp_path / "whole", **settings))
    config = pattern_config(tmp_path / "killed", **settings)
    folder = config.run.dir / "tiny"
    folder.mkdir(parents=True)
    text = tmp_path / "killed.yaml"
    text.write_text(dump_config(config))
    command = [sys.executable, "-m", "tenkizu", "patterns", "train", str(text)]
    # With as many threads as here: sums in another order are other sums.
    with subprocess.Popen(command) as process:
        end = time.monotonic() + 120
        while not (folder / "last.ckpt").exists() and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=200)
    assert resumed.returncode == 0, resumed.stderr
    assert same_weights(whole, folder)


def test_micro_batches_give_the_gradient_of_the_whole_batch(pattern_config, tiny_pattern_store):
    from tenkizu.patterns.members import Member

    def gradients(micro):
        config = pattern_config(
            tiny_pattern_store.path.parent,
            train={"batch_size": 64, "micro_batch": micro, "seed": 3},
            model={"backbone": "projection", "options": {"dropout": 0.0}},
        )
        days = open_days(config, tiny_pattern_store)
        fold = divide(config, days)[0]
        # The last batch of an epoch is shorter, and so is its last micro-batch.
        chosen = fold.train[:109]
        member = Member(config, tiny_pattern_store, days, chosen, fold.validation, None, 3)
        loss = make_loss(config.loss, None)
        module = PatternModule(member.net, loss, member.settings, len(chosen), [])
        size, result = micro or 64, []
        batches = list(member.loader(chosen))
        count = 64 // size
        for number, batch in enumerate(batches):
            if number % count == 0:
                module.zero_grad()
            value = loss(member.net(batch["maps"], batch["season"]), batch["target"])
            value = value * module.part_of_step(number, len(batch["maps"])) / count
            value.backward()
            if number % count == count - 1 or number == len(batches) - 1:
                result.append(torch.cat([p.grad.flatten() for p in module.parameters()]))
        return result

    whole, parts = gradients(None), gradients(16)
    assert len(whole) == len(parts) == 2
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_an_ensemble_averages_calibrated_probabilities(pattern_config, tmp_path):
    config = pattern_config(
        tmp_path,
        run={"prefix": "cnn_"},
        train={"members": 2, "epochs": 1},
        report={"cases": 0},
    )
    folder = train(config)
    assert (folder / "cnn_norm.json").read_bytes() == (folder / "norm.json").read_bytes()
    assert {p.name for p in folder.glob("member_*")} == {"member_1", "member_2"}
    scores = read(folder / "evaluation" / "test" / "scores.json")
    each = scores["members"]["each"]
    assert set(each) == {"member_1", "member_2"}
    assert scores["members"]["mean"]["map"] == pytest.approx(
        np.mean([one["map"] for one in each.values()])
    )
    assert scores["ranking"] == "calibrated"
    model = PatternModel.load(folder)
    assert len(model.members) == 2
    days = [{"maps": torch.rand(3, 2, 17, 17) * 1000 + 101000, "season": torch.zeros(3, 4)}]
    outputs = model.outputs(days)
    single = [c.apply(z) for c, z in zip(model.calibrations, outputs.logits, strict=True)]
    np.testing.assert_allclose(outputs.calibrated, np.mean(single, axis=0))


def test_cross_validation_reports_every_day_once(pattern_config, tmp_path):
    splits = {"scheme": "blocked_cv", "block_years": 1}
    splits |= {"train": [], "validation": [], "test": []}
    config = pattern_config(
        tmp_path, data={"splits": splits}, train={"epochs": 1}, report={"cases": 0}
    )
    folder = train(config)
    table = DayTable.from_csv(folder / "probabilities_test.csv")
    assert len(table) == 3 * 365
    assert len(np.unique(table.times)) == len(table)
    assert len(PatternModel.load(folder).members) == 3
    assert {p.name for p in folder.glob("fold_*")} == {"fold_1", "fold_2", "fold_3"}


def test_annual_cycle_and_hierarchy_train_too(pattern_config, tmp_path):
    config = pattern_config(
        tmp_path,
        data={"anomaly": "climatology"},
        model={"backbone": "simple", "options": {}, "hierarchy": "head"},
        train={"epochs": 1},
        report={"cases": 1},
    )
    model = PatternModel.load(train(config))
    net = model.members[0]
    assert net.cycle.abs().max() > 0
    table = DayTable.from_csv(config.run.dir / "tiny" / "probabilities_test.csv")
    assert np.isfinite(table.raw).all()


def test_a_type_that_never_trained_is_warned_of_and_stays_undefined(
    pattern_config, tiny_pattern_store, tmp_path, caplog
):
    labels = tmp_path / "labels.csv"
    rows = (tiny_pattern_store.path / "labels.csv").read_text().splitlines()
    labels.write_text("\n".join("2003-01-01,U" if r.startswith("2003-01-01") else
                                r.replace(",U", ",A") for r in rows))  # fmt: skip
    caplog.set_level(logging.WARNING, "tenkizu")
    logging.getLogger("tenkizu").propagate = True
    settings = {"catalogue": "jc", "file": str(labels)}
    config = pattern_config(
        tmp_path,
        data={"store": tmp_path / "store"},
        labels=settings,
        train={"epochs": 1},
        report={"cases": 0},
    )
    folder = train(config)
    assert "no training day has U" in caplog.text
    thresholds = read(folder / "thresholds.json")
    place = thresholds["labels"].index("U")
    assert thresholds["status"][place] == "undefined"
    assert thresholds["thresholds"][place] is None
    scores = read(folder / "evaluation" / "validation" / "scores.json")
    assert scores["classes"]["U"]["ap"] is None
    assert scores["map_classes"] == 10


def test_labels_of_other_years_are_refused(pattern_config, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("date,label\n1991-01-01,W\n")
    settings = {"catalogue": "jc", "file": str(labels)}
    config = pattern_config(tmp_path, data={"store": tmp_path / "store"}, labels=settings)
    with pytest.raises(DataError, match=r"(?s)no day of the maps .*1991-01-01.*--labels"):
        train(config)


def test_history_channels_are_the_maps_of_the_day_before(pattern_config, tiny_pattern_store):
    from tenkizu.patterns.dataset import PatternDataset
    from tenkizu.patterns.inputs import Inputs

    config = pattern_config(tiny_pattern_store.path.parent, data={"history": ["msl"]})
    inputs = Inputs.of(config.data)
    assert inputs.names == ("msl", "grad_msl", "msl@-24h", "f1_season")
    days = open_days(config, tiny_pattern_store)
    dataset = PatternDataset(tiny_pattern_store, inputs, np.arange(3), days.targets)
    first, second = dataset[0]["maps"], dataset[1]["maps"]
    assert torch.isnan(first[2]).all()
    assert torch.equal(second[2], first[0])


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_a_damaged_checkpoint_is_named(pattern_config, tmp_path, content):
    config = pattern_config(tmp_path, train={"epochs": 1})
    folder = train(config)
    (folder / "last.ckpt").write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)last\.ckpt: cannot be resumed from.*--overwrite"):
        train(config, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_process_killed_at_any_moment_resumes_bit_for_bit(pattern_config, tmp_path, seed):
    settings = {"train": {"epochs": 8, "micro_batch": 16}, "report": {"cases": 1}}
    whole = train(pattern_config(tmp_path / "whole", **settings))
    config = pattern_config(tmp_path / "killed", **settings)
    text = tmp_path / "killed.yaml"
    text.write_text(dump_config(config))
    command = [sys.executable, "-m", "tenkizu", "patterns", "train", str(text), "--resume"]
    moment = np.random.default_rng(seed).uniform(3.0, 20.0)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    resumed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    folder = config.run.dir / "tiny"
    assert same_weights(whole, folder)
    for name in ("thresholds.json", "norm.json", "probabilities_test.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()

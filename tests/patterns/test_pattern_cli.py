"""`tenkizu patterns` as a user meets it: what it says, bad settings, failed trainings."""

import pytest
import torch
from refusals import refusal, run
from short_runs import ATLANTIC

from tenkizu.patterns.module import PatternModule

pytestmark = pytest.mark.usefixtures("no_figures")

COMMANDS = ("prepare", "train", "compare", "evaluate", "predict", "report", "label-jc")

# Commands and what they say when all is well.


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_and_a_plain_function(name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "--help" in out
    import tenkizu.patterns

    if name not in ("compare", "label-jc"):
        assert getattr(tenkizu.patterns, name).__doc__


def test_prepare_says_what_the_store_holds(yaml, tiny_pattern_store):
    code, out, err = run("prepare", yaml)
    assert code == 0, err
    assert f"store: {tiny_pattern_store.path}" in out
    assert "days: 1095, 2001-01-01T00:00 to 2003-12-31T00:00 UTC" in out
    assert "maps: msl, grad_msl" in out


def test_a_dry_run_of_train_says_what_would_be_done(yaml, tmp_path):
    code, out, err = run("train", yaml, "--dry-run", "train.members=3")
    assert code == 0, err
    assert "channels     3: msl, grad_msl, f1_season" in out
    assert "types        jc: A C N NE E SE S SW W NW U" in out
    assert "train        2001-01-01 to 2001-12-31" in out
    assert "test         2003-01-01 to 2003-12-31" in out
    assert "network      projection, 7,595 parameters, 3 member(s)" in out
    assert "up to 1 epochs of batches of 64" in out
    assert not (tmp_path / "runs").exists()
    # Before the store is there.
    code, out, err = run("train", yaml, "--dry-run", f"data.store={tmp_path / 'none'}")
    assert code == 0, err
    assert "size known after prepare" in out
    splits = "data.splits={scheme: blocked_cv, block_years: 1}"
    code, out, err = run("train", yaml, "--dry-run", splits)
    assert "cross-validation over blocks of 1 years" in out, err


def test_train_shows_scores_beside_baselines_and_can_be_resumed(yaml, tmp_path):
    code, out, err = run("train", yaml)
    assert code == 0, err
    for word in ("validation: 365 days", "test: 365 days", "climatology", "yes every day"):
        assert word in out
    assert "decisions held-out" in out
    folder = tmp_path / "runs" / "tiny"
    assert f"run folder: {folder}" in out.replace("\n", "")
    weights = (folder / "model.safetensors").read_bytes()
    message = refusal(2, "train", yaml)
    assert f"{folder}: the run folder holds a run already" in message
    assert "--resume" in message
    message = refusal(2, "train", yaml, "train.lr=0.5", "--resume")
    assert "the configuration differs from the one this run began with; found lr: 0.5" in message
    (folder / "model.json").unlink()
    message = refusal(3, "predict", folder, ATLANTIC, "-o", tmp_path / "out.csv")
    assert "the run has no exported model yet" in message
    assert "train CONFIG --resume" in message
    code, _, err = run("train", yaml, "--resume")
    assert code == 0, err
    assert (folder / "model.safetensors").read_bytes() == weights
    assert (folder / "model.json").exists()


def test_evaluate_and_report_say_where_to_look(tiny_pattern_run, tiny_pattern_store, tmp_path):
    out = tmp_path / "scores"
    arguments = [tiny_pattern_run, tiny_pattern_store.path, "-o", out, "--days", "2003/2003"]
    code, said, err = run("evaluate", *arguments)
    assert code == 0, err
    assert "mAP over 11 of 11 types; decisions held-out" in said
    assert str(out / "scores.json") in said.replace("\n", "")
    code, said, err = run("report", tiny_pattern_run, "-o", tmp_path / "page.html")
    assert (code, said) == (0, f"written: {tmp_path / 'page.html'}\n"), err
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
    message = refusal(3, "report", tmp_path)
    assert str(tmp_path) in message


# Configuration: exit code 2.


def test_unknown_and_misspelt_keys_name_the_nearest(yaml):
    message = refusal(2, "train", yaml, "train.epoch=3")
    assert "train.epoch: unknown key; did you mean train.epochs?" in message
    text = yaml.read_text()
    yaml.write_text(text.replace("backbone:", "backbones:"))
    line = text.splitlines().index("  backbone: projection") + 1
    message = refusal(2, "prepare", yaml)
    assert f"{yaml}, line {line}: model.backbones: unknown key" in message
    assert "did you mean model.backbone?" in message
    yaml.write_text(text + "thresholdz: {}\n")
    assert "thresholdz: unknown key; did you mean thresholds?" in refusal(2, "compare", yaml)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.select=val_f1", "train.select: wrong value; found 'val_f1', expected 'val_map' or"),
        ("train.micro_batch=7", "train.micro_batch: must divide batch_size, which is 64"),
        ("data.channels=[msl,grad_mls]", "grad_mls"),
        (
            "data.history=[f1_season]",
            "data.history: only maps that the network sees have a",
        ),
        ("model.backbone=simpel", "model.backbone: unknown network; found simpel"),
        ("model.options={patern: 3}", "projection has no such option; found patern"),
        ("loss.pos_weight=[1,2]", "loss.pos_weight: one weight a type is needed; found 2 weights"),
        ("labels.catalogue=mine", "catalogue mine needs types and file"),
        ("labels.centre=null", "catalogue jc needs centre"),
        ("data.splits.train=[2001/2002]", "a validation period and a train period overlap"),
        ("data.splits.train=[2001/2000]", "'2001/2000' ends before it begins"),
        ("data.splits.scheme=years", "scheme years brings its own periods"),
    ],
)
def test_wrong_settings_name_key_value_and_what_is_right(yaml, override, message):
    said = refusal(2, "train", yaml, override)
    assert message in said
    assert "Traceback" not in said


# Training: exit code 5.


def test_out_of_memory_advises_a_smaller_micro_batch(yaml, monkeypatch):
    def no_memory(self, batch, batch_idx):
        raise torch.OutOfMemoryError("tried to allocate 20.00 GiB")

    monkeypatch.setattr(PatternModule, "training_step", no_memory)
    message = refusal(5, "train", yaml)
    assert "out of memory with 64 samples at a time: tried to allocate 20.00 GiB" in message
    assert "next: set train.micro_batch=32" in message


def test_a_loss_that_is_not_finite_stops_the_run(yaml):
    message = refusal(5, "train", yaml, "train.lr=1e30", "train.clip_norm=off", "train.epochs=3")
    assert "steps in a row were not finite" in message
    assert "train.lr" in message

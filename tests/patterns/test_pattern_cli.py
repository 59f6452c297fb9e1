"""`tenkizu patterns` as a user meets it: every bad input is one message with its own exit code."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from era5_files import days_of, edit, region, truncate, write_file
from short_runs import ATLANTIC, atlantic, command, moved, undrawn, written

from tenkizu.patterns.catalogues import JC
from tenkizu.patterns.labels import read_labels
from tenkizu.patterns.module import PatternModule

COMMANDS = ("prepare", "train", "compare", "evaluate", "predict", "report", "label-jc")
DAYS = days_of(2001, 6)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    undrawn(monkeypatch)


def run(*arguments):
    return command("patterns", *arguments)


def refusal(code, *arguments):
    """The message of a command that ends with an exit code, one line and a next step."""
    found, out, err = run(*arguments)
    assert found == code, (out, err)
    assert "Traceback" not in err
    assert err.count("error: ") == 1
    return err[err.index("error: ") :]


@pytest.fixture
def yaml(pattern_config, tiny_pattern_store, tmp_path):
    """The tiny run in a folder of its own."""
    config = pattern_config(tmp_path, train={"epochs": 1}, report={"cases": 0})
    return written(config, tmp_path / "tiny.yaml")


@pytest.fixture
def msl(tmp_path):
    """A good ERA5 file of six days, to be broken."""
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), DAYS)
    return path


@pytest.fixture
def prepare(tmp_path):
    """Runs `prepare` on files: prepare(code, files, "data.hours=[12]")."""
    yaml = tmp_path / "prepare.yaml"
    yaml.write_text(
        "kind: patterns\n"
        "run: {name: bad}\n"
        f"data: {{files: [], channels: [msl], store: {tmp_path / 'store'}}}\n"
    )

    def call(code, files, *overrides):
        listed = f"data.files=[{','.join(map(str, files))}]"
        message = refusal(code, "prepare", yaml, listed, *overrides)
        assert not (tmp_path / "store").exists()
        return message

    return call


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


# Files: exit code 3.


def test_files_that_are_absent_damaged_or_something_else(msl, prepare, tmp_path):
    message = prepare(3, [tmp_path / "absent.nc"])
    assert f"{tmp_path / 'absent.nc'}: no such file" in message
    truncate(msl)
    message = prepare(3, [msl])
    assert f"{msl}: damaged or truncated" in message
    assert f"found {msl.stat().st_size} bytes" in message
    msl.write_text("<html>Service unavailable</html>")
    assert "not a NetCDF file; found an HTML or XML page of 32 bytes" in prepare(3, [msl])


def test_missing_variable_level_and_day(msl, prepare, tmp_path):
    z = tmp_path / "z.nc"
    write_file(z, ("z500",), DAYS)
    channels = "data.channels=[msl,thk_1000_500,t850]"
    message = prepare(3, [msl, z], channels)
    assert "msl.nc, z.nc: z1000, t850: the files do not hold the fields of all channels" in message
    assert "expected thk_1000_500 (needs z1000), t850 (needs t850)" in message
    assert "data.drop=[thk_1000_500,t850]" in message
    write_file(z, ("z500",), DAYS[:-2])
    message = prepare(3, [msl, z], "data.channels=[msl,gh500]")
    assert f"{z}: z: missing days that other fields have; found 4 of 6" in message
    assert "missing 2001-01-05, 2001-01-06" in message
    assert "tenkizu patterns download CONFIG" in message


def test_a_missing_day_of_a_downloaded_year(prepare, tmp_path):
    days = days_of(2001)
    file = tmp_path / "era5_msl_2001.nc"
    write_file(file, ("msl",), np.delete(days, 58), grid=10.0)
    source = ["data.source=era5", f"data.raw_dir={tmp_path}", "data.years=[2001]"]
    message = prepare(3, [], *source)
    assert f"{file}: msl: missing days; found 364 of 365, missing 2001-02-28" in message
    assert "tenkizu patterns download CONFIG" in message
    message = prepare(3, [], *source, "data.channels=[msl,t850]")
    assert "missing files; found 1 of 2, missing era5_t_850_2001.nc" in message


def test_duplicate_times(msl, prepare, tmp_path):
    again = shutil.copy(msl, tmp_path / "again.nc")
    message = prepare(3, [msl, again])
    assert f"{again}: msl: duplicate times; found 2001-01-01" in message
    assert "expected 6 different times" in message


def test_grids_that_differ_within_the_data(msl, prepare, tmp_path):
    lat, lon = region(2.5)
    other = tmp_path / "t.nc"
    write_file(other, ("t850",), DAYS, (lat - 2.5, lon))
    message = prepare(3, [msl, other], "data.channels=[msl,t850]")
    assert f"{other}: t: another grid than msl in msl.nc" in message
    assert "latitude 0 is 52.5, not 55" in message


def test_wrong_and_missing_units(msl, prepare, tmp_path):
    edit(msl, "msl", units="hPa")
    message = prepare(3, [msl])
    assert f"{msl}: msl: wrong units; found 'hPa', values" in message
    assert "expected Pa" in message
    edit(msl, "msl", units=None)
    assert "msl: no units" in prepare(3, [msl])
    z = tmp_path / "z.nc"
    write_file(msl, ("msl",), DAYS)
    write_file(z, ("z500",), DAYS)
    edit(z, "z", units="m")
    message = prepare(3, [msl, z], "data.channels=[msl,gh500]")
    assert f"{z}: z: wrong units; found 'm', values 5" in message
    assert "expected m2 s-2" in message


def test_values_that_are_not_finite(msl, prepare):
    edit(msl, "msl", at=(3, 2, slice(4, 9)), value=np.nan)
    message = prepare(3, [msl])
    assert f"{msl}: msl: non-finite values; found 5 in 1 of 6 maps read" in message
    assert "first on 2001-01-04" in message
    assert "data.drop" in message


def test_maps_of_other_hours(msl, prepare, tmp_path):
    write_file(msl, ("msl",), DAYS + np.timedelta64(6, "h"))
    message = prepare(3, [msl])
    assert f"{msl}: msl: no map at 00 UTC; found hours 06 UTC, expected 00 UTC" in message
    assert "data.hours" in message


@pytest.mark.parametrize(
    ("line", "where", "message"),
    [
        ("2001-01-03,7Z", 3, "label: unknown type '7Z'; found '7Z', expected one of A, C, N"),
        ("2001-01-03,nw", 3, "did you mean NW?"),
        ("2001-01-03,A+C+W", 3, "label: more than two types; found 'A+C+W'"),
        ("2001-01-03,U+W", 3, "label: U can only stand alone"),
        ("2001-01-01,W", 3, "the date 2001-01-01 comes twice"),
        ("2001-02-30,W", 3, "not a date; found '2001-02-30'"),
        ("2001-01-03", 3, "too few columns"),
    ],
)
def test_labels_that_cannot_be_read_name_file_and_line(yaml, tmp_path, line, where, message):
    labels = tmp_path / "labels.csv"
    labels.write_text(f"date,label\n2001-01-01,A\n{line}\n")
    said = refusal(3, "train", yaml, f"labels.file={labels}", f"data.store={tmp_path / 's'}")
    assert f"{labels}, line {where}: " in said
    assert message in said


def test_splits_without_a_labelled_day(yaml, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("date,label\n2001-01-01,A\n2001-01-02,W\n")
    settings = [f"labels.file={labels}", f"data.store={tmp_path / 'store'}"]
    message = refusal(3, "train", yaml, *settings)
    assert f"{labels}: data.splits.validation: no labelled day in a split" in message
    assert "found maps of 2002: 365" in message
    labels.write_text("date,label\n1991-01-01,A\n")
    message = refusal(3, "train", yaml, *settings, "--overwrite")
    assert "no day of the maps is labelled; found labels from 1991-01-01 to 1991-01-01" in message
    assert "expected labels for 2001-01-01 to 2003-12-31" in message
    settings[0] = "labels.file=absent.csv"
    assert "absent.csv: no such file" in refusal(3, "train", yaml, *settings, "--overwrite")


def test_splits_without_a_day(yaml):
    message = refusal(3, "train", yaml, "data.splits.test=[2009/2010]")
    assert "data.splits.test: an empty split; found no day in 2009/2010" in message
    assert "2001: 365, 2002: 365, 2003: 365" in message
    splits = "data.splits={scheme: blocked_cv, block_years: 2}"
    message = refusal(3, "train", yaml, splits, "run.name=cv")
    assert "too few years for cross-validation; found 1 blocks of 2 years" in message


def test_a_type_without_training_days_is_warned_of(yaml, tiny_pattern_store, tmp_path):
    labels = tmp_path / "labels.csv"
    lines = (tiny_pattern_store.path / "labels.csv").read_text().splitlines()
    lines = [line.replace(",U", ",A") for line in lines if not line.startswith("2003-01-01")]
    labels.write_text("\n".join([*lines, "2003-01-01,U"]))
    settings = [f"labels.file={labels}", f"data.store={tmp_path / 'store'}"]
    code, out, err = run("train", yaml, *settings)
    assert code == 0, err
    assert "no training day has U: the model cannot know them, they stay undefined" in err
    assert "undefined" in out
    assert "mAP over 11 of 11 types" in out  # of the test, where U has its one day


def test_a_model_and_data_of_different_channels(tiny_pattern_run, pattern_config, tmp_path):
    other = {"channels": ["msl", "lap_msl"], "store": tmp_path / "s"}
    config = pattern_config(tmp_path, data=other)
    code, _, err = run("prepare", written(config, tmp_path / "other.yaml"))
    assert code == 0, err
    message = refusal(3, "evaluate", tiny_pattern_run, tmp_path / "s", "-o", tmp_path / "out")
    assert f"{tmp_path / 's'}: the model's channels are not all there: grad_msl missing" in message
    assert "found msl, lap_msl, expected msl, grad_msl" in message
    axes = np.arange(70.0, 29.0, -2.5), np.arange(-30.0, 11.0, 2.5)
    write_file(tmp_path / "t.nc", ("t850", "q850"), DAYS, axes)
    message = refusal(3, "predict", tiny_pattern_run, tmp_path / "t.nc", "-o", tmp_path / "o.csv")
    assert "found t850, q850" in message or "found q850, t850" in message
    assert "expected msl (needs msl), grad_msl (needs msl)" in message


def test_models_of_another_format_kind_or_content(tiny_pattern_run, tmp_path):
    def changed(name, **values):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(tiny_pattern_run / "model.safetensors", folder)
        data = json.loads((tiny_pattern_run / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(data | values))
        return refusal(3, "predict", folder, ATLANTIC, "-o", tmp_path / "out.csv")

    message = changed("newer", format_version=99)
    assert "model.json: not a model this version can read" in message
    assert "found format tenkizu-model, version 99" in message
    assert "expected format tenkizu-model, version 1" in message
    message = changed("rain", kind="rain")
    assert "a model of the other system; found rain, expected patterns" in message
    message = changed("damaged", weights_sha256="0" * 64)
    assert "model.safetensors: damaged, or from another model" in message
    message = changed("changed", members=[])
    assert "model.json: " in message
    assert "0 members, 1 calibrations" in message
    assert "copy the whole model folder again" in message
    message = refusal(3, "predict", tmp_path / "absent", ATLANTIC, "-o", tmp_path / "out.csv")
    assert "no such model" in message
    assert not (tmp_path / "out.csv").exists()


def test_a_store_that_is_none_or_of_rain(tiny_pattern_run, tiny_pattern_store, tmp_path):
    message = refusal(3, "evaluate", tiny_pattern_run, tmp_path, "-o", tmp_path / "out")
    assert str(tmp_path) in message
    other = shutil.copytree(tiny_pattern_store.path, tmp_path / "rain")
    meta = json.loads((other / "store.json").read_text())
    (other / "store.json").write_text(json.dumps(meta | {"kind": "rain"}))
    message = refusal(3, "evaluate", tiny_pattern_run, other, "-o", tmp_path / "out")
    assert "a store of the other system; found rain, expected patterns" in message


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


# label-jc.


def test_label_jc_writes_date_and_label(tmp_path):
    out = tmp_path / "new" / "labels.csv"
    code, said, err = run("label-jc", ATLANTIC, "--centre", "55,-5", "-o", out)
    assert code == 0, err
    assert said == f"written: {out}, 3652 days, 27 types\n"
    with out.open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == ["date", "label"]
    label_of = dict(rows[1:])
    assert label_of["2005-01-08"] == "W"
    assert label_of["2003-08-06"] == "U"
    assert "C+SW" in label_of.values()
    days = np.arange("2001-01-01", "2011-01-01", dtype="datetime64[D]")
    targets, known = read_labels(out, JC).on_days(days)
    assert known.all()
    counts = (1169, 949, 214, 93, 96, 142, 313, 541, 581, 340, 77)
    assert tuple(targets.sum(axis=0)) == counts
    assert (targets.sum(axis=1) == 2).sum() == 863


def test_label_jc_of_other_hours_and_constants(tmp_path):
    file = moved(atlantic(tmp_path / "m.nc", "2001-01-01", "2001-12-31"), 12)
    out = tmp_path / "labels.csv"
    message = refusal(3, "label-jc", file, "--centre", "55,-5", "-o", out)
    assert "no map at 00 UTC; found hours 12 UTC" in message
    code, _, err = run("label-jc", file, "--centre", "55,355", "--hour", 12, "-o", out)
    assert code == 0, err
    exact = out.read_text()
    assert run("label-jc", file, "--centre", "55,-5", "--hour", 12, "--rounded", "-o", out)[0] == 0
    changed = [a != b for a, b in zip(exact.split(), out.read_text().split(), strict=True)]
    assert sum(changed) < 5
    wide = ["--u-limit", "1000"]
    assert run("label-jc", file, "--centre", "55,-5", "--hour", 12, *wide, "-o", out)[0] == 0
    labels = [line.partition(",")[2] for line in out.read_text().split()[1:]]
    assert labels == ["U"] * 365


def test_label_jc_refuses_what_it_cannot_label(msl, tmp_path):
    def refused(code, centre, *options, file=ATLANTIC):
        out = tmp_path / "out.csv"
        message = refusal(code, "label-jc", file, "--centre", centre, "-o", out, *options)
        assert not out.exists()
        return message

    for centre in ("55", "55,west", "55;-5", "1,2,3"):
        message = refused(2, centre)
        assert f"--centre: not a point; found {centre}, expected LAT,LON" in message
    assert "found latitude 80, expected more than 15 and less than 75" in refused(2, "80,-5")
    message = refused(3, "56,-5")
    assert "points around the centre are not on the grid" in message
    assert "p1 (66 N, 10 W)" in message
    message = refused(3, "55,5")
    assert "the grid does not reach all 16 points around the centre" in message
    assert "p6 (60 N, 20 E)" in message
    assert "absent.nc: no such file" in refused(3, "55,-5", file=tmp_path / "absent.nc")
    edit(msl, "msl", units="hPa")
    assert "wrong units; found 'hPa'" in refused(3, "35,135", file=msl)
    before = msl.read_bytes()
    message = refusal(2, "label-jc", msl, "--centre", "35,135", "-o", msl)
    assert "the output is the input file" in message
    assert msl.read_bytes() == before
    z = tmp_path / "z.nc"
    write_file(z, ("z500",), DAYS)
    assert "msl: no such field in these files" in refused(3, "35,135", file=z)
    code, said, err = run(
        "label-jc", ATLANTIC, "--centre", "56,-5", "--interpolate",
        "-o", tmp_path / "out.csv",
    )  # fmt: skip
    assert (code, "3652 days" in said) == (0, True), err

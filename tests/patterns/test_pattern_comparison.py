"""`compare`: backbones, seeds and settings in one table, run again only where it must be."""

import csv
import json
import re

import numpy as np
import pytest
from short_runs import command, undrawn, written

from tenkizu.core.errors import TenkizuError
from tenkizu.patterns import comparison
from tenkizu.patterns.comparison_text import comparison_text
from tenkizu.patterns.verification.days import DayTable
from tenkizu.patterns.verification.scores import paired_difference

pytestmark = pytest.mark.usefixtures("no_figures")

COLUMNS = [
    "backbone", "seed", "settings", "parameters", "best_epoch", "best_val_loss", "best_val_map",
    "map_low", "map_high", "macro_f1", "weighted_f1", "difference_to_best", "difference_low",
    "difference_high", "seconds", "out_dir",
]  # fmt: skip
NUMBERS = [*COLUMNS[5:11], "seconds"]
CHOICES = ["--backbones", "projection", "--seeds", "1,2", "--grid", "loss.kind=bce,focal"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def yaml(pattern_config, tiny_pattern_store, place):
    """What all runs share."""
    config = pattern_config(place, run={"name": "ablation"}, train={"epochs": 1})
    return written(config, place / "compare.yaml")


@pytest.fixture(scope="module")
def compared(yaml, place):
    """Two seeds with two losses, trained: exit code, output, messages, folder of the tables."""
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        result = command("patterns", "compare", yaml, *CHOICES)
    assert result[0] == 0, result[2]
    return *result, place / "runs" / "ablation"


@pytest.fixture(scope="module")
def rows(compared):
    """The table after that."""
    return table_of(compared[-1])


def table_of(folder):
    with (folder / "compare.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def trained(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/model.json")}


def test_a_dry_run_lists_the_runs_and_writes_nothing(yaml, pattern_config, tmp_path):
    config = written(pattern_config(tmp_path, run={"name": "later"}), tmp_path / "later.yaml")
    code, out, err = command("patterns", "compare", config, *CHOICES, "--dry-run")
    assert code == 0, err
    lines = out.splitlines()
    assert len(lines) == 4
    assert all(re.search(r"later/projection_[0-9a-f]{12}  to train$", line) for line in lines)
    assert len(set(lines)) == 4
    assert not (tmp_path / "runs").exists()
    code, out, _ = command("patterns", "compare", config, "--dry-run")
    names = [line.split("later/")[1].rsplit("_", 1)[0] for line in out.splitlines()]
    assert names == ["simple", "resnet_small", "deformable", "convnext_tiny"]


def test_every_combination_is_trained_and_has_a_row(compared, rows):
    code, out, err, folder = compared
    assert code == 0, err
    assert "tables: " in out
    assert list(rows[0]) == COLUMNS
    runs = rows[:4]
    assert [(row["seed"], row["settings"]) for row in runs] == [
        ("1", "loss.kind=bce"), ("2", "loss.kind=bce"),
        ("1", "loss.kind=focal"), ("2", "loss.kind=focal"),
    ]  # fmt: skip
    assert {row["out_dir"] for row in runs} == {str(folder / name) for name in trained(folder)}
    for row in runs:
        scores = read(folder / row["out_dir"] / "evaluation" / "validation" / "scores.json")
        history = read(folder / row["out_dir"] / "history.json")
        assert row["best_val_map"] == f"{scores['map']:.6f}"
        assert row["macro_f1"] == f"{scores['macro_f1']:.6f}"
        assert row["weighted_f1"] == f"{scores['averages']['weighted']['f1']:.6f}"
        assert row["best_val_loss"] == f"{history['val_loss'][0]:.6f}"
        # Three planes of 17 x 17 cells on 8 patterns, 32 hidden units, 11 types.
        size = (3 * 17 * 17 + 1) * 8 + (8 + 1) * 32 + (32 + 1) * 11
        assert (row["parameters"], row["best_epoch"]) == (str(size), "1")
        assert float(row["map_low"]) < float(row["best_val_map"]) < float(row["map_high"])
        config = (folder / row["out_dir"] / "config.yaml").read_text()
        assert f"seed: {row['seed']}" in config
        assert f"kind: {row['settings'].partition('=')[2]}" in config


def test_the_screen_shows_it_in_80_columns(compared, rows):
    shown = compared[1].partition("tables: ")[0].splitlines()
    assert max(len(line) for line in shown) <= 80
    for settings, runs in (("loss.kind=bce", rows[:2]), ("loss.kind=focal", rows[2:4])):
        first = next(i for i, line in enumerate(shown) if settings in line)
        assert re.fullmatch(rf"projection {settings} \([\d,]+ parameters\)", shown[first])
        for line, row in zip(shown[first + 1 : first + 3], runs, strict=True):
            score, low, high = (float(row[k]) for k in ("best_val_map", "map_low", "map_high"))
            said = f"{score:.3f} [{low:.3f}, {high:.3f}]"
            assert line.startswith(f"  {row['seed']} ")
            assert said in line
        assert shown[first + 3].startswith("  mean ")
        assert shown[first + 4].startswith("  sd ")
    assert shown[-4] == "baselines"
    assert shown[-3].split() == ["(prevalence)", f"{float(rows[-3]['best_val_map']):.3f}"]


def test_long_names_and_settings_are_wrapped():
    row = {
        "backbone": "timm:convnextv2_atto.fcmae_ft_in1k", "seed": 12345, "best_epoch": 100,
        "settings": "loss.kind=focal train.lr=0.0003 data.channels=[msl,gh500,t850] loss.gamma=1.5",
        "parameters": 123_456_789, "best_val_map": 0.5, "map_low": 0.4, "map_high": 0.6,
        "macro_f1": 0.25, "difference_to_best": -0.1, "difference_low": -0.2,
        "difference_high": 0.0, "seconds": 123_456.7,
    }  # fmt: skip
    failed = {"backbone": "simple", "seed": 1, "settings": "", "error": "out of memory"}
    lines = comparison_text([row, failed]).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert lines[1] == "timm:convnextv2_atto.fcmae_ft_in1k loss.kind=focal train.lr=0.0003"
    assert lines[2] == "    data.channels=[msl,gh500,t850] loss.gamma=1.5 (123,456,789 parameters)"
    numbers = "0.500 [0.400, 0.600] 0.250 -0.100 [-0.200, 0.000] 123457"
    assert " ".join(lines[3].split()) == f"12345 100 {numbers}"
    assert lines[4] == "simple"
    assert lines[5].split() == ["1", "failed"]


def test_numbers_have_six_decimals_and_absent_ones_are_na(rows):
    for row in rows:
        for name in (*NUMBERS, "difference_to_best", "difference_low", "difference_high"):
            assert row[name] == "NA" or re.fullmatch(r"-?\d+\.\d{6}", row[name]), (name, row[name])
    for row in rows[-3:]:
        others = [name for name in COLUMNS if name not in ("backbone", "best_val_map")]
        assert {row[name] for name in others} == {"NA"}


def test_baselines_are_rows(compared, rows):
    assert [row["backbone"] for row in rows[-3:]] == [
        "(prevalence)", "(climatology)", "(persistence)",
    ]  # fmt: skip
    folder = compared[-1] / rows[0]["out_dir"]
    scores = read(folder / "evaluation" / "validation" / "scores.json")
    for row in rows[-3:]:
        found = scores["baselines"][row["backbone"].strip("()")]["map"]
        assert row["best_val_map"] == f"{found:.6f}"


def test_mean_and_deviation_over_the_seeds(rows):
    for settings, runs in (("loss.kind=bce", rows[:2]), ("loss.kind=focal", rows[2:4])):
        mean, deviation = (
            next(row for row in rows if (row["seed"], row["settings"]) == (name, settings))
            for name in ("mean", "sd")
        )
        for name in ("best_val_map", "best_val_loss", "macro_f1", "weighted_f1", "seconds"):
            a, b = (float(row[name]) for row in runs)
            assert float(mean[name]) == pytest.approx((a + b) / 2, abs=2e-6)
            assert float(deviation[name]) == pytest.approx(abs(a - b) / np.sqrt(2), abs=2e-6)
        assert mean["backbone"] == deviation["backbone"] == "projection"
        assert mean["parameters"] == "NA"


def test_differences_are_to_the_best_and_paired(compared, rows):
    runs = rows[:4]
    best = max(runs, key=lambda row: float(row["best_val_map"]))
    for row in runs:
        if row is best:
            assert row["difference_to_best"] == "NA"
            continue
        gap = float(row["best_val_map"]) - float(best["best_val_map"])
        assert gap <= 0
        assert float(row["difference_to_best"]) == pytest.approx(gap, abs=2e-6)
        own, reference = (
            DayTable.from_csv(compared[-1] / one["out_dir"] / "probabilities_validation.csv")
            for one in (row, best)
        )
        found = paired_difference(own, reference)["map"]
        assert row["difference_low"] == f"{found['low']:.6f}"
        assert row["difference_high"] == f"{found['high']:.6f}"
        # Pairing the days makes the interval narrower than the two that it compares.
        width = float(row["map_high"]) - float(row["map_low"])
        assert found["high"] - found["low"] < 1.5 * width


def test_the_json_file_holds_the_same(compared, rows):
    found = read(compared[-1] / "compare.json")
    assert found["columns"] == COLUMNS
    assert len(found["rows"]) == len(rows) == 4 + 2 * 2 + 3
    assert found["rows"][0]["provenance"] == "cross-fitted"


def test_finished_runs_are_used_again_and_stale_ones_not_shown(compared, yaml):
    folder = compared[-1]
    before = trained(folder)
    code, out, _ = command("patterns", "compare", yaml, *CHOICES, "--dry-run")
    assert [line.split("  ")[1] for line in out.splitlines()] == ["trained"] * 4
    code, out, err = command("patterns", "compare", yaml, *CHOICES)
    assert code == 0, err
    assert err.count("is trained already") == 4
    assert trained(folder) == before
    # Fewer choices: the folders of the others stay, the table shows none of them.
    less = ["--backbones", "projection", "--seeds", "2", "--grid", "loss.kind=focal"]
    code, out, err = command("patterns", "compare", yaml, *less)
    assert code == 0, err
    rows = table_of(folder)
    assert [row["seed"] for row in rows] == ["2", "NA", "NA", "NA"]
    assert trained(folder) == before
    # A changed setting is another run.
    code, out, _ = command("patterns", "compare", yaml, "train.lr=1e-4", *less, "--dry-run")
    assert out.endswith("to train\n")


def test_an_unfinished_run_is_not_taken_for_a_finished_one(compared, yaml, rows):
    folder = compared[-1]
    name = rows[0]["out_dir"]
    (folder / name / "model.json").rename(folder / name / "model.json.away")
    chosen = ["--backbones", "projection", "--seeds", "1", "--grid", "loss.kind=bce"]
    code, out, _ = command("patterns", "compare", yaml, *chosen, "--dry-run")
    assert out.endswith("to train\n")
    code, _, err = command("patterns", "compare", yaml, *chosen)
    assert code == 0, err
    again = table_of(folder)[0]
    # Resumed from its last epoch: the same network as before.
    assert {k: again[k] for k in COLUMNS if k not in ("seconds", "difference_to_best")} == {
        k: rows[0][k] for k in COLUMNS if k not in ("seconds", "difference_to_best")
    } | {"difference_low": "NA", "difference_high": "NA"}


def test_a_failing_run_loses_no_other(pattern_config, tmp_path):
    yaml = written(
        pattern_config(tmp_path, run={"name": "some"}, train={"epochs": 1}), tmp_path / "some.yaml"
    )
    # `simple` knows no option hidden, which the file sets.
    code, out, err = command("patterns", "compare", yaml, "--backbones", "simple,projection")
    assert code == 1
    assert "error: 1 of 2 runs failed; found simple_" in err
    assert "simple has no such option" in err
    assert "failed" in out
    simple, projection, *baselines = table_of(tmp_path / "runs" / "some")
    assert simple["best_val_map"] == simple["parameters"] == "NA"
    assert float(projection["best_val_map"]) > 0
    assert len(baselines) == 3
    found = read(tmp_path / "runs" / "some" / "compare.json")
    assert "simple has no such option" in found["rows"][0]["error"]


@pytest.mark.parametrize("error", [RuntimeError("no such operator"), TenkizuError("bad")])
def test_whatever_a_run_dies_of_the_table_is_written(
    compared, yaml, rows, monkeypatch, tmp_path, error
):
    def dying(*_, **__):
        raise error

    monkeypatch.setattr(comparison, "train", dying)
    chosen = ["--backbones", "projection", "--seeds", "2,3", "--grid", "loss.kind=bce"]
    code, _, err = command("patterns", "compare", yaml, *chosen)
    assert code == 1
    assert f"failed: {error}" in err
    two, three, *_ = table_of(compared[-1])
    assert two["best_val_map"] == rows[1]["best_val_map"]
    assert three["best_val_map"] == "NA"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "1,x"], "--seeds: not whole numbers; found 1,x, expected such as 1,2,3"),
        (["--grid", "loss.kind"], "--grid: cannot be read; found loss.kind, expected key=value"),
        (["--grid", "loss.kinds=bce"], "unknown key; did you mean loss.kind?"),
        (["--grid", "loss.kind=bce,focus"], "loss.kind: wrong value; found 'focus'"),
    ],
)
def test_choices_that_cannot_be_read(yaml, place, options, message):
    before = trained(place / "runs" / "ablation")
    code, _, err = command("patterns", "compare", yaml, "--backbones", "projection", *options)
    assert code == 2
    assert message in err
    assert trained(place / "runs" / "ablation") == before

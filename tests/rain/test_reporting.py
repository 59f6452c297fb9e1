import base64
import json
import re

import numpy as np
import pytest
from option_networks import export_network

from report_page import DOT, Page
from tenkizu.core.errors import DataError
from tenkizu.rain import report
from tenkizu.rain.config import PlotsConfig
from tenkizu.rain.evaluation import evaluate_store


def events(hits, misses, false_alarms):
    return {
        "hits": hits,
        "misses": misses,
        "probability_of_detection": hits / (hits + misses),
        "success_ratio": hits / (hits + false_alarms),
        "critical_success_index": hits / (hits + misses + false_alarms),
        "equitable_threat_score": None,
        "frequency_bias": (hits + false_alarms) / (hits + misses),
        "f1_score": 0.5,
        "accuracy": 0.9,
    }


CLASSES = {"accuracy": 0.9, "support": [90, 10], "precision": [0.95, None], "recall": [0.97, 0.3]}


def old_scores(skill):
    """``scores.json`` as the first version wrote it, with what the page needs."""
    methods = {"model": skill, "equal": 0.0, "linear": 0.17}
    return {
        "data": "store, test",
        "n_windows": 16,
        "n_cells": 1000,
        "n_cells_conditional": 400,
        "rmse_1h": dict.fromkeys(methods, 1.25),
        "mae_1h": dict.fromkeys(methods, 0.5),
        "mse_skill_by_method": {"all": methods, "conditional": methods},
        "max_relative_sum_error": 1.5e-7,
        "binary_hourly": {m: {"pooled": {"1": events(30, 10, 20)}} for m in methods},
        "categories_hourly": {"edges_mm": [0.0, 5.0]}
        | {m: {"all": CLASSES, "conditional": CLASSES} for m in methods},
    }


HISTORY = {
    "epoch": [1, 2],
    "train_loss": [1.0, 0.9],
    "val_loss": [1.0, 0.8],
    "val_rmse_1h": [1.0, 0.9],
    "val_skill": [0.1, 0.2],
    "best_epoch": 2,
}

CONFIG = """kind: rain
run:
  name: older
  on_finish: null
data:
  splits:
    validation: [2023-06-02/2023-06-02]
    test: [2023-06-03/2023-06-03]
"""

MODEL = {
    "name": "older <run>",
    "parameters": 1234567,
    "weights_sha256": "0123456789abcdef",
    "channels": [{"name": "S"}, {"name": "P"}],
    "trained_on": {"files": ["rain.nc"]},
    "chosen_by": {"quantity": "val_skill", "on": "validation", "epoch": 2, "value": 0.2},
    "versions": {"tenkizu": "0.1.0"},
}


@pytest.fixture
def run(tmp_path):
    """A finished run of the first version."""
    folder = tmp_path / "run"
    for split, skill in (("validation", 0.22), ("test", 0.31)):
        (folder / "evaluation" / split).mkdir(parents=True)
        path = folder / "evaluation" / split / "scores.json"
        path.write_text(json.dumps(old_scores(skill)))
        (folder / "evaluation" / split / "performance.png").write_bytes(DOT)
    (folder / "loss_curve.png").write_bytes(DOT)
    (folder / "history.json").write_text(json.dumps(HISTORY))
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "model.json").write_text(json.dumps(MODEL))
    (folder / "run.log").write_text(
        "2026-01-01 INFO training rain: max S 1.0 mm\n2026-01-02 INFO training rain: max S 99 mm\n"
    )
    return folder


@pytest.fixture
def evaluated(run, tiny_config, tiny_store):
    """The same run with a network of random weights and a true evaluation of the test split."""
    export_network(run, tiny_config, tiny_store, name="tiny", chosen_by=MODEL["chosen_by"])
    config = tiny_config.model_copy(update={"plots": PlotsConfig(cases=1)})
    (run / "evaluation/test/performance.png").unlink()
    evaluate_store(run, tiny_store, "test", run / "evaluation" / "test", config)
    return run


def test_a_run_as_it_is_evaluated_now_gives_a_whole_page(evaluated):
    path = report(evaluated)
    assert path == evaluated / "report" / "index.html"
    page = Page(path)
    assert page.headings[:4] == ["Summary", "Data and checks", "Training", "Scores: test"]
    assert page.headings[-2:] == ["Configuration", "Versions"]
    test = page.headings[4 : page.headings.index("Scores: validation")]
    assert test == [
        "Is the split better than S/3?",
        "Where is it better?",
        "Events",
        "Fractions skill score",
        "Power spectrum",
        "Classes",
        "Wet hours and the heaviest hour",
        "Skill by amount, hour and season",
        "Windows",
        "All scores as text",
    ]
    assert len([f for f in page.figures if f.endswith(", test")]) == 5
    windows = [f for f in page.figures if f.startswith("t0 2023-06-0")]
    for kind in ("most rain", "highest skill", "lowest skill"):
        assert sum(kind in f for f in windows) == 1
    assert f"{len(windows)} of {len(windows)} windows drawn, in order of skill" in page.text
    assert "test: the model's hours add to S within" in page.text
    # Only the older validation lacks parts.
    assert page.missing[0] == "The history has no scores of the single epochs."
    assert "Verdict" in page.text
    scores = json.loads((evaluated / "evaluation/test/scores.json").read_text())
    row = next(r for r in page.rows if r[:2] == ["test", "linear interpolation"])
    assert row[2] == f"{scores['rmse_1h']['linear']:.3f}"
    assert row[5].startswith(f"{scores['mse_skill_by_method']['conditional']['linear']:.3f}")


def test_the_page_holds_its_figures_and_no_outside_link(run):
    page = Page(report(run))
    sources = [link for link in page.links if link.startswith("data:")]
    for source in sources:
        kind, _, data = source.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert len(sources) == len(page.figures) == 3
    assert all(link.startswith("#") for link in page.links if link not in sources)
    assert not re.search(r"https?://", page.html)


def test_figures_that_a_run_lacks_are_drawn_from_its_numbers(run):
    (run / "loss_curve.png").unlink()
    (run / "evaluation/test/performance.png").unlink()
    before = sorted(run.rglob("*"))
    path = report(run)
    sizes = [len(link) for link in Page(path).links if link.startswith("data:")]
    # Two drawn ones, and the single pixel of the validation split.
    assert [size > 10_000 for size in sizes] == [True, True, False]
    # They are drawn for the page alone.
    assert sorted(run.rglob("*")) == sorted([*before, path, path.parent])


def test_the_page_says_which_split_chose_and_which_only_reports(run):
    page = Page(report(run))
    assert "Epoch 2 of 2 was chosen by val_skill (0.200) on the validation periods" in page.text
    assert "test: its periods chose nothing and are only reported on." in page.text
    assert "validation: its periods chose the epoch" in page.text
    summary = [r for r in page.rows if r[:1] in (["test"], ["validation"]) and len(r) == 6]
    assert [(r[0], r[1], r[5]) for r in summary] == [
        ("test", "model", "0.310"),
        ("test", "equal split S/3", "0.000"),
        ("test", "linear interpolation", "0.170"),
        ("validation", "model", "0.220"),
        ("validation", "equal split S/3", "0.000"),
        ("validation", "linear interpolation", "0.170"),
    ]
    assert "Checked before the first step: max S 99 mm." in page.text
    # 30 hits, 10 misses, 20 false alarms.
    assert ["≥ 1 mm", "model", "40", "0.750", "0.600", "0.500", "n/a"] in [r[:7] for r in page.rows]


def test_an_older_run_says_what_it_lacks(run):
    page = Page(report(run))
    for text in (
        "The history has no scores of the single epochs.",
        "This evaluation has no confidence intervals.",
        "This evaluation has no detailed comparison with S/3.",
        "This evaluation has no improvement maps.",
        "This evaluation has no fractions skill scores.",
        "No windows were drawn.",
        "evaluation.txt is missing.",
    ):
        assert text in page.missing


def test_intervals_stand_beside_the_scores_they_belong_to(run):
    def estimate(value):
        return {"value": value, "low": value - 0.05, "high": value + 0.1}

    path = run / "evaluation/test/scores.json"
    scores = json.loads(path.read_text())
    scores["intervals"] = {
        "level": 0.95,
        "resamples": 1000,
        "blocks": 10,
        "blocks_needed": 8,
        "block_hours": 4.8,
        "skill_against_equal": {"model": {"all": estimate(0.31), "conditional": estimate(0.31)}},
        "skill_against_best_baseline": {"baseline": "linear", "conditional": estimate(0.17)},
    }
    path.write_text(json.dumps(scores))
    page = Page(report(run))
    assert ["test", "model", "1.250", "0.500", *["0.310 (0.260 to 0.410)"] * 2] in page.rows
    assert "best baseline, linear interpolation (S ≥ 0.1 mm): 0.170 (0.120 to 0.270)" in page.text
    scores["intervals"] |= {
        "blocks": 3,
        "skill_against_equal": {
            "model": {s: {"value": 0.31, "low": None, "high": None} for s in ("all", "conditional")}
        },
    }
    path.write_text(json.dumps(scores))
    page = Page(report(run))
    assert ["test", "model", "1.250", "0.500", "0.310", "0.310"] in page.rows
    assert "Too few blocks for intervals: 3 of at least 8" in page.text


@pytest.mark.parametrize("kept", ["config.yaml", "model.json", "history.json"])
def test_one_file_of_a_run_is_enough_for_a_page(run, tmp_path, kept):
    alone = tmp_path / "alone"
    alone.mkdir()
    (run / kept).rename(alone / kept)
    page = Page(report(alone))
    assert "The run has not been evaluated." in page.missing
    assert page.headings == ["Summary", "Data and checks", "Training", "Configuration", "Versions"]


def test_a_run_without_a_test_split_warns(run):
    (run / "evaluation/test/scores.json").unlink()
    page = Page(report(run))
    assert "Scores: test" not in page.headings
    assert any("no scores of a test split" in text for text in page.missing)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("history.json", "{"),
        ("model.json", "[]"),
        ("config.yaml", "a: [1"),
        ("history.json", '{"epoch": [1], "val_loss": "wrong", "scores": [3]}'),
        ("model.json", '{"channels": 3, "config": {"data": 5}}'),
        ("evaluation/test/scores.json", '{"rmse_1h": {"model": 1}, "fss": {"thresholds_mm": [1]}}'),
        ("evaluation/test/scores.json", '{"binary_hourly": {"model": 3}, "intervals": 4}'),
        ("evaluation/test/scores.json", '{"fss": 4, "skill_by_window": 5, "n_cells": "many"}'),
        ("loss_curve.png", "not a picture"),
        ("evaluation/test/equal_split_maps.npz", "not an archive"),
        ("evaluation/test/panels_log/validation_2023-06-02_21.png", ""),
    ],
)
def test_damaged_parts_are_named_and_the_rest_still_comes(run, name, content):
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    page = Page(report(run))
    assert "Scores: validation" in page.headings
    assert page.headings[-1] == "Versions"
    assert "0.220" in page.text


def test_of_many_windows_the_best_and_the_worst_are_shown(run):
    panels = run / "evaluation/test/panels_log"
    panels.mkdir()
    names = [f"2023-06-{day:02d}_21" for day in range(1, 10)]
    for name in names:
        (panels / f"validation_{name}.png").write_bytes(DOT)
    shown = [f for f in Page(report(run)).figures if f.startswith("t0")]
    assert shown == [f"t0 2023-06-{day:02d} 21 UTC" for day in (1, 2, 3, 7, 8, 9)]

    path = run / "evaluation/test/scores.json"
    scores = json.loads(path.read_text())
    # The skill falls from the 9th to the 2nd; the 1st had no rain.
    skills = dict(zip(names, [None, *np.linspace(-0.2, 0.5, 8)], strict=True))
    path.write_text(json.dumps(scores | {"skill_by_window": skills}))
    shown = [f for f in Page(report(run)).figures if f.startswith("t0")]
    assert [f[3:13] for f in shown] == [f"2023-06-{day:02d}" for day in (9, 8, 7, 4, 3, 2)]
    assert shown[0].endswith("MSE skill against S/3 0.500")
    assert shown[-1].endswith("\N{MINUS SIGN}0.200")

    # An evaluation that says why each was drawn: two of each kind, and all in order of skill.
    cases = {"heaviest": [0, 4, 6], "best": [8, 7, 6], "worst": [1, 2, 3]}
    named = {kind: [names[i] for i in places] for kind, places in cases.items()}
    path.write_text(json.dumps(scores | {"skill_by_window": skills, "cases": named}))
    shown = [f for f in Page(report(run)).figures if f.startswith("t0")]
    assert [f[3:13] for f in shown] == [f"2023-06-{day:02d}" for day in (9, 8, 5, 3, 2, 1)]
    assert "highest skill" in shown[0]
    assert "most rain" in shown[2]


def test_one_window_is_not_several(run):
    panels = run / "evaluation/test/panels_log"
    panels.mkdir()
    (panels / "validation_2023-06-01_21.png").write_bytes(DOT)
    path = run / "evaluation/test/scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_windows": 1}))
    page = Page(report(run))
    assert "1 of 1 window drawn" in page.text
    assert "store, test: 1 window;" in page.text


def test_hours_that_do_not_add_to_the_total_are_not_said_to(run):
    path = run / "evaluation/test/scores.json"
    scores = json.loads(path.read_text()) | {
        "conserves": False,
        "max_relative_sum_error": 55.0,
        "mean_relative_sum_error": 0.42,
        "rmse_sum": {"model": 1.5},
    }
    path.write_text(json.dumps(scores))
    page = Page(report(run))
    said = "hours need not add to S: their sum is off by an RMSE of 1.500 mm and 0.42 of S"
    assert f"test: the model's {said} in the mean." in page.text
    assert "validation: the model's hours add to S within 1.5e-07 of S." in page.text


def test_names_are_escaped_and_the_command_at_the_end_stays_private(run):
    secret = CONFIG.replace("on_finish: null", "on_finish: 'curl -H key=abc host'")
    (run / "config.yaml").write_text(secret)
    (run / "evaluation/test/equal_split_detailed.txt").write_text("a <b> & c")
    page = Page(report(run))
    assert "<run>" not in page.html
    assert "tenkizu rain: older <run>" in page.texts
    assert "a <b> & c" in page.texts
    assert "key=abc" not in page.html
    assert "on_finish: (left out of the report)" in page.text


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"not a run folder.*expected one of config\.yaml"):
        report(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        report(tmp_path / "nowhere")


def test_the_command_writes_where_it_is_told(run, tmp_path, command):
    output = tmp_path / "page.html"
    code, said, _ = command("rain", "report", run, "-o", output)
    assert code == 0
    assert f"written: {output}" in said
    assert Page(output).headings
    assert not (run / "report").exists()


@pytest.mark.parametrize(
    ("name", "begins"), [("film.mp4", "data:video/mp4"), ("film.gif", "data:image/gif")]
)
def test_the_film_of_a_run_is_in_its_page(run, name, begins):
    (run / "evaluation" / "test" / name).write_bytes(b"a film")
    page = Page(report(run))
    assert page.headings.count("Film") == 1
    [film] = [link for link in page.links if link.startswith(begins)]
    assert base64.b64decode(film.partition(",")[2]) == b"a film"
    assert "Prediction above truth, test" in page.texts


def test_the_table_of_data_counts_what_was_trained_on(run):
    model = {**MODEL, "statistics": {"log1p_mm": {"count": [1, 2, 3, 4, 5600, 6]}}}
    model["trained_on"] = {"files": ["rain.nc"], "windows": 45}
    model["config"] = {"data": {"splits": {"train": ["2023-05"], "test": ["2023-06"]}}}
    (run / "model.json").write_text(json.dumps(model))
    page = Page(report(run))
    assert next(r for r in page.rows if r[0] == "train") == ["train", "2023-05", "45", "5,600"]
    # Of several sources the count is of all of them.
    model["config"]["data"]["more"] = [{"name": "radar", "splits": {"train": ["2022"]}}]
    (run / "model.json").write_text(json.dumps(model))
    rows = Page(report(run)).rows
    assert next(r for r in rows if r[0] == "train") == ["train", "2023-05"]

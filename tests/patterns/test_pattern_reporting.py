import json
import re

import numpy as np
import pytest
from day_tables import LABELS, MAJORS, make_table

from report_page import DOT, Page
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.store import write_json
from tenkizu.patterns.analogues import nearest, write_analogues
from tenkizu.patterns.figures import case_figures
from tenkizu.patterns.figures.case_figures import Cases, day_texts
from tenkizu.patterns.reporting import report
from tenkizu.patterns.verification.score_text import as_text
from tenkizu.patterns.verification.scores import score_days
from tenkizu.patterns.verification.thresholds import tune_thresholds

FIGURES = (
    "class_scores.png",
    "confusion_matrices.png",
    "pr_curves.png",
    "reliability.png",
    "calendar.png",
    "best_days.png",
    "worst_days.png",
    "channel_totals.png",
    "grad_cam.png",
    "analogues.png",
)
GRID = Grid("latlon", np.arange(55.0, 14.0, -5.0), np.arange(115.0, 156.0, 5.0))
CONFIG = "kind: patterns\nrun:\n  name: winter\n  on_finish: null\n"
SECTIONS = ["Summary", "Data and labels", "Training"]
PARTS = [
    "Class by class",
    "Precision and recall",
    "Reliability",
    "Decisions",
    "Seasons, years, kinds of day, major types",
    "Calendar",
    "Best and worst days",
    "All scores as text",
]
MODEL = {
    "name": "winter <run>",
    "parameters": 600047,
    "weights_sha256": "0123456789abcdef",
    "labels": list(LABELS),
    "majors": list(MAJORS),
    "catalogue": {
        "name": "own",
        "citation": "A calendar",
        "label_names": {"1": "winter monsoon"},
        "major_names": {"2": "trough or low"},
    },
    "channels": [{"name": "msl"}, {"name": "t850"}],
    "members": [{"inputs": {"static": ["sea_mask"], "season": ["f1_season"]}}],
    "split": {"train": ["1991-01-01/1996-12-31"], "test": ["1998-01-01/1998-04-10"]},
    "chosen_by": {"quantity": "val_map", "on": "validation", "epoch": 2, "value": 0.45},
    "grid": GRID.to_json(),
    "versions": {"tenkizu": "0.1.0"},
}
HISTORY = {
    "epoch": [1, 2, 3],
    "train_loss": [0.6, 0.5, 0.4],
    "val_loss": [0.7, 0.5, 0.6],
    "val_map": [0.2, 0.45, 0.4],
    "best_epoch": 2,
}


def evaluate(folder, split, first, days=100):
    """Scores, text and table of a split, with figures that are already there."""
    table = make_table(days=days, first=first)
    thresholds = tune_thresholds(table.truth, table.calibrated, LABELS)
    share = np.tile(table.truth.mean(axis=0), (days, 1))
    base = {"prevalence": share, "persistence": table.truth.astype(float)}
    scores = score_days(table, MAJORS, thresholds, "held-out", base, resamples=30)
    here = folder / "evaluation" / split
    write_json(here / "scores.json", {"data": f"{split} days", "notes": [], **scores})
    (here / "evaluation.txt").write_text(as_text(scores))
    for name in FIGURES:
        (here / name).write_bytes(DOT)
    table.to_csv(folder / f"probabilities_{split}.csv")
    return table


def write_cases(folder, split, table):
    """Two days as the training writes them, with attribution and analogues."""
    waves = np.cos(np.deg2rad(GRID.y * 6))[:, None] * np.cos(np.deg2rad(GRID.x * 5))
    msl = 101_000.0 + 1500.0 * waves * np.array([1.0, -1.0])[:, None, None]
    train = np.arange("1991-01-01", "1991-01-08", dtype="datetime64[D]")
    near = nearest(np.arange(14.0).reshape(2, 7), table.times[[3, 8]], train)
    write_analogues(
        folder / "cases" / f"{split}_analogues.csv", table.times[[3, 8]], near, train, ["3"] * 7
    )
    np.savez(
        folder / "cases" / f"{split}.npz",
        times=table.times[[3, 8]].astype("datetime64[m]").astype(np.int64),
        kind=np.array(["best", "worst"]),
        msl=msl,
        lat=GRID.y,
        lon=GRID.x,
        attribution=waves * np.ones((2, 1, 1)),
        attributed_label=np.array(["1", "2A"]),
        attribution_by_channel=np.array([[1.5, -0.5], [0.2, 0.1]]),
        channels=np.array(["msl", "t850"]),
        grad_cam=np.stack([np.clip(waves, 0, 1), np.zeros(GRID.shape)]),
        analogue_msl=np.repeat(msl[:, None], 5, axis=1)[:, :, 1:-1, 1:-1],
        analogue_lat=GRID.y[1:-1],
        analogue_lon=GRID.x[1:-1],
    )


@pytest.fixture
def run(tmp_path):
    """A finished run whose figures are drawn."""
    folder = tmp_path / "run"
    for split, first in (("validation", "1997-01-01"), ("test", "1998-01-01")):
        table = evaluate(folder, split, first)
        write_cases(folder, split, table)
    write_json(folder / "history.json", HISTORY)
    write_json(folder / "model.json", MODEL)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "loss_curve.png").write_bytes(DOT)
    return folder


def test_a_finished_run_gives_a_whole_page(run):
    path = report(run)
    assert path == run / "report" / "index.html"
    page = Page(path)
    assert page.headings == [
        *SECTIONS,
        "Scores: test",
        *PARTS,
        "Scores: validation",
        *PARTS,
        "Configuration",
        "Versions",
    ]
    assert page.missing == []
    assert len(page.figures) == 2 + 2 * 9
    assert "600,047 parameters, weights 0123456789ab." in page.text
    assert "Epoch 2 of 3 was chosen by val_map (0.450) on the validation periods" in page.text
    assert "Channels (4): msl, t850, sea_mask, f1_season." in page.text
    assert "Grid: 9 x 9, lat 55..15, lon 115..155 degrees" in page.text


def test_the_page_holds_its_figures_and_no_outside_link(run):
    page = Page(report(run))
    outside = [link for link in page.links if not link.startswith(("data:image/", "#"))]
    assert outside == []
    assert "tenkizu patterns: winter <run>" in page.texts
    assert "<run>" not in page.html


def test_the_summary_stands_beside_the_baselines_with_provenance_and_intervals(run):
    page = Page(report(run))
    scores = json.loads((run / "evaluation/test/scores.json").read_text())
    rows = {tuple(row[:2]): row for row in page.rows if row[:1] == ["test"]}
    low, high = scores["intervals"]["map"]
    assert rows["test", "model"][2] == f"{scores['map']:.3f} ({low:.3f} to {high:.3f})"
    assert rows["test", "model"][3] == "4 of 4"
    share = scores["baselines"]["prevalence"]
    assert rows["test", "prevalence"][2].startswith(f"{share['map']:.3f}")
    floor = scores["baselines"]["all_positive"]["macro_f1"]
    assert f"{floor:.3f}" in rows["test", "every type every day"]
    assert "F1 and decisions are held-out" in page.text
    assert "its periods chose nothing and are only reported on" in page.text
    gain = share["map_gain"]["value"]
    said = "less that of prevalence, the best baseline that a classifier could use, is"
    assert f"{said} +{gain:.3f}" in page.text


def test_persistence_is_not_the_baseline_to_beat(run):
    # Here it is perfect, yet a classifier does not have yesterday's labels.
    assert "less that of persistence" not in Page(report(run)).text


def test_each_class_has_a_row_with_its_name_intervals_and_threshold(run):
    page = Page(report(run))
    scores = json.loads((run / "evaluation/test/scores.json").read_text())
    found = scores["classes"]["1"]
    low, high = found["intervals"]["ap"]
    row = next(row for row in page.rows if row[:2] == ["1", "winter monsoon"])
    assert row[2:4] == [str(found["support"]), f"{found['ap']:.3f} ({low:.3f} to {high:.3f})"]
    assert f"{found['threshold']:.3f}" in row
    assert "tuned" in row


def test_analogues_are_listed_with_date_label_and_distance(run):
    page = Page(report(run))
    first = page.rows.index(["day", "kind", "labels", "analogue", "its label", "distance"])
    table = make_table(days=100, first="1998-01-01")
    observed, predicted = table.texts[3], table.predicted_texts()[3]
    said = f"observed {observed}   predicted {predicted or 'none'}"
    assert page.rows[first + 1] == ["1998-01-04", "best", said, "1991-01-01", "3", "0"]
    assert page.rows[first + 2][-3:] == ["1991-01-02", "3", "1"]


def test_figures_that_a_run_lacks_are_drawn_from_its_numbers(run):
    for name in FIGURES:
        (run / "evaluation" / "test" / name).unlink()
    (run / "loss_curve.png").unlink()
    before = sorted(run.rglob("*"))
    path = report(run)
    page = Page(path)
    assert page.missing == []
    assert len(page.figures) == 20
    drawn = [link for link in page.links if link.startswith("data:") and len(link) > 2000]
    assert len(drawn) == 11
    # They are drawn for the page alone.
    assert sorted(run.rglob("*")) == sorted([*before, path, path.parent])


def test_grad_cam_is_drawn_and_a_day_without_any_says_so(run, tmp_path):
    table = make_table(days=100, first="1998-01-01")
    cases = Cases.read(run / "cases" / "test.npz")
    titles = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case_figures, "draw_charts", lambda *a, **_: titles.extend(a[3]))
        case_figures.draw_grad_cam(tmp_path / "cam.png", cases, table)
    assert [title.endswith("(no part of the map)") for title in titles] == [False, True]
    assert "   for 1" in titles[0]
    assert case_figures.draw_grad_cam(tmp_path / "cam.png", cases, table).stat().st_size > 10_000
    (run / "evaluation/test/grad_cam.png").unlink()
    page = Page(report(run))
    assert "Grad-CAM: where the last spatial layer speaks for the type" in page.text


def test_the_nearest_pressure_maps_are_the_baseline_to_beat(run):
    path = run / "evaluation" / "test" / "scores.json"
    scores = json.loads(path.read_text())
    scores["baselines"]["knn"] = scores["baselines"]["prevalence"] | {
        "map_gain": {"value": -0.123, "low": -0.2, "high": -0.1}
    }
    write_json(path, scores)
    page = Page(report(run))
    assert any(row[:2] == ["test", "nearest pressure maps"] for row in page.rows)
    assert "less that of nearest pressure maps, the best baseline" in page.text
    assert re.search(r"is .0\.123 \(.0\.200 to .0\.100\)", page.text)


def test_types_that_follow_from_the_map_are_said_to_be_so(run):
    model = MODEL | {"catalogue": {"name": "jc"}}
    write_json(run / "model.json", model)
    assert "not that weather was forecast" in Page(report(run)).text


@pytest.mark.parametrize("kept", ["config.yaml", "model.json", "history.json"])
def test_one_file_of_a_run_is_enough_for_a_page(run, tmp_path, kept):
    alone = tmp_path / "alone"
    alone.mkdir()
    (run / kept).rename(alone / kept)
    page = Page(report(alone))
    assert "The run has not been evaluated." in page.missing
    assert page.headings == [*SECTIONS, "Configuration", "Versions"]


def test_a_run_without_a_test_split_warns(run):
    (run / "evaluation/test/scores.json").unlink()
    page = Page(report(run))
    assert "Scores: test" not in page.headings
    assert any("no scores of a test split" in text for text in page.missing)


def test_what_an_evaluation_lacks_is_said(run):
    here = run / "evaluation" / "test"
    for name in ("pr_curves.png", "calendar.png", "evaluation.txt"):
        (here / name).unlink()
    (run / "probabilities_test.csv").unlink()
    (run / "cases" / "test.npz").unlink()
    page = Page(report(run))
    absent = "The table of days (probabilities) is missing."
    assert page.missing == [absent, absent, "No days were drawn.", "evaluation.txt is missing."]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("history.json", "{"),
        ("model.json", "[]"),
        ("config.yaml", "a: [1"),
        ("model.json", '{"channels": 3, "members": 5, "catalogue": "jc"}'),
        ("model.json", '{"grid": {"kind": 3}, "split": 4}'),
        ("history.json", '{"val_loss": "wrong", "epoch": [1]}'),
        ("evaluation/test/scores.json", '{"map": "high", "classes": {"1": 3}}'),
        ("evaluation/test/scores.json", '{"map": 0.5, "baselines": 3, "intervals": 4}'),
        ("evaluation/test/scores.json", '{"classes": {"1": {}}, "by_season": {"DJF": {}}}'),
        ("evaluation/test/calendar.png", "not a picture"),
        ("probabilities_test.csv", "date,label\n1998-01-01,1\n"),
        ("cases/test.npz", "not an archive"),
        ("cases/test_analogues.csv", "a,b\n1,2\n"),
    ],
)
def test_damaged_parts_are_named_and_the_rest_still_comes(run, name, content):
    (run / name).write_text(content)
    page = Page(report(run))
    assert "Scores: validation" in page.headings
    assert page.headings[-1] == "Versions"
    scores = json.loads((run / "evaluation/validation/scores.json").read_text())
    assert f"{scores['classes']['2B']['ap']:.3f}" in page.text


def test_files_with_the_configured_prefix_are_found(run):
    for name in ("loss_curve.png", "probabilities_test.csv"):
        (run / name).rename(run / f"cnn_v1_{name}")
    config = {"run": {"name": "winter", "prefix": "cnn_v1_"}}
    write_json(run / "model.json", MODEL | {"config": config})
    (run / "evaluation/test/pr_curves.png").unlink()
    assert Page(report(run)).missing == []


def test_the_command_at_the_end_of_the_run_stays_private(run):
    (run / "config.yaml").write_text(CONFIG.replace("null", "'curl -H key=abc host'"))
    page = Page(report(run))
    assert "key=abc" not in page.html
    assert "on_finish: (left out of the report)" in page.text


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"not a run folder.*\n.*tenkizu patterns train"):
        report(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        report(tmp_path / "nowhere")


def test_cases_without_attribution_or_analogues_can_be_read(tmp_path):
    path = tmp_path / "test.npz"
    times = np.array(["1998-01-04T00:00", "1998-01-05T06:00"], "datetime64[m]")
    lines = {"lat": GRID.y, "lon": GRID.x, "kind": np.array(["best", "worst"])}
    np.savez(path, times=times, msl=np.full((2, 9, 9), 1e5), **lines)
    cases = Cases.read(path)
    assert cases.of("worst") == [1]
    assert cases.attribution is None
    assert cases.analogues == ()
    table = make_table(days=10, first="1998-01-01")
    assert day_texts(table, cases.times)[0].startswith(f"observed {table.texts[3]}   predicted")
    assert day_texts(table, cases.times)[1] == ""
    np.savez(path, times=times)
    with pytest.raises(DataError, match=r"test\.npz: cannot be read: 'kind'"):
        Cases.read(path)

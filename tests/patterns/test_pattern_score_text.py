"""The scores as text and as a class report."""

import json

import numpy as np
import pytest
from day_tables import LABELS, MAJORS, make_table

from tenkizu.core.store import plain
from tenkizu.patterns.verification.score_report import class_report
from tenkizu.patterns.verification.score_text import as_text, map_line, with_interval
from tenkizu.patterns.verification.scores import score_days
from tenkizu.patterns.verification.thresholds import tune_thresholds


def score(table, provenance="cross-fitted"):
    thresholds = tune_thresholds(table.truth, table.calibrated, LABELS)
    baselines = {
        "prevalence": np.full(table.truth.shape, 0.3),
        "persistence": np.concatenate([np.full((1, 4), np.nan), table.truth[:-1]]),
    }
    return score_days(table, MAJORS, thresholds, provenance, baselines, resamples=50)


@pytest.fixture(scope="module")
def scores():
    truth, predicted = make_table().truth.copy(), make_table().predicted.copy()
    truth[:, 2] = predicted[:, 2] = False
    decided = np.array([True, True, False, True])
    return score(make_table(truth=truth, predicted=predicted, decided=decided))


def test_the_text_gives_map_with_its_classes_and_says_where_decisions_come_from(scores):
    text = as_text(scores)
    assert "mAP (3 of 4 classes)" in text
    assert "mAP, at least 10 positives (3 of 4 classes)" in text
    assert f"{scores['map']:.3f} [{scores['intervals']['map'][0]:.3f}, " in text
    assert "Decisions and calibration: cross-fitted." in text
    assert "50 resamples of 58 blocks of 7 days" in text
    assert "never predicted and not in macro F1: 2B." in text
    assert "which a real classifier does not have" in text
    # Every table over classes or days says so again.
    assert text.count("Decisions: cross-fitted") == 5
    (line,) = [x for x in text.splitlines() if x.startswith("2B") and "undefined" in x]
    assert line.split() == ["2B", "0", "n/a", "0.000", *["n/a"] * 5, "1", "n/a", "undefined"]


def test_columns_are_aligned(scores):
    lines = as_text(scores).splitlines()
    start = lines.index("By season") + 3
    rows = lines[start : start + 5]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert [row.split()[0] for row in rows] == ["days", "DJF", "MAM", "JJA", "SON"]


def test_the_file_reads_as_the_scores_do(scores):
    content = json.loads(json.dumps(plain(scores), allow_nan=False))
    assert as_text(content) == as_text(scores)
    assert map_line(content) == "mAP (3 of 4 classes)"


def test_no_intervals_for_a_few_days():
    text = as_text(score(make_table(6)))
    assert "No intervals: the days fill less than two blocks." in text
    assert "[" not in text


def test_undefined_numbers_have_no_brackets():
    assert with_interval(None, (None, None)) == "n/a"
    assert with_interval(0.5, (None, None)) == "0.500"
    assert with_interval(0.5, (0.25, 0.75), 2) == "0.50 [0.25, 0.75]"


def test_the_class_report_has_the_keys_of_its_file(scores):
    report = class_report(scores)
    averages = ["micro avg", "macro avg", "weighted avg", "samples avg"]
    beside = ["provenance", "n_days", "ap", "brier", "ece", "intervals", "baselines"]
    assert list(report) == [*LABELS, *averages, *beside]
    for name in (*LABELS, *averages):
        assert {"precision", "recall", "f1-score", "support"} <= set(report[name])
    assert {"ap", "brier", "intervals"} <= set(report["1"])
    assert report["provenance"] == "cross-fitted"
    assert report["ap"]["map"] == scores["map"]
    assert report["baselines"]["prevalence"]["map"] == pytest.approx(
        scores["baselines"]["prevalence"]["map"]
    )
    json.dumps(plain(report), allow_nan=False)

"""Scores of 3-hour sums: by hand, against plain masks, and in parts."""

import numpy as np
import pytest
from score_fields import WINDOWS

from tenkizu.core.verification import Tally
from tenkizu.rain.config import ScoresConfig
from tenkizu.rain.sum_scores import sum_tally, summarise_sums

THRESHOLDS = ScoresConfig().thresholds_sum
CATEGORIES = ScoresConfig().categories_sum


@pytest.fixture(scope="module")
def summed(fields):
    """The scores of the sums of ``fields``."""
    return summarise_sums(sum(tallies(fields), Tally()), THRESHOLDS, CATEGORIES)


def tallies(fields):
    for i in range(WINDOWS):
        yield sum_tally(fields.model[i], fields.truth[i], fields.total[i], THRESHOLDS, CATEGORIES)


def test_the_thresholds_and_classes_of_sums_are_the_published_ones():
    assert THRESHOLDS == [0.2, 2, 10, 20, 40, 60, 100]
    assert CATEGORIES == [10, 20, 40, 60, 100]


def test_four_cells_by_hand():
    # Sums of the truth 12, 3, 0, 25; of the model 10, 0, 1, 25 in other hours; one cell unknown.
    truth = np.float32([[[12, 1, 0, 5, 9]], [[0, 1, 0, 10, 9]], [[0, 1, 0, 10, np.nan]]])
    model = np.float32([[[0, 0, 0, 25, 9]], [[10, 0, 1, 0, 9]], [[0, 0, 0, 0, 9]]])
    total = np.float32([[12, 3, 0, 25, 27]])
    tally = sum_tally(model, truth, total, [2, 20], [10, 20])
    scores = summarise_sums(tally, [2, 20], [10, 20])
    assert scores["rmse_sum"]["model"] == pytest.approx(np.sqrt((4 + 9 + 1 + 0) / 4))
    assert scores["mae_sum"]["model"] == pytest.approx((2 + 3 + 1 + 0) / 4)
    assert scores["rmse_sum_conditional"]["model"] == pytest.approx(np.sqrt(13 / 3))
    assert scores["mae_sum_conditional"]["model"] == pytest.approx(5 / 3)
    event = scores["binary_sum"]["model"]["2"]
    counts = [event[k] for k in ("hits", "misses", "false_alarms", "correct_negatives")]
    assert counts == [2, 1, 0, 1]
    assert event["critical_success_index"] == pytest.approx(2 / 3)
    assert scores["binary_sum"]["model"]["20"]["hits"] == 1
    classes = scores["categories_sum"]
    assert classes["edges_mm"] == [0, 10, 20]
    matrix = classes["model"]["all"]["confusion_truth_by_prediction"]
    assert matrix == [[2, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert classes["model"]["conditional"]["support"] == [1, 1, 1]


def test_sums_agree_with_plain_masks(fields, summed):
    total, valid, wet = fields.total, fields.valid, fields.wet
    model = fields.model.sum(axis=1, dtype=np.float64)
    for cells, suffix in ((valid, ""), (wet, "_conditional")):
        error = model[cells] - total[cells]
        rmse = summed[f"rmse_sum{suffix}"]["model"]
        assert rmse == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
        assert summed[f"mae_sum{suffix}"]["model"] == pytest.approx(np.abs(error).mean(), rel=1e-6)
    truth, model = total[valid], model[valid].astype(np.float32)
    for threshold in THRESHOLDS:
        found = summed["binary_sum"]["model"][f"{threshold:g}"]
        seen, said = truth >= np.float32(threshold), model >= np.float32(threshold)
        assert found["hits"] == (seen & said).sum()
        assert found["misses"] == (seen & ~said).sum()
        assert found["false_alarms"] == (~seen & said).sum()
        assert found["correct_negatives"] == (~seen & ~said).sum()
    confusion = np.histogram2d(truth, model, [[0, *CATEGORIES, np.inf]] * 2)[0]
    found = summed["categories_sum"]["model"]["all"]
    assert found["confusion_truth_by_prediction"] == confusion.tolist()
    assert found["accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())


def test_sums_add_in_any_order(fields, summed):
    again = sum(reversed(list(tallies(fields))), Tally())
    again = summarise_sums(again, THRESHOLDS, CATEGORIES)
    model = again["categories_sum"]["model"]["all"]["confusion_truth_by_prediction"]
    assert model == summed["categories_sum"]["model"]["all"]["confusion_truth_by_prediction"]
    assert again["rmse_sum"]["model"] == pytest.approx(summed["rmse_sum"]["model"], rel=1e-12)


def test_hours_that_add_to_the_total_have_nothing_to_score(fields):
    assert summarise_sums(fields.tally(0), THRESHOLDS, CATEGORIES) == {}

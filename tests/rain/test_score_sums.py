"""Scores of hourly splits come from sums: in any grouping, without missing cells."""

import json

import numpy as np
import pytest
from score_fields import CATEGORIES, METHODS, THRESHOLDS, WINDOWS, Fields, one_cell

from tenkizu.core.verification import Tally
from tenkizu.rain.scores import summarise, window_tally

# ---------------------------------------------------------------------------- adding up


def test_any_grouping_of_windows_gives_the_same_scores(fields, scores):
    tallies = [fields.tally(i) for i in range(WINDOWS)]
    groupings = (
        sum(reversed(tallies), Tally()),
        (tallies[0] + tallies[1])
        + ((tallies[2] + tallies[3]) + (tallies[4] + tallies[5]))
        + tallies[6],
        sum((Tally.from_json(json.loads(json.dumps(t.to_json()))) for t in tallies), Tally()),
    )
    for grouped in groupings:
        again = summarise(grouped, METHODS, THRESHOLDS, CATEGORIES)
        # As text, because NaN equals nothing.
        assert json.dumps(again["binary_hourly"]) == json.dumps(scores["binary_hourly"])
        assert json.dumps(again["categories_hourly"]) == json.dumps(scores["categories_hourly"])
        for name in ("rmse_1h", "mae_1h", "rmse_1h_conditional", "mae_1h_conditional"):
            assert again[name] == pytest.approx(scores[name], rel=1e-13)
        assert again["mse_skill"] == pytest.approx(scores["mse_skill"], rel=1e-12)
        assert again["max_relative_sum_error"] == scores["max_relative_sum_error"]


def test_all_windows_at_once_count_like_one_by_one(fields, scores):
    """Windows laid side by side in one wide field are the same cells."""

    def wide(values):
        return np.concatenate(list(values), axis=-1)

    methods = {"model": wide(fields.model), "equal": wide(fields.equal)}
    tally = window_tally(methods, wide(fields.truth), wide(fields.total), THRESHOLDS, CATEGORIES)
    at_once = summarise(tally, METHODS, THRESHOLDS, CATEGORIES)
    assert at_once["n_cells"] == scores["n_cells"]
    assert json.dumps(at_once["binary_hourly"]) == json.dumps(scores["binary_hourly"])
    assert at_once["rmse_1h"] == pytest.approx(scores["rmse_1h"], rel=1e-13)


# ---------------------------------------------------------------------------- missing and dry


def test_masked_cells_leave_every_method(fields, scores):
    disturbed = Fields()
    hidden = np.broadcast_to(~fields.valid[:, None], fields.truth.shape)
    disturbed.model[hidden] = 1e5
    disturbed.equal[hidden] = np.nan
    again = disturbed.scores()
    assert json.dumps(again) == json.dumps(scores)


def test_a_dry_window_has_no_skill_to_report_but_its_counts():
    zero = [[0, 0], [0, 0], [0, 0]]
    result = one_cell(zero, zero)
    assert result["n_cells"] == 2
    assert result["n_cells_conditional"] == 0
    assert result["rmse_1h"] == {"model": 0.0, "equal": 0.0}
    assert np.isnan(result["rmse_1h_conditional"]["model"])
    assert np.isnan(list(result["mse_skill"].values())).all()
    assert np.isnan(result["mse_skill_by_method"]["all"]["equal"])
    assert result["max_relative_sum_error"] == 0.0
    conditional = result["categories_hourly"]["model"]["conditional"]
    assert conditional["support"] == [0, 0]
    assert np.isnan(conditional["accuracy"])


def test_a_window_without_a_known_cell_counts_nothing(fields, scores):
    nothing = np.full((3, 12, 14), np.nan, np.float32)
    empty = window_tally(
        {"model": nothing, "equal": nothing}, nothing, nothing[0], THRESHOLDS, CATEGORIES
    )
    alone = summarise(empty, METHODS, THRESHOLDS, CATEGORIES)
    assert alone["n_cells"] == 0
    assert np.isnan(alone["rmse_1h"]["model"])
    with_it = sum((fields.tally(i) for i in range(WINDOWS)), empty)
    result = summarise(with_it, METHODS, THRESHOLDS, CATEGORIES)
    assert result["n_windows"] == WINDOWS + 1
    assert json.dumps(result["rmse_1h"]) == json.dumps(scores["rmse_1h"])
    assert json.dumps(result["binary_hourly"]) == json.dumps(scores["binary_hourly"])


def test_cells_with_a_total_at_the_limit_are_conditional():
    at_limit = np.float32(0.1)
    truth = np.zeros((3, 1, 2), np.float32)
    truth[1] = at_limit, np.nextafter(at_limit, np.float32(0))
    tally = window_tally({"equal": truth}, truth, truth[1], THRESHOLDS, CATEGORIES)
    assert tally["cells"].tolist() == [2, 1]


def test_hours_that_do_not_add_to_the_total_show_in_the_largest_error():
    # 6 mm given out as 5 in the first cell: one sixth; the dry cell does not divide by zero.
    result = one_cell([[2, 0], [2, 0], [2, 0]], [[2, 0], [2, 0], [1, 0]])
    assert result["max_relative_sum_error"] == pytest.approx(1 / 6)
    equal_to_it = one_cell([[2], [2], [2]], [[2], [2], [2]])
    assert equal_to_it["max_relative_sum_error"] == 0.0


# ---------------------------------------------------------------------------- dry cells


def test_rain_where_the_total_is_zero_is_scored_like_any_other():
    # Three dry cells and one wet one. The model rains 7 mm in the last hour of the first dry cell.
    truth = [[0, 0, 0, 6], [0, 0, 0, 0], [0, 0, 0, 0]]
    model = [[0, 0, 0, 6], [0, 0, 0, 0], [7, 0, 0, 0]]
    result = one_cell(truth, model)
    assert result["rmse_1h"]["model"] == pytest.approx(np.sqrt(49 / 12))
    assert result["rmse_1h_conditional"]["model"] == 0.0
    event = result["binary_hourly"]["model"]["FT+6"]["5"]
    assert (event["false_alarms"], event["correct_negatives"]) == (1, 3)
    counts = result["wet_hours"]["model"]["all"]["confusion_truth_by_prediction"]
    assert counts == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    # S/3 is dry there and keeps its three correct zeros.
    counts = result["wet_hours"]["equal"]["all"]["confusion_truth_by_prediction"]
    assert counts == [[3, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    classes = result["categories_hourly"]["model"]["all"]["confusion_truth_by_prediction"]
    assert classes == [[10, 1], [0, 1]]


def test_the_mean_departure_from_the_total_is_over_rainy_cells():
    # 6 mm given out as 5, 3 mm as 3, and a dry cell: (1/6 + 0) / 2.
    result = one_cell([[2, 1, 0], [2, 1, 0], [2, 1, 0]], [[2, 1, 0], [2, 1, 0], [1, 1, 0]])
    assert result["mean_relative_sum_error"] == pytest.approx(1 / 12)

"""What the history keeps of one validation."""

import json

import pytest

from tenkizu.core.store import plain
from tenkizu.rain.epoch_record import epoch_record
from tenkizu.rain.scores import HOURS


@pytest.fixture(scope="module")
def record(scores):
    return epoch_record(scores)


def test_the_record_holds_all_families_of_a_validation(record, scores):
    assert list(record["binary_by_hour"]) == list(HOURS)
    assert record["binary_by_hour"]["FT+5"]["1"] == scores["binary_hourly"]["model"]["FT+5"]["1"]
    hits = [record["binary_by_hour"][hour]["1"]["hits"] for hour in HOURS]
    assert record["binary_hourly"]["1"]["hits"] == sum(hits)
    assert record["peak_hour_accuracy"] == scores["peak_hour"]["model"]["accuracy"]
    for name in ("rmse_1h", "mae_1h", "mae_1h_conditional", "rmse_per_hour_conditional"):
        assert list(record[name]) == ["model", "equal"]
    classes = record["categories_hourly_conditional"]
    assert sum(classes["support"]) == 3 * scores["n_cells_conditional"]
    assert classes["edges_mm"] == record["categories_hourly"]["edges_mm"]
    amounts = record["skill_by_amount"]
    assert sum(group["cells"] for group in amounts.values()) == scores["n_cells_conditional"]


def test_hours_that_add_to_the_total_leave_no_scores_of_sums(record):
    assert not [name for name in record if name.endswith("_sum")]


def test_a_line_of_the_record_stays_short(record):
    assert len(json.dumps(plain(record))) < 30_000

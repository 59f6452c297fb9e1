"""Scores of hourly splits against independent libraries."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torchmetrics
import xarray as xr
from score_fields import CATEGORIES, METHODS, THRESHOLDS, WINDOWS, one_cell
from scores.categorical import ThresholdEventOperator

from tenkizu.rain.scores import HOURS, summarise, window_tally

EDGES = [0, 5, 10, 20, 30, 50, np.inf]

SCORES = (
    "accuracy",
    "probability_of_detection",
    "success_ratio",
    "f1_score",
    "critical_success_index",
    "false_alarm_ratio",
    "probability_of_false_detection",
    "equitable_threat_score",
    "frequency_bias",
)


# ---------------------------------------------------------------------------- RMSE, MAE, skill


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("suffix", ["", "_conditional"])
def test_rmse_and_mae_agree_with_torchmetrics(fields, scores, method, suffix):
    cells = fields.wet if suffix else fields.valid
    predicted = torch.from_numpy(np.moveaxis(getattr(fields, method), 1, -1)[cells]).double()
    truth = torch.from_numpy(np.moveaxis(fields.truth, 1, -1)[cells]).double()
    rmse = torchmetrics.MeanSquaredError(squared=False).set_dtype(torch.float64)
    assert scores[f"rmse_1h{suffix}"][method] == pytest.approx(
        rmse(predicted, truth).item(), rel=1e-12
    )
    mae = torchmetrics.MeanAbsoluteError().set_dtype(torch.float64)
    assert scores[f"mae_1h{suffix}"][method] == pytest.approx(
        mae(predicted, truth).item(), rel=1e-12
    )
    for k, hour in enumerate(HOURS):
        rmse.reset()
        assert scores[f"rmse_per_hour{suffix}"][method][hour] == pytest.approx(
            rmse(predicted[:, k], truth[:, k]).item(), rel=1e-12
        )


def test_cells_and_windows_are_counted(fields, scores):
    assert scores["n_windows"] == WINDOWS
    assert scores["n_cells"] == fields.valid.sum() < fields.valid.size
    assert scores["n_cells_conditional"] == fields.wet.sum() < fields.valid.sum()


def test_skill_is_one_less_the_ratio_of_squared_errors(fields, scores):
    for label, cells in (("all", fields.valid), ("conditional", fields.wet)):
        model, equal, truth = (
            np.moveaxis(f, 1, -1)[cells].astype(np.float64)
            for f in (fields.model, fields.equal, fields.truth)
        )
        expected = 1 - ((model - truth) ** 2).sum() / ((equal - truth) ** 2).sum()
        assert scores["mse_skill"][label] == pytest.approx(expected, rel=1e-12)
        assert scores["mse_skill_by_method"][label] == {
            "model": scores["mse_skill"][label],
            "equal": 0.0,
        }


def test_a_perfect_prediction_has_skill_one_and_every_score_at_its_best(fields):
    tally = window_tally(
        {"model": fields.truth[1], "equal": fields.equal[1]},
        fields.truth[1],
        fields.total[1],
        THRESHOLDS,
        CATEGORIES,
    )
    best = summarise(tally, METHODS, THRESHOLDS, CATEGORIES)
    assert best["mse_skill"] == {"all": 1.0, "conditional": 1.0}
    assert best["rmse_1h"]["model"] == best["mae_1h_conditional"]["model"] == 0.0
    assert best["categories_hourly"]["model"]["all"]["accuracy"] == 1.0
    event = best["binary_hourly"]["model"]["pooled"]["1"]
    assert event["critical_success_index"] == event["frequency_bias"] == 1.0
    assert event["false_alarm_ratio"] == 0.0


def test_rmse_divides_by_cells_times_three_by_hand():
    # Errors 3, 0, 4 in one cell and none in the other: sqrt(25 / 6).
    result = one_cell([[4, 1], [2, 1], [0, 1]], [[1, 1], [2, 1], [4, 1]])
    assert result["rmse_1h"]["model"] == pytest.approx((25 / 6) ** 0.5)
    assert result["mae_1h"]["model"] == pytest.approx(7 / 6)
    assert result["rmse_per_hour"]["model"] == pytest.approx(
        {"FT+4": (9 / 2) ** 0.5, "FT+5": 0.0, "FT+6": (16 / 2) ** 0.5}
    )
    # S/3 = 2 misses 4, 2, 0 by 2, 0, 2.
    assert result["mse_skill"]["all"] == pytest.approx(1 - 25 / 8)


# ---------------------------------------------------------------------------- events


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_categorical_scores_agree_with_the_scores_library_on_full_fields(
    fields, scores, method, threshold
):
    dims = ("window", "hour", "y", "x")
    hidden = ~np.broadcast_to(fields.valid[:, None], fields.truth.shape)
    observed = xr.DataArray(np.where(hidden, np.nan, fields.truth), dims=dims)
    forecast = xr.DataArray(np.where(hidden, np.nan, getattr(fields, method)), dims=dims)
    manager = ThresholdEventOperator().make_contingency_manager(
        forecast, observed, event_threshold=np.float32(threshold)
    )
    pooled = manager.transform()
    by_hour = manager.transform(preserve_dims=["hour"])
    found = scores["binary_hourly"][method]
    for label, table, pick in (
        ("pooled", pooled, lambda value: value),
        *((hour, by_hour, lambda value, k=k: value.isel(hour=k)) for k, hour in enumerate(HOURS)),
    ):
        mine = found[label][f"{threshold:g}"]
        counts = table.get_counts()
        for name, key in (
            ("hits", "tp_count"),
            ("misses", "fn_count"),
            ("false_alarms", "fp_count"),
            ("correct_negatives", "tn_count"),
        ):
            assert mine[name] == int(pick(counts[key])), (label, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            for name in SCORES:
                expected = float(pick(getattr(table, name)()))
                expected = expected if np.isfinite(expected) else np.nan
                assert mine[name] == pytest.approx(expected, rel=1e-12, nan_ok=True), (label, name)


def test_a_value_equal_to_a_threshold_is_an_event_also_where_float32_rounds_it():
    # float32(0.1) is above 0.1, float32(0.7) below 0.7: neither may depend on the direction.
    for value in (0.1, 0.7, 5.0):
        just_below = float(np.nextafter(np.float32(value), np.float32(0)))
        result = one_cell(
            [[value], [just_below], [0]], [[value], [value], [0]], thresholds=(value,)
        )
        event = result["binary_hourly"]["model"]["pooled"][f"{value:g}"]
        counts = [event[n] for n in ("hits", "misses", "false_alarms", "correct_negatives")]
        assert counts == [1, 0, 1, 1]


def test_a_threshold_without_events_is_undefined_with_its_counts():
    result = one_cell([[1], [2], [3]], [[2], [2], [2]], thresholds=(0.5, 50))
    event = result["binary_hourly"]["model"]["pooled"]["50"]
    assert (event["hits"], event["misses"], event["false_alarms"]) == (0, 0, 0)
    assert event["correct_negatives"] == 3
    for name in ("probability_of_detection", "success_ratio", "f1_score", "frequency_bias"):
        assert np.isnan(event[name]), name
    for name in ("critical_success_index", "equitable_threat_score", "false_alarm_ratio"):
        assert np.isnan(event[name]), name
    assert event["accuracy"] == 1.0
    assert event["probability_of_false_detection"] == 0.0


def test_finleys_tornadoes():
    # 1884: 28 hits, 72 false alarms, 23 misses, 2680 correct rejections, here in the first hour.
    truth, model = np.zeros((2, 3, 1, 2803), np.float32)
    truth[0, 0, :51] = model[0, 0, 23:123] = 1.0
    methods = {"model": model, "equal": model}
    tally = window_tally(methods, truth, truth.sum(axis=0), [1.0], [5.0])
    event = summarise(tally, METHODS, [1.0], [5.0])["binary_hourly"]["model"]["FT+4"]["1"]
    assert event["correct_negatives"] == 2680
    found = {name: round(event[name], 4) for name in SCORES}
    assert found["critical_success_index"] == 0.2276
    assert found["probability_of_detection"] == 0.5490
    assert found["false_alarm_ratio"] == 0.7200
    assert found["success_ratio"] == 0.2800
    assert found["equitable_threat_score"] == 0.2160
    assert found["frequency_bias"] == 1.9608
    assert found["accuracy"] == 0.9661
    assert found["probability_of_false_detection"] == 0.0262
    assert found["f1_score"] == 0.3709


# ---------------------------------------------------------------------------- classes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("subset", ["all", "conditional"])
def test_confusion_matrix_agrees_with_a_crosstable(fields, scores, method, subset):
    cells = fields.wet if subset == "conditional" else fields.valid
    truth, predicted = (
        pd.Categorical(pd.cut(np.moveaxis(f, 1, -1)[cells].ravel(), EDGES, right=False))
        for f in (fields.truth, getattr(fields, method))
    )
    table = pd.crosstab(truth, predicted, dropna=False).to_numpy()
    found = scores["categories_hourly"][method][subset]
    np.testing.assert_array_equal(found["confusion_truth_by_prediction"], table)
    assert found["accuracy"] == pytest.approx((truth == predicted).mean())
    for k in range(6):
        chosen, real = predicted.codes == k, truth.codes == k
        both = (chosen & real).sum()
        assert found["support"][k] == real.sum()
        expected = both / chosen.sum() if chosen.any() else np.nan
        assert found["precision"][k] == pytest.approx(expected, nan_ok=True)
        expected = both / real.sum() if real.any() else np.nan
        assert found["recall"][k] == pytest.approx(expected, nan_ok=True)


def test_classes_are_half_open_and_truth_runs_along_the_rows():
    result = one_cell([[5], [4.9], [0]], [[4.9], [5], [5]])
    matrix = result["categories_hourly"]["model"]["all"]["confusion_truth_by_prediction"]
    assert matrix == [[0, 2], [1, 0]]

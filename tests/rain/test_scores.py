"""Scores of hourly splits against independent libraries, and their edges."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torchmetrics
import xarray as xr
from scores.categorical import ThresholdEventOperator

from tenkizu.core.verification import Tally
from tenkizu.rain.baselines import equal_split
from tenkizu.rain.config import ScoresConfig
from tenkizu.rain.scores import HOURS, summarise, window_tally

THRESHOLDS = ScoresConfig().thresholds_1h
CATEGORIES = ScoresConfig().categories_1h
EDGES = [0, 5, 10, 20, 30, 50, np.inf]
METHODS = ("model", "equal")
WINDOWS = 7

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


class Fields:
    """Random rain of several windows; every value a multiple of 0.1 mm, so thresholds are hit."""

    def __init__(self, seed=0, masked=0.1):
        rng = np.random.default_rng(seed)
        shape = (WINDOWS, 3, 12, 14)
        wet = rng.random(shape) < 0.45
        self.truth = np.where(wet, rng.gamma(0.5, 14.0, shape).round(1), 0).astype(np.float32)
        noise = rng.lognormal(0, 0.5, shape)
        shifted = 0.7 * self.truth + 0.3 * np.roll(self.truth, 1, axis=3)
        self.model = (shifted * noise).round(1).astype(np.float32)
        self.total = self.truth.sum(axis=1, dtype=np.float64).astype(np.float32)
        hidden = rng.random(self.total.shape) < masked
        self.total[hidden] = np.nan
        # Some cells miss one hour only, as a total from another source would leave them.
        self.truth[:, 0][hidden] = np.nan
        self.truth[0, 2, 3, :4] = np.nan
        self.equal = np.stack([equal_split(s) for s in self.total])
        self.valid = ~np.isnan(self.total) & ~np.isnan(self.truth).any(axis=1)
        self.wet = self.valid & (self.total >= np.float32(0.1))

    def tally(self, i, **others):
        methods = {"model": self.model[i], "equal": self.equal[i], **others}
        return window_tally(methods, self.truth[i], self.total[i], THRESHOLDS, CATEGORIES)

    def scores(self, order=range(WINDOWS)):
        total = sum((self.tally(i) for i in order), Tally())
        return summarise(total, METHODS, THRESHOLDS, CATEGORIES)


@pytest.fixture(scope="module")
def fields():
    return Fields()


@pytest.fixture(scope="module")
def scores(fields):
    return fields.scores()


def one_cell(truth, model, thresholds=(0.1, 5), categories=(5,)):
    """Scores of single cells: truth and model (3, n) mm, S from the truth."""
    truth, model = (np.array(v, np.float32)[:, None] for v in (truth, model))
    total = truth.sum(axis=0)
    methods = {"model": model, "equal": equal_split(total)}
    tally = window_tally(methods, truth, total, thresholds, categories)
    return summarise(tally, METHODS, thresholds, categories)


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


# ---------------------------------------------------------------------------- groups


def tallies_with_time(fields, starts, land=None):
    for i, start in enumerate(starts):
        methods = {"model": fields.model[i], "equal": fields.equal[i]}
        yield window_tally(
            methods,
            fields.truth[i],
            fields.total[i],
            THRESHOLDS,
            CATEGORIES,
            start=start,
            land=land,
        )


def test_skill_by_group_agrees_with_plain_masks(fields):
    land = np.random.default_rng(6).random((12, 14)) < 0.4
    # t0 is three hours earlier: 21 UTC of 28 February, then 03, 09, ... in March and in June.
    first = np.datetime64("2023-03-01T00:00", "m")
    starts = [first + np.timedelta64(h, "h") for h in (0, 6, 12, 18, 24, 24 * 95, 24 * 95 + 6)]
    total = sum(tallies_with_time(fields, starts, land), Tally())
    found = summarise(total, METHODS, THRESHOLDS, CATEGORIES)

    def check(entry, keep):
        """Compare with cells kept by (window, total)."""
        sse = {name: 0.0 for name in METHODS}
        cells = 0
        for i in range(WINDOWS):
            chosen = fields.wet[i] & keep(i, fields.total[i])
            cells += chosen.sum()
            for name in METHODS:
                error = getattr(fields, name)[i].astype(np.float64) - fields.truth[i]
                sse[name] += (error**2).sum(axis=0)[chosen].sum()
        assert entry["cells"] == cells
        expected = 1 - sse["model"] / sse["equal"] if cells else np.nan
        assert entry["skill"] == pytest.approx(expected, nan_ok=True, rel=1e-9)

    bins = [np.float32(0.1), 10, 20, 40, 60, 100, np.inf]
    amounts = found["skill_by_amount"]["model"]
    assert list(amounts) == ["0.1-10", "10-20", "20-40", "40-60", "60-100", ">=100"]
    for entry, low, high in zip(amounts.values(), bins, bins[1:], strict=False):
        check(entry, lambda _, s, low=low, high=high: (s >= low) & (s < high))
    hours = found["skill_by_hour_of_day"]["model"]
    assert list(hours) == ["00", "03", "06", "09", "12", "15", "18", "21"]
    for label, entry in hours.items():
        mine = {i for i in range(WINDOWS) if (starts[i].item().hour - 3) % 24 == int(label)}
        check(entry, lambda i, s, mine=mine: np.full(s.shape, i in mine))
    seasons = found["skill_by_season"]["model"]
    for label, members in {"DJF": {0}, "MAM": {1, 2, 3, 4}, "JJA": {5, 6}, "SON": set()}.items():
        check(seasons[label], lambda i, s, mine=members: np.full(s.shape, i in mine))
    surfaces = found["skill_by_surface"]["model"]
    check(surfaces["land"], lambda *_: land)
    check(surfaces["sea"], lambda *_: ~land)
    assert set(found["skill_by_amount"]["equal"]["10-20"]) == {"skill", "cells"}
    assert found["skill_by_amount"]["equal"]["10-20"]["skill"] == 0.0
    for group in ("amount", "hour_of_day", "season", "surface"):
        counts = [entry["cells"] for entry in found[f"skill_by_{group}"]["model"].values()]
        assert sum(counts) == found["n_cells_conditional"], group


def test_skill_and_mae_per_hour(fields, scores):
    for suffix, cells in (("", fields.valid), ("_conditional", fields.wet)):
        for k, hour in enumerate(HOURS):
            model, equal = (
                (getattr(fields, m)[:, k].astype(np.float64) - fields.truth[:, k])[cells]
                for m in METHODS
            )
            found = scores[f"mse_skill_per_hour{suffix}"]["model"][hour]
            assert found == pytest.approx(1 - (model**2).sum() / (equal**2).sum(), rel=1e-9)
            mae = scores[f"mae_per_hour{suffix}"]["model"][hour]
            assert mae == pytest.approx(np.abs(model).mean(), rel=1e-9)


def test_without_a_start_or_a_mask_there_are_no_such_groups(scores):
    assert "skill_by_amount" in scores
    assert not {"skill_by_hour_of_day", "skill_by_season", "skill_by_surface"} & scores.keys()


# ---------------------------------------------------------------------------- wet hours and peaks


@pytest.mark.parametrize("method", METHODS)
def test_wet_hours_and_patterns_agree_with_crosstables(fields, scores, method):
    wet_truth, wet_model = (
        np.moveaxis(f >= np.float32(0.1), 1, -1) for f in (fields.truth, getattr(fields, method))
    )
    for label, cells in (("all", fields.valid), ("conditional", fields.wet)):
        table = np.zeros((4, 4), int)
        for t, p in zip(wet_truth[cells].sum(-1), wet_model[cells].sum(-1), strict=True):
            table[t, p] += 1
        found = scores["wet_hours"][method][label]
        assert found["confusion_truth_by_prediction"] == table.tolist()
        assert found["accuracy"] == pytest.approx(np.trace(table) / cells.sum())
    table = np.zeros((8, 8), int)
    for t, p in zip(
        wet_truth[fields.wet] @ [4, 2, 1], wet_model[fields.wet] @ [4, 2, 1], strict=True
    ):
        table[t, p] += 1
    found = scores["wet_pattern"][method]
    assert found["confusion_truth_by_prediction"] == table.tolist()
    assert found["accuracy"] == pytest.approx(np.trace(table) / fields.wet.sum())


@pytest.mark.parametrize("method", METHODS)
def test_the_peak_hour_agrees_with_argmax_where_the_truth_has_one(fields, scores, method):
    truth, model = (
        np.moveaxis(f, 1, -1)[fields.wet] for f in (fields.truth, getattr(fields, method))
    )
    ordered = np.sort(truth.astype(np.float64), axis=-1)
    single = ordered[:, 2] - ordered[:, 1] > 1e-6
    table = np.zeros((3, 3), int)
    np.add.at(table, (truth[single].argmax(-1), model[single].argmax(-1)), 1)
    found = scores["peak_hour"][method]
    assert found["confusion_truth_by_prediction"] == table.tolist()
    assert found["ties_left_out"] == (~single).sum() > 0
    assert found["accuracy"] == pytest.approx(np.trace(table) / single.sum())


def test_peaks_closer_than_a_millionth_of_a_mm_are_ties():
    truth = [[1, 1, 1], [1 + 5e-7, 1 + 4e-6, 0.2], [0, 0, 0.3]]
    result = one_cell(truth, truth)["peak_hour"]["model"]
    assert result["ties_left_out"] == 1
    assert result["confusion_truth_by_prediction"] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_the_wet_limit_can_be_moved():
    truth = np.float32([[[0.3]], [[0.1]], [[2.0]]])
    methods = {"model": truth[::-1], "equal": truth}
    tally = window_tally(methods, truth, truth.sum(0), [1], [5], wet_hour_mm=0.3)
    found = summarise(tally, METHODS, [1], [5])["wet_pattern"]["model"]
    # Wet at 0.3 mm: truth 101, and backwards in time 101 as well.
    assert np.argwhere(found["confusion_truth_by_prediction"]).tolist() == [[5, 5]]


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

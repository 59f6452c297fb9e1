"""All scores of an evaluation against scikit-learn, values by hand, and the given facts."""

import csv
import json
import re

import numpy as np
import pytest
from day_tables import LABELS, MAJORS, make_table
from sklearn import metrics

from tenkizu.core.errors import DataError
from tenkizu.core.samples import samples_folder
from tenkizu.core.store import plain
from tenkizu.patterns.verification.day_bootstrap import day_counts
from tenkizu.patterns.verification.days import DayTable, kind_of
from tenkizu.patterns.verification.probability_scores import reliability, roc_auc
from tenkizu.patterns.verification.score_report import class_report
from tenkizu.patterns.verification.score_summary import summarise
from tenkizu.patterns.verification.scores import mean_and_sd, paired_difference, score_days
from tenkizu.patterns.verification.thresholds import tune_thresholds


def score(table, baselines=None, majors=MAJORS, beta=1.0, **options):
    thresholds = tune_thresholds(table.truth, table.calibrated, table.labels, beta=beta)
    options = {"resamples": 100} | options
    return score_days(table, majors, thresholds, "held-out", baselines or {}, **options)


@pytest.fixture(scope="module", params=[1, None], ids=["ties", "distinct"])
def table(request):
    return make_table(digits=request.param)


@pytest.fixture(scope="module")
def scores(table):
    return score(table, beta=[1, 2, 0.5, 1])


def test_scores_of_each_class_are_those_of_scikit_learn(table, scores):
    assert list(scores["classes"]) == list(LABELS)
    for c, name in enumerate(LABELS):
        truth, raw, probs = table.truth[:, c], table.raw[:, c], table.calibrated[:, c]
        predicted, entry = table.predicted[:, c], scores["classes"][name]
        expected = {
            "support": truth.sum(),
            "prevalence": truth.mean(),
            "ap": metrics.average_precision_score(truth, raw),
            "roc_auc": metrics.roc_auc_score(truth, raw),
            "precision": metrics.precision_score(truth, predicted),
            "recall": metrics.recall_score(truth, predicted),
            "f1": metrics.f1_score(truth, predicted),
            "fbeta": metrics.fbeta_score(truth, predicted, beta=entry["beta"]),
            "brier": metrics.brier_score_loss(truth, probs),
            "brier_raw": metrics.brier_score_loss(truth, raw),
            "log_loss": metrics.log_loss(truth, probs),
            "log_loss_raw": metrics.log_loss(truth, raw),
        }
        assert {k: entry[k] for k in expected} == pytest.approx(expected, rel=1e-9)
        counts = [entry[k] for k in ("correct_negatives", "false_alarms", "misses", "hits")]
        assert counts == metrics.confusion_matrix(truth, predicted).ravel().tolist()
        assert (entry["status"], entry["provenance"]) == ("tuned", "held-out")


def test_averages_are_those_of_scikit_learn(table, scores):
    truth, predicted = table.truth, table.predicted
    assert (~predicted.any(axis=1)).any()  # days without any prediction have no precision
    names = [f"{k} avg" for k in ("micro", "macro", "weighted", "samples")]
    report = metrics.classification_report(
        truth, predicted, output_dict=True, target_names=LABELS, zero_division=np.nan
    )
    ours = class_report(scores)
    for name in (*LABELS, *names):
        row = {key: ours[name][key] for key in report[name]}
        # scikit-learn's F1 of a day without predictions is NaN with this option; ours is 0.
        if name == "samples avg":
            report[name]["f1-score"] = metrics.f1_score(
                truth, predicted, average="samples", zero_division=0
            )
        assert row == pytest.approx(report[name], rel=1e-9)
    samples = scores["averages"]["samples"]["defined"]
    assert (samples["recall"], samples["precision"]) == (400, predicted.any(axis=1).sum())
    assert scores["map"] == pytest.approx(
        metrics.average_precision_score(truth, table.raw, average="macro")
    )
    expected = {
        "macro_f1": metrics.f1_score(truth, predicted, average="macro"),
        "micro_f1": metrics.f1_score(truth, predicted, average="micro"),
        "weighted_f1": metrics.f1_score(truth, predicted, average="weighted"),
        "exact_match": metrics.accuracy_score(truth, predicted),
        "hamming_loss": metrics.hamming_loss(truth, predicted),
        "jaccard": metrics.jaccard_score(truth, predicted, average="samples"),
        "roc_auc": metrics.roc_auc_score(truth, table.raw),
        "brier": np.mean((table.calibrated - truth) ** 2),
    }
    assert {k: scores[k] for k in expected} == pytest.approx(expected, rel=1e-9)


def test_f_beta_is_averaged_like_f1(table):
    averages = score(table, beta=2.0)["averages"]
    for name in ("micro", "macro", "weighted"):
        expected = metrics.fbeta_score(table.truth, table.predicted, beta=2, average=name)
        assert averages[name]["fbeta"] == pytest.approx(expected, rel=1e-9)


def test_weighted_days_are_scored_as_if_repeated(table):
    counts, _ = day_counts(table.times, resamples=8)
    drawn = summarise(table, counts)
    for r, row in enumerate(counts):
        days = np.repeat(np.arange(len(table)), row)
        truth, predicted = table.truth[days], table.predicted[days]
        f1 = metrics.f1_score(truth, predicted, average=None)
        np.testing.assert_allclose(drawn["f1"][r], f1, rtol=1e-9)
        ap = metrics.average_precision_score(truth, table.raw[days], average=None)
        np.testing.assert_allclose(drawn["ap"][r], ap, rtol=1e-9)
        assert drawn["map"][r] == pytest.approx(np.mean(ap))
        assert drawn["exact_match"][r] == pytest.approx(metrics.accuracy_score(truth, predicted))
        assert drawn["log_loss_mean"][r] == pytest.approx(
            np.mean([metrics.log_loss(truth[:, c], table.calibrated[days, c]) for c in range(4)])
        )


def test_intervals_hold_the_scores_and_are_the_same_again(table, scores):
    intervals = scores["intervals"]
    assert (intervals["block_days"], intervals["blocks"], intervals["resamples"]) == (7, 58, 100)
    for name in ("map", "macro_f1", "micro_f1", "exact_match", "hamming_loss", "brier"):
        low, high = intervals[name]
        assert low < scores[name] < high
    for entry in scores["classes"].values():
        low, high = entry["intervals"]["f1"]
        assert low < entry["f1"] < high
    again = score(table, beta=[1, 2, 0.5, 1])
    assert json.dumps(plain(again)) == json.dumps(plain(scores))


def test_a_class_without_days_is_null_and_leaves_the_means():
    whole = make_table()
    truth, predicted = whole.truth.copy(), whole.predicted.copy()
    truth[:, 2] = predicted[:, 2] = False
    decided = np.array([True, True, False, True])
    found = score(make_table(truth=truth, predicted=predicted, decided=decided))
    assert (found["map_classes"], found["macro_f1_classes"]) == (3, 3)
    others = [found["classes"][name] for name in ("1", "2A", "3")]
    assert found["map"] == pytest.approx(np.mean([e["ap"] for e in others]))
    assert found["macro_f1"] == pytest.approx(np.mean([e["f1"] for e in others]))
    assert found["undecided"] == ["2B"]
    entry = json.loads(json.dumps(plain(found), allow_nan=False))["classes"]["2B"]
    nothing = {k: entry[k] for k in ("ap", "roc_auc", "precision", "recall", "f1", "threshold")}
    assert set(nothing.values()) == {None}
    assert (entry["status"], entry["support"], entry["resamples"]["ap"]) == ("undefined", 0, 0)
    assert entry["intervals"]["ap"] == [None, None]


def test_a_class_without_a_threshold_is_missed_where_classes_are_taken_together():
    whole = make_table()
    predicted = whole.predicted.copy()
    predicted[:, 2] = False
    decided = np.array([True, True, False, True])
    table = make_table(predicted=predicted, decided=decided)
    found = score(table)
    assert np.isnan(found["classes"]["2B"]["f1"])
    assert found["map_classes"] == 4
    assert found["macro_f1_classes"] == 3
    assert not table.predicted[table.truth[:, 2]][:, 2].any()
    expected = metrics.f1_score(table.truth, predicted, average="micro")
    assert found["micro_f1"] == pytest.approx(expected)
    assert found["exact_match"] == pytest.approx((table.truth == predicted).all(axis=1).mean())


def test_rare_classes_leave_the_second_map():
    truth = make_table().truth.copy()
    truth[9:, 2] = False
    truth[:9, 2] = True
    found = score(make_table(truth=truth))
    assert (found["map_classes"], found["map_min10_classes"]) == (4, 3)
    frequent = [found["classes"][name]["ap"] for name in ("1", "2A", "3")]
    assert found["map_min10"] == pytest.approx(np.mean(frequent))


def test_seasons_years_and_kinds():
    kinds = ["transition" if i % 7 == 3 else "single" for i in range(400)]
    table = make_table(first="1998-11-29", kinds=kinds)
    found = score(table)
    assert {k: e["n_days"] for k, e in found["by_season"].items()} == {
        "DJF": 31 + 31 + 28 + 31 + 2,
        "MAM": 92,
        "JJA": 92,
        "SON": 91 + 2,
    }
    assert {k: e["n_days"] for k, e in found["by_year"].items()} == {
        "1998": 33,
        "1999": 365,
        "2000": 2,
    }
    assert list(found["by_kind"]) == ["single", "transition"]
    mask = np.array(kinds) == "transition"
    entry = found["by_kind"]["transition"]
    truth, predicted = table.truth[mask], table.predicted[mask]
    assert entry["exact_match"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert entry["map"] == pytest.approx(metrics.average_precision_score(truth, table.raw[mask]))
    assert entry["provenance"] == "held-out"
    # A class absent from two days is skipped, and the number of others said.
    assert found["by_year"]["2000"]["map_classes"] == table.truth[-2:].any(axis=0).sum()


def test_major_types_are_derived_from_their_subtypes(table, scores):
    assert list(scores["by_major"]) == ["1", "2", "3"]
    entry = scores["by_major"]["2"]
    truth, probs = table.truth[:, 1:3].any(axis=1), table.calibrated[:, 1:3].max(axis=1)
    assert entry["labels"] == ["2A", "2B"]
    assert entry["support"] == truth.sum()
    assert entry["ap"] == pytest.approx(metrics.average_precision_score(truth, probs))
    predicted = table.predicted[:, 1:3].any(axis=1)
    assert entry["f1"] == pytest.approx(metrics.f1_score(truth, predicted))
    majors = scores["by_major"].values()
    assert scores["major_macro_f1"] == pytest.approx(np.mean([e["f1"] for e in majors]))


def test_baselines_stand_beside_the_model(table):
    constant = np.tile([0.4, 0.2, 0.1, 0.3], (400, 1))
    yesterday = np.concatenate([np.full((1, 4), np.nan), table.truth[:-1]])
    found = score(table, {"prevalence": constant, "persistence": yesterday})
    share = table.truth.mean(axis=0)
    entry = found["baselines"]["prevalence"]
    assert list(entry["ap"].values()) == pytest.approx(share.tolist())
    assert entry["map"] == pytest.approx(share.mean())
    assert entry["brier"] == pytest.approx(np.mean((constant - table.truth) ** 2))
    assert entry["map_gain"]["value"] == pytest.approx(found["map"] - entry["map"])
    assert 0 < entry["map_gain"]["low"] < entry["map_gain"]["value"] < entry["map_gain"]["high"]
    # The first day has no yesterday: it is left out, for the model that it is compared with too.
    entry = found["baselines"]["persistence"]
    assert entry["n_days"] == 399
    expected = metrics.average_precision_score(table.truth[1:], table.truth[:-1])
    assert entry["map"] == pytest.approx(expected)
    model = metrics.average_precision_score(table.truth[1:], table.raw[1:])
    assert entry["map_gain"]["value"] == pytest.approx(model - expected)
    every = found["baselines"]["all_positive"]
    ones = metrics.f1_score(table.truth, np.ones((400, 4)), average=None)
    assert list(every["f1"].values()) == pytest.approx(ones.tolist())
    assert every["macro_f1"] == pytest.approx(ones.mean())


def test_facts_of_the_shipped_calendar():
    path = samples_folder() / "labels" / "yoshino_1991_2000.csv"
    with path.open(encoding="utf-8") as handle:
        dates, texts = zip(*[(r["date"], r["label"]) for r in csv.DictReader(handle)], strict=True)
    names = ["1", *(f"{k}{x}" for k in "23" for x in "ABCD"), "4A", "4B", "5", "6A", "6B", "6C"]
    truth = np.array([[name in re.split("[+-]", text) for name in names] for text in texts])
    late = np.array(dates, "datetime64[D]") >= np.datetime64("1998-01-01")
    share = np.tile(truth[~late].mean(axis=0), (late.sum(), 1))
    chosen = [text for text, use in zip(texts, late, strict=True) if use]
    table = DayTable(
        labels=tuple(names),
        times=np.array(dates, "datetime64[m]")[late],
        texts=chosen,
        kinds=[kind_of(text) for text in chosen],
        truth=truth[late],
        raw=share,
        calibrated=share,
        predicted=np.zeros(share.shape, bool),
        decided=np.ones(15, bool),
    )
    yesterday = truth[np.flatnonzero(late) - 1].astype(float)
    found = score(table, {"persistence": yesterday}, majors=[name[0] for name in names])
    assert (found["n_days"], found["map_classes"]) == (1096, 15)
    assert found["map"] == pytest.approx(0.102, abs=5e-4)
    assert found["baselines"]["persistence"]["map"] == pytest.approx(0.225, abs=5e-4)
    assert [found["classes"][name]["support"] for name in ("1", "3D", "6C")] == [226, 51, 3]
    assert {k: e["n_days"] for k, e in found["by_kind"].items()} == {
        "single": 522,
        "composite": 507,
        "transition": 67,
    }


def test_reliability_worked_by_hand():
    probs = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.7])
    truth = np.array([0, 0, 1, 1, 1, 0], bool)
    found = reliability(truth, probs, bins=2)
    assert found["days"] == [3, 3]
    np.testing.assert_allclose(found["mean_probability"], [0.2, 0.8])
    np.testing.assert_allclose(found["observed_share"], [1 / 3, 2 / 3])
    assert found["ece"] == pytest.approx(0.5 * (1 / 3 - 0.2) + 0.5 * (0.8 - 2 / 3))


def test_bins_have_equal_counts_and_keep_ties_together():
    rng = np.random.default_rng(0)
    assert reliability(rng.random(731) < 0.5, rng.random(731))["days"] == pytest.approx(
        [731 / 15] * 15, abs=1
    )
    # One probability for every day is right on average: no error from how days are cut.
    truth = np.arange(90) % 3 == 0
    found = reliability(truth, np.full(90, 1 / 3))
    assert (found["days"], found["ece"]) == ([90], pytest.approx(0, abs=1e-15))


def test_roc_auc_of_one_kind_of_day_is_undefined():
    truth = np.array([[1, 0, 1], [1, 0, 0]], bool)
    np.testing.assert_allclose(roc_auc(truth, np.ones((2, 3))), [np.nan, np.nan, 0.5])


def test_models_are_compared_on_the_same_resamples():
    table = make_table()
    assert paired_difference(table, table) == {
        "blocks": 58,
        "map": {"value": 0, "low": 0, "high": 0},
        "macro_f1": {"value": 0, "low": 0, "high": 0},
    }
    # A little noise everywhere: each model's mAP is uncertain, their difference hardly.
    noise = np.random.default_rng(0).normal(0, 0.02, table.raw.shape)
    worse = make_table(raw=np.clip(table.raw + noise, 0, 1))
    found = paired_difference(table, worse)["map"]
    low, high = score(table, resamples=1000)["intervals"]["map"]
    assert found["high"] - found["low"] < 0.3 * (high - low)
    assert found["low"] <= found["value"] <= found["high"]
    back = paired_difference(worse, table)["map"]
    assert back["value"] == -found["value"]
    assert back["low"] == pytest.approx(-found["high"])


def test_folds_and_seeds_are_summed_up_by_mean_and_sd():
    runs = [{"map": 0.5, "macro_f1": 0.3}, {"map": 0.7, "macro_f1": np.nan}, {"map": 0.6}]
    found = mean_and_sd([{"macro_f1": None} | run for run in runs], ("map", "macro_f1"))
    assert found["map"] == {"mean": pytest.approx(0.6), "sd": pytest.approx(0.1), "n": 3}
    # One number has no spread, and undefined ones are left out.
    assert plain(found)["macro_f1"] == {"mean": 0.3, "sd": None, "n": 1}


def test_what_cannot_be_scored_or_compared_says_so():
    table = make_table(20)
    with pytest.raises(DataError, match="no labelled day to score"):
        score(table.select(np.zeros(20, bool)))
    with pytest.raises(DataError, match="same labelled days"):
        paired_difference(table, make_table(21))
    with pytest.raises(DataError, match=r"climatology: .*found \(19, 4\), expected \(20, 4\)"):
        score(table, {"climatology": np.zeros((19, 4))})
    partly = np.zeros((20, 4))
    partly[3, 1] = np.nan
    with pytest.raises(DataError, match="only in part; found NaN on 1998-01-04"):
        score(table, {"knn": partly})
    with pytest.raises(DataError, match="other labels"):
        score(table, majors=MAJORS[:2])


def test_less_than_two_weeks_have_no_intervals():
    found = score(make_table(6))
    assert found["intervals"]["blocks"] == 1
    assert plain(found)["intervals"]["map"] == [None, None]
    assert found["n_days"] == 6

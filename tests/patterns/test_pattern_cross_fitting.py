"""Cross-fitting: no day is decided with what was learnt from its own group."""

import numpy as np
import pytest
from day_tables import LABELS, draw

from tenkizu.patterns.verification.calibration import fit_calibration
from tenkizu.patterns.verification.cross_fitting import cross_fit, validation_groups
from tenkizu.patterns.verification.thresholds import tune_thresholds


def dates(first, days):
    return np.datetime64(first) + np.arange(days)


def test_groups_are_years():
    groups = validation_groups(dates("1998-01-01", 1096))
    assert dict(zip(*np.unique(groups, return_counts=True), strict=True)) == {
        1998: 365,
        1999: 365,
        2000: 366,
    }


def test_within_one_year_they_are_blocks_of_30_days():
    groups = validation_groups(dates("1998-03-01", 75))
    assert np.unique(groups, return_counts=True)[1].tolist() == [30, 30, 15]
    # A gap takes its place in the count.
    days = np.concatenate([dates("1998-01-01", 10), dates("1998-03-02", 5)])
    assert len(np.unique(validation_groups(days))) == 2


@pytest.mark.parametrize("kind", ["none", "platt"])
def test_each_year_is_decided_by_the_others(kind):
    truth, logits = draw(1096)
    groups = validation_groups(dates("1998-01-01", 1096))
    found = cross_fit(logits, truth, groups, LABELS, kind=kind, beta=2.0)
    assert found.provenance == "cross-fitted"
    for year in (1998, 1999, 2000):
        own = groups == year
        curve = fit_calibration(kind, logits[~own], truth[~own], LABELS)
        tuned = tune_thresholds(truth[~own], curve.apply(logits[~own]), LABELS, beta=2.0)
        probs = curve.apply(logits[own])
        np.testing.assert_array_equal(found.calibrated[own], probs)
        np.testing.assert_array_equal(found.predicted[own], tuned.decide(probs))


def test_labels_of_a_year_do_not_touch_its_own_decisions():
    truth, logits = draw(731)
    groups = validation_groups(dates("1999-01-01", 731))
    before = cross_fit(logits, truth, groups, LABELS)
    truth[groups == 2000] = truth[groups == 2000][::-1]
    after = cross_fit(logits, truth, groups, LABELS)
    own = groups == 2000
    np.testing.assert_array_equal(before.calibrated[own], after.calibrated[own])
    np.testing.assert_array_equal(before.predicted[own], after.predicted[own])
    assert (before.calibrated[~own] != after.calibrated[~own]).any()


def test_a_class_of_one_year_only_gets_the_fallback_there_and_one_without_days_none():
    truth, logits = draw(731)
    groups = validation_groups(dates("1999-01-01", 731))
    truth[groups == 1999, 2] = False
    truth[:, 3] = False
    logits[0, 2], logits[1, 2] = 0.1, -0.1  # in 1999: 2000 alone can tune it
    logits[-1, 2], logits[-2, 2] = 0.1, -0.1  # in 2000: no positive in 1999
    found = cross_fit(logits, truth, groups, LABELS, kind="none", fallback=0.5)
    assert found.decided.tolist() == [True, True, True, False]
    assert found.predicted[[-1, -2], 2].tolist() == [True, False]
    assert not found.predicted[:, 3].any()


def test_too_few_days_to_split_are_said_to_be_in_sample():
    truth, logits = draw(30)
    groups = validation_groups(dates("1998-01-01", 30))
    found = cross_fit(logits, truth, groups, LABELS, kind="none", min_positives=1)
    assert found.provenance == "in-sample"
    tuned = tune_thresholds(truth, found.calibrated, LABELS, min_positives=1)
    np.testing.assert_array_equal(found.predicted, tuned.decide(found.calibrated))


def test_useless_scores_look_good_only_in_sample():
    rng = np.random.default_rng(5)
    truth, logits = rng.random((120, 1)) < 0.15, rng.normal(size=(120, 1))

    def f1(predicted):
        return 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())

    own = cross_fit(logits, truth, np.zeros(120, int), ["a"], kind="none")
    fair = cross_fit(logits, truth, np.arange(120) // 30, ["a"], kind="none")
    assert own.provenance == "in-sample"
    assert f1(fair.predicted) < f1(own.predicted)

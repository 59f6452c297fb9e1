"""Thresholds: the three cases of the specification, the status of each class, exact maxima."""

import json

import numpy as np
import pytest
from sklearn.metrics import fbeta_score

from tenkizu.core.store import plain
from tenkizu.patterns.verification.thresholds import Thresholds, tune_thresholds


def tune(truth, probs, **options):
    truth = np.array(truth, bool).reshape(len(truth), -1)
    probs = np.array(probs, float).reshape(truth.shape)
    names = [f"class {i}" for i in range(truth.shape[1])]
    return tune_thresholds(truth, probs, names, **{"min_positives": 1} | options)


@pytest.mark.parametrize(
    ("truth", "probs", "status", "threshold"),
    [
        ([1, 0, 0], [0.9, 0.8, 0.1], "tuned", 0.85),
        ([1, 0, 0], [0.5, 0.5, 0.2], "tuned", 0.35),
        ([0, 0, 1], [0.9, 0.8, 0.1], "no_skill", 0.5),
        # The first day alone and every day both reach F1 = 2/3: the higher score wins.
        ([1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6], "tuned", 0.85),
        ([1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5], "no_skill", 0.5),
        ([0, 0, 0], [0.9, 0.8, 0.1], "undefined", np.nan),
    ],
)
def test_threshold_of_a_few_days(truth, probs, status, threshold):
    found = tune(truth, probs)
    assert found.status == (status,)
    np.testing.assert_allclose(found.thresholds, threshold)


def test_no_number_between_two_scores():
    low = 0.5
    high = np.nextafter(low, 1)
    found = tune([1, 0, 0], [high, low, 0.1])
    assert found.thresholds[0] == high
    assert found.decide(np.array([[high], [low]])).tolist() == [[True], [False]]


def test_few_positives_keep_the_fallback():
    truth, probs = np.zeros((100, 2), bool), np.random.default_rng(0).random((100, 2))
    truth[:9, 0] = truth[:10, 1] = True
    probs[:10] += 2
    found = tune(truth, probs, min_positives=10, fallback=0.4)
    assert found.status == ("few_positives", "tuned")
    assert found.thresholds[0] == 0.4
    assert found.thresholds[1] > 1
    assert found.n_positive.tolist() == [9, 10]


@pytest.mark.parametrize("beta", [0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("digits", [1, 6])
def test_no_threshold_is_better(beta, digits):
    rng = np.random.default_rng(3)
    truth = rng.random((60, 3)) < 0.2
    probs = np.clip(0.4 * truth + 0.6 * rng.random((60, 3)), 0, 1).round(digits)
    found = tune(truth, probs, beta=beta)
    assert set(found.status) == {"tuned"}
    for c in range(3):
        tried = [
            fbeta_score(truth[:, c], probs[:, c] >= s, beta=beta) for s in np.unique(probs[:, c])
        ]
        assert found.fbeta[c] == pytest.approx(max(tried), rel=1e-12)
        # The same days as the highest of the best rules.
        best = np.unique(probs[:, c])[np.flatnonzero(np.isclose(tried, max(tried), rtol=1e-12))[-1]]
        decided = found.decide(probs)[:, c]
        np.testing.assert_array_equal(decided, probs[:, c] >= best)
        lower = probs[:, c][probs[:, c] < best].max()
        assert found.thresholds[c] == pytest.approx((best + lower) / 2)


def test_each_class_has_its_beta():
    rng = np.random.default_rng(4)
    truth = np.tile(rng.random((200, 1)) < 0.3, 2)
    probs = np.tile(0.5 * truth[:, :1] + rng.random((200, 1)), 2)
    careful, eager = tune(truth, probs, beta=[0.3, 3.0]).thresholds
    assert careful > eager


def test_an_undefined_class_is_never_predicted_and_null_in_the_file():
    truth = np.array([[1, 0], [0, 0], [0, 0]], bool)
    found = tune(truth, [[0.9, 0.9], [0.8, 0.8], [0.1, 0.1]]).described("1997-1998", "1999-2000")
    assert found.decided.tolist() == [True, False]
    assert not found.decide(np.ones((5, 2)))[:, 1].any()
    text = json.dumps(plain(found.to_json()), allow_nan=False)
    content = json.loads(text)
    assert content["thresholds"] == [pytest.approx(0.85), None]
    assert content["fbeta"] == [1.0, None]
    assert content["status"] == ["tuned", "undefined"]
    assert (content["tuned_on"], content["applies_to"]) == ("1997-1998", "1999-2000")
    again = Thresholds.from_json(content)
    assert again.to_json() == content
    np.testing.assert_array_equal(again.decide(np.full((1, 2), 0.86)), [[True, False]])

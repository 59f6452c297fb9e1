"""Calibration: fits against scikit-learn and values by hand, fallbacks, what must not change."""

import json

import numpy as np
import pytest
from day_tables import LABELS, draw
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from tenkizu.core.errors import ConfigError
from tenkizu.core.store import plain
from tenkizu.patterns.verification.average_precision import average_precision
from tenkizu.patterns.verification.calibration import RIDGE, Calibration, fit_calibration, sigmoid
from tenkizu.patterns.verification.probability_scores import reliability


def miscalibrated(days=4000, slope=0.5, offset=-2.0, seed=0):
    """Logits of one class whose true probabilities are sigmoid(slope z + offset)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(2, 3, (days, 1))
    return logits, rng.random((days, 1)) < sigmoid(slope * logits + offset)


def test_platt_finds_the_line_that_scikit_learn_finds():
    logits, truth = miscalibrated()
    curve = fit_calibration("platt", logits, truth, ["a"]).curves[0]
    fit = LogisticRegression(C=np.inf, tol=1e-10).fit(logits, truth[:, 0])
    assert curve.slope == pytest.approx(fit.coef_[0, 0], abs=2e-3)
    assert curve.offset == pytest.approx(fit.intercept_[0], abs=2e-3)
    assert (curve.slope, curve.offset) == (pytest.approx(0.5, abs=0.05), pytest.approx(-2, abs=0.2))


def test_platts_ridge_pulls_slope_to_one_and_offset_to_zero():
    logits, truth = miscalibrated(days=60)
    curve = fit_calibration("platt", logits, truth, ["a"]).curves[0]
    # At the minimum the ridge balances the errors of the fit.
    error = curve.apply(logits[:, 0]) - truth[:, 0]
    assert error.sum() == pytest.approx(-RIDGE * curve.offset, abs=1e-4)
    assert error @ logits[:, 0] == pytest.approx(-RIDGE * (curve.slope - 1), abs=1e-4)
    assert error.sum() > 0.1


def test_temperature_finds_the_line_through_the_origin_that_scikit_learn_finds():
    logits, truth = miscalibrated(slope=0.4, offset=0.0)
    curve = fit_calibration("temperature", logits, truth, ["a"]).curves[0]
    fit = LogisticRegression(C=np.inf, tol=1e-10, fit_intercept=False).fit(logits, truth[:, 0])
    assert curve.slope == pytest.approx(fit.coef_[0, 0], rel=1e-4)
    assert curve.offset == 0


@pytest.mark.parametrize("kind", ["temperature", "platt"])
def test_ap_does_not_change(kind):
    truth, logits = draw(1500)
    logits = logits.round(1)  # ties, which must stay ties
    probs = fit_calibration(kind, 3 * logits + 1, truth, LABELS).apply(3 * logits + 1)
    np.testing.assert_array_equal(average_precision(truth, probs), average_precision(truth, logits))
    for c in range(4):
        assert average_precision_score(truth[:, c], probs[:, c]) == pytest.approx(
            average_precision_score(truth[:, c], logits[:, c]), rel=1e-12
        )


@pytest.mark.parametrize("kind", ["temperature", "platt"])
def test_a_slope_stays_positive_and_bounded(kind):
    rng = np.random.default_rng(1)
    truth = rng.random((300, 2)) < 0.3
    # The first is worse than none, the second without any error.
    logits = np.stack([-3.0 * truth[:, 0] + rng.normal(size=300), 8.0 * truth[:, 1] - 4], axis=1)
    worst, perfect = fit_calibration(kind, logits, truth, ["a", "b"]).curves
    assert 0 < worst.slope < 0.1
    assert 1 < perfect.slope <= 10
    assert average_precision(truth, logits)[1] == 1


@pytest.mark.parametrize("kind", ["temperature", "platt", "isotonic"])
def test_calibrated_probabilities_mean_what_they_say_on_other_days(kind):
    logits, truth = miscalibrated()
    others, seen = miscalibrated(seed=1)
    probs = fit_calibration(kind, logits, truth, ["a"]).apply(others)
    raw = reliability(seen[:, 0], sigmoid(others)[:, 0])["ece"]
    share = 0.9 if kind == "temperature" else 0.2
    assert reliability(seen[:, 0], probs[:, 0])["ece"] < share * raw


def test_classes_with_few_positives_share_one_temperature():
    truth, logits = draw(600)
    truth[:, 3] = False
    truth[:9, 3] = True
    names = ["temperature", "temperature", "temperature", "shared_temperature"]
    found = fit_calibration("temperature", logits, truth, LABELS)
    assert [c.method for c in found.curves] == names
    whole = fit_calibration("temperature", logits.reshape(-1, 1), truth.reshape(-1, 1), ["all"])
    assert found.curves[3].slope == pytest.approx(whole.curves[0].slope, rel=1e-6)
    assert fit_calibration("platt", logits, truth, LABELS).curves[3] == found.curves[3]
    # An isotonic curve asks for 50.
    truth[:49, 3] = True
    assert fit_calibration("isotonic", logits, truth, LABELS).curves[3].method == names[3]
    truth[:50, 3] = True
    assert fit_calibration("isotonic", logits, truth, LABELS).curves[3].method == "isotonic"


def test_without_positives_nothing_is_changed():
    logits = np.random.default_rng(0).normal(size=(50, 2))
    found = fit_calibration("platt", logits, np.zeros((50, 2), bool), ["a", "b"])
    np.testing.assert_array_equal(found.apply(logits), sigmoid(logits))


def test_isotonic_pools_what_goes_down():
    shares = {0.0: 10, 1.0: 50, 2.0: 30, 3.0: 90}  # days in 100 with the class
    logits = np.repeat(list(shares), 100).reshape(-1, 1)
    truth = np.concatenate([np.arange(100) < k for k in shares.values()]).reshape(-1, 1)
    found = fit_calibration("isotonic", logits, truth, ["a"])
    asked = np.array([[-5], [0], [0.5], [1], [1.7], [2], [2.5], [3], [99]])
    expected = [0.1, 0.1, 0.25, 0.4, 0.4, 0.4, 0.65, 0.9, 0.9]
    np.testing.assert_allclose(found.apply(asked)[:, 0], expected)


def test_isotonic_is_never_certain():
    logits = np.linspace(-1, 1, 200).reshape(-1, 1)
    probs = fit_calibration("isotonic", logits, logits > 0, ["a"]).apply(logits)
    assert (probs.min(), probs.max()) == (pytest.approx(1 / 202), pytest.approx(201 / 202))


def test_prior_shift_divides_the_odds_by_the_weight():
    logits = np.log([[1.0, 3.0], [0.25, 0.5]])
    found = fit_calibration("prior_shift", logits, logits > 0, ["a", "b"], pos_weight=[1, 3])
    np.testing.assert_allclose(found.apply(logits), [[0.5, 0.5], [0.2, 1 / 7]])


@pytest.mark.parametrize("training", [{"loss": "focal"}, {"sampler": "inverse"}])
def test_prior_shift_is_refused_where_it_does_not_hold(training):
    with pytest.raises(ConfigError) as caught:
        fit_calibration("prior_shift", np.zeros((2, 1)), np.ones((2, 1), bool), ["a"], **training)
    message = str(caught.value)
    assert "calibration.kind" in message
    assert next(iter(training.values())) in message
    assert "choose calibration.kind=platt" in message
    assert caught.value.exit_code == 2


def test_none_is_the_sigmoid():
    truth, logits = draw(30)
    np.testing.assert_allclose(
        fit_calibration("none", logits, truth, LABELS).apply(logits), 1 / (1 + np.exp(-logits))
    )


@pytest.mark.parametrize("kind", ["none", "temperature", "platt", "isotonic", "prior_shift"])
def test_the_file_holds_all_that_is_needed(kind):
    truth, logits = draw(300)
    found = fit_calibration(kind, logits, truth, LABELS, pos_weight=[1, 2, 3, 4])
    text = json.dumps(plain(found.described("1998-2000").to_json()), allow_nan=False)
    content = json.loads(text)
    assert set(content) == {"labels", "kind", "parameters", "fitted_on"}
    assert (content["kind"], content["fitted_on"]) == (kind, "1998-2000")
    again = Calibration.from_json(content)
    np.testing.assert_array_equal(again.apply(logits), found.apply(logits))
    np.testing.assert_array_equal(
        again.apply(logits.astype(np.float32)), found.apply(logits.astype(np.float32))
    )

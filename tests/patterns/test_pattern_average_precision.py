"""AP against scikit-learn, with ties, weights and whole sets of resamples."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tenkizu.patterns.verification.average_precision import average_precision, mean_over


def by_sklearn(truth, scores, weights=None):
    return [
        average_precision_score(truth[:, c], scores[:, c], sample_weight=weights)
        for c in range(truth.shape[1])
    ]


@pytest.mark.parametrize("digits", [0, 1, 2, 12])
def test_ap_is_that_of_scikit_learn_with_many_few_and_no_ties(digits):
    rng = np.random.default_rng(digits)
    truth, scores = rng.random((300, 3)) < (0.02, 0.2, 0.9), rng.random((300, 3)).round(digits)
    np.testing.assert_allclose(
        average_precision(truth, scores), by_sklearn(truth, scores), rtol=1e-12
    )
    weights = rng.random(300) * (rng.random(300) < 0.8)
    np.testing.assert_allclose(
        average_precision(truth, scores, weights), by_sklearn(truth, scores, weights), rtol=1e-12
    )


def test_each_resample_is_scored_as_if_its_days_were_repeated():
    rng = np.random.default_rng(1)
    truth, scores = rng.random((120, 2)) < 0.1, rng.random((120, 2)).round(1)
    counts = rng.poisson(1, (40, 120)).astype(np.uint16)
    found = average_precision(truth, scores, counts)
    for row, drawn in zip(found, counts, strict=True):
        days = np.repeat(np.arange(120), drawn)
        np.testing.assert_allclose(row, by_sklearn(truth[days], scores[days]), rtol=1e-12)


def test_more_resamples_than_are_held_at_a_time():
    rng = np.random.default_rng(2)
    truth, scores = rng.random((2000, 1)) < 0.1, rng.random((2000, 1))
    counts = rng.poisson(1, (1200, 2000)).astype(np.uint16)  # 2.4 million, held 1 million at once
    found = average_precision(truth, scores, counts)
    for r in (0, 523, 524, 525, 1199):
        alone = average_precision(truth, scores, counts[r])[0]
        assert found[r, 0] == pytest.approx(alone, rel=1e-13)


def test_steps_worked_by_hand():
    truth = np.array([[1], [0], [1], [0]], bool)
    # Recall rises to 1/2 at precision 1 and to 1 at precision 2/3.
    assert average_precision(truth, np.array([[0.9], [0.8], [0.7], [0.1]])) == pytest.approx(5 / 6)
    # Equal scores enter together: one step to recall 1 at precision 1/2.
    assert average_precision(truth, np.full((4, 1), 0.3)) == pytest.approx(0.5)


def test_a_class_without_positives_is_undefined_and_leaves_the_mean():
    truth = np.array([[1, 0], [0, 0], [1, 0]], bool)
    ap = average_precision(truth, np.array([[0.9, 0.9], [0.8, 0.1], [0.7, 0.5]]))
    np.testing.assert_allclose(ap, [5 / 6, np.nan])
    assert mean_over(ap) == pytest.approx(5 / 6)
    # So is one whose positives are absent from a resample.
    drawn = average_precision(truth, truth.astype(float), np.array([[0, 3, 0], [1, 1, 1]]))
    np.testing.assert_allclose(drawn, [[np.nan, np.nan], [1, np.nan]])
    np.testing.assert_allclose(mean_over(drawn), [np.nan, 1])


def test_no_days_define_nothing():
    assert np.isnan(average_precision(np.zeros((0, 2), bool), np.zeros((0, 2)))).all()

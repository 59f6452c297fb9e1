"""Weights for rare types, on the shipped calendar and on numbers worked by hand."""

import numpy as np
import pytest

from tenkizu.core.errors import ConfigError
from tenkizu.patterns.catalogues import YOSHINO
from tenkizu.patterns.config import LossConfig, SamplerConfig
from tenkizu.patterns.imbalance import (
    effective_sample_size,
    expected_draws,
    imbalance_warning,
    inverse_weights,
    pos_weight,
)
from tenkizu.patterns.labels import read_labels, shipped_calendar

RATIOS = [
    3.79,
    4.28,
    12.53,
    9.97,
    12.53,
    9.83,
    4.38,
    15.18,
    17.94,
    5.61,
    3.96,
    11.29,
    21.23,
    50,
    50,
]


@pytest.fixture(scope="module")
def training_days():
    """Types of the days of 1991-1997, (2557, 15)."""
    days = np.arange("1991-01-01", "1998-01-01", dtype="datetime64[D]")
    return read_labels(shipped_calendar(), YOSHINO).on_days(days)[0]


# ---------------------------------------------------------------------------- pos_weight


def test_ratios_of_the_calendar(training_days):
    weights = pos_weight(training_days.sum(axis=0), len(training_days), "ratio", (1, 50))
    np.testing.assert_allclose(weights, RATIOS, atol=0.005)


def test_the_root_is_taken_before_the_clip(training_days):
    weights = pos_weight(training_days.sum(axis=0), len(training_days), "sqrt", (1, 10))
    # (2557 - 48) / 48 = 52.27 and (2557 - 2) / 2 = 1277.5, of which only the latter's root is cut.
    np.testing.assert_allclose(weights[-2:], [7.2298, 10.0], atol=1e-4)
    np.testing.assert_allclose(weights[:3], np.sqrt([3.7884, 4.2831, 12.5291]), atol=1e-4)


def test_a_frequent_type_is_not_weighed_down_and_an_absent_one_counts_as_one():
    assert pos_weight([90, 0, 10], 100, "ratio", (1, 50)).tolist() == [1, 1, 9]
    assert pos_weight([90, 0, 10], 100, "sqrt", (2, 50)).tolist() == [2, 1, 3]
    assert pos_weight([90, 0, 10], 100, "none").tolist() == [1, 1, 1]


def test_weights_may_be_given_and_must_be_as_many_as_types():
    assert pos_weight([5, 5], 10, [1.5, 70]).tolist() == [1.5, 70]
    with pytest.raises(ConfigError, match=r"loss\.pos_weight: .*found 3 weights, expected 2"):
        pos_weight([5, 5], 10, [1, 2, 3])


# ---------------------------------------------------------------------------- sampler


def test_draws_and_effective_sample_of_the_calendar(training_days):
    weights = inverse_weights(training_days)
    draws = expected_draws(weights)
    assert draws.sum() == pytest.approx(2557)
    assert draws[training_days[:, -1]].round().tolist() == [86, 85]
    assert effective_sample_size(weights) == pytest.approx(366, abs=0.5)


def test_a_day_weighs_the_sum_of_one_over_the_counts_of_its_types():
    targets = [[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]  # counts 3, 1, 0
    third = 1 / 3
    np.testing.assert_allclose(inverse_weights(targets), [third, 1 + third, third, 0])
    np.testing.assert_allclose(inverse_weights(targets, 0.5) ** 2, [third, 1 + third, third, 0])
    assert inverse_weights(targets, 0).tolist() == [1, 1, 1, 0]


def test_no_day_is_expected_more_often_than_the_cap(training_days):
    weights = inverse_weights(training_days, max_draws=4)
    draws = expected_draws(weights)
    plain = inverse_weights(training_days)
    assert draws.max() == pytest.approx(4)
    lowered = draws > 3.999
    assert lowered[training_days[:, -1]].all()
    # The others keep their proportions, and the days at the ceiling are those that were above it.
    np.testing.assert_allclose(weights[~lowered], plain[~lowered])
    assert plain[lowered].min() >= plain[~lowered].max()
    assert effective_sample_size(weights) > 3 * effective_sample_size(plain)


def test_the_cap_of_a_small_case_by_hand():
    # Weights 1, 1, 1, 9: with a ceiling c, 4 c = 2 (3 + c), so c = 3.
    targets = np.array([[1, 0]] * 9 + [[0, 1]])  # counts 9, 1
    nine = inverse_weights(targets)
    np.testing.assert_allclose(nine[-1] / nine[0], 9)
    capped = inverse_weights(targets, max_draws=3)
    # 10 c = 3 (9 + c) in units of the small weight: c = 27 / 7.
    np.testing.assert_allclose(capped[-1] / capped[0], 27 / 7)


def test_a_cap_that_cannot_hold_draws_all_days_with_a_type_alike():
    targets = np.array([[1, 0], [1, 1], [0, 0], [0, 0], [0, 0], [0, 0]])
    assert inverse_weights(targets, max_draws=1).tolist() == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(("weights", "expected"), [([2, 2, 2], 3), ([1, 0, 0], 1), ([3, 1], 1.6)])
def test_effective_sample_size_by_hand(weights, expected):
    assert effective_sample_size(weights) == pytest.approx(expected)


# ---------------------------------------------------------------------------- warning


def test_three_corrections_at_once_are_warned_of_with_their_consequence(training_days):
    loss = LossConfig(kind="focal", pos_weight="ratio", pos_weight_clip=(1, 50))
    text = imbalance_warning(loss, SamplerConfig(kind="inverse"), training_days, YOSHINO.labels)
    assert text is not None
    assert "2 training days with 6C is drawn about 85 times an epoch" in text
    assert "effective sample is 366 of 2557 days" in text


@pytest.mark.parametrize(
    ("loss", "sampler"),
    [
        ({"kind": "bce", "pos_weight": "ratio"}, "inverse"),
        ({"kind": "focal", "pos_weight": "none"}, "inverse"),
        ({"kind": "focal", "pos_weight": "ratio"}, "shuffle"),
    ],
)
def test_two_corrections_are_not(loss, sampler, training_days):
    found = imbalance_warning(
        LossConfig(**loss), SamplerConfig(kind=sampler), training_days, YOSHINO.labels
    )
    assert found is None

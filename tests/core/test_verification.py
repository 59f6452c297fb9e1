"""Counts first, ratios last: categorical scores, tallies and skill."""

import json
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tenkizu.core.store import read_json, write_json
from tenkizu.core.verification import Tally, binary_scores, class_scores, ratio, skill

COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")
RATIOS = (
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


def by_definition(hits, misses, false_alarms, correct_negatives):
    """The scores as exact fractions, written out from their definitions; NaN for 0 / 0."""
    n = hits + misses + false_alarms + correct_negatives
    forecast, observed = hits + false_alarms, hits + misses
    by_chance = Fraction(forecast * observed, n) if n else 0
    parts = {
        "accuracy": (hits + correct_negatives, n),
        "probability_of_detection": (hits, observed),
        "success_ratio": (hits, forecast),
        "f1_score": (2 * hits, forecast + observed),
        "critical_success_index": (hits, hits + misses + false_alarms),
        "false_alarm_ratio": (false_alarms, forecast),
        "probability_of_false_detection": (false_alarms, false_alarms + correct_negatives),
        "equitable_threat_score": (hits - by_chance, hits + misses + false_alarms - by_chance),
        "frequency_bias": (forecast, observed),
    }
    return {name: float(Fraction(a) / b) if b else np.nan for name, (a, b) in parts.items()}


# Two by two tables


def test_finleys_tornado_forecasts_of_1884():
    scores = binary_scores(hits=28, misses=23, false_alarms=72, correct_negatives=2680)
    assert {name: round(scores[name], 4) for name in RATIOS} == {
        "accuracy": 0.9661,  # 2708 / 2803; always forecasting "no" would score 2752 / 2803
        "probability_of_detection": 0.5490,
        "success_ratio": 0.2800,
        "f1_score": 0.3709,  # 56 / 151
        "critical_success_index": 0.2276,
        "false_alarm_ratio": 0.7200,
        "probability_of_false_detection": 0.0262,  # 72 / 2752
        "equitable_threat_score": 0.2160,
        "frequency_bias": 1.9608,
    }
    assert [scores[name] for name in COUNTS] == [28, 23, 72, 2680]
    assert set(scores) == {*COUNTS, *RATIOS}


SMALL = st.integers(0, 3)
LARGE = st.integers(0, 10**7)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.one_of(SMALL, LARGE)] * 4))
def test_scores_equal_their_definitions_in_exact_fractions(counts):
    scores = binary_scores(*counts)
    assert [scores[name] for name in COUNTS] == list(counts)
    expected = by_definition(*counts)
    for name in RATIOS:
        assert scores[name] == pytest.approx(expected[name], abs=1e-7, nan_ok=True), name


@pytest.mark.parametrize("integer", [int, np.int64])
def test_counts_of_years_of_fine_grids_do_not_overflow(integer):
    # Products of such counts pass 2**63 by far; the scores are those of the same table / 10**9.
    huge = [integer(n * 10**9) for n in (28, 23, 72, 2680)]
    scores, finley = binary_scores(*huge), binary_scores(28, 23, 72, 2680)
    for name in RATIOS:
        assert scores[name] == pytest.approx(finley[name], rel=1e-12), name
    assert scores["correct_negatives"] == 2680 * 10**9

    even = binary_scores(*[integer(10**10)] * 4)
    assert even["equitable_threat_score"] == 0
    assert even["critical_success_index"] == pytest.approx(1 / 3)
    assert even["frequency_bias"] == 1


def test_no_event_is_undefined_and_says_so_by_its_counts(tmp_path):
    scores = binary_scores(0, 0, 0, 1000)
    undefined = [name for name in RATIOS if np.isnan(scores[name])]
    assert undefined == [
        name for name in RATIOS if name not in ("accuracy", "probability_of_false_detection")
    ]
    assert scores["probability_of_false_detection"] == 0
    assert [scores[name] for name in COUNTS] == [0, 0, 0, 1000]
    write_json(tmp_path / "scores.json", scores)
    written = read_json(tmp_path / "scores.json", "scores")
    assert written["critical_success_index"] is None
    assert written["hits"] == 0


def test_no_observed_event_leaves_what_depends_on_it_undefined():
    scores = binary_scores(hits=0, misses=0, false_alarms=5, correct_negatives=95)
    assert np.isnan(scores["probability_of_detection"])
    assert np.isnan(scores["frequency_bias"])
    assert scores["critical_success_index"] == 0  # wrong forecasts are wrong
    assert scores["false_alarm_ratio"] == 1


def test_no_data_is_undefined_everywhere():
    scores = binary_scores(0, 0, 0, 0)
    assert all(np.isnan(scores[name]) for name in RATIOS)


# Classes


def test_class_scores_by_hand():
    #                 predicted: dry  wet  (never predicted)
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 4, 0]])
    scores = class_scores(confusion)
    assert scores["accuracy"] == 9 / 16
    assert scores["precision"] == pytest.approx([6 / 7, 3 / 9, np.nan], nan_ok=True)
    assert scores["recall"] == pytest.approx([6 / 8, 3 / 4, 0 / 4])
    assert scores["support"] == [8, 4, 4]
    assert scores["confusion_truth_by_prediction"] == confusion.tolist()


def test_class_that_never_occurs_has_no_recall_and_no_support():
    scores = class_scores(np.array([[5, 1], [0, 0]]))
    assert scores["recall"] == pytest.approx([5 / 6, np.nan], nan_ok=True)
    assert scores["precision"] == [1.0, 0.0]
    assert scores["support"] == [6, 0]
    nothing = class_scores(np.zeros((2, 2), np.int64))
    assert np.isnan([nothing["accuracy"], *nothing["precision"], *nothing["recall"]]).all()


def test_class_scores_agree_with_torchmetrics():
    import torch
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_precision,
        multiclass_recall,
    )

    generator = np.random.default_rng(8)
    truth, predicted = generator.integers(0, 4, 500), generator.integers(0, 4, 500)
    predicted = np.where(generator.random(500) < 0.5, truth, predicted)
    scores = class_scores(
        np.array([[((truth == t) & (predicted == p)).sum() for p in range(4)] for t in range(4)])
    )
    pair = torch.from_numpy(predicted), torch.from_numpy(truth)
    per_class = {"num_classes": 4, "average": None}
    np.testing.assert_allclose(
        scores["precision"], multiclass_precision(*pair, **per_class).numpy(), rtol=1e-6
    )
    np.testing.assert_allclose(
        scores["recall"], multiclass_recall(*pair, **per_class).numpy(), rtol=1e-6
    )
    assert scores["accuracy"] == pytest.approx(
        float(multiclass_accuracy(*pair, num_classes=4, average="micro"))
    )
    assert scores["support"] == np.bincount(truth).tolist()


# Tallies

NAMES = st.sampled_from(["cells", "hourly", "sse"])
SUMS = {
    "cells": hnp.arrays(np.int64, (), elements=st.integers(0, 2**50)),
    "hourly": hnp.arrays(np.int64, (2, 3), elements=st.integers(0, 2**50)),
    # Whole numbers, whose float64 sums are exact in any order.
    "sse": hnp.arrays(np.float64, (3,), elements=st.integers(0, 2**40).map(float)),
}
MAXIMA = st.dictionaries(
    st.sampled_from(["total", "error"]), st.floats(allow_nan=True, allow_infinity=True)
)
TALLIES = st.builds(
    Tally,
    st.sets(NAMES).flatmap(lambda names: st.fixed_dictionaries({n: SUMS[n] for n in names})),
    MAXIMA,
)


def assert_same(one, other):
    assert one.sums.keys() == other.sums.keys()
    for name, value in one.sums.items():
        assert value.dtype == other[name].dtype
        np.testing.assert_array_equal(value, other[name], strict=True)
    assert one.maxima == pytest.approx(other.maxima, rel=0, abs=0, nan_ok=True)


def test_tallies_add_names_from_both_sides():
    january = Tally({"cells": np.array([3, 1]), "sse": np.array(0.5)}, {"total": 4.0, "hour": 2.0})
    february = Tally({"cells": np.array([10, 0]), "wet": np.array(7)}, {"total": 9.5})
    both = january + february
    assert both["cells"].tolist() == [13, 1]
    assert (both["sse"], both["wet"]) == (0.5, 7)
    assert both.maxima == {"total": 9.5, "hour": 2.0}
    assert january["cells"].tolist() == [3, 1]  # the parts are left as they were
    assert january.maxima == {"total": 4.0, "hour": 2.0}


@settings(max_examples=100, deadline=None)
@given(TALLIES, TALLIES, TALLIES)
def test_tallies_add_in_any_order(a, b, c):
    assert_same(a + b, b + a)
    assert_same((a + b) + c, a + (b + c))
    assert_same(a + Tally(), a)
    assert_same(Tally() + a, a)


@settings(max_examples=100, deadline=None)
@given(TALLIES)
def test_tallies_survive_json(tally):
    text = json.dumps(tally.to_json(), allow_nan=False)
    assert_same(Tally.from_json(json.loads(text)), tally)


def test_tallies_survive_a_file(tmp_path):
    tally = Tally(
        {"cells": np.array([[2**60, 0], [1, 2]]), "sse": np.array([0.1, np.nan])},
        {"total": 0.1, "nothing seen": -np.inf, "failed": np.inf},
    )
    write_json(tmp_path / "tally.json", tally.to_json())
    assert_same(Tally.from_json(read_json(tmp_path / "tally.json", "a tally")), tally)


@pytest.mark.parametrize("values", [(np.nan, 1.0), (1.0, np.nan)])
def test_undefined_maximum_is_not_hidden_by_another_part(values):
    first, second = (Tally(maxima={"error": value}) for value in values)
    assert np.isnan((first + second).maxima["error"])


def test_score_of_all_batches_is_not_the_mean_of_their_scores():
    batches = [(28, 23, 72, 2680), (0, 0, 0, 500), (1, 0, 0, 0)]
    total = reduce(add, [Tally({"table": np.array(batch)}) for batch in batches])
    scores = binary_scores(*total["table"].tolist())
    assert scores["critical_success_index"] == pytest.approx(29 / 124)


# Ratios


def test_ratio_is_undefined_where_nothing_was_counted():
    result = ratio(np.array([[1, 0], [3, 5]]), np.array([2, 0]))
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [[0.5, np.nan], [1.5, np.nan]])
    assert ratio(3, 4) == 0.75
    assert ratio(3, 4).shape == ()
    assert np.isnan(ratio(0, 0))
    assert np.isnan(ratio(1, 0))


def test_ratio_gives_no_warning(recwarn):
    ratio(np.array([1.0, 0.0, np.nan]), np.zeros(3))
    assert not recwarn.list


@settings(deadline=None)
@given(st.integers(0, 2**62), st.integers(1, 2**62))
def test_ratio_of_counts_equals_the_fraction(part, whole):
    assert ratio(np.int64(part), np.int64(whole)) == pytest.approx(
        float(Fraction(part, whole)), rel=1e-15
    )


def test_skill_by_hand():
    errors = np.array([0.0, 3.0, 4.0, 8.0, 1.0, 0.0])
    reference = np.array([4.0, 4.0, 4.0, 4.0, 0.0, 0.0])
    np.testing.assert_array_equal(skill(errors, reference), [1.0, 0.25, 0.0, -1.0, np.nan, np.nan])


@settings(deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_skill_does_not_depend_on_the_units_of_the_error(error, reference, factor):
    assume(error / reference < 1e6)
    assert skill(error * factor, reference * factor) == pytest.approx(
        skill(error, reference), rel=1e-9, abs=1e-9
    )

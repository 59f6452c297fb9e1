"""Ensemble scores against brute force, numbers worked by hand, another library and statistics."""

from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from scores.probability import crps_for_ensemble

from tenkizu.core.errors import DataError
from tenkizu.core.verification import Tally
from tenkizu.rain.ensemble_scores import (
    ensemble_tally,
    fair_crps,
    fair_energy_score,
    summarise_ensemble,
    truth_ranks,
)

START = np.datetime64("2023-06-01T03:00")
LATER = np.datetime64("2023-06-01T06:00")


def drawn(members, shape=(12, 15), seed=0):
    """Members (M, 3, H, W) and truth of the same distribution, each adding to one S; mm."""
    rng = np.random.default_rng(seed)
    total = rng.gamma(0.8, 6.0, shape).astype(np.float32)
    centre = rng.dirichlet([1.0, 1.0, 1.0], shape)
    shares = [rng.dirichlet([1.0, 1.0, 1.0], shape) + centre for _ in range(members + 1)]
    hours = np.stack([np.moveaxis(one / 2, -1, 0) for one in shares]) * total
    return hours[1:].astype(np.float32), hours[0].astype(np.float32), total


# ---------------------------------------------------------------------------- CRPS and energy


def test_crps_is_that_of_all_pairs():
    rng = np.random.default_rng(1)
    x, y = rng.gamma(1.0, 2.0, (7, 40)), rng.gamma(1.0, 2.0, 40)
    pairs = sum(np.abs(x[i] - x[j]) for i in range(7) for j in range(7))
    expected = np.abs(x - y).mean(axis=0) - pairs / (2 * 7 * 6)
    np.testing.assert_allclose(fair_crps(x, y), expected, rtol=1e-12, atol=1e-14)


def test_crps_is_that_of_the_scores_library():
    rng = np.random.default_rng(2)
    x, y = rng.gamma(1.0, 2.0, (5, 40)), rng.gamma(1.0, 2.0, 40)
    expected = crps_for_ensemble(
        xr.DataArray(x, dims=("member", "cell")),
        xr.DataArray(y, dims="cell"),
        "member",
        method="fair",
        preserve_dims="cell",
    )
    np.testing.assert_allclose(fair_crps(x, y), expected.values, rtol=1e-10, atol=1e-13)


def test_crps_and_energy_score_by_hand():
    # Members 1 and 3, truth 0: mean distance 2; one pair, 2 apart: 2 - 2 * 2 / (2 * 2 * 1) = 1.
    assert fair_crps(np.array([[1.0], [3.0]]), np.array([0.0])) == pytest.approx([1.0])
    # Truth between the members: 1 - 1 = 0.
    assert fair_crps(np.array([[1.0], [3.0]]), np.array([2.0])) == pytest.approx([0.0])
    # Triples (3, 0, 0) and (0, 4, 0), truth 0: (3 + 4) / 2 - 5 / 2 = 1.
    members = np.array([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])[..., None]
    assert fair_energy_score(members, np.zeros((3, 1))) == pytest.approx([1.0])


def test_energy_score_is_that_of_all_pairs():
    rng = np.random.default_rng(3)
    x, y = rng.gamma(1.0, 2.0, (6, 3, 40)), rng.gamma(1.0, 2.0, (3, 40))
    pairs = sum(np.linalg.norm(x[i] - x[j], axis=0) for i in range(6) for j in range(6))
    expected = np.linalg.norm(x - y, axis=1).mean(axis=0) - pairs / (2 * 6 * 5)
    np.testing.assert_allclose(fair_energy_score(x, y), expected, rtol=1e-12, atol=1e-14)
    # Of a single component it is the CRPS.
    np.testing.assert_allclose(fair_energy_score(x[:, :1], y[:1]), fair_crps(x[:, 0], y[0]))


@pytest.mark.parametrize("members", [2, 5])
def test_expected_scores_do_not_depend_on_the_number_of_members(members):
    # Members N(0, 1), truth 0.5: CRPS of the distribution itself by its closed form
    # (Gneiting and Raftery 2007): z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi).
    rng = np.random.default_rng(4)
    found = fair_crps(rng.normal(size=(members, 200_000)), np.full(200_000, 0.5))
    expected = 0.5 * (2 * 0.6914624613 - 1) + 2 * 0.3520653268 - 1 / np.sqrt(np.pi)
    assert found.mean() == pytest.approx(expected, abs=5 * found.std() / np.sqrt(200_000))
    # Brier score of p = 0.3 and an event of frequency 0.6: (0.3 - 0.6)^2 + 0.6 * 0.4.
    wet = np.where(rng.random((members, 3, 1, 100_000)) < 0.3, 2.0, 0.2).astype(np.float32)
    true = np.where(rng.random((3, 1, 100_000)) < 0.6, 2.0, 0.2).astype(np.float32)
    total = np.full((1, 100_000), 3.0, np.float32)
    scores = summarise_ensemble(ensemble_tally(wet, true, total, START, [1.0]), [1.0])
    assert scores["brier"]["1"]["brier_fair"] == pytest.approx(0.33, abs=0.003)
    narrow = 0.3 * 0.7 / members
    assert scores["brier"]["1"]["brier"] == pytest.approx(0.33 + narrow, abs=0.003)


def test_the_score_that_is_not_fair_is_that_of_the_scores_library():
    members, truth, total = drawn(4)
    found = summarise_ensemble(ensemble_tally(members, truth, total, START))["crps"]
    cells = total >= np.float32(0.1)
    x, y = members[..., cells].astype(float), truth[:, cells].astype(float)
    expected = crps_for_ensemble(
        xr.DataArray(x, dims=("member", "hour", "cell")),
        xr.DataArray(y, dims=("hour", "cell")),
        "member",
        preserve_dims="hour",
    )
    assert list(found["ensemble_plain"].values())[1:] == pytest.approx(expected.values.tolist())
    assert found["ensemble_plain"]["pooled"] == pytest.approx(float(expected.mean()))
    assert found["ensemble_plain"]["pooled"] > found["ensemble"]["pooled"]


# ---------------------------------------------------------------------------- one cell by hand


def test_all_scores_of_one_cell_by_hand():
    """S = 12 mm; members (0, 6, 6) and (0, 0, 12); truth (0, 2, 10)."""
    members = np.array([[0, 6, 6], [0, 0, 12]], np.float32).reshape(2, 3, 1, 1)
    truth = np.array([0, 2, 10], np.float32).reshape(3, 1, 1)
    total = np.full((1, 1), 12, np.float32)
    scores = summarise_ensemble(ensemble_tally(members, truth, total, START))
    assert scores["n_cells_conditional"] == 1
    # Hours: 0; (4 + 2) / 2 - 6 / 2 = 0; (4 + 2) / 2 - 6 / 2 = 0.
    assert scores["crps"]["ensemble"]["pooled"] == pytest.approx(0.0)
    # S/3 = 4: errors 4, 2, 6. Members: errors 0, 4, 4 and 0, 2, 2.
    assert scores["crps"]["equal"] == pytest.approx(
        {"pooled": 4.0, "FT+4": 4.0, "FT+5": 2.0, "FT+6": 6.0}
    )
    assert scores["crps"]["one_member"]["pooled"] == pytest.approx(2.0)
    assert scores["crps"]["mean"]["pooled"] == pytest.approx(2 / 3)
    assert scores["crps_skill"]["equal"]["pooled"] == pytest.approx(1.0)
    # Distances sqrt(32) and sqrt(8) from the truth, sqrt(72) between.
    assert scores["energy_score"]["ensemble"] == pytest.approx((32**0.5 + 8**0.5 - 72**0.5) / 2)
    assert scores["energy_score"]["equal"] == pytest.approx(56**0.5)
    assert scores["energy_score"]["mean"] == pytest.approx(2**0.5)
    # Mean (0, 3, 9): errors 0, 1, 1; variances 0, 18, 18.
    assert scores["rmse_1h_conditional"]["mean"] == pytest.approx((2 / 3) ** 0.5)
    assert scores["rmse_1h_conditional"]["members"] == pytest.approx(
        [(32 / 3) ** 0.5, (8 / 3) ** 0.5]
    )
    assert scores["mae_1h_conditional"]["mean"] == pytest.approx(2 / 3)
    assert scores["mse_skill_conditional"]["mean"] == pytest.approx(1 - 2 / 56)
    assert scores["mse_skill_conditional"]["one_member"] == pytest.approx(1 - 20 / 56)
    spread = scores["spread_error"]
    assert spread["spread"]["pooled"] == pytest.approx(12**0.5)
    assert spread["corrected_spread"]["pooled"] == pytest.approx(18**0.5)
    assert spread["ratio"] == pytest.approx((3 / 2 * 36 / 2) ** 0.5)
    # At 10 mm: nobody, nobody, one of two; only the last hour has the event.
    brier = scores["brier"]["10"]
    assert brier["table"]["count"] == [2, 1, 0]
    assert brier["table"]["observed_frequency"][:2] == [0.0, 1.0]
    assert np.isnan(brier["table"]["observed_frequency"][2])
    assert brier["brier"] == pytest.approx(0.25 / 3)
    assert brier["brier_fair"] == pytest.approx(0.0)
    assert brier["brier_equal"] == pytest.approx(1 / 3)
    # Ranks: a tie of three, which may be any; one below; one below.
    assert np.sum(scores["rank_histogram"]["per_hour"]["FT+4"]) == 1
    assert scores["rank_histogram"]["per_hour"]["FT+5"] == [0, 1, 0]
    assert scores["rank_histogram"]["per_hour"]["FT+6"] == [0, 1, 0]
    assert scores["rank_histogram"]["outside_expected"] == pytest.approx(2 / 3)
    assert scores["max_relative_sum_error"] == 0.0


def test_brier_score_is_the_sum_of_its_parts():
    members, truth, total = drawn(4)
    scores = summarise_ensemble(ensemble_tally(members, truth, total, START))
    for threshold, found in scores["brier"].items():
        parts = found["reliability"] - found["resolution"] + found["uncertainty"]
        assert found["brier"] == pytest.approx(parts, abs=1e-12)
        # And the plain definition, on the fields themselves.
        cells = total >= np.float32(0.1)
        share = (members >= np.float32(threshold)).mean(axis=0)
        squares = (share - (truth >= np.float32(threshold))) ** 2
        assert found["brier"] == pytest.approx(squares[:, cells].mean())


# ---------------------------------------------------------------------------- ranks and spread


def test_truth_drawn_like_the_members_has_every_rank_and_the_right_spread():
    members, truth, total = drawn(5, (200, 200))
    scores = summarise_ensemble(ensemble_tally(members, truth, total, START))
    counts = np.array(scores["rank_histogram"]["counts"])
    # Three hours of one cell depend on each other, so the test is on one of them: chi-squared of
    # 5 degrees of freedom is below 20.5 with probability 0.999.
    hour = np.array(scores["rank_histogram"]["per_hour"]["FT+5"])
    assert ((hour - hour.mean()) ** 2 / hour.mean()).sum() < 20.5
    assert counts.sum() == 3 * scores["n_cells_conditional"]
    assert scores["rank_histogram"]["outside"] == pytest.approx(2 / 6, abs=0.01)
    assert scores["spread_error"]["ratio"] == pytest.approx(1.0, abs=0.02)


def test_ties_have_every_rank_they_may_have_equally_often():
    members = np.array([0.0, 0.0, 5.0, 5.0], np.float32)[:, None] * np.ones(40_000, np.float32)
    ranks = truth_ranks(members, np.zeros(40_000, np.float32), START)
    assert np.bincount(ranks, minlength=5)[3:].tolist() == [0, 0]
    assert np.bincount(ranks)[:3] / 40_000 == pytest.approx(1 / 3, abs=0.012)
    # An hour with less than 0.1 mm counts as dry; one with 0.1 mm does not.
    members[:2] = 0.09
    np.testing.assert_array_equal(truth_ranks(members, np.zeros(40_000, np.float32), START), ranks)
    members[:2] = 0.1
    assert not truth_ranks(members, np.zeros(40_000, np.float32), START).any()


def test_overconfident_members_show_in_ratio_and_outer_ranks():
    members, truth, total = drawn(5, (60, 60))
    centre = members.mean(axis=0)
    narrow = (centre + 0.2 * (members - centre)).astype(np.float32)
    scores = summarise_ensemble(ensemble_tally(narrow, truth, total, START))
    assert scores["spread_error"]["ratio"] == pytest.approx(0.2, abs=0.02)
    assert scores["rank_histogram"]["outside"] > 0.6


# ---------------------------------------------------------------------------- sums


def same(a, b):
    assert a.sums.keys() == b.sums.keys()
    for name in a.sums:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-12, atol=1e-12, err_msg=name)
    assert a.maxima == pytest.approx(b.maxima)


def test_the_order_of_members_changes_nothing():
    members, truth, total = drawn(3)
    first = ensemble_tally(members, truth, total, START)
    for order in permutations(range(3)):
        other = ensemble_tally(members[list(order)], truth, total, START)
        for name in ("sse.members", "sae.members", "distance.members"):
            other.sums[name] = other[name][np.argsort(order)]
        same(first, other)


def test_windows_add_in_any_order():
    (a, ta, sa), (b, tb, sb) = drawn(4, seed=5), drawn(4, seed=6)
    one, two = ensemble_tally(a, ta, sa, START), ensemble_tally(b, tb, sb, LATER)
    same(one + two, two + one)
    whole = summarise_ensemble(one + two)
    cells = np.stack([sa, sb]) >= np.float32(0.1)
    error = np.abs(np.stack([a.mean(axis=0, dtype=float), b.mean(axis=0, dtype=float)]) - [ta, tb])
    expected = np.moveaxis(error, 1, -1)[cells].mean()
    assert whole["mae_1h_conditional"]["mean"] == pytest.approx(expected)
    assert whole["n_windows"] == 2
    assert whole["n_cells_conditional"] == cells.sum()
    # Tallies that went through a file give the same scores.
    again = summarise_ensemble(Tally.from_json((one + two).to_json()))
    np.testing.assert_equal(again, whole)


def test_missing_and_light_cells_count_nowhere():
    members, truth, total = drawn(3)
    expected = ensemble_tally(members[..., :10], truth[..., :10], total[..., :10], START)
    total[:, 10:12] = 0.09
    truth[1, :, 12] = np.nan
    total[:, 13:] = np.nan
    members[..., 13:] = np.nan
    same(ensemble_tally(members, truth, total, START), expected)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_without_any_cell_scores_are_undefined_and_counts_are_zero():
    dry = np.zeros((3, 4, 5), np.float32)
    scores = summarise_ensemble(ensemble_tally(np.stack([dry, dry]), dry, dry[0], START))
    assert scores["n_cells_conditional"] == 0
    assert np.isnan(scores["crps"]["ensemble"]["pooled"])
    assert np.isnan(scores["spread_error"]["ratio"])
    assert scores["rank_histogram"]["counts"] == [0, 0, 0]
    assert scores["brier"]["1"]["n"] == 0


def test_one_member_is_no_ensemble():
    members, truth, total = drawn(1)
    with pytest.raises(DataError, match="at least two"):
        ensemble_tally(members, truth, total, START)

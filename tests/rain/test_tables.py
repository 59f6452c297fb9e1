"""Exact tables of stored rain against brute force, and the guard against rain in wrong units."""

import json
from itertools import pairwise

import numpy as np
import pytest

from tenkizu.core.errors import DataError
from tenkizu.core.verification import Tally
from tenkizu.rain.config import ChecksConfig, LossConfig
from tenkizu.rain.tables import (
    RAIN,
    check_units,
    equal_split_error,
    quantiles,
    window_tables,
)

LOSS = LossConfig()
RANGE_MM = 599.4375
"""The largest rain value of MSM 2018-2023, by which the earlier system divided."""


@pytest.fixture(scope="module")
def rain(moving_rain):
    """Windows as stored, (14, 6, H, W), with missing hours, missing P and missing N."""
    hours = moving_rain(hours=48, seed=3).reshape(16, 3, 24, 32)
    totals = hours.sum(axis=1, dtype=np.float64).astype(np.float32)
    rain = np.stack(
        [np.stack([totals[i - 1], *hours[i], totals[i], totals[i + 1]]) for i in range(1, 15)]
    )
    rain[2, 1:5, :4, 5:9] = np.nan
    rain[3, 2, 10, 10] = np.nan
    rain[4, 4, 12, 12] = np.nan
    rain[0, 0], rain[13, 5] = np.nan, np.nan
    return rain


@pytest.fixture(scope="module")
def tally(rain):
    return sum((window_tables(window, LOSS) for window in rain), Tally())


@pytest.fixture(scope="module")
def cells(rain):
    """Hours (3, n) and S (n,) of all cells where both are known, as plain columns."""
    columns = np.moveaxis(rain, 1, 0).reshape(6, -1)
    known = ~np.isnan(columns[1:5]).any(axis=0)
    return columns[1:4, known], columns[4, known]


def histogram(values, edges):
    """Counts in [0, first edge), ..., [last edge, inf), by numpy."""
    limits = np.array([0, *edges, np.inf], np.float32)
    return np.histogram(values, limits)[0]


# ---------------------------------------------------------------------------- counts


def test_hourly_and_total_bins_equal_numpy_histograms(tally, cells):
    hours, total = cells
    np.testing.assert_array_equal(tally["hourly"], histogram(hours, LOSS.bins_1h))
    np.testing.assert_array_equal(tally["totals"], histogram(total, LOSS.bins_sum))
    assert tally["hourly"].sum() == 3 * total.size
    assert np.count_nonzero(tally["hourly"]) >= 6


def test_cells_are_counted_where_hours_and_total_are_known(tally, cells, rain):
    total = cells[1]
    scored = np.count_nonzero(total >= np.float32(0.1))
    assert tally["cells"].tolist() == [total.size, np.count_nonzero(total > 0), scored]
    assert total.size == 14 * 24 * 32 - 16 - 1 - 1
    assert scored < np.count_nonzero(total > 0)


def test_squared_errors_of_the_equal_split_by_true_bin(tally, cells):
    hours, total = cells
    squared = (hours - total.astype(np.float64) / 3) ** 2
    assert tally["equal_sse"] == pytest.approx(squared.sum(), rel=1e-12)
    limits = [0, *LOSS.bins_1h, np.inf]
    scored = total >= np.float32(0.1)
    for i, (low, high) in enumerate(pairwise(limits)):
        inside = (hours >= low) & (hours < high) & scored
        assert tally["scored_sse"][i] == pytest.approx(squared[inside].sum(), rel=1e-12)


def test_wet_patterns_and_heavy_hours(tally, cells):
    hours, total = cells
    patterns = [0] * 8
    for y4, y5, y6 in (hours[:, total >= np.float32(0.1)] >= np.float32(0.1)).T:
        patterns[4 * y4 + 2 * y5 + y6] += 1
    assert tally["wet_pattern"].tolist() == patterns
    assert min(patterns[1:]) > 0
    assert tally["ge_1mm"] == np.count_nonzero(hours >= 1)


def test_values_on_an_edge_belong_to_the_bin_above():
    rain = np.zeros((6, 1, 3), np.float32)
    rain[1, 0] = 1, 50, np.nextafter(np.float32(50), np.float32(0))
    rain[4] = rain[1]
    tally = window_tables(rain, LOSS)
    assert tally["hourly"].tolist() == [6, 1, 0, 0, 0, 1, 1]
    assert tally["totals"].tolist() == [1, 0, 0, 0, 2, 0, 0]


def test_largest_values_and_worst_sum(tally, cells):
    hours, total = cells
    assert tally.maxima["total"] == total.max()
    assert tally.maxima["hour"] == hours.max()
    worst = np.abs(hours.astype(np.float64).sum(axis=0) - total).max()
    assert tally.maxima["sum_error"] == pytest.approx(worst)


def test_a_window_without_known_cells_adds_nothing_but_its_neighbours(tally, rain):
    blind = rain[5].copy()
    blind[1:5] = np.nan
    both = tally + window_tables(blind, LOSS)
    for name in ("hourly", "totals", "cells", "scored_sse", "wet_pattern"):
        np.testing.assert_array_equal(both[name], tally[name])
    assert both.maxima == tally.maxima
    more = (both["fine"] - tally["fine"]).sum(axis=1)
    assert dict(zip(RAIN, more.tolist(), strict=True)) == {
        "P": 768, "y4": 0, "y5": 0, "y6": 0, "S": 0, "N": 768
    }  # fmt: skip


def test_tables_add_in_any_order_and_survive_json(tally, rain):
    parts = [window_tables(window, LOSS) for window in rain]
    parts = [Tally.from_json(json.loads(json.dumps(part.to_json()))) for part in parts]
    backwards = sum(reversed(parts), Tally())
    assert backwards.maxima == tally.maxima
    for name in ("hourly", "totals", "cells", "ge_1mm", "wet_pattern", "fine"):
        np.testing.assert_array_equal(backwards[name], tally[name])
        assert backwards[name].dtype == np.int64
    np.testing.assert_allclose(backwards["scored_sse"], tally["scored_sse"], rtol=1e-13)


# ---------------------------------------------------------------------------- quantiles, d0


def test_quantiles_are_within_one_percent(tally, rain):
    levels = (0.01, 0.3, 0.5, 0.9, 0.95, 0.99, 0.999)
    found = quantiles(tally, levels)
    for channel, values in enumerate(np.moveaxis(rain, 1, 0)):
        expected = np.nanquantile(values, levels, method="inverted_cdf")
        np.testing.assert_allclose(found[channel], expected, rtol=0.01)
        assert (found[channel][expected == 0] == 0).all()
    assert (found[:, 0] == 0).all()
    assert (found[:, -1] > 3).all()


def test_quantiles_of_a_channel_without_values_are_undefined(rain):
    alone = rain[0].copy()
    alone[5] = np.nan
    found = quantiles(window_tables(alone, LOSS), (0.5, 0.99))
    assert np.isnan(found[[0, 5]]).all()
    assert np.isfinite(found[1:5]).all()


def test_d0_by_brute_force(tally, rain):
    total_error, scored = 0.0, 0
    for window in rain:
        for row, column in np.ndindex(24, 32):
            hours, total = window[1:4, row, column].astype(float), float(window[4, row, column])
            if np.isnan(total) or np.isnan(hours).any() or total < np.float32(0.1):
                continue
            scored += 1
            for y in hours:
                weight = (
                    1000
                    if y >= 50
                    else 500
                    if y >= 30
                    else 250
                    if y >= 20
                    else (100 if y >= 10 else 20 if y >= 5 else 5 if y >= 1 else 1)
                )
                total_error += weight * (total / 3 - y) ** 2
    assert equal_split_error(tally, LOSS.manual_weights) == pytest.approx(total_error / scored)


def test_d0_of_dry_training_data_is_refused():
    tally = window_tables(np.zeros((6, 4, 4), np.float32), LOSS)
    with pytest.raises(DataError, match="no rain that varies within its three hours") as caught:
        equal_split_error(tally, LOSS.manual_weights)
    assert "found 0 cells above the mask" in str(caught.value)
    assert "data.splits.train" in str(caught.value)


# ---------------------------------------------------------------------------- units


def check(rain, **bounds):
    tally = sum((window_tables(window, LOSS) for window in rain), Tally())
    return check_units(tally, ChecksConfig(**bounds), "stores/x")


def test_rain_in_mm_passes_with_one_line(rain, cells):
    hours, total = cells
    line = check(rain)
    assert "\n" not in line
    assert f"max S {total.max():.1f} mm" in line
    assert f"hourly values >= 1 mm {100 * (hours >= 1).mean():.2f} %" in line
    assert f"cells with S > 0 {100 * (total > 0).mean():.1f} %" in line
    assert "of 7" in line
    rmse = np.sqrt(((hours - total / 3.0) ** 2).mean())
    assert f"equal-split 1 h RMSE {rmse:.3f} mm" in line


def test_normalised_rain_is_refused_with_the_likely_reason(rain):
    with pytest.raises(DataError) as caught:
        check(rain / np.float32(RANGE_MM))
    message = str(caught.value)
    assert message.startswith("stores/x: the rain does not look like mm: ")
    assert "the data look normalised, not in mm" in message
    assert "max S is below 10 mm" in message
    assert f"found max S {np.nanmax(rain[:, 4]) / RANGE_MM:.1f} mm" in message
    assert "next: check the units" in message


def test_rain_scaled_by_its_own_largest_hour_is_refused_likewise(rain):
    """The largest hour is then exactly 1, and S may even exceed it."""
    hours = np.array(rain[6:9])
    hours[0, 1:5, 0, 0] = 60, 55, 50, 165
    scaled = hours / np.float32(60)
    assert np.nanmax(scaled[:, 1:4]) == 1
    assert np.nanmax(scaled[:, 4]) == 2.75
    with pytest.raises(DataError, match="the data look normalised"):
        check(scaled)


FAILURES = {
    "max": "max S is below 1000 mm",
    "share": "share >= 1 mm is outside",
    "bins": "fewer than 7 hourly bins hold values",
    "rmse": "RMSE is outside",
    "sum": "the hours do not add to S",
}


@pytest.mark.parametrize(
    ("failure", "bounds"),
    [
        ("max", {"min_max_sum_mm": 1000}),
        ("share", {"share_1mm": (0.5, 0.9)}),
        ("share", {"share_1mm": (0.0, 0.001)}),
        ("bins", {"min_bins": 7}),
        ("rmse", {"equal_rmse_mm": (5.0, 6.0)}),
        ("rmse", {"equal_rmse_mm": (0.01, 0.02)}),
    ],
)
def test_each_bound_is_refused_by_itself(rain, failure, bounds):
    calm = np.where(rain > 49, np.nan, rain).astype(np.float32)
    with pytest.raises(DataError) as caught:
        check(calm, **bounds)
    message = str(caught.value)
    for name, text in FAILURES.items():
        assert (text in message) == (name == failure), message
    assert "normalised" not in message
    assert "data.checks" in message


def test_hours_that_do_not_add_to_their_total_are_refused(rain):
    wrong = rain.copy()
    wrong[7, 4, 8, 8] += 0.01
    with pytest.raises(DataError) as caught:
        check(wrong)
    message = str(caught.value)
    assert [name for name, text in FAILURES.items() if text in message] == ["sum"]
    assert "worst |y4+y5+y6-S| 0.01 mm" in message


def test_a_split_without_known_cells_does_not_pass():
    nothing = np.full((2, 6, 4, 4), np.nan, np.float32)
    with pytest.raises(DataError, match="does not look like mm") as caught:
        check(nothing)
    assert "normalised" not in str(caught.value)

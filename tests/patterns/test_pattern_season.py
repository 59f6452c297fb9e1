"""Solstices against published instants, season terms against values worked from them."""

import numpy as np
import pytest

from tenkizu.core.errors import DataError
from tenkizu.patterns.physics.season import december_solstice, season_terms


@pytest.mark.parametrize(
    "published",
    [
        "1990-12-22T03:07",
        "1991-12-22T08:54",
        "1992-12-21T14:43",
        "1999-12-22T07:44",
        "2000-12-21T13:38",
        # Almanac values of later years, for which Delta T is predicted.
        "2010-12-21T23:38",
        "2015-12-22T04:48",
        "2020-12-21T10:02",
        "2024-12-21T09:20",
    ],
)
def test_solstice_instants(published):
    expected = np.datetime64(published)
    difference = december_solstice(int(published[:4])) - expected
    assert abs(difference) <= np.timedelta64(2, "m")


def test_solstices_are_a_tropical_year_apart():
    """365.2427 days from December to December on average; perturbations of some ten minutes."""
    instants = np.array([december_solstice(year) for year in range(1850, 2101)])
    days = np.diff(instants) / np.timedelta64(1, "D")
    assert np.abs(days - 365.2427).max() < 15 / 1440
    assert days.mean() == pytest.approx(365.24274, abs=2e-4)


@pytest.mark.parametrize(
    ("date", "terms"),
    [
        ("1991-01-01", (0.985620, 0.942892, 0.168979, 0.333098)),
        ("1991-03-21", (0.041965, -0.996478, 0.999119, 0.083856)),
        ("1991-06-22", (-0.999917, 0.999667, 0.012908, -0.025814)),
        ("1991-09-23", (0.016160, -0.999478, -0.999869, -0.032316)),
        ("1991-12-22", (0.999980, 0.999919, -0.006378, -0.012757)),
        ("2000-12-31", (0.986865, 0.947803, 0.161550, 0.318856)),
    ],
)
@pytest.mark.parametrize("unit", ["D", "m", "ns"])
def test_terms_at_midnight(date, terms, unit):
    found = season_terms(np.array([date], f"datetime64[{unit}]"))
    np.testing.assert_allclose(found, [terms], atol=2e-4)


def test_the_year_closes_at_the_solstice():
    instant = december_solstice(1991)
    minute = np.timedelta64(1, "m")
    times = np.array([instant - minute, instant, instant + minute])
    before, at, after = season_terms(times)
    np.testing.assert_array_equal(at, [1, 1, 0, 0])
    assert before[2] < 0 < after[2]
    np.testing.assert_allclose(before, after, atol=5e-5)


def test_days_in_any_order_over_decades():
    days = np.arange("1950-01-01", "2030-01-01", 97, dtype="datetime64[D]")
    terms = season_terms(days)
    np.testing.assert_array_equal(season_terms(days[::-1]), terms[::-1])
    np.testing.assert_array_equal(season_terms(days[5:6]), terms[5:6])
    f1, f2, f3, f4 = terms.T
    np.testing.assert_allclose(f2, 2 * f1**2 - 1, atol=1e-12)
    np.testing.assert_allclose(f4, 2 * f1 * f3, atol=1e-12)
    months = days.astype("datetime64[M]").astype(int) % 12 + 1
    assert (f3[(months >= 2) & (months <= 5)] > 0).all()
    assert (f3[(months >= 8) & (months <= 11)] < 0).all()
    assert season_terms(days[:0]).shape == (0, 4)


@pytest.mark.parametrize("time", ["0500-06-01", "3500-06-01", "NaT"])
def test_times_without_a_solstice(time):
    with pytest.raises(DataError, match=r"year: no solstice known; .* expected 1000 to 3000"):
        season_terms(np.array([time], "datetime64[m]"))

"""Label-only baselines: the published numbers, and each rule by hand."""

import json

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import average_precision_score, f1_score
from sklearn.neighbors import KNeighborsClassifier

from tenkizu.core.grid import Grid
from tenkizu.core.samples import samples_folder
from tenkizu.patterns.catalogues import JC, YOSHINO
from tenkizu.patterns.jenkinson_collison import classify, indices
from tenkizu.patterns.labels import LabelTable, read_labels, shipped_calendar
from tenkizu.patterns.pressure_neighbours import PressureNeighbours
from tenkizu.patterns.verification.baselines import (
    Climatology,
    all_positive_f1,
    climatology,
    day_of_year,
    knn,
    persistence,
    prevalence,
)


def days_of(first, last):
    return np.arange(f"{first}-01-01", f"{last + 1}-01-01", dtype="datetime64[D]")


def average_precisions(truth, probs):
    """One a type; every type has a positive in the splits used here."""
    assert truth.any(axis=0).all()
    return [average_precision_score(truth[:, k], probs[:, k]) for k in range(truth.shape[1])]


class Split:
    """Training and reported days of a table."""

    def __init__(self, table, train, reported):
        self.table, self.train_days, self.days = table, days_of(*train), days_of(*reported)
        self.train, self.truth = (table.on_days(d)[0] for d in (self.train_days, self.days))

    def mean_ap(self, probs):
        return np.mean(average_precisions(self.truth, probs))


@pytest.fixture(scope="module")
def japan():
    return Split(read_labels(shipped_calendar(), YOSHINO), (1991, 1997), (1998, 2000))


@pytest.fixture(scope="module")
def atlantic_maps():
    path = samples_folder() / "patterns" / "ncep_msl_natlantic_2p5_daily_2001_2010.nc"
    with xr.open_dataset(path) as data:
        data = data.sortby("lat", ascending=False)
        return data.msl.values, Grid("latlon", data.lat.values, data.lon.values)


@pytest.fixture(scope="module")
def atlantic(atlantic_maps):
    texts = classify(indices(*atlantic_maps, (55, -5)))
    return Split(LabelTable.of(JC, days_of(2001, 2010), texts), (2001, 2006), (2009, 2010))


# ---------------------------------------------------------------------------- published numbers


@pytest.mark.parametrize(("name", "expected"), [("japan", 0.102), ("atlantic", 0.114)])
def test_prevalence(request, name, expected):
    split = request.getfixturevalue(name)
    probs = np.tile(prevalence(split.train), (len(split.days), 1))
    assert split.mean_ap(probs) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("name", "expected"), [("japan", 0.232), ("atlantic", 0.127)])
def test_climatology(request, name, expected):
    split = request.getfixturevalue(name)
    probs = climatology(split.train_days, split.train, split.days)
    assert split.mean_ap(probs) == pytest.approx(expected, abs=5e-4)


def test_climatology_by_type(japan):
    found = average_precisions(japan.truth, climatology(japan.train_days, japan.train, japan.days))
    expected = [0.54, 0.24, 0.09, 0.13, 0.10, 0.12, 0.23, 0.12]
    expected += [0.09, 0.48, 0.32, 0.69, 0.19, 0.11, 0.02]
    np.testing.assert_allclose(found, expected, atol=0.0051)


@pytest.mark.parametrize(("name", "expected"), [("japan", 0.225), ("atlantic", 0.217)])
def test_persistence(request, name, expected):
    split = request.getfixturevalue(name)
    probs = persistence(split.days, split.table)
    assert not np.isnan(probs).any()  # the day before the first is a labelled day of another split
    assert split.mean_ap(probs) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("name", "expected"), [("japan", 0.225), ("atlantic", 0.217)])
def test_persistence_of_a_table_that_starts_with_the_split(request, name, expected):
    """The first day takes the prevalence, and the number stays."""
    split = request.getfixturevalue(name)
    texts = [split.table.by_day[day].text for day in split.days]
    own = LabelTable.of(split.table.catalogue, split.days, texts)
    assert np.isnan(persistence(split.days, own)).all(axis=1).nonzero()[0].tolist() == [0]
    probs = persistence(split.days, own, unknown=prevalence(split.train))
    np.testing.assert_array_equal(probs[0], prevalence(split.train))
    assert split.mean_ap(probs) == pytest.approx(expected, abs=5e-4)


# ---------------------------------------------------------------------------- rules by hand


def test_all_positive_f1_is_that_of_saying_yes_every_day(japan):
    shares = prevalence(japan.truth)
    found = all_positive_f1(shares)
    for k in range(len(shares)):
        truth = japan.truth[:, k]
        assert found[k] == pytest.approx(f1_score(truth, np.ones_like(truth)))
    np.testing.assert_allclose(all_positive_f1(np.array([0.0, 0.5, 1.0])), [np.nan, 2 / 3, 1])


def test_climatology_of_single_days_by_hand():
    days = np.array(["2001-01-01", "2001-01-11", "2003-07-01"], "datetime64[D]")
    targets = np.array([[1, 0], [0, 1], [0, 0]], bool)
    table = Climatology.of(days, targets)
    # 6 January: five days from both, half each; 11 January: 10 days from the first.
    found = table.probabilities(np.array(["2005-01-06", "2005-01-11"], "datetime64[D]"))
    np.testing.assert_allclose(found[0], [0.5, 0.5], atol=1e-12)
    weight = np.exp(-0.5)
    np.testing.assert_allclose(found[1], [weight / (1 + weight), 1 / (1 + weight)], rtol=1e-12)


def test_the_year_is_a_circle():
    days = np.array(["2001-01-01", "2001-12-11"], "datetime64[D]")
    table = Climatology.of(days, np.array([[True], [False]]))
    # 31 December 2002 is day 364 (counted from 0): 1.2425 days from 1 January, 20 from day 344.
    near, far = np.exp(-0.5 * 0.12425**2), np.exp(-0.5 * 2.0**2)
    found = table.probabilities(np.array(["2002-12-31"], "datetime64[D]"))
    assert found[0, 0] == pytest.approx(near / (near + far), rel=1e-12)


def test_day_of_year():
    days = np.array(["2000-01-01", "2000-12-31", "2001-12-31", "1969-03-01"], "datetime64[D]")
    assert day_of_year(days).tolist() == [0, 365, 364, 59]
    assert day_of_year(days.astype("datetime64[ns]")).tolist() == [0, 365, 364, 59]


def test_the_table_by_day_of_year_equals_a_sum_over_training_days(japan):
    days = japan.days[::37]
    apart = abs(day_of_year(days)[:, None] - day_of_year(japan.train_days)[None, :])
    weights = np.exp(-0.5 * (np.minimum(apart, 365.2425 - apart) / 10) ** 2)
    expected = weights @ japan.train / weights.sum(axis=1, keepdims=True)
    found = Climatology.of(japan.train_days, japan.train).probabilities(days)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_table_survives_json_and_is_small(japan):
    table = Climatology.of(japan.train_days, japan.train)
    text = json.dumps(table.to_json())
    assert len(text) < 20_000
    again = Climatology.from_json(json.loads(text))
    np.testing.assert_array_equal(again.probabilities(japan.days), table.probabilities(japan.days))


def test_a_table_of_nothing_knows_nothing():
    table = Climatology.of(days_of(2001, 2001)[:0], np.zeros((0, 3), bool))
    assert np.isnan(table.probabilities(days_of(2001, 2001))).all()


def test_persistence_skips_unlabelled_and_missing_days():
    days = np.arange("1991-01-01", "1991-01-06", dtype="datetime64[D]")
    table = LabelTable.of(YOSHINO, days[[0, 1, 3]], ["1+2A", "NA", "5"])
    found = persistence(days, table)
    assert np.isnan(found[[0, 2, 3]]).all()
    assert np.flatnonzero(found[1]).tolist() == [0, 1]
    assert np.flatnonzero(found[4]).tolist() == [YOSHINO.labels.index("5")]


# ---------------------------------------------------------------------------- neighbours


def test_neighbours_agree_with_scikit_learn():
    rng = np.random.default_rng(11)
    train, maps = rng.normal(1e5, 800, (300, 24)), rng.normal(1e5, 800, (40, 24))
    targets = rng.random((300, 3)) < 0.3
    oracle = KNeighborsClassifier(
        12, weights=lambda r: 1 / r**2, algorithm="brute", metric="euclidean"
    )
    oracle.fit(train - train.mean(axis=1, keepdims=True), targets)
    expected = oracle.predict_proba(maps - maps.mean(axis=1, keepdims=True))
    found = knn(train, targets, maps, k=12)
    np.testing.assert_allclose(found, np.stack([p[:, 1] for p in expected], axis=1), atol=1e-8)


def test_a_training_map_with_more_pressure_everywhere_finds_itself():
    rng = np.random.default_rng(2)
    train = rng.normal(1e5, 800, (50, 30))
    targets = np.eye(50, dtype=bool)
    found = knn(train, targets, train[[4, 7]] + 1500.0, k=5)
    np.testing.assert_allclose(found[[0, 1], [4, 7]], 1, atol=1e-6)


def test_few_training_maps_are_all_neighbours():
    rng = np.random.default_rng(2)
    found = knn(rng.normal(size=(3, 8)), np.array([[1], [1], [1]], bool), rng.normal(size=(2, 8)))
    np.testing.assert_allclose(found, 1)


def test_neighbours_beat_every_label_only_baseline(atlantic, atlantic_maps):
    maps = atlantic_maps[0].reshape(len(atlantic_maps[0]), -1)
    probs = knn(maps[:2191], atlantic.train, maps[-730:])
    assert atlantic.mean_ap(probs) > 0.5


def test_neighbours_by_standardised_anomalies_on_a_coarse_grid():
    # Maps of 4 x 4 cells are compared on 2 x 2, of which those in the south vary ten times as much.
    rng = np.random.default_rng(8)
    train = 1e5 + rng.normal(size=(40, 2, 2)) * np.array([[100.0, 100.0], [1000.0, 1000.0]])
    targets = rng.random((40, 3)) < 0.4
    days = rng.normal(1e5, 500, (7, 4, 4))
    found = PressureNeighbours(train.astype(np.float32), targets, 2)
    probs = found.probabilities(lambda some: days[some], np.array([0, 3, 6]))
    coarse = days.reshape(7, 2, 2, 2, 2).mean(axis=(2, 4))[[0, 3, 6]]
    known, asked = (
        ((maps - train.mean(axis=0)) / train.std(axis=0)).reshape(-1, 4) for maps in (train, coarse)
    )
    oracle = KNeighborsClassifier(30, weights=lambda r: 1 / r**2, algorithm="brute")
    oracle.fit(known - known.mean(axis=1, keepdims=True), targets)
    expected = oracle.predict_proba(asked - asked.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(probs, np.stack([p[:, 1] for p in expected], axis=1), atol=1e-5)
    assert found.probabilities(lambda some: days[some], np.zeros(0, int)).shape == (0, 3)
    asked_for = []
    found.probabilities(lambda some: asked_for.append(len(some)) or days[some * 0], np.arange(100))
    assert asked_for == [64, 36]

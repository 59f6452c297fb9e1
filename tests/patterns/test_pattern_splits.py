"""Which days train, choose and are reported on."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tenkizu.core.errors import DataError
from tenkizu.patterns.config import SplitsConfig
from tenkizu.patterns.splits import by_year, folds

DECADE = np.arange("1991-01-01", "2001-01-01", dtype="datetime64[D]")


def years_of(days):
    return sorted(set(days.astype("datetime64[Y]").astype(str)))


def test_the_decade_by_years():
    (fold,) = folds(SplitsConfig(), DECADE)
    assert {name: len(days) for name, days in fold.items()} == {"train": 2557, "validation": 1096}
    assert years_of(DECADE[fold["validation"]]) == ["1998", "1999", "2000"]


def test_the_decade_with_a_test_held_out():
    (fold,) = folds(SplitsConfig(scheme="holdout"), DECADE)
    counts = {name: len(days) for name, days in fold.items()}
    assert counts == {"train": 2192, "validation": 730, "test": 731}
    assert str(DECADE[fold["test"][0]]) == "1999-01-01"


def test_periods_of_ones_own_and_days_outside_them(caplog):
    splits = SplitsConfig(
        scheme="periods", train=["1991/1992-06"], validation=["1993-01-05/1993-01-06"]
    )
    with caplog.at_level(logging.INFO, "tenkizu"):
        (fold,) = folds(splits, DECADE)
    assert DECADE[fold["train"][-1]] == np.datetime64("1992-06-30")
    assert DECADE[fold["validation"]].astype(str).tolist() == ["1993-01-05", "1993-01-06"]
    assert "test" not in fold
    assert f"{3653 - 365 - 182 - 2} of 3653 days lie outside" in caplog.text


def test_without_validation_there_is_an_empty_one():
    (fold,) = folds(SplitsConfig(scheme="periods", train=["1991/2000"]), DECADE)
    assert len(fold["train"]) == 3653
    assert len(fold["validation"]) == 0


def test_several_maps_a_day_and_any_order():
    days = np.array(["1993-01-02", "1992-12-31", "1993-01-02", "1993-01-01"], "datetime64[D]")
    splits = SplitsConfig(scheme="periods", train=["1993/1993"], validation=["1992/1992"])
    (fold,) = folds(splits, days)
    assert fold["train"].tolist() == [0, 2, 3]
    assert fold["validation"].tolist() == [1]


def test_cross_validation_of_the_decade():
    five = folds(SplitsConfig(scheme="blocked_cv"), DECADE)
    assert len(five) == 5
    tested = np.sort(np.concatenate([fold["test"] for fold in five]))
    assert tested.tolist() == list(range(3653))  # every day the test once
    assert [years_of(DECADE[fold["validation"]]) for fold in five] == [
        ["1993", "1994"],
        ["1995", "1996"],
        ["1997", "1998"],
        ["1999", "2000"],
        ["1991", "1992"],
    ]
    # Test 1991-92 and validation 1993-94: training starts three days into 1995.
    assert DECADE[five[0]["train"][0]] == np.datetime64("1995-01-04")
    assert len(five[0]["train"]) == 366 + 3 * 365 + 366 + 365 - 3
    # Test 1993-94, validation 1995-96: three days are missing on both sides.
    train = DECADE[five[1]["train"]]
    gap = np.flatnonzero(np.diff(train) > np.timedelta64(1, "D"))
    assert train[[gap[0], gap[0] + 1]].astype(str).tolist() == ["1992-12-28", "1997-01-04"]
    # Test 1999-2000, validation 1991-92.
    train = DECADE[five[4]["train"]]
    assert train[[0, -1]].astype(str).tolist() == ["1993-01-04", "1998-12-28"]


@settings(deadline=None, max_examples=25)
@given(
    years=st.integers(3, 7),
    block=st.integers(1, 3),
    purge=st.integers(0, 40),
    missing=st.sets(st.integers(0, 1000), max_size=200),
)
def test_no_training_day_lies_within_the_purge_of_a_held_out_one(years, block, purge, missing):
    days = np.arange("1995-01-01", f"{1995 + years}-01-01", dtype="datetime64[D]")
    days = np.delete(days, [i for i in missing if i < 700 and i % 365 > 5])
    splits = SplitsConfig(scheme="blocked_cv", block_years=block, purge_days=purge)
    if years // block < 3:
        with pytest.raises(DataError, match="too few years"):
            folds(splits, days)
        return
    result = folds(splits, days)
    assert len(result) == years // block
    for fold in result:
        held = np.unique(days[np.concatenate([fold["validation"], fold["test"]])])
        distance = abs(days[fold["train"]][:, None] - held[None]).min(axis=1)
        assert (distance > np.timedelta64(purge, "D")).all()
        used = np.concatenate(list(fold.values()))
        assert len(set(used.tolist())) == len(used)
        # Nothing else is lost.
        lost = np.setdiff1d(np.arange(len(days)), used)
        near = abs(days[lost][:, None] - held[None]).min(axis=1, initial=np.timedelta64(9999, "D"))
        assert (near <= np.timedelta64(purge, "D")).all()


def test_years_left_over_join_the_last_block():
    days = np.arange("1991-01-01", "1998-01-02", dtype="datetime64[D]")  # seven years and a day
    three = folds(SplitsConfig(scheme="blocked_cv"), days)
    assert len(three) == 4
    assert years_of(days[three[3]["test"]]) == ["1997", "1998"]


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({"scheme": "years"}, ["data.splits.validation", "1998/2000", "1991: 365, 1992: 366"]),
        (
            {"scheme": "periods", "train": ["2010/2010"], "test": ["1991/1991"]},
            ["data.splits.train", "no day in 2010/2010", "1992: 366"],
        ),
        ({"scheme": "blocked_cv"}, ["too few years", "1991: 365, 1992: 366", "block_years"]),
    ],
)
def test_an_empty_split_names_years_and_counts(splits, words):
    with pytest.raises(DataError) as caught:
        folds(SplitsConfig(**splits), DECADE[:731])
    assert caught.value.exit_code == 3
    for word in words:
        assert word in str(caught.value)


def test_a_purge_that_eats_the_training_is_an_empty_split():
    days = np.arange("1991-01-01", "1994-01-01", dtype="datetime64[D]")
    splits = SplitsConfig(scheme="blocked_cv", block_years=1, purge_days=400)
    with pytest.raises(DataError, match="an empty split") as caught:
        folds(splits, days)
    assert "data.splits.train" in str(caught.value)
    assert "fold 1 of 3" in str(caught.value)


def test_years_that_overlap_are_refused_with_the_configuration():
    with pytest.raises(ValidationError, match="overlap"):
        SplitsConfig(scheme="periods", train=["1991/1995"], validation=["1995/1996"])


def test_counts_for_messages():
    assert by_year(DECADE[:731]) == "1991: 365, 1992: 366"
    assert by_year(DECADE[:0]) == "no days"

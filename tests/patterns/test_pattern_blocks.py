"""Blocks of derived maps, as preparation and prediction read them."""

from types import SimpleNamespace

import numpy as np
import pytest

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns.blocks import blocks_of

GRID = Grid("latlon", np.arange(45.0, 29.0, -2.5), np.arange(130.0, 146.0, 2.5))
TIMES = np.arange("2001-01-01", "2001-01-11", dtype="datetime64[D]").astype("datetime64[m]")


def source_of(**maps):
    """A source of ten days of the fields given, (10, 7, 7)."""

    def read(names, times):
        days = np.searchsorted(TIMES, times)
        return {name: maps[name][days] for name in names}

    return SimpleNamespace(names=tuple(maps), grid=GRID, read=read)


def pressure():
    return 101_000 + np.random.default_rng(3).normal(0, 500, (len(TIMES), *GRID.shape))


def test_blocks_of_eight_days_hold_what_was_asked_for():
    msl = pressure()
    blocks = list(blocks_of(source_of(msl=msl), ["msl", "f1_season", "grad_msl"], TIMES))
    assert [len(times) for times, _ in blocks] == [8, 2]
    assert all(list(fields) == ["msl", "grad_msl"] for _, fields in blocks)
    read = np.concatenate([fields["msl"] for _, fields in blocks])
    np.testing.assert_array_equal(read, msl.astype(np.float32))


def test_a_derived_value_that_is_not_finite_is_named():
    msl = pressure()
    # In the second block. Central differences carry it to the four cells beside it.
    msl[9, 3, 3] = np.nan
    with pytest.raises(DataError) as caught:
        list(blocks_of(source_of(msl=msl), ["grad_msl"], TIMES))
    message = str(caught.value)
    assert "grad_msl: values that are not finite; found 4 cells" in message
    assert "the first at 2001-01-10T00:00 UTC" in message
    # A model's channels cannot be left out, those of a store can.
    assert "`prepare` can leave the channel out: data.drop=[grad_msl]" in message


def test_the_sea_has_no_value_on_land():
    sst = np.full((len(TIMES), *GRID.shape), 288.0)
    sst[:, 1, 2:4] = np.nan
    _, fields = next(blocks_of(source_of(sst=sst), ["sst", "sea_mask"], TIMES))
    assert fields["sea_mask"].shape == (8, 7, 7)
    assert np.argwhere(fields["sea_mask"][0] == 0).tolist() == [[1, 2], [1, 3]]

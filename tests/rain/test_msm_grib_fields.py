"""A single field of GRIB2: its packing, bitmap, place, time and order of values."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from grib_messages import T0, TINY, only, tiny, written
from jma_bytes import MINUTE, FieldSpec, Grid

from tenkizu.core.errors import DataError
from tenkizu.rain.msm.grib import fields_of
from tenkizu.rain.msm.sections import signed

# Packings and bitmaps.


@pytest.mark.parametrize("packing", ["simple", "eccodes_simple", "complex", "spatial"])
@pytest.mark.parametrize("gaps", [False, True])
def test_packings_give_the_packed_values_with_and_without_bitmap(tmp_path, packing, gaps):
    y, x = np.mgrid[:30, :40]
    values = 8 * np.sin(y / 7) * np.cos(x / 5)
    if gaps:
        values[5:9, 10:30] = np.nan
    grid = Grid(30, 40, 40.0, 130.0, 0.1, 0.1)
    one = only(written(tmp_path, FieldSpec(values, 2, 2, grid=grid, packing=packing, bits=14)))
    np.testing.assert_allclose(one.values(), values, atol=1e-3)
    assert one.bitmap == (0 if gaps else 255)


def test_run_lengths_of_sixteen_bits(tmp_path):
    table = list(range(0, 4000, 10))
    values = np.sort(np.random.default_rng(4).choice(table, 20)).reshape(4, 5) / 10.0
    field = tiny(values, packing="run_length", levels=table, decimals=1, bits=16)
    np.testing.assert_allclose(only(written(tmp_path, field)).values(), values)


def test_a_bitmap_may_be_reused_after_fields_without_one(tmp_path):
    hidden = np.arange(20.0).reshape(4, 5)
    hidden[1, 2] = np.nan
    path = written(tmp_path, tiny(hidden), tiny(2 * hidden, same_bitmap=True), tiny())
    first, second, third = (one.values() for one in fields_of(path))
    np.testing.assert_array_equal(second, 2 * first)
    assert not np.isnan(third).any()


def test_a_bitmap_that_was_never_defined_is_an_error(tmp_path):
    path = written(tmp_path, tiny(same_bitmap=True))
    with pytest.raises(DataError, match="reuses a bitmap"):
        only(path).values()


def test_a_constant_field_needs_no_bits(tmp_path):
    one = only(written(tmp_path, tiny(np.full((4, 5), 3.0), bits=0, packing="eccodes_simple")))
    np.testing.assert_array_equal(one.values(), np.full((4, 5), 3.0))


# Places and times.


@pytest.mark.parametrize(
    ("surface", "level"),
    [((103, 1, 15), 1.5), ((103, 0, 2), 2.0), ((100, -2, 850), 85000.0), ((1, 255, 0), None)],
)
def test_levels_are_scaled_by_powers_of_ten(tmp_path, surface, level):
    assert only(written(tmp_path, tiny(surface=surface))).level == level


@pytest.mark.parametrize(
    ("scan", "there"),
    [
        (0x00, lambda v: v),
        (0x40, lambda v: v[::-1]),
        (0x80, lambda v: v[:, ::-1]),
        (0xC0, lambda v: v[::-1, ::-1]),
        (0x20, lambda v: v.T.reshape(4, 5)),
    ],
)
def test_values_come_north_and_west_first_from_any_scanning(tmp_path, scan, there):
    values = np.arange(20.0).reshape(4, 5) / 16
    field = replace(tiny(there(values)), grid=replace(TINY, scan_mode=scan))
    one = only(written(tmp_path, field))
    np.testing.assert_array_equal(one.values(), values)


def test_rows_that_run_to_and_fro_are_refused(tmp_path):
    field = replace(tiny(), grid=replace(TINY, scan_mode=0x10))
    with pytest.raises(DataError, match="scanning mode 16"):
        only(written(tmp_path, field)).values()


@pytest.mark.parametrize("start", [-90, -30, 0, 45, 600])
def test_interval_in_minutes(tmp_path, start):
    field = tiny(template=8, start=start, unit=MINUTE, length=30, length_unit=MINUTE)
    one = only(written(tmp_path, field))
    assert (one.start_minutes, one.end_minutes, one.length_minutes) == (start, start + 30, 30)
    assert one.statistic == 1


def test_interval_over_the_end_of_a_leap_february(tmp_path):
    last = datetime(2024, 2, 29, 21)
    one = only(written(tmp_path, tiny(template=8, start=3, length=6), reference=last))
    assert one.reference + np.timedelta64(one.end_minutes, "m") == np.datetime64("2024-03-01T06:00")


def test_interval_that_contradicts_its_end_is_refused(tmp_path):
    field = tiny(template=8, start=3, length=1, end=T0 + timedelta(hours=5))
    with pytest.raises(DataError, match=r"ends at 2020-07-03T17:00 by its date, but at .*16:00"):
        list(fields_of(written(tmp_path, field)))


@pytest.mark.parametrize(
    ("octets", "value"),
    [("0000003c", 60), ("8000003c", -60), ("ffffffc4", -60), ("80000000", 0)],
)
def test_signs_are_a_bit_or_a_complement(octets, value):
    assert signed(bytes.fromhex(octets), 1, 4) == value

"""What a file must be to count as downloaded."""

import numpy as np
import pytest
from era5_files import days_of, edit, truncate, write_file

from tenkizu.core.errors import DataError
from tenkizu.patterns.download.verify import require_plain, verify
from tenkizu.patterns.download.wanted import Request, grid_of
from tenkizu.patterns.reading.era5 import TASKS

AREA = (36.0, 140.0, 35.0, 141.0)
GRID = grid_of(AREA)
TASK = {task.name: task for task in TASKS}
DAYS = days_of(2001, 40)


def made(tmp_path, task="msl", times=DAYS, grid=(GRID.y, GRID.x), fields=None, **options):
    """A file, and the request for 40 days that it is meant to answer."""
    path = tmp_path / f"era5_{task}_2001.nc"
    write_file(path, fields or TASK[task].fields, times, grid, **options)
    return path, Request(path, TASK[task], DAYS, AREA)


@pytest.mark.parametrize("task", [task.name for task in TASKS])
def test_every_task_passes(tmp_path, task):
    verify(*made(tmp_path, task))


@pytest.mark.parametrize(
    "options",
    [{"convention": "old"}, {"south_first": True}, {"preliminary": 5}, {"long_names": True}],
)
def test_every_convention_passes(tmp_path, options):
    verify(*made(tmp_path, "t_850", **options))


def test_an_archive_passes_only_where_it_was_there_before(tmp_path):
    path, request = made(tmp_path, convention="zip")
    verify(path, request)
    with pytest.raises(DataError, match=r"a ZIP archive where NetCDF .*found \d+ bytes with data_"):
        require_plain(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": DAYS[:-1]}, "missing days; found 39 of 40, missing 2001-02-09"),
        ({"times": days_of(2001, 41)}, "days of another year; found 2001-02-10"),
        ({"times": DAYS + np.timedelta64(6, "h")}, "no map at 00 UTC; found hours 06 UTC"),
        ({"fields": ("tcc",)}, r"missing variable or level; found 1 fields \(tcc\)"),
        ({"fields": ("msl", "tcc")}, r"variables that were not asked for; found 2 fields"),
        ({"grid": (GRID.y[:-1], GRID.x)}, "another grid than was asked for.*4 values of latitude"),
        ({"grid": (GRID.y, GRID.x + 0.01)}, "another grid.*longitude 0 is 140.01, not 140"),
    ],
)
def test_another_answer_is_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        verify(*made(tmp_path, **change))


def test_a_missing_level_is_named(tmp_path):
    path, request = made(tmp_path, "z_500_1000", fields=("z500",))
    with pytest.raises(DataError, match=r"z1000: missing variable or level"):
        verify(path, request)


def test_coordinates_may_be_rounded_but_not_more(tmp_path):
    verify(*made(tmp_path, grid=(GRID.y + 5e-5, GRID.x)))
    with pytest.raises(DataError, match="another grid"):
        verify(*made(tmp_path, grid=(GRID.y + 2e-4, GRID.x)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": "hPa"}, "msl: wrong units; found 'hPa'.*expected Pa"),
        ({"at": (39, 2, 3), "value": np.nan}, "non-finite values.*2001-02-09 at row 2, column 3"),
        ({"at": (35, 0, 0), "value": np.inf}, "non-finite values"),
        ({"at": (slice(None), 0, 0), "value": 1e9}, "values that do not fit the units"),
    ],
)
def test_units_and_every_value_count(tmp_path, change, message):
    path, request = made(tmp_path)
    edit(path, "msl", **change)
    with pytest.raises(DataError, match=message):
        verify(path, request)


def test_land_may_be_missing_in_sst_but_not_sea(tmp_path):
    path, request = made(tmp_path, "sst")
    verify(path, request)
    edit(path, "sst", at=(12, 4, 4), value=np.nan)
    with pytest.raises(DataError, match="non-finite values"):
        verify(path, request)


def test_a_field_without_any_value_is_refused(tmp_path):
    path, request = made(tmp_path, "sst")
    edit(path, "sst", at=..., value=np.nan)
    with pytest.raises(DataError) as empty:
        verify(path, request)
    message = str(empty.value).split(": ", 1)[1]
    assert message.startswith(
        "sst: missing everywhere; found 31 maps without a value, 2001-01-01, "
    )
    assert "expected values outside land" in message
    assert "data.drop=[sst,sea_mask]" in message


def test_a_month_may_have_no_convection_but_not_a_year(tmp_path):
    path, request = made(tmp_path, "cape_cin")
    edit(path, "cin", at=..., value=np.nan)
    verify(path, request)
    year = days_of(2001)
    path, _ = made(tmp_path, "cape_cin", times=year)
    request = Request(path, TASK["cape_cin"], year, AREA)
    verify(path, request)
    edit(path, "cin", at=..., value=np.nan)
    with pytest.raises(DataError, match="cin: missing everywhere; found 365 maps without"):
        verify(path, request)


def test_a_part_of_a_file_is_refused(tmp_path):
    path, request = made(tmp_path)
    truncate(path)
    with pytest.raises(DataError, match=r"damaged or truncated.*found \d+ bytes"):
        verify(path, request)


def test_an_error_page_is_refused_with_size_and_type(tmp_path):
    path, request = made(tmp_path)
    path.write_text("<html><body>502 Bad Gateway</body></html>")
    with pytest.raises(DataError, match="an HTML or XML page of 41 bytes"):
        verify(path, request)


def test_a_file_that_was_there_may_hold_more_times(tmp_path):
    times = np.unique(np.concatenate([days_of(2000), DAYS, DAYS + np.timedelta64(12, "h")]))
    path, request = made(tmp_path, times=times)
    verify(path, request, exact=False)
    with pytest.raises(DataError, match="times that were not asked for; found 446 maps"):
        verify(path, request)


def test_a_circle_of_longitudes_ends_before_it_begins():
    assert grid_of((90, -180, -90, 180)).shape == (721, 1440)
    assert grid_of((90, -180, -90, 179.75)).shape == (721, 1440)
    assert grid_of((55, 115, 15, 155)).shape == (161, 161)

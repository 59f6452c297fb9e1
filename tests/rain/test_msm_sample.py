"""Initial times of the MSM: their files, and what is read from them."""

import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import jma_oddities
import numpy as np
import pytest
from jma_files import Weather, msm_name, write_archive, write_operational
from scipy.interpolate import RegularGridInterpolator

from tenkizu.core.errors import DataError
from tenkizu.rain.fields import MSM24, field_pairs
from tenkizu.rain.msm.files import InitialTime, find_initial_times
from tenkizu.rain.msm.grids import PRESSURE_GRID, SURFACE_GRID, on_model_grid
from tenkizu.rain.msm.keys import PRESSURE_BASES, SURFACE_BASES
from tenkizu.rain.msm.sample import MsmSample, read_initial_time

T0 = datetime(2020, 7, 3, 12)
LATITUDE = 46.95 - 0.05 * np.arange(480)
LONGITUDE = 120 + 0.0625 * np.arange(480)
ARCHIVE = ("Lsurf_FH03", "Lsurf_FH06", "L-pall_FH03", "L-pall_FH06", "Prr_FH00-03", "Prr_FH03-06")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder, T0, following=True, only_needed=True)
    return folder


@pytest.fixture(scope="module")
def sample(archive) -> MsmSample:
    return read_initial_time(only(archive))


def only(folder: Path) -> InitialTime:
    (one,) = find_initial_times(folder)
    return one


# Values.


def test_fields_are_the_weather_within_a_packing_step(sample):
    weather = Weather()
    assert sample.fields.shape == (48, 480, 480)
    assert sample.fields.dtype == np.float32
    for name, found in zip(field_pairs(MSM24), sample.fields, strict=True):
        base, lead = name.split("_ft")
        hours = (T0 - datetime(1970, 1, 1)) / timedelta(hours=1) + int(lead)
        truth = weather.at(base, LATITUDE, LONGITUDE, hours)
        # 12 bits hold the range of a field in a power of two; linear regridding adds little.
        tolerance = 1.1 * np.ptp(truth) / 2**11
        assert np.abs(found - truth).max() < tolerance, name


def test_rain_is_that_of_its_hours_exactly(sample):
    hour = {end: Weather().rain(T0, end)[13:493, :480] for end in range(1, 10)}
    total = {end: hour[end - 2] + hour[end - 1] + hour[end] for end in (3, 6, 9)}
    truth = np.stack([total[3], hour[4], hour[5], hour[6], total[6], total[9]])
    assert sample.rain.dtype == np.float32
    np.testing.assert_array_equal(sample.rain, truth)
    assert sample.negatives_zeroed == 0
    assert sample.t0 == np.datetime64("2020-07-03T12:00")


def test_both_layouts_give_the_same_sample(tmp_path, sample):
    write_operational(tmp_path, T0, only_needed=True)
    one = only(tmp_path)
    assert one.layout == "operational"
    operational = read_initial_time(one)
    np.testing.assert_array_equal(operational.fields, sample.fields)
    np.testing.assert_array_equal(operational.rain, sample.rain)


@pytest.mark.slow
def test_whole_operational_files_give_the_same_sample(tmp_path, sample):
    write_operational(tmp_path, T0)
    operational = read_initial_time(only(tmp_path))
    np.testing.assert_array_equal(operational.fields, sample.fields)
    np.testing.assert_array_equal(operational.rain, sample.rain)


def test_a_crop_is_cut_from_the_model_grid(archive, sample):
    cut = read_initial_time(only(archive), crop=(101, 203, 32, 48))
    inside = (slice(101, 133), slice(203, 251))
    np.testing.assert_array_equal(cut.fields, sample.fields[:, *inside])
    np.testing.assert_array_equal(cut.rain, sample.rain[:, *inside])


@pytest.mark.parametrize("crop", [(-1, 0, 8, 8), (473, 0, 8, 8), (0, 400, 8, 81), (0, 0, 0, 8)])
def test_a_crop_outside_the_model_grid_is_refused(archive, crop):
    with pytest.raises(DataError, match="not within the model grid"):
        read_initial_time(only(archive), crop=crop)


def test_following_rain_is_nan_where_it_is_not_wanted_or_not_there(archive, sample, tmp_path):
    for path in archive.iterdir():
        if "FH06-09" not in path.name:
            (tmp_path / path.name).symlink_to(path)
    for found in (
        read_initial_time(only(archive), following=False, crop=(0, 0, 480, 480)),
        read_initial_time(only(tmp_path)),
    ):
        assert np.isnan(found.rain[5]).all()
        np.testing.assert_array_equal(found.rain[:5], sample.rain[:5])


def test_regridding_is_bilinear_interpolation():
    values = np.random.default_rng(1).normal(size=PRESSURE_GRID.shape)
    axes = (47.6 - 0.1 * np.arange(253), 120 + 0.125 * np.arange(241))
    interpolate = RegularGridInterpolator((axes[0][::-1], axes[1]), values[::-1])
    points = np.stack(np.meshgrid(LATITUDE, LONGITUDE, indexing="ij"), -1)
    found = on_model_grid(values, PRESSURE_GRID)
    np.testing.assert_allclose(found, interpolate(points), atol=1e-9)


def test_surface_nodes_are_cut_out_by_whole_numbers():
    rows, columns = np.mgrid[:505, :481]
    found = on_model_grid(rows * 1000.0 + columns, SURFACE_GRID)
    assert found.shape == (480, 480)
    assert (found[0, 0], found[-1, -1]) == (13_000, 492_479)


def test_sources_of_the_fields_are_both_files():
    assert SURFACE_BASES == ("Prmsl", "U10m", "V10m", "T2m")
    assert len(PRESSURE_BASES) == 20


# What is odd and what is wrong.


@pytest.mark.parametrize("odd", jma_oddities.READABLE, ids=lambda odd: odd.__name__)
def test_oddities_do_not_change_what_is_read(tmp_path, sample, odd):
    odd(tmp_path, T0)
    found = read_initial_time(only(tmp_path), crop=(0, 0, 480, 480))
    np.testing.assert_array_equal(found.fields, sample.fields)
    np.testing.assert_array_equal(found.rain[:5], sample.rain[:5])
    assert (found.negatives_zeroed > 0) == ("negative" in odd.__name__)


REASONS = {
    "south_first": "another grid",
    "smaller_grid": "another grid.* 504 x 481",
    "shifted_grid": "another grid.* 120.062",
    "wrong_end": "by its date",
    "wrong_length": r"rain of hour 5 .*no such field",
    "doubled_hour": r"rain of hour 5 .*several fields",
    "lost_hour": r"rain of hour 3 .*no such field",
    "mean_for_sum": r"no such field.*end 300 min, length 60 min, statistic 0",
    "missing_cells": "200 missing values",
    "negative_rain": "not plausible; found -0.0625 to",
    "another_day": "another initial time than its name says; found 2020-07-02T12:00",
    "message_twice": "several fields",
}


@pytest.mark.parametrize("odd", jma_oddities.REFUSED, ids=lambda odd: odd.__name__)
def test_what_is_wrong_is_refused_by_name_and_reason(tmp_path, odd):
    path = odd(tmp_path, T0)
    with pytest.raises(DataError, match=REASONS[odd.__name__]) as error:
        read_initial_time(only(tmp_path))
    assert str(path) in str(error.value)


def test_an_incomplete_initial_time_is_not_read(archive, tmp_path):
    shutil.copytree(archive, tmp_path, dirs_exist_ok=True)
    (tmp_path / msm_name(T0, "Prr_FH03-06")).unlink()
    one = only(tmp_path)
    assert one.missing == ("Prr_FH03-06",)
    with pytest.raises(DataError, match=r"2020-07-03T12:00 UTC: an incomplete.*Prr_FH03-06"):
        read_initial_time(one)


def test_a_file_that_is_gone_is_named(archive, tmp_path):
    shutil.copytree(archive, tmp_path, dirs_exist_ok=True)
    one = only(tmp_path)
    gone = one.files["L-pall_FH06"]
    gone.unlink()
    with pytest.raises(DataError, match=f"{gone.name}: the file cannot be read"):
        read_initial_time(one)


# Finding files.


def touched(folder: Path, t0: datetime, *parts: str, content: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        (folder / msm_name(t0, part)).write_text(content)


def test_folders_of_months_and_days_are_searched_and_sorted(tmp_path):
    touched(tmp_path / "2021" / "01" / "02", datetime(2021, 1, 2), *ARCHIVE)
    touched(tmp_path / "202012" / "31", datetime(2020, 12, 31, 21), *ARCHIVE)
    touched(tmp_path, datetime(2021, 1, 1, 3), "Lsurf_FH00-15", "L-pall_FH00-15")
    found = find_initial_times(tmp_path)
    assert [str(one.t0) for one in found] == [
        "2020-12-31T21:00",
        "2021-01-01T03:00",
        "2021-01-02T00:00",
    ]
    assert [one.layout for one in found] == ["archive", "operational", "archive"]
    assert not any(one.missing for one in found)
    assert found[0].t0.dtype == np.dtype("datetime64[m]")


def test_other_files_are_left_aside(tmp_path, caplog):
    touched(tmp_path, T0, *ARCHIVE)
    touched(tmp_path, T0 + timedelta(hours=3), "Lsurf_FH16-33", "Lsurf_FH09", "Prr_FH09-12")
    for name in (
        msm_name(T0, "Lsurf_FH03") + ".923a8.idx",
        msm_name(T0, "Lsurf_FH03") + ".part",
        msm_name(T0, "Lsurf_FH00-15").replace("MSM", "MEPS"),
        msm_name(T0, "Lsurf_FH00-15").replace("Rjp", "Gll"),
        "Z__C_RJTD_20200231120000_MSM_GPV_Rjp_Lsurf_FH03_grib2.bin",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    one = only(tmp_path)
    assert set(one.files) == set(ARCHIVE)
    assert "20200231120000" in caplog.text


def test_an_initial_time_has_the_layout_that_lacks_less(tmp_path):
    touched(tmp_path, T0, "Lsurf_FH00-15", *ARCHIVE)
    assert only(tmp_path).layout == "archive"
    touched(tmp_path, T0, "L-pall_FH00-15")
    assert only(tmp_path).layout == "operational"
    (one,) = find_initial_times(tmp_path, "archive")
    assert set(one.files) == set(ARCHIVE)
    touched(tmp_path / "half", T0, "Lsurf_FH00-15", *ARCHIVE[:2])
    assert only(tmp_path / "half").missing == ("L-pall_FH00-15",)


def test_only_the_layout_that_is_asked_for_counts(tmp_path):
    touched(tmp_path, T0, *ARCHIVE)
    assert find_initial_times(tmp_path, "operational") == []


def test_the_same_file_twice_is_one_and_differing_files_are_none(tmp_path):
    touched(tmp_path / "a", T0, *ARCHIVE, content="one")
    touched(tmp_path / "b", T0, "Lsurf_FH03", content="one")
    one = only(tmp_path)
    assert (one.missing, one.files["Lsurf_FH03"].parent) == ((), tmp_path / "a")
    touched(tmp_path / "b", T0, "Lsurf_FH03", content="two")
    (text,) = only(tmp_path).missing
    assert text.startswith("Lsurf_FH03 (files that differ: ")
    assert str(tmp_path / "b") in text


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    touched(tmp_path / "disk", T0, *ARCHIVE)
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(tmp_path / "disk", root / "2020")
    os.symlink(root, root / "again")
    assert only(root).missing == ()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        find_initial_times(tmp_path / "nowhere")

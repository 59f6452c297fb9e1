"""Files that cannot be used: each message names file, variable, what is found and what to do."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from era5_files import days_of, edit, region, replace_member, truncate, write_file
from prepared_stores import config_for
from synthetic_weather import Weather

from tenkizu.core.errors import DataError
from tenkizu.patterns.preparation import prepare
from tenkizu.patterns.reading.maps import open_era5, open_files

LAT, LON = region(2.5)
DAYS = days_of(2001, 6)
WEATHER = Weather(LAT, LON)


def truth(name):
    return WEATHER.fields([name], DAYS)[name]


@pytest.fixture
def msl(tmp_path):
    """A good file of six days, to be broken."""
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), DAYS)
    return path


def failure_of(*paths, names=None, read=("msl",), **options):
    """The message of the error that opening or reading raises."""
    with (
        pytest.raises(DataError) as failure,
        open_files(list(paths), names=names, **options) as source,
    ):
        source.read(read, DAYS)
    assert failure.value.exit_code == 3
    return str(failure.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"<!DOCTYPE html><html>queue is full</html>", "an HTML or XML page of 41 bytes"),
        (b"GRIB\x00\x00\x00\x02" + b"7" * 92, "a GRIB file of 100 bytes"),
        (b"", "an empty file of 0 bytes"),
        (b'{"message": "not found"}', "a JSON text of 24 bytes"),
        (b"\x00\x01\x02\x03", r"begins with b'\x00\x01\x02\x03' of 4 bytes"),
    ],
)
def test_another_type_of_file_is_named_with_its_size(msl, content, found):
    msl.write_bytes(content)
    message = failure_of(msl)
    assert message.startswith(f"{msl}: not a NetCDF file; found ")
    assert found in message
    assert "next: " in message


@pytest.mark.parametrize("convention", ["today", "old", "zip"])
@pytest.mark.parametrize("share", [0.05, 0.6, 0.98])
def test_a_truncated_file_is_damaged(msl, convention, share):
    write_file(msl, ("msl",), DAYS, convention=convention)
    truncate(msl, share)
    message = failure_of(msl)
    assert str(msl) in message
    assert f"{msl.stat().st_size} bytes" in message
    assert "delete it and fetch it again" in message


def test_a_wrong_member_of_an_archive_is_named(msl):
    replace_member(msl, "data.grib", b"GRIB" + b"0" * 96)
    message = failure_of(msl)
    assert f"{msl} [data.grib]: not a NetCDF file; found a GRIB file of 100 bytes" in message


def test_a_damaged_chunk_is_an_error_when_read(tmp_path):
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), days_of(2001), grid=2.5)
    with open_files([path]) as source:
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 2000] = bytes(2000)
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"msl: damaged or truncated"):
            source.read(["msl"], source.times)


def test_damaged_attributes_are_found_before_the_library_follows_them(msl):
    content = bytearray(msl.read_bytes())
    first_object = content.index(b"GCOL\x01") + 16
    content[first_object : first_object + 16] = bytes(16)  # free space of no size: an endless loop
    msl.write_bytes(content)
    assert "damaged or truncated: cannot be read (its attributes are damaged)" in failure_of(msl)


def test_missing_fields_are_listed(msl):
    message = failure_of(msl, names=["msl", "u850", "z500"])
    assert f"{msl}: u850, z500: missing variable or level; found 1 fields (msl)" in message
    assert "expected 3 fields (msl u850 z500)" in message
    assert "tenkizu patterns download CONFIG" in message
    assert "q850: no such field in these files" in failure_of(msl, read=["q850"])


def test_a_missing_level_is_missing(tmp_path):
    path = tmp_path / "z.nc"
    write_file(path, ("z500",), DAYS)
    assert "z1000: missing variable or level" in failure_of(path, names=["z500", "z1000"])


def test_an_upper_field_without_its_level_is_not_guessed(tmp_path):
    path = tmp_path / "t.nc"
    write_file(path, ("t850",), DAYS, convention="old")  # which leaves a single level out
    assert "t850: missing variable or level; found 0 fields" in failure_of(path, names=["t850"])


def test_missing_days_are_listed_with_their_number(tmp_path):
    days = days_of(2001)
    write_file(tmp_path / "era5_msl_2001.nc", ("msl",), np.delete(days, [30, 31]), grid=10.0)
    with pytest.raises(DataError) as failure:
        open_era5(tmp_path, [2001], ["msl"])
    assert "era5_msl_2001.nc: msl: missing days" in str(failure.value)
    assert "found 363 of 365, missing 2001-01-31, 2001-02-01" in str(failure.value)


def test_a_day_too_many_is_an_error(tmp_path):
    days = np.append(days_of(2001), np.datetime64("2002-01-01", "m"))
    write_file(tmp_path / "era5_msl_2001.nc", ("msl",), days, grid=10.0)
    with pytest.raises(DataError, match=r"days of another year; found 2002-01-01"):
        open_era5(tmp_path, [2001], ["msl"])


def test_fields_of_different_days_are_not_intersected(msl, tmp_path):
    write_file(tmp_path / "t.nc", ("t850",), DAYS[1:4])
    message = failure_of(msl, tmp_path / "t.nc")
    # The first day may serve as yesterday; the last two lack a temperature.
    assert "t.nc: t: missing days that other fields have; found 3 of 5" in message
    assert "missing 2001-01-05, 2001-01-06" in message
    write_file(tmp_path / "t.nc", ("t850",), DAYS[2:])
    assert "found 4 of 6, missing 2001-01-01, 2001-01-02" in failure_of(msl, tmp_path / "t.nc")


def test_duplicate_times_in_one_file(msl):
    seconds = (DAYS[1] - np.datetime64("1970-01-01")).astype("m8[s]").astype(int)
    edit(msl, "valid_time", at=2, value=seconds)
    message = failure_of(msl)
    assert "valid_time: duplicate times; found 2001-01-02, expected 5 different times" in message


def test_duplicate_times_in_two_files(msl, tmp_path):
    write_file(tmp_path / "again.nc", ("msl",), DAYS[4:])
    message = failure_of(msl, tmp_path / "again.nc")
    assert "again.nc: msl: duplicate times; found 2001-01-05, 2001-01-06, also in" in message


def test_times_out_of_order_and_unknown_time_units(msl):
    edit(msl, "valid_time", at=0, value=2_000_000_000)
    assert "not in order; found 2001-01-02T00:00 after 2033-05-18T03:33" in failure_of(msl)
    edit(msl, "valid_time", units="fortnights since 1970-01-01")
    assert "time units that are not understood; found 'fortnights since" in failure_of(msl)


def test_another_grid_names_both_and_where_they_differ(msl, tmp_path):
    path = tmp_path / "t.nc"
    write_file(path, ("t850",), DAYS, grid=(LAT, LON + 2.5))
    message = failure_of(msl, path)
    assert "t.nc: t: another grid than msl in msl.nc" in message
    assert "longitude 117.5..157.5" in message
    assert "longitude 115..155" in message
    assert "longitude 0 is 117.5, not 115" in message
    write_file(path, ("t850",), DAYS, grid=5.0)
    assert "latitude 1 is 50, not 52.5" in failure_of(msl, path)


def test_longitudes_must_increase(msl):
    edit(msl, "longitude", at=5, value=100.0)
    assert "longitude: coordinate out of order; found 125, 100 at position 4" in failure_of(msl)


def test_units_are_needed_and_hectopascals_refused(msl):
    edit(msl, "msl", units="hPa")
    message = failure_of(msl)
    assert "msl: wrong units; found 'hPa', values" in message
    assert "expected Pa" in message
    edit(msl, "msl", units=None)
    assert "msl: no units; found '', values" in failure_of(msl)


def test_hectopascals_that_claim_to_be_pascals(msl):
    edit(msl, "msl", at=slice(None), value=truth("msl") / 100.0)
    message = failure_of(msl)
    assert "msl: values that do not fit the units; found mean 10" in message
    assert "expected a mean of 80000 to 110000 Pa" in message


@pytest.mark.parametrize(
    ("name", "factor", "offset"),
    [
        ("z500", 1 / 9.80665, 0.0),  # height for geopotential
        ("t850", 1.0, -273.15),
        ("r850", 0.01, 0.0),
        ("q850", 1000.0, 0.0),
        ("tcc", 100.0, 0.0),
        ("sst", 1.0, -273.15),
    ],
)
def test_values_in_another_unit_are_told_by_their_size(tmp_path, name, factor, offset):
    path = tmp_path / "field.nc"
    write_file(path, (name,), DAYS)
    variable = name.rstrip("0123456789")
    values = truth(name) * factor + offset
    edit(path, variable, at=slice(None), value=values.reshape(6, -1, 17, 17).squeeze()[:, None]
         if name[-1].isdigit() else values)  # fmt: skip
    assert "values that do not fit the units" in failure_of(path, read=[name])


def test_a_height_is_no_geopotential(tmp_path):
    path = tmp_path / "z.nc"
    write_file(path, ("z500",), DAYS)
    edit(path, "z", units="m")
    assert "wrong units; found 'm', values" in failure_of(path, read=["z500"])
    assert "expected m2 s-2" in failure_of(path, read=["z500"])


def test_non_finite_values_are_counted_and_dated(msl):
    edit(msl, "msl", at=(3, 2, slice(4, 9)), value=np.nan)
    edit(msl, "msl", at=(4, 0, 0), value=np.inf)
    message = failure_of(msl)
    assert "msl: non-finite values; found 6 in 2 of 6 maps read" in message
    assert "first on 2001-01-04 at row 2, column 4" in message
    assert "data.drop" in message


def test_missing_sea_is_an_error_and_so_is_infinite_cin(tmp_path):
    path = tmp_path / "sst.nc"
    write_file(path, ("sst", "cin"), DAYS)
    edit(path, "sst", at=(5, 16, 16), value=np.nan)
    message = failure_of(path, read=["sst"])
    assert "sst: non-finite values outside land; found 1 in 1 of 6 maps read" in message
    with open_files([path]) as source, pytest.raises(DataError, match="outside land"):
        source.read(["sst"], DAYS[5:])  # the first day still says what land is
    edit(path, "cin", at=(1, 1, 1), value=np.inf)
    assert "cin: non-finite values" in failure_of(path, read=["cin"])


def test_sea_that_is_missing_everywhere_is_not_taken_for_land(tmp_path):
    path = tmp_path / "sst.nc"
    write_file(path, ("sst", "cin"), DAYS)
    edit(path, "sst", at=..., value=np.nan)
    edit(path, "cin", at=..., value=np.nan)
    message = failure_of(path, read=["sst"])
    assert f"{path}: sst: missing everywhere; found 6 maps without a value, 2001-01-01" in message
    assert "expected values outside land\n  next: fetch the file again" in message
    assert "data.drop=[sst,sea_mask], and fetch with download.tasks=needed" in message
    with open_files([path]) as source:
        source.read(["cin"], DAYS)  # six days may have no convection
    for channels in (["sst"], ["sea_mask"]):
        with pytest.raises(DataError, match="sst: missing everywhere"):
            prepare(config_for(tmp_path, [path], channels=channels))


def test_times_that_are_not_there_are_named(msl):
    with open_files([msl]) as source, pytest.raises(DataError) as failure:
        source.read(["msl"], DAYS + np.timedelta64(4, "D"))
    assert "msl: no maps at these times; found 2 of 6, missing 2001-01-07" in str(failure.value)


def test_ensembles_and_broken_packing_are_refused(msl):
    with xr.open_dataset(msl) as dataset:
        five = dataset.drop_vars("number").expand_dims(number=5).load()
    path = Path(msl).with_name("members.nc")
    five.to_netcdf(path)
    message = failure_of(path)
    assert "dimensions that are not understood; found number = 5, valid_time = 6" in message
    assert "ncks -d number,0" in message
    edit(msl, "msl", scale_factor=0.0)
    assert "msl: attribute scale_factor that cannot be used; found 0.0" in failure_of(msl)


def test_no_files_at_all():
    assert "no files are given" in failure_of()
    assert "found 0 of 1, missing absent.nc" in failure_of(Path("absent.nc"))

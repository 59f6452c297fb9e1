"""Maps from files of every convention; the weather in them is known."""

import pickle
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from era5_files import (
    days_of,
    edit,
    region,
    replace_member,
    truncate,
    write_file,
    write_merged,
    write_year,
)
from scipy.io import netcdf_file
from synthetic_weather import Weather, kind_of

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.samples import samples_folder
from tenkizu.patterns.era5 import NATIVE_NAMES, TASKS
from tenkizu.patterns.maps import open_era5, open_files

LAT, LON = region(2.5)
DAYS = days_of(2001, 6)
WEATHER = Weather(LAT, LON)


def truth(name, times=DAYS):
    return WEATHER.fields([name], times)[name]


def steps(name):
    """How finely a file can hold a field: 16 bits over its range, in steps of a power of two."""
    return 2.0 * np.nanmax(np.ptp(truth(name), axis=(1, 2))) / 65535.0 if name != "cin" else 1e-2


@pytest.fixture(scope="module")
def years(tmp_path_factory):
    """Whole years of all tasks in each convention, 5 x 5 cells."""
    folder = tmp_path_factory.mktemp("era5")
    for convention in ("today", "old", "zip"):
        write_year(folder / convention, 2001, grid=10.0, convention=convention)
    return folder


@pytest.mark.parametrize("convention", ["today", "old", "zip"])
def test_a_year_of_every_convention_gives_the_same_maps(years, convention):
    names = [*NATIVE_NAMES, "msl@-24h"]
    weather = Weather(*region(10.0))
    with open_era5(years / convention, [2001], names) as source:
        assert sorted(source.names) == sorted(NATIVE_NAMES)
        assert len(source.times) == 365
        assert len(source.files) == 24
        assert source.notes == []
        assert source.grid.shape == (5, 5)
        assert source.grid.y[0] == 55.0
        times = source.times[[0, 100, 364]]
        maps = source.read(names, times)
    assert all(m.shape == (3, 5, 5) and m.dtype == np.float64 for m in maps.values())
    # The old format packs all levels of a whole year in 16 bits, today's each map.
    everything = weather.fields(NATIVE_NAMES, days_of(2001))
    for name in NATIVE_NAMES:
        expected = weather.fields([name], times)[name]
        together = [f for task in TASKS if name in task.fields for f in task.fields]
        values = [everything[f] for f in together if kind_of(f) == kind_of(name)]
        tolerance = (np.nanmax(values) - np.nanmin(values)) / 65000.0
        np.testing.assert_allclose(maps[name], expected, rtol=0, atol=tolerance, err_msg=name)
    # 31 December 2000 comes from the file of the year before.
    before = weather.fields(["msl"], times - np.timedelta64(24, "h"))["msl"]
    np.testing.assert_allclose(maps["msl@-24h"], before, rtol=0, atol=0.2)


def test_units_are_spelt_in_one_way(years):
    with open_era5(years / "today", [2001], NATIVE_NAMES) as source:
        assert source.units["u850"] == "m s-1"
        assert source.units["q850"] == "kg kg-1"
        assert source.units["z500"] == "m2 s-2"
        assert source.units["tcc"] == "1"


def test_missing_cells_are_land_in_sst_and_calm_in_cin(years):
    with open_era5(years / "old", [2001], ["sst", "cin", "cape"]) as source:
        maps = source.read(["sst", "cin", "cape"], source.times[200:203])
    land = Weather(*region(10.0)).land
    assert 0 < np.count_nonzero(land) < land.size
    np.testing.assert_array_equal(np.isnan(maps["sst"]), np.broadcast_to(land, (3, 5, 5)))
    assert np.isnan(maps["cin"][maps["cape"] < 25.0]).all()
    assert np.isfinite(maps["cin"][maps["cape"] > 35.0]).all()


def test_only_the_wanted_files_need_to_be_there(years, tmp_path):
    write_year(tmp_path, 2001, grid=10.0, tasks=["msl", "t_850"], before=False)
    with open_era5(tmp_path, [2001], ["t850", "msl"]) as source:
        assert [path.name for path in source.files] == ["era5_msl_2001.nc", "era5_t_850_2001.nc"]
    with pytest.raises(DataError) as failure:
        open_era5(tmp_path, [2001], ["msl", "msl@-24h", "q850"])
    assert "found 1 of 3, missing era5_msl_2000.nc, era5_q_850_2001.nc" in str(failure.value)
    assert "tenkizu patterns download CONFIG" in str(failure.value)
    with pytest.raises(ConfigError, match="t2m"):
        open_era5(tmp_path, [2001], ["t2m"])


@pytest.mark.parametrize("convention", ["today", "old"])
@pytest.mark.parametrize("options", [{"long_names": True}, {"south_first": True}])
def test_names_and_rows_may_come_either_way(tmp_path, convention, options):
    path = tmp_path / "upper.nc"
    write_file(path, ("u500", "u850", "v500", "v850"), DAYS, convention=convention, **options)
    with open_files([path]) as source:
        assert sorted(source.names) == ["u500", "u850", "v500", "v850"]
        np.testing.assert_array_equal(source.grid.y, LAT)
        maps = source.read(["v500"], DAYS)["v500"]
    np.testing.assert_allclose(maps, truth("v500"), rtol=0, atol=0.01)


def test_reading_agrees_with_xarray(tmp_path):
    for convention in ("today", "old"):
        path = tmp_path / f"{convention}.nc"
        write_file(path, ("z500", "z1000"), DAYS, convention=convention)
        with xr.open_dataset(path, engine="scipy" if convention == "old" else None) as dataset:
            level = "level" if convention == "old" else "pressure_level"
            expected = dataset["z"].astype("f8").sel({level: 500}).to_numpy()
        with open_files([path]) as source:
            ours = source.read(["z500"], DAYS)["z500"]
        # xarray unpacks in single precision.
        np.testing.assert_allclose(ours, expected, rtol=1e-7)


def test_an_auxiliary_valid_time_counts_before_time(tmp_path):
    path = tmp_path / "tp.nc"
    write_file(path, ("tp",), DAYS, convention="cfgrib")
    with open_files([path]) as source:
        np.testing.assert_array_equal(source.times, DAYS)
        np.testing.assert_array_equal(source.read(["tp"], DAYS[2:3])["tp"], truth("tp")[2:3])


def test_an_archive_may_hold_instant_and_accumulated_fields(tmp_path):
    path = tmp_path / "surface.nc"
    write_file(path, ("msl", "u10", "tp"), DAYS, convention="zip")
    with open_files([path]) as source:
        assert source.names == ("msl", "u10", "tp")
        assert source.files == (path,)
        maps = source.read(["tp", "msl"], DAYS)
    np.testing.assert_allclose(maps["tp"], truth("tp"), rtol=0, atol=steps("tp"))
    np.testing.assert_allclose(maps["msl"], truth("msl"), rtol=0, atol=steps("msl"))


@pytest.mark.parametrize("convention", ["today", "old"])
def test_preliminary_maps_count_and_are_noted(tmp_path, convention):
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), DAYS, convention=convention, preliminary=2)
    with open_files([path]) as source:
        maps = source.read(["msl"], DAYS)["msl"]
        source.read(["msl"], DAYS)  # a second reading counts nothing twice
        assert source.notes == [f"{path}: msl: 2 maps of expver 5 (preliminary ERA5T)"]
    np.testing.assert_allclose(maps, truth("msl"), rtol=0, atol=0.2)


def test_of_two_versions_the_first_finite_value_wins(tmp_path):
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), DAYS, convention="old", preliminary=2)
    with netcdf_file(path, "a", mmap=False) as file:
        packed = file.variables["msl"]
        packed[3, 1] = 0  # a day of which the file has both versions
        scale, offset = packed.scale_factor, packed.add_offset
        first = packed[3, 0].copy() * float(scale) + float(offset)
    with open_files([path]) as source:
        np.testing.assert_allclose(source.read(["msl"], DAYS[3:4])["msl"][0], first, rtol=1e-12)
        assert source.notes == []


def test_a_merged_file_gives_the_channels_that_are_fields(tmp_path):
    path = tmp_path / "era5_all_data_pp.nc"
    write_merged(path, DAYS, labels=["1", "2A+3B", "4A-4B", "5", "6A", "N/A"])
    with open_files([path]) as source:
        natives = {"z500": "gh500", "z1000": "gh1000", "d850": "div850"}
        assert sorted(source.names) == sorted(natives.get(name, name) for name in NATIVE_NAMES)
        assert source.units["gh500"] == "m"
        maps = source.read(["gh500", "u850", "div850", "msl@-24h"], DAYS)
    np.testing.assert_allclose(maps["gh500"], truth("z500") / 9.80665, rtol=1e-6)
    np.testing.assert_array_equal(maps["u850"], truth("u850"))
    np.testing.assert_array_equal(maps["div850"], truth("d850"))
    assert np.isnan(maps["msl@-24h"][0]).all()
    np.testing.assert_array_equal(maps["msl@-24h"][1:], truth("msl")[:-1])


def test_fields_and_years_may_be_split_over_files(tmp_path):
    halves = DAYS[:2], DAYS[2:]
    paths = [tmp_path / f"{name}_{i}.nc" for name in ("msl", "t850") for i in (1, 0)]
    for path in paths:
        write_file(path, (path.stem[:-2],), halves[int(path.stem[-1])])
    with open_files(paths) as source:
        assert source.times.tolist() == DAYS.tolist()
        order = [5, 0, 3, 1]  # any order, across files
        np.testing.assert_allclose(
            source.read(["t850"], DAYS[order])["t850"], truth("t850")[order], rtol=0, atol=0.01
        )


def test_yesterday_is_found_by_time_and_never_across_a_gap(tmp_path):
    days = days_of(2001, ["2000-12-31", "2001-01-01", "2001-01-02", "2001-01-05"])
    write_file(tmp_path / "msl.nc", ("msl",), days)
    write_file(tmp_path / "t.nc", ("t850",), days[1:])
    with open_files([tmp_path / "msl.nc", tmp_path / "t.nc"]) as source:
        # The pressure of 31 December serves the day after, and is no day of its own.
        np.testing.assert_array_equal(source.times, days[1:])
        before = source.read_before("msl", source.times)
    np.testing.assert_allclose(before[:2], truth("msl", days[:2]), rtol=0, atol=0.2)
    assert np.isnan(before[2]).all()


def test_real_daily_maps_of_ascending_latitude():
    path = samples_folder() / "patterns" / "ncep_msl_natlantic_2p5_daily_2001_2010.nc"
    with open_files([path]) as source, xr.open_dataset(path) as dataset:
        assert len(source.times) == 3652
        assert (source.grid.y[0], source.grid.y[-1]) == (70.0, 30.0)
        assert (source.grid.x[0], source.grid.x[-1]) == (-70.0, 10.0)
        times = source.times[[0, 1000, 3651]]
        expected = dataset["msl"].sel(time=times.astype("M8[ns]"))[:, ::-1].to_numpy()
        np.testing.assert_allclose(source.read(["msl"], times)["msl"], expected, rtol=1e-12)
        every = source.read(["msl"], source.times)["msl"] / 100.0
    assert (round(every.min(), 2), round(every.max(), 2)) == (939.55, 1065.58)


def test_real_six_hourly_maps_give_the_wanted_hours():
    path = samples_folder() / "patterns" / "era5_msl_japan_2p5_6h_20251201_20260228.nc"
    with open_files([path]) as source, xr.open_dataset(path) as dataset:
        assert len(source.times) == 90
        expected = dataset["msl"][::4].to_numpy()
        np.testing.assert_array_equal(source.read(["msl"], source.times)["msl"], expected)
    with open_files([path], hours=(6, 18)) as source:
        assert len(source.times) == 180
    with pytest.raises(DataError) as failure:
        open_files([path], hours=(3,))
    assert "no map at 03 UTC; found hours 00, 06, 12, 18 UTC" in str(failure.value)
    assert "data.hours" in str(failure.value)


def test_an_area_is_cut_out_and_must_be_covered(tmp_path):
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), DAYS, south_first=True)
    with open_files([path], area=(46, 120, 30, 140)) as source:
        assert (source.grid.y[0], source.grid.y[-1]) == (45.0, 30.0)
        assert (source.grid.x[0], source.grid.x[-1]) == (120.0, 140.0)
        maps = source.read(["msl"], DAYS)["msl"]
    np.testing.assert_allclose(maps, truth("msl")[:, 4:11, 2:11], rtol=0, atol=0.2)
    with pytest.raises(DataError, match=r"does not cover the area.*expected 60 to 20 N"):
        open_files([path], area=(60, 120, 20, 140))


def read_msl(source):
    return source.read(["msl"], DAYS[:2])["msl"]


def test_a_source_travels_to_another_process(tmp_path):
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), DAYS)
    with open_files([path]) as source:
        expected = read_msl(source)
        np.testing.assert_array_equal(read_msl(pickle.loads(pickle.dumps(source))), expected)
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
            np.testing.assert_array_equal(pool.submit(read_msl, source).result(), expected)
        source.close()
        np.testing.assert_array_equal(read_msl(source), expected)


def test_archives_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    write_file(tmp_path / "msl.nc", ("msl",), DAYS, convention="zip")
    source = open_files([tmp_path / "msl.nc"])
    read_msl(source)
    assert list((tmp_path / "scratch").iterdir()) == []


# Bad input: each message names the file, the variable, what is found and what to do.


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

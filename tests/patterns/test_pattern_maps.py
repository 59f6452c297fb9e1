"""Maps from files of every convention; the weather in them is known."""

import pickle
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import xarray as xr
from era5_files import (
    days_of,
    region,
    write_file,
    write_merged,
    write_year,
)
from scipy.io import netcdf_file
from synthetic_weather import Weather, kind_of

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.samples import samples_folder
from tenkizu.patterns.reading.era5 import NATIVE_NAMES, TASKS
from tenkizu.patterns.reading.map_files import Variable
from tenkizu.patterns.reading.map_times import decode_times
from tenkizu.patterns.reading.maps import open_era5, open_files

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
    for convention in ("today", "old"):
        write_year(folder / convention, 2001, grid=10.0, convention=convention)
    return folder


@pytest.mark.parametrize("convention", ["today", "old"])
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


def test_planned_files_may_be_archives(tmp_path):
    write_year(tmp_path, 2001, grid=10.0, tasks=["msl", "tp"], convention="zip")
    with open_era5(tmp_path, [2001], ["tp", "msl@-24h"]) as source:
        maps = source.read(["tp", "msl@-24h"], source.times[:1])
    before = Weather(*region(10.0)).fields(["msl"], days_of(2000, ["2000-12-31"]))["msl"]
    np.testing.assert_allclose(maps["msl@-24h"], before, rtol=0, atol=0.2)


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


def test_fields_that_are_not_wanted_are_passed_over(tmp_path):
    write_file(tmp_path / "t.nc", ("t850",), DAYS)
    write_file(tmp_path / "u.nc", ("u850", "v850"), DAYS[1:3], grid=5.0)
    with open_files([tmp_path / "t.nc", tmp_path / "u.nc"], names=["t850"]) as source:
        assert source.names == ("t850",)
        assert len(source.times) == 6


@pytest.mark.parametrize(
    ("units", "count", "time"),
    [
        ("hours since 1900-01-01 00:00:00.0", 885360, "2001-01-01T00:00"),
        ("hours since 1800-01-01 00:00:0.0", 1761936, "2001-01-01T00:00"),
        ("seconds since 1970-01-01", 978307200, "2001-01-01T00:00"),
        ("days since 2000-12-31T12:00:00Z", 0.5, "2001-01-01T00:00"),
        ("minutes since 2001-1-1 UTC", 90, "2001-01-01T01:30"),
    ],
)
def test_times_are_decoded(units, count, time):
    variable = Variable(("time",), (1,), np.dtype("f8"), {"units": units}, None)
    assert decode_times(np.array([count]), variable, "time", "x.nc") == np.datetime64(time)


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

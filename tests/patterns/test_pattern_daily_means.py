"""Daily means of hourly maps, against means taken with NumPy over all of them at once."""

import tracemalloc

import numpy as np
import pytest
import xarray as xr
from era5_files import write_file, write_year

from tenkizu.core.config import build_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.samples import samples_folder
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.preparation import prepare
from tenkizu.patterns.reading.maps import open_era5, open_files

HOURS = range(24)
FIELDS = ("msl", "tp", "sst", "viwve", "viwvn", "u850", "v850", "q850")
CHANNELS = ["msl", "msl_dt24", "tp", "sst", "ivt", "ivt_dir", "ivt_cos", "vmag850", "mfc850"]
CHANNELS += ["sea_mask", "f1_season"]
SIX_HOURLY = samples_folder() / "patterns" / "era5_msl_japan_2p5_6h_20251201_20260228.nc"


def hourly(first, last):
    """Every hour from one date up to another."""
    return np.arange(first, last, np.timedelta64(1, "h"), "datetime64[m]")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Five days of hourly maps on 9 x 9 cells, and the pressure of the day before."""
    folder = tmp_path_factory.mktemp("hourly")
    groups = (("msl",), ("tp", "sst"), ("viwve", "viwvn"), ("u850", "v850"), ("q850",))
    for fields in groups:
        first = "2000-12-31" if fields == ("msl",) else "2001-01-01"
        write_file(folder / f"{fields[0]}.nc", fields, hourly(first, "2001-01-06"), 5.0)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def means(files):
    """Means of the maps over each day, six of msl and five of the others, by native name."""
    found = {}
    for path in files:
        with xr.open_dataset(path) as dataset:
            for name, values in dataset.data_vars.items():
                maps = values.to_numpy().astype(np.float64).reshape(-1, 24, 9, 9)
                found[name + ("850" if "pressure_level" in values.dims else "")] = maps.mean(axis=1)
    return found


def config_for(folder, files, **data):
    return PatternsConfig.model_validate(
        {
            "run": {"name": "tiny", "dir": str(folder / "runs")},
            "data": {"files": [str(f) for f in files], "store": str(folder / "store")}
            | {"channels": CHANNELS, "netcdf": False, "daily": "mean", "hours": "all"}
            | data,
        }
    )


@pytest.fixture(scope="module")
def stored(files, tmp_path_factory):
    """Maps of the prepared store by channel."""
    store = prepare(config_for(tmp_path_factory.mktemp("store"), files))
    maps = np.stack([store.read("maps", i) for i in range(len(store))])
    names = store.meta["arrays"]["maps"]["channels"]
    assert store.meta["days"] == [f"2001-01-0{day}T00:00" for day in range(1, 6)]
    assert store.meta["left_out"] == []
    return {name: maps[:, i] for i, name in enumerate(names)}


def test_native_fields_are_the_means_of_the_day(files, means):
    with open_files(files, hours=HOURS, daily="mean") as source:
        assert source.times.tolist() == hourly("2001-01-01", "2001-01-06")[::24].tolist()
        maps = source.read(FIELDS, source.times[[3, 0]])
        assert source.units["tp"] == "m"
        before = source.read_before("msl", source.times)
    for name in FIELDS:
        expected = means[name][-5:][[3, 0]]
        np.testing.assert_allclose(maps[name], expected, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(before, means["msl"][:5], rtol=1e-12)


def test_channels_are_derived_from_the_means(stored, means):
    today = {name: maps[-5:] for name, maps in means.items()}
    for name in ("msl", "tp", "sst"):
        np.testing.assert_allclose(stored[name], today[name], rtol=1e-6, err_msg=name)
    change = means["msl"][1:] - means["msl"][:-1]
    np.testing.assert_allclose(stored["msl_dt24"], change, rtol=0, atol=1e-3)
    wind = np.hypot(today["u850"], today["v850"])
    np.testing.assert_allclose(stored["vmag850"], wind, rtol=1e-5)
    flux = np.hypot(today["viwve"], today["viwvn"])
    np.testing.assert_allclose(stored["ivt"], flux, rtol=1e-5)
    np.testing.assert_allclose(stored["ivt_cos"], today["viwve"] / flux, rtol=0, atol=1e-5)
    heading = np.degrees(np.arctan2(today["viwvn"], today["viwve"]))
    np.testing.assert_allclose(stored["ivt_dir"], heading, rtol=0, atol=1e-3)


def test_the_change_needs_the_whole_day_before(files, tmp_path):
    with_day = [path for path in files if path.name == "msl.nc"]
    write_file(tmp_path / "late.nc", ("msl",), hourly("2000-12-31T05", "2001-01-06"), 5.0)
    write_file(tmp_path / "tp.nc", ("tp",), hourly("2001-01-01", "2001-01-06"), 5.0)
    channels = {"channels": ["msl", "msl_dt24", "tp"]}
    whole = prepare(config_for(tmp_path / "a", [*with_day, tmp_path / "tp.nc"], **channels))
    assert len(whole) == 5
    part = prepare(
        config_for(tmp_path / "b", [tmp_path / "late.nc", tmp_path / "tp.nc"], **channels)
    )
    assert len(part) == 4
    assert [entry["time"] for entry in part.meta["left_out"]] == ["2001-01-01T00:00"]


def test_missing_hours_are_named(tmp_path):
    path = tmp_path / "msl.nc"
    times = hourly("2001-01-01", "2001-01-05")
    write_file(path, ("msl",), np.delete(times, [30, 31, 80]), 5.0)
    with pytest.raises(DataError) as failure:
        open_files([path], hours=HOURS, daily="mean")
    message = str(failure.value)
    assert f"{path}: msl: days without all maps of the daily mean" in message
    assert "2001-01-02 without 06, 07 UTC; 2001-01-04 without 08 UTC" in message
    assert "expected 24 maps on each of 4 days (data.hours)" in message
    # Those that are there make a mean of their own, if that is what is wanted.
    with open_files([path], hours=[0, 12], daily="mean") as source:
        assert len(source.times) == 4


def test_one_map_a_day_is_no_mean(files, tmp_path):
    with pytest.raises(ConfigError, match="a daily mean needs several maps a day"):
        open_files(files, daily="mean")
    settings = {"run": {"name": "x"}, "data": {"files": ["x.nc"], "store": "s", "daily": "mean"}}
    with pytest.raises(ConfigError, match="daily: mean needs the hours of day"):
        build_config(PatternsConfig, settings, "run.yaml")
    settings["data"]["hours"] = "all"
    assert build_config(PatternsConfig, settings, "run.yaml").data.hours == list(range(24))


def test_instant_maps_of_the_same_files(files, tmp_path):
    store = prepare(config_for(tmp_path, files, daily="instant", hours=[12]))
    assert store.meta["days"][0] == "2001-01-01T12:00"
    with xr.open_dataset(files[0]) as dataset:  # msl.nc
        at_noon = dataset["msl"].sel(valid_time=np.datetime64("2001-01-03T12", "ns")).to_numpy()
    np.testing.assert_array_equal(store.read("maps", 2)[0], at_noon)


def test_downloaded_years_of_hourly_maps(tmp_path):
    days = hourly("2001-01-01", "2002-01-01")[::12]
    write_year(tmp_path, 2001, 10.0, days=days, tasks=["msl"], before=False)
    write_file(
        tmp_path / "era5_msl_2000.nc", ("msl",), hourly("2000-12-31", "2001-01-01")[::12], 10.0
    )
    options = {"hours": [0, 12], "daily": "mean"}
    with open_era5(tmp_path, [2001], ["msl", "msl@-24h"], **options) as source:
        assert len(source.times) == 365
        maps = source.read(["msl", "msl@-24h"], source.times[[0, 200]])
        twelve = open_files([tmp_path / "era5_msl_2001.nc"], hours=[0, 12])
        expected = twelve.read(["msl"], days[[400, 401]])["msl"].mean(axis=0)
    np.testing.assert_allclose(maps["msl"][1], expected, rtol=1e-12)
    assert np.isfinite(maps["msl@-24h"]).all()


def test_the_shipped_six_hourly_maps(tmp_path):
    config = config_for(
        tmp_path, [f"sample:{SIX_HOURLY.name}"], hours=[0, 6, 12, 18], channels=["msl", "msl_dt24"]
    )
    store = prepare(config)
    assert len(store) == 89  # 1 December has no day before
    with xr.open_dataset(SIX_HOURLY) as dataset:
        pressure = dataset["msl"].to_numpy().astype(np.float64)
    daily = pressure.reshape(90, 4, *pressure.shape[1:]).mean(axis=1)
    maps = np.stack([store.read("maps", i) for i in range(89)])
    np.testing.assert_allclose(maps[:, 0], daily[1:], rtol=1e-6)
    np.testing.assert_allclose(maps[:, 1], np.diff(daily, axis=0), rtol=0, atol=0.01)


def test_the_way_of_averaging_belongs_to_the_plan_of_the_store(files, tmp_path):
    channels = {"channels": ["msl"], "hours": [0, 12]}
    prepare(config_for(tmp_path, files[:1], **channels))
    with pytest.raises(DataError, match="other settings"):
        prepare(config_for(tmp_path, files[:1], daily="instant", **channels))


def test_memory_holds_a_few_days_of_hourly_maps(tmp_path):
    peaks = []
    for days in (8, 40):
        path = tmp_path / f"{days}.nc"
        last = np.datetime64("2001-01-01") + days
        write_file(path, ("msl",), hourly("2001-01-01", last), 1.0)
        with open_files([path], hours=HOURS, daily="mean") as source:
            tracemalloc.start()
            for first in range(0, days, 8):
                source.read(["msl"], source.times[first : first + 8])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0], peaks
    # 96 maps of 41 x 41 cells in float64, as read and once more while they are checked.
    assert peaks[1] < 4 * 96 * 41 * 41 * 8, peaks

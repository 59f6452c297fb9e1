"""From raw maps to a store: contents, NetCDF, labels, interruption, refusals."""

import logging
import tracemalloc

import hdf5plugin  # noqa: F401  (lets xarray read zstd)
import numpy as np
import pytest
import xarray as xr
from era5_files import edit, write_file, write_year
from prepared_stores import SHORT, config_for
from synthetic_weather import Weather, region

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.patterns.catalogues import JC
from tenkizu.patterns.labels import read_labels
from tenkizu.patterns.moments import load_moments
from tenkizu.patterns.physics.channels import CHANNELS, DEFAULT, SEED
from tenkizu.patterns.physics.season import season_terms
from tenkizu.patterns.preparation import prepare
from tenkizu.patterns.reading.maps import open_files

G0 = 9.80665
DAYS = 40  # 1 January to 9 February 2000: three blocks of maps


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Forty days of all tasks on 9 x 9 cells in the true raw format; read only."""
    return write_year(tmp_path_factory.mktemp("raw"), 2000, 5.0, DAYS)


@pytest.fixture(scope="module")
def store(raw, tmp_path_factory):
    """The prepared store of the default channels; read only."""
    return prepare(config_for(tmp_path_factory.mktemp("tiny"), raw, years=[2000]))


@pytest.fixture(scope="module")
def truth():
    """The weather that is in the raw files, but for its packing to 16 bits."""
    weather = Weather(*region(5.0))
    times = np.datetime64("1999-12-31T00:00", "m") + np.arange(DAYS + 1) * np.timedelta64(1, "D")

    def field(name):
        return weather.fields([name], times)[name].astype(np.float64)

    return field


def stored(store, name):
    """All maps of one channel, (n, H, W)."""
    column = store.meta["arrays"]["maps"]["channels"].index(name)
    return np.stack([store.read("maps", i)[column] for i in range(len(store))])


# ---------------------------------------------------------------------------- contents


def test_days_channels_and_units_of_the_store(store):
    assert len(store) == DAYS
    assert store.meta["kind"] == "patterns"
    assert store.meta["days"][0] == "2000-01-01T00:00"
    assert store.meta["days"][-1] == "2000-02-09T00:00"
    assert store.meta["left_out"] == []  # 31 December 1999 is there
    assert store.meta["channels"] == list(DEFAULT)
    arrays = store.meta["arrays"]
    assert arrays["maps"]["channels"] == [n for n in DEFAULT if CHANNELS[n].kind == "map"]
    units = dict(zip(arrays["maps"]["channels"], arrays["maps"]["units"], strict=True))
    assert (units["msl"], units["gh500"], units["lap_msl"]) == ("Pa", "m", "Pa m-2")
    assert arrays["maps"]["blocks"] == [{"file": "maps_2000.npy", "first": 0, "count": DAYS}]
    assert arrays["static"]["channels"] == ["sea_mask"]
    assert store.meta["grid"]["y"] == [55, 50, 45, 40, 35, 30, 25, 20, 15]
    assert store.read("maps", 3).shape == (41, 9, 9)
    assert store.read("maps", 3).dtype == np.float32


def test_stored_maps_are_what_the_files_hold(store, truth):
    """Within the 16 bits of the raw files, of which sums and differences keep a few steps."""

    def close(name, expected):
        span = np.nanmax(expected) - np.nanmin(expected)
        np.testing.assert_allclose(stored(store, name), expected, rtol=0, atol=1e-3 * span)

    today = slice(1, None)
    close("msl", truth("msl")[today])
    close("gh500", truth("z500")[today] / G0)
    close("div850", truth("d850")[today])
    close("w700", truth("w700")[today])
    close("vmag850", np.hypot(truth("u850"), truth("v850"))[today])
    close("thk_1000_500", (truth("z500") - truth("z1000"))[today] / G0)
    close("msl_dt24", np.diff(truth("msl"), axis=0))
    east, north = truth("viwve")[today], truth("viwvn")[today]
    np.testing.assert_allclose(stored(store, "ivt_sin"), north / np.hypot(east, north), atol=0.01)
    close("sst", truth("sst")[today])


def test_sea_mask_is_static_and_sst_missing_on_land(store, truth):
    mask = store.read("static", 0)
    land = np.isnan(truth("sst")[0])
    assert mask.shape == (1, 9, 9)
    assert 0 < land.sum() < 81
    np.testing.assert_array_equal(mask[0], np.where(land, 0, 1))
    np.testing.assert_array_equal(np.isnan(stored(store, "sst")).any(axis=0), land)


def test_a_sea_that_changes_is_warned_of(raw, tmp_path, caplog):
    path = tmp_path / "sst.nc"
    path.write_bytes(next(p for p in raw if "sst" in p.name).read_bytes())
    with open_files([path]) as source:
        land = np.argwhere(np.isnan(source.read(["sst"], source.times[:1])["sst"][0]))[0]
    edit(path, "sst", at=(20, *land), value=290.0)
    store = prepare(config_for(tmp_path, [path], channels=["sst", "sea_mask"]))
    assert "sea_mask: 1 of 40 maps" in caplog.text
    assert store.read("static", 0)[0][tuple(land)] == 0


def test_moments_are_those_of_the_stored_maps(store):
    rows, moments = load_moments(store)
    channels = store.meta["arrays"]["maps"]["channels"]
    logs = ["tp", "tclw", "tciw", "tcrw", "tcsw"]
    assert rows == channels + [f"log1p:{name}" for name in logs]
    assert moments.shape == (DAYS, len(rows), 5)
    for row, name in enumerate(channels):
        maps = stored(store, name).astype(np.float64).reshape(DAYS, -1)
        assert moments[:, row, 0].tolist() == np.isfinite(maps).sum(axis=1).tolist()
        np.testing.assert_allclose(moments[:, row, 1], np.nanmean(maps, axis=1), rtol=1e-6)
        variance = moments[:, row, 2] / moments[:, row, 0]
        np.testing.assert_allclose(variance, np.nanvar(maps, axis=1), rtol=1e-6)
        np.testing.assert_array_equal(moments[:, row, 4], np.nanmax(maps, axis=1))
    rain = np.log1p(stored(store, "tp").astype(np.float64) / 1e-4).mean(axis=(1, 2))
    np.testing.assert_allclose(moments[:, rows.index("log1p:tp"), 1], rain, rtol=1e-6)


def test_netcdf_of_a_year(store):
    path = store.path / "maps_2000.nc"
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset.attrs["Conventions"].startswith("CF-1.")
        assert {"title", "source", "history", "tenkizu_version", "formula_version"} <= set(
            dataset.attrs
        )
        names = {*DEFAULT, "cape", "cin", "viwve", "viwvn", "ivt_dir"}
        assert set(dataset.data_vars) - {"valid_time_bnds"} == names
        assert dataset.gh500.dims == ("valid_time", "latitude", "longitude")
        assert dataset.latitude.to_numpy()[[0, -1]].tolist() == [55, 15]
        assert dataset.latitude.attrs["units"] == "degrees_north"
        assert str(dataset.valid_time.to_numpy()[0])[:16] == "2000-01-01T00:00"
        for name in names:
            variable = dataset[name]
            assert variable.dtype == np.float32
            assert variable.attrs["units"] == CHANNELS[name].units
            assert variable.attrs["long_name"] == CHANNELS[name].long_name
            assert variable.attrs.get("standard_name") == CHANNELS[name].standard_name
            if CHANNELS[name].kind == "map":
                assert variable.encoding["chunksizes"] == (1, 9, 9)
        for name in store.meta["arrays"]["maps"]["channels"]:
            np.testing.assert_array_equal(dataset[name].to_numpy(), stored(store, name))
        np.testing.assert_array_equal(dataset.sea_mask.to_numpy(), store.read("static", 0)[0])
        terms = season_terms(np.array(store.meta["days"], "datetime64[m]"))
        np.testing.assert_array_equal(dataset.f3_season.to_numpy(), terms[:, 2].astype("f4"))
        assert np.isfinite(dataset.cape.to_numpy()).all()


def test_prepared_files_can_be_read_like_raw_ones(store):
    with open_files([store.path / "maps_2000.nc"]) as source:
        times = source.times[[0, 7]]
        msl = source.read(["msl"], times)["msl"]
    np.testing.assert_array_equal(msl.astype(np.float32), stored(store, "msl")[[0, 7]])


def test_the_seed_set_has_the_heading_and_msl_comes_with_any_set(raw, tmp_path):
    seed = prepare(config_for(tmp_path / "seed", raw, years=[2000], channels="seed", netcdf=False))
    assert seed.meta["channels"] == list(SEED)
    assert "ivt_dir" in seed.meta["arrays"]["maps"]["channels"]
    assert "static" not in seed.meta["arrays"]
    few = {"channels": ["t850", "gh500"], "drop": ["t850"], "netcdf": False}
    few = prepare(config_for(tmp_path / "few", raw, years=[2000], **few))
    assert few.meta["channels"] == ["gh500"]
    assert few.meta["arrays"]["maps"]["channels"] == ["gh500", "msl"]


def test_coarser_maps(raw, tmp_path, truth):
    channels = ["msl", "ivt_cos", "sea_mask"]
    coarse = prepare(config_for(tmp_path, raw, years=[2000], coarsen=2, channels=channels))
    # 9 cells make 4 blocks; the south and east edges are dropped.
    assert coarse.meta["grid"]["y"] == [52.5, 42.5, 32.5, 22.5]
    assert coarse.meta["grid"]["x"] == [117.5, 127.5, 137.5, 147.5]
    msl = stored(coarse, "msl")
    expected = truth("msl")[1:, :8, :8].reshape(DAYS, 4, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(msl, expected, rtol=0, atol=1e-3 * np.ptp(expected))
    east, north = (
        truth(name)[1:, :8, :8].reshape(DAYS, 4, 2, 4, 2).mean(axis=(2, 4))
        for name in ("viwve", "viwvn")
    )
    expected = east / np.hypot(east, north)
    np.testing.assert_allclose(stored(coarse, "ivt_cos"), expected, atol=0.01)
    assert coarse.meta["arrays"]["maps"]["channels"] == ["msl", "ivt_cos"]
    sea = np.isfinite(truth("sst")[0, :8, :8]).reshape(4, 2, 4, 2).sum(axis=(1, 3)) >= 2
    np.testing.assert_array_equal(coarse.read("static", 0)[0], sea)


# ---------------------------------------------------------------------------- days


def write_msl(path, dates):
    write_file(path, ("msl",), np.array(dates, "datetime64[m]"), 5.0)
    return path


def test_the_change_never_reaches_across_a_gap(tmp_path, caplog):
    dates = ["2000-01-01", "2000-01-02", "2000-01-03", "2000-01-06", "2000-01-07"]
    path = write_msl(tmp_path / "gap.nc", dates)
    with caplog.at_level(logging.INFO, "tenkizu"):
        store = prepare(config_for(tmp_path, [path], channels=SHORT))
    assert [day[:10] for day in store.meta["days"]] == ["2000-01-02", "2000-01-03", "2000-01-07"]
    assert store.meta["left_out"] == [
        {"time": "2000-01-01T00:00", "reason": "no map 24 h earlier"},
        {"time": "2000-01-06T00:00", "reason": "no map 24 h earlier"},
    ]
    assert "2 days without a map 24 h earlier are left out" in caplog.text
    zero = prepare(
        config_for(tmp_path / "zero", [path], channels=SHORT, missing_dt24="zero", netcdf=False)
    )
    assert len(zero) == 5
    missing = np.isnan(stored(zero, "msl_dt24")).all(axis=(1, 2))
    assert missing.tolist() == [True, False, False, True, False]
    rows, moments = load_moments(zero)
    assert moments[:, rows.index("msl_dt24"), 0].tolist() == [0, 81, 81, 0, 81]
    # Without the channel nothing is missing.
    all_days = prepare(config_for(tmp_path / "all", [path], channels=["msl", "lap_msl"]))
    assert len(all_days) == 5


def test_years_and_hours_are_chosen(tmp_path):
    steps = np.arange("1999-12-30", "2001-01-03", np.timedelta64(12, "h"), "datetime64[m]")
    path = write_msl(tmp_path / "many.nc", steps)
    store = prepare(config_for(tmp_path, [path], channels=SHORT, years=[2000], netcdf=False))
    assert len(store) == 366  # 1 January has its 31 December
    twice = config_for(tmp_path / "b", [path], channels=SHORT, hours=[0, 12], netcdf=False)
    store = prepare(twice)
    assert [b["count"] for b in store.meta["arrays"]["maps"]["blocks"]] == [2, 732, 4]
    assert len(store) == len(steps) - 2
    assert [entry["time"] for entry in store.meta["left_out"]] == [
        "1999-12-30T00:00",
        "1999-12-30T12:00",
    ]


def test_two_downloaded_years(tmp_path):
    tasks = ["msl", "sst", "tp"]
    write_year(tmp_path / "raw", 1999, 10.0, tasks=tasks)
    write_year(tmp_path / "raw", 2000, 10.0, tasks=tasks, before=False)
    channels = ["msl", "tp", "sst", "msl_dt24", "sea_mask", "f1_season", "f2_season"]
    source = {"raw_dir": str(tmp_path / "raw"), "years": [1999, 2000]}
    store = prepare(config_for(tmp_path, **source, channels=channels))
    assert len(store) == 731
    assert [b["file"] for b in store.meta["arrays"]["maps"]["blocks"]] == [
        "maps_1999.npy",
        "maps_2000.npy",
    ]
    assert set(store.meta["inputs"]) == {
        "era5_msl_1998.nc",
        *(f"era5_{task}_{year}.nc" for task in tasks for year in (1999, 2000)),
    }
    assert (store.path / "maps_1999.nc").exists()
    assert sorted(path.name for path in store.path.glob("moments*")) == ["moments.npy"]
    # The maps of the first of January follow those of the year before.
    change = stored(store, "msl_dt24")[365]
    np.testing.assert_allclose(change, stored(store, "msl")[365] - stored(store, "msl")[364])
    # A field that is not downloaded is asked for by the name of its file.
    with pytest.raises(DataError, match=r"era5_t_850_1999\.nc"):
        prepare(config_for(tmp_path, **source, channels=[*channels, "t850"]))


# ---------------------------------------------------------------------------- labels from maps


def test_jenkinson_collison_labels_of_the_shipped_pressure(tmp_path):
    name = "sample:ncep_msl_natlantic_2p5_daily_2001_2010.nc"
    labels = {"catalogue": "jc", "centre": [55, -5]}
    config = config_for(
        tmp_path, [name], labels, channels=["msl", "f1_season"], coarsen=2, netcdf=False
    )
    store = prepare(config)
    assert len(store) == 3652
    assert store.read("maps", 0).shape == (1, 8, 16)  # the labels are of the finer maps
    table = read_labels(store.path / "labels.csv", JC)
    times = np.array(store.meta["days"], "datetime64[m]")
    counts = table.counts(times)
    assert counts.unlabelled == 0
    assert counts.composite == 863
    assert [counts.types[t] for t in JC.labels] == [
        *(1169, 949, 214, 93, 96, 142, 313, 541, 581, 340, 77)
    ]
    by_day = table.by_day
    assert by_day[np.datetime64("2005-01-08")].text == "W"
    assert by_day[np.datetime64("2003-08-06")].text == "U"


def test_the_rules_belong_to_the_plan_of_the_store(raw, tmp_path):
    def config(**labels):
        rules = {"catalogue": "jc", "centre": [35, 135]} | labels
        return config_for(tmp_path, raw, rules, channels=["msl"], netcdf=False)

    # Forty days, and 31 December, which msl alone has, is no map of all fields.
    assert len(read_labels(prepare(config()).path / "labels.csv", JC).by_day) == DAYS
    with pytest.raises(DataError, match="other settings"):
        prepare(config(u_limit=4.0))
    assert prepare(config(u_limit=4.0), overwrite=True).meta["config"]["labels"]["u_limit"] == 4.0


def test_one_map_a_day_for_computed_labels(tmp_path):
    steps = np.arange("2000-01-01", "2000-01-05", np.timedelta64(12, "h"), "datetime64[m]")
    path = write_msl(tmp_path / "half.nc", steps)
    config = config_for(
        tmp_path,
        [path],
        {"catalogue": "jc", "centre": [35, 135]},
        channels=["msl"],
        hours=[0, 12],
        netcdf=False,
    )
    with pytest.raises(ConfigError, match=r"data\.hours"):
        prepare(config)


# ---------------------------------------------------------------------------- refusals


def test_a_channel_without_its_fields_is_named(raw, tmp_path):
    files = [path for path in raw if "q_850" not in path.name]
    with pytest.raises(DataError) as caught:
        prepare(config_for(tmp_path, files, years=[2000]))
    message = str(caught.value)
    assert caught.value.exit_code == 3
    for words in ("thetae850 (needs q850)", "mfc850 (needs q850)", "data.drop=[q850,thetae850"):
        assert words in message
    dropped = ["q850", "thetae850", "grad_thetae850", "mfc850"]
    store = prepare(config_for(tmp_path, files, years=[2000], drop=dropped, netcdf=False))
    assert not set(dropped) & set(store.meta["channels"])


def test_a_channel_that_does_not_exist(raw, tmp_path):
    with pytest.raises(ConfigError, match="gh500"):
        prepare(config_for(tmp_path, raw, channels=["gh5000"]))
    with pytest.raises(ConfigError, match="no such channel"):
        prepare(config_for(tmp_path, raw, drop=["gh5000"]))


def test_a_year_without_maps(raw, tmp_path):
    with pytest.raises(DataError, match=r"data\.years") as caught:
        prepare(config_for(tmp_path, raw, years=[2000, 2003]))
    assert "none in 2003" in str(caught.value)


def test_no_day_left(tmp_path):
    path = write_msl(tmp_path / "one.nc", ["2000-01-01", "2000-01-05"])
    with pytest.raises(DataError, match="no day is left") as caught:
        prepare(config_for(tmp_path, [path], channels=SHORT))
    assert "data.missing_dt24=zero" in str(caught.value)


def test_a_hole_in_a_field_is_an_error_and_never_zero(tmp_path):
    dates = np.arange("2000-01-01", "2000-01-11", dtype="datetime64[D]")
    path = write_msl(tmp_path / "holed.nc", dates)
    edit(path, "msl", at=(4, 3, 3), value=np.nan)
    config = config_for(tmp_path, [path], channels=["msl", "grad_msl"])
    with pytest.raises(DataError, match="msl") as caught:
        prepare(config)
    message = str(caught.value)
    assert "2000-01-05" in message
    assert "data.drop" in message
    assert not config.data.store.exists()


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        prepare(config_for(tmp_path, [tmp_path / "absent.nc"]))
    with pytest.raises(DataError, match=r"era5_msl_1990\.nc"):
        prepare(config_for(tmp_path, raw_dir=str(tmp_path), years=[1991]))


# ---------------------------------------------------------------------------- memory


def test_memory_does_not_grow_with_the_days(tmp_path):
    """Arrays held by NumPy; tests of the process as a whole are in test_pattern_memory.py."""
    peaks = []
    for days in (64, 192):
        dates = np.datetime64("2000-01-01") + np.arange(days)
        files = [tmp_path / f"{days}_{name}.nc" for name in ("msl", "u850")]
        write_file(files[0], ("msl",), dates, 1.0)
        write_file(files[1], ("u850", "v850"), dates, 1.0)
        channels = ["msl", "grad_msl", "lap_msl", "vmag850"]
        config = config_for(tmp_path / str(days), files, channels=channels, netcdf=False)
        tracemalloc.start()
        prepare(config)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0], peaks


# ---------------------------------------------------------------------------- again


def test_a_finished_store_is_left_alone(raw, tmp_path, caplog):
    config = config_for(tmp_path, raw, years=[2000], channels=SHORT)
    first = prepare(config)
    times = {path.name: path.stat().st_mtime_ns for path in first.path.iterdir()}
    with caplog.at_level(logging.INFO, "tenkizu"):
        again = prepare(config)
    assert "up to date: 40 days" in caplog.text
    assert {path.name: path.stat().st_mtime_ns for path in again.path.iterdir()} == times
    # Splits, units and transforms are no matter of the store.
    free = {"msl_unit": "hPa", "transforms": "none", "anomaly": "area_mean", "history": ["msl"]}
    free |= {"splits": {"scheme": "holdout"}}
    other = config_for(tmp_path, raw, years=[2000], channels=SHORT, **free)
    assert prepare(other).meta == first.meta


def test_other_settings_or_files_refuse_until_overwrite_is_said(raw, tmp_path):
    path = write_msl(tmp_path / "mine.nc", np.arange("2000-01-01", "2000-01-09", dtype="M8[D]"))
    config = config_for(tmp_path, [path], channels=SHORT)
    prepare(config)
    fewer = config_for(tmp_path, [path], channels=["msl"])
    with pytest.raises(DataError, match="other settings") as caught:
        prepare(fewer)
    assert "--overwrite" in str(caught.value)
    assert prepare(fewer, overwrite=True).meta["channels"] == ["msl"]
    edit(path, "msl", at=(2, 3, 3), value=101000.0)
    with pytest.raises(DataError, match="other settings or files"):
        prepare(fewer)

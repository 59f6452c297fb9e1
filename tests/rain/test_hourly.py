"""Reading gridded rain: real samples, every way to write the same file, every error."""

import tracemalloc
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

import tenkizu
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.rain.hourly import (
    RainSeries,
    SourceOptions,
    iterate_windows,
    open_rain,
    read_window,
    window_starts,
)

SAMPLES = Path(tenkizu.__file__).parent / "samples" / "rain"
IMERG = SAMPLES / "imerg_sbrazil_hourly_20231102_03.nc"
RADOLAN = SAMPLES / "radolan_yw_hourly_20180510_20.nc"

LAT = np.array([40.0, 39.5, 39.0])
LON = np.array([130.0, 130.5, 131.0, 131.5])
MM = np.random.default_rng(7).gamma(0.3, 3.0, (24, 3, 4)).round(3)


def dataset(
    values=MM,
    *,
    name="rain",
    units="mm",
    start="2020-06-01T01:00",
    step=60,
    times=None,
    dims=("time", "lat", "lon"),
    coords=None,
    long_name="rain of the hour ending at time",
    **attrs,
):
    """Rain in a file as most are: `values` on (time, lat, lon), stamped at the end of the hour."""
    if times is None:
        times = np.datetime64(start, "ns") + np.arange(len(values)) * np.timedelta64(step, "m")
    times = np.asarray(times, dtype="datetime64[ns]")
    if coords is None:
        coords = {
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        }
    if units is not None:
        attrs["units"] = units
    if long_name is not None:
        attrs["long_name"] = long_name
    return xr.Dataset({name: (dims, np.asarray(values), attrs)}, {"time": times, **coords})


@pytest.fixture
def saved(tmp_path):
    """Write a dataset and return its path."""

    def write(ds, encoding=None, **options):
        path = tmp_path / f"rain{len(list(tmp_path.iterdir()))}.nc"
        ds.to_netcdf(path, engine=options.pop("engine", "h5netcdf"), encoding=encoding, **options)
        return path

    return write


def all_amounts(path, options=None, **kwargs):
    with open_rain(path, options, **kwargs) as series:
        return np.stack([series.amounts(i) for i in range(len(series.ends))])


def fails(path, *words, options=None, strict_time=False, error=DataError):
    """Opening or reading must raise, and the message must hold the file's name and the words."""
    with pytest.raises(error) as caught, open_rain(path, options, strict_time) as series:
        for _ in iterate_windows(series, window_starts(series)):
            pass
    message = str(caught.value)
    for word in words:
        assert word in message, message
    if error is DataError:
        assert path.name in message
    return message


# ---------------------------------------------------------------------------- real samples


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("imerg_sbrazil_hourly_20231102_03.nc", 16),
        ("imerg_sbrazil_hourly_20231111_18.nc", 62),
        ("radolan_yw_hourly_20180510_20.nc", 88),
    ],
)
def test_samples_hold_the_windows_their_readme_states(name, windows):
    with open_rain(SAMPLES / name, strict_time=True) as series:
        starts = window_starts(series)
    assert len(starts) == windows
    hours = np.array(starts).astype("datetime64[h]")
    assert (np.array(starts) == hours).all()
    assert set(hours.astype(int) % 3) == {0}


def test_imerg_amounts_equal_the_packed_numbers_times_their_scale():
    with h5py.File(IMERG) as file:
        packed = file["precipitation_amount"]
        scale = float(np.squeeze(packed.attrs["scale_factor"]))
        expected = packed[()].astype(np.float64) * scale
        latitudes = file["lat"][()]
    with open_rain(IMERG) as series:
        assert series.grid.kind == "latlon"
        assert series.step_minutes == 60
        assert series.notes == []
        np.testing.assert_array_equal(series.grid.y, latitudes)
        window = read_window(series, np.datetime64("2023-11-02T06:00"))
    # 06-09 UTC are the hours ending at 07, 08 and 09 UTC, the 7th to 9th of the file.
    np.testing.assert_allclose(window.hours, expected[6:9], rtol=1e-6)
    np.testing.assert_allclose(window.total, expected[6:9].sum(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(window.previous, expected[3:6].sum(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(window.following, expected[9:12].sum(axis=0), rtol=1e-6, atol=1e-6)
    assert window.hours.dtype == window.total.dtype == np.float32


def test_radolan_keeps_its_missing_cells_and_never_reaches_50_mm():
    largest = 0.0
    with open_rain(RADOLAN) as series:
        assert series.grid.kind == "projected"
        assert series.grid.spacing_km == (1.0, 1.0)
        for window in iterate_windows(series, window_starts(series)):
            assert np.isnan(window.total).sum() == 1562
            assert np.isnan(window.hours).any(axis=0).sum() == 1562
            largest = max(largest, float(np.nanmax(window.hours)))
    assert 20.0 < largest < 50.0


def test_neighbouring_windows_share_their_totals():
    with open_rain(IMERG) as series:
        windows = list(iterate_windows(series, window_starts(series)))
    for early, late in pairwise(windows):
        np.testing.assert_array_equal(late.previous, early.total)
        np.testing.assert_array_equal(early.following, late.total)
    assert np.isnan(windows[0].previous).all()
    assert np.isnan(windows[-1].following).all()


def test_windows_over_the_gap_of_the_long_imerg_sample_do_not_exist():
    with open_rain(SAMPLES / "imerg_sbrazil_hourly_20231111_18.nc") as series:
        starts = window_starts(series)
        assert "1 gap in time" in series.notes[0]
        assert "2023-11-14 21:00 UTC" in series.notes[0]
        first_after_gap = read_window(series, np.datetime64("2023-11-15T03:00"))
    assert np.datetime64("2023-11-15T00:00") not in starts
    assert np.isnan(first_after_gap.previous).all()
    assert np.isfinite(first_after_gap.following).all()


# ---------------------------------------------------------------------- streaming and memory


def test_each_block_of_chunks_is_read_once(monkeypatch):
    blocks = []
    original = RainSeries._read_block

    def counting(self, block):
        blocks.append(block)
        return original(self, block)

    monkeypatch.setattr(RainSeries, "_read_block", counting)
    with open_rain(RADOLAN) as series:
        assert sum(1 for _ in iterate_windows(series, window_starts(series))) == 88
    # 264 hours in chunks of 33.
    assert blocks == list(range(8))


def test_memory_stays_far_below_the_size_of_the_file(saved):
    hours, rows, columns = 240, 120, 160
    values = np.zeros((hours, rows, columns), dtype=np.float32)
    values[:, 5, 7] = np.arange(hours)
    path = saved(
        dataset(values, dims=("time", "y", "x"), coords={}),
        {"rain": {"chunksizes": (12, rows, columns), "zlib": True}},
    )
    tracemalloc.start()
    with open_rain(path) as series:
        total = sum(float(w.total[5, 7]) for w in iterate_windows(series, window_starts(series)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == hours * (hours - 1) / 2
    assert peak < values.nbytes / 2


# --------------------------------------------------------------------------- units and names


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("mm", 1.0),
        ("millimeters", 1.0),
        ("kg m-2", 1.0),
        ("kg/m2", 1.0),
        ("kg m**-2", 1.0),
        ("kg m^-2", 1.0),
        ("m", 1e-3),
        # Half an hour at x mm/h gives x/2 mm, so the stored rate is twice the amount.
        ("mm h-1", 2.0),
        ("mm/hr", 2.0),
        ("mm/h", 2.0),
        ("mm hour-1", 2.0),
        ("mm day-1", 48.0),
        ("kg m-2 s-1", 1.0 / 1800.0),
        ("kg m**-2 s**-1", 1.0 / 1800.0),
        ("m s-1", 1.0 / 1.8e6),
    ],
)
def test_half_hours_in_any_units_give_the_same_millimetres(saved, units, factor):
    path = saved(dataset(MM * factor, units=units, start="2020-06-01T00:30", step=30))
    with open_rain(path) as series:
        assert series.step_minutes == 30
    np.testing.assert_allclose(all_amounts(path), MM, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("precipitationCal", {}),
        ("TP", {}),
        ("rain_1h", {}),
        ("acc", {"standard_name": "lwe_thickness_of_precipitation_amount"}),
        ("field_7", {}),
    ],
)
def test_rain_is_found_by_standard_name_name_or_units(saved, name, attrs):
    ds = dataset(name=name, **attrs)
    for other, other_attrs in (
        ("t2m", {"units": "K"}),
        ("wind", {"units": "m s-1"}),
        ("wave", {"units": "m"}),
        ("snow", {"units": "mm", "standard_name": "lwe_thickness_of_snowfall_amount"}),
    ):
        ds[other] = (ds[name].dims, MM + 5.0, other_attrs)
    path = saved(ds)
    with open_rain(path) as series:
        assert series.variable == name
        assert any("because of its units" in note for note in series.notes) == (name == "field_7")
    np.testing.assert_allclose(all_amounts(path), MM, rtol=1e-6)


def test_total_rain_wins_over_another_variable_with_a_standard_name(saved):
    ds = dataset(name="tp", standard_name="precipitation_amount")
    ds["forecast"] = ds["tp"].copy(data=MM * 2)
    with open_rain(saved(ds)) as series:
        assert series.variable == "tp"


def test_several_rain_variables_are_listed_and_var_chooses(saved):
    ds = dataset(name="rain")
    ds["precip"] = ds["rain"].copy(data=MM * 2)
    path = saved(ds)
    fails(path, "several", "rain(time, lat, lon) [mm]", "precip(time, lat, lon) [mm]", "--var")
    np.testing.assert_allclose(all_amounts(path, SourceOptions(variable="precip")), MM * 2, 1e-6)
    fails(path, "no such variable", "snow", "--var", options=SourceOptions(variable="snow"))


def test_a_file_without_rain_lists_what_it_holds(saved):
    fails(saved(dataset(name="t2m", units="K")), "no variable looks like rain", "[K]", "--var")
    fails(saved(dataset(name="swh", units="m")), "no variable looks like rain", "[m]")


def test_missing_or_unknown_units_are_errors_until_stated(saved):
    path = saved(dataset(units=None))
    fails(path, "without units", "rain", "--units", "ncatted")
    with open_rain(path, SourceOptions(units="mm")) as series:
        assert "units taken as mm, as stated; the file says none" in series.notes
    fails(saved(dataset(units="inch")), "'inch'", "kg m-2")
    metres = saved(dataset(MM * 1e-3, units="mm"))
    np.testing.assert_allclose(all_amounts(metres, SourceOptions(units="m")), MM, rtol=1e-6)
    fails(path, "furlong", "--units", options=SourceOptions(units="furlong"), error=ConfigError)


def test_instantaneous_rates_are_refused(saved):
    fails(saved(dataset(units="mm h-1", cell_methods="time: point")), "one instant", "time: mean")


# ------------------------------------------------------------------------------- grid, order


def test_ascending_latitudes_and_time_lon_lat_order_give_the_same_field(saved):
    plain = dataset()
    turned = plain.isel(lat=slice(None, None, -1), lon=slice(None, None, -1)).transpose(
        "time", "lon", "lat"
    )
    path = saved(turned)
    np.testing.assert_allclose(all_amounts(path), MM, rtol=1e-6)
    with open_rain(path) as series:
        assert (series.rows_flipped, series.columns_flipped) == (True, True)
        np.testing.assert_array_equal(series.grid.y, LAT)
        np.testing.assert_array_equal(series.grid.x, LON)
        back = series.orient(np.stack([series.amounts(0), series.amounts(1)]))
    stored = turned["rain"].transpose("time", "lat", "lon").values[:2]
    np.testing.assert_allclose(back, stored, rtol=1e-6)


def test_projected_rows_are_turned_north_first_and_pixels_without_coordinates_are_not(saved):
    y = ("y", np.arange(3) * 1000.0, {"units": "m"})
    x = ("x", np.arange(4) * 1000.0, {"units": "m"})
    projected = saved(dataset(dims=("time", "y", "x"), coords={"y": y, "x": x}))
    np.testing.assert_allclose(all_amounts(projected), MM[:, ::-1], rtol=1e-6)
    with open_rain(projected) as series:
        assert series.grid.kind == "projected"
        assert series.grid.spacing_km == (1.0, 1.0)
    pixels = saved(dataset(dims=("time", "a", "b"), coords={}))
    np.testing.assert_allclose(all_amounts(pixels), MM, rtol=1e-6)
    with open_rain(pixels) as series:
        assert series.grid.kind == "index"
        assert any("a and b taken as rows and columns" in note for note in series.notes)


def test_a_curvilinear_grid_is_read_without_spacing_unless_y_and_x_have_lengths(saved):
    corners = {
        "lat": (("y", "x"), np.ones((3, 4)), {"units": "degrees_north"}),
        "lon": (("y", "x"), np.ones((3, 4)), {"units": "degrees_east"}),
    }
    with open_rain(saved(dataset(dims=("time", "y", "x"), coords=corners))) as series:
        assert series.grid.kind == "index"
    lengths = {
        "y": ("y", [2.0, 1.0, 0.0], {"units": "km"}),
        "x": ("x", [0.0, 1.0, 2.0, 3.0], {"units": "km"}),
    }
    with open_rain(saved(dataset(dims=("time", "y", "x"), coords=corners | lengths))) as series:
        assert series.grid.kind == "projected"


def test_dimensions_of_size_one_are_dropped_and_longer_ones_refused(saved):
    ds = dataset().expand_dims(number=[0]).transpose("time", "number", "lat", "lon")
    path = saved(ds)
    np.testing.assert_allclose(all_amounts(path), MM, rtol=1e-6)
    with open_rain(path) as series:
        assert "dimensions of size 1 dropped: number" in series.notes
    fails(saved(dataset().expand_dims(number=[0, 1])), "number = 2", "ncks -d number,0")


def test_longitudes_may_run_from_0_to_360(saved):
    coords = {
        "lat": ("lat", LAT, {"units": "degrees_north"}),
        "lon": ("lon", [296.5, 297.0, 297.5, 298.0], {"units": "degrees_east"}),
    }
    with open_rain(saved(dataset(coords=coords))) as series:
        np.testing.assert_array_equal(series.grid.x, [296.5, 297.0, 297.5, 298.0])


@pytest.mark.parametrize(
    ("lat", "lon", "words"),
    [
        ([40.0, 40.0, 39.0], LON, ("lat", "40, 40")),
        ([40.0, 38.0, 39.0], LON, ("lat", "38, 39")),
        ([140.0, 139.0, 138.0], LON, ("not a latitude", "140")),
        (LAT, [179.0, 179.5, -180.0, -179.5], ("lon", "179.5, -180", "run on")),
    ],
)
def test_unusable_coordinates_are_errors(saved, lat, lon, words):
    coords = {
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    fails(saved(dataset(coords=coords)), *words)


# -------------------------------------------------------------------------------------- time


def with_bounds(ds, starts, ends):
    ds = ds.assign(time_bnds=(("time", "nv"), np.stack([starts, ends], axis=1)))
    ds["time"].attrs["bounds"] = "time_bnds"
    # xarray then leaves units away from the bounds, as CF allows.
    ds["time"].encoding["units"] = "seconds since 1970-01-01"
    return ds


def test_bounds_stated_starts_and_words_all_give_the_same_ends(saved):
    ends = np.datetime64("2020-06-01T01:00", "ns") + np.arange(24) * np.timedelta64(60, "m")
    starts = ends - np.timedelta64(60, "m")
    middles = ends - np.timedelta64(30, "m")
    files = [
        (saved(dataset(times=ends)), None),
        (saved(dataset(times=starts, long_name="rain of the hour starting at time")), None),
        (saved(dataset(times=starts, long_name=None)), SourceOptions(time_stamp="start")),
        (saved(dataset(times=ends, long_name=None)), SourceOptions(time_stamp="end")),
        (saved(with_bounds(dataset(times=middles, long_name=None), starts, ends)), None),
        # Bounds beat the words, and IMERG writes its last second.
        (saved(with_bounds(dataset(times=starts), starts, ends - np.timedelta64(1, "s"))), None),
    ]
    for path, options in files:
        with open_rain(path, options, strict_time=True) as series:
            np.testing.assert_array_equal(series.ends, ends.astype("datetime64[m]"))
            assert series.notes == []
            assert len(window_starts(series)) == 8


def test_unexplained_stamps_are_taken_as_ends_with_a_note_or_refused(saved):
    path = saved(dataset(long_name=None))
    with open_rain(path) as series:
        assert series.ends[0] == np.datetime64("2020-06-01T01:00")
        (note,) = series.notes
        assert "END of each interval" in note
        assert "--time-stamp start" in note
    fails(path, "data.time_stamp: start", strict_time=True)
    with pytest.raises(ConfigError, match="start or end"):
        SourceOptions(time_stamp="begin")


def test_a_statement_against_the_words_of_the_file_is_noted(saved):
    with open_rain(saved(dataset()), SourceOptions(time_stamp="start")) as series:
        assert series.ends[0] == np.datetime64("2020-06-01T02:00")
        assert series.notes == ["time stamps taken as the start, as stated; the file says end"]


def test_half_hours_are_summed_only_when_both_are_there(saved):
    ds = dataset(MM, start="2020-06-01T00:30", step=30)
    path = saved(ds)
    with open_rain(path) as series:
        windows = list(iterate_windows(series, window_starts(series)))
    assert len(windows) == 4
    np.testing.assert_allclose(windows[1].hours[0], MM[6] + MM[7], rtol=1e-6)
    np.testing.assert_allclose(windows[1].total, MM[6:12].sum(axis=0), rtol=1e-6)

    with_gap = saved(ds.isel(time=[i for i in range(24) if i != 8]))
    with open_rain(with_gap) as series:
        starts = window_starts(series)
        first = read_window(series, starts[0])
    # The half hour ending 04:30 is gone, so the hour to 05 and the window 03-06 are, too.
    assert [str(s)[11:] for s in starts] == ["00:00", "06:00", "09:00"]
    assert np.isnan(first.following).all()

    hole = MM.copy()
    hole[8, 1, 2] = np.nan
    with open_rain(saved(dataset(hole, start="2020-06-01T00:30", step=30))) as series:
        window = read_window(series, np.datetime64("2020-06-01T03:00"))
    missing = np.argwhere(np.isnan(window.hours)).tolist()
    assert missing == [[1, 1, 2]]
    assert np.argwhere(np.isnan(window.total)).tolist() == [[1, 2]]


def test_windows_may_start_at_other_hours(saved):
    with open_rain(saved(dataset())) as series:
        starts = window_starts(series, window_start_hour=4)
    assert [str(s)[11:] for s in starts[:2]] == ["01:00", "04:00"]
    assert len(starts) == 7


def test_three_hourly_totals_have_neighbours_but_no_hours(saved):
    path = saved(dataset(MM[:8], start="2020-06-01T03:00", step=180))
    with open_rain(path) as series:
        assert series.step_minutes == 180
        starts = window_starts(series)
        windows = list(iterate_windows(series, starts))
    assert str(starts[0]) == "2020-06-01T00:00"
    assert all(window.hours is None for window in windows)
    np.testing.assert_allclose(windows[3].previous, MM[2], rtol=1e-6)
    np.testing.assert_allclose(windows[3].total, MM[3], rtol=1e-6)
    np.testing.assert_allclose(windows[3].following, MM[4], rtol=1e-6)


def test_three_hourly_totals_at_other_hours_name_the_window_start(saved):
    path = saved(dataset(MM[:8], start="2020-06-01T04:00", step=180))
    fails(path, "01, 04, ... UTC", "--window-start 1")
    with open_rain(path) as series:
        assert str(window_starts(series, 1)[0]) == "2020-06-01T01:00"


def test_a_single_total_needs_its_length_in_the_file(saved):
    one = {"start": "2020-06-01T03:00"}
    fails(saved(dataset(MM[:1], **one)), "only one time", "time: sum (interval: 3 hours)")
    path = saved(dataset(MM[:1], cell_methods="time: sum (interval: 3 hours)", **one))
    with open_rain(path) as series:
        window = read_window(series, window_starts(series)[0])
    np.testing.assert_allclose(window.total, MM[0], rtol=1e-6)
    assert np.isnan(window.previous).all()


def test_imerg_calendar_and_valid_time_beside_a_reference_time(saved):
    ds = dataset(MM)
    ds["time"].encoding = {"units": "seconds since 1970-01-01 00:00:00", "calendar": "standard"}
    path = saved(ds)
    with h5py.File(path, "r+") as file:
        file["time"].attrs["calendar"] = "julian"
    with open_rain(path) as series:
        assert series.ends[0] == np.datetime64("2020-06-01T01:00")
    with h5py.File(path, "r+") as file:
        file["time"].attrs["calendar"] = "noleap"
    fails(path, "noleap", "standard calendar")

    steps = dataset(MM).rename(time="step").rename_vars(step="valid_time")
    steps = steps.assign_coords(time=np.datetime64("2020-06-01T00:00", "ns"))
    steps["step"] = ("step", np.arange(1, 25), {"long_name": "hours since the start"})
    with open_rain(saved(steps)) as series:
        assert series.ends[-1] == np.datetime64("2020-06-02T00:00")


def test_reference_times_of_forecasts_are_not_valid_times(saved):
    ds = dataset()
    ds["time"].attrs["standard_name"] = "forecast_reference_time"
    path = saved(ds)
    fails(path, "no variable has valid times", "rain(time, lat, lon) [mm]", "reference times")
    fails(path, "no dimension of valid times", options=SourceOptions(variable="rain"))


HOUR = np.timedelta64(60, "m")


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        ([60, 120, 120, 180], ("duplicate time", "2020-06-01 02:00 UTC", "position 2")),
        ([60, 180, 120, 240], ("backwards", "2020-06-01 02:00 UTC after 2020-06-01 03:00 UTC")),
        ([360, 720, 1080, 1440], ("360 min (6 h)", "180 min")),
        ([1440, 2880, 4320, 5760], ("1440 min",)),
        ([45, 90, 135, 180], ("45 min", "divisor of 60")),
        ([60, 120, 210, 300], ("out of step", "2020-06-01 03:30 UTC")),
        ([50, 110, 170, 230], ("minute 50", "full hour")),
        ([15, 45, 75, 105], ("minute 15", "multiples of 30 min")),
        ([120, 180, 300, 360], ("no complete window", "4 complete hours", "--window-start")),
    ],
)
def test_times_that_make_no_windows_are_errors(saved, minutes, words):
    times = np.datetime64("2020-06-01T00:00", "ns") + np.array(minutes) * (HOUR // 60)
    fails(saved(dataset(MM[:4], times=times)), *words)


def test_bounds_that_overlap_or_grow_are_errors(saved):
    ends = np.datetime64("2020-06-01T01:00", "ns") + np.arange(24) * HOUR
    running = with_bounds(dataset(times=ends), np.repeat(ends[0] - HOUR, 24), ends)
    fails(saved(running), "different length", "60 to 1440 min", "differenced")
    sliding = with_bounds(dataset(times=ends), ends - 3 * HOUR, ends)
    fails(saved(sliding), "overlap", "multiple of 180 min")


def test_times_that_float_rounding_has_moved_are_mended_and_worse_ones_refused(saved):
    ds = dataset(MM[:6]).drop_vars("time")
    hours = np.arange(1.0, 7.0)
    path = saved(ds.assign_coords(time=("time", hours + 1e-6, {"units": "hours since 2020-06-01"})))
    with open_rain(path) as series:
        assert series.ends[2] == np.datetime64("2020-06-01T03:00")
    moved = ds.assign_coords(time=("time", hours + 0.005, {"units": "hours since 2020-06-01"}))
    fails(saved(moved), "not on a full minute", "2020-06-01T01:00:18")


# ------------------------------------------------------------------------------------ values


def test_fill_values_become_missing(saved):
    values = MM.copy()
    values[4, 0, 0] = np.nan
    path = saved(dataset(values), {"rain": {"_FillValue": -9999.0, "dtype": "float32"}})
    read = all_amounts(path)
    assert np.argwhere(np.isnan(read)).tolist() == [[4, 0, 0]]


def test_negative_round_off_becomes_zero_and_is_counted_once(saved):
    values = MM.copy()
    values[2, 1, 1], values[3, 0, 0] = -0.001, -0.0005
    with open_rain(saved(dataset(values.astype(np.float32)))) as series:
        for _ in range(2):
            read = [series.amounts(i) for i in range(24)]
        assert series.negatives_zeroed == 2
    assert read[2][1, 1] == 0.0
    assert np.min(read) == 0.0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-0.002, ("negative rain", "-0.002 mm", "_FillValue")),
        (-9999.0, ("negative rain", "-9999 mm")),
        (np.inf, ("infinite rain", "inf mm")),
        (1000.5, ("wrong units", "1000.5 mm", "--units")),
    ],
)
def test_impossible_values_are_named_with_time_and_place(saved, value, words):
    values = MM.copy()
    values[7, 2, 1] = value
    place = ("2020-06-01 08:00 UTC", "lat 39, lon 130.5")
    fails(saved(dataset(values)), *words, *place)
    # Without degrees the place is the row and column in the file, here with the south first.
    coords = {
        "y": ("y", np.arange(3.0), {"units": "km"}),
        "x": ("x", np.arange(4.0), {"units": "km"}),
    }
    path = saved(dataset(values, dims=("time", "y", "x"), coords=coords))
    fails(path, *words, "row 2, column 1")


# ------------------------------------------------------------------------------------- files


def test_classic_netcdf_is_read_too(saved):
    path = saved(dataset(), engine="scipy", format="NETCDF3_64BIT")
    assert path.read_bytes()[:4] == b"CDF\x02"
    np.testing.assert_allclose(all_amounts(path), MM, rtol=1e-6)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)
    fails(path, "cannot be opened", "truncated")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("empty file", "fetch it again")),
        (b"GRIB\x00\x00\x00\x02" + bytes(100), ("a GRIB file", "cdo")),
        (b"\n\nTTAA00 RJTD 010000\nGRIB" + bytes(100), ("a GRIB file",)),
        (b"<!DOCTYPE html><html>", ("HTML", "download it again")),
        (b"CDF\x05" + bytes(100), ("CDF-5", "nccopy")),
        (b"\x1f\x8b\x08\x00", ("gzip", "gunzip")),
        (b"date,mm\n2020-01-01,3\n", ("begins with b'date,mm", "NetCDF-4")),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, words):
    path = tmp_path / "rain.nc"
    path.write_bytes(content)
    fails(path, *words)


def test_missing_files_and_directories_are_errors(tmp_path):
    fails(tmp_path / "none.nc", "no such file")
    fails(tmp_path, "a directory")


def test_a_truncated_file_and_a_corrupted_chunk_are_data_errors(saved, capfd):
    encoding = {"rain": {"chunksizes": (6, 3, 4), "zlib": True}}
    path = saved(dataset(), encoding)
    with h5py.File(path) as file:
        chunk = file["rain"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    # The third chunk holds hours 13 to 18.
    fails(path, "cannot be read from 2020-06-01 13:00 UTC", "damaged")
    path.write_bytes(content[: len(content) // 2])
    fails(path, "cannot be opened", "truncated")
    assert capfd.readouterr().err == ""


def test_variables_inside_groups_are_pointed_out(saved):
    path = saved(dataset(), group="Grid")
    fails(path, "groups", "Grid", "ncks -G : -g Grid")

"""Reading gridded rain: what a time stamp marks, and windows of three hours."""

import h5py
import numpy as np
import pytest
from rain_files import MM, dataset, fails

from tenkizu.core.errors import ConfigError
from tenkizu.rain.hourly import (
    SourceOptions,
    iterate_windows,
    open_rain,
    read_window,
    window_starts,
)


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
        ([60, 120, 120, 180], ("duplicate time", "2020-06-01 02:00 UTC", "positions 1 and 2")),
        ([60, 180, 120, 60], ("duplicate time", "2020-06-01 01:00 UTC", "positions 0 and 3")),
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


def test_a_file_without_times_is_an_error(saved):
    fails(saved(dataset(MM[:0])), "holds no times", "at least three hours")
    fails(saved(dataset(MM[:0], long_name="rain since the start")), "holds no times")


def test_bounds_that_overlap_or_grow_are_errors(saved):
    ends = np.datetime64("2020-06-01T01:00", "ns") + np.arange(24) * HOUR
    growing = with_bounds(dataset(times=ends), ends - np.arange(1, 25) * HOUR * 2, ends)
    fails(saved(growing), "different length", "120 to 2880 min", "begin together")
    sliding = with_bounds(dataset(times=ends), ends - 3 * HOUR, ends)
    fails(saved(sliding), "overlap", "multiple of 180 min")


def test_times_in_any_order_are_read_in_their_own(saved):
    order = np.random.default_rng(1).permutation(24)
    ends = np.datetime64("2020-06-01T01:00", "ns") + np.arange(24) * HOUR
    plain = dataset(times=ends)
    for ds in (plain, with_bounds(plain, ends - HOUR, ends)):
        with open_rain(saved(ds.isel(time=order))) as series:
            assert series.notes == [
                "the times of the file are not in order: read in the order of time"
            ]
            for i, window in enumerate(iterate_windows(series, window_starts(series))):
                np.testing.assert_allclose(window.hours, MM[3 * i : 3 * i + 3], rtol=1e-6)
        assert i == 7


def test_times_that_float_rounding_has_moved_are_mended_and_worse_ones_refused(saved):
    ds = dataset(MM[:6]).drop_vars("time")
    hours = np.arange(1.0, 7.0)
    path = saved(ds.assign_coords(time=("time", hours + 1e-6, {"units": "hours since 2020-06-01"})))
    with open_rain(path) as series:
        assert series.ends[2] == np.datetime64("2020-06-01T03:00")
    moved = ds.assign_coords(time=("time", hours + 0.005, {"units": "hours since 2020-06-01"}))
    fails(saved(moved), "not on a full minute", "2020-06-01T01:00:18")

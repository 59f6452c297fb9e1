"""Totals since the start of a run: the shipped hours, summed up in many shapes, come back."""

import h5py
import numpy as np
import pytest
import xarray as xr
from rain_files import IMERG, dataset, fails

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.rain.hourly import (
    RainSeries,
    SourceOptions,
    iterate_windows,
    open_rain,
    window_starts,
)
from tenkizu.rain.preparation import prepare

HOURS, STEP = 24, np.timedelta64(60, "m")
T0 = np.datetime64("2023-11-02T00:00", "ns")
SINCE, INTERVAL = SourceOptions(totals="since-start"), SourceOptions(totals="interval")


@pytest.fixture(scope="module")
def hourly():
    """A day of a corner of the shipped hours, (24, 60, 70), mm."""
    with open_rain(IMERG) as series:
        hours = np.stack([series.amounts(i)[:60, :70] for i in range(HOURS)])
    hours.flags.writeable = False
    return hours


@pytest.fixture(scope="module")
def totals(hourly):
    """The water since the start, the 0 of the start included, (25, 60, 70), mm."""
    return np.concatenate([np.zeros_like(hourly[:1]), hourly]).cumsum(axis=0, dtype=np.float64)


LAT = ("lat", np.linspace(-25, -31, 60), {"units": "degrees_north"})
LON = ("lon", np.linspace(-55, -48, 70), {"units": "degrees_east"})


def file_of(values, times, **attrs):
    """Rain on (time, lat, lon)."""
    return dataset(values, times=times, coords={"lat": LAT, "lon": LON}, **attrs)


def since_t0(first=0, every=1):
    return T0 + np.arange(first, HOURS + 1, every) * STEP


def windows(path, options=None):
    with open_rain(path, options) as series:
        return list(iterate_windows(series, window_starts(series))), series.notes


def same_hours(path, hourly, options=None, atol=1e-4):
    """All eight windows hold the shipped hours; what was noted."""
    found, notes = windows(path, options)
    starts = np.array([window.start for window in found])
    np.testing.assert_array_equal(starts, T0.astype("datetime64[m]") + np.arange(8) * 3 * STEP)
    for i, window in enumerate(found):
        np.testing.assert_allclose(window.hours, hourly[3 * i : 3 * i + 3], rtol=1e-5, atol=atol)
    assert np.nansum([w.total for w in found], dtype=np.float64) == pytest.approx(
        hourly.sum(dtype=np.float64), rel=1e-4
    )
    return notes


def like_cfgrib(values, steps, **attrs):
    """One run of GRIB2 as xarray has it, in m: dimension step, a valid time for each, one time."""
    ds = file_of(values / 1e3, T0 + steps * STEP, name="tp", units="m", **attrs)
    ds = ds.rename(time="step").rename_vars(step="valid_time")
    ds["tp"].attrs |= {"long_name": "Total precipitation", "GRIB_stepType": "accum"}
    ds["step"] = ("step", steps * np.timedelta64(1, "h"), {"standard_name": "forecast_period"})
    ds["time"] = ((), T0, {"standard_name": "forecast_reference_time"})
    return ds.set_coords(["valid_time", "time"])


# -------------------------------------------------------------------------- what files look like


@pytest.mark.parametrize("with_time", [False, True], ids=["step", "time and step"])
def test_a_run_as_grib_converters_write_it(saved, hourly, totals, with_time):
    ds = like_cfgrib(totals[1:], np.arange(1, 25))
    if with_time:
        ds = ds.expand_dims(time=[T0]).assign_coords(
            valid_time=(("time", "step"), ds["valid_time"].values[None])
        )
    (note,) = [n for n in same_hours(saved(ds), hourly) if "differenced" in n]
    assert "GRIB_stepType 'accum' along the lead time" in note
    assert "--totals interval" in note


def test_a_long_name_and_a_reference_time(saved, hourly, totals):
    ds = file_of(totals[1:], since_t0(1), long_name="accumulated rain since start")
    ds["forecast_reference_time"] = ((), T0)
    assert "accumulated rain since start" in same_hours(saved(ds), hourly)[0]


def test_wrf_from_its_start(saved, hourly, totals):
    ds = file_of(totals, since_t0(), name="RAINNC")
    ds = ds.rename(time="Time", lat="south_north", lon="west_east").rename_vars(Time="XTIME")
    ds = ds.drop_vars(["south_north", "west_east"]).isel(south_north=slice(None, None, -1))
    ds["RAINNC"].attrs = {"description": "ACCUMULATED TOTAL GRID SCALE PRECIPITATION"}
    ds["RAINNC"].attrs["units"] = "mm"
    for first in (0, 1):
        # Without the 0 at the start, the start is what the minutes of XTIME are counted from.
        part = ds.isel(Time=slice(first, None))
        path = saved(part, {"XTIME": {"units": "minutes since 2023-11-02 00:00:00"}})
        notes = same_hours(path, hourly[:, ::-1])
        assert "RAINNC is the grid-scale part of the rain only" in notes


def test_bounds_that_begin_together(saved, hourly, totals):
    starts = [np.repeat(T0, HOURS), T0 + (np.arange(HOURS) // 6 * 6) * STEP]
    # The second begins anew every six hours, as some models do.
    anew = np.concatenate([totals[i + 1 : i + 7] - totals[i] for i in range(0, HOURS, 6)])
    for values, begun in zip((totals[1:], anew), starts, strict=True):
        ds = file_of(values, since_t0(1), long_name=None)
        ds["bounds"] = (("time", "nv"), np.stack([begun, since_t0(1)], axis=1))
        ds["time"].attrs["bounds"] = "bounds"
        ds["time"].encoding["units"] = "seconds since 1970-01-01"
        assert "bounds that begin together" in same_hours(saved(ds), hourly)[0]


def test_several_runs_one_after_another(saved, hourly, totals):
    # Twelve hours of each run; the second begins with its own 0 at the last time of the first.
    values = np.concatenate([totals[:13], totals[12:] - totals[12]])
    begun = T0 + np.repeat([0, 12], 13) * STEP
    times = T0 + np.concatenate([np.arange(13), np.arange(12, 25)]) * STEP
    ds = file_of(values, times, long_name="rain since the start of the forecast")
    ds["reference_time"] = ("time", begun)
    same_hours(saved(ds), hourly)
    fails(saved(ds.drop_vars("reference_time")), "duplicate time", "2023-11-02 12:00 UTC")
    # An hour more of the first run is an hour that both runs give.
    more = ds.isel(time=[*range(13), 12, *range(13, 26)])
    more["time"] = ("time", np.insert(times, 13, T0 + 13 * STEP))
    fails(saved(more), "several runs", "ending 2023-11-02 13:00 UTC")


def test_several_runs_on_time_and_step(saved, hourly, totals, monkeypatch):
    runs = []
    for begun in (0, 12):
        run = like_cfgrib(totals[begun + 1 : begun + 13] - totals[begun], np.arange(1, 13))
        run["valid_time"] = run["valid_time"] + begun * STEP
        runs.append(run.assign_coords(time=T0 + begun * STEP))
    ds = xr.concat(runs, "time", coords="different", compat="equals")
    ds["time"].attrs["standard_name"] = "forecast_reference_time"
    assert ds["tp"].dims == ("time", "step", "lat", "lon")
    assert ds["valid_time"].dims == ("time", "step")
    blocks = []
    original = RainSeries._read_block
    monkeypatch.setattr(
        RainSeries, "_read_block", lambda *a: (blocks.append(a[1]), original(*a))[1]
    )
    same_hours(saved(ds, {"tp": {"chunksizes": (1, 4, 60, 70)}}), hourly)
    assert blocks == list(range(6))
    same_hours(saved(ds.transpose("lat", "step", "lon", "time")), hourly)
    # Amounts of hours on the same dimensions are no totals, if that is said.
    amounts = ds.assign(tp=ds["tp"].copy(data=hourly.reshape(2, 12, 60, 70) / 1e3))
    fails(saved(amounts), "decreases", "--totals interval")
    same_hours(saved(amounts), hourly, INTERVAL)


def test_three_hourly_totals_of_a_run(saved, hourly, totals):
    path = saved(like_cfgrib(totals[3::3], np.arange(3, 25, 3)))
    found, _ = windows(path)
    assert len(found) == 8
    for i, window in enumerate(found):
        expected = hourly[3 * i : 3 * i + 3].sum(axis=0)
        np.testing.assert_allclose(window.total, expected, rtol=1e-5, atol=1e-4)
        if i:
            np.testing.assert_array_equal(window.previous, found[i - 1].total)


def test_one_total_of_a_run_is_as_long_as_its_lead_time(saved, totals):
    found, _ = windows(saved(like_cfgrib(totals[3:4], np.array([3]))))
    np.testing.assert_allclose(found[0].total, totals[3], rtol=1e-6, atol=1e-6)


def test_times_in_disorder_and_a_missing_one(saved, hourly, totals):
    ds = file_of(totals, since_t0(), long_name="rain accumulated since the start")
    ds["forecast_reference_time"] = ((), T0)
    order = np.roll(np.arange(HOURS + 1), 9)
    assert any("not in order" in n for n in same_hours(saved(ds.isel(time=order)), hourly))
    found, notes = windows(saved(ds.isel(time=np.delete(order, 20))))
    assert any("1 of the totals" in n for n in notes)
    # The total of 11 UTC is gone, and with it the hours to 11 and to 12.
    assert [int(str(w.start)[11:13]) for w in found] == [0, 3, 6, 12, 15, 18, 21]
    np.testing.assert_allclose(found[3].total, hourly[12:15].sum(axis=0), rtol=1e-4, atol=1e-4)


def test_without_a_start_the_first_total_only_serves_as_base(saved, hourly, totals):
    path = saved(file_of(totals[1:], since_t0(1), long_name="total since the start"))
    found, notes = windows(path)
    assert any("not known when the run began" in note for note in notes)
    assert str(found[0].start) == "2023-11-02T03:00"
    np.testing.assert_allclose(found[0].hours, hourly[3:6], rtol=1e-5, atol=1e-4)
    assert np.isnan(found[0].previous).all()


def test_blocks_are_read_once_and_forwards(saved, totals, monkeypatch):
    blocks = []
    original = RainSeries._read_block
    monkeypatch.setattr(
        RainSeries, "_read_block", lambda *a: (blocks.append(a[1]), original(*a))[1]
    )
    ds = file_of(totals, since_t0(), long_name="rain since the start of the run")
    windows(saved(ds, {"rain": {"chunksizes": (5, 60, 70)}}))
    assert blocks == list(range(5))


# ------------------------------------------------------------------------------------- packing


def test_a_decrease_within_one_packing_step_is_no_rain(saved, hourly, totals):
    packed = {"rain": {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -9999}}
    ds = file_of(totals, since_t0(), long_name="rain since the start of the run")
    path = saved(ds, packed)
    same_hours(path, hourly, atol=0.1001)
    row, column = np.unravel_index(totals[9].argmax(), (60, 70))
    with h5py.File(path, "r+") as file:
        file["rain"][10, row, column] = file["rain"][9, row, column] - 1
    with open_rain(path) as series:
        found = [window.hours for window in iterate_windows(series, window_starts(series))]
        assert series.negatives_zeroed == 1
    assert found[3][0, row, column] == 0.0
    with h5py.File(path, "r+") as file:
        file["rain"][10, row, column] = file["rain"][9, row, column] - 2
    place = f"lat {LAT[1][row]:g}, lon {LON[1][column]:g}"
    fails(path, "decreases", "0.2 mm less at 2023-11-02 10:00 UTC", place, "0.1 mm", "--totals")


def test_a_missing_total_makes_two_hours_unknown(saved, totals):
    values = totals.copy()
    values[5, 2, 2] = np.nan
    found, _ = windows(saved(file_of(values, since_t0(), long_name="rain since the start")))
    assert np.argwhere(np.isnan(found[1].hours)).tolist() == [[1, 2, 2], [2, 2, 2]]


def test_totals_that_begin_anew_in_silence_are_an_error(saved, totals):
    values = totals[1:].copy()
    values[12:] -= totals[12]
    path = saved(file_of(values, since_t0(1), long_name="rain since the start"))
    fails(path, "decreases", "less at 2023-11-02 13:00 UTC", "reference time or bounds")


# ---------------------------------------------------------------- what nothing in the file says


def test_rain_that_never_decreases_needs_a_word(saved, hourly, totals):
    path = saved(file_of(totals, since_t0(), long_name="Total precipitation"))
    fails(path, "look like totals since the start", "wet cells none", "--totals since-start")
    assert "what is stated" in same_hours(path, hourly, SINCE)[0]
    # The first value is that at 00, the end of an hour before the first window.
    found, _ = windows(path, INTERVAL)
    np.testing.assert_allclose(found[0].hours, totals[1:4], rtol=1e-6, atol=1e-6)


def test_totals_anew_every_two_hours_are_suspected_too(saved, hourly):
    anew = hourly.reshape(12, 2, 60, 70).cumsum(axis=1).reshape(hourly.shape)
    fails(saved(file_of(anew, since_t0(1))), "begun anew in between", "--totals")


def test_hourly_amounts_of_era5_are_not_differenced(saved, hourly):
    ds = file_of(hourly / 1e3, since_t0(1), name="tp", units="m", long_name="Total precipitation")
    ds["tp"].attrs |= {"GRIB_stepType": "accum", "GRIB_paramId": 228, "GRIB_shortName": "tp"}
    ds = ds.rename(time="valid_time").assign_coords(number=0)
    notes = same_hours(saved(ds), hourly)
    assert not any("differenced" in note for note in notes)
    # Said to be a run's, it decreases at once.
    fails(saved(ds), "decreases", "04:00 UTC", options=SINCE)


@pytest.mark.parametrize(
    "words",
    [
        "hourly precipitation accumulation",
        "precipitation accumulated in the previous hour",
        "accumulated total of 1 h",
        "rain accumulated since previous post-processing",
        "rain of the hour ending at time",
    ],
)
def test_amounts_that_speak_of_accumulation_are_not_differenced(saved, hourly, words):
    same_hours(saved(file_of(hourly, since_t0(1), long_name=words)), hourly)


def test_options_that_make_no_sense(saved, hourly):
    rates = saved(file_of(hourly, since_t0(1), units="mm/h"))
    fails(rates, "rates are no totals", "mm/h", "--units", options=SINCE, error=ConfigError)
    with pytest.raises(ConfigError, match="since-start or interval"):
        SourceOptions(totals="run")
    one = saved(file_of(hourly[:1], since_t0(1)[:1]))
    fails(one, "a single total", "reference time", options=SINCE)


# ----------------------------------------------------------------- the configuration, the command


def test_a_store_from_totals(tiny_config, tiny_store, tiny_rain, write_rain, tmp_path):
    totals = np.concatenate([np.zeros_like(tiny_rain[:1]), tiny_rain]).cumsum(0, dtype=np.float64)
    path = write_rain(tmp_path / "run.nc", totals, np.datetime64("2023-05-30T00:00"))

    def settings(totals):
        data = {"files": [str(path)], "store": tmp_path / f"{totals}", "totals": totals}
        return tiny_config.model_copy(update={"data": tiny_config.data.model_copy(update=data)})

    with pytest.raises(DataError, match="--totals since-start"):
        prepare(settings(None))
    store = prepare(settings("since-start"))
    assert store.meta["starts"] == tiny_store.meta["starts"]
    for i in (0, 11, 35):
        np.testing.assert_allclose(
            store.read("rain", i), tiny_store.read("rain", i), rtol=1e-5, atol=1e-4
        )


def test_predict_gives_the_hours_of_the_sample_itself(command, saved, hourly, totals, tmp_path):
    paths = {
        "plain": (saved(file_of(hourly[:12], since_t0(1)[:12])), ()),
        "run": (saved(like_cfgrib(totals[1:13], np.arange(1, 13))), ()),
        "silent": (saved(file_of(totals[:13], since_t0()[:13])), ("--totals", "since-start")),
    }
    made = {}
    for name, (path, options) in paths.items():
        output = tmp_path / f"{name}_hours.nc"
        code, _, errors = command("rain", "predict", "rain-only", path, "-o", output, *options)
        assert code == 0, errors
        assert ("differenced" in errors) == (name != "plain")
        with xr.open_dataset(output) as result:
            made[name] = result["rain_1h"].values
    assert made["plain"].shape == (12, 60, 70)
    for name in ("run", "silent"):
        np.testing.assert_allclose(made[name], made["plain"], rtol=1e-3, atol=2e-3)
    code, _, errors = command("rain", "predict", "rain-only", paths["silent"][0], "-o", output)
    assert code == 3
    assert "--totals since-start" in errors

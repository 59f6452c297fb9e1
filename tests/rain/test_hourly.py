"""Reading gridded rain: real samples, names, units, files of other kinds."""

import tracemalloc
from itertools import pairwise

import h5py
import numpy as np
import pytest
from rain_files import IMERG, MM, RADOLAN, SAMPLES, all_amounts, dataset, fails

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.rain.hourly import (
    RainSeries,
    SourceOptions,
    iterate_windows,
    open_rain,
    read_window,
    window_starts,
)

# ---------------------------------------------------------------------------- real samples


def test_a_shipped_file_has_a_short_name():
    name = "imerg_sbrazil_hourly_20231102_03.nc"
    with open_rain(f"sample:{name}") as short, open_rain(SAMPLES / name) as whole:
        assert short.path.samefile(whole.path)
        assert window_starts(short) == window_starts(whole)
    with pytest.raises(DataError, match=r"sample:none\.nc: no such sample; .*imerg"):
        open_rain("sample:none.nc")


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

    def counting(self, block, group):
        blocks.append(block)
        return original(self, block, group)

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
        ("0.1 mm", 10.0),
        ("1e-3 m", 1.0),
        ("10^-3 m", 1.0),
        ("cm", 0.1),
        ("in", 1.0 / 25.4),
        ("inches", 1.0 / 25.4),
        ("0.01 inch", 100.0 / 25.4),
        ("in/hr", 2.0 / 25.4),
        ("mm/30min", 1.0),
        ("mm 30min-1", 1.0),
        ("m of water equivalent", 1e-3),
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
        ("APCP_surface", {}),
        ("tot_prec", {}),
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
    fails(saved(dataset(units="cubits")), "'cubits'", "kg m-2")
    metres = saved(dataset(MM * 1e-3, units="mm"))
    np.testing.assert_allclose(all_amounts(metres, SourceOptions(units="m")), MM, rtol=1e-6)
    furlong = SourceOptions(units="furlong")
    fails(path, "furlong", "--units", "next: state the units", options=furlong, error=ConfigError)


@pytest.mark.parametrize("units", ["mm/3h", "mm 3h-1", "mm (3h)-1", "kg m-2/3h", "mm/180min"])
def test_units_that_name_an_interval_must_be_those_of_the_times(saved, units):
    three = saved(dataset(MM[:8], units=units, start="2020-06-01T03:00", step=180))
    np.testing.assert_allclose(all_amounts(three), MM[:8], rtol=1e-6)
    fails(saved(dataset(units=units)), f"{units}, which is 180 min, at intervals of 60 min", "mm/h")
    stated = SourceOptions(units=units)
    fails(saved(dataset()), "the units name an interval", options=stated)
    np.testing.assert_allclose(all_amounts(saved(dataset(units="mm/1h"))), MM, rtol=1e-6)


def test_the_parts_of_wrf_are_not_the_rain(saved):
    ds = dataset(name="RAINC", long_name="hourly convective rain")
    with open_rain(saved(ds)) as series:
        assert "RAINC is the convective part of the rain only" in series.notes
    ds["RAINNC"] = ds["RAINC"]
    both = saved(ds)
    fails(both, "in two parts", "RAINC(", "RAINNC(", "RAIN=RAINC+RAINNC", "--var RAINNC")
    with open_rain(both, SourceOptions("RAINNC")) as series:
        assert "RAINNC is the grid-scale part of the rain only" in series.notes


def test_instantaneous_rates_are_refused(saved):
    fails(saved(dataset(units="mm h-1", cell_methods="time: point")), "one instant", "time: mean")
    prate = saved(dataset(name="prate", units="kg m-2 s-1", GRIB_stepType="instant"))
    fails(prate, "one instant", "GRIB_stepType", "--units 'kg m-2 s-1'")


# ----------------------------------------------------------------------------------- missing


def test_a_file_without_any_value_is_an_error_at_its_last_window(saved):
    hole = np.full_like(MM, np.nan)
    fails(saved(dataset(hole)), "all are missing", "in 8 windows", "_FillValue")
    # One hour of each window is enough to lose it.
    one = MM.copy()
    one[1::3] = np.nan
    fails(saved(dataset(one)), "all are missing")
    with open_rain(saved(dataset(hole))) as series:
        assert np.isnan(read_window(series, window_starts(series)[-1]).total).all()
    # Dry is not missing.
    assert not all_amounts(saved(dataset(np.zeros_like(MM)))).any()


def test_a_large_share_of_missing_cells_is_told_once(saved, caplog):
    values = MM.copy()
    values[:, :2] = np.nan
    with open_rain(saved(dataset(values))) as series:
        for _ in range(2):
            assert sum(1 for _ in iterate_windows(series, window_starts(series))) == 8
    (record,) = caplog.records
    assert "67 % of the cells of all windows are missing" in record.getMessage()


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
    fails(tmp_path / "none.nc", "no such file", "expected a NetCDF file", "check the path")
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

"""Reading gridded rain: grids in any order, and values that cannot be rain."""

import numpy as np
import pytest
from rain_files import LAT, LON, MM, all_amounts, dataset, fails

from tenkizu.rain.hourly import open_rain

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
        (LAT, [179.0, 179.5, -180.0, 179.8], ("lon", "179.5, -180")),
        (LAT, [130.0, 131.0, 130.5, 131.5], ("lon", "131, 130.5")),
    ],
)
def test_unusable_coordinates_are_errors(saved, lat, lon, words):
    coords = {
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    fails(saved(dataset(coords=coords)), *words)


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

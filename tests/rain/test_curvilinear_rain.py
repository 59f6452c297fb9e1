"""Rain with latitudes and longitudes in two dimensions or in a projection, read and split."""

import numpy as np
import pytest
import xarray as xr
from rain_files import IMERG, LAT, LON, MM, all_amounts, dataset, fails

from tenkizu.core.errors import DataError
from tenkizu.rain import predict
from tenkizu.rain.hourly import open_rain

CRS = {"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": [30.0, 60.0]}


def wrf(plain, *, moving=False):
    """The same rain as WRF writes it: XLAT and XLONG for every time, the south row first."""
    lat, lon = plain["lat"].values[::-1], plain["lon"].values
    times = len(plain["time"])
    pair = np.stack([np.stack(np.meshgrid(lat, lon, indexing="ij"))] * times).astype(np.float32)
    if moving:
        pair[-1] += 0.5
    dims = ("Time", "south_north", "west_east")
    name = next(iter(plain.data_vars))
    rain = plain[name].transpose("time", "lat", "lon")
    return xr.Dataset(
        {"RAIN": (dims, rain.values[:, ::-1], rain.attrs)},
        {
            "XTIME": ("Time", plain["time"].values),
            "XLAT": (dims, pair[:, 0], {"units": "degree_north"}),
            "XLONG": (dims, pair[:, 1], {"units": "degree_east"}),
        },
    )


def places(y, x, dims=("y", "x"), **attrs):
    """Coordinates lat and lon in two dimensions from axes of degrees."""
    lat, lon = np.meshgrid(y, x, indexing="ij")
    return {"lat": (dims, lat, attrs), "lon": (dims, lon, attrs)}


# ------------------------------------------------------------------------------------ reading


def test_wrf_output_is_turned_north_first_and_has_a_spacing(saved):
    path = saved(wrf(dataset()))
    np.testing.assert_allclose(all_amounts(path), MM, rtol=1e-6)
    with open_rain(path) as series:
        assert (series.rows_flipped, series.columns_flipped) == (True, False)
        assert series.notes == []
        np.testing.assert_allclose(series.grid.lat[:, 0], LAT)
        np.testing.assert_allclose(series.grid.lon[0], LON)
        # Half a degree: 55.6 km, times the cosine of about 39.5 degrees.
        assert series.grid.spacing_km == pytest.approx(
            (55.6, 55.6 * np.cos(np.deg2rad(39.5))), 1e-3
        )


def test_spacing_is_that_of_the_same_grid_with_axes(saved):
    with xr.open_dataset(IMERG, engine="h5netcdf") as source:
        few = source.isel(time=slice(0, 3)).load()
    with open_rain(saved(few)) as plain, open_rain(saved(wrf(few))) as counted:
        assert counted.grid.kind == "index"
        assert counted.grid.spacing_km == pytest.approx(plain.grid.spacing_km, rel=1e-3)


def test_columns_from_the_east_and_the_dateline_are_seen(saved):
    east_first = places([40.0, 39.5, 39.0], [-179.0, -179.5, 180.0, 179.5])
    path = saved(dataset(MM[..., ::-1], dims=("time", "y", "x"), coords=east_first))
    np.testing.assert_allclose(all_amounts(path), MM, rtol=1e-6)
    with open_rain(path) as series:
        np.testing.assert_array_equal(series.grid.lon[0], [179.5, 180.0, -179.5, -179.0])
        assert series.grid.spacing_km[1] == pytest.approx(55.6 * np.cos(np.deg2rad(39.5)), rel=1e-3)


def test_dimensions_that_nothing_names_are_told_by_their_latitudes(saved):
    lat, lon = places(LAT, LON, ("b", "a")).values()
    coords = {
        "first": (*lat[:2], {"standard_name": "latitude"}),
        "second": (*lon[:2], {"standard_name": "longitude"}),
    }
    path = saved(dataset(MM.transpose(0, 2, 1), dims=("time", "a", "b"), coords=coords))
    np.testing.assert_allclose(all_amounts(path), MM, rtol=1e-6)
    with open_rain(path) as series:
        assert series.notes == ["dimensions b and a taken as rows and columns"]


def test_the_coordinates_attribute_chooses_among_several(saved):
    both = places(LAT, LON, units="degrees")
    wrong = places(LAT[::-1], LON, units="degrees")
    ds = dataset(dims=("time", "y", "x"), coords={})
    for name, pair in (("latitude", wrong["lat"]), ("longitude", wrong["lon"]), *both.items()):
        ds[name] = pair
    ds["rain"].attrs["coordinates"] = "lat lon"
    with open_rain(saved(ds)) as series:
        assert series.georeference.coordinates == ("lat", "lon")
        assert not series.rows_flipped


def test_cells_without_a_place_do_not_hide_the_spacing_of_the_others(saved):
    coords = places(LAT, LON, units="degrees")
    for values in (coords["lat"][1], coords["lon"][1]):
        values[0, 0] = np.nan
    with open_rain(saved(dataset(dims=("time", "y", "x"), coords=coords))) as series:
        assert series.grid.spacing_km[0] == pytest.approx(55.6, rel=1e-3)
        for values in (coords["lat"][1], coords["lon"][1]):
            values[:] = np.nan
    with open_rain(saved(dataset(dims=("time", "y", "x"), coords=coords))) as series:
        assert series.grid.spacing_km is None
        assert any("spacing unknown" in note for note in series.notes)


def test_a_spacing_that_varies_is_told(saved):
    coords = places([60.0, 40.0, 39.0], LON, units="degrees")
    with open_rain(saved(dataset(dims=("time", "y", "x"), coords=coords))) as series:
        rows, columns = (note for note in series.notes if "varies" in note)
    # One degree and twenty of them, and 55.6 km times the cosines of 60 and of 39 degrees.
    assert "distance of rows varies over the grid" in rows
    assert "from 27.8 to 43.2 km: its median, 42.6 km" in columns


def test_places_that_are_none_are_errors(saved):
    def path(y, x):
        return saved(dataset(dims=("time", "y", "x"), coords=places(y, x, units="degrees")))

    fails(path(np.ones(3), np.ones(4)), "neighbouring rows", "lat, lon", "0 km")
    fails(path([95.0, 94.0, 93.0], LON), "not a latitude", "95")
    fails(saved(wrf(dataset(), moving=True)), "the grid moves", "XLAT")


def test_lengths_along_the_axes_win_over_places(saved):
    lengths = {
        "y": ("y", [0.0, 1.0, 2.0], {"units": "km"}),
        "x": ("x", [0.0, 1.0, 2.0, 3.0], {"units": "km"}),
    }
    coords = places(LAT[::-1], LON, units="degrees") | lengths
    path = saved(dataset(MM[:, ::-1], dims=("time", "y", "x"), coords=coords))
    np.testing.assert_allclose(all_amounts(path), MM, rtol=1e-6)
    with open_rain(path) as series:
        assert series.grid.kind == "projected"
        assert series.grid.spacing_km == (1.0, 1.0)
        # What figures need for a coastline.
        np.testing.assert_array_equal(series.grid.lat[:, 0], LAT)


def test_longitudes_on_an_axis_may_cross_the_dateline_either_way(saved):
    for stored, x, flipped in (
        ([179.0, 179.5, -180.0, -179.5], [179.0, 179.5, 180.0, 180.5], False),
        ([359.0, 359.5, 0.0, 0.5], [359.0, 359.5, 360.0, 360.5], False),
        ([-179.5, -180.0, 179.5, 179.0], [-181.0, -180.5, -180.0, -179.5], True),
    ):
        coords = {"lat": ("lat", LAT, {"units": "degrees_north"})}
        coords["lon"] = ("lon", stored, {"units": "degrees_east"})
        with open_rain(saved(dataset(coords=coords))) as series:
            assert series.columns_flipped is flipped
            np.testing.assert_allclose(series.grid.x, x)
            np.testing.assert_array_equal(series.georeference.variables["lon"], stored)


# ---------------------------------------------------------------------------------- splitting


@pytest.fixture(scope="module")
def day():
    """Nine hours of real rain over southern Brazil, 40 x 48 cells."""
    with xr.open_dataset(IMERG, engine="h5netcdf") as source:
        return source.isel(time=slice(3, 12), lat=slice(40, 80), lon=slice(0, 48)).load()


def split(ds, saved, **options):
    """What `predict` writes for a dataset, read into memory, coordinates as variables."""
    path = saved(ds)
    output = path.with_name("hours.nc")
    predict("rain-only", path, output, **options)
    with xr.open_dataset(output, engine="h5netcdf", decode_coords=False) as result:
        return result.load()


@pytest.fixture(scope="module")
def plain(day, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    day.to_netcdf(folder / "rain.nc", engine="h5netcdf")
    predict("rain-only", folder / "rain.nc", folder / "hours.nc")
    with xr.open_dataset(folder / "hours.nc", engine="h5netcdf") as result:
        return result.load()


def test_wrf_rows_give_the_same_hours_and_stay_where_they_were(day, plain, saved, tmp_path):
    source = wrf(day)
    source["RAIN"].attrs["grid_mapping"] = "crs"
    source["crs"] = ((), 0, CRS)
    picture = tmp_path / "map.png"
    result = split(source, saved, picture=picture)
    np.testing.assert_array_equal(result.rain_1h.values[:, ::-1], plain.rain_1h.values)
    np.testing.assert_array_equal(result.rain_3h.values[:, ::-1], plain.rain_3h.values)
    assert result.XLAT.dims == result.XLONG.dims == ("south_north", "west_east")
    np.testing.assert_array_equal(result.XLAT, source.XLAT[0])
    np.testing.assert_array_equal(result.XLONG, source.XLONG[0])
    assert result.XLAT.attrs["standard_name"] == "latitude"
    assert result.rain_1h.attrs["coordinates"] == "forecast_reference_time XLAT XLONG"
    assert result.rain_3h.attrs["coordinates"] == "XLAT XLONG"
    assert result.rain_1h.attrs["grid_mapping"] == result.rain_3h.attrs["grid_mapping"] == "crs"
    assert result.crs.attrs["grid_mapping_name"] == CRS["grid_mapping_name"]
    np.testing.assert_array_equal(result.crs.attrs["standard_parallel"], [30.0, 60.0])
    assert picture.stat().st_size > 10_000


def test_a_projection_keeps_its_mapping_and_its_places(day, plain, saved):
    axes = {
        "y": ("y", 11.0 * np.arange(40)[::-1], {"units": "km", "long_name": "northing"}),
        "x": ("x", 9.8 * np.arange(48), {"units": "km"}),
    }
    coords = places(day["lat"].values, day["lon"].values, units="degrees") | axes
    rain = day["precipitation_amount"]
    source = xr.Dataset(
        {"rain": (("time", "y", "x"), rain.values, rain.attrs)}, {"time": day["time"], **coords}
    )
    source["crs"] = ((), 0, CRS)
    source["rain"].attrs["grid_mapping"] = "crs: x y"
    result = split(source, saved, share=True)
    np.testing.assert_array_equal(result.rain_1h, plain.rain_1h)
    assert result.rain_1h.attrs["grid_mapping"] == "crs: x y"
    assert result.share.attrs["grid_mapping"] == "crs: x y"
    assert result.y.attrs["long_name"] == "northing"
    assert result.y.attrs["standard_name"] == "projection_y_coordinate"
    np.testing.assert_array_equal(result.lat, coords["lat"][1])
    # Cells of another size lie elsewhere, but in the same projection.
    coarse = split(
        source.assign_coords(y=source.y * 0.02, x=source.x * 0.02), saved, regrid="conservative"
    )
    assert coarse.rain_1h.attrs["grid_mapping"] == "crs"
    assert coarse.crs.attrs["grid_mapping_name"] == CRS["grid_mapping_name"]
    assert "lat" not in coarse
    assert coarse.sizes["y"] < 40


def test_a_rotated_pole_keeps_its_own_axes(day, plain, saved):
    rotated = {
        "rlat": ("rlat", 0.1 * np.arange(40)[::-1], {"standard_name": "grid_latitude"}),
        "rlon": ("rlon", 0.1 * np.arange(48), {"standard_name": "grid_longitude"}),
    }
    coords = places(day["lat"].values, day["lon"].values, ("rlat", "rlon"), units="degrees")
    rain = day["precipitation_amount"]
    result = split(
        xr.Dataset(
            {"rain": (("time", "rlat", "rlon"), rain.values, rain.attrs)},
            {"time": day["time"], **coords, **rotated},
        ),
        saved,
    )
    np.testing.assert_array_equal(result.rain_1h, plain.rain_1h)
    np.testing.assert_array_equal(result.rlat, rotated["rlat"][1])
    assert result.rlat.attrs == {"standard_name": "grid_latitude", "axis": "Y"}


def test_the_output_has_the_longitudes_of_the_input(day, plain, saved):
    shift = 180.0 - float(day["lon"][20])
    moved = (day["lon"].values + shift + 180.0) % 360.0 - 180.0
    result = split(day.assign_coords(lon=("lon", moved, day["lon"].attrs)), saved)
    assert (np.diff(moved) < 0).sum() == 1
    np.testing.assert_array_equal(result.lon, moved)
    np.testing.assert_array_equal(result.rain_1h, plain.rain_1h)


def test_a_spacing_far_from_the_training_asks_for_a_word_here_too(day, saved):
    fine = wrf(day.assign_coords(lat=day["lat"] / 100, lon=day["lon"] / 100))
    with pytest.raises(DataError, match="far from that of the training") as caught:
        split(fine, saved)
    assert "--regrid native" in str(caught.value)
    assert "--regrid conservative" not in str(caught.value)
    with pytest.raises(DataError, match="two dimensions is not regridded"):
        split(fine, saved, regrid="conservative")
    assert split(fine, saved, regrid="native").sizes["time"] == 9

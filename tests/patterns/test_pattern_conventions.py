"""Conventions of files beside those of the Climate Data Store, and what is refused among them."""

import h5py
import numpy as np
import pytest
import xarray as xr
from era5_files import days_of, edit, region, write_file
from synthetic_weather import Weather

from tenkizu.core.errors import DataError
from tenkizu.patterns.reading.maps import open_files

LAT, LON = region(5.0)
DAYS = days_of(2001, 5)


def truth(name, times=DAYS):
    return Weather(LAT, LON).fields([name], times)[name]


def read(path, name="msl", times=DAYS, **options):
    with open_files([path], **options) as source:
        return source.read([name], times)[name]


def failure_of(path, name="msl", **options):
    with pytest.raises(DataError) as failure:
        read(path, name, **options)
    return str(failure.value)


@pytest.fixture
def msl(tmp_path):
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), DAYS, 5.0)
    return path


@pytest.fixture
def changed(msl, tmp_path):
    """Writes the file anew with what a function makes of its content."""

    def write(change, path=msl):
        with xr.open_dataset(path) as dataset:
            result = change(dataset.load())
        result.to_netcdf(tmp_path / "changed.nc")
        return tmp_path / "changed.nc"

    return write


def test_a_number_or_expver_of_one_entry_may_be_a_dimension(changed):
    path = changed(lambda data: data.drop_vars("number").expand_dims(number=[0]))
    np.testing.assert_allclose(read(path), truth("msl"), rtol=0, atol=0.2)


def test_versions_along_a_dimension_of_texts(changed):
    def split(data):
        data = data.drop_vars("expver")
        final = data.where(data.valid_time < data.valid_time[3])
        preliminary = data.where(data.valid_time >= data.valid_time[3])
        return xr.concat([final, preliminary], xr.Variable("expver", ["0001", "0005"]))

    path = changed(split)
    with open_files([path]) as source:
        np.testing.assert_allclose(source.read(["msl"], DAYS)["msl"], truth("msl"), atol=0.2)
        assert source.notes == [f"{path}: msl: 2 maps of expver 5 (preliminary ERA5T)"]


def test_short_names_of_the_dimensions_in_any_order(changed):
    names = {"latitude": "lat", "longitude": "lon", "valid_time": "time"}
    path = changed(lambda data: data.rename(names).transpose("lon", "lat", "time"))
    np.testing.assert_allclose(read(path), truth("msl"), rtol=0, atol=0.2)


def test_longitudes_that_are_counted_round_the_globe(changed):
    west = changed(lambda data: data.assign_coords(longitude=data.longitude + 180.0))
    with open_files([west], area=[55, -65, 15, -25]) as source:
        np.testing.assert_array_equal(source.grid.x, np.arange(-65, -24, 5))
        maps = source.read(["msl"], DAYS)["msl"]
    np.testing.assert_allclose(maps, truth("msl"), rtol=0, atol=0.2)


@pytest.mark.parametrize(("factor", "units"), [(100.0, "Pa"), (1.0, "millibars"), (1.0, "hPa")])
def test_levels_in_hectopascals_or_pascals(changed, tmp_path, factor, units):
    upper = tmp_path / "t.nc"
    write_file(upper, ("t850", "t500"), DAYS, 5.0)

    def scaled(data):
        levels = data.pressure_level * factor
        data = data.assign_coords(pressure_level=levels).rename(pressure_level="level")
        data.level.attrs["units"] = units
        return data

    np.testing.assert_allclose(read(changed(scaled, upper), "t850"), truth("t850"), atol=0.01)


def test_levels_that_are_no_pressure(tmp_path):
    path = tmp_path / "t.nc"
    write_file(path, ("t850", "t500"), DAYS, 5.0)
    edit(path, "pressure_level", units="m")
    message = failure_of(path, "t850")
    assert "pressure_level: levels that are no pressure; found 850, 500, units 'm'" in message
    assert "expected hPa or Pa" in message


def test_a_scalar_level(changed, tmp_path):
    path = tmp_path / "t.nc"
    write_file(path, ("t850",), DAYS, 5.0)
    single = changed(lambda data: data.isel(pressure_level=0), path)
    np.testing.assert_allclose(read(single, "t850"), truth("t850"), rtol=0, atol=0.01)


def test_grib_says_how_to_come_by_netcdf(msl):
    msl.write_bytes(b"GRIB\x00\x00\x00\x01" + bytes(200))
    message = failure_of(msl)
    assert f"{msl}: not a NetCDF file; found a GRIB file of 208 bytes" in message
    assert "ask for NetCDF (data_format: netcdf), or convert it as the Climate Data" in message
    assert "cfgrib to_netcdf -o out.nc in.grib" in message


def test_a_day_with_maps_at_other_hours_only(tmp_path):
    times = DAYS.copy()
    times[2] += np.timedelta64(1, "h")
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), times, 5.0)
    message = failure_of(path)
    assert "msl: days with maps, but not at the wanted hours" in message
    assert "found nothing at 2001-01-03, but on 2001-01-03 01 UTC" in message
    # A day without any map is a gap, and a file may begin at noon.
    write_file(path, ("msl",), np.delete(DAYS, 2), 5.0)
    assert len(read(path, times=DAYS[:2])) == 2
    hours = np.arange("2001-01-01T12", "2001-01-03T06", np.timedelta64(6, "h"), "datetime64[m]")
    write_file(path, ("msl",), hours, 5.0)
    with open_files([path]) as source:
        assert source.times.tolist() == DAYS[1:3].tolist()


def test_a_coordinate_out_of_its_place(msl):
    edit(msl, "latitude", at=3, value=41.0)
    message = failure_of(msl)
    assert "latitude: uneven distances; found 50, 45, 41 at position 1" in message


def test_values_of_another_shape_than_their_dimensions(msl):
    with h5py.File(msl, "r+") as file:
        scales = file["msl"].attrs["DIMENSION_LIST"]
        values = file["msl"][:, :5]
        units = file["msl"].attrs["units"]
        del file["msl"]
        file.create_dataset("msl", data=values).attrs.update(units=units, DIMENSION_LIST=scales)
    message = failure_of(msl)
    assert "msl: dimensions that are not those of its values; found shape (5, 5, 9)" in message
    assert "expected valid_time = 5, latitude = 9, longitude = 9" in message


def test_one_cell_that_no_weather_has(msl):
    edit(msl, "msl", at=(1, 2, 3), value=203000.0)
    message = failure_of(msl)
    assert (
        "msl: values that no weather has; found 203000 on 2001-01-02 at row 2, column 3" in message
    )
    assert "data.drop" in message

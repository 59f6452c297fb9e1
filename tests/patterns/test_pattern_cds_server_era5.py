"""The files of the store on loopback are what the Climate Data Store delivers for ERA5."""

import functools
import io
import json
import zipfile

import numpy as np
import pytest
import xarray as xr
from cds_server import CdsServer, era5_response
from cds_server_era5 import HEIGHT, PRESSURE, SINGLE, UPPER, WEEK
from cds_server_grib import read_grib


def test_the_format_of_before_2024(tmp_path):
    (tmp_path / "old.nc").write_bytes(era5_response(UPPER, HEIGHT, convention="old"))
    with xr.open_dataset(tmp_path / "old.nc") as old:
        assert old["z"].dims == ("time", "level", "latitude", "longitude")
        assert old.sizes == {"time": 3, "level": 2, "latitude": 9, "longitude": 9}


def test_area_hours_and_spacing_are_as_asked(tmp_path):
    request = PRESSURE | {"area": [52, 120, 40, 141], "time": ["06:00", "18:00"], "day": "28"}
    (tmp_path / "part.nc").write_bytes(era5_response(SINGLE, request, step=2.0))
    with xr.open_dataset(tmp_path / "part.nc") as part:
        assert part["latitude"].values.tolist() == [52, 50, 48, 46, 44, 42, 40]
        assert part["longitude"].values.tolist() == [*range(120, 142, 2)]
        hours = np.array(["1991-02-28T06", "1991-02-28T18"], "datetime64[ns]")
        assert (part["valid_time"].values == hours).all()


def test_instant_and_accumulated_fields_come_in_an_archive(tmp_path):
    variables = ["mean_sea_level_pressure", "total_precipitation"]
    content = era5_response(SINGLE, WEEK | {"variable": variables})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert sorted(archive.namelist()) == [
            "data_stream-oper_stepType-accum.nc",
            "data_stream-oper_stepType-instant.nc",
        ]
    one = era5_response(SINGLE, PRESSURE | {"download_format": "zip"})
    assert zipfile.is_zipfile(io.BytesIO(one))


def test_grib_holds_what_netcdf_holds(tmp_path):
    variables = ["sea_surface_temperature", "total_precipitation", "mean_sea_level_pressure"]
    request = WEEK | {"variable": variables, "day": ["27", "28"]}
    (tmp_path / "fields.grib").write_bytes(era5_response(SINGLE, request | {"data_format": "grib"}))
    found = read_grib(tmp_path / "fields.grib")
    assert [keys for keys, _ in found] == [
        (1, "sst", 0, 19910227, 0, "0"),
        (1, "tp", 0, 19910227, 0, "5-6"),
        (1, "msl", 0, 19910227, 0, "0"),
        (1, "sst", 0, 19910228, 0, "0"),
        (1, "tp", 0, 19910228, 0, "5-6"),
        (1, "msl", 0, 19910228, 0, "0"),
    ]
    for index, name in ((0, "sst"), (1, "tp"), (2, "msl")):
        one = request | {"variable": [variables[index]]}
        (tmp_path / "n.nc").write_bytes(era5_response(SINGLE, one))
        with xr.open_dataset(tmp_path / "n.nc") as file:
            for day in range(2):
                expected = file[name].values[day]
                # Both are packed in 16 bits of the range.
                near = float(np.nanmax(expected) - np.nanmin(expected)) / 2**15
                np.testing.assert_allclose(found[3 * day + index][1], expected, atol=near, rtol=0)


def test_grib_of_pressure_levels_through_the_client(tmp_path):
    serve = functools.partial(era5_response, step=10.0)
    request = HEIGHT | {"data_format": "grib", "day": ["28"]}
    with CdsServer(serve, queue_polls=0, run_polls=0) as server:
        results = server.client().submit(UPPER, request).get_results()
        assert results.content_type == "application/x-grib"
        assert results.location.endswith(".grib")
        results.download(str(tmp_path / "heights.grib"))
    (first, upper), (second, lower) = read_grib(tmp_path / "heights.grib")
    assert (first[2], second[2]) == (500, 1000)
    assert upper.shape == (5, 5)
    assert (upper > lower).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"variable": ["no_such_field"]},
        {"product_type": ["ensemble_mean"]},
        {"day": ["30"]},
        {"pressure_level": ["500"]},
    ],
)
def test_what_era5_does_not_hold_is_refused(wrong):
    with pytest.raises(ValueError, match="valid combination"):
        era5_response(SINGLE, PRESSURE | wrong)


def test_a_file_is_made_once():
    again = json.loads(json.dumps(PRESSURE))
    assert era5_response(SINGLE, PRESSURE) is era5_response(SINGLE, again)

"""Hourly rain from GRIB2: guidance, ensembles, radar, MSM; out as NetCDF and as GRIB2."""

from datetime import datetime

import eccodes
import numpy as np
import pytest
import xarray as xr
from jma_bytes import FieldSpec, message
from jma_products import (
    SMALL,
    sea_mask,
    smooth_rain,
    write_guidance,
    write_meps_rain,
    write_radar_analysis,
    write_short_range,
)

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.rain import predict
from tenkizu.rain.msm.rain_totals import GribTotals

T0 = datetime(2024, 7, 5, 6)
START = np.datetime64("2024-07-05T06:00", "m")
HOUR = np.timedelta64(60, "m")
STEP = 1 / 16


def output(tmp_path, files, **options):
    """A prediction of the shipped model as a dataset."""
    path = predict("rain-only", files, tmp_path / "hours.nc", **options)
    with xr.open_dataset(path, engine="h5netcdf", decode_timedelta=False) as dataset:
        return dataset.load()


def test_guidance_totals_become_hours_on_land_only(tmp_path):
    files = write_guidance(tmp_path, T0, grid=SMALL)
    result = output(tmp_path, files)
    assert result.rain_1h.shape == (12, *SMALL_SHAPE)
    land = sea_mask(SMALL)
    for window, end in enumerate((3, 6, 9, 12)):
        truth = smooth_rain(SMALL, end)
        given = result.rain_3h[window].values
        np.testing.assert_allclose(given[land], truth[land], atol=STEP)
        assert np.isnan(given[~land]).all()
        hours = result.rain_1h[3 * window : 3 * window + 3].values
        np.testing.assert_allclose(hours.sum(0)[land], given[land], rtol=1e-5, atol=1e-6)
    assert result.lat.values[0] == 40.0
    assert (result.forecast_reference_time.values == np.datetime64("2024-07-05T06")).all()
    assert result.time.values[0] == np.datetime64("2024-07-05T07")


def test_members_are_a_dimension_and_each_is_split_on_its_own(tmp_path):
    files = write_meps_rain(tmp_path, T0, range(1, 7), members=3)
    result = output(tmp_path, files)
    assert result.rain_1h.dims[:2] == ("time", "member")
    assert list(result.member.values) == [0, 1, 2]
    for member in range(3):
        truth = sum(smooth_rain(SMALL, 100 * member + hour) for hour in (4, 5, 6))
        np.testing.assert_allclose(result.rain_3h[1, member], truth, atol=3 * STEP)
    alone = write_meps_rain(tmp_path / "alone", T0, range(1, 7), members=1)
    one = output(tmp_path, alone)
    np.testing.assert_array_equal(one.rain_1h[:, 0], result.rain_1h[:, 0])


def test_hours_of_radar_and_of_several_files_are_summed(tmp_path):
    """Three analyses and the forecast after them: P, S and N from nine hours."""
    times = [datetime(2024, 7, 5, hour) for hour in (4, 5, 6)]
    analyses = [file for time in times for file in write_radar_analysis(tmp_path, time)]
    forecast = write_short_range(tmp_path, T0)
    totals = GribTotals([*analyses, *forecast])
    assert totals.starts == [START - 3 * HOUR, START, START + 3 * HOUR]
    assert output(tmp_path, [*analyses, *forecast]).rain_1h.shape[0] == 9


def test_totals_since_the_initial_time_are_differenced(tmp_path):
    rain = {end: smooth_rain(SMALL, end) for end in (3, 6, 9)}
    since = [
        FieldSpec(
            sum(rain[e] for e in rain if e <= end),
            1,
            8,
            grid=SMALL,
            start=0,
            length=end,
            template=8,
            step=STEP,
        )
        for end in rain
    ]
    path = tmp_path / "since.grib2"
    path.write_bytes(message(since, T0))
    totals = GribTotals([path])
    assert totals.starts == [START + k * HOUR for k in (0, 3, 6)]
    for start, end in zip(totals.starts, rain, strict=True):
        np.testing.assert_allclose(totals.total(start), rain[end], atol=2 * STEP)
        assert (totals.total(start) >= 0).all()
    assert totals.total(START + 9 * HOUR) is None


def test_totals_without_a_single_known_cell_are_an_error(tmp_path):
    nothing = [
        FieldSpec(np.full(SMALL_SHAPE, np.nan), 1, 8, grid=SMALL, start=start, length=3, template=8)
        for start in (0, 3)
    ]
    path = tmp_path / "masked.grib2"
    path.write_bytes(message(nothing, T0))
    with pytest.raises(DataError, match=r"masked\.grib2.*all are missing.*in 2 windows"):
        output(tmp_path, [path])
    assert not list(tmp_path.glob("hours*"))
    # One window with rain is enough.
    some = [FieldSpec(smooth_rain(SMALL, 3), 1, 8, grid=SMALL, start=0, length=3, template=8)]
    path.write_bytes(message([*some, nothing[1]], T0))
    assert np.isfinite(output(tmp_path, [path]).rain_1h[:3]).all()


def test_rain_that_falls_back_is_an_error(tmp_path):
    falling = [
        FieldSpec(np.full(SMALL_SHAPE, mm), 1, 8, grid=SMALL, start=0, length=end, template=8)
        for end, mm in ((3, 9.0), (6, 2.0))
    ]
    path = tmp_path / "falling.grib2"
    path.write_bytes(message(falling, T0))
    with pytest.raises(DataError, match=r"falling\.grib2.*negative rain.*-7 mm"):
        GribTotals([path]).total(START + 3 * HOUR)


def test_what_is_no_rain_amount_is_refused(tmp_path):
    chance = write_guidance(tmp_path, T0, grid=SMALL, probability=True)[0]
    # Amounts are read beside probabilities of the same numbers.
    assert len(GribTotals([chance]).starts) == 4
    only = [
        FieldSpec(
            np.full(SMALL_SHAPE, 40.0), 1, 52, grid=SMALL, start=0, length=3, template=9, step=1.0
        )
    ]
    path = tmp_path / "chance.grib2"
    path.write_bytes(message(only, T0))
    with pytest.raises(DataError, match="a probability of rain"):
        GribTotals([path])
    wind = tmp_path / "wind.grib2"
    wind.write_bytes(message([FieldSpec(np.ones(SMALL_SHAPE), 2, 2, grid=SMALL)], T0))
    with pytest.raises(DataError, match="no rain amounts"):
        GribTotals([wind])


def test_two_fields_of_one_interval_and_lone_hours_are_refused(tmp_path):
    files = write_meps_rain(tmp_path, T0, (1, 2), members=1)
    with pytest.raises(DataError, match="no complete window"):
        GribTotals(files)
    with pytest.raises(DataError, match="two fields hold the rain of one interval"):
        GribTotals([*files, *files])


def test_grib_output_reads_back_as_the_netcdf(tmp_path):
    files = write_meps_rain(tmp_path, T0, range(1, 7), members=2)
    result = output(tmp_path, files)
    path = predict("rain-only", files, tmp_path / "hours.grib2")
    seen = 0
    with path.open("rb") as stream:
        while (handle := eccodes.codes_grib_new_from_file(stream)) is not None:
            get = {
                key: eccodes.codes_get(handle, key)
                for key in ("perturbationNumber", "endStep", "lengthOfTimeRange")
            }
            values = eccodes.codes_get_values(handle).reshape(SMALL_SHAPE)
            hour = eccodes.codes_get(handle, "hourOfEndOfOverallTimeInterval") - T0.hour - 1
            eccodes.codes_release(handle)
            truth = result.rain_1h[hour, get["perturbationNumber"]].values
            np.testing.assert_allclose(values, truth, atol=truth.max() * 2**-23 + 1e-9)
            assert get["lengthOfTimeRange"] == 60
            seen += 1
    assert seen == 12
    # And tenkizu reads its own output: hours that add to the same totals.
    again = GribTotals([path])
    assert again.members == (0, 1)
    np.testing.assert_allclose(again.total(START, 1), result.rain_3h[0, 1], rtol=1e-5, atol=1e-5)


def test_missing_cells_stay_missing_in_grib(tmp_path):
    files = write_guidance(tmp_path, T0, grid=SMALL)
    path = predict("rain-only", files, tmp_path / "hours.grb2")
    again = GribTotals([path]).total(START)
    np.testing.assert_array_equal(np.isnan(again), ~sea_mask(SMALL))


def test_a_picture_of_the_heaviest_window(tmp_path):
    files = write_meps_rain(tmp_path, T0, range(1, 7), members=2)
    predict("rain-only", files, tmp_path / "h.nc", picture=tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_options_of_netcdf_and_mixed_inputs_are_refused(tmp_path):
    from tenkizu.rain.hourly import SourceOptions

    files = write_meps_rain(tmp_path, T0, range(1, 4), members=1)
    with pytest.raises(ConfigError, match="GRIB2 says which variable"):
        predict("rain-only", files, tmp_path / "h.nc", SourceOptions(units="mm"))
    with pytest.raises(ConfigError, match="shares"):
        predict("rain-only", files, tmp_path / "h.grib2", share=True)
    made = predict("rain-only", files, tmp_path / "h.nc")
    with pytest.raises(ConfigError, match="several files"):
        predict("rain-only", [made, *files], tmp_path / "both.nc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no GRIB2 file in the folder"):
        predict("rain-only", tmp_path / "empty", tmp_path / "h2.nc")


SMALL_SHAPE = (SMALL.nj, SMALL.ni)

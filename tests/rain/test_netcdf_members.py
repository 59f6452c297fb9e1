"""Ensemble members as a dimension of NetCDF rain."""

import numpy as np
import pytest
import xarray as xr
from rain_files import IMERG, MM, all_amounts, dataset, fails

from tenkizu.core.errors import DataError
from tenkizu.rain import predict
from tenkizu.rain.evaluation import evaluate
from tenkizu.rain.hourly import open_rain, read_window, window_starts

FACTORS = (1.0, 0.5, 2.0)


def ensemble(plain, factors=FACTORS, dimension="number", numbers=(0, 5, 7), **attrs):
    """Scaled copies of rain, the members after time as most files have them."""
    name = next(iter(plain.data_vars))
    rain = xr.concat([plain[name] * one for one in factors], dimension)
    rain = rain.transpose("time", dimension, ...).assign_attrs(plain[name].attrs)
    if numbers is not None:
        rain = rain.assign_coords({dimension: (dimension, list(numbers), attrs)})
    return rain.to_dataset(name=name)


def amounts(series, member):
    return np.stack([series.amounts(i, member) for i in range(len(series.ends))])


@pytest.mark.parametrize(
    ("dimension", "attrs"),
    [
        ("number", {}),
        ("member", {}),
        ("ensemble", {}),
        ("realization", {}),
        ("m", {"standard_name": "realization"}),
    ],
)
def test_members_are_found_by_name_or_standard_name(saved, dimension, attrs):
    path = saved(ensemble(dataset(), dimension=dimension, **attrs))
    with open_rain(path, ensemble=True) as series:
        assert series.members == (0, 5, 7)
        for member, factor in enumerate(FACTORS):
            np.testing.assert_allclose(amounts(series, member), MM * factor, rtol=1e-6)


@pytest.mark.parametrize(
    "chunks", [(1, 1, 3, 4), (24, 3, 3, 4), (5, 2, 3, 4), None], ids=["1", "all", "some", "none"]
)
@pytest.mark.parametrize("order", [("time", "number"), ("number", "time")])
def test_any_order_and_any_chunks_give_the_same(saved, chunks, order):
    ds = ensemble(dataset()).transpose(*order, "lat", "lon").isel(lat=slice(None, None, -1))
    lengths = dict(zip(("time", "number", "lat", "lon"), chunks or (), strict=False))
    encoding = {"rain": {"chunksizes": tuple(lengths[d] for d in ds.rain.dims)}} if chunks else None
    with open_rain(saved(ds, encoding), ensemble=True) as series:
        for start in window_starts(series):
            first = int((start - series.ends[0]) / np.timedelta64(60, "m")) + 1
            for member, factor in enumerate(FACTORS):
                window = read_window(series, start, member)
                expected = MM[first : first + 3] * factor
                np.testing.assert_allclose(window.hours, expected, rtol=1e-6)


def test_members_without_numbers_count_from_0(saved):
    with open_rain(saved(ensemble(dataset(), numbers=None)), ensemble=True) as series:
        assert series.members == (0, 1, 2)
    names = ensemble(dataset(), numbers=["control", "first", "second"])
    with open_rain(saved(names), ensemble=True) as series:
        assert series.members == (0, 1, 2)


def test_members_that_cannot_be_told_apart_are_refused(saved):
    for numbers in ((1, 1, 2), (0.5, 1.0, 2.0)):
        path = saved(ensemble(dataset(), numbers=numbers))
        with pytest.raises(DataError, match="without a number of their own"):
            open_rain(path, ensemble=True)


def test_other_dimensions_stay_refused_and_single_members_are_dropped(saved):
    path = saved(dataset().expand_dims(level=[850, 500]))
    with pytest.raises(DataError, match="ncks -d level,0"):
        open_rain(path, ensemble=True)
    single = saved(dataset().expand_dims(number=[3]))
    with open_rain(single, ensemble=True) as series:
        assert series.members == ()
    np.testing.assert_allclose(all_amounts(single), MM, rtol=1e-6)
    fails(saved(ensemble(dataset())), "number = 3", "ncks -d number,0")


def test_impossible_rain_is_named_with_its_member(saved):
    ds = ensemble(dataset())
    ds["rain"][7, 1, 2, 1] = -5.0
    with (
        open_rain(saved(ds), ensemble=True) as series,
        pytest.raises(DataError, match=r"-5 mm at 2020-06-01 08:00 UTC, member 5, lat 39"),
    ):
        amounts(series, 1)


@pytest.fixture(scope="module")
def day():
    with xr.open_dataset(IMERG, engine="h5netcdf") as source:
        return source.isel(time=slice(3, 12), lat=slice(40, 80), lon=slice(0, 48)).load()


def test_each_member_is_split_as_if_it_were_alone(day, saved, tmp_path):
    output, picture = tmp_path / "members" / "hours.nc", tmp_path / "map.png"
    output.parent.mkdir()
    predict("rain-only", saved(ensemble(day)), output, share=True, picture=picture)
    with xr.open_dataset(output, engine="h5netcdf") as opened:
        result = opened.load()
    assert result.rain_1h.dims == ("time", "member", "lat", "lon")
    assert list(result.member.values) == [0, 5, 7]
    assert picture.exists()
    for place, factor in enumerate(FACTORS):
        alone = tmp_path / "members" / f"{place}.nc"
        predict("rain-only", saved(day.map(lambda a, f=factor: a * f, keep_attrs=True)), alone)
        with xr.open_dataset(alone, engine="h5netcdf") as one:
            np.testing.assert_array_equal(result.rain_1h[:, place], one.rain_1h)
            np.testing.assert_array_equal(result.rain_3h[:, place], one.rain_3h)


def test_scores_are_of_one_forecast(day, saved, tmp_path):
    with pytest.raises(DataError, match="ncks -d number,0"):
        evaluate("rain-only", saved(ensemble(day)), tmp_path / "report")

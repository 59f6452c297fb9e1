"""Grids, the shipped samples, and the messages of expected errors."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tenkizu
from tenkizu.core.errors import (
    CheckFailed,
    ConfigError,
    DataError,
    DownloadError,
    TenkizuError,
    TrainingError,
)
from tenkizu.core.grid import Grid
from tenkizu.core.samples import input_path, samples_folder, shipped_configs


def latlon(y, x, **names):
    return Grid("latlon", np.asarray(y, float), np.asarray(x, float), **names)


JAPAN = latlon(46.95 - 0.05 * np.arange(480), 120 + 0.0625 * np.arange(480))


def great_circle_km(lat1, lon1, lat2, lon2):
    """Distance on a sphere of 6371 km by the haversine formula."""
    lat1, lon1, lat2, lon2 = np.deg2rad([lat1, lon1, lat2, lon2])
    half = np.sin((lat2 - lat1) / 2) ** 2
    half += np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371 * np.arcsin(np.sqrt(half))


# Spacing


def test_one_degree_by_hand():
    dy, dx = latlon([61, 60, 59], [0, 1]).spacing_km
    assert dy == pytest.approx(111.19, abs=0.005)  # 2 pi 6371 / 360
    assert dx == pytest.approx(111.19 / 2, abs=0.005)  # cos 60 degrees = 1/2
    assert latlon([1, 0, -1], [0, 1]).spacing_km[1] == pytest.approx(111.19, abs=0.005)


@settings(deadline=None)
@given(
    north=st.floats(-80, 80),
    west=st.floats(-180, 180),
    step=st.floats(0.01, 0.5),
    rows=st.integers(2, 9),
)
def test_spacing_is_the_distance_between_neighbours(north, west, step, rows):
    grid = latlon(north - step * np.arange(rows), west + step * np.arange(5))
    dy, dx = grid.spacing_km
    y, x = grid.y, grid.x
    assert dy == pytest.approx(great_circle_km(y[0], x[0], y[1], x[0]), rel=1e-4)
    middle = y.mean()
    assert dx == pytest.approx(great_circle_km(middle, x[0], middle, x[1]), rel=1e-3)


def test_projected_axes_in_m_and_in_km_are_equally_far_apart():
    y, x = np.array([900.0, 898.0, 896.0]), np.array([0.0, 1.0, 2.0])
    in_km = Grid("projected", y, x, "y", "x", "km")
    in_m = Grid("projected", 1000 * y, 1000 * x, "y", "x", "m")
    assert in_km.spacing_km == pytest.approx((2.0, 1.0))
    assert in_m.spacing_km == pytest.approx((2.0, 1.0))


@pytest.mark.parametrize(
    "grid",
    [
        Grid("index", np.arange(5.0), np.arange(4.0), "row", "column", "1"),
        latlon([35.0], [135.0, 136.0]),
        latlon([35.0, 34.0], [135.0]),
    ],
    ids=["no coordinates", "one row", "one column"],
)
def test_spacing_is_unknown_without_two_neighbours(grid):
    assert grid.spacing_km is None


# Identity


AXIS = st.lists(st.floats(-180, 180), min_size=1, max_size=6).map(np.array)


@settings(deadline=None)
@given(y=AXIS, x=AXIS, kind=st.sampled_from(["latlon", "projected", "index"]))
def test_grid_survives_json_exactly(y, x, kind):
    grid = Grid(kind, y, x, "緯度", "lon", "km")
    back = Grid.from_json(json.loads(json.dumps(grid.to_json())))
    np.testing.assert_array_equal(back.y, y, strict=True)
    np.testing.assert_array_equal(back.x, x, strict=True)
    assert (back.kind, back.y_name, back.x_name, back.units) == (kind, "緯度", "lon", "km")
    assert back.same_as(grid, tolerance=0)


def test_same_grid_in_single_precision_or_under_other_names_is_the_same():
    rounded = latlon(JAPAN.y.astype(np.float32), JAPAN.x.astype(np.float32), y_name="latitude")
    assert JAPAN.same_as(rounded)
    assert rounded.same_as(JAPAN)
    assert not JAPAN.same_as(rounded, tolerance=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        latlon(JAPAN.y - 0.05, JAPAN.x),
        latlon(JAPAN.y, JAPAN.x + 0.001),
        latlon(JAPAN.y[::-1], JAPAN.x),
        latlon(JAPAN.y[:-1], JAPAN.x),
        latlon(JAPAN.y[:1], JAPAN.x),
        Grid("projected", JAPAN.y, JAPAN.x),
        Grid("latlon", JAPAN.y, JAPAN.x, units="km"),
    ],
    ids=["one row on", "shifted", "upside down", "cropped", "one row", "projected", "units"],
)
def test_other_grids_are_not_the_same(other):
    assert not JAPAN.same_as(other)
    assert not other.same_as(JAPAN)


def test_description_names_size_extent_and_spacing():
    # Columns: 0.0625 x 111.195 km x cos(34.975 degrees) = 5.69 km.
    assert JAPAN.shape == (480, 480)
    assert JAPAN.describe() == (
        "480 x 480, lat 46.95..23, lon 120..149.938 degrees, 5.56 x 5.69 km"
    )
    assert Grid("index", np.arange(3.0), np.arange(2.0)).describe() == (
        "3 x 2 cells without coordinates"
    )
    assert latlon([35.0], [135.0, 136.0]).describe() == "1 x 2, lat 35..35, lon 135..136 degrees"


# Errors


def test_message_names_place_comparison_and_next_step():
    error = DataError(
        "the units are unknown",
        file=Path("rain.nc"),
        variable="pr",
        found="furlongs",
        expected="mm",
        next_step="state them with --units",
    )
    assert str(error) == (
        "rain.nc: pr: the units are unknown; found furlongs, expected mm\n"
        "  next: state them with --units"
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "too dry"),
        ({"found": 0}, "too dry; found 0"),
        ({"found": False, "expected": 0.0}, "too dry; found False, expected 0.0"),
        ({"expected": "rain"}, "too dry; expected rain"),
        ({"variable": "train.lr"}, "train.lr: too dry"),
        ({"next_step": "wait"}, "too dry\n  next: wait"),
    ],
)
def test_message_leaves_out_what_is_not_known(parts, message):
    assert str(TenkizuError("too dry", **parts)) == message


def test_each_kind_of_error_has_its_exit_code():
    codes = {kind: kind("wrong").exit_code for kind in TenkizuError.__subclasses__()}
    expected = {CheckFailed: 1, ConfigError: 2, DataError: 3, DownloadError: 4, TrainingError: 5}
    assert codes == expected


# Samples


def test_every_shipped_sample_is_found_by_name():
    names = [path.name for path in samples_folder().glob("*/*.nc")]
    assert names
    for name in names:
        assert input_path(f"sample:{name}").name == name
        assert input_path(f"sample:{name}").is_relative_to(Path(tenkizu.__file__).parent)


def test_unknown_sample_lists_those_that_exist():
    with pytest.raises(DataError, match=r"sample:rain\.nc: no such sample") as caught:
        input_path("sample:rain.nc")
    for path in samples_folder().glob("*/*.nc"):
        assert path.name in str(caught.value)


def test_sample_name_cannot_leave_the_samples():
    with pytest.raises(DataError, match="no such sample"):
        input_path("sample:../rain/../../cli.py")


def test_paths_are_checked_and_know_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rain.nc").touch()
    assert input_path("~/rain.nc") == input_path(str(tmp_path / "rain.nc")) == tmp_path / "rain.nc"
    for wrong in ("~/other.nc", str(tmp_path)):
        with pytest.raises(DataError, match="no such file"):
            input_path(wrong)


def test_shipped_configurations_are_found_by_name():
    configs = shipped_configs()
    assert configs["rain_demo"].is_file()
    assert all(path.stem == name for name, path in configs.items())

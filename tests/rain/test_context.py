"""What a network sees around a cell: boxes, differences, position, static fields."""

import numpy as np
import pytest
import xarray as xr
from option_networks import EVERYTHING, START, S, batch_of

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.config import V5
from tenkizu.rain.context import box_mean, central_differences, fixed_planes
from tenkizu.rain.dataset import assemble, augment
from tenkizu.rain.model import network_table

PLACES = ["latitude", "longitude", "orography", "land"]
DEGREES = Grid("latlon", np.array([36.0, 35.5, 35.0]), np.array([178.0, 179.0, 180.0, 181.0]))


@pytest.mark.parametrize("side", [5, 15])
def test_box_means_are_those_of_the_known_cells_in_reach(side):
    field = np.random.default_rng(1).gamma(0.5, 2.0, (20, 24)).astype(np.float32)
    field[3:6, 2:20] = np.nan
    found = box_mean(field, side)
    half = side // 2
    for row, column in ((0, 0), (4, 4), (10, 12), (19, 23), (2, 23)):
        box = field[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
        assert found[row, column] == pytest.approx(np.nanmean(box), rel=1e-6)


def test_a_box_without_a_known_cell_reads_as_dry():
    field = np.full((12, 12), np.nan, np.float32)
    field[0, 0] = 2.0
    found = box_mean(field, 5)
    assert (found[:3, :3] == 2).all()
    assert (found[3:] == 0).all()


def test_differences_point_east_and_north():
    rows, columns = np.mgrid[:4, :5].astype(np.float32)
    east, north = central_differences(3 * columns - 2 * rows)
    # Row 0 lies in the north, so what falls with the row number grows northwards.
    assert (east[:, 1:-1] == 3).all()
    assert (north[1:-1] == 2).all()
    assert (east[:, [0, -1]] == 1.5).all()
    missing = 3 * columns
    missing[1, 2] = np.nan
    east, north = central_differences(missing)
    assert np.isfinite(east).all()
    assert east[1, [1, 3]].tolist() == [0, 0]
    assert north[[0, 2], 2].tolist() == [0, 0]


def test_context_is_made_of_the_logarithm_of_the_total():
    rain = np.random.default_rng(2).gamma(0.5, 9.0, (6, 20, 24)).astype(np.float32)
    log_total = np.log1p(rain[S])
    names = ["S_dy", "S", "S_box15", "S_dx", "S_box5"]
    planes = dict(zip(names, assemble(names, rain, START), strict=True))
    np.testing.assert_array_equal(planes["S"], rain[S])
    np.testing.assert_array_equal(planes["S_box15"], box_mean(log_total, 15))
    np.testing.assert_array_equal(planes["S_box5"], box_mean(log_total, 5))
    for name, expected in zip(("S_dx", "S_dy"), central_differences(log_total), strict=True):
        np.testing.assert_array_equal(planes[name], expected)


def test_context_is_scaled_like_the_total_and_places_into_their_range(
    build, tiny_store, static_file
):
    _, net = build(data__context=EVERYTHING, data__static_file=str(static_file))
    assert net.channels[4:] == [
        "S", "P", "P_present", "N", "N_present", "S_box5", "S_box15", "S_dx", "S_dy", *PLACES
    ]  # fmt: skip
    scales = {scale.name: scale for scale in net.normaliser.scales}
    log_s = (scales["S"].mean, scales["S"].std)
    assert (scales["S_box5"].mean, scales["S_box5"].std, scales["S_box5"].transform) == (
        *log_s, "linear"
    )  # fmt: skip
    assert (scales["S_dx"].mean, scales["S_dx"].std) == (0, log_s[1])
    batch = batch_of(tiny_store, net, static_file=static_file)
    scaled = dict(zip(net.channels, net.normaliser(batch["input"]).unbind(1), strict=True))
    grid = Grid.from_json(tiny_store.meta["grid"])
    assert scaled["latitude"][0, :, 0].tolist() == pytest.approx(list(grid.y / 90))
    assert scaled["longitude"][0, 0].tolist() == pytest.approx(list(grid.x / 180))


@pytest.mark.parametrize(
    ("context", "channels"), [("box5", 1), ("box15", 1), ("gradient", 2), ("position", 2)]
)
def test_context_costs_one_patch_of_weights_a_channel(build, context, channels):
    def weights(names):
        net = build(data__context=names)[1]
        return sum(network_table(V5, len(net.channels)).values())

    assert weights(["s", context]) - weights(["s"]) == 2048 * channels


def test_longitudes_lie_between_minus_and_plus_180():
    planes = fixed_planes(["latitude", "longitude"], DEGREES, None)
    assert planes["longitude"][1].tolist() == [178, 179, -180, -179]
    assert planes["latitude"][:, 2].tolist() == [36, 35.5, 35]
    assert fixed_planes(["S", "P"], Grid("index", np.arange(2.0), np.arange(2.0)), None) == {}


@pytest.mark.parametrize(
    "grid",
    [
        Grid("projected", np.arange(3.0)[::-1], np.arange(4.0), "y", "x", "km"),
        Grid("index", np.arange(3.0), np.arange(4.0), units="1"),
    ],
)
def test_position_needs_latitude_and_longitude(grid):
    with pytest.raises(DataError, match="position needs latitude and longitude"):
        fixed_planes(["latitude"], grid, None)


def test_static_fields_are_found_at_the_nodes_of_the_grid(static_file, tiny_store):
    grid = Grid.from_json(tiny_store.meta["grid"])
    planes = fixed_planes(PLACES[2:], grid, static_file)
    # The file has its south row first and begins 0.2 degrees south-west of the grid.
    south, west = grid.y[-1] - 0.2, grid.x[0] - 0.2
    expected = 1000 * (grid.y[:, None] - south) + (grid.x[None, :] - west) - 300
    np.testing.assert_allclose(planes["orography"], expected, rtol=1e-5, atol=1e-2)
    np.testing.assert_array_equal(planes["land"], expected > 0)
    assert 0 < planes["land"].mean() < 1


def test_a_land_mask_is_taken_as_it_is(static_file, tiny_store, tmp_path):
    dataset = xr.open_dataset(static_file).load()
    coast = xr.zeros_like(dataset.hgt) + 0.25
    path = tmp_path / "both.nc"
    dataset.assign(lsm=coast.assign_attrs(standard_name="land_area_fraction", units="1")).to_netcdf(
        path, engine="h5netcdf"
    )
    grid = Grid.from_json(tiny_store.meta["grid"])
    assert (fixed_planes(PLACES, grid, path)["land"] == 0.25).all()


def test_static_fields_of_elsewhere_or_in_other_units_are_refused(
    static_file, tiny_store, tmp_path
):
    with pytest.raises(DataError, match="not on the grid of the rain"):
        fixed_planes(["orography"], DEGREES, static_file)
    with pytest.raises(DataError, match=r"data\.static_file"):
        fixed_planes(["orography"], DEGREES, None)
    grid = Grid.from_json(tiny_store.meta["grid"])
    for attrs, message in (({"units": "feet"}, "unknown units"), ({}, "unknown units")):
        dataset = xr.open_dataset(static_file).load().rename(hgt="orography")
        dataset["orography"].attrs = attrs
        dataset.to_netcdf(tmp_path / "wrong.nc", engine="h5netcdf")
        with pytest.raises(DataError, match=message):
            fixed_planes(["orography"], grid, tmp_path / "wrong.nc")
    dataset.rename(orography="other").to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(DataError, match="no orography"):
        fixed_planes(["orography"], grid, tmp_path / "other.nc")


def test_static_fields_and_their_file_need_each_other(tiny_config):
    for entries in ({"context": ["s", "static"]}, {"static_file": "orography.nc"}):
        with pytest.raises(ValueError, match="need each other"):
            type(tiny_config.data)(**tiny_config.data.model_dump() | entries)


def test_places_move_with_the_rain_in_random_views(tiny_config):
    options = tiny_config.data.model_copy(
        update={"tile": 16, "flips": True, "time_reversal": True, "amount_scale": 3.0}
    )
    cell = np.arange(20 * 24, dtype=np.float32).reshape(20, 24) + 1
    generator = np.random.default_rng(4)
    seen = set()
    for _ in range(20):
        view = augment(np.stack([cell] * 8), options, generator)
        assert view.shape == (8, 16, 16)
        # The rain is scaled, the two planes after it are not.
        np.testing.assert_array_equal(view[6], view[7])
        np.testing.assert_allclose(view[S] / view[6], view[S, 0, 0] / view[6, 0, 0], rtol=1e-5)
        seen.add((view[6, 0, 1] - view[6, 0, 0], view[6, 1, 0] - view[6, 0, 0]))
    assert seen == {(1, 24), (-1, 24), (1, -24), (-1, -24)}


def test_a_model_with_position_asks_for_it(build, tiny_store):
    _, net = build(data__context=["s", "position"])
    rain = np.array(tiny_store.read("rain", 5))
    with pytest.raises(DataError, match=r"latitude.*not given"):
        net.eval().split(rain, START)
    grid = Grid.from_json(tiny_store.meta["grid"])
    hours = net.split(rain, START, fixed_planes(net.channels, grid, None))
    np.testing.assert_allclose(hours.sum(axis=0), rain[S], rtol=1e-5)

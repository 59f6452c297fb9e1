"""Grids with latitudes and longitudes in two dimensions: distances, and coasts on them."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from tenkizu.core import charts
from tenkizu.core.coastline import coast_lines
from tenkizu.core.curvilinear import coast_on, mean_steps, neighbour_km
from tenkizu.core.grid import Grid

RADIUS_KM = 6371.0


def stereographic(lat, lon, towards=140.0):
    """Polar stereographic x and y in km on the sphere, true at the pole; y falls southward."""
    away = 2 * RADIUS_KM * np.tan(np.pi / 4 - np.deg2rad(lat) / 2)
    return away * np.sin(np.deg2rad(lon - towards)), -away * np.cos(np.deg2rad(lon - towards))


def from_stereographic(x, y, towards=140.0):
    """The inverse of `stereographic`, longitudes from -180 to 180."""
    lat = 90.0 - 2 * np.rad2deg(np.arctan(np.hypot(x, y) / 2 / RADIUS_KM))
    return lat, (np.rad2deg(np.arctan2(x, -y)) + towards + 180.0) % 360.0 - 180.0


def cells(x, y, towards=140.0):
    lat, lon = from_stereographic(*np.meshgrid(x, y), towards)
    rows, columns = (np.arange(float(n)) for n in lat.shape)
    return Grid("index", rows, columns, "j", "i", "1", lat, lon, (20.0, 20.0))


JAPAN = cells(np.arange(-1000.0, 1001.0, 20.0), np.arange(-5200.0, -7001.0, -20.0))


def test_distances_on_the_sphere_by_hand():
    lat = np.array([[60.0, 60.0], [61.0, 61.0]])
    lon = np.array([[179.5, -179.5], [179.5, -179.5]])
    rows, columns = neighbour_km(lat, lon)
    np.testing.assert_allclose(rows, [[111.195, 111.195]], atol=1e-3)  # 2 pi 6371 / 360
    assert columns[0, 0] == pytest.approx(111.195 / 2, rel=1e-4)  # cos 60 degrees = 1/2
    northward, eastward = mean_steps(lat, lon)
    assert northward == 1.0
    assert eastward == pytest.approx((np.cos(np.pi / 3) + np.cos(np.deg2rad(61))) / 2)


@pytest.mark.parametrize(
    ("towards", "north"), [(140.0, -5200.0), (179.0, -3600.0)], ids=["Japan", "dateline"]
)
def test_the_coast_lies_where_the_projection_puts_it(towards, north):
    south = north - 1800.0
    grid = cells(np.arange(-1000.0, 1001.0, 20.0), np.arange(north, south - 1.0, -20.0), towards)
    drawn = np.concatenate(coast_on(grid)) * 20.0
    drawn = np.column_stack((drawn[:, 0] - 1000.0, north - drawn[:, 1]))
    vertices = np.concatenate(coast_lines((towards - 30, towards + 30, 15.0, 65.0)))
    x, y = stereographic(vertices[:, 1], vertices[:, 0], towards)
    inside = (abs(x) < 990.0) & (y < north - 10) & (y > south + 10)
    assert inside.sum() > 20
    apart, _ = cKDTree(drawn).query(np.column_stack((x, y))[inside])
    # A hundredth of a cell.
    assert apart.max() < 0.2
    # Little of the world beyond the border.
    assert np.abs(drawn[:, 0]).max() < 1300.0


def test_a_grid_over_the_pole_has_the_coast_of_greenland():
    side = np.arange(-3500.0, 3501.0, 50.0)
    polar = cells(side, -side, towards=0.0)
    drawn = np.concatenate(coast_on(polar)) * 50.0 - 3500.0
    # Cape Morris Jesup, the northern end of Greenland: 83.63 N, 33 W.
    cape = np.array(stereographic(83.63, -33.0, 0.0)) * (1, -1)
    assert np.hypot(*(drawn - cape).T).min() < 30.0


def test_cells_without_a_place_have_no_coast_and_harm_no_other():
    lat, lon = JAPAN.lat.copy(), JAPAN.lon.copy()
    lat[:, :30], lon[:, :30] = np.nan, np.nan
    half = Grid("index", JAPAN.y, JAPAN.x, "j", "i", "1", lat, lon, JAPAN.cell_km)
    drawn = np.concatenate(coast_on(half))
    whole = np.concatenate(coast_on(JAPAN))
    assert drawn[:, 0].min() > 25
    assert np.sum(drawn[:, 0] > 40) == np.sum(whole[:, 0] > 40)


def test_one_place_for_all_or_one_row_draws_nothing():
    same = Grid("index", np.arange(3.0), np.arange(4.0), lat=np.ones((3, 4)), lon=np.ones((3, 4)))
    row = Grid("index", np.arange(1.0), np.arange(4.0), lat=np.ones((1, 4)), lon=np.ones((1, 4)))
    assert coast_on(same) == coast_on(row) == []


def test_maps_in_cells_and_in_km_show_the_same_coast():
    metres = Grid(
        "projected",
        np.arange(-5200e3, -7001e3, -20e3),
        np.arange(-1000e3, 1001e3, 20e3),
        "y",
        "x",
        "m",
        JAPAN.lat,
        JAPAN.lon,
    )
    axes = charts.new_figure(800, 400).subplots(1, 2)
    drawn = []
    for ax, grid in zip(axes, (JAPAN, metres), strict=True):
        charts.map_axes(ax, grid)
        limits = ax.axis()
        lines = charts.draw_coastlines(ax, grid)
        drawn.append(np.concatenate([path.vertices for path in lines.get_paths()]))
        assert ax.axis() == limits
    in_km = np.column_stack((drawn[0][:, 0] * 20 - 1000, -5200 - drawn[0][:, 1] * 20))
    np.testing.assert_allclose(in_km, drawn[1], atol=1e-6)


def test_cells_that_are_not_square_are_drawn_so():
    flat = Grid("index", np.arange(10.0), np.arange(10.0), units="1", cell_km=(6.0, 9.0))
    assert charts.map_height_over_width(flat) == pytest.approx(2 / 3)


def test_the_spacing_outlives_json_and_places_tell_grids_apart():
    back = Grid.from_json(JAPAN.to_json())
    assert back.spacing_km == JAPAN.spacing_km == (20.0, 20.0)
    assert back.same_as(JAPAN)
    moved = Grid("index", JAPAN.y, JAPAN.x, "j", "i", "1", JAPAN.lat + 1, JAPAN.lon, (20.0, 20.0))
    turned = Grid(
        "index", JAPAN.y, JAPAN.x, "j", "i", "1", JAPAN.lat, JAPAN.lon + 360, (20.0, 20.0)
    )
    assert not moved.same_as(JAPAN)
    assert turned.same_as(JAPAN)
    assert "20 x 20 km" in JAPAN.describe()
    assert "20 x 20 km" in back.describe()

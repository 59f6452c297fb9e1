import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.image import imread

from tenkizu.core import charts
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid


def latlon(north, south, west, east, step=0.5):
    return Grid("latlon", np.arange(north, south, -step), np.arange(west, east, step))


JAPAN = latlon(47.6, 22.4, 120.0, 150.0)
BRAZIL = latlon(-21.65, -34.4, -62.45, -43.3, 0.1)


@pytest.fixture
def ax():
    return charts.new_figure(400, 400).subplots()


def coast(ax, grid):
    collection = charts.draw_coastlines(ax, grid)
    return [] if collection is None else [path.vertices for path in collection.get_paths()]


@pytest.mark.parametrize(
    ("cape", "latitude", "longitude"),
    [("Soya", 45.52, 141.94), ("Inubo", 35.71, 140.87), ("Sata", 30.99, 130.66)],
)
def test_coastline_passes_the_capes_of_japan(ax, cape, latitude, longitude):
    vertices = np.concatenate(coast(ax, JAPAN))
    distance = np.hypot(vertices[:, 0] - longitude, vertices[:, 1] - latitude)
    assert distance.min() < 0.15


def test_open_pacific_has_no_coast(ax):
    assert charts.draw_coastlines(ax, latlon(40, 30, -150, -140)) is None


def test_only_the_grids_surroundings_are_drawn(ax):
    # Outline steps of the 1:50m file are far shorter than 2 degrees outside the Antarctic.
    vertices = np.concatenate(coast(ax, BRAZIL))
    assert vertices[:, 0].min() > -64.5
    assert vertices[:, 0].max() < -41.3
    assert vertices[:, 1].min() > -36.4
    assert vertices[:, 1].max() < -19.6


def test_longitudes_from_0_to_360_draw_the_same_coast(ax):
    turned = Grid("latlon", BRAZIL.y, BRAZIL.x + 360.0)
    here, there = coast(ax, BRAZIL), coast(ax, turned)
    assert len(here) == len(there) > 0
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(b - a, np.broadcast_to([360.0, 0.0], a.shape), atol=1e-9)


@pytest.mark.parametrize(
    "grid", [latlon(-10, -25, 170, 192), latlon(89, -90, 0, 360, 2), latlon(89, -90, -180, 180, 2)]
)
def test_no_line_runs_across_or_along_the_seam_or_the_pole(ax, grid):
    steps = [np.stack([line[:-1], line[1:]], axis=1) for line in coast(ax, grid)]
    start, end = np.concatenate(steps).transpose(1, 0, 2)
    assert np.abs(end[:, 0] - start[:, 0]).max() < 20.0
    on_seam = (np.abs(start[:, 0]) % 360 == 180) & (np.abs(end[:, 0]) % 360 == 180)
    assert not on_seam.any()
    assert not ((start[:, 1] < -89.9) & (end[:, 1] < -89.9)).any()


def test_a_grid_across_the_seam_has_coast_on_both_sides(ax):
    vertices = np.concatenate(coast(ax, latlon(-10, -25, 170, 192)))
    assert (vertices[:, 0] < 180).any()
    assert (vertices[:, 0] > 180).any()


@pytest.mark.parametrize("kind", ["projected", "index"])
def test_grids_without_degrees_have_no_coastline(ax, kind):
    grid = Grid(kind, np.arange(9.0)[::-1], np.arange(9.0), "y", "x", "km")
    assert charts.draw_coastlines(ax, grid) is None


@pytest.mark.parametrize("x", [BRAZIL.x, BRAZIL.x + 360.0])
def test_map_axes_label_degrees_and_keep_shapes_at_the_middle_latitude(ax, x):
    charts.map_axes(ax, Grid("latlon", BRAZIL.y, x))
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["60°W", "55°W", "50°W", "45°W"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["30°S", "25°S"]
    assert ax.get_aspect() == pytest.approx(1 / np.cos(np.deg2rad(28.0)), rel=1e-3)
    assert ax.get_ylim() == pytest.approx((-34.4, -21.6))


def test_the_equator_and_the_two_seams_have_no_hemisphere(ax):
    charts.map_axes(ax, latlon(89, -90, -30, 330, 2))
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0°", "90°E", "180°", "90°W"]
    assert "0°" in [t.get_text() for t in ax.get_yticklabels()]


def test_projected_axes_are_in_km_also_when_the_grid_is_in_metres(ax):
    metres = Grid("projected", np.arange(50)[::-1] * 2e3, np.arange(80) * 2e3, "y", "x", "m")
    charts.map_axes(ax, metres)
    assert ax.get_xlim() == pytest.approx((-1.0, 159.0))
    assert ax.get_aspect() == 1.0
    assert ax.get_xlabel() == "km"


REGULAR = Grid("projected", np.array([3.0, 2.0, 1.0]), np.array([0.0, 1.0, 2.0]), units="km")
STRETCHED = Grid("projected", np.array([9.0, 3.0, 1.0]), np.array([0.0, 1.0, 4.0]), units="km")


@pytest.mark.parametrize("norm", [LogNorm(0.1, 10), Normalize(0, 10)])
@pytest.mark.parametrize("grid", [REGULAR, STRETCHED])
def test_each_cell_has_the_colour_of_its_value_with_the_first_row_in_the_north(ax, grid, norm):
    field = np.array([[10.0, np.nan, -1.0], [0.5, 2.0, 5.0], [-1.0, 20.0, 1.0]])
    colours = charts.rain_colormap()
    charts.map_axes(ax, grid)
    charts.draw_field(ax, grid, field, norm, colours)
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())[::-1, :, :3] / 255.0
    for row, y in enumerate(grid.y):
        for column, x in enumerate(grid.x):
            value = field[row, column]
            if np.isnan(value):
                expected = to_rgb(charts.MISSING_COLOUR)
            elif value < 0:
                expected = (1.0, 1.0, 1.0)
            else:
                expected = colours(float(norm(value)))[:3]
            across, up = ax.transData.transform((x, y)).astype(int)
            np.testing.assert_allclose(pixels[up, across], expected, atol=0.01)


def test_zero_is_dry_and_not_missing_on_a_logarithmic_scale(ax):
    charts.map_axes(ax, REGULAR)
    charts.draw_field(ax, REGULAR, np.zeros((3, 3)), LogNorm(0.1, 10), charts.rain_colormap())
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())[::-1, :, :3]
    across, up = ax.transData.transform((1.0, 2.0)).astype(int)
    assert pixels[up, across].tolist() == [255, 255, 255]


def test_a_field_of_another_shape_is_refused(ax):
    with pytest.raises(DataError, match=r"found shape \(2, 3\), expected shape \(3, 3\)"):
        charts.draw_field(ax, REGULAR, np.zeros((2, 3)), Normalize(0, 1), charts.rain_colormap())


def test_rain_colours_darken_evenly_and_none_is_grey():
    rgb = charts.rain_colormap()(np.linspace(0, 1, 64))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    steps = -np.diff(lightness)
    assert steps.min() > 0.4
    assert steps.max() < 2.0
    assert (rgb.max(axis=1) - rgb.min(axis=1)).min() > 0.1


def test_save_figure_replaces_the_file_only_when_complete(tmp_path, monkeypatch):
    figure = charts.new_figure(301, 200)
    path = charts.save_figure(figure, tmp_path / "new" / "figure.png")
    assert imread(path).shape[:2] == (200, 302)
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]
    before = path.read_bytes()

    def fail_half_way(part, **_):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail_half_way)
    with pytest.raises(OSError, match="disk full"):
        charts.save_figure(figure, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]


def test_threads_draw_the_same_picture_as_one(tmp_path):
    def draw(name):
        with charts.style():
            figure = charts.new_figure(400, 300)
            ax = figure.subplots()
            charts.map_axes(ax, JAPAN)
            charts.draw_coastlines(ax, JAPAN)
            return charts.save_figure(figure, tmp_path / name).read_bytes()

    alone = draw("alone.png")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(draw, [f"{i}.png" for i in range(6)])) == {alone}


def test_drawing_needs_neither_pyplot_nor_torch():
    code = (
        "import sys, tenkizu.rain.plots; "
        "sys.exit(any(m in sys.modules for m in ('matplotlib.pyplot', 'torch', 'cartopy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def colour_at(ax, longitude, latitude):
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())[::-1, :, :3] / 255.0
    across, up = ax.transData.transform((longitude, latitude)).astype(int)
    return pixels[up, across]


@pytest.mark.parametrize(
    ("grid", "land", "sea"),
    [
        (JAPAN, [(138.0, 36.0), (143.0, 43.2)], [(135.0, 40.0), (145.0, 30.0)]),
        # A ring that steps over the 180-degree seam must not be closed across the Atlantic.
        (latlon(70, 30, -70, 10), [(-45.0, 65.0), (-3.0, 40.0)], [(-30.0, 60.0), (-15.0, 68.0)]),
        (latlon(72, 60, 170, 200), [(178.0, 66.5), (188.0, 66.0)], [(180.0, 62.0), (180.0, 70.0)]),
        (latlon(-65, -85, -60, 60), [(0.0, -80.0)], [(0.0, -66.0)]),
        (latlon(40, 30, -150, -140), [], [(-145.0, 35.0)]),
    ],
)
def test_land_is_tinted_and_the_sea_is_not(ax, grid, land, sea):
    charts.map_axes(ax, grid)
    charts.draw_land(ax, grid)
    for place in land:
        np.testing.assert_allclose(colour_at(ax, *place), to_rgb(charts.LAND_COLOUR), atol=0.01)
    for place in sea:
        np.testing.assert_allclose(colour_at(ax, *place), 1.0, atol=0.01)

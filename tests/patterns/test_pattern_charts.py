import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from tenkizu.core import charts
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.samples import input_path
from tenkizu.patterns.figures.pressure_centres import DISTANCE_KM, pressure_centres, refine, regrid
from tenkizu.patterns.figures.weather_chart import (
    CENTRE_COLOURS,
    draw_charts,
    draw_weather_map,
    shading_scale,
)

JAPAN = Grid("latlon", np.linspace(55.0, 15.0, 161), np.linspace(115.0, 155.0, 161))


def hills(*centres, level=1012.0, grid=JAPAN):
    """Pressure in hPa with round highs and lows: (latitude, longitude, height, radius in km)."""
    field = np.full(grid.shape, level)
    for lat, lon, height, radius in centres:
        dy = (grid.y[:, None] - lat) * 111.2
        dx = (grid.x[None] - lon) * 111.2 * np.cos(np.deg2rad(lat))
        field += height * np.exp(-(dx**2 + dy**2) / (2 * radius**2))
    return field


@pytest.fixture(scope="module")
def atlantic():
    """Real maps with their grid, and the day of the month as index."""
    path = input_path("sample:ncep_msl_natlantic_2p5_daily_2001_2010.nc")
    with xr.open_dataset(path) as data:
        january = data.msl.sel(time=slice("2009-01-01", "2009-01-31")).values[:, ::-1]
        grid = Grid("latlon", data.lat.values[::-1].astype(float), data.lon.values.astype(float))
    return january, grid


def texts(ax, gid):
    return [t for t in ax.findobj(lambda a: a.get_gid() == gid) if t.get_visible()]


# Highs and lows.


def test_a_high_and_two_lows_are_found_where_they_are():
    field = hills((45, 140, -30, 500), (30, 128, -12, 400), (28, 146, 14, 700))
    found = {(c.kind, round(c.lat), round(c.lon)): c.hpa for c in pressure_centres(field, JAPAN)}
    assert set(found) == {("L", 45, 140), ("L", 30, 128), ("H", 28, 146)}
    for (_, lat, lon), hpa in found.items():
        near = field[abs(JAPAN.y - lat) < 1.5][:, abs(JAPAN.x - lon) < 1.5]
        assert near.min() <= hpa <= near.max()
    assert found["L", 45, 140] == pytest.approx(field.min())


def test_the_furthest_from_the_mean_comes_first_and_the_map_decides_alone():
    field = hills((45, 140, -30, 500), (28, 130, 10, 600))
    first, second = pressure_centres(field, JAPAN)
    assert (first.kind, second.kind) == ("L", "H")
    assert pressure_centres(field.copy(), JAPAN) == [first, second]


def test_turning_the_sign_turns_highs_into_lows():
    field = hills((45, 140, -30, 500), (28, 130, 10, 600), level=0.0)
    places = {(c.kind, c.lat, c.lon) for c in pressure_centres(field, JAPAN)}
    turned = {(c.kind, c.lat, c.lon) for c in pressure_centres(-field, JAPAN)}
    assert {({"H": "L", "L": "H"}[kind], *place) for kind, *place in turned} == places


@pytest.mark.parametrize("depth", [0.0, -0.2])
def test_what_no_isobar_closes_around_is_no_low(depth):
    assert pressure_centres(hills((35, 135, depth, 600)), JAPAN) == []


def test_a_slope_has_no_centre():
    slope = np.broadcast_to(1000.0 + JAPAN.y[:, None], JAPAN.shape)
    assert pressure_centres(slope, JAPAN) == []


def test_two_lows_in_one_basin_are_marked_once():
    # 300 km apart, with less than 1 hPa between them.
    close = hills((35, 135, -20, 300), (35, 138.3, -20, 300))
    assert [c.kind for c in pressure_centres(close, JAPAN)] == ["L"]
    # 1100 km apart they are twin lows.
    twin = hills((35, 131, -20, 300), (35, 143, -20, 300))
    assert [c.kind for c in pressure_centres(twin, JAPAN)] == ["L", "L"]


def test_what_reaches_over_the_border_is_not_marked():
    assert not [c for c in pressure_centres(hills((55.5, 135, -30, 500)), JAPAN) if c.kind == "L"]


def test_centres_of_real_maps_keep_their_distance_and_stay_off_the_border(atlantic):
    maps, grid = atlantic
    for map_ in maps[::3]:
        hpa, fine = refine(map_ / 100.0, grid)
        centres = pressure_centres(hpa, fine)
        assert 1 <= len(centres) <= 12
        for i, a in enumerate(centres):
            assert grid.y[-1] + 0.5 < a.lat < grid.y[0] - 0.5
            assert grid.x[0] + 0.5 < a.lon < grid.x[-1] - 0.5
            assert hpa.min() <= a.hpa <= hpa.max()
            for b in centres[:i]:
                across = (a.lon - b.lon) * np.cos(np.deg2rad((a.lat + b.lat) / 2))
                assert 111.2 * np.hypot(a.lat - b.lat, across) >= DISTANCE_KM


def test_the_deep_low_of_january_2009_is_the_first(atlantic):
    # 24 January 2009, the day of storm Klaus: a low of 960 hPa south-west of Iceland.
    maps, grid = atlantic
    hpa, fine = refine(maps[23] / 100.0, grid)
    deepest = pressure_centres(hpa, fine)[0]
    assert deepest.kind == "L"
    assert deepest.hpa == pytest.approx(maps[23].min() / 100.0, abs=2.0)
    assert (deepest.lat, deepest.lon) == (pytest.approx(63, abs=2), pytest.approx(-24, abs=3))


# The fine field.


def test_the_fine_field_passes_through_the_values_and_is_cubic_between(atlantic):
    maps, grid = atlantic
    fine, axes = refine(maps[0], grid)
    assert fine.shape == (161, 321)
    np.testing.assert_allclose(fine[::10, ::10], maps[0], rtol=1e-12)
    cubic = 1e5 + 3.0 * grid.y[:, None] ** 3 - grid.x[None] ** 2 * grid.y[:, None]
    expected = 1e5 + 3.0 * axes.y[:, None] ** 3 - axes.x[None] ** 2 * axes.y[:, None]
    np.testing.assert_allclose(refine(cubic, grid)[0], expected, rtol=1e-9)


def test_a_fine_map_stays_as_it_is_and_irregular_rows_are_kept():
    field = hills((35, 135, -20, 300))
    same, grid = refine(field, JAPAN)
    assert grid.same_as(JAPAN)
    np.testing.assert_array_equal(same, field)
    gaussian = Grid("latlon", np.array([52.1, 46.5, 41.0, 35.4, 29.9]), JAPAN.x[::20])
    fine = refine(np.zeros(gaussian.shape), gaussian)[1]
    assert set(gaussian.y) <= set(np.round(fine.y, 9))


def test_a_map_comes_to_the_points_of_a_coarser_grid():
    coarse = Grid("latlon", JAPAN.y[1:-1:4], JAPAN.x[1:-1:4])
    found = regrid(hills((35, 135, -20, 900)), JAPAN, coarse)
    np.testing.assert_allclose(found, hills((35, 135, -20, 900), grid=coarse), atol=1e-3)


def test_maps_with_holes_or_of_another_grid_are_refused():
    field = hills()
    with pytest.raises(DataError, match=r"found shape \(160, 161\), 0 missing"):
        refine(field[1:], JAPAN)
    field[3, 4] = np.nan
    with pytest.raises(DataError, match="1 missing values"):
        refine(field, JAPAN)


# The chart.


def test_isobars_are_every_4_hpa_and_thicker_every_20(atlantic):
    maps, grid = atlantic
    ax = charts.new_figure(800, 600).subplots()
    draw_weather_map(ax, maps[23], grid)
    (isobars,) = (c for c in ax.collections if hasattr(c, "levels"))
    levels = np.asarray(isobars.levels)
    assert (np.diff(levels) == 4).all()
    assert (levels % 4 == 0).all()
    assert levels.min() <= maps[23].min() / 100 <= levels.min() + 4
    widths = np.asarray(isobars.get_linewidths())
    assert set(widths[levels % 20 == 0]) == {1.6}
    assert set(widths[levels % 20 != 0]) == {0.75}
    assert any(isinstance(c, LineCollection) for c in ax.collections), "coastlines"


def test_highs_and_lows_carry_their_letter_and_pressure(atlantic):
    maps, grid = atlantic
    ax = charts.new_figure(800, 600).subplots()
    centres = draw_weather_map(ax, maps[23], grid)
    written = [t.get_text() for t in texts(ax, "centre")]
    assert written == [s for c in centres for s in (c.kind, f"{c.hpa:.0f}")]
    colours = {t.get_text(): t.get_color() for t in texts(ax, "centre") if t.get_text() in "HL"}
    assert colours["L"] == CENTRE_COLOURS["L"]


def test_labels_stay_in_the_frame_and_touch_nothing(figures, atlantic, tmp_path):
    maps, grid = atlantic
    draw_charts(tmp_path / "charts.png", maps[[0, 23, 30]], grid, ["a", "b", "c"])
    for ax in figures[0].axes:
        labels, centres = texts(ax, "isobar label"), texts(ax, "centre")
        assert len(labels) >= 5
        assert all(int(t.get_text()) % 4 == 0 for t in labels)
        frame = ax.get_window_extent()
        boxes = [t.get_window_extent() for t in labels]
        for i, box in enumerate(boxes):
            assert frame.contains(box.x0, box.y0)
            assert frame.contains(box.x1, box.y1)
            others = boxes[:i] + [t.get_window_extent() for t in centres]
            assert not any(box.overlaps(other) for other in others)
        for box in (t.get_window_extent() for t in centres):
            assert frame.contains(box.x0, box.y0)
            assert frame.contains(box.x1, box.y1)


def test_titles_name_the_day_in_bold_and_the_labels_below(figures, atlantic, tmp_path):
    maps, grid = atlantic
    title = "2009-01-24\nobserved C+W   predicted W"
    path = draw_charts(tmp_path / "chart.png", maps[23:24], grid, [title])
    (ax,) = figures[0].axes
    assert ax.get_title(loc="left") == "2009-01-24"
    assert "observed C+W   predicted W" in [t.get_text() for t in ax.texts]
    assert imread(path).shape[1] < 900, "a single chart is not as wide as a row"


def test_the_same_maps_give_the_same_file(atlantic, tmp_path):
    maps, grid = atlantic
    paths = [draw_charts(tmp_path / f"{i}.png", maps[:2], grid, ["a", "b"]) for i in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_shading_is_symmetric_shared_and_named(figures, atlantic, tmp_path):
    maps, grid = atlantic
    shading = np.zeros((2, *grid.shape))
    shading[0, 8, 10], shading[1, 8, 20] = 2.0, -4.0
    titles = ["a", "b"]
    draw_charts(tmp_path / "c.png", maps[:2], grid, titles, shading, shading_label="share")
    *panels, bar = figures[0].axes
    norms = {(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in panels}
    assert len(norms) == 1
    ((low, high),) = norms
    assert low == -high
    assert bar.get_xlabel() == "share"


def test_shading_is_clear_at_zero_and_orange_above():
    norm, colours = shading_scale(np.array([[-1.0, 0.0, 1.0]]))
    assert colours(norm(0.0))[3] < 0.05
    red, _, blue, alpha = colours(norm(1.0))
    assert alpha == 1.0
    assert red > 2 * blue
    norm, colours = shading_scale(np.array([[0.0, 1.0]]))
    assert norm.vmin == 0.0
    assert colours(norm(0.0))[3] < 0.05


def test_a_map_of_nan_leaves_its_place_empty_and_small_charts_have_no_labels(
    figures, atlantic, tmp_path
):
    maps, grid = atlantic
    row = maps[:6].copy()
    row[4] = np.nan
    draw_charts(tmp_path / "row.png", row, grid, list("abcdef"), columns=6)
    axes = figures[0].axes
    assert [ax.axison for ax in axes] == [True] * 4 + [False, True]
    assert not any(texts(ax, "isobar label") for ax in axes)


def test_the_land_of_japan_shows_under_the_isobars(figures, tmp_path):
    path = draw_charts(tmp_path / "flat.png", hills()[None] * 100.0, JAPAN, ["flat"])
    pixels = imread(path)[::-1, :, :3]
    (ax,) = figures[0].axes
    across, up = ax.transData.transform((112.5 + 25.5, 36.2)).astype(int)
    np.testing.assert_allclose(pixels[up, across], to_rgb(charts.LAND_COLOUR), atol=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, t: (m / 100.0, t), r"not sea level pressure in Pa; found values from 9"),
        (lambda m, t: (m, t[:1]), r"found shape \(2, 17, 33\), 1 titles"),
        (lambda m, t: (m[:, 1:], t), r"expected shape \(k, 17, 33\)"),
        (lambda m, t: (m[:0], []), r"found shape \(0, 17, 33\), 0 titles"),
    ],
)
def test_wrong_maps_are_refused_by_what_is_wrong(atlantic, tmp_path, change, message):
    maps, grid = atlantic
    maps, titles = change(maps[:2], ["a", "b"])
    with pytest.raises(DataError, match=message):
        draw_charts(tmp_path / "c.png", maps, grid, titles)


def test_shading_of_another_size_is_refused(atlantic, tmp_path):
    maps, grid = atlantic
    with pytest.raises(DataError, match="shading does not fit"):
        draw_charts(tmp_path / "c.png", maps[:2], grid, ["a", "b"], maps[:1])

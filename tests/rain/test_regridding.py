"""Rain on the training's spacing: only when asked for, conservatively, and written down."""

import json
from types import SimpleNamespace

import h5netcdf
import numpy as np
import pytest
import xarray as xr
from option_networks import export_network

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.rain import evaluate, evaluation, predict
from tenkizu.rain.cases import Cases, on_chosen_grid
from tenkizu.rain.model import RainModel
from tenkizu.rain.msm.grib import fields_of
from tenkizu.rain.regridding import choose_grid, conservative

# Rows at unequal distances, as those of a Gaussian grid; 83 N is near where rows lose their area.
ODD_ROWS = Grid("latlon", np.array([83.0, 71.5, 60.0, 47.0, 35.5]), 10.0 + 1.5 * np.arange(7))


def flat(height, width, km=1.0):
    """A grid in a projection, in km."""
    y, x = km * np.arange(height)[::-1], km * np.arange(width)
    return Grid("projected", y, x, "y", "x", "km")


def cell_areas(y_edges, x_edges, sphere):
    """Areas of cells, (rows, columns), in some unit."""
    y = np.sin(np.deg2rad(y_edges)) if sphere else y_edges
    return np.abs(np.diff(y))[:, None] * np.abs(np.diff(x_edges))[None]


def borders(nodes):
    """Halfway between nodes, and as far beyond the ends as on their other side."""
    half = np.diff(nodes) / 2
    return np.r_[nodes[0] - half[0], nodes[:-1] + half, nodes[-1] + half[-1]]


def by_brute_force(remap, field):
    """Every target cell from its overlaps with every source cell, one by one."""
    sphere = remap.source.kind == "latlon"
    rows, columns = borders(remap.source.y), borders(remap.source.x)
    result = np.zeros(remap.target.shape)
    for (i, j), _ in np.ndenumerate(result):
        area, missing = 0.0, False
        for (k, m), value in np.ndenumerate(field):
            top = min(remap.y_edges[i], rows[k])
            bottom = max(remap.y_edges[i + 1], rows[k + 1])
            width = min(remap.x_edges[j + 1], columns[m + 1]) - max(remap.x_edges[j], columns[m])
            if top - bottom < 1e-9 or width < 1e-9:
                continue
            overlap = cell_areas([top, bottom], [0, width], sphere)[0, 0]
            area += overlap
            missing |= bool(np.isnan(value))
            result[i, j] += 0.0 if np.isnan(value) else overlap * value
        result[i, j] = np.nan if missing else result[i, j] / area
    return result


# ---------------------------------------------------------------------------- the remapping


def test_a_case_by_hand():
    """Rows of 3 cells become 2: halves of the middle one go to either side."""
    remap = conservative(flat(2, 3), (1.0, 1.5))
    assert remap.target.shape == (2, 2)
    np.testing.assert_allclose(remap.target.x, [0.25, 1.75])
    np.testing.assert_allclose(remap.x_edges, [-0.5, 1.0, 2.5])
    np.testing.assert_array_equal(remap.target.y, [1, 0])
    # (1 * 6 + 0.5 * 3) / 1.5 and (0.5 * 3 + 1 * 0) / 1.5.
    np.testing.assert_allclose(
        remap(np.array([[6.0, 3.0, 0.0], [0.0, 0.0, 1.5]])), [[5, 1], [0, 1]]
    )


def test_rows_near_the_pole_weigh_less():
    """60 to 90 N has an area of 1 - sin 60, 30 to 60 N one of sin 60 - sin 30."""
    source = Grid("latlon", np.array([75.0, 45.0]), np.array([0.0, 30.0]))
    y_km, x_km = source.spacing_km
    remap = conservative(source, (2 * y_km, x_km))
    north, south = 1 - np.sqrt(3) / 2, np.sqrt(3) / 2 - 0.5
    expected = (8 * north + 2 * south) / (north + south)
    np.testing.assert_allclose(remap(np.array([[8.0, 0.0], [2.0, 0.0]])), [[expected, 0]])


@pytest.mark.parametrize("factors", [(2.7, 1.9), (0.4, 0.6), (0.7, 3.0), (1.0, 2.0)])
@pytest.mark.parametrize("source", [ODD_ROWS, flat(6, 9, 2.5)], ids=["sphere", "plane"])
def test_every_cell_is_the_mean_of_its_overlaps(source, factors):
    remap = conservative(source, tuple(np.multiply(source.spacing_km, factors)))
    field = np.random.default_rng(2).gamma(0.5, 4.0, source.shape)
    np.testing.assert_allclose(remap(field), by_brute_force(remap, field), rtol=1e-9)
    field[1, 2] = field[4, 6] = np.nan
    expected = by_brute_force(remap, field)
    assert 0 < np.isnan(expected).sum() < expected.size
    np.testing.assert_allclose(remap(field), expected, rtol=1e-9)


@pytest.mark.parametrize("factor", [0.31, 0.5, 1.7, 4.0])
def test_the_integral_stays_and_a_constant_stays(factor):
    source = Grid("latlon", 60.0 - 0.37 * np.arange(50), 5.0 + 0.21 * np.arange(80))
    remap = conservative(source, tuple(np.multiply(source.spacing_km, factor)))
    wanted = np.multiply(source.spacing_km, factor)
    np.testing.assert_allclose(remap.target.spacing_km, wanted, rtol=0.1)
    rain = np.random.default_rng(0).gamma(0.3, 5.0, source.shape)
    before = (rain * cell_areas(borders(source.y), borders(source.x), True)).sum()
    after = (remap(rain) * cell_areas(remap.y_edges, remap.x_edges, True)).sum()
    assert after == pytest.approx(before, rel=1e-6)
    np.testing.assert_allclose(remap(np.full(source.shape, 7.3)), 7.3, rtol=1e-12)
    # The same domain, and cells in the middle of their borders.
    np.testing.assert_allclose(remap.x_edges[[0, -1]], borders(source.x)[[0, -1]])
    np.testing.assert_allclose(remap.y_edges[[0, -1]], borders(source.y)[[0, -1]])
    np.testing.assert_allclose(borders(remap.target.y), remap.y_edges, atol=1e-9)


def test_borders_that_meet_spread_no_missing_cell():
    """Tenths of degrees are no binary numbers: a border must not reach into the next cell."""
    source = Grid("latlon", 47.6 - 0.1 * np.arange(240), 120 + 0.1 * np.arange(240))
    remap = conservative(source, tuple(np.multiply(source.spacing_km, 3)))
    field = np.ones(source.shape)
    field[30:33, 60:63] = np.nan
    assert remap.target.shape == (80, 80)
    assert np.argwhere(np.isnan(remap(field))).tolist() == [[10, 20]]


def test_hours_of_a_window_add_up_and_a_mask_is_half_a_cell():
    remap = conservative(flat(6, 9), (2.0, 3.0))
    rain = np.random.default_rng(1).gamma(0.5, 3.0, (6, 6, 9)).astype(np.float32)
    rain[4] = rain[1:4].sum(axis=0, dtype=np.float64)
    rain[2, 0, 0] = rain[4, 0, 0] = np.nan
    window = remap.window(rain)
    assert window.dtype == np.float32
    summed = window[1:4].sum(axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(window[4], summed)
    assert np.argwhere(np.isnan(window)).tolist() == [[2, 0, 0], [4, 0, 0]]
    # Without hours S is remapped itself.
    totals = rain.copy()
    totals[1:4] = np.nan
    np.testing.assert_allclose(remap.window(totals)[4], window[4], rtol=1e-6)
    land = np.zeros((6, 9), bool)
    land[0, :3] = land[2, 3:5] = True
    assert np.argwhere(remap.mask(land)).tolist() == [[0, 0]]


# ---------------------------------------------------------------------------- when


def trained_at(low, high, channels=("P", "S", "N")):
    """As much of a model as the decision needs."""
    model = RainModel.__new__(RainModel)
    model.metadata = {"spacing_range_km": [low, high]} if low else {}
    model.net = SimpleNamespace(channels=list(channels))
    return model


@pytest.mark.parametrize("km", [0.84, 1.0, 7.0, 11.9])
def test_within_a_fifth_of_the_range_the_grid_stays(km):
    for asked in (None, "native", "conservative"):
        remap, notes = choose_grid(trained_at(1.0, 10.0), flat(40, 40, km), asked, "rain.nc")
        assert remap is None
        assert bool(notes) == (asked == "conservative")


@pytest.mark.parametrize("km", [0.8, 12.1, 50.0])
def test_beyond_it_the_user_must_say_what_to_do(km):
    grid, model = flat(40, 40, km), trained_at(1.0, 10.0)
    with pytest.raises(DataError) as caught:
        choose_grid(model, grid, None, "rain.nc")
    message = str(caught.value)
    assert f"rain.nc: the grid spacing is far from that of the training; found {km:g} x" in message
    assert "1 to 10 km" in message
    assert "--regrid conservative" in message.partition("next:")[2]
    assert "--regrid native" in message.partition("next:")[2]
    remap, notes = choose_grid(model, grid, "native", "rain.nc")
    assert remap is None
    assert "scores may be lower" in notes[0]
    remap, notes = choose_grid(model, grid, "conservative", "rain.nc")
    nearest = min(max(km, 1.0), 10.0)
    assert remap.target.spacing_km == pytest.approx((nearest, nearest), rel=0.02)
    assert "conservative" in notes[0]


def test_an_axis_that_fits_is_left_alone():
    remap, _ = choose_grid(
        trained_at(1.0, 10.0), Grid("projected", np.arange(8.0)[::-1] * 30, np.arange(9.0) * 5,
                                    "y", "x", "km"), "conservative", "rain.nc"
    )  # fmt: skip
    assert remap.target.shape == (24, 9)
    np.testing.assert_array_equal(remap.target.x, np.arange(9.0) * 5)


def test_what_cannot_be_regridded_is_refused():
    index = Grid("index", np.arange(40.0), np.arange(40.0), units="1")
    known = trained_at(10.0, 10.0)
    assert choose_grid(known, index, None, "rain.nc") == (None, [])
    with pytest.raises(DataError, match=r"spacing is not known.*without coordinates"):
        choose_grid(known, index, "conservative", "rain.nc")
    with pytest.raises(DataError, match="an unknown spacing"):
        choose_grid(trained_at(None, None), flat(9, 9), "conservative", "rain.nc")
    assert choose_grid(trained_at(None, None), flat(9, 9), None, "rain.nc") == (None, [])
    with pytest.raises(DataError, match=r"too small.*10 x 10 km"):
        choose_grid(known, flat(9, 12), "conservative", "rain.nc")
    with pytest.raises(ConfigError, match="conservative or native"):
        choose_grid(known, flat(9, 9), "bilinear", "rain.nc")
    fields = trained_at(10.0, 10.0, ["U850_ft3", "S"])
    with pytest.raises(DataError, match="forecast fields are not regridded") as caught:
        choose_grid(fields, flat(99, 99), "conservative", "rain.nc")
    with pytest.raises(DataError, match="far from") as unasked:
        choose_grid(fields, flat(99, 99), None, "rain.nc")
    for error in (caught, unasked):
        assert "--regrid native" in str(error.value)
        assert "--regrid conservative" not in str(error.value)


# ---------------------------------------------------------------------------- predict, evaluate


@pytest.fixture
def model(tiny_config, tiny_store, tmp_path_factory):
    """A model folder that says it was trained at 22 km, twice the spacing of the tiny rain."""
    folder = tmp_path_factory.mktemp("coarse") / "model"
    trained_at = {"spacing_range_km": [22.2, 22.2]}
    return export_network(folder, tiny_config, tiny_store, name="coarse", **trained_at)


@pytest.fixture(scope="module")
def day(tmp_path_factory, write_rain, tiny_rain):
    """Twelve hours of the tiny rain with a missing cell: rows from the south, as many files."""
    rain = np.array(tiny_rain[35:47])
    rain[:3, 0, 0] = np.nan
    first = np.datetime64("2023-06-01T01:00")
    path = write_rain(tmp_path_factory.mktemp("day") / "north.nc", rain, first)
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        flipped = dataset.isel(lat=slice(None, None, -1)).load()
    flipped.to_netcdf(path.with_name("rain.nc"), engine="h5netcdf")
    return path.with_name("rain.nc")


def test_the_output_is_on_the_new_grid_and_says_so(model, day, tmp_path, tiny_rain, caplog):
    with pytest.raises(DataError, match=r"11\.1 x 9\.\d+ km.*22\.2 km"):
        predict(model, day, tmp_path / "hours.nc")
    assert not list(tmp_path.iterdir())
    path = predict(
        model, day, tmp_path / "hours.nc", share=True, picture=tmp_path / "map.png",
        regrid="conservative",
    )  # fmt: skip
    assert "regridded by first-order conservative" in caplog.text
    assert (tmp_path / "map.png").exists()
    with xr.open_dataset(path, engine="h5netcdf") as result:
        result.load()
    # 24 rows of 11.1 km are 12 of 22.2; 32 columns of 9.5 km are 14 of 21.8.
    assert result.rain_1h.dims == ("time", "lat", "lon")
    assert result.rain_1h.shape == (12, 12, 14)
    assert result.lat.values[0] < result.lat.values[-1]  # as in the file
    np.testing.assert_allclose(result.lat, 30.05 + 0.2 * np.arange(12), atol=1e-9)
    np.testing.assert_allclose(result.lat_bnds[:, 1], 30.15 + 0.2 * np.arange(12), atol=1e-9)
    np.testing.assert_allclose(result.lat_bnds[:, 0], result.lat_bnds[:, 1] - 0.2, atol=1e-9)
    np.testing.assert_allclose(result.lon_bnds.values[[0, -1], [0, 1]], [129.95, 133.15], atol=1e-9)
    assert result.lat.attrs["bounds"] == "lat_bnds"
    for attribute in ("history", "tenkizu_regridding"):
        assert "first-order conservative" in result.attrs[attribute]
        assert "from 24 x 32" in result.attrs[attribute]
    assert "--regrid conservative" in result.attrs["history"]
    # The missing cell takes its target cell with it, in its window only.
    assert np.argwhere(np.isnan(result.rain_3h.values)).tolist() == [[0, 11, 0]]
    given = result.rain_3h.values.astype(np.float64)
    hours = result.rain_1h.values.reshape(4, 3, 12, 14).sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(hours, given, rtol=1e-5, atol=1e-7)
    # The water of a window is that of the file.
    source = cell_areas(29.95 + 0.1 * np.arange(25), 0.1 * np.arange(33), True)
    target = cell_areas(29.95 + 0.2 * np.arange(13), np.linspace(0, 3.2, 15), True)
    for window in range(1, 4):
        total = tiny_rain[35 + 3 * window : 38 + 3 * window].sum(axis=0, dtype=np.float64)[::-1]
        assert (given[window] * target).sum() == pytest.approx((total * source).sum(), rel=1e-6)


def test_native_is_what_it_was_and_warns(model, day, tmp_path, caplog):
    path = predict(model, day, tmp_path / "hours.nc", regrid="native")
    assert "trained at 22.2 km" in caplog.text
    with h5netcdf.File(path) as result:
        assert result["rain_1h"].shape == (12, 24, 32)
        assert "lat_bnds" not in result.variables
        assert "tenkizu_regridding" not in result.attrs
        assert "regrid" not in result.attrs["history"]


def test_grib_output_has_the_new_grid(model, day, tmp_path):
    path = predict(model, day, tmp_path / "hours.grib2", regrid="conservative")
    messages = list(fields_of(path))
    assert len(messages) == 12
    grid = messages[0].grid
    assert (grid.nj, grid.ni) == (12, 14)
    assert grid.dlat == pytest.approx(0.2)
    assert (grid.first_lat, grid.first_lon) == pytest.approx((32.25, 129.95 + 1.6 / 14), abs=1e-5)


def test_a_grid_that_is_too_coarse_is_refined(day, model, tmp_path):
    folder = tmp_path / "fine"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    metadata = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(metadata | {"spacing_range_km": [5.0, 5.5]}))
    path = predict(folder, day, tmp_path / "hours.nc", regrid="conservative")
    with xr.open_dataset(path, engine="h5netcdf") as result:
        # 24 x 11.12 / 5.5 = 48.5 rows and 32 x 9.52 / 5.5 = 55.4 columns.
        assert result.rain_1h.shape == (12, 49, 55)


@pytest.fixture
def no_figures(monkeypatch):
    """Scores without their figures, which take seconds."""
    monkeypatch.setattr(evaluation, "_draw", lambda *_: None)


def test_scores_are_of_the_new_grid(model, day, tmp_path, tiny_rain, no_figures):
    with pytest.raises(DataError, match="--regrid conservative"):
        evaluate(model, day, tmp_path / "scores", cases=0)
    land = np.zeros((24, 32), bool)
    land[:, 8:] = True
    scores = evaluate(model, day, tmp_path / "scores", cases=0, land=land, regrid="conservative")
    assert "regridded by first-order conservative" in scores["notes"][-1]
    assert scores["grid"].startswith("12 x 14")
    # The equal split by hand, on the rain of the new grid.
    remap = conservative(Grid("latlon", 32.3 - 0.1 * np.arange(24), 130 + 0.1 * np.arange(32)),
                         (22.2, 22.2))  # fmt: skip
    hours = np.stack([remap(hour) for hour in tiny_rain[35:47]]).reshape(4, 3, 12, 14)
    hours[0, :, 0, 0] = np.nan
    error = hours - hours.mean(axis=1, keepdims=True)
    assert scores["rmse_1h"]["equal"] == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-5)
    assert scores["max_relative_sum_error"] < 1e-5
    native = evaluate(model, day, tmp_path / "native", cases=0, land=land, regrid="native")
    assert native["grid"].startswith("24 x 32")
    assert native["rmse_1h"]["equal"] > scores["rmse_1h"]["equal"]
    with np.load(tmp_path / "scores/equal_split_maps.npz") as maps:
        assert maps["total_count_map"].shape == (12, 14)


def test_the_commands_take_the_option(model, day, tmp_path, command, no_figures):
    output = tmp_path / "hours.nc"
    code, _, error = command("rain", "predict", model, day, "-o", output)
    assert code == 3
    assert "--regrid native" in error
    words = ("-o", output, "--regrid", "conservative")
    code, said, _ = command("rain", "predict", model, day, *words)
    assert code == 0
    assert str(output) in "".join(said.split())
    assert command("rain", "evaluate", model, day, "-o", tmp_path / "scores")[0] == 3
    words = ("-o", tmp_path / "scores", "--cases", 0, "--regrid", "native")
    assert command("rain", "evaluate", model, day, *words)[0] == 0
    assert (tmp_path / "scores" / "scores.json").exists()


def test_windows_and_members_keep_their_place():
    asked = []

    def read(index, member):
        asked.append((index, member))
        return np.tile(np.float32([5, 3, 3, 3, 9, 7])[:, None, None], (1, 8, 8)), {}

    start = np.datetime64("2024-07-05T06:00")
    cases = Cases("c", "rain", flat(8, 8, 1.0), [start], read, False, members=(1, 2))
    result = on_chosen_grid(trained_at(2.0, 2.0), cases, "conservative")
    rain, _ = result.read(0, 1)
    assert asked == [(0, 1)]
    assert rain.shape == (6, 4, 4)
    assert (rain == np.float32([5, 3, 3, 3, 9, 7])[:, None, None]).all()
    assert result.grid is result.remap.target
    assert result.members == (1, 2)

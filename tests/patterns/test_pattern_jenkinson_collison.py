"""Jenkinson-Collison types: analytic fields, single points, real days and grids that do not fit."""

from collections import Counter

import numpy as np
import pytest
import xarray as xr

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.samples import samples_folder
from tenkizu.patterns.catalogues import JC
from tenkizu.patterns.jenkinson_collison import (
    GALE_LIMITS,
    POINTS,
    JcIndices,
    classify,
    flow_constants,
    indices,
    pressure_at_points,
)
from tenkizu.patterns.labels import LabelTable

SAMPLES = samples_folder() / "patterns"
CENTRE = (55.0, -5.0)
GRID = Grid("latlon", np.arange(70.0, 39.0, -2.5), np.arange(-25.0, 16.0, 2.5))
NORTH = GRID.y[:, None] - CENTRE[0] + 0 * GRID.x
EAST = GRID.x - CENTRE[1] + 0 * GRID.y[:, None]


@pytest.fixture(scope="module")
def atlantic():
    """Ten years of daily pressure, Pa, its times and grid, north first."""
    with xr.open_dataset(SAMPLES / "ncep_msl_natlantic_2p5_daily_2001_2010.nc") as data:
        data = data.sortby("lat", ascending=False).load()
    return data.msl.values, data.time.values, Grid("latlon", data.lat.values, data.lon.values)


@pytest.fixture(scope="module")
def demo(atlantic):
    """The table of types of the demo."""
    msl, times, grid = atlantic
    texts = classify(indices(msl, grid, CENTRE))
    return LabelTable.of(JC, times, texts)


def pattern(hpa, centre=CENTRE, grid=GRID, **options):
    """Indices and type of one map given in hPa, with the mean pressure added."""
    found = indices(1e5 + 100 * np.asarray(hpa)[None], grid, centre, **options)
    return found, classify(found)[0]


# ---------------------------------------------------------------------------- analytic fields


def test_constants():
    np.testing.assert_allclose(flow_constants(55), [1.7434, 1.0693, 0.9459, 1.5198], atol=5e-5)
    assert flow_constants(55, "rounded") == (1.74, 1.07, 0.95, 1.52)


def test_pressure_falling_northward_is_a_west_wind():
    found, label = pattern(-20 * NORTH / 10)
    assert found.W[0] == pytest.approx(20)
    assert found.S[0] == pytest.approx(0, abs=1e-9)
    assert found.Z[0] == pytest.approx(2.469, abs=5e-4)
    assert found.D[0] == pytest.approx(270)
    assert label == "W"


def test_pressure_rising_eastward_is_a_south_wind():
    found, label = pattern(20 * EAST / 10)
    assert found.S[0] == pytest.approx(34.869, abs=5e-4)
    assert found.Z[0] == pytest.approx(0, abs=1e-9)
    assert found.D[0] == pytest.approx(180)
    assert label == "S"


def test_a_bowl_is_a_cyclone_and_a_dome_an_anticyclone():
    bowl = 5 * ((NORTH / 10) ** 2 + (np.cos(np.radians(55)) * EAST / 10) ** 2)
    found, label = pattern(bowl)
    assert found.F[0] == pytest.approx(0, abs=1e-9)
    assert found.Z[0] == pytest.approx(20.076, abs=5e-4)
    assert label == "C"
    assert pattern(-bowl)[1] == "A"


def test_flat_pressure_is_unclassified():
    found, label = pattern(0 * NORTH)
    assert label == "U"
    assert found.F[0] == found.Z[0] == found.gale[0] == 0


@pytest.mark.parametrize(
    ("towards", "label"),
    # Pressure is lowest towards this bearing; with the wind at your back it is on the left.
    [
        (0, "W"),
        (45, "NW"),
        (90, "N"),
        (135, "NE"),
        (180, "E"),
        (225, "SE"),
        (270, "S"),
        (315, "SW"),
    ],
)
def test_the_flow_leaves_low_pressure_on_its_left(towards, label):
    angle = np.radians(towards)
    km = np.cos(np.radians(55))
    falling = -20 * (NORTH * np.cos(angle) + km * EAST * np.sin(angle)) / 10
    found, got = pattern(falling)
    assert got == label
    # The factor a = 1/cos(latitude) makes F the same in every direction.
    assert found.F[0] == pytest.approx(20, abs=1e-9)
    assert found.D[0] == pytest.approx((towards + 270) % 360)


def test_the_direction_is_the_published_one():
    rng = np.random.default_rng(3)
    found = indices(rng.normal(1e5, 800, (200, *GRID.shape)), GRID, CENTRE)
    with np.errstate(divide="ignore"):
        published = np.degrees(np.arctan(found.W / found.S)) % 180 + 180 * (found.W > 0)
    np.testing.assert_allclose(found.D, published, atol=1e-9)


# Response of W, S/a, ZW and ZS/d to 1 hPa at one point alone, from the published formulas.
A, B, C, D = flow_constants(55)
RESPONSES = {
    1: (0, 0, C / 2, 0),
    2: (0, 0, C / 2, 0),
    3: (0, 0, 0, 1 / 4),
    4: (-1 / 2, -1 / 4, 0, -1 / 4),
    5: (-1 / 2, 1 / 4, 0, -1 / 4),
    6: (0, 0, 0, 1 / 4),
    7: (0, 0, 0, 2 / 4),
    8: (0, -2 / 4, -B / 2 - C / 2, -2 / 4),
    9: (0, 2 / 4, -B / 2 - C / 2, -2 / 4),
    10: (0, 0, 0, 2 / 4),
    11: (0, 0, 0, 1 / 4),
    12: (1 / 2, -1 / 4, 0, -1 / 4),
    13: (1 / 2, 1 / 4, 0, -1 / 4),
    14: (0, 0, 0, 1 / 4),
    15: (0, 0, B / 2, 0),
    16: (0, 0, B / 2, 0),
}
PLACES = {  # degrees north and east of the centre
    **{1: (10, -5), 2: (10, 5), 3: (5, -15), 4: (5, -5), 5: (5, 5), 6: (5, 15)},
    **{7: (0, -15), 8: (0, -5), 9: (0, 5), 10: (0, 15)},
    **{11: (-5, -15), 12: (-5, -5), 13: (-5, 5), 14: (-5, 15), 15: (-10, -5), 16: (-10, 5)},
}


@pytest.mark.parametrize("number", range(1, 17))
def test_what_each_point_does(number):
    """Catches a point in the wrong place and a coefficient on the wrong bracket."""
    north, east = PLACES[number]
    bump = np.where((north == NORTH) & (east == EAST), 1.0, 0.0)
    assert bump.sum() == 1
    assert POINTS[number - 1] == (north, east)
    found, _ = pattern(bump)
    response = [found.W[0], found.S[0] / A, found.ZW[0], found.ZS[0] / D]
    np.testing.assert_allclose(response, RESPONSES[number], atol=1e-9)
    assert found.Z[0] == pytest.approx(found.ZW[0] + found.ZS[0])


def test_only_the_sixteen_points_matter():
    used = np.zeros(GRID.shape, bool)
    for north, east in POINTS:
        used |= (north == NORTH) & (east == EAST)
    assert used.sum() == 16
    found, label = pattern(np.where(used, 0.0, np.nan))
    assert (found.F[0], label) == (0, "U")


# ---------------------------------------------------------------------------- rules


def made(f, z, d=0.0):
    """Indices of one map with given flow, vorticity and direction."""
    f, z, d = (np.array([float(x)]) for x in (f, z, d))
    return JcIndices(W=f * 0, S=f * 0, F=f, ZW=z, ZS=z * 0, Z=z, D=d)


@pytest.mark.parametrize(
    ("f", "z", "d", "label"),
    [
        (5.9, 5.9, 0, "U"),
        (5.9, -5.9, 0, "U"),
        (6, 5, 0, "N"),
        (5, 6, 0, "C+N"),  # F < |Z| < 2F
        (10, 9.9, 247.5, "W"),
        (10, -9.9, 292.4, "W"),
        (10, 0, 292.5, "NW"),
        (10, 0, 247.4, "SW"),
        (10, 0, 337.5, "N"),
        (10, 0, 359.9, "N"),
        (10, 0, 22.5, "NE"),
        (10, 20.1, 0, "C"),
        (10, -20.1, 0, "A"),
        (10, 20, 200, "C+S"),  # neither more than twice nor less than once
        (10, 10, 225, "C+SW"),
        (10, -15, 45, "A+NE"),
    ],
)
def test_rules(f, z, d, label):
    assert classify(made(f, z, d)) == [label]


def test_the_limit_of_weak_flow_can_be_set():
    assert classify(made(5, 1), u_limit=4) == ["N"]
    assert classify(made(7, 1), u_limit=8) == ["U"]


def test_gale_index():
    assert made(30, 80).gale == pytest.approx(50)
    assert GALE_LIMITS == {"gale": 30, "severe gale": 40, "very severe gale": 50}


# ---------------------------------------------------------------------------- the real years


@pytest.mark.parametrize(
    ("first", "last", "days", "types", "two"),
    [
        (2001, 2010, 3652, [1169, 949, 214, 93, 96, 142, 313, 541, 581, 340, 77], 863),
        (2001, 2006, 2191, [713, 536, 132, 51, 52, 91, 209, 336, 340, 198, 47], 514),
        (2007, 2008, 731, [223, 206, 38, 12, 23, 29, 37, 88, 144, 76, 16], 161),
        (2009, 2010, 730, [233, 207, 44, 30, 21, 22, 67, 117, 97, 66, 14], 188),
    ],
)
def test_days_of_the_demo(atlantic, demo, first, last, days, types, two):
    times = atlantic[1]
    years = times.astype("datetime64[Y]").astype(int) + 1970
    counts = demo.counts(times[(years >= first) & (years <= last)])
    assert counts.days == days
    assert list(counts.types.values()) == types
    assert counts.composite == two
    assert counts.unlabelled == counts.transition == 0


def test_all_types_occur(demo):
    texts = Counter(label.text for label in demo.by_day.values())
    assert len(texts) == 27
    assert (texts["A"], texts["C"], texts["W"]) == (736, 519, 381)


def test_two_days_and_the_gales(atlantic, demo):
    msl, times, grid = atlantic
    found = indices(msl, grid, CENTRE)
    assert (msl.min() / 100, msl.max() / 100) == pytest.approx((939.55, 1065.58), abs=5e-3)
    gale = int(np.flatnonzero(times == np.datetime64("2005-01-08"))[0])
    assert demo.by_day[np.datetime64("2005-01-08")].text == "W"
    assert found.F[gale] == pytest.approx(35.892, abs=5e-4)
    assert found.Z[gale] == pytest.approx(22.683, abs=5e-4)
    assert demo.by_day[np.datetime64("2003-08-06")].text == "U"
    assert int((found.gale > GALE_LIMITS["gale"]).sum()) == 400


def test_rounded_constants_change_eight_days(atlantic):
    msl, _, grid = atlantic
    exact = classify(indices(msl, grid, CENTRE))
    rounded = classify(indices(msl, grid, CENTRE, constants="rounded"))
    assert sum(a != b for a, b in zip(exact, rounded, strict=True)) == 8


def test_single_precision_changes_no_day(atlantic):
    msl, _, grid = atlantic
    exact = classify(indices(msl, grid, CENTRE))
    assert classify(indices(msl.astype(np.float32), grid, CENTRE)) == exact


def test_winter_over_japan_has_its_high_in_the_west_and_flow_from_the_north():
    with xr.open_dataset(SAMPLES / "era5_msl_japan_2p5_6h_20251201_20260228.nc") as data:
        grid = Grid("latlon", data.lat.values, data.lon.values)
        found = indices(data.msl.values, grid, (35.0, 135.0))
    assert len(found.F) == 360
    assert found.S.mean() < -abs(found.W.mean())
    sectors = Counter(text.removeprefix("A+").removeprefix("C+") for text in classify(found))
    assert all(sectors["N"] > 2 * sectors[other] for other in ("NE", "E", "SE", "S", "SW", "W"))


# ---------------------------------------------------------------------------- grids


def field(grid):
    """A smooth map in Pa, (1, H, W), the same function of place on every grid."""
    lat, lon = np.radians(grid.y)[:, None], np.radians(grid.x)[None, :]
    return (1e5 + 900 * np.sin(3 * lat) * np.cos(2 * lon) + 300 * np.sin(lon))[None]


def test_longitudes_match_modulo_360():
    west = Grid("latlon", GRID.y, GRID.x)
    globe = Grid("latlon", np.arange(90.0, -91, -2.5), np.arange(0.0, 360, 2.5))
    expected = indices(field(west), west, CENTRE)
    for grid, centre in [(west, (55, 355)), (globe, (55, -5)), (globe, (55, 355))]:
        found = indices(field(grid), grid, centre)
        np.testing.assert_allclose(found.Z, expected.Z, rtol=1e-9)
        np.testing.assert_allclose(found.D, expected.D, rtol=1e-9)


def test_nodes_may_be_off_by_a_millionth_of_a_degree():
    nearly = Grid("latlon", GRID.y + 9e-7, GRID.x - 9e-7)
    np.testing.assert_array_equal(
        pressure_at_points(field(GRID), nearly, CENTRE),
        pressure_at_points(field(GRID), GRID, CENTRE),
    )


def test_points_between_nodes_need_permission():
    with pytest.raises(DataError) as error:
        indices(field(GRID), GRID, (55.0, -4.0))
    message = str(error.value)
    assert "points around the centre are not on the grid" in message
    assert "not a node: p1 (65 N, 9 W), p2 (65 N, 1 E), p3 (60 N, 19 W)" in message
    assert "labels.interpolate=true" in message
    assert error.value.exit_code == 3


@pytest.mark.parametrize("centre", [(55.0, -4.0), (54.0, -5.0), (53.3, -7.1)])
def test_interpolation_is_bilinear(centre):
    plane = 1e5 + 7 * NORTH - 3 * EAST + 0.5 * NORTH * EAST
    found = pressure_at_points(plane[None], GRID, centre, interpolate=True)[:, 0]
    north, east = np.transpose(POINTS) + (np.array(centre) - CENTRE)[:, None]
    np.testing.assert_allclose(found, 1e5 + 7 * north - 3 * east + 0.5 * north * east, rtol=1e-12)


def test_interpolation_leaves_nodes_as_they_are():
    found = pressure_at_points(field(GRID), GRID, CENTRE, interpolate=True)
    np.testing.assert_array_equal(found, pressure_at_points(field(GRID), GRID, CENTRE))


def test_interpolation_across_the_end_of_a_globe():
    globe = Grid("latlon", np.arange(90.0, -91, -2.5), np.arange(0.0, 360, 2.5))
    found = pressure_at_points(field(globe), globe, (55.0, 354.0), interpolate=True)
    # p5 at 60 N, 359 E lies between 357.5 and 0 E, 0.6 of the way.
    row = field(globe)[0, int(np.flatnonzero(globe.y == 60)[0])]
    assert found[4, 0] == pytest.approx(0.4 * row[-1] + 0.6 * row[0])


@pytest.mark.parametrize("interpolate", [False, True])
def test_points_outside_the_grid_are_named(interpolate):
    with pytest.raises(DataError) as error:
        indices(field(GRID), GRID, (62.5, 2.5), interpolate=interpolate)
    message = str(error.value)
    assert "does not reach all 16 points" in message
    assert "outside: p1 (72.5 N, 2.5 W), p2 (72.5 N, 7.5 E), p6 (67.5 N, 17.5 E)" in message
    assert "choose another labels.centre" in message


@pytest.mark.parametrize("latitude", [15.0, 75.0, -55.0, float("nan")])
def test_the_rules_hold_for_middle_latitudes(latitude):
    with pytest.raises(ConfigError, match="expected more than 15 and less than 75"):
        indices(field(GRID), GRID, (latitude, -5.0))


def test_missing_pressure_is_an_error():
    maps = np.repeat(field(GRID), 3, axis=0)
    maps[1, GRID.y == 60, GRID.x == 0] = np.nan
    with pytest.raises(DataError, match="found 1 of 3 maps, the first number 2"):
        indices(maps, GRID, CENTRE)


def test_a_grid_without_coordinates_is_an_error():
    grid = Grid("index", np.arange(13.0), np.arange(17.0))
    with pytest.raises(DataError, match="needs latitudes and longitudes"):
        indices(field(GRID), grid, CENTRE)

"""Derivatives on the sphere against functions known in closed form, MetPy and a real atmosphere."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tenkizu.core.errors import DataError
from tenkizu.core.sphere import divergence, gradient, laplacian

R = 6_371_000.0
LAT, LON = 55 - 0.25 * np.arange(161), 115 + 0.25 * np.arange(161)
PHI, LAM = np.deg2rad(LAT)[:, None], np.deg2rad(LON)
FLAT = np.zeros((161, 161))


@pytest.fixture(scope="module")
def state():
    """500 hPa height and wind, 850 hPa moisture flux, of one ERA5 state, south first."""
    data = xr.open_dataset(Path(__file__).parents[1] / "data" / "era5_tl31_19590102_japan.nc")
    data = data.load().transpose(..., "latitude", "longitude").astype(float)
    high, low = data.sel(level=500), data.sel(level=850)
    return {
        "lat": data.latitude.values,
        "lon": data.longitude.values,
        "gh": high.geopotential.values / 9.80665,
        "u": high.u_component_of_wind.values,
        "v": high.v_component_of_wind.values,
        "qu": (low.specific_humidity * low.u_component_of_wind).values,
        "qv": (low.specific_humidity * low.v_component_of_wind).values,
    }


# Gradient


def test_gradient_of_the_sine_of_latitude():
    east, north = gradient(np.sin(PHI) + FLAT, LAT, LON)
    np.testing.assert_allclose(north, np.cos(PHI) / R + FLAT, rtol=1e-5)  # the border too
    assert np.all(east == 0)


def test_one_hectopascal_per_degree():
    row = np.flatnonzero(LAT == 35)[0]
    _, north = gradient(100 * LAT[:, None] + FLAT, LAT, LON)
    np.testing.assert_allclose(north, 8.9932e-4, rtol=1e-5)
    east, _ = gradient(100 * LON + FLAT, LAT, LON)
    np.testing.assert_allclose(east[row], 1.09787e-3, rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(
    steps=arrays(float, (2, 7), elements=st.floats(0.1, 3)),
    curve=arrays(float, 6, elements=st.floats(-5, 5)),
)
def test_a_parabola_is_differentiated_exactly_on_any_spacing(steps, curve):
    lat, lon = 70 - np.cumsum(steps[0]), 100 + np.cumsum(steps[1])
    phi, lam = np.deg2rad(lat)[:, None], np.deg2rad(lon)
    a, b, c, d, e, f = curve
    field = a + b * phi + c * phi**2 + d * lam + e * lam**2 + f * phi * lam
    east, north = gradient(field, lat, lon)
    np.testing.assert_allclose(north * R, b + 2 * c * phi + f * lam, atol=1e-9)
    np.testing.assert_allclose(
        east * R * np.cos(phi), d + 2 * e * lam + f * phi + 0 * lam, atol=1e-9
    )


def test_coordinates_not_indices_give_the_sign(state):
    lat, lon, field = state["lat"], state["lon"], state["gh"]
    east, north = gradient(field, lat, lon)
    turned_east, turned_north = gradient(field[::-1, ::-1], lat[::-1], lon[::-1])
    np.testing.assert_allclose(turned_east[::-1, ::-1], east, rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(turned_north[::-1, ::-1], north, rtol=1e-12, atol=1e-18)
    for operator in (lambda f, y, x: divergence(f, 2 * f, y, x), laplacian):
        expected = operator(field, lat, lon)
        found = operator(field[::-1, ::-1], lat[::-1], lon[::-1])[::-1, ::-1]
        np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())


def test_gradient_equals_metpy(state):
    from metpy.calc import geospatial_gradient
    from metpy.units import units

    expected = geospatial_gradient(
        state["gh"] * units.m,
        latitude=state["lat"] * units.degrees,
        longitude=state["lon"] * units.degrees,
        crs=sphere_crs(),
    )
    found = gradient(state["gh"], state["lat"], state["lon"])
    for ours, theirs in zip(found, expected, strict=True):  # the same stencil: only rounding
        np.testing.assert_allclose(ours, theirs.magnitude, atol=1e-9 * np.abs(ours).max())


# Divergence


def test_meridians_converge():
    """A uniform northward flow of 10 m/s carrying 10 g/kg piles up: tan(35) q v / R."""
    lat, lon = 40 - 0.25 * np.arange(41), 130 + 0.25 * np.arange(5)
    total = divergence(np.zeros((41, 5)), np.full((41, 5), 0.1), lat, lon)
    np.testing.assert_allclose(-total[20], 1.0991e-8, rtol=1e-4)


def test_solid_rotation_does_not_diverge():
    """About a tilted axis, so that both components and every term take part."""
    tilt, speed = np.deg2rad(30), 10.0
    u = speed * (np.cos(PHI) * np.cos(tilt) + np.sin(PHI) * np.cos(LAM) * np.sin(tilt))
    v = -speed * np.sin(LAM) * np.sin(tilt) + 0 * PHI
    total = divergence(u, v, LAT, LON)
    assert np.abs(total).max() < 1e-5 * speed / R * 2  # each term alone is of order speed/R


def test_divergence_agrees_with_metpy(state):
    """MetPy differentiates map factors where we use tan(phi): apart by truncation of 5.5 degrees,

    (0.097 rad)^2 / 12 = 8e-4 of the whole.
    """
    from metpy.calc import divergence as metpy_divergence
    from metpy.units import units

    expected = metpy_divergence(
        state["qu"] * units("m/s"),
        state["qv"] * units("m/s"),
        latitude=state["lat"] * units.degrees,
        longitude=state["lon"] * units.degrees,
        crs=sphere_crs(),
    ).magnitude
    found = divergence(state["qu"], state["qv"], state["lat"], state["lon"])
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


# Laplacian


@pytest.mark.parametrize(
    ("field", "factor"),
    [(np.sin(PHI) + FLAT, -2), (np.cos(PHI) ** 2 * np.cos(2 * LAM), -6)],
    ids=["zonal harmonic", "sectoral harmonic"],
)
def test_spherical_harmonics_are_eigenfunctions(field, factor):
    expected = factor * field / R**2
    found = laplacian(field, LAT, LON)
    inside = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(
        found[inside], expected[inside], rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_spacing_may_change_smoothly():
    """On stretched axes of some 2 degrees: (0.035 rad)^2 and the change of the step, below 1 %."""
    lat = 60 - 45 * np.linspace(0, 1, 25) ** 1.3
    lon = 110 + 50 * np.linspace(0, 1, 25) ** 1.2
    phi, lam = np.deg2rad(lat)[:, None], np.deg2rad(lon)
    field = np.cos(phi) ** 2 * np.cos(2 * lam)
    found, expected = laplacian(field, lat, lon), -6 * field / R**2
    error = np.abs(found - expected)[2:-1, 2:-1].max()
    assert error < 0.01 * np.abs(expected).max()


def test_border_copies_the_nearest_inner_cell():
    rng = np.random.default_rng(1)
    found = laplacian(rng.normal(size=(2, 6, 7)), 40.0 - np.arange(6), 130.0 + np.arange(7))
    assert np.array_equal(found, np.pad(found[:, 1:-1, 1:-1], ((0, 0), (1, 1), (1, 1)), "edge"))


def test_laplacian_agrees_with_metpy(state):
    """MetPy has no metric term, so it gets one; 0.1 % apart by truncation, 6 % apart without it."""
    from metpy.calc import laplacian as metpy_laplacian
    from metpy.calc import lat_lon_grid_deltas
    from metpy.units import units

    lat, lon, field = state["lat"], state["lon"], state["gh"]
    dx, dy = lat_lon_grid_deltas(lon, lat, geod=sphere_crs().get_geod())
    flat = metpy_laplacian(field * units.m, axes=(-2, -1), deltas=(dy, dx)).magnitude
    _, north = gradient(field, lat, lon)
    expected = flat - np.tan(np.deg2rad(lat))[:, None] / R * north
    difference = np.abs(laplacian(field, lat, lon) - expected)[1:-1, 1:-1]
    assert difference.max() < 2e-3 * np.abs(expected).max()


# A real atmosphere is nearly geostrophic, which no sign or factor error survives.


def test_height_gradient_blows_the_wind(state):
    lat = state["lat"][:, None]
    east, north = gradient(state["gh"], state["lat"], state["lon"])
    per_coriolis = 9.80665 / (2 * 7.2921e-5 * np.sin(np.deg2rad(lat)))
    for wind, geostrophic in (
        (state["u"], -per_coriolis * north),
        (state["v"], per_coriolis * east),
    ):
        middle = (lat[:, 0] > 25) & (lat[:, 0] < 62)
        assert np.corrcoef(wind[middle].ravel(), geostrophic[middle].ravel())[0, 1] > 0.95
        slope = np.polyfit(geostrophic[middle].ravel(), wind[middle].ravel(), 1)[0]
        assert 0.7 < slope < 1.1


def test_height_laplacian_is_the_vorticity(state):
    """Vorticity dv/dx - du/dy + u tan(phi)/R is the divergence of (v, -u)."""
    lat, lon = state["lat"], state["lon"]
    vorticity = divergence(state["v"], -state["u"], lat, lon)
    coriolis = 2 * 7.2921e-5 * np.sin(np.deg2rad(lat))[:, None]
    geostrophic = 9.80665 / coriolis * laplacian(state["gh"], lat, lon)
    inside = (slice(3, -1), slice(1, -1))
    pair = geostrophic[inside].ravel(), vorticity[inside].ravel()
    assert np.corrcoef(*pair)[0, 1] > 0.8


# Shapes and missing values


def test_leading_axes_are_independent():
    fields = np.random.default_rng(2).normal(size=(2, 3, 5, 6))
    lat, lon = 30.0 + np.arange(5), 100.0 + np.arange(6)
    together = laplacian(fields, lat, lon)
    east, north = gradient(fields, lat, lon)
    for index in np.ndindex(2, 3):
        assert np.array_equal(together[index], laplacian(fields[index], lat, lon))
        alone_east, alone_north = gradient(fields[index], lat, lon)
        assert np.array_equal(east[index], alone_east)
        assert np.array_equal(north[index], alone_north)


def test_a_missing_cell_touches_its_neighbours_only():
    field = np.ones((9, 9))
    field[4, 4] = np.nan
    lat, lon = 40.0 - np.arange(9), 130.0 + np.arange(9)
    missing = np.argwhere(np.isnan(laplacian(field, lat, lon))).tolist()
    assert missing == [[3, 4], [4, 3], [4, 4], [4, 5], [5, 4]]


def test_float32_is_differentiated_in_float64():
    field = (100_000 + 100 * np.sin(PHI + LAM)).astype(np.float32)
    assert np.array_equal(laplacian(field, LAT, LON), laplacian(field.astype(float), LAT, LON))


@pytest.mark.parametrize(
    ("shape", "lat", "lon", "message"),
    [
        ((2, 5), [1, 2], range(5), "found 2 rows and 5 columns, expected at least 3"),
        ((5, 2), range(5), [1, 2], "found 5 rows and 2 columns, expected at least 3"),
        ((5, 4), range(4), range(5), r"found \(5, 4\), expected 4 rows and 5 columns"),
        ((3, 3), [1, 1, 2], range(3), "latitude: .* not strictly .* found steps 0 to 1"),
        ((3, 3), range(3), [350, 355, 0], "longitude: .* not strictly"),
        ((3, 3), [90, 89, 88], range(3), "latitude: .* pole; found 88 to 90"),
    ],
)
def test_grids_without_derivatives(shape, lat, lon, message):
    for operator in (gradient, laplacian, lambda f, y, x: divergence(f, f, y, x)):
        with pytest.raises(DataError, match=message):
            operator(np.zeros(shape), np.array(lat, float), np.array(lon, float))


def sphere_crs():
    """Our sphere for MetPy, which else takes its own radius or an ellipsoid."""
    import pyproj

    return pyproj.CRS.from_proj4(f"+proj=longlat +R={R}")

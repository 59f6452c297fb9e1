"""Derived fields against values worked by hand, MetPy and a real ERA5 state."""

import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.patterns.physics.channels import CHANNELS, DEFAULT, SEED
from tenkizu.patterns.physics.derive import derive, required
from tenkizu.patterns.physics.moist_air import (
    condensation_temperature,
    equivalent_potential_temperature,
    mixing_ratio,
    potential_temperature,
)

LAT, LON = 45 - 2.5 * np.arange(5), 120 + 2.5 * np.arange(6)
MAPS = [name for name in dict.fromkeys(SEED + DEFAULT) if CHANNELS[name].kind == "map"]

# Mean and spread, for fields that look like weather.
WEATHER = {
    "msl": (101_300, 800),
    "msl@-24h": (101_300, 800),
    "z500": (55_000, 1500),
    "z1000": (1000, 600),
    "t850": (280, 8),
    "q850": (0.006, 0.001),
    "sst": (290, 5),
}


def weather(names, times=3, grid=(5, 6), seed=0):
    """Native fields (T, H, W) of plausible size."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(*WEATHER.get(name, (0, 10)), (times, *grid)) for name in names}


def one(channel, **natives):
    """A channel from native fields of one value each, in the middle of the map."""
    fields = {name.replace("before", "@-24h"): np.full((1, 5, 6), v) for name, v in natives.items()}
    return derive([channel], fields, LAT, LON)[channel][0, 2, 3]


# Theta-e


def test_theta_e_by_hand():
    t, q = np.array([293.0, 283.0, 263.0]), np.array([0.014, 0.006, 0.001])
    r = mixing_ratio(q)
    assert condensation_temperature(t, r, 850)[0] == pytest.approx(289.078, abs=1e-3)
    assert potential_temperature(t, r, 850)[0] == pytest.approx(306.854, abs=1e-3)
    found = equivalent_potential_temperature(t, q, 850)
    assert found[0] == pytest.approx(349.89, abs=5e-3)
    np.testing.assert_allclose(found[1:], [314.365, 278.489], atol=1e-3)
    assert one("thetae850", t850=293.0, q850=0.014) == found[0]


def test_dry_air_is_clipped_and_counted(caplog):
    """At 1e-7 kg/kg theta-e is the dry potential temperature, T (1000/p)^0.2854."""
    natives = weather(["t850", "q850"])
    natives["q850"][1, 2, :3] = [-1e-6, 0.0, 9e-8]
    natives["t850"][1, 2, :3] = 280.0
    with caplog.at_level(logging.INFO, "tenkizu"):
        found = derive(["thetae850"], natives, LAT, LON)["thetae850"]
    np.testing.assert_allclose(found[1, 2, :3], 280 * (1000 / 850) ** 0.2854, rtol=1e-5)
    assert caplog.messages == ["q850: 3 of 90 values below 1e-07 kg/kg raised to it for thetae850"]
    assert np.array_equal(natives["q850"][1, 2, :3], [-1e-6, 0.0, 9e-8])  # only for theta-e


# The other formulas, by hand


def test_formulas_by_hand():
    assert one("gh500", z500=9.80665 * 5520) == pytest.approx(5520)
    assert one("thk_1000_500", z500=9.80665 * 5520, z1000=9.80665 * 120) == pytest.approx(5400)
    assert one("vmag10", u10=3.0, v10=-4.0) == 5
    assert one("shear_850_500", u500=30.0, v500=0.0, u850=18.0, v850=-5.0) == 13
    assert one("ivt", viwve=-300.0, viwvn=400.0) == 500
    assert one("msl_dt24", msl=100_400.0, mslbefore=101_200.0) == -800
    assert one("div850", d850=-2e-5) == -2e-5


@pytest.mark.parametrize(
    ("east", "north", "degrees"), [(1, 0, 0), (0, 1, 90), (-1, 0, 180), (0, -1, -90), (-1, 1, 135)]
)
def test_vapour_heads_anticlockwise_from_east(east, north, degrees):
    natives = {"viwve": 200.0 * east, "viwvn": 200.0 * north}
    assert one("ivt_dir", **natives) == pytest.approx(degrees)
    assert one("ivt_cos", **natives) == pytest.approx(np.cos(np.deg2rad(degrees)))
    assert one("ivt_sin", **natives) == pytest.approx(np.sin(np.deg2rad(degrees)), abs=1e-15)


def test_no_transport_has_no_direction():
    assert one("ivt_cos", viwve=0.0, viwvn=0.0) == one("ivt_sin", viwve=0.0, viwvn=0.0) == 0


def test_gradients_and_convergence_by_hand():
    """1 hPa a degree northwards, 1 K a degree eastwards at 40 N, a moist uniform south wind."""
    rows, columns = LAT[:, None] + 0 * LON, LON + 0 * LAT[:, None]
    natives = {
        "msl": 100 * rows[None],
        "gh500": columns[None],
        "gh1000": np.zeros((1, 5, 6)),
        "q850": np.full((1, 5, 6), 0.01),
        "u850": np.zeros((1, 5, 6)),
        "v850": np.full((1, 5, 6), 10.0),
    }
    found = derive(["grad_msl", "lap_msl", "grad_thk_1000_500", "mfc850"], natives, LAT, LON)
    np.testing.assert_allclose(found["grad_msl"], 8.9932e-4, rtol=1e-5)
    at_40 = found["grad_thk_1000_500"][0, 2]
    np.testing.assert_allclose(at_40, 8.9932e-6 / np.cos(np.deg2rad(40)), rtol=1e-5)
    # Pressure linear in latitude: only the meridians' convergence, -tan(phi)/R df/dy. In flux form
    # (cos(phi - h/2) - cos(phi + h/2))/h = sin(phi) within h^2/24, here 8e-5.
    np.testing.assert_allclose(
        found["lap_msl"][0, 2], -np.tan(np.deg2rad(40)) / 6_371_000 * 8.9932e-4, rtol=1e-4
    )
    np.testing.assert_allclose(
        found["mfc850"][0], 0.1 * np.tan(np.deg2rad(rows)) / 6_371_000, rtol=1e-9
    )


# A real state


@pytest.fixture(scope="module")
def state():
    """Native fields, north first, and the axes of one ERA5 state over Japan."""
    data = xr.open_dataset(Path(__file__).parents[1] / "data" / "era5_tl31_19590102_japan.nc")
    data = data.load().transpose(..., "latitude", "longitude").isel(latitude=slice(None, None, -1))
    natives = {}
    for long, short in (
        ("geopotential", "z"),
        ("temperature", "t"),
        ("u_component_of_wind", "u"),
        ("v_component_of_wind", "v"),
        ("specific_humidity", "q"),
    ):
        for level in data.level.values:
            natives[f"{short}{level}"] = data[long].sel(level=level).values.astype(float)[None]
    return natives, data.latitude.values, data.longitude.values


def test_theta_e_of_a_real_state_is_metpys(state):
    """MetPy takes Bolton's equation 39 and its own vapour pressure curve: 0.1 K."""
    from metpy.calc import dewpoint_from_specific_humidity
    from metpy.calc import equivalent_potential_temperature as metpy_theta_e
    from metpy.units import units

    natives, lat, lon = state
    pressure = 850 * units.hPa
    dewpoint = dewpoint_from_specific_humidity(pressure, natives["q850"] * units("kg/kg"))
    expected = metpy_theta_e(pressure, natives["t850"] * units.K, dewpoint).magnitude
    assert np.ptp(expected) > 60  # from Siberia to the tropics
    found = derive(["thetae850"], natives, lat, lon)["thetae850"]
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_moisture_converges_as_metpy_says(state):
    from metpy.calc import divergence
    from metpy.units import units
    from pyproj import CRS

    natives, lat, lon = state
    flux = [natives["q850"][0] * natives[wind][0] * units("m/s") for wind in ("u850", "v850")]
    expected = -divergence(
        *flux,
        latitude=lat * units.degrees,
        longitude=lon * units.degrees,
        crs=CRS.from_proj4("+proj=longlat +R=6371000"),
    ).magnitude
    found = derive(["mfc850"], natives, lat, lon)["mfc850"][0]
    # Apart by the truncation of 5.5 degree cells in MetPy's map factors.
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_fronts_blow_in_a_real_state(state):
    """Thermal wind: where thickness is steep, wind turns with height. January over Japan."""
    natives, lat, lon = state
    names = ["thk_1000_500", "grad_thk_1000_500", "grad_thetae850", "shear_850_500", "vmag500"]
    fields = {name: field[0] for name, field in derive(names, natives, lat, lon).items()}
    thickness = fields["thk_1000_500"]
    assert 4900 < thickness[0].mean() < 5200  # 64 N, some -25 degrees C
    assert 5650 < thickness[-1].mean() < 5850  # 14 N
    middle = (lat > 25) & (lat < 60)
    steep, shear = fields["grad_thk_1000_500"][middle], fields["shear_850_500"][middle]
    assert np.corrcoef(steep.ravel(), shear.ravel())[0, 1] > 0.7
    jet = lat[fields["vmag500"].mean(axis=1).argmax()]
    assert 27 < jet < 45


# Sets, blocks and missing values


def test_every_map_channel_comes_out():
    natives = weather(required([*MAPS, "cape", "cin", "viwve", "viwvn"]))
    wanted = [*DEFAULT, "ivt_dir", "cape", "cin", "viwve", "viwvn"]
    found = derive(wanted, natives, LAT, LON)
    assert list(found) == [name for name in wanted if CHANNELS[name].kind == "map"]
    for name, field in found.items():
        assert field.shape == (3, 5, 6), name
        assert field.dtype == np.float64, name
        assert np.isfinite(field).all(), name
    assert found["t850"] is natives["t850"]  # handed through, not copied


def test_days_do_not_touch_each_other():
    """More days than are taken at a time on so small a grid."""
    natives = weather(required(MAPS), times=1500)
    together = derive(MAPS, natives, LAT, LON)
    for day in (0, 1091, 1092, 1093, 1499):
        alone = derive(MAPS, {n: f[day : day + 1] for n, f in natives.items()}, LAT, LON)
        for name in MAPS:
            np.testing.assert_allclose(together[name][day], alone[name][0], rtol=1e-13)


def test_single_precision_is_worked_in_double():
    narrow = {name: field.astype(np.float32) for name, field in weather(required(MAPS)).items()}
    wide = {name: field.astype(np.float64) for name, field in narrow.items()}
    found, expected = (derive(MAPS, natives, LAT, LON) for natives in (narrow, wide))
    for name in MAPS:
        assert found[name].dtype == np.float64
        assert np.array_equal(found[name], expected[name]), name


def test_land_stays_missing_in_sst_alone():
    natives = weather(required(MAPS))
    natives["sst"][:, :2, 3:] = np.nan
    found = derive([*MAPS, "sea_mask"], natives, LAT, LON)
    assert {name for name, field in found.items() if np.isnan(field).any()} == {"sst"}
    assert np.array_equal(np.isnan(found["sst"]), np.isnan(natives["sst"]))


def test_a_day_without_its_yesterday_has_no_tendency():
    natives = weather(["msl", "msl@-24h"])
    natives["msl@-24h"][1] = np.nan
    found = derive(["msl_dt24"], natives, LAT, LON)["msl_dt24"]
    assert np.isnan(found).all(axis=(1, 2)).tolist() == [False, True, False]
    assert np.isfinite(found[[0, 2]]).all()


def test_temporaries_are_small():
    """A block of a full-size month: little is held beside what comes out."""
    lat, lon = 55 - 0.25 * np.arange(161), 115 + 0.25 * np.arange(161)
    names = ["grad_msl", "lap_msl", "thetae850", "grad_thetae850", "mfc850"]
    natives = weather(required(names), times=31, grid=(161, 161))
    tracemalloc.start()
    found = derive(names, natives, lat, lon)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - sum(field.nbytes for field in found.values()) < 6e6  # one field is 6.4 MB


# What is needed


def test_required_of_the_sets():
    raw = (
        "msl tcwv viwve viwvn tcc tp u10 v10 sst tclw tciw tcrw tcsw z500 z1000 t850 u500 v500"
        " u850 v850 r700 r850 vo850 vo500 q850 w500 w700 d850 msl@-24h"
    )
    for channels in (SEED, DEFAULT):
        assert sorted(required(channels)) == sorted(raw.split(" "))
    assert required(["grad_thetae850", "thetae850"]) == ("t850", "q850")
    assert required(["msl_dt24", "msl"]) == ("msl", "msl@-24h")
    assert required(["sea_mask", "cin"]) == ("sst", "cin")
    assert required(["f1_season", "f4_season"]) == ()


def test_heights_and_divergence_count_as_given_where_the_file_has_no_other():
    names = ["thk_1000_500", "gh500", "div850"]
    assert required(names, ["gh500", "z1000", "div850"]) == ("gh500", "z1000", "div850")
    assert required(names, ["gh500", "z500", "z1000", "d850"]) == ("z500", "z1000", "d850")
    assert required(names, ["msl"]) == required(names) == ("z500", "z1000", "d850")
    natives = weather(["gh500", "z1000", "div850"])
    found = derive(names, natives, LAT, LON)
    expected = natives["gh500"] - natives["z1000"] / 9.80665
    np.testing.assert_allclose(found["thk_1000_500"], expected)
    assert found["div850"] is natives["div850"]


def test_derived_fields_of_a_merged_file_are_recomputed():
    natives = weather(["u10", "v10", "viwve", "viwvn"])
    wrong = {name: np.full((3, 5, 6), -999.0) for name in ("vmag10", "ivt", "ivt_dir")}
    found = derive(["vmag10", "ivt_cos"], natives | wrong, LAT, LON)
    np.testing.assert_allclose(found["vmag10"], np.hypot(natives["u10"], natives["v10"]))
    assert np.abs(found["ivt_cos"]).max() <= 1


def test_unknown_channel():
    with pytest.raises(ConfigError, match="gh850: no such channel"):
        derive(["msl", "gh850"], {}, LAT, LON)


def test_missing_native_field_names_what_there_was():
    natives = weather(["msl", "t850"])
    with pytest.raises(DataError) as caught:
        derive(["msl", "thetae850", "grad_thetae850"], natives, LAT, LON)
    text = str(caught.value)
    assert "q850: native field missing; found msl, t850" in text
    assert "q850, which thetae850, grad_thetae850 need" in text
    assert "data.drop" in text


def test_field_of_another_shape():
    natives = weather(["msl", "t850"])
    natives["t850"] = natives["t850"][:, :-1]
    with pytest.raises(DataError, match=r"t850: .* found \(3, 4, 6\), expected \(3, 5, 6\)"):
        derive(["msl", "t850"], natives, LAT, LON)


def test_map_too_small_for_derivatives():
    natives = weather(["msl"], grid=(2, 6))
    with pytest.raises(DataError, match="grid too small for derivatives"):
        derive(["grad_msl"], natives, LAT[:2], LON)

"""Channel names, their order and sets; coarsening."""

import numpy as np
import pytest
import xarray as xr

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.patterns.physics.channels import CHANNELS, DEFAULT, SEED, SETS, describe
from tenkizu.patterns.physics.coarsen import coarsen, coarsen_axis

BEFORE_TRANSPORT = (
    "msl gh500 t850 u500 v500 u850 v850 r700 r850 vo850 vo500 gh1000 thk_1000_500"
    " grad_thk_1000_500 q850 thetae850 grad_thetae850 div850 w500 w700 vmag500 vmag850"
    " shear_850_500 mfc850 tcwv ivt"
)
SURFACE = "tcc tp u10 v10 vmag10 tclw tciw tcrw tcsw sst"
OF_PRESSURE = "msl_dt24 grad_msl lap_msl f1_season f2_season"


def test_the_42_and_the_46():
    assert " ".join(SEED) == f"{BEFORE_TRANSPORT} ivt_dir {SURFACE} {OF_PRESSURE}"
    assert " ".join(DEFAULT) == (
        f"{BEFORE_TRANSPORT} ivt_cos ivt_sin {SURFACE} sea_mask {OF_PRESSURE} f3_season f4_season"
    )
    assert (len(SEED), len(DEFAULT)) == (42, 46)
    assert SETS == {"seed": SEED, "default": DEFAULT}
    assert set(CHANNELS) == {*SEED, *DEFAULT, "cape", "cin", "viwve", "viwvn"}


def test_what_varies_by_day_only_or_by_place_only():
    kinds = {name: channel.kind for name, channel in CHANNELS.items() if channel.kind != "map"}
    assert kinds == {
        "f1_season": "scalar",
        "f2_season": "scalar",
        "sea_mask": "static",
        "f3_season": "scalar",
        "f4_season": "scalar",
    }


def test_log_scales_are_those_of_rain_and_condensate():
    scales = {n: c.log_scale for n, c in CHANNELS.items() if c.log_scale}
    assert scales == {"tp": 1e-4, "tclw": 1e-2, "tciw": 1e-2, "tcrw": 1e-2, "tcsw": 1e-2}


def test_units_are_units():
    """Every unit is one the units library knows; every gradient is its field per metre."""
    from metpy.units import units

    unit = {name: units(channel.units).units for name, channel in CHANNELS.items()}
    for gradient, field in (("grad_msl", "msl"), ("grad_thetae850", "thetae850")):
        assert unit[gradient].dimensionality == (unit[field] / units.m).dimensionality
    assert unit["lap_msl"].dimensionality == (unit["grad_msl"] / units.m).dimensionality
    assert unit["thk_1000_500"] == unit["gh500"] == units.m
    assert all(channel.long_name for channel in CHANNELS.values())


def test_unknown_channel_names_the_nearest():
    assert [c.units for c in describe(["msl", "tcc"])] == ["Pa", "1"]
    with pytest.raises(
        ConfigError, match=r"thetae: no such channel(.|\n)*did you mean 'thetae850'"
    ):
        describe(["msl", "thetae"])


# Coarsening


def test_blocks_trim_the_south_and_east():
    lat, lon = 55 - 0.25 * np.arange(161), 115 + 0.25 * np.arange(161)
    field = lat[:, None] + 0 * lon
    coarse = coarsen({"t850": np.stack([field, field.T])}, 2)["t850"]
    assert coarse.shape == (2, 80, 80)
    rows = coarsen_axis(lat, 2)
    assert (rows[0], rows[-1], len(rows)) == (54.875, 15.375, 80)
    assert coarsen_axis(lon, 2)[-1] == 154.625
    np.testing.assert_allclose(coarse[0], rows[:, None] + np.zeros(80))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_means_equal_xarrays(n):
    rng = np.random.default_rng(3)
    field = rng.normal(5600, 100, (3, 13, 15))
    field[rng.random(field.shape) < 0.6] = np.nan
    field[0, :n, :n] = np.nan  # a block without any cell
    expected = xr.DataArray(field, dims=("t", "y", "x")).coarsen(y=n, x=n, boundary="trim").mean()
    found = coarsen({"cin": field}, n)["cin"]
    assert np.isnan(found[0, 0, 0])
    np.testing.assert_allclose(found, expected.values, rtol=1e-13)


@pytest.mark.parametrize(
    ("n", "sea", "enough"), [(2, 1, False), (2, 2, True), (3, 4, False), (3, 5, True)]
)
def test_half_the_cells_of_a_block_must_be_sea(n, sea, enough):
    sst = np.full(n * n, np.nan)
    sst[:sea] = 290.0
    sst = sst.reshape(1, n, n)
    coarse = coarsen({"sst": sst, "sea_mask": np.isfinite(sst[0]).astype(float)}, n)
    assert np.array_equal(coarse["sst"], [[[290.0 if enough else np.nan]]], equal_nan=True)
    assert np.array_equal(coarse["sea_mask"], [[float(enough)]])


def test_headings_are_those_of_the_mean_flux():
    """West-northwest and west-southwest mean west; the mean of +170 and -170 would be east."""
    angle = np.deg2rad(np.array([[170.0, -170.0], [170.0, -170.0]]))
    fields = {
        "ivt": np.full((1, 2, 2), 300.0),
        "ivt_dir": np.rad2deg(angle)[None],
        "ivt_cos": np.cos(angle)[None],
        "ivt_sin": np.sin(angle)[None],
        "viwve": 300 * np.cos(angle)[None],
        "viwvn": 300 * np.sin(angle)[None],
    }
    coarse = {name: field.item() for name, field in coarsen(fields, 2).items()}
    assert list(coarse) == list(fields)
    assert abs(coarse["ivt_dir"]) == pytest.approx(180)
    assert coarse["ivt_cos"] == pytest.approx(-1)
    assert coarse["ivt_sin"] == pytest.approx(0, abs=1e-12)
    assert coarse["ivt"] == pytest.approx(300)  # magnitudes are averaged as they are
    del fields["viwvn"]
    with pytest.raises(DataError, match=r"viwvn: a coarser ivt_dir needs the mean flux"):
        coarsen(fields, 2)


def test_by_one_changes_nothing():
    field = np.arange(12.0).reshape(1, 3, 4)
    assert coarsen({"msl": field}, 1)["msl"] is field


@pytest.mark.parametrize("n", [0, 4])
def test_blocks_larger_than_the_map(n):
    with pytest.raises(ConfigError, match=rf"data.coarsen: .* found {n}, expected 1 to 3"):
        coarsen({"msl": np.zeros((1, 3, 4))}, n)

"""The test writer of JMA's other products: guidance, ensembles, radar and short-range rain."""

from datetime import datetime

import numpy as np
import pytest
from jma_by_eccodes import assert_close, by_eccodes, opened, read, step, values_by_eccodes
from jma_bytes import GUIDANCE, FieldSpec, Grid, message
from jma_decoding import fields
from jma_files import Weather
from jma_products import (
    RAIN_LEVELS,
    SMALL,
    radar_rain,
    sea_mask,
    smooth_rain,
    write_guidance,
    write_meps,
    write_meps_rain,
    write_radar_analysis,
    write_short_range,
)

from tenkizu.core.grib_library import eccodes

T0 = datetime(2020, 7, 3, 12)


@pytest.mark.parametrize("grid", [SMALL, GUIDANCE], ids=["small", "true"])
def test_guidance_reuses_the_bitmap_of_its_first_field(grid, tmp_path):
    (path,) = write_guidance(tmp_path, T0, grid=grid, probability=True)
    decoded, seen = read(path), values_by_eccodes(path)
    assert [one.sections[6][5] for one in decoded] == [0] + [254] * 7
    assert [one.template for one in decoded] == [8, 9] * 4
    assert {one.parameter for one in decoded} == {(0, 1, 52)}
    assert {one.shape for one in decoded} == {(grid.nj, grid.ni)}
    mask = sea_mask(grid)
    for end, one, values in zip((3, 6, 9, 12), decoded[::2], seen[::2], strict=True):
        truth = np.where(mask, smooth_rain(grid, end), np.nan)
        assert_close(values, truth, 0)
        assert_close(one.values, truth, 0)
        assert (one.signed(4, 19, 22), one.octets(4, 50, 53)) == (end - 3, 3)
    chance = decoded[1]
    assert len(chance.sections[4]) == 71
    assert (chance.octets(4, 37, 37), chance.octets(4, 44, 47)) == (1, 1)
    assert_close(seen[1], np.minimum(100, 10 * np.where(mask, smooth_rain(grid, 3), np.nan)), 0.5)


def test_eccodes_reads_times_and_limits_of_a_probability(tmp_path):
    (path,) = write_guidance(tmp_path, T0, grid=SMALL, probability=True)
    keys = ("probabilityType", "scaledValueOfUpperLimit", "lengthOfTimeRange", "endStep")
    rows = by_eccodes(path, "productDefinitionTemplateNumber", *keys[2:])
    assert rows == [(t, 3, end) for end in (3, 6, 9, 12) for t in (8, 9)]
    with opened(path) as handles:
        assert [eccodes.codes_get(handles[1], key) for key in keys[:2]] == [1, 1]


def test_members_of_the_ensemble(tmp_path):
    (path,) = write_meps(tmp_path, T0, members=2, leads=(3,))
    decoded = read(path)
    assert len(decoded) == 40
    assert {one.template for one in decoded} == {1}
    assert {one.octets(5, 10, 11) for one in decoded} == {3}
    assert [one.octets(4, 36, 36) for one in decoded] == [0] * 20 + [1] * 20
    wind = [
        one for one in decoded if one.parameter == (0, 2, 2) and one.octets(4, 28, 28) == 850 % 256
    ]
    for seed, one in enumerate(wind):
        assert_close(one.values, Weather(seed).field("U850", T0, 3), 1.001 * step(one))


def test_rain_of_members_is_4_11(tmp_path):
    (path,) = write_meps_rain(tmp_path, T0, hours=(4, 5), members=2)
    keys = ("productDefinitionTemplateNumber", "perturbationNumber", "endStep")
    rows = by_eccodes(path, *keys)
    assert rows == [(11, 0, 4), (11, 1, 4), (11, 0, 5), (11, 1, 5)]
    for (_, member, hour), values in zip(rows, values_by_eccodes(path), strict=True):
        assert_close(values, smooth_rain(SMALL, 100 * member + hour), 0)


def test_radar_analysis_looks_back_and_is_run_length(tmp_path):
    (path,) = write_radar_analysis(tmp_path, T0)
    (one,) = read(path)
    assert (one.template, one.parameter) == (50008, (0, 1, 200))
    assert (one.octets(4, 18, 18), one.signed(4, 19, 22)) == (0, -60)
    assert tuple(one.sections[4][36:41]) == (7, 3, 12, 0, 0)  # the analysis ends at its own time
    assert len(one.sections[4]) == 82
    assert one.octets(5, 10, 11) == 200
    truth = radar_rain(SMALL, 0)
    assert np.isnan(truth).any()
    assert len(np.unique(truth[~np.isnan(truth)])) > 5
    assert_close(one.values, truth, 1e-12)
    # ecCodes knows the packing but not the product: with the number of 4.8 it reads the values.
    content = path.read_bytes()
    known = tmp_path / "as_accumulation.bin"
    place = one.offsets[4] + 7
    known.write_bytes(content[:place] + (8).to_bytes(2, "big") + content[place + 2 :])
    assert_close(values_by_eccodes(known)[0], truth, 1e-12)


def test_short_range_forecast(tmp_path):
    (path,) = write_short_range(tmp_path, T0)
    decoded = read(path)
    assert [one.template for one in decoded] == [50009] * 6
    assert [one.signed(4, 19, 22) for one in decoded] == [0, 60, 120, 180, 240, 300]
    for hour, one in enumerate(decoded, 1):
        assert_close(one.values, radar_rain(SMALL, hour), 1e-12)


def test_long_runs(tmp_path):
    grid = Grid(300, 300, 40.0, 135.0, 0.05, 0.0625)
    truth = np.full((300, 300), np.nan)
    truth[299, 150:] = 79.0
    spec = FieldSpec(truth, 1, 200, grid=grid, template=50008, packing="run_length", bits=8,
                     levels=RAIN_LEVELS, decimals=1)  # fmt: skip
    content = message([spec], T0)
    assert_close(fields(content)[0].values, truth, 0)

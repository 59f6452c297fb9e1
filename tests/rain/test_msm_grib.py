"""Fields of GRIB2 files: which they are, and how one is chosen."""

import eccodes
import numpy as np
import pytest
from grib_messages import MEPS, T0, only, tiny, written
from jma_bytes import FieldSpec, message
from jma_products import (
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

from tenkizu.core.errors import DataError
from tenkizu.rain.msm.field_key import FieldKey
from tenkizu.rain.msm.grib import fields_of, select
from tenkizu.rain.msm.grids import PRESSURE_GRID, on_model_grid
from tenkizu.rain.msm.keys import field_key, of_member, rain_keys

# The real file.


def test_real_file_holds_the_fields_of_its_list():
    names = {(2, 2): "u", (2, 3): "v", (0, 0): "t", (1, 1): "r", (3, 5): "gh"}
    found = [(names[one.category, one.number], one.level) for one in fields_of(MEPS)]
    expected = {
        "u": (975, 950, 925, 850, 300),
        "v": (975, 950, 925, 850, 300),
        "t": (975, 950, 925, 850, 500),
        "r": (925, 850, 500),
        "gh": (500, 300),
    }
    assert sorted(found) == sorted((k, 100.0 * p) for k, levels in expected.items() for p in levels)


def test_real_file_is_the_control_member_on_the_pressure_grid():
    for one in fields_of(MEPS):
        assert one.grid == PRESSURE_GRID
        assert (one.template, one.member, one.packing, one.bitmap, one.centre) == (1, 0, 3, 255, 34)
        assert one.reference == np.datetime64("2019-06-05T00:00")
        assert (one.start_minutes, one.end_minutes, one.length_minutes) == (0, 0, 0)


def test_real_values_are_those_of_eccodes_own_way_through_the_file():
    eccodes.codes_grib_multi_support_on()
    ours = list(fields_of(MEPS))
    with MEPS.open("rb") as stream:
        for one in ours:
            handle = eccodes.codes_grib_new_from_file(stream)
            theirs = eccodes.codes_get_values(handle).reshape(253, 241)
            eccodes.codes_release(handle)
            np.testing.assert_array_equal(one.values(), theirs)
        assert eccodes.codes_grib_new_from_file(stream) is None


def test_real_heights_and_temperatures_are_those_of_early_june():
    chosen = select(MEPS, of_member([field_key("GH500", 0), field_key("T850", 0)], 0))
    height, temperature = (on_model_grid(one.values(), one.grid) for one in chosen.values())
    # Row 219 is 36.0 N and column 312 is 139.5 E: north-west of Tokyo. The north is colder and
    # lower than the south in any June.
    assert 5650 < height[219, 312] < 5850
    assert 278 < temperature[219, 312] < 293
    assert height[:40].mean() < height[-40:].mean() - 100
    assert temperature[:40].mean() < temperature[-40:].mean() - 5


# Between files.


def test_leaving_a_file_early_does_not_spoil_the_next(tmp_path):
    eccodes.codes_grib_multi_support_on()
    with MEPS.open("rb") as stream:
        eccodes.codes_release(eccodes.codes_grib_new_from_file(stream))
    left = fields_of(MEPS)
    next(left).values()
    path = written(tmp_path, tiny(), tiny(start=3))
    assert [(one.grid.shape, one.end_minutes) for one in fields_of(path)] == [
        ((4, 5), 0),
        ((4, 5), 180),
    ]
    left.close()
    # What ecCodes itself still holds of the first file would spoil other tests.
    with MEPS.open("rb") as stream:
        while (handle := eccodes.codes_grib_new_from_file(stream)) is not None:
            eccodes.codes_release(handle)


def test_values_can_be_asked_for_later_and_in_any_order(tmp_path):
    fields = list(fields_of(MEPS))
    assert np.array_equal(fields[7].values(), list(fields_of(MEPS))[7].values())
    assert fields[0].values().shape == (253, 241)


def test_a_file_that_changes_between_listing_and_decoding_is_refused(tmp_path):
    path = written(tmp_path, tiny())
    one = only(path)
    path.write_bytes(message([tiny(), tiny()], T0))
    with pytest.raises(DataError, match="changed while it was read"):
        one.values()


# Products.


def test_members_of_an_ensemble_are_told_apart(tmp_path):
    (path,) = write_meps_rain(tmp_path, T0, hours=(4, 5), members=3)
    for member in range(3):
        hours = select(path, of_member(rain_keys((4, 5)), member))
        for key, one in hours.items():
            hour = key.end_minutes // 60
            np.testing.assert_array_equal(one.values(), smooth_rain(SMALL, 100 * member + hour))
    with pytest.raises(DataError, match=r"no such field.*member 0"):
        select(path, rain_keys((4,)))


def test_members_on_pressure_levels_are_those_of_template_1(tmp_path):
    (path,) = write_meps(tmp_path, T0, members=2, leads=(3,))
    (key,) = of_member([field_key("GH300", 3)], 1)
    one = select(path, [key])[key]
    assert (one.member, one.level, one.packing) == (1, 30000.0, 3)


def guidance_key(template: int, end: int = 6) -> FieldKey:
    return FieldKey("guidance", 0, 1, 52, template, 1, (), 60 * end, 180, 1)


def test_guidance_reuses_the_bitmap_of_its_first_field(tmp_path):
    (path,) = write_guidance(tmp_path, T0, ends=(3, 6, 9), grid=SMALL)
    fields = list(fields_of(path))
    assert [one.bitmap for one in fields] == [0, 254, 254]
    for one, end in zip(fields, (3, 6, 9), strict=True):
        truth = np.where(sea_mask(SMALL), smooth_rain(SMALL, end), np.nan)
        np.testing.assert_array_equal(one.values(), truth)
        assert (one.start_minutes, one.end_minutes) == (60 * end - 180, 60 * end)


def test_a_chance_of_rain_is_not_taken_for_rain(tmp_path):
    (path,) = write_guidance(tmp_path, T0, ends=(6,), grid=SMALL, probability=True)
    one = select(path, [guidance_key(8)])[guidance_key(8)]
    assert one.position == 0
    chance = tmp_path / "chance.bin"
    spec = FieldSpec(
        smooth_rain(SMALL, 1), 1, 52, grid=SMALL, template=9, start=3, length=3, step=0.0625
    )
    chance.write_bytes(message([spec], T0))
    with pytest.raises(DataError, match=r"no such field; found field 0: 0/1/52, template 4.9"):
        select(chance, [guidance_key(8)])


def test_radar_analysis_ends_at_its_own_time(tmp_path):
    (path,) = write_radar_analysis(tmp_path, T0)
    one = only(path)
    assert (one.template, one.packing, one.length_minutes) == (50008, 200, 60)
    assert (one.start_minutes, one.end_minutes) == (-60, 0)
    np.testing.assert_allclose(one.values(), radar_rain(SMALL, 0), rtol=1e-12)


def test_short_range_rain_is_read_like_it(tmp_path):
    (path,) = write_short_range(tmp_path, T0, hours=(1, 2))
    first, second = fields_of(path)
    assert (first.template, second.start_minutes, second.end_minutes) == (50009, 60, 120)
    np.testing.assert_allclose(second.values(), radar_rain(SMALL, 2), rtol=1e-12)


# Selection.


def test_no_match_names_file_key_and_what_is_there():
    with pytest.raises(DataError) as error:
        select(MEPS, [field_key("T850", 3)])
    text = str(error.value)
    assert MEPS.name in text
    assert "T850_ft3 (0/0/0, template 4.0, level type 100 at 85000, end 180 min)" in text
    assert "field 2: 0/0/0, template 4.1, level type 100 at 97500" in text


def test_several_matches_are_an_error(tmp_path):
    with pytest.raises(DataError, match=r"several fields in place of one; found field 0.*field 1"):
        select(written(tmp_path, tiny(), tiny()), [FieldKey("wind", 0, 2, 2, 0, 1, (), 0)])


def test_reference_time_must_be_the_one_asked_for():
    wanted = of_member([field_key("T850", 0)], 0)
    select(MEPS, wanted, np.datetime64("2019-06-05T00:00"))
    with pytest.raises(DataError, match="2019-06-05T00:00 UTC, expected 2019-06-05T03:00 UTC"):
        select(MEPS, wanted, np.datetime64("2019-06-05T03:00"))

"""Fields of GRIB2 files: which they are, when, where, and their values."""

import random
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import eccodes
import numpy as np
import pytest
from jma_bytes import MINUTE, FieldSpec, Grid, message
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
from tenkizu.core.parallel import run_tasks
from tenkizu.rain.msm.field_key import FieldKey
from tenkizu.rain.msm.grib import GribField, fields_of, select
from tenkizu.rain.msm.grids import PRESSURE_GRID, on_model_grid
from tenkizu.rain.msm.inspection import inspect_file
from tenkizu.rain.msm.keys import field_key, of_member, rain_keys
from tenkizu.rain.msm.sections import signed

MEPS = Path(__file__).parents[1] / "data" / "grib"
MEPS /= "Z__C_RJTD_20190605000000_MEPS_GPV_Rjp_L-pall_FH00_first20_grib2.bin"
T0 = datetime(2020, 7, 3, 12)
TINY = Grid(4, 5, 40.0, 130.0, 0.5, 0.25)


def written(folder: Path, *fields: FieldSpec, reference: datetime = T0) -> Path:
    path = folder / "made.grib2"
    path.write_bytes(message(fields, reference))
    return path


def tiny(values: np.ndarray | None = None, **other: object) -> FieldSpec:
    """Eastward wind on a tiny grid in steps of 1/16."""
    values = np.arange(20.0).reshape(4, 5) / 16 if values is None else values
    return FieldSpec(values, 2, 2, grid=TINY, step=2.0**-4, **other)  # type: ignore[arg-type]


def only(path: Path) -> GribField:
    (one,) = fields_of(path)
    return one


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


# Packings and bitmaps.


@pytest.mark.parametrize("packing", ["simple", "eccodes_simple", "complex", "spatial"])
@pytest.mark.parametrize("gaps", [False, True])
def test_packings_give_the_packed_values_with_and_without_bitmap(tmp_path, packing, gaps):
    y, x = np.mgrid[:30, :40]
    values = 8 * np.sin(y / 7) * np.cos(x / 5)
    if gaps:
        values[5:9, 10:30] = np.nan
    grid = Grid(30, 40, 40.0, 130.0, 0.1, 0.1)
    one = only(written(tmp_path, FieldSpec(values, 2, 2, grid=grid, packing=packing, bits=14)))
    np.testing.assert_allclose(one.values(), values, atol=1e-3)
    assert one.bitmap == (0 if gaps else 255)


def test_run_lengths_of_sixteen_bits(tmp_path):
    table = list(range(0, 4000, 10))
    values = np.sort(np.random.default_rng(4).choice(table, 20)).reshape(4, 5) / 10.0
    field = tiny(values, packing="run_length", levels=table, decimals=1, bits=16)
    np.testing.assert_allclose(only(written(tmp_path, field)).values(), values)


def test_a_bitmap_may_be_reused_after_fields_without_one(tmp_path):
    hidden = np.arange(20.0).reshape(4, 5)
    hidden[1, 2] = np.nan
    path = written(tmp_path, tiny(hidden), tiny(2 * hidden, same_bitmap=True), tiny())
    first, second, third = (one.values() for one in fields_of(path))
    np.testing.assert_array_equal(second, 2 * first)
    assert not np.isnan(third).any()


def test_a_bitmap_that_was_never_defined_is_an_error(tmp_path):
    path = written(tmp_path, tiny(same_bitmap=True))
    with pytest.raises(DataError, match="reuses a bitmap"):
        only(path).values()


def test_a_constant_field_needs_no_bits(tmp_path):
    one = only(written(tmp_path, tiny(np.full((4, 5), 3.0), bits=0, packing="eccodes_simple")))
    np.testing.assert_array_equal(one.values(), np.full((4, 5), 3.0))


# Places and times.


@pytest.mark.parametrize(
    ("surface", "level"),
    [((103, 1, 15), 1.5), ((103, 0, 2), 2.0), ((100, -2, 850), 85000.0), ((1, 255, 0), None)],
)
def test_levels_are_scaled_by_powers_of_ten(tmp_path, surface, level):
    assert only(written(tmp_path, tiny(surface=surface))).level == level


@pytest.mark.parametrize(
    ("scan", "there"),
    [
        (0x00, lambda v: v),
        (0x40, lambda v: v[::-1]),
        (0x80, lambda v: v[:, ::-1]),
        (0xC0, lambda v: v[::-1, ::-1]),
        (0x20, lambda v: v.T.reshape(4, 5)),
    ],
)
def test_values_come_north_and_west_first_from_any_scanning(tmp_path, scan, there):
    values = np.arange(20.0).reshape(4, 5) / 16
    field = replace(tiny(there(values)), grid=replace(TINY, scan_mode=scan))
    one = only(written(tmp_path, field))
    np.testing.assert_array_equal(one.values(), values)


def test_rows_that_run_to_and_fro_are_refused(tmp_path):
    field = replace(tiny(), grid=replace(TINY, scan_mode=0x10))
    with pytest.raises(DataError, match="scanning mode 16"):
        only(written(tmp_path, field)).values()


@pytest.mark.parametrize("start", [-90, -30, 0, 45, 600])
def test_interval_in_minutes(tmp_path, start):
    field = tiny(template=8, start=start, unit=MINUTE, length=30, length_unit=MINUTE)
    one = only(written(tmp_path, field))
    assert (one.start_minutes, one.end_minutes, one.length_minutes) == (start, start + 30, 30)
    assert one.statistic == 1


def test_interval_over_the_end_of_a_leap_february(tmp_path):
    last = datetime(2024, 2, 29, 21)
    one = only(written(tmp_path, tiny(template=8, start=3, length=6), reference=last))
    assert one.reference + np.timedelta64(one.end_minutes, "m") == np.datetime64("2024-03-01T06:00")


def test_interval_that_contradicts_its_end_is_refused(tmp_path):
    field = tiny(template=8, start=3, length=1, end=T0 + timedelta(hours=5))
    with pytest.raises(DataError, match=r"ends at 2020-07-03T17:00 by its date, but at .*16:00"):
        list(fields_of(written(tmp_path, field)))


@pytest.mark.parametrize(
    ("octets", "value"),
    [("0000003c", 60), ("8000003c", -60), ("ffffffc4", -60), ("80000000", 0)],
)
def test_signs_are_a_bit_or_a_complement(octets, value):
    assert signed(bytes.fromhex(octets), 1, 4) == value


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


# Damage.


def flip(data: bytes, octet: int, value: int) -> bytes:
    return data[:octet] + bytes([value]) + data[octet + 1 :]


REAL = MEPS.read_bytes()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "an empty file"),
        (b"<html>please log in</html>", "not a GRIB file; found b'<html>pl'"),
        (REAL[:10], "cut off"),
        (REAL[:-1], "cut off"),
        (REAL[: len(REAL) // 2], "cut off"),
        (flip(REAL, 7, 1), "another edition of GRIB; found 1"),
        (flip(REAL, 20, 3), "a section is not what must come here"),
        (flip(REAL, 40, 7), "a section is not what must come here"),
        (REAL[:-1] + b"8", "does not end after a field"),
        (REAL + REAL[:1000], "cut off"),
        (REAL + b"no message" * 40, "bytes that are not GRIB after a message"),
        (flip(REAL, 30, 13), "is not a time in whole minutes"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, content, problem):
    path = tmp_path / "bad.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.bin.*{problem}"):
        list(fields_of(path))


@pytest.mark.parametrize(
    ("before", "between", "after"),
    [(b"", b"", b"\0" * 80), (b"\x01\r\r\n123\r\r\nJPCX RJTD\r\r\n", b"\r\r\n\x03", b"\r\r\n\x03")],
)
def test_bulletin_headers_and_padding_are_passed_over(tmp_path, before, between, after):
    path, one = tmp_path / "bulletin", message([tiny()], T0)
    path.write_bytes(before + one + between + before + one + after)
    assert len(list(fields_of(path))) == 2


@pytest.mark.parametrize("path", [Path("nowhere.bin"), Path(__file__).parent])
def test_what_is_no_file_is_refused(path):
    with pytest.raises(DataError, match="cannot be read"):
        list(fields_of(path))


def section_start(data: bytes, wanted: int) -> int:
    """Where a section of the first field begins."""
    position = 16
    while data[position + 4] != wanted:
        position += struct.unpack_from(">I", data, position)[0]
    return position


@pytest.mark.parametrize(
    ("section", "octet", "value", "problem"),
    [
        (3, 10, 0x2E, "253 rows of 241 columns, but"),
        (5, 9, 0x2E, "values are packed, the grid and bitmap have 60973"),
        (5, 20, 99, "reference .* and 99 bits"),
        (5, 35, 0x73, "groups of|bytes of data"),
        (5, 37, 200, "groups"),
        (5, 46, 0x7F, "groups of"),
        (5, 48, 9, "differences of order 9"),
        (6, 6, 254, "reuses a bitmap"),
        (6, 6, 17, "a bitmap defined elsewhere, indicator 17"),
        (6, 6, 0, "a bitmap of 0 bytes for 60973 points"),
    ],
)  # fmt: skip
def test_sizes_that_contradict_each_other_are_found(tmp_path, section, octet, value, problem):
    path = tmp_path / "bad.bin"
    path.write_bytes(flip(REAL, section_start(REAL, section) + octet - 1, value))
    with pytest.raises(DataError, match=rf"bad\.bin.*({problem})"):
        next(fields_of(path)).values()


def test_differences_that_run_below_the_reference_value_are_found(tmp_path):
    # The first value of the field is said in 2 octets at the beginning of section 7; the second
    # and the least difference follow. A least difference that is too small bends all values down.
    start = section_start(REAL, 7) + 5
    octets = REAL[section_start(REAL, 5) + 48]
    least = start + 2 * octets
    path = tmp_path / "bad.bin"
    path.write_bytes(flip(REAL, least, 0xFF))
    with pytest.raises(DataError, match=r"below the least that its packing allows"):
        next(fields_of(path)).values()


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A copy that is cut, flipped, overwritten, shortened or lengthened somewhere."""
    octets, kind = bytearray(data), rng.randrange(6)
    place, length = rng.randrange(len(data)), rng.randrange(1, 500)
    if kind == 0:
        del octets[place:]
    elif kind == 1:
        for _ in range(rng.choice((1, 4, 64))):
            octets[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        octets[rng.randrange(min(400, len(data)))] = rng.randrange(256)
    elif kind == 3:
        octets[place : place + length] = rng.randbytes(min(length, len(data) - place))
    elif kind == 4:
        del octets[place : place + length]
    else:
        octets[place:place] = rng.randbytes(length)
    return bytes(octets)


def check_mutations(folder: Path, count: int) -> None:
    """Every mutated file is read or refused by name, and no process dies of one or hangs."""
    makers: list[Callable[[], Path]] = [
        lambda: write_guidance(folder, T0, grid=SMALL, probability=True)[0],
        lambda: write_radar_analysis(folder, T0)[0],
        lambda: write_short_range(folder, T0)[0],
        lambda: write_meps_rain(folder, T0, (4, 5))[0],
    ]
    sources = [make().read_bytes() for make in makers]
    head = struct.unpack_from(">I", REAL, section_start(REAL, 7))[0] + section_start(REAL, 7)
    one = REAL[:8] + struct.pack(">Q", head + 4) + REAL[16:head] + b"7777"
    sources.append(one)
    files = []
    for seed in range(count):
        path = folder / f"{seed}.bin"
        path.write_bytes(mutated(sources[seed % len(sources)], random.Random(seed)))
        files.append(path)
    refused = 0
    for position, outcome in run_tasks(inspect_file, files, workers=1, timeout=60):
        assert not isinstance(outcome, Exception), (position, outcome)
        problems = [part["error"] for part in (outcome, *outcome["fields"]) if part["error"]]
        assert all(files[position].name in problem for problem in problems)
        refused += bool(problems)
    # Damage in the packed numbers alone cannot be told from data.
    assert refused > count / 2


def test_damaged_files_of_all_kinds_end_in_a_message_or_in_fields(tmp_path):
    check_mutations(tmp_path, 40)

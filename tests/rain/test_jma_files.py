"""The test writer of JMA files, against a real file, ecCodes and a second decoder."""

from datetime import datetime
from pathlib import Path

import jma_oddities
import numpy as np
import pytest
from jma_by_eccodes import assert_close, by_eccodes, read, step, values_by_eccodes
from jma_bytes import PRESSURE, SURFACE, FieldSpec, Grid, message
from jma_decoding import fields
from jma_files import (
    LEVELS,
    PRESSURE_FIELDS,
    SURFACE_FIELDS,
    Weather,
    write_archive,
    write_operational,
)
from jma_packing import bit_string, run_length

from tenkizu.core.grib_library import eccodes

MEPS = Path(__file__).parents[1] / "data" / "grib"
MEPS /= "Z__C_RJTD_20190605000000_MEPS_GPV_Rjp_L-pall_FH00_first20_grib2.bin"
T0 = datetime(2020, 7, 3, 12)
LAST_OF_YEAR = datetime(2021, 12, 31, 21)


# The layout.


def test_second_decoder_agrees_with_eccodes_on_the_real_file():
    decoded = read(MEPS)
    assert len(decoded) == 20
    for one, values in zip(decoded, values_by_eccodes(MEPS), strict=True):
        np.testing.assert_array_equal(one.values, values)


def test_sections_are_those_of_the_real_file_octet_for_octet():
    for real in read(MEPS):
        ours = fields(
            message(
                [
                    FieldSpec(
                        real.values,
                        *real.parameter[1:],
                        surface=(100, -2, real.octets(4, 25, 28)),
                        grid=PRESSURE,
                        template=1,
                        generating_process=4,
                        background=61,
                        packing="spatial",
                    )
                ],
                datetime(2019, 6, 5),
                processed=5,
            )
        )[0]
        for number in (1, 3, 4, 6):
            assert ours.sections[number] == real.sections[number], (real.parameter, number)
        assert ours.octets(5, 10, 11) == real.octets(5, 10, 11) == 3
        assert_close(ours.values, real.values, step(ours))


@pytest.fixture(scope="module")
def operational(tmp_path_factory):
    return write_operational(tmp_path_factory.mktemp("operational"), T0)


def test_operational_lsurf_is_one_message_of_190_fields(operational):
    lsurf = operational[0]
    assert lsurf.name == "Z__C_RJTD_20200703120000_MSM_GPV_Rjp_Lsurf_FH00-15_grib2.bin"
    content = lsurf.read_bytes()
    assert int.from_bytes(content[8:16], "big") == len(content)
    assert content[:4] == b"GRIB"
    assert content[-4:] == b"7777"
    found = read(lsurf)
    assert len(found) == 190
    assert {one.offsets[3] for one in found} == {16 + 21}
    hours = [one for one in found if one.octets(4, 19, 22) == 5]
    # Of hour 5: ten fields, and the rain and the radiation of the hour that begins then.
    assert len(hours) == 12
    parameters = [(category, number) for category, number, _ in SURFACE_FIELDS.values()]
    assert [one.parameter[1:] for one in hours] == [*parameters, (1, 8), (4, 7)]
    assert {one.shape for one in found} == {(505, 481)}
    assert {one.reference for one in found} == {(2020, 7, 3, 12, 0, 0)}
    assert {one.octets(1, 6, 7) for one in found} == {34}
    assert {(one.octets(5, 10, 11), one.octets(5, 20, 20)) for one in found} == {(0, 12)}


def test_operational_pressure_levels(operational):
    found = read(operational[1])
    # 5 fields on 16 levels and humidity on 12, at 0, 3, ..., 15 h: about the 51 MB that JMA states.
    assert len(found) == 6 * (5 * 16 + 12) == 552
    assert operational[1].stat().st_size == pytest.approx(51e6, rel=0.02)
    assert {one.octets(4, 19, 22) for one in found} == {0, 3, 6, 9, 12, 15}
    assert {one.shape for one in found} == {(253, 241)}
    levels = {one.octets(4, 25, 28) for one in found}
    assert levels == set(LEVELS)
    assert {(one.octets(4, 23, 23), one.signed(4, 24, 24)) for one in found} == {(100, -2)}
    humid = {one.octets(4, 25, 28) for one in found if one.parameter == (0, 1, 1)}
    assert humid == {level for level in LEVELS if level >= 300}


def test_eccodes_sees_what_makes_these_files_hard(operational):
    rows = by_eccodes(
        operational[0],
        *("discipline", "parameterCategory", "parameterNumber", "shortName"),
        *("level", "scaledValueOfFirstFixedSurface", "scaleFactorOfFirstFixedSurface"),
    )
    rain = [row for row in rows if row[:3] == (0, 1, 8)]
    assert len(rain) == 15
    temperature = [row for row in rows if row[:3] == (0, 0, 0)]
    # Coded as 15 x 0.1 m; the integer level that ecCodes offers is something else.
    assert {row[5:] for row in temperature} == {(15, 1)}
    assert all(row[4] != 1.5 for row in temperature)


def test_only_the_first_field_without_multi_field_support(operational):
    eccodes.codes_grib_multi_support_off()
    with operational[0].open("rb") as stream:
        first = eccodes.codes_grib_new_from_file(stream)
        second = eccodes.codes_grib_new_from_file(stream)
    eccodes.codes_release(first)
    assert second is None


def test_rain_starts_at_the_start_of_its_hour_and_ends_an_hour_later(tmp_path):
    # The third hour of this forecast ends in the next year.
    files = write_archive(tmp_path, LAST_OF_YEAR, following=True, only_needed=True)
    rain = [one for path in files if "Prr" in path.name for one in read(path)]
    assert [path.name[37:] for path in files if "Prr" in path.name] == [
        "Prr_FH00-03_grib2.bin",
        "Prr_FH03-06_grib2.bin",
        "Prr_FH06-09_grib2.bin",
    ]
    assert [one.signed(4, 19, 22) for one in rain] == list(range(9))
    ends = [tuple(one.sections[4][34:41]) for one in rain]
    year = (2021 >> 8, 2021 & 255), (2022 >> 8, 2022 & 255)
    assert ends[:4] == [
        (*year[0], 12, 31, 22, 0, 0),
        (*year[0], 12, 31, 23, 0, 0),
        (*year[1], 1, 1, 0, 0, 0),
        (*year[1], 1, 1, 1, 0, 0),
    ]
    for one in rain:
        assert one.template == 8
        assert len(one.sections[4]) == 58
        # One accumulation (1) over 1 (octets 50-53) hour (1).
        assert (one.octets(4, 42, 42), one.octets(4, 47, 47)) == (1, 1)
        assert (one.octets(4, 49, 49), one.octets(4, 50, 53)) == (1, 1)


# The numbers.


def test_values_are_the_weathers_within_a_packing_step(operational):
    weather = Weather()
    surface = {(c, n): name for name, (c, n, _) in SURFACE_FIELDS.items()}
    levels = {pair: name for name, pair in PRESSURE_FIELDS.items()}
    checked = 0
    for path in operational:
        decoded, seen = read(path), values_by_eccodes(path)
        for one, values in list(zip(decoded, seen, strict=True))[::7]:
            lead, pair = one.octets(4, 19, 22), one.parameter[1:]
            if one.octets(4, 23, 23) == 100:
                truth = weather.field(f"{levels[pair]}{one.octets(4, 25, 28)}", T0, lead)
            elif pair == (1, 8):
                truth = weather.rain(T0, lead + 1)
            elif pair == (4, 7):
                truth = weather.field("Solar", T0, lead + 1)
            else:
                truth = weather.field(surface[pair], T0, lead)
            assert_close(values, truth, 0.0 if pair == (1, 8) else 0.51 * step(one))
            checked += 1
    assert checked == 28 + 79


@pytest.mark.parametrize("packing", ["simple", "eccodes_simple", "complex", "spatial"])
def test_packings(packing, tmp_path):
    truth = Weather(3).field("U850", T0, 3)
    spec = FieldSpec(truth, 2, 2, surface=(100, -2, 850), grid=PRESSURE, packing=packing)
    path = tmp_path / "one.bin"
    path.write_bytes(message([spec], T0))
    (one,) = read(path)
    template = {"complex": 2, "spatial": 3}.get(packing, 0)
    assert one.octets(5, 10, 11) == template
    # ecCodes truncates where it packs in groups; JMA and the writer here round.
    assert_close(one.values, truth, 1.001 * step(one))
    np.testing.assert_array_equal(values_by_eccodes(path)[0], one.values)


def test_a_constant_field_and_one_without_a_value(tmp_path):
    dry = np.zeros((3, 4))
    grid = Grid(3, 4, 40.0, 135.0, 0.1, 0.1)
    path = tmp_path / "two.bin"
    specs = [FieldSpec(dry, 1, 8, grid=grid), FieldSpec(dry + np.nan, 1, 8, grid=grid)]
    path.write_bytes(message(specs, T0))
    zeros, nothing = values_by_eccodes(path)
    np.testing.assert_array_equal(zeros, dry)
    assert np.isnan(nothing).all()


def test_bits_by_hand():
    # 1, 2, 3 in 12 bits: 000000000001 000000000010 000000000011
    assert bit_string(np.array([1, 2, 3], np.uint16), 12).hex() == "0010020030"
    assert bit_string(np.array([1, 2, 3], np.uint16), 3).hex() == "2980"  # 001 010 011


def test_run_length_by_hand():
    # Levels in use up to 3, 4 bits: base 15 - 3 = 12. Level 1 nineteen times: 1, then 18 = 6 + 1 x
    # 12 as the digits 4 + 6 and 4 + 1; level 3 once; missing, level 0, twice: 0, then 4 + 1.
    values = np.array([0.0] * 19 + [2.0] + [np.nan] * 2)
    head, data = run_length(values, levels=[0, 10, 20, 30], decimals=1, bits=4)
    assert data.hex() == "1a5305"
    assert head.hex() == "0000001600c80400030004010000000a0014001e"


# The weather.


def test_rain_is_mostly_dry_and_in_steps():
    hours = [Weather().rain(T0, hour) for hour in range(1, 10)]
    rain = np.stack(hours)
    np.testing.assert_array_equal(rain * 16, np.rint(rain * 16))
    assert 0.8 < (rain == 0).mean() < 0.95
    assert 0.01 < (rain >= 1).mean() < 0.15
    assert 10 <= rain.max() < 255


def test_rain_moves_with_the_wind_at_850_hpa():
    """The next hour is best guessed by this one carried along, not by this one left in place."""
    weather = Weather()
    now, later = weather.rain(T0, 4), weather.rain(T0, 5)
    hourly = 3600 / 111.195e3
    u = weather.field("U850", T0, 4).mean() * hourly / np.cos(np.deg2rad(35)) / SURFACE.di
    v = weather.field("V850", T0, 4).mean() * hourly / SURFACE.dj
    shift = (-round(v), round(u))  # rows run southwards
    carried = np.roll(now, shift, (0, 1))
    assert abs(shift[1]) >= 3
    inner = np.s_[60:-60, 60:-60]
    still = ((later - now)[inner] ** 2).sum()
    assert ((later - carried)[inner] ** 2).sum() < 0.6 * still


def test_forecasts_of_one_hour_agree_and_seeds_differ():
    later = datetime(2020, 7, 3, 15)
    weather = Weather(5)
    np.testing.assert_array_equal(weather.rain(T0, 6), weather.rain(later, 3))
    np.testing.assert_allclose(weather.field("T2m", T0, 6), weather.field("T2m", later, 3))
    assert np.abs(weather.field("T2m", T0, 6) - Weather(6).field("T2m", T0, 6)).max() > 1


def test_coarse_nodes_lie_on_every_second_fine_node():
    np.testing.assert_allclose(SURFACE.latitude[::2], PRESSURE.latitude)
    np.testing.assert_allclose(SURFACE.longitude[::2], PRESSURE.longitude)
    assert (round(PRESSURE.south, 9), PRESSURE.east) == (22.4, 150.0)


# Odd files.


@pytest.mark.parametrize("odd", jma_oddities.READABLE + jma_oddities.REFUSED)
def test_odd_files_are_whole_grib(odd, tmp_path):
    """What is odd about them is never their structure: both decoders read them to the end."""
    path = odd(tmp_path, T0)
    assert len(list(tmp_path.iterdir())) == 6
    decoded = read(path)
    seen = values_by_eccodes(path)
    assert len(decoded) == len(seen) >= 2
    for one, values in zip(decoded, seen, strict=True):
        np.testing.assert_array_equal(one.values, values)

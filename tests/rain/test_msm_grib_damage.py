"""Damaged files of GRIB2 are refused by name, and no process dies of one."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from grib_messages import MEPS, T0, tiny
from jma_bytes import message
from jma_products import (
    SMALL,
    write_guidance,
    write_meps_rain,
    write_radar_analysis,
    write_short_range,
)

from tenkizu.core.errors import DataError
from tenkizu.core.parallel import run_tasks
from tenkizu.rain.msm.grib import fields_of
from tenkizu.rain.msm.inspection import inspect_file


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

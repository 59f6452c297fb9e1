"""Seeded damage to JMA files, and a judgement of what the reader makes of it.

A damaged file must be refused by name, or read right. GRIB2 has no checksum: a bit that flips
within packed data gives other numbers that are as good GRIB as the true ones. *Packed data* are,
of a field, the data of section 7, the bits of the bitmap of section 6, and of section 5 the numbers
that turn packed integers to values: reference value and scale factors (octets 12 to 19) or the
level table of run lengths (octets 17 on). What lies in those bits is judged by a decoder that is
independent of the reader: the field must have the values that the damaged bits say, all other
fields their true ones. Everything else is structure or description; it must be refused or harmless.
(Octets of section 5 that no value depends on may differ beside them: the type of the original
values, how groups were split, and what stands for missing values where none are.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jma_bytes import PRESSURE, SURFACE, Grid
from jma_damage import damaged
from jma_decoding import Decoded, fields
from jma_files import write_archive, write_operational
from jma_products import (
    SMALL,
    write_guidance,
    write_meps_rain,
    write_radar_analysis,
    write_short_range,
)
from scipy.interpolate import RegularGridInterpolator

from tenkizu.core.errors import DataError
from tenkizu.rain.fields import MSM24, field_pairs
from tenkizu.rain.msm.files import find_initial_times
from tenkizu.rain.msm.grib import select
from tenkizu.rain.msm.grids import LatLonGrid
from tenkizu.rain.msm.keys import FieldKey
from tenkizu.rain.msm.sample import read_initial_time

T0 = datetime(2020, 7, 3, 12)
MEPS = Path(__file__).parents[1] / "data" / "grib"
MEPS /= "Z__C_RJTD_20190605000000_MEPS_GPV_Rjp_L-pall_FH00_first20_grib2.bin"

Place = tuple[str, int]
"""A file and the position of a field in it."""

Maps = dict[str, np.ndarray]

Outcome = tuple[str, str, str]
"""The judgement, the damage, and what was found."""


@dataclass(frozen=True)
class Mutation:
    """One piece of damage: to which set of files, and the seed of everything else."""

    base: str
    seed: int


@dataclass(frozen=True)
class Head:
    """A section of one field in one file (by its place in the order of names) of a set."""

    base: str
    field: int
    section: int
    file: int = 0


@dataclass(frozen=True, eq=False)
class Base:
    """Files that are whole, how they are read and what they hold.

    Attributes:
        files: contents by name.
        others: true files with these names, but of another initial time.
        read: reads all maps from a folder with such files; raises what the reader raises.
        sources: fields that a map is made of.
        made: a map from the values of those fields, in their order.
    """

    files: dict[str, bytes]
    others: dict[str, bytes]
    read: Callable[[Path], Maps]
    sources: dict[str, list[Place]]
    made: Callable[[str, list[np.ndarray]], np.ndarray]


def tried(mutation: Mutation) -> Outcome:
    """Damage files by a seed, read them and judge."""
    base = base_of(mutation.base)
    draw = np.random.default_rng([mutation.seed, *mutation.base.encode()])
    damage, files = damaged(base.files, base.others, draw)
    return outcome(mutation.base, files, damage)


def every_bit(head: Head) -> list[Outcome]:
    """What comes of each single bit of a section's head that flips."""
    base = base_of(head.base)
    name = sorted(base.files)[head.file]
    content = base.files[name]
    one = _decoded(content)[head.field]
    first = one.offsets.get(head.section, 0)
    length = len(one.sections[head.section]) if head.section else 16
    outcomes = []
    # Of the data of section 7 and the bitmap of section 6 only the first octets.
    for place in range(first, first + (min(length, 12) if head.section in (6, 7) else length)):
        for bit in range(8):
            new = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
            where = f"{name}: octet {place - first + 1}, bit {bit} of section {head.section}"
            outcomes.append(outcome(head.base, base.files | {name: new}, where))
    return outcomes


def outcome(base_name: str, files: dict[str, bytes], damage: str) -> Outcome:
    """Read damaged files and judge: the judgement, the damage, and what was found.

    ``refused`` by an error that names a damaged file; ``listed`` as an incomplete initial time;
    ``same`` values as without the damage; ``packed`` values, those that the damaged bits say;
    anything else is a failure: ``unnamed`` or ``wrong``.
    """
    base = base_of(base_name)
    changed = {
        name for name in base.files.keys() | files if files.get(name) != base.files.get(name)
    }
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            place = Path(folder, name)
            if name in changed:
                place.write_bytes(content)
            else:
                place.symlink_to(_intact(base_name) / name)
        try:
            found = base.read(Path(folder))
        except Incomplete as error:
            return "listed", damage, str(error)
        except DataError as error:
            named = any(name in str(error) for name in changed)
            return ("refused" if named else "unnamed"), damage, str(error)
    return judged(base, files, found, damage)


def judged(base: Base, files: dict[str, bytes], found: Maps, damage: str) -> Outcome:
    """Whether what was read is true, or else what the packed data now say."""
    truth = truth_of(base)
    differing = [name for name in truth if not _close(found[name], truth[name])]
    if not differing:
        return "same", damage, ""
    for name in differing:
        values = []
        for file, position in base.sources[name]:
            try:
                now = fields(files[file])
            except (ValueError, IndexError, KeyError) as error:
                return "wrong", damage, f"{name} was read from a broken file: {error}"
            before = _decoded(base.files[file])
            if len(now) != len(before):
                return "wrong", damage, f"{name} differs, fields came or went"
            if not only_packed(before[position], now[position]):
                return "wrong", damage, f"{name} differs, not by its packed data alone"
            try:
                values.append(now[position].values)
            except (ValueError, IndexError, KeyError) as error:
                return "wrong", damage, f"{name} has values, but its packed data: {error}"
        if not _close(found[name], base.made(name, values)):
            return "wrong", damage, f"{name} is not what its packed data say"
    return "packed", damage, ", ".join(differing)


def only_packed(before: Decoded, now: Decoded) -> bool:
    """Whether two fields differ at most in packed data, as the head of this file defines them."""
    if any(before.sections[i] != now.sections[i] for i in (1, 3, 4)):
        return False
    if any(len(before.sections[i]) != len(now.sections[i]) for i in (5, 6, 7)):
        return False
    template, size = before.octets(5, 10, 11), len(before.sections[5])
    free = set(range(17, size + 1)) if template == 200 else {*range(12, 20), 21}
    if template in (2, 3):
        free |= {22} | (set(range(24, 32)) if before.octets(5, 23, 23) == 0 else set())
    return all(
        before.sections[5][octet - 1] == now.sections[5][octet - 1]
        for octet in set(range(1, size + 1)) - free
    ) and (before.sections[6][:6] == now.sections[6][:6])


@lru_cache(maxsize=8)
def base_of(name: str) -> Base:
    """The files of that name: meps, guidance, radar, short_range, members, archive, operational."""
    if name == "meps":
        return _single(MEPS.read_bytes(), MEPS.name, PRESSURE)
    makers: dict[str, Callable[[Path, datetime], list[Path]]] = {
        "guidance": lambda f, t: write_guidance(f, t, grid=SMALL, probability=True),
        "radar": write_radar_analysis,
        "short_range": write_short_range,
        "members": lambda f, t: write_meps_rain(f, t, hours=(4, 5, 6), members=2),
        "archive": lambda f, t: write_archive(f, t, following=True, only_needed=True),
        "operational": lambda f, t: write_operational(
            f, t, only_needed=True, pressure_packing="spatial"
        ),
    }
    with TemporaryDirectory() as folder:
        made = [
            {path.name: path.read_bytes() for path in makers[name](Path(folder, str(i)), t0)}
            for i, t0 in enumerate((T0, T0 + timedelta(hours=3)))
        ]
    files = made[0]
    others = dict(zip(files, made[1].values(), strict=True))
    if name in ("archive", "operational"):
        return _initial_time(files, others)
    ((file, content),) = files.items()
    return _single(content, file, SMALL, others)


@lru_cache(maxsize=8)
def truth_of(base: Base) -> Maps:
    """All maps of the files without damage, by the independent decoder."""
    return {
        name: base.made(name, [_decoded(base.files[f])[i].values for f, i in places])
        for name, places in base.sources.items()
    }


class Incomplete(Exception):
    """No complete initial time is in the folder."""


def _single(content: bytes, name: str, grid: Grid, others: dict[str, bytes] | None = None) -> Base:
    """One file whose deterministic and ensemble fields are asked for by key; no probabilities."""
    wanted = [(i, one) for i, one in enumerate(_decoded(content)) if one.template != 9]
    keys = [_key(str(i), one) for i, one in wanted]
    expected = LatLonGrid(
        *(grid.nj, grid.ni),
        *(round(v, 6) for v in (grid.north, grid.west, grid.south, grid.east)),
        *(grid.dj, grid.di, 0),
    )
    if others is None:
        # Another day: only the first section of the real file can tell.
        others = {name: content[:31] + b"\x06" + content[32:]}

    def read(folder: Path) -> Maps:
        (path,) = folder.iterdir()
        t0 = datetime.strptime(path.name[10:24], "%Y%m%d%H%M%S")
        maps = {}
        for key, one in select(path, keys, np.datetime64(t0, "m")).items():
            if one.grid != expected:
                raise DataError("another grid", file=path, found=one.grid, expected=expected)
            maps[key.name] = one.values()
        return maps

    sources = {key.name: [(name, i)] for key, (i, _) in zip(keys, wanted, strict=True)}
    return Base({name: content}, others, read, sources, lambda _, values: values[0])


def _key(name: str, one: Decoded) -> FieldKey:
    """The key of a field, from its own octets."""
    minutes = {0: 1, 1: 60}[one.octets(4, 18, 18)]
    start, length, statistic = minutes * one.signed(4, 19, 22), 0, None
    end_octet = {8: 35, 11: 38, 50008: 35, 50009: 35}.get(one.template)
    if end_octet is not None:
        length = minutes * one.octets(4, end_octet + 15, end_octet + 18)
        statistic = one.octets(4, end_octet + 12, end_octet + 12)
    has_level = one.octets(4, 24, 24) != 255
    level = one.octets(4, 25, 28) / 10.0 ** one.signed(4, 24, 24) if has_level else None
    return FieldKey(
        name,
        *one.parameter,
        one.template,
        one.octets(4, 23, 23),
        () if level is None else (level,),
        start + length,
        length,
        statistic,
        one.octets(4, 36, 36) if one.template in (1, 11) else None,
    )


def _initial_time(files: dict[str, bytes], others: dict[str, bytes]) -> Base:
    """A whole initial time, as `convert` reads it."""
    names = field_pairs(MSM24)
    where: dict[str, Place] = {}
    for file, content in files.items():
        for i, one in enumerate(_decoded(content)):
            where[_name(one)] = file, i
    sources = {name: [where[name]] for name in names}
    for plane, hours in {
        **{"P": (1, 2, 3), "y4": (4,), "y5": (5,), "y6": (6,)},
        **{"S": (4, 5, 6), "N": (7, 8, 9)},
    }.items():
        sources[plane] = [where[f"rain{hour}"] for hour in hours]

    def read(folder: Path) -> Maps:
        ready = [one for one in find_initial_times(folder) if not one.missing]
        if not ready:
            raise Incomplete
        sample = read_initial_time(ready[0])
        maps = dict(zip(names, sample.fields, strict=True))
        return maps | dict(zip(("P", "y4", "y5", "y6", "S", "N"), sample.rain, strict=True))

    def made(name: str, values: list[np.ndarray]) -> np.ndarray:
        if "_" in name:
            return on_model_nodes(values[0])
        hours = [on_model_nodes(one) for one in values]
        return sum(np.where((one >= -1e-3) & (one < 0), 0, one) for one in hours)

    return Base(files, others, read, sources, made)


def _name(one: Decoded) -> str:
    """What a field of an MSM file is called in a store; rain by the hour of its end."""
    letters = {1: "Prmsl", 2: "U", 3: "V", 5: "GH", 0: "T", 8: "rain"}
    quantity = letters[one.parameter[2]] if one.parameter[1:] != (1, 1) else "R"
    lead = one.octets(4, 19, 22)
    kind, level = one.octets(4, 23, 23), one.octets(4, 25, 28)
    if quantity == "rain":
        return f"rain{lead + 1}"
    place = {100: f"{level}", 101: "", 103: "10m" if level == 10 else "2m"}[kind]
    return f"{quantity}{place}_ft{lead}"


def on_model_nodes(values: np.ndarray) -> np.ndarray:
    """Bilinear values at the nodes of the model grid, 480 x 480, from 46.95 N and 120 E."""
    grid = SURFACE if values.shape == (505, 481) else PRESSURE
    latitude, longitude = 46.95 - 0.05 * np.arange(480), 120 + 0.0625 * np.arange(480)
    at = RegularGridInterpolator((-grid.latitude, grid.longitude), values)
    points = np.stack(np.meshgrid(-latitude, longitude, indexing="ij"), -1)
    return at(points)


@lru_cache(maxsize=32)
def _decoded(content: bytes) -> list[Decoded]:
    return fields(content)


@lru_cache(maxsize=8)
def _intact(base: str) -> Path:
    """A folder with the files of a base, for as long as this process lives."""
    folder = TemporaryDirectory(prefix=f"{base}-")
    _FOLDERS.append(folder)
    for name, content in base_of(base).files.items():
        Path(folder.name, name).write_bytes(content)
    return Path(folder.name)


_FOLDERS: list[TemporaryDirectory[str]] = []


def _close(found: np.ndarray, truth: np.ndarray) -> bool:
    """Equal but for float32 and the order of sums; missing in the same cells."""
    if found.shape != truth.shape or not np.array_equal(np.isnan(found), np.isnan(truth)):
        return False
    there = ~np.isnan(truth)
    if not there.any():
        return True
    size = np.abs(truth[there]).max()
    return bool(np.abs(found[there] - truth[there]).max() <= 1e-6 * size + 1e-30)

"""Seeded damage to files: what disks, networks and people do to them."""

import struct
from collections.abc import Callable

import numpy as np
from jma_decoding import Decoded, fields

Files = dict[str, bytes]


def damaged(files: Files, others: Files, draw: np.random.Generator) -> tuple[str, Files]:
    """A copy of ``files`` with one kind of damage, and that damage in words.

    Args:
        files: contents by name, all whole.
        others: whole files of another initial time under these names.
        draw: decides everything.
    """
    kinds: dict[Callable[..., tuple[str, Files]], float] = {
        _flipped: 0.52,
        _overwritten: 0.10,
        _cut: 0.12,
        _shortened: 0.03,
        _lengthened: 0.03,
        _field_twice: 0.04,
        _field_lost: 0.03,
        _message_twice: 0.02,
        _exchanged: 0.03,
        _misfiled: 0.03,
        _misnamed: 0.02,
        _no_grib: 0.03,
    }
    kind = draw.choice(np.array(list(kinds), object), p=list(kinds.values()))
    name = str(draw.choice(sorted(files)))
    damage, new = kind(files, others, name, draw)
    return f"{name}: {damage}", new


def _flipped(files: Files, _: Files, name: str, draw: np.random.Generator) -> tuple[str, Files]:
    """One to three bits within one section of one field, or within section 0 or 8."""
    content = bytearray(files[name])
    kind = int(
        draw.choice([0, 1, 3, 4, 5, 6, 7, 8], p=[0.06, 0.1, 0.1, 0.26, 0.2, 0.05, 0.2, 0.03])
    )
    one = _any_field(files[name], draw)
    if kind in (0, 8):
        first, last = (0, 16) if kind == 0 else (len(content) - 4, len(content))
    else:
        first = one.offsets[kind]
        last = first + len(one.sections[kind])
        if kind == 7:
            head = draw.random() < 0.3
            first, last = (first, first + 5) if head else (first + 5, last)
    places = []
    for _ in range(draw.integers(1, 4)):
        place, bit = int(draw.integers(first, last)), int(draw.integers(8))
        content[place] ^= 1 << bit
        places.append(f"{place - first + 1}.{bit}")
    where = f"octets {', '.join(places)} of section {kind}"
    return f"bits flipped, {where} at {first}", files | {name: bytes(content)}


def _overwritten(files: Files, _: Files, name: str, draw: np.random.Generator) -> tuple[str, Files]:
    """Some bytes in a row replaced by zeros, ones or noise."""
    content = bytearray(files[name])
    one = _any_field(files[name], draw)
    near_head = draw.random() < 0.5
    first = one.offsets[int(draw.choice([4, 5, 6, 7]))] if near_head else 0
    first += int(draw.integers(40 if near_head else len(content) - 64))
    count = min(int(draw.integers(1, 65)), len(content) - first)
    fill = int(draw.integers(3))
    new = (bytes(count), b"\xff" * count, draw.bytes(count))[fill]
    content[first : first + count] = new
    return f"{count} bytes overwritten at {first}, kind {fill}", files | {name: bytes(content)}


def _cut(files: Files, _: Files, name: str, draw: np.random.Generator) -> tuple[str, Files]:
    """The end is lost, at any byte, near the head, or where a section ends."""
    content = files[name]
    ends = sorted(end for one in fields(content) for end in one.offsets.values())
    at = (
        int(draw.integers(len(content))),
        int(draw.integers(min(400, len(content)))),
        int(draw.choice(ends)),
        len(content) - int(draw.integers(1, 6)),
    )[int(draw.integers(4))]
    return f"cut at byte {at} of {len(content)}", files | {name: content[:at]}


def _shortened(files: Files, _: Files, name: str, draw: np.random.Generator) -> tuple[str, Files]:
    """Bytes in the middle are lost."""
    content = files[name]
    at, count = int(draw.integers(len(content))), int(draw.integers(1, 5000))
    return f"{count} bytes lost at {at}", files | {name: content[:at] + content[at + count :]}


def _lengthened(files: Files, _: Files, name: str, draw: np.random.Generator) -> tuple[str, Files]:
    """Foreign bytes in the middle."""
    content = files[name]
    at, count = int(draw.integers(len(content) + 1)), int(draw.integers(1, 5000))
    new = content[:at] + draw.bytes(count) + content[at:]
    return f"{count} bytes too many at {at}", files | {name: new}


def _field_twice(files: Files, _: Files, name: str, draw: np.random.Generator) -> tuple[str, Files]:
    """Sections 4 to 7 of a field a second time, the message otherwise sound."""
    content = files[name]
    one = _any_field(content, draw)
    first, last = one.offsets[4], one.offsets[7] + len(one.sections[7])
    new = content[:-4] + content[first:last] + b"7777"
    return f"the field at {first} twice", files | {name: _sized(new)}


def _field_lost(files: Files, _: Files, name: str, draw: np.random.Generator) -> tuple[str, Files]:
    """Sections 4 to 7 of a field are gone, the message otherwise sound."""
    content = files[name]
    one = _any_field(content, draw)
    first, last = one.offsets[4], one.offsets[7] + len(one.sections[7])
    return f"the field at {first} lost", files | {name: _sized(content[:first] + content[last:])}


def _message_twice(
    files: Files, _: Files, name: str, draw: np.random.Generator
) -> tuple[str, Files]:
    """The whole message a second time."""
    return "doubled", files | {name: files[name] * 2}


def _exchanged(
    files: Files, others: Files, name: str, draw: np.random.Generator
) -> tuple[str, Files]:
    """Two files under each other's name; a file alone is taken for another one."""
    rest = sorted(set(files) - {name})
    if not rest:
        return _misfiled(files, others, name, draw)
    other = str(draw.choice(rest))
    return f"exchanged with {other}", files | {name: files[other], other: files[name]}


def _misfiled(
    files: Files, others: Files, name: str, draw: np.random.Generator
) -> tuple[str, Files]:
    """The file of another initial time under this name."""
    return "of another initial time", files | {name: others[name]}


def _misnamed(files: Files, _: Files, name: str, draw: np.random.Generator) -> tuple[str, Files]:
    """The name says another day or is no name of JMA's."""
    new = name[:16] + "28" + name[18:] if draw.random() < 0.5 or len(files) == 1 else "copy_of.bin"
    rest = {other: content for other, content in files.items() if other != name}
    return f"named {new}", rest | {new: files[name]}


def _no_grib(files: Files, _: Files, name: str, draw: np.random.Generator) -> tuple[str, Files]:
    """Nothing, text, zeros, noise, or GRIB of edition 1."""
    content = files[name]
    kind = int(draw.integers(5))
    page = b"<html><body>404 Not Found</body></html>\n"
    noise = draw.bytes(min(len(content), 10_000))
    first_edition = content[:7] + b"\x01" + content[8:]
    new = (b"", page, bytes(len(content)), noise, first_edition)[kind]
    return f"no GRIB2, kind {kind}", files | {name: new}


def _any_field(content: bytes, draw: np.random.Generator) -> Decoded:
    found = fields(content)
    return found[int(draw.integers(len(found)))]


def _sized(message: bytes) -> bytes:
    """The message with its true length in section 0."""
    return message[:8] + struct.pack(">Q", len(message)) + message[16:]

"""The sections of GRIB2 messages: every field of a file, with the bytes that define it.

One message may hold many fields: sections 2 to 7 repeat, and a field takes what it does not
restate from the fields before it. Here the whole file is walked, so nothing depends on where a
library stopped in the file before. Lengths are checked before they are used. Bitmaps and packed
data stay in the file until they are asked for: most fields of a forecast are not.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tenkizu.core.errors import DataError

COPY_AGAIN = "copy or download the file again"

_START = 16
"""Bytes of section 0."""

_GAP = 256
"""Most bytes between two messages: bulletin headers and padding, but no lost message."""

_BUFFER = 1024
"""Bytes read at once: the small sections of a field, not much of its data."""

_LEAST = {1: 21, 2: 5, 3: 14, 4: 9, 5: 11, 6: 6, 7: 5}
"""Least length of each section."""

_MAY_FOLLOW = {1: (2, 3), 2: (3,), 3: (4,), 4: (5,), 5: (6,), 6: (7,), 7: (2, 3, 4)}


class Extent(NamedTuple):
    """Where a section lies in its file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class RawField:
    """The sections of one field.

    Attributes:
        file: where it is.
        stamp: inode, size and time of the file when it was walked.
        discipline: from section 0.
        identification: section 1.
        grid: section 3.
        product: section 4.
        packing: section 5.
        bitmap: indicator of section 6, as the file has it.
        defined_bitmap: the last section 6 of the message that does not refer to an earlier one;
            None before the first.
        data: section 7.
    """

    file: Path
    stamp: tuple[int, int, int]
    discipline: int
    identification: bytes
    grid: bytes
    product: bytes
    packing: bytes
    bitmap: int
    defined_bitmap: Extent | None
    data: Extent

    def read(self, *extents: Extent) -> list[bytes]:
        """Sections that lie in the file.

        Raises:
            DataError: the file is gone or is another than before.
        """
        try:
            with self.file.open("rb", buffering=0) as stream:
                same = _stamp(stream) == self.stamp
                parts = [
                    stream.read(one.length) if stream.seek(one.offset) >= 0 else b""
                    for one in extents
                ]
        except OSError as error:
            raise _unreadable(self.file, error) from error
        if not same or list(map(len, parts)) != [one.length for one in extents]:
            raise DataError(
                "the file changed while it was read",
                file=self.file,
                next_step="try again when it is complete",
            )
        return parts


def number(section: bytes, octet: int, length: int = 1) -> int:
    """The unsigned whole number at an octet, counted from 1 as the manual on codes does."""
    return int.from_bytes(section[octet - 1 : octet - 1 + length], "big")


def signed(section: bytes, octet: int, length: int = 1) -> int:
    """The whole number at an octet whose highest bit is its sign.

    Some programs write two's complement; in longer numbers a magnitude of more than half the
    range tells them.
    """
    value, top = number(section, octet, length), 1 << (8 * length - 1)
    if value < top:
        return value
    return value - 2 * top if length > 1 and value >= top + top // 2 else top - value


def raw_fields(path: Path) -> Iterator[RawField]:
    """Every field of a GRIB2 file, in order.

    Raises:
        DataError: the file cannot be read, is no GRIB2 file, or its messages are not whole.
    """
    try:
        with path.open("rb", buffering=_BUFFER) as stream:
            stamp = _stamp(stream)
            for start, end in _messages(stream, path, stamp[1]):
                yield from _fields(stream, path, stamp, start, end)
    except OSError as error:
        raise _unreadable(path, error) from error


def _stamp(stream: BinaryIO) -> tuple[int, int, int]:
    status = os.fstat(stream.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def _messages(stream: BinaryIO, path: Path, size: int) -> Iterator[tuple[int, int]]:
    """Where every message of a file begins and ends."""
    if size == 0:
        raise DataError("an empty file", file=path, next_step=COPY_AGAIN)
    offset = 0
    while offset < size:
        stream.seek(offset)
        head = stream.read(_GAP + _START)
        gap = head.find(b"GRIB", 0, _GAP + 4)
        if gap < 0:
            if offset and offset + len(head) == size and not head.strip(b"\x00\r\n\x03 "):
                return
            raise DataError(
                "bytes that are not GRIB after a message" if offset else "not a GRIB file",
                file=path,
                found=f"{head[:8]!r} at byte {offset}",
                expected="b'GRIB'",
                next_step=COPY_AGAIN,
            )
        offset, head = offset + gap, head[gap : gap + _START]
        if len(head) < _START:
            raise _broken(path, offset, "the message is cut off", f"{len(head)} bytes", _START)
        if head[7] != 2:
            raise DataError(
                "another edition of GRIB",
                file=path,
                found=head[7],
                expected=2,
                next_step="convert it: grib_set -s edition=2 IN OUT",
            )
        length = number(head, 9, 8)
        if not _START + 4 <= length <= size - offset:
            found = f"{size - offset} bytes"
            raise _broken(path, offset, "the message is cut off", found, f"{length} bytes")
        yield offset, offset + length
        offset += length


def _fields(
    stream: BinaryIO, path: Path, stamp: tuple[int, int, int], start: int, end: int
) -> Iterator[RawField]:
    """Every field of the message between two places in a file."""
    stream.seek(start)
    discipline = number(stream.read(_START), 7)
    parts: dict[int, bytes] = {}
    indicator, defined = 255, None
    position = start + _START
    allowed: tuple[int, ...] = (1,)
    while position < end - 4:
        head = stream.read(6)
        length, kind = number(head, 1, 4), number(head, 5)
        if kind not in allowed or not _LEAST[kind] <= length <= end - 4 - position:
            raise _broken(
                path,
                position,
                "a section is not what must come here",
                f"section {kind} of {length} bytes",
                f"section {' or '.join(map(str, allowed))} within {end - 4 - position} bytes",
            )
        extent = Extent(position, length)
        position, allowed = position + length, _MAY_FOLLOW[kind]
        if kind == 6:
            indicator = head[5]
            defined = defined if indicator == 254 else extent
        elif kind == 7:
            yield RawField(
                path,
                stamp,
                discipline,
                parts[1],
                parts[3],
                parts[4],
                parts[5],
                indicator,
                defined,
                extent,
            )
        elif kind != 2:
            parts[kind] = head + stream.read(length - 6)
            continue
        stream.seek(position)
    if allowed != _MAY_FOLLOW[7] or stream.read(4) != b"7777":
        raise _broken(path, position, "the message does not end after a field", None, "7777")


def _broken(path: Path, offset: int, problem: str, found: object, expected: object) -> DataError:
    return DataError(
        f"{problem}, at byte {offset}",
        file=path,
        found=found,
        expected=expected,
        next_step=COPY_AGAIN,
    )


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        "the file cannot be read",
        file=path,
        found=error.strerror or error,
        next_step="check the path and its permissions",
    )

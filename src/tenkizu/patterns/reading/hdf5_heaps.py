"""A look at the string heaps of HDF5 files before the library reads them.

The attributes of NetCDF-4 files lie in global heap collections. In a damaged one, the HDF5 library
can follow an object of size 0 for ever, and no signal reaches Python then. The layout is given in
the HDF5 File Format Specification, section III.E, "Disk Format: Level 1E - Global Heap".
"""

import mmap
from pathlib import Path
from typing import IO

_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_HEADER = 16


def has_sound_heaps(source: Path | IO[bytes]) -> bool:
    """Whether the objects of every global heap collection in a file fill it from end to end."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return has_sound_heaps(stream)
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_SIGNATURE)
        while start >= 0:
            if not _is_sound(content, start):
                return False
            start = content.find(_SIGNATURE, start + _HEADER)
    return True


def _is_sound(content: mmap.mmap, start: int) -> bool:
    """Walk the objects of one collection, as the library would."""
    end = start + _number(content, start + 8, 8)
    if end > len(content):
        return False
    at = start + _HEADER
    while at + _HEADER <= end:
        index, size = _number(content, at, 2), _number(content, at + 8, 8)
        # Object 0 is the free space, whose size counts its header; others are padded to 8 bytes.
        length = size if index == 0 else _HEADER + (size + 7) // 8 * 8
        if length < _HEADER or at + length > end:
            return False
        at += length
    return True


def _number(content: mmap.mmap, start: int, size: int) -> int:
    """A little-endian number."""
    return int.from_bytes(content[start : start + size], "little")

"""What tells whether an input is still the one that a store was made from."""

import hashlib
from pathlib import Path

from tenkizu.core.errors import DataError
from tenkizu.patterns.reading.file_kinds import parts_of
from tenkizu.patterns.reading.map_files import READ_ERRORS
from tenkizu.patterns.reading.zarr_groups import METADATA, ZarrGroup, is_zarr, zarr_url

_PIECE = 2**20
_DESCRIBING = (*METADATA, ".zarray", ".zattrs")


def fingerprint(path: Path) -> str:
    """Size and hash of an input, cheap for any size of it.

    Of a file, the first and the last megabyte count; of a Zarr group its metadata, and the name
    and size of every chunk if it lies on this machine.

    Raises:
        DataError: there is neither a file nor a Zarr group, or its address does not answer.
    """
    if not is_zarr(path):
        if not path.is_file():
            parts_of(path)  # which says what is there instead
        size = path.stat().st_size
        with path.open("rb") as handle:
            digest = hashlib.sha256(handle.read(_PIECE))
            handle.seek(max(size - _PIECE, 0))
            digest.update(handle.read(_PIECE))
        return f"{size}:{digest.hexdigest()}"
    if zarr_url(path) is not None:
        described = _described(path)
        return f"zarr:{hashlib.sha256(described.encode()).hexdigest()}"
    digest, total = hashlib.sha256(), 0
    for file in sorted(member for member in path.rglob("*") if member.is_file()):
        size = file.stat().st_size
        total += size
        digest.update(f"{file.relative_to(path)} {size}\n".encode())
        if file.name in _DESCRIBING:
            digest.update(file.read_bytes())
    return f"{total}:{digest.hexdigest()}"


def _described(path: Path) -> str:
    """What a Zarr group at an address holds, as text."""
    try:
        return repr(sorted(ZarrGroup(path).describe().items()))
    except READ_ERRORS as error:
        raise DataError(
            "no Zarr group can be read at this address",
            file=zarr_url(path),
            found=(str(error).splitlines() or [type(error).__name__])[0][:200],
            next_step="check the address in data.files, and the connection",
        ) from error

"""What tells one input file from another without reading all of it."""

import hashlib
from pathlib import Path


def fingerprint(path: Path) -> str:
    """Size and hash of the first and last megabyte: cheap for any size of file."""
    size, piece = path.stat().st_size, 2**20
    with path.open("rb") as handle:
        digest = hashlib.sha256(handle.read(piece))
        handle.seek(max(size - piece, 0))
        digest.update(handle.read(piece))
    return f"{size}:{digest.hexdigest()}"

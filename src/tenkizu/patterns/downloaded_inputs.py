"""Whether inputs are still, byte for byte, what was downloaded and checked.

A download leaves a sidecar with size and SHA-256 beside each file. Values are plausible after many
a flipped bit, and files without checksums of their own would pass with one: so every file that has
a sidecar is compared with it before a map is read from it. Files without one are taken as they are.
"""

import errno
import fcntl
import hashlib
from collections.abc import Sequence
from pathlib import Path

from tenkizu.core.errors import DataError
from tenkizu.patterns.download.sidecar import file_sha256, read_sidecar, sidecar_of

_SHOWN = 16


def require_size(path: Path) -> None:
    """Raise if an input that was downloaded has another size than then.

    Raises:
        DataError: naming the file and both sizes.
    """
    known = _recorded(path)
    if known is not None and path.stat().st_size != known[0]:
        raise _changed(path, f"{path.stat().st_size} bytes", f"{known[0]} bytes")


def require_same_bytes(paths: Sequence[Path], folder: Path | None = None) -> None:
    """Raise if the SHA-256 of an input that was downloaded is another than then.

    Args:
        paths: files, and whatever else maps come from.
        folder: where it is noted which files were found to be the same, so that each is read once
            by whatever processes ask; they share the files out. A file that is written to later
            counts as another. None to read all.

    Raises:
        DataError: naming the file and both checksums.
    """
    busy = [path for path in paths if not _compared(path, folder, wait=False)]
    for path in busy:
        _compared(path, folder, wait=True)


def _compared(path: Path, folder: Path | None, wait: bool) -> bool:
    """Compare a file with its sidecar; False if another process is at it, and is not waited for."""
    known = _recorded(path)
    if known is None:
        return True
    if folder is None:
        _require_sha256(path, known[1])
        return True
    state = path.stat()
    identity = f"{path.absolute()} {state.st_size} {state.st_mtime_ns} {known[1]}"
    note = folder / f"verified_{hashlib.sha256(identity.encode()).hexdigest()[:_SHOWN]}"
    with note.open("ab") as handle:
        # It has content once the file was compared; the lock goes with its process, however.
        if note.stat().st_size:
            return True
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            # Anything else means that the file system has no locks: compare it in any case.
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
        if note.stat().st_size:
            return True
        _require_sha256(path, known[1])
        handle.write(b"the bytes are those of the sidecar\n")
    return True


def _recorded(path: Path) -> tuple[int, str] | None:
    """Size and SHA-256 of a file when it was downloaded; None if it was not."""
    known = read_sidecar(path) if path.is_file() else None
    size, sha256 = (known or {}).get("size"), (known or {}).get("sha256")
    return (size, sha256) if isinstance(size, int) and isinstance(sha256, str) else None


def _require_sha256(path: Path, expected: str) -> None:
    found = file_sha256(path)
    if found != expected:
        raise _changed(path, f"SHA-256 {found[:_SHOWN]}...", f"{expected[:_SHOWN]}...")


def _changed(path: Path, found: str, expected: str) -> DataError:
    record = sidecar_of(path).name
    return DataError(
        "not what was downloaded and checked: the file is damaged or was changed",
        file=path,
        found=found,
        expected=f"{expected} as {record} says",
        next_step="fetch it again: `tenkizu patterns download CONFIG --verify full`; if you "
        f"changed it on purpose, delete {record}",
    )

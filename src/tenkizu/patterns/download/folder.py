"""The folder of the data: who may write, what is there already and whether it can stay."""

import contextlib
import errno
import fcntl
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenkizu.core.errors import DataError, DownloadError
from tenkizu.patterns.download.sidecar import file_sha256, read_sidecar, write_sidecar
from tenkizu.patterns.download.verify import verify
from tenkizu.patterns.download.wanted import Request

log = logging.getLogger(__name__)

LOCK = ".download.lock"
LOG = "download.log"


@dataclass(frozen=True)
class Finding:
    """What lies at the place of a file.

    Attributes:
        state: ``there`` can stay; ``adopted`` too, though nothing is known of how it came;
            ``other`` must be fetched again; ``missing``.
        reason: why it must be.
    """

    state: Literal["there", "adopted", "other", "missing"]
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether nothing has to be fetched."""
        return self.state in ("there", "adopted")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Claim a folder for this process; it is given back when the process ends, however it ends.

    Raises:
        DownloadError: another process downloads into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Anything else means that the file system has no locks; go on without.
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise DownloadError(
                    "another process downloads into this folder",
                    file=folder,
                    next_step="wait until it has finished, or stop it, then run this again",
                ) from None
        for torn in folder.glob(".*.part.*"):  # of a run that was killed inside `atomic`
            torn.unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def log_to(folder: Path) -> Iterator[None]:
    """Send the package's log to ``download.log`` in the folder as well."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("tenkizu")
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def inspect(request: Request, full: bool) -> Finding:
    """What lies at the place of a request's file; nothing is changed.

    A file counts as there if its sidecar matches the request and the size, with ``full`` the
    checksum and every value, too. A file without such a sidecar is read whole.
    """
    path = request.path
    if not path.is_file():
        return Finding("missing")
    known = read_sidecar(path)
    matches = (
        known is not None
        and known.get("request_sha256") == request.sha256
        and known.get("size") == path.stat().st_size
    )
    if matches and not full:
        return Finding("there")
    if matches and known is not None and known.get("sha256") != file_sha256(path):
        return Finding("other", "its checksum is not that of the download")
    try:
        verify(path, request, exact=matches)
    except DataError as error:
        return Finding("other", str(error).partition("\n")[0])
    return Finding("there" if matches else "adopted")


def adopt(request: Request, server_id: str | None) -> None:
    """Write the sidecar of a file that was found to be what is wanted."""
    ids = [] if server_id is None else [server_id]
    how = "adopted" if server_id is None else "downloaded"
    write_sidecar(request, file_sha256(request.path), ids, how)
    log.info("%s was there already and is what was asked for", request.name)

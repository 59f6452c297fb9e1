"""A file from a server into ``NAME.part``, going on where an earlier attempt broke off."""

from collections.abc import Callable
from pathlib import Path

import requests

from tenkizu.core.errors import DataError
from tenkizu.patterns.download.patience import Patience
from tenkizu.patterns.download.server import Gone
from tenkizu.patterns.reading.file_kinds import FETCH_AGAIN

_BLOCK = 2**14
"""Small, since what is in a block is lost when the connection breaks."""


def transfer(
    session: requests.Session,
    url: str,
    part: Path,
    size: int,
    patience: Patience,
    timeout_s: float,
    tell: Callable[[int], None],
) -> None:
    """Fetch the bytes that ``part`` lacks.

    Args:
        session: for the connection; no key is sent, since results lie elsewhere.
        url: of the file.
        part: where to; the bytes in it must be of the same result.
        size: of the whole file, as the server announced it.
        patience: for broken connections.
        timeout_s: seconds of silence after which the connection is broken.
        tell: is told how many bytes are there.

    Raises:
        DataError: the server sent another number of bytes.
        Gone: the result has expired.
        DownloadError: the connection broke too often.
        OSError: the bytes cannot be written.
        Stopped: the run is to end.
    """

    def attempt() -> None:
        have = part.stat().st_size if part.exists() else 0
        if have > size:
            part.unlink()
            have = 0
        if have == size:
            return
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        # Said again, since variables of the environment would count before the session.
        check = session.verify
        with session.get(
            url, headers=headers, stream=True, timeout=timeout_s, verify=check
        ) as answer:
            if answer.status_code == 416:
                # The file ends before our part does: they are not the same.
                part.unlink()
                raise requests.ConnectionError("the server cannot go on at this byte")
            answer.raise_for_status()
            goes_on = answer.status_code == 206
            have = have if goes_on else 0
            with part.open("ab" if goes_on else "wb") as file:
                tell(have)
                for block in answer.iter_content(_BLOCK):
                    file.write(block)
                    have += len(block)
                    tell(have)
                    patience.wait(0.0)

    try:
        patience.persist(attempt, f"{part.name.removesuffix('.part')}: fetching")
    except requests.RequestException as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise Gone(f"its result has expired or cannot be fetched: {first_line}") from error
    found = part.stat().st_size
    if found != size:
        raise DataError(
            f"wrong size: {_kind(part)}",
            file=part,
            found=f"{found} bytes",
            expected=f"{size} bytes, as the server announced",
            next_step=FETCH_AGAIN,
        )


def _kind(path: Path) -> str:
    """What a file begins like, for messages."""
    with path.open("rb") as file:
        head = file.read(16).lstrip()
    for magic, name in ((b"\x89HDF", "a NetCDF file"), (b"<", "an HTML or XML page"),
                        (b"PK", "a ZIP archive"), (b"{", "a JSON text")):  # fmt: skip
        if head.startswith(magic):
            return name
    return f"a file that begins with {head[:8]!r}"

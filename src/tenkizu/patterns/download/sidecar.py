"""What is remembered beside the data: how each file came, and which requests are under way."""

import hashlib
import threading
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tenkizu import __version__
from tenkizu.core.errors import DataError
from tenkizu.core.store import read_json, write_json
from tenkizu.patterns.download.wanted import Request

STATE = "download_state.json"
"""File of the requests under way, in the folder of the data."""

_BLOCK = 2**20


def sidecar_of(path: Path) -> Path:
    """The file that describes a downloaded file: ``era5_msl_1991.nc.json``."""
    return path.with_name(path.name + ".json")


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """What is known of a downloaded file; None without a readable sidecar."""
    try:
        return read_json(sidecar_of(path), "the record of a download")
    except DataError:
        return None


def write_sidecar(request: Request, sha256: str, server_ids: list[str], how: str) -> None:
    """Record a file that lies under its final name.

    Args:
        request: what it answers.
        sha256: of its content.
        server_ids: of the requests that gave it; empty if that is not known.
        how: ``downloaded``, ``joined`` from months or ``adopted``.
    """
    write_json(
        sidecar_of(request.path),
        {
            "file": request.name,
            "how": how,
            "dataset": request.task.dataset,
            "request": request.inputs,
            "request_sha256": request.sha256,
            "server_ids": server_ids,
            "size": request.path.stat().st_size,
            "sha256": sha256,
            "client": f"ecmwf-datastores-client {version('ecmwf-datastores-client')}",
            "tenkizu": __version__,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class State:
    """The requests that were submitted and not fetched yet; each change is on disk at once.

    Args:
        folder: of the data.
        url: of the server, since a request counts only where it was sent; None for any.
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self._path = folder / STATE
        self._url = url
        self._lock = threading.Lock()
        try:
            found = read_json(self._path, "requests under way").get("requests")
        except DataError:
            # Without it, requests are submitted anew: nothing is lost but time.
            found = None
        self._requests: dict[str, dict[str, str]] = found if isinstance(found, dict) else {}

    def server_id(self, request: Request) -> str | None:
        """The id of a request under way."""
        entry = self._requests.get(request.name)
        if not isinstance(entry, dict):
            return None
        if entry.get("request_sha256") != request.sha256:
            return None
        if self._url is not None and entry.get("url") != self._url:
            return None
        return entry.get("server_id") or None

    def intended(self, request: Request) -> bool:
        """Whether a request was about to be submitted when a run ended."""
        return request.name in self._requests and self.server_id(request) is None

    def remember(self, request: Request, server_id: str | None) -> None:
        """Note a request that the server took, or with None one that it is about to get."""
        with self._lock:
            entry = {
                "server_id": server_id or "",
                "request_sha256": request.sha256,
                "url": self._url or "",
                "submitted": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            self._write({**self._requests, request.name: entry})

    def forget(self, request: Request) -> None:
        """Drop a request that is fetched, or that the server knows no more."""
        with self._lock:
            if request.name in self._requests:
                self._write({k: v for k, v in self._requests.items() if k != request.name})

    def _write(self, requests: dict[str, dict[str, str]]) -> None:
        # Kept in memory even if the disk is full: the run can still reach its requests.
        self._requests = requests
        write_json(self._path, {"requests": dict(sorted(requests.items()))})

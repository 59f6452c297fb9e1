"""One file: submitted or picked up, waited for, fetched, checked, and only then named."""

import logging
import os
import re
from collections.abc import Sequence

from ecmwf.datastores.processing import Remote

from tenkizu.core.errors import DataError, DownloadError
from tenkizu.core.store import fsync
from tenkizu.patterns.download.board import Board
from tenkizu.patterns.download.join import join
from tenkizu.patterns.download.server import Gone, Server
from tenkizu.patterns.download.sidecar import (
    State,
    file_sha256,
    read_sidecar,
    sidecar_of,
    write_sidecar,
)
from tenkizu.patterns.download.transfer import transfer
from tenkizu.patterns.download.verify import require_plain, verify
from tenkizu.patterns.download.wanted import Request, WantedFile

log = logging.getLogger(__name__)


class Fetcher:
    """Fetches files over one connection.

    Args:
        server: the connection.
        state: the requests under way.
        board: is told what each file is at.
    """

    def __init__(self, server: Server, state: State, board: Board) -> None:
        self.server = server
        self._state = state
        self._board = board

    def fetch(self, request: Request) -> None:
        """Bring the file of a request to its place, or leave what was there.

        A result that is not what was asked for is deleted and fetched once more; if it is still
        wrong, or the request failed or expired, it is submitted anew.

        Raises:
            DownloadError: none of the attempts gave a good file, or the server refuses.
            OSError: the disk is full or cannot be written.
            Stopped: the run is to end.
        """
        patience, same_result = self.server.patience, False
        for attempt in range(patience.retries + 1):
            try:
                self._attempt(request)
                return
            except (Gone, DataError) as error:
                problem: Exception = error
            request.part.unlink(missing_ok=True)
            # What the server has may be sound and only the transfer bad: looked at once more.
            same_result = isinstance(problem, DataError) and not same_result
            if not same_result:
                self._state.forget(request)
            text = str(problem).partition("\n")[0].replace(str(request.part), request.name)
            reason = text.removeprefix(f"{request.name}: ")
            if attempt < patience.retries:
                log.warning("%s: %s; fetching it again", request.name, reason)
                patience.pause(attempt)
        raise DownloadError(
            f"given up after {patience.retries + 1} attempts: {reason}",
            file=request.name,
            next_step="run the same command later; if it fails again, look at your requests at "
            "the data store",
        ) from problem

    def _attempt(self, request: Request) -> None:
        remote = self._remote(request)
        note = f"request {remote.request_id}"
        self._board.tell(request.name, "queued", note)
        results = self.server.wait(
            request,
            remote,
            lambda status: self._board.tell(
                request.name, "runs" if status == "running" else "queued", note
            ),
        )
        part, size = request.part, results.content_length
        self._board.tell(request.name, "downloads", size=size)
        transfer(
            self.server.session,
            results.location,
            part,
            size,
            self.server.patience,
            self.server.timeout_s,
            lambda done: self._board.received(request.name, done),
        )
        self._board.tell(request.name, "is checked")
        require_plain(part)
        verify(part, request)
        digest = file_sha256(part)
        fsync(part)
        part.replace(request.path)
        # Without a matching sidecar the file is checked again: so it comes last.
        write_sidecar(request, digest, [remote.request_id], "downloaded")
        self._state.forget(request)
        self._board.tell(request.name, "done")

    def _remote(self, request: Request) -> Remote:
        """The request at the server: the one under way, or a new one."""
        server_id = self._state.server_id(request)
        if server_id is not None:
            try:
                return self.server.attach(request, server_id)
            except Gone:
                log.info("%s: request %s is gone", request.name, server_id)
        # A part belongs to the result of one request.
        request.part.unlink(missing_ok=True)
        self._board.tell(request.name, "submits")
        perhaps_before = self._state.intended(request)
        self._state.remember(request, None)
        remote = self.server.submit(request, perhaps_before)
        self._state.remember(request, remote.request_id)
        return remote


def join_months(file: WantedFile, board: Board) -> None:
    """Make the file of a year from its months, check it, and delete them.

    Raises:
        DownloadError: a month is not what it was.
        OSError: the disk is full or cannot be written.
    """
    whole = file.whole
    board.tell(whole.name, "is joined")
    try:
        join(whole, file.parts)
    except DataError as error:
        raise DownloadError(
            "its months cannot be joined",
            file=whole.name,
            found=str(error).partition("\n")[0],
            next_step="run the same command with --verify full, which fetches what is damaged",
        ) from error
    except (OSError, RuntimeError) as error:
        # HDF5 puts the number of an error of the disk into its text.
        code = re.search(r"errno = (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(whole.path)) from error
    known = [read_sidecar(part.path) or {} for part in file.parts]
    ids = [server_id for record in known for server_id in record.get("server_ids", [])]
    write_sidecar(whole, file_sha256(whole.path), ids, "joined")
    discard(file.parts)
    board.tell(whole.name, "done")


def discard(months: Sequence[Request]) -> None:
    """Delete the files of months that are joined."""
    for month in months:
        month.path.unlink(missing_ok=True)
        sidecar_of(month.path).unlink(missing_ok=True)

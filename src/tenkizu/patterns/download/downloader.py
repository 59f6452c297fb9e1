"""From a configuration to checked files: what is missing is asked for, fetched, checked, kept."""

import errno
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tenkizu.core.errors import DownloadError
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.download.board import Board
from tenkizu.patterns.download.costs import require_affordable
from tenkizu.patterns.download.credentials import Credentials, find_credentials
from tenkizu.patterns.download.fetching import Fetcher, discard, join_months
from tenkizu.patterns.download.folder import Finding, adopt, inspect, locked
from tenkizu.patterns.download.patience import Patience, Stopped
from tenkizu.patterns.download.server import KeyRefused, LicenceMissing, Server
from tenkizu.patterns.download.sidecar import State
from tenkizu.patterns.download.wanted import Request, WantedFile, wanted_files

log = logging.getLogger(__name__)

_LISTED = 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SECONDS_TO_END = 3.0
_AGAIN = "run the same command again: what is there is kept, and it goes on where it stopped"


class Interrupted(DownloadError):
    """The download was stopped by the user."""

    exit_code = 130


@dataclass(frozen=True, eq=False)
class Task:
    """Work for a thread: a request to fetch, or None where only the months are to be joined."""

    file: WantedFile
    request: Request | None


def download(config: PatternsConfig, board: Board | None = None) -> list[Path]:
    """Fetch the ERA5 files of a configuration that are not there; returns the paths of all.

    At most four requests are under way at once. Each file is written as ``NAME.part``, checked and
    renamed; a sidecar ``NAME.json`` says how it came. A run that was killed goes on with the
    requests that it had submitted.

    Args:
        config: with ``data.source: era5`` and the section ``download``.
        board: is told what each file is at.

    Raises:
        ConfigError: the configuration asks for nothing that can be downloaded.
        DownloadError: no credentials, a refused key, costs over the limit, a full disk; or, at the
            end, the list of the files that could not be fetched, the others being there.
        Interrupted: Ctrl-C.
    """
    settings, board = config.download, board or Board()
    files = wanted_files(config)
    folder = files[0].whole.path.parent
    try:
        with locked(folder):
            tasks = _tasks(files, settings.verify == "full", board, folder)
            if tasks:
                credentials = find_credentials(settings.url)
                log.info("data store %s, key of %s", credentials.url, credentials.source)
                _run(config, tasks, credentials, State(folder, credentials.url), board)
    except OSError as error:
        raise _disk_error(error, folder) from error
    except KeyboardInterrupt:
        raise Interrupted("interrupted", file=folder, next_step=_AGAIN) from None
    return [file.whole.path for file in files]


def survey(files: Sequence[WantedFile], full: bool = False) -> dict[str, Finding]:
    """What lies at the place of each file and, for a file that is missing, of each of its months.

    Nothing is changed.
    """
    found = {}
    for file in files:
        found[file.whole.name] = inspect(file.whole, full)
        if file.joined and not found[file.whole.name].usable:
            found |= {part.name: inspect(part, full) for part in file.parts}
    return found


def _tasks(files: list[WantedFile], full: bool, board: Board, folder: Path) -> list[Task]:
    """What is left to do; files that can stay get their sidecars."""
    tasks = []
    known = State(folder)
    for file in files:
        found = survey([file], full)
        whole = found[file.whole.name]
        for request in (file.whole, *file.parts):
            finding = found.get(request.name)
            if finding is None or not finding.usable:
                continue
            if finding.state == "adopted":
                # Killed between the file and its sidecar, the id is still known.
                adopt(request, known.server_id(request))
            known.forget(request)
            request.part.unlink(missing_ok=True)
        if whole.usable:
            board.tell(file.whole.name, "there")
            if file.joined:
                discard(file.parts)
            continue
        if whole.reason:
            log.warning("%s is fetched again: %s", file.whole.name, whole.reason)
        missing = [part for part in file.parts if not found[part.name].usable]
        for request in missing:
            board.tell(request.name, "waits", size=request.estimated_bytes)
        tasks += [Task(file, request) for request in missing] or [Task(file, None)]
    return tasks


def _run(
    config: PatternsConfig,
    tasks: list[Task],
    credentials: Credentials,
    state: State,
    board: Board,
) -> None:
    """Do all tasks.

    Raises:
        DownloadError: some failed, or none can be done.
        Interrupted: Ctrl-C.
    """
    settings = config.download
    patience = Patience(settings.retries, settings.retry_pause_s)
    servers = [
        Server(credentials, patience, settings.timeout_s, settings.poll_s)
        for _ in range(settings.parallel)
    ]
    servers[0].check_key()
    # Requests that are under way come first: they count among those at the server.
    tasks = sorted(tasks, key=lambda t: t.request is None or state.server_id(t.request) is None)
    fresh = [t.request for t in tasks if t.request and state.server_id(t.request) is None]
    require_affordable(servers[0], fresh)
    crew = Crew(tasks, [Fetcher(server, state, board) for server in servers], board)
    try:
        crew.work()
    except KeyboardInterrupt:
        patience.stop.set()
        crew.leave()
        under_way = sum(1 for t in tasks if t.request and state.server_id(t.request))
        raise Interrupted(
            "interrupted",
            file=state.folder,
            found=f"{under_way} requests under way, which go on at the server",
            next_step=_AGAIN,
        ) from None
    crew.conclude(state.folder)


class Crew:
    """Threads that take tasks from one queue, each with a connection of its own.

    They are daemons: a thread that waits for the server does not keep the process.
    """

    def __init__(self, tasks: list[Task], fetchers: list[Fetcher], board: Board) -> None:
        self._queue: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            self._queue.put(task)
        self._total = len(tasks)
        self._board = board
        self._lock = threading.Lock()
        self._left = {task.file: 0 for task in tasks}
        for task in tasks:
            self._left[task.file] += 1
        self._failures: dict[str, str] = {}
        self._unlicensed: dict[str, LicenceMissing] = {}
        self._fatal: Exception | None = None
        self._threads = [
            threading.Thread(target=self._serve, args=(fetcher,), daemon=True)
            for fetcher in fetchers
        ]
        self._stop = fetchers[0].server.patience.stop

    def work(self) -> None:
        """Wait until all is done or has failed."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def leave(self) -> None:
        """Give the threads a moment to end."""
        deadline = time.monotonic() + _SECONDS_TO_END
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def conclude(self, folder: Path) -> None:
        """Raise if not all is well.

        Raises:
            DownloadError: what stopped the run, or the list of failures.
        """
        if isinstance(self._fatal, OSError):
            raise _disk_error(self._fatal, folder) from self._fatal
        if self._fatal is not None:
            raise self._fatal
        if not self._failures:
            return
        lines = [f"{name}: {reason}" for name, reason in sorted(self._failures.items())]
        for line in lines:
            log.error("%s", line)
        more = len(lines) - _LISTED
        listed = lines[:_LISTED] + ([f"and {more} more, listed in the log"] if more > 0 else [])
        raise DownloadError(
            f"{len(lines)} of {self._total} files could not be fetched\n  " + "\n  ".join(listed),
            next_step=_AGAIN,
        )

    def _serve(self, fetcher: Fetcher) -> None:
        while not self._stop.is_set():
            try:
                task = self._queue.get_nowait()
            except queue.Empty:
                return
            try:
                self._do(task, fetcher)
            except Stopped:
                return
            except Exception as error:  # whatever it is, the main thread must learn of it
                with self._lock:
                    self._fatal = self._fatal or error
                self._stop.set()

    def _do(self, task: Task, fetcher: Fetcher) -> None:
        """Fetch a file, and join the year if its last month came."""
        name = task.request.name if task.request else task.file.whole.name
        try:
            if task.request is not None:
                unlicensed = self._unlicensed.get(task.request.task.dataset)
                if unlicensed is not None:
                    raise unlicensed
                fetcher.fetch(task.request)
            with self._lock:
                self._left[task.file] -= 1
                complete = self._left[task.file] == 0
            if task.file.joined and complete:
                name = task.file.whole.name
                join_months(task.file, self._board)
        except KeyRefused:
            raise
        except DownloadError as error:
            if isinstance(error, LicenceMissing) and task.request is not None:
                # The other files of the data set need not ask.
                self._unlicensed[task.request.task.dataset] = error
            self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        reason = str(error).removeprefix(f"{name}: ")
        with self._lock:
            self._failures[name] = reason.replace("\n", "\n  ")
        self._board.tell(name, "failed", reason.partition("\n")[0])


def _disk_error(error: OSError, folder: Path) -> DownloadError:
    """An error of writing in our words."""
    if error.errno in _NO_SPACE:
        return DownloadError(
            f"the disk is full ({error.strerror})",
            file=error.filename or folder,
            next_step="make room, or set data.raw_dir to another disk and move the files there; "
            + _AGAIN,
        )
    return DownloadError(
        f"cannot be written: {error.strerror or error}",
        file=error.filename or folder,
        next_step="see that the folder can be written to; " + _AGAIN,
    )

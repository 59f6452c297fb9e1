"""What every file of a download is at: told by the threads, read by whoever shows it."""

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

log = logging.getLogger(__name__)

Stage = Literal[
    "waits",
    "submits",
    "queued",
    "runs",
    "downloads",
    "is checked",
    "is joined",
    "done",
    "there",
    "failed",
]
ACTIVE: tuple[Stage, ...] = ("submits", "queued", "runs", "downloads", "is checked", "is joined")


@dataclass(frozen=True)
class Row:
    """A file.

    Attributes:
        name: of the file.
        stage: what it is at.
        note: what else there is to say.
        size: bytes to expect.
        done: bytes that are there.
        speed: bytes a second of this transfer.
    """

    name: str
    stage: Stage
    note: str = ""
    size: int = 0
    done: int = 0
    speed: float = 0.0


class Board:
    """Rows by name, in order; changes of stage go to the log.

    Args:
        level: of these log entries; a live table shows them already.
    """

    def __init__(self, level: int = logging.INFO) -> None:
        self._rows: dict[str, Row] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()
        self._level = level

    def tell(self, name: str, stage: Stage, note: str = "", size: int = 0) -> None:
        """A file enters a stage."""
        with self._lock:
            old = self._rows.get(name)
            if old is not None and (old.stage, old.note) == (stage, note):
                return
            self._rows[name] = Row(name, stage, note, size or (old.size if old else 0))
            self._begun.pop(name, None)
        if stage not in ("waits", "there"):
            log.log(self._level, "%s %s%s", name, stage, f": {note}" if note else "")

    def received(self, name: str, done: int) -> None:
        """So many bytes of a file are there."""
        now = time.monotonic()
        with self._lock:
            begun, first = self._begun.setdefault(name, (now, done))
            speed = (done - first) / (now - begun) if now > begun else 0.0
            self._rows[name] = replace(self._rows[name], done=done, speed=max(speed, 0.0))

    def rows(self) -> list[Row]:
        """All files, as they are now."""
        with self._lock:
            return list(self._rows.values())

    def counts(self) -> Counter[Stage]:
        """How many files are at each stage."""
        return Counter(row.stage for row in self.rows())

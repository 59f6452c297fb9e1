"""A download as a live table: what waits, runs, downloads, is done."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tenkizu.patterns.download.board import ACTIVE, Board, Row, Stage

_WORDS: dict[Stage, str] = {
    **{"there": "there", "done": "done", "failed": "failed", "submits": "being submitted"},
    **{"queued": "queued", "runs": "running", "downloads": "downloading", "waits": "waiting"},
}
_ENDED = 6
_REFRESH_S = 0.5


@contextmanager
def live_board() -> Iterator[Board]:
    """A board that is shown while it is in use; its log lines, if there is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Board()
        return
    board = Board(logging.DEBUG)
    with Live(Picture(board), console=console, refresh_per_second=1 / _REFRESH_S, transient=False):
        yield board


class Picture:
    """What a board looks like at the moment at which it is drawn."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._begun = time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The files that something happens to, the last that ended, and counts of all."""
        rows = self._board.rows()
        active = [row for row in rows if row.stage in ACTIVE]
        ended = [row for row in rows if row.stage in ("done", "failed")][-_ENDED:]
        if active or ended:
            yield _table([*ended, *active])
        yield Text(self._summary(rows))

    def _summary(self, rows: list[Row]) -> str:
        """``12 done, 3 run, 200 wait; 310 of about 6400 MB, 2.1 MB/s, 0:04:10``."""
        counts = self._board.counts()
        parts = [f"{counts[stage]} {word}" for stage, word in _WORDS.items() if counts[stage]]
        wanted = [row for row in rows if row.stage not in ("there", "failed")]
        done = sum(row.size if row.stage == "done" else row.done for row in wanted)
        speed = sum(row.speed for row in wanted if row.stage == "downloads")
        seconds = int(time.monotonic() - self._begun)
        clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        total = sum(row.size for row in wanted)
        return (
            f"{', '.join(parts) or 'looking at what is there'}; "
            f"{megabytes(done)} of about {megabytes(total)}, {megabytes(speed)}/s, {clock}"
        )


def megabytes(size: float) -> str:
    """A size to read: ``12.3 MB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e10 else f"{size / 1e6:.1f} MB"


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(("file", "", "received", "speed", "")):
        table.add_column(column, justify="right" if i in (2, 3) else "left", no_wrap=i < 4)
    for row in rows:
        got = f"{megabytes(row.done)} of {megabytes(row.size)}" if row.done else ""
        speed = f"{megabytes(row.speed)}/s" if row.stage == "downloads" and row.speed else ""
        style = {"done": "dim", "failed": "red"}.get(row.stage, "")
        table.add_row(row.name, row.stage, got, speed, row.note, style=style)
    return table

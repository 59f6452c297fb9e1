"""What cannot be read is left out: that is logged at once, and listed when the rest is done."""

import logging
from collections.abc import Iterable

from tenkizu.core.errors import DataError

log = logging.getLogger(__name__)


def log_left_out(label: str, error: DataError) -> None:
    """Log that a window or a file is left out, and why."""
    log.warning("%s is left out: %s", label, _first_line(error))


def left_out_error(
    source: str,
    counts: Iterable[tuple[int, int, str]],
    reasons: Iterable[tuple[str, DataError]],
    outcome: str,
) -> DataError:
    """What is said at the end.

    Args:
        source: what the input is called.
        counts: how many were left out, of how many, and what they are: ``(2, 4, "windows")``.
        reasons: what each is called, and its error.
        outcome: what became of the others.
    """
    said = " and ".join(f"{count} of {total} {unit}" for count, total, unit in counts if count)
    lines = [f"\n  {label}: {_first_line(error)}" for label, error in reasons]
    return DataError(
        f"{said} could not be split: {outcome}" + "".join(lines),
        file=source,
        next_step="fetch the files of these again, and repeat the command",
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]

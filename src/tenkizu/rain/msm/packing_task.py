"""One initial time, decoded and packed into a file: what a worker of `convert` does."""

import threading
from dataclasses import dataclass
from pathlib import Path

from tenkizu.core.errors import DataError, TenkizuError
from tenkizu.rain.msm.files import InitialTime
from tenkizu.rain.msm.monthly_writing import named_maps, write_part
from tenkizu.rain.msm.variables import FOLLOWING

_DECODING = threading.Lock()
"""The state of ecCodes belongs to the whole process, and Dask works in several threads."""


@dataclass(frozen=True)
class PackTask:
    """An initial time to be decoded and packed.

    Attributes:
        files: where it is.
        path: the file to write.
        key: of settings and inputs, kept in the file.
        following: whether to keep N.
        crop: first row and column, rows, columns of the model grid; None for all.
        compression: of the file.
    """

    files: InitialTime
    path: Path
    key: str
    following: bool
    crop: tuple[int, int, int, int] | None
    compression: str


def pack(task: PackTask) -> None:
    """Decode an initial time and write it to its file.

    Raises:
        DataError: it cannot be decoded, whatever the reason.
        OSError: the file cannot be written.
    """
    # Only workers need ecCodes.
    from tenkizu.rain.msm.sample import read_initial_time

    try:
        with _DECODING:
            sample = read_initial_time(task.files, task.following, task.crop)
    except TenkizuError:
        raise
    except Exception as error:
        # What a damaged file makes a library raise is not known beforehand.
        raise DataError(
            f"cannot be decoded: {type(error).__name__}: {error}",
            file=", ".join(path.name for path in task.files.files.values()),
        ) from error
    maps = named_maps(sample.fields, sample.rain)
    if not task.following:
        del maps[FOLLOWING]
    attributes = {"key": task.key, "negatives_zeroed": sample.negatives_zeroed}
    write_part(task.path, maps, task.compression, attributes)

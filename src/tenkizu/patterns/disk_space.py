"""Whether a disk holds what is to be written, before and while it is."""

import contextlib
import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tenkizu.core.errors import DataError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HDF5_SAYS = re.compile(r"errno = (\d+)")


def require_space(folder: Path, needed: float) -> None:
    """Refuse to begin what will not fit.

    Args:
        folder: on the disk that is written to; it need not exist.
        needed: bytes.

    Raises:
        DataError: less is free.
    """
    free = _free(folder)
    if free < needed:
        raise DataError(
            "not enough space on the disk",
            file=folder,
            found=f"{_gb(free)} free",
            expected=f"about {_gb(needed)}",
            next_step="free some, choose a data.store on another disk, or write less: "
            "data.netcdf=false, data.coarsen=2, fewer data.years",
        )


@contextlib.contextmanager
def full_disk_explained(folder: Path, needed: float) -> Iterator[None]:
    """Turn the error of a full disk, quota or file size limit into one that says what is needed.

    Args:
        folder: that is written to.
        needed: bytes that were to be written in all.
    """
    try:
        yield
    except OSError as error:
        said = _HDF5_SAYS.search(str(error))
        number = error.errno or (int(said[1]) if said else 0)
        if number not in _FULL:
            raise
        raise DataError(
            f"the disk is full ({errno.errorcode[number]})",
            file=folder,
            found=f"{_gb(_free(folder))} free",
            expected=f"about {_gb(needed)} in all",
            next_step="free some and run this again: finished days are kept, and a store that "
            "stood here before is untouched",
        ) from error


def _free(folder: Path) -> int:
    """Bytes a user may still write to the disk of a folder, or of the first parent that exists."""
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"

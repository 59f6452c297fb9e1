"""Memory of the C library's heap."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LARGEST = 2**30
_LARGEST_SPARINGLY, _KEPT_SPARINGLY = 4_000_000, 2**27


def keep_freed_memory(sparingly: bool = False) -> bool:
    """Let this process keep blocks up to 1 GB that it frees, and use them again.

    By default glibc gives blocks over some MB back to the system at once. Each training step on
    CPU then meets its activations as new pages, which the system must clear first: up to half of
    the time of a small convolutional network. The price is that memory stays at its highest, and
    above what is in use at any time: blocks of one step lie between those of another.

    Args:
        sparingly: for one who gives time for memory: blocks over 4 MB go back at once.

    Returns:
        Whether the C library took the setting; others than glibc have no such setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    largest, kept = (_LARGEST_SPARINGLY, _KEPT_SPARINGLY) if sparingly else (_LARGEST, 2**31 - 1)
    return bool(mallopt(_MMAP_THRESHOLD, largest)) and bool(mallopt(_TRIM_THRESHOLD, kept))

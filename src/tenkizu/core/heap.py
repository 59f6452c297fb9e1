"""Memory of the C library's heap."""

import ctypes
import sys
from collections.abc import Callable

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
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    largest, kept = (_LARGEST_SPARINGLY, _KEPT_SPARINGLY) if sparingly else (_LARGEST, 2**31 - 1)
    return bool(mallopt(_MMAP_THRESHOLD, largest)) and bool(mallopt(_TRIM_THRESHOLD, kept))


def give_freed_memory_back() -> bool:
    """Give all free pages of this process's heap to the system, those between used blocks too.

    The heap keeps what is freed below its highest used block: after a training step, the room of
    most gradients. Pages that are needed again are cleared by the system: some 0.1 s for 0.5 GB.

    Returns:
        Whether any went back; never with C libraries other than glibc.
    """
    malloc_trim = _of_glibc("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(0))


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function that the C library may have."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)

"""Memory of the C library's heap."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's mallopt
_LARGEST = 2**30
COMPACT = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:glibc.malloc.arena_max=1"
"""Value of GLIBC_TUNABLES with which freed blocks join their free neighbours at once, in one heap
for all threads."""


def keep_freed_memory() -> bool:
    """Let this process keep blocks up to 1 GB that it frees, and use them again.

    By default glibc gives blocks over some MB back to the system at once. Each training step on
    CPU then meets its activations as new pages, which the system must clear first: up to half of
    the time of a small convolutional network. The price is that memory stays at its highest. All
    threads then share one heap, since further ones do give large blocks back; call this before any
    of them starts.

    Returns:
        Whether the C library took the setting; others than glibc have no such setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_MMAP_THRESHOLD: _LARGEST, _TRIM_THRESHOLD: 2**31 - 1, _ARENA_MAX: 1}
    return all(mallopt(*setting) for setting in settings.items())


def restart_with_compact_heap() -> None:
    """Start this program anew, unless done already, with a heap without caches of small blocks.

    torch asks for aligned blocks, and glibc cuts each from one a little larger. The rest, some
    dozen bytes, goes to those caches and is soon in use elsewhere, so that the block, once freed,
    is too small for the next one of its size: a step's tensors are spread over far more memory
    than they need. glibc reads the setting only when a program starts. With other C libraries,
    where GLIBC_TUNABLES already says how many blocks are cached, and inside another program,
    whose arguments are not those in ``sys.argv``, nothing happens.
    """
    tunables, arguments = os.environ.get("GLIBC_TUNABLES", ""), sys.argv[1:]
    another = sys.orig_argv[len(sys.orig_argv) - len(arguments) :] != arguments
    if another or not _glibc() or "tcache_count" in tunables:
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, COMPACT]))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _glibc() -> bool:
    try:
        return "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, ValueError, OSError):
        return False

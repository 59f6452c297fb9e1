"""Freed memory is kept for the next step and fits it, where the C library can do so."""

import os
import subprocess
import sys

import pytest

from tenkizu import cli
from tenkizu.core.heap import COMPACT, restart_with_compact_heap

COUNT = """
import resource
import numpy as np
from tenkizu.core.heap import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = [new_pages() for _ in range(3)]
taken = keep_freed_memory()
print(taken, min(before), [new_pages() for _ in range(3)][-1])
"""


THREADS = """
import resource
from threading import Thread
import numpy as np
from tenkizu.core.heap import keep_freed_memory

keep_freed_memory()
found = []

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MB
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

for _ in range(3):
    thread = Thread(target=new_pages)
    thread.start()
    thread.join()
print(found[0], found[-1])
"""

ALIGNED = """
import ctypes
from tenkizu.core.heap import keep_freed_memory, restart_with_compact_heap

RESTART
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

class Heap(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc.mallinfo2.restype = Heap
block = ctypes.c_void_p()
small = []
for _ in range(30):
    # A tensor, small blocks of someone else, and the tensor is freed.
    libc.posix_memalign(ctypes.byref(block), 64, 4_000_000)
    small += [libc.malloc(size) for size in range(24, 130, 16) for _ in range(10)]
    libc.free(block)
print(libc.mallinfo2().arena)
"""

COMMAND = """
import os
import sys
from tenkizu.core.heap import restart_with_compact_heap

print(os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), flush=True)
restart_with_compact_heap()
print("goes on", flush=True)
"""


def output(code, *words, **environment):
    """What a program of its own prints."""
    command = [sys.executable, "-c", code, *words]
    kept = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, env=kept | environment
    )
    return run.stdout


def test_a_freed_block_is_used_again_without_new_pages():
    taken, before, after = output(COUNT).split()
    assert taken == "True"
    assert int(after) < int(before) / 4


def test_a_thread_uses_what_another_freed():
    first, last = map(int, output(THREADS).split())
    assert last < first / 4


def test_a_compact_heap_has_room_for_a_block_where_one_was_freed():
    usual = int(output(ALIGNED.replace("RESTART", "")))
    compact = int(output(ALIGNED.replace("RESTART", "restart_with_compact_heap()")))
    assert usual > 20 * 4_000_000
    assert compact < 3 * 4_000_000


@pytest.mark.parametrize("before", [None, "glibc.malloc.perturb=0"])
def test_the_program_starts_anew_once_with_its_arguments(before):
    environment = {} if before is None else {"GLIBC_TUNABLES": before}
    first, second, goes_on = output(COMMAND, "rain", "train", **environment).splitlines()
    pid, rest = first.split(maxsplit=1)
    assert rest == f"['rain', 'train'] {before}"
    tunables = f"{before}:{COMPACT}" if before else COMPACT
    assert second == f"{pid} ['rain', 'train'] {tunables}"
    assert goes_on == "goes on"


def test_who_has_set_the_caches_is_left_alone():
    found = output(COMMAND, GLIBC_TUNABLES="glibc.malloc.tcache_count=3")
    assert [line.split()[-1] for line in found.splitlines()] == [
        "glibc.malloc.tcache_count=3", "on",
    ]  # fmt: skip


def test_a_program_that_only_calls_the_command_is_left_alone():
    code = "import sys\nsys.argv = ['tenkizu', 'rain', 'train']" + COMMAND
    first, goes_on = output(code, "-q", "tests").splitlines()
    assert first.endswith("None")
    assert goes_on == "goes on"


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: None)
    monkeypatch.setattr(sys, "argv", sys.orig_argv)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    restart_with_compact_heap()
    assert "GLIBC_TUNABLES" not in os.environ


def test_only_training_starts_anew(monkeypatch):
    began = []
    monkeypatch.setattr(cli, "restart_with_compact_heap", lambda: began.append(1))
    monkeypatch.setattr(cli, "app", lambda: None)
    for words, count in ((["models"], 0), (["rain", "train", "a.yaml"], 1)):
        monkeypatch.setattr(sys, "argv", ["tenkizu", *words])
        cli.main()
        assert len(began) == count

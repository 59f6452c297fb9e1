"""Freed memory is kept for the next step, where the C library can do so."""

import subprocess
import sys

import pytest

COUNT = """
import resource
import numpy as np
import sys
from tenkizu.core.heap import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = [new_pages() for _ in range(3)]
taken = keep_freed_memory(sparingly=bool(sys.argv[1:]))
print(taken, min(before), [new_pages() for _ in range(3)][-1])
"""


def pages(*words):
    """New pages for a block of 64 MB, before and after the setting."""
    command = [sys.executable, "-c", COUNT, *words]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, before, after = run.stdout.split()
    assert taken == "True"
    return int(before), int(after)


def test_a_freed_block_is_used_again_without_new_pages():
    before, after = pages()
    assert after < before / 4


def test_sparingly_a_large_block_goes_back_at_once():
    before, after = pages("sparingly")
    assert after == pytest.approx(before, rel=0.1)

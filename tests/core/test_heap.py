"""Freed memory is kept for the next step, where the C library can do so."""

import subprocess
import sys

COUNT = """
import resource
import numpy as np
from tenkizu.core.heap import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = [new_pages() for _ in range(3)]
print(keep_freed_memory(), min(before), [new_pages() for _ in range(3)][-1])
"""


def test_a_freed_block_is_used_again_without_new_pages():
    run = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    taken, before, after = run.stdout.split()
    assert taken == "True"
    assert int(after) < int(before) / 4

"""ecCodes, loaded so that other libraries survive it: import ``eccodes`` from here.

The wheels of ecCodes bring a PROJ library of their own and make it known to the whole process. A
`pyproj` that is loaded afterwards (MetPy does so through xarray) finds that one in place of its
own, and the process crashes when it ends. Loaded before, it keeps its own.
"""

from contextlib import suppress

with suppress(ImportError):
    import pyproj  # noqa: F401

import eccodes

__all__ = ["eccodes"]

"""For all tests: libraries in an order in which they do not crash (tenkizu.core.grib_library)."""

import tenkizu.core.grib_library  # noqa: F401

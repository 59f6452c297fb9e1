"""How much of a file is missing, counted while its windows are read."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError

log = logging.getLogger(__name__)

WORTH_TELLING = 0.5
"""More missing cells than this share of all are told."""


class Coverage:
    """The missing cells of all windows of a file.

    Args:
        path: of the file.
        variable: name of the rain.
        windows: how many totals there are, those of each member counted.
    """

    def __init__(self, path: Path, variable: str, windows: int) -> None:
        self._path, self._variable, self._windows = path, variable, windows
        self._seen: set[tuple[np.datetime64, int]] = set()
        self._cells = self._missing = 0

    def count(self, start: np.datetime64, member: int, total: NDArray[np.float32]) -> None:
        """Count the total (H, W) of a window, once; log a large share when all are counted.

        Raises:
            DataError: it is the last one, and none had a valid cell.
        """
        if (start, member) in self._seen:
            return
        self._seen.add((start, member))
        self._cells += total.size
        self._missing += int(np.count_nonzero(np.isnan(total)))
        if len(self._seen) < self._windows:
            return
        if self._missing == self._cells:
            raise DataError(
                "no window has a cell with rain or without: all are missing",
                file=self._path,
                variable=self._variable,
                found=f"missing values only, in {self._windows} windows",
                expected="a number somewhere",
                next_step="compare its _FillValue and missing_value with what is stored, look "
                "whether each window misses one of its hours, or fetch the file again",
            )
        share = self._missing / self._cells
        if share > WORTH_TELLING:
            log.warning(
                "%s: %.0f %% of the cells of all windows are missing", self._path.name, 100 * share
            )

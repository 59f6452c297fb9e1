"""Does rain look like totals since a start, though nothing says so? Then it never decreases."""

import numpy as np
from numpy.typing import NDArray

_WET_MM = 0.1
_CELLS = 40_000
_FEW, _MANY = 5, 100


class GrowthWatch:
    """Compares each interval with the one before, while a file is read in the order of time.

    Rain falls less or stops somewhere from one hour to the next. Wet cells none of which decreases
    are a sign of totals since a start, when that goes on from the first rain of the file, or comes
    again and again, as where totals begin anew every few hours.

    Args:
        step_mm: what rounding or packing alone can take from a value.
    """

    def __init__(self, step_mm: float) -> None:
        self._step = step_mm
        self._last: tuple[int, NDArray[np.float32]] | None = None
        self._seen = -1
        self._pairs = self._times = self._grown = self._large = self._large_grown = 0
        self._never = True

    def look(self, index: int, field: NDArray[np.float32]) -> str | None:
        """What is suspicious when interval ``index`` (H, W) follows; None while nothing is."""
        stride = max(1, int(np.sqrt(field.size / _CELLS)))
        now = field[::stride, ::stride]
        last, self._last = self._last, (index, now.copy())
        if last is None or last[0] != index - 1 or index <= self._seen:
            return None
        self._seen = index
        wet = (last[1] > max(_WET_MM, 2 * self._step)) & ~np.isnan(now)
        cells = int(np.count_nonzero(wet))
        if cells < _FEW:
            return None
        change = now[wet].astype(np.float64) - last[1][wet]
        grown = bool(change.sum() > self._step * cells / 100)
        steady = not (change < -self._step).any()
        self._never &= steady
        self._times += 1
        self._pairs += cells
        self._grown += grown and steady
        if cells >= _MANY:
            self._large += 1
            self._large_grown += grown and steady
        return self._verdict()

    def _verdict(self) -> str | None:
        # Three or five times, as a front that arrives lets all wet cells of a small area grow.
        if self._never and (
            (self._grown >= 3 and self._pairs >= 1000) or (self._grown >= 5 and self._pairs >= 100)
        ):
            return (
                f"{self._times} times in a row, of {self._pairs} wet cells none had less at the "
                "next time"
            )
        if self._large_grown >= 6 and 3 * self._large_grown >= self._large:
            return (
                f"{self._large_grown} of {self._large} times no cell had less than at the time "
                "before, as if totals had begun anew in between"
            )
        return None

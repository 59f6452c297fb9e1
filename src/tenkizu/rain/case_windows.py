"""Windows worth a look: those with most rain, and those split best and worst.

They are chosen while the windows of an evaluation go by, so that few of them are held.
"""

from dataclasses import dataclass
from heapq import heappush, heappushpop

import numpy as np

from tenkizu.rain.score_cells import Values, known_cells

RAINY_MM = np.float32(1.0)
RAINY_SHARE = 0.01
"""A window is ranked by skill if S >= 1 mm in this share of its known cells: little rain says
nothing of the model."""

CAPTIONS = {"heaviest": "most rain", "best": "highest skill", "worst": "lowest skill"}
"""Why a window was chosen, in words."""


@dataclass(frozen=True, eq=False)
class Case:
    """One window.

    Attributes:
        start: of the window, UTC.
        truth: observed hours (3, H, W), mm.
        predicted: the model's hours (3, H, W), mm.
        skill: conditional MSE skill against S/3; NaN where undefined.
    """

    start: np.datetime64
    truth: Values
    predicted: Values
    skill: float


class _Largest:
    """The ``count`` cases with the largest values."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.heap: list[tuple[float, int, Case]] = []

    def admits(self, value: float) -> bool:
        """Whether a case of this value would be kept."""
        return len(self.heap) < self.count or bool(self.heap and value > self.heap[0][0])

    def offer(self, value: float, case: Case) -> None:
        """Keep a case if it is among the largest so far."""
        # The start in minutes breaks ties, since cases cannot be compared.
        entry = (value, int(case.start.astype("datetime64[m]").astype(int)), case)
        if len(self.heap) < self.count:
            heappush(self.heap, entry)
        elif self.count:
            heappushpop(self.heap, entry)

    def ranked(self) -> list[Case]:
        """The cases, the largest first."""
        return [case for _, _, case in sorted(self.heap, key=lambda e: e[:2], reverse=True)]


class CaseWindows:
    """The heaviest windows, and those of highest and lowest skill among windows with rain.

    Args:
        count: how many to keep of each.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.skilled = 0
        self.kept = {kind: _Largest(count) for kind in CAPTIONS}

    def offer(
        self,
        start: np.datetime64,
        truth: Values,
        total: Values,
        predicted: Values,
        skill: float,
    ) -> None:
        """Keep a window if it is among the heaviest, best or worst so far.

        Args:
            start: of the window, UTC.
            truth: observed hours (3, H, W), mm, NaN where missing.
            total: S, (H, W), mm, NaN where missing.
            predicted: hours of the model, (3, H, W), mm.
            skill: its conditional MSE skill against S/3; NaN where undefined.
        """
        if not self.count:
            return
        values = {"heaviest": float(np.nansum(total, dtype=np.float64))}
        known = known_cells(truth, total)
        rainy = np.count_nonzero(known & (total >= RAINY_MM))
        if rainy and rainy >= RAINY_SHARE * np.count_nonzero(known) and np.isfinite(skill):
            self.skilled += 1
            values |= {"best": skill, "worst": -skill}
        values = {kind: v for kind, v in values.items() if self.kept[kind].admits(v)}
        if values:
            case = Case(start, truth.copy(), predicted, skill)
            for kind, value in values.items():
                self.kept[kind].offer(value, case)

    def chosen(self) -> dict[str, list[Case]]:
        """Cases of each kind of `CAPTIONS`, the most extreme first.

        No window is among both the best and the worst: of few they are the upper and lower half.
        """
        result = {kind: largest.ranked() for kind, largest in self.kept.items()}
        result["best"] = result["best"][: (self.skilled + 1) // 2]
        result["worst"] = result["worst"][: self.skilled // 2]
        return result

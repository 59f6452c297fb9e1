"""What `check` finds in one monthly file or block of a store, in a form that adds to others'."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.rain.msm.check_rules import Finding, of_features, of_maps, of_times, together
from tenkizu.rain.msm.month_plans import STEP
from tenkizu.rain.msm.pieces import Opened, Piece, open_piece
from tenkizu.rain.msm.variables import RAIN_NAMES, VARIABLES
from tenkizu.rain.tables import RAIN, Rain

LAGS = tuple(range(-3, 4))
"""Steps of three hours by which the hours are taken later than S in the lag scan."""

WET_MM = np.float32(0.1)

_S = RAIN.index("S")


@dataclass(frozen=True)
class CheckTask:
    """A piece, and where the three initial times before it are (piece and number)."""

    piece: Piece
    before: tuple[tuple[Piece, int], ...] = ()


@dataclass
class Extreme:
    """The largest (or smallest) value of a variable, with time, row and column."""

    value: float
    t0: str
    row: int
    column: int


@dataclass
class PieceResult:
    """Findings and sums of one piece.

    Attributes:
        times: t0 (n,).
        findings: of this piece alone.
        grid: as `Grid.to_json`.
        largest: by variable.
        smallest: by variable.
        seen: cells with a value at any time, by variable; packed bits of (H, W).
        nonzero: cells with a value other than 0 at any time.
        lags: (7, 6) for each lag: number of pairs and sums of S, the hours, both squared, and
            their product.
        wet: (24, 2) for each UTC hour of t0: cells with S >= 0.1 mm, and all.
        counts: (24,) initial times for each UTC hour.
    """

    times: NDArray[np.datetime64]
    findings: list[Finding]
    grid: dict[str, Any]
    largest: dict[str, Extreme] = field(default_factory=dict)
    smallest: dict[str, Extreme] = field(default_factory=dict)
    seen: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    nonzero: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    lags: NDArray[np.float64] = field(default_factory=lambda: np.zeros((len(LAGS), 6)))
    wet: NDArray[np.int64] = field(default_factory=lambda: np.zeros((24, 2), np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(24, np.int64))


def check_piece(task: CheckTask) -> PieceResult:
    """Read a piece once and hold all rules against it.

    Raises:
        DataError: it cannot be opened or read.
    """
    with open_piece(task.piece, strict=False) as opened:
        shape = opened.grid.shape
        result = PieceResult(opened.times, [], opened.grid.to_json())
        findings = list(_of_structure(task.piece, opened))
        scan = _LagScan(result.lags)
        for piece, index in task.before:
            with open_piece(piece, strict=False) as other:
                scan.add(other.times[index], other.rain(index), count=False)
        masks = _Masks()
        for i, t0 in enumerate(opened.times):
            maps = opened.maps(i)
            findings += of_maps(maps, t0)
            masks.add(maps)
            for name, values in maps.items():
                _extremes(result, name, values, t0)
            rain = _rain_of(maps, shape)
            scan.add(t0, rain)
            hour = int(t0.astype("datetime64[h]").astype(np.int64) % 24)
            result.counts[hour] += 1
            result.wet[hour] += np.count_nonzero(rain[_S] >= WET_MM), rain[_S].size
        result.seen, result.nonzero = masks.packed()
        findings += _constant(result)
    result.findings = together(findings)
    for finding in result.findings:
        finding.file = str(task.piece.path if task.piece.in_store else task.piece.path.name)
    return result


def _of_structure(piece: Piece, opened: Opened) -> list[Finding]:
    """Variables, grid, times and time features."""
    findings = []
    for one in opened.deviations():
        rule = "grid" if one.variable in ("lat", "lon") else "variables"
        found = None if one.found is None else str(one.found)
        expected = None if one.expected is None else str(one.expected)
        findings.append(Finding(rule, "error", one.problem, None, one.variable, found, expected))
    month = None
    if not piece.in_store:
        try:
            month = np.datetime64(f"{piece.path.stem[:4]}-{piece.path.stem[4:]}", "M")
        except ValueError:
            text = "not named by year and month, such as 201801.nc"
            findings.append(Finding("months", "error", text))
    findings += of_times(opened.times, month)
    findings += of_features(opened.times, opened.features())
    return findings


def _rain_of(maps: Mapping[str, NDArray[np.float32]], shape: tuple[int, int]) -> Rain:
    """Rain (6, H, W) in the order of `tables.RAIN`, NaN where there is none."""
    missing = np.full(shape, np.nan, np.float32)
    return np.stack([maps.get(RAIN_NAMES[plane], missing) for plane in RAIN])


class _Masks:
    """Cells of each variable that ever had a value, and one other than 0."""

    def __init__(self) -> None:
        self.seen: dict[str, NDArray[np.bool_]] = {}
        self.nonzero: dict[str, NDArray[np.bool_]] = {}

    def add(self, maps: Mapping[str, NDArray[np.float32]]) -> None:
        for name, values in maps.items():
            if name not in self.seen:
                self.seen[name] = np.zeros(values.shape, bool)
                self.nonzero[name] = np.zeros(values.shape, bool)
            # Most maps add nothing new after the first.
            if not self.seen[name].all():
                self.seen[name] |= ~np.isnan(values)
            if not self.nonzero[name].all():
                self.nonzero[name] |= values != 0

    def packed(self) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.uint8]]]:
        return tuple(  # type: ignore[return-value]
            {name: np.packbits(mask) for name, mask in masks.items()}
            for masks in (self.seen, self.nonzero)
        )


class _LagScan:
    """Sums of S at t0 with the summed hours of initial times up to three steps away."""

    def __init__(self, sums: NDArray[np.float64]) -> None:
        self.sums = sums
        self.recent: list[tuple[np.datetime64, NDArray[np.float64], NDArray[np.float64]]] = []

    def add(self, t0: np.datetime64, rain: NDArray[np.float32], count: bool = True) -> None:
        """Pair an initial time with itself and those before; ``count=False`` only keeps it."""
        total = rain[_S].astype(np.float64).ravel()
        hours = rain[1:4].sum(axis=0, dtype=np.float64).ravel()
        if not (np.isfinite(total).all() and np.isfinite(hours).all()):
            return
        self.recent = [one for one in self.recent if t0 - one[0] <= max(LAGS) * STEP]
        if count:
            self._pair(0, total, hours)
            for other, other_total, other_hours in self.recent:
                steps = (t0 - other) / STEP
                if steps == int(steps) and 0 < steps <= max(LAGS):
                    self._pair(int(steps), other_total, hours)
                    self._pair(-int(steps), total, other_hours)
        self.recent.append((t0, total, hours))

    def _pair(self, lag: int, total: NDArray[np.float64], hours: NDArray[np.float64]) -> None:
        products = (total @ total, hours @ hours, total @ hours)
        self.sums[LAGS.index(lag)] += total.size, total.sum(), hours.sum(), *products


def _extremes(
    result: PieceResult, name: str, values: NDArray[np.float32], t0: np.datetime64
) -> None:
    """Keep the largest and the smallest value with time and place; NaN is passed over."""
    low, high = float(values.min()), float(values.max())
    if np.isnan(low):
        if np.isnan(values).all():
            return
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
    for kept, value, better in (
        (result.largest, high, np.greater),
        (result.smallest, low, np.less),
    ):
        if name not in kept or better(value, kept[name].value):
            place = int((values == np.float32(value)).argmax())
            kept[name] = Extreme(value, str(t0), *divmod(place, values.shape[1]))


def _constant(result: PieceResult) -> list[Finding]:
    """Variables that never change in the piece; that it does not rain is possible."""
    findings = []
    for name, largest in result.largest.items():
        if largest.value != result.smallest[name].value:
            continue
        found = f"{largest.value:g}"
        if VARIABLES[name].kind == "field":
            text = "the same value at all times"
            findings.append(Finding("constant", "error", text, variable=name, found=found))
        elif largest.value == 0:
            text = "no rain at all"
            findings.append(Finding("constant", "warning", text, variable=name))
        else:
            text = "the same value at all times"
            findings.append(Finding("constant", "error", text, variable=name, found=found))
    return findings

"""What `check` holds against a file: rules on its structure, its times and each initial time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tenkizu.rain.msm.variables import FOLLOWING, RAIN_NAMES, VARIABLES, time_features

Maps = Mapping[str, NDArray[np.float32]]

RULES = {
    "file": "files can be opened and read",
    "months": "every month from the first to the last is there",
    "steps": "eight initial times a day, for every day of the month",
    "time": "time increases strictly, on the hours 00, 03, ..., 21 UTC, in the right month",
    "variables": "exactly the known variables, with their units, types and dimensions",
    "grid": "rows and columns are nodes of the model grid, the same in all files",
    "time_features": "time features follow from t0, and sin^2 + cos^2 = 1",
    "sum": "|S - (y4 + y5 + y6)| <= 1e-4 + 1e-6 S",
    "hour": "no hour is larger than S",
    "missing": "no NaN and no infinity",
    "negative": "no negative rain",
    "constant": "no map and no variable is constant",
    "range": "values are plausible",
    "cells": "no cell is missing, or zero, at all times",
    "lag": "S fits the hours of its own initial time best",
    "wet_hours": "it rains at every hour of the day",
}
"""The rules in the order of the table."""

FEATURE_TOLERANCE = 2e-6
"""Of float32 time features."""

_S = RAIN_NAMES["S"]
_HOURS = tuple(RAIN_NAMES[plane] for plane in ("y4", "y5", "y6"))


@dataclass
class Finding:
    """A rule that does not hold for a variable; occurrences in one file are counted together.

    Attributes:
        rule: key of `RULES`.
        severity: an ``error`` makes the check fail, a ``warning`` does not.
        text: what is wrong.
        file: where, if it is about one.
        variable: which, if it is about one.
        found: the worst value, or what was found first.
        expected: what would have been right.
        first: t0 of the first occurrence.
        count: occurrences.
    """

    rule: str
    severity: Literal["error", "warning"]
    text: str
    file: str | None = None
    variable: str | None = None
    found: str | None = None
    expected: str | None = None
    first: str | None = None
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        """Without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def together(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for each rule, variable and text, with the number of occurrences."""
    merged: dict[tuple[str, str | None, str], Finding] = {}
    for one in findings:
        key = one.rule, one.variable, one.text
        if key in merged:
            merged[key].count += one.count
        else:
            merged[key] = one
    return list(merged.values())


def of_times(times: NDArray[np.datetime64], month: np.datetime64 | None) -> Iterator[Finding]:
    """Order of t0 and their hours; with ``month``, datetime64[M], that they lie in it."""
    back = np.flatnonzero(np.diff(times.astype("datetime64[m]")) <= np.timedelta64(0, "m"))
    if back.size:
        at = times[back[0] : back[0] + 2]
        yield Finding(
            "time",
            "error",
            "time does not increase",
            found=f"{at[1]} after {at[0]}",
            first=str(at[1]),
            count=int(back.size),
        )
    minutes = times.astype("datetime64[m]").astype(np.int64)
    for wrong, text in (
        (minutes % 180 != 0, "not an hour of the MSM"),
        (
            np.zeros(len(times), bool) if month is None else times.astype("datetime64[M]") != month,
            "t0 in another month than the file's",
        ),
    ):
        if wrong.any():
            first = str(times[wrong][0])
            yield Finding(
                "time", "error", text, found=first, first=first, count=int(np.count_nonzero(wrong))
            )


def of_features(
    times: NDArray[np.datetime64], features: Mapping[str, NDArray[np.float32]]
) -> Iterator[Finding]:
    """Time features against those that follow from t0, and sin^2 + cos^2."""
    expected = time_features(times)
    for name, values in features.items():
        wrong = ~(np.abs(values - expected[name]) <= FEATURE_TOLERANCE)
        if wrong.any():
            i = int(wrong.argmax())
            yield Finding(
                "time_features",
                "error",
                "not what follows from t0",
                variable=name,
                found=f"{values[i]:.6g}",
                expected=f"{expected[name][i]:.6g}",
                first=str(times[i]),
                count=int(np.count_nonzero(wrong)),
            )
    for angle in ("dayofyear", "hour"):
        sine, cosine = (features.get(f"{angle}_{f}") for f in ("sin", "cos"))
        if sine is None or cosine is None:
            continue
        norm = sine.astype(np.float64) ** 2 + cosine.astype(np.float64) ** 2
        wrong = ~(np.abs(norm - 1) <= FEATURE_TOLERANCE)
        if wrong.any():
            i = int(wrong.argmax())
            yield Finding(
                "time_features",
                "error",
                "sin^2 + cos^2 is not 1",
                variable=f"{angle}_sin, {angle}_cos",
                found=f"{norm[i]:.6g}",
                expected="1",
                first=str(times[i]),
                count=int(np.count_nonzero(wrong)),
            )


def of_maps(maps: Maps, t0: np.datetime64) -> Iterator[Finding]:
    """The rules on one initial time; maps (H, W) by name."""
    label = str(t0)
    for name, values in maps.items():
        yield from _of_map(name, values, label)
    if _S in maps and all(name in maps for name in _HOURS):
        yield from _of_total(maps[_S], [maps[name] for name in _HOURS], label)


def _of_map(name: str, values: NDArray[np.float32], label: str) -> Iterator[Finding]:
    known = VARIABLES[name]
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        bad = ~np.isfinite(values)
        count = int(np.count_nonzero(bad))
        if name == FOLLOWING and np.isnan(values).all():
            text = "not known for some initial times"
            yield Finding("missing", "warning", text, variable=name, first=label)
            return
        text = "every value is missing" if count == values.size else "NaN or infinite values"
        found = f"{count} of {values.size} cells, first {_place(bad)}"
        yield Finding("missing", "error", text, variable=name, found=found, first=label)
        if count == values.size:
            return
        finite = values[~bad]
        low, high = float(finite.min()), float(finite.max())
    if low == high and known.kind == "field":
        text, found = "the same value in every cell", f"{low:g}"
        yield Finding("constant", "error", text, variable=name, found=found, first=label)
    least, most = known.plausible
    if low < least and known.kind == "rain":
        found = f"{low:g} mm {_place(values == np.float32(low))}"
        yield Finding("negative", "error", "negative rain", None, name, found, ">= 0", label)
        least = -np.inf
    for value, wrong in ((low, low < least), (high, high > most)):
        if wrong:
            found = f"{value:g} {known.units} {_place(values == np.float32(value))}"
            expected = f"{known.plausible[0]:g} to {most:g}"
            text = "implausible value"
            yield Finding("range", "error", text, None, name, found, expected, label)


def _of_total(
    total: NDArray[np.float32], hours: list[NDArray[np.float32]], label: str
) -> Iterator[Finding]:
    """S against the hours; cells where one is missing have been found already."""
    wide = total.astype(np.float64)
    tolerance = 1e-4 + 1e-6 * np.abs(wide)
    error = np.abs(wide - np.sum(hours, axis=0, dtype=np.float64))
    # Excess over the tolerance, so that a wrong cell is not outdone by a large total.
    wrong = error > tolerance
    if wrong.any():
        worst = int(np.where(wrong, error, -1.0).argmax())
        found = f"{error.flat[worst]:.3g} mm {_place_of(worst, total.shape)}"
        text = "S is not the sum of its hours"
        yield Finding("sum", "error", text, None, _S, found, "at most 1e-4 + 1e-6 S", label)
    for name, hour in zip(_HOURS, hours, strict=True):
        excess = hour - wide
        if (excess > tolerance).any():
            worst = int(np.where(np.isfinite(excess), excess, -np.inf).argmax())
            found = f"{excess.flat[worst]:.3g} mm more {_place_of(worst, total.shape)}"
            yield Finding("hour", "error", "an hour larger than S", None, name, found, None, label)


def _place(cells: NDArray[np.bool_]) -> str:
    """Row and column of the first true cell."""
    return _place_of(int(cells.argmax()), cells.shape)


def _place_of(flat: int, shape: tuple[int, ...]) -> str:
    row, column = divmod(flat, shape[1])
    return f"at row {row}, column {column}"

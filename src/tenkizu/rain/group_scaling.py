"""The reference program's scaling: one minimum and maximum for a group of variables, to [0, 1]."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenkizu.core.errors import DataError
from tenkizu.core.store import SampleStore, read_json
from tenkizu.rain.fields import LEADS, PREVIOUS, is_field, stored_fields
from tenkizu.rain.tables import RAIN

if TYPE_CHECKING:
    # Its module needs torch, which the processes of `prepare` can do without.
    from tenkizu.core.normaliser import ChannelScale

SCALER_FILE = "scaler_groups.json"

PRECIPITATION = "precip"
"""Group of all amounts of rain."""

RAIN_NAMES = {
    PREVIOUS: "P",
    "Prec_4_6h_sum": "S",
    "Prec_Target_ft4": "y4",
    "Prec_Target_ft5": "y5",
    "Prec_Target_ft6": "y6",
}
"""Members of the group of rain, with the planes of the store."""

SMALLEST_RANGE = 1e-12

Bounds = dict[str, tuple[float, float]]
"""Minimum and maximum by group."""


def group_of(variable: str) -> str | None:
    """The group of a variable: the base name of a field, or that of rain; None for any other."""
    if variable in RAIN_NAMES:
        return PRECIPITATION
    return variable.rpartition("_")[0] if is_field(variable) else None


def bounds_of(store: SampleStore) -> Bounds:
    """Minimum and maximum of each group over the training samples of a store.

    Raises:
        DataError: a bound is not finite, or a group does not vary.
    """
    statistics = store.meta["statistics"]
    where = [(name, "fields", i) for i, name in enumerate(stored_fields(store))]
    where += [(name, "mm", RAIN.index(plane)) for name, plane in RAIN_NAMES.items()]
    found: dict[str, list[tuple[Any, Any]]] = {}
    for variable, key, i in where:
        low, high = (statistics[key][end][i] for end in ("min", "max"))
        found.setdefault(str(group_of(variable)), []).append((low, high))
    return {group: _joined(group, pairs, store.path) for group, pairs in found.items()}


def _joined(group: str, pairs: Sequence[tuple[Any, Any]], file: Path) -> tuple[float, float]:
    """Smallest minimum and largest maximum of a group's variables."""
    ends = [v if isinstance(v, int | float) else math.nan for pair in pairs for v in pair]
    low, high = min(ends[::2]), max(ends[1::2])
    if not all(map(math.isfinite, ends)) or high - low < SMALLEST_RANGE:
        raise DataError(
            "these bounds cannot scale a group",
            file=file,
            variable=group,
            found=", ".join(f"{low} to {high}" for low, high in pairs),
            expected="a finite minimum and a larger, finite maximum",
        )
    return low, high


def scaler_groups(bounds: Bounds) -> dict[str, Any]:
    """The content of ``scaler_groups.json``, as the reference program writes it."""
    members = {
        group: sorted(RAIN_NAMES if group == PRECIPITATION else (f"{group}_{x}" for x in LEADS))
        for group in bounds
    }
    return {
        "var_to_group": {name: group for group, names in members.items() for name in names},
        "group_to_vars": members,
        "group_minmax": {group: {"min": a, "max": b} for group, (a, b) in bounds.items()},
    }


def read_scaler_groups(path: str | Path) -> Bounds:
    """The bounds in a ``scaler_groups.json``.

    Raises:
        DataError: it cannot be read, has no ``group_minmax``, or a group's bounds cannot scale it.
    """
    groups = read_json(path, SCALER_FILE).get("group_minmax")
    try:
        pairs = {str(name): (entry["min"], entry["max"]) for name, entry in (groups or {}).items()}
    except (AttributeError, KeyError, TypeError):
        pairs = {}
    if not pairs:
        raise DataError(
            "not the scaling of groups",
            file=path,
            variable="group_minmax",
            expected='{"group": {"min": number, "max": number}, ...}',
        )
    return {name: _joined(name, [pair], Path(path)) for name, pair in pairs.items()}


def group_scaled(
    scales: "Iterable[ChannelScale]", bounds: Bounds, source: str | Path
) -> "list[ChannelScale]":
    """Input channels with fields and P scaled to [0, 1] by group; others stay as they are.

    Args:
        scales: the channels.
        bounds: of every group among them.
        source: where the bounds are from, for the message.

    Raises:
        DataError: a group is missing.
    """
    result = []
    for scale in scales:
        group = group_of(scale.name)
        if group is None:
            result.append(scale)
        elif group not in bounds:
            raise DataError(
                "the scaling of a group is missing",
                file=source,
                variable=group,
                found=", ".join(bounds),
                next_step="bring the file that belongs to these fields, or leave it out",
            )
        else:
            low, high = bounds[group]
            result.append(replace(scale, transform="linear", mean=low, std=high - low))
    return result

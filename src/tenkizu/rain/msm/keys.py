"""What MSM fields are called in GRIB2: numbers, never short names.

Rain is ``unknown`` to most tables, and the screen temperature of 1.5 m shows as level 2 when the
level is read as a whole number; so a field is known by its numbers and scaled values alone.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tenkizu.rain.fields import LEADS, MSM24
from tenkizu.rain.msm.field_key import FieldKey

SURFACE, HEIGHT, PRESSURE, MEAN_SEA = 1, 103, 100, 101
"""Kinds of level: ground, metres above it, pascals, mean sea level (code table 4.5)."""


_PARAMETERS = {
    "Prmsl": (0, 3, 1),
    "U": (0, 2, 2),
    "V": (0, 2, 3),
    "T": (0, 0, 0),
    "R": (0, 1, 1),
    "GH": (0, 3, 5),
}
_SCREEN = {"U10m": (10.0,), "V10m": (10.0,), "T2m": (1.5, 2.0)}

PRESSURE_BASES = tuple(base for base in MSM24 if base != "Prmsl" and base not in _SCREEN)
"""The 20 fields that come from the pressure file."""

SURFACE_BASES = tuple(base for base in MSM24 if base not in PRESSURE_BASES)
"""The 4 fields that come from the surface file."""


def field_key(base: str, lead_hours: int) -> FieldKey:
    """Key of a field such as T850 or Prmsl at a lead time in hours."""
    found = re.fullmatch(r"([A-Za-z]+)(\d*)m?", base)
    if found is None or found[1] not in _PARAMETERS:
        raise KeyError(base)
    levels: tuple[float, ...]
    if base == "Prmsl":
        kind, levels = MEAN_SEA, ()
    elif base in _SCREEN:
        kind, levels = HEIGHT, _SCREEN[base]
    else:
        kind, levels = PRESSURE, (100.0 * int(found[2]),)
    return FieldKey(
        f"{base}_ft{lead_hours}", *_PARAMETERS[found[1]], 0, kind, levels, 60 * lead_hours
    )


def field_keys(bases: Iterable[str], leads: Sequence[str] = LEADS) -> list[FieldKey]:
    """Keys of fields, each at all ``leads`` (``ft3``, ``ft6``), in the order of `field_pairs`."""
    return [field_key(base, int(lead.removeprefix("ft"))) for base in bases for lead in leads]


def rain_keys(hours: Iterable[int]) -> list[FieldKey]:
    """Keys of the hourly rain whose hours end at these lead times."""
    return [FieldKey(f"rain of hour {h}", 0, 1, 8, 8, SURFACE, (), 60 * h, 60, 1) for h in hours]


def of_member(keys: Iterable[FieldKey], member: int) -> list[FieldKey]:
    """The same fields of an ensemble member: templates 4.1 and 4.11 in place of 4.0 and 4.8."""
    return [
        replace(key, template={0: 1, 8: 11}.get(key.template, key.template), member=member)
        for key in keys
    ]

"""Catalogues of pressure patterns: types, their order, their major types, their separators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError

UNLABELLED = ("", "N/A", "NA", "None")
"""What stands in a label file for a day without a label."""

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class Catalogue:
    """The types that a day can have.

    Attributes:
        name: as in the configuration.
        labels: the types; their order is that of every vector, table and list.
        majors: the major type of each label.
        major_names: what a major type is called in reports.
        label_names: what a type is called in reports.
        utc_offset_hours: local time minus UTC; a day's label belongs to its local date.
        citation: where the types come from.
        alone: labels that no other can accompany.
        composite: sign between two types that hold together; None where there is none.
        transition: sign between two types that follow each other; None where there is none.
    """

    name: str
    labels: tuple[str, ...]
    majors: tuple[str, ...]
    major_names: Mapping[str, str]
    label_names: Mapping[str, str]
    utc_offset_hours: float
    citation: str
    alone: tuple[str, ...] = ()
    composite: str | None = "+"
    transition: str | None = "-"

    def __post_init__(self) -> None:
        """Refuse an offset that cannot be meant, also where a configuration replaces it."""
        if not abs(self.utc_offset_hours) <= 24:
            raise ConfigError(
                "is not an offset of local time",
                variable="labels.utc_offset_hours",
                found=self.utc_offset_hours,
                expected="hours between -24 and 24",
            )

    @property
    def major_labels(self) -> tuple[str, ...]:
        """The major types, each once, in the order of their first label."""
        return tuple(dict.fromkeys(self.majors))

    def over_majors(self, values: NDArray[_Number]) -> NDArray[_Number]:
        """The largest value over the labels of each major type.

        Args:
            values: (..., L) truth, decisions or probabilities.

        Returns:
            (..., M), one column for each of `major_labels`.
        """
        majors = np.array(self.majors)
        columns = [values[..., majors == major].max(axis=-1) for major in self.major_labels]
        return np.stack(columns, axis=-1)

    def local_days(self, times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
        """Local dates, datetime64[D], of valid times in UTC, any shape."""
        minutes = np.timedelta64(round(self.utc_offset_hours * 60), "m")
        days: NDArray[np.datetime64] = (np.asarray(times).astype("datetime64[m]") + minutes).astype(
            "datetime64[D]"
        )
        return days


def catalogue_from(
    name: str,
    labels: Sequence[str],
    majors: Mapping[str, Sequence[str]] | None = None,
    separators: Sequence[str | None] = ("+", "-"),
    utc_offset_hours: float = 0.0,
    *,
    alone: Sequence[str] = (),
    label_names: Mapping[str, str] | None = None,
    major_names: Mapping[str, str] | None = None,
    citation: str = "",
) -> Catalogue:
    """A catalogue of your own, checked.

    Args:
        name: what to call it.
        labels: the types in their order.
        majors: major types, each with its labels; every label belongs to one. None or empty makes
            every label its own major type.
        separators: signs of composite and transition labels; None where there are none.
        utc_offset_hours: local time minus UTC.
        alone: labels that no other can accompany.
        label_names: longer names of types; the type itself where one is missing.
        major_names: longer names of major types, likewise.
        citation: where the types come from.

    Raises:
        ConfigError: a type is blank, given twice, contains a separator or reads as unlabelled;
            the majors do not hold every type once; the separators are not two different signs; or
            the offset is not within a day.
    """
    if not labels:
        raise ConfigError("names no types", variable="labels.types", found=list(labels))
    composite, transition = _separators(separators)
    signs = [sign for sign in (composite, transition) if sign is not None]
    for label in labels:
        _check_label(label, labels, signs)
    if unknown := [label for label in alone if label not in labels]:
        raise ConfigError(
            "names unknown types", variable="alone", found=unknown, expected=", ".join(labels)
        )
    major_of = _major_of(labels, majors or {label: [label] for label in labels})
    return Catalogue(
        name=name,
        labels=tuple(labels),
        majors=tuple(major_of[label] for label in labels),
        major_names={m: (major_names or {}).get(m, m) for m in dict.fromkeys(major_of.values())},
        label_names={label: (label_names or {}).get(label, label) for label in labels},
        utc_offset_hours=float(utc_offset_hours),
        citation=citation,
        alone=tuple(alone),
        composite=composite,
        transition=transition,
    )


def _separators(separators: Sequence[str | None]) -> tuple[str | None, str | None]:
    """The two signs, if they can be told from each other and from an empty text."""
    signs = [sign for sign in separators if sign is not None]
    contained = len(signs) == 2 and (signs[0] in signs[1] or signs[1] in signs[0])
    if len(separators) != 2 or contained or any(sign != sign.strip() or not sign for sign in signs):
        raise ConfigError(
            "are not two separators",
            variable="labels.separators",
            found=list(separators),
            expected="the signs of composite and of transition labels, neither part of the other; "
            "null for none",
        )
    return separators[0], separators[1]


def _check_label(label: str, labels: Sequence[str], signs: Sequence[str]) -> None:
    problem = None
    if not isinstance(label, str):
        problem = "is not text; put it in quotes"
    elif label.strip() in UNLABELLED or label != label.strip():
        problem = "cannot be the name of a type: it is blank or reads as 'no label'"
    elif list(labels).count(label) > 1:
        problem = "is given twice"
    elif held := [sign for sign in signs if sign in label]:
        problem = f"contains the separator '{held[0]}'; choose other labels.separators"
    if problem:
        raise ConfigError(problem, variable="labels.types", found=repr(label))


def _major_of(labels: Sequence[str], majors: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The major type of each label, if each has exactly one."""
    major_of: dict[str, str] = {}
    for major, members in majors.items():
        for label in members:
            if label not in labels or label in major_of:
                where = f" of {major_of[label]} and" if label in major_of else ""
                raise ConfigError(
                    "lists a type twice" if where else "lists an unknown type",
                    variable="labels.majors",
                    found=f"{label}{where} of {major}",
                    expected="each once: " + ", ".join(labels),
                )
            major_of[label] = major
    if missing := [label for label in labels if label not in major_of]:
        raise ConfigError(
            "leaves out types",
            variable="labels.majors",
            found="nothing for " + ", ".join(missing),
            expected="every type in one major type",
        )
    return major_of


YOSHINO = catalogue_from(
    "yoshino",
    ["1", "2A", "2B", "2C", "2D", "3A", "3B", "3C", "3D", "4A", "4B", "5", "6A", "6B", "6C"],
    majors={
        "1": ["1"],
        "2": ["2A", "2B", "2C", "2D"],
        "3": ["3A", "3B", "3C", "3D"],
        "4": ["4A", "4B"],
        "5": ["5"],
        "6": ["6A", "6B", "6C"],
    },
    utc_offset_hours=9,
    label_names={
        "1": "winter monsoon: high in the west, low in the east",
        "2A": "trough or low, Hokkaido to Sakhalin",
        "2B": "low over the Sea of Japan, moving north-east",
        "2C": "low along the south coast, from Taiwan",
        "2D": "twin lows",
        "3A": "migratory high, northern Japan",
        "3B": "migratory high, Honshu",
        "3C": "migratory high, zonal belt",
        "3D": "migratory high, Pacific coast",
        "4A": "front over the islands",
        "4B": "front along or south of the Pacific coast",
        "5": "summer: high in the south, low in the north",
        "6A": "typhoon south of Kyushu",
        "6B": "typhoon over Honshu",
        "6C": "typhoon over northern Japan",
    },
    major_names={
        "1": "winter monsoon",
        "2": "trough or low",
        "3": "migratory high",
        "4": "front",
        "5": "summer",
        "6": "typhoon",
    },
    citation="Yoshino (2002), appendix: calendar of daily pressure patterns over Japan, 1991-2000",
)
"""Yoshino's 15 types of surface pressure over Japan, at 00 UTC = 09 JST."""

JC = catalogue_from(
    "jc",
    ["A", "C", "N", "NE", "E", "SE", "S", "SW", "W", "NW", "U"],
    majors={
        "A": ["A"],
        "C": ["C"],
        "D": ["N", "NE", "E", "SE", "S", "SW", "W", "NW"],
        "U": ["U"],
    },
    separators=("+", None),
    alone=["U"],
    label_names={
        "A": "anticyclonic",
        "C": "cyclonic",
        "N": "flow from the north",
        "NE": "flow from the north-east",
        "E": "flow from the east",
        "SE": "flow from the south-east",
        "S": "flow from the south",
        "SW": "flow from the south-west",
        "W": "flow from the west",
        "NW": "flow from the north-west",
        "U": "unclassified: weak flow",
    },
    major_names={"A": "anticyclonic", "C": "cyclonic", "D": "directional", "U": "unclassified"},
    citation="Jones, Hulme and Briffa (1993), International Journal of Climatology 13, 655-663; "
    "Jones, Harpham and Briffa (2013), International Journal of Climatology 33, 1129-1139",
)
"""Jenkinson-Collison types, the objective form of Lamb's weather types."""

CATALOGUES = {catalogue.name: catalogue for catalogue in (YOSHINO, JC)}
"""The catalogues that ship, by name."""

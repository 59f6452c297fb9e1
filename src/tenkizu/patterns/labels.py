"""Labels of days: how they read, files of them, and looking them up by valid time."""

import csv
import datetime
import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.samples import samples_folder
from tenkizu.core.store import atomic
from tenkizu.patterns.catalogues import UNLABELLED, Catalogue
from tenkizu.patterns.label_files import Entry, label_entries

Days = NDArray[np.datetime64] | Sequence[np.datetime64]

_DATE = re.compile(r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})", re.ASCII)


@dataclass(frozen=True)
class Label:
    """The label of one day.

    Attributes:
        parts: its types, one or two, in the order written.
        kind: whether one type holds, two hold together, or one follows the other.
        text: the label as written, without spaces.
    """

    parts: tuple[str, ...]
    kind: Literal["single", "composite", "transition"]
    text: str

    @property
    def transition_from(self) -> str | None:
        """The type that a transition leaves."""
        return self.parts[0] if self.kind == "transition" else None

    @property
    def transition_to(self) -> str | None:
        """The type that a transition leads to."""
        return self.parts[1] if self.kind == "transition" else None


@dataclass(frozen=True)
class LabelCounts:
    """How many of some days carry which labels.

    Attributes:
        days: all days looked up.
        unlabelled: those without a label.
        single: labelled days with one type.
        composite: with two types together.
        transition: with one type after the other.
        types: days with each type.
    """

    days: int
    unlabelled: int
    single: int
    composite: int
    transition: int
    types: dict[str, int]

    @property
    def positives(self) -> int:
        """Types over all days: a day with two counts twice."""
        return sum(self.types.values())


@dataclass(frozen=True)
class LabelTable:
    """Labels by local date.

    Attributes:
        catalogue: the types, and the offset that turns valid times into local dates.
        by_day: the label of each date (datetime64[D]); None where the table says unlabelled.
        source: the file, for messages.
    """

    catalogue: Catalogue
    by_day: dict[np.datetime64, Label | None] = field(repr=False)
    source: str = ""

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        days: Days,
        texts: Iterable[str | None],
        source: str = "labels",
    ) -> Self:
        """A table from dates and label texts, such as the types that rules give to maps.

        Raises:
            DataError: a text is not a label of the catalogue, or a date comes twice.
        """
        entries = (
            (f"{source}, {day}", str(day), text)
            for day, text in zip(np.asarray(days, "datetime64[D]"), texts, strict=True)
        )
        return cls(catalogue, _by_day(entries, catalogue), source)

    def lookup(self, times: NDArray[np.datetime64]) -> list[Label | None]:
        """The label of each valid time (T,) in UTC; None for a day without one."""
        return [self.by_day.get(day) for day in self.catalogue.local_days(times)]

    def multi_hot(
        self, times: NDArray[np.datetime64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Targets of valid times (T,) in UTC.

        Returns:
            Which types hold, (T, L), in the catalogue's order, and whether the day is labelled,
            (T,); the row of an unlabelled day is False throughout.
        """
        return self._rows(self.lookup(times))

    def on_days(self, days: NDArray[np.datetime64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """As `multi_hot`, for local dates (n,)."""
        return self._rows([self.by_day.get(day) for day in days.astype("datetime64[D]")])

    def counts(self, times: NDArray[np.datetime64]) -> LabelCounts:
        """What the labels of some valid times are, for messages and reports."""
        labels = [label for label in self.lookup(times) if label is not None]
        kinds = [label.kind for label in labels]
        parts = [part for label in labels for part in label.parts]
        return LabelCounts(
            days=len(times),
            unlabelled=len(times) - len(labels),
            single=kinds.count("single"),
            composite=kinds.count("composite"),
            transition=kinds.count("transition"),
            types={name: parts.count(name) for name in self.catalogue.labels},
        )

    def _rows(self, labels: Sequence[Label | None]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        column = {name: i for i, name in enumerate(self.catalogue.labels)}
        targets = np.zeros((len(labels), len(column)), dtype=bool)
        for row, label in zip(targets, labels, strict=True):
            if label is not None:
                row[[column[part] for part in label.parts]] = True
        return targets, np.array([label is not None for label in labels], dtype=bool)


def parse_label(text: str | None, catalogue: Catalogue, where: str) -> Label | None:
    """Read one label: ``BASE``, ``BASE+BASE`` or ``BASE-BASE`` with the catalogue's separators.

    Args:
        text: as written; blank, ``N/A``, ``NA`` and ``None`` mean unlabelled.
        catalogue: the types allowed.
        where: file and line, for messages.

    Raises:
        DataError: it has more than two parts, an unknown type, a type twice, or a type beside one
            that can only stand alone.
    """
    stripped = (text or "").strip()
    if stripped in UNLABELLED:
        return None
    signs = [sign for sign in (catalogue.composite, catalogue.transition) if sign is not None]
    pattern = "|".join(re.escape(sign) for sign in signs)
    pieces = re.split(f"({pattern})", stripped) if signs else [stripped]
    parts, used = tuple(piece.strip() for piece in pieces[::2]), pieces[1::2]
    if len(parts) > 2:
        expected = "one type, or two joined by " + " or ".join(signs)
        _refuse("more than two types", where, stripped, expected)
    for part in parts:
        if part not in catalogue.labels:
            _refuse(
                f"unknown type '{part}'" if part else "a type is missing",
                where,
                stripped,
                "one of " + ", ".join(catalogue.labels),
                _nearest(part, catalogue.labels),
            )
    if len(parts) == 1:
        return Label(parts, "single", parts[0])
    if parts[0] == parts[1]:
        _refuse("the same type twice", where, stripped, "two different types, or one alone")
    if lone := [part for part in parts if part in catalogue.alone]:
        _refuse(f"{lone[0]} can only stand alone", where, stripped, f"{lone[0]}")
    kind: Literal["composite", "transition"] = (
        "composite" if used[0] == catalogue.composite else "transition"
    )
    return Label(parts, kind, used[0].join(parts))


def read_labels(path: str | Path, catalogue: Catalogue) -> LabelTable:
    """Read a table of labels.

    Args:
        path: CSV with the columns ``date`` and ``label``, or a Python file (``.py``) of one
            dictionary, which is read and never run. Dates are local: ``1991-01-31``.
        catalogue: the types allowed.

    Raises:
        DataError: the file cannot be read, or a line holds something else; the message names it.
    """
    path = Path(path).expanduser()
    by_day = _by_day(label_entries(path), catalogue)
    if not any(by_day.values()):
        raise DataError("holds no labelled day", file=path, found=f"{len(by_day)} dates")
    return LabelTable(catalogue, by_day, str(path))


def write_labels(path: str | Path, days: Days, texts: Iterable[str | None]) -> None:
    """Write a CSV file with the columns ``date,label``, atomically; None becomes blank."""
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("date", "label"))
        for day, text in zip(np.asarray(days, "datetime64[D]"), texts, strict=True):
            writer.writerow((day, text or ""))


def shipped_calendar() -> Path:
    """The calendar of Yoshino's types, 1991-2000, that ships with tenkizu."""
    return samples_folder() / "labels" / "yoshino_1991_2000.csv"


def _by_day(entries: Iterable[Entry], catalogue: Catalogue) -> dict[np.datetime64, Label | None]:
    """Labels by date from (where, date, label)."""
    by_day: dict[np.datetime64, Label | None] = {}
    seen: dict[np.datetime64, str] = {}
    for where, date, text in entries:
        day = _parse_date(date, where)
        if day in by_day:
            raise DataError(
                f"the date {day} comes twice",
                file=where,
                found=f"first in {seen[day]}",
                expected="each date once",
            )
        by_day[day] = parse_label(text, catalogue, where)
        seen[day] = where
    return by_day


def _parse_date(text: str, where: str) -> np.datetime64:
    match = _DATE.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        return np.datetime64(datetime.date(int(match[1]), int(match[3]), int(match[4])), "D")
    except ValueError:
        raise DataError(
            "not a date", file=where, found=f"'{text}'", expected="a date such as 1991-01-31"
        ) from None


def _nearest(part: str, labels: Sequence[str]) -> str | None:
    """Advice: the label that an unknown one may have meant."""
    by_lower = {label.lower(): label for label in labels}
    close = difflib.get_close_matches(part.lower(), by_lower, 1, 0.5)
    return f"did you mean {by_lower[close[0]]}?" if close else None


def _refuse(
    problem: str, where: str, text: str, expected: str, next_step: str | None = None
) -> NoReturn:
    raise DataError(
        problem,
        file=where,
        variable="label",
        found=f"'{text if len(text) <= 60 else text[:60] + '...'}'",
        expected=expected,
        next_step=next_step,
    )

"""The table of days that an evaluation scores, draws and writes: ``probabilities_{split}.csv``."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.store import atomic

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

KINDS = ("single", "composite", "transition")
"""What a label string says of its day: one type, two at once, or one turning into another."""

COMPOSITE, TRANSITION = "+", "-"
_REMAKE = "run `tenkizu patterns evaluate` again"


@dataclass(frozen=True)
class DayTable:
    """Labelled days with what a model said of them; n days in order of time, L labels.

    Attributes:
        labels: names, (L,).
        times: valid times, UTC, strictly increasing, (n,).
        texts: label string of each day, n.
        kinds: of each day, one of `KINDS`, n.
        truth: (n, L).
        raw: probabilities straight from the network, (n, L).
        calibrated: probabilities after calibration, (n, L).
        predicted: decisions, (n, L); false where a class is not decided.
        decided: (L,), false for a class whose threshold is undefined.

    Raises:
        DataError: shapes that do not fit, times out of order, or probabilities outside 0 to 1.
    """

    labels: tuple[str, ...]
    times: NDArray[np.datetime64]
    texts: list[str]
    kinds: list[str]
    truth: Bools
    raw: Floats
    calibrated: Floats
    predicted: Bools
    decided: Bools

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        shape = (len(self.times), len(self.labels))
        found = {name: getattr(self, name).shape for name in _MATRICES}
        found |= {"texts": (len(self.texts),), "kinds": (len(self.kinds),)}
        found["decided"] = self.decided.shape
        wanted = dict.fromkeys(_MATRICES, shape) | {"decided": shape[1:]}
        for name, size in found.items():
            expected = wanted.get(name, shape[:1])
            if size != expected:
                raise DataError(
                    "wrong shape in a table of days", variable=name, found=size, expected=expected
                )
        if (np.diff(self.times) <= np.timedelta64(0, "m")).any():
            raise DataError("days are not in order of time, each once", variable="times")
        for name in ("raw", "calibrated"):
            values = getattr(self, name)
            bad = ~((values >= 0) & (values <= 1))
            if bad.any():
                day = int(np.argmax(bad.any(axis=1)))
                raise DataError(
                    "not a probability",
                    variable=name,
                    found=f"{values[bad][0]} at {self.times[day]}, {np.count_nonzero(bad)} in all",
                    expected="numbers from 0 to 1",
                )

    def __len__(self) -> int:
        """Number of days."""
        return len(self.times)

    def select(self, days: NDArray[np.int64] | Bools) -> Self:
        """The table of some days only: increasing indices or a mask (n,)."""
        index = np.arange(len(self))[days]
        return type(self)(
            self.labels,
            self.times[index],
            [self.texts[i] for i in index],
            [self.kinds[i] for i in index],
            truth=self.truth[index],
            raw=self.raw[index],
            calibrated=self.calibrated[index],
            predicted=self.predicted[index],
            decided=self.decided,
        )

    @classmethod
    def join(cls, tables: Sequence[Self]) -> Self:
        """The days of several tables in order of time, as the folds of a cross-validation.

        A class counts as decided if it is in any of them: where it is not, nothing is predicted.

        Raises:
            DataError: the tables have different labels or share days.
        """
        labels = tables[0].labels
        for table in tables:
            if table.labels != labels:
                raise DataError(
                    "tables of different labels",
                    found=", ".join(table.labels),
                    expected=", ".join(labels),
                )
        times = np.concatenate([t.times for t in tables])
        order = np.argsort(times, kind="stable")
        texts = [text for t in tables for text in t.texts]
        kinds = [kind for t in tables for kind in t.kinds]
        return cls(
            labels,
            times[order],
            [texts[i] for i in order],
            [kinds[i] for i in order],
            truth=np.concatenate([t.truth for t in tables])[order],
            raw=np.concatenate([t.raw for t in tables])[order],
            calibrated=np.concatenate([t.calibrated for t in tables])[order],
            predicted=np.concatenate([t.predicted for t in tables])[order],
            decided=np.asarray(np.any([t.decided for t in tables], axis=0)),
        )

    def predicted_texts(self) -> list[str]:
        """The decision for each day as labels joined by ``+``; empty where there is none."""
        names = np.array(self.labels)
        return [COMPOSITE.join(names[row]) for row in self.predicted]

    def to_csv(self, path: str | Path) -> None:
        """Write ``date, label, p_*, c_*, predicted``; ``p`` is raw, ``c`` calibrated.

        The date is the valid time in UTC, without the hour where all are at midnight. Numbers
        are written with all their digits, so that scores recomputed from the file are equal.
        """
        head = ["date", "label", *(f"{k}_{name}" for k in "pc" for name in self.labels)]
        values = np.concatenate([self.raw, self.calibrated], axis=1).tolist()
        dates = _dates(self.times)
        with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as handle:
            rows = csv.writer(handle, lineterminator="\n")
            rows.writerow([*head, "predicted"])
            for *row, numbers, decision in zip(
                dates, self.texts, values, self.predicted_texts(), strict=True
            ):
                rows.writerow([*row, *numbers, decision])

    @classmethod
    def from_csv(cls, path: str | Path, decided: Bools | None = None) -> Self:
        """Read what `to_csv` wrote.

        Args:
            path: the file.
            decided: classes with a threshold, (L,), which the file does not say; default all.

        Raises:
            DataError: the file is absent or is not such a table.
        """
        path = Path(path)
        head, rows = _read_rows(path)
        labels = tuple(name.removeprefix("p_") for name in head if name.startswith("p_"))
        pairs = [f"{k}_{name}" for k in "pc" for name in labels]
        expected = ["date", "label", *pairs, "predicted"]
        if not labels or head != expected:
            raise DataError(
                "not a table of probabilities",
                file=path,
                found=",".join(head[:4]) + ", ...",
                expected="date, label, p_*, c_*, predicted",
                next_step=_REMAKE,
            )
        try:
            numbers = np.array([row[2:-1] for row in rows], np.float64).reshape(len(rows), -1)
            times = np.array([row[0] for row in rows], "datetime64[m]")
        except ValueError as error:
            raise DataError(f"damaged: {error}", file=path, next_step=_REMAKE) from None
        texts = [row[1] for row in rows]
        count = len(labels)
        return cls(
            labels,
            times,
            texts,
            [kind_of(text) for text in texts],
            _multi_hot(texts, labels, path),
            numbers[:, :count],
            numbers[:, count:],
            _multi_hot([row[-1] for row in rows], labels, path),
            np.ones(count, bool) if decided is None else decided,
        )


_MATRICES = ("truth", "raw", "calibrated", "predicted")


def kind_of(text: str) -> str:
    """The kind of day that a label string says, one of `KINDS`."""
    return KINDS[2] if TRANSITION in text else KINDS[1] if COMPOSITE in text else KINDS[0]


def _dates(times: NDArray[np.datetime64]) -> list[str]:
    """ISO dates, with hour and minute if any time is not midnight."""
    days = times.astype("datetime64[D]")
    return [str(t) for t in (days if (days == times).all() else times.astype("datetime64[m]"))]


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of a CSV file, rows all as long as the heading."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            head, *rows = list(csv.reader(handle)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read: {error}", file=path, next_step=_REMAKE) from None
    for line, row in enumerate(rows, 2):
        if len(row) != len(head):
            raise DataError(
                "a line of another length",
                file=path,
                variable=f"line {line}",
                found=f"{len(row)} values",
                expected=len(head),
                next_step=_REMAKE,
            )
    return head, rows


def _multi_hot(texts: Sequence[str], labels: tuple[str, ...], path: Path) -> Bools:
    """Label strings as ones and zeros, (n, L)."""
    place = {name: i for i, name in enumerate(labels)}
    result = np.zeros((len(texts), len(labels)), bool)
    for line, text in enumerate(texts, 2):
        for name in text.replace(TRANSITION, COMPOSITE).split(COMPOSITE) if text else ():
            if name not in place:
                raise DataError(
                    "unknown label",
                    file=path,
                    variable=f"line {line}",
                    found=repr(name),
                    expected="one of " + ", ".join(labels),
                )
            result[line - 2, place[name]] = True
    return result

"""Periods of time, and the splits that are made of them."""

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from tenkizu.core.config import Section

SPLITS = ("train", "validation", "test")


def parse_period(text: str) -> tuple[np.datetime64, np.datetime64]:
    """Read ``FIRST/LAST`` as the half-open UTC interval [start, end).

    Dates are whole days (months, years: ``2018/2021``), the last one included; with hours
    (``2018-05-10T06``) the interval ends at that hour.

    Raises:
        ValueError: the text is not a period or ends before it begins.
    """
    first, slash, last = text.partition("/")
    try:
        start, end = np.datetime64(first.strip()), np.datetime64(last.strip() or "NaT")
    except ValueError:
        start = end = np.datetime64("NaT")
    if not slash or np.isnat(start) or np.isnat(end):
        raise ValueError(f"'{text}' is not FIRST/LAST, such as 2023-11-11/2023-11-16")
    unit = np.datetime_data(end.dtype)[0]
    if unit in ("Y", "M", "D"):
        end = end + 1
    start, end = start.astype("datetime64[m]"), end.astype("datetime64[m]")
    if not start < end:
        raise ValueError(f"'{text}' ends before it begins")
    return start, end


class SplitsConfig(Section):
    """Blocks of days given to training, model choice and the final report."""

    train: list[str] = Field(description="Periods FIRST/LAST that train the network.")
    validation: list[str] = Field(
        default=[], description="Periods that choose the epoch; never the ones reported on."
    )
    test: list[str] = Field(default=[], description="Periods that are only reported on.")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        self.require_apart()
        return self

    def require_apart(self) -> None:
        """Refuse periods that overlap, and a training without any."""
        blocks = self.blocks()
        for i, (name, start, end) in enumerate(blocks):
            for other, begin, finish in blocks[:i]:
                if start < finish and begin < end:
                    first, last = max(start, begin), min(end, finish)
                    raise ValueError(
                        f"a {name} period and a {other} period overlap: {first} to {last}"
                    )
        if not self.train:
            raise ValueError("no training period is given")

    def blocks(self) -> list[tuple[str, np.datetime64, np.datetime64]]:
        """All periods as (split, start, end)."""
        return [(name, *parse_period(p)) for name in SPLITS for p in getattr(self, name)]

"""Which MSM files belong to which initial time, by their names."""

import filecmp
import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np

from tenkizu.core.errors import DataError

Layout = Literal["operational", "archive"]

PARTS: dict[Layout, tuple[str, ...]] = {
    "operational": ("Lsurf_FH00-15", "L-pall_FH00-15"),
    "archive": (
        "Lsurf_FH03",
        "Lsurf_FH06",
        "L-pall_FH03",
        "L-pall_FH06",
        "Prr_FH00-03",
        "Prr_FH03-06",
    ),
}
"""The files that an initial time needs."""

FOLLOWING = "Prr_FH06-09"
"""The file of the archive layout that may be there, with the rain after the window."""

_NAME = re.compile(r"Z__C_RJTD_(\d{14})_MSM_GPV_Rjp_([A-Za-z-]+_FH\d\d(?:-\d\d)?)_grib2\.bin")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialTime:
    """The files of one initial time.

    Attributes:
        t0: initial time in their names, UTC, datetime64[m].
        layout: ``operational`` (two files with all hours) or ``archive`` (one lead time a file).
        files: path by part, such as ``Lsurf_FH00-15`` or ``Prr_FH03-06``.
        missing: parts that are needed and not there; a part in several files that differ counts
            as missing and says so. Empty when the initial time can be read.
    """

    t0: np.datetime64
    layout: Layout
    files: dict[str, Path]
    missing: tuple[str, ...]


def find_initial_times(
    root: Path, layout: Literal["auto", "operational", "archive"] = "auto"
) -> list[InitialTime]:
    """All initial times under a folder, sorted by t0, complete or not.

    Folders in it, and links to folders, are searched; other products, lead times and index files
    are left aside. With ``auto`` each initial time has the layout that is complete, or else the
    one that lacks less; where that is undecided, ``operational``.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError("no such folder", file=root, next_step="check the path")
    layouts: tuple[Layout, ...] = tuple(PARTS) if layout == "auto" else (layout,)
    known = {part for name in layouts for part in PARTS[name]} | {FOLLOWING}
    found: dict[np.datetime64, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in _walk(root):
        match = _NAME.fullmatch(path.name)
        if match is None or match[2] not in known:
            continue
        t0 = _time(match[1])
        if t0 is None:
            log.warning("%s: no time in its name, so the file is left aside", path)
            continue
        found[t0][match[2]].append(path)
    times = []
    for t0 in sorted(found):
        choices = [_initial_time(t0, name, found[t0]) for name in layouts]
        # An initial time is one of a layout only when a file of that layout is there.
        choices = [one for one in choices if set(PARTS[one.layout]) & set(found[t0])]
        if choices:
            times.append(min(choices, key=_lacking))
    return times


def _lacking(one: InitialTime) -> float:
    return len(one.missing) / len(PARTS[one.layout])


def _initial_time(t0: np.datetime64, layout: Layout, found: dict[str, list[Path]]) -> InitialTime:
    files, missing = {}, []
    for part in (*PARTS[layout], *((FOLLOWING,) if layout == "archive" else ())):
        paths = found.get(part, [])
        if any(not filecmp.cmp(paths[0], other, shallow=False) for other in paths[1:]):
            missing.append(f"{part} (files that differ: {', '.join(map(str, paths))})")
        elif paths:
            files[part] = paths[0]
        elif part != FOLLOWING:
            missing.append(part)
    return InitialTime(t0, layout, files, tuple(missing))


def _walk(root: Path) -> Iterator[Path]:
    """All files under a folder in the order of their paths, through links, no folder twice."""
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(names):
            yield Path(folder, name)


def _time(digits: str) -> np.datetime64 | None:
    """The time of YYYYMMDDhhmmss; None if there is no such minute."""
    try:
        time = datetime.strptime(digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return None if time.second else np.datetime64(time, "m")

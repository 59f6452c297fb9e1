"""Which files are wanted, and the requests that ask for them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tenkizu.core.errors import ConfigError
from tenkizu.core.grid import Grid
from tenkizu.patterns.blocks import channel_names
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.physics.derive import required
from tenkizu.patterns.reading.era5 import NATIVE_NAMES, Task, file_name, plan
from tenkizu.patterns.reading.map_times import Minutes

JAPAN = (55.0, 115.0, 15.0, 155.0)
"""North, west, south, east of the maps when data.area names none."""

STEP = 0.25
"""Spacing of ERA5's grid, degrees."""

BEFORE = "msl@-24h"
_BYTES_A_VALUE = 2


@dataclass(frozen=True, eq=False)
class Request:
    """One request: a task in a stretch of time.

    Attributes:
        path: the file that it becomes.
        task: what it asks for.
        times: of the maps, UTC, increasing: whole days at some hours, within one year.
        area: north, west, south, east, degrees.
    """

    path: Path
    task: Task
    times: Minutes
    area: tuple[float, float, float, float]

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    @property
    def part(self) -> Path:
        """The file while it is fetched."""
        return self.path.with_name(self.path.name + ".part")

    @property
    def inputs(self) -> dict[str, Any]:
        """The request as the data store takes it.

        A year asks for days 01 to 31 of all months; the store passes over 30 February.
        """
        days = self.times.astype("datetime64[D]")
        months = np.unique(days.astype("datetime64[M]"))
        whole_year = len(months) == 12
        fields: dict[str, Any] = {
            "product_type": ["reanalysis"],
            "variable": list(self.task.variables),
            "year": [str(months[0])[:4]],
            "month": [str(month)[5:] for month in months],
            "day": [f"{i:02}" for i in range(1, 32)]
            if whole_year
            else [str(day)[8:] for day in np.unique(days)],
            "time": [f"{hour:02}:00" for hour in self.hours],
            "area": [int(edge) if edge == int(edge) else edge for edge in self.area],
            "data_format": "netcdf",
            "download_format": "unarchived",
        }
        if self.task.levels:
            fields["pressure_level"] = [str(level) for level in self.task.levels]
        return fields

    @property
    def hours(self) -> list[int]:
        """Hours of day of the maps, UTC."""
        minutes = (self.times - self.times.astype("datetime64[D]")).astype(np.int64)
        return [int(minute) // 60 for minute in np.unique(minutes)]

    @property
    def sha256(self) -> str:
        """What tells this request from others."""
        text = json.dumps({"dataset": self.task.dataset, "inputs": self.inputs}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def grid(self) -> Grid:
        """The grid that the area holds, north first."""
        return grid_of(self.area)

    @property
    def estimated_bytes(self) -> int:
        """Size of the file to expect: two bytes a value, as ERA5 is packed."""
        rows, columns = self.grid.shape
        return rows * columns * len(self.task.fields) * len(self.times) * _BYTES_A_VALUE


@dataclass(frozen=True, eq=False)
class WantedFile:
    """A file that must be there, and how it is asked for.

    Attributes:
        whole: the file as one request.
        parts: the requests that are sent: the same, or one a month.
    """

    whole: Request
    parts: tuple[Request, ...]

    @property
    def joined(self) -> bool:
        """Whether the file is joined from months."""
        return self.parts != (self.whole,)


def wanted_files(config: PatternsConfig) -> list[WantedFile]:
    """The files of a configuration, in the order in which they are fetched.

    Raises:
        ConfigError: the source is not era5, or the area does not lie on ERA5's grid.
    """
    data = config.data
    if data.source != "era5" or data.raw_dir is None:
        raise ConfigError(
            "nothing to download",
            variable="data.source",
            found=data.source,
            expected="era5, with data.raw_dir and data.years",
            next_step="start from `tenkizu config new patterns_japan -o japan.yaml`",
        )
    area = checked_area(data.area or JAPAN)
    names: Sequence[str] = (*NATIVE_NAMES, BEFORE)
    if config.download.tasks == "needed":
        names = required(channel_names(data))
    files = []
    for planned in plan(data.raw_dir, data.years, names, data.hours):
        whole = Request(planned.path, planned.task, planned.times, area)
        parts: tuple[Request, ...] = (whole,)
        if config.download.split == "month":
            parts = _months(whole)
        files.append(WantedFile(whole, parts))
    return files


def checked_area(area: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The area, if its edges lie on the grid of ERA5.

    Raises:
        ConfigError: they do not, or the area is empty.
    """
    north, west, south, east = area
    on_grid = all(abs(edge / STEP - round(edge / STEP)) < 1e-6 for edge in area)
    if on_grid and 90 >= north > south >= -90 and west < east <= west + 360:
        return area
    raise ConfigError(
        "not an area of ERA5's grid",
        variable="data.area",
        found=list(area),
        expected="north, west, south, east in degrees, multiples of 0.25, north above south and "
        "west before east: [55, 115, 15, 155]",
    )


def grid_of(area: tuple[float, float, float, float]) -> Grid:
    """ERA5's grid points in an area, edges included; a full circle ends before its beginning."""
    north, west, south, east = area
    rows, columns = round((north - south) / STEP) + 1, round((east - west) / STEP) + 1
    columns = min(columns, round(360 / STEP))
    return Grid(
        "latlon",
        north - STEP * np.arange(rows, dtype=np.float64),
        west + STEP * np.arange(columns, dtype=np.float64),
        "latitude",
        "longitude",
    )


def _months(whole: Request) -> tuple[Request, ...]:
    """A request for each month of one; itself if it lies within a month."""
    month_of = whole.times.astype("datetime64[M]")
    months = np.unique(month_of)
    if len(months) == 1:
        return (whole,)
    stem = file_name(whole.task, int(str(months[0])[:4])).removesuffix(".nc")
    return tuple(
        Request(
            whole.path.with_name(f"{stem}_{str(month)[5:]}.nc"),
            whole.task,
            whole.times[month_of == month],
            whole.area,
        )
        for month in months
    )

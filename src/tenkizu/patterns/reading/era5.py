"""The ERA5 requests of the pattern channels: tasks, file names and the files of given years."""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenkizu.core.errors import ConfigError
from tenkizu.patterns.reading.map_times import Minutes
from tenkizu.patterns.reading.natives import base_names

SINGLE_LEVELS = "reanalysis-era5-single-levels"
PRESSURE_LEVELS = "reanalysis-era5-pressure-levels"


@dataclass(frozen=True)
class Task:
    """What one request asks for, a year at a time.

    Attributes:
        name: of the task, part of the file name.
        variables: as the Climate Data Store calls them.
        short_names: the same, as the files call them.
        levels: in hPa; empty for fields of a single level.
    """

    name: str
    variables: tuple[str, ...]
    short_names: tuple[str, ...]
    levels: tuple[int, ...] = ()

    @property
    def dataset(self) -> str:
        """The data set of the Climate Data Store."""
        return PRESSURE_LEVELS if self.levels else SINGLE_LEVELS

    @property
    def fields(self) -> tuple[str, ...]:
        """Native names of its fields: ``z500``, ``z1000``."""
        if not self.levels:
            return self.short_names
        return tuple(f"{name}{level}" for name in self.short_names for level in self.levels)


_FLUXES = tuple(f"vertical_integral_of_{way}ward_water_vapour_flux" for way in ("east", "north"))
_WINDS = ("u_component_of_wind", "v_component_of_wind")

TASKS: tuple[Task, ...] = (
    Task("msl", ("mean_sea_level_pressure",), ("msl",)),
    Task("tcwv", ("total_column_water_vapour",), ("tcwv",)),
    Task("ivt_flux", _FLUXES, ("viwve", "viwvn")),
    Task(
        "cape_cin",
        ("convective_available_potential_energy", "convective_inhibition"),
        ("cape", "cin"),
    ),
    Task("tcc", ("total_cloud_cover",), ("tcc",)),
    Task("tp", ("total_precipitation",), ("tp",)),
    Task("u10_v10", ("10m_u_component_of_wind", "10m_v_component_of_wind"), ("u10", "v10")),
    Task("sst", ("sea_surface_temperature",), ("sst",)),
    Task("tclw", ("total_column_cloud_liquid_water",), ("tclw",)),
    Task("tciw", ("total_column_cloud_ice_water",), ("tciw",)),
    Task("tcrw", ("total_column_rain_water",), ("tcrw",)),
    Task("tcsw", ("total_column_snow_water",), ("tcsw",)),
    Task("z_500_1000", ("geopotential",), ("z",), (500, 1000)),
    Task("t_850", ("temperature",), ("t",), (850,)),
    Task("uv_500", _WINDS, ("u", "v"), (500,)),
    Task("uv_850", _WINDS, ("u", "v"), (850,)),
    Task("rh_700_850", ("relative_humidity",), ("r",), (700, 850)),
    Task("vo_850", ("vorticity",), ("vo",), (850,)),
    Task("vo_500", ("vorticity",), ("vo",), (500,)),
    Task("q_850", ("specific_humidity",), ("q",), (850,)),
    Task("w_500", ("vertical_velocity",), ("w",), (500,)),
    Task("w_700", ("vertical_velocity",), ("w",), (700,)),
    Task("d_850", ("divergence",), ("d",), (850,)),
)
"""The 23 requests of a year, in their order."""

NATIVE_NAMES: tuple[str, ...] = tuple(field for task in TASKS for field in task.fields)
"""Every field that the requests hold, by its native name."""


@dataclass(frozen=True, eq=False)
class PlannedFile:
    """A file that must be there.

    Attributes:
        path: where.
        task: what it holds.
        times: the times it must hold, UTC.
    """

    path: Path
    task: Task
    times: Minutes


def file_name(task: Task, year: int) -> str:
    """The file of a task and year: ``era5_msl_1991.nc``."""
    return f"era5_{task.name}_{year}.nc"


def tasks_for(names: Sequence[str]) -> tuple[Task, ...]:
    """The tasks that hold the native fields ``names``, in the order of the table.

    Raises:
        ConfigError: no task holds one of them.
    """
    fields = base_names(names)
    unknown = [field for field in fields if field not in NATIVE_NAMES]
    if unknown:
        raise ConfigError(
            "fields that no ERA5 request holds",
            found=", ".join(unknown),
            expected="some of " + " ".join(NATIVE_NAMES),
            next_step="choose other channels in data.channels",
        )
    return tuple(task for task in TASKS if set(task.fields) & set(fields))


def plan(
    folder: Path, years: Sequence[int], names: Sequence[str], hours: Sequence[int] = (0,)
) -> list[PlannedFile]:
    """Exactly the files that hold the fields ``names`` of whole ``years``, year by year.

    With ``msl@-24h`` among the names comes, first, the msl file of the year before the first, of
    which 31 December is needed. Ten years of all fields are 23 x 10 + 1 files.

    Raises:
        ConfigError: a field that no task holds, or no year.
    """
    tasks = tasks_for(names)
    ordered = sorted(set(years))
    if not ordered:
        raise ConfigError("no year is given", variable="data.years", expected="such as 1991-2000")
    files = []
    if "msl@-24h" in names:
        before = ordered[0] - 1
        path = folder / file_name(TASKS[0], before)
        files.append(PlannedFile(path, TASKS[0], times_of(before, hours)[-len(set(hours)) :]))
    return files + [
        PlannedFile(folder / file_name(task, year), task, times_of(year, hours))
        for year in ordered
        for task in tasks
    ]


def times_of(year: int, hours: Sequence[int] = (0,)) -> Minutes:
    """Every day of a year at the given hours UTC, increasing."""
    days = np.datetime64(f"{year:04}-01-01", "D") + np.arange(365 + calendar.isleap(year))
    steps = np.array(sorted(set(hours)), dtype="timedelta64[h]")
    times: Minutes = (days[:, None].astype("datetime64[m]") + steps).reshape(-1)
    return times

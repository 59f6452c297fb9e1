"""MSM files in JMA's true format, from weather whose truth is known."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from jma_bytes import AVERAGE, PRESSURE, SURFACE, FieldSpec, Grid, message
from jma_weather import LEVELS, RAIN_STEP, Weather

__all__ = [
    "PRESSURE",
    "SURFACE",
    "FieldSpec",
    "Grid",
    "Weather",
    "message",
    "msm_name",
    "write_archive",
    "write_operational",
]

NO_LEVEL = (255, 0xFFFFFFFF)

SURFACE_FIELDS = {
    # name: category, number, surface
    "Prmsl": (3, 1, (101, *NO_LEVEL)),
    "Psurf": (3, 0, (1, *NO_LEVEL)),
    "U10m": (2, 2, (103, 0, 10)),
    "V10m": (2, 3, (103, 0, 10)),
    "T2m": (0, 0, (103, 1, 15)),
    "R2m": (1, 1, (103, 1, 15)),
    "CloudLow": (6, 3, (1, *NO_LEVEL)),
    "CloudMiddle": (6, 4, (1, *NO_LEVEL)),
    "CloudHigh": (6, 5, (1, *NO_LEVEL)),
    "CloudTotal": (6, 1, (1, *NO_LEVEL)),
}
"""The ten instantaneous fields of an hour; screen level is coded as 15 x 10**-1 m."""

PRESSURE_FIELDS = {"GH": (3, 5), "U": (2, 2), "V": (2, 3), "T": (0, 0), "W": (2, 8), "R": (1, 1)}
"""Of every pressure level; humidity only from 1000 to 300 hPa."""

NEEDED_SURFACE = ("Prmsl", "U10m", "V10m", "T2m")
NEEDED_PRESSURE = (
    *("U975", "V975", "T975", "U950", "V950", "T950", "U925", "V925", "T925", "R925"),
    *("U850", "V850", "T850", "R850", "GH500", "T500", "R500", "GH300", "U300", "V300"),
)


def msm_name(t0: datetime, part: str) -> str:
    """The file name of ``part``, such as Lsurf_FH00-15."""
    return f"Z__C_RJTD_{t0:%Y%m%d%H}0000_MSM_GPV_Rjp_{part}_grib2.bin"


def write_operational(
    folder: Path,
    t0: datetime,
    weather: Weather | None = None,
    until: int = 15,
    only_needed: bool = False,
    pressure_packing: str = "simple",
) -> list[Path]:
    """Lsurf and L-pall of an initial time as JMA sends them, each one message.

    Args:
        folder: where the two files go; it is made when it is not there.
        t0: initial time.
        weather: what they tell; by default `Weather()`.
        until: last hour. With 15, Lsurf has 190 fields and L-pall 552.
        only_needed: leave out fields, levels and hours that tenkizu does not read. The files keep
            their names and shrink from 66 and 50 MB to some 7 and 4 MB.
        pressure_packing: of L-pall; JMA packs the MSM simply and the MEPS spatially (see
            `FieldSpec`).
    """
    weather = weather or Weather()
    hours = f"FH00-{until:02d}"
    return _write(
        folder,
        {
            msm_name(t0, f"Lsurf_{hours}"): _surface(t0, weather, until, only_needed),
            msm_name(t0, f"L-pall_{hours}"): _pressure(
                t0, weather, until, only_needed, pressure_packing
            ),
        },
    )


def write_archive(
    folder: Path,
    t0: datetime,
    weather: Weather | None = None,
    following: bool = False,
    only_needed: bool = False,
    pressure_packing: str = "simple",
) -> list[Path]:
    """Lsurf and L-pall of 3 and 6 h in a file each, and hourly rain (Prr) in files of three hours.

    Args:
        folder, t0, weather, only_needed, pressure_packing: as in `write_operational`.
        following: also Prr_FH06-09.
    """
    parts = archive_fields(t0, weather or Weather(), following, only_needed, pressure_packing)
    return write_parts(folder, t0, parts)


def archive_fields(
    t0: datetime,
    weather: Weather,
    following: bool = False,
    only_needed: bool = False,
    pressure_packing: str = "simple",
) -> dict[str, list[FieldSpec]]:
    """The fields of `write_archive` by part, so that a test can change one of them."""
    parts = {}
    for lead in (3, 6):
        parts[f"Lsurf_FH{lead:02d}"] = surface_fields(weather, t0, lead, only_needed)
        parts[f"L-pall_FH{lead:02d}"] = pressure_fields(
            weather, t0, lead, only_needed, pressure_packing
        )
    for begin in (0, 3, 6) if following else (0, 3):
        parts[f"Prr_FH{begin:02d}-{begin + 3:02d}"] = [
            rain_field(weather, t0, end) for end in range(begin + 1, begin + 4)
        ]
    return parts


def write_parts(folder: Path, t0: datetime, parts: dict[str, list[FieldSpec]]) -> list[Path]:
    """Write every part of an initial time as a file of one message."""
    return _write(folder, {msm_name(t0, part): message(f, t0) for part, f in parts.items()})


def surface_fields(
    weather: Weather, t0: datetime, lead: int, only_needed: bool = False
) -> list[FieldSpec]:
    """The instantaneous surface fields of an hour."""
    return [
        FieldSpec(weather.field(name, t0, lead), category, number, surface=surface, start=lead)
        for name, (category, number, surface) in SURFACE_FIELDS.items()
        if name in NEEDED_SURFACE or not only_needed
    ]


def pressure_fields(
    weather: Weather,
    t0: datetime,
    lead: int,
    only_needed: bool = False,
    packing: str = "simple",
    **other: object,
) -> list[FieldSpec]:
    """The fields of all pressure levels at one hour; ``other`` goes to every `FieldSpec`."""
    return [
        FieldSpec(
            weather.field(f"{name}{level}", t0, lead),
            category,
            number,
            surface=(100, -2, level),  # hPa x 10**2 Pa
            grid=PRESSURE,
            start=lead,
            packing=packing,
            **other,  # type: ignore[arg-type]
        )
        for level in LEVELS
        for name, (category, number) in PRESSURE_FIELDS.items()
        if f"{name}{level}" in NEEDED_PRESSURE or not (only_needed or (name == "R" and level < 300))
    ]


def rain_field(weather: Weather, t0: datetime, end: int, hours: int = 1) -> FieldSpec:
    """Rain of the hours up to ``end``; its forecast time is when they begin."""
    total = sum(weather.rain(t0, hour) for hour in range(end - hours + 1, end + 1))
    return FieldSpec(total, 1, 8, template=8, start=end - hours, length=hours, step=RAIN_STEP)


def radiation_field(weather: Weather, t0: datetime, end: int) -> FieldSpec:
    """Mean downward solar flux of the hour that ends at ``end``."""
    values = weather.field("Solar", t0, end)
    return FieldSpec(values, 4, 7, template=8, start=end - 1, process=AVERAGE)


@lru_cache(maxsize=2)
def _surface(t0: datetime, weather: Weather, until: int, only_needed: bool) -> bytes:
    fields: list[FieldSpec] = []
    for hour in range(until + 1):
        if not only_needed or hour in (3, 6):
            fields += surface_fields(weather, t0, hour, only_needed)
        if hour > 0 and (not only_needed or hour <= 9):
            fields.append(rain_field(weather, t0, hour))
        if hour > 0 and not only_needed:
            fields.append(radiation_field(weather, t0, hour))
    return message(fields, t0)


@lru_cache(maxsize=2)
def _pressure(t0: datetime, weather: Weather, until: int, only_needed: bool, packing: str) -> bytes:
    hours: Sequence[int] = (3, 6) if only_needed else range(0, until + 1, 3)
    fields: Iterable[FieldSpec] = (
        field
        for hour in hours
        for field in pressure_fields(weather, t0, hour, only_needed, packing)
    )
    return message(list(fields), t0)


def _write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]

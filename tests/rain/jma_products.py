"""Other JMA files than the MSM's: ensemble, gridded guidance, radar analysis, short-range rain.

Grids may be small here: a reader of these products takes the grid that it finds.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from jma_bytes import GUIDANCE, MINUTE, FieldSpec, Grid, message
from jma_files import NEEDED_PRESSURE, pressure_fields
from jma_weather import RAIN_STEP, Weather

RAIN_LEVELS = (0, 4, *range(10, 800, 10), *range(850, 2001, 50))
"""Levels of hourly rain, tenths of a millimetre."""

SMALL = Grid(56, 48, 40.0, 135.0, 0.05, 0.0625, shape_of_earth=4)


def smooth_rain(grid: Grid, seed: int) -> np.ndarray:
    """Rain on any grid, mm, in steps of 1/16: two showers and dry land."""
    draw = np.random.default_rng(seed)
    y, x = np.linspace(0, 1, grid.nj)[:, None], np.linspace(0, 1, grid.ni)[None]
    total = np.zeros((grid.nj, grid.ni))
    for _ in range(2):
        row, column, size = draw.uniform(0.2, 0.8), draw.uniform(0.2, 0.8), draw.uniform(0.05, 0.2)
        bell = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * size**2))
        total += draw.uniform(5, 40) * bell
    return np.floor(np.maximum(total - 0.25, 0) / RAIN_STEP) * RAIN_STEP


def sea_mask(grid: Grid) -> np.ndarray:
    """True where guidance has values: a band across the grid, as the islands are."""
    y, x = np.linspace(0, 1, grid.nj)[:, None], np.linspace(0, 1, grid.ni)[None]
    return np.abs(x + y - 1) < 0.3


def write_meps(
    folder: Path,
    t0: datetime,
    weather: Weather | None = None,
    members: int = 3,
    leads: Sequence[int] = (3, 6),
) -> list[Path]:
    """MEPS pressure levels: template 4.1, complex packing with spatial differencing, one message.

    Member m is the weather of seed + m. Only the 20 pressure fields that tenkizu reads.
    """
    weather = weather or Weather()
    fields = [
        field
        for lead in leads
        for member in range(members)
        for field in pressure_fields(
            Weather(weather.seed + member),
            t0,
            lead,
            only_needed=True,
            packing="spatial",
            **_ensemble(1, member, members),
        )
    ]
    assert len(fields) == len(leads) * members * len(NEEDED_PRESSURE)
    path = folder / f"Z__C_RJTD_{t0:%Y%m%d%H}0000_MEPS_GPV_Rjp_L-pall_FH00-15_grib2.bin"
    return [_put(path, message(fields, t0, processed=5))]


def write_meps_rain(
    folder: Path, t0: datetime, hours: Sequence[int], members: int = 3, grid: Grid = SMALL
) -> list[Path]:
    """Hourly rain of ensemble members: template 4.11. Member m, hour h: `smooth_rain` 100 m + h."""
    fields = [
        FieldSpec(
            smooth_rain(grid, 100 * member + hour),
            1,
            8,
            grid=grid,
            start=hour - 1,
            step=RAIN_STEP,
            **_ensemble(11, member, members),  # type: ignore[arg-type]
        )
        for hour in hours
        for member in range(members)
    ]
    path = folder / f"Z__C_RJTD_{t0:%Y%m%d%H}0000_MEPS_GPV_Rjp_Lsurf_FH00-15_grib2.bin"
    return [_put(path, message(fields, t0, processed=5))]


def write_guidance(
    folder: Path,
    t0: datetime,
    ends: Sequence[int] = (3, 6, 9, 12),
    grid: Grid = GUIDANCE,
    probability: bool = False,
) -> list[Path]:
    """Gridded guidance of 3-hour rain: 0/1/52, template 4.8, on land and coast only.

    The first field brings the bitmap, all others say 254. With ``probability``, each is followed
    by the chance of 1 mm or more in the same hours: same parameter, template 4.9, in %.
    The rain that ends at hour h is `smooth_rain` of seed h, NaN outside `sea_mask`.
    """
    fields: list[FieldSpec] = []
    mask = sea_mask(grid)
    for end in ends:
        rain = FieldSpec(
            np.where(mask, smooth_rain(grid, end), np.nan),
            1,
            52,
            grid=grid,
            template=8,
            start=end - 3,
            length=3,
            background=110,
            step=RAIN_STEP,
            same_bitmap=bool(fields),
        )
        fields.append(rain)
        if probability:
            chance = np.where(mask, np.minimum(100.0, 10 * rain.values), np.nan)
            fields.append(replace(rain, values=chance, template=9, step=1.0, same_bitmap=True))
    path = folder / f"Z__C_RJTD_{t0:%Y%m%d%H}0000_MSM_GUID_Rjp_P-all_FH03-39_Toorg_grib2.bin"
    return [_put(path, message(fields, t0))]


def write_radar_analysis(folder: Path, time: datetime, grid: Grid = SMALL) -> list[Path]:
    """Radar-analysed rain of the hour that ends at ``time``: 0/1/200, 4.50008, run-length.

    Its forecast time is -60 minutes. The rain is `radar_rain` of seed 0.
    """
    field = _radar_field(radar_rain(grid, 0), grid, template=50008, start=-60)
    path = folder / f"Z__C_RJTD_{time:%Y%m%d%H}0000_SRF_GPV_Ggis1km_Prr60lv_ANAL_grib2.bin"
    return [_put(path, message([field], time, significance=0, processed=0))]


def write_short_range(
    folder: Path, time: datetime, hours: Sequence[int] = range(1, 7), grid: Grid = SMALL
) -> list[Path]:
    """Short-range forecast of hourly rain: 0/1/200, template 4.50009; hour h is seed h."""
    fields = [
        _radar_field(radar_rain(grid, hour), grid, template=50009, start=60 * (hour - 1))
        for hour in hours
    ]
    path = folder / f"Z__C_RJTD_{time:%Y%m%d%H}0000_SRF_GPV_Ggis1km_Prr60lv_FH01-06_grib2.bin"
    return [_put(path, message(fields, time))]


def radar_rain(grid: Grid, seed: int) -> np.ndarray:
    """Rain that the levels of a radar product can say exactly, NaN outside its coverage."""
    table = np.array(RAIN_LEVELS) / 10
    rain = smooth_rain(grid, 1000 + seed)
    return np.where(sea_mask(grid), table[np.searchsorted(table, rain, "right") - 1], np.nan)


def _radar_field(values: np.ndarray, grid: Grid, template: int, start: int) -> FieldSpec:
    return FieldSpec(
        values,
        1,
        200,
        grid=grid,
        template=template,
        start=start,
        unit=MINUTE,
        length=60,
        length_unit=MINUTE,
        background=150,
        packing="run_length",
        bits=8,
        levels=RAIN_LEVELS,
        decimals=1,
    )


def _ensemble(template: int, member: int, members: int) -> dict[str, int]:
    return {
        "template": template,
        "member": member,
        "members": members,
        "generating_process": 4,
        "background": 61,
    }


def _put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path

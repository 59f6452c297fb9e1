"""Smooth moving weather on the MSM grids, the same whenever it is asked for."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
from jma_bytes import PRESSURE, SURFACE, Grid

LEVELS = (1000, 975, 950, 925, 900, 850, 800, 700, 600, 500, 400, 300, 250, 200, 150, 100)
"""Pressure levels of L-pall, hPa."""

RAIN_STEP = 2.0**-4
"""Packing step of rain, mm: every amount is a multiple of it."""

WAVES = 3
BLOCK = 6
"""Hours; showers are drawn for blocks of them."""
SHOWERS = 9
"""Of a block."""
LIFE = 3.0
"""Standard deviation of a shower's strength in time, hours."""
DEGREE = 111.195e3
"""Of latitude, m."""

_HEIGHTS = (110, 320, 540, 770, 1000, 1490, 2000, 3080, 4300, 5720, 7380, 9430, 10670, 12120)


@dataclass(frozen=True)
class Weather:
    """Fields of any hour; they depend on the seed and on the valid time alone.

    Args:
        seed: another seed is other weather.
    """

    seed: int = 0

    def field(self, base: str, t0: datetime, lead_hours: float) -> np.ndarray:
        """A field ``lead_hours`` after ``t0``, float64 (505, 481), or (253, 241) on levels.

        ``base`` is Prmsl, Psurf, U10m, V10m, T2m, R2m, CloudLow, CloudMiddle, CloudHigh,
        CloudTotal, Solar, or GH, U, V, T, W or R with a pressure level, such as U850. Units are
        those of the files: Pa, m/s, K, %, W/m2, gpm.
        """
        grid = SURFACE if _level(base) is None else PRESSURE
        return self.at(base, grid.latitude, grid.longitude, _hours(t0) + lead_hours)

    def at(
        self, base: str, latitude: np.ndarray, longitude: np.ndarray, hours: float
    ) -> np.ndarray:
        """The field on the nodes of these axes, ``hours`` after 1970."""
        mean, slope, amplitude = _climate(base)
        rows, columns = _waves(self.seed, base, latitude, longitude, hours)
        return mean + slope * (latitude[:, None] - 35.0) + amplitude / WAVES * (rows @ columns)

    def rain(self, t0: datetime, end_hour: int) -> np.ndarray:
        """Rain of the hour that ends ``end_hour`` after ``t0``, mm, (505, 481)."""
        return _rain(self, round(_hours(t0)) + end_hour)


def _hours(time: datetime) -> float:
    return (time - datetime(1970, 1, 1)).total_seconds() / 3600


def _level(base: str) -> int | None:
    digits = base.lstrip("GHUVTWR")
    return int(digits) if digits.isdigit() else None


def _climate(base: str) -> tuple[float, float, float]:
    """Mean at 35 N, change by a degree of latitude, and size of the waves."""
    level = _level(base)
    if level is None:
        return {
            "Prmsl": (101_300.0, -30.0, 1500.0),
            "Psurf": (100_100.0, -30.0, 1500.0),
            "U10m": (4.0, 0.0, 9.0),
            "V10m": (1.0, 0.0, 9.0),
            "T2m": (288.0, -0.8, 6.0),
            "R2m": (70.0, 0.0, 25.0),
            "Solar": (300.0, -5.0, 150.0),
        }.get(base, (50.0, 0.0, 45.0))
    i = LEVELS.index(level)
    height = (*_HEIGHTS, 13_900.0, 16_500.0)[i]
    kind = base.removesuffix(str(level))
    return {
        "GH": (height, -height / 900, 20.0 + height / 120),
        # 850 hPa winds carry the showers: strong enough to move them a few cells an hour.
        "U": (8.0 + height / 500, 0.2, 6.0 + height / 1500),
        "V": (3.0, 0.0, 6.0 + height / 2000),
        "T": (289.0 - 0.0062 * min(height, 11_500.0), -0.5, 5.0),
        "W": (0.0, 0.0, 0.8),
        "R": (60.0, 0.0, 35.0),
    }[kind]


@lru_cache(maxsize=256)
def _numbers(seed: int, base: str) -> np.ndarray:
    """Wave numbers east and north (per degree), frequency (per hour) and phase: (4, WAVES)."""
    draw = np.random.default_rng([seed, *base.encode()])
    length = draw.uniform(12, 30, WAVES)  # degrees
    turn = draw.uniform(-0.8, 0.8, WAVES)
    number = 2 * np.pi / length
    speed = draw.uniform(0.3, 0.6, WAVES)  # degrees an hour
    phase = draw.uniform(0, 2 * np.pi, WAVES)
    return np.stack([number * np.cos(turn), number * np.sin(turn), number * speed, phase])


def _waves(
    seed: int, base: str, latitude: np.ndarray, longitude: np.ndarray, hours: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two factors whose product is the sum of travelling sines: (rows, 2 w) and (2 w, columns)."""
    east, north, frequency, phase = _numbers(seed, base)
    along = longitude[:, None] * east - frequency * hours + phase
    across = latitude[:, None] * north
    rows = np.concatenate([np.cos(across), np.sin(across)], 1)
    columns = np.concatenate([np.sin(along), np.cos(along)], 1).T
    return rows, columns


@lru_cache(maxsize=64)
def _rain(weather: Weather, end: int) -> np.ndarray:
    """Rain of the hour up to ``end`` (hours after 1970): showers that the 850 hPa wind carries."""
    total = np.zeros((SURFACE.nj, SURFACE.ni))
    for block in range((end - 12) // BLOCK, (end + 12) // BLOCK + 1):
        for shower in _showers(weather.seed, block):
            peak, row, column, size, strength = shower
            for moment in end - 1 + (np.arange(4) + 0.5) / 4:
                now = strength * np.exp(-0.5 * ((moment - peak) / LIFE) ** 2) / 4
                if now > 0.02:
                    place = _carried(weather, row, column, peak, moment)
                    _add(total, SURFACE, place, size, now)
    # Below a quarter of a millimetre the edges of the showers evaporate: most cells are dry.
    total = np.floor(np.maximum(total - 0.25, 0) / RAIN_STEP) * RAIN_STEP
    total.setflags(write=False)
    return total


@lru_cache(maxsize=64)
def _showers(seed: int, block: int) -> list[tuple[float, float, float, float, float]]:
    """Time of the peak, latitude and longitude then, radius (degrees) and strength (mm/h)."""
    draw = np.random.default_rng([seed, 8500, block])
    return [
        (
            block * BLOCK + draw.uniform(0, BLOCK),
            draw.uniform(SURFACE.south, SURFACE.north),
            draw.uniform(SURFACE.west, SURFACE.east),
            draw.uniform(0.25, 0.8),
            2.0 + draw.exponential(8.0),
        )
        for _ in range(SHOWERS)
    ]


def _carried(
    weather: Weather, latitude: float, longitude: float, start: float, end: float
) -> tuple[float, float]:
    """Where the 850 hPa wind takes a point from one time to another (midpoint rule)."""
    steps = max(1, int(np.ceil(abs(end - start))))
    step = (end - start) / steps
    for i in range(steps):
        time = start + i * step
        north, east = _drift(weather, latitude, longitude, time)
        half = (latitude + north * step / 2, longitude + east * step / 2)
        north, east = _drift(weather, *half, time + step / 2)
        latitude, longitude = latitude + north * step, longitude + east * step
    return latitude, longitude


def _drift(weather: Weather, latitude: float, longitude: float, time: float) -> tuple[float, float]:
    """The 850 hPa wind at a point, degrees of latitude and of longitude an hour."""
    at = (np.array([latitude]), np.array([longitude]), time)
    u, v = (weather.at(name, *at).item() * 3600 / DEGREE for name in ("U850", "V850"))
    return v, u / np.cos(np.deg2rad(latitude))


def _add(
    total: np.ndarray, grid: Grid, place: tuple[float, float], size: float, strength: float
) -> None:
    """Add a round bell of rain, cut off at four radii."""
    rows = np.abs(grid.latitude - place[0]) < 4 * size
    columns = np.abs(grid.longitude - place[1]) < 4 * size
    if not (rows.any() and columns.any()):
        return
    bell_rows = np.exp(-0.5 * ((grid.latitude[rows] - place[0]) / size) ** 2)
    bell_columns = np.exp(-0.5 * ((grid.longitude[columns] - place[1]) / size) ** 2)
    first, left = rows.argmax(), columns.argmax()
    total[first : first + rows.sum(), left : left + columns.sum()] += strength * np.outer(
        bell_rows, bell_columns
    )

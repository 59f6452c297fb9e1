"""Derived fields: from what the reanalysis holds to the maps a network sees."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.sphere import divergence, gradient, laplacian
from tenkizu.patterns.physics.channels import describe
from tenkizu.patterns.physics.moist_air import (
    MIN_SPECIFIC_HUMIDITY,
    equivalent_potential_temperature,
)

log = logging.getLogger(__name__)

Array = NDArray[np.float64]
Formula = Callable[..., Array]

STANDARD_GRAVITY = 9.80665
"""g0 in m s-2, by which geopotential becomes geopotential height."""

# So many cells of a field at a time: temporaries then stay in the processor's cache.
_CELLS_AT_ONCE = 2**15


def magnitude(east: Array, north: Array) -> Array:
    """Length of a vector of any shape, in its units."""
    squares = east * east
    squares += north * north
    return np.sqrt(squares, out=squares)


def heading(east: Array, north: Array) -> Array:
    """Direction a vector points to, degrees anticlockwise from east, -180 to 180."""
    return np.rad2deg(np.arctan2(north, east))


def unit_component(component: Array, length: Array) -> Array:
    """Component of the unit vector, 0 where there is no vector."""
    return np.divide(component, length, out=np.zeros_like(component), where=length != 0)


def _height(geopotential: Array) -> Array:
    return geopotential / STANDARD_GRAVITY


def _shear(u500: Array, v500: Array, u850: Array, v850: Array) -> Array:
    return magnitude(u500 - u850, v500 - v850)


def _steepness(field: Array, lat: Array, lon: Array) -> Array:
    return magnitude(*gradient(field, lat, lon))


def _theta_e(t850: Array, q850: Array) -> Array:
    return equivalent_potential_temperature(t850, q850, 850.0)


def _convergence(q: Array, u: Array, v: Array, lat: Array, lon: Array) -> Array:
    total = divergence(q * u, q * v, lat, lon)
    return np.negative(total, out=total)


_GRID = ("lat", "lon")

# Each derived field: what it is made of (native fields, other derived ones, coordinates), and how.
_FORMULAS: dict[str, tuple[tuple[str, ...], Formula]] = {
    "gh500": (("z500",), _height),
    "gh1000": (("z1000",), _height),
    "thk_1000_500": (("gh500", "gh1000"), np.subtract),
    "grad_thk_1000_500": (("thk_1000_500", *_GRID), _steepness),
    "thetae850": (("t850", "q850"), _theta_e),
    "grad_thetae850": (("thetae850", *_GRID), _steepness),
    "div850": (("d850",), np.positive),
    "vmag500": (("u500", "v500"), magnitude),
    "vmag850": (("u850", "v850"), magnitude),
    "shear_850_500": (("u500", "v500", "u850", "v850"), _shear),
    "mfc850": (("q850", "u850", "v850", *_GRID), _convergence),
    "ivt": (("viwve", "viwvn"), magnitude),
    "ivt_dir": (("viwve", "viwvn"), heading),
    "ivt_cos": (("viwve", "ivt"), unit_component),
    "ivt_sin": (("viwvn", "ivt"), unit_component),
    "vmag10": (("u10", "v10"), magnitude),
    "msl_dt24": (("msl", "msl@-24h"), np.subtract),
    "grad_msl": (("msl", *_GRID), _steepness),
    "lap_msl": (("msl", *_GRID), laplacian),
}

# Files that are not raw downloads hold these instead of the native field.
_STANDS_FOR = {"gh500": "z500", "gh1000": "z1000", "div850": "d850"}


def required(channels: Sequence[str], available: Collection[str] | None = None) -> tuple[str, ...]:
    """Native fields from which these channels come, each once, in the order they are met.

    ``msl_dt24`` needs ``msl@-24h``, the pressure of 24 hours before; ``sea_mask`` needs ``sst``;
    season terms need none.

    Args:
        channels: names of `CHANNELS`.
        available: names the source has. Where it holds ``gh500``, ``gh1000`` or ``div850`` but not
            ``z500``, ``z1000`` or ``d850``, the former count as native. None: a raw download.

    Raises:
        ConfigError: for a name that is no channel.
    """
    needed: dict[str, None] = {}

    def visit(name: str) -> None:
        native = _STANDS_FOR.get(name)
        given = native and available is not None and name in available and native not in available
        if given or name not in _FORMULAS:
            needed[name] = None
            return
        for part in _FORMULAS[name][0]:
            if part not in _GRID:
                visit(part)

    for channel in describe(channels):
        if channel.kind == "map":
            visit(channel.name)
        elif channel.name == "sea_mask":
            visit("sst")
    return tuple(needed)


def derive(
    channels: Sequence[str], natives: Mapping[str, NDArray[np.floating]], lat: Array, lon: Array
) -> dict[str, Array]:
    """Compute the maps among these channels from native fields.

    Native channels are handed through as they are, without a copy; everything else is computed in
    float64. Missing values stay missing and spread to what is made of them.

    Args:
        channels: names of `CHANNELS`; season terms and the sea mask, which are no daily maps, are
            left to their own modules.
        natives: fields (T, H, W) by native name, at least those of `required`.
        lat: (H,), degrees north.
        lon: (W,), degrees east.

    Returns:
        Fields (T, H, W), float64, in the units of `CHANNELS`, by channel in the order asked for.

    Raises:
        ConfigError: for a name that is no channel.
        DataError: when a native field is absent or of another shape, or when the grid does not
            allow derivatives.
    """
    maps = [channel.name for channel in describe(channels) if channel.kind == "map"]
    needed = required(maps, tuple(natives))
    shape = _common_shape(maps, needed, natives, (len(lat), len(lon)))
    derived = {name: np.empty(shape) for name in maps if name not in needed}
    days = max(1, _CELLS_AT_ONCE // (shape[1] * shape[2]))
    for start in range(0, shape[0], days):
        block = slice(start, start + days)
        fields = {name: np.asarray(natives[name][block], np.float64) for name in needed}
        fields |= {"lat": lat, "lon": lon}
        for name, result in derived.items():
            result[block] = _field(name, fields)
    if {"thetae850", "grad_thetae850"} & set(derived):
        _report_clipping(natives["q850"])
    return {
        name: derived[name] if name in derived else np.asarray(natives[name], np.float64)
        for name in maps
    }


def _field(name: str, fields: dict[str, Array]) -> Array:
    """The field of this name, computed if need be; kept in ``fields`` for those made of it."""
    if name not in fields:
        parts, formula = _FORMULAS[name]
        fields[name] = formula(*(_field(part, fields) for part in parts))
    return fields[name]


def _common_shape(
    maps: Sequence[str],
    needed: Sequence[str],
    natives: Mapping[str, NDArray[np.floating]],
    grid: tuple[int, int],
) -> tuple[int, int, int]:
    """(T, H, W) of all native fields needed."""
    for name in needed:
        if name not in natives:
            users = [channel for channel in maps if name in required([channel], tuple(natives))]
            raise DataError(
                "native field missing",
                variable=name,
                found=", ".join(sorted(natives)) or "no field at all",
                expected=f"{name}, which {', '.join(users)} need{'s' * (len(users) == 1)}",
                next_step="bring the file that holds it, or leave those channels out with "
                "data.drop",
            )
    times = len(natives[needed[0]]) if needed else 0
    for name in needed:
        if natives[name].shape != (times, *grid):
            raise DataError(
                "field of another shape",
                variable=name,
                found=natives[name].shape,
                expected=f"{(times, *grid)}: times, latitudes, longitudes",
            )
    return (times, *grid)


def _report_clipping(q850: NDArray[np.floating]) -> None:
    dry = int(np.count_nonzero(q850 < MIN_SPECIFIC_HUMIDITY))
    if dry:
        log.info(
            "q850: %d of %d values below %g kg/kg raised to it for thetae850",
            dry,
            q850.size,
            MIN_SPECIFIC_HUMIDITY,
        )

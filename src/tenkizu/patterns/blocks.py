"""From a source of native maps to the fields a network sees, a few days at a time.

Preparation and prediction share this, so that both see the same numbers.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns.config import DataConfig
from tenkizu.patterns.physics.channels import CHANNELS, SETS, describe
from tenkizu.patterns.physics.coarsen import coarsen, coarsen_axis
from tenkizu.patterns.physics.derive import derive, required
from tenkizu.patterns.reading.maps import MapSource

FORMULA_VERSION = 1
"""Raised when a formula of a derived field changes, so that older stores are made anew."""

BLOCK_DAYS = 8
"""Maps held at a time: 8 days of 47 fields of 161 x 161 cells in float64 are 78 MB."""

BEFORE = "msl@-24h"
MAY_BE_MISSING = ("sst", "cin", "msl_dt24")
"""Land, air without convection, and the first map of a series."""

_NEEDS_FLUX = ("ivt_dir", "ivt_cos", "ivt_sin")
_FLUXES = ("viwve", "viwvn")

Maps = NDArray[np.float32]


def blocks_of(
    source: MapSource, channels: Sequence[str], times: NDArray[np.datetime64], factor: int = 1
) -> Iterator[tuple[NDArray[np.datetime64], dict[str, Maps]]]:
    """Read, derive and coarsen fields in blocks of at most `BLOCK_DAYS` maps.

    Args:
        source: holds the native fields; see `require_natives`.
        channels: maps, fields also written such as ``cape``, and ``sea_mask``; season terms are
            passed over, since they are no maps.
        times: valid times, UTC, of ``source.times``.
        factor: cells averaged to a side.

    Yields:
        The times of the block (T,) and its fields (T, H, W), float32, by channel. ``sea_mask`` is
        1 where sst is finite, one map a time.

    Raises:
        DataError: a field has a value that is not finite where none is missing by nature.
    """
    kinds = {name: CHANNELS[name].kind for name in channels}
    maps = [name for name in channels if kinds[name] == "map"]
    extra = [flux for flux in _FLUXES if flux not in maps]
    derived = [*maps, *extra] if factor > 1 and set(maps) & set(_NEEDS_FLUX) else list(maps)
    if "sea_mask" in channels and "sst" not in derived:
        derived.append("sst")
    needed = required(derived, source.names)
    present = [name for name in needed if name != BEFORE]
    for first in range(0, len(times), BLOCK_DAYS):
        block = times[first : first + BLOCK_DAYS]
        natives = source.read(present, block)
        if BEFORE in needed:
            natives[BEFORE] = source.read_before("msl", block)
        fields = derive(derived, natives, source.grid.y, source.grid.x)
        natives.clear()  # frees the maps even if the mapping itself is still referred to
        coarse = coarsen(fields, factor)
        fields.clear()
        # One field after the other, so that the block is never held whole in both precisions.
        result = {name: coarse.pop(name).astype(np.float32) for name in list(coarse)}
        if "sea_mask" in channels:
            result["sea_mask"] = np.isfinite(result["sst"]).astype(np.float32)
        _check_finite(result, block)
        yield block, {name: result[name] for name in channels if name in result}


def require_natives(channels: Sequence[str], available: Collection[str], where: str) -> None:
    """Refuse a source that lacks native fields of these channels.

    Args:
        channels: names of `CHANNELS`.
        available: what the source has.
        where: the source, for the message.

    Raises:
        DataError: each channel that cannot be made is named with the native fields it lacks.
    """
    lacking = {}
    for name in channels:
        natives = [native.partition("@")[0] for native in required([name], available)]
        if absent := [native for native in dict.fromkeys(natives) if native not in available]:
            lacking[name] = absent
    if lacking:
        needs = ", ".join(f"{name} (needs {' and '.join(a)})" for name, a in lacking.items())
        raise DataError(
            "the files do not hold the fields of all channels",
            file=where,
            variable=", ".join(dict.fromkeys(a for absent in lacking.values() for a in absent)),
            found=", ".join(available) or "no field",
            expected=needs,
            next_step="add the files that hold them, or leave these channels out: "
            f"data.drop=[{','.join(lacking)}]",
        )


def channel_names(data: DataConfig) -> tuple[str, ...]:
    """The configured channels, in order, without the dropped ones.

    Raises:
        ConfigError: a channel that does not exist is named.
    """
    names = SETS[data.channels] if isinstance(data.channels, str) else tuple(data.channels)
    describe([*names, *data.drop])
    return tuple(name for name in names if name not in data.drop)


def coarse_grid(grid: Grid, factor: int) -> Grid:
    """The grid after averaging ``factor`` cells to a side."""
    if factor == 1:
        return grid
    return Grid(
        grid.kind,
        coarsen_axis(grid.y, factor),
        coarsen_axis(grid.x, factor),
        grid.y_name,
        grid.x_name,
        grid.units,
    )


def _check_finite(fields: Mapping[str, Maps], times: NDArray[np.datetime64]) -> None:
    for name, field in fields.items():
        if name in MAY_BE_MISSING:
            continue
        bad = ~np.isfinite(field)
        if bad.any():
            raise DataError(
                "values that are not finite",
                variable=name,
                found=f"{np.count_nonzero(bad)} cells, the first at "
                f"{times[bad.any(axis=(1, 2))][0]} UTC",
                expected="a number in every cell",
                # Read for a model, the channels are the model's.
                next_step="correct the file; `prepare` can leave the channel out: "
                f"data.drop=[{name}]",
            )

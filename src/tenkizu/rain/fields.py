"""Forecast fields beside the rain: names, units, and where a store keeps them.

A store with fields holds ``fields`` (n, 2 x bases, H, W) beside ``rain``: each base at FT=3 and at
FT=6, one after the other. ``store.json`` has their names and units in ``arrays.fields``
(``channels``, ``units``, ``blocks``) and the moments of the training samples, channel by channel,
in ``statistics.fields``.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from tenkizu.core.errors import DataError
from tenkizu.core.stats import Moments
from tenkizu.core.store import MAKE_AGAIN, SampleStore
from tenkizu.rain.data_config import DataConfig

if TYPE_CHECKING:
    from tenkizu.core.normaliser import ChannelScale

UNITS = {"Prmsl": "Pa", "U": "m s-1", "V": "m s-1", "T": "K", "R": "%", "GH": "gpm"}
"""Units by the letters at the beginning of a field's name."""

RANGES = {
    "Prmsl": (80_000.0, 110_000.0),
    "GH500": (4_000.0, 6_500.0),
    "GH300": (7_000.0, 11_000.0),
    "U": (-200.0, 200.0),
    "V": (-200.0, 200.0),
    "T": (170.0, 330.0),
    "R": (-30.0, 150.0),
    "GH": (-1_000.0, 20_000.0),
}
"""Least and largest values of a field, by the beginning of its name; the first that fits counts."""

MSM24 = (
    "Prmsl", "U10m", "V10m", "T2m",
    "U975", "V975", "T975",
    "U950", "V950", "T950",
    "U925", "V925", "T925", "R925",
    "U850", "V850", "T850", "R850",
    "GH500", "T500", "R500",
    "GH300", "U300", "V300",
)  # fmt: skip
"""The 24 fields of the reference network, in their order."""

LEADS = ("ft3", "ft6")
"""Suffixes of a field at the two lead times around the window."""

PREVIOUS = "Prec_ft3"
"""Name of P where it stands beside fields."""


def field_pairs(bases: Iterable[str]) -> list[str]:
    """Channel names of fields: each base at both lead times, in the order of the store."""
    return [f"{base}_{lead}" for base in bases for lead in LEADS]


def field_names(data: DataConfig) -> list[str]:
    """Channel names of the configured fields; none by default."""
    return field_pairs(MSM24 if data.fields == "msm24" else data.fields)


def is_field(channel: str) -> bool:
    """Whether a channel is a forecast field: not rain, time, place or made from them."""
    return channel.endswith(LEADS) and channel != PREVIOUS


def units_of(channel: str) -> str | None:
    """Units of a channel such as T850_ft3, by its name; None for a name that is not MSM's."""
    found = re.match(r"[A-Za-z]+", channel)
    return UNITS.get(found[0]) if found else None


def range_of(channel: str) -> tuple[float, float] | None:
    """Least and largest values of a channel such as T850_ft3; None for a name that is not MSM's."""
    if units_of(channel) is None:
        return None
    return next(ends for beginning, ends in RANGES.items() if channel.startswith(beginning))


def wind_component(channel: str) -> Literal["eastward", "northward"] | None:
    """The wind component that a field is, such as U850_ft3 or V10m_ft6; None if it is another."""
    found = re.match(r"([UV])\d", channel)
    if found is None:
        return None
    return "eastward" if found[1] == "U" else "northward"


def stored_fields(store: SampleStore) -> list[str]:
    """Channel names of the fields in a store; none in a store of rain alone."""
    return list(store.meta["arrays"].get("fields", {}).get("channels", ()))


def field_scales(data: DataConfig, store: SampleStore | None = None) -> "list[ChannelScale]":
    """The configured fields as input channels, standardised by the training samples of a store.

    Without a store, which is enough to count channels, they are not scaled.

    Raises:
        DataError: the store lacks a field, its statistics, or has it in other units.
    """
    # Here, since it brings torch, which those who only want the names do without.
    from tenkizu.core.normaliser import ChannelScale

    names = field_names(data)
    if store is None or not names:
        return [ChannelScale(name, units_of(name) or "1") for name in names]
    stored = stored_fields(store)
    missing = [name for name in names if name not in stored]
    if missing:
        raise DataError(
            "the store lacks fields that the configuration names",
            file=store.path / "store.json",
            variable="arrays.fields.channels",
            found=", ".join(stored) or "a store of rain alone",
            expected=", ".join(missing),
            next_step="leave them out of data.fields, or prepare a store that has them",
        )
    units = dict(zip(stored, store.meta["arrays"]["fields"]["units"], strict=True))
    for name in names:
        expected = units_of(name)
        if expected is not None and units[name] != expected:
            raise DataError(
                "the store has a field in other units",
                file=store.path / "store.json",
                variable=name,
                found=units[name],
                expected=expected,
                next_step=MAKE_AGAIN,
            )
    statistics = store.meta["statistics"].get("fields", {"count": []})
    counted = sum(count > 0 for count in statistics["count"])
    if counted < len(stored):
        raise DataError(
            "the statistics of the fields are missing or incomplete",
            file=store.path / "store.json",
            variable="statistics.fields",
            found=f"{counted} channels",
            expected=len(stored),
            next_step=MAKE_AGAIN,
        )
    moments = Moments.from_json(statistics)
    mean, std = (dict(zip(stored, map(float, v), strict=True)) for v in (moments.mean, moments.std))
    return [ChannelScale(name, units[name], "linear", mean[name], std[name]) for name in names]

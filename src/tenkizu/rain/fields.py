"""Forecast fields beside the rain: names, units, and where a store keeps them.

A store with fields holds ``fields`` (n, 2 x bases, H, W) beside ``rain``: each base at FT=3 and at
FT=6, one after the other. ``store.json`` has their names and units in ``arrays.fields``
(``channels``, ``units``, ``blocks``) and the moments of the training samples, channel by channel,
in ``statistics.fields``.
"""

import re
from collections.abc import Iterable
from typing import Literal

from tenkizu.core.errors import DataError
from tenkizu.core.normaliser import ChannelScale
from tenkizu.core.stats import Moments
from tenkizu.core.store import MAKE_AGAIN, SampleStore
from tenkizu.rain.data_config import DataConfig

MSM24 = {
    "Prmsl": "Pa",
    **dict.fromkeys(("U10m", "V10m"), "m s-1"),
    "T2m": "K",
    **{f"{name}{level}": units for level in (975, 950) for name, units in (
        ("U", "m s-1"), ("V", "m s-1"), ("T", "K"))},
    **{f"{name}{level}": units for level in (925, 850) for name, units in (
        ("U", "m s-1"), ("V", "m s-1"), ("T", "K"), ("R", "%"))},
    "GH500": "gpm",
    "T500": "K",
    "R500": "%",
    "GH300": "gpm",
    **dict.fromkeys(("U300", "V300"), "m s-1"),
}  # fmt: skip
"""The 24 fields of the reference network in their order, with units."""

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


def wind_component(channel: str) -> Literal["eastward", "northward"] | None:
    """The wind component that a field is, such as U850_ft3 or V10m_ft6; None if it is another."""
    found = re.match(r"([UV])\d", channel)
    if found is None:
        return None
    return "eastward" if found[1] == "U" else "northward"


def stored_fields(store: SampleStore) -> list[str]:
    """Channel names of the fields in a store; none in a store of rain alone."""
    return list(store.meta["arrays"].get("fields", {}).get("channels", ()))


def field_scales(data: DataConfig, store: SampleStore | None = None) -> list[ChannelScale]:
    """The configured fields as input channels, standardised by the training samples of a store.

    Without a store, which is enough to count channels, they are not scaled.

    Raises:
        DataError: the store lacks a field, its statistics, or has it in other units.
    """
    names = field_names(data)
    if store is None or not names:
        return [ChannelScale(name, MSM24.get(name.rpartition("_")[0], "1")) for name in names]
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
        expected = MSM24.get(name.rpartition("_")[0], units[name])
        if units[name] != expected:
            raise DataError(
                "the store has a field in other units",
                file=store.path / "store.json",
                variable=name,
                found=units[name],
                expected=expected,
                next_step=MAKE_AGAIN,
            )
    moments = Moments.from_json(store.meta["statistics"].get("fields", {"count": []} | _NOTHING))
    if len(moments.count) != len(stored) or not (moments.count > 0).all():
        raise DataError(
            "the statistics of the fields are missing or incomplete",
            file=store.path / "store.json",
            variable="statistics.fields",
            found=f"{int((moments.count > 0).sum())} channels",
            expected=len(stored),
            next_step=MAKE_AGAIN,
        )
    std = moments.std
    where = {name: stored.index(name) for name in names}
    return [
        ChannelScale(name, units[name], "linear", float(moments.mean[i]), float(std[i]))
        for name, i in where.items()
    ]


_NOTHING: dict[str, list[float]] = {name: [] for name in ("mean", "m2", "min", "max")}

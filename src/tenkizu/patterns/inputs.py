"""What the network sees of a day, and how each channel is scaled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.normaliser import ChannelScale
from tenkizu.core.stats import Moments
from tenkizu.core.store import SampleStore
from tenkizu.patterns.blocks import channel_names
from tenkizu.patterns.config import DataConfig
from tenkizu.patterns.moments import LOG, load_moments, merge_moments
from tenkizu.patterns.physics.channels import CHANNELS
from tenkizu.patterns.physics.season import season_terms

SEASON = ("f1_season", "f2_season", "f3_season", "f4_season")
TYPHOON = "typhoon"
TYPHOON_UNIT = 0.25
"""What counts as one deviation of `typhoon`: a centre stands out by four, no storm is 0."""
BEFORE = "@-24h"
"""Ending of a channel as it was a day earlier."""


@dataclass(frozen=True)
class Inputs:
    """Channels of the network: maps, maps of the day before, tracks, static maps, season terms.

    Season terms are numbers and static maps do not change; both become planes on the device. The
    channel of storm tracks is made of a table when a day is read.
    """

    maps: tuple[str, ...]
    history: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    season: tuple[str, ...] = ()
    tracks: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: DataConfig) -> Self:
        """The inputs that a configuration asks for.

        Raises:
            ConfigError: a channel does not exist, or history is asked of one that is not a map.
        """
        names = channel_names(data)
        kinds = {name: CHANNELS[name].kind for name in names}
        maps = tuple(name for name in names if kinds[name] == "map")
        for name in data.history:
            if name not in maps:
                raise ConfigError(
                    "only maps that the network sees have a history",
                    variable="data.history",
                    found=name,
                    expected="some of " + ", ".join(maps),
                )
        return cls(
            maps,
            tuple(data.history),
            tuple(name for name in names if kinds[name] == "static"),
            tuple(name for name in names if kinds[name] == "scalar"),
            () if data.typhoons is None else (TYPHOON,),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All channels in the order of the network's input."""
        before = tuple(name + BEFORE for name in self.history)
        return self.maps + before + self.tracks + self.static + self.season

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready form."""
        kinds = ("maps", "history", "static", "season", "tracks")
        return {name: list(getattr(self, name)) for name in kinds}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{name: tuple(value) for name, value in data.items()})


def require_channels(inputs: Inputs, available: Sequence[str], where: str) -> None:
    """Refuse data that lack a channel of the model.

    Raises:
        DataError: both lists are named.
    """
    wanted = (*inputs.maps, *inputs.static)
    if lacking := [name for name in wanted if name not in available]:
        raise DataError(
            f"the model's channels are not all there: {', '.join(lacking)} missing",
            file=where,
            found=", ".join(available),
            expected=", ".join(wanted),
            next_step="prepare the data with these channels",
        )


def map_scales(
    store: SampleStore, inputs: Inputs, data: DataConfig, days: NDArray[np.int64]
) -> list[ChannelScale]:
    """Scaling of the map channels, history and tracks included, from the days of training.

    With ``anomaly: area_mean`` the deviation is that within the maps. A channel that does not vary
    has std 0 and becomes 0.

    Args:
        store: the prepared store.
        inputs: of the network.
        data: transforms and units.
        days: indices of the training days.
    """
    rows, moments = load_moments(store)
    chosen = moments[days]
    if data.anomaly == "area_mean":
        # Deviations from each map's own mean: the means no longer count.
        chosen = chosen.copy()
        chosen[..., 1] = 0.0
    merged = merge_moments(chosen)
    overall = merge_moments(moments[days])

    def scale(name: str) -> ChannelScale:
        channel = CHANNELS[name]
        log = data.transforms == "log1p" and channel.log_scale is not None
        row = rows.index(LOG + name if log else name)
        divisor = channel.log_scale if log and channel.log_scale else 1.0
        units = channel.units
        if name == "msl" and data.msl_unit == "hPa":
            divisor, units = 100.0, "hPa"
        unit_only = 1.0 if log else divisor
        constant = bool(_constant(overall, merged)[row])
        return ChannelScale(
            name,
            units,
            "log1p" if log else "linear",
            float(overall.mean[row]) / unit_only,
            0.0 if constant else float(merged.std[row]) / unit_only,
            divisor,
        )

    scales = {name: scale(name) for name in inputs.maps}
    before = [ChannelScale(**{**vars(scales[n]), "name": n + BEFORE}) for n in inputs.history]
    tracks = [ChannelScale(name, "1", std=TYPHOON_UNIT) for name in inputs.tracks]
    return [*scales.values(), *before, *tracks]


def _constant(overall: Moments, merged: Moments) -> NDArray[np.bool_]:
    """Whether a channel does not vary, judged by its size even when anomalies are taken."""
    rms = np.sqrt(overall.mean**2 + overall.std**2)
    return np.asarray(~(merged.std > 1e-6 * rms))


def season_scales(times: NDArray[np.datetime64], inputs: Inputs) -> list[ChannelScale]:
    """Scaling of the season terms over the training times."""
    values = season_terms(times)[:, [SEASON.index(name) for name in inputs.season]]
    return [
        ChannelScale(name, "1", "linear", float(column.mean()), float(column.std()))
        for name, column in zip(inputs.season, values.T, strict=True)
    ]

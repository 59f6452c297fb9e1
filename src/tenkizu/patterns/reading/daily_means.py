"""Daily means of maps: one map for each UTC day, the mean of those at given hours."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.patterns.reading.map_checks import Maps
from tenkizu.patterns.reading.map_choice import FETCH, Window
from tenkizu.patterns.reading.map_layout import Piece
from tenkizu.patterns.reading.map_source import MapSource
from tenkizu.patterns.reading.map_times import Minutes, list_times

_MAPS_AT_ONCE = 96
_LISTED = 3


class DailyMeans(MapSource):
    """The means over UTC days of what a `MapSource` holds, read and averaged a few days at a time.

    The day has the time 00 UTC. Its mean is over its maps at all of ``hours``, each weighing the
    same; a cell that is missing in one of them is missing. Rates and hourly accumulations keep
    their unit: the mean of hourly precipitation is in m (of an hour). Whatever is derived follows
    from the averaged fields: the wind speed is that of the mean wind.

    Args:
        pieces: as for `MapSource`.
        times: of all maps at ``hours``, UTC.
        window: as for `MapSource`.
        hours: of day, UTC, at which every day must have a map.

    Raises:
        ConfigError: there are fewer than two hours.
        DataError: a day lacks some of the hours.
    """

    def __init__(
        self, pieces: Sequence[Piece], times: Minutes, window: Window, hours: Sequence[int]
    ) -> None:
        super().__init__(pieces, times, window)
        if len(set(hours)) < 2:
            raise ConfigError(
                "a daily mean needs several maps a day",
                variable="data.hours",
                found=list(hours),
                expected="all hours of day that are averaged, such as [0, 6, 12, 18], or all",
                next_step="set data.hours, or data.daily=instant",
            )
        self._of_day = np.array(sorted(set(hours)), dtype="timedelta64[h]").astype("m8[m]")
        self.times = _complete_days(times, self._of_day, pieces[0])

    def _has(self, name: str, wanted: Minutes) -> NDArray[np.bool_]:
        """Which days a field has all maps of."""
        there = super()._has(name, self._maps_of(wanted)).reshape(len(wanted), len(self._of_day))
        return np.asarray(there.all(axis=1))

    def _read(self, name: str, wanted: Minutes) -> Maps:
        """Means of one field over days that it must have."""
        means = np.empty((len(wanted), *self.grid.shape))
        days = max(1, _MAPS_AT_ONCE // len(self._of_day))
        for first in range(0, len(wanted), days):
            block = wanted[first : first + days]
            maps = super()._read(name, self._maps_of(block))
            shape = (len(block), len(self._of_day), *self.grid.shape)
            maps.reshape(shape).mean(axis=1, out=means[first : first + len(block)])
        return means

    def _maps_of(self, days: Minutes) -> Minutes:
        """Times of the maps of some days, day by day."""
        times: Minutes = (days[:, None] + self._of_day).reshape(-1)
        return times


def _complete_days(times: Minutes, of_day: NDArray[np.timedelta64], piece: Piece) -> Minutes:
    """The days of some times, at 00 UTC.

    Raises:
        DataError: a day lacks hours; the first few such days with theirs.
    """
    days = np.unique(times.astype("datetime64[D]"))
    midnights: Minutes = days.astype("datetime64[m]")
    there = np.isin((midnights[:, None] + of_day), times)
    lacking = np.flatnonzero(~there.all(axis=1))
    if not len(lacking):
        return midnights
    texts = []
    for i in lacking[:_LISTED]:
        hours = ", ".join(f"{int(h.astype(int)) // 60:02}" for h in of_day[~there[i]])
        texts.append(f"{list_times(midnights[i : i + 1])} without {hours} UTC")
    more = len(lacking) - len(texts)
    raise DataError(
        "days without all maps of the daily mean",
        file=piece.file.label,
        variable=piece.variable,
        found="; ".join(texts) + (f" and {more} more days" if more else ""),
        expected=f"{len(of_day)} maps on each of {len(days)} days (data.hours)",
        next_step=FETCH,
    )

"""What a store holds: its channels, days, labels and size, as JSON-ready values."""

from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError, TenkizuError
from tenkizu.core.grid import Grid
from tenkizu.core.stats import Moments
from tenkizu.core.store import SampleStore
from tenkizu.patterns.config import LabelsConfig
from tenkizu.patterns.labelling import labels_of
from tenkizu.patterns.labels import LabelTable
from tenkizu.patterns.moments import load_moments, merge_moments
from tenkizu.patterns.physics.channels import CHANNELS
from tenkizu.patterns.physics.season import season_terms

SEASON = ("f1_season", "f2_season", "f3_season", "f4_season")
NOT_THERE = "no map"

Times = NDArray[np.datetime64]


def overview(store: SampleStore) -> dict[str, Any]:
    """Everything about a store but its maps, from its description and the moments of its days.

    No map is read: the statistics are sums over `load_moments`, exact, over all days.

    Raises:
        DataError: a store of the other system, or a damaged one.
    """
    if store.meta.get("kind") != "patterns":
        raise DataError(
            "a store of the other system",
            file=store.path,
            found=store.meta.get("kind"),
            expected="patterns",
            next_step="this command looks at stores of `tenkizu patterns prepare`",
        )
    times = stored_times(store)
    grid = Grid.from_json(store.meta["grid"])
    data = store.meta["config"]["data"]
    return {
        "store": str(store.path),
        "days": len(times),
        "first": str(times[0]),
        "last": str(times[-1]),
        "daily": data.get("daily", "instant"),
        "grid": {"text": grid.describe(), "rows": grid.shape[0], "columns": grid.shape[1]},
        "channels": channel_table(store, times),
        "gaps": gaps(store, times),
        "labels": label_counts(store, times),
        "size": sizes(store),
        "inputs": len(store.meta["inputs"]),
        "notes": store.meta.get("notes", []),
    }


def stored_times(store: SampleStore) -> Times:
    """Valid times of a store's maps (n,), UTC."""
    return np.array(store.meta["days"], "datetime64[m]")


def channel_table(store: SampleStore, times: Times) -> list[dict[str, Any]]:
    """Units, mean, sd, min, max and share of missing cells of each channel over the whole store.

    Channels of a day (season terms) are taken over days, static ones over cells.
    """
    rows, moments = load_moments(store)
    cells = int(np.prod(Grid.from_json(store.meta["grid"]).shape))
    merged = merge_moments(moments)
    of_maps = {name: (merged, i, cells * len(times)) for i, name in enumerate(rows)}
    terms = Moments.of(season_terms(times).T)
    of_all = dict(of_maps) | {name: (terms, i, len(times)) for i, name in enumerate(SEASON)}
    if "static" in store.meta["arrays"]:
        static = Moments.of(store.read("static", 0))
        for i, name in enumerate(store.meta["arrays"]["static"]["channels"]):
            of_all[name] = (static, i, cells)
    maps = store.meta["arrays"]["maps"]["channels"]
    names = [*store.meta["channels"], *(n for n in maps if n not in store.meta["channels"])]
    table = []
    for name in names:
        of, i, expected = of_all[name]
        count = int(of.count[i])
        values = {"mean": of.mean[i], "sd": of.std[i], "min": of.min[i], "max": of.max[i]}
        table.append(
            {
                "name": name,
                "kind": CHANNELS[name].kind,
                "units": CHANNELS[name].units,
                "long_name": CHANNELS[name].long_name,
                **{key: float(value) if count else None for key, value in values.items()},
                "missing": 1.0 - count / expected,
                "seen_by_network": name in store.meta["channels"],
            }
        )
    return table


def gaps(store: SampleStore, times: Times) -> list[dict[str, Any]]:
    """Times between the first and the last map that are not in the store, as ranges with reasons.

    A range is of adjacent days at one hour of day. Years that the configuration does not name are
    no gap.
    """
    left_out = {np.datetime64(e["time"], "m"): e["reason"] for e in store.meta["left_out"]}
    every = np.union1d(times, np.array(list(left_out), "datetime64[m]"))
    years = store.meta["config"]["data"]["years"]
    found = []
    for minute in np.unique((every - every.astype("datetime64[D]")).astype(int)):
        own = every[(every - every.astype("datetime64[D]")).astype(int) == minute]
        expected = np.arange(own[0], own[-1] + 1, np.timedelta64(1, "D"))
        if years:
            named = expected.astype("datetime64[Y]").astype(int) + 1970
            expected = expected[np.isin(named, years)]
        absent = expected[~np.isin(expected, times)]
        numbers = np.searchsorted(expected, absent)

        def place(item: tuple[int, tuple[np.int64, np.datetime64]]) -> tuple[int, str]:
            # Adjacent days keep the difference between their number and their rank.
            rank, (number, time) = item
            return int(number) - rank, left_out.get(time, NOT_THERE)

        pairs = enumerate(zip(numbers, absent, strict=True))
        for (_, reason), group in groupby(pairs, place):
            days = [time for _, (_, time) in group]
            found.append(
                {"first": str(days[0]), "last": str(days[-1]), "days": len(days), "reason": reason}
            )
    return sorted(found, key=lambda gap: str(gap["first"]))


def label_counts(store: SampleStore, times: Times) -> dict[str, Any]:
    """Days with each type, year by year of the local date, from the labels that the store names.

    ``problem`` in place of the counts says why there are none.
    """
    try:
        config = LabelsConfig(**store.meta["config"]["labels"])
        table = labels_of(config, store)
    except TenkizuError as error:
        return {"problem": str(error).splitlines()[0]}
    local = table.catalogue.local_days(times)
    years = local.astype("datetime64[Y]")
    counted = {str(year): _counts(table, times[years == year]) for year in np.unique(years)}
    total = _counts(table, times)
    found: dict[str, Any] = {"catalogue": table.catalogue.name, "source": table.source}
    if total["unlabelled"] == total["days"]:
        labelled = sorted(day for day, label in table.by_day.items() if label is not None)
        return found | {
            "problem": f"no day of the store is labelled; labels from {labelled[0]} to "
            f"{labelled[-1]}"
        }
    return found | {"types": list(table.catalogue.labels), "years": counted, "all": total}


def _counts(table: LabelTable, times: Times) -> dict[str, Any]:
    counts = table.counts(times)
    kinds = ("days", "unlabelled", "single", "composite", "transition")
    return {kind: getattr(counts, kind) for kind in kinds} | {"types": counts.types}


def sizes(store: SampleStore) -> dict[str, int]:
    """Bytes on disk: the maps that training reads, the NetCDF, the rest, and all together."""
    of = {"maps": 0, "netcdf": 0, "other": 0}
    for path in store.path.rglob("*"):
        if path.is_file():
            kind = {".npy": "maps", ".nc": "netcdf"}.get(path.suffix, "other")
            of["other" if path.name == "moments.npy" else kind] += path.stat().st_size
    return {**of, "all": sum(of.values())}


def index_of_day(times: Times, day: str | None) -> int:
    """Position of the first map of a date (UTC), or of a date with its hour; the middle by default.

    Raises:
        DataError: there is no such map, with the nearest.
    """
    if day is None:
        return len(times) // 2
    try:
        wanted = np.datetime64(day)
    except ValueError:
        wanted = np.datetime64("NaT")
    if np.isnat(wanted):
        raise DataError("not a date", variable="--day", found=day, expected="such as 1991-01-31")
    whole = len(day) <= len("1991-01-31")
    same = times.astype("datetime64[D]" if whole else "datetime64[m]") == wanted
    if not same.any():
        nearest = times[np.argmin(np.abs(times - wanted.astype("datetime64[m]")))]
        raise DataError(
            "no map of this day in the store",
            variable="--day",
            found=day,
            expected=f"a day from {times[0]} to {times[-1]}; the nearest is {nearest}",
        )
    return int(np.argmax(same))


def text_of_label(store: SampleStore, time: np.datetime64) -> str:
    """The label of one day; empty where there is none or labels are not known."""
    try:
        table = labels_of(LabelsConfig(**store.meta["config"]["labels"]), store)
    except TenkizuError:
        return ""
    (label,) = table.lookup(np.array([time]))
    return "" if label is None else label.text

"""What `convert` has to do: initial times by month, what they are made from, what is missing."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tenkizu.core.config import config_hash
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.store import read_json
from tenkizu.rain.msm.config import MsmConfig
from tenkizu.rain.msm.files import InitialTime, find_initial_times

LAYOUT = 1
"""Raised when what `convert` writes changes, so that older files are made anew."""

STEP = np.timedelta64(180, "m")
MISSING = "missing.json"


@dataclass
class MonthPlan:
    """A month of initial times.

    Attributes:
        month: datetime64[M].
        path: the monthly file.
        config_hash: of the settings that decide its content.
        inputs_hash: of names, sizes and times of modification of its GRIB2 files.
        ready: initial times with all their files, in order.
        keys: of each of them, by t0: settings and files.
        missing: entries of ``missing.json`` by t0.
        finished: the file is there and made from the same settings and files.
    """

    month: np.datetime64
    path: Path
    config_hash: str
    inputs_hash: str
    ready: list[InitialTime]
    keys: dict[np.datetime64, str]
    missing: dict[np.datetime64, dict[str, Any]] = field(default_factory=dict)
    finished: bool = False

    @property
    def name(self) -> str:
        """Year and month, such as 201801."""
        return self.path.stem

    @property
    def expected(self) -> list[np.datetime64]:
        """All its initial times, eight a day."""
        return expected_times(self.month)

    @property
    def parts_folder(self) -> Path:
        """Where initial times lie until the month is complete."""
        return self.path.with_name(f".{self.name}.part")

    def part(self, t0: np.datetime64) -> Path:
        """The file of a packed initial time."""
        return self.parts_folder / f"{t0.astype('datetime64[h]')}.h5"

    def miss(self, t0: np.datetime64, reason: str, parts: Iterable[str] = ()) -> None:
        """Note that an initial time is left out."""
        entry: dict[str, Any] = {"t0": str(t0.astype("datetime64[h]")), "reason": reason}
        self.missing[t0] = entry | ({"parts": list(parts)} if parts else {})


def expected_times(month: np.datetime64) -> list[np.datetime64]:
    """The initial times of a month: 00, 03, ..., 21 UTC of every day, datetime64[m]."""
    first = month.astype("datetime64[m]")
    return list(np.arange(first, (month + 1).astype("datetime64[m]"), STEP))


def plan_months(config: MsmConfig, overwrite: bool = False) -> list[MonthPlan]:
    """Look for the GRIB2 files and decide what is to be done, month by month.

    Args:
        config: the settings.
        overwrite: months made from other settings or files are made again, and so are those in
            which an initial time could not be read.

    Raises:
        ConfigError: there is no folder of GRIB2 files, or the months cannot be read.
        DataError: it holds no MSM file; a month made from other settings or files is there; with
            ``strict``, an initial time is incomplete.
    """
    if config.grib_dir is None:
        raise ConfigError(
            "missing", variable="data.msm.grib_dir", expected="the folder of the GRIB2 files"
        )
    root = config.grib_dir.expanduser().resolve()
    if not root.is_dir():
        raise ConfigError("no such folder", file=root, variable="data.msm.grib_dir")
    wanted = _wanted(config.months)
    found = find_initial_times(root, config.layout)
    by_month: dict[np.datetime64, list[InitialTime]] = {month: [] for month in wanted or ()}
    for one in found:
        month = one.t0.astype("datetime64[M]")
        if wanted is None or month in by_month:
            by_month.setdefault(month, []).append(one)
    if not any(by_month.values()):
        raise DataError(
            "no MSM file" + (" of these months" if found else ""),
            file=root,
            expected="names such as Z__C_RJTD_20180101000000_MSM_GPV_Rjp_Lsurf_FH00-15_grib2.bin",
            next_step="check data.msm.grib_dir, layout and months",
        )
    plans = [_plan(config, root, month, by_month[month]) for month in sorted(by_month)]
    if config.strict:
        _refuse_incomplete(plans, complete_months=wanted is not None)
    _compare_with_finished(plans, config, overwrite)
    return plans


def _wanted(months: tuple[str, str] | None) -> list[np.datetime64] | None:
    """All months of a range; None for no range."""
    if months is None:
        return None
    try:
        first, last = np.array(months, "datetime64[M]")
        ordered = bool(first <= last)
    except ValueError:
        ordered = False
    if not ordered:
        raise ConfigError(
            "not a range of months",
            variable="data.msm.months",
            found=", ".join(map(str, months)),
            expected="first and last, such as 2018-01 and 2018-12",
        )
    return list(np.arange(first, last + 1))


def _plan(
    config: MsmConfig, root: Path, month: np.datetime64, found: list[InitialTime]
) -> MonthPlan:
    """The plan of a month, before looking at what is already there."""
    settings = config_hash(
        {"layout": LAYOUT}
        | config.model_dump(mode="json", include={"following", "crop", "compression"})
    )
    expected = expected_times(month)
    ready = [one for one in found if not one.missing and one.t0 in expected]
    keys = {
        one.t0: config_hash({"settings": settings, "files": _state(one, root)}) for one in ready
    }
    path = config.monthly_dir.expanduser().resolve() / f"{str(month).replace('-', '')}.nc"
    inputs = config_hash({"keys": list(keys.values())})
    plan = MonthPlan(month, path, settings, inputs, ready, keys)
    for one in found:
        if one.missing:
            plan.miss(one.t0, "incomplete", one.missing)
    known = {one.t0 for one in found}
    for t0 in expected:
        if t0 not in known:
            plan.miss(t0, "no file")
    return plan


def _state(one: InitialTime, root: Path) -> dict[str, list[Any]]:
    """Name, size and time of modification of each file."""
    state = {}
    for part, path in one.files.items():
        status = path.stat()
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        state[part] = [name, status.st_size, status.st_mtime_ns]
    return state


def _refuse_incomplete(plans: list[MonthPlan], complete_months: bool) -> None:
    """Raise for the first initial time that lacks files; for one without any, if all are due."""
    for plan in plans:
        for t0, entry in sorted(plan.missing.items()):
            if complete_months or entry["reason"] != "no file":
                raise DataError(
                    f"the initial time is {entry['reason'].replace('no file', 'not there')}",
                    variable=str(t0.astype("datetime64[h]")),
                    found="missing: " + ", ".join(entry["parts"]) if "parts" in entry else None,
                    next_step="fetch the files, or list it in missing.json with "
                    "data.msm.strict=false",
                )


def _compare_with_finished(plans: list[MonthPlan], config: MsmConfig, overwrite: bool) -> None:
    """Mark finished months; raise for those made from something else."""
    listed = read_missing(config.monthly_dir)
    others = []
    for plan in plans:
        if not plan.path.exists():
            continue
        attributes = _attributes(plan.path)
        found = attributes.get("config_hash"), attributes.get("inputs_hash")
        if found != (plan.config_hash, plan.inputs_hash):
            what = "settings" if found[0] != plan.config_hash else "files"
            others.append(f"{plan.path.name} (other {what})")
            continue
        written = set(attributes.get("initial_times", "").split())
        unread = [one for one in plan.ready if str(one.t0) not in written]
        plan.finished = not (overwrite and unread)
        for one in unread if plan.finished else ():
            entry = listed.get(str(one.t0.astype("datetime64[h]")), {})
            plan.miss(one.t0, entry.get("reason", "could not be read in an earlier run"))
    if others and not overwrite:
        raise DataError(
            "months made from other settings or GRIB2 files are there",
            file=config.monthly_dir,
            found=", ".join(others[:5]) + (f" and {len(others) - 5} more" if others[5:] else ""),
            expected="months of this configuration",
            next_step="choose another data.msm.monthly_dir, or replace them with --overwrite",
        )


def _attributes(path: Path) -> dict[str, Any]:
    """Global attributes of a monthly file, and its times as a text; empty if it is damaged."""
    try:
        with h5py.File(path) as file:
            hours = file["time"][:].astype("datetime64[h]").astype("datetime64[m]")
            return {**file.attrs, "initial_times": " ".join(map(str, hours))}
    except (OSError, KeyError, ValueError):
        return {}


def read_missing(folder: Path) -> dict[str, dict[str, Any]]:
    """Entries of a folder's ``missing.json`` by t0, such as 2018-01-01T03; empty without one."""
    path = folder / MISSING
    if not path.exists():
        return {}
    months = read_json(path, "a list of missing initial times").get("months", {})
    return {entry["t0"]: entry for month in months.values() for entry in month["missing"]}

"""Which variable of a file is the rain, and how its units become millimetres."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from tenkizu.core.errors import ConfigError, DataError

STANDARD_NAMES = frozenset(
    {
        "precipitation_amount",
        "lwe_thickness_of_precipitation_amount",
        "thickness_of_rainfall_amount",
        "rainfall_amount",
        "precipitation_flux",
        "rainfall_flux",
        "lwe_precipitation_rate",
        "rainfall_rate",
    }
)
"""CF standard names of total rain; parts of it (convective, stratiform) are chosen by name only."""

VARIABLE_NAMES = frozenset(
    {
        "precipitation_amount",
        "precipitation",
        "precipitationcal",
        "total_precipitation",
        "precip",
        "prec",
        "prcp",
        "pr",
        "rain",
        "rain_1h",
        "rain_3h",
        "rainfall",
        "rainfall_amount",
        "rr",
        "tp",
        "tprate",
    }
)
"""Usual names of rain variables, in lower case. Totals since the start of a run are not here."""

UNDERSTOOD = "mm, kg m-2, m, mm h-1, mm day-1, mm s-1, kg m-2 s-1 or m s-1"

_MM = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("kg m-2", "kg/m2", "kgm-2"), 1.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
}
_SECONDS = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("min", "minute"), 60.0),
    **dict.fromkeys(("h", "hr", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86400.0),
}
_LISTED = 12
_RATE = re.compile(r"(.+?)(?:/(\w+)| (\w+)-1)")


@dataclass(frozen=True)
class RainUnits:
    """A recognised unit of rain.

    Attributes:
        text: the units as written.
        mm: depth of one unit in mm; a kilogram of water on a square metre is 1 mm deep.
        seconds: time that a rate refers to; None for an amount.
    """

    text: str
    mm: float
    seconds: float | None

    def mm_per_unit(self, step_minutes: int) -> float:
        """Factor from a stored value to mm in an interval: a mean rate times its length."""
        return self.mm if self.seconds is None else self.mm * step_minutes * 60.0 / self.seconds


def parse_units(text: str) -> RainUnits | None:
    """The rain unit that ``text`` spells, None if it is not one.

    Accepts the exponent styles ``m-2``, ``m^-2``, ``m**-2`` and ``/m2``, products written with a
    space or a dot, and British or American words.
    """
    plain = re.sub(r"\*\*|\^|[{}]", "", text.strip().lower())
    plain = re.sub(r"\s*(?:/|\bper\b)\s*", "/", re.sub(r"[.*·\s]+", " ", plain))
    if plain in _MM:
        return RainUnits(text, _MM[plain], None)
    rate = _RATE.fullmatch(plain)
    depth = _MM.get(rate[1]) if rate else None
    seconds = _SECONDS.get(rate[2] or rate[3]) if rate else None
    return RainUnits(text, depth, seconds) if depth and seconds else None


def rain_units(variable: xr.Variable, name: str, stated: str | None, path: Path) -> RainUnits:
    """The units of a rain variable: what the user stated, else what the file says.

    Raises:
        ConfigError: the stated units are not understood.
        DataError: the file says none, says others, or says that a rate is instantaneous.
    """
    if stated is not None:
        units = parse_units(stated)
        if units is None:
            raise ConfigError(
                "rain units not understood",
                variable="data.units (--units)",
                found=repr(stated),
                expected=UNDERSTOOD,
            )
        return units
    text = str(variable.attrs.get("units", "")).strip()
    units = parse_units(text)
    if units is None:
        raise DataError(
            "rain units not understood" if text else "rain without units",
            file=path,
            variable=name,
            found=repr(text) if text else "no units attribute",
            expected=UNDERSTOOD,
            next_step=f"state them with --units (data.units), e.g. --units mm, or write them into "
            f"the file: ncatted -a units,{name},o,c,mm {path.name}",
        )
    methods = str(variable.attrs.get("cell_methods", ""))
    if units.seconds is not None and re.search(r"time:\s*point", methods):
        raise DataError(
            "the rates hold at one instant, so they do not give the amount of an interval",
            file=path,
            variable=name,
            found=f"cell_methods {methods!r}",
            expected="a mean over each interval, 'time: mean'",
            next_step=f"if they are means after all, say --units '{text}'",
        )
    return units


def choose_variable(
    dataset: xr.Dataset, candidates: Sequence[str], wanted: str | None, path: Path
) -> tuple[str, list[str]]:
    """The name of the rain variable and notes on how it was found.

    The wanted name wins; then the only known standard name; then the only usual name (among the
    known standard names, if there are several); last the only variable whose units can be nothing
    but water (metres and metres per second could be waves and wind).

    Args:
        dataset: the opened file.
        candidates: names of its variables on (time, y, x).
        wanted: name that the user stated.
        path: of the file, for messages.

    Raises:
        DataError: the wanted name is not there, or none or several variables qualify.
    """
    if wanted is not None:
        if wanted in dataset.variables:
            return wanted, []
        raise DataError(
            "no such variable",
            file=path,
            variable=wanted,
            found=_listed(dataset, candidates),
            next_step="name one of these with --var (data.variable)",
        )
    attributes = {name: dataset.variables[name].attrs for name in candidates}
    standard = [n for n in candidates if attributes[n].get("standard_name") in STANDARD_NAMES]
    usual = [n for n in standard or candidates if n.lower() in VARIABLE_NAMES]
    for matches in (standard, usual):
        if len(matches) == 1:
            return matches[0], []
    several = usual or standard
    if not several:
        several = [
            name
            for name in candidates
            if "standard_name" not in attributes[name]
            and (units := parse_units(str(attributes[name].get("units", "")))) is not None
            and units.mm == 1.0
        ]
        if len(several) == 1:
            name = several[0]
            return name, [
                f"{name} taken as the rain because of its units, {attributes[name]['units']}"
            ]
    problem, next_step = "no variable looks like rain", "name it with --var (data.variable)"
    if several:
        problem = "several variables may be the rain"
    elif not candidates:
        problem = "no variable has valid times, rows and columns"
        next_step = "give it a time dimension with units like 'hours since 1970-01-01'; reference "
        next_step += "times of forecasts do not count"
    raise DataError(
        problem,
        file=path,
        found=_listed(dataset, several or candidates),
        expected="one rain variable on (time, y, x)",
        next_step=next_step,
    )


def _listed(dataset: xr.Dataset, names: Sequence[str]) -> str:
    """Variables with dimensions and units, for messages; all fields if none is named."""
    names = names or [str(name) for name, v in dataset.variables.items() if v.ndim >= 2]
    if not names:
        return "no field at all"
    texts = []
    for name in names[:_LISTED]:
        variable = dataset.variables[name]
        units = variable.attrs.get("units", "no units")
        texts.append(f"{name}({', '.join(map(str, variable.dims))}) [{units}]")
    more = len(names) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")

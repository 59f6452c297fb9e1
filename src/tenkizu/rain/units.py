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
        "prate",
        "precipitation_amount_acc",
        "rain",
        "rain_1h",
        "rain_3h",
        "rainfall",
        "rainfall_amount",
        "rr",
        "tot_prec",
        "tp",
        "tprate",
    }
)
"""Usual names of rain variables, in lower case."""

_NAME = re.compile(r"apcp(?:_\w+)?")
"""Names that converters of GRIB2 make up."""

_PARTS = {"rainnc": "grid-scale", "rainc": "convective"}
"""The two parts of rain in files of WRF."""

UNDERSTOOD = (
    "mm, cm, m, inch, kg m-2, a rate of these such as mm h-1, kg m-2 s-1 or m s-1, or mm/3h where "
    "intervals have 3 hours; a factor may stand first, as in 0.1 mm"
)

_MM = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("kg m-2", "kg/m2", "kgm-2", "l m-2", "l/m2"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}
_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_LISTED = 12
_FACTOR = re.compile(r"(\d+\.?\d*|\.\d+)(?:e([+-]?\d\d?)|(?:\^|\*\*)([+-]?\d\d?))?[\s*]*")
_RATE = re.compile(r"(.+?)(?:/\(?(\d*) ?([a-z]+)\)?| \(?(\d*) ?([a-z]+)\)?-1)")


@dataclass(frozen=True)
class RainUnits:
    """A recognised unit of rain.

    Attributes:
        text: the units as written.
        mm: depth of one unit in mm; a kilogram of water on a square metre is 1 mm deep.
        seconds: time that a rate refers to; None for an amount.
        minutes: length of the interval that an amount is said to be of; None if that is open.
    """

    text: str
    mm: float
    seconds: float | None
    minutes: float | None = None

    def mm_per_unit(self, step_minutes: int) -> float:
        """Factor from a stored value to mm in an interval: a mean rate times its length."""
        return self.mm if self.seconds is None else self.mm * step_minutes * 60.0 / self.seconds

    def require_length(self, step_minutes: int, name: str, path: Path) -> None:
        """Raise a DataError when the units name an interval of another length than the file's."""
        if self.minutes in (None, step_minutes):
            return
        raise DataError(
            "the units name an interval of another length than the times",
            file=path,
            variable=name,
            found=f"{self.text}, which is {self.minutes:g} min, at intervals of {step_minutes} min",
            expected=f"amounts of {step_minutes} min, or a rate such as mm/h",
            next_step="state what the values are with --units (data.units): mm where each is the "
            "amount of its interval",
        )


def parse_units(text: str) -> RainUnits | None:
    """The rain unit that ``text`` spells, None if it is not one.

    Accepts a factor in front (``0.1 mm``, ``1e-3 m``), the exponent styles ``m-2``, ``m^-2``,
    ``m**-2`` and ``/m2``, products written with a space or a dot, and British or American words.
    A number before the time, as in ``mm/3h`` or ``mm 3h-1``, makes an amount of an interval of that
    length, and not a rate.
    """
    plain = text.strip().lower()
    number, factor = _FACTOR.match(plain), 1.0
    if number:
        plain = plain[number.end() :]
        factor = float(number[1])
        factor = factor ** int(number[3]) if number[3] else factor * 10.0 ** int(number[2] or 0)
    plain = re.sub(r"\*\*|\^|[{}]", "", plain)
    plain = re.sub(r"\s*(?:/|\bper\b)\s*", "/", re.sub(r"[.*·\s]+", " ", plain))
    plain = plain.replace(" of water equivalent", "").replace(" of water", "")
    if factor <= 0.0:
        return None
    if plain in _MM:
        return RainUnits(text, factor * _MM[plain], None)
    rate = _RATE.fullmatch(plain)
    depth = _MM.get(rate[1]) if rate else None
    seconds = _SECONDS.get(rate[3] or rate[5]) if rate else None
    if rate is None or depth is None or seconds is None:
        return None
    count = rate[2] or rate[4]
    if count:
        return RainUnits(text, factor * depth, None, int(count) * seconds / 60.0)
    return RainUnits(text, factor * depth, seconds)


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
                next_step="state the units that the values of the file are in",
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
    instant = f"cell_methods {methods!r}" if re.search(r"time:\s*point", methods) else None
    if variable.attrs.get("GRIB_stepType") == "instant":
        instant = "GRIB_stepType 'instant'"
    if units.seconds is not None and instant:
        raise DataError(
            "the rates hold at one instant, so they do not give the amount of an interval",
            file=path,
            variable=name,
            found=instant,
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
            return wanted, _part(wanted)
        raise DataError(
            "no such variable",
            file=path,
            variable=wanted,
            found=_listed(dataset, candidates),
            expected="a variable of the file",
            next_step="name one of these with --var (data.variable)",
        )
    attributes = {name: dataset.variables[name].attrs for name in candidates}
    standard = [n for n in candidates if attributes[n].get("standard_name") in STANDARD_NAMES]
    usual = [n for n in standard or candidates if _is_usual(n.lower())]
    for matches in (standard, usual):
        if len(matches) == 1:
            return matches[0], _part(matches[0])
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
        if {name.lower() for name in several} == set(_PARTS):
            problem = "the rain is in two parts, grid-scale and convective"
            next_step = "write their sum, e.g. ncap2 -s 'RAIN=RAINC+RAINNC' in.nc out.nc, and say "
            next_step += "--var RAIN; one part alone is --var RAINNC"
    elif not candidates:
        problem = "no variable has valid times, rows and columns"
        next_step = "give it a time dimension with units like 'hours since 1970-01-01'; reference "
        next_step += "times of forecasts do not count, and of several of these keep one"
    raise DataError(
        problem,
        file=path,
        found=_listed(dataset, several or candidates),
        expected="one rain variable on (time, y, x)",
        next_step=next_step,
    )


def _is_usual(name: str) -> bool:
    return name in VARIABLE_NAMES or name in _PARTS or _NAME.fullmatch(name) is not None


def _part(name: str) -> list[str]:
    """A note where a variable is only a part of the rain."""
    part = _PARTS.get(name.lower())
    return [f"{name} is the {part} part of the rain only"] if part else []


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

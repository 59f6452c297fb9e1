"""The fields that maps are read as: their names in files, their units and plausible values."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

G0 = 9.80665
"""Standard gravity, m s-2."""


@dataclass(frozen=True)
class Native:
    """A quantity that files hold.

    Attributes:
        name: ERA5 short name; fields on pressure levels are called name + hPa, as in ``z500``.
        units: as tenkizu spells them.
        spellings: the same unit as files spell it, in the form of `plain_units`.
        low: smallest plausible mean of a map, in ``units``.
        high: largest plausible mean of a map.
        on_levels: whether it lies on pressure levels.
        may_be_missing: whether cells can be missing by nature (land in sst, no convection in cin).
        aliases: other names of the variable in files, in lower case.
        beyond: how far cells may lie outside the range of means, as a share of its width. Smooth
            fields stay near their means; rain and rising air do not.
    """

    name: str
    units: str
    spellings: frozenset[str]
    low: float
    high: float
    on_levels: bool = False
    may_be_missing: bool = False
    aliases: tuple[str, ...] = ()
    beyond: float = 1.0

    def field_name(self, hpa: float | None) -> str:
        """The name of the field on a pressure level in hPa, or at the surface.

        Wind at 10 hPa is ``u10hPa``, since ``u10`` is the wind at 10 metres.
        """
        name = self.name if hpa is None else f"{self.name}{hpa:g}"
        return name if hpa is None or name not in NATIVES else f"{name}hPa"

    def mean_range(self, hpa: float | None) -> tuple[float, float]:
        """Smallest and largest plausible mean of a map, wide enough for any season and region.

        Heights follow the standard atmosphere, h = 44331 m (1 - (p / 1013.25 hPa)^0.1903), give or
        take 600 m and a fifth.
        """
        if hpa is None or self.name not in ("z", "gh"):
            return self.low, self.high
        height = 44331.0 * (1.0 - (hpa / 1013.25) ** 0.1903)
        spread = 600.0 + 0.2 * height
        scale = G0 if self.name == "z" else 1.0
        return scale * (height - spread), scale * (height + spread)

    def cell_range(self, hpa: float | None) -> tuple[float, float]:
        """Smallest and largest value that a cell can have."""
        low, high = self.mean_range(hpa)
        margin = self.beyond * (high - low)
        return low - margin, high + margin


def plain_units(text: str) -> str:
    """A unit in lower case, with exponents as in ``m s-1``."""
    return re.sub(r"[.\s]+", " ", re.sub(r"\*\*|\^", "", text.strip().lower()))


_PA = ("Pa", "pa", "pascal", "pascals")
_WIND = ("m s-1", "m s-1", "m/s", "meters per second", "metres per second")
_RATE = ("s-1", "s-1", "1/s", "/s")
_COLUMN = ("kg m-2", "kg m-2", "kg/m2", "mm")
_FLUX = ("kg m-1 s-1", "kg m-1 s-1", "kg/m/s", "kg/(m s)")
_ENERGY = ("J kg-1", "j kg-1", "j/kg")
_KELVIN = ("K", "k", "kelvin")
_SMOOTH = ("msl", "z", "gh", "t", "sst", "tcc")
_ONE = ("1", "1", "(0 - 1)", "0 - 1", "0-1", "fraction", "dimensionless")


def _native(
    name: str,
    units: tuple[str, ...],
    low: float,
    high: float,
    *aliases: str,
    on_levels: bool = False,
    may_be_missing: bool = False,
) -> Native:
    spellings = frozenset(units[1:])
    beyond = 0.1 if name in _SMOOTH else 1.0
    return Native(name, units[0], spellings, low, high, on_levels, may_be_missing, aliases, beyond)


def _level(name: str, units: tuple[str, ...], low: float, high: float, *aliases: str) -> Native:
    return _native(name, units, low, high, *aliases, on_levels=True)


_ALL = (
    _native(
        "msl", _PA, 8e4, 1.1e5, "mean_sea_level_pressure", "slp", "mslp", "prmsl", "psl", "pmsl"
    ),
    _native("tcwv", _COLUMN, 0.0, 100.0, "total_column_water_vapour"),
    _native(
        "viwve", _FLUX, -3e3, 3e3, "vertical_integral_of_eastward_water_vapour_flux", "p71.162"
    ),
    _native(
        "viwvn", _FLUX, -3e3, 3e3, "vertical_integral_of_northward_water_vapour_flux", "p72.162"
    ),
    _native("cape", _ENERGY, -1.0, 1e4, "convective_available_potential_energy"),
    _native("cin", _ENERGY, -1e4, 1e4, "convective_inhibition", may_be_missing=True),
    _native("tcc", _ONE, -0.01, 1.01, "total_cloud_cover"),
    _native("tp", ("m", "m", "metre", "metres"), -1e-4, 0.05, "total_precipitation"),
    _native("u10", _WIND, -100.0, 100.0, "10m_u_component_of_wind", "10u"),
    _native("v10", _WIND, -100.0, 100.0, "10m_v_component_of_wind", "10v"),
    _native("sst", _KELVIN, 260.0, 320.0, "sea_surface_temperature", may_be_missing=True),
    _native("tclw", _COLUMN, -0.01, 20.0, "total_column_cloud_liquid_water"),
    _native("tciw", _COLUMN, -0.01, 20.0, "total_column_cloud_ice_water"),
    _native("tcrw", _COLUMN, -0.01, 20.0, "total_column_rain_water"),
    _native("tcsw", _COLUMN, -0.01, 20.0, "total_column_snow_water"),
    _level("z", ("m2 s-2", "m2 s-2", "m2/s2", "j kg-1"), -1e5, 6e5, "geopotential"),
    _level("gh", ("m", "m", "gpm", "metre", "metres"), -1e4, 6e4, "geopotential_height"),
    _level("t", _KELVIN, 150.0, 350.0, "temperature"),
    _level("u", _WIND, -150.0, 150.0, "u_component_of_wind"),
    _level("v", _WIND, -150.0, 150.0, "v_component_of_wind"),
    _level("r", ("%", "%", "percent"), 1.05, 150.0, "relative_humidity"),
    _level("vo", _RATE, -0.01, 0.01, "vorticity"),
    _level("q", ("kg kg-1", "kg kg-1", "kg/kg", "1"), -1e-3, 0.05, "specific_humidity"),
    _level("w", ("Pa s-1", "pa s-1", "pa/s"), -10.0, 10.0, "vertical_velocity"),
    _level("d", _RATE, -0.01, 0.01, "divergence"),
    # As merged files call d at 850 hPa: div850.
    _level("div", _RATE, -0.01, 0.01),
)
NATIVES: dict[str, Native] = {native.name: native for native in _ALL}
"""Every quantity that is read, by its ERA5 short name."""

_BY_NAME = {alias: native for native in _ALL for alias in (native.name, *native.aliases)}
_ON_LEVEL = re.compile(r"([a-z]+)(\d{1,4})")


def identify(variable: str) -> tuple[Native, float | None] | None:
    """The quantity that a variable of a file holds, and the hPa in its name (``u850``), if any.

    None for a variable that is not read: coordinates, labels, fields derived by other programs.
    """
    name = variable.lower()
    if name in _BY_NAME:
        return _BY_NAME[name], None
    parts = _ON_LEVEL.fullmatch(name)
    native = NATIVES.get(parts[1]) if parts else None
    if parts is None or native is None or not native.on_levels:
        return None
    return native, float(parts[2])


def base_name(name: str) -> str:
    """The field behind a name: ``msl`` behind ``msl@-24h``."""
    return name.partition("@")[0]


def base_names(names: Iterable[str]) -> tuple[str, ...]:
    """The fields behind names, each once, in order."""
    return tuple(dict.fromkeys(base_name(name) for name in names))

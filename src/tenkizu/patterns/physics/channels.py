"""The channels a network can see: names, units, long names, and the two ready-made sets."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from tenkizu.core.errors import ConfigError


@dataclass(frozen=True)
class Channel:
    """What a channel is, as it is written into files.

    Attributes:
        name: as in configurations, stores and models.
        units: in CF spelling.
        long_name: for people.
        standard_name: of the CF table; None where the table has no name for it.
        kind: ``map`` varies by day and place, ``scalar`` by day only, ``static`` by place only.
        log_scale: s of the optional transform log(1 + x/s), in ``units``; None where it never
            applies.
    """

    name: str
    units: str
    long_name: str
    standard_name: str | None = None
    kind: Literal["map", "scalar", "static"] = "map"
    log_scale: float | None = None


_WIND = ("eastward_wind", "northward_wind")
_VORTICITY = "atmosphere_upward_relative_vorticity"
_VERTICAL = "lagrangian_tendency_of_air_pressure"
_CONTENT = "atmosphere_mass_content_of_"
_TRANSPORT = "_atmosphere_water_vapor_transport_across_unit_distance"

_SEED = (
    Channel("msl", "Pa", "Mean sea level pressure", "air_pressure_at_mean_sea_level"),
    Channel("gh500", "m", "Geopotential height at 500 hPa", "geopotential_height"),
    Channel("t850", "K", "Temperature at 850 hPa", "air_temperature"),
    Channel("u500", "m s-1", "Eastward wind at 500 hPa", _WIND[0]),
    Channel("v500", "m s-1", "Northward wind at 500 hPa", _WIND[1]),
    Channel("u850", "m s-1", "Eastward wind at 850 hPa", _WIND[0]),
    Channel("v850", "m s-1", "Northward wind at 850 hPa", _WIND[1]),
    Channel("r700", "%", "Relative humidity at 700 hPa", "relative_humidity"),
    Channel("r850", "%", "Relative humidity at 850 hPa", "relative_humidity"),
    Channel("vo850", "s-1", "Relative vorticity at 850 hPa", _VORTICITY),
    Channel("vo500", "s-1", "Relative vorticity at 500 hPa", _VORTICITY),
    Channel("gh1000", "m", "Geopotential height at 1000 hPa", "geopotential_height"),
    Channel(
        "thk_1000_500",
        "m",
        "Thickness 1000-500 hPa",
        "atmosphere_layer_thickness_expressed_as_geopotential_height_difference",
    ),
    Channel("grad_thk_1000_500", "m m-1", "Thickness gradient magnitude"),
    Channel("q850", "kg kg-1", "Specific humidity at 850 hPa", "specific_humidity"),
    Channel(
        "thetae850",
        "K",
        "Equivalent potential temperature at 850 hPa",
        "air_equivalent_potential_temperature",
    ),
    Channel(
        "grad_thetae850",
        "K m-1",
        "Equivalent potential temperature gradient magnitude at 850 hPa",
    ),
    Channel("div850", "s-1", "Divergence at 850 hPa", "divergence_of_wind"),
    Channel("w500", "Pa s-1", "Vertical velocity at 500 hPa", _VERTICAL),
    Channel("w700", "Pa s-1", "Vertical velocity at 700 hPa", _VERTICAL),
    Channel("vmag500", "m s-1", "Wind speed at 500 hPa", "wind_speed"),
    Channel("vmag850", "m s-1", "Wind speed at 850 hPa", "wind_speed"),
    Channel("shear_850_500", "m s-1", "Vector wind shear 850-500 hPa"),
    Channel("mfc850", "s-1", "Moisture flux convergence at 850 hPa"),
    Channel("tcwv", "kg m-2", "Total column water vapour", _CONTENT + "water_vapor"),
    Channel("ivt", "kg m-1 s-1", "Integrated vapour transport magnitude"),
    Channel("ivt_dir", "degree", "Heading of vapour transport, anticlockwise from east"),
    Channel("tcc", "1", "Total cloud cover", "cloud_area_fraction"),
    Channel(
        "tp",
        "m",
        "Total precipitation in the one hour ending at valid time",
        "lwe_thickness_of_precipitation_amount",
        log_scale=1e-4,
    ),
    Channel("u10", "m s-1", "Eastward 10 m wind", _WIND[0]),
    Channel("v10", "m s-1", "Northward 10 m wind", _WIND[1]),
    Channel("vmag10", "m s-1", "10 m wind speed", "wind_speed"),
    Channel(
        "tclw",
        "kg m-2",
        "Total column cloud liquid water",
        _CONTENT + "cloud_liquid_water",
        log_scale=1e-2,
    ),
    Channel(
        "tciw", "kg m-2", "Total column cloud ice water", _CONTENT + "cloud_ice", log_scale=1e-2
    ),
    Channel("tcrw", "kg m-2", "Total column rain water", log_scale=1e-2),
    Channel("tcsw", "kg m-2", "Total column snow water", log_scale=1e-2),
    Channel("sst", "K", "Sea surface temperature", "sea_surface_temperature"),
    Channel("msl_dt24", "Pa", "24 h change of mean sea level pressure"),
    Channel("grad_msl", "Pa m-1", "Sea level pressure gradient magnitude"),
    Channel("lap_msl", "Pa m-2", "Laplacian of sea level pressure"),
    Channel("f1_season", "1", "Seasonal cosine, annual", kind="scalar"),
    Channel("f2_season", "1", "Seasonal cosine, semi-annual", kind="scalar"),
)

_ADDED = (
    Channel("ivt_cos", "1", "Eastward part of the direction of vapour transport"),
    Channel("ivt_sin", "1", "Northward part of the direction of vapour transport"),
    Channel("sea_mask", "1", "Sea mask, 1 on sea and 0 on land", "sea_binary_mask", kind="static"),
    Channel("f3_season", "1", "Seasonal sine, annual", kind="scalar"),
    Channel("f4_season", "1", "Seasonal sine, semi-annual", kind="scalar"),
)

_ALSO_WRITTEN = (
    Channel(
        "cape",
        "J kg-1",
        "Convective available potential energy",
        "atmosphere_convective_available_potential_energy",
    ),
    Channel("cin", "J kg-1", "Convective inhibition", "atmosphere_convective_inhibition"),
    Channel("viwve", "kg m-1 s-1", "Eastward integrated vapour transport", "eastward" + _TRANSPORT),
    Channel(
        "viwvn", "kg m-1 s-1", "Northward integrated vapour transport", "northward" + _TRANSPORT
    ),
)

CHANNELS: dict[str, Channel] = {c.name: c for c in (*_SEED, *_ADDED, *_ALSO_WRITTEN)}
"""Every channel, then the four fields that are written beside them but no network sees."""

SEED: tuple[str, ...] = tuple(channel.name for channel in _SEED)
"""The 42 channels of the seed's recipe."""

# A heading jumps by 360 degrees between neighbours; its cosine and sine do not. The mask tells
# filled land from sea at the mean temperature, and the sines tell spring from autumn.
_IN_PLACE_OF = {
    "ivt_dir": ("ivt_cos", "ivt_sin"),
    "sst": ("sst", "sea_mask"),
    "f2_season": ("f2_season", "f3_season", "f4_season"),
}

DEFAULT: tuple[str, ...] = tuple(name for seed in SEED for name in _IN_PLACE_OF.get(seed, (seed,)))
"""The 46 channels a network sees unless told otherwise."""

SETS: dict[str, tuple[str, ...]] = {"seed": SEED, "default": DEFAULT}
"""The channel sets a configuration can name."""


def describe(names: Iterable[str]) -> list[Channel]:
    """The channels of these names, in their order.

    Raises:
        ConfigError: for a name that is no channel, with the nearest that is.
    """
    wanted = list(names)
    for name in wanted:
        if name not in CHANNELS:
            near = get_close_matches(name, CHANNELS, n=1)
            raise ConfigError(
                "no such channel",
                variable=name,
                expected=f"one of {', '.join(CHANNELS)}",
                next_step=f"did you mean {near[0]!r}?" if near else "choose from this list",
            )
    return [CHANNELS[name] for name in wanted]

"""Smooth travelling waves over a region, consistent enough to look like weather.

Heights at 1000 and 500 hPa are a seasonal mean and six waves that move east and lean west with
height. Pressure follows from the 1000 hPa height, temperature from the thickness (hypsometric
equation), winds and vorticity are geostrophic; air rises ahead of the troughs, where it is moist,
cloudy and rainy. Every dry field is linear in a few coefficients of time, so that a block of days
is one matrix product.
"""

import numpy as np

G0, R_DRY, RADIUS = 9.80665, 287.05, 6_371_000.0
WAVELENGTHS = np.array([22.0, 28.0, 35.0, 45.0, 60.0, 80.0])  # degrees of longitude
AMPLITUDES = np.array([25.0, 35.0, 45.0, 50.0, 40.0, 30.0])  # metres at 1000 hPa
SPEEDS = np.array([12.0, 10.0, 9.0, 8.0, 6.0, 4.0])  # degrees a day, eastward
# Waves of height are larger aloft, and further west.
GROWTH = {"1000": 1.0, "850": 1.1, "500": 1.7}
LEAN = {"1000": 0.0, "850": -0.25, "700": -0.5, "500": -1.0}
# Waves a quarter of a wavelength east of the trough, per metre of height at 1000 hPa: there air
# converges below (s-1), rises (Pa s-1) and is moist (%); the sea (K) has hardly any.
SIZES = {"d": 2e-7, "w": 3e-3, "rh": -0.5, "sea": 1e-3}
# Small-scale roughness, in the unit of the field, so that files pack like real ones.
ROUGHNESS = {"msl": 2.0, "z": 4.0, "t": 0.03, "u": 0.05, "v": 0.05, "vo": 2e-7, "d": 2e-7}
ROUGHNESS |= {"w": 2e-3, "rh": 0.2, "sea": 0.02}
EPOCH = np.datetime64("1990-01-01")


def region(step=2.5, north=55.0, west=115.0, south=15.0, east=155.0):
    """Latitudes north first and longitudes, degrees; 0.25 gives the 161 x 161 of ERA5."""
    lat = np.linspace(north, south, round((north - south) / step) + 1)
    lon = np.linspace(west, east, round((east - west) / step) + 1)
    return lat, lon


class Weather:
    """Fields of any day, by native name, on a grid; the same whatever days are asked together."""

    def __init__(self, lat, lon, seed=0):
        self.shape = len(lat), len(lon)
        self.lat, self.lon = np.deg2rad(lat)[:, None], np.deg2rad(lon)[None, :]
        rng = np.random.default_rng(seed)
        self.phases = rng.uniform(0, 2 * np.pi, len(WAVELENGTHS))
        self.rough = rng.standard_normal((self.shape[0] + 97, self.shape[1] + 89), np.float32)
        centres = np.deg2rad(rng.uniform(32, 45, len(WAVELENGTHS)))[:, None, None]
        across = np.exp(-0.5 * ((self.lat - centres) / np.deg2rad(9.0)) ** 2)
        angle = (2 * np.pi / np.deg2rad(WAVELENGTHS))[:, None, None] * self.lon
        ones = np.ones(self.shape)
        self.waves = np.concatenate([across * np.cos(angle), across * np.sin(angle)])
        self.south = (np.deg2rad(55.0) - self.lat) / np.deg2rad(40.0) * ones  # 0 in the north
        self.east = (self.lon - self.lon.min()) / np.ptp(self.lon) * ones
        # Land in the north-west, as over the region of ERA5.
        self.land = (self.east < 0.35 + 0.1 * np.sin(6 * self.south)) & (self.south < 0.75)
        self.basis = {}

    def fields(self, names, times):
        """Float32 (T, H, W) of each native name; moist fields are made of dry ones once."""
        known = {}
        return {name: self._field(name, times, known).astype(np.float32) for name in names}

    def _field(self, name, times, known):
        def get(other):
            return self._field(other, times, known)

        if name not in known:
            moist = getattr(self, f"_{kind_of(name)}", None)
            if name in ("u10", "v10"):
                known[name] = 0.7 * get(f"{name[0]}1000")
            elif moist is not None:
                known[name] = moist(get, name)
            else:
                known[name] = self._dry(name, times)
        return known[name]

    def _dry(self, name, times):
        """A linear field: coefficients of time times patterns, and roughness."""
        if name not in self.basis:
            patterns, east = self._patterns(name)
            self.basis[name] = patterns.reshape(len(patterns), -1).astype(np.float32), east
        patterns, east = self.basis[name]
        days = (times - EPOCH) / np.timedelta64(1, "D")
        angle = 2 * np.pi * SPEEDS / WAVELENGTHS * days[:, None] + self.phases + east
        winter = np.cos(2 * np.pi * (days - 20.0) / 365.2425)
        coefficients = np.column_stack([np.cos(angle), np.sin(angle), np.ones(len(days)), winter])
        values = (coefficients.astype(np.float32) @ patterns).reshape(len(days), *self.shape)
        size = np.float32(ROUGHNESS[kind_of(name)])
        for value, day in zip(values, days.astype(int), strict=True):
            row, column = day * 7 % 97, day * 11 % 89
            value += size * self.rough[row:, column:][: self.shape[0], : self.shape[1]]
        return values

    def _patterns(self, name):
        """Patterns of (cos, sin of each wave, mean, winter) and how far east the waves are."""
        kind = kind_of(name)
        level = name[len(kind) :]
        if kind == "msl":
            patterns = self._height("1000") * 12.25  # Pa per metre near sea level
            patterns[-2] += 1e5 - 1.2 * 110.0
            return patterns, 0.0
        if kind == "z":
            return self._height(level) * G0, LEAN[level]
        if kind == "t":
            patterns = (self._height("500") - self._height("1000")) * G0 / (R_DRY * np.log(2.0))
            patterns[-2] += 10.0
            return patterns, LEAN["500"]
        if kind in "uv":
            return self._geostrophic(self._height(level))[kind == "v"], LEAN[level]
        if kind == "vo":
            u, v = self._geostrophic(self._height(level))
            curl = self._ddx(v) - self._ddy(u * np.cos(self.lat)) / np.cos(self.lat)
            return curl, LEAN[level]
        patterns = np.concatenate([self._scaled(SIZES[kind]), np.zeros((2, *self.shape))])
        if kind == "rh":
            patterns[-2] = 55.0 + 15.0 * self.south
        if kind == "sea":
            patterns[-2] = 280.0 + 21.0 * self.south
            patterns[-1] = -4.0 * (1.0 - 0.7 * self.south)
        return patterns, np.pi / 2 + LEAN.get(level, 0.0)

    def _scaled(self, scale):
        """Both phases of the waves with their amplitudes."""
        return self.waves * np.tile(AMPLITUDES, 2)[:, None, None] * scale

    def _height(self, level):
        """Patterns of geopotential height in metres."""
        aloft = {"1000": (110.0, 5.0, 60.0), "850": (1400.0, 130.0, 0.0)}
        low, rise, monsoon = aloft.get(level, (5330.0, 510.0, 0.0))
        mean = low + rise * self.south
        # Winter: cold air aloft in the north, a high in the west at the surface.
        winter = monsoon * (0.5 - self.east) - (rise / 4.0) * (1.0 - self.south)
        return np.concatenate([self._scaled(GROWTH[level]), mean[None], winter[None]])

    def _geostrophic(self, height):
        """Eastward and northward wind in balance with heights; f as at 15 degrees nearer by."""
        f = 2 * 7.292e-5 * np.sin(np.maximum(np.abs(self.lat), np.deg2rad(15.0)))
        f = f * np.where(self.lat < 0, -1.0, 1.0)
        return -G0 / f * self._ddy(height), G0 / f * self._ddx(height)

    def _ddy(self, field):
        return np.gradient(field, self.lat[:, 0], axis=1) / RADIUS

    def _ddx(self, field):
        return np.gradient(field, self.lon[0], axis=2) / (RADIUS * np.cos(self.lat))

    # Fields made of others.

    def _q(self, get, name):
        t = get("t850") - 273.15
        saturation = 0.622 * 6.112 * np.exp(17.67 * t / (t + 243.5)) / 850.0
        return np.clip(get("r850"), 3.0, 100.0) / 100.0 * saturation

    def _tcwv(self, get, name):
        return 2600.0 * get("q850")

    def _viwve(self, get, name):
        return 3000.0 * get("q850") * get("u850")

    def _viwvn(self, get, name):
        return 3000.0 * get("q850") * get("v850")

    def _cape(self, get, name):
        return np.maximum(0.0, 90.0 * (get("t850") - 281.0) * get("r850") / 100.0 - 150.0)

    def _cin(self, get, name):
        cape = get("cape")
        return np.where(cape > 30.0, 20.0 + 0.05 * cape, np.nan)

    def _tcc(self, get, name):
        return np.clip((get("r700") - 30.0) / 60.0, 0.0, 1.0)

    def _tp(self, get, name):
        return np.maximum(0.0, get("r850") - 75.0) * np.maximum(0.0, -get("w700")) * 3e-4

    def _tclw(self, get, name):
        return 0.25 * get("tcc") ** 2 * (get("t850") > 263.0)

    def _tciw(self, get, name):
        return 0.08 * get("tcc") ** 2

    def _tcrw(self, get, name):
        return 50.0 * get("tp") * (get("t850") >= 273.15)

    def _tcsw(self, get, name):
        return 50.0 * get("tp") * (get("t850") < 273.15)

    def _r(self, get, name):
        return np.clip(get(f"rh{name[1:]}"), 2.0, 103.0)

    def _sst(self, get, name):
        return np.where(self.land, np.nan, get("sea"))


def kind_of(name):
    """The field without its level: z of z500."""
    return name.rstrip("0123456789")

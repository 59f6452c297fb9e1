"""Season terms: where a moment lies between two December solstices.

Solstices after Meeus, J., 1998: Astronomical Algorithms, 2nd ed., chapter 27; Delta T after Espenak
and Meeus, 2006: Five Millennium Canon of Solar Eclipses (NASA/TP-2006-214141).
"""

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError

# Amplitude (1e-5 days), phase (degrees) and rate (degrees per Julian century) of the 24 terms.
_TERMS = np.array(
    [
        (485, 324.96, 1934.136),
        (203, 337.23, 32964.467),
        (199, 342.08, 20.186),
        (182, 27.85, 445267.112),
        (156, 73.14, 45036.886),
        (136, 171.52, 22518.443),
        (77, 222.54, 65928.934),
        (74, 296.72, 3034.906),
        (70, 243.58, 9037.513),
        (58, 119.81, 33718.147),
        (52, 297.17, 150.678),
        (50, 21.02, 2281.226),
        (45, 247.54, 29929.562),
        (44, 325.15, 31555.956),
        (29, 60.93, 4443.417),
        (18, 155.12, 67555.328),
        (17, 288.79, 4562.452),
        (16, 198.04, 62894.029),
        (14, 199.76, 31436.921),
        (12, 95.39, 14577.848),
        (12, 287.11, 31931.756),
        (12, 320.81, 34777.259),
        (9, 227.73, 1222.114),
        (8, 15.45, 16859.074),
    ]
)

# Delta T in seconds: until which year, counted from which, by which polynomial (lowest power first)
_DELTA_T: tuple[tuple[int, int, tuple[float, ...]], ...] = (
    (1920, 1900, (-2.79, 1.494119, -0.0598939, 0.0061966, -0.000197)),
    (1941, 1920, (21.20, 0.84493, -0.076100, 0.0020936)),
    (1961, 1950, (29.07, 0.407, -1 / 233, 1 / 2547)),
    (1986, 1975, (45.45, 1.067, -1 / 260, -1 / 718)),
    (2005, 2000, (63.86, 0.3345, -0.060374, 0.0017275, 0.000651814, 0.00002373599)),
    (2050, 2000, (62.92, 0.32217, 0.005589)),
)

_FIRST_YEAR, _LAST_YEAR = 1000, 3000


def december_solstice(year: int) -> np.datetime64:
    """Instant of the December solstice of a year, UTC, to the second (datetime64[s]).

    Meeus' mean instant and 24 periodic terms give dynamical time to within a minute for 1951-2050;
    Delta T = TT - UT takes it to universal time.

    Raises:
        DataError: outside the years 1000 to 3000, for which the polynomial holds.
    """
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise DataError(
            "no solstice known",
            variable="year",
            found=year,
            expected=f"{_FIRST_YEAR} to {_LAST_YEAR}",
            next_step="check the time axis of the file",
        )
    millennia = (year - 2000) / 1000
    mean = np.polyval([0.00032, -0.00823, -0.06223, 365242.74049, 2451900.05952], millennia)
    centuries = (mean - 2451545.0) / 36525
    anomaly = np.deg2rad(35999.373 * centuries - 2.47)
    rate = 1 + 0.0334 * np.cos(anomaly) + 0.0007 * np.cos(2 * anomaly)
    amplitude, phase, speed = _TERMS.T
    periodic = np.sum(amplitude * np.cos(np.deg2rad(phase + speed * centuries)))
    julian_day = mean + 1e-5 * periodic / rate
    seconds = (julian_day - 2440587.5) * 86400 - _delta_t(year + 0.97)  # 1970-01-01 00:00
    return np.datetime64(round(seconds), "s")


def season_terms(times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """f1 to f4 of each time: cosine once and twice a year, then sine once and twice a year.

    With S0 <= t < S1 consecutive December solstices and tau = (t - S0)/(S1 - S0): cos 2 pi tau,
    cos 4 pi tau, sin 2 pi tau, sin 4 pi tau. The sines tell spring (positive f3) from autumn.

    Args:
        times: (T,), datetime64 of any unit, UTC.

    Returns:
        (T, 4), float64.

    Raises:
        DataError: for times outside the years 1000 to 3000.
    """
    if not len(times):
        return np.empty((0, 4))
    years = times.astype("datetime64[Y]").astype(int) + 1970
    span = range(int(years.min()) - 1, int(years.max()) + 2)
    solstices = np.array([december_solstice(year) for year in span])
    last = np.searchsorted(solstices, times, side="right") - 1
    start, end = solstices[last], solstices[last + 1]
    tau = (times - start) / (end - start)
    angle = 2 * np.pi * tau
    return np.stack([np.cos(angle), np.cos(2 * angle), np.sin(angle), np.sin(2 * angle)], axis=1)


def _delta_t(year: float) -> float:
    """TT - UT in seconds; outside 1900-2050 by the long-term parabola, within minutes."""
    if year >= 1900:
        for until, origin, coefficients in _DELTA_T:
            if year < until:
                return float(np.polynomial.polynomial.polyval(year - origin, coefficients))
    future = 0.5628 * max(2150 - year, 0) if year >= 2050 else 0.0
    return float(-20 + 32 * ((year - 1820) / 100) ** 2 - future)

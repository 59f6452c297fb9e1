"""Equivalent potential temperature of moist air after Bolton (1980).

Bolton, D., 1980: The computation of equivalent potential temperature. Monthly Weather Review, 108,
1046-1053.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_SPECIFIC_HUMIDITY = 1e-7
"""Below this (kg/kg) humidity is raised to it: ln e needs a positive value, and analyses hold
small negative ones in dry air."""


def mixing_ratio(q: Array) -> Array:
    """Mixing ratio q/(1 - q), kg/kg, of specific humidity in kg/kg, at least 1e-7."""
    moist = np.maximum(q, MIN_SPECIFIC_HUMIDITY)
    ratio: Array = moist / (1 - moist)
    return ratio


def condensation_temperature(t: Array, r: Array, pressure_hpa: float) -> Array:
    """Temperature T_L in K at which a lifted parcel condenses (Bolton's equation 21).

    T_L = 2840 / (3.5 ln T - ln e - 4.805) + 55 with the vapour pressure e = r p/(0.622 + r) in hPa.

    Args:
        t: temperature, K, any shape.
        r: mixing ratio, kg/kg, same shape.
        pressure_hpa: p.
    """
    difference = 3.5 * np.log(t)
    difference -= np.log(r * pressure_hpa / (0.622 + r))
    difference -= 4.805
    temperature: Array = 2840 / difference + 55
    return temperature


def potential_temperature(t: Array, r: Array, pressure_hpa: float) -> Array:
    """Potential temperature in K of moist air, T (1000/p)^(0.2854 (1 - 0.28 r)).

    Arguments as in `condensation_temperature`.
    """
    exponent = 0.2854 * np.log(1000 / pressure_hpa)  # a power of a constant as one exponential
    factor: Array = np.exp(exponent * (1 - 0.28 * r))
    factor *= t
    return factor


def equivalent_potential_temperature(t: Array, q: Array, pressure_hpa: float) -> Array:
    """Equivalent potential temperature theta-e in K (Bolton's equation 43).

    theta exp[(3.376/T_L - 0.00254) 1000 r (1 + 0.81 r)].

    Args:
        t: temperature, K, any shape.
        q: specific humidity, kg/kg, same shape; raised to 1e-7 where it is less.
        pressure_hpa: pressure of the level, hPa.
    """
    r = mixing_ratio(q)
    exponent = 3.376 / condensation_temperature(t, r, pressure_hpa)
    exponent -= 0.00254
    exponent *= 1000 * r
    exponent *= 1 + 0.81 * r
    np.exp(exponent, out=exponent)
    exponent *= potential_temperature(t, r, pressure_hpa)
    return exponent

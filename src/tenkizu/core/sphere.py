"""Horizontal derivatives on the sphere: gradient, divergence and Laplacian of fields of degrees.

All functions take fields (..., H, W) with latitudes (H,) and longitudes (W,) in degrees, in either
direction and with any spacing, and return float64. The coordinates give the sign: northward and
eastward are positive. R = 6371 km. A missing value makes its neighbours missing.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import EARTH_RADIUS_M

Array = NDArray[np.float64]


def gradient(field: ArrayLike, lat: ArrayLike, lon: ArrayLike) -> tuple[Array, Array]:
    """Eastward and northward derivative of a scalar, in field units per metre.

    df/dx = 1/(R cos phi) df/dlambda and df/dy = 1/R df/dphi, second order everywhere: central
    inside, one-sided on the border.

    Args:
        field: (..., H, W).
        lat: (H,), degrees north, strictly monotonic, without the poles.
        lon: (W,), degrees east, strictly monotonic.

    Returns:
        (df/dx, df/dy), each (..., H, W).

    Raises:
        DataError: fewer than three rows or columns, or coordinates that do not fit the field.
    """
    values, phi, lam = _checked(field, lat, lon)
    east = _derivative(values, lam * EARTH_RADIUS_M)
    east /= np.cos(phi)[:, None]
    return east, _northward(values, phi)


def divergence(east: ArrayLike, north: ArrayLike, lat: ArrayLike, lon: ArrayLike) -> Array:
    """Divergence of a vector field or flux (..., H, W), in its units per metre.

    dE/dx + dN/dy - N tan(phi)/R, the last term because meridians converge. Accuracy, arguments and
    errors as in `gradient`.
    """
    eastward, phi, lam = _checked(east, lat, lon)
    northward, _, _ = _checked(north, lat, lon)
    total = _derivative(eastward, lam * EARTH_RADIUS_M)
    total /= np.cos(phi)[:, None]
    total += _northward(northward, phi)
    total -= northward * (np.tan(phi) / EARTH_RADIUS_M)[:, None]
    return total


def laplacian(field: ArrayLike, lat: ArrayLike, lon: ArrayLike) -> Array:
    """Laplacian of a scalar (..., H, W), in field units per square metre.

    1/(R^2 cos phi) d/dphi(cos phi df/dphi) + 1/(R^2 cos^2 phi) d2f/dlambda2 in three-point flux
    form: differences at half rows and half columns, cos phi taken there. Second order on regular
    spacing. The border ring copies the nearest interior value. Arguments and errors as in
    `gradient`.
    """
    values, phi, lam = _checked(field, lat, lon)
    inner = phi[1:-1]
    cos = np.cos(inner)[:, None]
    dphi, dlam = np.diff(phi), np.diff(lam)

    flux = np.diff(values[..., 1:-1], axis=-2)
    flux *= (np.cos((phi[1:] + phi[:-1]) / 2) / dphi)[:, None]
    inside = np.diff(flux, axis=-2)
    inside /= cos * (EARTH_RADIUS_M**2 * (phi[2:] - phi[:-2]) / 2)[:, None]

    flux = np.diff(values[..., 1:-1, :], axis=-1)
    flux /= dlam
    across = np.diff(flux, axis=-1)
    across *= 2 / (lam[2:] - lam[:-2]) / (EARTH_RADIUS_M * cos) ** 2
    inside += across

    result = np.empty_like(values)
    result[..., 1:-1, 1:-1] = inside
    result[..., [0, -1], 1:-1] = inside[..., [0, -1], :]
    result[..., [0, -1]] = result[..., [1, -2]]
    return result


def _northward(values: Array, phi: Array) -> Array:
    """Derivative along rows by phi, 1/m; the swapped view keeps the memory order of the result."""
    return _derivative(values.swapaxes(-1, -2), phi * EARTH_RADIUS_M).swapaxes(-1, -2)


def _derivative(values: Array, points: Array) -> Array:
    """Derivative along the last axis by the parabola through the three nearest points."""
    before, after = np.diff(points)[:-1], np.diff(points)[1:]
    span = before + after
    left, right = -after / (before * span), before / (after * span)
    result = np.empty_like(values)
    inside = result[..., 1:-1]
    # On regular spacing the middle weight vanishes but for the rounding of the coordinates.
    if np.all(np.abs(before - after) < 1e-12 * np.abs(points).max()):
        np.subtract(values[..., 2:], values[..., :-2], out=inside)
        inside /= span
    else:
        np.multiply(values[..., 2:], right, out=inside)
        inside -= values[..., 1:-1] * (left + right)
        inside += values[..., :-2] * left
    for end, inward in ((0, 1), (-1, -1)):
        near, far = points[[end + inward, end + 2 * inward]] - points[end]
        first, second, third = (values[..., end + step * inward] for step in range(3))
        slope_near, slope_far = (second - first) / near, (third - first) / far
        result[..., end] = (slope_near * far - slope_far * near) / (far - near)
    return result


def _checked(field: ArrayLike, lat: ArrayLike, lon: ArrayLike) -> tuple[Array, Array, Array]:
    """The field in float64 and the coordinates in radians, if they fit each other."""
    values = np.asarray(field, np.float64)
    rows, columns = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    shape = f"{rows.size} rows and {columns.size} columns"
    if values.shape[-2:] != (rows.size, columns.size):
        raise DataError("field and coordinates differ in size", found=values.shape, expected=shape)
    if min(rows.size, columns.size) < 3:
        raise DataError(
            "grid too small for derivatives",
            found=shape,
            expected="at least 3 of each",
            next_step="take a larger area or coarsen less",
        )
    for name, points in (("latitude", rows), ("longitude", columns)):
        steps = np.diff(points)
        if not (np.all(steps > 0) or np.all(steps < 0)):
            raise DataError(
                "coordinate is not strictly increasing or decreasing",
                variable=name,
                found=f"steps {steps.min():g} to {steps.max():g} degrees",
            )
    if np.abs(rows).max() > 90 - 1e-6:
        raise DataError(
            "eastward derivatives do not exist at a pole",
            variable="latitude",
            found=f"{rows.min():g} to {rows.max():g}",
            expected="between -90 and 90, poles left out",
            next_step="cut out an area",
        )
    return values, np.deg2rad(rows), np.deg2rad(columns)

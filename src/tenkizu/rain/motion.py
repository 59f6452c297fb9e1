"""Splits that follow the rain: carry the totals along their motion.

The motion comes from winds (`motion_from_winds`) or from the three totals P, S and N themselves
(`estimate_motion`). It is an array (2, H, W) in cells per hour, rows southward positive, columns
eastward positive, constant over the nine hours. Totals are (H, W) in mm, NaN where missing.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse  # type: ignore[import-untyped]

from tenkizu.rain.baselines import equal_split

__all__ = [
    "advect",
    "estimate_motion",
    "motion_from_winds",
    "motion_hours",
    "motion_split",
    "trajectory_split",
]

Field = NDArray[np.float32]
Motion = NDArray[np.float64]

TRACE_MM = 0.01
"""Rain added to each estimated hour, so that S falling where no hour expects it is split evenly."""

# estimate_motion. Lengths are parts of the domain's shorter side, since the spacing is not known;
# chosen on 11-18 November (IMERG) and 10-15 May (RADOLAN YW), where none matters much.
_COARSE_CELLS = 40  # cells along the shorter side on which displacements are searched
_REACH = 1 / 3  # largest displacement in three hours, along each axis
_NEIGHBOURHOOD = 0.15  # standard deviation of the Gaussian in which cells share one displacement
_UNMATCHED = 0.02  # part of all rain that counts as unmatched for any displacement
_SLOW = 0.05  # cost of the largest displacement; a mismatch costs at most 1
_ALIKE = 1.0  # cost of differing by that much from the motion of the whole domain

# trajectory_split. Few rounds: rain does not persist for nine hours.
_ROUNDS = 5
_UNCERTAINTY = 0.4  # standard error of the motion, relative to its mean speed


def motion_from_winds(
    u: NDArray[np.floating],
    v: NDArray[np.floating],
    spacing_km: tuple[float, float | NDArray[np.float64]],
) -> Motion:
    """Motion (2, H, W) in cells per hour from eastward and northward wind (H, W) in m/s.

    Args:
        u: eastward wind.
        v: northward wind; it carries rain to smaller row numbers.
        spacing_km: distance between rows, and between columns, of each row (H, 1) if they differ.
    """
    rows, columns = spacing_km
    south, east = -np.asarray(v, np.float64), np.asarray(u, np.float64)
    return 3.6 * np.stack([south / rows, east / columns])


def advect(
    field: NDArray[np.floating], motion: Motion, hours: float, iterations: int = 3
) -> NDArray[np.floating]:
    """Carry a field (H, W) along the motion for a time; semi-Lagrangian.

    f'(x) = f(x - d) with d = hours c(x - d/2), found by iteration from d = hours c(x); bilinear,
    edges replicated. A missing corner leaves the average; the result is NaN where missing corners
    have more than half of the weight.

    Args:
        field: any field.
        motion: c, (2, H, W) in cells per hour.
        hours: may be negative, which carries back in time.
        iterations: of the trajectory.
    """
    origin = _departure(motion, hours, iterations)
    known = ~np.isnan(field)
    if known.all():
        return _bilinear(field, origin)
    weight = _bilinear(known.astype(np.float64), origin)
    carried = np.full_like(field, np.nan)
    filled = _bilinear(np.where(known, field, 0).astype(np.float64), origin)
    np.divide(filled, weight, out=carried, where=weight >= 0.5)
    return carried


def motion_split(
    previous: Field, total: Field, following: Field, motion: Motion, later: Motion | None = None
) -> Field:
    """Split S along a motion that is known well, (3, H, W).

    S, centred at t0 + 4.5 h, is carried to the middle of each hour: by -1, 0 and 1 h, so that
    e_k(x) = S(x - c (k - 5) h) for k = 4, 5, 6. Hour 4 is then blended 2:1 with P, carried 2 h from
    t0 + 1.5 h to t0 + 3.5 h, and hour 6 with N, carried back 2 h from t0 + 7.5 h to t0 + 5.5 h.
    With ``later``, ``motion`` is that at t0 + 3 h and ``later`` that at t0 + 6 h: each carriage
    takes the one at the middle of its time, linear between the two and constant outside.
    Shares are (e_k + 0.01 mm) / sum. Where a carried value is missing, S stays in its place
    unmoved, P and N are not blended.
    """

    def at(hour: float) -> Motion:
        """The motion at t0 + ``hour``."""
        if later is None:
            return motion
        weight = min(max((hour - 3) / 3, 0.0), 1.0)
        return (1 - weight) * motion + weight * later

    estimates = []
    for hours, neighbour in ((-1, previous), (0, None), (1, following)):
        estimate = advect(total, at(4.5 + hours / 2), hours) if hours else total
        estimate = np.where(np.isnan(estimate), total, estimate)
        if neighbour is not None:
            # Between the middles of the neighbouring total and of the hour: 1.5 to 3.5, 7.5 to 5.5.
            other = advect(neighbour, at(4.5 + 2 * hours), -2 * hours)
            estimate = np.where(np.isnan(other), estimate, (2 * estimate + other) / 3)
        estimates.append(estimate)
    return _share_out(np.stack(estimates) + TRACE_MM, total)


def trajectory_split(previous: Field, total: Field, following: Field, motion: Motion) -> Field:
    """Split S so that nine hours persist along the motion and add up to P, S and N, (3, H, W).

    A 3-hour total of moving rain is smeared along its path, and `motion_split` smears it again.
    Here the hours start as thirds of the totals; then, in turn, each hour is averaged with its
    neighbours in time carried to it, and each three hours are scaled back to their total. The
    carried rain is blurred by 0.4 of the mean distance of an hour's motion, so that a motion
    somewhat wrong does little harm. A missing total constrains nothing; missing rain is taken
    from the nearest known cell.
    """
    rows, columns = total.shape
    if np.isnan(total).all():
        return np.stack([total] * 3)
    known = ~np.isnan([previous, total, following]).reshape(3, -1)
    near = _nearest_known(total)
    totals = np.stack([np.where(np.isnan(t), near, t) for t in (previous, total, following)])
    totals = totals.reshape(3, -1).astype(np.float32)
    blur = _UNCERTAINTY * float(np.hypot(*motion).mean())
    onward, back = (_transport(_departure(motion, hours)) for hours in (1.0, -1.0))
    hours = np.repeat(totals.T / 3, 3, axis=1)
    trace = np.where(known, np.float32(TRACE_MM / 3), np.float32(0)).T[:, :, None]
    terms = np.array([2, 3, 3, 3, 3, 3, 3, 3, 2], np.float32)
    for _ in range(_ROUNDS):
        source = hours.reshape(rows, columns, 9)
        source = ndimage.gaussian_filter(source, blur, mode="nearest", truncate=3.0, axes=(0, 1))
        source = source.reshape(-1, 9)
        mean = hours.copy()
        mean[:, 1:] += onward @ source[:, :-1]
        mean[:, :-1] += back @ source[:, 1:]
        three = (mean / terms).reshape(-1, 3, 3) + trace
        factor = np.ones_like(totals)
        np.divide(totals, three.sum(axis=2).T, out=factor, where=known)
        hours = (three * factor.T[:, :, None]).reshape(-1, 9)
    # A trace once more: a total of denormal size may have been scaled to nothing.
    middle = hours[:, 3:6].T.reshape(3, rows, columns) + np.float32(1e-9)
    return _share_out(middle, total)


def motion_hours(previous: Field, total: Field, following: Field) -> Field:
    """The motion baseline: `trajectory_split` along the motion of the totals, (3, H, W), mm.

    One neighbour is enough to tell the motion; where both are wholly unknown the hours are S/3.

    Args:
        previous: P, (H, W), mm, NaN where missing.
        total: S, (H, W), mm, NaN where missing.
        following: N, (H, W), mm, NaN where missing.
    """
    if np.isnan(previous).all() and np.isnan(following).all():
        return equal_split(total)
    motion = estimate_motion(previous, total, following)
    return trajectory_split(previous, total, following, motion)


def estimate_motion(previous: Field, total: Field, following: Field) -> Motion:
    """Motion of rain from the totals of three windows alone, (2, H, W) in cells per hour.

    Block matching. For every displacement d over three hours within reach, P(x - d), S(x) and
    N(x + d) are compared as log(1 + rain / mm) on a coarsened grid, the mismatch being the sum of
    squared differences over the sum of squares. Of rain that moves unchanged the totals are smeared
    alike, so smearing does not shift the minimum. The best displacement of the whole domain comes
    first; then, in Gaussian neighbourhoods, the best one near it; both between the grid's steps by
    a parabola. Small displacements are slightly favoured, so dry or unmatched rain does not move.
    """
    shorter = min(total.shape)
    step = max(1, round(shorter / _COARSE_CELLS))
    fields = [_coarsen(np.log1p(t.astype(np.float64)), step) for t in (previous, total, following)]
    rows, columns = fields[1].shape
    reach = max(1, round(_REACH * min(rows, columns)))
    mismatch, energy = _compare(fields, reach)
    axis = np.arange(-reach, reach + 1) / reach
    down, right = (part[:, :, None, None] for part in np.meshgrid(axis, axis, indexing="ij"))
    whole, rain = (a.sum((2, 3), keepdims=True) for a in (mismatch, energy))
    # Where the fields barely meet, a match says little: some rain counts as unmatched.
    unmatched = _UNMATCHED * rain.max() + 1e-9
    whole = (whole + unmatched) / (rain + unmatched)
    common = _lowest(whole + _SLOW * (down**2 + right**2)) / reach
    sigma = _NEIGHBOURHOOD * min(rows, columns)
    mismatch, energy = (
        ndimage.gaussian_filter(a, sigma, mode="constant", truncate=3.0, axes=(2, 3))
        for a in (mismatch, energy)
    )
    # Where there is little rain the whole domain has the say.
    little = 0.05 * energy.mean() + 1e-9
    cost = (mismatch + little * whole) / (energy + little)
    cost += _ALIKE * ((down - common[0]) ** 2 + (right - common[1]) ** 2)
    local = ndimage.gaussian_filter(_lowest(cost), sigma / 2, mode="nearest", axes=(1, 2))
    y, x = ((np.arange(size) + 0.5) / step - 0.5 for size in total.shape)
    places = np.stack(np.meshgrid(y, x, indexing="ij"))
    motion: Motion = np.stack([_bilinear(part, places) for part in local]) * (step / 3.0)
    return motion


def _share_out(estimates: NDArray[np.floating], total: Field) -> Field:
    """Total times the shares of positive estimates (3, H, W); 0 at S = 0, NaN at NaN."""
    shares = estimates.astype(np.float64)
    shares /= shares.sum(axis=0)
    split: Field = (shares * total).astype(np.float32)
    split[:, total == 0] = 0.0
    split[:, np.isnan(total)] = np.nan
    return split


def _departure(motion: Motion, hours: float, iterations: int = 3) -> Motion:
    """Where the air over each cell was ``hours`` ago, as rows and columns (2, H, W)."""
    here = np.indices(motion.shape[1:], dtype=np.float64)
    way = hours * motion
    for _ in range(iterations):
        halfway = here - way / 2
        way = hours * np.stack([_bilinear(part, halfway) for part in motion])
    return here - way


def _bilinear(field: NDArray[np.floating], places: Motion) -> NDArray[np.floating]:
    """Values of (H, W) at rows and columns (2, ...); edges replicated."""
    values: NDArray[np.floating] = ndimage.map_coordinates(field, places, order=1, mode="nearest")
    return values


def _transport(origin: Motion) -> sparse.csr_array:
    """Bilinear interpolation at ``origin`` as a matrix (cells, cells): fast for many fields."""
    rows, columns = origin.shape[1:]
    row = np.clip(origin[0].ravel(), 0, rows - 1)
    column = np.clip(origin[1].ravel(), 0, columns - 1)
    top, left = row.astype(np.int32), column.astype(np.int32)
    bottom, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    lower, righter = row - top, column - left
    corners = [
        (top, left, (1 - lower) * (1 - righter)),
        (top, right, (1 - lower) * righter),
        (bottom, left, lower * (1 - righter)),
        (bottom, right, lower * righter),
    ]
    cells = rows * columns
    return sparse.csr_array(
        (
            np.stack([w for _, _, w in corners], axis=1).ravel().astype(np.float32),
            np.stack([r * columns + c for r, c, _ in corners], axis=1).ravel(),
            np.arange(0, 4 * cells + 1, 4, dtype=np.int32),
        ),
        shape=(cells, cells),
    )


def _nearest_known(field: Field) -> Field:
    """The field with each missing value replaced by that of the nearest cell that has one."""
    missing = np.isnan(field)
    if not missing.any():
        return field
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    filled: Field = field[tuple(nearest)]
    return filled


def _coarsen(field: Motion, step: int) -> Motion:
    """Means over step x step cells of (H, W), the last ones over what is there; NaN if nothing."""
    pad = [(0, -size % step) for size in field.shape]
    padded = np.pad(field, pad, constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    count = (~np.isnan(blocks)).sum(axis=(1, 3))
    means = np.full(count.shape, np.nan)
    np.divide(np.nansum(blocks, axis=(1, 3)), count, out=means, where=count > 0)
    return means


def _compare(fields: list[Motion], reach: int) -> tuple[Motion, Motion]:
    """Squared differences and squares of P(x - d), S(x), N(x + d), for all d within reach.

    Returns:
        Both as (2 reach + 1, 2 reach + 1, H, W), first axes d from -reach to reach. Pairs six
        hours apart count half; pairs with a missing value count nothing.
    """
    now = fields[1]
    rows, columns = now.shape
    before, after = (np.pad(f, reach, constant_values=np.nan) for f in (fields[0], fields[2]))
    side = 2 * reach + 1
    mismatch, energy = np.zeros((2, side, side, rows, columns))
    for i, j in np.ndindex(side, side):
        # d = (i, j) - reach, and row r of a field is row r + reach of its padded form.
        earlier = before[side - 1 - i :, side - 1 - j :][:rows, :columns]
        later = after[i:, j:][:rows, :columns]
        for a, b, weight in ((earlier, now, 1.0), (now, later, 1.0), (earlier, later, 0.5)):
            mismatch[i, j] += weight * np.nan_to_num((a - b) ** 2)
            energy[i, j] += weight * np.nan_to_num(a**2 + b**2)
    return mismatch, energy


def _lowest(cost: Motion) -> Motion:
    """Where along the first two axes of (D, D, H, W) the cost is lowest, from the middle.

    Returns:
        Displacements (2, H, W), refined by the parabola through the lowest value and its two
        neighbours on each axis.
    """
    side, _, rows, columns = cost.shape
    lowest = np.unravel_index(cost.reshape(-1, rows, columns).argmin(axis=0), (side, side))
    cells = np.indices((rows, columns))
    centre = cost[*lowest, *cells]
    result: Motion = np.stack(lowest).astype(np.float64) - side // 2
    i, j = lowest
    for axis, k in enumerate(lowest):
        less, more = np.maximum(k - 1, 0), np.minimum(k + 1, side - 1)
        low, high = (cost[*((n, j) if axis == 0 else (i, n)), *cells] for n in (less, more))
        bend = low - 2 * centre + high
        offset = np.zeros_like(bend)
        inside = (k > 0) & (k < side - 1)
        np.divide(low - high, 2 * bend, out=offset, where=inside & (bend > 1e-12))
        result[axis] += np.clip(offset, -0.5, 0.5)
    return result

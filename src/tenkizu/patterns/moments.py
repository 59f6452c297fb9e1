"""Moments of every stored map, from which the statistics of any choice of days follow exactly.

The store keeps count, mean, sum of squared deviations, minimum and maximum of each day and channel
(a few numbers beside 25 921 cells), so that other splits, folds and seasons need no second pass
over the maps.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.stats import Moments
from tenkizu.core.store import MAKE_AGAIN, SampleStore
from tenkizu.patterns.physics.channels import CHANNELS

FILE = "moments.npy"
FIELDS = ("count", "mean", "m2", "min", "max")
LOG = "log1p:"
"""Prefix of the rows of log(1 + x/s)."""


def moment_rows(channels: Sequence[str]) -> list[str]:
    """The rows kept for some map channels: themselves, then ``log1p:NAME`` where a scale is set."""
    return [*channels, *(LOG + name for name in channels if CHANNELS[name].log_scale)]


def moments_of(
    fields: Mapping[str, NDArray[np.float32]], rows: Sequence[str]
) -> NDArray[np.float64]:
    """Moments of each map, in float64.

    Args:
        fields: maps (T, H, W) by channel; NaN counts as missing.
        rows: as `moment_rows` gives them. ``log1p:NAME`` is log(1 + max(x, 0)/s), s being
            `Channel.log_scale`.

    Returns:
        (T, R, 5): count, mean, sum of squared deviations, minimum, maximum. A map without any
        value has count 0, mean 0, minimum inf and maximum -inf.
    """
    columns = []
    for row in rows:
        name = row.removeprefix(LOG)
        field = fields[name]
        values = field.reshape(len(field), -1).astype(np.float64)
        if row != name:
            values = np.log1p(np.maximum(values, 0) / CHANNELS[name].log_scale)
        columns.append(_moments(values))
    return np.stack(columns, axis=1)


def _moments(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moments (T, 5) of the rows of (T, N), which is used up."""
    sums = values.sum(axis=1)
    if not np.isfinite(sums).all():
        of = Moments.of(values)
        return np.stack([getattr(of, name).astype(np.float64) for name in FIELDS], axis=1)
    count = np.full(len(values), float(values.shape[1]))
    mean = sums / count
    low, high = values.min(axis=1), values.max(axis=1)
    values -= mean[:, None]
    return np.stack([count, mean, np.einsum("tn,tn->t", values, values), low, high], axis=1)


def merge_moments(rows: NDArray[np.float64]) -> Moments:
    """The moments (R,) of all cells of some days together.

    The sum of squared deviations about the common mean is the sum of those within the days plus
    those of the days' means, n_i (mean_i - mean)^2 (Chan, Golub and LeVeque 1979), all in float64.

    Args:
        rows: (m, R, 5), the days chosen out of what `load_moments` returns.
    """
    count, means, m2, low, high = np.moveaxis(rows, -1, 0)
    total = count.sum(axis=0)
    safe = np.maximum(total, 1)
    # About the first day's mean, since a sum of large numbers would lose digits.
    origin = means[:1] if len(means) else np.zeros((1, rows.shape[1]))
    mean = origin[0] + (count * (means - origin)).sum(axis=0) / safe
    mean = np.where(total > 0, mean, 0.0)
    between = (count * (means - mean) ** 2).sum(axis=0)
    return Moments(
        total.astype(np.int64),
        mean,
        m2.sum(axis=0) + between,
        low.min(axis=0, initial=np.inf),
        high.max(axis=0, initial=-np.inf),
    )


def load_moments(store: SampleStore) -> tuple[list[str], NDArray[np.float64]]:
    """Names of the rows and moments (n, R, 5) of every day of a store.

    Raises:
        DataError: the file is missing, damaged or not of this store.
    """
    path = store.path / FILE
    rows: list[str] = store.meta["moment_rows"]
    try:
        moments: NDArray[np.float64] = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot be read: {error}", file=path, next_step=MAKE_AGAIN) from None
    expected = (len(store), len(rows), len(FIELDS))
    if moments.dtype != np.float64 or moments.shape != expected:
        raise DataError(
            "not the moments that store.json describes",
            file=path,
            found=f"{moments.dtype} {moments.shape}",
            expected=f"float64 {expected}",
            next_step=MAKE_AGAIN,
        )
    return rows, moments

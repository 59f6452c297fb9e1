"""Scores of several splits of one total: sums per window that add, ratios last.

The members of an ensemble are hours (3, H, W) that each add to S. Scores are over "conditional"
cells, known with S >= 0.1 mm: elsewhere there is next to nothing to split. They are the fair ones
where such exist: what they estimate does not depend on how many members there are (Ferro 2014).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.verification import Tally, ratio, skill
from tenkizu.rain.baselines import equal_split
from tenkizu.rain.score_cells import CONDITIONAL_MM, Values, known_cells, take
from tenkizu.rain.score_tally import WET_HOUR_MM
from tenkizu.rain.scores import HOURS

THRESHOLDS = (1.0, 5.0, 10.0)
"""Hourly events of the Brier score, mm."""

SEED = 20230101
"""Of the draws that break ties, with the start of the window."""

TIES = f"at random; amounts under {WET_HOUR_MM:g} mm count as equal"

Numbers = NDArray[np.float64]


def fair_crps(members: Numbers, truth: Numbers) -> Numbers:
    """Fair continuous ranked probability score, in the unit of the values.

    mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)) (Ferro 2014, doi:10.1002/qj.2270), the
    second term from sorted members. An ensemble that is too narrow can get less than 0 in a cell.

    Args:
        members: (M, ...) with M of at least 2.
        truth: (...).
    """
    count = len(members)
    error = np.abs(members - truth).mean(axis=0)
    # In a sorted sample x_(k) is larger than k members and smaller than M - 1 - k.
    weights = 2.0 * np.arange(count) - (count - 1)
    differences = np.tensordot(weights, np.sort(members, axis=0), axes=1)
    score: Numbers = error - differences / (count * (count - 1))
    return score


def fair_energy_score(members: Numbers, truth: Numbers) -> Numbers:
    """Fair energy score of vectors, in the unit of the values.

    As `fair_crps` with Euclidean distances (Gneiting and Raftery 2007,
    doi:10.1198/016214506000001437). Pair after pair, so memory does not grow with M squared.

    Args:
        members: (M, D, n): M vectors of D components in n places; M of at least 2.
        truth: (D, n).
    """
    count = len(members)
    error = np.mean([_length(one - truth) for one in members], axis=0)
    between = np.zeros(truth.shape[1:])
    for i in range(count):
        for j in range(i):
            between += _length(members[i] - members[j])
    score: Numbers = error - between / (count * (count - 1))
    return score


def _length(vectors: Numbers) -> Numbers:
    """Euclidean length (n,) of vectors (D, n)."""
    length: Numbers = np.sqrt(np.square(vectors).sum(axis=0))
    return length


def truth_ranks(
    members: Values, truth: Values, start: np.datetime64, wet_mm: float = WET_HOUR_MM
) -> NDArray[np.int64]:
    """How many members are less than the truth, 0 to M, (...).

    Where members equal the truth, its rank is drawn from those that it may have. Amounts under
    ``wet_mm`` count as 0 on both sides: no member is ever exactly dry, and how far below a gauge's
    resolution it is says nothing. Members and truth are treated alike, so truth drawn like the
    members still has every rank equally often (Hamill 2001).

    Args:
        members: (M, ...), mm.
        truth: (...), mm.
        start: of the window, UTC; it seeds the draws, so that they do not depend on the order in
            which windows or members come.
        wet_mm: an hour with at least this is wet.
    """
    wet = np.float32(wet_mm)
    amounts = np.where(members < wet, np.float32(0), members)
    true = np.where(truth < wet, np.float32(0), truth)
    below = (amounts < true).sum(axis=0)
    tied = (amounts == true).sum(axis=0)
    minutes = int(start.astype("datetime64[m]").astype(np.int64)) % 2**63
    ranks: NDArray[np.int64] = below + np.random.default_rng([SEED, minutes]).integers(tied + 1)
    return ranks


def ensemble_tally(
    members: Values,
    truth: Values,
    total: Values,
    start: np.datetime64,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Tally:
    """Sums of one window over its conditional cells.

    Args:
        members: (M, 3, H, W), mm.
        truth: observed hours (3, H, W), mm, NaN where missing.
        total: S, (H, W), mm, NaN where missing.
        start: of the window, UTC.
        thresholds: of hourly events, mm.

    Returns:
        ``windows``, ``cells``; per hour (3): ``crps``, ``variance`` (unbiased, over members),
        ``sse.X`` and ``sae.X`` of X ``mean`` and ``equal``, and (M, 3) of ``members``; ``energy``,
        and ``distance.X`` of ``mean``, ``equal`` and (M) of ``members``; per threshold (T, M + 1),
        by the number of members that give the event: ``forecasts`` and, of those, ``events``;
        ``wrong`` (T), events and non-events that S/3 misjudges; ``ranks`` (3, M + 1); and the
        maximum ``sum_error``, of |sum of hours - S| / S over members.

    Raises:
        DataError: fewer than two members.
    """
    count = len(members)
    if count < 2:
        raise DataError("too few members", found=count, expected="at least two")
    cells = np.flatnonzero(known_cells(truth, total) & (total >= CONDITIONAL_MM))
    given = np.stack([take(one, cells) for one in members])
    true, even = take(truth, cells), take(equal_split(total), cells)
    x, y, third = (v.astype(np.float64) for v in (given, true, even))
    result = Tally({"windows": np.array(1), "cells": np.array(len(cells))})
    sums = result.sums
    sums["crps"] = fair_crps(x, y).sum(axis=-1)
    sums["variance"] = x.var(axis=0, ddof=1).sum(axis=-1)
    sums["energy"] = np.array(fair_energy_score(x, y).sum())
    for name, hours in (("mean", x.mean(axis=0)), ("equal", third), ("members", x)):
        error = hours - y
        sums[f"sse.{name}"] = np.square(error).sum(axis=-1)
        sums[f"sae.{name}"] = np.abs(error).sum(axis=-1)
    for name, hours in (("mean", x.mean(axis=0)), ("equal", third)):
        sums[f"distance.{name}"] = np.array(_length(hours - y).sum())
    sums["distance.members"] = np.array([_length(one - y).sum() for one in x])
    edges = np.asarray(thresholds, np.float32)
    votes = [(given >= edge).sum(axis=0).ravel() for edge in edges]
    happened = [(true >= edge).ravel() for edge in edges]
    size = count + 1
    sums["forecasts"] = np.stack([np.bincount(v, minlength=size) for v in votes])
    sums["events"] = np.stack(
        [np.bincount(v[o], minlength=size) for v, o in zip(votes, happened, strict=True)]
    )
    sums["wrong"] = np.array([((even >= e) != (true >= e)).sum() for e in edges])
    ranks = truth_ranks(given, true, start)
    sums["ranks"] = np.stack([np.bincount(r, minlength=size) for r in ranks])
    if len(cells):
        amount = np.take(total.ravel(), cells).astype(np.float64)
        departure = np.abs(x.sum(axis=1) - amount) / amount
        result.maxima["sum_error"] = float(departure.max())
    return result


def summarise_ensemble(tally: Tally, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, Any]:
    """Turn summed tallies into scores.

    Args:
        tally: sum of `ensemble_tally` over windows.
        thresholds: as given to it.

    Returns:
        A nested JSON-ready dictionary. ``crps`` and ``energy_score`` are those of the ensemble, of
        S/3 (``equal``), of the members' mean and of one member alone, averaged over members
        (``one_member``); the CRPS of a single forecast is its MAE. ``ensemble_plain`` is the
        CRPS of these M members as they are, without the fair correction. Skill is not given against
        one member, which the fair scores beat by definition. Undefined scores are NaN.
    """
    n = int(tally["cells"])
    count = tally["ranks"].shape[1] - 1
    alone = tally["sae.members"].mean(axis=0)
    crps = {
        "ensemble": tally["crps"],
        # Not fair: less the mean distance over all M^2 pairs, also of each member with itself.
        "ensemble_plain": alone - (alone - tally["crps"]) * (count - 1) / count,
        "equal": tally["sae.equal"],
        "mean": tally["sae.mean"],
        "one_member": alone,
    }
    energy = {
        "ensemble": tally["energy"],
        "equal": tally["distance.equal"],
        "mean": tally["distance.mean"],
        "one_member": tally["distance.members"].mean(),
    }
    return {
        "n_members": count,
        "n_windows": int(tally["windows"]),
        "n_cells_conditional": n,
        "conditional_mm": float(CONDITIONAL_MM),
        "crps": {
            name: _hourly(ratio(sums.sum(), 3 * n), ratio(sums, n)) for name, sums in crps.items()
        },
        "crps_skill": {
            name: _hourly(
                skill(crps["ensemble"].sum(), crps[name].sum()), skill(crps["ensemble"], crps[name])
            )
            for name in ("equal", "mean")
        },
        "energy_score": {name: float(ratio(total, n)) for name, total in energy.items()},
        "energy_skill": {
            name: float(skill(energy["ensemble"], energy[name])) for name in ("equal", "mean")
        },
        **_errors(tally, n),
        "spread_error": _spread(tally, n, count),
        "brier": {
            f"{threshold:g}": _brier(
                tally["forecasts"][i], tally["events"][i], int(tally["wrong"][i])
            )
            for i, threshold in enumerate(thresholds)
        },
        "rank_histogram": _rank_histogram(tally["ranks"], count),
        "max_relative_sum_error": tally.maxima.get("sum_error", 0.0),
    }


def _hourly(pooled: Numbers, per_hour: Numbers) -> dict[str, float]:
    """A score of all hours together and of each."""
    return {"pooled": float(pooled), **dict(zip(HOURS, per_hour.tolist(), strict=True))}


def _errors(tally: Tally, n: int) -> dict[str, Any]:
    """RMSE, MAE and MSE skill of the ensemble mean, of every member and of S/3."""
    sse, sae = (
        {
            "mean": tally[f"{kind}.mean"].sum(),
            "equal": tally[f"{kind}.equal"].sum(),
            "members": tally[f"{kind}.members"].sum(axis=1),
        }
        for kind in ("sse", "sae")
    )
    against = {name: skill(value, sse["equal"]).tolist() for name, value in sse.items()}
    return {
        "rmse_1h_conditional": {k: np.sqrt(ratio(v, 3 * n)).tolist() for k, v in sse.items()},
        "mae_1h_conditional": {k: ratio(v, 3 * n).tolist() for k, v in sae.items()},
        "mse_skill_conditional": {
            **against,
            "one_member": float(skill(sse["members"].mean(), sse["equal"])),
        },
    }


def _spread(tally: Tally, n: int, count: int) -> dict[str, Any]:
    """Spread against error (Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1).

    In a reliable ensemble the mean squared error of its mean is (M + 1) / M times the mean
    unbiased variance, so that the ratio of the corrected spread to the error is 1.
    """
    variance, squared = tally["variance"], tally["sse.mean"]
    factor = (count + 1) / count

    def roots(total: NDArray[Any]) -> dict[str, float]:
        return _hourly(np.sqrt(ratio(total.sum(), 3 * n)), np.sqrt(ratio(total, n)))

    return {
        "spread": roots(variance),
        "corrected_spread": roots(factor * variance),
        "error": roots(squared),
        "ratio": float(np.sqrt(ratio(factor * variance.sum(), squared.sum()))),
    }


def _brier(forecasts: NDArray[Any], events: NDArray[Any], wrong: int) -> dict[str, Any]:
    """Brier score with its parts and reliability table, from counts (M + 1) by members in favour.

    The parts are Murphy's (1973): Brier score = reliability - resolution + uncertainty, exact
    since forecasts have M + 1 values only. Fair (Ferro 2014): less p (1 - p) / (M - 1) each.
    """
    count = len(forecasts) - 1
    p = np.arange(count + 1) / count
    n, observed = int(forecasts.sum()), ratio(events, forecasts)
    squares = (events * (1 - p) ** 2 + (forecasts - events) * p**2).sum()
    narrow = (forecasts * p * (1 - p)).sum() / (count - 1)
    base = ratio(events.sum(), n)
    known = forecasts > 0
    return {
        "n": n,
        "events": int(events.sum()),
        "base_rate": float(base),
        "brier": float(ratio(squares, n)),
        "brier_fair": float(ratio(squares - narrow, n)),
        "brier_equal": float(ratio(wrong, n)),
        "skill_against_equal": float(skill(squares - narrow, wrong)),
        "reliability": float(ratio((forecasts * (p - observed) ** 2)[known].sum(), n)),
        "resolution": float(ratio((forecasts * (observed - base) ** 2)[known].sum(), n)),
        "uncertainty": float(base * (1 - base)),
        "table": {
            "probability": p.tolist(),
            "count": forecasts.tolist(),
            "observed_frequency": observed.tolist(),
        },
    }


def _rank_histogram(ranks: NDArray[Any], count: int) -> dict[str, Any]:
    """Counts of ranks and the share of truth outside the ensemble."""
    pooled = ranks.sum(axis=0)
    return {
        "counts": pooled.tolist(),
        "per_hour": dict(zip(HOURS, ranks.tolist(), strict=True)),
        "outside": float(ratio(pooled[0] + pooled[-1], pooled.sum())),
        "outside_expected": 2 / (count + 1),
        "ties": TIES,
    }

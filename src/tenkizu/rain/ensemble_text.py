"""The scores of an ensemble as plain text: ``ensemble.txt``."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tenkizu.rain.scores import HOURS

_COLUMNS = ("pooled", *HOURS)


def as_text(result: Mapping[str, Any]) -> str:
    """Lay out the scores of `evaluate_ensemble`.

    Args:
        result: the content of ``ensemble_scores.json``, undefined scores NaN.
    """
    lines = [
        f"{result['data']}: {result['n_windows']} windows, {result['n_members']} members, "
        f"{result['n_cells_conditional']:,} cells with S >= {result['conditional_mm']:.1f} mm",
        f"grid: {result['grid']}; truth: {result['truth']}",
        *(f"note: {note}" for note in result["notes"]),
        f"hours of every member add to S within {result['max_relative_sum_error']:.0e} of S",
        "",
        *_members(result),
        "",
        *_crps(result),
        "",
        *_spread(result["spread_error"]),
        "",
        *_brier(result["brier"]),
        "",
        *_ranks(result["rank_histogram"]),
    ]
    return "\n".join(lines) + "\n"


def _number(value: float, form: str = ".4f") -> str:
    return format(value, form) if np.isfinite(value) else "n/a"


def _row(label: str, values: Mapping[str, float]) -> str:
    return f"{label:<30}" + "".join(f"{_number(values[name]):>10}" for name in _COLUMNS)


def _members(result: Mapping[str, Any]) -> list[str]:
    rmse, mae = result["rmse_1h_conditional"], result["mae_1h_conditional"]
    skill = result["mse_skill_conditional"]
    rows = []
    for one in result["models"]:
        numbers = one["members"]
        name = f"{one['name']} ({one['weights']})"
        own = [np.array([s["members"][i - 1] for i in numbers]) for s in (rmse, mae, skill)]
        # Of draws of one model what one of them may expect.
        typical = np.sqrt(np.mean(own[0] ** 2)), np.mean(own[1]), np.mean(own[2])
        if len(numbers) > 1:
            rows.append((f"{numbers[0]}-{numbers[-1]}: {name}, one draw", *typical))
        else:
            rows.append((f"{numbers[0]}: {name}", *typical))
    rows += [
        ("mean of the members", rmse["mean"], mae["mean"], skill["mean"]),
        ("equal split S/3", rmse["equal"], mae["equal"], skill["equal"]),
    ]
    wide = max(len(label) for label, *_ in rows) + 2
    return [
        f"{'Hourly amounts, mm':<{wide}}{'RMSE':>9}{'MAE':>9}{'MSE skill':>11}",
        *(
            f"{label:<{wide}}{_number(a):>9}{_number(b):>9}{_number(c, '.3f'):>11}"
            for label, a, b, c in rows
        ),
    ]


def _crps(result: Mapping[str, Any]) -> list[str]:
    crps, skill = result["crps"], result["crps_skill"]
    energy, gain = result["energy_score"], result["energy_skill"]
    made = result["intervals"]

    def against(name: str) -> str:
        found = made[f"crps_skill_against_{name}"]
        low, high = (_number(found[end], ".3f") for end in ("low", "high"))
        return f"{_number(found['value'], '.3f')} ({low} to {high})"

    return [
        f"{'CRPS, mm (fair)':<30}" + "".join(f"{name:>10}" for name in _COLUMNS),
        _row("ensemble", crps["ensemble"]),
        _row("  not fair, as it is", crps["ensemble_plain"]),
        _row("one member alone (its MAE)", crps["one_member"]),
        _row("mean of the members (its MAE)", crps["mean"]),
        _row("equal split S/3 (its MAE)", crps["equal"]),
        _row("skill against the mean", skill["mean"]),
        _row("skill against S/3", skill["equal"]),
        f"{100 * made['level']:g} % intervals from {made['blocks']} blocks of "
        f"{made['block_hours']:g} h (at least {made['blocks_needed']} are needed):",
        f"  skill against S/3 {against('equal')}, against the mean {against('mean')}",
        "",
        "Energy score of the three hours, mm (fair)",
        f"  ensemble {_number(energy['ensemble'])}, one member alone "
        f"{_number(energy['one_member'])}, mean {_number(energy['mean'])}, "
        f"S/3 {_number(energy['equal'])}",
        f"  skill against S/3 {_number(gain['equal'], '.3f')}, "
        f"against the mean {_number(gain['mean'], '.3f')}",
    ]


def _spread(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{'Spread against error, mm':<30}" + "".join(f"{name:>10}" for name in _COLUMNS),
        _row("spread of the members", found["spread"]),
        _row("  times sqrt((M + 1) / M)", found["corrected_spread"]),
        _row("error (RMSE of the mean)", found["error"]),
        f"ratio {_number(found['ratio'], '.3f')}: 1 in a reliable ensemble, less when the members "
        "are too alike",
    ]


def _brier(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{'Brier score, mm in the hour':<28}{'fair':>9}{'plain':>9}{'S/3':>9}{'skill':>8}"
        f"{'reliab.':>9}{'resol.':>9}{'uncert.':>9}{'events':>10}"
    ]
    for threshold, scores in found.items():
        numbers = "".join(
            f"{_number(scores[key], form):>{width}}"
            for key, form, width in (
                ("brier_fair", ".5f", 9),
                ("brier", ".5f", 9),
                ("brier_equal", ".5f", 9),
                ("skill_against_equal", ".3f", 8),
                ("reliability", ".5f", 9),
                ("resolution", ".5f", 9),
                ("uncertainty", ".5f", 9),
            )
        )
        lines.append(f"{'>= ' + threshold:<28}{numbers}{scores['events']:>10,}")
    lines.append("skill: of the fair score against S/3; a reliability of 0 is best")
    for threshold, scores in found.items():
        table = scores["table"]
        lines += [
            "",
            f"Reliability, >= {threshold} mm: share of members, hours, observed frequency",
            *(
                f"  {p:>6.3f}{n:>12,}{_number(observed, '.3f'):>8}"
                for p, n, observed in zip(
                    table["probability"],
                    table["count"],
                    table["observed_frequency"],
                    strict=True,
                )
            ),
        ]
    return lines


def _ranks(found: Mapping[str, Any]) -> list[str]:
    total = max(1, sum(found["counts"]))
    shares = "  ".join(f"{count / total:.3f}" for count in found["counts"])
    return [
        "Rank histogram: share of hours by the number of members below the truth",
        f"  {shares}",
        f"truth below or above all members: {_number(found['outside'], '.3f')}; "
        f"{found['outside_expected']:.3f} in a reliable ensemble",
        f"ties broken {found['ties']}",
    ]

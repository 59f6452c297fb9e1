"""The comparison with S/3 as plain text: ``equal_split_detailed.txt``."""

from typing import Any

from tenkizu.rain.equal_split import TOO_FEW, UNCLEAR
from tenkizu.rain.score_text import (
    NOTHING,
    columns,
    counted,
    heading,
    how_resampled,
    number,
    percent,
    with_interval,
)


def equal_split_text(result: dict[str, Any]) -> str:
    """The equal-split comparison as plain text, of the content of ``scores.json``."""
    found = result["equal_split"]
    every = found["overall"]
    lines = [
        f"Model {result['model']} ({result['weights']}) against the equal split S/3 "
        f"on {result['data']}",
        "Only cells with S >= 0.1 mm count. SSE of a cell: squared errors of its three hours, "
        "summed.",
        "Tie: the SSE of model and S/3 differ by at most 1e-6 S^2; else a win or a loss of the "
        "model.",
        "",
        *columns(
            [
                ["windows", found["windows"]],
                ["cells evaluated", every["cells"]],
                ["wins", every["wins"]],
                ["ties", every["ties"]],
                ["losses", every["losses"]],
            ]
        ),
        "",
        *columns(
            [
                ["1 h RMSE, model", number(every["rmse_model"], 4) + " mm"],
                ["1 h RMSE, S/3", number(every["rmse_equal"], 4) + " mm"],
                ["RMSE, model less S/3", with_interval(every["rmse_difference"], 4) + " mm"],
                ["MSE skill", with_interval(every["skill"])],
                ["win", with_interval(every["win_rate"], 1, 0.01) + " %"],
                ["tie", percent(every["tie_rate"]) + " %"],
                ["loss", percent(every["loss_rate"]) + " %"],
            ]
        ),
        how_resampled(found),
        f"Verdict: {_verdict(every, found)}",
        "",
        "Groups. RMSE in mm, intervals in brackets; +: that of the RMSE, model less S/3, lies "
        "below zero,",
        "the model errs less; -: above zero; n blocks: too few for intervals.",
    ]
    titles = {
        "by_hour": "By hour",
        "by_amount": "By S, mm",
        "by_hour_of_day": "By UTC hour of t0",
        "by_season": "By season of t0",
        "by_surface": "Land and sea",
    }
    for name, title in titles.items():
        if name in found:
            lines += [*heading(title), *columns(_group_rows(found[name], found["blocks_needed"]))]
            if rates := _rate_rows(found[name]):
                lines += ["", *columns(rates)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _verdict(every: dict[str, Any], found: dict[str, Any]) -> str:
    """The answer to the question, in words that the interval allows."""
    verdict = str(every["verdict"])
    if not every["cells"]:
        return f"{NOTHING}, no cell with S >= 0.1 mm"
    if verdict == TOO_FEW:
        return f"{TOO_FEW} ({every['blocks']} of at least {found['blocks_needed']}), none given"
    if verdict == UNCLEAR:
        return f"{verdict}: the interval of the RMSE difference holds zero"
    return f"{verdict} than S/3: the interval of the RMSE difference excludes zero"


def _group_rows(members: dict[str, Any], needed: int) -> list[list[str]]:
    """Errors, their difference and skill: one line per member of a group."""
    rows = [["", "cells", "RMSE model", "RMSE S/3", "model less S/3", "", "MSE skill"]]
    for label, entry in members.items():
        if not entry["cells"]:
            rows.append([label, "0", *[NOTHING] * 3, "", NOTHING])
            continue
        difference = entry["rmse_difference"]
        if entry["blocks"] < needed:
            sign = counted(entry["blocks"], "block")
        else:
            sign = "+" if difference["high"] < 0 else "-" if difference["low"] > 0 else ""
        rows.append(
            [
                label,
                str(entry["cells"]),
                number(entry["rmse_model"]),
                number(entry["rmse_equal"]),
                with_interval(difference),
                sign,
                with_interval(entry["skill"]),
            ]
        )
    return rows


def _rate_rows(members: dict[str, Any]) -> list[list[str]]:
    """Rates of wins, ties and losses, one line per member; none for single hours."""
    if "wins" not in next(iter(members.values())):
        return []
    rows = [["", "win %", "tie %", "loss %"]]
    for label, entry in members.items():
        win = with_interval(entry["win_rate"], 1, 0.01)
        rows.append([label, win, percent(entry["tie_rate"]), percent(entry["loss_rate"])])
    return rows

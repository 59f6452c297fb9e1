"""The scores as plain text: ``evaluation.txt`` and ``equal_split_detailed.txt``."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tenkizu.rain.equal_split import TOO_FEW, UNCLEAR
from tenkizu.rain.scores import HOURS, SUBSETS
from tenkizu.rain.spectra import POOLED, near

LABELS = {
    "model": "model",
    "equal": "equal split S/3",
    "linear": "linear interpolation",
    "climatological": "climatological shares",
    "motion": "carried along the motion",
    "advection": "carried by the winds",
}
"""Names of methods in tables and figures; others go by their own name."""

COLUMNS = ("method", "RMSE 1 h, mm", "MAE 1 h, mm", "skill, all cells", "skill, S >= 0.1 mm")

NOTHING = "n/a"
_SUBSET_NAMES = dict(zip(SUBSETS, ("all cells", "S >= 0.1 mm"), strict=True))
_EVENT_SCORES = {
    "accuracy": "accuracy",
    "POD": "probability_of_detection",
    "success ratio": "success_ratio",
    "F1": "f1_score",
    "CSI": "critical_success_index",
    "FA ratio": "false_alarm_ratio",
    "FA rate": "probability_of_false_detection",
    "ETS": "equitable_threat_score",
    "bias": "frequency_bias",
}
_PATTERNS = [f"{kind:03b}" for kind in range(8)]


def label_of(method: str) -> str:
    """The name of a method in tables and figures."""
    return LABELS.get(method, method)


def methods_of(result: dict[str, Any]) -> list[str]:
    """The methods of an evaluation, the model first."""
    return list(result["rmse_1h"])


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits; ``n/a`` where undefined."""
    return NOTHING if value is None or np.isnan(value) else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent; ``n/a`` where undefined."""
    return NOTHING if value is None or np.isnan(value) else f"{100 * value:.1f}"


def columns(rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines with aligned columns, the first to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def heading(title: str, note: str = "") -> list[str]:
    """A blank line, a title with its rule and, below, what the numbers are."""
    return ["", title, "-" * len(title), *([note] if note else [])]


def table_rows(result: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Method, 1 h RMSE and MAE over all cells, skill over all and conditional cells, as text."""
    by_method = result["mse_skill_by_method"]
    return [
        (
            label_of(m),
            number(result["rmse_1h"][m]),
            number(result["mae_1h"][m]),
            number(by_method["all"][m]),
            number(by_method["conditional"][m]),
        )
        for m in methods_of(result)
    ]


def as_text(result: dict[str, Any]) -> str:
    """The scores as a plain-text report, of the content of ``scores.json``."""
    lines = [
        f"Model {result['model']} ({result['weights']}) on {result['data']}",
        f"{result['n_windows']} windows, {result['n_cells']} cells, "
        f"{result['n_cells_conditional']} of them with S >= 0.1 mm; grid {result['grid']}",
        "Skill is MSE skill against the equal split, 1 - SSE / SSE(S/3).",
        "Departure of the sum of the hours from S, relative to S: largest "
        f"{result['max_relative_sum_error']:.1e}, mean {result['mean_relative_sum_error']:.1e}",
        "",
        *columns([COLUMNS, *table_rows(result)]),
        *_intervals(result["intervals"]),
        *_hours(result),
        *_groups(result),
        *_events(result),
        *_classes(result),
        *_wet(result),
        *_peak(result),
        *_fss(result["fss"], methods_of(result)),
        *spectra_lines(result["spectra"]),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _range(estimate: dict[str, float], digits: int = 3) -> str:
    """A value with its interval."""
    value = number(estimate["value"], digits)
    ends = [number(estimate[end], digits) for end in ("low", "high")]
    return value if NOTHING in ends else f"{value} [{', '.join(ends)}]"


def how_resampled(made: dict[str, Any]) -> str:
    """One sentence on the intervals, or why there are none."""
    if made["blocks"] < made["blocks_needed"]:
        return (
            f"No intervals: {TOO_FEW}, {made['blocks']} with rain of at least "
            f"{made['blocks_needed']} that are needed."
        )
    return (
        f"[{100 * made['level']:g} % intervals] from {made['resamples']} resamples of "
        f"{made['blocks']} blocks of {made['block_hours']:g} hours."
    )


def _intervals(made: dict[str, Any]) -> list[str]:
    rows: list[list[str]] = [["method", *_SUBSET_NAMES.values()]]
    for method, skills in made["skill_against_equal"].items():
        if method != "equal":
            rows.append([label_of(method), *(_range(skills[s]) for s in SUBSETS)])
    best = made["skill_against_best_baseline"]
    name = label_of(best["baseline"])
    rows.append([f"model against {name}", *(_range(best[s]) for s in SUBSETS)])
    note = how_resampled(made)
    title = "Skill against S/3 and against the best baseline"
    return [*heading(title, note), *columns(rows)]


def _hours(result: dict[str, Any]) -> list[str]:
    """RMSE, MAE and skill per hour."""
    lines = heading("By hour")
    for subset, suffix in zip(SUBSETS, ("", "_conditional"), strict=True):
        head = [_SUBSET_NAMES[subset]]
        head += [f"{what} {hour}" for what in ("RMSE", "MAE", "skill") for hour in HOURS]
        names = ("rmse_per_hour", "mae_per_hour", "mse_skill_per_hour")
        rows = [
            [label_of(m), *(number(result[name + suffix][m][h]) for name in names for h in HOURS)]
            for m in methods_of(result)
        ]
        lines += columns([head, *rows])
    return lines


def _groups(result: dict[str, Any]) -> list[str]:
    """Skill by amount, hour of day, season and surface."""
    titles = {
        "skill_by_amount": "Skill by S, mm",
        "skill_by_hour_of_day": "Skill by UTC hour of t0",
        "skill_by_season": "Skill by season of t0",
        "skill_by_surface": "Skill on land and sea",
    }
    lines = []
    for name, title in titles.items():
        if name not in result:
            continue
        methods = methods_of(result)
        members = result[name][methods[0]]
        rows = [["", "cells", *map(label_of, methods)]]
        for label, first in members.items():
            skills = [number(result[name][m][label]["skill"]) for m in methods]
            rows.append([label, str(first["cells"]), *skills])
        lines += [*heading(title, "Cells with S >= 0.1 mm."), *columns(rows)]
    return lines


def _events(result: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    methods = methods_of(result)
    for part in ("pooled", *HOURS):
        title = "all hours together" if part == "pooled" else part
        rows = [["threshold, mm", "method", "events", *_EVENT_SCORES]]
        for threshold in result["binary_hourly"]["model"][part]:
            for m in methods:
                s = result["binary_hourly"][m][part][threshold]
                numbers = [number(s[key]) for key in _EVENT_SCORES.values()]
                rows.append([threshold, m, str(s["hits"] + s["misses"]), *numbers])
        lines += [*heading(f"Hourly events, {title}"), *columns(rows)]
    return lines


def _matrix(labels: Sequence[str], scores: dict[str, Any]) -> list[str]:
    """A confusion matrix, truth along rows."""
    counts = scores["confusion_truth_by_prediction"]
    rows = [[label, *map(str, row)] for label, row in zip(labels, counts, strict=True)]
    return columns([["truth \\ model", *labels], *rows])


def _classes(result: dict[str, Any]) -> list[str]:
    found = result["categories_hourly"]
    edges = [f"{edge:g}" for edge in found["edges_mm"]]
    labels = [f"{a}-{b}" for a, b in zip(edges, [*edges[1:], "inf"], strict=True)]
    lines = heading("Hourly classes, mm")
    for subset in SUBSETS:
        rows = [[_SUBSET_NAMES[subset], "", "accuracy", *labels]]
        for m in methods_of(result):
            scores = found[m][subset]
            rows.append([label_of(m), "precision", number(scores["accuracy"])])
            rows[-1] += map(number, scores["precision"])
            rows.append(["", "recall", "", *map(number, scores["recall"])])
        lines += columns(rows)
        lines += ["", *_matrix(labels, found["model"][subset]), ""]
    return lines[:-1]


def _wet(result: dict[str, Any]) -> list[str]:
    limit = f"{result['wet_hour_mm']:g} mm"
    rows = [["accuracy", "all cells", "S >= 0.1 mm", "pattern, S >= 0.1 mm"]]
    for m in methods_of(result):
        counts = result["wet_hours"][m]
        rows.append([label_of(m), *(number(counts[s]["accuracy"]) for s in SUBSETS)])
        rows[-1].append(number(result["wet_pattern"][m]["accuracy"]))
    return [
        *heading(f"Number and pattern of wet hours (>= {limit})"),
        *columns(rows),
        "",
        "Number of wet hours of the model, all cells",
        *_matrix(["0", "1", "2", "3"], result["wet_hours"]["model"]["all"]),
        "",
        "Pattern (wet 1, dry 0, in FT+4, +5, +6) of the model, S >= 0.1 mm",
        *_matrix(_PATTERNS, result["wet_pattern"]["model"]),
    ]


def _peak(result: dict[str, Any]) -> list[str]:
    ties = result["peak_hour"]["model"]["ties_left_out"]
    note = f"Cells with S >= 0.1 mm; {ties} whose true peak is shared by two hours are left out."
    rows = [["method", "accuracy", *(f"recall {hour}" for hour in HOURS)]]
    for m in methods_of(result):
        scores = result["peak_hour"][m]
        rows.append([label_of(m), number(scores["accuracy"]), *map(number, scores["recall"])])
    matrix = _matrix(HOURS, result["peak_hour"]["model"])
    return [*heading("Peak hour", note), *columns(rows), "", *matrix]


def _fss(fss: dict[str, Any], methods: Sequence[str]) -> list[str]:
    if not (fss["windows_cells"] and fss["thresholds_mm"]):
        return []
    sides = [f"{k} cells" for k in fss["windows_cells"]]
    note = "Side of the neighbourhood"
    if fss["windows_km"]:
        sides = [
            f"{k} = {km:.3g} km"
            for k, km in zip(fss["windows_cells"], fss["windows_km"], strict=True)
        ]
        note += " in cells and km"
    note += "; useful: above 0.5 + base rate / 2; n/a: no event, or wider than the grid."
    rows = [["threshold, mm", "method", "base rate", "useful", *sides]]
    for i, threshold in enumerate(fss["thresholds_mm"]):
        for m in methods:
            rows.append([f"{threshold:g}", m])
            rows[-1] += [number(fss["base_rate"][i], 5), number(fss["useful"][i])]
            rows[-1] += map(number, fss[m][i])
    fields = ["", "fields", "", "", *map(str, fss["fields"])]
    return [*heading("Fractions skill score", note), *columns([*rows, fields])]


def spectra_lines(spectra: dict[str, Any]) -> list[str]:
    """The ratio of power to the truth's at four wavelengths, as `Spectra.summary` gives it."""
    used, left_out = spectra["windows_used"], spectra["windows_left_out"]
    title = "Power spectrum, ratio to the truth"
    if not used:
        return heading(title, f"None: {left_out} windows too small or with missing cells.")
    cells, km = spectra["wavelengths_cells"], spectra["wavelengths_km"]
    rings = [i for i in (near(cells, wanted) for wanted in (4, 8, 16, 32)) if i is not None]
    note = "Variance at wavelengths near 4, 8, 16 and 32 cells, hours pooled; below 1: too smooth."
    (top, bottom), (left, right) = spectra["rows"], spectra["columns"]
    cut = f"{used} windows, {left_out} with missing cells left out; rows {top} to {bottom}, "
    cut += f"columns {left} to {right}."
    head = [f"{km[i]:.3g} km" if km else f"{cells[i]:.3g} cells" for i in rings]
    rows = [
        [label_of(m), *(number(of[POOLED][i]) for i in rings)] for m, of in spectra["ratio"].items()
    ]
    return [*heading(title, note), cut, *columns([["wavelength", *head], *rows])]


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
                ["RMSE, model less S/3", _range(every["rmse_difference"], 4) + " mm"],
                ["MSE skill", _range(every["skill"])],
                ["win", _percent_range(every["win_rate"]) + " %"],
                ["tie", percent(every["tie_rate"]) + " %"],
                ["loss", percent(every["loss_rate"]) + " %"],
            ]
        ),
        how_resampled(found),
        f"Verdict: {_verdict(every, found)}",
        "",
        "Groups. RMSE in mm; +: the interval of the RMSE difference lies below zero, the model "
        "errs less; -: above zero.",
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


def _percent_range(estimate: dict[str, float]) -> str:
    ends = [percent(estimate[end]) for end in ("low", "high")]
    value = percent(estimate["value"])
    return value if NOTHING in ends else f"{value} [{', '.join(ends)}]"


def _group_rows(members: dict[str, Any], needed: int) -> list[list[str]]:
    """One line per member of a group; the rates are absent where hours stand alone."""
    rates = "wins" in next(iter(members.values()))
    head = ["", "cells", "RMSE model", "RMSE S/3", "skill", "interval", ""]
    rows = [head + (["win %", "tie %", "loss %"] if rates else [])]
    for label, entry in members.items():
        if not entry["cells"]:
            rows.append([label, "0", *[NOTHING] * 4, "", *[NOTHING] * (len(rows[0]) - 7)])
            continue
        skill, difference = entry["skill"], entry["rmse_difference"]
        few = entry["blocks"] < needed
        ends = [number(skill[end]) for end in ("low", "high")]
        blocks = f"({entry['blocks']} block{'s' * (entry['blocks'] != 1)})"
        sign = (
            "" if few else "+" if difference["high"] < 0 else "-" if difference["low"] > 0 else ""
        )
        rows.append(
            [
                label,
                str(entry["cells"]),
                number(entry["rmse_model"]),
                number(entry["rmse_equal"]),
                number(skill["value"]),
                blocks if few else f"[{', '.join(ends)}]",
                sign,
            ]
        )
        if rates:
            rows[-1] += [percent(entry["win_rate"]["value"])]
            rows[-1] += [percent(entry["tie_rate"]), percent(entry["loss_rate"])]
    return rows

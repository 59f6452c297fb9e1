"""The scores as plain text: ``evaluation.txt``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tenkizu.rain.equal_split import TOO_FEW
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
    if value is None or np.isnan(value):
        return NOTHING
    # Adding zero turns a rounded -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:.{digits}f}"


def counted(count: int, what: str) -> str:
    """A number of things: ``1 window``, ``40 windows``."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def conserves(result: Mapping[str, Any]) -> bool:
    """Whether the hours of an evaluated model add up to S by construction."""
    # Evaluations of earlier versions do not say so; a head without a link to S errs by far more.
    said = result.get("conserves")
    return bool(result["max_relative_sum_error"] < 1e-3 if said is None else said)


def sum_words(result: Mapping[str, Any]) -> str:
    """How far the hours are from adding up to S, in words that fit the model."""
    if conserves(result):
        error = result["max_relative_sum_error"]
        return f"hours add to S within {error:.1e} of S" if error else "hours add to S exactly"
    rmse = (result.get("rmse_sum") or {}).get("model")
    apart = "" if rmse is None else f"an RMSE of {number(rmse)} mm and "
    mean = result["mean_relative_sum_error"]
    return f"hours need not add to S: their sum is off by {apart}{number(mean, 2)} of S in the mean"


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
        f"{counted(result['n_windows'], 'window')}, {result['n_cells']} cells, "
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
        *_sums(result),
        *_wet(result),
        *_peak(result),
        *_fss(result["fss"], methods_of(result)),
        *spectra_lines(result["spectra"]),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def with_interval(estimate: dict[str, float], digits: int = 3, unit: float = 1.0) -> str:
    """A value with its interval, where there is one; ``unit`` 0.01 gives percent."""
    value, *ends = (
        number(end if end is None else end / unit, digits)
        for end in (estimate[name] for name in ("value", "low", "high"))
    )
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
            rows.append([label_of(method), *(with_interval(skills[s]) for s in SUBSETS)])
    best = made["skill_against_best_baseline"]
    name = label_of(best["baseline"])
    rows.append([f"model against {name}", *(with_interval(best[s]) for s in SUBSETS)])
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


def _sums(result: dict[str, Any]) -> list[str]:
    """Errors, events and classes of the model's 3-hour sums, where they are not S itself."""
    if "rmse_sum" not in result:
        return []
    lines = heading("3-hour sums of the model", "Against S; all baselines add to S exactly.")
    rows = [["", "RMSE, mm", "MAE, mm"]]
    for subset, suffix in zip(SUBSETS, ("", "_conditional"), strict=True):
        errors = (number(result[name + suffix]["model"]) for name in ("rmse_sum", "mae_sum"))
        rows.append([_SUBSET_NAMES[subset], *errors])
    events = [["threshold, mm", "events", *_EVENT_SCORES]]
    for threshold, s in result["binary_sum"]["model"].items():
        numbers = [number(s[key]) for key in _EVENT_SCORES.values()]
        events.append([threshold, str(s["hits"] + s["misses"]), *numbers])
    lines += [*columns(rows), *heading("Events of 3-hour sums"), *columns(events)]
    found = result["categories_sum"]
    labels = class_labels(found["edges_mm"])
    lines += heading("Classes of 3-hour sums, mm")
    for subset in SUBSETS:
        scores = found["model"][subset]
        rows = [[_SUBSET_NAMES[subset], "accuracy", *labels]]
        rows.append(["precision", number(scores["accuracy"]), *map(number, scores["precision"])])
        rows.append(["recall", "", *map(number, scores["recall"])])
        lines += [*columns(rows), "", *_matrix(labels, scores), ""]
    return lines[:-1]


def _matrix(labels: Sequence[str], scores: dict[str, Any]) -> list[str]:
    """A confusion matrix, truth along rows."""
    counts = scores["confusion_truth_by_prediction"]
    rows = [[label, *map(str, row)] for label, row in zip(labels, counts, strict=True)]
    return columns([["truth \\ model", *labels], *rows])


def class_labels(edges_mm: Sequence[float]) -> list[str]:
    """``low-high`` of each class, mm, the last one to infinity."""
    edges = [f"{edge:g}" for edge in edges_mm]
    return [f"{a}-{b}" for a, b in zip(edges, [*edges[1:], "inf"], strict=True)]


def _classes(result: dict[str, Any]) -> list[str]:
    found = result["categories_hourly"]
    labels = class_labels(found["edges_mm"])
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
        return heading(
            title, f"None: {counted(left_out, 'window')} too small or with missing cells."
        )
    cells, km = spectra["wavelengths_cells"], spectra["wavelengths_km"]
    rings = [i for i in (near(cells, wanted) for wanted in (4, 8, 16, 32)) if i is not None]
    note = "Variance at wavelengths near 4, 8, 16 and 32 cells, hours pooled; below 1: too smooth."
    (top, bottom), (left, right) = spectra["rows"], spectra["columns"]
    cut = f"{counted(used, 'window')}, {left_out} with missing cells left out; "
    cut += f"rows {top} to {bottom}, columns {left} to {right}."
    head = [f"{km[i]:.3g} km" if km else f"{cells[i]:.3g} cells" for i in rings]
    rows = [
        [label_of(m), *(number(of[POOLED][i]) for i in rings)] for m, of in spectra["ratio"].items()
    ]
    return [*heading(title, note), cut, *columns([["wavelength", *head], *rows])]

"""What `check` found, as a Markdown page beside the JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

from tenkizu.rain.msm.markdown import number, table


def as_markdown(summary: Mapping[str, Any]) -> str:
    """The page: rules, findings, hours of the day, lag scan, extremes, and cells never filled.

    Args:
        summary: what `tenkizu.rain.msm.check.check` writes as JSON.
    """
    best = summary["best_lag_steps"]
    parts = [
        "# Check of MSM forecasts\n",
        f"{summary['initial_times']:,} initial times in {len(summary['files'])} files: "
        f"{summary['errors']} errors, {summary['warnings']} warnings.\n",
        table(
            ["rule", "what must hold", "errors", "warnings"],
            [
                [name, _cell(row["text"]), str(row["errors"]), str(row["warnings"])]
                for name, row in summary["rules"].items()
            ],
            text=2,
        ),
        "\n## Findings\n",
        "\n".join(f"- {_finding(one)}" for one in summary["findings"]) or "None.",
        "\n## Hours of the day\n",
        "Initial times that are there and that are missing, and the share of cells with S >= 0.1 "
        "mm, by UTC hour of t0.\n",
        table(["UTC", "there", "missing", "wet (%)"], list(_hours(summary))),
        "\n## Lag scan\n",
        "S of one initial time with the summed hours of another, so many steps of 3 h later. "
        + (f"The best lag is {best:+d}.\n" if best is not None else "There is no rain.\n"),
        table(
            ["steps", "cells", "correlation", "RMSE (mm)"],
            [
                [
                    f"{row['lag_steps']:+d}",
                    f"{row['cells']:,}",
                    number(row["correlation"]),
                    number(row["rmse_mm"]),
                ]
                for row in summary["lag_scan"]
            ],
        ),
        "\n## Extremes\n",
        table(
            ["variable", "units", "largest", "t0, lat, lon", "smallest", "t0, lat, lon"],
            [
                [name, row["units"], *_extreme(row["max"]), *_extreme(row["min"])]
                for name, row in summary["extremes"].items()
            ],
            text=2,
        ),
        "\n## Cells that never hold anything\n",
        table(
            ["variable", "always missing", "always zero"],
            [
                [name, f"{counts['always_missing']:,}", f"{counts['always_zero']:,}"]
                for name, counts in summary["cells"].items()
            ],
        ),
    ]
    return "\n".join(parts)


def _finding(one: Mapping[str, Any]) -> str:
    """A finding on one line, in the words of the command."""
    where = ": ".join(one[key] for key in ("file", "variable") if one.get(key))
    details = [f"{key} {one[key]}" for key in ("found", "expected") if one.get(key)]
    details += [f"first at {one['first']}"] if one.get("first") else []
    details += [f"{one['count']} times"] if one["count"] > 1 else []
    text = "; ".join([f"{where}: {one['text']}" if where else one["text"], *details])
    return f"**{one['severity']}** ({one['rule']}) {text}"


def _hours(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    missing, wet = summary["missing_per_utc_hour"], summary["wet_per_utc_hour"]
    for hour in sorted({*missing, *wet}):
        row = wet.get(hour, {"initial_times": 0, "wet_fraction": None})
        share = row["wet_fraction"]
        percent = number(None if share is None else 100 * share, 2)
        yield [hour, f"{row['initial_times']:,}", f"{missing.get(hour, 0):,}", percent]


def _extreme(one: Mapping[str, Any]) -> list[str]:
    return [f"{one['value']:g}", f"{one['t0']}, {one['lat']:g}, {one['lon']:g}"]


def _cell(text: str) -> str:
    """Text whose bars do not end a cell of the table."""
    return text.replace("|", "\\|")

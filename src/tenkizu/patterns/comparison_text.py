"""The table of a comparison for the screen, 80 columns wide; ``compare.csv`` has all of it."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tenkizu.patterns.verification.score_text import columns, number, with_interval

WIDTH = 80

_HEAD = ("seed", "epoch", "mAP", "macro F1", "mAP less the best's", "seconds")

Row = Mapping[str, Any]


def comparison_text(rows: Sequence[Row]) -> str:
    """Runs of the same network and settings together, one line a seed, then the baselines.

    Args:
        rows: what `tenkizu.patterns.comparison.compare` returned.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    baselines: list[Row] = []
    for row in rows:
        if "seed" in row:
            groups.setdefault((row["backbone"], row.get("settings", "")), []).append(row)
        else:
            baselines.append(row)
    table = columns([list(_HEAD), *(_cells(row) for group in groups.values() for row in group)])
    lines = [f"  {table[0]}"]
    at = 1
    for (backbone, settings), group in groups.items():
        size = next((row["parameters"] for row in group if row.get("parameters")), None)
        said = [backbone, settings, "" if size is None else f"({size:,} parameters)"]
        lines += textwrap.wrap(" ".join(filter(None, said)), WIDTH, subsequent_indent="    ")
        lines += [f"  {line}" for line in table[at : at + len(group)]]
        at += len(group)
    if baselines:
        found = [[row["backbone"], number(row["best_val_map"])] for row in baselines]
        lines += ["baselines", *(f"  {line}" for line in columns(found))]
    return "\n".join(line.rstrip() for line in lines)


def _cells(row: Row) -> list[str]:
    """One run, mean or deviation."""
    if "error" in row:
        return [str(row["seed"]), "", "failed", "", "", ""]
    value = row.get("best_val_map")
    score = number(value)
    if row.get("map_low") is not None:
        score = with_interval(value, (row["map_low"], row["map_high"]))
    gap = row.get("difference_to_best")
    ends = (row.get("difference_low"), row.get("difference_high"))
    return [
        str(row["seed"]),
        str(row.get("best_epoch") or ""),
        score,
        number(row.get("macro_f1")),
        "" if gap is None else with_interval(gap, ends),
        f"{row['seconds']:.0f}" if row.get("seconds") is not None else "",
    ]

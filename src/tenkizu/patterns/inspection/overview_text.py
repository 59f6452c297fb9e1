"""What `overview` found, as plain text: on the screen and in ``inspection.txt``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LISTED = 40
_UNITS = ("B", "kB", "MB", "GB", "TB")


def as_text(found: Mapping[str, Any]) -> str:
    """Tables of channels, labels and gaps, with what else is to be said of a store."""
    lines = [
        f"store    {found['store']}",
        f"days     {found['days']}, {found['first']} to {found['last']} UTC"
        + (", daily means" if found["daily"] == "mean" else ""),
        f"grid     {found['grid']['text']}",
        "size     "
        + ", ".join(
            f"{_bytes(found['size'][key])} {text}"
            for key, text in (("all", "in all"), ("maps", "of maps"), ("netcdf", "of NetCDF"))
        ),
        f"made of  {_count(found['inputs'], 'input')}",
        *(f"note     {note}" for note in found["notes"]),
        "",
        *_channels(found["channels"]),
        "",
        *_labels(found["labels"]),
        "",
        *_gaps(found["gaps"]),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _channels(channels: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "Channels, over all days and cells"
    rows = [("", "units", "mean", "sd", "min", "max", "missing")]
    for channel in channels:
        values = [_number(channel[key]) for key in ("mean", "sd", "min", "max")]
        name = channel["name"] + ("" if channel["seen_by_network"] else " *")
        rows.append((name, channel["units"], *values, _share(channel["missing"])))
    yield from _table(rows, left=2)
    if not all(channel["seen_by_network"] for channel in channels):
        yield "* kept for charts and analogues; no channel of the network"


def _labels(labels: Mapping[str, Any]) -> Iterator[str]:
    if "problem" in labels:
        yield f"Labels: {labels['problem']}"
        return
    yield f"Days with each type of {labels['catalogue']}, by local year ({labels['source']})"
    kinds = ("days", "unlabelled", "single", "composite", "transition")
    types = labels["types"]
    rows = [("", *kinds, *types)]
    for year, counts in [*labels["years"].items(), ("all", labels["all"])]:
        own = [str(counts[kind]) for kind in kinds]
        rows.append((year, *own, *(str(counts["types"][name]) for name in types)))
    yield from _table(rows, left=1)


def _gaps(gaps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not gaps:
        yield "Gaps: none between the first and the last day"
        return
    yield f"Gaps: {_count(sum(gap['days'] for gap in gaps), 'day')} in {_count(len(gaps), 'range')}"
    for gap in gaps[:_LISTED]:
        first, last = (str(gap[end]).removesuffix("T00:00") for end in ("first", "last"))
        span = first if first == last else f"{first} to {last}"
        yield f"  {span}  {_count(gap['days'], 'day')}: {gap['reason']}"
    if len(gaps) > _LISTED:
        yield f"  and {len(gaps) - _LISTED} more ranges, in inspection.json"


def _table(rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Columns as wide as their longest entry, the first ``left`` set left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(cells)
        )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.5g}"


def _share(share: float) -> str:
    if share == 0.0:
        return "0"
    return "<0.1 %" if share < 0.001 else f"{100.0 * share:.1f} %"


def _bytes(size: float) -> str:
    for unit in _UNITS:
        if size < 1000.0 or unit == _UNITS[-1]:
            break
        size /= 1000.0
    return f"{size:.3g} {unit}"

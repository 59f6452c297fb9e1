"""Reading maps of one field from one file, unpacked in float64 and north first."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.patterns.reading.map_layout import Piece

_RUN_BYTES = 64 * 2**20


def read_piece(
    piece: Piece, indices: NDArray[np.intp], rows: slice, columns: Sequence[slice]
) -> tuple[NDArray[np.float64], NDArray[np.intp] | None]:
    """Maps at ``indices`` of a piece's times, increasing.

    Args:
        piece: the field in the file.
        indices: positions along its times, strictly increasing, shape (n,).
        rows: rows of its grid, north first.
        columns: columns of its grid, in one part or several.

    Returns:
        The maps (n, H, W), NaN where missing; and, where the file has a dimension ``expver``, the
        entry that gave each map, (n,): the last of which a value was taken, the first finite
        value of each cell being the one that counts.
    """
    if piece.rows_flipped:
        total = piece.grid.shape[0]
        rows = slice(total - rows.stop, total - rows.start)
    parts, versions = [], []
    cells = (rows.stop - rows.start) * sum(part.stop - part.start for part in columns)
    for run, inside in _runs(piece, indices, cells):
        maps, version = _read_run(piece, run, rows, columns)
        parts.append(maps if len(inside) == len(maps) else maps[inside])
        if version is not None:
            versions.append(version[inside])
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return values, np.concatenate(versions) if versions else None


def _runs(
    piece: Piece, indices: NDArray[np.intp], cells: int
) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Stretches of times to read at once, and which of their maps are wanted.

    Adjacent times make one stretch, as do times that share a chunk, which is unpacked whole
    anyway; no stretch is longer than 64 MB.
    """
    variable = piece.file.variables[piece.variable]
    together = 1
    if "time" in piece.roles and variable.chunks is not None:
        together = variable.chunks[piece.roles.index("time")]
    longest = max(1, _RUN_BYTES // (8 * cells))
    start = 0
    for end in range(1, len(indices) + 1):
        if end < len(indices):
            gap = int(indices[end] - indices[end - 1])
            shared = int(indices[end]) // together == int(indices[end - 1]) // together
            if (gap == 1 or shared) and indices[end] - indices[start] < longest:
                continue
        run = indices[start:end]
        yield slice(int(run[0]), int(run[-1]) + 1), run - run[0]
        start = end


def _read_run(
    piece: Piece, times: slice, rows: slice, columns: Sequence[slice]
) -> tuple[NDArray[np.float64], NDArray[np.intp] | None]:
    """All maps of a stretch of times, and the ``expver`` entry of each if there are several."""
    pick: dict[str, int | slice] = {
        "time": times,
        "level": piece.level_index,
        "expver": slice(None),
    }
    pick |= {"lat": rows, "single": 0}
    parts = []
    for part in columns:
        pick["lon"] = part
        parts.append(piece.file.read(piece.variable, tuple(pick[role] for role in piece.roles)))
    kept = [role for role in piece.roles if isinstance(pick[role], slice)]
    order = [role for role in ("expver", "time", "lat", "lon") if role in kept]
    parts = [raw.transpose([kept.index(role) for role in order]) for raw in parts]
    raw = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    if "time" not in kept:
        raw = np.expand_dims(raw, order.index("lat"))
    values = unpack(raw, piece.attrs())
    if piece.rows_flipped:
        values = values[..., ::-1, :]
    return _first_finite(values) if "expver" in kept else (values, None)


def unpack(raw: NDArray[Any], attrs: dict[str, Any]) -> NDArray[np.float64]:
    """Stored values as float64, NaN where they are ``_FillValue`` or ``missing_value``.

    value = stored * scale_factor + add_offset.
    """
    values = raw.astype(np.float64)
    scale, offset = (
        float(np.reshape(attrs.get(key, default), -1)[0])
        for key, default in (("scale_factor", 1.0), ("add_offset", 0.0))
    )
    if scale != 1.0:
        values *= scale
    if offset != 0.0:
        values += offset
    for key in ("_FillValue", "missing_value"):
        fills = np.reshape(attrs.get(key, ()), -1)
        # In the type of floats: 1e20 as a double is not the same number as 1e20 in single.
        for fill in fills.astype(raw.dtype) if raw.dtype.kind == "f" else fills:
            values[raw == fill] = np.nan
    return values


def _first_finite(
    versions: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Of (versions, T, H, W), the first finite value of each cell, and the entry of each map."""
    values = versions[0].copy()
    entry = np.zeros(len(values), dtype=np.intp)
    for i in range(1, len(versions)):
        taken = np.isnan(values) & np.isfinite(versions[i])
        values[taken] = versions[i][taken]
        entry[taken.any(axis=(1, 2))] = i
    return values, entry

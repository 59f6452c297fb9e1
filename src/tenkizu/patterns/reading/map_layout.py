"""Where the maps of a file are: which variable, level and time, and how they lie in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns.reading.file_kinds import FETCH_AGAIN
from tenkizu.patterns.reading.file_variables import Variable
from tenkizu.patterns.reading.map_files import NetcdfFile
from tenkizu.patterns.reading.map_times import Minutes, decode_times, is_time, require_increasing
from tenkizu.patterns.reading.natives import Native, identify

Role = Literal["time", "level", "expver", "lat", "lon", "single"]

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("valid_time", "time"), "time"),
    **dict.fromkeys(("pressure_level", "level", "isobaricinhpa", "plev", "lev"), "level"),
    "expver": "expver",
    **dict.fromkeys(("latitude", "lat"), "lat"),
    **dict.fromkeys(("longitude", "lon"), "lon"),
}
_LEVEL_NAMES = tuple(name for name, role in _ROLES.items() if role == "level")
_UNEVEN = 0.05
_PER_HPA = {"pa": 0.01, "pascal": 0.01} | dict.fromkeys(
    ("", "hpa", "hectopascal", "millibar", "millibars", "mbar", "mb"), 1.0
)


@dataclass(frozen=True, eq=False)
class Piece:
    """The maps of one field in one file.

    Attributes:
        file: the file they are in.
        variable: its name there.
        native: the quantity.
        hpa: the pressure level; None at the surface.
        times: of its maps, increasing.
        grid: north first.
        roles: what each dimension of the variable is.
        level_index: position along the level dimension, if there is one.
        rows_flipped: whether the file has the south row first.
        expver: version of each map, or of each entry along a dimension ``expver``; empty if the
            file does not say. ERA5 is 1 when final, 5 when preliminary (ERA5T).
    """

    file: NetcdfFile
    variable: str
    native: Native
    hpa: float | None
    times: Minutes
    grid: Grid
    roles: tuple[Role, ...]
    level_index: int
    rows_flipped: bool
    expver: tuple[str, ...]

    @property
    def name(self) -> str:
        """The field, such as ``msl`` or ``z500``."""
        return self.native.field_name(self.hpa)

    def attrs(self) -> dict[str, Any]:
        """Attributes of the variable."""
        return self.file.variables[self.variable].attrs


def pieces_of(file: NetcdfFile, level: float | None = None) -> list[Piece]:
    """All fields of a file that tenkizu reads, in the order of the file.

    Args:
        file: the file.
        level: hPa of upper-air variables for which the file names none: the former CDS format
            leaves the dimension out when a request has one level.

    Raises:
        DataError: a variable has dimensions or coordinates that cannot be understood.
    """
    pieces: list[Piece] = []
    times: dict[str | None, Minutes] = {}
    for name, variable in file.variables.items():
        known = identify(name)
        roles = tuple(_role(file, dim) for dim in variable.dims)
        # A scalar `level` or a height profile is no field of maps.
        if known is None or "lat" not in roles or "lon" not in roles:
            continue
        native, hpa = known
        _require_dimensions(file, name, variable)
        if variable.dtype.kind not in "iuf":
            raise DataError(
                "values that are not numbers",
                file=file.label,
                variable=name,
                found=f"type {variable.dtype}",
                expected="integers or floating point",
                next_step=FETCH_AGAIN,
            )
        _require_single(file, name, variable, roles)
        _require_packing(file, name, variable)
        pieces += _pieces(file, name, native, hpa, roles, level, times)
    return pieces


def _pieces(
    file: NetcdfFile,
    name: str,
    native: Native,
    hpa: float | None,
    roles: tuple[Role, ...],
    assumed: float | None,
    known_times: dict[str | None, Minutes],
) -> Iterator[Piece]:
    """The fields in one variable: one, or one for each level."""
    levels: Sequence[float | None] = [hpa]
    if native.on_levels and hpa is None:
        levels = _levels(file, name, roles) or ([assumed] if assumed is not None else [])
    if not levels:
        return
    dims = dict(zip(roles, file.variables[name].dims, strict=True))
    along = dims.get("time")
    # All variables along one dimension share its times, decoded once.
    if along not in known_times:
        known_times[along] = _times(file, name, along)
    times = known_times[along]
    grid, flipped = _grid(file, dims["lat"], dims["lon"])
    expver = _expver(file, dims, len(times))
    for index, level in enumerate(levels):
        yield Piece(file, name, native, level, times, grid, roles, index, flipped, expver)


def _role(file: NetcdfFile, dim: str) -> Role:
    """What a dimension counts, by its name, else by the attributes of its coordinate."""
    role = _ROLES.get(dim.lower())
    if role is not None:
        return role
    coordinate = file.variables.get(dim)
    attrs = coordinate.attrs if coordinate else {}
    units = str(attrs.get("units", "")).lower()
    if units.startswith(("degrees_north", "degree_north")):
        return "lat"
    if units.startswith(("degrees_east", "degree_east")):
        return "lon"
    return "time" if coordinate and is_time(coordinate) else "single"


def _require_dimensions(file: NetcdfFile, name: str, variable: Variable) -> None:
    """Raise unless the dimensions that a variable names are as many and as long as it says."""
    lengths = [
        file.coordinates[dim].size if dim in file.coordinates else length
        for dim, length in zip(variable.dims, variable.shape, strict=False)
    ]
    if len(variable.dims) != len(variable.shape) or tuple(lengths) != variable.shape:
        raise DataError(
            "dimensions that are not those of its values",
            file=file.label,
            variable=name,
            found=f"shape {variable.shape}",
            expected=", ".join(f"{d} = {n}" for d, n in zip(variable.dims, lengths, strict=False)),
            next_step=FETCH_AGAIN,
        )


def _require_single(
    file: NetcdfFile, name: str, variable: Variable, roles: tuple[Role, ...]
) -> None:
    """Raise when a role is taken twice, or a dimension of no role is longer than 1."""
    used = [role for role in roles if role != "single"]
    long = [
        dim
        for dim, length, role in zip(variable.dims, variable.shape, roles, strict=True)
        if role == "single" and length > 1
    ]
    if long or len(set(used)) < len(used):
        raise DataError(
            "dimensions that are not understood",
            file=file.label,
            variable=name,
            found=", ".join(
                f"{d} = {n}" for d, n in zip(variable.dims, variable.shape, strict=True)
            ),
            expected="time, level, latitude, longitude, expver, and others of length 1",
            next_step=f"select one {long[0]}: ncks -d {long[0]},0 in.nc out.nc"
            if long
            else FETCH_AGAIN,
        )


def _require_packing(file: NetcdfFile, name: str, variable: Variable) -> None:
    """Raise when values cannot be unpacked with the attributes that say how."""
    for key in ("scale_factor", "add_offset", "_FillValue", "missing_value"):
        value = variable.attrs.get(key, np.ones(1))
        usable = not isinstance(value, str) and value.dtype.kind in "iuf" and value.size > 0
        if usable and key == "scale_factor":
            usable = bool(np.isfinite(value).all() and (value != 0).all())
        if not usable:
            raise DataError(
                f"attribute {key} that cannot be used",
                file=file.label,
                variable=name,
                found=f"'{value}'" if isinstance(value, str) else f"{value.tolist()}",
                expected="a number",
                next_step=FETCH_AGAIN,
            )


def _levels(file: NetcdfFile, name: str, roles: tuple[Role, ...]) -> list[float | None]:
    """The levels of a variable in hPa, from its dimension or a scalar coordinate."""
    candidates = list(_LEVEL_NAMES)
    if "level" in roles:
        candidates = [file.variables[name].dims[roles.index("level")]]
    for candidate in candidates:
        coordinate = next((n for n in file.coordinates if n.lower() == candidate.lower()), None)
        if coordinate is None:
            continue
        values = file.coordinates[coordinate].astype(np.float64).reshape(-1)
        if "level" not in roles and values.size != 1:
            continue
        units = str(file.variables[coordinate].attrs.get("units", "")).strip().lower()
        if units not in _PER_HPA:
            raise DataError(
                "levels that are no pressure",
                file=file.label,
                variable=coordinate,
                found=f"{', '.join(f'{value:g}' for value in values[:3])}, units '{units}'",
                expected="hPa or Pa",
                next_step="ask for pressure levels, or interpolate to them: cdo ml2pl",
            )
        return [round(float(value) * _PER_HPA[units], 6) for value in values]
    return []


def _times(file: NetcdfFile, name: str, dim: str | None) -> Minutes:
    """Valid times of the maps of a variable.

    An auxiliary ``valid_time`` along the time dimension counts, not ``time``, which is then the
    start of a forecast.
    """
    length = 1 if dim is None else file.variables[name].shape[file.variables[name].dims.index(dim)]
    for candidate in dict.fromkeys(("valid_time", dim or "time", "time")):
        variable = file.variables.get(candidate)
        if variable is None or not is_time(variable) or candidate not in file.coordinates:
            continue
        values = file.coordinates[candidate]
        if values.size == length and (dim is None or dim in variable.dims):
            times = decode_times(values, variable, candidate, file.label)
            require_increasing(times, candidate, file.label)
            return times
    raise DataError(
        "no time coordinate",
        file=file.label,
        variable=name,
        found=f"dimensions {', '.join(file.variables[name].dims) or 'none'}",
        expected="valid_time or time, with units such as 'hours since 1900-01-01'",
        next_step=FETCH_AGAIN,
    )


def _grid(file: NetcdfFile, lat: str, lon: str) -> tuple[Grid, bool]:
    """The grid, north first, and whether the file has the south first."""
    y, x = (_axis(file, dim) for dim in (lat, lon))
    if np.abs(y).max() > 90.001:
        raise DataError(
            "not a latitude", file=file.label, variable=lat, found=f"{y[np.abs(y).argmax()]:g}"
        )
    flipped = len(y) > 1 and bool(y[1] > y[0])
    north_first = y[::-1].copy() if flipped else y
    for axis, steps, expected in (
        (lat, np.diff(-north_first), "every row further south, or every row further north"),
        (lon, np.diff(x), "every column further east; past 360 they run on: 350, 360, 370"),
    ):
        wrong = np.flatnonzero(~(steps > 0.0))
        if len(wrong):
            values, at = file.coordinates[axis].reshape(-1), int(wrong[0])
            at = len(values) - 2 - at if axis == lat and flipped else at
            raise DataError(
                "coordinate out of order",
                file=file.label,
                variable=axis,
                found=f"{values[at]:g}, {values[at + 1]:g} at position {at}",
                expected=expected,
                next_step="sort the file along it, e.g. cdo sellonlatbox,W,E,S,N in.nc out.nc",
            )
    for axis, values in ((lat, y), (lon, x)):
        _require_even(file, axis, values)
    return Grid("latlon", north_first, x, "latitude", "longitude"), flipped


def _require_even(file: NetcdfFile, axis: str, values: NDArray[np.float64]) -> None:
    """Raise when neighbouring distances differ by more than a twentieth.

    Those of Gaussian grids differ by less; a coordinate that was damaged or left out by more.
    """
    steps = np.abs(np.diff(values))
    uneven = np.abs(np.diff(steps)) > _UNEVEN * np.minimum(steps[1:], steps[:-1])
    if uneven.any():
        at = int(np.argmax(uneven))
        raise DataError(
            "uneven distances",
            file=file.label,
            variable=axis,
            found=", ".join(f"{value:g}" for value in values[at : at + 3]) + f" at position {at}",
            expected="the same distance between all rows, and between all columns",
            next_step=FETCH_AGAIN,
        )


def _axis(file: NetcdfFile, dim: str) -> NDArray[np.float64]:
    """Values of a horizontal coordinate in degrees."""
    values = file.coordinates.get(dim)
    if values is None or values.size == 0 or not np.isfinite(values.astype(np.float64)).all():
        raise DataError(
            "no such coordinate, or missing values in it",
            file=file.label,
            variable=dim,
            expected="degrees along the dimension of this name",
            next_step=FETCH_AGAIN,
        )
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _expver(file: NetcdfFile, dims: dict[Role, str], n_times: int) -> tuple[str, ...]:
    """Versions along the dimension ``expver``, else one a map; empty if unknown."""
    values = file.coordinates.get("expver")
    length = n_times
    if "expver" in dims:
        length = next(
            variable.shape[variable.dims.index(dims["expver"])]
            for variable in file.variables.values()
            if dims["expver"] in variable.dims
        )
    if values is None:
        return tuple(str(i + 1) for i in range(length)) if "expver" in dims else ()
    texts = [_version(value) for value in values.reshape(-1)]
    if len(texts) == 1:
        texts *= length
    return tuple(texts) if len(texts) == length else ()


def _version(value: Any) -> str:  # noqa: ANN401  (numbers, strings or bytes)
    """An ERA5 version as a plain number: '0005' is 5."""
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.strip().lstrip("0") or "0"

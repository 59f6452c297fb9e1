"""Monthly files of MSM forecasts as they are, and how they differ from what they should be."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import hdf5plugin  # noqa: F401  (registers zstd, LZ4 and other filters with HDF5)
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.msm.monthly_writing import DIMENSIONS, TIME_UNITS, model_grid
from tenkizu.rain.msm.variables import FOLLOWING, MAPS, RAIN_NAMES, TIME_FEATURES, VARIABLES
from tenkizu.rain.netcdf import READ_ERRORS, first_line
from tenkizu.rain.tables import RAIN, Rain

Map = NDArray[np.float32]

_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


@dataclass(frozen=True)
class Deviation:
    """A way in which a file differs from what `convert` writes."""

    variable: str | None
    problem: str
    found: object = None
    expected: object = None


class MonthFile:
    """An open monthly file; use it in a ``with`` block, in the process that opened it.

    Any file can be opened that has maps on (time, lat, lon); `deviations` says how it differs from
    what `convert` writes. It is read by h5py, which takes a twentieth of the time of other
    libraries for a single map.

    Attributes:
        path: such as 201807.nc.
        times: t0 (n,), datetime64[m], UTC.
        grid: of all maps.
        names: its variables, coordinates included.
        readable: those of `MAPS` that have the dimensions and the type they should have.

    Raises:
        DataError: it is no NetCDF-4 file, is damaged, or has no usable coordinates.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = h5py.File(self.path)
        except READ_ERRORS as error:
            raise self._damaged("cannot be opened", error) from error
        try:
            self.names = [name for name in self._file if self._is_variable(name)]
            self.times = self._times()
            y, x = (self._axis(name).astype(np.float64) for name in DIMENSIONS[1:])
            self.grid = Grid("latlon", y, x)
            self.readable = [name for name in MAPS if self._is_readable(name)]
        except READ_ERRORS as error:
            self.close()
            raise self._damaged("cannot be read", error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """The open file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, name: str, index: int) -> Map:
        """One map (H, W) of a variable, NaN where missing, in the units of the file.

        Raises:
            DataError: its bytes are damaged.
        """
        try:
            values: Map = self._file[name][index]
        except READ_ERRORS as error:
            where = f"sample {index}, t0 {self.times[index]}"
            raise self._damaged("cannot be read", error, name, where) from error
        return values

    def maps(self, index: int) -> dict[str, Map]:
        """All `readable` maps (H, W) of an initial time."""
        return {name: self.read(name, index) for name in self.readable}

    def rain(self, index: int) -> Rain:
        """Rain (6, H, W) of an initial time, mm, in the order of `tables.RAIN`, NaN where missing.

        Raises:
            DataError: its bytes are damaged.
        """
        rain = np.full((len(RAIN), *self.grid.shape), np.nan, np.float32)
        for plane, values in zip(RAIN, rain, strict=True):
            if RAIN_NAMES[plane] in self.readable:
                values[...] = self.read(RAIN_NAMES[plane], index)
        return rain

    def features(self) -> dict[str, NDArray[np.float32]]:
        """The time features that the file has, (n,) each."""
        return {name: self._file[name][:] for name in TIME_FEATURES if name in self.names}

    def deviations(self) -> list[Deviation]:
        """Variables, dimensions, types and units against `VARIABLES`, and the model grid."""
        found = []
        time_units = self.text("time", "units")
        if time_units != TIME_UNITS:
            found.append(Deviation("time", "wrong units", time_units or "none", TIME_UNITS))
        present = set(self.names) - set(DIMENSIONS)
        found += [Deviation(name, "an unknown variable") for name in sorted(present - {*VARIABLES})]
        found += _of_axes(self.grid)
        for name, known in VARIABLES.items():
            if name not in present:
                if name != FOLLOWING:
                    found.append(Deviation(name, "missing"))
                continue
            feature = known.kind == "feature"
            for what, value, expected in (
                ("dimensions", self.dimensions(name), DIMENSIONS[:1] if feature else DIMENSIONS),
                ("type", self._file[name].dtype, np.dtype(np.float32)),
                ("units", self.text(name, "units") or "none", known.units),
            ):
                if value != expected:
                    found.append(Deviation(name, f"wrong {what}", value, expected))
        return found

    def dimensions(self, name: str) -> tuple[str, ...]:
        """Names of a variable's dimensions; empty ones where the file gives them none."""
        array = self._file[name]
        if array.is_scale and array.ndim == 1:
            return (name,)
        return tuple(axis[0].name.lstrip("/") if len(axis) else "" for axis in array.dims)

    def text(self, name: str, attribute: str) -> str:
        """An attribute of a variable, which some programs write as bytes or as an array."""
        value = self._file[name].attrs.get(attribute, "")
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        return (value.decode() if isinstance(value, bytes) else str(value)).strip()

    def _is_variable(self, name: str) -> bool:
        item = self._file[name]
        if not isinstance(item, h5py.Dataset):
            return False
        return not bytes(item.attrs.get("NAME", b"")).startswith(_NO_VARIABLE)

    def _is_readable(self, name: str) -> bool:
        if name not in self.names or self._file[name].dtype != np.float32:
            return False
        return self.dimensions(name) == DIMENSIONS

    def _axis(self, name: str) -> NDArray[Any]:
        if name not in self.names or self._file[name].ndim != 1:
            raise DataError(
                "no such coordinate",
                file=self.path,
                variable=name,
                found=", ".join(self.names),
                expected=f"{name}({name})",
                next_step="convert the month again, with --overwrite",
            )
        return np.asarray(self._file[name][:])

    def _times(self) -> NDArray[np.datetime64]:
        hours = self._axis("time")
        attributes = {
            key: self.text("time", key)
            for key in ("units", "calendar")
            if key in self._file["time"].attrs
        }
        try:
            coded = xr.Dataset({"time": ("time", hours, attributes)})
            times: NDArray[np.datetime64] = (
                xr.decode_cf(coded)["time"].to_numpy().astype("datetime64[m]")
            )
        except READ_ERRORS as error:
            raise self.wrong("time", "times", first_line(error), TIME_UNITS) from error
        if np.isnat(times).any():
            raise self.wrong("time", "times", "a missing value", TIME_UNITS)
        return times

    def wrong(self, name: str, what: str, found: object, expected: object) -> DataError:
        """The error that something is not as in a monthly file."""
        return DataError(
            f"{what} not as in a monthly file of MSM forecasts",
            file=self.path,
            variable=name,
            found=found,
            expected=expected,
        )

    def _damaged(
        self, what: str, error: Exception, name: str | None = None, where: str | None = None
    ) -> DataError:
        return DataError(
            f"{what} ({first_line(error)})",
            file=self.path,
            variable=name,
            found=where,
            expected=None if where else "a monthly NetCDF-4 file",
            next_step="it may be damaged: delete it and make the month again with "
            "`tenkizu rain convert`",
        )


def _of_axes(grid: Grid) -> list[Deviation]:
    """Rows and columns must be consecutive nodes of the model grid, north and west first."""
    whole, found = model_grid(None), []
    for name, values, nodes in (("lat", grid.y, whole.y), ("lon", grid.x, whole.x)):
        start = int(np.abs(nodes - values[:1]).argmin()) if values.size else 0
        expected = nodes[start : start + len(values)]
        if len(expected) != len(values) or not np.allclose(values, expected, rtol=0, atol=1e-4):
            deviation = Deviation(
                name,
                "not consecutive nodes of the model grid",
                f"{len(values)} from {values[0]:g} to {values[-1]:g}" if values.size else "none",
                f"some of {len(nodes)} from {nodes[0]:g} to {nodes[-1]:g}",
            )
            found.append(deviation)
    return found

"""Monthly files of MSM forecasts as they are, and how they differ from what they should be.

`check` and `stats` read them so; `prepare`, which also imports the files of other programs, has a
reader of its own.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5netcdf
import h5py
import hdf5plugin  # noqa: F401  (registers zstd and LZ4 with HDF5)
import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.msm.monthly_writing import DIMENSIONS, EPOCH, TIME_UNITS, model_grid
from tenkizu.rain.msm.variables import FOLLOWING, MAPS, RAIN_NAMES, TIME_FEATURES, VARIABLES
from tenkizu.rain.netcdf import READ_ERRORS, first_line
from tenkizu.rain.tables import RAIN


@dataclass(frozen=True)
class Deviation:
    """A way in which a file differs from what `convert` writes."""

    variable: str | None
    problem: str
    found: object = None
    expected: object = None


class MonthlyFile:
    """An open monthly file; use it in a ``with`` block, in the process that opened it.

    Attributes:
        path: the file.
        deviations: ways in which it is not what `convert` writes; a file that has some may not be
            readable.
        times: t0 (n,), datetime64[m], UTC.
        grid: of all maps.
        readable: its maps that have the dimensions and the type they should have.
        attributes: the global attributes.

    Raises:
        DataError: it is no NetCDF file, or has no usable coordinates; with ``strict``, also any
            deviation.
    """

    def __init__(self, path: str | Path, strict: bool = True) -> None:
        self.path = Path(path)
        self._open = ExitStack()
        try:
            # Values are read by h5py, which is 20 times as quick with a single map; its failure to
            # open a damaged file is also the quieter one.
            values = self._open.enter_context(h5py.File(self.path))
            self._file = self._open.enter_context(h5netcdf.File(self.path))
        except READ_ERRORS as error:
            self.close()
            raise DataError(
                f"cannot be opened ({first_line(error)})",
                file=self.path,
                expected="a monthly file of `tenkizu rain convert`",
                next_step="it may be damaged: delete it and convert the month again",
            ) from error
        try:
            self.times, self.grid = self._coordinates()
            self.attributes: dict[str, Any] = dict(self._file.attrs)
            self.readable = [name for name in MAPS if self._is_readable(name)]
            self._maps = {name: values[name] for name in self.readable}
            self.deviations = list(self._deviations())
            if strict and self.deviations:
                self._refuse(self.deviations[0])
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

    def __len__(self) -> int:
        """Number of initial times."""
        return len(self.times)

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def read(self, name: str, index: int) -> NDArray[np.float32]:
        """One map (H, W) of a variable, NaN where missing, in the units of the file.

        Raises:
            DataError: its bytes are damaged.
        """
        try:
            values: NDArray[np.float32] = self._maps[name][index]
        except READ_ERRORS as error:
            raise DataError(
                f"cannot be read ({first_line(error)})",
                file=self.path,
                variable=name,
                found=f"damage at t0 {self.times[index]}",
                next_step="delete it and convert the month again",
            ) from error
        return values

    def rain(self, index: int) -> NDArray[np.float32]:
        """Rain (6, H, W) of an initial time, mm, in the order of `tables.RAIN`.

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
        present = [name for name in TIME_FEATURES if name in self._file.variables]
        return {name: self._file.variables[name][:] for name in present}

    def _coordinates(self) -> tuple[NDArray[np.datetime64], Grid]:
        variables = self._file.variables
        for name in DIMENSIONS:
            if name not in variables or variables[name].dimensions != (name,):
                self._refuse(Deviation(name, "no such coordinate", ", ".join(variables)))
        units = variables["time"].attrs.get("units")
        if units != TIME_UNITS:
            self._refuse(Deviation("time", "wrong units", units, TIME_UNITS))
        hours = np.asarray(variables["time"][:], np.int64)
        lat, lon = (np.asarray(variables[name][:], np.float64) for name in ("lat", "lon"))
        return EPOCH + 60 * hours, Grid("latlon", lat, lon)

    def _is_readable(self, name: str) -> bool:
        if name not in self._file.variables:
            return False
        variable = self._file.variables[name]
        return bool(variable.dimensions == DIMENSIONS and variable.dtype == np.float32)

    def _deviations(self) -> Iterator[Deviation]:
        """Variables, dimensions, types and units against those of `VARIABLES`."""
        present = set(self._file.variables) - set(DIMENSIONS)
        for name in sorted(present - set(VARIABLES)):
            yield Deviation(name, "an unknown variable")
        yield from _axis_deviations(self.grid)
        for name, known in VARIABLES.items():
            if name not in present:
                if name != FOLLOWING:
                    yield Deviation(name, "missing")
                continue
            variable = self._file.variables[name]
            dimensions = DIMENSIONS[:1] if known.kind == "feature" else DIMENSIONS
            if variable.dimensions != dimensions:
                yield Deviation(name, "wrong dimensions", variable.dimensions, dimensions)
            if variable.dtype != np.float32:
                yield Deviation(name, "wrong type", variable.dtype, "float32")
            units = variable.attrs.get("units")
            if units != known.units:
                yield Deviation(name, "wrong units", units or "none", known.units)

    def _refuse(self, deviation: Deviation) -> None:
        raise DataError(
            deviation.problem,
            file=self.path,
            variable=deviation.variable,
            found=deviation.found,
            expected=deviation.expected,
            next_step="convert the month again, with --overwrite",
        )


def _axis_deviations(grid: Grid) -> Iterator[Deviation]:
    """Rows and columns must be consecutive nodes of the model grid, north and west first."""
    whole = model_grid(None)
    for name, values, nodes in (("lat", grid.y, whole.y), ("lon", grid.x, whole.x)):
        start = int(np.abs(nodes - values[:1]).argmin()) if values.size else 0
        expected = nodes[start : start + len(values)]
        if len(expected) != len(values) or not np.allclose(values, expected, rtol=0, atol=1e-4):
            yield Deviation(
                name,
                "not consecutive nodes of the model grid",
                f"{len(values)} from {values[0]:g} to {values[-1]:g}" if values.size else "none",
                f"some of {len(nodes)} from {nodes[0]:g} to {nodes[-1]:g}",
            )

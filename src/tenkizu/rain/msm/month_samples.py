"""The monthly files that `prepare` needs, and their samples with all values checked."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenkizu.core.errors import DataError
from tenkizu.core.periods import SplitsConfig
from tenkizu.rain.fields import units_of
from tenkizu.rain.group_scaling import Bounds
from tenkizu.rain.msm.importing import SCALED_UNITS, physical, scaling_of
from tenkizu.rain.msm.monthly import Map, MonthFile
from tenkizu.rain.msm.monthly_writing import DIMENSIONS
from tenkizu.rain.msm.variables import FOLLOWING, RAIN_NAMES
from tenkizu.rain.tables import RAIN, Rain

UNFILLED = 1e30
"""No value is as large; what was never written is, in files of other programs."""

SMALLEST_MM = -1e-3
"""Rain down to this is a rounding error and becomes 0."""

_SAME_UNITS = {
    "m s-1": ("m s-1", "m/s", "m s**-1", "m s^-1"),
    "gpm": ("gpm", "m"),
    "%": ("%", "percent"),
    "mm": ("mm", "kg m-2", "kg/m2", "kg m**-2"),
}


def month_paths(folder: Path, splits: SplitsConfig) -> dict[str, Path]:
    """The files of the months that the splits name, by month such as 2018-07.

    Raises:
        DataError: there is none, or one between the first and the last is missing.
    """
    there = {
        f"{path.stem[:4]}-{path.stem[4:]}": path
        for path in sorted(folder.glob("*.nc"))
        if re.fullmatch(r"\d{4}(0[1-9]|1[0-2])", path.stem)
    }
    wanted = sorted(
        {
            str(month)
            for _, start, end in splits.blocks()
            for month in np.arange(
                start.astype("datetime64[M]"),
                (end - np.timedelta64(1, "m")).astype("datetime64[M]") + 1,
            )
        }
    )
    found = [month for month in wanted if month in there]
    if not found:
        raise DataError(
            "no monthly file of the periods in data.splits",
            file=folder,
            variable="data.msm.monthly_dir",
            found=", ".join(path.name for path in there.values()) or "no file such as 201801.nc",
            expected=f"files of months from {wanted[0]} to {wanted[-1]}",
            next_step="make them with `tenkizu rain convert`",
        )
    missing = [m for m in wanted if found[0] < m < found[-1] and m not in there]
    if missing:
        raise DataError(
            "months are missing",
            file=folder,
            found=f"{len(found)} months from {found[0]} to {found[-1]}",
            expected=", ".join(f"{m.replace('-', '')}.nc" for m in missing),
            next_step="convert them, or leave these months out of data.splits",
        )
    return {month: there[month] for month in found}


@dataclass(frozen=True)
class _Variable:
    """Units, and how the stored values become physical ones: value * factor + base."""

    units: str
    factor: float = 1.0
    base: float = 0.0


class MonthSamples(MonthFile):
    """A monthly file, of this or another program, whose samples are fit for a store.

    `read` and `rain` give values that are finite and in mm or the field's own units.

    Args:
        path: such as 201807.nc.
        fields: channel names of the fields that are wanted.
        bounds: minima and maxima by group, with which a file scaled to 0-1 is brought back.

    Attributes:
        has_following: whether it has N.
        scaled: whether variables are scaled to 0-1.

    Raises:
        DataError: a variable is missing, has no or other units, another shape, or times or
            coordinates are not what they must be.
    """

    def __init__(self, path: Path, fields: list[str], bounds: Bounds | None = None) -> None:
        super().__init__(path)
        try:
            self.has_following = FOLLOWING in self.names
            planes = RAIN if self.has_following else RAIN[:-1]
            # Read even without named dimensions, which files of other programs may lack.
            self.readable = [RAIN_NAMES[plane] for plane in planes]
            names = [*self.readable, *fields]
            self.scaled = self._is_scaled(names)
            self.variables = {name: self._variable(name, bounds) for name in names}
            self._check_coordinates()
        except BaseException:
            self.close()
            raise

    def units(self, name: str) -> str:
        """Units of what `read` gives."""
        return self.variables[name].units

    def read(self, name: str, index: int) -> Map:
        """One map (H, W); N may be missing as a whole.

        Raises:
            DataError: a value is missing or infinite, or the bytes are damaged.
        """
        values = super().read(name, index)
        known = np.isfinite(values) & (np.abs(values) < UNFILLED)
        if name == FOLLOWING and not known.any():
            return np.full_like(values, np.nan)
        if not known.all():
            row, column = np.argwhere(~known)[0]
            raise self._bad(
                name,
                index,
                f"{int((~known).sum())} values are missing or not finite",
                f"{values[row, column]} in row {row}, column {column}",
            )
        variable = self.variables[name]
        if (variable.factor, variable.base) != (1.0, 0.0):
            values = physical(values, variable.factor, variable.base, self.path, name)
        return values

    def rain(self, index: int) -> Rain:
        """The planes of `RAIN` of one sample, (6, H, W), mm; N may be missing as a whole.

        Raises:
            DataError: a value is missing, infinite or negative, or the hours do not add to S.
        """
        planes = super().rain(index)
        low = planes < 0  # NaN, of which only N may consist, compares as false
        if low.any():
            if (planes < SMALLEST_MM).any():
                where = np.unravel_index(np.nanargmin(planes), planes.shape)
                name = RAIN_NAMES[RAIN[int(where[0])]]
                raise self._bad(name, index, "negative rain", f"{planes[where]:g} mm")
            planes[low] = 0.0
        total = planes[RAIN.index("S")].astype(np.float64)
        off = np.abs(planes[1:4].sum(axis=0, dtype=np.float64) - total)
        if (off > 1e-4 + 1e-6 * total).any():
            found = f"off by {off.max():g} mm"
            raise self._bad(RAIN_NAMES["S"], index, "the hours do not add to the total", found)
        return planes

    def _bad(self, name: str, index: int, problem: str, found: str) -> DataError:
        return DataError(
            problem,
            file=self.path,
            variable=name,
            found=f"{found}, at t0 {self.times[index]}",
            next_step="look at the input of this time, and convert the month again",
        )

    def _units_of(self, name: str) -> str:
        if name not in self.names:
            raise DataError(
                "no such variable",
                file=self.path,
                variable=name,
                found=", ".join(self.names),
                next_step="convert this month again, or leave the field out of data.fields",
            )
        return self.text(name, "units")

    def _is_scaled(self, names: list[str]) -> bool:
        """Whether variables have the units of scaled values, or none; all of them or not one."""
        without = [name for name in names if self._units_of(name) in ("", *SCALED_UNITS)]
        if without and len(without) < len(names):
            raise DataError(
                "some variables have units, others have none or those of values from 0 to 1",
                file=self.path,
                variable=", ".join(without),
                found=f"units {self._units_of(without[0])!r}",
                expected="units of all, or a file that is scaled to 0-1 as a whole",
                next_step="convert this month again with `tenkizu rain convert`",
            )
        return bool(without)

    def _variable(self, name: str, bounds: Bounds | None) -> _Variable:
        """Check one variable's shape, kind of numbers and units."""
        array, shape = self._file[name], (len(self.times), *self.grid.shape)
        if array.shape != shape:
            raise self.wrong(name, "dimensions", array.shape, f"{shape}, {', '.join(DIMENSIONS)}")
        order = self.dimensions(name)
        if order != DIMENSIONS and sorted(order) == sorted(DIMENSIONS):
            raise self.wrong(name, "dimensions", ", ".join(order), ", ".join(DIMENSIONS))
        if array.dtype != np.float32 or {"scale_factor", "add_offset"} & set(array.attrs):
            raise self.wrong(name, "numbers", f"packed {array.dtype}", "float32 as it is")
        text = self._units_of(name)
        expected = "mm" if name in RAIN_NAMES.values() else units_of(name)
        if self.scaled:
            low, high = scaling_of(name, bounds, self.path, text)
            return _Variable(expected or "1", high - low, low)
        if expected is None:  # a field of the user's own
            return _Variable(text)
        if text == expected or text in _SAME_UNITS.get(expected, ()):
            return _Variable(expected)
        raise self.wrong(name, "units", text, expected)

    def _check_coordinates(self) -> None:
        """t0 must be whole multiples of three hours of the file's month, increasing."""
        times, (y, x) = self.times, (self.grid.y, self.grid.x)
        month = np.datetime64(f"{self.path.stem[:4]}-{self.path.stem[4:]}")
        stray = times[(times.astype("datetime64[M]") != month) | (times.astype(int) % 180 != 0)]
        if stray.size:
            raise self.wrong("time", "times", stray[0], f"00, 03, ... UTC in {month}")
        if not (np.diff(times) > np.timedelta64(0, "m")).all():
            found = "a time that is not after the one before"
            raise self.wrong("time", "times", found, "in order")
        if not ((np.diff(y) < 0).all() and (np.diff(x) > 0).all()):
            raise self.wrong(
                "lat, lon",
                "coordinates",
                f"lat {y[0]:g} to {y[-1]:g}, lon {x[0]:g} to {x[-1]:g}",
                "the northern row and the western column first",
            )

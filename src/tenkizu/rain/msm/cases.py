"""GRIB2 files as windows to be split: rain of any product, or rain and fields of the MSM."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.rain.cases import GRIB_SUFFIXES, MSM_TRUTH, Cases
from tenkizu.rain.context import Planes
from tenkizu.rain.fields import MSM24, field_pairs, is_field
from tenkizu.rain.hourly import SourceOptions
from tenkizu.rain.left_out import left_out_error, log_left_out
from tenkizu.rain.msm.files import find_initial_times
from tenkizu.rain.msm.grib import fields_of
from tenkizu.rain.msm.grids import SURFACE_GRID
from tenkizu.rain.msm.rain_totals import GribTotals, core_grid
from tenkizu.rain.msm.sample import read_initial_time
from tenkizu.rain.tables import Rain

if TYPE_CHECKING:
    from tenkizu.rain.model import RainModel

_THREE_HOURS = np.timedelta64(180, "m")


def grib_cases(
    model: "RainModel",
    paths: Sequence[Path],
    options: SourceOptions | None = None,
    window_start: int = 0,
) -> Cases:
    """Windows of GRIB2 files, or of all in a folder.

    A model that needs nothing but rain gets every window that the rain of the files fills, of
    every member; of several files, those that cannot be read are left out. One that needs forecast
    fields gets the window of each MSM initial time, in whichever layout; of files that are named,
    their folders are searched for the other parts.

    Raises:
        DataError: the files cannot be used, or are not enough for the model.
        ConfigError: options that only NetCDF files need.
    """
    if options is not None and options != SourceOptions():
        raise ConfigError(
            "GRIB2 says which variable is rain, its units and its times",
            variable="--var, --units, --time-stamp, --totals",
            next_step="leave them out",
        )
    needed = [name for name in model.net.channels if is_field(name)]
    if needed:
        return _of_msm(paths, needed)
    files = [file for path in paths for file in _files(path)]
    if not files:
        raise DataError(
            "no GRIB2 file in the folder",
            file=paths[0],
            expected=", ".join(f"*{suffix}" for suffix in GRIB_SUFFIXES),
            next_step="check the path",
        )
    return _of_rain(files, window_start)


def _files(path: Path) -> list[Path]:
    """The file itself, or those in a folder, without index files."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("*") if p.suffix in GRIB_SUFFIXES and p.is_file())


def _of_rain(files: Sequence[Path], window_start: int) -> Cases:
    """All that the rain of the files fills; of several, those that cannot be read are left out."""
    damaged: dict[Path, DataError] = {}
    several = len(files) > 1
    totals = _totals(files, window_start, damaged) if several else GribTotals(files, window_start)
    missing = np.full(totals.grid.shape, np.nan, np.float32)

    def total(start: np.datetime64, member: int) -> Rain:
        known = totals.total(start, member)
        return missing if known is None else known

    def beside(start: np.datetime64, member: int) -> Rain:
        """P or N: missing where the window that it is the total of is left out."""
        try:
            return total(start, member)
        except DataError as error:
            if not several:
                raise
            if start not in totals.starts:
                # Not a window of all members, so that nothing else would say it.
                log_left_out(f"{start} UTC", error)
        return missing

    def read(index: int, member: int) -> tuple[Rain, Planes]:
        start = totals.starts[index]
        if several:
            # A window is left out with all its members, before the first of them is written.
            for each in range(len(totals.members)):
                total(start, each)
        own = total(start, member)
        before, after = (beside(start + k * _THREE_HOURS, member) for k in (-1, 1))
        return np.stack([before, missing, missing, missing, own, after]), {}

    return Cases(
        _few([file.name for file in totals.files], 1),
        "rain",
        totals.grid,
        totals.starts,
        read,
        False,
        members=totals.members,
        references=totals.references,
        separate=several,
        files=len(files),
        damaged=damaged,
    )


def _totals(files: Sequence[Path], window_start: int, damaged: dict[Path, DataError]) -> GribTotals:
    """The totals of the files that can be read; the others are put among the damaged ones."""
    try:
        return GribTotals(files, window_start, damaged)
    except DataError as error:
        if not damaged:
            raise
        reasons = [(path.name, one) for path, one in damaged.items()]
        if len(damaged) < len(files):
            reasons.append(("the others", error))
        raise left_out_error(
            _few([file.name for file in files], 1),
            [(len(damaged), len(files), "files")],
            reasons,
            "nothing was written",
        ) from None


def _of_msm(paths: Sequence[Path], needed: Sequence[str]) -> Cases:
    """The window of each MSM initial time, with its fields."""
    roots = sorted({path if path.is_dir() else path.parent for path in paths})
    times = [one for root in roots for one in find_initial_times(root)]
    if named := {path.resolve() for path in paths if not path.is_dir()}:
        times = [t for t in times if named & {file.resolve() for file in t.files.values()}]
    whole = [one for one in times if not one.missing]
    if not whole:
        first = next(iter(fields_of(paths[0])), None) if not paths[0].is_dir() else None
        raise DataError(
            "no complete MSM initial time for a model that also needs forecast fields",
            file=paths[0],
            found=f"{times[0].t0} UTC, without {', '.join(times[0].missing)}"
            if times
            else str(first or "no MSM file"),
            expected=f"Lsurf and L-pall files of one initial time, with {_few(needed)}",
            next_step="add the files, or use a model that needs nothing but rain, such as "
            "rain-only",
        )
    unknown = [name for name in needed if name not in field_pairs(MSM24)]
    if unknown:
        raise DataError(
            "the model needs fields that are not read from MSM files",
            file=paths[0],
            found=", ".join(MSM24),
            expected=", ".join(unknown),
            next_step="use another model",
        )
    surface = core_grid(SURFACE_GRID)

    def read(index: int, _: int) -> tuple[Rain, Planes]:
        sample = read_initial_time(whole[index])
        return sample.rain, dict(zip(field_pairs(MSM24), sample.fields, strict=True))

    skipped = len(times) - len(whole)
    return Cases(
        f"MSM of {whole[0].t0} UTC" if len(whole) == 1 else f"MSM, {len(whole)} initial times",
        "rain",
        Grid("latlon", surface.y[13:493], surface.x[:480], "lat", "lon"),
        [one.t0 + _THREE_HOURS for one in whole],
        read,
        True,
        truth=MSM_TRUTH,
        references=[one.t0 for one in whole],
        notes=[f"left out, since files are missing: {skipped} of {len(times)} initial times"]
        if skipped
        else [],
        separate=True,
        unit="initial times",
    )


def _few(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")

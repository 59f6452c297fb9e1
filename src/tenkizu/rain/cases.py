"""Windows to be split, whatever they come from: NetCDF of rain, a store, or GRIB2 files."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.core.store import SampleStore
from tenkizu.rain.context import Planes
from tenkizu.rain.georeference import Georeference
from tenkizu.rain.hourly import SourceOptions, open_rain, read_window, window_starts
from tenkizu.rain.left_out import left_out_error, log_left_out
from tenkizu.rain.preparation import to_rain
from tenkizu.rain.prepared import BEFORE_WINDOW
from tenkizu.rain.regridding import Regrid, Remap, choose_grid
from tenkizu.rain.tables import Rain

if TYPE_CHECKING:
    from tenkizu.rain.model import RainModel

T = TypeVar("T")

OBSERVED, MSM_TRUTH = "observed", "MSM's own"
"""What true hours are called: those of an instrument, and those of the forecast that is split."""

GRIB_SUFFIXES = (".bin", ".grib", ".grib2", ".grb", ".grb2")


def as_is(values: NDArray[Any]) -> NDArray[Any]:
    """The same field: the source has its north row and west column first."""
    return values


@dataclass(frozen=True, eq=False)
class Cases:
    """Windows of one source in the order of time, read one by one.

    Attributes:
        name: of the source, for titles.
        variable: what the rain is called there.
        grid: of the rain, north row first.
        starts: of the windows, UTC.
        read: rain (6, H, W) and forecast fields by channel name of a window, given its index and
            that of its member (0 where there are none).
        hours: whether the true hours are known.
        truth: what the true hours are called in figures.
        members: numbers of the ensemble members; empty where there is no ensemble.
        references: initial time of each window's forecast; by default three hours before it.
        notes: what was assumed or noticed.
        orient: turns a field (..., H, W) to the order of the source.
        separate: whether the windows come from several files, so that damage to some leaves the
            others as they are.
        unit: what the windows are called when they are counted: ``windows``, or ``initial times``
            where each has files of its own.
        files: how many files were looked at, where ``damaged`` tells of files.
        damaged: files that cannot be read, and why; the windows are what the others hold.
        left_out: windows that could not be split, by index, and why, as `attempt` finds them.
        remap: how the rain came to this grid, if it was regridded.
        georeference: what locates the cells of the source, for the output.
    """

    name: str
    variable: str
    grid: Grid
    starts: list[np.datetime64]
    read: Callable[[int, int], tuple[Rain, Planes]]
    hours: bool
    truth: str = OBSERVED
    members: tuple[int, ...] = ()
    references: Sequence[np.datetime64] = ()
    notes: list[str] = field(default_factory=list)
    orient: Callable[[NDArray[Any]], NDArray[Any]] = as_is
    separate: bool = False
    unit: str = "windows"
    files: int = 0
    damaged: dict[Path, DataError] = field(default_factory=dict)
    left_out: dict[int, DataError] = field(default_factory=dict)
    remap: Remap | None = None
    georeference: Georeference = field(default_factory=Georeference)

    def reference(self, index: int) -> np.datetime64:
        """Initial time t0 of a window."""
        if len(self.references):
            return self.references[index]
        start: np.datetime64 = self.starts[index].astype("datetime64[m]")
        return start - BEFORE_WINDOW

    def attempt(self, index: int, work: Callable[[], T]) -> T | None:
        """Do what needs a window; None for one that is left out since it cannot be read.

        That is logged when it is found, and `require_some` and `require_all` say it at the end.

        Args:
            index: of the window; one that was left out before is not tried again.
            work: reads the window and does something with it.

        Returns:
            What ``work`` returns.

        Raises:
            DataError: of ``work``, when the windows are not separate or there is only this one.
        """
        if index in self.left_out:
            return None
        try:
            return work()
        except DataError as error:
            if not self.separate or (len(self) == 1 and not self.damaged):
                raise
            self.left_out[index] = error
            log_left_out(self._label(index), error)
        return None

    def require_some(self) -> None:
        """Raise a DataError that lists all windows, when `attempt` left out every one."""
        if len(self.left_out) == len(self):
            raise self._incomplete("nothing was written")

    def require_all(self, output: Path) -> None:
        """Raise a DataError that lists what was left out of an output, if anything was."""
        if self.damaged or self.left_out:
            raise self._incomplete(f"{output} holds the others")

    def _label(self, index: int) -> str:
        if self.unit == "windows":
            return f"{self.starts[index].astype('datetime64[m]')} UTC"
        return f"{self.reference(index).astype('datetime64[h]')} UTC"

    def _incomplete(self, outcome: str) -> DataError:
        counts = [
            (len(self.damaged), self.files, "files"),
            (len(self.left_out), len(self), self.unit),
        ]
        reasons = [(path.name, error) for path, error in self.damaged.items()]
        reasons += [(self._label(index), error) for index, error in self.left_out.items()]
        return left_out_error(self.name, counts, reasons, outcome)

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.starts)


@contextmanager
def open_cases(
    model: "RainModel",
    data: str | Path | Sequence[str | Path],
    options: SourceOptions | None = None,
    window_start: int = 0,
) -> Generator[Cases]:
    """Open what a user names as input of a model; closed with the context.

    Args:
        model: whose channels decide what is read.
        data: a NetCDF file of rain, GRIB2 files, or a folder of GRIB2 files.
        options: what a NetCDF file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.

    Raises:
        DataError: the input cannot be used, or is not enough for the model.
        ConfigError: several NetCDF files, or NetCDF among GRIB2 files.
    """
    paths = [Path(one) for one in ([data] if isinstance(data, str | Path) else data)]
    if all(map(_is_grib, paths)):
        from tenkizu.rain.msm.cases import grib_cases

        yield grib_cases(model, paths, options, window_start)
        return
    if len(paths) > 1:
        raise ConfigError(
            "several files make one input only if all are GRIB2",
            found=", ".join(path.name for path in paths),
            expected="one NetCDF file, or GRIB2 files, or a folder of them",
            next_step="split the files one by one",
        )
    with ExitStack() as stack:
        yield _of_series(model, paths[0], options, window_start, stack)


def _is_grib(path: Path) -> bool:
    """Whether a path is a folder or looks like GRIB, by its first bytes or else its name."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as handle:
            start = handle.read(4)
    except OSError:
        return False
    return start == b"GRIB" or (path.suffix in GRIB_SUFFIXES and start[1:4] != b"HDF")


def _of_series(
    model: "RainModel",
    path: Path,
    options: SourceOptions | None,
    window_start: int,
    stack: ExitStack,
) -> Cases:
    """All windows of a NetCDF file."""
    model.require_rain_alone(path)
    series = stack.enter_context(open_rain(path, options, ensemble=True))
    starts = window_starts(series, window_start)
    return Cases(
        series.path.name,
        series.variable,
        series.grid,
        starts,
        lambda i, member: (to_rain(read_window(series, starts[i], member)), {}),
        series.pieces_per_window == 3,
        members=series.members,
        notes=series.notes,
        orient=series.orient,
        georeference=series.georeference,
    )


def on_chosen_grid(model: "RainModel", cases: Cases, regrid: Regrid | None) -> Cases:
    """The same windows on the grid that they are to be split on, with notes on it.

    Raises:
        DataError, ConfigError: as `choose_grid`.
    """
    remap, notes = choose_grid(model, cases.grid, regrid, cases.name)
    notes = [*cases.notes, *notes]
    if remap is None:
        return replace(cases, notes=notes)

    def read(index: int, member: int) -> tuple[Rain, Planes]:
        rain, fields = cases.read(index, member)
        return remap.window(rain), fields

    return replace(cases, grid=remap.target, read=read, notes=notes, remap=remap)


def cases_of_store(model: "RainModel", split: str) -> Cases:
    """One split of the store that a model was trained from; of several sources the first.

    Raises:
        DataError: it is not there, or has no such windows.
    """
    from tenkizu.rain.dataset import RainDataset

    data = model.metadata["config"]["data"]
    path = Path(data["store"]) / (data["name"] if data.get("more") else "")
    if not path.is_dir():
        raise DataError(
            "the store that this model was trained from is not here",
            file=path,
            next_step="name a file: tenkizu rain video MODEL DATA -o film.mp4",
        )
    store = SampleStore(path)
    dataset = RainDataset(store, split, ())
    if not dataset.indices:
        raise DataError(
            f"no {split} windows",
            file=store.path,
            found=", ".join(sorted(set(filter(None, store.meta["splits"])))),
            next_step="choose another --split, or name a file",
        )
    order = [int(i) for i in np.argsort(dataset.starts, kind="stable")]
    return Cases(
        f"{store.path.name}, {split}",
        "rain",
        Grid.from_json(store.meta["grid"]),
        list(dataset.starts[order]),
        lambda i, _: (dataset.window(order[i])[1], dataset.forecast(order[i])),
        True,
        truth=MSM_TRUTH if data.get("source") == "msm" else OBSERVED,
    )

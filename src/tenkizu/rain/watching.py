"""`watch`: every file that arrives in a folder becomes hourly rain, once."""

import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tenkizu.core.errors import ConfigError, TenkizuError
from tenkizu.core.store import output_folder, read_json, write_json
from tenkizu.rain.cases import GRIB_SUFFIXES
from tenkizu.rain.fields import is_field
from tenkizu.rain.hourly import SourceOptions
from tenkizu.rain.msm.files import find_initial_times
from tenkizu.rain.msm.rain_totals import NoRainError
from tenkizu.rain.prediction import predict
from tenkizu.rain.regridding import Regrid

log = logging.getLogger(__name__)

STATE = "watched.json"
"""What became of each input: its files' sizes and times, what it was tried with, and done, skipped,
failed or begun."""

ATTEMPTS = 3
"""Times that an input is begun when the process dies of it."""

NETCDF_SUFFIXES = (".nc", ".nc4")


@dataclass(frozen=True)
class _Unit:
    """What is split at a time: one file, or the files of one initial time."""

    name: str
    files: tuple[Path, ...]

    def stamp(self) -> list[list[int]]:
        """Sizes and times of change, by which another version is told."""
        return [[s.st_size, s.st_mtime_ns] for s in (file.stat() for file in self.files)]


def watch(
    model: str | Path,
    folder: str | Path,
    output: str | Path,
    options: SourceOptions | None = None,
    window_start: int = 0,
    suffix: str = ".nc",
    interval: float = 30.0,
    once: bool = False,
    regrid: Regrid | None = None,
) -> dict[str, str]:
    """Split every file in a folder, then those that arrive, until interrupted.

    What was done is kept in ``watched.json`` in the output folder, so that a restart goes on where
    it stopped: an input is taken again only when it changed. A file is taken when it has not
    changed between two looks. A file that cannot be used is logged and left until it changes; one
    that the process dies of is begun at most three times. Started with other options or another
    model, these are tried again; what is done stays as it is, made by whatever made it. A model
    that needs forecast fields gets one MSM initial time after another, when all its files are
    there.

    Args:
        model: a run folder, an exported model folder or a shipped model's name.
        folder: where files arrive; folders in it are searched too.
        output: folder for one prediction an input, under the input's name.
        options: what NetCDF files do not say about themselves.
        window_start: hour (UTC, modulo 3) at which windows begin.
        suffix: ``.nc`` or ``.grib2``, the format of the predictions.
        interval: seconds between looks.
        once: take what is there and stop; files are then trusted to be whole.
        regrid: as of `predict`.

    Returns:
        The outcome of each input: ``done``, ``skipped: `` for GRIB2 without rain, or ``failed: ``
        and why.

    Raises:
        ConfigError: there is no such folder, it is the output, or another `watch` writes there.
    """
    from tenkizu.rain.model import RainModel

    folder, output = Path(folder), Path(output)
    if not folder.is_dir():
        raise ConfigError("no such folder", file=folder, next_step="make it, or name another")
    if output.resolve() == folder.resolve() or folder.resolve() in output.resolve().parents:
        raise ConfigError(
            "predictions would arrive in the folder that is watched",
            variable="output",
            found=output,
            expected=f"a folder that is not in {folder}",
        )
    # Fails now rather than at the first file.
    loaded = RainModel.load(model)
    fields = any(is_field(name) for name in loaded.net.channels)
    tried_with = {
        "model": loaded.weights_hash,
        **asdict(options or SourceOptions()),
        "window_start": window_start,
        "suffix": suffix,
        "regrid": regrid,
    }
    split = partial(predict, model, options=options, window_start=window_start, regrid=regrid)
    output_folder(output)
    with _alone(output):
        state = read_json(output / STATE, "the record of a watch") if _exists(output) else {}
        before: dict[str, Any] = {}
        while True:
            looked = {unit.name: (unit, unit.stamp()) for unit in _units(folder, fields)}
            for name, (unit, stamp) in looked.items():
                if not (once or before.get(name) == stamp):
                    continue
                attempt = {"stamp": stamp, "tried_with": tried_with}
                if not _settled(state.get(name), attempt):
                    _split(state, unit, attempt, output / f"{name}{suffix}", split)
            if once:
                return {name: entry["outcome"] for name, entry in state.items()}
            before = {name: stamp for name, (_, stamp) in looked.items()}
            time.sleep(interval)


def _split(
    state: dict[str, Any],
    unit: _Unit,
    attempt: dict[str, Any],
    target: Path,
    split: Callable[[tuple[Path, ...], Path], Path],
) -> None:
    """Split one input and record what became of it."""
    record = target.parent / STATE
    known = state.get(unit.name, {})
    again = all(known.get(key) == value for key, value in attempt.items())
    attempts = known["attempts"] + 1 if again else 1
    entry: dict[str, Any] = {**attempt, "attempts": attempts, "outcome": "begun"}
    state[unit.name] = entry
    if attempts > ATTEMPTS:
        entry["outcome"] = f"failed: the process died of it {ATTEMPTS} times"
        log.error("%s: %s", unit.name, entry["outcome"])
    else:
        write_json(record, state)
        try:
            split(unit.files, target)
            entry["outcome"] = "done"
            log.info("%s: written %s", unit.name, target)
        except NoRainError as error:
            entry["outcome"] = f"skipped: {error}"
            log.info("%s: skipped, there is no rain in it", unit.name)
        except TenkizuError as error:
            entry["outcome"] = f"failed: {error}"
            log.error("%s", error)
    write_json(record, state)


def _settled(entry: dict[str, Any] | None, attempt: dict[str, Any]) -> bool:
    """Whether this version of an input is done, or given up with these options and this model."""
    if entry is None or entry["stamp"] != attempt["stamp"] or entry["outcome"] == "begun":
        return False
    failed = entry["outcome"].startswith("failed")
    # A record of an earlier version of this program does not say what was tried.
    return not failed or entry.get("tried_with") == attempt["tried_with"]


def _units(folder: Path, fields: bool) -> list[_Unit]:
    """The inputs in a folder, in the order of their names."""
    if fields:
        return [
            _Unit(str(one.t0.astype("datetime64[h]")).replace("-", ""), tuple(one.files.values()))
            for one in find_initial_times(folder)
            if not one.missing
        ]
    suffixes = GRIB_SUFFIXES + NETCDF_SUFFIXES
    return [
        # The folder is part of the name: files of one name may lie in several.
        _Unit("_".join((*path.relative_to(folder).parent.parts, path.stem)), (path,))
        for path in sorted(folder.rglob("*"))
        # Hidden files and those of programs that write beside are not whole yet.
        if path.suffix in suffixes and not path.name.startswith(".") and path.is_file()
    ]


def _exists(output: Path) -> bool:
    return (output / STATE).exists()


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the output folder against another `watch`."""
    with (output / ".watch.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "another watch writes to this folder",
                file=output,
                next_step="stop it, or name another output folder",
            ) from None
        yield

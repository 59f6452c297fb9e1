"""Files that are never half-written, and the sample store that training reads.

A sample store is a directory of ``.npy`` files, samples contiguous along the first axis, and one
``store.json`` that describes them. It is built under the name ``NAME.part`` and renamed when the
last byte is on disk, so a directory with the final name is always complete. A store that is
replaced is moved aside under a hidden name first and deleted last.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError, DataError

STORE_FORMAT = "tenkizu-store"
STORE_VERSION = 1
MAKE_AGAIN = "run `prepare` again with --overwrite"


_UMASK = os.umask(0o022)
os.umask(_UMASK)


def fsync(path: Path) -> None:
    """Force a file's bytes to disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; it takes the final name only on success.

    The temporary name keeps the suffix, since some libraries choose the format by it.

    Raises:
        ConfigError: there is a folder of that name, or its folder cannot be made.
    """
    path = output_file(path)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        # Some libraries write for the owner only; a shared folder shall be readable.
        part.chmod(0o666 & ~_UMASK)
        fsync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def output_file(path: str | Path) -> Path:
    """Make the folder of a file to write, unless it is there; ask before long work.

    Raises:
        ConfigError: there is a folder of that name, or its folder cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(
            "the output is a folder",
            file=path,
            found="a folder of that name",
            expected="the name of a file",
            next_step=f"name a file, such as {path / ('output' + (path.suffix or '.nc'))}",
        )
    output_folder(path.parent)
    return path


def output_folder(path: str | Path) -> Path:
    """Make a folder to write to, unless it is there.

    Raises:
        ConfigError: it cannot be made, is a file, or nothing may be written to it.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Permissions do not tell everything: some file systems take no files at all.
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise ConfigError(
            "output cannot be written here",
            file=path,
            found=error.strerror,
            expected="a folder that files can be written to, or a name that is free",
            next_step="name a folder that you may write to",
        ) from None
    return path


def plain(value: Any) -> Any:  # noqa: ANN401 - any JSON-like value
    """Turn numpy values into JSON's types; NaN and infinities become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:  # noqa: ANN401
    """Write JSON atomically: UTF-8, indented by 2, undefined numbers as null."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        what: what it should be, for the error message.

    Raises:
        DataError: the file is absent, damaged or not an object.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("no such file", file=path, expected=what) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path, expected=what) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"damaged: {error}",
            file=path,
            expected=what,
            next_step="delete it and make it again, or restore it from a copy",
        ) from None
    if not isinstance(value, dict):
        raise DataError("not a JSON object", file=path, expected=what)
    return value


class SampleStore:
    """A finished store, opened for reading; memory maps are opened lazily in each process.

    Attributes:
        path: the directory.
        meta: the content of ``store.json``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            unfinished = self.path.with_name(self.path.name + ".part").is_dir()
            raise DataError(
                "the store is unfinished" if unfinished else "no such store",
                file=self.path,
                next_step="run `prepare` with this configuration; it goes on where it stopped",
            )
        self.meta = read_json(self.path / "store.json", "a tenkizu sample store")
        found = (self.meta.get("format"), self.meta.get("version"))
        if found != (STORE_FORMAT, STORE_VERSION):
            raise DataError(
                "not a store this version can read",
                file=self.path / "store.json",
                found=found,
                expected=(STORE_FORMAT, STORE_VERSION),
                next_step=MAKE_AGAIN,
            )
        self._maps: dict[Path, NDArray[np.float32]] = {}
        self._pid = os.getpid()

    def __len__(self) -> int:
        """Number of samples."""
        return int(self.meta["n_samples"])

    def __getstate__(self) -> dict[str, Any]:
        """Leave open maps behind: each worker process opens its own."""
        return {**self.__dict__, "_maps": {}}

    def read(self, name: str, index: int) -> NDArray[np.float32]:
        """One sample of one array, as a view of the mapped file.

        Raises:
            DataError: a file of the store is missing, damaged or not of this store.
        """
        for block in self.meta["arrays"][name]["blocks"]:
            offset = index - block["first"]
            if 0 <= offset < block["count"]:
                path = self.path / block["file"]
                view: NDArray[np.float32] = self._open(path, block["count"])[offset]
                return view
        raise IndexError(f"sample {index} of {len(self)}")

    def _open(self, path: Path, count: int) -> NDArray[np.float32]:
        if self._pid != os.getpid():
            self._maps, self._pid = {}, os.getpid()
        if path not in self._maps:
            try:
                mapped = np.lib.format.open_memmap(path, "r")
            except Exception as error:  # numpy meets a damaged header with many kinds of error
                raise DataError(
                    f"cannot be read: {error}", file=path, next_step=MAKE_AGAIN
                ) from None
            if mapped.dtype != np.float32 or mapped.shape[:1] != (count,):
                raise DataError(
                    "not the block that store.json describes",
                    file=path,
                    found=f"{mapped.dtype} {mapped.shape}",
                    expected=f"float32, {count} samples",
                    next_step=MAKE_AGAIN,
                )
            # As a plain array: slices of the mapped class take several times as long to make.
            self._maps[path] = np.asarray(mapped)
        return self._maps[path]


class StoreWriter:
    """Builds a sample store block by block, each block resumable.

    Args:
        path: final directory.
        plan_hash: identifies configuration and inputs. Blocks left by an interrupted run with the
            same hash are kept; those of another plan are discarded.

    Raises:
        DataError: another process is building this store.
    """

    def __init__(self, path: str | Path, plan_hash: str) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self._lock = lock_beside(self.path)
        plan = self.part / "plan.json"
        if self.part.exists() and not (
            plan.exists() and read_json(plan, "a plan").get("hash") == plan_hash
        ):
            shutil.rmtree(self.part)
        self.part.mkdir(parents=True, exist_ok=True)
        for torn in self.part.glob(".*.part.*"):  # of a run that was killed inside `atomic`
            torn.unlink()
        write_json(plan, {"hash": plan_hash})

    def block(
        self,
        name: str,
        shape: tuple[int, ...],
        fill: Callable[[NDArray[np.float32]], dict[str, Any]],
    ) -> dict[str, Any]:
        """Write one block, unless it is already there.

        Args:
            name: file name without suffix.
            shape: of the block, samples first.
            fill: fills the mapped array and returns a JSON-ready summary of what it wrote.

        Returns:
            The summary, from this run or from the one that wrote the block.
        """
        data, summary = self.part / f"{name}.npy", self.part / f"{name}.json"
        if data.exists() and summary.exists():
            return read_json(summary, "the summary of a block")
        with atomic(data) as part:
            mapped = np.lib.format.open_memmap(part, "w+", np.float32, shape)
            result = plain(fill(mapped))
            mapped.flush()
            del mapped
        write_json(summary, result)
        return dict(result)

    def finish(self, meta: dict[str, Any]) -> SampleStore:
        """Write ``store.json`` and give the store its final name, replacing an older store."""
        write_json(
            self.part / "store.json", {"format": STORE_FORMAT, "version": STORE_VERSION, **meta}
        )
        # Deleting takes time: were it done first, an interruption would leave half a store under
        # the final name. Between the two renames there is none, and `prepare` only has to finish.
        aside = self.path.with_name(f".{self.path.name}.replaced")
        if self.path.exists():
            shutil.rmtree(aside, ignore_errors=True)
            self.path.rename(aside)
        self.part.rename(self.path)
        shutil.rmtree(aside, ignore_errors=True)
        Path(self._lock.name).unlink(missing_ok=True)
        self._lock.close()
        return SampleStore(self.path)


def lock_beside(path: Path) -> TextIO:
    """Claim a store for this process; closing the handle or dying, however, gives it back."""
    output_folder(path.parent)
    handle = path.with_name(f".{path.name}.lock").open("w")
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Anything else means that the file system has no locks; go on without.
        if error.errno in (errno.EACCES, errno.EAGAIN):
            handle.close()
            raise DataError(
                "another process is making this store",
                file=path,
                next_step="wait until it has finished, then run this again",
            ) from None
    return handle


def open_finished(path: str | Path, plan_hash: str, overwrite: bool) -> SampleStore | None:
    """The finished store at ``path`` if it was made from the same plan.

    Returns:
        The store, or None when there is none or it is to be overwritten.

    Raises:
        DataError: a store of another plan stands there and ``overwrite`` is false.
    """
    if not Path(path).exists() or overwrite:
        return None
    store = SampleStore(path)
    if store.meta.get("plan_hash") != plan_hash:
        raise DataError(
            "a store made from other settings or files stands here",
            file=store.path,
            found=store.meta.get("plan_hash"),
            expected=plan_hash,
            next_step="choose another data.store, or replace it: run `prepare` with --overwrite",
        )
    return store

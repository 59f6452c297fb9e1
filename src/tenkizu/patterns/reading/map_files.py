"""Files of all kinds behind one interface: described at once, their maps read on demand."""

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import hdf5plugin  # noqa: F401  (registers zstd, LZ4 and other filters with HDF5)
import numpy as np
from numpy.typing import NDArray
from scipy.io import netcdf_file  # type: ignore[import-untyped]

from tenkizu.core.errors import DataError, TenkizuError
from tenkizu.patterns.reading.file_kinds import FETCH_AGAIN, Part, parts_of
from tenkizu.patterns.reading.file_variables import (
    ATTRIBUTES,
    Variable,
    plain_attribute,
    plain_text,
)
from tenkizu.patterns.reading.hdf5_heaps import has_sound_heaps
from tenkizu.patterns.reading.zarr_groups import ZarrGroup

READ_ERRORS = (
    *(OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError, EOFError),
    *(AttributeError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error),
)
"""What the readers raise on damaged files."""

_ONLY_A_DIMENSION = "This is a netCDF dimension but not a netCDF variable"
_CACHE_BYTES = 32 * 2**20
_CACHE_SLOTS = 10007


class NetcdfFile:
    """One NetCDF file, archive member or Zarr group; opened for use until `close`, in any process.

    Attributes:
        path: of the file or archive.
        label: the same for messages, with the member's name.
        variables: what it holds.
        coordinates: values of the variables without or with one dimension.
    """

    def __init__(self, part: Part) -> None:
        self.path = part.path
        self.label = part.label
        self._part = part
        self._open: _Hdf5 | _Classic | ZarrGroup | None = None
        self._owner = 0
        try:
            with self._explained(None):
                handle = self._handle()
                self.variables = handle.describe()
                self.coordinates = {
                    name: np.asarray(handle.values(name, ()))
                    for name, variable in self.variables.items()
                    if _is_coordinate(name, variable)
                }
        finally:
            self.close()

    def read(self, name: str, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Values of a variable as stored (not unpacked), a copy.

        Raises:
            DataError: they cannot be read.
        """
        with self._explained(name):
            return self._handle().values(name, key)

    def close(self) -> None:
        """Close the file; the next `read` opens it again."""
        if self._open is not None and self._owner == os.getpid():
            self._open.close()
        self._open = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the open file, which another process cannot share."""
        return {**self.__dict__, "_open": None}

    def _handle(self) -> "_Hdf5 | _Classic | ZarrGroup":
        """The open file; a forked process opens its own."""
        if self._open is None or self._owner != os.getpid():
            self._open = _opened(self._part)
            self._owner = os.getpid()
        return self._open

    @contextmanager
    def _explained(self, variable: str | None) -> Iterator[None]:
        """Turn the errors of the readers into one that names the file and its size."""
        try:
            yield
        except TenkizuError:
            raise
        except READ_ERRORS as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise DataError(
                f"damaged or truncated: cannot be read ({first_line})",
                file=self.label,
                variable=variable,
                found=f"{self.path.stat().st_size} bytes" if self.path.is_file() else None,
                next_step=FETCH_AGAIN,
            ) from error


class _Hdf5:
    """An open NetCDF-4 file."""

    def __init__(self, source: Path | IO[bytes]) -> None:
        self._file = h5py.File(source, "r")
        self._source = source
        self._datasets: dict[str, h5py.Dataset] = {}

    def describe(self) -> dict[str, Variable]:
        if not has_sound_heaps(self._source):
            raise OSError("its attributes are damaged")
        # By h5py alone: reading every attribute through h5netcdf takes ten times as long, and
        # a decade is 231 files.
        variables = {}
        for name, item in self._file.items():
            if not isinstance(item, h5py.Dataset):
                continue
            if plain_text(item.attrs.get("NAME", "")).startswith(_ONLY_A_DIMENSION):
                continue
            is_text = h5py.check_string_dtype(item.dtype) is not None
            variables[name] = Variable(
                dims=self._dims(name, item),
                shape=item.shape,
                dtype=np.dtype(object) if is_text else item.dtype,
                attrs={
                    key: plain_attribute(item.attrs[key]) for key in ATTRIBUTES if key in item.attrs
                },
                chunks=item.chunks,
            )
        return variables

    def _dims(self, name: str, item: h5py.Dataset) -> tuple[str, ...]:
        """Names of the dimensions, which are other data sets; ``?`` where there is none."""
        if "DIMENSION_LIST" in item.attrs:
            scales = [refs[0] if len(refs) else None for refs in item.attrs["DIMENSION_LIST"]]
            return tuple(
                "?" if ref is None else self._file[ref].name.rpartition("/")[2] for ref in scales
            )
        return (name,) if item.ndim == 1 else ("?",) * item.ndim

    def values(self, name: str, key: tuple[int | slice, ...]) -> NDArray[Any]:
        dataset = self._datasets.get(name)
        if dataset is None:
            dataset = self._datasets[name] = self._dataset(name)
        return np.asarray(dataset[key])

    def close(self) -> None:
        self._datasets.clear()
        self._file.close()
        if not isinstance(self._source, Path):
            self._source.close()

    def _dataset(self, name: str) -> h5py.Dataset:
        """A dataset whose cache holds one row of chunks, all that are shared by adjacent maps.

        Maps are read in blocks of days; without it, the chunks between two blocks are unpacked
        twice, and with HDF5's own size none of them are kept.
        """
        dataset = self._file[name]
        if dataset.chunks is None or len(dataset.shape) < 2:
            return dataset
        row = dataset.dtype.itemsize * dataset.chunks[0]
        for length, chunk in zip(dataset.shape[1:], dataset.chunks[1:], strict=True):
            row *= -(-length // chunk) * chunk
        # While it is open, opening it again would keep its cache.
        del dataset
        access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
        access.set_chunk_cache(_CACHE_SLOTS, min(row, _CACHE_BYTES), 1.0)
        return h5py.Dataset(h5py.h5d.open(self._file.id, name.encode(), access))


class _Classic:
    """An open NetCDF-3 file, mapped into memory."""

    def __init__(self, source: Path | IO[bytes]) -> None:
        # Made in two steps, so that a file whose header is damaged can be closed, too.
        self._file = netcdf_file.__new__(netcdf_file)
        try:
            self._file.__init__(source, "r", mmap=True)
        except BaseException:
            self.close()
            raise

    def describe(self) -> dict[str, Variable]:
        return {
            name: Variable(
                dims=tuple(item.dimensions),
                shape=tuple(item.data.shape),
                dtype=item.data.dtype,
                attrs={
                    key: plain_attribute(value)
                    for key, value in item._attributes.items()
                    if key in ATTRIBUTES
                },
                chunks=None,
            )
            for name, item in self._file.variables.items()
        }

    def values(self, name: str, key: tuple[int | slice, ...]) -> NDArray[Any]:
        return np.array(self._file.variables[name].data[key])

    def close(self) -> None:
        # Without its buffer scipy leaves the mapping alone, which goes with its last array.
        self._file._mm_buf = None
        if hasattr(self._file, "fp"):
            self._file.close()


def netcdf_files(path: Path) -> list[NetcdfFile]:
    """The NetCDF file or Zarr group at ``path``, or the files in the ZIP archive there.

    Raises:
        DataError: it is something else, or damaged.
    """
    return [NetcdfFile(part) for part in parts_of(path)]


def _opened(part: Part) -> "_Hdf5 | _Classic | ZarrGroup":
    """The library's own file, by the kind of the part."""
    if part.kind == "zarr":
        return ZarrGroup(part.path)
    source = part.path if part.member is None else _extracted(part)
    return _Hdf5(source) if part.kind == "hdf5" else _Classic(source)


def _extracted(part: Part) -> IO[bytes]:
    """A member of an archive in a temporary file, which is gone once closed or killed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by the reader)
    with zipfile.ZipFile(part.path) as archive, archive.open(str(part.member)) as stream:
        shutil.copyfileobj(stream, file, 2**20)
    file.seek(0)
    return file


def _is_coordinate(name: str, variable: Variable) -> bool:
    """Whether the values are read at once: short numbers, and the versions of ERA5."""
    few = len(variable.dims) <= 1 or name == "valid_time"
    return few and (variable.dtype.kind in "iuf" or name == "expver")

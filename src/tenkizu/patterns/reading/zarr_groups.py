"""Zarr groups as one of the kinds of file that hold maps, such as those in ARCO-ERA5's layout."""

import base64
import itertools
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError
from tenkizu.patterns.reading.file_variables import ATTRIBUTES, Variable, plain_attribute

METADATA = ("zarr.json", ".zmetadata", ".zgroup")
"""Files one of which is in every Zarr group."""

_LIBRARIES = {
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
}
"""What fsspec, through which zarr reads addresses, needs for each kind of them."""

_URL = re.compile(r"([a-z][a-z0-9+.-]*):/{1,2}(?=[^/])")


def zarr_url(path: Path) -> str | None:
    """The address of a remote Zarr group that is written as a path, ``gs://bucket/name.zarr``.

    `Path` joins the slashes after the colon; they are put back, three for ``file:///data/x.zarr``,
    which names no host. None for a path of this machine.
    """
    match = _URL.match(str(path))
    if match is None:
        return None
    slashes = "///" if match[1] == "file" else "//"
    return f"{match[1]}:{slashes}{str(path)[match.end() :]}"


def is_zarr(path: Path) -> bool:
    """Whether there is a Zarr group: a folder with its metadata, or any address."""
    return zarr_url(path) is not None or any((path / name).is_file() for name in METADATA)


class ZarrGroup:
    """An open Zarr group, format 2 or 3; only the chunks that are asked for are read.

    Raises:
        ConfigError: the library zarr is not installed, or the one that an address needs.
    """

    def __init__(self, path: Path) -> None:
        try:
            import zarr
        except ModuleNotFoundError as error:
            raise ConfigError(
                "Zarr needs a library that is not installed",
                file=path,
                next_step="pip install 'tenkizu[zarr]'",
            ) from error
        address = zarr_url(path)
        try:
            self._group = zarr.open_group(address or str(path), mode="r")
        except ImportError as error:
            raise ConfigError(
                "this kind of address needs a library that is not installed",
                file=address,
                found=str(error),
                next_step=f"pip install {_library(address)}",
            ) from error
        self._folder = path if address is None else None
        self._arrays: dict[str, Any] = {}

    def describe(self) -> dict[str, Variable]:
        """The variables at the top of the group."""
        found = {}
        for name, array in self._group.arrays():
            attrs: dict[str, Any] = dict(array.attrs)
            named: Any = getattr(array.metadata, "dimension_names", None)
            dims = named or attrs.get("_ARRAY_DIMENSIONS") or ["?"] * len(array.shape)
            found[name] = Variable(
                dims=tuple(str(dim) for dim in dims),
                shape=tuple(array.shape),
                dtype=np.dtype(array.dtype) if array.dtype.kind in "iuf" else np.dtype(object),
                attrs={key: plain_attribute(attrs[key]) for key in ATTRIBUTES if key in attrs}
                | _fill(array, attrs),
                chunks=tuple(array.chunks),
            )
        return dict(sorted(found.items()))

    def values(self, name: str, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Values of an array as stored.

        Raises:
            OSError: a chunk is not there and would read as a fill value that counts as data.
        """
        if name not in self._arrays:
            self._arrays[name] = self._group[name]
        array = self._arrays[name]
        values = np.asarray(array[key] if key else array[...])
        fill = 0 if array.fill_value is None else array.fill_value
        if values.size and fill == fill and np.any(values == fill):
            self._require_chunks(array, name, key)
        return values

    def close(self) -> None:
        """Forget the arrays; nothing stays open."""
        self._arrays.clear()

    def _require_chunks(self, array: Any, name: str, key: tuple[int | slice, ...]) -> None:  # noqa: ANN401
        """Raise if a chunk on this machine is absent, which the library reads as all fill."""
        if self._folder is None or getattr(array, "shards", None) is not None:
            return
        touched = []
        for part, size, length in zip(
            key or (slice(None),) * array.ndim, array.chunks, array.shape, strict=True
        ):
            of = range(part, part + 1) if isinstance(part, int) else range(length)[part]
            touched.append(range(of[0] // size, of[-1] // size + 1))
        for chunk in itertools.product(*touched):
            if not (self._folder / name / array.metadata.encode_chunk_key(chunk)).is_file():
                raise OSError(
                    f"chunk {'.'.join(map(str, chunk))} is not there; one that holds nothing but "
                    f"{array.fill_value} must be written, too: write_empty_chunks=True"
                )


def _library(address: str | None) -> str:
    """The packages that an address needs."""
    kind = (address or "").partition(":")[0]
    return " ".join(["fsspec", *([_LIBRARIES[kind]] if kind in _LIBRARIES else [])])


def _fill(array: Any, attrs: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """The value that marks missing cells.

    As xarray has it: in format 2 the array's own fill value, in format 3 an attribute, of which
    floating point is written in base 64.
    """
    value = array.fill_value if array.metadata.zarr_format == 2 else attrs.get("_FillValue")
    if isinstance(value, str) and array.dtype.kind == "f":
        value = struct.unpack("<d", base64.b64decode(value))[0]
    return {} if value is None else {"_FillValue": np.asarray(value)}

"""What a file is by its first bytes, whatever its name says; a folder may be a Zarr group."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenkizu.core.errors import DataError
from tenkizu.patterns.reading.zarr_groups import is_zarr

FETCH_AGAIN = (
    "delete it and fetch it again with `tenkizu patterns download CONFIG`, or check data.files"
)
"""Next step for a file that is not what it must be."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CLASSIC = (b"CDF\x01", b"CDF\x02")
_OTHERS = (
    (b"GRIB", "a GRIB file"),
    (b"CDF\x05", "a NetCDF file of kind CDF-5"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"<", "an HTML or XML page"),
    (b"{", "a JSON text"),
)
_NEXT_STEPS = {
    "a GRIB file": "ask for NetCDF (data_format: netcdf), or convert it as the Climate Data Store "
    "does: pip install cfgrib xarray netCDF4, then cfgrib to_netcdf -o out.nc in.grib",
    "a NetCDF file of kind CDF-5": "convert it: nccopy -k nc4 in.nc out.nc",
    "a gzip file": "unpack it with gunzip",
    "a bzip2 file": "unpack it with bunzip2",
}
_EXPECTED = "NetCDF-4 (HDF5) or NetCDF-3"


@dataclass(frozen=True)
class Part:
    """One NetCDF file or Zarr group, or one of the files in a ZIP archive.

    Attributes:
        path: of the file, folder or archive.
        member: name inside the archive; None for a plain file.
        kind: how it is stored.
    """

    path: Path
    member: str | None
    kind: Literal["hdf5", "classic", "zarr"]

    @property
    def label(self) -> str:
        """The path, with the member of an archive in brackets."""
        return str(self.path) if self.member is None else f"{self.path} [{self.member}]"


def parts_of(path: Path) -> list[Part]:
    """The NetCDF file or Zarr group at ``path``, or all files in the ZIP archive there.

    Raises:
        DataError: there is no file, or it or a member of it is something else (named with its
            size), or the archive is damaged.
    """
    if is_zarr(path):
        return [Part(path, None, "zarr")]
    if not path.is_file():
        raise DataError(
            "a directory, not a file" if path.is_dir() else "no such file",
            file=path,
            expected="a file, or a folder that is a Zarr group (zarr.json or .zgroup in it)"
            if path.is_dir()
            else None,
            next_step="fetch it with `tenkizu patterns download CONFIG`, or check data.files",
        )
    with path.open("rb") as stream:
        head = stream.read(256)
    if not head.startswith(b"PK"):
        return [Part(path, None, _kind(head, str(path), path.stat().st_size))]
    try:
        with zipfile.ZipFile(path) as archive:
            return _members(archive, path)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise DataError(
            f"a ZIP archive that cannot be read ({error})",
            file=path,
            found=f"{path.stat().st_size} bytes",
            next_step=FETCH_AGAIN,
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> list[Part]:
    """The members of an archive, every one of which must be NetCDF."""
    parts = []
    for info in archive.infolist():
        if info.is_dir():
            continue
        with archive.open(info) as stream:
            head = stream.read(256)
        kind = _kind(head, f"{path} [{info.filename}]", info.file_size)
        parts.append(Part(path, info.filename, kind))
    if not parts:
        raise DataError(
            "an empty ZIP archive", file=path, expected="NetCDF members", next_step=FETCH_AGAIN
        )
    return parts


def _kind(head: bytes, label: str, size: int) -> Literal["hdf5", "classic"]:
    """How a NetCDF file is stored; raises for any other file."""
    if head.startswith(_HDF5):
        return "hdf5"
    if head[:4] in _CLASSIC:
        return "classic"
    found = f"a file that begins with {head[:8]!r}" if head else "an empty file"
    for magic, name in _OTHERS:
        # A bulletin header may stand before the first GRIB message.
        if head.lstrip().startswith(magic) or (magic == b"GRIB" and magic in head):
            found = name
            break
    raise DataError(
        "not a NetCDF file",
        file=label,
        found=f"{found} of {size} bytes",
        expected=_EXPECTED,
        next_step=_NEXT_STEPS.get(found, FETCH_AGAIN),
    )

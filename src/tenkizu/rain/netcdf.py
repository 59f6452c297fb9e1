"""Opening NetCDF files lazily, with a plain word about files that are something else."""

import warnings
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers zstd, LZ4 and other filters with HDF5)
import xarray as xr

from tenkizu.core.errors import DataError

READ_ERRORS = (OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError, EOFError)
"""What the readers raise on damaged files."""

_BEGINNINGS = (
    (b"GRIB", "a GRIB file", "convert it: cdo -f nc4 copy in.grib out.nc"),
    (b"CDF\x05", "a NetCDF file of kind CDF-5", "convert it: nccopy -k nc4 in.nc out.nc"),
    (b"\x1f\x8b", "a gzip file", "unpack it with gunzip"),
    (b"PK\x03\x04", "a zip archive", "unpack it with unzip"),
    (b"BZh", "a bzip2 file", "unpack it with bunzip2"),
    (b"<", "an HTML or XML page", "download it again; a login page may have been saved instead"),
)


def open_netcdf(path: Path) -> xr.Dataset:
    """Open lazily, packing decoded and times not; explain files that are something else."""
    if not path.is_file():
        raise DataError(
            "a directory, not a NetCDF file" if path.is_dir() else "no such file",
            file=path,
            found="a directory" if path.is_dir() else "nothing at this path",
            expected="a NetCDF file",
            next_step="check the path",
        )
    try:
        with path.open("rb") as stream:
            head = stream.read(256)
        classic = head[:4] in (b"CDF\x01", b"CDF\x02")
        if not classic and not head.startswith(b"\x89HDF\r\n\x1a\n"):
            raise _not_netcdf(path, head)
        if not classic:
            # Opened first by h5py, whose failure is quieter than that of h5netcdf.
            with h5py.File(path) as file:
                _check_not_grouped(file, path)
        with warnings.catch_warnings():
            # A file with both _FillValue and missing_value is common; all of them become NaN.
            warnings.simplefilter("ignore", xr.SerializationWarning)
            return xr.open_dataset(
                path,
                engine="scipy" if classic else "h5netcdf",
                decode_times=False,
                decode_timedelta=False,
                cache=False,
            )
    except READ_ERRORS as error:
        raise DataError(
            f"cannot be opened ({first_line(error)})",
            file=path,
            found=f"{path.stat().st_size} bytes",
            expected="a whole NetCDF file",
            next_step="it may be truncated or damaged: fetch it again and compare the size",
        ) from error


def _check_not_grouped(file: h5py.File, path: Path) -> None:
    """Raise when all that a file holds is in groups, as in native IMERG granules."""
    groups = [name for name, item in file.items() if isinstance(item, h5py.Group)]
    if not groups or len(groups) < len(file):
        return
    raise DataError(
        "all variables are in groups",
        file=path,
        found=", ".join(groups),
        expected="variables at the top",
        next_step=f"lift a group out: ncks -G : -g {groups[0]} in.nc out.nc",
    )


def _not_netcdf(path: Path, head: bytes) -> DataError:
    """The error for a file that is neither NetCDF-4 nor NetCDF-3."""
    expected = "NetCDF-4 (HDF5) or NetCDF-3"
    if not head:
        return DataError(
            "empty file",
            file=path,
            found="0 bytes",
            expected=expected,
            next_step="fetch it again",
        )
    for magic, kind, next_step in _BEGINNINGS:
        # Bulletin headers may stand before the first GRIB message.
        if head.lstrip().startswith(magic) or (magic == b"GRIB" and magic in head):
            return DataError(
                "not a NetCDF file", file=path, found=kind, expected=expected, next_step=next_step
            )
    return DataError(
        "not a NetCDF file",
        file=path,
        found=f"a file that begins with {head[:8]!r}",
        expected=expected,
        next_step="check the path and how the file was made",
    )


def first_line(error: Exception) -> str:
    """The first line of a library's message, for the end of ours."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

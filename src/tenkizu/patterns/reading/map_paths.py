"""Names of maps as users give them: files, Zarr folders and addresses, shipped samples."""

import re
from pathlib import Path
from urllib.parse import unquote

from tenkizu.core.samples import PREFIX, input_path
from tenkizu.patterns.reading.zarr_groups import is_zarr

_OF_THIS_MACHINE = re.compile(r"file:(//(localhost)?)?(?=/[^/])")


def plain_path(name: str | Path) -> Path:
    """A name as a path; ``file:///data/era5.zarr`` is ``/data/era5.zarr``."""
    match = _OF_THIS_MACHINE.match(str(name))
    return Path(unquote(str(name)[match.end() :])) if match else Path(name).expanduser()


def map_path(name: str | Path) -> Path:
    """The NetCDF file, Zarr folder or address, or shipped sample of this name.

    Raises:
        DataError: there is no such file or folder.
    """
    if str(name).startswith(PREFIX):
        return input_path(str(name))
    path = plain_path(name)
    return path if is_zarr(path) else input_path(str(path))


def is_store_folder(name: str | Path) -> bool:
    """Whether a name is a folder that is no Zarr group, so perhaps a prepared store."""
    path = plain_path(name)
    return path.is_dir() and not is_zarr(path)

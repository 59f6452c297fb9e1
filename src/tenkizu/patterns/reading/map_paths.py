"""Names of maps as users give them: files, Zarr folders and addresses, shipped samples."""

from pathlib import Path

from tenkizu.core.samples import PREFIX, input_path
from tenkizu.patterns.reading.zarr_groups import is_zarr


def map_path(name: str | Path) -> Path:
    """The NetCDF file, Zarr folder or address, or shipped sample of this name.

    Raises:
        DataError: there is no such file or folder.
    """
    path = Path(name).expanduser()
    return path if not str(name).startswith(PREFIX) and is_zarr(path) else input_path(str(name))


def is_store_folder(name: str | Path) -> bool:
    """Whether a name is a folder that is no Zarr group, so perhaps a prepared store."""
    path = Path(name).expanduser()
    return path.is_dir() and not is_zarr(path)

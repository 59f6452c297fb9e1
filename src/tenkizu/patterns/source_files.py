"""The maps that a configuration names, wherever they are."""

from pathlib import Path

from tenkizu.core.samples import PREFIX, input_path
from tenkizu.patterns.blocks import channel_names
from tenkizu.patterns.config import DataConfig
from tenkizu.patterns.physics.derive import required
from tenkizu.patterns.reading.era5 import file_name, plan, tasks_for
from tenkizu.patterns.reading.map_choice import require_files
from tenkizu.patterns.reading.map_paths import plain_path
from tenkizu.patterns.reading.maps import MapSource, open_era5, open_files
from tenkizu.patterns.reading.zarr_groups import zarr_url

ALSO_WRITTEN = ("cape", "cin", "viwve", "viwvn", "ivt_dir")
"""Fields that the NetCDF holds beside the channels, if the source has them."""


def open_source(data: DataConfig) -> MapSource:
    """The maps that a configuration names, opened lazily; close it after use.

    Raises:
        DataError: a file is missing or cannot be used.
    """
    if data.source == "era5":
        assert data.raw_dir is not None  # the configuration saw to it
        return open_era5(data.raw_dir, data.years, _era5_fields(data), data.hours, data.daily)
    return open_files(input_files(data), data.hours, data.area, daily=data.daily)


def absolute(data: DataConfig) -> DataConfig:
    """The same files by names that hold in any folder, such as that of a process elsewhere."""
    raw_dir = data.raw_dir and data.raw_dir.expanduser().absolute()
    files = [str(path if zarr_url(path) else path.absolute()) for path in map(_path, data.files)]
    return data.model_copy(update={"raw_dir": raw_dir, "files": files})


def input_files(data: DataConfig) -> list[Path]:
    """The files and Zarr folders that a configuration names, without opening them.

    Raises:
        DataError: a downloaded or shipped file is missing.
    """
    if data.source == "files":
        return [_path(name) for name in data.files]
    assert data.raw_dir is not None
    paths = [file.path for file in plan(data.raw_dir, data.years, _era5_fields(data), data.hours)]
    require_files(paths)
    return paths


def _era5_fields(data: DataConfig) -> tuple[str, ...]:
    """Native fields of the channels, and of what is written beside them where it is there."""
    assert data.raw_dir is not None
    welcome = ("msl", *ALSO_WRITTEN) if data.netcdf else ("msl",)
    there = [
        name
        for name in welcome
        for task in tasks_for(required([name]))
        if all((data.raw_dir / file_name(task, year)).is_file() for year in data.years)
    ]
    return required([*channel_names(data), *there])


def _path(name: str) -> Path:
    """The file, Zarr folder or shipped sample of this name."""
    return input_path(name) if name.startswith(PREFIX) else plain_path(name)

"""The MSM part of a rain run: where the GRIB2 files are and what is taken from them."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from tenkizu.core.config import Section

CROP_SIDE = 8
"""Least side of a cropped domain, model cells."""


class MsmConfig(Section):
    """From GRIB2 files to monthly NetCDF files."""

    grib_dir: Path | None = Field(
        default=None, description="Folder of the GRIB2 files, searched with all folders in it."
    )
    monthly_dir: Path = Field(
        description="Folder of the monthly NetCDF files that `convert` writes and `prepare` reads."
    )
    months: tuple[str, str] | None = Field(
        default=None,
        description="First and last month of t0 to convert, such as [2018-01, 2023-12]; null for "
        "all that are there.",
    )
    layout: Literal["auto", "operational", "archive"] = Field(
        default="auto", description="How the files are laid out; auto looks at each initial time."
    )
    following: bool = Field(
        default=True,
        description="Keep N, the sum over the three hours after the window, where there is one.",
    )
    strict: bool = Field(
        default=False,
        description="Stop at an incomplete or unreadable initial time instead of listing it in "
        "missing.json.",
    )
    crop: tuple[int, int, PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="First row, first column, rows and columns of the 480 x 480 model grid to "
        "keep; null for all.",
    )
    compression: Literal["zstd", "lz4"] = Field(
        default="zstd", description="Filter of the monthly files."
    )

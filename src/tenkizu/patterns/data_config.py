"""The part of a configuration that says where maps come from and which days they are."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from tenkizu.core.config import Section
from tenkizu.core.periods import SplitsConfig as PeriodSplits
from tenkizu.core.periods import parse_period


def _years(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    """``1991/2000`` as the list of its years."""
    if isinstance(value, str) and "/" in value:
        start, end = parse_period(value)
        first, last = start.astype("datetime64[Y]"), (end - 1).astype("datetime64[Y]")
        return list(range(int(str(first)), int(str(last)) + 1))
    return [value] if isinstance(value, int) else value


def _increasing(years: list[int]) -> list[int]:
    if years != sorted(set(years)):
        raise ValueError("must be increasing, each year once")
    return years


Years = Annotated[list[int], BeforeValidator(_years), AfterValidator(_increasing)]


def _hours(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    """``all`` as the list of the 24 hours."""
    return list(range(24)) if value == "all" else value


Hours = Annotated[list[Annotated[int, Field(ge=0, le=23)]], BeforeValidator(_hours)]

SCHEMES: dict[str, dict[str, list[str]]] = {
    "years": {"train": ["1991/1997"], "validation": ["1998/2000"], "test": []},
    "holdout": {"train": ["1991/1996"], "validation": ["1997/1998"], "test": ["1999/2000"]},
}
"""The named divisions of the Yoshino years, by local year."""


class SplitsConfig(PeriodSplits):
    """Which days train, choose and are reported on; whole blocks of local days."""

    scheme: Literal["years", "holdout", "blocked_cv", "periods"] = Field(
        default="years",
        description="years: train 1991-1997, validation 1998-2000; holdout: train 1991-1996, "
        "validation 1997-1998, test 1999-2000; blocked_cv: every block of years is the test once, "
        "the next the validation; periods: as listed below.",
    )
    train: list[str] = Field(default=[], description="Periods FIRST/LAST that train the network.")
    block_years: PositiveInt = Field(
        default=2, description="Length of a block of the cross-validation, years."
    )
    purge_days: NonNegativeInt = Field(
        default=3,
        description="Days left out of training beside each border of a cross-validation block.",
    )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.scheme == "periods":
            self.require_apart()
        elif self.train or self.validation or self.test:
            raise ValueError(f"scheme {self.scheme} brings its own periods; use periods")
        return self

    def periods(self) -> PeriodSplits:
        """The periods of the scheme; not for blocked_cv, whose blocks follow from the data."""
        if self.scheme == "periods":
            return PeriodSplits(train=self.train, validation=self.validation, test=self.test)
        return PeriodSplits(**SCHEMES[self.scheme])


class DataConfig(Section):
    """Where the maps come from, what the network sees of them and how days are split."""

    model_config = ConfigDict(allow_inf_nan=False)

    source: Literal["era5", "files"] = Field(
        default="files",
        description="era5: the files that `download` writes, one a task and year, in raw_dir; "
        "files: NetCDF files or Zarr folders named below.",
    )
    raw_dir: Path | None = Field(default=None, description="Folder of the raw ERA5 files.")
    years: Years = Field(
        default=[],
        description="Years to prepare, as a list or FIRST/LAST; needed for era5, and for files "
        "all that are there unless named.",
    )
    files: list[str] = Field(
        default=[],
        description="NetCDF files or Zarr folders on one grid, which together hold the fields; "
        "'sample:NAME' is a file shipped with tenkizu.",
    )
    hours: Hours = Field(
        default=[0],
        description="Hours (UTC) whose maps are used, as a list; all for every hour of the day.",
        min_length=1,
    )
    daily: Literal["instant", "mean"] = Field(
        default="instant",
        description="instant: every map at `hours` by itself; mean: the mean of the maps at "
        "`hours` over each UTC day, all of which must be there.",
    )
    area: tuple[float, float, float, float] | None = Field(
        default=None, description="North, west, south and east to cut out; null for all."
    )
    coarsen: PositiveInt = Field(
        default=1, description="Average this many cells in each direction into one."
    )
    channels: Literal["default", "seed"] | list[str] = Field(
        default="default",
        description="What the network sees: a set, default (46 channels) or seed (42), or names.",
    )
    drop: list[str] = Field(default=[], description="Channels left out of the set.")
    transforms: Literal["log1p", "none"] = Field(
        default="log1p",
        description="log1p: log(1 + x/s) of rain and cloud water, whose values crowd at zero.",
    )
    anomaly: Literal["none", "area_mean", "climatology"] = Field(
        default="none",
        description="What is taken off each map: nothing, its mean over the area, or the mean "
        "annual cycle of each grid point (two harmonics, training days only).",
    )
    msl_unit: Literal["Pa", "hPa"] = Field(
        default="Pa", description="Unit of sea level pressure in the model and its tables."
    )
    missing_dt24: Literal["exclude", "zero"] = Field(
        default="exclude",
        description="Days without a map 24 h earlier are left out, or see no change of pressure.",
    )
    history: list[str] = Field(
        default=[], description="Channels the network also sees as they were 24 h earlier."
    )
    typhoons: str | None = Field(
        default=None,
        description="CSV of best tracks (storm,time,lat,lon in UTC, or IBTrACS): adds the channel "
        "typhoon, 1 at the centre of a storm and 0 far from any; null for none.",
    )
    store: Path = Field(description="Directory of the prepared store.")
    netcdf: bool = Field(
        default=True, description="Also write the derived fields as CF NetCDF, one file a year."
    )
    splits: SplitsConfig = Field(
        default=SplitsConfig(), description="Which days train, choose and are reported on."
    )

    @model_validator(mode="after")
    def _source_is_named(self) -> Self:
        if self.source == "era5" and (self.raw_dir is None or not self.years):
            raise ValueError("source era5 needs raw_dir and years")
        if self.source == "files" and not self.files:
            raise ValueError("source files needs at least one entry in files")
        if len(set(self.hours)) != len(self.hours):
            raise ValueError("hours must differ from each other")
        if self.daily == "mean" and len(self.hours) < 2:
            raise ValueError("daily: mean needs the hours of day that are averaged, such as all")
        return self

"""The data section of a rain run: one source of rain, or several with grids of their own."""

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    ConfigDict,
    Field,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tenkizu.core.config import Section
from tenkizu.core.periods import SplitsConfig
from tenkizu.rain.msm.config import MsmConfig

ContextChannel = Literal["s", "p", "n", "motion", "box5", "box15", "gradient", "position", "static"]
CONTEXT: tuple[str, ...] = get_args(ContextChannel)


class ChecksConfig(Section):
    """Bounds of the checks that run before the first step; they catch rain in wrong units."""

    min_max_sum_mm: float = Field(
        default=10.0, description="The largest 3-hour total must reach this, mm."
    )
    share_1mm: tuple[float, float] = Field(
        default=(0.002, 0.15), description="Bounds of the share of hourly values >= 1 mm."
    )
    min_bins: int = Field(
        default=5, ge=1, description="Hourly loss bins (of 7) that must hold values."
    )
    equal_rmse_mm: tuple[float, float] = Field(
        default=(0.1, 3.0), description="Bounds of the equal split's 1 h RMSE, mm."
    )


class RainFiles(Section):
    """Rain on one grid: its files, periods and resolution."""

    files: list[str] = Field(
        description="NetCDF files on one grid; 'sample:NAME' is a file shipped with tenkizu.",
        min_length=1,
    )
    variable: str | None = Field(
        default=None, description="Rain variable, when a file does not make it clear."
    )
    units: str | None = Field(default=None, description="Units, when the file states none.")
    time_stamp: Literal["start", "end"] | None = Field(
        default=None,
        description="Whether a time stamp is the start or the end of its interval, when the file "
        "has no time bounds.",
    )
    totals: Literal["since-start", "interval"] | None = Field(
        default=None,
        description="What the values are, when a file does not say so: the water since the start "
        "of a run, to be differenced, or that of each interval.",
    )
    splits: SplitsConfig = Field(description="Periods of each split.")
    every_hour: bool = Field(
        default=False,
        description="Train on windows that start at any full hour, not only at 00, 03, ... UTC: "
        "three times as many, that overlap. Other splits keep to 00, 03, ...",
    )
    coarsen: PositiveInt = Field(
        default=1,
        description="Average the rain over squares of this many cells a side when preparing it.",
    )
    coarser: list[PositiveInt] = Field(
        default=[1],
        min_length=1,
        description="Average training tiles over squares of so many cells a side, one of these at "
        "random, so that the network meets other spacings than the file's; needs tile.",
    )
    tiles_per_window: PositiveInt | None = Field(
        default=None,
        description="Squares drawn from each window in an epoch; null for as many as cover it. "
        "More make longer epochs, and so fewer that compete on a small validation set. Of several "
        "sources this decides how much each one counts.",
    )
    checks: ChecksConfig = Field(default=ChecksConfig(), description="Checks before training.")


SourceName = Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$")]


class SourceConfig(RainFiles):
    """A further source of rain, with a grid and a store of its own."""

    name: SourceName = Field(description="Name in scores, and in that of its store.")


class DataConfig(RainFiles):
    """Where the rain comes from, how it is split and what the network sees."""

    model_config = ConfigDict(allow_inf_nan=False)

    source: Literal["hourly", "msm"] = Field(
        default="hourly",
        description="Kind of input: NetCDF files of gridded hourly rain, or MSM forecasts, whose "
        "samples are split by t0: their monthly files (msm), or a finished store.",
    )
    msm: MsmConfig | None = Field(
        default=None,
        description="Monthly NetCDF files of MSM forecasts to prepare the store from; null to open "
        "a finished store.",
    )
    layout: Literal["full", "compact"] = Field(
        default="full",
        description="How a store of MSM forecasts keeps fields: as float32 on the grid of the "
        "rain, or as 16-bit integers with those on pressure levels on their own, coarser grid, "
        "from which the device makes the others: a quarter of the size.",
    )
    files: list[str] = Field(
        default=[],
        description="NetCDF files on one grid, at least one unless source is msm; 'sample:NAME' is "
        "a file shipped with tenkizu.",
    )
    name: SourceName = Field(
        default="main", description="Name of these files where there are further sources."
    )
    more: list[SourceConfig] = Field(
        default=[],
        description="Further sources, each with name, files, splits and the other keys above. The "
        "network is trained on all of them, and the epoch chosen by the mean of their scores.",
    )
    store: Path = Field(
        description="Directory of the prepared store; of several sources, of one store for each."
    )
    fields: Literal["msm24"] | list[str] = Field(
        default=[],
        description="Forecast fields that the network sees, each at FT=3 and FT=6, with P and "
        "before all else: base names of those in the store, or msm24 for the reference network's "
        "24; none for rain alone.",
    )
    scaling: Literal["standard", "minmax_groups"] = Field(
        default="standard",
        description="Fields, and P beside them, by mean and deviation in training (P as its "
        "logarithm), or, as the reference program, by minimum and maximum of both lead times, "
        "written to scaler_groups.json.",
    )
    scaler_file: Path | None = Field(
        default=None,
        description="A scaler_groups.json whose minima and maxima are used, not those of the "
        "store; for scaling=minmax_groups. Monthly files that are scaled to 0-1 already are "
        "brought back to mm and the units of the fields by it, with either scaling.",
    )
    context: list[ContextChannel] = Field(
        default=["s", "p", "n"],
        description="What the network sees: the total (s), the one before (p), the one after (n); "
        "of the total the means over 5 x 5 (box5) and 15 x 15 cells (box15) and the differences "
        "between neighbours (gradient); latitude and longitude (position); orography and land "
        "(static). Beside fields it may be empty.",
    )
    static_file: Path | None = Field(
        default=None,
        description="NetCDF with orography (m), and a land mask if it has one, on the grid of the "
        "rain or a larger one with the same nodes; for 'static' in the context.",
    )
    time_features: bool = Field(
        default=True, description="Whether it sees day of year and hour of day, as sine and cosine."
    )
    tile: int | None = Field(
        default=None, ge=16, description="Train on random squares of this many cells, not frames."
    )
    tile_stride: PositiveInt | None = Field(
        default=None,
        description="Draw training squares from a lattice of this spacing in cells, wet ones more "
        "often and dry ones never, with weights that keep the loss that of whole frames; null for "
        "squares at any place. Needs tile.",
    )
    tiled_inference: bool = Field(
        default=False,
        description="Evaluate and predict tile by tile: dry ones are 0 without the network, others "
        "overlap by a quarter and their results are blended.",
    )
    flips: bool = Field(default=False, description="Mirror training samples at random.")
    time_reversal: bool = Field(
        default=False, description="Run training samples backwards in time at random."
    )
    amount_scale: float = Field(
        default=1.0,
        ge=1.0,
        description="Multiply the rain of a training sample by a random factor up to this or its "
        "inverse, so that the network learns shapes and not one climate's amounts.",
    )
    climatology_boxes: bool = Field(
        default=False,
        description="Make the table of the climatological baseline for each box of 3 x 3 degrees, "
        "too, where it has enough rain; needs latitude and longitude as the axes of the grid.",
    )
    drop_neighbours: float = Field(
        default=0.1,
        ge=0.0,
        lt=1.0,
        description="Probability of hiding P, and of hiding N, from a training sample, so that "
        "the network serves inputs that lack them.",
    )

    @field_validator("context")
    @classmethod
    def _ordered(cls, value: list[ContextChannel], info: ValidationInfo) -> list[ContextChannel]:
        if not value and info.data.get("fields"):
            return value
        if len(set(value)) != len(value) or "s" not in value:
            raise ValueError("must name s, and each of the others at most once")
        return sorted(value, key=CONTEXT.index)

    @model_validator(mode="after")
    def _static(self) -> Self:
        if ("static" in self.context) != (self.static_file is not None):
            raise ValueError("'static' in context and static_file need each other")
        return self

    @model_validator(mode="after")
    def _input(self) -> Self:
        if self.source == "hourly" and not self.files:
            raise ValueError("source=hourly needs at least one file in data.files")
        if self.source == "msm" and (
            self.files or self.more or self.every_hour or self.coarsen > 1
        ):
            raise ValueError(
                "source=msm reads monthly files or opens a finished store; files, more, every_hour "
                "and coarsen are for source=hourly"
            )
        if self.source != "msm" and (self.msm is not None or self.layout != "full"):
            raise ValueError("msm and layout=compact need source=msm")
        if self.fields and self.source != "msm":
            raise ValueError("fields need source=msm: files of rain have none")
        if self.scaling == "minmax_groups" and not self.fields:
            raise ValueError("scaling=minmax_groups is for fields: rain alone keeps its own")
        if self.scaler_file is not None and self.scaling == "standard" and self.msm is None:
            raise ValueError("scaler_file needs scaling=minmax_groups, or msm")
        if self.fields and self.time_reversal:
            raise ValueError("time_reversal is for rain alone: weather does not run backwards")
        return self

    @model_validator(mode="after")
    def _tiles(self) -> Self:
        if self.tile_stride is not None:
            if self.tile is None or self.tile_stride > self.tile:
                raise ValueError("tile_stride needs a tile that is at least as large")
            coarser = [self.coarser, *(source.coarser for source in self.more)]
            if any(factors != [1] for factors in coarser):
                raise ValueError("tile_stride and coarser do not go together")
        if self.layout == "compact" and (self.coarser != [1] or (self.tile or 0) % 2):
            raise ValueError("layout=compact needs an even tile, and coarser=[1]")
        return self

    @model_validator(mode="after")
    def _sources(self) -> Self:
        names = [self.name, *(source.name for source in self.more)]
        if len(set(names)) < len(names):
            raise ValueError("each source in data.more needs a name of its own")
        if self.tile is None and self.more:
            raise ValueError("sources with grids of their own need tile: batches hold one shape")
        if self.tile is None and self.coarser != [1]:
            raise ValueError("coarser needs tile")
        return self

    def parts(self) -> dict[str, Self]:
        """Each source by its name, as the data section of a run on that source alone."""
        if not self.more:
            return {self.name: self}
        sources: list[DataConfig | SourceConfig] = [self, *self.more]
        result = {}
        for source in sources:
            own = {name: getattr(source, name) for name in SourceConfig.model_fields}
            update = {**own, "more": [], "store": self.store / source.name}
            result[source.name] = self.model_copy(update=update)
        return result

"""The configuration of a patterns run: one YAML, checked before the first batch."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from tenkizu.core.config import Section
from tenkizu.core.periods import SplitsConfig as PeriodSplits
from tenkizu.core.periods import parse_period
from tenkizu.core.run_config import RunConfig, TrainConfig
from tenkizu.patterns.download.config import DownloadConfig


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


class LabelsConfig(Section):
    """The labels of the days: a catalogue of types, and where the days' types come from."""

    catalogue: str = Field(
        default="yoshino",
        description="yoshino: the 15 types of Japan; jc: Jenkinson-Collison types, computed from "
        "the pressure of the maps; any other name: the types listed in `types`.",
    )
    file: str | None = Field(
        default=None,
        description="CSV (date,label) or Python file with one dictionary; null for the calendar "
        "that ships with yoshino, or for jc's rules.",
    )
    utc_offset_hours: float | None = Field(
        default=None,
        description="Hours from UTC to the local time whose date names the day; null for the "
        "catalogue's own.",
    )
    types: list[str] = Field(default=[], description="Types of a catalogue of your own.")
    majors: dict[str, list[str]] = Field(
        default={}, description="Major types of it: a name and its types; null for none."
    )
    separators: tuple[str | None, str | None] = Field(
        default=("+", "-"), description="Signs of composite and of transition labels."
    )
    centre: tuple[float, float] | None = Field(
        default=None, description="jc: latitude and longitude of the point that is classified."
    )
    u_limit: NonNegativeFloat = Field(
        default=6.0, description="jc: flow and vorticity below this are unclassified."
    )
    constants: Literal["exact", "rounded"] = Field(
        default="exact", description="jc: constants computed for the latitude, or as published."
    )
    interpolate: bool = Field(
        default=False, description="jc: interpolate pressure to points that are not on the grid."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.catalogue == "jc" and self.file is None and self.centre is None:
            raise ValueError("catalogue jc needs centre: [latitude, longitude]")
        if self.catalogue not in ("yoshino", "jc") and not (self.types and self.file):
            raise ValueError(f"catalogue {self.catalogue} needs types and file")
        return self

    @property
    def computed(self) -> bool:
        """Whether the labels follow from the maps."""
        return self.catalogue == "jc" and self.file is None


class ModelConfig(Section):
    """The network."""

    backbone: str = Field(
        default="simple",
        description="simple, resnet_small, deformable, convnext_tiny, projection, or timm:NAME.",
    )
    options: dict[str, Any] = Field(
        default={}, description="Further arguments of the network, such as layer_scale."
    )
    hierarchy: Literal["derived", "head"] = Field(
        default="derived",
        description="derived: a major type is as likely as its likeliest subtype; head: the "
        "network gives majors, and subtypes given the major.",
    )


class LossConfig(Section):
    """What the network minimises."""

    model_config = ConfigDict(allow_inf_nan=False)

    kind: Literal["bce", "focal", "asl"] = Field(
        default="bce", description="Binary cross-entropy, focal or asymmetric loss."
    )
    gamma: NonNegativeFloat = Field(default=2.0, description="focal: exponent of 1 - p.")
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="focal: weight of positives against 1 - alpha for negatives."
    )
    gamma_pos: NonNegativeFloat = Field(default=0.0, description="asl: exponent of positives.")
    gamma_neg: NonNegativeFloat = Field(default=4.0, description="asl: exponent of negatives.")
    margin: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.05, description="asl: probability below which a negative costs nothing."
    )
    pos_weight: Literal["none", "sqrt", "ratio"] | list[PositiveFloat] = Field(
        default="sqrt",
        description="Weight of positives: none, negatives over positives or its square root, or "
        "one number a type.",
    )
    pos_weight_clip: tuple[float, float] = Field(
        default=(1.0, 10.0), description="Lowest and highest computed weight."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        default=0.0, description="Targets are drawn this much towards one half."
    )


class SamplerConfig(Section):
    """How often each training day is drawn."""

    kind: Literal["shuffle", "inverse"] = Field(
        default="shuffle",
        description="Every day once an epoch, or days of rare types more often, with replacement.",
    )
    power: NonNegativeFloat = Field(
        default=1.0, description="inverse: weight is the sum of 1/count of its types to this power."
    )
    max_draws: PositiveInt | None = Field(
        default=None, description="inverse: most draws of one day expected in an epoch."
    )


class PatternsRunConfig(RunConfig):
    """Where a run writes, and under which names."""

    prefix: str = Field(
        default="",
        description="Put before the names of copies of the artefacts, for programs that look for "
        "them so: cnn_v1_torch_ makes cnn_v1_torch_norm.json beside norm.json.",
        json_schema_extra={"pattern": "^[A-Za-z0-9._-]*$"},
    )

    @field_validator("prefix")
    @classmethod
    def _is_part_of_a_name(cls, prefix: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]*", prefix):
            raise ValueError("must hold only letters, digits, '.', '_' and '-'")
        return prefix


class PatternsTrainConfig(TrainConfig):
    """Training; the keys are those of the rain wing."""

    epochs: PositiveInt = Field(default=60, description="Passes over the training days.")
    batch_size: PositiveInt = Field(default=64, description="Days in one optimiser step.")
    micro_batch: PositiveInt | None = Field(
        default=16,
        description="Days sent through the network at once, a divisor of batch_size; gradients "
        "add up to the whole batch, but batch normalisation sees the micro-batch. null for all.",
    )
    lr: PositiveFloat = Field(default=1e-3, description="Learning rate of AdamW, the highest.")
    lr_scale_world: bool = Field(
        default=False, description="Multiply the learning rate by the number of processes."
    )
    scheduler: Literal["plateau", "onecycle", "cosine", "none"] = Field(
        default="plateau", description="How the learning rate changes."
    )
    min_lr: NonNegativeFloat | None = Field(
        default=None,
        description="Learning rate at the end of the cosine; null for a tenth of lr.",
    )
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Part of a cosine schedule in which the rate rises from zero."
    )
    select: Literal["val_map", "val_loss"] = Field(
        default="val_map", description="What the best epoch is chosen by, on validation days."
    )
    early_stopping: PositiveInt | None = Field(
        default=15, description="Epochs without a better score after which training ends."
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=0.995, description="Decay of the moving average of the weights; null for none."
    )
    seed: NonNegativeInt = Field(default=42, description="Seed of all random numbers.")
    members: PositiveInt = Field(
        default=1,
        description="Networks trained with seeds seed, seed + 1, ...; their mean calibrated "
        "probability is the model's.",
    )


class CalibrationConfig(Section):
    """How probabilities are corrected on validation days."""

    kind: Literal["none", "temperature", "platt", "isotonic", "prior_shift"] = Field(
        default="platt",
        description="none, one temperature, slope and offset a type, a monotone curve a type, or "
        "the offset that pos_weight brought in.",
    )


class ThresholdsConfig(Section):
    """How probabilities become decisions."""

    model_config = ConfigDict(allow_inf_nan=False)

    tune: Literal["cross_fit", "validation"] = Field(
        default="cross_fit",
        description="cross_fit: each validation year is decided with thresholds of the others, "
        "where validation days are reported on; validation: with its own, marked in-sample.",
    )
    beta: PositiveFloat | dict[str, PositiveFloat] = Field(
        default=1.0,
        description="Weight of recall in the F score that is maximised; one number or one a type.",
    )
    min_positives: PositiveInt = Field(
        default=10, description="Types with fewer days keep the fallback."
    )
    fallback: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5, description="Threshold of types that cannot be tuned."
    )


class ReportConfig(Section):
    """What an evaluation draws."""

    cases: NonNegativeInt = Field(
        default=4, description="Best and worst days drawn as charts, this many of each."
    )
    attribution: bool = Field(
        default=True, description="Integrated gradients over the charts of these days."
    )
    analogues: NonNegativeInt = Field(
        default=5, description="Most similar training days listed for each case."
    )
    analogue_by: Literal["embedding", "rmse", "s1"] = Field(
        default="embedding",
        description="What similar means: cosine of the network's embedding, root mean square "
        "difference of pressure anomalies, or S1 score of pressure.",
    )


class PatternsConfig(Section):
    """Pressure patterns from daily maps: prepare, train, evaluate."""

    kind: Literal["patterns"] = Field(
        default="patterns", description="Which system this file is for."
    )
    run: PatternsRunConfig = Field(description="Name and place of the run.")
    data: DataConfig = Field(description="Source, channels and splits.")
    download: DownloadConfig = Field(
        default=DownloadConfig(), description="How `download` fetches ERA5."
    )
    labels: LabelsConfig = Field(default=LabelsConfig(), description="The types of the days.")
    model: ModelConfig = Field(default=ModelConfig(), description="The network.")
    loss: LossConfig = Field(default=LossConfig(), description="The loss.")
    sampler: SamplerConfig = Field(default=SamplerConfig(), description="The order of days.")
    train: PatternsTrainConfig = Field(default=PatternsTrainConfig(), description="Training.")
    calibration: CalibrationConfig = Field(
        default=CalibrationConfig(), description="Correction of probabilities."
    )
    thresholds: ThresholdsConfig = Field(
        default=ThresholdsConfig(), description="From probabilities to decisions."
    )
    report: ReportConfig = Field(default=ReportConfig(), description="Figures and cases.")

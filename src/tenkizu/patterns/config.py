"""The configuration of a patterns run: one YAML, checked before the first batch."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
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
from tenkizu.core.run_config import RunConfig, TrainConfig
from tenkizu.patterns.data_config import DataConfig as DataConfig
from tenkizu.patterns.data_config import SplitsConfig as SplitsConfig
from tenkizu.patterns.download.config import DownloadConfig


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
        description="bce, focal: weight of positives: none, negatives over positives or its "
        "square root, or one number a type. asl has none: its exponents do that.",
    )
    pos_weight_clip: tuple[float, float] = Field(
        default=(1.0, 10.0), description="Lowest and highest computed weight."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        default=0.0, description="Targets are drawn this much towards one half."
    )

    @property
    def weighted(self) -> bool:
        """Whether positives are weighed by `pos_weight`, which the asymmetric loss has not."""
        return self.kind != "asl" and self.pos_weight != "none"


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


class EvaluationConfig(Section):
    """What a model is compared with, beside prevalence, climatology and persistence."""

    knn: bool = Field(
        default=False,
        description="Also the types of the 30 training days whose pressure is most alike, on a "
        "coarse grid, as a baseline.",
    )


class ReportConfig(Section):
    """What an evaluation draws."""

    cases: NonNegativeInt = Field(
        default=4, description="Best and worst days drawn as charts, this many of each."
    )
    attribution: bool = Field(
        default=True, description="Integrated gradients and Grad-CAM over the charts of these days."
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
    evaluation: EvaluationConfig = Field(
        default=EvaluationConfig(), description="Further baselines."
    )
    report: ReportConfig = Field(default=ReportConfig(), description="Figures and cases.")

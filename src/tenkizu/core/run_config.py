"""The two configuration sections that both systems share: the run folder and the training."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from tenkizu.core.config import Section


def _precision_text(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    """``precision: 32`` arrives as a number."""
    return "32" if value == 32 else value


Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Precision = Annotated[
    Literal["32", "bf16-mixed", "16-mixed"] | None, BeforeValidator(_precision_text)
]


class RunConfig(Section):
    """Where a run writes, and what happens when it ends."""

    name: str = Field(
        description="Name of the run and of its folder: letters, digits, '.', '_' and '-'.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$"},
    )
    dir: Path = Field(default=Path("runs"), description="Folder in which the run folder is made.")
    on_finish: str | None = Field(
        default=None,
        description="Shell command called when the run has ended, well or not; it finds the "
        "outcome in the environment as TENKIZU_STATUS, TENKIZU_RUN_DIR and TENKIZU_MESSAGE.",
    )

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            raise ValueError(
                "must begin with a letter, a digit or '_' and hold only letters, digits, "
                "'.', '_' and '-'"
            )
        return name


class TrainConfig(Section):
    """How a network is trained; a wing's subclass may change the defaults."""

    model_config = ConfigDict(allow_inf_nan=False)

    epochs: PositiveInt = Field(default=60, description="Passes over the training samples.")
    batch_size: PositiveInt = Field(
        default=8, description="Samples in one optimiser step, on each process."
    )
    micro_batch: PositiveInt | None = Field(
        default=None,
        description="Samples sent through the network at once, a divisor of batch_size; gradients "
        "add up to the whole batch. null sends the batch at once.",
    )
    lr: PositiveFloat = Field(
        default=5e-5, description="Learning rate of AdamW, the highest of the schedule."
    )
    lr_scale_world: bool = Field(
        default=True, description="Multiply the learning rates by the number of processes."
    )
    scheduler: Literal["cosine", "onecycle", "plateau", "none"] = Field(
        default="cosine", description="How the learning rate changes."
    )
    min_lr: NonNegativeFloat | None = Field(
        default=1e-6,
        description="Learning rate at the end of the cosine schedule; null for a tenth of lr.",
    )
    warmup_steps: NonNegativeInt = Field(
        default=0, description="Optimiser steps over which the learning rate rises from zero."
    )
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="The same as a part of all steps; the longer of the two counts."
    )
    weight_decay: NonNegativeFloat = Field(default=0.01, description="Weight decay of AdamW.")
    decay_all: bool = Field(
        default=False,
        description="Let weight decay act on biases and normalisation too, not only on matrices "
        "and kernels.",
    )
    clip_norm: PositiveFloat | None = Field(
        default=1.0, description="Norm to which the gradient is clipped; null for no clipping."
    )
    select: str = Field(
        default="val_skill", description="Validation score by which the best epoch is kept."
    )
    early_stopping: PositiveInt | None = Field(
        default=None,
        description="Epochs without a better score after which training ends; null to train all "
        "epochs.",
    )
    ema: Fraction | None = Field(
        default=None,
        description="Decay of the exponential moving average of the weights, between 0 and 1; "
        "null for no average.",
    )
    precision: Precision = Field(
        default=None,
        description="Arithmetic of the network; null takes bf16-mixed on a GPU and 32 on a CPU.",
    )
    seed: NonNegativeInt = Field(default=1, description="Seed of all random numbers.")
    workers: NonNegativeInt = Field(
        default=2, description="Threads that read samples ahead, in each training process."
    )
    devices: PositiveInt | Literal["auto"] = Field(
        default="auto", description="Number of GPUs; auto takes all, or the CPU where none is."
    )

    @field_validator("micro_batch")
    @classmethod
    def _divides_the_batch(cls, micro: int | None, info: ValidationInfo) -> int | None:
        batch = info.data.get("batch_size")
        if micro and batch and batch % micro:
            raise ValueError(f"must divide batch_size, which is {batch}")
        return micro

    @field_validator("min_lr")
    @classmethod
    def _is_below_the_peak(cls, low: float | None, info: ValidationInfo) -> float | None:
        peak = info.data.get("lr")
        if low and peak and info.data.get("scheduler") == "cosine" and low > peak:
            raise ValueError(f"must not be above lr, which is {peak:g}")
        return low

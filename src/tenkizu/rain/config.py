"""The configuration of a rain run: one YAML, checked before the first batch."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from tenkizu.core.config import Section
from tenkizu.core.run_config import RunConfig, TrainConfig
from tenkizu.rain.data_config import CONTEXT, ChecksConfig, DataConfig, SourceConfig

__all__ = [
    "CONTEXT",
    "TAU_MIN",
    "V5",
    "ChecksConfig",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "PlotsConfig",
    "RainConfig",
    "RainTrainConfig",
    "ScoresConfig",
    "SourceConfig",
]

TAU_MIN = 0.05
"""Lower limit of a learned temperature."""


def _increasing(edges: list[float]) -> list[float]:
    """Refuse edges of bins, or thresholds of events, that count nothing."""
    if edges != sorted(set(edges)) or (edges and edges[0] <= 0):
        # With ">=" a threshold of 0 is true everywhere and scores nothing.
        raise ValueError("must be positive and increasing")
    return edges


Edges = Annotated[list[float], AfterValidator(_increasing)]


def _windows(choice: int | str) -> int | str:
    """Refuse what does not say which windows."""
    if not re.fullmatch(r"\d+|all|every [1-9]\d*", str(choice)):
        raise ValueError("must be a number of windows, all, or one in so many, such as every 10")
    return int(choice) if str(choice).isdigit() else choice


class ModelConfig(Section):
    """The Swin U-Net; the defaults are the lean network, `V5` the reference one."""

    embed_dim: int = Field(default=64, ge=1, description="Channels of the first stage.")
    depths: list[PositiveInt] = Field(
        default=[2, 2, 6, 2], min_length=2, description="Blocks in each encoder stage."
    )
    num_heads: list[PositiveInt] = Field(
        default=[2, 4, 8, 16], description="Attention heads by stage."
    )
    window_size: int = Field(default=5, ge=1, description="Side of an attention window, tokens.")
    patch_size: int = Field(default=4, ge=1, description="Side of a token, cells.")
    drop_path: float = Field(default=0.2, ge=0, lt=1, description="Largest stochastic depth rate.")
    full_resolution_skip: bool = Field(
        default=True, description="Join two convolutions of the input to the final features."
    )
    upsampling: Literal["shuffle", "bilinear"] = Field(
        default="shuffle",
        description="How the decoder refines its grid: channels become cells, or bilinear "
        "interpolation and a convolution, which cannot draw a checkerboard but costs more.",
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="Compute each block again in the backward pass instead of keeping its "
        "intermediate results: less memory, more time, the same gradients.",
    )
    head: Literal["allocation", "direct"] = Field(
        default="allocation",
        description="Shares of the total, or amounts in mm without a link to it (a baseline).",
    )
    rescale: bool = Field(
        default=False,
        description="Direct head: scale the predicted hours to the total, except in training.",
    )
    temperature: Literal["none", "global", "dynamic"] = Field(
        default="none",
        description="Temperature of the softmax: fixed, one learned number, or a learned map.",
    )
    tau: float = Field(
        default=1.0,
        gt=0,
        description="The fixed temperature, or the one from which learning starts.",
    )
    prior: Literal["none", "linear", "motion"] = Field(
        default="linear",
        description="Shares the network starts from and corrects: even ones, those of linear "
        "interpolation between the totals before and after, or those of rain carried along the "
        "motion of the totals (needs 'motion' in data.context).",
    )
    noise: int = Field(
        default=0,
        ge=0,
        description="Channels of smooth random noise beside the input, from which `tenkizu rain "
        "ensemble` draws members; needs loss.members. All other commands take noise of 0.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.depths) != len(self.num_heads):
            raise ValueError("depths and num_heads must have one entry per stage each")
        for stage, heads in enumerate(self.num_heads):
            if self.embed_dim * 2**stage % heads:
                raise ValueError(f"stage {stage + 1}: {heads} heads do not divide the channels")
        if self.head == "direct" and (self.prior, self.temperature) != ("none", "none"):
            raise ValueError("the direct head has no shares: set prior and temperature to none")
        if self.head == "allocation" and self.rescale:
            raise ValueError("rescale is for the direct head; shares keep the total anyway")
        if self.temperature != "none" and self.tau <= TAU_MIN:
            raise ValueError(f"a learned temperature starts above its lower limit, {TAU_MIN}")
        return self


V5 = ModelConfig(
    embed_dim=128,
    depths=[2, 2, 12, 2],
    num_heads=[4, 8, 16, 32],
    full_resolution_skip=False,
    prior="none",
)
"""The reference network, exactly (specification section 8.1)."""


class LossConfig(Section):
    """The weighted squared error and the bins it and the histograms use."""

    model_config = ConfigDict(allow_inf_nan=False)

    weights: Literal["manual", "inverse_frequency", "power", "off"] = Field(
        default="manual",
        description="Weights by true amount: the given ones, by how rare a bin is in training "
        "(1 / frequency, clipped to 1-100, or a power of it, clipped to 1-1000), or none.",
    )
    manual_weights: list[NonNegativeFloat] = Field(
        default=[1, 5, 20, 100, 250, 500, 1000], description="One weight per hourly bin."
    )
    manual_weights_sum: list[NonNegativeFloat] = Field(
        default=[1, 5, 20, 100, 250, 500, 1000],
        description="One weight per 3-hour bin, for the direct head.",
    )
    alpha: float = Field(default=0.5, gt=0, description="Exponent of the power weights.")
    bins_1h: Edges = Field(
        default=[1, 5, 10, 20, 30, 50], description="Edges of the hourly bins, mm."
    )
    bins_sum: Edges = Field(
        default=[2, 10, 20, 40, 60, 100], description="Edges of the 3-hour bins, mm."
    )
    mask_mm: float = Field(
        default=0.1, ge=0, description="Cells with a smaller total are left out of the loss, mm."
    )
    normaliser: Literal["equal_split", "weights"] = Field(
        default="equal_split",
        description="Divide by the error of S/3 over the training windows as they are, so that 1 "
        "is about as good as S/3, or by the weights. The training curve can lie above: amounts "
        "scaled at random and tiles chosen for their rain have another error of S/3, and kl and "
        "members add terms of their own.",
    )
    kl: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the divergence of the predicted shares from the true ones; 0.1 is "
        "a sensible value.",
    )
    focal: float = Field(
        default=0.0,
        ge=0,
        description="Further weight of heavy hours: 1 at 10 mm, growing to 1 + 0.75 times this at "
        "50 mm and above.",
    )
    members: int = Field(
        default=1,
        ge=1,
        description="With 2 or more (and model.noise) each window is also split so many times with "
        "noise, and the fair energy score of these, without weights, is added to the loss of the "
        "split without noise.",
    )
    member_squares: list[PositiveInt] = Field(
        default=[1, 8],
        min_length=1,
        description="Sides of squares, cells, of whose mean amounts the energy score is taken, in "
        "equal parts: 1 for cells, larger ones for members that agree over areas (the score of "
        "cells alone does not mind members that turn from cell to cell).",
    )

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if self.weights == "manual" and len(self.manual_weights) != len(self.bins_1h) + 1:
            raise ValueError("manual_weights needs one entry more than bins_1h")
        return self

    @property
    def hourly_weights(self) -> list[float]:
        """The weight of each hourly bin, when it does not depend on the data."""
        if self.weights not in ("manual", "off"):
            raise ValueError(f"{self.weights} weights come from tenkizu.rain.weights.loss_weights")
        return self.manual_weights if self.weights == "manual" else [1.0] * (len(self.bins_1h) + 1)


class ScoresConfig(Section):
    """What the evaluation counts."""

    model_config = ConfigDict(allow_inf_nan=False)

    thresholds_1h: Edges = Field(
        default=[0.1, 1, 5, 10, 20, 30, 50], description="Hourly events: at least this many mm."
    )
    categories_1h: Edges = Field(
        default=[5, 10, 20, 30, 50], description="Inner edges of the hourly classes, mm."
    )
    thresholds_sum: Edges = Field(
        default=[0.2, 2, 10, 20, 40, 60, 100],
        description="3-hour events, of models whose hours need not add to the total: at least "
        "this many mm.",
    )
    categories_sum: Edges = Field(
        default=[10, 20, 40, 60, 100],
        description="Inner edges of the classes of 3-hour sums, of such models, mm.",
    )
    wet_hour_mm: float = Field(
        default=0.1, gt=0, description="An hour with at least this many mm is wet."
    )
    fss_thresholds: Edges = Field(
        default=[1, 5, 10, 20, 30, 50], description="Events of the fractions skill score, mm."
    )
    fss_windows: list[PositiveInt] = Field(
        default=[1, 3, 5, 9, 17, 33, 65],
        description="Sides of its square windows, cells; an empty list leaves the score out.",
    )

    advection_levels: list[PositiveInt] = Field(
        default=[850],
        min_length=1,
        description="Pressure levels, hPa, whose mean wind carries the rain of the advection "
        "baseline, where the store has their winds.",
    )

    land_file: Path | None = Field(
        default=None,
        description="NetCDF with a land mask or orography on the grid of the rain, or a larger "
        "one with the same nodes, for scores over land and over sea.",
    )

    @field_validator("fss_windows")
    @classmethod
    def _centred(cls, sides: list[int]) -> list[int]:
        if sides != sorted(set(sides)) or not all(side % 2 for side in sides):
            # A window has a cell in its middle only if its side is odd.
            raise ValueError("must be odd and increasing")
        return sides


class PlotsConfig(Section):
    """The figures of an evaluation."""

    model_config = ConfigDict(allow_inf_nan=False)

    cases: Annotated[int | str, AfterValidator(_windows)] = Field(
        default=6,
        description="Windows whose panels are drawn: so many of those with most rain, of those "
        "split best and of those split worst; or `all`, or one in so many, such as `every 10`, and "
        "6 of each kind. 0 draws none, and no film after training either.",
    )
    lognorm_vmin_mm: float = Field(
        default=0.1, gt=0, description="Lower limit of the logarithmic colour scale, mm."
    )
    linear_vmax_mm: PositiveFloat | None = Field(
        default=None,
        description="Upper limit of the linear colour scale, mm, such as 600; null takes the 99th "
        "percentile of a window's positive amounts, at least 1 and at most 600.",
    )
    video: bool = Field(
        default=True,
        description="After training, make a film of the two days around the window with most rain, "
        "of the test or else of the validation.",
    )
    video_fps: float = Field(default=2, gt=0, le=30, description="Windows a second in a film.")

    @property
    def heaviest(self) -> int:
        """How many of the windows with most rain are drawn, as of those split best and worst."""
        return self.cases if isinstance(self.cases, int) else 6

    @property
    def every(self) -> int | None:
        """The step between windows that are drawn whatever their rain, None if there are none."""
        if isinstance(self.cases, int):
            return None
        return 1 if self.cases == "all" else int(self.cases.removeprefix("every "))


class RainTrainConfig(TrainConfig):
    """Training; the keys are those of the patterns wing."""

    select: Literal["val_skill", "val_loss", "val_rmse_1h"] = Field(
        default="val_skill",
        description="What the best epoch is chosen by, on the validation periods: conditional "
        "MSE skill against S/3, loss, or 1 h RMSE.",
    )


class RainConfig(Section):
    """Hourly rain from 3-hour totals: prepare, train, evaluate."""

    kind: Literal["rain"] = Field(default="rain", description="Which system this file is for.")
    run: RunConfig = Field(description="Name and place of the run.")
    data: DataConfig = Field(description="Source, splits and input channels.")
    model: ModelConfig = Field(default=ModelConfig(), description="The network.")
    loss: LossConfig = Field(default=LossConfig(), description="The loss.")
    train: RainTrainConfig = Field(default=RainTrainConfig(), description="Training.")
    scores: ScoresConfig = Field(default=ScoresConfig(), description="Scores.")
    plots: PlotsConfig = Field(default=PlotsConfig(), description="Figures.")

    @model_validator(mode="after")
    def _prior_is_given(self) -> Self:
        if self.model.prior == "motion" and "motion" not in self.data.context:
            raise ValueError("model.prior=motion needs 'motion' in data.context")
        if self.model.prior == "linear" and "s" not in self.data.context:
            raise ValueError("model.prior=linear needs 's' in data.context")
        return self

    @model_validator(mode="after")
    def _members_differ_by_noise(self) -> Self:
        if (self.model.noise > 0) != (self.loss.members > 1):
            raise ValueError(
                "model.noise and loss.members belong together: one squared error teaches a network "
                "to ignore noise, and members without noise are all alike"
            )
        if self.loss.members > 1 and self.model.head != "allocation":
            raise ValueError("loss.members needs model.head=allocation, so that members add to S")
        if self.loss.members > 1 and self.model.drop_path:
            raise ValueError(
                "loss.members needs model.drop_path=0: what it drops would spread the members, "
                "but in training only"
            )
        return self

    def parts(self) -> "dict[str, RainConfig]":
        """Each source by its name, as a run on that source alone."""
        return {
            name: self.model_copy(update={"data": data}) for name, data in self.data.parts().items()
        }

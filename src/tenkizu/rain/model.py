"""The model that travels: scaling, network and allocation in one module, with its description."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenkizu.core.checkpoint import find_model, load_model, load_weights, save_model
from tenkizu.core.config import build_config
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.normaliser import ChannelScale, Normaliser
from tenkizu.core.stats import Moments
from tenkizu.rain.allocation import (
    allocation_logits_to_mm,
    direct_to_mm,
    learned_temperature,
    linear_log_shares,
    log_shares,
    raw_temperature,
    rescale_to_total,
)
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.config import V5, ModelConfig, RainConfig
from tenkizu.rain.context import Planes, fixed_planes
from tenkizu.rain.dataset import assemble, input_channels
from tenkizu.rain.fields import field_scales, is_field
from tenkizu.rain.motion import motion_hours
from tenkizu.rain.noise import window_noise
from tenkizu.rain.swin_unet import SwinUNet, parameter_table
from tenkizu.rain.tables import MOTION, RAIN
from tenkizu.rain.tiled_inference import tiled_output
from tenkizu.rain.tiles import usual_side

log = logging.getLogger(__name__)

SPACING_TOLERANCE = 0.2
"""Relative difference in grid spacing beyond which the user must say what to do."""


class Disaggregator(nn.Module):
    """Raw channels and S in, hourly mm out.

    Args:
        model: the network's shape.
        scales: input channels with their scaling.
    """

    def __init__(self, model: ModelConfig, scales: Sequence[ChannelScale]) -> None:
        super().__init__()
        self.head = model.head
        self.rescale = model.rescale
        self.tau = model.tau
        self.normaliser = Normaliser(scales)
        self.noise = model.noise
        self.network = _build(model, len(scales))
        self.prior = model.prior
        if self.prior != "none":
            # Training then starts at the prior exactly.
            nn.init.zeros_(self.network.head.weight)
        self.raw_tau: nn.Parameter | None = None
        if model.temperature == "global":
            self.raw_tau = nn.Parameter(torch.tensor(raw_temperature(model.tau)))
        elif self.network.temperature is not None:
            # The same start, everywhere.
            *_, (_, weight), (_, bias) = self.network.temperature.named_parameters()
            nn.init.zeros_(weight)
            nn.init.constant_(bias, raw_temperature(model.tau))

    @property
    def channels(self) -> list[str]:
        """Names of the input channels, in order."""
        return [scale.name for scale in self.normaliser.scales]

    @property
    def conserves(self) -> bool:
        """Whether the hours sum to S; a direct head that is not rescaled has no link to it."""
        return self.head == "allocation" or self.rescale

    def output(self, raw: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor | float]:
        """What `hours` turns into amounts, for raw input (B, C, H, W).

        Args:
            raw: the input channels.
            noise: (B, K, H, W) for a network with K channels of it; None for zeros.

        Returns:
            Network output plus prior, (B, 3, H, W), and the temperature, a number or (B, 1, H, W).
        """
        scaled = self.normaliser(raw)
        if self.noise:
            if noise is None:
                noise = torch.zeros_like(raw[:, :1]).expand(-1, self.noise, -1, -1)
            scaled = torch.cat([scaled, noise], dim=1)
        maps: Tensor = self.network(scaled)
        tau: Tensor | float = self.tau
        if self.raw_tau is not None:
            tau = learned_temperature(self.raw_tau)
        elif self.network.temperature is not None:
            maps, tau = maps[:, :3], learned_temperature(maps[:, 3:])
        if self.prior == "none":
            return maps, tau
        if self.prior == "motion":
            first = self.channels.index(MOTION[0])
            return maps + log_shares(raw[:, first : first + 3]), tau
        total = raw[:, self.channels.index("S")]
        before, after = (
            raw[:, self.channels.index(name)] if name in self.channels else total for name in "PN"
        )
        return maps + linear_log_shares(before, total, after), tau

    def _with_noise(self, both: Tensor) -> tuple[Tensor, Tensor | float]:
        """`output` of raw channels followed by those of the noise, (B, C + K, H, W)."""
        channels = len(self.channels)
        return self.output(both[:, :channels], both[:, channels:])

    def hours(self, output: Tensor, tau: Tensor | float, sum_mm: Tensor) -> Tensor:
        """Hourly amounts (B, 3, H, W), mm, of an `output`; S is (B, 1, H, W), mm."""
        if self.head == "allocation":
            return allocation_logits_to_mm(output, sum_mm, tau)
        predicted = direct_to_mm(output)
        if self.rescale and not self.training:
            return rescale_to_total(predicted, sum_mm)
        return predicted

    def forward(self, raw: Tensor, sum_mm: Tensor) -> Tensor:
        """Hourly amounts (B, 3, H, W), mm, for raw input (B, C, H, W) and S (B, 1, H, W)."""
        return self.hours(*self.output(raw), sum_mm)

    @torch.inference_mode()
    def split(
        self,
        rain: NDArray[np.float32],
        start: np.datetime64,
        fixed: Planes | None = None,
        tile: int | None = None,
        draw: int | None = None,
    ) -> NDArray[np.float32]:
        """Split one window.

        Args:
            rain: (6, H, W) in the order P, y4, y5, y6, S, N, mm; the hours are not looked at.
            start: start of the window, UTC.
            fixed: forecast fields, and channels of the grid (`fixed_planes`), if the model wants
                them; and the hours of the motion baseline, which are made here if not given.
            tile: side of the tiles to go by, cells; None for the whole frame at once.
            draw: number of the draw, from 1, that a network with noise is to make; None for noise
                of 0.

        Returns:
            Hourly amounts (3, H, W), mm, NaN where S is missing.

        Raises:
            DataError: the network gave a value that is not finite, or ``fixed`` lacks a channel.
        """
        device = self.normaliser.mean.device
        total = torch.from_numpy(np.array(rain[4:5]))[None].to(device)
        if self.conserves and not bool((total > 0).any()):
            # A dry window is 0 whatever the shares; NaN cells stay NaN.
            return np.repeat(total[0].cpu().numpy(), 3, axis=0)
        if MOTION[0] in self.channels and MOTION[0] not in (fixed or {}):
            carried = motion_hours(rain[0], rain[4], rain[5])
            fixed = {**(fixed or {}), **dict(zip(MOTION, carried, strict=True))}
        raw = torch.from_numpy(assemble(self.channels, rain, start, fixed))[None].to(device)
        given = raw
        through: Callable[[Tensor], tuple[Tensor, Tensor | float]] = self.output
        if draw is not None and self.noise:
            noise = torch.from_numpy(window_noise(self.noise, rain.shape[1:], start, draw))
            # One tensor for both, so that tiles are cut from the noise of the whole frame.
            given = torch.cat([raw, noise[None].to(device)], dim=1)
            through = self._with_noise
        output, tau = tiled_output(through, given, total, tile) if tile else through(given)
        if not all(bool(torch.isfinite(torch.as_tensor(x)).all()) for x in (output, tau)):
            raise DataError(
                "the network gave values that are not finite",
                variable=str(start),
                next_step="check the input for absurd values, or train again",
            )
        amounts = self.hours(output, tau, total).masked_fill(torch.isnan(total), torch.nan)
        hours: NDArray[np.float32] = amounts[0].cpu().numpy()
        return hours


class RainModel:
    """A trained model with all that evaluation and prediction need.

    Attributes:
        net: the module, in evaluation mode.
        metadata: the content of ``model.json``.
        climatology: the training table of the climatological baseline.
        tiles: whether windows are split tile by tile, as ``data.tiled_inference`` of the run says.
    """

    def __init__(
        self, net: Disaggregator, metadata: dict[str, Any], tiles: bool | None = None
    ) -> None:
        self.net = net.eval()
        data = metadata.get("config", {}).get("data", {})
        self.tiles = bool(data.get("tiled_inference")) if tiles is None else tiles
        self._tile: int | None = data.get("tile")
        self.metadata = metadata
        self.climatology = Climatology.from_json(metadata["climatology"])
        self._fixed: tuple[Grid, Planes] | None = None

    @classmethod
    def load(
        cls, model: str | Path, device: str | None = None, tiles: bool | None = None
    ) -> "RainModel":
        """Load a model by run folder, exported folder or shipped name.

        Args:
            model: where it is.
            device: ``cpu``, ``cuda``, ...; by default a GPU when there is one.
            tiles: split windows tile by tile; by default as the run was configured.

        Raises:
            DataError: there is no such model, or it is damaged or foreign.
        """
        weights, metadata = load_model(model, "rain")
        folder = find_model(model)
        try:
            shape = build_config(ModelConfig, metadata["network"], f"{folder}/model.json")
            scales = [ChannelScale(**item) for item in metadata["channels"]]
            net = Disaggregator(shape, scales)
            load_weights(net, weights, folder)
            result = cls(net, metadata, tiles)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"an entry is missing or wrong: {error}",
                file=folder / "model.json",
                next_step="copy the whole model folder again",
            ) from None
        net.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return result

    @property
    def weights_hash(self) -> str:
        """Short hash of the weights, written into every output."""
        return str(self.metadata["weights_sha256"])[:12]

    def split(
        self,
        rain: NDArray[np.float32],
        start: np.datetime64,
        grid: Grid,
        motion: NDArray[np.float32] | None = None,
        fields: Planes | None = None,
        draw: int | None = None,
    ) -> NDArray[np.float32]:
        """Split one window on a grid; as `Disaggregator.split` otherwise.

        The hours of the motion baseline (3, H, W) are used if they are given, else made. Fields are
        forecasts by channel name, for a model that wants them. A model with noise makes a ``draw``,
        the same for the same number and start.

        Raises:
            DataError: also when the model wants position or orography and the grid has none.
        """
        if self._fixed is None or self._fixed[0] is not grid:
            # Once per file: the grid is the same object for all its windows.
            static_file = self.metadata.get("config", {}).get("data", {}).get("static_file")
            self._fixed = grid, fixed_planes(self.net.channels, grid, static_file)
        fixed = {**self._fixed[1], **(fields or {})}
        if motion is not None:
            fixed = {**fixed, **dict(zip(MOTION, motion, strict=True))}
        tile = (self._tile or usual_side(grid.shape)) if self.tiles else None
        return self.net.split(rain, start, fixed, tile, draw)

    def require_rain_alone(self, source: str | Path) -> None:
        """Refuse a source of rain alone when the model needs forecast fields too.

        Raises:
            DataError: it does; the message lists them.
        """
        missing = [name for name in self.net.channels if is_field(name)]
        if missing:
            raise DataError(
                "rain alone is not enough for this model: it also needs forecast fields",
                file=source,
                found="rain",
                expected=", ".join(missing),
                next_step="use a model that needs nothing but rain, such as rain-only",
            )

    @property
    def spacing_range_km(self) -> tuple[float, float] | None:
        """Least and largest grid spacing of the training; None if it is not known."""
        known = self.metadata.get("spacing_range_km") or self.metadata.get("spacing_km")
        return (float(min(known)), float(max(known))) if known else None

    def nearest_spacing(self, grid: Grid) -> tuple[float, float] | None:
        """The spacing of the training that is nearest to a grid's, where the grid's is far from it.

        Returns:
            Distance of rows and of columns, km: the nearer end of the range of the training where
            it is off by more than `SPACING_TOLERANCE`, else that of the grid. None when neither is
            off, or a spacing is not known.
        """
        trained, found = self.spacing_range_km, grid.spacing_km
        if trained is None or found is None:
            return None
        low, high = trained
        near = [
            one
            if low / (1 + SPACING_TOLERANCE) <= one <= high * (1 + SPACING_TOLERANCE)
            else min(max(one, low), high)
            for one in found
        ]
        return None if near == list(found) else (near[0], near[1])

    def check_grid(self, grid: Grid) -> str | None:
        """A warning when a grid's spacing is far from those of the training, else None."""
        trained, found = self.spacing_range_km, grid.spacing_km
        if trained is None or found is None or self.nearest_spacing(grid) is None:
            return None
        low, high = trained
        known = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        return (
            f"the grid spacing is {found[0]:.3g} x {found[1]:.3g} km, the model was trained at "
            f"{known} km: hours are split on the grid as it is, and scores may be lower than "
            "the model's own"
        )


NETWORKS = {"v5": (V5, 53), "default": (ModelConfig(), 5)}
"""Named networks with their number of input channels: the reference one and our lean default."""


def network_table(network: ModelConfig, channels: int) -> dict[str, int]:
    """Parameters of each part of a network, without building its weights."""
    with torch.device("meta"):
        return parameter_table(_build(network, channels))


def unscaled_inputs(config: RainConfig) -> list[ChannelScale]:
    """Input channels of a configured network, before there are statistics."""
    return input_channels(config.data, Moments.empty(len(RAIN)), field_scales(config.data))


def describe_network(config: RainConfig) -> tuple[list[str], dict[str, int]]:
    """Input channels and parameters by part of a configured network."""
    channels = [scale.name for scale in unscaled_inputs(config)]
    return channels, network_table(config.model, len(channels))


def _build(network: ModelConfig, channels: int) -> SwinUNet:
    shape = network.model_dump(exclude={"tau", "prior", "head", "rescale", "temperature", "noise"})
    temperature = network.temperature == "dynamic"
    return SwinUNet(channels + network.noise, temperature_map=temperature, **shape)


def export(folder: Path, net: Disaggregator, network: ModelConfig, details: dict[str, Any]) -> Path:
    """Write a model folder.

    Args:
        folder: where to.
        net: the module with its final weights.
        network: the shape it was built from.
        details: further JSON-ready metadata; ``climatology`` is required.
    """
    metadata = {
        "kind": "rain",
        "network": network.model_dump(mode="json"),
        "channels": [asdict(scale) for scale in net.normaliser.scales],
        "output": {"names": ["y4", "y5", "y6"], "units": "mm"},
        **details,
    }
    return save_model(folder, net.state_dict(), metadata)

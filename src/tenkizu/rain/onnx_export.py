"""The model as one ONNX file, for places where torch is not; checked against torch when written."""

import json
import logging
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenkizu.core.errors import CheckFailed, ConfigError
from tenkizu.core.normaliser import ChannelScale
from tenkizu.core.store import atomic
from tenkizu.rain.model import Disaggregator, RainModel

log = logging.getLogger(__name__)

INPUTS, OUTPUT = ("channels", "total"), "rain_1h"
"""Names of the graph's inputs and of its output."""

OPSET = 20
"""The first version of ONNX's operators that has GELU; named, so that files do not change with
what the installed torch prefers."""

LIMIT_MM = 1e-4
"""Largest difference to torch that an export may have, mm."""

LARGEST_BYTES = 2_000_000_000
"""Weights beyond this do not fit into one file: protocol buffers end at 2 GiB."""

HEAVIEST_MM = 200.0
"""Largest 3-hour total that the check tries, mm."""

MEANING = {
    "S": "rain of the three hours to be split; NaN where missing",
    "P": "rain of the three hours before; NaN where missing",
    "N": "rain of the three hours after; NaN where missing",
    "P_present": "1 where P is known, else 0",
    "N_present": "1 where N is known, else 0",
    "M4": "first hour of S carried along the motion of P, S and N (tenkizu.rain.motion)",
    "M5": "second hour, as M4",
    "M6": "third hour, as M4",
    "Prec_ft3": "P",
    "dayofyear_sin": "sin(2 pi d / 366), d = 1 on 1 January; time is UTC 3 h before the window",
    "dayofyear_cos": "its cosine",
    "hour_sin": "sin(2 pi h / 24); time is UTC 3 h before the window",
    "hour_cos": "its cosine",
    "S_box5": "mean of log(1 + S) over the known cells of 5 x 5, 0 where there is none",
    "S_box15": "mean of log(1 + S) over the known cells of 15 x 15, 0 where there is none",
    "S_dx": "half of log(1 + S) east minus west, edges repeated, 0 beside missing cells",
    "S_dy": "half of log(1 + S) north minus south, edges repeated, 0 beside missing cells",
    "orography": "height above mean sea level",
    "land": "1 on land, 0 at sea",
}
"""What channels hold, for whoever has only the file; forecast fields go by their names."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        channels: names of the planes of the input ``channels``, in order.
        size: rows and columns, cells.
        difference_mm: largest difference to torch that was measured; None if onnxruntime is not
            installed, and so nothing was measured.
    """

    path: Path
    channels: list[str]
    size: tuple[int, int]
    difference_mm: float | None


class _Graph(nn.Module):
    """What is traced: as `Disaggregator.split` with the channels already made."""

    def __init__(self, net: Disaggregator) -> None:
        super().__init__()
        self.net = net
        is_total = torch.tensor([name == "S" for name in net.channels]).reshape(-1, 1, 1)
        self.register_buffer("is_total", is_total)

    def forward(self, channels: Tensor, total: Tensor) -> Tensor:
        """Hours (B, 3, H, W), mm, from raw channels (B, C, H, W) and S (B, 1, H, W), mm."""
        # Where S is unknown it reads as dry ground, as in `tenkizu.rain.dataset.assemble`.
        unknown = torch.isnan(channels) & self.get_buffer("is_total")
        hours: Tensor = self.net(channels.masked_fill(unknown, 0.0), total)
        return hours.masked_fill(torch.isnan(total), torch.nan)


def export_onnx(
    model: str | Path, output: str | Path, size: tuple[int, int] | None = None
) -> Exported:
    """Write a model as one ONNX file that gives hours in mm from channels in physical units.

    The graph takes ``channels`` (B, C, H, W), the raw input channels in the model's order, and
    ``total`` (B, 1, H, W), S in mm, both float32 with north row first and NaN where missing; it
    gives ``rain_1h`` (B, 3, H, W), mm, NaN where S is missing. Scaling, prior, network, softmax and
    the product with S are inside. B is free, H and W are ``size``. The file's metadata describe
    channels, model and grid. If onnxruntime is installed the file is compared with torch before it
    gets its name.

    Args:
        model: run folder, exported folder or shipped name.
        output: the file.
        size: rows and columns of the frames, cells; by default a training tile, or else the
            training grid, rounded up to whole attention windows.

    Raises:
        ConfigError: onnx or onnxscript is not installed, the size is wrong or must be given, or the
            weights do not fit into one file.
        CheckFailed: the file differs from torch by more than `LIMIT_MM`; nothing is left.
        DataError: there is no such model.
    """
    output = Path(output)
    for library in ("onnx", "onnxscript"):
        try:
            import_module(library)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"ONNX needs a library that is not installed: {library}",
                file=output,
                next_step="pip install 'tenkizu[onnx]'",
            ) from error
    if output.is_dir():
        raise ConfigError("is a folder", file=output, expected="the name of a file")
    loaded = RainModel.load(model, device="cpu")
    size = size or usual_size(loaded)
    if min(size) < 1:
        raise ConfigError("no such size", variable="size", found=size, expected="1 cell or more")
    weights = sum(4 * parameter.numel() for parameter in loaded.net.parameters())
    if weights > LARGEST_BYTES:
        raise ConfigError(
            "the weights do not fit into one ONNX file",
            file=output,
            found=f"{weights / 1e9:.1f} GB",
            expected=f"at most {LARGEST_BYTES / 1e9:.1f} GB",
            next_step="use the exported folder of the model, which tenkizu loads",
        )
    graph = _Graph(loaded.net).eval()
    example = tuple(map(torch.from_numpy, plausible_input(loaded.net.normaliser.scales, 2, size)))
    # On the CPU attention is the explicit one, which is plain products and a softmax.
    program = torch.onnx.export(
        graph,
        example,
        input_names=INPUTS,
        output_names=[OUTPUT],
        opset_version=OPSET,
        dynamic_shapes=({0: "batch"}, {0: torch.export.Dim.DYNAMIC}),
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise CheckFailed("torch exported nothing", file=output)
    program.model.metadata_props.update(describe(loaded, size))
    with atomic(output) as part:
        program.save(part, external_data=False)
        difference = largest_difference(part, graph, loaded.net.normaliser.scales, size)
        if difference is not None and not difference <= LIMIT_MM:
            raise CheckFailed(
                "the ONNX file and torch do not agree, so it was not kept",
                file=output,
                found=f"{difference:.2g} mm between hourly amounts",
                expected=f"at most {LIMIT_MM:g} mm, for totals up to {HEAVIEST_MM:g} mm",
                next_step="use the exported folder of the model, which tenkizu loads; very sharp "
                "shares differ so by float32 rounding alone, anything else is a fault of the file",
            )
    if difference is None:
        log.warning("%s: not compared with torch, because onnxruntime is not installed", output)
    return Exported(output, loaded.net.channels, size, difference)


def usual_size(model: RainModel) -> tuple[int, int]:
    """Rows and columns of a training tile, or else of the training grid, in whole windows.

    Raises:
        ConfigError: the model knows neither.
    """
    tile = model.metadata.get("config", {}).get("data", {}).get("tile")
    shape = [tile, tile] if tile else model.metadata.get("grid", {}).get("shape")
    if not shape:
        raise ConfigError(
            "the model does not say on what size it was trained",
            variable="size",
            next_step="give rows and columns, such as --size 480x480",
        )
    multiple = model.net.network.size_multiple
    rows, columns = (-(-int(side) // multiple) * multiple for side in shape)
    return rows, columns


def describe(model: RainModel, size: tuple[int, int]) -> dict[str, str]:
    """Metadata of the file: text, or JSON where there is more than one value."""
    channels = [
        {"name": scale.name, "units": scale.units, "meaning": MEANING.get(scale.name, "")}
        for scale in model.net.normaliser.scales
    ]
    details: dict[str, object] = {
        "kind": "tenkizu rain",
        "model": model.metadata.get("name", ""),
        "weights_sha256": model.metadata["weights_sha256"],
        "tenkizu": version("tenkizu"),
        "channels": channels,
        "total": "S: rain of the three hours to be split, mm, NaN where missing",
        "hours": ["hour 1 of S, mm", "hour 2 of S, mm", "hour 3 of S, mm"],
        "hours_sum_to_total": model.net.conserves,
        "rows": "north first",
        "size": size,
        "spacing_range_km": model.spacing_range_km,
        "licence": model.metadata.get("licence"),
    }
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in details.items()
        if value is not None
    }


def plausible_input(
    scales: tuple[ChannelScale, ...], batch: int, size: tuple[int, int], seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Random channels (B, C, H, W) as a model might meet them, and S (B, 1, H, W), mm.

    Rain falls on about half of the cells, in blocks, up to `HEAVIEST_MM`; some cells lack S, the
    last sample of several lacks the neighbours in time. Other channels vary about their training
    mean.
    """
    rng = np.random.default_rng(seed)
    shape = (batch, *size)

    def rain() -> NDArray[np.float32]:
        coarse = rng.lognormal(1.0, 1.2, (batch, -(-size[0] // 4), -(-size[1] // 4)))
        coarse[rng.random(coarse.shape) < 0.5] = 0.0
        blocks = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, : size[0], : size[1]]
        return (blocks * rng.uniform(0.5, 1.5, shape)).clip(max=HEAVIEST_MM).astype(np.float32)

    total = rain()
    total[:, 0, 0] = HEAVIEST_MM
    total[:, -1, -1] = np.nan
    channels = np.empty((batch, len(scales), *size), np.float32)
    for i, scale in enumerate(scales):
        if scale.name == "S":
            channels[:, i] = total
        elif scale.name.endswith("_present"):
            channels[:, i] = 1.0
            channels[1:][-1:, i] = 0.0
        elif scale.units == "mm":
            channels[:, i] = rain()
            if scale.name in ("P", "N", "Prec_ft3"):
                channels[1:][-1:, i] = np.nan
        else:
            values = scale.mean + scale.std * rng.standard_normal(shape)
            channels[:, i] = scale.scale * (
                np.expm1(values) if scale.transform == "log1p" else values
            )
    return channels, total[:, None]


def largest_difference(
    file: Path, graph: nn.Module, scales: tuple[ChannelScale, ...], size: tuple[int, int]
) -> float | None:
    """Largest difference between onnxruntime and torch, mm, on one and on three samples.

    Returns:
        Infinity when values are missing elsewhere than S is; None without onnxruntime.
    """
    try:
        runtime = import_module("onnxruntime")
    except ModuleNotFoundError:
        return None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in (1, 3):
        given = plausible_input(scales, batch, size, seed=batch)
        (found,) = session.run([OUTPUT], dict(zip(INPUTS, given, strict=True)))
        with torch.inference_mode():
            expected = graph(*map(torch.from_numpy, given)).numpy()
        missing = np.broadcast_to(np.isnan(given[1]), expected.shape)
        if found.shape != expected.shape or not all(
            np.array_equal(np.isnan(hours), missing) for hours in (found, expected)
        ):
            return float("inf")
        largest = max(largest, float(np.nanmax(np.abs(found - expected), initial=0.0)))
    return largest

"""`tenkizu rain export`: a model for places where tenkizu and torch are not."""

import re
from pathlib import Path
from typing import Annotated

import typer

from tenkizu.core.errors import ConfigError


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Run folder, exported model folder, or a name that `tenkizu models` lists.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE.onnx", help="The file to write."),
    ],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Rows and columns of the frames that the file will take, cells, such as 480x480; "
            "any size will do. By default a tile of the training, or else its grid, rounded up to "
            "whole attention windows.",
        ),
    ] = None,
) -> None:
    r"""Write a model as one ONNX file, which runs without tenkizu and torch.

    The file takes two inputs, float32, any number of samples B at once: `channels` (B, C, H, W),
    the input channels in the model's order and in physical units, and `total` (B, 1, H, W), the
    3-hour total S in mm; rows run from north to south and missing values are NaN. It gives
    `rain_1h` (B, 3, H, W), mm, NaN where S is missing. All scaling is inside; names, units and
    meaning of the channels, the model's name and hash, and the grid spacing of its training are in
    the file's metadata.

    H and W are fixed in the file: export once for each size you need. Frames are split as a whole;
    tiling is left to the caller.

    Needs `pip install 'tenkizu\[onnx]'`. If onnxruntime is installed too, the new file is run and
    compared with torch on random rain, dry and missing cells included; a difference above 1e-4 mm
    is an error, and leaves no file.
    """
    from tenkizu.rain.onnx_export import INPUTS, LIMIT_MM, OUTPUT, export_onnx

    made = export_onnx(model, output, _size(size))
    frame = " x ".join(map(str, made.size))
    typer.echo(f"file: {made.path} ({made.path.stat().st_size / 1e6:.1f} MB)")
    typer.echo(f"input: {INPUTS[0]} (B x {len(made.channels)} x {frame}), float32:")
    typer.echo(f"  {', '.join(made.channels)}")
    typer.echo(f"input: {INPUTS[1]} (B x 1 x {frame}), float32, mm")
    typer.echo(f"output: {OUTPUT} (B x 3 x {frame}), float32, mm")
    if made.difference_mm is None:
        typer.echo("not compared with torch: pip install onnxruntime, and export again")
    else:
        typer.echo(f"largest difference to torch: {made.difference_mm:.1e} mm (limit {LIMIT_MM:g})")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)\s*[xX]\s*(\d+)", text.strip())
    if not found:
        raise ConfigError(
            "not a size", variable="--size", found=text, expected="rows x columns, such as 480x480"
        )
    return int(found[1]), int(found[2])

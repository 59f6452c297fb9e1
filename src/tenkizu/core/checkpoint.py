"""The exported model: ``model.safetensors`` and ``model.json``, loaded without pickle.

The JSON holds all that prediction needs beside the weights: architecture, channels with units and
statistics, grid, configuration and provenance. It also holds the hash of the weights, so that a
damaged or mismatched pair is found before it predicts anything.
"""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor

from tenkizu.core.errors import DataError
from tenkizu.core.samples import samples_folder
from tenkizu.core.store import atomic, read_json, write_json

MODEL_FORMAT = "tenkizu-model"
MODEL_VERSION = 1
WEIGHTS, METADATA = "model.safetensors", "model.json"


def save_model(folder: str | Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> Path:
    """Write a model folder; a reader never meets a half-written one.

    Args:
        folder: created if need be.
        weights: the state dictionary.
        metadata: JSON-ready; ``kind`` names the system (``rain`` or ``patterns``).

    Returns:
        The folder.
    """
    folder = Path(folder)
    tensors = {name: t.detach().cpu().contiguous() for name, t in weights.items()}
    with atomic(folder / WEIGHTS) as part:
        save_file(tensors, part)
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
    header = {
        "format": MODEL_FORMAT,
        "format_version": MODEL_VERSION,
        "weights_sha256": digest,
        "parameters": sum(t.numel() for t in tensors.values() if t.is_floating_point()),
        "versions": {
            "tenkizu": version("tenkizu"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    write_json(folder / METADATA, header | metadata)
    return folder


def shipped_models() -> dict[str, Path]:
    """Folders of the models inside the package, by name."""
    return {p.parent.name: p.parent for p in samples_folder().glob(f"models/*/{METADATA}")}


def find_model(model: str | Path) -> Path:
    """The folder of a model given as a run folder, an exported folder or a shipped name.

    Raises:
        DataError: there is no such model, or its run has not finished.
    """
    folder = Path(model)
    if (folder / METADATA).is_file():
        return folder
    shipped = shipped_models()
    if str(model) in shipped:
        return shipped[str(model)]
    if folder.is_dir():
        unfinished = (folder / "last.ckpt").exists()
        raise DataError(
            "the run has no exported model yet" if unfinished else "not a model folder",
            file=folder,
            expected=f"{METADATA} and {WEIGHTS}",
            next_step="finish it with `train CONFIG --resume`" if unfinished else None,
        )
    raise DataError(
        "no such model",
        file=folder,
        expected="a run folder, an exported model folder, or one of: "
        + (", ".join(sorted(shipped)) or "(no model ships with this version)"),
        next_step="list the models with `tenkizu models`",
    )


def load_model(model: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a model's weights and metadata, checking that they belong together.

    Args:
        model: as for `find_model`.
        kind: the system that asks, ``rain`` or ``patterns``.

    Raises:
        DataError: the folder is damaged, of another format or of the other system.
    """
    folder = find_model(model)
    metadata = read_json(folder / METADATA, "the description of a tenkizu model")
    found = (metadata.get("format"), metadata.get("format_version"))
    if found != (MODEL_FORMAT, MODEL_VERSION):
        raise DataError(
            "not a model this version can read",
            file=folder / METADATA,
            found=f"format {found[0]}, version {found[1]}",
            expected=f"format {MODEL_FORMAT}, version {MODEL_VERSION}",
            next_step="export it again with this version of tenkizu",
        )
    if metadata.get("kind") != kind:
        raise DataError(
            "a model of the other system",
            file=folder / METADATA,
            found=metadata.get("kind"),
            expected=kind,
            next_step=f"use `tenkizu {metadata.get('kind')}`",
        )
    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path) from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != metadata.get("weights_sha256"):
        raise DataError(
            "damaged, or from another model",
            file=path,
            found=f"sha256 {digest[:12]}",
            expected=str(metadata.get("weights_sha256"))[:12],
            next_step="copy the whole model folder again",
        )
    try:
        return load_tensors(data), metadata
    except SafetensorError as error:
        raise DataError(f"not a safetensors file: {error}", file=path) from None


def load_weights(module: torch.nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Put weights into a module built from the same metadata.

    Raises:
        DataError: names or shapes differ.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"the weights do not fit the described network: {str(error).splitlines()[-1].strip()}",
            file=source,
            next_step="copy the whole model folder again",
        ) from None

"""Hourly rain from 3-hour totals.

The commands of `tenkizu rain` as plain functions: `prepare`, `train`, `evaluate`, `predict`,
`report`, `video`, `evaluate_ensemble`, `predict_ensemble`, `export_onnx`. They are loaded on first
use, so that importing this package is quick; their modules bear other names (preparation,
training, ...), since a submodule of the same name would hide the function.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenkizu.rain.ensemble import evaluate_ensemble, predict_ensemble
    from tenkizu.rain.evaluation import evaluate
    from tenkizu.rain.film import video
    from tenkizu.rain.onnx_export import export_onnx
    from tenkizu.rain.prediction import predict
    from tenkizu.rain.preparation import prepare
    from tenkizu.rain.reporting import report
    from tenkizu.rain.training import train

__all__ = [
    "evaluate",
    "evaluate_ensemble",
    "export_onnx",
    "predict",
    "predict_ensemble",
    "prepare",
    "report",
    "train",
    "video",
]

_MODULES = {
    "evaluate": "evaluation",
    "evaluate_ensemble": "ensemble",
    "export_onnx": "onnx_export",
    "predict": "prediction",
    "predict_ensemble": "ensemble",
    "prepare": "preparation",
    "report": "reporting",
    "train": "training",
    "video": "film",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what the module holds
    """Load a command's module when it is first asked for."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

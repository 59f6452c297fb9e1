"""Pressure patterns from daily maps.

The commands of `tenkizu patterns` as plain functions: `prepare`, `train`, `compare`, `evaluate`,
`predict`, `report`. They are loaded on first use, so that importing this package is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenkizu.patterns.comparison import compare
    from tenkizu.patterns.evaluation import evaluate
    from tenkizu.patterns.prediction import predict
    from tenkizu.patterns.preparation import prepare
    from tenkizu.patterns.reporting import report
    from tenkizu.patterns.training import train

__all__ = ["compare", "evaluate", "predict", "prepare", "report", "train"]

_MODULES = {
    "compare": "comparison",
    "evaluate": "evaluation",
    "predict": "prediction",
    "prepare": "preparation",
    "report": "reporting",
    "train": "training",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what the module holds
    """Load a command's module when it is first asked for."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

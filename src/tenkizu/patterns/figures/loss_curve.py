"""``loss_curve.png``: loss of training and validation, and the validation mAP below."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenkizu.core.history_chart import TRAIN_COLOUR, VALIDATION_COLOUR, Panel, draw_history

SIZE_PX, DPI = (900, 600), 150
"""6 by 4 inches at 150 dots an inch."""

_PANELS = (
    Panel(
        "loss",
        {
            "train_loss": ("training", TRAIN_COLOUR),
            "val_loss": ("validation", VALIDATION_COLOUR),
        },
        height=1.3,
    ),
    Panel("mAP", {"val_map": ("validation", VALIDATION_COLOUR)}),
)


def draw_loss_curve(path: str | Path, history: Mapping[str, Any]) -> Path:
    """Draw the losses and the validation mAP over the epochs, the best epoch dashed.

    Args:
        path: file to write.
        history: lists ``train_loss``, ``val_loss`` and ``val_map`` of one length with None where
            a value was not computed, ``epoch`` if they do not start at 1, and ``best_epoch``.

    Returns:
        The path written.

    Raises:
        DataError: there is no epoch.
    """
    return draw_history(path, history, _PANELS, SIZE_PX, DPI)

"""The panels of an evaluation's windows, drawn on both scales."""

import logging
from pathlib import Path
from typing import Literal

import numpy as np

from tenkizu.core.grid import Grid
from tenkizu.rain.config import PlotsConfig
from tenkizu.rain.tables import Rain

log = logging.getLogger(__name__)

SCALES: tuple[Literal["log", "linear"], ...] = ("log", "linear")


class WindowPanels:
    """Draws windows into ``panels_log`` and ``panels_linear``.

    Args:
        output: folder of the evaluation.
        grid: of the windows.
        plots: which windows are drawn as they come, and the limits of the colours.
        truth_label: what the true hours are called.
    """

    def __init__(self, output: Path, grid: Grid, plots: PlotsConfig, truth_label: str) -> None:
        self.output, self.grid, self.plots, self.truth_label = output, grid, plots, truth_label
        self.seen = 0
        self.failed = False

    def offer(self, start: np.datetime64, truth: Rain, predicted: Rain) -> None:
        """Draw a window if all are drawn, or one in so many; nothing of it is kept.

        A picture that fails is logged, and no other is tried: scores matter more.
        """
        due = self.plots.every is not None and self.seen % self.plots.every == 0
        self.seen += 1
        if due and not self.failed:
            try:
                self.draw(start, truth, predicted)
            except Exception:
                self.failed = True
                log.exception("panels could not be drawn; the evaluation goes on without them")

    def draw(self, start: np.datetime64, truth: Rain, predicted: Rain, subtitle: str = "") -> None:
        """Draw a window, over pictures of it that are there.

        Args:
            start: of the window, UTC.
            truth: hours (3, H, W), mm.
            predicted: hours (3, H, W), mm.
            subtitle: second line of the title.
        """
        from tenkizu.rain.plots import draw_panels, panel_name

        for scale in SCALES:
            draw_panels(
                self.output / f"panels_{scale}" / panel_name(start),
                self.grid,
                start,
                predicted,
                truth,
                scale=scale,
                vmin_mm=self.plots.lognorm_vmin_mm,
                vmax_mm=self.plots.linear_vmax_mm if scale == "linear" else None,
                subtitle=subtitle,
                truth_label=self.truth_label,
            )

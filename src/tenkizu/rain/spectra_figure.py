"""The figure of the power spectra: variance by wavelength, and its ratio to the truth's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tenkizu.core import charts
from tenkizu.rain.score_text import counted, label_of
from tenkizu.rain.spectra import POOLED, TRUTH

_TRUTH_COLOUR = "#222222"
_COLOURS = {"model": "#2b6cb0", "equal": "#c05a11", "motion": "#b83280"}
"""Methods that are drawn, in the colours that they have in the performance diagram."""


def drawable(spectra: Mapping[str, Any]) -> bool:
    """Whether there is a truth with power to draw."""
    power = spectra.get("power") or {}
    return TRUTH in power and any(power[TRUTH][POOLED])


def draw_spectra(path: str | Path, spectra: Mapping[str, Any]) -> Path:
    """Draw power by wavelength, hours pooled, and below it the ratio to the truth.

    Args:
        path: file to write.
        spectra: as `tenkizu.rain.spectra.Spectra.summary` gives it, with power in the truth.

    Returns:
        The path written.
    """
    km = spectra.get("wavelengths_km")
    waves = np.array(km or spectra["wavelengths_cells"], np.float64)
    with charts.style():
        figure = charts.new_figure(1600, 1240)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        figure.suptitle(
            f"Power spectrum of hourly rain, {counted(spectra['windows_used'], 'window')}, "
            "hours pooled"
        )
        _line(above, waves, spectra["power"][TRUTH][POOLED], TRUTH)
        for method in _COLOURS:
            if method in spectra["ratio"]:
                _line(above, waves, spectra["power"][method][POOLED], method)
                _line(below, waves, spectra["ratio"][method][POOLED], method)
        below.axhline(1.0, color=_TRUTH_COLOUR, linewidth=1.0)
        above.set_yscale("log")
        above.set_ylabel("variance in a ring of wavenumbers (mm²)")
        above.legend(loc="lower left")
        # Where the truth has hardly any power the ratio may be anything.
        below.set_ylim(0.0, float(np.clip(1.05 * below.dataLim.ymax, 1.2, 3.0)))
        below.set_ylabel("ratio to the truth (below 1: too smooth)")
        below.set_xscale("log")
        below.set_xlim(waves.max(), waves.min())
        below.set_xlabel(f"wavelength ({'km' if km else 'cells'})")
        below.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        below.xaxis.set_major_formatter(FuncFormatter(lambda wave, _: f"{wave:g}"))
        below.xaxis.set_minor_formatter(NullFormatter())
        for ax in (above, below):
            ax.grid(color="#e2e2e2", linewidth=0.6)
            ax.set_axisbelow(True)
        return charts.save_figure(figure, path)


def _line(ax: Axes, waves: np.ndarray, values: list[float | None], name: str) -> None:
    """One spectrum; what is undefined or without power is a gap."""
    shown = np.array(values, np.float64)
    shown[~(shown > 0)] = np.nan
    truth = name == TRUTH
    ax.plot(
        waves,
        shown,
        color=_TRUTH_COLOUR if truth else _COLOURS[name],
        linewidth=2.2 if name in (TRUTH, "model") else 1.5,
        label=TRUTH if truth else label_of(name),
    )

"""Radial power spectra of hourly rain, as sums that add over windows.

A split that blurs has too little variance at short wavelengths, whatever its squared error. Each
field loses its mean, is multiplied by a Hann window in both directions and Fourier transformed;
the squared amplitudes are summed over rings of equal width in wavenumber. The window is scaled to
a mean square of 1, so white noise keeps its variance, and the power of all rings and of what lies
outside them adds up to the variance of the windowed field (Parseval).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2  # type: ignore[import-untyped]

from tenkizu.core.verification import Tally, ratio
from tenkizu.rain.score_cells import Values
from tenkizu.rain.scores import HOURS

TRUTH = "truth"
POOLED = "pooled"
MIN_SIDE = 8
"""Cells on the shorter side of a rectangle; smaller ones have no spectrum worth the name."""

Floats = NDArray[np.float64]


def centred_rectangle(known: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The largest rectangle of known cells with the centre and the proportions of the grid.

    Args:
        known: (H, W).

    Returns:
        Its rows and columns, up to a cell in the proportions; empty if the centre is missing.
    """
    # Distance of each row and column from the centre, 1 at the borders of the grid.
    rows, columns = (np.abs(2.0 * np.arange(n) - (n - 1)) / n for n in known.shape)
    limit = float(np.maximum.outer(rows, columns)[~known].min(initial=1.0))
    slices = []
    for distance in (rows, columns):
        inside = np.flatnonzero(distance < limit)
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0))
    return slices[0], slices[1]


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings of wavenumber of a rectangle of cells.

    Ring i = 1 ... n is centred on i / L with L the shorter side, and is 1 / L wide; the last one's
    centre is at most the Nyquist wavenumber of the coarser axis. Ring 0 holds what is longer: the
    mean that the window brings back, and the longest waves of a longer side. Ring n + 1 holds
    what is shorter, in the corners of the spectrum.

    Attributes:
        window: (H, W), mean square 1.
        ring: of each coefficient of a real transform, flat.
        weight: 2 where a coefficient stands for its conjugate, too, else 1, flat.
        wavenumber: of the n ring centres, cycles per unit of the spacing.
    """

    window: Floats
    ring: NDArray[np.intp]
    weight: Floats
    wavenumber: Floats

    @classmethod
    def of(cls, shape: tuple[int, int], spacing: tuple[float, float] = (1.0, 1.0)) -> Self:
        """Rings of a rectangle.

        Args:
            shape: rows and columns.
            spacing: distance of rows and of columns, km; (1, 1) for a unit of cells.
        """
        (rows, columns), (dy, dx) = shape, spacing
        width = 1.0 / min(rows * dy, columns * dx)
        # The small excess keeps a wave that falls on a ring's centre or border from being moved
        # by rounding.
        count = int(0.5 / max(dy, dx) / width + 1e-9)
        across, along = np.fft.fftfreq(rows, dy), np.fft.rfftfreq(columns, dx)
        radius = np.hypot.outer(across, along) / width
        ring = np.minimum(np.floor(radius + 0.5 + 1e-9), count + 1).astype(np.intp)
        weight = np.full(ring.shape, 2.0)
        weight[:, 0] = 1.0
        if columns % 2 == 0:
            weight[:, -1] = 1.0
        hann = np.multiply.outer(*(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n) for n in shape))
        return cls(
            window=hann / np.sqrt(np.mean(hann**2)),
            ring=ring.ravel(),
            weight=weight.ravel(),
            wavenumber=width * np.arange(1, count + 1, dtype=np.float64),
        )

    @property
    def modes(self) -> NDArray[np.int64]:
        """Number of waves in each ring, (n + 2,)."""
        return np.bincount(self.ring, self.weight, len(self.wavenumber) + 2).astype(np.int64)

    def power(self, field: Values | Floats) -> Floats:
        """Variance of one field by ring, (n + 2,), in the square of its unit.

        Args:
            field: (H, W), no cell missing. A uniform one has no power.
        """
        size = len(self.wavenumber) + 2
        if field.min() == field.max():
            return np.zeros(size)
        values = field.astype(np.float64)
        values -= values.mean()
        values *= self.window
        wave = rfft2(values, overwrite_x=True)
        squared = (wave.real**2 + wave.imag**2).ravel()
        squared *= self.weight
        return np.bincount(self.ring, squared, size) / float(field.size) ** 2


class Spectra:
    """Power of truth and methods, summed over windows.

    All windows are cut to one rectangle: the whole grid, or, where the first usable window misses
    cells, as radar files do in their corners, the largest centred rectangle without. Windows that
    miss a cell of it, in truth or in any method, are left out and counted.

    Args:
        spacing_km: distance of rows and of columns; None where it is not known.
    """

    def __init__(self, spacing_km: tuple[float, float] | None = None) -> None:
        self.spacing_km = spacing_km
        self.place: tuple[slice, slice] | None = None
        self.rings: Rings | None = None
        self.tally = Tally({"used": np.array(0), "left_out": np.array(0)})

    def add(self, methods: Mapping[str, Values], truth: Values) -> None:
        """Add one window.

        Args:
            methods: predictions by name, each (3, H, W), mm.
            truth: observed hours (3, H, W), mm, NaN where missing.
        """
        fields = {TRUTH: truth, **methods}
        known = np.logical_and.reduce([np.isfinite(f).all(axis=0) for f in fields.values()])
        if self.rings is None:
            self._choose(known)
        if self.rings is None or self.place is None or not known[self.place].all():
            self.tally = self.tally + Tally({"left_out": np.array(1)})
            return
        sums = {
            f"power.{name}": np.stack([self.rings.power(hour[self.place]) for hour in field])
            for name, field in fields.items()
        }
        self.tally = self.tally + Tally({"used": np.array(1), **sums})

    def _choose(self, known: NDArray[np.bool_]) -> None:
        """Take the rectangle of this window unless it is too small."""
        place = centred_rectangle(known)
        rows, columns = (part.stop - part.start for part in place)
        if min(rows, columns) >= MIN_SIDE:
            self.place = place
            self.rings = Rings.of((rows, columns), self.spacing_km or (1.0, 1.0))

    def summary(self) -> dict[str, Any]:
        """The spectra, a JSON-ready dictionary.

        Returns:
            ``windows_used`` and ``windows_left_out``; and, if any was used, ``rows`` and
            ``columns`` of the rectangle (first, last), ``wavelengths_km`` of the ring centres
            (None without a spacing), ``wavelengths_cells`` (in geometric means of both
            distances), ``modes`` (waves in a ring); ``power`` of truth and of each method by hour
            and ``pooled`` over hours, mm2 a field and ring; ``power_outside`` the rings likewise;
            ``ratio`` of each method's power to the truth's, NaN where the truth has none.
        """
        counts = {f"windows_{k}": int(self.tally[k]) for k in ("used", "left_out")}
        if self.rings is None or self.place is None:
            return counts
        waves = 1.0 / self.rings.wavenumber
        side = float(np.sqrt(np.prod(self.spacing_km))) if self.spacing_km else 1.0
        sums = {
            name.removeprefix("power."): _with_pooled(value)
            for name, value in self.tally.sums.items()
            if name.startswith("power.")
        }
        used = counts["windows_used"]
        return counts | {
            "rows": [self.place[0].start, self.place[0].stop - 1],
            "columns": [self.place[1].start, self.place[1].stop - 1],
            "wavelengths_km": waves.tolist() if self.spacing_km else None,
            "wavelengths_cells": (waves / side).tolist(),
            "modes": self.rings.modes[1:-1].tolist(),
            "power": {
                name: {hour: (value[1:-1] / used).tolist() for hour, value in hours.items()}
                for name, hours in sums.items()
            },
            "power_outside": {
                name: {h: float(value[0] + value[-1]) / used for h, value in hours.items()}
                for name, hours in sums.items()
            },
            "ratio": {
                name: {h: ratio(value, sums[TRUTH][h])[1:-1].tolist() for h, value in hours.items()}
                for name, hours in sums.items()
                if name != TRUTH
            },
        }


def _with_pooled(power: NDArray[Any]) -> dict[str, Floats]:
    """Sums (3, R) by the name of the hour, and their mean over hours as ``pooled``."""
    return {**dict(zip(HOURS, power, strict=True)), POOLED: power.mean(axis=0)}


def near(wavelengths: list[float], wanted: float) -> int | None:
    """The ring nearest in the logarithm to a wavelength; None if none is within a quarter."""
    distance = np.abs(np.log(np.array(wavelengths) / wanted))
    if not len(distance) or distance.min() > np.log(1.25):
        return None
    return int(distance.argmin())

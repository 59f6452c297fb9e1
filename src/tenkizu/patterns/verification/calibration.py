"""Calibration: logits to probabilities that mean what they say, fitted on validation days.

All kinds but the isotonic curve are p = 1 / (1 + exp(-(slope z + offset))) with a positive slope,
which cannot change the order of days and hence not AP. What is fitted is exported as plain
numbers: applying it needs no library beyond numpy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.errors import ConfigError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

Kind = Literal["none", "temperature", "platt", "isotonic", "prior_shift"]

SHARED = "shared_temperature"
"""Method of a class with too few positives for one of its own."""

MIN_POSITIVES = 10
"""Fewer do not carry a temperature or Platt's slope and offset."""

MIN_ISOTONIC = 50
"""Fewer positives do not carry an isotonic curve."""

RIDGE = 0.1
"""Weight of ((slope - 1)^2 + offset^2) / 2 beside the summed log loss in Platt's fit: little
against ten positives, enough to keep a class finite that is separated without error."""

SLOPES = (0.05, 10.0)
"""Bounds of every slope, that is temperatures from 20 down to 0.1."""


@dataclass(frozen=True)
class Curve:
    """How the logit of one class becomes a probability.

    Attributes:
        method: a kind, or `SHARED`.
        slope: of the logistic curve, positive.
        offset: of the logistic curve.
        logits: knots of an isotonic curve, increasing; empty for a logistic one.
        probs: at the knots, not decreasing; linear between them, constant beyond.
    """

    method: str
    slope: float = 1.0
    offset: float = 0.0
    logits: tuple[float, ...] = ()
    probs: tuple[float, ...] = ()

    def apply(self, logits: Floats) -> Floats:
        """Probabilities of the same shape."""
        if self.logits:
            curve: Floats = np.interp(logits, self.logits, self.probs)
            return curve
        return sigmoid(self.slope * np.asarray(logits, np.float64) + self.offset)

    def to_json(self) -> dict[str, Any]:
        """Its numbers: slope and offset, or the knots."""
        if self.logits:
            knots = {"logits": list(self.logits), "probs": list(self.probs)}
            return {"method": self.method, **knots}
        return {"method": self.method, "slope": self.slope, "offset": self.offset}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        if "logits" in data:
            return cls(data["method"], logits=tuple(data["logits"]), probs=tuple(data["probs"]))
        return cls(data["method"], data["slope"], data["offset"])


@dataclass(frozen=True)
class Calibration:
    """One curve per class.

    Attributes:
        labels: names, L.
        kind: what was asked for; a class may have fallen back to another method.
        curves: of the classes, L.
        fitted_on: says which days.
    """

    labels: tuple[str, ...]
    kind: str
    curves: tuple[Curve, ...]
    fitted_on: str = ""

    def apply(self, logits: NDArray[Any]) -> Floats:
        """Probabilities (n, L) of logits (n, L)."""
        wide = np.asarray(logits, np.float64)
        return np.stack([c.apply(wide[:, i]) for i, c in enumerate(self.curves)], axis=1)

    def described(self, fitted_on: str) -> Self:
        """The same calibration that says where it comes from."""
        return replace(self, fitted_on=fitted_on)

    def to_json(self) -> dict[str, Any]:
        """The content of ``calibration.json``."""
        return {
            "labels": list(self.labels),
            "kind": self.kind,
            "parameters": [curve.to_json() for curve in self.curves],
            "fitted_on": self.fitted_on,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        curves = tuple(Curve.from_json(item) for item in data["parameters"])
        return cls(tuple(data["labels"]), data["kind"], curves, data["fitted_on"])


def sigmoid(logits: NDArray[Any]) -> Floats:
    """1 / (1 + exp(-z)) in float64, to full precision far below 0 too."""
    values: Floats = np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))
    return values


def fit_calibration(
    kind: Kind,
    logits: NDArray[Any],
    truth: Bools,
    labels: Sequence[str],
    *,
    pos_weight: Sequence[float] | Floats | None = None,
    loss: str = "bce",
    sampler: str = "shuffle",
) -> Calibration:
    """Fit one curve per class.

    ``temperature`` fits the slope; ``platt`` slope and offset with a ridge towards 1 and 0 (Platt
    1999, with the ridge in place of his softened targets); both need `MIN_POSITIVES`.
    ``isotonic`` needs `MIN_ISOTONIC`. Classes with fewer share one temperature, fitted on all
    classes together. ``prior_shift`` takes back what the weight of positives did to the logits:
    offset -ln pos_weight.

    Args:
        kind: of calibration.
        logits: (n, L).
        truth: (n, L).
        labels: names, L.
        pos_weight: of the training loss, (L,), for ``prior_shift``; None is all ones.
        loss: kind of the training loss, for ``prior_shift``.
        sampler: kind of the training sampler, for ``prior_shift``.

    Raises:
        ConfigError: ``prior_shift`` after a loss or sampler it does not hold for.
    """
    wide = np.asarray(logits, np.float64)
    if kind == "none":
        curves = [Curve(kind)] * len(labels)
    elif kind == "prior_shift":
        curves = _prior_shift(len(labels), pos_weight, loss, sampler)
    else:
        fit, needed = _FITS[kind]
        positives = truth.sum(axis=0)
        own = positives >= needed
        # A class whose every day is positive shows no more than one without any.
        own &= positives < len(truth)
        shared = _shared(wide, truth) if not own.all() else None
        curves = [
            shared if shared and not own[c] else fit(wide[:, c], truth[:, c])
            for c in range(len(labels))
        ]
    return Calibration(tuple(labels), kind, tuple(curves))


def _prior_shift(
    count: int, pos_weight: Sequence[float] | Floats | None, loss: str, sampler: str
) -> list[Curve]:
    if loss != "bce" or sampler == "inverse":
        raise ConfigError(
            "prior_shift undoes pos_weight only after plain training",
            variable="calibration.kind",
            found=f"loss.kind={loss}, sampler.kind={sampler}",
            expected="loss.kind=bce and a sampler that is not inverse",
            next_step="choose calibration.kind=platt, which fits the offset",
        )
    weights = np.ones(count) if pos_weight is None else np.asarray(pos_weight, np.float64)
    return [Curve("prior_shift", offset=-float(np.log(w))) for w in weights]


def _temperature(logits: Floats, truth: Bools) -> Curve:
    return Curve("temperature", _logistic(logits, truth, offset=False)[0])


def _platt(logits: Floats, truth: Bools) -> Curve:
    return Curve("platt", *_logistic(logits, truth, offset=True))


def _isotonic(logits: Floats, truth: Bools) -> Curve:
    """The non-decreasing curve of least squared error, as its knots.

    Its ends are kept off 0 and 1 by one observation in n + 2, since no finite sample shows that
    something never happens.
    """
    from sklearn.isotonic import IsotonicRegression

    least = 1.0 / (len(truth) + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1.0 - least).fit(logits, truth)
    knots, probs = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
    return Curve("isotonic", logits=tuple(knots), probs=tuple(probs))


def _shared(logits: Floats, truth: Bools) -> Curve:
    """One temperature for all classes; 1 where even together they have too few positives."""
    if truth.sum() < MIN_POSITIVES:
        return Curve(SHARED)
    return Curve(SHARED, _logistic(logits.ravel(), truth.ravel(), offset=False)[0])


def _logistic(logits: Floats, truth: Bools, *, offset: bool) -> tuple[float, float]:
    """Slope and offset of least log loss; convex, so the same from any start."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    target = truth.astype(np.float64)
    ridge = RIDGE / len(target) if offset else 0.0

    def objective(line: Floats) -> tuple[float, Floats]:
        z = line[0] * logits + line[1]
        error = sigmoid(z) - target
        away = line - (1.0, 0.0)
        value = np.mean(np.logaddexp(0.0, z) - target * z) + 0.5 * ridge * (away @ away)
        slope = np.array([np.mean(error * logits), np.mean(error)]) + ridge * away
        return float(value), slope

    free = (None, None) if offset else (0.0, 0.0)
    tight = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    found = minimize(
        objective, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[SLOPES, free], options=tight
    )
    return float(found.x[0]), float(found.x[1])


_FITS: dict[str, tuple[Callable[[Floats, Bools], Curve], int]] = {
    "temperature": (_temperature, MIN_POSITIVES),
    "platt": (_platt, MIN_POSITIVES),
    "isotonic": (_isotonic, MIN_ISOTONIC),
}

"""Which parts of the maps a decision rests on: integrated gradients and Grad-CAM.

Both work on any network in three parts, `spatial` to `embed` to `classify`, and on its
standardised input, in which 0 is the mean over the training days.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

log = logging.getLogger(__name__)

STEPS = 32
"""Points on the way from the baseline to the day."""

TOLERANCE = 0.05
"""Relative completeness error above which a warning is logged."""

Floats = NDArray[np.float32]
Output = Callable[[Tensor], Tensor]


class Network(Protocol):
    """A network in three parts; every `tenkizu.patterns.networks.backbones.Backbone` is one."""

    training: bool

    def spatial(self, x: Tensor) -> Tensor:
        """Feature maps (N, D, h, w) of input (N, C, H, W)."""
        ...

    def embed(self, spatial: Tensor) -> Tensor:
        """Embedding (N, E) of feature maps."""
        ...

    def classify(self, embedding: Tensor) -> Tensor:
        """Logits (N, L) of the embedding."""
        ...

    def train(self, mode: bool = True) -> object:
        """Training or evaluation mode."""
        ...


@dataclass(frozen=True)
class Attribution:
    """Integrated gradients of k days.

    Attributes:
        values: share of each input value in the logit's rise over the baseline, (k, C, H, W).
        rise: logit of the day less logit of the baseline, (k,).
        error: completeness error |sum of values - rise| / |rise|, (k,); NaN where rise is 0.
    """

    values: Floats
    rise: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def maps(self) -> Floats:
        """Sum over channels, (k, H, W)."""
        return np.asarray(self.values.sum(axis=1))

    @property
    def by_channel(self) -> NDArray[np.float64]:
        """Sum over the map, (k, C); over channels it is the rise, but for the error."""
        return np.asarray(self.values.sum(axis=(2, 3), dtype=np.float64))


def integrated_gradients(
    network: Network,
    x: Tensor,
    labels: Sequence[int],
    *,
    steps: int = STEPS,
    baseline: Tensor | None = None,
    output: Output | None = None,
    batch: int = 16,
) -> Attribution:
    """Attribute one logit of each day to its input (Sundararajan, Taly and Yan 2017).

    The values are (x - b) times the mean gradient of the logit along the straight way from the
    baseline b to x, by the midpoint rule; their sum is the rise of the logit but for the
    completeness error, which is logged with a warning above `TOLERANCE`.

    Args:
        network: left in the mode it was in.
        x: standardised input, (k, C, H, W), on the network's device.
        labels: which logit of each day, k.
        steps: points on the way.
        baseline: (C, H, W); by default 0, the standardised mean.
        output: turns what `classify` gives into logits, where that is not one.
        batch: points that are computed at a time.
    """
    start = torch.zeros_like(x[0]) if baseline is None else baseline.to(x)
    fractions = (torch.arange(steps, device=x.device, dtype=x.dtype) + 0.5) / steps
    values, rise, error = [], [], []
    with _evaluating(network):
        for day, label in zip(x, labels, strict=True):
            gradient = torch.zeros_like(day, dtype=torch.float64)
            for part in torch.split(fractions, batch):
                points = start + part[:, None, None, None] * (day - start)
                points = points.detach().requires_grad_()
                with torch.enable_grad():
                    logit = _logits(network, points, output)[:, label].sum()
                    (slope,) = torch.autograd.grad(logit, points)
                gradient += slope.sum(dim=0)
            share = (day - start).double() * gradient / steps
            with torch.no_grad():
                ends = _logits(network, torch.stack([start, day]), output)[:, label].double()
            rise.append(float(ends[1] - ends[0]))
            miss = abs(float(share.sum()) - rise[-1])
            error.append(miss / abs(rise[-1]) if rise[-1] else np.nan)
            values.append(share.float().cpu().numpy())
    errors = np.array(error)
    if np.nanmax(errors, initial=0.0) > TOLERANCE:
        log.warning(
            "integrated gradients: completeness error %.1f %% on %d of %d days exceeds %.0f %%; "
            "more than %d steps would lower it",
            100 * np.nanmax(errors),
            int((errors > TOLERANCE).sum()),
            len(errors),
            100 * TOLERANCE,
            steps,
        )
    return Attribution(np.stack(values), np.array(rise), errors)


def grad_cam(
    network: Network, x: Tensor, labels: Sequence[int], *, output: Output | None = None
) -> Floats:
    """Where the last spatial layer speaks for one logit of each day (Selvaraju et al. 2017).

    The feature maps are added with the means of the logit's gradient as weights; what is negative
    counts as 0. The sum is interpolated to the input and scaled to a largest value of 1. The mean
    suits heads that average over the map; with one that tells places apart, such as that of
    ``simple``, many days get a map of 0, and integrated gradients say more.

    Args:
        network: left in the mode it was in.
        x: standardised input, (k, C, H, W), on the network's device.
        labels: which logit of each day, k.
        output: turns what `classify` gives into logits, where that is not one.

    Returns:
        (k, H, W), from 0 to 1; all 0 for a day on which nothing speaks for the label.
    """
    with _evaluating(network):
        with torch.no_grad():
            features = network.spatial(x)
        features = features.detach().requires_grad_()
        with torch.enable_grad():
            logits = network.classify(network.embed(features))
            logits = logits if output is None else output(logits)
            chosen = logits[torch.arange(len(x)), torch.as_tensor(list(labels))]
            (slope,) = torch.autograd.grad(chosen.sum(), features)
    weights = slope.mean(dim=(2, 3), keepdim=True)
    cam = functional.relu((weights * features.detach()).sum(dim=1, keepdim=True))
    cam = functional.interpolate(cam, size=x.shape[-2:], mode="bilinear", align_corners=False)
    largest = cam.amax(dim=(2, 3), keepdim=True)
    scaled: Floats = torch.where(largest > 0, cam / largest, 0.0)[:, 0].float().cpu().numpy()
    return scaled


def _logits(network: Network, x: Tensor, output: Output | None) -> Tensor:
    logits = network.classify(network.embed(network.spatial(x)))
    return logits if output is None else output(logits)


@contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    """Evaluation mode for the body: dropout would make every gradient another."""
    training = network.training
    network.train(False)
    try:
        yield
    finally:
        network.train(training)

"""The heads: shares that sum to one, times the known total; or amounts with no link to it."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from tenkizu.rain.config import TAU_MIN

PRIOR_MM = 0.05
"""Added to each hour's weight in a prior, mm: a trace of rain decides nothing."""


def allocation_logits_to_mm(logits: Tensor, sum_mm: Tensor, tau: Tensor | float = 1.0) -> Tensor:
    """Split 3-hour totals into hours: ``softmax(logits / tau) * S`` over the hour axis.

    Computed in float32 whatever the dtype of the logits and outside autocast, since shares in
    bfloat16 break the sum by up to 3e-3.

    Args:
        logits: (B, 3, H, W), any floating dtype.
        sum_mm: S, (B, 1, H, W), mm, >= 0; NaN where missing.
        tau: temperature, a number or (B, 1, H, W); larger means more even shares.

    Returns:
        Hourly amounts (B, 3, H, W), mm, float32: non-negative, exactly 0 where S is 0, summing
        to S within 1e-5 S, NaN where S is NaN (and no gradient flows there).
    """
    with torch.autocast(logits.device.type, enabled=False):
        shares = torch.softmax(logits.float() / tau, dim=1)
        return _times_total(shares, sum_mm)


def learned_temperature(raw: Tensor) -> Tensor:
    """The temperature ``softplus(p) + TAU_MIN``, in float32, of a learned p."""
    with torch.autocast(raw.device.type, enabled=False):
        return functional.softplus(raw.float()) + TAU_MIN


def raw_temperature(tau: float) -> float:
    """The p with which `learned_temperature` gives ``tau``, which is above `TAU_MIN`."""
    above = tau - TAU_MIN
    # log(exp(x) - 1), in the form that does not overflow.
    return above + math.log(-math.expm1(-above))


def direct_to_mm(output: Tensor) -> Tensor:
    """Amounts (B, 3, H, W), mm, float32, of the direct head: what the network gives above 0."""
    return functional.relu(output.float())


def rescale_to_total(predicted: Tensor, sum_mm: Tensor) -> Tensor:
    """Hours (B, 3, H, W) in mm scaled to sum to S (B, 1, H, W); S/3 where all three are 0.

    Conserves S as `allocation_logits_to_mm` does.
    """
    predicted = predicted.float()
    own = predicted.sum(1, keepdim=True)
    shares = torch.where(own > 0, predicted / torch.where(own > 0, own, 1.0), 1 / 3)
    return _times_total(shares, sum_mm)


def _times_total(shares: Tensor, sum_mm: Tensor) -> Tensor:
    """Shares times S, NaN where S is."""
    total = sum_mm.float()
    missing = torch.isnan(total)
    # Multiplied in as NaN, a missing S would turn even a zero gradient into NaN, and one such
    # cell would spoil every weight of the network.
    return (shares * total.masked_fill(missing, 0.0)).masked_fill(missing, torch.nan)


def linear_log_shares(previous: Tensor, total: Tensor, following: Tensor) -> Tensor:
    """Logits whose shares are those of linear interpolation, softened where there is little rain.

    log of the weights (2S + P)/3, S, (2S + N)/3, each plus `PRIOR_MM`; a missing neighbour counts
    as S, so that without P and N the shares are even.

    Args:
        previous: P, (B, H, W), mm, NaN where missing.
        total: S, (B, H, W), mm, NaN where missing.
        following: N, (B, H, W), mm, NaN where missing.

    Returns:
        Logits (B, 3, H, W), finite.
    """
    total = torch.nan_to_num(total, nan=0.0)
    before = torch.where(torch.isnan(previous), total, previous)
    after = torch.where(torch.isnan(following), total, following)
    return log_shares(
        torch.stack([(2 * total + before) / 3, total, (2 * total + after) / 3], dim=1)
    )


def log_shares(hours: Tensor) -> Tensor:
    """Logits whose shares are those of given hours (B, 3, H, W), mm, plus `PRIOR_MM` each.

    Missing amounts count as 0.
    """
    return torch.log(torch.nan_to_num(hours, nan=0.0) + PRIOR_MM)

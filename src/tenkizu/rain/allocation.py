"""The allocation head: shares that sum to one, times the known total."""

import torch
from torch import Tensor

PRIOR_MM = 0.05
"""Added to each hour's weight in the linear prior, mm: a trace of rain decides nothing."""


def allocation_logits_to_mm(logits: Tensor, sum_mm: Tensor, tau: float = 1.0) -> Tensor:
    """Split 3-hour totals into hours: ``softmax(logits / tau) * S`` over the hour axis.

    Computed in float32 whatever the dtype of the logits and outside autocast, since shares in
    bfloat16 break the sum by up to 3e-3.

    Args:
        logits: (B, 3, H, W), any floating dtype.
        sum_mm: S, (B, 1, H, W), mm, >= 0; NaN where missing.
        tau: temperature; larger means more even shares.

    Returns:
        Hourly amounts (B, 3, H, W), mm, float32: non-negative, exactly 0 where S is 0, summing
        to S within 1e-5 S, NaN where S is NaN (and no gradient flows there).
    """
    with torch.autocast(logits.device.type, enabled=False):
        shares = torch.softmax(logits.float() / tau, dim=1)
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
    weights = torch.stack([(2 * total + before) / 3, total, (2 * total + after) / 3], dim=1)
    return torch.log(weights + PRIOR_MM)

"""The allocation head: shares that sum to one, times the known total."""

import torch
from torch import Tensor


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

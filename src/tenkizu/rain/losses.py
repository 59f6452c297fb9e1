"""The masked, weighted squared error on which the network is trained."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def bin_weights(truth_mm: Tensor, edges: Sequence[float], weights: Sequence[float]) -> Tensor:
    """The weight of each true value: bins ``[a, b)``, as many weights as edges plus one."""
    boundaries = torch.tensor(edges, dtype=truth_mm.dtype, device=truth_mm.device)
    table = torch.tensor(weights, dtype=truth_mm.dtype, device=truth_mm.device)
    return table[torch.bucketize(truth_mm, boundaries, right=True)]


def scored_cells(target_sum: Tensor, valid: Tensor, mask_mm: float) -> Tensor:
    """Cells that enter the loss: valid and S >= ``mask_mm`` (0 takes all valid cells), bool."""
    return valid & (target_sum >= mask_mm) if mask_mm > 0 else valid


def masked_wmse(
    predicted: Tensor,
    target: Tensor,
    cells: Tensor,
    weight: Tensor | None = None,
    equal_split_error: float | None = None,
    reduce_sum: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Weighted squared error over the scored cells and hours, divided by D.

    Args:
        predicted: (B, 3, H, W), mm.
        target: (B, 3, H, W), mm; anything in cells that are not scored.
        cells: (B, 1, H, W), bool.
        weight: (B, 3, H, W), or None for 1.
        equal_split_error: d0, the training mean per scored cell of the weighted squared error of
            S/3. When given, D = n_cells * d0, so that a loss of 1.0 means "as good as S/3".
            Otherwise D is the sum of the weights.
        reduce_sum: adds a scalar over all ranks and multiplies by 1 / world size; dividing by
            that makes gradients averaged over ranks equal those of the whole batch.

    Returns:
        The loss, a scalar; 0 when no cell is scored.
    """
    scored = cells.expand_as(target)
    # where before the square: NaN in a masked cell must not reach the gradient.
    error = torch.where(scored, predicted - target, 0.0) ** 2
    if weight is None:
        weight = torch.ones_like(target)
    weight = torch.where(scored, weight, 0.0)
    per_cell = equal_split_error
    denominator = weight.sum() if per_cell is None else cells.sum() * per_cell
    if reduce_sum is not None:
        denominator = reduce_sum(denominator)
    return (weight * error).sum() / denominator.clamp(min=1e-12)

"""What the network is trained on: masked, weighted squared errors, and the energy score of draws.

A term of the loss is a ratio of two sums, so that it can be summed over ranks and batches first.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

Ratio = tuple[Tensor, Tensor]
"""Numerator and denominator of a term, scalars."""

SMOOTHED_BELOW_MM = 0.2
SMOOTHING = 0.03
"""Target shares of totals below `SMOOTHED_BELOW_MM`, which consist of a few steps of the data's
resolution, are mixed with this much of even shares."""


def bin_weights(truth_mm: Tensor, edges: Sequence[float], weights: Sequence[float]) -> Tensor:
    """The weight of each true value: bins ``[a, b)``, as many weights as edges plus one."""
    boundaries = torch.tensor(edges, dtype=truth_mm.dtype, device=truth_mm.device)
    table = torch.tensor(weights, dtype=truth_mm.dtype, device=truth_mm.device)
    return table[torch.bucketize(truth_mm, boundaries, right=True)]


def focal_boost(truth_mm: Tensor, strength: float) -> Tensor:
    """Factor on the hourly weight of heavy rain, ``1 + 0.75 strength clip((y - 10) / 40, 0, 1)^2``.

    1 up to 10 mm and 1 + 0.75 strength from 50 mm on; ``strength`` 1 is the plain formula.
    """
    return 1 + 0.75 * strength * ((truth_mm - 10) / 40).clamp(0, 1) ** 2


def scored_cells(target_sum: Tensor, valid: Tensor, mask_mm: float) -> Tensor:
    """Cells that enter the loss: valid and S >= ``mask_mm`` (0 takes all valid cells), bool."""
    return valid & (target_sum >= mask_mm) if mask_mm > 0 else valid


def wmse_sums(
    predicted: Tensor,
    target: Tensor,
    cells: Tensor,
    weight: Tensor | None = None,
    equal_split_error: float | None = None,
) -> Ratio:
    """Weighted squared error summed over the scored cells and channels, and D.

    Args:
        predicted: (B, C, H, W), mm; C is 3 for hours, 1 for totals.
        target: (B, C, H, W), mm; anything in cells that are not scored.
        cells: (B, 1, H, W), bool.
        weight: (B, C, H, W), or None for 1.
        equal_split_error: d0, the training mean per scored cell of the weighted squared error of
            S/3. When given, D = n_cells * d0, so that a loss of 1.0 is about that of
            S/3 over the windows that d0 is of.
            Otherwise D is the sum of the weights.
    """
    scored = cells.expand_as(target)
    # where before the square: NaN in a masked cell must not reach the gradient.
    error = torch.where(scored, predicted - target, 0.0) ** 2
    if weight is None:
        weight = torch.ones_like(target)
    weight = torch.where(scored, weight, 0.0).to(error.dtype)
    per_cell = equal_split_error
    return (weight * error).sum(), weight.sum() if per_cell is None else cells.sum() * per_cell


def share_divergence_sums(
    log_shares: Tensor, target: Tensor, cells: Tensor, weight: Tensor | None = None
) -> Ratio:
    """Kullback-Leibler divergence of the true from the predicted shares, and the number of cells.

    sum over hours of q (log q - log p), q = y / S the true shares; with less than
    `SMOOTHED_BELOW_MM` in the cell, q is (1 - `SMOOTHING`) y / S + `SMOOTHING` / 3. Cells without
    rain have no shares and are left out.

    Args:
        log_shares: log p, (B, 3, H, W).
        target: y, (B, 3, H, W), mm; anything in cells that are not scored.
        cells: (B, 1, H, W), bool.
        weight: (B, 1, H, W), of each cell in both sums; None for 1.
    """
    total = target.sum(1, keepdim=True)
    cells = cells & (total > 0)
    # A sum of 1 where there are no shares: no division by zero, no NaN on the way.
    shares = torch.where(cells, target, 0.0) / torch.where(cells, total, 1.0)
    smoothed = (1 - SMOOTHING) * shares + SMOOTHING / 3
    shares = torch.where(total < SMOOTHED_BELOW_MM, smoothed, shares)
    divergence = torch.xlogy(shares, shares) - shares * log_shares
    divergence = torch.where(cells, divergence, 0.0)
    counted = cells.to(divergence.dtype)
    if weight is not None:
        divergence, counted = weight * divergence, weight * counted
    return divergence.sum(), counted.sum()


def energy_score_sums(
    members: Tensor,
    target: Tensor,
    total: Tensor,
    cells: Tensor,
    weight: Tensor | None = None,
    side: int = 1,
) -> Ratio:
    """Fair energy score of several splits, summed over the scored cells, and the distance of S/3.

    In a cell the score is ``mean_i |y_i - o| - sum_ij |y_i - y_j| / (2 M (M - 1))`` with Euclidean
    distances of the three hours, as `tenkizu.rain.ensemble_scores.fair_energy_score`; it is least
    on average when members are drawn from what may happen (Gneiting and Raftery 2007,
    doi:10.1198/016214506000001437; fair: Ferro 2014, doi:10.1002/qj.2270). A ratio of 1 is as good
    as S/3.

    The score of cells does not see whether members agree with themselves over an area: one that
    turns from cell to cell scores like one that does not. That of larger squares does.

    Args:
        members: (M, B, 3, H, W), mm, M of at least 2.
        target: o, (B, 3, H, W), mm; anything in cells that are not scored.
        total: S, (B, 1, H, W), mm; likewise.
        cells: (B, 1, H, W), bool.
        weight: (B, 1, 1 or H, 1 or W), of each cell in both sums; None for 1.
        side: cells; amounts are averaged over squares of so many first, cells that are not scored
            as 0.
    """
    count = len(members)
    members = torch.where(cells, members, 0.0)
    truth = torch.where(cells, target, 0.0).to(members.dtype)
    even = torch.where(cells, total, 0.0).to(members.dtype) / 3
    if side > 1:
        members = torch.stack([_square_means(one, side) for one in members])
        truth, even = (_square_means(one, side) for one in (truth, even))
        if weight is not None:
            weight = _square_means(weight.expand_as(cells).to(truth.dtype), side)
    score = torch.stack([_length(one - truth) for one in members]).mean(dim=0)
    for i in range(count):
        for j in range(i):
            score = score - _length(members[i] - members[j]) / (count * (count - 1))
    distance = _length(even - truth)
    if weight is not None:
        score, distance = weight * score, weight * distance
    return score.sum(), distance.sum()


def _square_means(maps: Tensor, side: int) -> Tensor:
    """Means over squares of ``side`` cells; those at the south and east may be smaller."""
    return functional.avg_pool2d(maps, side, ceil_mode=True, count_include_pad=False)


def _length(vectors: Tensor) -> Tensor:
    """Euclidean length (B, 1, H, W) of (B, 3, H, W); the gradient at length 0 is 0, not NaN."""
    square = (vectors**2).sum(1, keepdim=True)
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def divide(term: Ratio, reduce_sum: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """The value of a term, a scalar; 0 when no cell is scored.

    Args:
        term: numerator and denominator of this rank.
        reduce_sum: adds a scalar over all ranks and multiplies by 1 / world size; dividing by
            that makes gradients averaged over ranks equal those of the whole batch.
    """
    numerator, denominator = term
    if reduce_sum is not None:
        denominator = reduce_sum(denominator)
    return numerator / denominator.clamp(min=1e-12)

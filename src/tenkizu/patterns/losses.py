"""What the network is trained on: binary cross-entropy, focal and asymmetric loss.

A loss takes logits and targets (N, L) and gives the mean over all elements, in float32 under
autocast too (in double for double logits). Targets are 0 and 1, or between them when mixed.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tenkizu.patterns.config import LossConfig

Loss = Callable[[Tensor, Tensor], Tensor]

MIN_MISS = 1e-6
"""Least 1 - p_t of the focal loss, so that its gradient does not vanish altogether."""


def binary_cross_entropy(
    logits: Tensor, target: Tensor, pos_weight: Tensor | None = None
) -> Tensor:
    """``-w y log p - (1 - y) log(1 - p)`` of each element (N, L), w = ``pos_weight`` (L,)."""
    return functional.binary_cross_entropy_with_logits(
        logits, target, pos_weight=pos_weight, reduction="none"
    )


def focal(
    logits: Tensor,
    target: Tensor,
    pos_weight: Tensor | None = None,
    gamma: float = 2.0,
    alpha: float | None = None,
) -> Tensor:
    """Cross-entropy times ``max(1 - p_t, 1e-6)^gamma``, each element (N, L).

    p_t is the probability given to what is true (Lin et al. 2017,
    https://arxiv.org/abs/1708.02002); ``alpha`` weighs positives, 1 - ``alpha`` negatives.
    """
    # 1 - p_t from the logit of the error, exact where p_t is nearly 1.
    miss = target * torch.sigmoid(-logits) + (1 - target) * torch.sigmoid(logits)
    loss = binary_cross_entropy(logits, target, pos_weight) * miss.clamp(min=MIN_MISS) ** gamma
    if alpha is not None:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return loss


def asymmetric(
    logits: Tensor,
    target: Tensor,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    margin: float = 0.05,
) -> Tensor:
    """``-y (1-p)^g+ log p - (1-y) p_m^g- log(1 - p_m)``, p_m = max(p - margin, 0), (N, L).

    Ridnik et al. 2021 (https://arxiv.org/abs/2009.14119). Its exponents are what favours
    positives: it takes no weight of them.
    """
    rest = torch.sigmoid(-logits)
    positive = -(rest**gamma_pos) * functional.logsigmoid(logits)
    shifted = (torch.sigmoid(logits) - margin).clamp(min=0)
    # Without a margin 1 - p_m can round to 0, whose logarithm is not finite.
    log_rest = (rest + margin).clamp(max=1).log() if margin else functional.logsigmoid(-logits)
    return target * positive - (1 - target) * shifted**gamma_neg * log_rest


def make_loss(config: LossConfig, pos_weight: Tensor | None) -> Loss:
    """The mean loss that ``config`` describes.

    Args:
        config: kind and its parameters; ``label_smoothing`` s draws targets to y (1 - s) + s / 2.
        pos_weight: factor on positives of each label, (L,), or None for 1; ``asl`` has none.

    Returns:
        A function of logits (N, L) and targets (N, L), of any dtype, that gives a scalar.
    """

    def elements(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        if config.kind == "focal":
            return focal(logits, target, weight, config.gamma, config.alpha)
        if config.kind == "asl":
            exponents = (config.gamma_pos, config.gamma_neg)
            return asymmetric(logits, target, *exponents, config.margin)
        return binary_cross_entropy(logits, target, weight)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits if logits.dtype == torch.float64 else logits.float()
            target = target.to(logits)
            if config.label_smoothing:
                target = target * (1 - config.label_smoothing) + config.label_smoothing / 2
            weight = None if pos_weight is None else pos_weight.to(logits)
            return elements(logits, target, weight).mean()

    return loss

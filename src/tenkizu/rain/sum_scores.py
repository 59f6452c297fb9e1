"""Scores of 3-hour sums (specification section 12), for models whose hours need not add to S.

The sum of the predicted hours is compared with S. Of models that conserve S there is nothing to
score.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.verification import Tally, class_scores, ratio
from tenkizu.rain.score_cells import CONDITIONAL_MM, Values, joint_edges, known_cells, levels
from tenkizu.rain.scores import SUBSETS, class_of_level, event_scores, merged_counts


def sum_tally(
    predicted: Values,
    truth: Values,
    total: Values,
    thresholds: Sequence[float],
    categories: Sequence[float],
) -> Tally:
    """What one window adds to the scores of its 3-hour sums.

    Args:
        predicted: hours of the model, (3, H, W), mm.
        truth: observed hours (3, H, W), mm, NaN where missing; they say which cells count.
        total: S, (H, W), mm, NaN where missing.
        thresholds: of 3-hour events, mm, positive.
        categories: inner edges of the classes of S, mm, positive.

    Returns:
        For all and for conditional cells: ``sum.cells`` (2), ``sum.sse`` and ``sum.sae`` (2), and
        ``sum.joint`` (2 x L x L counts of the levels of `joint_edges` reached, truth along rows).
    """
    edges = joint_edges(thresholds, categories)
    known = known_cells(truth, total)
    amount = total[known]
    hours = predicted[:, known].astype(np.float64)
    summed = hours[0] + hours[1] + hours[2]
    error = summed - amount
    heavy = amount >= CONDITIONAL_MM
    size = len(edges) + 1
    code = levels(amount, edges).astype(np.intp) * size
    code += levels(summed.astype(np.float32), edges)
    subsets: tuple[NDArray[np.bool_], ...] = (np.ones_like(heavy), heavy)
    joint = [np.bincount(code[s], minlength=size * size).reshape(size, size) for s in subsets]
    return Tally(
        {
            "sum.cells": np.array([np.count_nonzero(s) for s in subsets]),
            "sum.sse": np.array([np.square(error[s]).sum() for s in subsets]),
            "sum.sae": np.array([np.abs(error[s]).sum() for s in subsets]),
            "sum.joint": np.stack(joint),
        }
    )


def summarise_sums(
    tally: Tally, thresholds: Sequence[float], categories: Sequence[float]
) -> dict[str, Any]:
    """Turn summed tallies into scores of the model's 3-hour sums.

    Args:
        tally: sum of `sum_tally` over windows.
        thresholds: as given to `sum_tally`.
        categories: as given to `sum_tally`.

    Returns:
        A JSON-ready dictionary, each score by method (``model`` alone): ``rmse_sum`` and
        ``mae_sum`` in mm (sqrt(SSE / cells), sum of absolute errors / cells), the same with
        ``_conditional``, ``binary_sum`` by threshold, ``categories_sum`` by subset with the edges.
        Empty if nothing was tallied. Undefined scores are NaN.
    """
    if "sum.cells" not in tally.sums:
        return {}
    rmse = np.sqrt(ratio(tally["sum.sse"], tally["sum.cells"])).tolist()
    mae = ratio(tally["sum.sae"], tally["sum.cells"]).tolist()
    edges = joint_edges(thresholds, categories)
    kinds = class_of_level(edges, categories)
    joint = tally["sum.joint"].astype(np.int64)
    classes = {
        label: class_scores(merged_counts(joint[subset], kinds))
        for subset, label in enumerate(SUBSETS)
    }
    return {
        "rmse_sum": {"model": rmse[0]},
        "mae_sum": {"model": mae[0]},
        "rmse_sum_conditional": {"model": rmse[1]},
        "mae_sum_conditional": {"model": mae[1]},
        "binary_sum": {"model": event_scores(joint[0], edges, thresholds)},
        "categories_sum": {"edges_mm": [0.0, *categories], "model": classes},
    }

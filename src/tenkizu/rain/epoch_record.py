"""What the history keeps of the scores of one validation."""

from collections.abc import Mapping
from typing import Any

from tenkizu.rain.scores import HOURS

_BY_METHOD = ("rmse_1h", "mae_1h", "rmse_per_hour", "mae_per_hour", "mse_skill_per_hour")
_SUMS = ("rmse_sum", "mae_sum", "rmse_sum_conditional", "mae_sum_conditional")
_GROUPS = ("skill_by_amount", "skill_by_hour_of_day", "skill_by_season")


def epoch_record(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of one validation for ``metrics.jsonl`` and the curves over the epochs.

    Args:
        scores: of `tenkizu.rain.scores.summarise` and, of a model that does not conserve S, of
            `tenkizu.rain.sum_scores.summarise_sums`.

    Returns:
        JSON-ready: errors of the model and of S/3 over all and conditional cells, skills, and of
        the model alone its skill by group, hourly events (pooled, and by hour), classes, wet hours
        and their pattern, the peak hour, how far the hours are from adding to S, and the scores of
        3-hour sums where there are any.
    """
    record: dict[str, Any] = {
        "binary_hourly": scores["binary_hourly"]["model"]["pooled"],
        "binary_by_hour": {hour: scores["binary_hourly"]["model"][hour] for hour in HOURS},
        **_classes(scores, "categories_hourly"),
        "wet_hours_accuracy": scores["wet_hours"]["model"]["all"]["accuracy"],
        "wet_hours_accuracy_conditional": scores["wet_hours"]["model"]["conditional"]["accuracy"],
        "wet_pattern_accuracy": scores["wet_pattern"]["model"]["accuracy"],
        "peak_hour_accuracy": scores["peak_hour"]["model"]["accuracy"],
        "mse_skill": scores["mse_skill"],
        "max_relative_sum_error": scores["max_relative_sum_error"],
        "mean_relative_sum_error": scores["mean_relative_sum_error"],
    }
    for name in _BY_METHOD:
        record |= {key: scores[key] for key in (name, f"{name}_conditional")}
    record |= {name: scores[name]["model"] for name in _GROUPS if name in scores}
    if "rmse_sum" in scores:
        record |= {name: scores[name] for name in _SUMS}
        record["binary_sum"] = scores["binary_sum"]["model"]
        record |= _classes(scores, "categories_sum")
    return record


def _classes(scores: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The model's scores of classes, over all and over conditional cells, with their edges."""
    found = scores[name]
    edges = {"edges_mm": found["edges_mm"]}
    return {
        name: found["model"]["all"] | edges,
        f"{name}_conditional": found["model"]["conditional"] | edges,
    }

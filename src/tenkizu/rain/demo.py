"""`tenkizu demo`, the rain part: from shipped satellite rain to maps and a table."""

import logging
from pathlib import Path
from typing import Any

from tenkizu.core.config import load_config
from tenkizu.core.console import track
from tenkizu.core.errors import CheckFailed
from tenkizu.core.samples import input_path, shipped_configs
from tenkizu.rain.config import RainConfig
from tenkizu.rain.evaluation import evaluate
from tenkizu.rain.prediction import predict
from tenkizu.rain.training import train

log = logging.getLogger(__name__)

REPORTED = "sample:imerg_sbrazil_hourly_20231102_03.nc"


def demo(
    output: Path, overrides: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
    """Prepare, train, evaluate on two days nobody trained on, and predict.

    A finished training of an earlier call is used again.

    Args:
        output: folder for everything that is written.
        overrides: settings that replace those of the shipped configuration.

    Returns:
        The scores, and the files to look at, each with what it shows.

    Raises:
        CheckFailed: the model is not better than linear interpolation.
    """
    config = load_config(
        RainConfig,
        shipped_configs()["rain_demo"],
        [f"run.dir={output}", f"data.store={output / 'store'}", *overrides],
    )
    folder = config.run.dir / config.run.name
    if (folder / "model.json").exists():
        log.info("%s is trained already; delete it to train again", folder)
    else:
        log.info("training on 11-16 November 2023, choosing on 17-18 November")
        train(config, resume=(folder / "last.ckpt").exists(), track=track)
    data = input_path(REPORTED)
    log.info("evaluating on 2-3 November 2023")
    report = output / "evaluation"
    scores = evaluate(folder, data, report, track=track)
    hours = predict(folder, data, output / "rain_1h.nc", track=track)
    panels = sorted((report / "panels_log").glob("*.png"))
    if scores["mse_skill"]["conditional"] <= scores["mse_skill_by_method"]["conditional"]["linear"]:
        raise CheckFailed(
            "the trained model is not better than linear interpolation",
            file=report / "scores.json",
            found=scores["mse_skill"]["conditional"],
            expected=f"more than {scores['mse_skill_by_method']['conditional']['linear']:.3f}",
        )
    return scores, [
        (report / "skill.png", "the model beside its baselines"),
        *[(path, "a heavy window: predicted above observed") for path in panels[:3]],
        (folder / "loss_curve.png", "the training"),
        (report / "evaluation.txt", "all scores as text"),
        (hours, "hourly rain as CF NetCDF"),
    ]

"""`tenkizu demo`, the rain part: from shipped satellite rain to maps and a table."""

import logging
from pathlib import Path
from typing import Any

from tenkizu.core.config import load_config
from tenkizu.core.console import track
from tenkizu.core.errors import CheckFailed
from tenkizu.core.samples import input_path, shipped_configs
from tenkizu.core.store import read_json
from tenkizu.rain.case_windows import CAPTIONS
from tenkizu.rain.config import RainConfig
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
    reported = folder / "evaluation" / "test"
    if (reported / "scores.json").exists():
        log.info("%s is trained already; delete it to train again", folder)
    else:
        log.info(
            "training on 11-16 November 2023, choosing on 17-18 November, reporting on 2-3 November"
        )
        train(config, resume=(folder / "last.ckpt").exists(), track=track)
    scores = read_json(reported / "scores.json", "the demo's scores")
    hours = predict(folder, input_path(REPORTED), output / "rain_1h.nc", track=track)
    panels: dict[Path, str] = {}
    for kind, labels in scores.get("cases", {}).items():
        for label in labels[:1]:
            path = reported / "panels_log" / f"validation_{label}.png"
            panels.setdefault(path, f"the window with {CAPTIONS[kind]}: predicted above observed")
    if scores["mse_skill"]["conditional"] <= scores["mse_skill_by_method"]["conditional"]["linear"]:
        raise CheckFailed(
            "the trained model is not better than linear interpolation",
            file=reported / "scores.json",
            found=scores["mse_skill"]["conditional"],
            expected=f"more than {scores['mse_skill_by_method']['conditional']['linear']:.3f}",
        )
    return scores, [
        (folder / "report" / "index.html", "all of it on one page, for a browser"),
        (reported / "skill.png", "the model beside its baselines"),
        *panels.items(),
        *[(path, "both days as a film") for path in reported.glob("film.*")],
        (folder / "loss_curve.png", "the training"),
        (reported / "evaluation.txt", "all scores as text"),
        (hours, "hourly rain as CF NetCDF"),
    ]

"""The whole road on real data: what `tenkizu demo` runs for the patterns."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tenkizu.core.config import load_config
from tenkizu.core.errors import CheckFailed
from tenkizu.core.samples import PREFIX, shipped_configs
from tenkizu.core.store import read_json
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.prediction import predict
from tenkizu.patterns.training import train

log = logging.getLogger(__name__)

MAPS = PREFIX + "ncep_msl_natlantic_2p5_daily_2001_2010.nc"

Track = Callable[[Iterable[Any], str], Iterable[Any]]


def demo(
    output: Path, overrides: tuple[str, ...] = (), track: Track | None = None
) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
    """Prepare, train, evaluate on two years nobody trained on, and predict.

    A finished training of an earlier call is used again.

    Args:
        output: folder for everything that is written.
        overrides: settings that replace those of the shipped configuration.
        track: shows progress.

    Returns:
        The test scores, and the files to look at, each with what it shows.

    Raises:
        CheckFailed: the model is not better than persistence.
    """
    config = load_config(
        PatternsConfig,
        shipped_configs()["patterns_demo"],
        [f"run.dir={output}", f"data.store={output / 'store'}", *overrides],
    )
    folder = config.run.dir / config.run.name
    reported = folder / "evaluation" / "test"
    if (folder / "report" / "index.html").exists():
        log.info("%s is trained already; delete it to train again", folder)
    else:
        log.info(
            "Jenkinson-Collison types of the British Isles: training on 2001-2006, choosing on "
            "2007-2008, reporting on 2009-2010. The types follow from the map by a rule: a high "
            "score proves the machinery and is no forecasting skill."
        )
        train(config, resume=any(folder.glob("**/last.ckpt")), track=track)
    scores = read_json(reported / "scores.json", "the demo's scores")
    table = predict(folder, MAPS, output / "types.csv", track=track)
    floor = scores["baselines"]["persistence"]["map"]
    if scores["map"] <= floor:
        raise CheckFailed(
            "the trained model is not better than persistence",
            file=reported / "scores.json",
            found=scores["map"],
            expected=f"more than {floor:.3f}",
        )
    return scores, [
        (folder / "report" / "index.html", "all of it on one page, for a browser"),
        (reported / "class_scores.png", "each type beside its baselines"),
        (reported / "best_days.png", "charts of days it knew, and what it looked at"),
        (reported / "worst_days.png", "charts of days it missed"),
        (reported / "calendar.png", "every day, observed above predicted"),
        (folder / "loss_curve.png", "the training"),
        (reported / "evaluation.txt", "all scores as text"),
        (table, "types of all ten years with probabilities and similar days"),
    ]

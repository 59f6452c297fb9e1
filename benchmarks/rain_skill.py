"""MSE skill against seconds of training: the reference network, our default, the shipped shape.

Run ``python benchmarks/rain_skill.py [--minutes 20]``. All three train on IMERG of 11-16 November
2023 and are scored after every epoch on 17-18 November, one after another in this process:

- v5: the reference network (111 million parameters) on full frames by the reference recipe:
  learning rate 5e-5, batches of 8, its weighted loss; of the inputs it gets P, S and N;
- default: our default shape with P, S and N, on full frames;
- shipped: the shape and recipe of ``configs/rain_demo.yaml``, which that of the shipped model
  extends to more sources.

Each gets the same time; an epoch that begins in it is finished. Printed are the best skill so far
against the seconds spent training (without preparation and evaluation), and the part of v5's time
in which the others reached its best. 15 windows are scored: differences of 0.02 mean little.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from tenkizu.core.config import load_config
from tenkizu.core.samples import shipped_configs
from tenkizu.rain.config import V5, RainConfig
from tenkizu.rain.preparation import prepare
from tenkizu.rain.training import train

V5_SHAPE = [f"model.{key}={json.dumps(value)}" for key, value in V5.model_dump(mode="json").items()]
PLAIN = ["data.context=[s,p,n]", "data.tile=null", "data.tiles_per_window=null", "data.flips=false"]
PLAIN += ["data.time_reversal=false", "data.amount_scale=1.0", "data.drop_neighbours=0"]

RECIPES: dict[str, list[str]] = {
    "v5": [
        *PLAIN,
        *V5_SHAPE,
        "loss.weights=manual",
        "train.batch_size=8",
        "train.lr=5.0e-5",
        "train.ema=null",
        "train.warmup_steps=0",
    ],
    "default": [
        *PLAIN,
        "model.embed_dim=64",
        "model.depths=[2,2,6,2]",
        "model.num_heads=[2,4,8,16]",
        "model.window_size=5",
        "model.full_resolution_skip=true",
        "model.prior=linear",
        "train.batch_size=4",
    ],
    "shipped": [],
}


def curve(name: str, overrides: list[str], folder: Path, minutes: float) -> list[dict[str, float]]:
    """Seconds of training, seconds in all, and skill after each epoch."""
    config = load_config(
        RainConfig,
        shipped_configs()["rain_demo"],
        [
            f"run.dir={folder}",
            f"run.name={name}",
            f"data.store={folder / 'store'}-{'motion' if name == 'shipped' else 'plain'}",
            "plots.cases=0",
            "scores.fss_windows=[]",
            *overrides,
        ],
    )
    prepare(config)
    # One epoch tells how many fit.
    train(config.model_copy(update={"train": config.train.model_copy(update={"epochs": 1})}))
    first = epochs_of(folder / name)[0]["seconds"]
    count = max(2, round(60 * minutes / first))
    train(
        config.model_copy(update={"train": config.train.model_copy(update={"epochs": count})}),
        overwrite=True,
    )
    return epochs_of(folder / name)


def epochs_of(run: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def main() -> None:
    """Train the three and print their curves."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20, help="training of each network")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    arguments = parser.parse_args()
    curves = {}
    with tempfile.TemporaryDirectory() as name:
        for recipe in arguments.only:
            began = time.perf_counter()
            epochs = curve(recipe, RECIPES[recipe], Path(name), arguments.minutes)
            spent, points = 0.0, []
            for epoch in epochs:
                spent += epoch["seconds"]
                best = max([epoch["val_skill"], *(skill for _, skill in points)])
                points.append((spent, best))
            curves[recipe] = points
            print(f"{recipe}: {len(points)} epochs, {time.perf_counter() - began:.0f} s in all")
            for seconds, best in points[:: max(1, len(points) // 8)] + points[-1:]:
                print(f"  {seconds:8.0f} s   best skill so far {best:6.3f}", flush=True)
    if "v5" not in curves:
        return
    target = curves["v5"][-1][1]
    needed = next(seconds for seconds, best in curves["v5"] if best >= target)
    for recipe in set(curves) - {"v5"}:
        reached = next((seconds for seconds, best in curves[recipe] if best >= target), None)
        said = "never" if reached is None else f"after {reached:.0f} s, {reached / needed:.3f}"
        print(f"{recipe} reaches v5's best of {target:.3f} {said} of v5's {needed:.0f} s")


if __name__ == "__main__":
    main()

"""The best and the worst days of a split: maps, what the network looked at, analogues."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tenkizu.core.store import SampleStore, atomic
from tenkizu.patterns.analogue_bank import AnalogueBank
from tenkizu.patterns.analogues import write_analogues
from tenkizu.patterns.attribution import grad_cam, integrated_gradients
from tenkizu.patterns.best_tracks import tracks_of
from tenkizu.patterns.config import ReportConfig
from tenkizu.patterns.dataset import PatternDataset
from tenkizu.patterns.labelled_days import store_times
from tenkizu.patterns.model import PatternModel, run_networks
from tenkizu.patterns.pressure_neighbours import stored_pressure
from tenkizu.patterns.verification.days import DayTable

log = logging.getLogger(__name__)


def write_cases(
    folder: Path,
    split: str,
    table: DayTable,
    store: SampleStore,
    model: PatternModel,
    bank: AnalogueBank,
    settings: ReportConfig,
) -> None:
    """Write ``cases/{split}.npz`` and ``cases/{split}_analogues.csv``.

    Args:
        folder: the run folder.
        split: names the files.
        table: the days of the split.
        store: of their maps.
        model: the trained model.
        bank: its training days.
        settings: how many cases, and what about them.
    """
    chosen, kinds = choose_cases(table, settings.cases)
    times = table.times[chosen]
    days = np.searchsorted(store_times(store), times)
    unused = np.zeros((len(store), len(table.labels)), bool)
    tracks = tracks_of(model.metadata["config"]["data"].get("typhoons"))
    dataset = PatternDataset(store, model.inputs, days, unused, tracks)
    samples = [dataset[i] for i in range(len(days))]
    maps = torch.stack([sample["maps"] for sample in samples])
    season = torch.stack([sample["season"] for sample in samples])
    msl = stored_pressure(store, days)
    arrays: dict[str, Any] = {
        "times": times.astype("datetime64[m]").astype(np.int64),
        "kind": np.array(kinds),
        "msl": msl,
        "lat": model.grid.y,
        "lon": model.grid.x,
    }
    net = model.members[0]
    if settings.attribution:
        # Of the type that the model believes in most, rightly or not.
        labels = table.calibrated[chosen].argmax(axis=1)
        with torch.inference_mode():
            planes = net.planes(maps.to(net.static.device), season.to(net.static.device))
        found = integrated_gradients(
            net.backbone, planes.clone(), labels.tolist(), output=net.logits
        )
        arrays["attribution"] = found.maps
        arrays["attribution_by_channel"] = found.by_channel
        arrays["attributed_label"] = np.array(table.labels)[labels]
        arrays["channels"] = np.array(model.inputs.names)
        arrays["grad_cam"] = grad_cam(
            net.backbone, planes.clone(), labels.tolist(), output=net.logits
        )
        log.info("integrated gradients: completeness error %s", _errors(found.error))
    if settings.analogues:
        _, embedding = run_networks([net], [{"maps": maps, "season": season}])
        local = model.catalogue.local_days(times)
        near = bank.search(settings.analogue_by, local, embedding, msl, settings.analogues)
        write_analogues(
            folder / "cases" / f"{split}_analogues.csv", local, near, bank.days, bank.texts
        )
        arrays["analogue_msl"] = np.where(
            (near.index >= 0)[..., None, None], bank.msl[near.index], np.nan
        )
        arrays["analogue_lat"], arrays["analogue_lon"] = bank.grid.y, bank.grid.x
    with atomic(folder / "cases" / f"{split}.npz") as part:
        np.savez_compressed(part, **arrays)


def choose_cases(table: DayTable, count: int) -> tuple[NDArray[np.int64], list[str]]:
    """Days on which the model was most right and most wrong, by the day's log loss.

    The best ones differ in label, as long as there are labels left: the clearest type would fill
    all places otherwise.

    Returns:
        Indices into the table, best first, then worst, and ``best`` or ``worst`` for each.
    """
    p = np.clip(table.calibrated, 1e-7, 1 - 1e-7)
    loss = -np.where(table.truth, np.log(p), np.log(1 - p)).mean(axis=1)
    order = np.argsort(loss, kind="stable")
    first: list[int] = []
    seen: set[str] = set()
    for day in order:
        if table.texts[day] not in seen and len(first) < count:
            seen.add(table.texts[day])
            first.append(int(day))
    taken = set(first)
    first += [int(day) for day in order if int(day) not in taken][: count - len(first)]
    worst = [int(day) for day in order[::-1] if int(day) not in first][:count]
    chosen = np.array(first + worst, np.int64)
    return chosen, ["best"] * len(first) + ["worst"] * len(worst)


def _errors(error: NDArray[np.float64]) -> str:
    known = error[np.isfinite(error)]
    return f"{100 * known.max():.2f} % at most" if len(known) else "not defined"

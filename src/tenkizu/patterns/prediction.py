"""`predict`: the types of any days whose maps are at hand, from nothing but the model folder."""

import csv
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu import __version__
from tenkizu.core.checkpoint import find_model
from tenkizu.core.errors import ConfigError
from tenkizu.core.store import atomic
from tenkizu.patterns.analogue_bank import AnalogueBank
from tenkizu.patterns.analogues import Analogues
from tenkizu.patterns.map_batches import DayMaps, open_maps
from tenkizu.patterns.model import Outputs, PatternModel
from tenkizu.patterns.verification.thresholds import TUNED

log = logging.getLogger(__name__)

UNUSUAL = 6.0
"""Training deviations of a channel's daily mean beyond which a day is flagged."""

_CHUNK = 256
_OF_TIME = {"standard_name": "time", "long_name": "Valid time of the map, UTC"}

Track = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class Prediction:
    """What a model says of some days.

    Attributes:
        times: valid times (n,), UTC.
        days: local dates (n,).
        outputs: probabilities.
        predicted: decisions (n, L).
        analogues: most similar training days.
        unusual: channels far from what the model was trained on, by day.
    """

    times: NDArray[np.datetime64]
    days: NDArray[np.datetime64]
    outputs: Outputs
    predicted: NDArray[np.bool_]
    analogues: Analogues | None
    unusual: list[list[str]]


def predict(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    track: Track | None = None,
    typhoons: str | Path | None = None,
) -> Path:
    """Classify days and write a table or a NetCDF file.

    Args:
        model: a run folder, an exported model folder or a shipped model's name.
        data: files of maps (raw ERA5, merged, or any NetCDF or Zarr group with the fields), or a
            store.
        output: ``.csv`` or ``.nc``.
        track: shows progress.
        typhoons: CSV of best tracks, for a model that sees them.

    Returns:
        The file written, with probabilities, decisions, statuses, major types, analogues, and a
        flag for days outside the range of the training.

    Raises:
        ConfigError: the output is neither CSV nor NetCDF, or is one of the files read; or the
            model needs best tracks.
        DataError: the model or the data cannot be used.
    """
    path = Path(output)
    if path.suffix not in (".csv", ".nc"):
        raise ConfigError(
            "unknown kind of output", file=path, found=path.suffix, expected=".csv or .nc"
        )
    loaded = PatternModel.load(model)
    names = [data] if isinstance(data, str | Path) else list(data)
    if path.resolve() in [Path(name).resolve() for name in names]:
        raise ConfigError("the output is an input file", file=path, next_step="choose another name")
    bank = AnalogueBank.load(find_model(model))
    with open_maps(loaded, names, typhoons) as maps:
        result = _predict(loaded, maps, bank, track)
    for day, channels in zip(result.days, result.unusual, strict=True):
        if channels:
            log.warning("%s lies outside the training range: %s", day, ", ".join(channels))
    write = _write_csv if path.suffix == ".csv" else _write_netcdf
    write(path, loaded, result, bank, [Path(name).name for name in names])
    return path


def _predict(
    model: PatternModel, maps: DayMaps, bank: AnalogueBank | None, track: Track | None
) -> Prediction:
    """Run the model over all days, some hundred at a time."""
    follow = track or (lambda items, _: items)
    parts: list[Outputs] = []
    found: list[Analogues] = []
    unusual: list[list[str]] = []
    days = model.catalogue.local_days(maps.times)
    report = model.metadata["config"]["report"]
    for first in follow(range(0, len(maps.times), _CHUNK), "predicting"):
        chosen = np.arange(first, min(first + _CHUNK, len(maps.times)))
        watch = _Watch(model)
        outputs = model.outputs(watch.passing(maps.batches(chosen)))
        parts.append(outputs)
        unusual += watch.unusual
        if bank is not None and report["analogues"]:
            by = report["analogue_by"]
            msl = maps.msl(chosen) if by != "embedding" and bank.msl.size else bank.msl
            found.append(bank.search(by, days[chosen], outputs.embedding, msl, report["analogues"]))
    outputs = Outputs(
        np.concatenate([part.logits for part in parts], axis=1),
        np.concatenate([part.raw for part in parts]),
        np.concatenate([part.calibrated for part in parts]),
        np.concatenate([part.embedding for part in parts]),
    )
    analogues = None
    if found:
        analogues = Analogues(
            np.concatenate([one.index for one in found]),
            np.concatenate([one.distance for one in found]),
        )
    predicted = model.thresholds.decide(outputs.calibrated)
    return Prediction(maps.times, days, outputs, predicted, analogues, unusual)


class _Watch:
    """Compares the daily mean of each channel with that of the training days."""

    def __init__(self, model: PatternModel) -> None:
        self.names = model.inputs.maps
        ranges = [model.metadata["daily_mean"][name] for name in self.names]
        self.mean = np.array([one["mean"] for one in ranges])
        self.std = np.array([one["std"] for one in ranges])
        self.unusual: list[list[str]] = []

    def passing(self, batches: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """Look at batches on their way to the model."""
        for batch in batches:
            maps = batch["maps"][:, : len(self.names)].double().numpy()
            known = np.isfinite(maps)
            count = np.maximum(known.sum(axis=(2, 3)), 1)
            means = np.where(known, maps, 0.0).sum(axis=(2, 3)) / count
            far = np.abs(means - self.mean) > UNUSUAL * np.maximum(self.std, 1e-30)
            far &= known.any(axis=(2, 3)) & (self.std > 0)
            self.unusual += [[n for n, f in zip(self.names, row, strict=True) if f] for row in far]
            yield batch


def _majors(model: PatternModel, chosen: NDArray[np.bool_]) -> str:
    majors = {m for m, c in zip(model.catalogue.majors, chosen, strict=True) if c}
    return "+".join(m for m in model.catalogue.major_labels if m in majors)


def _write_csv(
    path: Path,
    model: PatternModel,
    result: Prediction,
    bank: AnalogueBank | None,
    sources: Sequence[str],
) -> None:
    """One line a day."""
    labels = model.catalogue.labels
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(
            ["date", "valid_time", "predicted", "major"]
            + [f"p_{label}" for label in labels]
            + [f"decided_{label}" for label in labels]
            + ["analogues", "outside_training_range", "thresholds_not_tuned"]
        )
        doubtful = [
            f"{label} {status}"
            for label, status in zip(labels, model.thresholds.status, strict=True)
            if status != TUNED
        ]
        for i, day in enumerate(result.days):
            chosen = result.predicted[i]
            decided = [
                "" if not known else int(yes)
                for known, yes in zip(model.thresholds.decided, chosen, strict=True)
            ]
            rows.writerow(
                [
                    day,
                    result.times[i],
                    "+".join(name for name, c in zip(labels, chosen, strict=True) if c),
                    _majors(model, chosen),
                    *(f"{p:.6f}" for p in result.outputs.calibrated[i]),
                    *decided,
                    "; ".join(_analogue_texts(result, bank, i)),
                    " ".join(result.unusual[i]),
                    "; ".join(doubtful),
                ]
            )


def _analogue_texts(result: Prediction, bank: AnalogueBank | None, i: int) -> list[str]:
    if bank is None or result.analogues is None:
        return []
    found = [int(k) for k in result.analogues.index[i] if k >= 0]
    return [f"{bank.days[k]} ({bank.texts[k]})" for k in found]


def _write_netcdf(
    path: Path,
    model: PatternModel,
    result: Prediction,
    bank: AnalogueBank | None,
    sources: Sequence[str],
) -> None:
    """CF NetCDF on (time, label); undefined classes have no decision."""
    import xarray as xr

    labels, thresholds = model.catalogue.labels, model.thresholds
    decision = np.where(thresholds.decided, result.predicted, -1).astype(np.int8)
    both = ("time", "label")
    variables: dict[str, Any] = {
        "probability": (
            both,
            result.outputs.calibrated.astype(np.float32),
            {"long_name": "Calibrated probability of the type", "units": "1"},
        ),
        "probability_raw": (
            both,
            result.outputs.raw.astype(np.float32),
            {"long_name": "Probability of the type before calibration", "units": "1"},
        ),
        "decision": (
            both,
            decision,
            {
                "long_name": "Whether the probability reaches the threshold",
                "units": "1",
                "flag_values": np.array([-1, 0, 1], np.int8),
                "flag_meanings": "undefined no yes",
            },
        ),
        "threshold": (
            ("label",),
            thresholds.thresholds,
            {"long_name": "Threshold of the calibrated probability", "units": "1"},
        ),
        "threshold_status": (
            ("label",),
            list(thresholds.status),
            {"long_name": "How the threshold came about"},
        ),
        "major_type": (
            ("label",),
            list(model.catalogue.majors),
            {"long_name": "Major type of the type"},
        ),
        "local_date": (
            ("time",),
            [str(day) for day in result.days],
            {"long_name": "Local date that the map belongs to"},
        ),
        "outside_training_range": (
            ("time",),
            [" ".join(channels) for channels in result.unusual],
            {
                "long_name": "Channels whose daily mean is more than "
                f"{UNUSUAL:g} standard deviations from that of the training days"
            },
        ),
    }
    if bank is not None and result.analogues is not None:
        texts = [_analogue_texts(result, bank, i) for i in range(len(result.days))]
        most = result.analogues.index.shape[1]
        padded = [row + [""] * (most - len(row)) for row in texts]
        variables["analogue"] = (
            ("time", "rank"),
            np.array(padded, dtype=object),
            {"long_name": "Most similar training days, nearest first, with their labels"},
        )
    dataset = xr.Dataset(
        variables,
        {
            "time": ("time", result.times.astype("datetime64[ns]"), _OF_TIME),
            "label": ("label", list(labels), {"long_name": "Pressure pattern"}),
        },
        {
            "Conventions": "CF-1.11",
            "title": f"Pressure patterns ({model.catalogue.name})",
            "source": f"tenkizu {__version__}, model {model.metadata['name']} "
            f"({model.weights_hash}), from {', '.join(sources)}",
            "references": model.catalogue.citation,
        },
    )
    with atomic(path) as part:
        dataset.to_netcdf(part, engine="h5netcdf")

"""The exported model: members with their calibration, thresholds, baselines, one folder."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenkizu.core.checkpoint import find_model, load_model, load_weights, save_model
from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns.catalogues import Catalogue
from tenkizu.patterns.inputs import Inputs
from tenkizu.patterns.labelling import catalogue_from_json, catalogue_to_json
from tenkizu.patterns.network import PatternNet
from tenkizu.patterns.verification.calibration import Calibration, sigmoid
from tenkizu.patterns.verification.score_summary import Ranking
from tenkizu.patterns.verification.thresholds import Thresholds

log = logging.getLogger(__name__)

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Outputs:
    """What a model says of some days.

    Attributes:
        logits: of each member, (M, n, L).
        raw: mean over members of the uncalibrated probability, (n, L).
        calibrated: mean over members of the calibrated probability, (n, L).
        embedding: of the first member, (n, E).
    """

    logits: NDArray[np.float64]
    raw: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    embedding: NDArray[np.float32]


@torch.inference_mode()
def run_networks(
    nets: Sequence[PatternNet], batches: Iterable[Batch]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Run networks over batches with ``maps`` (N, M, H, W) and ``season`` (N, 4), in one pass.

    Returns:
        Logits of each network, (M, n, L), and the embedding by the first, (n, E).
    """
    for net in nets:
        net.eval()
    device = nets[0].normaliser.mean.device
    logits, embeddings = [], []
    for batch in batches:
        maps, season = batch["maps"].to(device), batch["season"].to(device)
        results = [net.embedding(maps, season) for net in nets]
        logits.append(np.stack([out.double().cpu().numpy() for out, _ in results]))
        embeddings.append(results[0][1].float().cpu().numpy())
    return np.concatenate(logits, axis=1), np.concatenate(embeddings)


class PatternModel:
    """A trained model with all that evaluation and prediction need.

    Attributes:
        members: the networks, in evaluation mode.
        calibrations: one a member.
        thresholds: decide the mean calibrated probability.
        catalogue: the types.
        metadata: the content of ``model.json``.
    """

    def __init__(
        self,
        members: Sequence[PatternNet],
        calibrations: Sequence[Calibration],
        thresholds: Thresholds,
        catalogue: Catalogue,
        metadata: dict[str, Any],
    ) -> None:
        self.members = [net.eval() for net in members]
        self.calibrations = list(calibrations)
        self.thresholds = thresholds
        self.catalogue = catalogue
        self.metadata = metadata

    @property
    def inputs(self) -> Inputs:
        """Channels of the networks."""
        return self.members[0].inputs

    @property
    def grid(self) -> Grid:
        """The grid the networks were trained on."""
        return Grid.from_json(self.metadata["grid"])

    def outputs(self, batches: Iterable[Batch]) -> Outputs:
        """What the model says of the days of some batches, in their order."""
        logits, embedding = run_networks(self.members, batches)
        return combine(logits, self.calibrations, embedding)

    @classmethod
    def load(cls, model: str | Path, device: str | None = None) -> "PatternModel":
        """Load a model by run folder, exported folder or shipped name.

        Args:
            model: where it is.
            device: ``cpu``, ``cuda``, ...; by default a GPU when there is one.

        Raises:
            DataError: there is no such model, or it is damaged or foreign.
        """
        weights, metadata = load_model(model, "patterns")
        folder = find_model(model)
        try:
            members = [PatternNet.rebuild(described) for described in metadata["members"]]
            for i, net in enumerate(members):
                own = f"{i}."
                load_weights(
                    net,
                    {k.removeprefix(own): v for k, v in weights.items() if k.startswith(own)},
                    folder,
                )
            calibrations = [Calibration.from_json(item) for item in metadata["calibrations"]]
            if not 0 < len(members) == len(calibrations):
                raise ValueError(f"{len(members)} members, {len(calibrations)} calibrations")
            result = cls(
                members,
                calibrations,
                Thresholds.from_json(metadata["thresholds"]),
                catalogue_from_json(metadata["catalogue"]),
                metadata,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"an entry is missing or wrong: {error}",
                file=folder / "model.json",
                next_step="copy the whole model folder again",
            ) from None
        for net in members:
            net.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return result

    @property
    def ranking(self) -> Ranking:
        """What days are ranked by: a network's own probability, or the mean calibrated one.

        Members of an ensemble are averaged after calibration.
        """
        return "calibrated" if len(self.members) > 1 else "raw"

    @property
    def weights_hash(self) -> str:
        """Short hash of the weights, written into every output."""
        return str(self.metadata["weights_sha256"])[:12]


def combine(
    logits: NDArray[np.float64],
    calibrations: Sequence[Calibration],
    embedding: NDArray[np.float32],
) -> Outputs:
    """Mean probabilities of members, raw and calibrated, from their logits (M, n, L)."""
    calibrated = [c.apply(z) for c, z in zip(calibrations, logits, strict=True)]
    return Outputs(logits, sigmoid(logits).mean(axis=0), np.mean(calibrated, axis=0), embedding)


def export(
    folder: Path,
    members: Sequence[PatternNet],
    calibrations: Sequence[Calibration],
    thresholds: Thresholds,
    catalogue: Catalogue,
    details: dict[str, Any],
) -> Path:
    """Write a model folder.

    Args:
        folder: where to.
        members: networks with their final weights.
        calibrations: one a member.
        thresholds: of the mean calibrated probability.
        catalogue: the types.
        details: further JSON-ready metadata: grid, baselines, provenance, configuration.
    """
    metadata = {
        "kind": "patterns",
        # Of all members; buffers such as scales and the sea mask are no parameters.
        "parameters": sum(p.numel() for net in members for p in net.parameters()),
        "labels": list(catalogue.labels),
        "majors": list(catalogue.majors),
        "catalogue": catalogue_to_json(catalogue),
        "channels": members[0].describe()["channels"],
        "members": [net.describe() for net in members],
        "calibrations": [calibration.to_json() for calibration in calibrations],
        "thresholds": thresholds.to_json(),
        **details,
    }
    weights = {
        f"{i}.{name}": tensor
        for i, net in enumerate(members)
        for name, tensor in net.state_dict().items()
    }
    return save_model(folder, weights, metadata)

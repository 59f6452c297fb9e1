"""The module that travels: scaling, anomalies, channel planes, backbone, hierarchy."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenkizu.core.normaliser import ChannelScale, Normaliser
from tenkizu.patterns.annual_cycle import HARMONICS
from tenkizu.patterns.config import ModelConfig
from tenkizu.patterns.inputs import SEASON, Inputs
from tenkizu.patterns.networks.backbones import build_backbone, rebuild_options


class PatternNet(nn.Module):
    """Raw maps and season terms in, logits of the types out.

    Args:
        inputs: channels, in order.
        model: the network.
        majors: major type of each label, (L,) names; used by ``hierarchy: head``.
        scales: of the map channels, history and tracks included.
        season: of the season terms.
        shape: of a map, (H, W).
        anomaly: what is taken off each standardised map.
    """

    static: Tensor
    cycle: Tensor

    def __init__(
        self,
        inputs: Inputs,
        model: ModelConfig,
        majors: Sequence[str],
        scales: Sequence[ChannelScale],
        season: Sequence[ChannelScale],
        shape: tuple[int, int],
        anomaly: str = "none",
    ) -> None:
        super().__init__()
        self.inputs, self.model, self.shape, self.anomaly = inputs, model, shape, anomaly
        self.majors = tuple(majors)
        self.normaliser = Normaliser(scales)
        self.season = Normaliser(season) if season else None
        self.register_buffer("static", torch.zeros(len(inputs.static), *shape))
        # Where there is no storm, its channel is to stay 0.
        self.fields = len(scales) - len(inputs.tracks)
        count = self.fields if anomaly == "climatology" else 0
        self.register_buffer("cycle", torch.zeros(count, HARMONICS, *shape))
        self.parents = [sorted(set(majors), key=self.majors.index).index(m) for m in self.majors]
        outputs = len(self.majors)
        if model.hierarchy == "head":
            outputs += len(set(majors))
        self.backbone = build_backbone(
            model.backbone, len(inputs.names), outputs, shape, **model.options
        )

    def describe(self) -> dict[str, Any]:
        """All that `rebuild` needs beside the weights."""
        return {
            "inputs": self.inputs.to_json(),
            "network": self.model.model_dump(mode="json"),
            "majors": list(self.majors),
            "channels": [asdict(scale) for scale in self.normaliser.scales],
            "season": [asdict(scale) for scale in self.season.scales] if self.season else [],
            "shape": list(self.shape),
            "anomaly": self.anomaly,
        }

    @classmethod
    def rebuild(cls, data: dict[str, Any]) -> Self:
        """The inverse of `describe`, with weights not yet loaded."""
        model = ModelConfig(**data["network"])
        # The weights come from the file: none are to be fetched or read elsewhere.
        options = rebuild_options(model.options)
        return cls(
            Inputs.from_json(data["inputs"]),
            model.model_copy(update={"options": options}),
            data["majors"],
            [ChannelScale(**item) for item in data["channels"]],
            [ChannelScale(**item) for item in data["season"]],
            (int(data["shape"][0]), int(data["shape"][1])),
            data["anomaly"],
        )

    def planes(self, maps: Tensor, season: Tensor) -> Tensor:
        """The standardised input of the backbone, (N, C, H, W), finite.

        Args:
            maps: raw, (N, M, H, W).
            season: the terms f1 to f4, (N, 4).
        """
        values, tracks = self.normaliser.standardise(maps).tensor_split([self.fields], dim=1)
        if self.anomaly == "area_mean":
            values = values - torch.nanmean(values, dim=(2, 3), keepdim=True)
        elif self.anomaly == "climatology":
            terms = functional.pad(season, (1, 0), value=1.0)
            values = values - torch.einsum("nk,ckhw->nchw", terms, self.cycle)
        if self.inputs.tracks:
            values = torch.cat([values, tracks], dim=1)
        parts = [torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)]
        size = (len(maps), -1, *maps.shape[2:])
        if len(self.static):
            parts.append(self.static[None].expand(size))
        if self.season is not None:
            own = season[:, [SEASON.index(name) for name in self.inputs.season]]
            parts.append(self.season(own[:, :, None, None]).expand(size))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def logits(self, outputs: Tensor) -> Tensor:
        """Logits of the types (N, L), float32, of the backbone's outputs.

        With ``hierarchy: head`` p(sub) = p(major) p(sub | major), so no subtype is likelier than
        its major type.
        """
        outputs = outputs.float()
        if self.model.hierarchy == "derived":
            return outputs
        subs, majors = outputs[:, : len(self.parents)], outputs[:, len(self.parents) :]
        log_p = functional.logsigmoid(subs) + functional.logsigmoid(majors[:, self.parents])
        # log p - log(1 - p), with 1 - p from expm1 so that likely types keep their digits.
        return log_p - torch.log((-torch.expm1(log_p)).clamp(min=1e-12))

    def forward(self, maps: Tensor, season: Tensor) -> Tensor:
        """Logits (N, L), float32, of raw maps (N, M, H, W) and season (N, 4)."""
        logits: Tensor = self.logits(self.backbone(self.planes(maps, season)))
        return logits

    def embedding(self, maps: Tensor, season: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, L) and the input of the last linear layer (N, E)."""
        embedded = self.backbone.embed(self.backbone.spatial(self.planes(maps, season)))
        return self.logits(self.backbone.classify(embedded)), embedded

"""Any network of the timm library, by name."""

import difflib
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tenkizu.core.errors import ConfigError
from tenkizu.patterns.networks.layers import Backbone

START_OPTIONS = ("pretrained", "weights")
"""Options that say where the first weights come from."""


class TimmBackbone(Backbone):
    """A timm network with as many input channels and logits as asked.

    The features of a network of tokens are its tokens in a column, (N, D, T, 1).

    Args:
        name: as timm knows it, such as ``resnet18`` or ``convnextv2_atto.fcmae``.
        channels: of the input; pretrained weights of the first layer are adapted to them.
        labels: number of logits; a pretrained classifier is replaced.
        pretrained: download the weights that timm knows for this name.
        weights: file of such weights (safetensors or torch) on this machine, used instead.
        options: further arguments of ``timm.create_model``, such as ``img_size`` or
            ``drop_path_rate``.

    Raises:
        ConfigError: timm is missing, the name or an option unknown to it, the weights cannot be
            loaded, or the network has more than one classifier.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        labels: int,
        pretrained: bool = False,
        weights: str | Path | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__()
        self.order = "NCHW"
        try:
            import timm
        except ImportError:
            raise ConfigError(
                "timm is not installed",
                variable="model.backbone",
                found=f"timm:{name}",
                next_step="pip install timm",
            ) from None
        if not timm.is_model(name):
            close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
            raise ConfigError(
                "timm has no such network",
                variable="model.backbone",
                found=f"timm:{name}",
                next_step=f"nearest names: {', '.join(f'timm:{c}' for c in close)}"
                if close
                else "timm.list_models() in Python lists the names",
            )
        if weights is not None:
            if not Path(weights).is_file():
                raise ConfigError("no such file", file=weights, variable="model.options.weights")
            options["pretrained_cfg_overlay"] = {"file": str(weights)}
        source = weights if weights is not None else "the download" if pretrained else None
        try:
            net: Any = timm.create_model(
                name,
                pretrained=source is not None,
                in_chans=channels,
                num_classes=labels,
                **options,
            )
        except Exception as error:  # timm raises whatever its networks and the download raise
            raise ConfigError(
                f"timm:{name} cannot be built: {error}",
                file=weights,
                variable="model.options",
                found={"pretrained": pretrained, **options},
                next_step="give the weights as a file: model.options.weights=FILE"
                if source == "the download"
                else None,
            ) from error
        if not isinstance(net.get_classifier(), nn.Module):
            raise ConfigError(
                "the network has more than one classifier",
                variable="model.backbone",
                found=f"timm:{name}",
                expected="a network with one last linear layer",
            )
        self.net: Any = net

    def features(self, x: Tensor) -> Tensor:
        """Features (N, D, h, w) of input (N, C, H, W); tokens as (N, D, T, 1).

        Raises:
            ConfigError: the network is made for another size of maps.
        """
        try:
            features: Tensor = self.net.forward_features(x)
        except AssertionError as error:
            height, width = x.shape[-2:]
            raise ConfigError(
                f"the network does not take maps of {height} x {width}: {error}",
                variable="model.options",
                next_step=f"model.options.img_size=[{height},{width}], where the network has that "
                "option, or another network",
            ) from None
        self.order = "NLC" if features.ndim == 3 else str(getattr(self.net, "output_fmt", "NCHW"))
        if self.order == "NLC":
            return features.transpose(1, 2).unsqueeze(3)
        return features.permute(0, 3, 1, 2) if self.order == "NHWC" else features

    def embed(self, spatial: Tensor) -> Tensor:
        """(N, D, h, w) to (N, E)."""
        embedding: Tensor = self.net.forward_head(self._as_given(spatial), pre_logits=True)
        return embedding

    def classify(self, embedding: Tensor) -> Tensor:
        """(N, E) to (N, L)."""
        logits: Tensor = self.net.get_classifier()(embedding)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, L) of input (N, C, H, W), as the network itself joins its parts."""
        logits: Tensor = self.net.forward_head(self._as_given(self.spatial(x)))
        return logits

    def _as_given(self, spatial: Tensor) -> Tensor:
        """The features as the network gave them."""
        if self.order == "NLC":
            return spatial.squeeze(3).transpose(1, 2)
        return spatial.permute(0, 2, 3, 1) if self.order == "NHWC" else spatial

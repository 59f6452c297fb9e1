"""The networks: sizes, shapes, what their parts compute, and the deformable operator on CPU."""

import sys

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional
from torchvision.ops import deform_conv2d

from tenkizu.core.drop_path import DropPath
from tenkizu.core.errors import ConfigError
from tenkizu.patterns.networks.backbones import BACKBONES, build_backbone, rebuild_options
from tenkizu.patterns.networks.deform_conv import deform_conv
from tenkizu.patterns.networks.layers import Dropout, channels_last

PARAMETERS = {
    "simple": lambda c, n: 580_256 + 288 * c + 513 * n,
    "resnet_small": lambda c, n: 3_058_048 + 576 * c + 1025 * n,
    "deformable": lambda c, n: 1_558_910 + 738 * c + 1025 * n,
    "convnext_tiny": lambda c, n: 3_748_032 + 1024 * c + 257 * n,
}
SEED_SIZES = {
    "simple": 600_047,
    "resnet_small": 3_097_615,
    "deformable": 1_605_281,
    "convnext_tiny": 3_794_895,
}
LAST_MAPS = {
    "simple": (64, 20, 20),
    "resnet_small": (256, 41, 41),
    "deformable": (256, 41, 41),
    "convnext_tiny": (256, 10, 10),
}
EMBEDDED = {
    "simple": 512,
    "resnet_small": 1024,
    "deformable": 1024,
    "convnext_tiny": 256,
    "projection": 256,
}


def size(name, channels, labels, **options):
    with torch.device("meta"):
        net = build_backbone(name, channels, labels, **options)
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.fixture
def maps():
    return torch.randn(2, 3, 17, 33, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------------------- all networks


@pytest.mark.parametrize("name", PARAMETERS)
def test_number_of_parameters(name):
    assert size(name, 42, 15) == SEED_SIZES[name]
    for channels, labels in ((42, 15), (46, 15), (8, 11), (1, 1)):
        assert size(name, channels, labels) == PARAMETERS[name](channels, labels)


def test_layer_scale_and_final_norm_add_their_parameters():
    assert size("convnext_tiny", 42, 15, layer_scale=1e-6, final_norm=True) == 3_797_327


@pytest.mark.parametrize("name", LAST_MAPS)
def test_last_maps_of_the_full_region(name):
    with torch.device("meta"):
        net = build_backbone(name, 4, 5).eval()
        spatial = net.spatial(torch.zeros(1, 4, 161, 161))
    assert tuple(spatial.shape[1:]) == LAST_MAPS[name]


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("shape", [(16, 16), (17, 33)])
def test_small_maps_of_any_shape_train(name, shape):
    net = build_backbone(name, 3, 5, shape)
    x = torch.randn(2, 3, *shape)
    embedding = net.embed(net.spatial(x))
    assert embedding.shape == (2, EMBEDDED[name])
    logits = net(x)
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    gradients = [parameter.grad for parameter in net.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_parts_make_the_whole_and_evaluation_is_not_random(name, maps):
    net = build_backbone(name, 3, 5, (17, 33)).eval()
    parts = net.classify(net.embed(net.spatial(maps)))
    torch.testing.assert_close(net(maps), parts, rtol=0, atol=0)
    swapped = net(maps.flip(0))
    torch.testing.assert_close(swapped.flip(0), parts, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_maps_below_16_cells_are_refused(name):
    with pytest.raises(ConfigError, match=r"found 15 x 40 cells, expected at least 16 x 16"):
        build_backbone(name, 2, 3, (15, 40))(torch.zeros(1, 2, 15, 40))


def test_an_unknown_name_or_option_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"found resnet_smal,.*\n.*did you mean resnet_small"):
        build_backbone("resnet_smal", 3, 5)
    with pytest.raises(
        ConfigError, match=r"(?s)found layerscale, expected layer_scale, .*mean layer"
    ):
        build_backbone("convnext_tiny", 3, 5, layerscale=1e-6)
    with pytest.raises(ConfigError, match=r"no such option.*found width, expected none"):
        build_backbone("resnet_small", 3, 5, width=8)


@pytest.mark.parametrize(
    ("name", "option"),
    [("simple", {"dropout": 1.0}), ("simple", {"pool": 0}), ("convnext_tiny", {"drop_path": -1})],
)
def test_an_option_out_of_range_is_refused(name, option):
    with pytest.raises(ConfigError, match=r"model\.options"):
        build_backbone(name, 3, 5, **option)


# ---------------------------------------------------------------------------- simple


def test_simple_computes_what_its_description_says(maps):
    """ReLU before max-pooling, as described, though the network pools first."""
    net = build_backbone("simple", 3, 5).double().eval()
    ours = maps.double().requires_grad_()
    theirs = maps.double().requires_grad_()
    x = theirs
    for conv in net.convs:
        x = functional.max_pool2d(
            functional.relu(functional.conv2d(x, conv.weight, conv.bias, padding=1)), 2
        )
    hidden = functional.relu(net.hidden(functional.adaptive_avg_pool2d(x, 4).flatten(1)))
    expected = net.out(hidden)
    found = net(ours)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-14)


def test_simple_can_pool_less_on_coarse_maps(maps):
    net = build_backbone("simple", 3, 5, pool=8, max_pools=1, dropout=0, head_dropout=0)
    assert net.spatial(maps).shape == (2, 64, 8, 16)
    assert net(maps).shape == (2, 5)


# ---------------------------------------------------------------------------- layers


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate, order):
    torch.manual_seed(0)
    x = torch.ones(8, 30, 50, 41).contiguous(memory_format=order).requires_grad_()
    out = Dropout(rate)(x)
    assert out.stride() == x.stride()
    dropped = (out == 0).float()
    # Standard deviation of the mean of 492,000 draws: under 0.0008.
    assert dropped.mean().item() == pytest.approx(rate, abs=0.003)
    assert torch.unique(out[out != 0]).item() == pytest.approx(1 / (1 - rate), abs=2e-5)
    # Neither channels nor samples share their draws.
    shares = torch.cat([dropped.mean((0, 2, 3)), dropped.mean((1, 2, 3))])
    assert (shares - rate).abs().max() < 0.02
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach(), rtol=0, atol=0)


def test_dropout_follows_the_seed_and_is_off_in_evaluation():
    layer, x = Dropout(0.25), torch.randn(5, 7)
    first, second = (torch.manual_seed(4) and layer(x) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.equal(layer(x), first)
    assert layer.eval()(x) is x


def test_drop_path_of_the_network_grows_with_depth():
    net = build_backbone("convnext_tiny", 3, 5, drop_path=0.9)
    rates = [module.rate for module in net.modules() if isinstance(module, DropPath)]
    np.testing.assert_allclose(rates, np.arange(10) / 10, atol=1e-6)


def test_channels_last_changes_the_order_in_memory_only(maps):
    moved = channels_last(maps)
    assert torch.equal(moved, maps)
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert channels_last(moved) is moved


# ---------------------------------------------------------------------------- deformable


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=["double", "single"]
)
@pytest.mark.parametrize("reach", ["zero", "fractions", "whole cells", "far outside"])
def test_the_cpu_path_equals_the_librarys_operator(reach, dtype, atol, stride):
    """In values and in gradients of input, offsets and weights.

    Whole offsets lie on the kinks of the interpolation, where the side of the slope is a choice.
    """
    generator = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    out = (-(-13 // stride), -(-18 // stride))
    offset = draw(3, 18, *out) * {"zero": 0, "far outside": 60}.get(reach, 3)
    offset = offset.round() if reach == "whole cells" else offset
    inputs = [value.to(dtype) for value in (draw(3, 5, 13, 18), offset, draw(7, 5, 3, 3))]
    ours, theirs = ([value.clone().requires_grad_() for value in inputs] for _ in range(2))
    found = deform_conv(*ours, stride)
    expected = deform_conv2d(*theirs, stride=stride, padding=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    gradient = draw(3, 7, *out).to(dtype)
    found.backward(gradient)
    expected.backward(gradient)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=atol)


def test_samples_in_several_groups_are_samples_together(monkeypatch):
    torch.manual_seed(2)
    inputs = [torch.randn(5, 4, 20, 22), torch.randn(5, 18, 20, 22), torch.randn(6, 4, 3, 3)]

    def run():
        leaves = [value.clone().requires_grad_() for value in inputs]
        out = deform_conv(*leaves)
        out.square().sum().backward()
        return [out.detach(), *(leaf.grad for leaf in leaves)]

    together = run()
    monkeypatch.setattr(
        "tenkizu.patterns.networks.deform_conv.COLUMN_BYTES", 2 * 9 * 20 * 22 * 4 * 4
    )
    torch.testing.assert_close(run(), together, rtol=1e-4, atol=1e-4)


def test_a_new_deformable_network_is_an_ordinary_convolution(maps):
    block = build_backbone("deformable", 3, 5).blocks[0].eval()
    plain = functional.conv2d(maps, block.weight, padding=1)
    torch.testing.assert_close(
        block(maps), functional.relu(block.norm(plain)), rtol=1e-4, atol=1e-5
    )


def test_the_operator_computes_in_float32_under_autocast(maps):
    block = build_backbone("deformable", 3, 5).blocks[0].eval()
    with torch.autocast("cpu", torch.bfloat16):
        out = deform_conv(maps.bfloat16(), block.offset(maps), block.weight)
    assert out.dtype == torch.float32


def test_elsewhere_than_on_cpu_the_librarys_operator_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    x, offset, weight = (
        torch.zeros(s, device="meta") for s in ((1, 2, 16, 16), (1, 18, 16, 16), (4, 2, 3, 3))
    )
    with pytest.raises(
        ConfigError, match=r"(?s)needs torchvision on this device \(meta\).*pip install"
    ):
        deform_conv(x, offset, weight)


# ---------------------------------------------------------------------------- timm


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet10t", {}),
        ("test_convnext", {}),
        ("mobilenetv3_small_050", {}),
        ("test_vit", {"img_size": [32, 48]}),
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": [32, 48], "embed_dim": 24, "depths": [1, 1, 1, 1]},
        ),
    ],
)
def test_timm_networks_with_our_channels_and_labels(name, options):
    """Maps, maps with channels last, and tokens: the parts make the whole."""
    net = build_backbone(f"timm:{name}", 7, 5, **options).eval()
    x = torch.randn(2, 7, 32, 48)
    spatial = net.spatial(x)
    embedding = net.embed(spatial)
    logits = net(x)
    assert spatial.ndim == 4
    assert logits.shape == (2, 5)
    torch.testing.assert_close(net.classify(embedding), logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net.net(x), logits, rtol=1e-4, atol=1e-5)


def test_timm_weights_from_a_file_fit_other_channels_and_labels(tmp_path):
    original = timm.create_model("resnet10t", num_classes=1000)
    path = tmp_path / "weights.safetensors"
    save_file(original.state_dict(), path)
    net = build_backbone("timm:resnet10t", 7, 5, weights=path)
    deep = "layer4.0.conv1.weight"
    torch.testing.assert_close(net.net.state_dict()[deep], original.state_dict()[deep])
    assert net(torch.randn(2, 7, 32, 32)).shape == (2, 5)
    with pytest.raises(ConfigError, match=r"absent\.safetensors: .*no such file"):
        build_backbone("timm:resnet10t", 7, 5, weights=tmp_path / "absent.safetensors")


def test_an_unknown_timm_name_gives_the_nearest():
    with pytest.raises(
        ConfigError, match=r"(?s)found timm:resnet81.*nearest names: .*timm:resnet18"
    ):
        build_backbone("timm:resnet81", 3, 5)


def test_a_timm_network_that_does_not_fit_says_so():
    with pytest.raises(ConfigError, match=r"more than one classifier"):
        build_backbone("timm:deit_tiny_distilled_patch16_224", 3, 5)
    with pytest.raises(ConfigError, match=r"cannot be built.*no_such_option"):
        build_backbone("timm:resnet10t", 3, 5, no_such_option=1)
    with pytest.raises(ConfigError, match=r"(?s)maps of 32 x 40.*img_size=\[32,40\]"):
        build_backbone("timm:test_vit", 3, 5)(torch.zeros(1, 3, 32, 40))


def test_without_timm_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"(?s)timm is not installed.*pip install timm"):
        build_backbone("timm:resnet18", 3, 5)


def test_options_of_the_first_weights_are_left_out_when_a_model_is_rebuilt():
    options = {"pretrained": True, "weights": "a.safetensors", "drop_path_rate": 0.1}
    assert rebuild_options(options) == {"drop_path_rate": 0.1}

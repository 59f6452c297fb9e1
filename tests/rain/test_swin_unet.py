"""The Swin U-Net as a whole: its size, any size of field, gradients, a golden pass."""

import math

import numpy as np
import pytest
import torch
from small_networks import small_network, spread_out
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tenkizu.core.errors import ConfigError
from tenkizu.rain.swin_unet import SwinUNet, parameter_table

V5_TABLE = {
    "patch embed": 108_928,
    "encoder blocks": 65_019_800,
    "patch merging": 2_759_680,
    "bottleneck norm": 2_048,
    "decoder blocks": 39_822_168,
    "patch expanding": 2_754_304,
    "skip linears": 689_024,
    "last norm": 256,
    "final x4": 262_400,
    "head": 384,
}


def total(model):
    return sum(p.numel() for p in model.parameters())


# Sizes


def test_v5_has_the_parameters_of_the_reference_in_every_part():
    with torch.device("meta"):
        model = SwinUNet(53)
    assert parameter_table(model) == V5_TABLE
    assert total(model) == 111_418_992


def test_one_more_input_field_costs_one_patch_of_weights():
    with torch.device("meta"):
        assert total(SwinUNet(54)) - total(SwinUNet(53)) == 4 * 4 * 128


def test_a_wide_window_network_has_the_parameters_of_the_reference():
    with torch.device("meta"):
        model = SwinUNet(
            53, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=15
        )
    assert total(model) == 41_610_276


def test_v5_takes_107_gmac_on_the_full_domain():
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        hours = SwinUNet(53).eval()(torch.empty(1, 53, 480, 480))
    assert hours.shape == (1, 3, 480, 480)
    assert counter.get_total_flops() / 2e9 == pytest.approx(107.06, abs=0.005)


def test_full_resolution_skip_is_a_row_of_the_table():
    with torch.device("meta"):
        model = SwinUNet(53, full_resolution_skip=True)
    table = parameter_table(model)
    read = (53 * 9 + 1) * 32 + (32 * 9 + 1) * 32
    mix = ((128 + 32) * 9 + 1) * 128
    assert table.pop("full-resolution skip") == read + mix
    assert table == V5_TABLE
    assert total(model) == 111_418_992 + read + mix


def test_a_temperature_map_is_a_row_of_the_table():
    with torch.device("meta"):
        model = SwinUNet(53, temperature_map=True)
        assert model(torch.empty(1, 53, 480, 480)).shape == (1, 4, 480, 480)
    table = parameter_table(model)
    assert table.pop("temperature") == (128 * 9 + 1) * 64 + 64 + 1
    assert table == V5_TABLE
    assert total(model) == 111_492_849


def test_bilinear_upsampling_changes_the_expansions_alone():
    with torch.device("meta"):
        model = SwinUNet(53, upsampling="bilinear")
    table = parameter_table(model)
    widths = (512, 256, 128)
    assert table["patch expanding"] == sum(9 * 2 * w * w + 2 * w for w in widths)
    assert table["final x4"] == 9 * 128 * 128 + 2 * 128
    others = {k: v for k, v in table.items() if k not in ("patch expanding", "final x4")}
    assert others == {k: V5_TABLE[k] for k in others}


@pytest.mark.parametrize(
    "options",
    [{}, {"full_resolution_skip": True}, {"upsampling": "bilinear"}],
    ids=["plain", "skip", "bilinear"],
)
@pytest.mark.parametrize("size", [(128, 192), (7, 9), (160, 160), (33, 65), (1, 1)])
def test_any_field_size_comes_back_as_it_went_in(size, options):
    model = small_network(**options).eval()
    with torch.no_grad():
        hours = model(torch.randn(1, 5, *size))
    assert hours.shape == (1, 3, *size)
    assert hours.is_contiguous()
    assert hours.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "multiple"),
    [
        ({}, 80),
        (dict(depths=(1, 1), num_heads=(1, 2), window_size=4), 32),
        (dict(depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)), 160),
        (dict(patch_size=2, window_size=3), 24),
    ],
)
def test_other_sizes_are_continued_with_the_edge_values_and_cut(settings, multiple):
    model = spread_out(small_network(**settings), 0.1).eval()
    fields = np.random.default_rng(3).normal(size=(1, 5, 7, 9)).astype(np.float32)
    room = ((0, 0), (0, 0), (0, multiple - 7), (0, multiple - 9))
    continued = np.pad(fields, room, mode="edge")
    with torch.no_grad():
        hours = model(torch.from_numpy(fields))
        expected = model(torch.from_numpy(continued))[..., :7, :9]
    torch.testing.assert_close(hours, expected)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (dict(depths=(2, 2), num_heads=(1, 2, 4)), "depths"),
        (dict(depths=(2,), num_heads=(1,)), "depths"),
        (dict(num_heads=(3, 2, 4)), "num_heads"),
        (dict(drop_path=1.0), "drop_path"),
    ],
)
def test_stages_that_do_not_fit_are_refused(settings, named):
    with pytest.raises(ConfigError, match=named):
        small_network(**settings)


# The whole network


def test_a_batch_equals_its_samples_one_by_one():
    model = spread_out(small_network(full_resolution_skip=True), 0.1).eval()
    fields = torch.randn(3, 5, 90, 70)
    with torch.no_grad():
        together = model(fields)
        alone = torch.cat([model(sample[None]) for sample in fields])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_receives_a_gradient():
    model = spread_out(small_network(drop_path=0.1, full_resolution_skip=True), 0.1)
    torch.manual_seed(6)
    functional.mse_loss(model(torch.randn(4, 5, 80, 80)), torch.randn(4, 3, 80, 80)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def gradients(checkpointing):
    """Loss, gradients and bytes kept for the backward pass of one training step."""
    model = small_network(drop_path=0.5, activation_checkpointing=checkpointing)
    spread_out(model, 0.1)
    kept = []

    def keep(tensor):
        kept.append(tensor.nbytes)
        return tensor

    torch.manual_seed(7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(torch.randn(4, 5, 80, 80)).square().mean()
    loss.backward()
    return loss, {n: p.grad for n, p in model.named_parameters()}, sum(kept)


def test_activation_checkpointing_keeps_less_and_gives_the_same_gradients():
    loss, plain, memory = gradients(checkpointing=False)
    same_loss, checkpointed, less = gradients(checkpointing=True)
    assert torch.equal(loss, same_loss)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        # Stochastic depth drops the same branches in both passes.
        assert torch.equal(gradient, checkpointed[name]), name
    assert less < 0.5 * memory


@pytest.mark.parametrize("upsampling", ["shuffle", "bilinear"])
def test_every_parameter_of_every_option_receives_a_gradient(upsampling):
    model = small_network(
        full_resolution_skip=True,
        upsampling=upsampling,
        temperature_map=True,
        activation_checkpointing=True,
    )
    spread_out(model, 0.1)
    functional.mse_loss(model(torch.randn(2, 5, 80, 80)), torch.randn(2, 4, 80, 80)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_full_resolution_skip_sees_single_cells():
    model = small_network(full_resolution_skip=True)
    with torch.no_grad():
        model.final_x4.norm.weight.zero_()
        fields = torch.zeros(1, 5, 80, 80)
        changed = fields.clone()
        changed[..., 40, 41] = 1
        moved = (model(changed) - model(fields)).abs().amax(1)[0]
    # With the patch features silenced, three 3 x 3 convolutions reach three cells.
    near = torch.zeros(80, 80, dtype=torch.bool)
    near[37:44, 38:45] = True
    assert (moved[near] > 0).all()
    assert (moved[~near] == 0).all()


def test_golden_forward_pass():
    model = SwinUNet(
        2, out_channels=2, embed_dim=8, depths=(2, 2), num_heads=(2, 4), window_size=2, patch_size=2
    ).eval()

    def ripples(shape, phase):
        steps = torch.arange(math.prod(shape), dtype=torch.float64).view(shape)
        return torch.sin(0.01 * steps**2 + steps + phase)

    with torch.no_grad():
        for phase, (_, parameter) in enumerate(sorted(model.named_parameters())):
            parameter.copy_(0.5 * ripples(parameter.shape, phase))
        hours = model(ripples((1, 2, 14, 19), 0.5).float())
    golden = {
        (0, 0, 0, 0): 0.01025,
        (0, 1, 0, 0): -0.22681,
        (0, 0, 0, 18): -0.06403,
        (0, 0, 6, 9): -0.86825,
        (0, 1, 7, 10): 0.20176,
        (0, 1, 13, 0): 0.52001,
        (0, 0, 13, 18): -0.65364,
    }
    for place, value in golden.items():
        assert hours[place].item() == pytest.approx(value, abs=2e-5), place

"""The parts of the Swin U-Net: merging, expansion, skips, depth and initial weights."""

import math

import pytest
import torch
from small_networks import small_network

from tenkizu.rain.swin_unet import BilinearExpansion, Expansion, PatchMerging, SwinUNet


def test_patch_merging_takes_the_row_first():
    # Tens are rows, units are columns.
    tokens = torch.tensor([[0.0, 1, 2, 3], [10, 11, 12, 13]]).view(1, 2, 4, 1)
    assert PatchMerging.gather(tokens).tolist() == [[[[0, 10, 1, 11], [2, 12, 3, 13]]]]


def test_expansion_reads_the_channels_as_rows_then_columns():
    expansion = Expansion(8, 2, 2)
    with torch.no_grad():
        expansion.expand.weight.copy_(torch.eye(8))
    expansion.norm = torch.nn.Identity()
    tokens = torch.arange(16.0).view(1, 1, 2, 8)
    assert expansion(tokens)[0].tolist() == [
        [[0, 1], [2, 3], [8, 9], [10, 11]],
        [[4, 5], [6, 7], [12, 13], [14, 15]],
    ]


def test_bilinear_expansion_is_interpolation_before_the_convolution():
    expansion = BilinearExpansion(1, 2, 1)
    expansion.norm = torch.nn.Identity()
    with torch.no_grad():
        expansion.mix.weight.zero_()[0, 0, 1, 1] = 1
        fine = expansion(torch.tensor([[0.0, 4.0], [8.0, 12.0]]).view(1, 2, 2, 1))
    # Cell centres lie at a quarter and three quarters of the way.
    assert fine.shape == (1, 4, 4, 1)
    assert fine[0, 0, :, 0].tolist() == [0, 1, 3, 4]
    assert fine[0, :, 0, 0].tolist() == [0, 2, 6, 8]


def checkerboard(model, cells=4):
    """Variance of the result with the place of a cell in its patch, for an even input."""
    with torch.no_grad():
        hours = model.eval()(torch.ones(1, 5, 160, 160))[..., 40:120, 40:120]
    return hours.view(1, 3, 20, cells, 20, cells).mean((2, 4)).var(dim=(2, 3)).max().item()


def test_bilinear_upsampling_draws_no_checkerboard():
    assert checkerboard(small_network(upsampling="bilinear")) < 1e-7
    assert checkerboard(small_network()) > 1e-4


def test_a_skip_is_what_enters_the_stage():
    model = small_network().eval()
    entered, joined, expanded = [], [], []
    for blocks in model.encoder_blocks:
        blocks.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    for part in model.patch_expanding:
        part.register_forward_hook(lambda _, args, result: expanded.append(result))
    for part in model.skip_linears:
        part.register_forward_pre_hook(lambda _, args: joined.append(args[0]))
    with torch.no_grad():
        model(torch.randn(1, 5, 80, 80))
    assert [tuple(x.shape[1:]) for x in entered] == [(20, 20, 8), (10, 10, 16), (5, 5, 32)]
    for both, below, skip in zip(joined, expanded, entered[1::-1], strict=True):
        assert torch.equal(both, torch.cat([below, skip], -1))


def test_odd_blocks_are_shifted_and_depth_is_stochastic_in_proportion():
    model = small_network(depths=(2, 3, 1), drop_path=0.2)

    def rates(stages):
        return [pytest.approx([block.drop_path.rate for block in stage]) for stage in stages]

    assert rates(model.encoder_blocks) == [[0, 0.04], [0.08, 0.12, 0.16], [0.2]]
    assert rates(model.decoder_blocks) == [[0.08, 0.12, 0.16], [0, 0.04]]
    shifts = [[block.attention.shift for block in stage] for stage in model.encoder_blocks]
    assert shifts == [[0, 2], [0, 2, 0], [0]]


def test_v5_reaches_its_last_drop_rate_at_the_last_of_18_blocks():
    with torch.device("meta"):
        model = SwinUNet(53)
    blocks = [block for stage in model.encoder_blocks for block in stage]
    assert [b.drop_path.rate for b in blocks] == pytest.approx([0.2 * i / 17 for i in range(18)])


def test_initial_weights_follow_the_recipe():
    model = small_network(embed_dim=32, full_resolution_skip=True)
    for name, parameter in model.named_parameters():
        module = model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, torch.nn.LayerNorm):
            assert (parameter == name.endswith("weight")).all()
        elif isinstance(module, torch.nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            assert 0.5 * bound < parameter.abs().max() <= bound
        elif name.endswith("bias"):
            assert (parameter == 0).all()
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.2)

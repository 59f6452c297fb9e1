import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tenkizu.core.drop_path import DropPath
from tenkizu.core.errors import ConfigError
from tenkizu.rain import windows
from tenkizu.rain.swin_unet import (
    BilinearExpansion,
    Expansion,
    PatchMerging,
    SwinBlock,
    SwinUNet,
    parameter_table,
)
from tenkizu.rain.windows import WindowAttention, attend_explicit, attend_fused, shift_mask

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


def small_network(**changes):
    torch.manual_seed(0)
    settings = dict(embed_dim=8, depths=(2, 2, 2), num_heads=(1, 2, 4), drop_path=0.0)
    return SwinUNet(5, **(settings | changes))


def spread_out(module, size=0.5):
    """Give every parameter sizeable values, so that no term of the result is negligible."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return module


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
        hours = SwinUNet(53)(torch.empty(1, 53, 480, 480))
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


# Window attention


def attention_by_definition(attention, tokens, row_edges, col_edges):
    """Attend over the whole grid, token by token, only within rectangles cut at the edges."""
    height, width, channels = tokens.shape
    heads, reach = attention.heads, attention.window_size
    depth = channels // heads
    weights = {k: v.detach().double().numpy() for k, v in attention.state_dict().items()}
    qkv = tokens.double().numpy() @ weights["qkv.weight"].T + weights["qkv.bias"]
    cells = list(itertools.product(range(height), range(width)))
    room = {
        (r, c): (np.searchsorted(row_edges, r, "right"), np.searchsorted(col_edges, c, "right"))
        for r, c in cells
    }
    attended = np.zeros((height, width, channels))
    for head in range(heads):
        part = slice(head * depth, (head + 1) * depth)
        q, k, v = (qkv[..., i * channels : (i + 1) * channels][..., part] for i in range(3))
        for r, c in cells:
            seen = [cell for cell in cells if room[cell] == room[r, c]]
            scores = np.array(
                [
                    q[r, c] @ k[cell] / math.sqrt(depth)
                    + weights["bias_table"][
                        (r - cell[0] + reach - 1) * (2 * reach - 1) + c - cell[1] + reach - 1, head
                    ]
                    for cell in seen
                ]
            )
            share = np.exp(scores - scores.max())
            attended[r, c, part] = share @ np.array([v[cell] for cell in seen]) / share.sum()
    return attended @ weights["proj.weight"].T + weights["proj.bias"]


@pytest.mark.parametrize("form", [attend_explicit, attend_fused])
@pytest.mark.parametrize(
    ("grid", "shifted", "row_edges", "col_edges"),
    [
        ((10, 10), False, [5], [5]),
        ((10, 10), True, [2, 7], [2, 7]),
        # Where the window spans the axis, that axis is not shifted.
        ((5, 5), True, [], []),
        ((5, 10), True, [], [2, 7]),
        ((10, 3), True, [2, 7], []),
    ],
)
def test_window_attention_is_attention_within_displaced_windows(
    monkeypatch, form, grid, shifted, row_edges, col_edges
):
    monkeypatch.setattr(windows, "attend_explicit", form)
    attention = spread_out(WindowAttention(8, 2, 5, shifted=shifted))
    tokens = torch.randn(2, *grid, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        attended = attention(tokens)
    for found, sample in zip(attended, tokens, strict=True):
        expected = attention_by_definition(attention, sample, row_edges, col_edges)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_mask_of_the_corner_window_keeps_its_four_regions_apart():
    # A 4 x 4 grid, windows of 2, rolled by 1: the last window holds one cell of each corner.
    mask = shift_mask((4, 4), (2, 2), (1, 1), torch.device("cpu"))
    assert mask.shape == (4, 1, 4, 4)
    apart = -100.0
    assert mask[0, 0].tolist() == [[0.0] * 4] * 4
    left_right = [[0, apart, 0, apart], [apart, 0, apart, 0]] * 2
    assert mask[1, 0].tolist() == left_right
    assert mask[3, 0].tolist() == [[0.0 if i == j else apart for j in range(4)] for i in range(4)]


def test_a_block_never_carries_a_change_across_regions():
    block = spread_out(SwinBlock(WindowAttention(8, 2, 5, shifted=True), 4.0, 0.0)).eval()
    tokens = torch.randn(1, 10, 10, 8)
    edges = [0, 2, 7, 10]
    for (top, bottom), (left, right) in itertools.product(itertools.pairwise(edges), repeat=2):
        changed = tokens.clone()
        changed[:, top:bottom, left:right] += torch.randn(bottom - top, right - left, 8)
        with torch.no_grad():
            moved = (block(changed) - block(tokens)).abs().amax(-1)[0]
        inside = torch.zeros(10, 10, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert moved[~inside].max() < 1e-6
        assert moved[inside].min() > 1e-3


@pytest.mark.parametrize("masked", [False, True])
def test_fused_attention_equals_the_explicit_form_with_its_gradients(masked):
    torch.manual_seed(4)
    batch, heads, grid, window = 3, 2, (10, 15), (5, 5)
    q, k, v = torch.randn(3, batch * 6, heads, 25, 16, requires_grad=True).unbind()
    bias = torch.randn(heads, 25, 25, requires_grad=True)
    mask = shift_mask(grid, window, (2, 2), q.device) if masked else None
    weight = torch.randn(q.shape)

    def run(attend):
        attended = attend(q, k, v, bias, mask)
        return attended, *torch.autograd.grad((attended * weight).sum(), (q, k, v, bias))

    for fused, explicit in zip(run(attend_fused), run(attend_explicit), strict=True):
        torch.testing.assert_close(fused, explicit, rtol=1e-5, atol=1e-5)


def test_a_fused_network_equals_the_explicit_one(monkeypatch):
    explicit = spread_out(small_network(fused_attention=False), 0.1).eval()
    fused = small_network(fused_attention=True).eval()
    fused.load_state_dict(explicit.state_dict(), strict=True)
    fields = torch.randn(2, 5, 160, 80)
    with torch.no_grad():
        expected = explicit(fields)
        # The CPU prefers the explicit form, so the fused one is put in its place.
        monkeypatch.setattr(windows, "attend_explicit", attend_fused)
        torch.testing.assert_close(fused(fields), expected, rtol=1e-5, atol=1e-5)


def test_scores_stay_in_float32_under_autocast():
    # bfloat16 cannot tell 100.25 from 100; with float32 scores the weights are 1 : exp(0.25).
    q = torch.ones(1, 1, 2, 1)
    k = torch.tensor([100.0, 100.25]).view(1, 1, 2, 1)
    v = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        attended = attend_explicit(q, k, v, torch.zeros(1, 2, 2), None)
    share = math.exp(0.25) / (1 + math.exp(0.25))
    assert attended.flatten().tolist() == pytest.approx([share, share], rel=4e-3)


def test_training_works_after_validation_in_inference_mode():
    # Window 7 occurs in no other test, so its constants are made in inference mode here.
    model = small_network(depths=(2, 2), num_heads=(1, 2), window_size=7)
    fields = torch.randn(1, 5, 56, 56)
    with torch.inference_mode():
        model.eval()(fields)
    model.train()(fields).sum().backward()
    assert model.head.weight.grad is not None


def test_exporting_leaves_the_network_usable():
    attention = WindowAttention(4, 1, 6, shifted=True)
    tokens = torch.randn(1, 12, 12, 4)
    exported = torch.export.export(attention, (tokens,)).module()
    torch.testing.assert_close(exported(tokens), attention(tokens))


def test_state_dict_holds_parameters_only():
    model = small_network(full_resolution_skip=True)
    model(torch.randn(1, 5, 16, 16))
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


# Parts


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


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(5)
    drop = DropPath(0.2)
    kept = drop(torch.ones(4000, 2, 2, 3)).flatten(1)
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    assert torch.equal(kept.amin(1), kept.amax(1))
    assert kept.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(drop.eval()(torch.ones(4, 2)), torch.ones(4, 2))


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

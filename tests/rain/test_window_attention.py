"""Attention within windows, displaced ones too: by its definition, explicit and fused."""

import itertools
import math

import numpy as np
import pytest
import torch
from small_networks import small_network, spread_out

from tenkizu.rain import windows
from tenkizu.rain.swin_unet import SwinBlock
from tenkizu.rain.windows import WindowAttention, attend_explicit, attend_fused, shift_mask


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

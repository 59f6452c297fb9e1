"""Self-attention inside (shifted) square windows, on tokens laid out as (B, H, W, C)."""

import contextlib
import functools
from collections.abc import Callable, Hashable

import torch
from torch import Tensor, nn
from torch.nn import functional

# Added to the score of two tokens that only the roll has brought into one window.
SEPARATION = -100.0


def _computed_once(build: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Cache a constant tensor per argument list, device included."""

    @functools.lru_cache(maxsize=64)
    def cached(*args: Hashable) -> Tensor:
        # Validation runs in inference mode; a tensor born there could not be used in training.
        with torch.inference_mode(False):
            return build(*args)

    @functools.wraps(build)
    def get(*args: Hashable) -> Tensor:
        # torch.compile and torch.export trace with stand-in tensors, which must not be kept.
        return build(*args) if torch.compiler.is_compiling() else cached(*args)

    return get


@_computed_once
def relative_position_index(rows: int, cols: int, reach: int, device: torch.device) -> Tensor:
    """Row of the bias table for each pair of tokens in a window of rows x cols.

    The table has (2 reach - 1)^2 rows, one per offset (dr, dc) = query minus key, at
    (dr + reach - 1) (2 reach - 1) + dc + reach - 1; rows and cols are at most reach.

    Returns:
        Integers of shape (N, N), N = rows * cols, query first.
    """
    row, col = torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(cols, device=device), indexing="ij"
    )
    row, col = row.flatten(), col.flatten()
    down = row[:, None] - row[None, :] + reach - 1
    right = col[:, None] - col[None, :] + reach - 1
    return down * (2 * reach - 1) + right


@_computed_once
def shift_mask(
    grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int], device: torch.device
) -> Tensor:
    """Score offsets that keep apart the regions a roll by ``-shift`` has joined.

    After the roll the last ``shift`` rows come from the north edge and the last ``shift`` columns
    from the west edge; they share windows with rows and columns of the opposite edge.

    Returns:
        float32 of shape (windows, 1, N, N): 0 within a region, ``SEPARATION`` across regions. The
        axis of length 1 broadcasts over the heads.
    """
    row_wrapped, col_wrapped = (
        torch.arange(side, device=device) >= side - roll
        for side, roll in zip(grid, shift, strict=True)
    )
    region = 2 * row_wrapped[:, None].int() + col_wrapped[None, :].int()
    region = _split(region[None, ..., None], window, heads=1).flatten(1)
    apart = region[:, None, :, None] != region[:, None, None, :]
    return torch.zeros(apart.shape, device=device).masked_fill_(apart, SEPARATION)


def _split(tokens: Tensor, window: tuple[int, int], heads: int) -> Tensor:
    """(B, H, W, C) to (B * windows, heads, N, C / heads)."""
    batch, height, width, channels = tokens.shape
    rows, cols = window
    tokens = tokens.view(
        batch, height // rows, rows, width // cols, cols, heads, channels // heads
    ).permute(0, 1, 3, 5, 2, 4, 6)
    return tokens.reshape(-1, heads, rows * cols, channels // heads)


def _join(windows: Tensor, window: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """The inverse of ``_split``, for tokens of a whole grid."""
    _, heads, _, depth = windows.shape
    (rows, cols), (height, width) = window, grid
    tokens = windows.reshape(-1, height // rows, width // cols, heads, rows, cols, depth)
    return tokens.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, height, width, heads * depth)


def attend_explicit(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention written out; scores and softmax are float32, under autocast too.

    Args:
        q: queries (B * windows, heads, N, d); k and v alike.
        k: keys.
        v: values.
        bias: (heads, N, N), added to the scores q k / sqrt(d).
        mask: (windows, 1, N, N) or None, added as well.

    Returns:
        The attended values, (B * windows, heads, N, d), in the dtype of ``v``.
    """
    with _full_precision(q.device.type):
        scores = (q.float() * q.shape[-1] ** -0.5) @ k.float().transpose(-2, -1)
        # In place: the product keeps no copy of its result for the backward pass.
        scores += bias
        if mask is not None:
            scores.view(-1, *mask.shape[:1], *scores.shape[1:]).add_(mask)
        weights = scores.softmax(-1)
    attended: Tensor = weights.to(v.dtype) @ v
    return attended


def attend_fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """``attend_explicit`` by torch's fused kernel, with bias plus mask as one additive term.

    The kernel keeps scores and softmax in float32 by itself; in half precision only its inputs
    are rounded, the additive term included.
    """
    if mask is None:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].to(q.dtype))
    # Windows join the heads, so that one term of shape (1, windows * heads, N, N) serves the batch.
    term = (bias + mask).flatten(0, 1)[None].to(q.dtype)
    shape = (-1, term.shape[1], *v.shape[2:])
    attended = functional.scaled_dot_product_attention(
        q.reshape(shape), k.reshape(shape), v.reshape(shape), attn_mask=term
    )
    return attended.reshape(v.shape)


def _full_precision(device_type: str) -> contextlib.AbstractContextManager[object]:
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias per relative position.

    Args:
        width: channels C of the tokens.
        heads: attention heads; a divisor of ``width``.
        window_size: side of the window, in tokens.
        shifted: displace the windows by half their side in both axes.
        fused: use the fused kernel, except on CPU. There the explicit form is faster, 1.1 to 1.4
            times in training and up to 1.9 times in inference (measured on one thread, windows of
            4 and 5): no fused CPU kernel trains the bias, and the windows are small.
    """

    def __init__(
        self, width: int, heads: int, window_size: int, *, shifted: bool, fused: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        self.window_size = window_size
        self.shift = window_size // 2 if shifted else 0
        self.fused = fused
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend within the windows of ``tokens`` (B, H, W, C); H and W are whole windows.

        On an axis no longer than the window, the window is the whole axis and nothing is shifted.
        """
        height, width = tokens.shape[1:3]
        rows, cols = window = (min(self.window_size, height), min(self.window_size, width))
        shift = (self.shift if height > rows else 0, self.shift if width > cols else 0)
        mask = None
        if any(shift):
            tokens = tokens.roll((-shift[0], -shift[1]), (1, 2))
            mask = shift_mask((height, width), window, shift, tokens.device)
        # The size is known only now, so the table always has the configured reach; a window cut
        # short by the grid uses the offsets it contains.
        index = relative_position_index(rows, cols, self.window_size, tokens.device)
        # An embedding look-up, because its gradient is summed in a fixed order.
        bias = functional.embedding(index, self.bias_table).permute(2, 0, 1)

        q, k, v = (_split(x, window, self.heads) for x in self.qkv(tokens).chunk(3, dim=-1))
        # Stochastic depth may leave no sample at all, which not every fused kernel takes.
        fused = self.fused and q.device.type != "cpu" and len(tokens)
        attend = attend_fused if fused else attend_explicit
        tokens = _join(attend(q, k, v, bias, mask), window, (height, width))
        tokens = self.proj(tokens)
        return tokens.roll(shift, (1, 2)) if any(shift) else tokens

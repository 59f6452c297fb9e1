"""Random views of a stored window: squares of it, mirrored, reversed, scaled, with parts hidden."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tenkizu.rain.baselines import equal_split
from tenkizu.rain.coarsening import block_mean
from tenkizu.rain.config import DataConfig
from tenkizu.rain.fields import wind_component
from tenkizu.rain.tables import MOTION, RAIN, Rain

DRAWS = 5
"""Attempts to find a training tile with rain in it."""

Square = tuple[slice, slice]

WHOLE: Square = (slice(None), slice(None))


@dataclass(frozen=True)
class View:
    """What `augment` does to a window.

    Attributes:
        square: rows and columns that are cut out.
        factor: squares of so many cells a side are averaged.
        backwards: time runs backwards.
        steps: 1 or -1 for rows and columns: mirrored or not.
        amount: factor on all rain.
        hidden: whether P and N are hidden.
    """

    square: Square = WHOLE
    factor: int = 1
    backwards: bool = False
    steps: tuple[int, int] = (1, 1)
    amount: float = 1.0
    hidden: tuple[bool, bool] = (False, False)

    def sign(self, channel: str) -> int:
        """-1 for the wind component that the mirror turns round, else 1."""
        component = wind_component(channel)
        row, column = self.steps
        return {"eastward": column, "northward": row}.get(component or "", 1)


def changes_nothing(data: DataConfig) -> bool:
    """Whether `augment` with these options would give every window as it is."""
    shaped = data.tile is not None or data.flips or data.time_reversal
    return not (shaped or data.amount_scale > 1.0 or data.drop_neighbours)


def draw_view(
    total: Rain, data: DataConfig, generator: np.random.Generator, square: Square | None = None
) -> View:
    """Choose a view of a window, as the options of ``data`` allow.

    Args:
        total: S of the window, (H, W), mm.
        data: the options.
        generator: makes every choice.
        square: what to cut out; by default a random tile, if tiles are asked for.
    """
    factor = 1
    if square is None:
        square = WHOLE
        if data.tile is not None:
            # Drawn only if there is a choice, so that one spacing gives the views it always gave.
            several = len(data.coarser) > 1
            factor = int(generator.choice(data.coarser)) if several else data.coarser[0]
            square = random_square(total, data.tile * factor, generator)
    backwards = data.time_reversal and generator.random() < 0.5
    rows, columns = generator.choice((-1, 1), 2) if data.flips else (1, 1)
    amount = 1.0
    if data.amount_scale > 1.0:
        amount = data.amount_scale ** generator.uniform(-1.0, 1.0)
    without_p, without_n = (generator.random() < data.drop_neighbours for _ in "PN")
    steps = int(rows), int(columns)
    return View(square, factor, backwards, steps, amount, (without_p, without_n))


def see(
    planes: Sequence[Rain], view: View, motion: bool = False, others: Sequence[str] = ()
) -> Rain:
    """A window as a view shows it, a copy.

    Time reversal swaps P with N and reverses the hours. A mirrored wind blows the other way.

    Args:
        planes: (H, W) each; the six of `RAIN`, then the nine stored for `MOTION` if ``motion``,
            then any others, which are cut and mirrored with them.
        view: what to do.
        motion: whether the hours of the motion baseline are there.
        others: names of the other planes, by which winds are known.

    Returns:
        The planes of `RAIN`, of `MOTION` as prediction would make them from the P and N that are
        left, and the others.
    """
    amounts = len(RAIN) + (3 * len(MOTION) if motion else 0)
    rain = block_mean(np.stack([plane[view.square] for plane in planes]), view.factor)
    if view.backwards:
        # Without P becomes without N.
        turned = [8, 7, 6, 14, 13, 12, 11, 10, 9] if motion else []
        rain = rain[[5, 3, 2, 1, 4, 0, *turned, *range(amounts, len(rain))]]
    rain = np.ascontiguousarray(rain[:, :: view.steps[0], :: view.steps[1]])
    for i, name in enumerate(others, amounts):
        if view.sign(name) < 0:
            rain[i] *= -1
    if view.amount != 1.0:
        rain[:amounts] *= np.float32(view.amount)
    for name, hide in zip("PN", view.hidden, strict=True):
        if hide:
            rain[RAIN.index(name)] = np.nan
    if not motion:
        return rain
    if all(view.hidden):
        hours = equal_split(rain[RAIN.index("S")])
    else:
        first = len(RAIN) + (3 if view.hidden[0] else 6 if view.hidden[1] else 0)
        hours = rain[first : first + len(MOTION)]
    return np.concatenate([rain[: len(RAIN)], hours, rain[amounts:]])


def augment(
    planes: Sequence[Rain],
    data: DataConfig,
    generator: np.random.Generator,
    motion: bool = False,
    others: Sequence[str] = (),
) -> Rain:
    """A random view of one window: `draw_view`, then `see`."""
    view = draw_view(planes[RAIN.index("S")], data, generator)
    return see(planes, view, motion, others)


def random_square(total: Rain, side: int, generator: np.random.Generator) -> Square:
    """A random square of a window, drawn again up to `DRAWS` times while it is dry.

    Args:
        total: S of the window, (H, W), mm.
        side: its cells, if the window is as large.
        generator: makes the choice.
    """
    rows, columns = (max(size - side, 0) for size in total.shape)
    for _ in range(DRAWS):
        top, left = int(generator.integers(rows + 1)), int(generator.integers(columns + 1))
        square = slice(top, top + side), slice(left, left + side)
        if (total[square] >= np.float32(0.1)).any():
            break
    return square


def random_tile(
    planes: Sequence[Rain], side: int, generator: np.random.Generator, factor: int = 1
) -> Rain:
    """A `random_square` of all planes, ``factor`` times as large and then averaged to ``side``.

    Args:
        planes: of a window, (H, W) each, in the order of `RAIN`.
        side: cells of the result, if the window is as large.
        generator: makes the choice.
        factor: cells of the window in one of the result, along each axis.
    """
    square = random_square(planes[RAIN.index("S")], side * factor, generator)
    return block_mean(np.stack([plane[square] for plane in planes]), factor)

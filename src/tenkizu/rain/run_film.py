"""The film that a training ends with: the two days around the window with most rain."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tenkizu.rain.cases import Cases, cases_of_store
from tenkizu.rain.film import draw_film, film_path
from tenkizu.rain.preparation import Track
from tenkizu.rain.tables import window_label

HALF = np.timedelta64(24, "h")
"""How long before and after that window: 16 windows take seconds to draw, whatever the period."""


def draw_run_film(
    run: str | Path, split: str, heaviest: str, output: Path, track: Track | None = None
) -> Path:
    """Draw prediction above truth for the two days around a window of the run's store.

    Args:
        run: a run folder with its model.
        split: of the window; of several sources that of the first.
        heaviest: the window, by its label as `window_label` gives it.
        output: ``.mp4`` or ``.gif`` file to write; GIF where no ffmpeg can encode H.264.
        track: shows progress.

    Returns:
        The file written.

    Raises:
        DataError: the store is not there or does not hold the window, or ffmpeg failed.
    """
    from tenkizu.rain.model import RainModel

    model = RainModel.load(run)
    cases = cases_around(cases_of_store(model, split), heaviest)
    return draw_film(model, cases, film_path(output), track=track)


def cases_around(cases: Cases, label: str) -> Cases:
    """The windows from 24 hours before one to 24 hours after it, this one included."""
    labels = [window_label(start) for start in cases.starts]
    middle = cases.starts[labels.index(label)]
    kept = [i for i, start in enumerate(cases.starts) if -HALF <= start - middle < HALF]
    return replace(
        cases,
        starts=[cases.starts[i] for i in kept],
        read=lambda index, member: cases.read(kept[index], member),
    )

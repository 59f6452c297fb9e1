"""A film that is drawn when everything has been split: its colours need the largest amount."""

import tempfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from tenkizu.core.store import output_folder
from tenkizu.rain.cases import Cases
from tenkizu.rain.config import PlotsConfig
from tenkizu.rain.film import frames, round_up, write_film
from tenkizu.rain.plots import rain_limits
from tenkizu.rain.preparation import Track
from tenkizu.rain.tables import Rain

if TYPE_CHECKING:
    from tenkizu.rain.model import RainModel


class Roll:
    """The hours of a film, kept in files until the scale of its colours is known.

    Args:
        path: of the film, as `film_path` gives it.
        cases: what is split.
        model: that splits it.
    """

    def __init__(self, path: Path, cases: Cases, model: "RainModel") -> None:
        self.path, self.cases, self.model = path, cases, model
        plots = PlotsConfig(**model.metadata["config"]["plots"])
        self.vmin_mm, self.fps = plots.lognorm_vmin_mm, plots.video_fps
        self.vmax_mm = 0.0
        self.kept: list[int] = []

    def __enter__(self) -> Self:
        """Itself, with its folder."""
        output_folder(self.path.parent)
        # Beside the film, since room for temporary files may be memory.
        self._folder = tempfile.TemporaryDirectory(
            prefix=f".{self.path.stem}.", suffix=".part", dir=self.path.parent
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the folder."""
        self._folder.cleanup()

    def _file(self, index: int) -> Path:
        return Path(self._folder.name) / f"{index}.npz"

    def keep(self, index: int, rain: Rain, hours: Rain) -> None:
        """Keep a window: its rain (6, H, W) and predicted hours (3, H, W), mm."""
        known = list(rain[1:5])
        limit = rain_limits(known, scale="log", vmin_mm=self.vmin_mm)[1]
        self.vmax_mm = max(self.vmax_mm, limit)
        np.savez_compressed(self._file(index), hours=hours, truth=rain[1:4])
        self.kept.append(index)

    def write(self, track: Track | None) -> None:
        """Draw the film."""
        follow = track or (lambda items, _: items)
        with frames(self.model, self.cases, self.vmin_mm, round_up(self.vmax_mm)) as frame:

            def pictures() -> Generator[bytes]:
                for index in follow(self.kept, "drawing film"):
                    with np.load(self._file(index), allow_pickle=False) as window:
                        yield frame(index, window["hours"], window["truth"])

            with closing(pictures()) as made:
                write_film(self.path, made, self.fps)

"""`report`: a run as one self-contained HTML page.

The page is made from what the run folder holds. Figures that are there are embedded, others are
drawn from the numbers; what is missing or damaged is said to be so, and the rest still comes.
"""

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tenkizu import __version__
from tenkizu.core.errors import DataError
from tenkizu.core.report import Html, Section, figure, missing, page, paragraph, preformatted, table
from tenkizu.core.store import read_json, write_text
from tenkizu.rain.curves import CAPTIONS, draw_epoch_curves
from tenkizu.rain.plots import draw_loss_curve
from tenkizu.rain.report_tables import (
    Scores,
    binary_table,
    category_tables,
    group_tables,
    interval_notes,
    number,
    summary_table,
    timing_table,
    verdict,
)
from tenkizu.rain.score_figures import score_drawings

log = logging.getLogger(__name__)

WINDOWS = 6
"""Panels shown of each split."""

_RUN_FILES = ("config.yaml", "model.json", "history.json")
_PURPOSE = {
    "validation": "its periods chose the epoch, so its scores flatter the model a little",
    "test": "its periods chose nothing and are only reported on",
}


def report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write a run's HTML report: checks, curves, scores, figures, cases and configuration.

    Args:
        run: a run folder, finished or not, of any version.
        output: file to write; by default ``report/index.html`` in the run folder.

    Returns:
        The file written. It embeds its figures and refers to nothing outside itself.

    Raises:
        DataError: the folder holds no run.
    """
    folder = Path(run)
    if not any((folder / name).exists() for name in _RUN_FILES):
        raise DataError(
            "not a run folder" if folder.is_dir() else "no such folder",
            file=folder,
            expected="one of " + ", ".join(_RUN_FILES),
            next_step="name the folder that `tenkizu rain train` printed",
        )
    output = folder / "report" / "index.html" if output is None else Path(output)
    with tempfile.TemporaryDirectory() as spare:
        write_text(output, _Report(folder, Path(spare)).page())
    return output


class _Report:
    """What a run folder holds, and the parts of its page.

    Args:
        folder: of the run.
        spare: empty folder for figures that the run lacks.
    """

    def __init__(self, folder: Path, spare: Path) -> None:
        self.folder, self.spare = folder, spare
        self.model = self._json(folder / "model.json")
        self.history = self._json(folder / "history.json")
        self.config: dict[str, Any] = self.model.get("config") or self._yaml()
        found = {
            path.parent.name: self._json(path) for path in folder.glob("evaluation/*/scores.json")
        }
        # The headline first, from periods that chose nothing; last whatever else was evaluated.
        order = ["test", "validation", *sorted(found)]
        self.scores = {s: found[s] for s in dict.fromkeys(order) if found.get(s)}

    def page(self) -> str:
        """The HTML document."""
        name = self.model.get("name") or self.folder.resolve().name
        sections = [
            self._section("Summary", self._summary),
            self._section("Data and checks", self._checks),
            self._section("Training", self._training),
            *(self._split(split) for split in self.scores),
            self._section("Configuration", self._configuration),
            self._section("Versions", self._versions),
        ]
        lead = [
            paragraph(
                "Hourly rain from 3-hour totals: how the model was made, and whether its split "
                "is better than a third of the total in every hour."
            )
        ]
        footer = f"Written by tenkizu {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
        return page(f"tenkizu rain: {name}", lead, sections, footer)

    def _json(self, path: Path) -> dict[str, Any]:
        """A JSON file of the run; empty if it is not there or damaged."""
        if not path.exists():
            return {}
        try:
            return read_json(path, "a file of a run")
        except DataError as error:
            log.warning("left out of the report: %s", error)
            return {}

    def _yaml(self) -> dict[str, Any]:
        """The run's configuration as written; empty if it is not there or damaged."""
        try:
            found = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            log.warning("left out of the report: config.yaml: %s", error)
            return {}
        return found if isinstance(found, dict) else {}

    def _section(self, title: str, make: Callable[[], Sequence[Html]]) -> Section:
        """A section, whose failure is said in its place."""
        return Section(title, self._guarded(title, make))

    def _guarded(self, what: str, make: Callable[[], Sequence[Html]]) -> list[Html]:
        """Parts of the page, or why they could not be made: older files may have any shape."""
        try:
            return list(make())
        except Exception as error:
            log.warning("%s: could not be shown: %r", what, error)
            return [missing(f"This part could not be shown: {error!r}")]

    def _picture(
        self, path: Path, caption: str, draw: Callable[[str | Path], object] | None
    ) -> list[Html]:
        """A figure of the run, or a new one; what cannot be drawn is said."""
        try:
            if not path.exists() and draw is not None:
                path = self.spare / path.name
                draw(path)
            return [figure(path, caption)] if path.exists() else []
        except Exception as error:
            log.warning("%s could not be drawn: %r", path.name, error)
            return [missing(f"{path.name} could not be drawn: {error}")]
        finally:
            (self.spare / path.name).unlink(missing_ok=True)

    def _summary(self) -> list[Html]:
        parts = self._guarded("provenance", self._provenance)
        if not self.scores:
            return [*parts, missing("The run has not been evaluated.")]
        parts += self._guarded("summary", lambda: [summary_table(self.scores)])
        parts.append(
            paragraph(
                "Skill is the MSE skill against the equal split, 1 \N{MINUS SIGN} SSE / SSE(S/3): "
                "0 is as good as S/3, 1 is exact.",
                muted=True,
            )
        )
        for split in self.scores:
            parts.append(paragraph(f"{split}: {_PURPOSE.get(split, 'an evaluation of its own')}."))
        if "test" not in self.scores:
            parts.append(
                missing(
                    "There are no scores of a test split: the numbers above are not independent "
                    "of the choice of the epoch."
                )
            )
        split = next(iter(self.scores))
        scores = self.scores[split]
        parts += self._guarded("verdict", lambda: verdict(split, scores))
        parts += self._guarded("intervals", lambda: interval_notes(scores))
        bars = self.folder / "evaluation" / split / "skill.png"
        return parts + self._picture(bars, f"Skill against S/3, {split}", None)

    def _provenance(self) -> list[Html]:
        """Which model this is and how its epoch was chosen, in words."""
        if not self.model:
            return [missing("There is no exported model (model.json): the run has not finished.")]
        chosen = self.model.get("chosen_by") or {}
        trained = self.model.get("trained_on") or {}
        sentences = [
            f"{self.model.get('parameters', 0):,} parameters, weights "
            f"{str(self.model.get('weights_sha256'))[:12]}.",
            f"Input: {', '.join(c['name'] for c in self.model.get('channels', ()))}.",
            f"Rain from {', '.join(trained.get('files', ())) or 'files that are not named'}.",
        ]
        if chosen:
            epochs = len(self.history.get("epoch") or ()) or "?"
            sentences.append(
                f"Epoch {chosen.get('epoch')} of {epochs} was chosen by {chosen.get('quantity')} "
                f"({number(chosen.get('value'))}) on the {chosen.get('on')} periods alone."
            )
        return [paragraph(" ".join(sentences))]

    def _checks(self) -> list[Html]:
        parts = [self._checked_line()]
        periods: Mapping[str, Any] = (self.config.get("data") or {}).get("splits") or {}
        rows = []
        for split in dict.fromkeys([*periods, *self.scores]):
            scores = self.scores.get(split, {})
            cells = [
                f"{scores[key]:,}" if key in scores else ""
                for key in ("n_windows", "n_cells", "n_cells_conditional")
            ]
            rows.append([split, ", ".join(periods.get(split) or ()), *cells])
        if rows:
            columns = ("split", "periods (UTC)", "windows", "cells", "cells with S ≥ 0.1 mm")
            parts.append(table(columns, rows))
        if grid := (self.model.get("grid") or {}).get("describe"):
            parts.append(paragraph(f"Grid: {grid}."))
        for split, scores in self.scores.items():
            error = scores.get("max_relative_sum_error")
            if error is not None:
                parts.append(
                    paragraph(f"{split}: the hours add up to S within {error:.1e} of S everywhere.")
                )
        return parts

    def _checked_line(self) -> Html:
        """What training found in the rain before its first step, from the run's log."""
        mark = "training rain: "
        path = self.folder / "run.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        lines = [line.partition(mark)[2] for line in text.splitlines() if mark in line]
        if not lines:
            return missing("The log of the checks before training is missing.")
        return paragraph(f"Checked before the first step: {lines[-1]}.")

    def _training(self) -> list[Html]:
        if not self.history.get("epoch"):
            return [missing("The run has no training history.")]
        parts = self._picture(
            self.folder / "loss_curve.png",
            "Loss, 1 h RMSE and skill over the epochs",
            lambda path: draw_loss_curve(path, self.history),
        )
        bad = (self.history.get("bad_batches") or [0])[-1]
        if bad:
            parts.append(missing(f"{bad} steps were not finite and were skipped."))
        curves = {path.name: path for path in self.folder.glob("*_over_epochs.png")}
        if not curves:
            curves = {path.name: path for path in draw_epoch_curves(self.spare, self.history)}
        if not curves:
            parts.append(missing("The history has no scores of the single epochs."))
        for name, caption in CAPTIONS.items():
            if path := curves.get(f"{name}_over_epochs.png"):
                parts += self._picture(path, f"{caption}, validation", None)
        return parts

    def _split(self, split: str) -> Section:
        """All scores and figures of one split."""
        scores, here = self.scores[split], self.folder / "evaluation" / split
        try:
            drawings = score_drawings(here, scores)
        except (AttributeError, TypeError) as error:
            log.warning("figures of %s: %r", split, error)
            drawings = {}

        def drawn(name: str, caption: str, absent: str) -> list[Html]:
            draw = drawings.get(name)
            return self._picture(here / name, f"{caption}, {split}", draw) or [missing(absent)]

        def equal_split() -> list[Html]:
            path = here / "equal_split_detailed.txt"
            if not path.exists():
                return [missing("This evaluation has no detailed comparison with S/3.")]
            return [preformatted(path.read_text(encoding="utf-8", errors="replace"))]

        def all_text() -> list[Html]:
            path = here / "evaluation.txt"
            if not path.exists():
                return [missing("evaluation.txt is missing.")]
            return [preformatted(path.read_text(encoding="utf-8", errors="replace"))]

        makers: dict[str, Callable[[], list[Html]]] = {
            "Is the split better than S/3?": equal_split,
            "Where is it better?": lambda: drawn(
                "improvement_maps.png",
                "Win rate, mean difference of the squared error and skill against S/3",
                "This evaluation has no improvement maps.",
            ),
            "Events": lambda: [
                *binary_table(scores),
                *drawn("performance.png", "Performance diagram of hourly events", "No events."),
            ],
            "Fractions skill score": lambda: drawn(
                "fss.png",
                "Fractions skill score by threshold and window",
                "This evaluation has no fractions skill scores.",
            ),
            "Classes": lambda: category_tables(scores),
            "Wet hours and the heaviest hour": lambda: timing_table(scores),
            "Skill by amount, hour and season": lambda: group_tables(scores),
            "Windows": lambda: self._windows(scores, here / "panels_log"),
            "All scores as text": all_text,
        }
        below = [self._section(title, make) for title, make in makers.items()]
        lead = paragraph(
            f"{scores.get('data', split)}: {scores.get('n_windows', '?')} windows; "
            f"{_PURPOSE.get(split, 'an evaluation of its own')}."
        )
        return Section(f"Scores: {split}", [lead], [s for s in below if s.parts])

    def _windows(self, scores: Scores, folder: Path) -> list[Html]:
        """Panels of single windows: the best and the worst if their skill is known."""
        paths = {p.stem.removeprefix("validation_"): p for p in sorted(folder.glob("*.png"))}
        if not paths:
            return [missing("No windows were drawn.")]
        skills = {k: v for k, v in (scores.get("skill_by_window") or {}).items() if v is not None}
        ranked = sorted((t0 for t0 in paths if t0 in skills), key=lambda t0: -skills[t0])
        chosen = ranked or list(paths)
        if len(chosen) > WINDOWS:
            chosen = chosen[: WINDOWS // 2] + chosen[-WINDOWS // 2 :]
        said = "best first" if ranked else "in order of time"
        parts = [
            paragraph(
                f"Prediction above truth; {len(chosen)} of the {len(paths)} windows that were "
                f"drawn, {said}.",
                muted=True,
            )
        ]
        for t0 in chosen:
            caption = f"t0 {t0.replace('_', ' ')} UTC"
            if t0 in skills:
                caption += f", MSE skill against S/3 {number(skills[t0])}"
            parts += self._picture(paths[t0], caption, None)
        return parts

    def _configuration(self) -> list[Html]:
        path = self.folder / "config.yaml"
        if path.exists() and not (self.config.get("run") or {}).get("on_finish"):
            return [preformatted(path.read_text(encoding="utf-8", errors="replace"))]
        if not self.config:
            return [missing("config.yaml is missing.")]
        # A command for the end of a run may hold addresses or keys; a report is passed on.
        run = {**(self.config.get("run") or {}), "on_finish": "(left out of the report)"}
        shown = {**self.config, "run": run}
        return [preformatted(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True))]

    def _versions(self) -> list[Html]:
        versions = self.model.get("versions")
        if not versions:
            return [missing("model.json, which holds the versions, is missing.")]
        return [table(("package", "version"), [list(item) for item in versions.items()])]

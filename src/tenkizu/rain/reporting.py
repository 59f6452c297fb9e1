"""`report`: a run as one self-contained HTML page, in the frame of `core.run_report`."""

import logging
import math
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tenkizu.core.report import Html, Section, film, missing, number, paragraph, table
from tenkizu.core.run_report import RunReport, purpose
from tenkizu.rain.case_windows import CAPTIONS as CAPTIONS_OF_CASES
from tenkizu.rain.curves import CAPTIONS, draw_epoch_curves
from tenkizu.rain.plots import draw_loss_curve
from tenkizu.rain.report_tables import (
    Scores,
    binary_table,
    category_tables,
    group_tables,
    interval_notes,
    sum_tables,
    summary_table,
    timing_table,
    verdict,
)
from tenkizu.rain.score_figures import score_drawings
from tenkizu.rain.score_text import counted, sum_words
from tenkizu.rain.tables import RAIN

log = logging.getLogger(__name__)

WINDOWS = 6
"""Panels shown of each split."""


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
    return _Report.write(run, output)


class _Report(RunReport):
    """The parts of a rain run's page."""

    system = "rain"
    lead = (
        "Hourly rain from 3-hour totals: how the model was made, and whether its split is better "
        "than a third of the total in every hour."
    )

    def sections(self) -> list[Section]:
        """The body between the lead and the configuration."""
        return [
            self.section("Summary", self._summary),
            self.section("Data and checks", self._checks),
            self.section("Training", self._training),
            *(self._split(split) for split in self.scores),
        ]

    def _summary(self) -> list[Html]:
        parts = self.guarded("provenance", self._provenance)
        if not self.scores:
            return [*parts, missing("The run has not been evaluated.")]
        parts += self.guarded("summary", lambda: [summary_table(self.scores)])
        parts.append(
            paragraph(
                "Skill is the MSE skill against the equal split, 1 \N{MINUS SIGN} SSE / SSE(S/3): "
                "0 is as good as S/3, 1 is exact.",
                muted=True,
            )
        )
        for split in self.scores:
            parts.append(paragraph(f"{split}: {purpose(split)}."))
        parts += self.independence()
        split = next(iter(self.scores))
        scores = self.scores[split]
        parts += self.guarded("verdict", lambda: verdict(split, scores))
        parts += self.guarded("intervals", lambda: interval_notes(scores))
        bars = self.evaluated(split, "skill.png")
        return parts + self.picture(bars, f"Skill against S/3, {split}", None)

    def _provenance(self) -> list[Html]:
        trained = self.model.get("trained_on") or {}
        return self.provenance(
            f"Input: {', '.join(c['name'] for c in self.model.get('channels', ()))}.",
            f"Rain from {', '.join(trained.get('files', ())) or 'files that are not named'}.",
        )

    def _checks(self) -> list[Html]:
        parts = [self._checked_line()]
        data = self.config.get("data") or {}
        periods: dict[str, Any] = dict(data.get("splits") or {})
        for source in data.get("more") or ():
            periods |= {f"{split}_{source['name']}": p for split, p in source["splits"].items()}
        rows = []
        counts = dict(self.scores)
        if not data.get("more"):
            counts |= {"train": self._trained_on()}
        for split in dict.fromkeys([*periods, *self.scores]):
            scores = counts.get(split, {})
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
            if scores.get("max_relative_sum_error") is not None:
                parts.append(paragraph(f"{split}: the model's {sum_words(scores)}."))
        return parts

    def _trained_on(self) -> dict[str, int]:
        """How many windows and cells the network learned from, as far as the model says."""
        trained = self.model.get("trained_on") or {}
        moments = (self.model.get("statistics") or {}).get("log1p_mm") or {}
        found = {"n_windows": trained.get("windows")}
        if len(cells := moments.get("count") or ()) == len(RAIN):
            found["n_cells"] = cells[RAIN.index("S")]
        return {key: int(value) for key, value in found.items() if value is not None}

    def _checked_line(self) -> Html:
        """What training found in the rain before its first step, from the run's log."""
        mark = "training rain: "
        path = self.folder / "run.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        lines = [line.partition(mark)[2] for line in text.splitlines() if mark in line]
        if not lines:
            return missing("The log of the checks before training is missing.")
        sources = 1 + len((self.config.get("data") or {}).get("more") or ())
        return paragraph(f"Checked before the first step: {'; '.join(lines[-sources:])}.")

    def _training(self) -> list[Html]:
        if not self.history.get("epoch"):
            return [missing("The run has no training history.")]
        parts = self.picture(
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
                parts += self.picture(path, f"{caption}, validation", None)
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
            return self.drawn(split, name, caption, drawings.get(name), absent)

        makers: dict[str, Callable[[], list[Html]]] = {
            "Is the split better than S/3?": lambda: self.text(
                here / "equal_split_detailed.txt",
                "This evaluation has no detailed comparison with S/3.",
            ),
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
            "Power spectrum": lambda: drawn(
                "spectra.png",
                "Variance by wavelength and its ratio to the truth; below 1: too smooth",
                "This evaluation has no power spectra.",
            ),
            "Classes": lambda: category_tables(scores),
            "3-hour sums": lambda: sum_tables(scores),
            "Wet hours and the heaviest hour": lambda: timing_table(scores),
            "Skill by amount, hour and season": lambda: group_tables(scores),
            "Film": lambda: [
                film(path, f"Prediction above truth, {split}")
                for path in (here / "film.mp4", here / "film.gif")
                if path.exists()
            ],
            "Windows": lambda: self._windows(scores, here / "panels_log"),
            "All scores as text": lambda: self.text(here / "evaluation.txt"),
        }
        windows = scores.get("n_windows")
        said = counted(windows, "window") if isinstance(windows, int) else "? windows"
        return self.split_section(split, said, makers)

    def _windows(self, scores: Scores, folder: Path) -> list[Html]:
        """Panels of single windows: best and worst by skill, then those with most rain."""
        paths = {p.stem.removeprefix("validation_"): p for p in sorted(folder.glob("*.png"))}
        if not paths:
            return [missing("No windows were drawn.")]
        skills = {k: v for k, v in (scores.get("skill_by_window") or {}).items() if v is not None}
        chosen = _shown(list(paths), skills, scores.get("cases") or {})
        known = any(t0 in skills for t0 in chosen)
        said = "of skill, the best first" if known else "of time"
        parts = [
            paragraph(
                f"Prediction above truth; {len(chosen)} of {counted(len(paths), 'window')} drawn, "
                f"in order {said}.",
                muted=True,
            )
        ]
        for t0 in chosen:
            caption = f"t0 {t0.replace('_', ' ')} UTC"
            kinds = [
                words
                for kind, words in CAPTIONS_OF_CASES.items()
                if t0 in (scores.get("cases") or {}).get(kind, ())
            ]
            caption += "".join(f", {words}" for words in kinds)
            if t0 in skills:
                caption += f", MSE skill against S/3 {number(skills[t0])}"
            parts += self.picture(paths[t0], caption, None)
        return parts


def _shown(drawn: list[str], skills: Mapping[str, float], cases: Mapping[str, Any]) -> list[str]:
    """At most `WINDOWS` of the windows that were drawn: both ends of the skill, if it is known.

    Where the evaluation says which windows are the best, the worst and the heaviest, a third each.
    """
    named = [[t0 for t0 in cases.get(kind, ()) if t0 in drawn] for kind in CAPTIONS_OF_CASES]
    if any(named):
        picked = {t0 for kind in named for t0 in kind[: WINDOWS // len(named)]}
        # Where kinds overlap, or have few windows, the next in line take the free places.
        for t0 in (t0 for rank in zip_longest(*named) for t0 in rank if t0):
            if len(picked) < WINDOWS:
                picked.add(t0)
        return sorted(picked, key=lambda t0: -skills.get(t0, -math.inf))
    ranked = sorted((t0 for t0 in drawn if t0 in skills), key=lambda t0: -skills[t0]) or drawn
    if len(ranked) > WINDOWS:
        return ranked[: WINDOWS // 2] + ranked[-WINDOWS // 2 :]
    return ranked

"""`report`: a run as one self-contained HTML page, in the frame of `core.run_report`."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.core.report import Html, Section, missing, paragraph, table
from tenkizu.core.run_report import Draw, RunReport
from tenkizu.patterns.figures.calendar_chart import draw_calendar
from tenkizu.patterns.figures.case_figures import (
    Cases,
    day_texts,
    draw_analogues,
    draw_channel_totals,
    draw_days,
    draw_grad_cam,
)
from tenkizu.patterns.figures.class_panels import (
    draw_confusion_matrices,
    draw_pr_curves,
    draw_reliability,
)
from tenkizu.patterns.figures.loss_curve import draw_loss_curve
from tenkizu.patterns.figures.score_bars import draw_class_bars
from tenkizu.patterns.report_tables import (
    Scores,
    class_table,
    group_tables,
    interval_note,
    major_table,
    summary_notes,
    summary_table,
)
from tenkizu.patterns.verification.days import DayTable

_OF_THE_MAP = (
    "The Jenkinson-Collison types follow from the pressure map by a rule: a high score shows that "
    "the machinery works, not that weather was forecast."
)


def report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write a run's HTML report: scores beside baselines, figures, days as charts, configuration.

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
    """The parts of a patterns run's page."""

    system = "patterns"
    lead = (
        "Pressure patterns from daily maps: how the model was made, how good it is beside simple "
        "baselines, and what its decisions rest on."
    )

    def sections(self) -> list[Section]:
        """The body between the lead and the configuration."""
        return [
            self.section("Summary", self._summary),
            self.section("Data and labels", self._data),
            self.section("Training", self._training),
            *(self._split(split) for split in self.scores),
        ]

    @property
    def _catalogue(self) -> Mapping[str, Any]:
        found = self.model.get("catalogue") or {}
        return found if isinstance(found, Mapping) else {"name": str(found)}

    def _summary(self) -> list[Html]:
        parts = self.guarded("provenance", self._provenance)
        if self._catalogue.get("name") == "jc":
            parts.append(paragraph(_OF_THE_MAP))
        if not self.scores:
            return [*parts, missing("The run has not been evaluated.")]
        parts += self.guarded("summary", lambda: [summary_table(self.scores)])
        for split, scores in self.scores.items():
            parts += self.guarded("notes", lambda s=split, x=scores: summary_notes(s, x))  # type: ignore[misc]
        parts += self.independence()
        split = next(iter(self.scores))
        scores = self.scores[split]
        parts += self.guarded("intervals", lambda: interval_note(scores))
        return parts + self.picture(
            self.evaluated(split, "class_scores.png"),
            f"Average precision of each type beside the baselines, {split}",
            lambda path: draw_class_bars(path, scores),
        )

    def _provenance(self) -> list[Html]:
        members = self.model.get("members") or ()
        many = [f"An ensemble of {len(members)} networks."] if len(members) > 1 else []
        return self.provenance(*many)

    def _data(self) -> list[Html]:
        catalogue, model = self._catalogue, self.model
        split = model.get("split") or {}
        if not model:
            return [missing("model.json, which describes data and labels, is missing.")]
        rows = []
        for name in dict.fromkeys([*split, *self.scores]):
            days = self.scores.get(name, {}).get("n_days")
            periods = ", ".join(split.get(name) or ())
            rows.append([name, periods, "" if days is None else f"{days:,}"])
        parts = [table(("split", "days (local dates)", "scored"), rows)] if rows else []
        labels = ", ".join(model.get("labels") or ())
        source = model.get("labels_source")
        parts.append(
            paragraph(
                f"Types of the catalogue {catalogue.get('name', '?')}: {labels}."
                + (f" Labels from {source}." if source else "")
                + (f" {catalogue['citation']}." if catalogue.get("citation") else "")
            )
        )
        names = [str(c.get("name")) for c in model.get("channels") or ()]
        inputs = (model.get("members") or [{}])[0].get("inputs") or {}
        names += [*(inputs.get("static") or ()), *(inputs.get("season") or ())]
        parts.append(paragraph(f"Channels ({len(names)}): {', '.join(names)}."))
        files = (model.get("trained_on") or {}).get("files") or ()
        if files:
            parts.append(paragraph(f"Maps from {', '.join(str(f) for f in files)}.", muted=True))
        if model.get("grid"):
            parts.append(paragraph(f"Grid: {Grid.from_json(model['grid']).describe()}."))
        return parts

    def _training(self) -> list[Html]:
        if not self.history.get("val_loss"):
            return [missing("The run has no training history.")]
        return self.picture(
            self._root("loss_curve.png"),
            "Loss and validation mAP over the epochs",
            lambda path: draw_loss_curve(path, self.history),
        )

    def _root(self, name: str) -> Path:
        """A file of the run folder, perhaps with the configured prefix before its name."""
        prefix = (self.config.get("run") or {}).get("prefix") or ""
        path = self.folder / f"{prefix}{name}"
        return path if path.exists() else self.folder / name

    def _table(self, split: str, scores: Scores) -> DayTable | None:
        """The days of a split; None if their file is not there."""
        for path in (
            self._root(f"probabilities_{split}.csv"),
            self.evaluated(split, "probabilities.csv"),
        ):
            if path.exists():
                table = DayTable.from_csv(path)
                for i, label in enumerate(table.labels):
                    known = (scores.get("classes") or {}).get(label) or {}
                    table.decided[i] = known.get("decided", True)
                return table
        return None

    def _split(self, split: str) -> Section:
        """All scores and figures of one split."""
        scores = self.scores[split]
        days: DayTable | None = None
        notes: list[Html] = []
        try:
            days = self._table(split, scores)
        except (DataError, AttributeError) as error:
            notes = [missing(f"The table of days cannot be read: {error}")]
        names = self._catalogue.get("label_names") or {}
        majors = self._catalogue.get("major_names") or {}

        drawn = partial(self.drawn, split)

        def from_days(draw: Callable[[str | Path, DayTable], object]) -> Draw | None:
            return None if days is None else lambda path: draw(path, days)

        no_days = "The table of days (probabilities) is missing."
        makers: dict[str, Callable[[], list[Html]]] = {
            "Class by class": lambda: [class_table(scores, names)],
            "Precision and recall": lambda: drawn(
                "pr_curves.png",
                "Precision and recall over all thresholds",
                from_days(lambda path, t: draw_pr_curves(path, t, scores.get("ranking", "raw"))),
                no_days,
            ),
            "Reliability": lambda: drawn(
                "reliability.png",
                "Observed share of days against predicted probability",
                lambda path: draw_reliability(path, scores),
                "This evaluation has no reliability curves.",
            ),
            "Decisions": lambda: drawn(
                "confusion_matrices.png",
                f"Days by truth and decision ({scores.get('provenance', 'unknown provenance')})",
                lambda path: draw_confusion_matrices(path, scores),
                "This evaluation has no counts of decisions.",
            ),
            "Seasons, years, kinds of day, major types": lambda: [
                *group_tables(scores),
                *major_table(scores, majors),
            ],
            "Calendar": lambda: drawn(
                "calendar.png",
                "Major types day by day, observed above predicted",
                from_days(lambda path, t: draw_calendar(path, t, self.model["majors"], majors)),
                no_days,
            ),
            "Best and worst days": lambda: self._cases(split, days),
            "All scores as text": lambda: self.text(self.evaluated(split, "evaluation.txt")),
        }
        return self.split_section(split, f"{scores.get('n_days', '?')} days", makers, notes)

    def _cases(self, split: str, days: DayTable | None) -> list[Html]:
        """Single days as charts, what they rest on, and their analogues."""
        path = self.folder / "cases" / f"{split}.npz"
        if not path.exists():
            return [missing("No days were drawn.")]
        cases = Cases.read(path)
        parts = [
            paragraph(
                "Days on which the model was most right and most wrong, by the log loss of the "
                "day. Isobars every 4 hPa, thick every 20; H and L with the pressure at the "
                "centre.",
                muted=True,
            )
        ]
        for kind in ("best", "worst"):
            if cases.of(kind):
                parts += self.picture(
                    self.evaluated(split, f"{kind}_days.png"),
                    f"{kind.capitalize()} days, {split}",
                    lambda p, k=kind: draw_days(p, cases, k, days),  # type: ignore[misc]
                )
        if cases.by_channel is not None:
            parts += self.picture(
                self.evaluated(split, "channel_totals.png"),
                "What each channel adds to the logit, integrated gradients from the mean map",
                lambda p: draw_channel_totals(p, cases, days),
            )
        if cases.grad_cam is not None:
            parts += self.picture(
                self.evaluated(split, "grad_cam.png"),
                "Grad-CAM: where the last spatial layer speaks for the type",
                lambda p: draw_grad_cam(p, cases, days),
            )
        if cases.analogue_msl is not None:
            parts += self.picture(
                self.evaluated(split, "analogues.png"),
                "The days and the training days most like them, nearest first",
                lambda p: draw_analogues(p, cases, days),
            )
        if cases.analogues:
            parts += self.guarded("analogues", lambda: [_analogue_table(cases, days)])
        return parts


def _analogue_table(cases: Cases, days: DayTable | None) -> Html:
    """Date, distance and label of every analogue."""
    rows = []
    for kind, said, near in zip(
        cases.kinds, day_texts(days, cases.times), cases.analogues, strict=True
    ):
        for row in near:
            first = [row["date"], kind, said] if row is near[0] else ["", "", ""]
            rows.append([*first, row["analogue_date"], row["label"], row["distance"]])
    columns = ("day", "kind", "labels", "analogue", "its label", "distance")
    return table(columns, rows, "Training days most like each day, nearest first")

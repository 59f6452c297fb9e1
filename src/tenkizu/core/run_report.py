"""What the reports of both systems share: reading a run folder, guarded parts, the page.

A report is made from what the run folder holds. Figures that are there are embedded, others are
drawn from the numbers; what is missing or damaged is said to be so, and the rest still comes.
"""

import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import yaml

from tenkizu import __version__
from tenkizu.core.errors import DataError
from tenkizu.core.report import (
    Html,
    Section,
    figure,
    missing,
    number,
    page,
    paragraph,
    preformatted,
    table,
)
from tenkizu.core.store import read_json, write_text

log = logging.getLogger(__name__)

RUN_FILES = ("config.yaml", "model.json", "history.json")
"""A folder with one of these is a run."""

PURPOSE = {
    "validation": "its periods chose the epoch, so its scores flatter the model a little",
    "test": "its periods chose nothing and are only reported on",
}
"""What the splits are for."""

Draw = Callable[[str | Path], object]


def purpose(split: str) -> str:
    """What a split is for; those of further sources are called test_NAME, validation_NAME."""
    return PURPOSE.get(split.partition("_")[0], "an evaluation of its own")


class RunReport(ABC):
    """What a run folder holds, and the parts of its page; a system adds its own sections.

    Attributes:
        folder: of the run.
        spare: empty folder for figures that the run lacks.
        model: content of ``model.json``, empty if it is not there or damaged; likewise `history`.
        config: resolved configuration, from the model or from ``config.yaml``.
        scores: content of ``evaluation/*/scores.json`` by split, the test first, since its
            periods chose nothing.
    """

    system: ClassVar[str]
    lead: ClassVar[str]

    def __init__(self, folder: Path, spare: Path) -> None:
        self.folder, self.spare = folder, spare
        self.model = self.json(folder / "model.json")
        self.history = self.json(folder / "history.json")
        self.config: dict[str, Any] = self.model.get("config") or self._yaml()
        found = {
            path.parent.name: self.json(path) for path in folder.glob("evaluation/*/scores.json")
        }
        order = ["test", "validation", *sorted(found)]
        self.scores = {s: found[s] for s in dict.fromkeys(order) if found.get(s)}

    @abstractmethod
    def sections(self) -> list[Section]:
        """The body between the lead and the configuration."""

    @classmethod
    def write(cls, run: str | Path, output: str | Path | None = None) -> Path:
        """Write the page of a run.

        Args:
            run: a run folder, finished or not, of any version.
            output: file to write; by default ``report/index.html`` in the run folder.

        Returns:
            The file written.

        Raises:
            DataError: the folder holds no run.
        """
        folder = Path(run)
        if not any((folder / name).exists() for name in RUN_FILES):
            raise DataError(
                "not a run folder" if folder.is_dir() else "no such folder",
                file=folder,
                expected="one of " + ", ".join(RUN_FILES),
                next_step=f"name the folder that `tenkizu {cls.system} train` printed",
            )
        output = folder / "report" / "index.html" if output is None else Path(output)
        with tempfile.TemporaryDirectory() as spare:
            write_text(output, cls(folder, Path(spare)).page())
        return output

    def page(self) -> str:
        """The HTML document."""
        name = self.model.get("name") or self.folder.resolve().name
        sections = [
            *self.sections(),
            self.section("Configuration", self._configuration),
            self.section("Versions", self._versions),
        ]
        footer = f"Written by tenkizu {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
        return page(f"tenkizu {self.system}: {name}", [paragraph(self.lead)], sections, footer)

    def section(self, title: str, make: Callable[[], Sequence[Html]]) -> Section:
        """A section, whose failure is said in its place."""
        return Section(title, self.guarded(title, make))

    def guarded(self, what: str, make: Callable[[], Sequence[Html]]) -> list[Html]:
        """Parts of the page, or why they could not be made: older files may have any shape."""
        try:
            return list(make())
        except Exception as error:
            log.warning("%s: could not be shown: %r", what, error)
            return [missing(f"This part could not be shown: {error!r}")]

    def picture(self, path: Path, caption: str, draw: Draw | None) -> list[Html]:
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

    def evaluated(self, split: str, name: str) -> Path:
        """A file of the evaluation of a split."""
        return self.folder / "evaluation" / split / name

    def drawn(
        self, split: str, name: str, caption: str, draw: Draw | None, absent: str
    ) -> list[Html]:
        """A figure of a split, as `picture`; ``absent`` is said where there is none."""
        path = self.evaluated(split, name)
        return self.picture(path, f"{caption}, {split}", draw) or [missing(absent)]

    def split_section(
        self,
        split: str,
        counted: str,
        makers: Mapping[str, Callable[[], Sequence[Html]]],
        notes: Sequence[Html] = (),
    ) -> Section:
        """All scores and figures of one split.

        Args:
            split: its name.
            counted: how many of what were scored, in words.
            makers: the parts below it by title; those that are empty are left out.
            notes: said before them.
        """
        below = [self.section(title, make) for title, make in makers.items()]
        data = self.scores[split].get("data", split)
        lead = paragraph(f"{data}: {counted}; {purpose(split)}.")
        return Section(f"Scores: {split}", [lead, *notes], [s for s in below if s.parts])

    def text(self, path: Path, absent: str | None = None) -> list[Html]:
        """A text file as it is, or that it is missing."""
        if not path.exists():
            return [missing(absent or f"{path.name} is missing.")]
        return [preformatted(path.read_text(encoding="utf-8", errors="replace"))]

    def json(self, path: Path) -> dict[str, Any]:
        """A JSON file of the run; empty if it is not there or damaged."""
        if not path.exists():
            return {}
        try:
            return read_json(path, "a file of a run")
        except DataError as error:
            log.warning("left out of the report: %s", error)
            return {}

    def provenance(self, *facts: str) -> list[Html]:
        """Which model this is, what else is known of it, and how its epoch was chosen."""
        if not self.model:
            return [missing("There is no exported model (model.json): the run has not finished.")]
        sentences = list(facts)
        if "parameters" in self.model:
            weights = str(self.model.get("weights_sha256"))[:12]
            sentences.insert(0, f"{self.model['parameters']:,} parameters, weights {weights}.")
        if chosen := self.model.get("chosen_by"):
            epochs = len(self.history.get("epoch") or ()) or "?"
            sentences.append(
                f"Epoch {chosen.get('epoch')} of {epochs} was chosen by {chosen.get('quantity')} "
                f"({number(chosen.get('value'))}) on the {chosen.get('on')} periods alone."
            )
        return [paragraph(" ".join(sentences))]

    def independence(self) -> list[Html]:
        """A warning where no split is independent of the choice of the epoch."""
        if "test" in self.scores:
            return []
        return [
            missing(
                "There are no scores of a test split: the numbers above are not independent of "
                "the choice of the epoch."
            )
        ]

    def _yaml(self) -> dict[str, Any]:
        """The run's configuration as written; empty if it is not there or damaged."""
        try:
            found = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            log.warning("left out of the report: config.yaml: %s", error)
            return {}
        return found if isinstance(found, dict) else {}

    def _configuration(self) -> list[Html]:
        path = self.folder / "config.yaml"
        if path.exists() and not (self.config.get("run") or {}).get("on_finish"):
            return self.text(path)
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

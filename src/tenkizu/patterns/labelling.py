"""The catalogue and the labels that a configuration names."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.samples import input_path
from tenkizu.core.store import SampleStore
from tenkizu.patterns.catalogues import CATALOGUES, Catalogue, catalogue_from
from tenkizu.patterns.config import LabelsConfig
from tenkizu.patterns.labels import LabelTable, read_labels, shipped_calendar

LABELS_FILE = "labels.csv"
"""Labels that `prepare` computed from the maps, inside the store."""

RULES = {"utc_offset_hours", "centre", "u_limit", "constants", "interpolate"}
"""Settings that decide computed labels."""


def catalogue_of(labels: LabelsConfig) -> Catalogue:
    """The catalogue of a configuration.

    Raises:
        ConfigError: its own types are not a sound catalogue.
    """
    if labels.catalogue in CATALOGUES:
        catalogue = CATALOGUES[labels.catalogue]
        if labels.types:
            raise ConfigError(
                "has its own types",
                variable="labels.types",
                found=labels.catalogue,
                expected="another name in labels.catalogue, or no types",
            )
        if labels.utc_offset_hours is None:
            return catalogue
        return replace(catalogue, utc_offset_hours=labels.utc_offset_hours)
    return catalogue_from(
        labels.catalogue,
        labels.types,
        labels.majors,
        labels.separators,
        labels.utc_offset_hours or 0.0,
    )


def labels_of(labels: LabelsConfig, store: SampleStore | None) -> LabelTable:
    """The labels of a run: the named file, the rules' result in the store, or the calendar.

    Only labels that were computed from the maps need the store.

    Raises:
        DataError: the file is not there or a line of it is wrong.
    """
    catalogue = catalogue_of(labels)
    if labels.computed and store is not None:
        _require_rules(labels, store)
        return read_labels(store.path / LABELS_FILE, catalogue)
    path = shipped_calendar() if labels.file is None else input_path(labels.file)
    return read_labels(path, catalogue)


def _require_rules(labels: LabelsConfig, store: SampleStore) -> None:
    """Refuse a store whose labels come from other rules, or that has none.

    Raises:
        DataError: both rules.
    """
    wanted = labels.model_dump(mode="json", include=RULES)
    stored = LabelsConfig(**store.meta["config"]["labels"])
    found = stored.model_dump(mode="json", include=RULES) if stored.computed else None
    if found != wanted:
        raise DataError(
            "the store's labels follow from other rules" if found else "the store has no jc labels",
            file=store.path,
            variable="labels",
            found=found,
            expected=wanted,
            next_step="prepare a store with these rules, or bring labels: labels.file or --labels",
        )


def catalogue_to_json(catalogue: Catalogue) -> dict[str, Any]:
    """A JSON-ready form of a catalogue."""
    return asdict(catalogue)


def catalogue_from_json(data: dict[str, Any]) -> Catalogue:
    """The inverse of `catalogue_to_json`."""
    lists = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
    return Catalogue(**{**data, **lists})


def read_labels_file(path: str | Path, catalogue: Catalogue) -> LabelTable:
    """Labels of a model's catalogue from a user's file."""
    return read_labels(input_path(str(path)), catalogue)

"""One YAML file per run: read with ``key=value`` overrides, checked, shown and written back.

A wing describes its configuration as nested `Section` classes and hands the outermost one to the
functions here, which know nothing else about it.
"""

import hashlib
import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticUndefined, to_jsonable_python

from tenkizu.core.config_errors import explained
from tenkizu.core.config_tree import KeyPath, apply_override, read_tree, short
from tenkizu.core.config_types import is_section, literals, members_of
from tenkizu.core.errors import ConfigError
from tenkizu.core.yaml_dialect import Dumper

_COMMENT_WIDTH = 90


class Section(BaseModel):
    """A part of a configuration: unknown keys are refused and values cannot be changed.

    Give every field a ``Field(description=...)`` of one sentence: it becomes the comment above the
    key in `template`. Give a union of sections a discriminator, so that an error speaks of one of
    them. A validator raises ``ValueError`` with the reason ("must divide ..."); the error line
    names file, key and value by itself. ``off`` stands for None wherever None is allowed and text
    is not.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, ser_json_inf_nan="constants"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_as_meant(cls, data: Any) -> Any:  # noqa: ANN401
        """What is meant in YAML by a section without keys, by ``off`` and by a boolean."""
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        meant = dict(data)
        for name in data.keys() & cls.model_fields.keys():
            members = members_of(cls.model_fields[name].annotation)
            words = [word for member in members for word in literals(member)]
            is_free = str not in members and "off" not in words
            is_number = bool not in members and (int in members or float in members)
            if data[name] == "off" and type(None) in members and is_free:
                meant[name] = None
            elif isinstance(data[name], bool) and is_number:
                # Python counts True as 1; as text it is refused for a number.
                meant[name] = str(data[name]).lower()
        return meant


T = TypeVar("T", bound=Section)


def load_config(schema: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Read a YAML file, apply ``key=value`` overrides in their order and check the result.

    Args:
        schema: the outermost section.
        path: the YAML file, UTF-8.
        overrides: such as ``train.epochs=3``; the value is read as YAML.

    Raises:
        ConfigError: the file or an override cannot be read, or values are wrong; one line for each
            wrong key, with the value found and what was expected.
    """
    tree, data = read_tree(path)
    origins: dict[KeyPath, str] = {}
    for override in overrides:
        apply_override(override, data, origins)
    return _validate(schema, data, str(path), tree, origins)


def build_config(schema: type[T], data: dict[str, Any], source: str) -> T:
    """Check a nested dictionary, such as one stored in a model, against a schema.

    Args:
        schema: the outermost section.
        data: nested keys and values.
        source: what the error messages name as the file.

    Raises:
        ConfigError: as `load_config`.
    """
    return _validate(schema, data, source, None, {})


def read_kind(path: str | Path) -> str:
    """The top-level ``kind`` of a configuration, which says the schema to read it with.

    Raises:
        ConfigError: the file cannot be read or has no such key.
    """
    _, data = read_tree(path)
    kind = data.get("kind")
    if not isinstance(kind, str):
        raise ConfigError(
            "is not a name" if "kind" in data else "missing",
            file=path,
            variable="kind",
            found=short(kind) if "kind" in data else None,
            expected="a line such as 'kind: rain' at the top of the file",
        )
    return kind


def dump_config(config: BaseModel) -> str:
    """The resolved YAML, every field in order; it loads back equal."""
    return _to_yaml(config.model_dump(mode="json"))


def template(schema: type[Section]) -> str:
    """A YAML file to start from: a comment above each key, and the default after it.

    Keys without a default are marked ``# required``. Once they are filled, the file loads to the
    defaults.
    """
    return "\n".join(_template_lines(schema, None, "")) + "\n"


def json_schema(schema: type[Section]) -> dict[str, Any]:
    """The JSON Schema of a configuration, for editors that complete and check YAML."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema.model_json_schema(),
    }


def config_hash(config: BaseModel | dict[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the canonical JSON; key order is free."""
    plain = to_jsonable_python(config)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _validate(
    schema: type[T],
    data: dict[str, Any],
    source: str,
    tree: yaml.Node | None,
    origins: dict[KeyPath, str],
) -> T:
    try:
        return schema.model_validate(data)
    except ValidationError as failure:
        raise explained(schema, failure, data, source, tree, origins) from None


def _to_yaml(data: dict[str, Any]) -> str:
    return str(yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100))


def _template_lines(schema: type[BaseModel], given: Section | None, pad: str) -> Iterator[str]:
    after_section = False
    for index, (name, field) in enumerate(schema.model_fields.items()):
        default = getattr(given, name) if given else field.get_default(call_default_factory=True)
        inner = default if isinstance(default, Section) else None
        section: type[BaseModel] | None = type(inner) if inner else None
        if default is PydanticUndefined and is_section(field.annotation):
            section = field.annotation
        if index and (section or after_section):
            yield ""
        after_section = section is not None
        comment = " ".join(part for part in (field.description, _choices(field.annotation)) if part)
        width = _COMMENT_WIDTH - len(pad) - len("# ")
        yield from (f"{pad}# {line}" for line in textwrap.wrap(comment, width))
        if section:
            yield f"{pad}{name}:"
            yield from _template_lines(section, inner, pad + "  ")
        elif default is PydanticUndefined:
            yield f"{pad}{name}:   # required"
        else:
            text = _to_yaml({name: to_jsonable_python(default)})
            yield from (pad + line for line in text.splitlines())


def _choices(annotation: Any) -> str:  # noqa: ANN401
    """The words a field accepts, as a sentence for its comment; empty where there is no choice."""
    members = members_of(annotation)
    words = [word for member in members for word in literals(member)]
    others = [member for member in members if member is not type(None) and not literals(member)]
    if type(None) in members:
        words.append(None)
    listed = ", ".join(word if isinstance(word, str) else json.dumps(word) for word in words)
    if others:
        return f"Or a word: {listed}." if any(words) else ""
    return f"One of: {listed}." if len(words) > 1 else ""

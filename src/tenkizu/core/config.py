"""One YAML file per run: read with ``key=value`` overrides, checked, shown and written back.

A wing describes its configuration as nested `Section` classes and hands the outermost one to the
functions here, which know nothing else about it.
"""

import difflib
import hashlib
import json
import textwrap
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticUndefined, to_jsonable_python

from tenkizu.core.errors import ConfigError
from tenkizu.core.yaml_dialect import Dumper, Loader

_KeyPath = tuple[str | int, ...]

_COMMENT_WIDTH = 90
_ALIKE = 0.66  # difflib's ratio from which a key is suggested: batch for batch_size


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
            members = _members(cls.model_fields[name].annotation)
            words = [word for member in members for word in _literals(member)]
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
    tree, data = _read(path)
    origins: dict[_KeyPath, str] = {}
    for override in overrides:
        _apply(override, data, origins)
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
    _, data = _read(path)
    kind = data.get("kind")
    if not isinstance(kind, str):
        raise ConfigError(
            "is not a name" if "kind" in data else "missing",
            file=path,
            variable="kind",
            found=_short(kind) if "kind" in data else None,
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


# --- reading -------------------------------------------------------------------------------------


def _read(path: str | Path) -> tuple[yaml.Node, dict[str, Any]]:
    """The YAML node tree, which knows line numbers, and the mapping of a file."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(
            "no such file",
            file=path,
            next_step="check the path, or write a new file with `tenkizu config new`",
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8 text: byte {error.start} cannot be read",
            file=path,
            next_step="save it as UTF-8",
        ) from error
    tree, data = _parse(text, str(path), lines=True)
    if tree is None or data is None:
        raise ConfigError("is empty", file=path, expected="keys and values")
    if not isinstance(data, dict):
        raise ConfigError(
            "is not a mapping",
            file=path,
            found=_short(data),
            expected="lines of the form key: value",
        )
    return tree, data


def _parse(text: str, source: str, *, lines: bool) -> tuple[yaml.Node | None, Any]:
    """Node tree and value of a YAML text; ``lines`` puts line and column into the error."""
    try:
        loader = Loader(text)
        tree = loader.get_single_node()
        return tree, None if tree is None else loader.construct_document(tree)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark and lines else ""
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"not valid YAML: {reason}", file=source + where) from error
    # Characters YAML forbids, and values that a tag such as !!int promises but does not hold.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"not valid YAML: {reason}", file=source) from error


def _apply(override: str, data: dict[str, Any], origins: dict[_KeyPath, str]) -> None:
    """Set one ``key=value`` in ``data``, and note in ``origins`` what it created."""
    source = f"override '{override}'"
    dotted, equals, text = override.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    if not equals or not all(path):
        raise ConfigError(
            "cannot be read", file=source, expected="key=value, such as train.epochs=3"
        )
    _, value = _parse(text, source, lines=False)
    if isinstance(value, dict) and not text.lstrip().startswith("{"):
        # A sentence or a shell command with a colon in it is text, not a mapping.
        value = text
    section = data
    for depth, part in enumerate(path[:-1], start=1):
        if section.get(part) is None:
            section[part] = {}
            origins[path[:depth]] = source
        section = section[part]
        if not isinstance(section, dict):
            raise ConfigError(
                f"cannot be set, because {_dotted(path[:depth])} is not a section",
                file=source,
                variable=dotted,
                found=_short(section),
            )
    section[path[-1]] = value
    origins[path] = source


# --- checking ------------------------------------------------------------------------------------


def _validate(
    schema: type[T],
    data: dict[str, Any],
    source: str,
    tree: yaml.Node | None,
    origins: dict[_KeyPath, str],
) -> T:
    try:
        return schema.model_validate(data)
    except ValidationError as failure:
        by_key: dict[_KeyPath, list[ErrorDetails]] = {}
        for detail in failure.errors(include_url=False):
            by_key.setdefault(_key_path(schema, detail, data), []).append(detail)
    lines = []
    for path, errors in by_key.items():
        origin = None
        if errors[0]["type"] != "missing":
            prefixes = (path[:end] for end in range(len(path), 0, -1))
            origin = next((origins[prefix] for prefix in prefixes if prefix in origins), None)
        lines.append(_describe(schema, path, errors, origin or source + _line(tree, path)))
    raise ConfigError("\n".join(lines))


def _key_path(schema: type[Section], error: ErrorDetails, data: Any) -> _KeyPath:  # noqa: ANN401
    """Where an error is in the user's keys: pydantic's location without the union members in it.

    Defaults are checked too, so a key may be in the schema and not in the data; the free keys of a
    dictionary and the indices of a list are in the data and not in the schema.
    """
    path: list[str | int] = []
    sections = [schema]
    for part in error["loc"]:
        in_schema = any(part in section.model_fields for section in sections)
        in_data = (isinstance(data, dict) and part in data) or (
            isinstance(data, list | tuple) and isinstance(part, int)
        )
        if in_schema or in_data:
            path.append(part)
            sections = _enter(sections, part)
            data = data[part] if in_data else None
    return tuple(path)


def _enter(sections: list[type[Section]], part: str | int) -> list[type[Section]]:
    """The sections a key can hold; a free key or an index leads no deeper into the schema."""
    fields = [
        section.model_fields[str(part)] for section in sections if part in section.model_fields
    ]
    return [inner for field in fields for inner in _sections_in(field.annotation)] or sections


def _sections_at(schema: type[Section], path: _KeyPath) -> list[type[Section]]:
    sections = [schema]
    for part in path:
        sections = _enter(sections, part)
    return sections


def _describe(
    schema: type[Section], path: _KeyPath, errors: list[ErrorDetails], origin: str
) -> str:
    """The error line of one key; the members of a union make several errors for one key."""
    kinds = {error["type"] for error in errors}
    key = _dotted(path) or None
    if "extra_forbidden" in kinds:
        problem = f"unknown key; {_suggestion(schema, path)}"
        return str(ConfigError(problem, file=origin, variable=key))
    if kinds == {"missing"}:
        return str(ConfigError("missing, and it has no default", file=origin, variable=key))
    found = errors[0]["input"]
    reasons: list[str] = []
    expected: list[str] = []
    for error in errors:
        start, _, rest = error["msg"].partition("Input should be ")
        match error["type"]:
            case "value_error":
                reasons.append(str(error["ctx"]["error"]))
            case "union_tag_invalid" | "union_tag_not_found":
                tag = error["ctx"]["discriminator"].strip("'")
                key = _dotted([*path, tag])
                found = error["ctx"].get("tag")
                expected.extend(
                    repr(word)
                    for section in _sections_at(schema, path)
                    if tag in section.model_fields
                    for word in _literals(section.model_fields[tag].annotation)
                )
            case "model_type" | "model_attributes_type":
                expected.append("a section with keys")
            case "string_type" | "path_type" if isinstance(found, bool | int | float):
                expected.append(f'text, which needs quotes here: "{_short(found)}"')
            case "path_type":
                expected.append("a path")
            case _ if rest and not start:
                # What was expected, without what went wrong in parsing it.
                expected.append(rest.partition(", unable")[0])
            case _:
                reasons.append(error["msg"][0].lower() + error["msg"][1:])
    return str(
        ConfigError(
            ", or ".join(dict.fromkeys(reasons)) or "wrong value",
            file=origin,
            variable=key,
            # A rule on a whole section names the keys itself.
            found=None if reasons and isinstance(found, dict) else _short(found),
            expected=" or ".join(dict.fromkeys(expected)) or None,
        )
    )


def _suggestion(schema: type[Section], path: _KeyPath) -> str:
    """The valid key nearest to an unknown one: beside it first, then anywhere."""
    *parents, name = (str(part) for part in path)
    sections = _sections_at(schema, path[:-1])
    refusing = [section for section in sections if name not in section.model_fields]
    beside = [key for section in refusing for key in section.model_fields]
    if close := difflib.get_close_matches(name, beside, 1, _ALIKE):
        return f"did you mean {_dotted([*parents, close[0]])}?"
    others = [key for key in _all_keys(schema) if key != _dotted(path)]
    by_name = {key.rpartition(".")[2]: key for key in reversed(others)}
    close = difflib.get_close_matches(name, by_name, 1, _ALIKE)
    # Where another member of a union of sections has the key, its other homes are no help.
    if close and refusing == sections:
        return f"did you mean {by_name[close[0]]}?"
    return f"expected one of {', '.join(beside)}"


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:  # noqa: ANN401
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _sections_in(annotation: Any) -> list[type[Section]]:  # noqa: ANN401
    if _is_section(annotation):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections_in(part)]


def _all_keys(schema: type[Section], prefix: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        yield prefix + name
        for section in _sections_in(field.annotation):
            yield from _all_keys(section, f"{prefix}{name}.")


def _line(tree: yaml.Node | None, path: _KeyPath) -> str:
    """``, line N`` of the key, or of the section around a key that the file does not hold."""
    found = ""
    for part in path:
        pairs = tree.value if isinstance(tree, yaml.MappingNode) else []
        pair = next((pair for pair in pairs if pair[0].value == part), None)
        if pair is None:
            break
        found = f", line {pair[0].start_mark.line + 1}"
        tree = pair[1]
    return found


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in path)


def _short(value: object) -> str:
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- writing -------------------------------------------------------------------------------------


def _to_yaml(data: dict[str, Any]) -> str:
    return str(yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100))


def _template_lines(schema: type[Section], given: Section | None, pad: str) -> Iterator[str]:
    after_section = False
    for index, (name, field) in enumerate(schema.model_fields.items()):
        default = getattr(given, name) if given else field.get_default(call_default_factory=True)
        inner = default if isinstance(default, Section) else None
        section = type(inner) if inner else None
        if default is PydanticUndefined and _is_section(field.annotation):
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
    members = _members(annotation)
    words = [word for member in members for word in _literals(member)]
    others = [member for member in members if member is not type(None) and not _literals(member)]
    if type(None) in members:
        words.append(None)
    listed = ", ".join(word if isinstance(word, str) else json.dumps(word) for word in words)
    if others:
        return f"Or a word: {listed}." if any(words) else ""
    return f"One of: {listed}." if len(words) > 1 else ""


def _literals(member: Any) -> tuple[Any, ...]:  # noqa: ANN401
    return get_args(member) if get_origin(member) is Literal else ()


def _members(annotation: Any) -> list[Any]:  # noqa: ANN401
    """The alternatives of a type, out of unions and annotations."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]

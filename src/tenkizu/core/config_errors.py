"""What is wrong in a configuration, one line a key: file and line, value, what is right."""

import difflib
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tenkizu.core.config_tree import KeyPath, dotted_key, line_of, short
from tenkizu.core.config_types import all_keys, enter, literals, sections_at
from tenkizu.core.errors import ConfigError

_ALIKE = 0.66  # difflib's ratio from which a key is suggested: batch for batch_size


def explained(
    schema: type[BaseModel],
    failure: ValidationError,
    data: dict[str, Any],
    source: str,
    tree: yaml.Node | None,
    origins: dict[KeyPath, str],
) -> ConfigError:
    """The error of a configuration that was refused.

    Args:
        schema: the outermost section.
        failure: all that pydantic found.
        data: the nested keys and values that it refused.
        source: the file, for the message.
        tree: its nodes, which know their lines; None if the data is of no file.
        origins: the overrides that set keys, in words, by key.
    """
    by_key: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in failure.errors(include_url=False):
        by_key.setdefault(_key_path(schema, detail, data), []).append(detail)
    lines = []
    for path, errors in by_key.items():
        origin = None
        if errors[0]["type"] != "missing":
            prefixes = (path[:end] for end in range(len(path), 0, -1))
            origin = next((origins[prefix] for prefix in prefixes if prefix in origins), None)
        lines.append(_describe(schema, path, errors, origin or source + line_of(tree, path)))
    return ConfigError("\n".join(lines))


def _key_path(schema: type[BaseModel], error: ErrorDetails, data: Any) -> KeyPath:  # noqa: ANN401
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
            sections = enter(sections, part)
            data = data[part] if in_data else None
    return tuple(path)


def _describe(
    schema: type[BaseModel], path: KeyPath, errors: list[ErrorDetails], origin: str
) -> str:
    """The error line of one key; the members of a union make several errors for one key."""
    kinds = {error["type"] for error in errors}
    key = dotted_key(path) or None
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
                key = dotted_key([*path, tag])
                found = error["ctx"].get("tag")
                expected.extend(
                    repr(word)
                    for section in sections_at(schema, path)
                    if tag in section.model_fields
                    for word in literals(section.model_fields[tag].annotation)
                )
            case "model_type" | "model_attributes_type":
                expected.append("a section with keys")
            case "string_type" | "path_type" if isinstance(found, bool | int | float):
                expected.append(f'text, which needs quotes here: "{short(found)}"')
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
            found=None if reasons and isinstance(found, dict) else short(found),
            expected=" or ".join(dict.fromkeys(expected)) or None,
        )
    )


def _suggestion(schema: type[BaseModel], path: KeyPath) -> str:
    """The valid key nearest to an unknown one: beside it first, then anywhere."""
    *parents, name = (str(part) for part in path)
    sections = sections_at(schema, path[:-1])
    refusing = [section for section in sections if name not in section.model_fields]
    beside = [key for section in refusing for key in section.model_fields]
    if close := difflib.get_close_matches(name, beside, 1, _ALIKE):
        return f"did you mean {dotted_key([*parents, close[0]])}?"
    others = [key for key in all_keys(schema) if key != dotted_key(path)]
    by_name = {key.rpartition(".")[2]: key for key in reversed(others)}
    close = difflib.get_close_matches(name, by_name, 1, _ALIKE)
    # Where another member of a union of sections has the key, its other homes are no help.
    if close and refusing == sections:
        return f"did you mean {by_name[close[0]]}?"
    return f"expected one of {', '.join(beside)}"

"""A YAML file and the overrides of its keys, as nested keys and values that know their lines."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tenkizu.core.errors import ConfigError
from tenkizu.core.yaml_dialect import Loader

KeyPath = tuple[str | int, ...]


def read_tree(path: str | Path) -> tuple[yaml.Node, dict[str, Any]]:
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
    tree, data = parse(text, str(path), lines=True)
    if tree is None or data is None:
        raise ConfigError("is empty", file=path, expected="keys and values")
    if not isinstance(data, dict):
        raise ConfigError(
            "is not a mapping",
            file=path,
            found=short(data),
            expected="lines of the form key: value",
        )
    return tree, data


def parse(text: str, source: str, *, lines: bool) -> tuple[yaml.Node | None, Any]:
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


def apply_override(override: str, data: dict[str, Any], origins: dict[KeyPath, str]) -> None:
    """Set one ``key=value`` in ``data``, and note in ``origins`` what it created."""
    source = f"override '{override}'"
    dotted, equals, text = override.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    if not equals or not all(path):
        raise ConfigError(
            "cannot be read", file=source, expected="key=value, such as train.epochs=3"
        )
    _, value = parse(text, source, lines=False)
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
                f"cannot be set, because {dotted_key(path[:depth])} is not a section",
                file=source,
                variable=dotted,
                found=short(section),
            )
    section[path[-1]] = value
    origins[path] = source


def line_of(tree: yaml.Node | None, path: KeyPath) -> str:
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


def dotted_key(path: Sequence[str | int]) -> str:
    """A key as overrides name it, such as ``train.epochs``."""
    return ".".join(str(part) for part in path)


def short(value: object) -> str:
    """A value for a message, cut at 60 characters."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""What the types of a configuration's fields allow: alternatives, words, sections."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel

from tenkizu.core.config_tree import KeyPath


def members_of(annotation: Any) -> list[Any]:  # noqa: ANN401
    """The alternatives of a type, out of unions and annotations."""
    if get_origin(annotation) is Annotated:
        return members_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in members_of(part)]
    return [annotation]


def literals(member: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """The words of a ``Literal``; none of any other type."""
    return get_args(member) if get_origin(member) is Literal else ()


def is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:  # noqa: ANN401
    """Whether a type is that of a section."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def sections_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401
    """The sections anywhere in a type."""
    if is_section(annotation):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_in(part)]


def enter(sections: list[type[BaseModel]], part: str | int) -> list[type[BaseModel]]:
    """The sections a key can hold; a free key or an index leads no deeper into the schema."""
    fields = [
        section.model_fields[str(part)] for section in sections if part in section.model_fields
    ]
    return [inner for field in fields for inner in sections_in(field.annotation)] or sections


def sections_at(schema: type[BaseModel], path: KeyPath) -> list[type[BaseModel]]:
    """The sections that a key of the schema can hold."""
    sections = [schema]
    for part in path:
        sections = enter(sections, part)
    return sections


def all_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a schema, dotted, those of all alternatives included."""
    for name, field in schema.model_fields.items():
        yield prefix + name
        for section in sections_in(field.annotation):
            yield from all_keys(section, f"{prefix}{name}.")

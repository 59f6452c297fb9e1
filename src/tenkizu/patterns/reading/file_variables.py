"""What files say about their variables, whatever library reads them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

ATTRIBUTES = ("units", "calendar", "scale_factor", "add_offset", "_FillValue", "missing_value")
"""The attributes that decide what values mean."""


@dataclass(frozen=True)
class Variable:
    """What a file says about a variable.

    Attributes:
        dims: names of its dimensions.
        shape: their lengths.
        dtype: as stored; object for strings.
        attrs: those of units and packing: strings, and numbers as arrays of one or more values.
        chunks: shape of the stored chunks; None if the values lie in one piece.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attrs: dict[str, Any]
    chunks: tuple[int, ...] | None


def plain_attribute(value: Any) -> Any:  # noqa: ANN401  (attributes have any type)
    """An attribute as a string or an array of numbers."""
    if isinstance(value, bytes | str):
        return plain_text(value)
    array = np.asarray(value)
    return plain_text(array.reshape(-1)[0]) if array.dtype.kind in "OSU" and array.size else array


def plain_text(value: Any) -> str:  # noqa: ANN401  (bytes or a string)
    """A string that a file may hold as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

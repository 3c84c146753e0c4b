"""Check that the fields of settings hold what their type hints say."""

from __future__ import annotations

import math
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints


def check_fields(settings: Any) -> None:
    """Refuse a field of a dataclass that is not of its type, or is a negative or infinite number.

    Raises:
        ValueError: that names the field and what it may be.
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        if not _is(getattr(settings, field.name), hints[field.name]):
            kind = str(field.type).replace("Literal", "one of ")
            raise ValueError(f"{field.name} is {getattr(settings, field.name)!r}, not {kind}")


def _is(value: Any, hint: Any) -> bool:
    """Tell whether a value is of a type; numbers have to be finite and not negative, and true and false are none."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return value in arguments and type(value) in map(type, arguments)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is(one, arguments[0]) for one in value)
    if isinstance(hint, UnionType):
        return any(_is(value, one) for one in arguments)
    if hint in (int, float):
        is_number = isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and value >= 0
    return isinstance(value, hint)

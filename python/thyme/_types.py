"""Annotations: from Python types to the types of fields and features."""

from __future__ import annotations

import datetime as dt
import decimal
import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

_TYPES: dict[Any, str] = {int: "int", float: "float", str: "str", bool: "bool", dt.datetime: "datetime"}
_LATER = (list, tuple, set, frozenset, dict, decimal.Decimal, bytes)
_EXPECTED = "int, float, str, bool, datetime, or one of them with `| None`"


class FieldType(NamedTuple):
    """A type of the language."""

    name: str
    optional: bool


class UnsupportedAnnotation(TypeError):
    """An annotation that is no type of the language; the sentence says what is."""


class Scope(NamedTuple):
    """Where the names in a class's annotations are looked up."""

    module: Mapping[str, Any]
    local: Mapping[str, Any]

    def evaluate(self, text: str) -> Any:
        """What an annotation written as a text stands for."""
        try:
            return eval(text, dict(self.module), dict(self.local))  # the user's own code, as typing does it
        except Exception as error:
            raise UnsupportedAnnotation(
                f"the annotation `{text}` cannot be evaluated ({type(error).__name__}: {error}); "
                "import or define what it names above the class"
            ) from None


def field_type(annotation: Any, scope: Scope, wrappers: tuple[type, ...]) -> FieldType | None:
    """The type an annotation stands for, or None for a `ClassVar`, which is no field.

    Args:
        annotation: The annotation, evaluated or as a text.
        scope: Where its names are looked up.
        wrappers: Generic classes that stand for their one parameter, such as `Field`.

    Raises:
        UnsupportedAnnotation: It is no type of the language.
    """
    annotation = _evaluated(annotation, scope)
    if annotation is typing.ClassVar or typing.get_origin(annotation) is typing.ClassVar:
        return None
    members, optional = _members(annotation, scope, wrappers)
    if len(members) == 1 and members[0] in _TYPES:
        return FieldType(_TYPES[members[0]], optional)
    raise UnsupportedAnnotation(_complaint(annotation, members))


def _members(annotation: Any, scope: Scope, wrappers: tuple[type, ...]) -> tuple[list[Any], bool]:
    """The types of a union without None, and whether None is one of them."""
    annotation = _evaluated(annotation, scope)
    origin = typing.get_origin(annotation)
    if annotation is None or annotation is type(None):
        return [], True
    if origin is typing.Annotated or origin in wrappers:
        return _members(typing.get_args(annotation)[0], scope, wrappers)
    if origin is not typing.Union and origin is not types.UnionType:
        return [annotation], False
    found: list[Any] = []
    optional = False
    for argument in typing.get_args(annotation):
        members, has_none = _members(argument, scope, wrappers)
        found += [member for member in members if member not in found]
        optional |= has_none
    return found, optional


def _evaluated(annotation: Any, scope: Scope) -> Any:
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    while isinstance(annotation, str):
        annotation = scope.evaluate(annotation)
    return annotation


def _complaint(annotation: Any, members: list[Any]) -> str:
    shown = annotation_text(annotation)
    for member in members:
        origin = typing.get_origin(member) or member
        if origin in _LATER or (isinstance(origin, type) and issubclass(origin, (Mapping, list, dict))):
            return f"the annotation `{shown}` is not supported yet; expected {_EXPECTED}"
        if origin is dt.date:
            return f"the annotation `{shown}` is not supported; use datetime (midnight UTC for a day)"
    if len(members) > 1:
        return f"the annotation `{shown}` is a union of several types; expected {_EXPECTED}"
    if (
        members
        and not isinstance(annotation, type)
        and typing.get_origin(annotation) is None
        and annotation is not typing.Any
    ):
        return (
            f"its annotation is {shown}, not a type: if a field has the name of its own type, "
            "import the type under another name"
        )
    return f"the annotation `{shown}` is not supported; expected {_EXPECTED}"


def annotation_text(annotation: Any) -> str:
    """An annotation as one would write it."""
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation.__name__
    if annotation is None:
        return "None"
    return str(annotation).replace("typing.", "") if typing.get_origin(annotation) else repr(annotation)

"""Annotations: from Python types to the types of fields and features (`docs/reference/types.md`)."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

_TYPES: dict[Any, str] = {
    int: "int",
    float: "float",
    str: "str",
    bool: "bool",
    dt.datetime: "datetime",
    dt.date: "date",
    bytes: "bytes",
    dict: "json",
    typing.Any: "json",
}
_EXPECTED = (
    "int, float, str, bool, datetime, date, bytes, Annotated[Decimal, Scale(2)], list[T], "
    "Annotated[list[float], Length(384)], dict[str, T] or dict, or one of them with `| None`"
)
VECTOR_LENGTH_MAX = 4096
DECIMAL_DIGITS_MAX = 38


class Scale:
    """How many digits a `Decimal` has after its point: `Annotated[Decimal, Scale(2)]`.

    Attributes:
        digits: Their number, from 0 to 38.
    """

    __slots__ = ("digits",)

    def __init__(self, digits: int) -> None:
        """Takes the number of digits.

        Raises:
            ValueError: It is not from 0 to 38.
        """
        if isinstance(digits, bool) or not isinstance(digits, int) or not 0 <= digits <= DECIMAL_DIGITS_MAX:
            raise ValueError(f"Scale(): expected a number of digits from 0 to 38, got {digits!r}")
        self.digits = digits

    def __repr__(self) -> str:
        """As one writes it."""
        return f"Scale({self.digits})"

    def __eq__(self, other: object) -> bool:
        """Whether it is the same scale."""
        return isinstance(other, Scale) and other.digits == self.digits

    def __hash__(self) -> int:
        """Of the number of digits."""
        return hash((Scale, self.digits))


class Length:
    """How many numbers a vector has: `Annotated[list[float], Length(384)]`.

    Attributes:
        numbers: How many, from 1 to 4,096.
    """

    __slots__ = ("numbers",)

    def __init__(self, numbers: int) -> None:
        """Takes how many.

        Raises:
            ValueError: It is not from 1 to 4,096.
        """
        if isinstance(numbers, bool) or not isinstance(numbers, int) or not 1 <= numbers <= VECTOR_LENGTH_MAX:
            raise ValueError(f"Length(): expected a number from 1 to {VECTOR_LENGTH_MAX:,}, got {numbers!r}")
        self.numbers = numbers

    def __repr__(self) -> str:
        """As one writes it."""
        return f"Length({self.numbers})"

    def __eq__(self, other: object) -> bool:
        """Whether it is the same length."""
        return isinstance(other, Length) and other.numbers == self.numbers

    def __hash__(self) -> int:
        """Of the number."""
        return hash((Length, self.numbers))


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


class _Members(NamedTuple):
    """The types of a union without None, whether None is one of them, and what was annotated beside."""

    types: list[Any]
    optional: bool
    notes: tuple[Any, ...] = ()


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
    found = _members(annotation, scope, wrappers)
    if len(found.types) == 1:
        name = _name(annotation, found, scope, wrappers)
        if name is not None:
            return FieldType(name, found.optional)
    raise UnsupportedAnnotation(_complaint(annotation, found.types))


_PLAIN_NAMES = r"(int|float|str|bool|datetime|date|bytes|decimal\(\d+\))"
_NAMES = re.compile(rf"{_PLAIN_NAMES}|json|list\[{_PLAIN_NAMES}\]|dict\[str, ?{_PLAIN_NAMES}\]|vector\[\d+\]")


def type_name(kind: Any) -> str | None:
    """The name in documents of a type, given as that or as an annotation; None if it is neither."""
    if isinstance(kind, str):
        return kind if _NAMES.fullmatch(kind) else None
    try:
        found = field_type(kind, Scope({}, {}), ())
    except UnsupportedAnnotation:
        return None
    return None if found is None or found.optional else found.name


def _name(annotation: Any, found: _Members, scope: Scope, wrappers: tuple[type, ...]) -> str | None:
    """The name of the one type of an annotation; None if it is none of the language."""
    kind = found.types[0]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    shown = annotation_text(annotation)
    if kind is decimal.Decimal:
        scales = [note.digits for note in found.notes if isinstance(note, Scale)]
        if len(scales) != 1:
            raise UnsupportedAnnotation(
                f"the annotation `{shown}` does not say how many digits a Decimal has after its point; "
                "write Annotated[Decimal, Scale(2)]"
            )
        return f"decimal({scales[0]})"
    if kind is list:
        raise UnsupportedAnnotation(
            f"the annotation `{shown}` does not say what the list holds; write list[str]"
        )
    if origin is list:
        item = _item(annotation, arguments[0], scope, wrappers)
        lengths = [note.numbers for note in found.notes if isinstance(note, Length)]
        if lengths and item not in ("float", "int"):
            raise UnsupportedAnnotation(
                f"the annotation `{shown}` is a vector of {item}; vectors are list[float]"
            )
        return f"vector[{lengths[0]}]" if lengths else f"list[{item}]"
    if origin is dict:
        if _evaluated(arguments[0], scope) is not str:
            raise UnsupportedAnnotation(
                f"the annotation `{shown}` has keys that are no texts; write dict[str, T]"
            )
        if _evaluated(arguments[1], scope) is typing.Any:
            return "json"
        return f"dict[str, {_item(annotation, arguments[1], scope, wrappers)}]"
    try:
        return _TYPES.get(kind)
    except TypeError:  # something that has no hash
        return None


def _item(annotation: Any, item: Any, scope: Scope, wrappers: tuple[type, ...]) -> str:
    """The name of what a list or a map holds; that may be None, too, which need not be said."""
    found = _members(item, scope, wrappers)
    name = _name(annotation, found, scope, wrappers) if len(found.types) == 1 else None
    if name is None or name == "json" or "[" in name:
        shown = annotation_text(annotation)
        raise UnsupportedAnnotation(
            f"the annotation `{shown}` holds values that are no plain ones; lists and maps "
            "hold int, float, str, bool, datetime, date, bytes or Decimal: write dict for anything nested"
        )
    return name


def _members(annotation: Any, scope: Scope, wrappers: tuple[type, ...]) -> _Members:
    annotation = _evaluated(annotation, scope)
    origin = typing.get_origin(annotation)
    if annotation is None or annotation is type(None):
        return _Members([], True)
    if origin is typing.Annotated:
        first, *notes = typing.get_args(annotation)
        found = _members(first, scope, wrappers)
        return found._replace(notes=(*found.notes, *notes))
    if origin in wrappers:
        return _members(typing.get_args(annotation)[0], scope, wrappers)
    if origin is not typing.Union and origin is not types.UnionType:
        return _Members([annotation], False)
    kinds: list[Any] = []
    optional = False
    noted: tuple[Any, ...] = ()
    for argument in typing.get_args(annotation):
        found = _members(argument, scope, wrappers)
        kinds += [kind for kind in found.types if kind not in kinds]
        optional |= found.optional
        noted += found.notes
    return _Members(kinds, optional, noted)


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
        if origin in (tuple, set, frozenset) or (
            isinstance(origin, type) and issubclass(origin, (Mapping, list))
        ):
            return f"the annotation `{shown}` is not supported; write list[T], dict[str, T] or dict"
        if isinstance(origin, type) and issubclass(origin, enum.Enum):
            return f"the annotation `{shown}` is not supported; write str or int, which its values are"
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

"""Expectations: what the rows of a dataset should be like.

They change no value. What does not meet them is counted (`thyme status`, `/metrics`), told in an event with
some of the rows, and answered to who pushes it; `@dataset(on_violation="quarantine")` sends the rows to the
dead letters as well.

    @dataset(on_violation="quarantine")
    class Ride:
        driver: str = field(key=True)
        fare: float
        at: datetime = field(timestamp=True)

        @expectations
        def sane(cls):
            return [
                expect_column_values_to_be_between("fare", min_value=0, max_value=500, mostly=0.99),
                expect_rows_per("1h").to_be_between(min_value=1),
            ]

Calling the module is the same as `expectations` in it, so that `from thyme import expectations` is the
decorator.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from thyme import _checks
from thyme._definition import ClassReader
from thyme._literal import described, literal
from thyme._place import refuse
from thyme.errors import DefinitionError

F = TypeVar("F", bound=Callable[..., Any])
Bound = int | float | str | datetime

_EXPECTATIONS = "__thyme_expectations__"


@dataclass(frozen=True)
class Expectation:
    """One rule, as the functions of this module make it.

    Attributes:
        body: Its part of a definition document.
    """

    body: dict[str, Any]


def expectations(method: F) -> F:
    """Marks a method of a dataset that says what its rows should be like, as a list of this module's rules.

    It is called once, with the class, where the class is decorated.

    Args:
        method: The method; it may be a classmethod.

    Raises:
        DefinitionTypeError: It is no method.

    Example:
        from thyme.expectations import Expectation, expect_column_values_to_be_between

        @dataset
        class CheckedRide:
            driver: str = field(key=True)
            fare: float
            at: datetime = field(timestamp=True)

            @expectations
            def sane(cls) -> list[Expectation]:
                return [expect_column_values_to_be_between("fare", min_value=0)]
    """
    function = method.__func__ if isinstance(method, classmethod) else method
    if not isinstance(function, FunctionType):
        refuse(f"@expectations goes on a method of a dataset, got {described(method)}")
    setattr(function, _EXPECTATIONS, True)
    return method


def expect_column_values_to_be_between(
    column: str, min_value: Bound | None = None, max_value: Bound | None = None, *, mostly: float = 1.0
) -> Expectation:
    """Values are at least `min_value` and at most `max_value`; nulls are not judged, NaN is between nothing.

    Args:
        column: An int, float, str or datetime field.
        min_value: The least value, itself allowed; None: there is none.
        max_value: The greatest value, itself allowed; None: there is none.
        mostly: The share of values that must be so.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
    """
    what = "expect_column_values_to_be_between"
    bounds = {
        name: literal(bound, f"{what}({name}_value=)")[0]
        for name, bound in (("min", min_value), ("max", max_value))
        if bound is not None
    }
    return _rule(what, "between", mostly, column=_column(what, column), **bounds)


def expect_column_values_to_not_be_null(column: str, *, mostly: float = 1.0) -> Expectation:
    """Values are not null.

    Args:
        column: A field.
        mostly: The share of rows that must have one.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
    """
    what = "expect_column_values_to_not_be_null"
    return _rule(what, "not_null", mostly, column=_column(what, column))


def expect_column_values_to_be_in_set(
    column: str, value_set: Iterable[Bound | bool], *, mostly: float = 1.0
) -> Expectation:
    """Values are among some; nulls are not judged.

    Args:
        column: A field.
        value_set: The values.
        mostly: The share of values that must be so.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
    """
    what = "expect_column_values_to_be_in_set"
    if isinstance(value_set, str) or not isinstance(value_set, Iterable):
        refuse(f"{what}(value_set=) takes a list or a set of values, got {described(value_set)}")
    values = [literal(value, f"{what}(value_set=)")[0] for value in value_set]
    if isinstance(value_set, (set, frozenset)):
        # The document does not depend on the order that a set happens to have.
        values.sort(key=lambda value: (str(type(value)), value))
    return _rule(what, "in_set", mostly, column=_column(what, column), values=values)


def expect_column_values_to_be_of_type(column: str, type_: type | str, *, mostly: float = 1.0) -> Expectation:
    """Values say one of a type: a text that can be read as it, a float that is whole. Nulls are not judged.

    Args:
        column: A field.
        type_: `int`, `float`, `str`, `bool` or `datetime`, the type or its name.
        mostly: The share of values that must be so.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
    """
    what = "expect_column_values_to_be_of_type"
    named = type_ if isinstance(type_, str) else getattr(type_, "__name__", "")
    if named not in ("int", "float", "str", "bool", "datetime"):
        refuse(f"{what}(type_=) takes int, float, str, bool or datetime, got {described(type_)}")
    return _rule(what, "of_type", mostly, column=_column(what, column), type=named)


def expect_column_values_to_match_regex(column: str, regex: str, *, mostly: float = 1.0) -> Expectation:
    """Texts have a match of a pattern somewhere; nulls are not judged.

    Args:
        column: A str field.
        regex: The pattern, without look-around and back-references, so that it is matched in linear time; `^`
            and `$` hold it to the ends.
        mostly: The share of values that must be so.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
    """
    what = "expect_column_values_to_match_regex"
    if not isinstance(regex, str):
        refuse(f"{what}(regex=) takes a pattern as a text, got {described(regex)}")
    return _rule(what, "matches", mostly, column=_column(what, column), regex=regex)


def expect_column_values_to_be_unique_within(column: str, within: str, *, mostly: float = 1.0) -> Expectation:
    """No value comes twice within a span of event time; nulls are not judged.

    It is judged as rows come: the later of two is the one that breaks it. What came before a restart is not
    known any more. To leave the second out of every value, use `field(event_id=True)`.

    Args:
        column: A field.
        within: How far apart two rows with one value must be, such as `"1h"`.
        mostly: The share of values that must be so.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: `within` is no duration.
    """
    what = "expect_column_values_to_be_unique_within"
    span = _span(f"{what}(within=)", within)
    return _rule(what, "unique_within", mostly, column=_column(what, column), within=span)


class RowsPer:
    """How many rows there are in each stretch of event time; see `expect_rows_per`."""

    def __init__(self, every: str) -> None:
        """Stretches of this length.

        Args:
            every: Their length.
        """
        self._every = every

    def to_be_between(
        self, min_value: int | None = None, max_value: int | None = None, *, mostly: float = 1.0
    ) -> Expectation:
        """At least `min_value` and at most `max_value` rows.

        Args:
            min_value: The least number; None: there is none.
            max_value: The greatest number; None: there is none.
            mostly: The share of stretches that must be so.

        Raises:
            DefinitionTypeError: An argument has the wrong type.
        """
        what = "expect_rows_per().to_be_between"
        bounds = {
            name: _checks.number(f"{what}({name}_value=)", bound)
            for name, bound in (("min", min_value), ("max", max_value))
            if bound is not None
        }
        return _rule(what, "rows_per", mostly, every=self._every, **bounds)


def expect_rows_per(every: str) -> RowsPer:
    """How many rows come in each stretch of event time of this length, counted from the epoch.

    A stretch is judged once the largest event time is past its end; those without any row count too. Follow
    with `.to_be_between(...)`.

    Args:
        every: The length, such as `"1h"`.

    Raises:
        DefinitionTypeError: It is no text.
        DefinitionValueError: It is no duration.
    """
    return RowsPer(_span("expect_rows_per(every=)", every))


def read_expectations(reader: ClassReader) -> list[dict[str, Any]]:
    """The expectations of a class that is being decorated; faults go to the reader."""
    found: list[dict[str, Any]] = []
    for name, method in reader.methods():
        if not getattr(method, _EXPECTATIONS, False):
            continue
        try:
            inspect.signature(method).bind(reader.cls)
        except TypeError:
            got = f"{name}{inspect.signature(method)}"
            reader.fault(name, f"a method with @expectations takes cls alone: {name}(cls), got {got}", "type")
            continue
        try:
            given = method(reader.cls)
        except DefinitionError as error:
            subject = f"{reader.name}.{name}"
            reader.faults += [one if one.subject else replace(one, subject=subject) for one in error.found]
            continue
        if not isinstance(given, (list, tuple)) or not all(isinstance(one, Expectation) for one in given):
            hint = "; did you forget `return`?" if given is None else ""
            reader.fault(name, f"it must return a list of expectations, got {described(given)}{hint}", "type")
            continue
        found += [one.body for one in given]
    return found


def _rule(what: str, expect: str, mostly: float, **body: Any) -> Expectation:
    if isinstance(mostly, bool) or not isinstance(mostly, (int, float)):
        refuse(f"{what}(mostly=) takes a share such as 0.95, got {described(mostly)}")
    if not 0 < mostly <= 1:
        refuse(f"{what}(mostly=) takes a share above 0 and at most 1, got {mostly}", kind="value")
    return Expectation({"expect": expect, **body, **({"mostly": float(mostly)} if mostly != 1 else {})})


def _column(what: str, column: Any) -> str:
    return _checks.name(f"{what}(column=)", column, "fare")


def _span(what: str, value: Any) -> str:
    span = _checks.duration(what, value)
    if span is None:
        refuse(f'{what} takes a duration as a text, such as "1h", got None')
    return span


class _Decorating(ModuleType):
    """The module, which is the decorator where it is called."""

    def __call__(self, method: F) -> F:
        """See `expectations`."""
        return expectations(method)


sys.modules[__name__].__class__ = _Decorating

__all__ = [
    "Expectation",
    "RowsPer",
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_be_of_type",
    "expect_column_values_to_be_unique_within",
    "expect_column_values_to_match_regex",
    "expect_column_values_to_not_be_null",
    "expect_rows_per",
    "expectations",
]

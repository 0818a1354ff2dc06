"""Pipelines: how one dataset is derived from another."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any, NoReturn, TypeVar, Unpack, overload

from thyme import _checks
from thyme._aggregates import Aggregate
from thyme._dedup import dedup_document
from thyme._definition import ClassReader, is_kind
from thyme._expr import Expr, as_expr
from thyme._join import join_document
from thyme._literal import described
from thyme._meta import CatalogKeywords, meta
from thyme._place import Place, refuse
from thyme.errors import DefinitionError

F = TypeVar("F", bound=Callable[..., Any])

_INPUTS = "__thyme_inputs__"
_PIPELINE = "__thyme_pipeline__"


@overload
def pipeline(function: F, /) -> F: ...
@overload
def pipeline(*, version: int = 1, **catalog: Unpack[CatalogKeywords]) -> Callable[[F], F]: ...
def pipeline(function: Any = None, /, *, version: int = 1, **catalog: Any) -> Any:
    """Marks a method of a dataset that says how it is derived from its `@inputs`.

    The method is called once, where the class is decorated, with the class and a `Stream` for each input; it
    returns a stream that was grouped and aggregated, or one whose rows are those of the dataset.

    Args:
        function: The method, when used without parentheses.
        version: From 1; raise it when the meaning changes.
        **catalog: `description owner tags project deprecated deprecation_reason replacement`.

    Raises:
        DefinitionTypeError: An argument has the wrong type.

    Example:
        @dataset
        class RecentRides:
            driver: str = field(key=True)
            at: datetime = field(timestamp=True)
            rides_1h: int
            fare_7d: float

            @pipeline(version=1)
            @inputs(Ride)
            def compute(cls, rides: Stream) -> Stream:
                paid = rides.filter(col("fare") > 0)
                return paid.groupby("driver").aggregate(
                    rides_1h=Count(window="1h"), fare_7d=Sum(of="fare", window="7d")
                )
    """
    marks = {"version": _checks.number("@pipeline(version=)", version), "meta": meta("@pipeline", catalog)}

    def decorate(method: F) -> F:
        setattr(_function("@pipeline", method), _PIPELINE, marks)
        return method

    return decorate if function is None else decorate(function)


def inputs(*datasets: type) -> Callable[[F], F]:
    """Names the datasets that a pipeline reads.

    Args:
        *datasets: Classes decorated with `@dataset`, one for each parameter of the method after `cls`.

    Raises:
        DefinitionTypeError: One of them is no dataset.
    """
    for given in datasets:
        if not is_kind(given, "dataset"):
            refuse(f"@inputs takes datasets, classes decorated with @dataset, got {described(given)}")

    def decorate(method: F) -> F:
        setattr(_function("@inputs", method), _INPUTS, datasets)
        return method

    return decorate


class Stream:
    """The rows of an input on their way through a pipeline. Each method gives a new stream.

    Operators are applied as they are written; rows that one drops are not seen by the next.
    """

    def __init__(
        self, columns: str, operators: tuple[dict[str, Any], ...] = (), joined: tuple[type, ...] = ()
    ) -> None:
        """Made by Thyme for each of a pipeline's inputs."""
        self._input = columns
        self._operators = operators
        self._joined = joined

    def filter(self, expr: Expr) -> Stream:
        """Keeps the rows where `expr` is true; null is false.

        Raises:
            DefinitionTypeError: `expr` is no expression.
        """
        if not isinstance(expr, Expr):
            _refuse_function(".filter()", expr)
            refuse(f'.filter() takes an expression such as col("fare") > 0, got {described(expr)}')
        return self._then({"op": "filter", "expr": expr.document()})

    def assign(self, *unnamed: Any, **columns: Any) -> Stream:
        """Adds or replaces columns; all expressions see the columns as they were before.

        Args:
            *unnamed: Refused: columns are given by name.
            **columns: An expression, or a constant, for each column.

        Raises:
            DefinitionTypeError: One of them is neither.
        """
        if unnamed:
            refuse('.assign() takes columns by name, such as .assign(total=col("fare") + col("tip"))')
        for expr in columns.values():
            _refuse_function(".assign()", expr)
        assigned = [{"name": name, "expr": as_expr(expr).document()} for name, expr in columns.items()]
        return self._then({"op": "assign", "columns": assigned})

    def select(self, *columns: str) -> Stream:
        """Keeps these columns, and the event time, which every row has.

        Args:
            *columns: Names of columns, or one list of them.

        Raises:
            DefinitionTypeError: One of them is no text.
        """
        return self._then({"op": "select", "columns": _names(".select()", columns, "driver")})

    def drop(self, *columns: str) -> Stream:
        """Takes these columns away.

        Args:
            *columns: Names of columns, or one list of them; the event time is not among them.

        Raises:
            DefinitionTypeError: One of them is no text.
        """
        return self._then({"op": "drop", "columns": _names(".drop()", columns, "tip")})

    def rename(self, columns: Mapping[str, str]) -> Stream:
        """Calls columns otherwise, all at once, so that two may change places.

        Args:
            columns: The new name of each, by the name that it has, such as `{"fare": "amount"}`. The event
                time may be among them.

        Raises:
            DefinitionTypeError: It is no mapping of texts.
        """
        if not isinstance(columns, Mapping):
            refuse(f'.rename() takes a dict such as {{"fare": "amount"}}, got {described(columns)}')
        named = [
            {"name": _checks.name(".rename()", new, "amount"), "from": _checks.name(".rename()", old, "fare")}
            for old, new in columns.items()
        ]
        return self._then({"op": "rename", "columns": named})

    def dedup(self, *unnamed: Any, by: str | Sequence[str] = (), within: str | None = None) -> Stream:
        """Leaves out rows that repeat one before them.

        A row repeats another one if it has the same values in the columns `by`, and its event time is the
        same or later, by less than `within`; of two at one time the one that arrived later repeats the other.
        The order of arrival changes nothing else: where a row that is before one that counted arrives late,
        that one counts no more.

        Args:
            *unnamed: Refused: arguments are given by name.
            by: The column, or all the columns, that are compared, of type int, str, bool, datetime or date. A
                row with a null in any of them repeats nothing and is not repeated.
            within: How near the two are, such as `"1d"`; None: however far, within the input's retention.

        Raises:
            DefinitionTypeError: An argument has the wrong type, or `by` is missing.
            DefinitionValueError: `within` is no duration.
        """
        if unnamed or not by:
            refuse('.dedup() takes the compared columns by name, such as .dedup(by=["id"], within="1d")')
        return self._then(dedup_document(by, within))

    def union(self, *others: Stream) -> Stream:
        """Adds the rows of other inputs of the pipeline.

        Left are the columns that all of them have, each of one type; the event time has one name in all. Rows
        are ordered as those of one dataset are, by event time and position.

        Args:
            *others: Streams of other inputs, before `.groupby()`.

        Raises:
            DefinitionTypeError: One of them is no stream.
        """
        if not others:
            refuse(".union() takes streams of other inputs, such as cards.union(transfers)")
        branches: list[dict[str, Any]] = []
        joined: list[type] = []
        for other in others:
            if not isinstance(other, Stream):
                hint = "; name it in @inputs and take its stream" if is_kind(other, "dataset") else ""
                refuse(f".union() takes streams of the pipeline's inputs, got {described(other)}{hint}")
            branches.append({"input": other._input, "operators": list(other._operators)})
            joined += other._joined
        return self._then({"op": "union", "others": branches}, *joined)

    def groupby(self, *keys: str) -> Stream:
        """The entity key of what follows.

        Args:
            *keys: Names of columns, the key fields of the dataset.

        Raises:
            DefinitionTypeError: One of them is no text.
        """
        names = [_checks.name(".groupby()", key, "driver") for key in keys]
        return self._then({"op": "groupby", "keys": names})

    def aggregate(self, *unnamed: Any, **aggregates: Aggregate) -> Stream:
        """The outputs, one for each field of the dataset that is neither key nor event time.

        Args:
            *unnamed: Refused: outputs are given by name.
            **aggregates: An aggregate for each output, such as `rides_1h=Count(window="1h")`.

        Raises:
            DefinitionTypeError: One of them is no aggregate.
        """
        if unnamed:
            refuse('.aggregate() takes its outputs by name, such as .aggregate(rides_1h=Count(window="1h"))')
        for name, given in aggregates.items():
            if not isinstance(given, Aggregate):
                is_class = isinstance(given, type) and issubclass(given, Aggregate)
                hint = f"; call it: {given.__name__}(...)" if is_class else ""
                got = f"got {described(given)}{hint}"
                refuse(f'.aggregate({name}=) takes an aggregate such as Count(window="1h"), {got}')
        outputs = [given.document(name) for name, given in aggregates.items()]
        return self._grouped_last()._then({"op": "aggregate", "aggregates": outputs})

    def transform(self, *_: Any, **__: Any) -> NoReturn:
        """Not supported yet.

        Raises:
            DefinitionTypeError: Always.
        """
        refuse(".transform() is not supported yet; use .assign() and .filter() with expressions of col(...)")

    def join(
        self,
        right: type,
        *unnamed: Any,
        fields: Sequence[str] | Mapping[str, str] = (),
        on: str | Sequence[str] | None = None,
        left_on: str | Sequence[str] | None = None,
        right_on: str | Sequence[str] | None = None,
        how: str = "left",
        within: str | None = None,
    ) -> Stream:
        """Gives each row columns of the row of `right` that is latest at the row's own time.

        Of the rows of `right` with the same key it is the one with the greatest event time that is not later
        than the row's own; of two at one time the one that arrived later. One that arrives late counts too.

        Args:
            right: A raw dataset, or one of rows that a pipeline makes of a raw one.
            *unnamed: Refused: arguments are given by name.
            fields: The fields of `right` to take, such as `["city"]`; or new names for them, such as
                `{"driver_city": "city"}`.
            on: The key field of `right`, or all of them, where the row has columns of the same names.
            left_on: The columns of the row that stand for `right_on`, where they have other names.
            right_on: The key field of `right`, or all of them.
            how: `"left"` keeps rows that find none, with nulls; `"inner"` drops them.
            within: How old a row of `right` may be at the row's time; None: any age.

        Raises:
            DefinitionTypeError: An argument has the wrong type, or is missing.
            DefinitionValueError: `how` or `within` is none.
        """
        if not is_kind(right, "dataset"):
            refuse(f".join() takes a dataset, a class decorated with @dataset, got {described(right)}")
        if unnamed:
            example = f'.join({right.__name__}, on="driver", fields=["city"])'
            refuse(f".join() takes the rest by name, such as {example}")
        return self._then(join_document(right, fields, on, left_on, right_on, how, within), right)

    def _grouped_last(self) -> Stream:
        """The same with the groupby moved to the end, where documents have it."""
        kinds = [operator["op"] for operator in self._operators]
        if kinds.count("groupby") != 1 or "aggregate" in kinds:
            return self  # the engine says what is wrong
        at = kinds.index("groupby")
        groupby, after = self._operators[at], self._operators[at + 1 :]
        assigns = [operator for operator in after if operator["op"] == "assign"]
        assigned = {column["name"] for operator in assigns for column in operator["columns"]}
        replaced = sorted(assigned.intersection(groupby["keys"]))
        if replaced:
            message = (
                f".assign() replaces {replaced[0]} after .groupby() has grouped by it; assign before grouping"
            )
            refuse(message, kind="value")
        return Stream(self._input, (*self._operators[:at], *after, groupby), self._joined)

    def _then(self, operator: dict[str, Any], *joined: type) -> Stream:
        return Stream(self._input, (*self._operators, operator), (*self._joined, *joined))


@dataclass(frozen=True)
class PipelineDefinition:
    """A pipeline that was run once."""

    name: str
    reads: tuple[type, ...]
    body: dict[str, Any]


def read_pipelines(reader: ClassReader) -> list[PipelineDefinition]:
    """Runs the pipelines of a class that is being decorated; faults go to the reader."""
    found = []
    for name, method in reader.methods():
        marks = getattr(method, _PIPELINE, None)
        datasets = getattr(method, _INPUTS, None)
        if marks is None:
            if datasets is not None:
                reader.fault(name, "it has @inputs but not @pipeline; put @pipeline above @inputs")
            continue
        if datasets is None:
            reader.fault(
                name, "a pipeline names the datasets it reads: put @inputs(SomeDataset) below @pipeline"
            )
            continue
        stream = _run(reader, name, method, datasets)
        if stream is not None:
            found.append(_definition(name, datasets, stream, marks, reader.place(name)))
    return found


def _run(reader: ClassReader, name: str, method: FunctionType, datasets: tuple[type, ...]) -> Stream | None:
    try:
        inspect.signature(method).bind(reader.cls, *datasets)
    except TypeError:
        wanted = ", ".join(["cls", *(dataset.__name__.lower() for dataset in datasets)])
        got = f"{name}{inspect.signature(method)}"
        reader.fault(
            name, f"it takes cls and one parameter for each input: {name}({wanted}), got {got}", "type"
        )
        return None
    try:
        result = method(reader.cls, *(Stream(dataset.__name__) for dataset in datasets))
    except DefinitionError as error:
        for fault in error.found:
            reader.faults.append(fault if fault.subject else replace(fault, subject=f"{reader.name}.{name}"))
        return None
    if not isinstance(result, Stream):
        hint = "; did you forget `return`?" if result is None else ""
        reader.fault(
            name,
            f"it must return its stream, such as after .groupby().aggregate(), got {described(result)}{hint}",
            "type",
        )
        return None
    return result


def _definition(
    name: str, datasets: tuple[type, ...], stream: Stream, marks: dict[str, Any], at: Place
) -> PipelineDefinition:
    body = {
        "name": name,
        "version": marks["version"],
        "inputs": _in_order(stream, [dataset.__name__ for dataset in datasets]),
        "operators": list(stream._operators),
        "meta": marks["meta"],
        "at": at.document(),
    }
    return PipelineDefinition(name, (*datasets, *stream._joined), body)


def _in_order(stream: Stream, inputs: list[str]) -> list[str]:
    """The inputs, that of the stream itself first."""
    return [stream._input, *(name for name in inputs if name != stream._input)]


def _names(what: str, given: tuple[Any, ...], example: str) -> list[str]:
    listed = given[0] if len(given) == 1 and isinstance(given[0], (list, tuple)) else given
    return [_checks.name(what, name, example) for name in listed]


def _function(what: str, method: Any) -> Any:
    function = method.__func__ if isinstance(method, (classmethod, staticmethod)) else method
    if not isinstance(function, FunctionType):
        refuse(f"{what} decorates a method, got {described(method)}")
    return function


def _refuse_function(what: str, given: Any) -> None:
    if type(given).__module__.partition(".")[0] == "polars":
        refuse(f"{what} with a polars expression is not supported yet; use thyme's own col(...)")
    if callable(given) and not isinstance(given, (Expr, type)):
        refuse(f'{what} with a function is not supported yet; use an expression such as col("fare") > 0')

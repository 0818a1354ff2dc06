"""The aggregates of pipelines, with `_statistics` and `_collections`.

A new one is a class with its name in the engine.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from thyme import _checks
from thyme._expr import Expr
from thyme._literal import Default, described
from thyme._literal import default as default_of
from thyme._place import caller, refuse, warn_unknown
from thyme._windows import Window, window_document


class Aggregate:
    """One output of a pipeline: a function of the rows in a window, as of exactly the time of the question.

    Args:
        of: The aggregated column; only `Count` may go without.
        window: How far back from the time of the question: an integer and one of `s m h d w`, or a window
            such as `Tumbling("1d")`. None or `""` is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: `window` is no duration.
    """

    function: ClassVar[str] = ""
    parameters: ClassVar[Mapping[str, Any]] = {}
    """What else it takes, with what each is when it is not given; `...` must be given, None is left out."""
    __signature__: ClassVar[inspect.Signature] = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
            for name in ("of", "window", "where", "default")
        ]
    )

    def __init_subclass__(cls) -> None:
        keyword = inspect.Parameter.KEYWORD_ONLY
        more = [
            inspect.Parameter(name, keyword, default=inspect.Parameter.empty if default is ... else default)
            for name, default in cls.parameters.items()
        ]
        known = Aggregate.__signature__.parameters.values()
        cls.__signature__ = inspect.Signature([*known, *more])

    # What a caller may give; the method takes more, to say what is wrong with it.
    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...

    else:

        def __init__(self, *positional, of=None, window=None, where=None, default=None, **unknown) -> None:
            """Says what is aggregated, over which rows.

            Args:
                *positional: Refused: everything is given by name.
                of: The aggregated column; only `Count` may go without.
                window: How far back from the time of the question, that time included: an integer and one of
                    `s m h d w`, or a window such as `Tumbling("1d")`. None or `""` is since the beginning.
                where: Only rows where this is true count.
                default: What it gives over nothing.
                **unknown: Warned of and ignored.

            Example:
                total = Sum(of="fare", window="7d", where=col("fare") < 500, default=0.0)
            """
            self._set(positional, unknown, of, window, where, default)

    def _set(
        self,
        positional: tuple[Any, ...],
        unknown: dict[str, Any],
        of: str | None,
        window: str | Window | None,
        where: Expr | None,
        default: Default,
    ) -> None:
        called = type(self).__name__
        if positional:
            refuse(f'{called}() takes keywords only, such as {called}(of="fare", window="1h")')
        self.arguments = {name: self._argument(name, unknown) for name in self.parameters}
        warn_unknown(f"{called}()", unknown)
        self.at = caller()
        self.of = None if of is None else _checks.name(f"{called}(of=)", of, "fare")
        self.window = window_document(f"{called}(window=)", window)
        if where is not None and not isinstance(where, Expr):
            refuse(f'{called}(where=) takes an expression such as col("fare") > 0, got {described(where)}')
        self.where = where
        self.default = default_of(default, f"{called}(default=)")

    def _argument(self, name: str, given: dict[str, Any]) -> Any:
        """Takes a parameter out of what was given; the engine says whether it can have that value."""
        default = self.parameters[name]
        value = given.pop(name, default)
        called = type(self).__name__
        if value is ...:
            refuse(f"{called}() needs {name}=, see help({called})")
        if value is not None and not isinstance(value, bool | int | float | str):
            refuse(f"{called}({name}=) takes a number, a text, or True or False, got {described(value)}")
        return value

    def document(self, name: str) -> dict[str, Any]:
        """The aggregate as a definition document has it, as the output `name`."""
        document: dict[str, Any] = {"name": name, "function": self.function}
        if self.of is not None:
            document["of"] = self.of
        if self.window is not None:
            document["window"] = self.window
        if self.where is not None:
            document["where"] = self.where.document()
        if self.default is not None:
            document["default"] = self.default
        if given := {name: value for name, value in self.arguments.items() if value is not None}:
            document["parameters"] = given
        document["at"] = self.at.document()
        return document


class OfRows(Aggregate):
    """One that may go without a field."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str | None = None,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class Count(OfRows):
    """How many rows; with `of=`, how many where that is not null. 0 over nothing."""

    function = "count"


class Sum(Aggregate):
    """The exact sum: of ints an int (null outside int64), of floats rounded once. 0 over nothing."""

    function = "sum"


class Avg(Aggregate):
    """The exact sum rounded once, divided by the count, rounded once. Null over nothing."""

    function = "avg"


class Min(Aggregate):
    """The least value; NaN if any is. Null over nothing."""

    function = "min"


class Max(Aggregate):
    """The greatest value; NaN if any is. Null over nothing."""

    function = "max"


class First(Aggregate):
    """The value with the least event time; the earlier position of a tie. Null over nothing."""

    function = "first"


class Last(Aggregate):
    """The value with the greatest event time; the later row of a tie. Null over nothing."""

    function = "last"

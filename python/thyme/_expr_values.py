"""Methods of values of any type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from thyme._expr_calls import Calls
from thyme._literal import described
from thyme._place import refuse
from thyme._types import type_name


class Values(Calls):
    """What an expression of any type can be asked."""

    __slots__ = ()

    def is_null(self) -> Self:
        """Whether it is null; never null itself."""
        return self._method("is_null")

    def is_not_null(self) -> Self:
        """Whether it is not null; never null itself."""
        return self._method("is_not_null")

    def fill_null(self, value: Any) -> Self:
        """Itself, and `value` where it is null."""
        return self._method("fill_null", value)

    def is_nan(self) -> Self:
        """Whether a number is NaN; null of null."""
        return self._method("is_nan")

    def between(self, low: Any, high: Any) -> Self:
        """`(a >= low) & (a <= high)`: both ends belong to it."""
        return self._method("between", low, high)

    def is_in(self, values: Iterable[Any]) -> Self:
        """Whether it equals one of `values`; null of null, and without a match if one of them is None.

        Args:
            values: Constants of its type, 9,999 at most. An int is in a list of floats that has the same
                number.
        """
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            refuse(f'.is_in() takes a list of constants, such as .is_in(["a", "b"]), got {described(values)}')
        return self._method("is_in", *values)

    def cast(self, to: Any) -> Self:
        """As another type; null where it is none of that type.

        A float becomes an int without its fraction and a Decimal by rounding half to even; a text that is
        read a number, true or false, an ISO 8601 time, a date or JSON; a number a datetime as seconds since
        the epoch; lists and maps item by item; JSON what events of that type would say; and all that has no
        parts a text.

        Args:
            to: A type as of a field, such as int, date, list[str] or Annotated[Decimal, Scale(2)], or its
                name in documents, such as "decimal(2)", "vector[384]" or "json".
        """
        return self._method("cast", _named(to, ".cast()"))

    def json_extract(self, path: str, dtype: Any = None) -> Self:
        """What JSON has at a path: of a `dict` or `Any` field, or of a text that holds JSON.

        Null if there is nothing or null, or the text is no JSON.

        Args:
            path: Keys with points between them and positions in brackets, such as "a.b[0]", the last one
                being [-1]. A key with a point or a bracket in it is written ["a.b"].
            dtype: The type it is read as, as of `cast`: null if it is none. Without it JSON.
        """
        if dtype is None:
            return self._method("json_extract", path)
        return self._method("json_extract", path, _named(dtype, ".json_extract()"))

    def hash_bucket(self, buckets: int) -> Self:
        """A bucket from 0 to `buckets - 1`, for ever the same for the same value but a float.

        FNV-1a of 64 bits over the value's bytes (UTF-8; eight bytes, lowest first, also of a date's days; one
        byte; a Decimal's digits as a text without zeros at its end), then the finaliser of SplitMix64, modulo
        `buckets`.
        """
        return self._method("hash_bucket", buckets)


def _named(to: Any, what: str) -> str:
    name = type_name(to)
    if name is None:
        expected = "a type such as int, date, list[str] or Annotated[Decimal, Scale(2)]"
        refuse(f'{what} takes {expected}, or its name, such as "decimal(2)" or "json"; got {described(to)}')
    return name

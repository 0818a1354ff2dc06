"""Methods of values of any type."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self

from thyme._expr_calls import Calls
from thyme._literal import described
from thyme._place import refuse

_NAMES = {int: "int", float: "float", str: "str", bool: "bool", datetime: "datetime"}


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

    def cast(self, to: type | str) -> Self:
        """As another type; null where it is none of that type.

        A float becomes an int without its fraction, a text that is read a number, true or false, or an ISO
        8601 time, a number a datetime as seconds since the epoch, and everything a text.

        Args:
            to: int, float, str, bool, datetime, or their names.
        """
        name = _NAMES.get(to) if isinstance(to, type) else to
        if name not in _NAMES.values():
            refuse(f".cast() takes int, float, str, bool or datetime, got {described(to)}")
        return self._method("cast", name)

    def hash_bucket(self, buckets: int) -> Self:
        """A bucket from 0 to `buckets - 1`, for ever the same for the same int, text, bool or datetime.

        FNV-1a of 64 bits over the value's bytes (UTF-8; eight bytes, lowest first; one byte), then the
        finaliser of SplitMix64, modulo `buckets`.
        """
        return self._method("hash_bucket", buckets)

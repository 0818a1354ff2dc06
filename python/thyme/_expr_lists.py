"""Methods of lists, maps and vectors."""

from __future__ import annotations

from typing import Any, Self

from thyme._expr_calls import Calls


class Lists(Calls):
    """What an expression of lists, maps or vectors can be asked. A null gives null.

    `len` and `contains` take them as they take texts; `split` makes lists of texts.
    """

    __slots__ = ()

    def get(self, position: Any) -> Self:
        """The item at a position of a list or a vector, or what a map has under a key; null if there is none.

        Args:
            position: An int, negative from the end; for a map a text; or an expression of these.
        """
        return self._method("get", position)

    def first(self) -> Self:
        """The first item; null of an empty list."""
        return self._method("first")

    def last(self) -> Self:
        """The last item; null of an empty list."""
        return self._method("last")

    def sum(self) -> Self:
        """The exact sum of the items that are not null, as of `Sum`; 0 of none, null outside int64."""
        return self._method("sum")

    def min(self) -> Self:
        """The least of the items that are not null; null of none, NaN if one is NaN."""
        return self._method("min")

    def max(self) -> Self:
        """The greatest of the items that are not null; null of none, NaN if one is NaN."""
        return self._method("max")

    def join(self, separator: Any) -> Self:
        """The texts of a list, without those that are null, with `separator` in between."""
        return self._method("join", separator)

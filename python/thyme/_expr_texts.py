"""Methods of texts."""

from __future__ import annotations

from typing import Any, Self

from thyme._expr_calls import Calls
from thyme._place import refuse


class Texts(Calls):
    """What an expression of texts can be asked. A null gives null.

    Positions and lengths count code points, as in Python. A text longer than 1 MiB that an expression makes
    is null.
    """

    __slots__ = ()

    def lower(self) -> Self:
        """In lower case, as Unicode has it."""
        return self._method("lower")

    def upper(self) -> Self:
        """In upper case, as Unicode has it."""
        return self._method("upper")

    def strip(self) -> Self:
        """Without white space at both ends."""
        return self._method("strip")

    def len(self) -> Self:
        """How many code points a text has, items a list or a vector, entries a map, bytes bytes."""
        return self._method("len")

    def contains(self, part: Any) -> Self:
        """Whether a text has `part` in it as written, a list or a vector such an item, or a map such a key.

        For a pattern see `matches`. Without a match it is null for a list with a null in it, as of `is_in`.
        """
        return self._method("contains", part)

    def starts_with(self, part: Any) -> Self:
        """Whether it begins with `part`."""
        return self._method("starts_with", part)

    def ends_with(self, part: Any) -> Self:
        """Whether it ends with `part`."""
        return self._method("ends_with", part)

    def replace(self, old: Any, new: Any) -> Self:
        """With `new` for every `old`, from the left, as `str.replace`."""
        return self._method("replace", old, new)

    def split(self, separator: Any) -> Self:
        """The parts between separators, as `str.split`: a list of texts; null for more than 10,000.

        Args:
            separator: A text that is not empty, or an expression of texts; null where it is empty.
        """
        if isinstance(separator, str) and not separator:
            refuse(".split() takes a separator that is not empty", kind="value")
        return self._method("split", separator)

    def slice(self, start: Any, stop: Any = None) -> Self:
        """`text[start:stop]`: negative positions count from the end.

        Args:
            start: An int or an expression of ints.
            stop: An int, an expression of ints, or None for the end.
        """
        return self._method("slice", start) if stop is None else self._method("slice", start, stop)

    def matches(self, pattern: str) -> Self:
        """Whether a regular expression is found anywhere in it; `^` and `$` bind it to the ends.

        Args:
            pattern: In the syntax of Rust's `regex`, which searches in linear time and so has no
                backreferences and no look-around.
        """
        return self._method("matches", pattern)

    def extract(self, pattern: str, group: int | None = None) -> Self:
        """A group of the first match of a regular expression; null if there is none.

        Args:
            pattern: As of `matches`.
            group: Its number, 0 for the whole match. Without it the first group, or the whole match of a
                pattern that has no groups.
        """
        return self._method("extract", pattern) if group is None else self._method("extract", pattern, group)

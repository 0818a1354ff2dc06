"""Aggregates that give lists and maps.

Formulas, state and edges of each are in `docs/reference/aggregates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

from thyme import _checks
from thyme._aggregates import Aggregate
from thyme._literal import described
from thyme._place import refuse

if TYPE_CHECKING:
    from thyme._expr import Expr
    from thyme._literal import Default
    from thyme._windows import Window

K_MAX = 1000
"""The most values that a list of first, last or best ones has."""
ITEMS_MAX = 10_000
"""The most items of a list and entries of a dict."""
EDGES_MAX = 1000
"""The most edges of a histogram."""


def _is_float(number: float) -> bool:
    """Whether it is a finite float, or an int next to one."""
    try:
        return isfinite(number)
    except OverflowError:
        return False


class _Collecting(Aggregate):
    """One whose sizes are bounded, and that may read a further column."""

    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {}
    """Integers among the parameters, from the first to the second."""
    further: ClassVar[str] = ""
    """The parameter that names a column, if there is one."""

    def _argument(self, name: str, given: dict[str, Any]) -> Any:
        value, called = super()._argument(name, given), type(self).__name__
        if name in self.bounds:
            least, most = self.bounds[name]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                refuse(f"{called}({name}=) takes an integer from {least} to {most}, got {described(value)}")
        elif name == self.further and value is not None:
            _checks.name(f"{called}({name}=)", value, "fare")
        elif isinstance(self.parameters[name], bool) and not isinstance(value, bool):
            refuse(f"{called}({name}=) takes True or False, got {described(value)}")
        return value


class _Ends(_Collecting):
    """The values at one end of the window."""

    parameters: ClassVar[Mapping[str, Any]] = {"k": ..., "dedup": False, "dropnull": True}
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"k": (1, K_MAX)}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            k: int,
            dedup: bool = False,
            dropnull: bool = True,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class FirstK(_Ends):
    """The values of the `k` rows with the least event times, as a list, the oldest first.

    An empty list over nothing. Rows of one event time are in the order of their positions.

    Args:
        of: The aggregated column, of a plain type: no list, dict, vector or JSON.
        k: How many values at most, from 1 to 1,000.
        dedup: Whether a value counts once, where it came first.
        dropnull: Whether rows where `of` is null do not count; if not, they are None in the list.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        first_pages = FirstK(of="page", k=3, window="1d")
    """

    function = "first_k"


class LastK(_Ends):
    """The values of the `k` rows with the greatest event times, as a list, the newest first.

    An empty list over nothing. Of rows of one event time the later position comes first.

    Args:
        of: The aggregated column, of a plain type: no list, dict, vector or JSON.
        k: How many values at most, from 1 to 1,000.
        dedup: Whether a value counts once, where it came last.
        dropnull: Whether rows where `of` is null do not count; if not, they are None in the list.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        last_merchants = LastK(of="merchant", k=5, dedup=True, window="30d")
    """

    function = "last_k"


class _Best(_Collecting):
    """The values of the rows with the greatest or the least values."""

    parameters: ClassVar[Mapping[str, Any]] = {"k": ..., "by": None}
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"k": (1, K_MAX)}
    further: ClassVar[str] = "by"

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            k: int,
            by: str | None = None,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class TopK(_Best):
    """The values of the `k` rows with the greatest values (of their own or another column), greatest first.

    Null over nothing. Of equals the later row comes first; NaN comes after all others.

    Args:
        of: The listed column, of a plain type: no list, dict, vector or JSON.
        k: How many values at most, from 1 to 1,000.
        by: The column whose values are compared, where it is not `of`. Rows where it is null do not count.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        dearest = TopK(of="merchant", by="amount", k=3, window="30d")
    """

    function = "top_k"


class BottomK(_Best):
    """The values of the `k` rows with the least values (of their own or another column), least first.

    Null over nothing. Of equals the later row comes first; NaN comes after all others.

    Args:
        of: The listed column, of a plain type: no list, dict, vector or JSON.
        k: How many values at most, from 1 to 1,000.
        by: The column whose values are compared, where it is not `of`. Rows where it is null do not count.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        cheapest = BottomK(of="fare", k=3, window="30d")
    """

    function = "bottom_k"


class Distinct(_Collecting):
    """The different values, as a list in their order. Null over nothing.

    Args:
        of: The aggregated column, of a plain type: no list, dict, vector or JSON.
        limit: How many values at most, from 1 to 10,000: of more, the least ones.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        cities = Distinct(of="city", window="30d")
    """

    function = "distinct"
    parameters: ClassVar[Mapping[str, Any]] = {"limit": 1000}
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"limit": (1, ITEMS_MAX)}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            limit: int = 1000,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class MostFrequent(_Collecting):
    """The `k` most frequent values, as a list, the most frequent first; of equals the lesser value.

    Null over nothing.

    Args:
        of: The aggregated column, of a plain type: no list, dict, vector or JSON.
        k: How many values at most, from 1 to 1,000.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        usual = MostFrequent(of="merchant", k=3, window="90d")
    """

    function = "most_frequent"
    parameters: ClassVar[Mapping[str, Any]] = {"k": ...}
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"k": (1, K_MAX)}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            k: int,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class _Grouped(_Collecting):
    """A value for each category."""

    parameters: ClassVar[Mapping[str, Any]] = {"key_column": ..., "limit": 1000}
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"limit": (1, ITEMS_MAX)}
    further: ClassVar[str] = "key_column"


class CountBy(_Grouped):
    """How many rows there are of each category, as a dict. Null over nothing.

    Args:
        key_column: The column of the category, a str, an int or a bool. Rows where it is null do not count.
        of: Only rows where this column is not null count.
        limit: How many categories at most, from 1 to 10,000: of more, those with the newest rows.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        visits = CountBy(key_column="category", window="30d")
    """

    function = "count_by"

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            key_column: str,
            of: str | None = None,
            limit: int = 1000,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class _GroupedOf(_Grouped):
    """One that needs a column."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            key_column: str,
            limit: int = 1000,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class SumBy(_GroupedOf):
    """The exact sum of each category, as a dict.

    Null over nothing, and where the sum of one category is outside its type.

    Args:
        of: The summed column, an int, a float or a Decimal. Rows where it is null do not count.
        key_column: The column of the category, a str, an int or a bool. Rows where it is null do not count.
        limit: How many categories at most, from 1 to 10,000: of more, those with the newest rows.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        spent = SumBy(of="amount", key_column="category", window="30d")
    """

    function = "sum_by"


class AvgBy(_GroupedOf):
    """The mean of each category, as a dict: the exact sum rounded once, divided by the count.

    Null over nothing.

    Args:
        of: The averaged column, an int, a float or a Decimal. Rows where it is null do not count.
        key_column: The column of the category, a str, an int or a bool. Rows where it is null do not count.
        limit: How many categories at most, from 1 to 10,000: of more, those with the newest rows.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        usual = AvgBy(of="amount", key_column="category", window="30d")
    """

    function = "avg_by"


class Histogram(_Collecting):
    """How many values lie between given edges, as a list of ints. Null over nothing.

    Of `n` edges it has `n + 1` counts: of the values below the first edge, of those from each edge on that
    are below the next one, and of those from the last edge on. NaN is in none of them.

    Args:
        of: The aggregated column, an int or a float.
        bins: The edges: 1 to 1,000 finite numbers, each greater than the one before.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        amounts = Histogram(of="amount", bins=[0, 10, 100, 1000], window="30d")
    """

    function = "histogram"
    parameters: ClassVar[Mapping[str, Any]] = {"bins": ...}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            bins: Sequence[float],
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...

    def _argument(self, name: str, given: dict[str, Any]) -> Any:
        if name not in given:
            return super()._argument(name, given)
        edges = given.pop(name)
        if not isinstance(edges, list | tuple) or not 1 <= len(edges) <= EDGES_MAX:
            got = f"{len(edges)} of them" if isinstance(edges, list | tuple) else described(edges)
            refuse(f"Histogram(bins=) takes a list of 1 to {EDGES_MAX} numbers, got {got}")
        for edge in edges:
            if isinstance(edge, bool) or not isinstance(edge, int | float) or not _is_float(edge):
                refuse(f"Histogram(bins=) takes finite numbers, as float64 has them, got {described(edge)}")
        floats = [float(edge) for edge in edges]
        for low, high in pairwise(floats):
            if low >= high:
                refuse(f"Histogram(bins=) takes each edge once, in ascending order, got {high} after {low}")
        return floats

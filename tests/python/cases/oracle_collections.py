"""Aggregates that give lists and maps, each written from its page in `docs/reference/aggregates`."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from .oracle_types import decimal_sum, within_digits

Parameters = dict[str, Any]


class Counted(NamedTuple):
    """A row that counts: its value, that of the further column, and its time; rows are in (t, position) order."""

    value: Any
    by: Any
    t: int


def ends(rows: list[Counted], parameters: Parameters) -> list[Any]:
    found: list[Any] = []
    for row in rows:
        # Two NaNs are one value, and True is not 1.
        if not (parameters.get("dedup") and repr(row.value) in map(repr, found)):
            found.append(row.value)
    return found[: parameters["k"]]


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def in_order(values: Iterable[Any]) -> list[Any]:
    """Each value once, ascending, NaN last."""
    once = {repr(value): value for value in values}.values()
    return sorted(v for v in once if not is_nan(v)) + [v for v in once if is_nan(v)]


def best(greatest: bool) -> Callable[[list[Counted], Parameters], list[Any]]:
    def of(rows: list[Counted], parameters: Parameters) -> list[Any]:
        def rank(row: Counted) -> Any:
            return row.by if parameters.get("by") else row.value

        # The sort is stable, so that of equals the later row comes first.
        latest_first = [row for row in rows[::-1] if not is_nan(rank(row))]
        places = in_order(rank(row) for row in latest_first)
        latest_first.sort(key=lambda row: places.index(rank(row)) * (-1 if greatest else 1))
        nans = [row for row in rows[::-1] if is_nan(rank(row))]
        return [row.value for row in latest_first + nans][: parameters["k"]]

    return of


def most_frequent(rows: list[Counted], parameters: Parameters) -> list[Any]:
    counts = Counter(repr(row.value) for row in rows)
    return sorted(in_order(row.value for row in rows), key=lambda v: -counts[repr(v)])[: parameters["k"]]


def histogram(rows: list[Counted], parameters: Parameters) -> list[int]:
    edges = parameters["bins"]
    counts = [0] * (len(edges) + 1)
    for row in rows:
        if not is_nan(row.value):
            counts[sum(1 for edge in edges if row.value >= edge)] += 1
    return counts


def exact(values: list[Any]) -> Any:
    """The sum: of floats an exact fraction, or what the set of those that are not finite gives."""
    if isinstance(values[0], Decimal):
        return decimal_sum(values)
    odd = {repr(v) for v in values if isinstance(v, float) and not math.isfinite(v)}
    if odd:
        return math.nan if len(odd) > 1 or "nan" in odd else float(odd.pop())
    return sum(map(Fraction, values), Fraction(0))


def as_float(value: Any) -> float:
    try:
        return float(value) + 0.0
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def summed(values: list[Any]) -> Any:
    total = exact(values)
    if isinstance(values[0], Decimal):
        return within_digits(total, values)
    if isinstance(values[0], int):
        return int(total) if -(2**63) <= total < 2**63 else None
    return as_float(total)


def mean(values: list[Any]) -> float:
    return as_float(exact(values)) / len(values) + 0.0


def by_category(make: Callable[[list[Any]], Any]) -> Callable[[list[Counted], Parameters], Any]:
    def of(rows: list[Counted], parameters: Parameters) -> Any:
        categories: dict[str, list[Any]] = {}
        for row in rows:
            name = row.by if isinstance(row.by, str) else str(row.by).lower()
            # The category with the newest row comes last.
            categories[name] = [*categories.pop(name, []), row.value]
        kept = list(categories.items())[-parameters.get("limit", 1000) :]
        made = {name: make(values) for name, values in kept}
        return None if None in made.values() else made

    return of


COLLECTIONS: dict[str, Callable[[list[Counted], Parameters], Any]] = {
    "first_k": ends,
    "last_k": lambda rows, parameters: ends(rows[::-1], parameters),
    "top_k": best(greatest=True),
    "bottom_k": best(greatest=False),
    "distinct": lambda rows, parameters: in_order(row.value for row in rows)[: parameters["limit"]],
    "most_frequent": most_frequent,
    "histogram": histogram,
    "count_by": by_category(len),
    "sum_by": by_category(summed),
    "avg_by": by_category(mean),
}

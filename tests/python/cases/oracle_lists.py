"""What lists and maps are asked in expressions, one row at a time."""

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from .oracle_types import as_compared, decimal_sum, within_digits

ITEMS = 10_000
INT64 = range(-(2**63), 2**63)


def contains(whole: Any, part: Any) -> bool | None:
    if isinstance(whole, str | dict):
        return part in whole
    equal = [None if item is None else _equal(item, part) for item in whole]
    return True if True in equal else None if None in equal else False


def _equal(one: Any, other: Any) -> bool:
    one, other = as_compared(one, other)
    return bool(one == other)


def get(whole: Any, place: Any) -> Any:
    if isinstance(whole, dict):
        return whole.get(place)
    return whole[place] if -len(whole) <= place < len(whole) else None


def known(pick: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    """Over the items that are not null."""
    return lambda items: pick([item for item in items if item is not None])


def total(values: list[Any]) -> Any:
    if not values:
        return 0
    if isinstance(values[0], Decimal):
        return within_digits(decimal_sum(values), values)
    if not isinstance(values[0], float):
        return result if (result := sum(values)) in INT64 else None
    special = {v for v in values if math.isinf(v)}
    if any(map(math.isnan, values)) or len(special) == 2:
        return math.nan
    if special:
        return special.pop()
    exact = sum(map(Fraction, values), Fraction(0))
    try:
        return float(exact) + 0.0
    except OverflowError:
        return math.copysign(math.inf, exact)


def extreme(pick: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def picked(values: list[Any]) -> Any:
        if any(isinstance(v, float) and math.isnan(v) for v in values):
            return math.nan
        return pick(values) if values else None

    return picked


def split(text: str, separator: str) -> list[str] | None:
    parts = text.split(separator) if separator else []
    return parts if 0 < len(parts) <= ITEMS else None


LISTS: dict[str, Callable[..., Any]] = {
    "contains": contains,
    "get": get,
    "first": lambda items: get(items, 0),
    "last": lambda items: get(items, -1),
    "sum": known(total),
    "min": known(extreme(min)),
    "max": known(extreme(max)),
    "join": lambda items, separator: separator.join(item for item in items if item is not None),
    "split": split,
}

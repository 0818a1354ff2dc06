"""Aggregates that give lists and maps, each written from its page in `docs/reference/aggregates`."""

from collections.abc import Callable
from typing import Any, NamedTuple

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


COLLECTIONS: dict[str, Callable[[list[Counted], Parameters], Any]] = {
    "first_k": ends,
    "last_k": lambda rows, parameters: ends(rows[::-1], parameters),
}

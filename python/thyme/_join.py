"""Joins, as a definition document has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thyme import _checks
from thyme._literal import described
from thyme._place import caller, refuse


def join_document(
    right: type, fields: Any, on: Any, left_on: Any, right_on: Any, how: str, within: str | None
) -> dict[str, Any]:
    """The document of a join with the dataset `right`.

    Raises:
        DefinitionTypeError: An argument has the wrong type, or is missing.
        DefinitionValueError: `how` or `within` is none.
    """
    left, other = _keys(right, on, left_on, right_on)
    document: dict[str, Any] = {
        "op": "join",
        "dataset": right.__name__,
        "left_on": left,
        "right_on": other,
        "fields": _fields(fields),
    }
    if _checks.choice(".join(how=)", how, ("left", "inner")) != "left":
        document["how"] = how
    reach = _checks.duration(".join(within=)", within or None)
    if reach is not None:
        document["within"] = reach
    return document | {"at": caller().document()}


def _keys(right: type, on: Any, left_on: Any, right_on: Any) -> tuple[list[str], list[str]]:
    """The columns on the left and on the right."""
    if on is not None:
        if left_on is not None or right_on is not None:
            refuse(".join() takes on=, or left_on= and right_on= where the names differ, not both")
        names = _names("on", on)
        return names, names
    if left_on is None or right_on is None:
        refuse(f'.join({right.__name__}) needs the column to join on, such as on="driver"')
    return _names("left_on", left_on), _names("right_on", right_on)


def _names(what: str, given: Any) -> list[str]:
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        return [_checks.name(f".join({what}=)", name, "driver") for name in given]
    return [_checks.name(f".join({what}=)", given, "driver")]


def _fields(given: Any) -> list[dict[str, str]]:
    if isinstance(given, Mapping):
        pairs = [
            (_checks.name(".join(fields=)", name, "driver_city"), field) for name, field in given.items()
        ]
    elif isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        pairs = [(field, field) for field in given]
    else:
        refuse(f'.join(fields=) takes a list of names, such as ["city"], got {described(given)}')
    checked = [(name, _checks.name(".join(fields=)", field, "city")) for name, field in pairs]
    return [{"name": name, "field": field} for name, field in checked]

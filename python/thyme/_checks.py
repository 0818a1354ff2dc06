"""Arguments that a definition document could not even express if they were wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thyme import _native
from thyme._literal import described
from thyme._place import refuse

_U32_MAX = 2**32 - 1


def number(what: str, value: Any) -> int:
    """A version or an id: an integer that is not negative and fits 32 bits; the engine refuses 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(f"{what} takes a positive integer, got {described(value)}")
    if not 0 <= value <= _U32_MAX:
        refuse(f"{what} takes a positive integer below 2**32, got {value}", kind="value")
    return int(value)


def flag(what: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        refuse(f"{what} takes True or False, got {described(value)}")
    return value


def choice(what: str, value: Any, choices: Sequence[str]) -> str:
    """One of some texts."""
    known = " or ".join(f'"{one}"' for one in choices)
    if not isinstance(value, str):
        refuse(f"{what} takes {known}, got {described(value)}")
    if value not in choices:
        refuse(f'{what} takes {known}, got "{value}"', kind="value")
    return value


def duration(what: str, value: Any) -> str | None:
    """A duration as a text; None is none."""
    if value is None:
        return None
    if not isinstance(value, str):
        refuse(f'{what} takes a duration as a text, such as "90s", "24h" or "7d", got {described(value)}')
    try:
        _native.parse_duration(value)
    except ValueError as error:
        refuse(f"{what}: {error}", kind="value")
    return value


def name(what: str, value: Any, example: str) -> str:
    """The name of a field or a feature."""
    if not isinstance(value, str):
        hint = (
            f'; write its name as a text: "{value.name}"' if type(value).__module__ == "thyme._field" else ""
        )
        refuse(f'{what} takes names as texts, such as "{example}", got {described(value)}{hint}')
    return value

"""Constants: Python scalars as definition documents have them."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from thyme._place import refuse

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

Scalar = int | float | str | bool | datetime | None
"""What may stand as a constant."""


def literal(value: Any, what: str) -> tuple[Any, str | None]:
    """The JSON value of a constant, and its type; null has none.

    Args:
        value: The constant.
        what: What it is, for the error.

    Raises:
        DefinitionTypeError: It is no int, float, str, bool, datetime or None.
        DefinitionValueError: It is an int outside int64.
    """
    if value is None:
        return None, None
    if isinstance(value, bool):
        return value, "bool"
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            refuse(f"{what}: {value} is outside int64 ({INT64_MIN} to {INT64_MAX})", kind="value")
        return int(value), "int"
    if isinstance(value, float):
        return _float(float(value)), "float"
    if isinstance(value, str):
        return str(value), "str"
    if isinstance(value, datetime):
        return rfc3339(value), "datetime"
    refuse(f"{what}: expected an int, float, str, bool, datetime or None, got {described(value)}")


def rfc3339(time: datetime) -> str:
    """The time in UTC with `Z`; a naive one is UTC."""
    aware = time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)
    return aware.replace(tzinfo=None).isoformat() + "Z"


def described(value: Any) -> str:
    """A value's type and, where it is short, the value: for errors."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value)
    name = (
        kind.__name__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__name__}"
    )
    if callable(value) and hasattr(value, "__name__"):
        return f"the {name} {value.__name__}"
    if isinstance(value, (int, float, str, bool, type(None))):
        text = repr(value)
        return text if value is None else f"{text if len(text) <= 60 else text[:57] + '...'} ({name})"
    return f"an object of type {name}"


def _float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value

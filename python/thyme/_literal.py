"""Constants: Python scalars as definition documents have them."""

from __future__ import annotations

import base64
import math
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

from thyme._place import refuse

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

Scalar = int | float | str | bool | datetime | date | Decimal | bytes | Enum | None
"""What may stand as a constant."""
Default = Scalar | list[Any] | tuple[Any, ...] | dict[Any, Any]
"""What may stand as a default."""


def literal(value: Any, what: str) -> tuple[Any, str | None]:
    """The JSON value of a constant, and its type; null has none.

    Args:
        value: The constant.
        what: What it is, for the error.

    Raises:
        DefinitionTypeError: It is none of these.
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
    if isinstance(value, date):
        return value.isoformat(), "date"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode(), "bytes"
    if isinstance(value, Enum):
        return literal(value.value, what)
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        if isinstance(exponent, str):
            refuse(f"{what}: {value} is not finite, and a decimal is", kind="value")
        return format(value, "f"), f"decimal({max(0, -exponent)})"
    expected = "an int, float, str, bool, datetime, date, Decimal, bytes or None"
    refuse(f"{what}: expected {expected}, got {described(value)}")


def default(value: Any, what: str) -> Any:
    """The JSON value of a default: a constant, or a list or a dict of constants.

    Raises:
        DefinitionTypeError: There is something else in it.
        DefinitionValueError: There is an int outside int64 in it.
    """
    if isinstance(value, (list, tuple)):
        return [default(item, f"{what}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                refuse(f"{what}: the key {key!r} is no text")
        return {key: default(item, f"{what}[{key!r}]") for key, item in value.items()}
    return literal(value, what)[0]


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

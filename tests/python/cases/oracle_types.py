"""The types beside int, float, str, bool and datetime, read naively (docs/reference/types.md)."""

import base64
import binascii
import math
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

DIGITS = 38


class Misfit(ValueError):
    """A value that is none of its type."""


def other(value: Any, kind: str, plain: Callable[[Any, str], Any]) -> Any:
    """A JSON or Python value as one of type `kind`; `plain` reads those of other types."""
    if kind == "date":
        if type(value) is date:
            return value
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            try:
                return date.fromisoformat(value)
            except ValueError as error:
                raise Misfit(f"{value!r} is no day") from error
    elif kind == "bytes":
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            try:
                return base64.b64decode(value, validate=True)
            except binascii.Error as error:
                raise Misfit(f"{value!r} is not base64") from error
    elif kind.startswith("decimal("):
        return decimal(value, int(kind[8:-1]))
    elif kind.startswith("list[") and isinstance(value, list | tuple):
        return [None if item is None else plain(item, kind[5:-1]) for item in value]
    elif kind.startswith("dict[") and isinstance(value, dict):
        return {key: None if item is None else plain(item, kind[10:-1]) for key, item in value.items()}
    elif kind.startswith("vector[") and isinstance(value, list | tuple):
        if len(value) == int(kind[7:-1]) and None not in value:
            return [plain(item, "float") for item in value]
    elif kind == "json":
        return value
    raise Misfit(f"expected {kind}, got {value!r}")


def decimal(value: Any, scale: int) -> Decimal:
    """Exactly, or not at all; a float by the digits that it is written with."""
    if type(value) not in (int, float, str, Decimal):
        raise Misfit(f"expected a decimal, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise Misfit(f"{value!r} is no decimal")
    try:
        read = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation as error:
        raise Misfit(f"{value!r} is no decimal") from error
    # What JSON has beyond int64 is read as a float, and of a float 15 digits are sure.
    if isinstance(value, float) and (len(read.normalize().as_tuple().digits) > 15 or abs(value) > 1e15):
        raise Misfit(f"{value!r} may have lost digits")
    if isinstance(value, int) and abs(value) > 2**63:
        raise Misfit(f"{value!r} has lost digits")
    with localcontext(prec=400) as context:
        context.Emax, context.Emin = 9999, -9999
        moved = read.scaleb(scale)
        if moved != moved.to_integral_value() or abs(moved) >= 10**DIGITS:
            raise Misfit(f"{value!r} does not fit decimal({scale})")
        return Decimal(int(moved)).scaleb(-scale)


def decimal_sum(values: list[Decimal]) -> Decimal:
    """The exact sum."""
    with localcontext(prec=400):
        return sum(values, Decimal(0))


def within_digits(total: Decimal, values: list[Decimal]) -> Decimal | None:
    """Null for a sum of more than 38 digits."""
    exponent = values[0].as_tuple().exponent
    assert isinstance(exponent, int)
    with localcontext(prec=400):
        return total if abs(total.scaleb(-exponent)) < 10**DIGITS else None


def as_compared(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values as they are compared: a constant beside a date or a decimal is one, by its digits."""
    if isinstance(one, Decimal) and not isinstance(other, Decimal):
        return one, Decimal(str(other))
    if isinstance(one, date) and isinstance(other, str):
        return one, date.fromisoformat(other)
    if isinstance(other, Decimal | date) and not isinstance(one, type(other)):
        return tuple(reversed(as_compared(other, one)))  # type: ignore[return-value]
    return one, other

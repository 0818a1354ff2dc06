"""Casts, and what JSON has at a path, one row at a time."""

import json
import math
import re
from collections.abc import Callable
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

from .oracle_types import DIGITS, Misfit, decimal, other

INT64 = range(-(2**63), 2**63)
ABSENT = object()
MICROSECONDS = 86_400_000_000


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def whole(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """To an int; what raises, or leaves 64 bits, is null."""

    def rounded(value: Any) -> Any:
        if not math.isfinite(value):
            return None
        return result if (result := int(function(value))) in INT64 else None

    return rounded


def plain(value: Any, kind: str) -> Any:
    """As an int, a float, a text or a bool."""
    text = value.strip() if isinstance(value, str) else None
    if isinstance(value, Decimal) and kind != "str":
        return {"int": whole(math.trunc), "float": float, "bool": bool}[kind](value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if kind == "str":
        if isinstance(value, Decimal):
            return format(value, "f")
        names = {math.inf: "Infinity", -math.inf: "-Infinity"}
        if isinstance(value, float):
            return "NaN" if is_nan(value) else names.get(value, repr(value))
        return str(value).lower() if isinstance(value, bool) else str(value)
    if kind == "bool":
        return bool(value) if text is None else {"true": True, "false": False}.get(text.lower())
    if kind == "int":
        if text is not None:
            return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) and int(text) in INT64 else None
        return whole(math.trunc)(value)
    if text is None:
        return float(value)
    special = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    decimal = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
    return special.get(text, float(text) + 0.0 if re.fullmatch(decimal, text) else None)


def cast(value: Any, kind: str) -> Any:
    """As a value of `kind`; None if it is none. Datetimes are told from ints nowhere here."""
    if kind == "json":
        return of_text(value) if isinstance(value, str) else value if is_finite(value) else None
    if isinstance(value, list) and kind.startswith("vector["):
        return (
            [float(item) for item in value] if len(value) == int(kind[7:-1]) and None not in value else None
        )
    if kind.startswith(("list[", "dict[", "vector[")) and isinstance(value, str):
        return extracted(of_text(value), kind)
    if isinstance(value, list):
        return [None if item is None else cast(item, kind[5:-1]) for item in value]
    if isinstance(value, dict):
        return {key: None if item is None else cast(item, kind[10:-1]) for key, item in value.items()}
    if kind.startswith("decimal("):
        return as_decimal(value, int(kind[8:-1]))
    if kind == "date":
        return day(value)
    if kind == "datetime":
        return (value - date(1970, 1, 1)).days * MICROSECONDS if isinstance(value, date) else None
    if kind == "bytes":
        return str(value).encode()
    return value.isoformat() if isinstance(value, date) else plain(value, kind)


def day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value.strip()) if re.fullmatch(r"\d{4}-\d\d-\d\d", value.strip()) else None
    except ValueError:
        return None


def as_decimal(value: Any, scale: int) -> Decimal | None:
    """Rounded half to even; a text has to say it exactly."""
    try:
        if isinstance(value, str):
            return decimal(value.strip(), scale)
        with localcontext(prec=2000) as context:
            context.Emax, context.Emin = 9999, -9999
            rounded = Decimal(value).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_EVEN)
            return rounded if abs(rounded.scaleb(scale)) < 10**DIGITS else None
    except (Misfit, ArithmeticError):
        return None


def is_finite(value: Any) -> bool:
    if isinstance(value, list | dict):
        return all(map(is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def depth(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(depth, parts), default=0)


class Number(float):
    """A number as it is written."""

    text: str


def number(text: str) -> Any:
    made = Number(text)
    made.text = text
    if not math.isfinite(made):
        raise ValueError(text)
    return made


def of_text(text: str) -> Any:
    def refused(name: str) -> Any:
        raise ValueError(name)

    try:
        value = json.loads(
            text,
            parse_constant=refused,
            parse_float=number,
            parse_int=lambda digits: int(digits) if int(digits) in INT64 else number(digits),
        )
    except ValueError:
        return None
    return value if depth(value) <= 32 else None


def json_extract(value: Any, path: str, kind: str = "json") -> Any:
    value = of_text(value) if isinstance(value, str) else value
    for quoted, position, key in re.findall(r'\["([^"]*)"\]|\[(-?\d+)\]|([^.\[\]]+)', path):
        if position:
            place = int(position)
            value = value[place] if isinstance(value, list) and -len(value) <= place < len(value) else None
        else:
            value = value.get(quoted or key) if isinstance(value, dict) else None
    return extracted(value, kind)


def extracted(value: Any, kind: str) -> Any:
    """What events of the type would say; null if it says another."""
    if value is None or kind == "json":
        return value
    if kind == "str":
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)
    if kind.startswith("decimal("):
        digits = getattr(value, "text", str(value) if type(value) in (int, float, str) else None)
        return None if digits is None else as_decimal(digits, int(kind[8:-1]))
    try:
        return other(value, kind, strictly)
    except Misfit:
        try:
            return strictly(value, kind)
        except Misfit:
            return None


def strictly(value: Any, kind: str) -> Any:
    taken = {"int": int, "bool": bool, "str": str}
    if type(value) is taken.get(kind):
        return value
    if kind == "float" and (isinstance(value, int | float) and not isinstance(value, bool)):
        return float(value)
    raise Misfit(f"{value!r} is no {kind}")

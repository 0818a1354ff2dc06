"""Compares what a case says with what a door answers: types and bits, never a tolerance."""

import math
import struct
from datetime import datetime
from decimal import Decimal
from typing import Any

from .oracle import micros, shown, typed

FLOAT_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def expected(value: Any, kind: str) -> Any:
    """A value of an `expect` block as Python has it: hex floats, non-finite floats and times are texts."""
    if value is None:
        return None
    if kind == "datetime":
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    if kind == "float" and isinstance(value, str):
        return FLOAT_WORDS[value] if value in FLOAT_WORDS else float.fromhex(value)
    if kind == "float" and isinstance(value, int):
        return float(value)
    return value if kind in ("", "int", "float", "str", "bool") else shown(typed(value, kind), kind)


def bits(value: Any) -> Any:
    """What two equal values have in common, and two different ones (1 and 1.0, 0.0 and -0.0) do not."""
    if isinstance(value, float):
        return "float", struct.pack(">d", math.nan if math.isnan(value) else value)
    if isinstance(value, datetime):
        return "datetime", micros(value)
    if isinstance(value, list):
        return "list", [bits(item) for item in value]
    if isinstance(value, dict):
        return "dict", {key: bits(item) for key, item in value.items()}
    return type(value).__name__, str(value) if isinstance(value, Decimal) else value


def actual(value: Any, kind: str) -> Any:
    """An answered value; over JSON a time comes as a text."""
    if kind == "datetime" and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value


def differences(wanted: dict[str, Any], got: dict[str, Any], types: dict[str, str]) -> list[str]:
    """One line for each named value that is missing or has other bits."""
    lines = []
    for name, value in wanted.items():
        kind = types.get(name, "")
        if name not in got:
            lines.append(f"{name}: expected {value!r}, but the answer has only {sorted(got)}")
        elif bits(expected(value, kind)) != bits(actual(got[name], kind)):
            lines.append(f"{name}: expected {expected(value, kind)!r}, got {got[name]!r}")
    return lines

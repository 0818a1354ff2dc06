"""Constants as the Python text that makes them again."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any
from zoneinfo import ZoneInfo

CONSTANT_CHARS_MAX = 1_000_000
_DEPTH_MAX = 50


class NotPlain(ValueError):
    """A value that is no constant of plain types; the sentence says what it is."""


def constant_text(value: Any) -> str:
    """The text of a constant: the same text for equal constants, in any process.

    Raises:
        NotPlain: It is not made of plain types only, or its text is longer than `CONSTANT_CHARS_MAX`.
    """
    text = _text(value, 0)
    if len(text) > CONSTANT_CHARS_MAX:
        raise NotPlain(f"a constant of more than {CONSTANT_CHARS_MAX:,} characters; put it into a dataset")
    return text


def _text(value: Any, depth: int) -> str:
    if depth > _DEPTH_MAX:
        raise NotPlain(f"a constant nested more than {_DEPTH_MAX} deep")
    kind = type(value)
    if value is None or value is ... or kind in (bool, int, str, bytes):
        return repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if kind is complex:
        return f"complex({_text(value.real, depth)}, {_text(value.imag, depth)})"
    if kind is list:
        return f"[{', '.join(_text(one, depth + 1) for one in value)}]"
    if kind is tuple:
        return f"({''.join(_text(one, depth + 1) + ', ' for one in value).rstrip(' ')})"
    if kind is dict:
        pairs = (f"{_text(key, depth + 1)}: {_text(one, depth + 1)}" for key, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    if kind in (set, frozenset):
        members = ", ".join(sorted(_text(one, depth + 1) for one in value))
        return f"{kind.__name__}([{members}])"
    if isinstance(value, re.Pattern):
        return f'__import__("re").compile({_text(value.pattern, depth + 1)}, {value.flags})'
    return _time_text(value)


def _time_text(value: Any) -> str:
    kind, module = type(value), '__import__("datetime")'
    if kind is dt.timedelta:
        return f"{module}.timedelta({value.days}, {value.seconds}, {value.microseconds})"
    if kind is dt.date:
        return f"{module}.date({value.year}, {value.month}, {value.day})"
    if kind is dt.timezone:
        offset = value.utcoffset(None)
        return (
            f"{module}.timezone.utc"
            if value == dt.timezone.utc
            else f"{module}.timezone({_time_text(offset)})"
        )
    if isinstance(value, ZoneInfo) and value.key:
        return f'__import__("zoneinfo").ZoneInfo({value.key!r})'
    if kind in (dt.datetime, dt.time):
        zone = "" if value.tzinfo is None else f", tzinfo={_time_text(value.tzinfo)}"
        fold = f", fold={value.fold}" if value.fold else ""
        day = f"{value.year}, {value.month}, {value.day}, " if kind is dt.datetime else ""
        clock = f"{value.hour}, {value.minute}, {value.second}, {value.microsecond}"
        return f"{module}.{kind.__name__}({day}{clock}{zone}{fold})"
    raise NotPlain(f"an object of type {kind.__module__}.{kind.__qualname__}")

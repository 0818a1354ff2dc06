"""Functions of expressions, one row at a time, each from its own description.

Rows have datetimes as microseconds since the epoch, so that a `cast` of one is not told from that of an int: cases
of that go through the other doors only. So do cases of elementary functions whose bits the platform's `math` does
not share.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from .oracle_casts import as_decimal, cast, is_nan, json_extract, whole
from .oracle_lists import LISTS
from .oracle_types import as_compared
from .oracle_vectors import VECTORS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
PARTS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "ms": 1e-3, "us": 1e-6}
INT64 = range(-(2**63), 2**63)
UNBOUNDED = object()


def elementary(function: Callable[..., float]) -> Callable[..., float | None]:
    """Null where Python raises ValueError, infinite where it raises OverflowError."""

    def computed(*args: Any) -> float | None:
        try:
            return function(*map(float, args)) + 0.0
        except OverflowError:
            return math.inf
        except (ValueError, ZeroDivisionError):
            return None

    return computed


def rounded(value: Any, digits: int | None = None) -> Any:
    if digits is None:
        return whole(round)(value)
    result = value if is_nan(value) or math.isinf(value) else round(value, digits)
    return None if isinstance(result, int) and result not in INT64 else result


def power(base: Any, exponent: Any) -> Any:
    if type(base) is int and type(exponent) is int and exponent >= 0:
        return result if (result := base**exponent) in INT64 else None
    return elementary(math.pow)(base, exponent)


def extreme(pick: Callable[..., Any]) -> Callable[..., Any]:
    def picked(*values: Any) -> Any:
        values = alike(values)
        return None if None in values else math.nan if any(map(is_nan, values)) else pick(values)

    return picked


def alike(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Decimals and what stands beside them at the largest scale; null where that leaves 38 digits."""
    if not any(isinstance(v, Decimal) for v in values):
        return values
    scale = max(-int(v.as_tuple().exponent) for v in values if isinstance(v, Decimal))
    return tuple(None if v is None else as_decimal(v if type(v) is int else str(v), scale) for v in values)


def clip(value: Any, low: Any, high: Any) -> Any:
    """A constant None is no bound, and comes as `UNBOUNDED`; a null is unknown."""
    for end, pick in ((low, max), (high, min)):
        if value is None or end is None:
            return None
        value = value if end is UNBOUNDED else extreme(pick)(value, end)
    return value


def member(value: Any, *values: Any) -> bool | None:
    pairs = (as_compared(value, v) for v in values if v is not None)
    return True if any(a == b for a, b in pairs) else None if None in values else False


def chosen(*args: Any) -> Any:
    for condition, value in zip(args[:-1:2], args[1:-1:2], strict=True):
        if condition is True:
            return value
    return args[-1]


def local(us: int, tz: str = "UTC") -> datetime:
    return (EPOCH + us * MICROSECOND).astimezone(ZoneInfo(tz))


def begin(day: datetime, tz: str) -> int:
    """The first instant at which clocks show a midnight or later; without a zone it is what they show."""
    at = (day.replace(tzinfo=UTC) - EPOCH) // MICROSECOND - 16 * 3_600_000_000
    while local(at, tz).replace(tzinfo=None) < day:
        at += 60_000_000
    return at


def truncated(us: Any, unit: str, tz: str = "UTC") -> Any:
    if isinstance(us, date):
        return starts(datetime(us.year, us.month, us.day))[unit].date()
    shown = local(us, tz).replace(tzinfo=None)
    day = datetime(shown.year, shown.month, shown.day)
    if unit in starts(day):
        return begin(starts(day)[unit], tz)
    return us - (shown - day) // MICROSECOND % (int(unit[:-1]) * int(PARTS[unit[-1]]) * 1_000_000)


def starts(day: datetime) -> dict[str, datetime]:
    """The first days of what a day lies in."""
    return {
        "1d": day,
        "1w": day - timedelta(days=day.weekday()),
        "1mo": datetime(day.year, day.month, 1),
        "1q": datetime(day.year, (day.month - 1) // 3 * 3 + 1, 1),
        "1y": datetime(day.year, 1, 1),
    }


def midnight(day: date) -> int:
    return (day - EPOCH.date()).days * 86_400_000_000


def difference(a: Any, b: Any, unit: str = "s") -> float:
    a, b = as_compared(a, b)
    us = (midnight(a) - midnight(b)) if isinstance(a, date) else a - b
    return float(us / round(PARTS[unit] * 1_000_000))


def bucket(value: Any, buckets: int) -> int:
    if isinstance(value, date):
        value = (value - EPOCH.date()).days
    if isinstance(value, Decimal):
        text = format(value, "f")
        value = text.rstrip("0").rstrip(".") if "." in text else text
    data = (
        value
        if isinstance(value, bytes)
        else (
            value.encode()
            if isinstance(value, str)
            else bytes([value])
            if isinstance(value, bool)
            else value.to_bytes(8, "little", signed=True)
        )
    )
    state, bits = 0xCBF29CE484222325, 2**64 - 1
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 & bits
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & bits
    state = (state ^ state >> 27) * 0x94D049BB133111EB & bits
    return (state ^ state >> 31) % buckets


def extracted(text: str, pattern: str, group: int | None = None) -> str | None:
    found = re.search(pattern, text)
    first = min(re.compile(pattern).groups, 1)
    return found[first if group is None else group] if found else None


def haversine(lat1: float, lon1: float, lat2: float, lon2: float) -> float | None:
    if abs(lat1) > 90 or abs(lat2) > 90:
        return None
    (a, b), lon = map(math.radians, (lat1, lat2)), math.radians(lon2) - math.radians(lon1)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(lon / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(min(h, 1)))


def clock(part: Callable[[datetime], Any]) -> Callable[..., Any]:
    return lambda us, tz="UTC": part(local(midnight(us) if isinstance(us, date) else us, tz))


STRICT: dict[str, Callable[..., Any]] = (
    LISTS
    | VECTORS
    | {
        "abs": lambda a: None if abs(a) == 2**63 and type(a) is int else abs(a),
        "sign": lambda a: a if is_nan(a) else type(a)((a > 0) - (a < 0)),
        "min_of": extreme(min),
        "max_of": extreme(max),
        "round": rounded,
        "floor": whole(math.floor),
        "ceil": whole(math.ceil),
        "pow": power,
        "is_nan": is_nan,
        "is_in": member,
        "cast": cast,
        "json_extract": json_extract,
        "lower": str.lower,
        "upper": str.upper,
        "strip": str.strip,
        "len": len,
        "starts_with": str.startswith,
        "ends_with": str.endswith,
        "replace": str.replace,
        "slice": lambda text, start, stop=None: text[start:stop],
        "concat": lambda *texts: "".join(texts),
        "matches": lambda text, pattern: re.search(pattern, text) is not None,
        "extract": extracted,
        "year": clock(lambda t: t.year),
        "month": clock(lambda t: t.month),
        "day": clock(lambda t: t.day),
        "hour": clock(lambda t: t.hour),
        "minute": clock(lambda t: t.minute),
        "second": clock(lambda t: t.second),
        "weekday": clock(datetime.weekday),
        "is_weekend": clock(lambda t: t.weekday() > 4),
        "truncate": truncated,
        "diff": difference,
        "date": lambda us, tz="UTC": local(us, tz).date(),
        "hash_bucket": bucket,
        "haversine_km": haversine,
    }
    | {
        name: elementary(getattr(math, name))
        for name in (
            "sqrt",
            "cbrt",
            "exp",
            "expm1",
            "log",
            "log2",
            "log10",
            "log1p",
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "tanh",
            "atan2",
        )
    }
)

LENIENT: dict[str, Callable[..., Any]] = {
    "clip": clip,
    "coalesce": lambda *values: next((v for v in values if v is not None), None),
    "is_not_null": lambda a: a is not None,
    "when": chosen,
}


def strict(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda first, *rest: None if first is None else function(first, *rest)


def all_strict(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: None if None in args else function(*args)


FUNCTIONS: dict[str, Callable[..., Any]] = LENIENT | {
    name: strict(function) if name == "is_in" else all_strict(function) for name, function in STRICT.items()
}

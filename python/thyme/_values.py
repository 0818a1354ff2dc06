"""Python values as they are written in requests and read from answers (`docs/http.md`)."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from enum import Enum
from typing import Any

from thyme._errors import InvalidDataError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Time = datetime | str | int | float

# The latest number taken for seconds: the year 2999, as in the engine.
_EPOCH_SECONDS_MAX = 32_503_680_000
# `datetime.fromisoformat` reads up to six digits of a fraction; finer than a microsecond is floored.
_FINER_THAN_MICROSECONDS = re.compile(r"(\.\d{6})\d+")


def time_text(moment: datetime) -> str:
    """RFC 3339 with `Z`; a naive datetime is UTC."""
    if moment != moment:
        raise InvalidDataError("NaT is not a time")
    try:
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise InvalidDataError(f"{moment!r} is outside the years 1 to 9999 in UTC") from None
    return aware.isoformat().replace("+00:00", "Z")


def request_time(moment: Time) -> str | int | float:
    """A time as a request carries it: datetimes as text, ISO text and epoch seconds as they are."""
    if isinstance(moment, datetime):
        return time_text(moment)
    moment = _plain(moment)
    if isinstance(moment, date):
        return moment.isoformat()
    if isinstance(moment, bool) or not isinstance(moment, (str, int, float)):
        raise InvalidDataError(
            f"{moment!r} is not a time: expected a datetime, ISO 8601 text, or seconds since the epoch"
        )
    return moment


def to_datetime(moment: Time) -> datetime:
    """An aware datetime in UTC from a datetime, ISO text or epoch seconds."""
    wire = request_time(moment)
    if isinstance(wire, str):
        parsed = parse_time(wire)
        if parsed is None:
            raise InvalidDataError(
                f'"{wire}" is not a time: expected ISO 8601 such as "2026-03-15T10:00:00Z", '
                "or seconds since the epoch"
            )
        return parsed
    if not math.isfinite(wire) or abs(wire) > _EPOCH_SECONDS_MAX:
        raise InvalidDataError(
            f"{wire} cannot be seconds since the epoch; is it in milliseconds or microseconds? "
            "Divide it, or give a datetime"
        )
    # A float means its shortest decimal text, floored to the microsecond, as in the engine.
    micros = (Decimal(repr(wire)) * 1_000_000).to_integral_value(ROUND_FLOOR)
    return EPOCH + timedelta(microseconds=int(micros))


def to_micros(moment: Time) -> int:
    """Microseconds since the epoch."""
    return (to_datetime(moment) - EPOCH) // timedelta(microseconds=1)


def parse_time(text: str) -> datetime | None:
    """An aware datetime from ISO text (no offset: UTC), or None if Python has no such datetime."""
    try:
        moment = datetime.fromisoformat(_FINER_THAN_MICROSECONDS.sub(r"\1", text.strip()))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def to_json(body: Any) -> bytes:
    """JSON, with datetimes as RFC 3339 and non-finite floats as text.

    Raises:
        InvalidDataError: A value has no form in JSON; the sentence names its place.
    """
    try:
        return json.dumps(body, default=_json_value, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError):
        # Rare: something non-finite, or something that cannot be sent. The walk finds out which.
        return json.dumps(_walk(body, ""), allow_nan=False, separators=(",", ":")).encode()


def float_text(value: float) -> str:
    """`"NaN"`, `"Infinity"` or `"-Infinity"`."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def plain_values(values: Iterable[Any]) -> list[Any]:
    """A list of Python values from a list, a NumPy array, or a column of polars, pandas or Arrow."""
    if isinstance(values, (str, bytes, Mapping)):
        raise InvalidDataError(f"expected a list, got {values!r}")
    for name in ("to_pylist", "to_list", "tolist"):
        convert = getattr(values, name, None)
        if convert is not None:
            return list(convert())
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """A NumPy or Arrow scalar as the Python value it holds."""
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "item"):
        return value.item()
    return value.as_py() if hasattr(value, "as_py") else value


def _json_value(value: Any) -> Any:
    """`json.dumps` asks this about what it does not know."""
    if isinstance(value, datetime):
        return None if value != value else time_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, Enum):
        return value.value
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    plain = _plain(value)
    if plain is not value:
        if isinstance(plain, float) and not math.isfinite(plain):
            return float_text(plain)
        return time_text(plain) if isinstance(plain, datetime) else plain
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas
        return None
    raise TypeError(type(value).__name__)


def _walk(value: Any, place: str) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidDataError(f"{place or 'the object'} has the name {key!r}; names are texts")
        return {key: _walk(item, f"{place}.{key}" if place else key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_walk(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return float_text(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    try:
        return _walk(_json_value(value), place)
    except TypeError:
        raise InvalidDataError(
            f"{place or 'the value'} is a {type(value).__name__}, which cannot be sent: "
            "expected int, float, str, bool, datetime, None, or a list or dict of these"
        ) from None


def from_answer(
    values: Mapping[str, Any], types: Mapping[str, str], non_finite: Mapping[str, str] | None
) -> dict[str, Any]:
    """The values of an answer as Python values of their features' types.

    Args:
        values: What the JSON holds.
        types: The type of each feature or field; one that is not named keeps its JSON value.
        non_finite: The features whose null stands for a float that JSON cannot write.
    """
    row = {name: _typed(value, types.get(name)) for name, value in values.items()}
    for name, text in (non_finite or {}).items():
        if name in row:
            row[name] = float(text)
        else:
            _put(row, name, float(text))
    return row


# Where in a value something is, as an answer says it: `emb[3]`, `by_kind["a"]`.
_STEP = re.compile(r"\[(\d+|\"(?:[^\"\\]|\\.)*\")\]")


def _put(row: dict[str, Any], place: str, value: float) -> None:
    """Puts a float where an answer has a null for it, inside a list or a map."""
    name = next((name for name in row if place.startswith(f"{name}[")), None)
    steps = [json.loads(step) for step in _STEP.findall(place[len(name) :])] if name is not None else []
    if name is not None and len(steps) == 1 and isinstance(row[name], (list, dict)):
        row[name][steps[0]] = value


def _typed(value: Any, kind: str | None) -> Any:
    if kind == "datetime" and isinstance(value, str):
        moment = parse_time(value)
        return value if moment is None else moment
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is None or value is None:
        return value
    if kind == "date" and isinstance(value, str):
        return date.fromisoformat(value)
    if kind == "bytes" and isinstance(value, str):
        return base64.b64decode(value)
    if kind.startswith("decimal(") and isinstance(value, str):
        return Decimal(value)
    if isinstance(value, list) and kind.startswith("list["):
        return [_typed(item, kind[5:-1]) for item in value]
    if isinstance(value, list) and kind.startswith("vector["):
        return [_typed(item, "float") for item in value]
    if isinstance(value, dict) and kind.startswith("dict["):
        return {key: _typed(item, kind[10:-1]) for key, item in value.items()}
    return value


def json_ready(value: Any) -> Any:
    """A Python value of a result as JSON can write it: times as RFC 3339, non-finite floats as text."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return float_text(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    try:
        return _json_value(value)
    except TypeError:
        return str(value)


def entity_id(given: Any, names: Sequence[str] | None) -> Any:
    """An entity id as a request carries it: a plain value, or an object for a composite key.

    Args:
        given: A value, a tuple in the order of the key, or a dict by key name.
        names: The key's names in order; None if they are not known, which leaves it to the server.

    Raises:
        InvalidDataError: A tuple of another length than the key, or other names.
    """
    given = _plain(given)
    if names is None:
        return list(given) if isinstance(given, tuple) else given
    wanted = ", ".join(names)
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise InvalidDataError(f"the entity's key is ({wanted}), got ({', '.join(map(str, given))})")
        return given[names[0]] if len(names) == 1 else {name: given[name] for name in names}
    parts = given if isinstance(given, (tuple, list)) else (given,)
    if len(parts) != len(names):
        raise InvalidDataError(f"the entity's key is ({wanted}), got {given!r}")
    return parts[0] if len(names) == 1 else dict(zip(names, parts, strict=True))

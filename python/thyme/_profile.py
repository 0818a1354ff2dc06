"""What is in a file of events: of each column its type, its nulls, how many values, from where to where."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thyme._errors import InvalidDataError
from thyme._files import check_readable, columns_of, format_of, read_slices
from thyme._values import parse_time, to_micros

if TYPE_CHECKING:
    import pyarrow as pa

# What a file source reads.
FORMATS = ("parquet", "csv", "jsonl")
# More values than these are not told apart.
DISTINCT_MAX = 100_000
JSON_SLICE_ROWS = 20_000
INT_MAX = 2**63 - 1

_INT = r"[+-]?(0|[1-9][0-9]{0,17})"
_FLOAT = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
# A number that begins with a zero is a code: it would not come back as it was.
_CODE = re.compile(r"[+-]?0[0-9]+")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


@dataclass
class Column:
    """One column of a file.

    Attributes:
        name: Its name.
        kind: Its type, as definitions call it; None if no field can hold it.
        why_not: Why none can.
        rows: The rows there are.
        nulls: How many of them have no value.
        values: The values there are, up to `DISTINCT_MAX`.
        low: The least value, of numbers and times.
        high: The greatest one.
        disorder: The furthest that a value is below an earlier one.
    """

    name: str
    kind: str | None = None
    why_not: str = ""
    rows: int = 0
    nulls: int = 0
    values: set[Any] = field(default_factory=set)
    low: Any = None
    high: Any = None
    disorder: Any = None

    @property
    def is_unique(self) -> bool:
        """Whether no value comes twice, as far as they were told apart."""
        return min(self.rows - self.nulls, DISTINCT_MAX) <= len(self.values)

    def see(self, values: list[Any]) -> None:
        """Takes more of its values."""
        self.rows += len(values)
        present = [each for each in values if each is not None]
        self.nulls += len(values) - len(present)
        if len(self.values) < DISTINCT_MAX:
            self.values.update(present)
        if self.kind in ("int", "float", "datetime"):
            self._range([each for each in present if each == each])

    def _range(self, present: list[Any]) -> None:
        for value in present:
            if self.high is None or value > self.high:
                self.high = value
            elif value < self.high and (self.disorder is None or self.high - value > self.disorder):
                self.disorder = self.high - value
            if self.low is None or value < self.low:
                self.low = value


@dataclass
class Profile:
    """A file of events.

    Attributes:
        path: The file.
        format: `parquet`, `csv` or `jsonl`.
        rows: How many rows it has.
        columns: Its columns, in order.
    """

    path: Path
    format: str
    rows: int
    columns: list[Column]


def profile(path: str | Path, advance: Callable[[int], None]) -> Profile:
    """Reads a file, all of it, slice by slice.

    Args:
        path: A Parquet, CSV or JSONL file.
        advance: Called with the number of rows that were read.

    Raises:
        InvalidDataError: It is none, cannot be read, or has no rows.
    """
    kind = format_of(path)
    try:
        return _profile(path, kind, advance)
    except UnicodeDecodeError:
        raise InvalidDataError(f'cannot read "{path}" as {kind}: it is not UTF-8 text') from None


def _profile(path: str | Path, kind: str, advance: Callable[[int], None]) -> Profile:
    if kind not in FORMATS:
        raise InvalidDataError(
            f'cannot discover "{path}": a source reads {", ".join(FORMATS)}; write it as one of them'
        )
    check_readable(path)
    if kind == "parquet":
        columns = _parquet(path, advance)
    else:
        # The types of texts and JSON values are known once all of them were seen.
        guesses = _guesses(path, kind, advance)
        columns = [Column(each.name, each.kind, each.why_not) for each in guesses]
        read = {"csv": _csv_rows, "jsonl": _json_rows}[kind]
        for rows in read(path):
            for column in columns:
                column.see([_value(row.get(column.name), column.kind) for row in rows])
            advance(len(rows))
    for column in columns:
        if column.kind == "int" and column.high is not None and column.high > INT_MAX:
            column.kind, column.why_not = None, "it holds numbers beyond 64 bits"
    count = max((each.rows for each in columns), default=0)
    if not count:
        raise InvalidDataError(f'"{path}" holds no rows')
    return Profile(Path(path), kind, count, columns)


def _parquet(path: str | Path, advance: Callable[[int], None]) -> list[Column]:
    columns: list[Column] = []
    for table in read_slices(path, {}):
        if not columns:
            columns = [Column(each.name, *_arrow_kind(each.type)) for each in table.schema]
        for column in columns:
            if column.kind is None:
                column.rows += table.num_rows
            else:
                _see_arrow(column, table[column.name])
        advance(table.num_rows)
    return columns


def _see_arrow(column: Column, values: Any) -> None:
    """`Column.see` for a column of Arrow, without an object for each value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    if column.kind == "datetime":
        zone = "UTC" if getattr(values.type, "tz", None) else None
        values = pc.cast(pc.cast(values, pa.timestamp("us", zone), safe=False), pa.timestamp("us", "UTC"))
    column.rows += len(values)
    column.nulls += values.null_count
    if len(column.values) < DISTINCT_MAX:
        column.values.update(each for each in pc.unique(values).to_pylist() if each is not None)
    if column.kind not in ("int", "float", "datetime") or values.null_count == len(values):
        return
    present = pc.drop_null(values)
    if column.kind == "float":
        present = pc.filter(present, pc.invert(pc.is_nan(present)))
    if len(present) == 0:
        return
    ends = pc.min_max(present).as_py()
    numbers = (pc.cast(present, pa.int64()) if column.kind == "datetime" else present).to_numpy()
    before = np.maximum.accumulate(numbers)
    if column.high is not None:
        before = np.maximum(before, _number(column.high))
    apart = (before - numbers).max().item()
    if apart > 0:
        fallen = timedelta(microseconds=apart) if column.kind == "datetime" else apart
        column.disorder = fallen if column.disorder is None else max(column.disorder, fallen)
    column.low = ends["min"] if column.low is None else min(column.low, ends["min"])
    column.high = ends["max"] if column.high is None else max(column.high, ends["max"])


def _number(value: Any) -> Any:
    return to_micros(value) if isinstance(value, datetime) else value


def _arrow_kind(kind: Any) -> tuple[str | None, str]:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    checks: dict[str, tuple[Callable[[pa.DataType], bool], ...]] = {
        "int": (pa.types.is_integer,),
        "float": (pa.types.is_floating,),
        "bool": (pa.types.is_boolean,),
        "str": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null),
        "datetime": (pa.types.is_timestamp, pa.types.is_date),
    }
    for name, matches in checks.items():
        if any(match(kind) for match in matches):
            return name, ""
    return None, f"a column of type {kind}"


@dataclass
class _Guess:
    """What the values of a column may still be."""

    name: str
    kinds: list[str]
    seen: bool = False
    why_not: str = ""

    @property
    def kind(self) -> str | None:
        if self.why_not:
            return None
        return self.kinds[0] if self.seen and self.kinds else "str"

    def see(self, value: Any) -> None:
        if value is None or self.why_not:
            return
        if isinstance(value, (list, dict)):
            self.why_not = f"it holds {'lists' if isinstance(value, list) else 'objects'}"
            return
        self.seen = True
        fits = _kinds_of_text(value) if isinstance(value, str) else _kinds_of_json(value)
        if not isinstance(value, str) and "str" in self.kinds:
            self.kinds.remove("str")
        self.kinds = [kind for kind in self.kinds if kind in fits]
        if not self.kinds:
            self.why_not = "it holds values of several types"


def _kinds_of_json(value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("bool",)
    if isinstance(value, int):
        return ("int", "float") if abs(value) <= INT_MAX else ("float",)
    return ("float",)


def _kinds_of_text(text: str) -> tuple[str, ...]:
    kinds = ["str"]
    if text in ("true", "false", "True", "False", "TRUE", "FALSE"):
        kinds.append("bool")
    elif _CODE.fullmatch(text) is None:
        if re.fullmatch(_INT, text):
            kinds.append("int")
        if re.fullmatch(_FLOAT, text):
            kinds.append("float")
        if _TIME.fullmatch(text) and parse_time(text) is not None:
            kinds.append("datetime")
    return tuple(kinds)


def _guesses(path: str | Path, kind: str, advance: Callable[[int], None]) -> list[_Guess]:
    # Of what a column may be, the first is taken. A text in JSON is a text or a time, and no number.
    order = ["int", "float", "bool", "datetime", "str"]
    found: dict[str, _Guess] = {}
    if kind == "csv":
        found = {name: _Guess(name, list(order)) for name in columns_of(path)[0]}
    for rows in (_csv_rows if kind == "csv" else _json_rows)(path):
        for row in rows:
            for name, value in row.items():
                guess = found.get(name)
                if guess is None:
                    guess = found[name] = _Guess(name, list(order))
                if kind == "jsonl" and isinstance(value, str):
                    guess.kinds = [each for each in guess.kinds if each in ("datetime", "str")]
                guess.see(value)
        advance(0)
    return list(found.values())


def _csv_rows(path: str | Path) -> Iterator[list[dict[str, Any]]]:
    """The rows as texts; an empty one is None."""
    names = columns_of(path)[0]
    with open(path, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text)
        next(reader, None)
        rows: list[dict[str, Any]] = []
        for row in reader:
            rows.append({name: cell or None for name, cell in zip(names, row, strict=False)})
            if len(rows) == JSON_SLICE_ROWS:
                yield rows
                rows = []
    yield rows


def _json_rows(path: str | Path) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    with open(path, encoding="utf-8-sig") as lines:
        for i, line in enumerate(lines):
            if line.isspace():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InvalidDataError(f'cannot read "{path}" as jsonl: line {i + 1}: {error}') from None
            if not isinstance(row, dict):
                raise InvalidDataError(f'"{path}", line {i + 1}: expected an object')
            rows.append(row)
            if len(rows) == JSON_SLICE_ROWS:
                yield rows
                rows = []
    yield rows


def _value(value: Any, kind: str | None) -> Any:
    """A text or a JSON value as its column's type."""
    if value is None or kind is None:
        return None
    if kind == "datetime":
        return parse_time(value)
    if kind == "bool":
        return value if isinstance(value, bool) else value.lower() == "true"
    return {"int": int, "float": float}.get(kind, str)(value)

"""The contract, read aloud: every value computed naively from the definitions' document and the log.

It shares nothing with the engine it checks: it reads the document (a dict) and rows as they were
pushed, keeps every event in a list and folds the whole list for each read. Sums are fractions.
Times are int microseconds since the epoch in here and aware datetimes outside.
"""

import math
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from .oracle_collections import COLLECTIONS, Counted
from .oracle_decimals import decimals
from .oracle_functions import FUNCTIONS, UNBOUNDED
from .oracle_shape import clock_after, declared, shaped, time_field
from .oracle_statistics import STATISTICS, Given, forgotten
from .oracle_types import Misfit, as_compared, decimal_sum, other, within_digits
from .oracle_windows import members, span

Row = dict[str, Any]
Document = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PYTHON_TYPES = {"int": int, "str": str, "bool": bool}
HOUR = 3_600_000_000


class Refused(Exception):
    """A row or a push that admission does not take."""


class Event(NamedTuple):
    """An admitted row; events compare by (t, position)."""

    t: int
    position: int
    row: Row


def micros(value: Any) -> int:
    """A time as users give it, floored to the microsecond."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | datetime):
        raise Refused(f"{value!r} is not a time")
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) > 32_503_680_000:
            raise Refused(f"{value} cannot be seconds since the epoch")
        return math.floor(Fraction(Decimal(repr(value))) * 1_000_000)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value))
        except ValueError as error:
            raise Refused(f"{value!r} is not a time") from error
    moment: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(microseconds=1)


def as_datetime(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def canonical(value: Any) -> Any:
    """One zero, one NaN."""
    return (math.nan if math.isnan(value) else value + 0.0) if isinstance(value, float) else value


def typed(value: Any, kind: str | None) -> Any:
    """A JSON or Python value as one of type `kind`; an int may stand for a float."""
    if value is None or kind is None:
        return None
    if kind == "datetime":
        return micros(value)
    if kind == "float":
        if value in ("NaN", "Infinity", "-Infinity") or type(value) in (int, float):
            return canonical(float(value))
    elif kind not in PYTHON_TYPES:
        try:
            return other(value, kind, typed)
        except Misfit as error:
            raise Refused(str(error)) from error
    elif type(value) is PYTHON_TYPES[kind] and (kind != "int" or int64(value) is not None):
        return value
    raise Refused(f"expected {kind}, got {value!r}")


def int64(value: Any) -> Any:
    """Null for an int that 64 bits cannot hold."""
    return None if type(value) is int and not -(2**63) <= value < 2**63 else value


# Admission ------------------------------------------------------------------------------------------


def valid(dataset: Document, given: Row) -> Row:
    fields = {f["name"]: f for f in dataset["fields"]}
    unknown = given.keys() - fields.keys()
    if unknown and dataset.get("extra", "forbid") != "ignore":
        raise Refused(f"unknown fields {sorted(unknown)}")
    row = {}
    for name, field in fields.items():
        try:
            row[name] = typed(given.get(name, field.get("default")), field["type"])
        except Refused as error:
            raise Refused(f"{name}: {error}") from error
        if row[name] is None and not field.get("optional"):
            raise Refused(f"{name}: expected {field['type']}, got null")
    return row


class Log:
    """Everything pushed, and `E`: the events that count."""

    def __init__(self, document: Document, stamp: int | None = None) -> None:
        self.datasets = {d["name"]: d for d in document["datasets"]}
        self.events: dict[str, list[Event]] = {name: [] for name in self.datasets}
        self.stamp = time.time_ns() // 1000 if stamp is None else stamp
        self.largest: dict[str, int] = {}
        self.ids: dict[tuple[str, Any], list[int]] = {}
        self.newest: dict[str, float] = {}
        self.forgotten: dict[str, float] = {}
        self.position = 0

    def push(self, name: str, rows: Iterable[Row]) -> None:
        dataset, taken = self.datasets[name], []
        for given in rows:
            try:
                taken.append(valid(dataset, given))
            except Refused:
                if dataset.get("on_error", "refuse") != "skip":
                    raise
        clock = next(f["name"] for f in dataset["fields"] if f.get("role") == "timestamp")
        lateness = span(dataset.get("max_lateness"))
        skew = span(dataset["max_future_skew"]) if dataset.get("max_future_skew") else HOUR
        for row in taken:
            t, self.position = row[clock], self.position + 1
            w = self.largest.get(name, -math.inf)
            is_out = t < w - lateness or self.is_duplicate(dataset, row, t)
            if not is_out:
                self.newest[name] = max(t, self.newest.get(name, t))
            # Ids of events that are older than twice the retention are forgotten.
            old = min(self.newest.get(name, -math.inf), self.stamp) - 2 * span(dataset.get("retention"))
            self.forgotten[name] = max(old, self.forgotten.get(name, old))
            if is_out:
                continue
            if t <= self.stamp + skew:
                self.largest[name] = max(t, self.largest.get(name, t))
            self.events[name].append(Event(t, self.position, row))

    def is_duplicate(self, dataset: Row, row: Row, t: int) -> bool:
        if dataset.get("event_id") is None:
            return False
        known = self.ids.setdefault((dataset["name"], row[dataset["event_id"]]), [])
        forgotten = self.forgotten.get(dataset["name"], -math.inf)
        if any(abs(t - other) < span(dataset.get("retention")) and other > forgotten for other in known):
            return True
        known.append(t)
        return False

    def known(self, name: str, at: int) -> list[Event]:
        """`E` as of `at`, in (t, position) order: nothing of the future, nothing past retention."""
        retention = span(self.datasets[name].get("retention"))
        return sorted((e for e in self.events[name] if at - retention < e.t <= at), key=lambda e: e[:2])


# Expressions ----------------------------------------------------------------------------------------


def strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """Null if any argument is null, or if an int leaves 64 bits."""
    return lambda *args: None if None in args else canonical(int64(function(*args)))


def divisor(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return strict(lambda a, b: None if b == 0 else function(a, b))


def both(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def negated(a: bool | None) -> bool | None:
    return None if a is None else not a


def compared(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return strict(lambda a, b: function(*as_compared(a, b)))


OPERATORS: dict[str, Callable[..., Any]] = {
    "add": strict(decimals("add", lambda a, b: a + b)),
    "sub": strict(decimals("sub", lambda a, b: a - b)),
    "mul": strict(decimals("mul", lambda a, b: a * b)),
    "div": divisor(decimals("div", lambda a, b: a / b)),
    "floor_div": divisor(decimals("floor_div", lambda a, b: a // b)),
    "mod": divisor(decimals("mod", lambda a, b: a % b)),
    "neg": strict(lambda a: a.copy_negate() if isinstance(a, Decimal) else -a),
    "eq": compared(lambda a, b: a == b),
    "ne": compared(lambda a, b: a != b),
    "lt": compared(lambda a, b: a < b),
    "le": compared(lambda a, b: a <= b),
    "gt": compared(lambda a, b: a > b),
    "ge": compared(lambda a, b: a >= b),
    "and": both,
    "or": lambda a, b: negated(both(negated(a), negated(b))),
    "not": negated,
    "is_null": lambda a: a is None,
    "fill_null": lambda a, b: b if a is None else a,
    "between": lambda a, low, high: both(
        compared(lambda a, low: a >= low)(a, low), compared(lambda a, high: a <= high)(a, high)
    ),
    **FUNCTIONS,
}


def evaluate(expr: Document, row: Row) -> Any:
    if "col" in expr:
        return row[expr["col"]]
    if "op" in expr:
        args = [evaluate(a, row) for a in expr["args"]]
        if expr["op"] == "clip":
            args = [
                UNBOUNDED if "lit" in a and a["lit"] is None else v
                for a, v in zip(expr["args"], args, strict=True)
            ]
        return OPERATORS[expr["op"]](*args)
    return expr["lit"] if isinstance(expr["lit"], list | dict) else typed(expr["lit"], expr.get("type"))


# Aggregates: over the non-null values in (t, position) order ----------------------------------------


def rounded(exact: Fraction) -> float:
    try:
        return float(exact) + 0.0
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def total(values: list[Any]) -> Any:
    """The exact sum: an int, a float rounded once, or what the set of non-finite values gives."""
    if not values or type(values[0]) is int:
        return sum(values)
    if isinstance(values[0], Decimal):
        return within_digits(exact_total(values), values)
    special = {v for v in values if math.isinf(v)}
    if any(math.isnan(v) for v in values) or len(special) == 2:
        return math.nan
    return special.pop() if special else rounded(sum(map(Fraction, values), Fraction(0)))


def exact_total(values: list[Any]) -> Any:
    """As `total`, a sum of decimals with however many digits."""
    return decimal_sum(values) if isinstance(values[0], Decimal) else total(values)


def widened(value: Any, kind: str) -> Any:
    """Ints as floats, where floats are declared."""
    if isinstance(value, list):
        return [widened(item, kind[5:-1]) for item in value] if kind.startswith("list[") else value
    if isinstance(value, dict):
        return {k: widened(v, kind[10:-1]) for k, v in value.items()} if kind.startswith("dict[") else value
    return float(value) if kind == "float" and type(value) is int else value


def extreme(pick: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    return lambda values: (
        math.nan if any(type(v) is float and math.isnan(v) for v in values) else pick(values)
    )


def by_element(fold: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    """Of vectors what each of their elements comes to."""
    return lambda values: (
        [fold(list(each)) for each in zip(*values, strict=True)]
        if isinstance(values[0], list)
        else fold(values)
    )


FOLDS: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "sum": by_element(lambda values: int64(total(values))),
    "avg": by_element(
        lambda values: rounded(Fraction(s)) / len(values) if math.isfinite(s := exact_total(values)) else s
    ),
    "min": extreme(min),
    "max": extreme(max),
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}


def aggregated(aggregate: Document, events: list[Event], now: int, reach: float, kind: str) -> Any:
    of, where = aggregate.get("of"), aggregate.get("where")
    counted = [e for e in events if where is None or evaluate(where, e.row) is True]
    counted = [e for e in counted if e.t > now - forgotten(aggregate)]
    parameters = aggregate.get("parameters", {})
    if of and parameters.get("dropnull", True):
        counted = [e for e in counted if e.row[of] is not None]
    if by := parameters.get("by") or parameters.get("key_column"):
        counted = [e for e in counted if e.row[by] is not None]
    values = [e.row[of] if of else e.row for e in counted]
    if values:
        function = aggregate["function"]
        if function in COLLECTIONS:
            rows = [Counted(value, e.row.get(by), e.t) for value, e in zip(values, counted, strict=True)]
            return widened(COLLECTIONS[function](rows, parameters), kind)
        if function in STATISTICS:
            return widened(
                STATISTICS[function](Given(values, [e.t for e in counted], now, reach, aggregate)), kind
            )
        return widened(FOLDS[function](values), kind)
    if aggregate.get("default") is not None:
        return typed(aggregate["default"], kind)
    if aggregate["function"] in ("first_k", "last_k"):
        return []
    if aggregate["function"] == "sum" and kind.startswith("vector["):
        return [0.0] * int(kind[7:-1])
    return typed(0, kind) if aggregate["function"] in ("count", "count_distinct", "sum") else None


# Reads ----------------------------------------------------------------------------------------------


def joined(log: Log, step: Document, event: Event) -> Row | None:
    """What the right row that is latest at the event's own time gives, or None if there is none."""
    names = zip(step["left_on"], step["right_on"], strict=True)
    key = {theirs: event.row[ours] for ours, theirs in names}
    oldest = event.t - span(step.get("within"))
    rights = [
        right
        for right in events_of(log, step["dataset"], event.t)
        if right.t > oldest and all(right.row[name] == value for name, value in key.items())
    ]
    if not rights or is_delete(log.datasets[step["dataset"]], rights[-1].row):
        return None
    return {f["name"]: rights[-1].row[f["field"]] for f in step["fields"]}


def is_delete(dataset: Document, row: Row) -> bool:
    return "deleted" in dataset and row[dataset["deleted"]] is True


def is_repeat(step: Document, event: Event, known: list[Event]) -> bool:
    """Whether one of the rows known at the event's own time is before it, near enough and with the same values."""
    values = [event.row[name] for name in step["by"]]
    oldest = event.t - span(step.get("within"))
    return None not in values and any(
        other[:2] < event[:2] and other.t > oldest and [other.row[name] for name in step["by"]] == values
        for other in known
    )


def has_rows(dataset: Document) -> bool:
    """Whether it is raw, or its pipeline ends in rows."""
    return all(o["op"] != "aggregate" for p in dataset.get("pipelines", ()) for o in p["operators"])


def events_of(log: Log, name: str, at: int) -> list[Event]:
    """The rows of a dataset as of `at`: events, or what a pipeline makes of them."""
    dataset = log.datasets[name]
    if not dataset.get("pipelines"):
        return log.known(name, at)
    rows = []
    for pipeline in dataset["pipelines"]:
        events, _, _ = operated(log, pipeline, at)
        made = ((e, declared(dataset, e.row, e.t)) for e in events)
        rows += [e._replace(row=row) for e, row in made if row is not None]
    return sorted(rows, key=lambda e: e[:2])


def operated(log: Log, pipeline: Document, at: int) -> tuple[list[Event], list[str], list[Document]]:
    """The rows that reach the aggregation as of `at`, or the end, its keys and its aggregates."""
    events = events_of(log, pipeline["inputs"][0], at)
    clock = time_field(log.datasets[pipeline["inputs"][0]])
    keys: list[str] = []
    for index, step in enumerate(pipeline["operators"]):
        if step["op"] == "filter":
            events = [e for e in events if evaluate(step["expr"], e.row) is True]
        elif step["op"] == "assign":
            events = [
                e._replace(row=e.row | {c["name"]: evaluate(c["expr"], e.row) for c in step["columns"]})
                for e in events
            ]
        elif step["op"] == "join":
            found = [(e, joined(log, step, e)) for e in events]
            nulls = {f["name"]: None for f in step["fields"]}
            kept = [(e, row) for e, row in found if row is not None or step.get("how") != "inner"]
            events = [e._replace(row=e.row | (row or nulls)) for e, row in kept]
        elif step["op"] == "union":
            for other in step["others"]:
                added = {**pipeline, "inputs": [other["input"]], "operators": other.get("operators", [])}
                events = sorted([*events, *operated(log, added, at)[0]], key=lambda e: e[:2])
        elif step["op"] == "dedup":
            before = {**pipeline, "operators": pipeline["operators"][:index]}
            events = [e for e in events if not is_repeat(step, e, operated(log, before, e.t)[0])]
        elif step["op"] in ("select", "drop", "rename"):
            events = [e._replace(row=shaped(step, e.row, clock)) for e in events]
            clock = clock_after(step, clock)
        elif step["op"] == "groupby":
            keys = step["keys"]
        elif step["op"] == "aggregate":
            return events, keys, step["aggregates"]
        else:
            raise ValueError(f"pipeline {pipeline['name']} has the operator {step['op']}")
    return events, keys, []


def key_of(dataset: Document, key: Any) -> Row:
    """A key as users give it (a value, a tuple, a list or a dict) by field."""
    fields = [f for f in dataset["fields"] if f.get("role") == "key"]
    if not isinstance(key, dict):
        given = key if isinstance(key, list | tuple) else [key]
        key = dict(zip((f["name"] for f in fields), given, strict=True))
    return {f["name"]: typed(key[f["name"]], f["type"]) for f in fields}


def shown(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "datetime":
        return as_datetime(value)
    if kind == "list[datetime]":
        return [shown(item, "datetime") for item in value]
    if kind == "dict[str, datetime]":
        return {key: shown(item, "datetime") for key, item in value.items()}
    return value


def lookup(log: Log, name: str, key: Any, at: Any) -> Row | None:
    """value(k, T, S) of each output of a derived dataset, or the latest row of a raw one."""
    dataset, now = log.datasets[name], micros(at)
    wanted, row = key_of(dataset, key), None
    types = {f["name"]: f["type"] for f in dataset["fields"]}
    for e in events_of(log, name, now) if has_rows(dataset) else ():
        if all(e.row[k] == v for k, v in wanted.items()):
            row = None if is_delete(dataset, e.row) else e.row
    for pipeline in () if has_rows(dataset) else dataset["pipelines"]:
        events, keys, aggregates = operated(log, pipeline, now)
        mine = [e for e in events if all(e.row[k] == wanted[k] for k in keys)]
        row = dict(wanted)
        retention = span(log.datasets[pipeline["inputs"][0]].get("retention"))
        for a in aggregates:
            window = a.get("window")
            inside = members(window, mine, now)
            reach = math.inf if isinstance(window, dict) else min(span(window), retention)
            row[a["name"]] = aggregated(a, inside, now, reach, types[a["name"]])
    return None if row is None else {f: shown(v, types[f]) for f, v in row.items()}


def newest(log: Log, name: str, key: Any, at: Any) -> int | None:
    """The time of the newest event that a dataset has of an entity."""
    dataset, now = log.datasets[name], micros(at)
    wanted, times = key_of(dataset, key), []
    if has_rows(dataset):
        times = [e.t for e in events_of(log, name, now) if all(e.row[k] == v for k, v in wanted.items())]
    for pipeline in () if has_rows(dataset) else dataset["pipelines"]:
        events, keys, _ = operated(log, pipeline, now)
        times += [e.t for e in events if e.t <= now and all(e.row[k] == wanted[k] for k in keys)]
    return max(times, default=None)

"""A first draft of definitions for a file of events: a dataset, a pipeline and a featureset, as Python.

The draft can be committed as it is. What was guessed is said in comments: somebody who knows the data is to
look at it.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from thyme._errors import InvalidDataError
from thyme._profile import Column, Profile

# What a column of an event time is called, best first; any of these may be a part of its name.
_TIME_NAMES = ("event_time", "timestamp", "event", "time", "ts", "datetime", "created", "at", "date", "when")
_KEY_NAMES = ("user", "customer", "driver", "account", "device", "member", "merchant", "card", "product",
              "store", "station", "sensor", "vehicle", "host", "id", "key", "code", "name")  # fmt: skip
# Seconds since the epoch of these years look like event times.
_SECONDS = (datetime(2000, 1, 1, tzinfo=UTC).timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp())
_MEASURES_MAX = 3
# A column with fewer values than these is a kind, not an amount.
_AMOUNT_VALUES_MIN = 5
_USED = ("dataset", "datetime", "feature", "featureset", "field", "inputs", "pipeline", "source",
         "Avg", "Count", "FileSource", "Max", "Sum", "bool", "float", "int", "str")  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """What the caller knows better than a guess.

    Attributes:
        name: The dataset's name; None is made from the file's.
        key: The key's columns; empty for a guess.
        timestamp: The event time's column; None for a guess.
        with_source: Whether the dataset reads the file itself, or is pushed to.
    """

    name: str | None = None
    key: Sequence[str] = ()
    timestamp: str | None = None
    with_source: bool = True


def draft(profile: Profile, choices: Choices) -> str:
    """The text of a Python module.

    Raises:
        InvalidDataError: No column can be the event time or the key, or one that was named cannot.
    """
    columns = {each.name: each for each in profile.columns}
    for name in (*choices.key, *([choices.timestamp] if choices.timestamp else [])):
        if name not in columns:
            raise InvalidDataError(f'"{profile.path}" has no column "{name}"; it has {", ".join(columns)}')
    time = _time(profile, choices)
    keys = _keys(profile, choices, time)
    name = choices.name or _class_name(profile.path.stem)
    if not name.isidentifier() or keyword.iskeyword(name) or name in _USED:
        raise InvalidDataError(f'"{name}" cannot be the name of a dataset; give another with --name')
    return _Draft(profile, choices, name, time, keys).text()


class _Draft:
    def __init__(
        self, profile: Profile, choices: Choices, name: str, time: Column, keys: list[Column]
    ) -> None:
        self.profile = profile
        self.choices = choices
        self.name = name
        self.time = time
        self.keys = keys
        self.fields = [each for each in profile.columns if _why_no_field(each) is None]
        self.left_out = [each for each in profile.columns if _why_no_field(each) is not None]
        # A key that is called like what is used below would stand for it there.
        taken = {each.name for each in (*keys, time)} | {name, f"{name}Stats", f"{name}Features"}
        self.spelled = {each: f"_{each.lower()}" if each in taken else each for each in _USED}

    def text(self) -> str:
        aggregates = self._aggregates()
        blocks = [self._head(), self._dataset(), self._stats(aggregates), self._features(aggregates)]
        return "\n\n\n".join(blocks) + "\n"

    def _head(self) -> str:
        low, high = (_moment(each) for each in (self.time.low, self.time.high))
        rows = "1 row" if self.profile.rows == 1 else f"{self.profile.rows:,} rows"
        span = f", {low:%Y-%m-%d} to {high:%Y-%m-%d}" if low and high else ""
        latest = f" --at {high.isoformat().replace('+00:00', 'Z')}" if high else ""
        keys = [f"{each.name}=..." for each in self.keys]
        entity = self.keys[0].name.upper() if len(keys) == 1 else ",".join(keys)
        body = self._dataset() + self._stats(self._aggregates())
        made = [each for each in ("Avg", "Count", "Max", "Sum") if f"{self.spelled[each]}(" in body]
        names = [*made, "dataset", "feature", "featureset", "field", "inputs", "pipeline"]
        imports = ["from datetime import datetime", ""]
        if self.choices.with_source:
            imports += [f"from thyme import {', '.join([*names, 'source'])}"]
            imports += ["from thyme.connectors import FileSource"]
        else:
            imports += [f"from thyme import {', '.join(names)}"]
        known = " ".join([*imports, "bool float int str"]).replace(",", "").split()
        aliases = [f"{to} = {name}" for name, to in self.spelled.items() if to != name and name in known]
        return "\n".join(
            [
                f'"""A draft of definitions for {_comment(self.profile.path.name)}: {rows}{span}.',
                "",
                "What was guessed says so; change it, then: thyme commit FILE",
                f"A first look: thyme query {self.name}Features -e {entity}{latest}",
                '"""',
                "",
                "from __future__ import annotations",
                "",
                *imports,
                *(["", *aliases] if aliases else []),
            ]
        )

    def _dataset(self) -> str:
        spelled = self.spelled
        lines = []
        if self.choices.with_source:
            path = _literal(str(self.profile.path.resolve()))
            kind = (
                f", format={_literal(self.profile.format)}"
                if self.profile.path.suffix.lower() == ".pq"
                else ""
            )
            lines += [
                "# The path is as the server sees it; --no-source drafts a dataset that is pushed to.",
                f"@{spelled['source']}({spelled['FileSource']}({path}{kind}))",
            ]
        options = ["index=True"] + (['extra="ignore"'] if self.left_out else [])
        if self.time.disorder:
            apart = self.time.disorder
            apart = apart if isinstance(apart, timedelta) else timedelta(seconds=apart)
            lines.append(
                f"# Rows are up to {_duration(apart)} out of order; none is late without max_lateness=."
            )
        lines += [f"@{spelled['dataset']}({', '.join(options)})", f"class {self.name}:"]
        for column in self.fields:
            lines += self._field(column)
        for column in self.left_out:
            lines.append(f"    # left out: {_comment(column.name)}: {_why_no_field(column)}")
        return "\n".join(lines)

    def _field(self, column: Column) -> list[str]:
        spelled = self.spelled
        kind = spelled[self._kind(column)]
        if column in self.keys:
            guess = [] if self.choices.key else [f"    # The key is a guess: {self._other_keys()}"]
            return [*guess, f"    {column.name}: {kind} = {spelled['field']}(key=True)"]
        if column is self.time:
            guess = (
                [] if self.choices.timestamp else [f"    # The event time is a guess: {self._other_times()}"]
            )
            nulls = (
                [f"    # {column.nulls:,} rows have none and will be dead letters."] if column.nulls else []
            )
            return [*guess, *nulls, f"    {column.name}: {kind} = {spelled['field']}(timestamp=True)"]
        note = f"  # {column.nulls / column.rows:.0%} null" if column.nulls else ""
        return [f"    {column.name}: {kind}{' | None' if column.nulls else ''}{note}"]

    def _kind(self, column: Column) -> str:
        return "datetime" if column is self.time else str(column.kind)

    def _other_keys(self) -> str:
        others = [each.name for each in _key_candidates(self.profile, self.time) if each not in self.keys]
        count = f"{_count(self.keys[0])} values in {self.profile.rows:,} rows"
        return count + (f"; it could also be {', '.join(others[:4])}." if others else ".")

    def _other_times(self) -> str:
        others = [each.name for each in _time_candidates(self.profile) if each is not self.time]
        return (
            f"it could also be {', '.join(others[:4])}." if others else "the only column that looks like one."
        )

    def _windows(self) -> tuple[str, str]:
        low, high = _moment(self.time.low), _moment(self.time.high)
        span = high - low if low and high else timedelta(0)
        if span < timedelta(days=3):
            return "1h", "1d"
        return ("1d", "7d") if span < timedelta(days=60) else ("7d", "30d")

    def _aggregates(self) -> list[tuple[str, str, str]]:
        """The fields of the derived dataset: name, type, and what computes it."""
        short, long = self._windows()
        spelled = self.spelled
        found = [(f"count_{each}", "int", f'{spelled["Count"]}(window="{each}")') for each in (short, long)]
        for column in self._measures():
            of = f'of={_literal(column.name)}, window="{long}"'
            found.append((f"{column.name}_avg_{long}", "float", f"{spelled['Avg']}({of})"))
            if column.low is not None and column.low >= 0:
                found.append((f"{column.name}_sum_{long}", str(column.kind), f"{spelled['Sum']}({of})"))
            found.append((f"{column.name}_max_{long}", str(column.kind), f"{spelled['Max']}({of})"))
        taken = {each.name for each in (*self.keys, self.time)} | set(_USED)
        unique: dict[str, tuple[str, str, str]] = {}
        for name, kind, made in found:
            while name in taken or name in unique:
                name += "_"
            if len(name) <= 128:
                unique[name] = (name, kind, made)
        return list(unique.values())

    def _measures(self) -> list[Column]:
        amounts = [
            each
            for each in self.fields
            if each.kind in ("int", "float")
            and each not in self.keys
            and each is not self.time
            and len(each.values) >= min(_AMOUNT_VALUES_MIN, self.profile.rows)
            and not _looks_like_id(each)
        ]
        return sorted(amounts, key=lambda each: (each.kind != "float", self.fields.index(each)))[
            :_MEASURES_MAX
        ]

    def _stats(self, aggregates: Sequence[tuple[str, str, str]]) -> str:
        spelled = self.spelled
        field = spelled["field"]
        keys = ", ".join(_literal(each.name) for each in self.keys)
        taken = {each.name for each in (*self.keys, self.time)}
        method = "compute" if "compute" not in taken else "computed"
        return "\n".join(
            [
                f"@{spelled['dataset']}",
                f"class {self.name}Stats:",
                *(f"    {each.name}: {spelled[self._kind(each)]} = {field}(key=True)" for each in self.keys),
                f"    {self.time.name}: {spelled['datetime']} = {field}(timestamp=True)",
                *(
                    f"    {name}: {spelled[kind]}{'' if made.startswith(spelled['Count']) else ' | None'}"
                    for name, kind, made in aggregates
                ),
                "",
                f"    @{spelled['pipeline']}(version=1)",
                f"    @{spelled['inputs']}({self.name})",
                f"    def {method}(cls, events):",
                f"        return events.groupby({keys}).aggregate(",
                *(f"            {name}={made}," for name, _, made in aggregates),
                "        )",
            ]
        )

    def _features(self, aggregates: Sequence[tuple[str, str, str]]) -> str:
        spelled = self.spelled
        lines = [f"@{spelled['featureset']}", f"class {self.name}Features:"]
        for number, key in enumerate(self.keys, 1):
            lines.append(f"    {key.name}: {spelled[self._kind(key)]} = {spelled['feature']}(id={number})")
        for number, (name, kind, made) in enumerate(aggregates, len(self.keys) + 1):
            optional = "" if made.startswith(spelled["Count"]) else " | None"
            ref = f"{self.name}Stats.{name}"
            lines.append(
                f"    {name}: {spelled[kind]}{optional} = {spelled['feature']}(id={number}, ref={ref})"
            )
        return "\n".join(lines)


def _time(profile: Profile, choices: Choices) -> Column:
    if choices.timestamp is not None:
        column = next(each for each in profile.columns if each.name == choices.timestamp)
        why = _why_no_field(column)
        if why is None and not _is_time(column):
            why = f"it is {column.kind}, and neither a time nor seconds since the epoch"
            if column.kind == "int" and column.low is not None and column.low > _SECONDS[1]:
                why = "its numbers are too large for seconds; are they milliseconds? Divide them"
        if why is not None:
            raise InvalidDataError(f'the column "{column.name}" cannot be the event time: {why}')
        return column
    candidates = _time_candidates(profile)
    if not candidates:
        raise InvalidDataError(
            f'no column of "{profile.path}" looks like an event time (a time, ISO text, or seconds since the '
            "epoch); name it with --timestamp"
        )
    return candidates[0]


def _time_candidates(profile: Profile) -> list[Column]:
    fit = [
        each
        for each in profile.columns
        if _why_no_field(each) is None
        and _is_time(each)
        and (each.kind == "datetime" or _rank(each.name, _TIME_NAMES) < len(_TIME_NAMES))
    ]
    return sorted(
        fit, key=lambda each: (each.nulls > 0, each.kind != "datetime", _rank(each.name, _TIME_NAMES))
    )


def _is_time(column: Column) -> bool:
    if column.kind == "datetime":
        return column.low is not None
    return (
        column.kind in ("int", "float")
        and column.low is not None
        and _SECONDS[0] <= column.low
        and column.high <= _SECONDS[1]
    )


def _keys(profile: Profile, choices: Choices, time: Column) -> list[Column]:
    if choices.key:
        named = [
            next(each for each in profile.columns if each.name == name) for name in dict.fromkeys(choices.key)
        ]
        for column in named:
            why = _why_no_field(column)
            if column is time:
                why = "it is the event time"
            elif column.nulls:
                why = f"{column.nulls:,} of {column.rows:,} rows have no value"
            if why is not None:
                raise InvalidDataError(f'the column "{column.name}" cannot be the key: {why}')
        return named
    candidates = _key_candidates(profile, time)
    if not candidates:
        raise InvalidDataError(
            f'no column of "{profile.path}" looks like a key (text, or whole numbers, never null); '
            "name it with --key"
        )
    return candidates[:1]


def _key_candidates(profile: Profile, time: Column) -> list[Column]:
    fit = [
        each
        for each in profile.columns
        if each is not time and _why_no_field(each) is None and each.kind in ("str", "int") and not each.nulls
    ]

    def order(column: Column) -> tuple[Any, ...]:
        # An entity has many events: what differs in each row names the event, and what never differs nothing.
        names_events = column.is_unique and profile.rows > 1
        rank = _rank(column.name, _KEY_NAMES)
        is_named = rank < len(_KEY_NAMES)
        return (
            names_events or len(column.values) < 2,
            not is_named,
            column.kind != "str",
            rank,
            -len(column.values),
        )

    return sorted(fit, key=order)


def _looks_like_id(column: Column) -> bool:
    words = _words(column.name)
    return column.kind == "int" and bool({"id", "key", "code", "zip", "year", "month", "day"} & set(words))


def _rank(name: str, known: Sequence[str]) -> int:
    words = _words(name)
    text = "_".join(words)
    return next((i for i, each in enumerate(known) if each in words or each == text), len(known))


def _words(name: str) -> list[str]:
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().replace("-", "_").split("_")


def _why_no_field(column: Column) -> str | None:
    name = column.name
    if column.kind is None:
        return column.why_not
    if not name.isidentifier() or keyword.iskeyword(name) or len(name) > 128 or not name.isascii():
        return "its name is no name of Python; rename it in the file to have it"
    if name == "lookup" or name.startswith("__"):
        return "the name is taken; rename it in the file to have it"
    return None


def _class_name(stem: str) -> str:
    words = [each for each in re.split(r"[^A-Za-z0-9]+", stem) if each]
    name = "".join(each[0].upper() + each[1:] for each in words) or "Event"
    if name.endswith("s") and not name.endswith(("ss", "us", "is")) and len(name) > 3:
        name = name[:-1]
    return name if name[0].isalpha() and name not in _USED else f"Event{name}"


def _moment(value: Any) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromtimestamp(value, UTC)


def _duration(apart: timedelta) -> str:
    seconds = apart.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{-(-seconds // size):.0f}{unit}"
    return f"{max(1, -(-seconds // 1)):.0f}s"


def _count(column: Column) -> str:
    from thyme._profile import DISTINCT_MAX

    return f"{len(column.values):,}" + (" or more" if len(column.values) >= DISTINCT_MAX else "")


def _comment(text: str) -> str:
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown.replace("\\", "/").replace('"', "'")


def _literal(text: str) -> str:
    quoted = repr(text)
    return '"' + quoted[1:-1] + '"' if '"' not in text and quoted.startswith("'") else quoted

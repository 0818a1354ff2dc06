"""The contract, computed naively: a list of events, and a loop over all of them for each value.

`value(k, T, S) = A { f(e) : position(e) <= S, key(e) = k, T - w < t(e) <= T }`. It shares nothing with what it checks.
"""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000


class Output(NamedTuple):
    """An aggregate of rides: of a field, over so many seconds (None: since the beginning)."""

    function: str
    of: str | None
    seconds: int | None


class Feature(NamedTuple):
    """A feature: its id, its names (the present one first), and its output; None: the key, `mean`: the extractor's."""

    id: int
    names: tuple[str, ...]
    output: Output | None


class Event(NamedTuple):
    """An event that counts."""

    t: int
    record: int
    row: int
    fields: Mapping[str, Any]


@dataclass
class Commit:
    """The definitions of a commit: features, among them `mean`, made of those with the ids 2 and 3.

    If it is `tipped`, rides without a tip, or with one below zero, do not count.
    """

    features: list[Feature]
    tipped: bool = False

    def by_name(self) -> dict[str, tuple[Feature, bool]]:
        """The features by all names that answer, and whether the name is an old one."""
        return {name: (each, at > 0) for each in self.features for at, name in enumerate(each.names)}


@dataclass
class Oracle:
    """All events by entity, and the commits."""

    events: dict[str, list[Event]] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def add(self, rows: Iterable[Mapping[str, Any]], record: int) -> None:
        """Events that a push brought."""
        for number, row in enumerate(rows):
            self.place(row, record, number)

    def place(self, row: Mapping[str, Any], record: int, number: int) -> None:
        """An event that is so manieth in its record."""
        self.events.setdefault(row["driver"], []).append(Event(row["at"], record, number, row))

    def value(self, entity: str, output: Output, at: tuple[int, int], *, tipped: bool) -> Any:
        """The value of an aggregate for `(T, S)`."""
        time, record = at
        after = -math.inf if output.seconds is None else time - output.seconds * SECOND_US
        rows = [e for e in self.events.get(entity, ()) if e.record <= record and after < e.t <= time]
        if tipped:
            rows = [e for e in rows if e.fields["tip"] is not None and e.fields["tip"] >= 0]
        given = [e for e in rows if output.of is None or e.fields[output.of] is not None]
        values = [e.fields[output.of] for e in given] if output.of else []
        match output.function:
            case "Count":
                return len(given)
            case "Sum" if output.of == "fare":
                return math.fsum(values) + 0.0
            case "Sum":
                return sum(values)
            case "Max":
                return max(values, default=None)
            case _:
                last = max(given, key=lambda e: (e.t, e.record, e.row), default=None)
                return None if last is None else last.fields[str(output.of)]

    def feature(self, entity: str, feature: Feature, commit: Commit, at: tuple[int, int]) -> Any:
        """The value of a feature under a commit."""
        if feature.names[0] == "mean":
            fares, rides = (
                next(self.feature(entity, each, commit, at) for each in commit.features if each.id == number)
                for number in (3, 2)
            )
            return fares / max(rides, 1)
        if feature.output is None:
            return entity
        return self.value(entity, feature.output, at, tipped=commit.tipped)


def micros(text: str) -> int:
    """A time of an answer."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def record_of(position: str) -> int:
    """The log record that a position names."""
    return int(position.removeprefix("e").partition(".")[0])


def bits(value: Any) -> Any:
    """What two values are compared by: floats by their bits, and an int is no float."""
    return struct.pack(">d", value) if isinstance(value, float) else (type(value), value)


@dataclass
class Verdict:
    """What the answers of a scenario came to."""

    answers: int = 0
    values: int = 0
    faults: list[str] = field(default_factory=list)
    by_commit: dict[str, int] = field(default_factory=dict)
    incomplete: int = 0
    by_old_name: int = 0


class Judge:
    """Compares answers with the oracle."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.verdict = Verdict()
        self.last = (0, 0)

    def take(self, read: Mapping[str, Any]) -> None:
        """One answer."""
        target, answer = read["target"], read["answer"]
        as_of = answer["as_of"]
        at = (micros(as_of["time"]), record_of(as_of["position"]))
        if at[0] < self.last[0] or at[1] < self.last[1]:
            self.fault(f"{at} comes after {self.last}")
        self.last = at
        commit = self.oracle.commits.get(as_of["commit"])
        if commit is None:
            self.fault(f"nobody committed {as_of['commit']}")
            return
        verdict = self.verdict
        verdict.answers += 1
        verdict.by_commit[as_of["commit"]] = verdict.by_commit.get(as_of["commit"], 0) + 1
        if target.get("batch"):
            rows = [dict(zip(answer["features"], row, strict=True)) for row in answer["values"]]
            entities = read["asked"]
        else:
            rows, entities = [answer["features"]], [read["asked"]]
        if len(rows) != len(entities):
            self.fault(f"{len(rows)} rows for {len(entities)} entities")
        meta = answer.get("meta") or {}
        for entity, row in zip(entities, rows, strict=False):
            self.row(entity, row, commit, at, target, meta)

    def row(
        self,
        entity: str,
        row: Mapping[str, Any],
        commit: Commit,
        at: tuple[int, int],
        target: Mapping[str, Any],
        meta: Mapping[str, Any],
    ) -> None:
        """One row of an answer."""
        known = commit.by_name()
        by_id = {each.id: each.names[0] for each in commit.features}
        incomplete = meta.get("incomplete") or {}
        asked = target.get("features") or None
        if asked is None:
            wanted = set(known)
        else:
            wanted = {by_id.get(each, each) if isinstance(each, int) else each for each in asked}
            # An id that is pending goes by the name that it will have.
            wanted = {each for each in wanted if not isinstance(each, int)}
        if not wanted <= set(row) or not set(row) - wanted <= set(incomplete):
            self.fault(f"asked for {sorted(wanted)}, got {sorted(row)}, incomplete {sorted(incomplete)}")
        old = {name for name in row if name in known and known[name][1]}
        if old != set(meta.get("deprecated") or {}):
            self.fault(f"old names {sorted(old)}, deprecated {meta.get('deprecated')}")
        self.verdict.by_old_name += bool(old)
        for name, got in row.items():
            self.verdict.values += 1
            if name in incomplete:
                self.verdict.incomplete += 1
                if got is not None or name in known:
                    self.fault(f"{name} is incomplete, and {got!r}; {sorted(known)} are live")
                continue
            if name not in known:
                self.fault(f"{name}={got!r} is answered and not committed")
                continue
            want = self.oracle.feature(entity, known[name][0], commit, at)
            if bits(got) != bits(want):
                self.fault(f"{name} of {entity} at {at}: got {got!r}, expected {want!r}")

    def fault(self, text: str) -> None:
        """Notes what is wrong."""
        if len(self.verdict.faults) < 20:
            self.verdict.faults.append(text)

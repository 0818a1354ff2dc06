"""The ways a user reaches the engine, each with the same few calls."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from .case_file import Case, Push, Row
from .modules import Definitions
from .oracle import Refused, micros, typed

if TYPE_CHECKING:
    from thyme import ThymeClient
    from thyme.testing import MockContext

PUSH_ROWS_SHARDS = 3
PUSH_ROWS_SHUFFLED = 60
SMALL_CASE_ROWS = 64

Types = dict[str, dict[str, str]]


class Door(Protocol):
    """One way in. Datasets and featuresets go by the names that the case gives them."""

    def push(self, dataset: str, rows: list[Row]) -> None:
        """Pushes rows together."""

    def lookup(self, dataset: str, key: Any, at: Any, *, row_or_none: bool) -> Row | None:
        """A row; an entity without events has its values over nothing, or None with `row_or_none`."""

    def query(self, featureset: str, entity: Any, at: Any, inputs: Row | None) -> Row:
        """The features of one entity."""


class ClientDoor:
    """`thyme.local()` or a `ThymeClient`."""

    def __init__(self, client: "ThymeClient", definitions: Definitions) -> None:
        self.client, self.definitions = client, definitions
        self.position: str | None = None

    def commit(self) -> None:
        self.position = self.client.commit(self.definitions.module)["position"]

    def push(self, dataset: str, rows: list[Row]) -> None:
        self.position = self.client.log(self.definitions.names[dataset], rows) or self.position

    def lookup(self, dataset: str, key: Any, at: Any, *, row_or_none: bool) -> Row | None:
        missing = None if row_or_none or not self.definitions.shapes[dataset].derived else "values"
        name = self.definitions.names[dataset]
        row: Row | None = self.client.lookup(name, key, at, missing=missing, min_position=self.position)
        return row

    def query(self, featureset: str, entity: Any, at: Any, inputs: Row | None) -> Row:
        name = self.definitions.names[featureset]
        result = self.client.query(name, entity, inputs, at, min_position=self.position)
        row: Row = result.to_dict()[0]
        return row


class MockDoor:
    """`MockContext`, which commits a class when it is first used."""

    def __init__(self, context: "MockContext", definitions: Definitions) -> None:
        self.context, self.definitions = context, definitions

    def push(self, dataset: str, rows: list[Row]) -> None:
        self.context.add_events(self.definitions.named(dataset), rows)

    def lookup(self, dataset: str, key: Any, at: Any, *, row_or_none: bool) -> Row | None:
        shape = self.definitions.shapes[dataset]
        if shape.derived or not shape.indexed:
            return self.context.get_aggregates(self.definitions.named(dataset), key, at=at)
        features = self.context.query(self.definitions.everything_of(dataset), key, at=at)
        row = {name: value for name, value in features.items() if name not in shape.keys}
        return None if row_or_none and set(row.values()) == {None} else features

    def query(self, featureset: str, entity: Any, at: Any, inputs: Row | None) -> Row:
        row: Row = self.context.query(self.definitions.named(featureset), entity, inputs=inputs, at=at)
        return row


def types_of(document: dict[str, Any]) -> Types:
    """The type of each field of each dataset and each feature of each featureset."""
    datasets = {d["name"]: {f["name"]: f["type"] for f in d["fields"]} for d in document["datasets"]}
    featuresets = {s["name"]: {f["name"]: f["type"] for f in s["features"]} for s in document["featuresets"]}
    return datasets | featuresets


# Ways to cut what a case pushes ---------------------------------------------------------------------


def cut(pushes: list[Push], size: int) -> Iterator[Push]:
    """The same rows in the same order, `size` at a time."""
    for push in pushes:
        for start in range(0, len(push.rows), size):
            yield Push(push.dataset, push.rows[start : start + size])


def halves(pushes: list[Push]) -> tuple[list[Push], list[Push]]:
    """The first half of the rows and the rest; a push may be cut in two."""
    left = (sum(len(p.rows) for p in pushes) + 1) // 2
    first, rest = [], []
    for push in pushes:
        taken, left = push.rows[:left], max(left - len(push.rows), 0)
        first.append(Push(push.dataset, taken))
        rest.append(Push(push.dataset, push.rows[len(taken) :]))
    return [p for p in first if p.rows], [p for p in rest if p.rows]


def shuffled(case: Case) -> Iterator[Push]:
    """All rows in another order; one a push, or some dozens where there are many."""
    rows = [(push.dataset, row) for push in case.pushes for row in push.rows]
    random = Random(case.name)
    random.shuffle(rows)
    if len(rows) <= SMALL_CASE_ROWS:
        yield from (Push(name, [row]) for name, row in rows)
        return
    size = PUSH_ROWS_SHUFFLED
    for dataset in dict.fromkeys(name for name, _ in rows):
        mine = [row for name, row in rows if name == dataset]
        for start in range(0, len(mine), size):
            yield Push(dataset, mine[start : start + size])


def native(push: Push, fields: dict[str, str]) -> Push:
    """Datetimes and non-finite floats as Python has them; what is invalid stays as it is."""

    def value(name: str, given: Any) -> Any:
        with contextlib.suppress(Refused, ValueError, OverflowError, OSError):
            if fields.get(name) == "datetime" and isinstance(given, str | int | float):
                us = micros(given)
                return datetime.fromtimestamp(us // 10**6, UTC).replace(microsecond=us % 10**6)
            if fields.get(name) == "float" and given in ("NaN", "Infinity", "-Infinity"):
                return typed(given, "float")
        return given

    return Push(push.dataset, [{n: value(n, v) for n, v in row.items()} for row in push.rows])

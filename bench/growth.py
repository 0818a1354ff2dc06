"""Growth: how long an aggregate takes to be live that timelines of many entities answer already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import orders
import pyarrow as pa
from report import Figure, say
from server import BenchError, serving

if TYPE_CHECKING:
    from figures import Bench

SLICE = 200_000
COMMITS = 5


def growth(bench: Bench) -> Iterator[Figure]:
    """Commits of one more aggregate each, under another `where`, over entities of two events."""
    entities = 20_000 if bench.size.name == "quick" else 1_000_000
    say(f"{entities:,} entities of two events")
    with serving(bench.scratch / "growth") as server:
        server.client.commit(_document(0), source=False)
        for first in range(0, entities, SLICE):
            position = server.client.log("Sale", _events(bench, first, min(SLICE, entities - first)))
        server.client.lookup("Live", "user-0", min_position=position)
        commits, reads = [], []
        for number in range(1, COMMITS + 1):
            begun = time.perf_counter()
            answer = server.client.commit(_document(number), source=False)
            commits.append((time.perf_counter() - begun) * 1e3)
            if [c["effect"] for c in answer["changes"] if c["subject"] == "Live.compute"] != ["in_place"]:
                raise BenchError(f"the commit was not in place: {answer['changes']}")
            begun = time.perf_counter()
            row = server.client.lookup("Live", f"user-{number}")
            reads.append((time.perf_counter() - begun) * 1e3)
            if row is None or row[f"more_{number}"] is None:
                raise BenchError(f"the new aggregate has no value: {row}")
    yield Figure(
        "commit_of_an_aggregate",
        round(float(np.median(commits)), 1),
        "ms",
        goal=50,
        detail={
            "entities": entities,
            "slowest_ms": round(max(commits), 1),
            "first_read_ms": round(float(np.median(reads)), 1),
        },
    )


def _events(bench: Bench, first: int, entities: int) -> pa.Table:
    rng = np.random.default_rng([orders.SEED, first])
    users = pa.array([f"user-{first + i}" for i in range(entities)] * 2)
    at = bench.end_us - rng.integers(0, orders.DAYS * orders.DAY_US, 2 * entities)
    amounts = np.round(rng.lognormal(3.0, 1.0, 2 * entities), 2)
    return pa.table({"user": users, "amount": amounts, "at": pa.array(at, orders.TIME)})


def _document(more: int) -> dict[str, Any]:
    def field(name: str, kind: str, role: str = "value") -> dict[str, Any]:
        return {"name": name, "type": kind, "role": role, "optional": role == "value"}

    key, time_field = field("user", "str", "key"), field("at", "datetime", "timestamp")
    aggregates: list[dict[str, Any]] = [
        {"name": "n", "function": "count", "window": "7d"},
        {"name": "sum", "function": "sum", "of": "amount", "window": "7d"},
    ]
    kinds = ["max", "avg", "min", "sum", "last"]
    for number in range(1, more + 1):
        over = {"op": "ge", "args": [{"col": "amount"}, {"lit": number / 100, "type": "float"}]}
        function = kinds[number % len(kinds)]
        aggregates.append({"name": f"more_{number}", "function": function, "of": "amount", "where": over})
    fields = [key, time_field, field("n", "int"), field("sum", "float")]
    fields += [field(f"more_{number}", "float") for number in range(1, more + 1)]
    operators = [{"op": "groupby", "keys": ["user"]}, {"op": "aggregate", "aggregates": aggregates}]
    pipeline = {"name": "compute", "version": 1, "inputs": ["Sale"], "operators": operators}
    return {
        "format": 1,
        "datasets": [
            {"name": "Sale", "fields": [key, field("amount", "float"), time_field]},
            {"name": "Live", "fields": fields, "pipelines": [pipeline]},
        ],
        "featuresets": [],
    }

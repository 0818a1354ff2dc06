"""What state costs: disk an event, memory an entity, and the time to be back after a stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orders
import pyarrow as pa
from report import Figure, say
from server import BenchError, Server, serving

if TYPE_CHECKING:
    from figures import Bench

ROWS_AN_ENTITY = 10


def footprint(bench: Bench) -> Iterator[Figure]:
    """Disk an event and the restart of the largest load; memory an entity that has ten events."""
    # Here rather than above: the module of all figures lists this one.
    from figures import FEATURESET, ingest_once

    name = bench.size.ingests[-1][0]
    work, data = bench.workload(name), bench.scratch / f"footprint-{name}"
    with serving(data) as server:
        server.client.commit(orders.definitions(None))
        ingest_once(server, work, lambda: server.client.log("Order", work.events))
    # A stop makes a checkpoint; what the store still compacts is done after a while of the next run.
    user, known = work.busiest()
    stopped = _restart(data, FEATURESET, user, known, work.end_us)
    with serving(data):
        time.sleep(min(20.0, bench.size.seconds))
    parts = {part: _bytes(data / part) for part in ("log", "store")}
    yield Figure(
        f"disk_per_event_{name}",
        round(sum(parts.values()) / work.rows, 1),
        "bytes",
        goal=60,
        detail={part: round(size / work.rows, 1) for part, size in parts.items()},
    )
    server = Server(data)
    server.kill()
    killed = _restart(data, FEATURESET, user, known, work.end_us)
    yield Figure(
        f"restart_{name}",
        round(max(stopped, killed), 3),
        "s",
        goal=3.0,
        detail={"after_a_stop_s": round(stopped, 3), "after_a_kill_s": round(killed, 3)},
    )
    yield from _memory(bench)


def _restart(data: Path, featureset: str, user: str, known: dict[str, object], end_us: int) -> float:
    """Seconds from the start of the process to the first right answer about the busiest user."""
    begun = time.perf_counter()
    with serving(data) as server:
        seen = dict(server.client.query(featureset, user, at=end_us / 1e6))
        spent = time.perf_counter() - begun
    if any(seen[name] != value for name, value in known.items()):
        raise BenchError(f"after a restart {user} has {seen}, the events say {known}")
    return spent


def _memory(bench: Bench) -> Iterator[Figure]:
    """Resident bytes an entity with ten events, less those of an empty server, and those of one more."""
    entities = 10_000 if bench.size.name == "quick" else 200_000
    say(f"twice {entities:,} entities of {ROWS_AN_ENTITY} events")
    with serving(bench.scratch / "memory") as server:
        idle = server.memory_mib()
        server.client.commit(orders.definitions(None))
        server.client.log("Order", events_of(bench, 0, 1))
        empty = server.memory_mib()
        at_once, at_rest = [], []
        for first in (0, entities):
            server.client.log("Order", events_of(bench, first, entities))
            while (status := server.client.status())["position"] != status["applied"]:
                time.sleep(0.05)
            at_once.append(server.memory_mib())
            # A checkpoint is made after ten seconds.
            time.sleep(bench.size.seconds * 0.75)
            at_rest.append(server.memory_mib())
    yield Figure(
        "memory_per_entity",
        round((at_rest[0] - empty) * 2**20 / entities),
        "bytes",
        goal=600,
        detail={
            "entities": entities,
            "events_each": ROWS_AN_ENTITY,
            "of_one_more": round((at_rest[1] - at_rest[0]) * 2**20 / entities),
            "of_timelines": round(status["memory"]["bytes_timelines"] / (2 * entities)),
            "right_after_the_load": round((at_once[0] - empty) * 2**20 / entities),
            "idle_mib": idle,
            "empty_mib": empty,
            "at_rest_mib": at_rest,
        },
    )


def events_of(bench: Bench, first: int, entities: int) -> pa.Table:
    """Ten events of each of some entities; no two of an entity follow each other."""
    rows = entities * ROWS_AN_ENTITY
    rng = np.random.default_rng([orders.SEED, first])
    ids = np.tile(np.arange(entities), ROWS_AN_ENTITY)
    names = pa.array([f"user-{first + i:08x}" for i in range(entities)]).take(pa.array(ids))
    at = bench.end_us - rng.integers(0, orders.DAYS * orders.DAY_US, rows)
    amounts = np.round(rng.lognormal(3.0, 1.0, rows), 2)
    return pa.table({"user": names, "amount": amounts, "at": pa.array(at, orders.TIME)})


def _bytes(directory: Path) -> int:
    """Bytes on disk of all files below a directory."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())

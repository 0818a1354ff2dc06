"""Backfill: how fast a new pipeline is filled beside a live one, and what reads of that notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import orders
import pyarrow as pa
from growth import growth
from report import Figure
from server import BenchError, Server, serving

if TYPE_CHECKING:
    from figures import Bench

SLICES = 40
FEATURES = 200
QUIET_S = 5.0
POLL_S = 0.1
USERS = 1_000


def backfill(bench: Bench) -> Iterator[Figure]:
    """A commit without a backfill, and one with: its speed beside that of ingest, and reads meanwhile."""
    name = bench.size.ingests[-1][0]
    work = bench.workload(name)
    with serving(bench.scratch / "backfill") as server:
        server.client.commit(_document("Live"), source=False)
        cpu = server.cpu_s()
        ingest_s = _ingest(server, work.events)
        cpu_ingest = server.cpu_s() - cpu
        begun = time.perf_counter()
        server.client.commit(_document("Live", features=FEATURES), source=False)
        live_s = time.perf_counter() - begun
        users = [str(user) for user in work.events["user"].slice(0, USERS).to_pylist()]
        quiet = _p99(server, users, lambda spent: spent < QUIET_S)
        filling = threading.Event()
        filling.set()
        spent: dict[str, float] = {}

        def fill() -> None:
            cpu, began = server.cpu_s(), time.perf_counter()
            answer = server.client.commit(
                _document("Live", "Filled", features=FEATURES), source=False, wait=False
            )
            while answer.get("pending") and server.client.status()["backfill"]:
                time.sleep(POLL_S)
            spent["s"] = time.perf_counter() - began
            spent["cpu"] = server.cpu_s() - cpu
            filling.clear()

        filler = threading.Thread(target=fill)
        filler.start()
        busy = _p99(server, users, lambda _: filling.is_set())
        filler.join()
        _check(server, users[0])
    rows = work.events.num_rows
    yield Figure(f"commit_of_{FEATURES}_features", round(live_s, 3), "s", goal=1.0)
    ingest, filled = rows / ingest_s, rows / spent["s"]
    yield Figure(
        f"backfill_{name}",
        round(filled),
        "events/s",
        goal=round(0.8 * ingest),
        more_is_better=True,
        floor=round(ingest),
        floor_is="the same events pushed over HTTP, until they are read",
        detail={
            # Those of the backfill have the reads in them.
            "cpu_us_per_event": round(spent["cpu"] / rows * 1e6, 2),
            "cpu_us_per_event_pushed": round(cpu_ingest / rows * 1e6, 2),
        },
    )
    yield Figure(
        f"online_p99_during_backfill_{name}",
        round(busy[0], 2),
        "ms",
        goal=round(2 * quiet[0], 2),
        floor=round(quiet[0], 2),
        floor_is="without a backfill",
        detail={"reads": busy[1], "reads_without": quiet[1]},
    )
    yield from growth(bench)


def _ingest(server: Server, events: pa.Table) -> float:
    size = events.num_rows // SLICES + 1
    began = time.perf_counter()
    for number in range(SLICES):
        position = server.client.log("Sale", events.slice(number * size, size))
    server.client.lookup("Live", orders.LAST_USER, min_position=position)
    return time.perf_counter() - began


def _p99(server: Server, users: list[str], goes_on: Any) -> tuple[float, int]:
    """Milliseconds, and how many reads there were."""
    seen: list[float] = []
    began = time.perf_counter()
    with httpx.Client(base_url=f"http://{server.addr}", trust_env=False, timeout=30) as http:
        while goes_on(time.perf_counter() - began) or not seen:
            asked = time.perf_counter()
            user = users[len(seen) % len(users)]
            answer = http.get("/features", params={"entity_type": "Live", "entity_id": user})
            seen.append((time.perf_counter() - asked) * 1e3)
            if answer.status_code != 200:
                raise BenchError(f"a read failed: {answer.text}")
    return float(np.percentile(seen, 99)), len(seen)


def _check(server: Server, user: str) -> None:
    one, other = (server.client.lookup(name, user) for name in ("Live", "Filled"))
    if one is None or one != other:
        raise BenchError(f"{user} has {one} live and {other} filled")


def _document(*derived: str, features: int = 0) -> dict[str, Any]:
    def field(name: str, kind: str, role: str = "value") -> dict[str, Any]:
        return {"name": name, "type": kind, "role": role, "optional": role == "value"}

    raw = {
        "name": "Sale",
        "fields": [
            field("user", "str", "key"),
            field("amount", "float"),
            field("at", "datetime", "timestamp"),
        ],
    }
    outputs = {"n": ("count", "int"), "sum": ("sum", "float"), "max": ("max", "float")}
    datasets = [raw]
    for name in derived:
        aggregates = [
            {"name": out, "function": function, "window": "7d", **({} if out == "n" else {"of": "amount"})}
            for out, (function, _) in outputs.items()
        ]
        operators = [{"op": "groupby", "keys": ["user"]}, {"op": "aggregate", "aggregates": aggregates}]
        fields = [field("user", "str", "key"), field("at", "datetime", "timestamp")]
        fields += [field(out, kind) for out, (_, kind) in outputs.items()]
        pipeline = {"name": "compute", "version": 1, "inputs": ["Sale"], "operators": operators}
        datasets.append({"name": name, "fields": fields, "pipelines": [pipeline]})
    sets = []
    if features:
        names = list(outputs)
        listed = [{"id": 1, "name": "user", "type": "str"}]
        for number in range(features):
            out = names[number % len(names)]
            ref = {"dataset": "Live", "field": out}
            listed.append({"id": number + 2, "name": f"f{number}", "type": outputs[out][1], "ref": ref})  # type: ignore[dict-item]
        sets = [{"name": "Many", "features": listed}]
    return {"format": 1, "datasets": datasets, "featuresets": sets}

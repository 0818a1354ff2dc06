"""Backfill: how fast a new pipeline is filled beside a live one, and what reads of that notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orders
import pyarrow as pa
from growth import growth
from report import Figure
from server import BenchError, Server, run, serving

if TYPE_CHECKING:
    from figures import Bench

SLICES = 40
FEATURES = 200
READS = 20_000
WARMUP = 1_000
POLL_S = 0.02
USERS = 1_000


def backfill(bench: Bench) -> Iterator[Figure]:
    """A commit without a backfill, and two with: the speed of one, and reads beside the other."""
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
        alone = _fill(server, "Live", "Filled")
        targets = bench.scratch / "targets"
        targets.write_text("".join(f"/features?entity_type=Live&entity_id={user}\n" for user in users))
        reads = {"addr": server.addr, "targets": targets, "warmup": WARMUP}
        quiet = [run(bench.binary, "read", **reads, count=READS)]
        filling = bench.scratch / "filling"
        filling.touch()
        found: dict[str, Any] = {}

        def read() -> None:
            # `while` is a word of Python.
            found.update(run(bench.binary, "read", **reads, **{"while": filling}))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            beside = _fill(server, "Live", "Filled", "Again")
        finally:
            filling.unlink()
            reader.join()
        quiet.append(run(bench.binary, "read", **reads, count=READS))
        _check(server, users[0])
    rows = work.events.num_rows
    yield Figure(f"commit_of_{FEATURES}_features", round(live_s, 3), "s", goal=1.0)
    ingest, filled = rows / ingest_s, rows / alone["s"]
    yield Figure(
        f"backfill_{name}",
        round(filled),
        "events/s",
        goal=round(0.8 * ingest),
        more_is_better=True,
        floor=round(ingest),
        floor_is="the same events pushed over HTTP, until they are read",
        detail={
            "cpu_us_per_event": round(alone["cpu"] / rows * 1e6, 2),
            "cpu_us_per_event_pushed": round(cpu_ingest / rows * 1e6, 2),
            "beside_reads": round(rows / beside["s"]),
        },
    )
    without = sum(one["p99_us"] for one in quiet) / len(quiet)
    yield Figure(
        f"online_p99_during_backfill_{name}",
        round(found["p99_us"] / 1e3, 3),
        "ms",
        goal=round(2 * without / 1e3, 3),
        floor=round(without / 1e3, 3),
        floor_is="without a backfill, before and after",
        detail={"during": found, "before": quiet[0], "after": quiet[1]},
    )
    yield from growth(bench)


def _fill(server: Server, *derived: str) -> dict[str, float]:
    """Seconds, and processor seconds of the server, until the last of `derived` is live."""
    cpu, began = server.cpu_s(), time.perf_counter()
    document = _document(*derived, features=FEATURES)
    answer = server.client.commit(document, source=False, wait=False)
    while answer.get("pending") and server.client.status()["backfill"]:
        time.sleep(POLL_S)
    return {"s": time.perf_counter() - began, "cpu": server.cpu_s() - cpu}


def _ingest(server: Server, events: pa.Table) -> float:
    size = events.num_rows // SLICES + 1
    began = time.perf_counter()
    for number in range(SLICES):
        position = server.client.log("Sale", events.slice(number * size, size))
    server.client.lookup("Live", orders.LAST_USER, min_position=position)
    return time.perf_counter() - began


def _check(server: Server, user: str) -> None:
    one, *others = (server.client.lookup(name, user) for name in ("Live", "Filled", "Again"))
    if one is None or any(other != one for other in others):
        raise BenchError(f"{user} has {one} live and {others} filled")


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

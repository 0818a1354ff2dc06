"""Extractors: what a feature costs that is computed of others, in Rust and in CPython."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orders
from report import Figure
from server import BenchError, Server, run, serving

from thyme import extractor, extractor_inputs, extractor_outputs, feature, featureset

if TYPE_CHECKING:
    from figures import Bench

READ_ROUNDS, TRAINING_ROUNDS = 21, 15
WITHOUT, COMPILED, HOSTED = "UserFeatures", "CompiledFeatures", "HostedFeatures"
KINDS = {WITHOUT: "without", COMPILED: "compiled", HOSTED: "cpython"}
WINDOWED = ("count_1h", "count_24h", "sum_24h", "avg_7d")
SLOWER_MAX = 1.1


def extractors(bench: Bench) -> Iterator[Figure]:
    """Reads and training sets of six features, without an extractor, with a compiled one, and with CPython's.

    All of them in turn on one server; the floor is what it takes without.
    """
    size = bench.size.ingests[0][0]
    work = bench.workload(size)
    users = work.sample_users(10_000, 11)
    with serving(bench.scratch / "extractors") as server:
        server.client.commit(_definitions())
        position = server.client.log("Order", work.events)
        server.client.lookup("UserOrders", orders.LAST_USER, min_position=position)
        _check(server, users)
        targets = {
            name: bench.lines(f"{name}.txt", [f"/features?featureset={name}&entity_id={u}" for u in users])
            for name in KINDS
        }
        yield from _online(bench, server, targets)
        count = bench.size.labels[0][1]
        yield from _training(server, work.labels(count, 7), bench.size.labels[0][0])


def _online(bench: Bench, server: Server, targets: dict[str, Path]) -> Iterator[Figure]:
    count = bench.size.reads // READ_ROUNDS
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    cpu = dict.fromkeys(KINDS, 0.0)
    for _ in range(READ_ROUNDS):
        for name in KINDS:
            before = server.cpu_s()
            read = run(
                bench.binary,
                "read",
                addr=server.addr,
                targets=targets[name],
                count=count,
                warmup=count // 10,
            )
            cpu[name] += server.cpu_s() - before
            found[name].append(read["p50_us"])
    # What else a machine does makes a round slower, never faster: the best tell most.
    without = min(found[WITHOUT])
    for name, kind in KINDS.items():
        least = min(found[name])
        yield Figure(
            f"extractor_{kind}_read_p50",
            least,
            "us",
            goal=round(without * SLOWER_MAX, 1) if name == COMPILED else None,
            floor=None if name == WITHOUT else without,
            floor_is=None if name == WITHOUT else "the same read without the extractor's feature",
            detail={
                "rounds": found[name],
                "median": statistics.median(found[name]),
                "reads_per_round": count,
                "server_cpu_us": round(cpu[name] / ((count + count // 10) * READ_ROUNDS) * 1e6, 1),
                **({} if name == WITHOUT else {"times_without": round(least / without, 3)}),
            },
        )


def _training(server: Server, labels: Any, size: str) -> Iterator[Figure]:
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    cpu = dict.fromkeys(KINDS, 0.0)
    for _ in range(TRAINING_ROUNDS):
        for name in KINDS:
            before, start = server.cpu_s(), time.perf_counter()
            server.client.query_offline(name, labels, timestamp_column="label_at").to_arrow()
            found[name].append(time.perf_counter() - start)
            cpu[name] += server.cpu_s() - before
    without = statistics.median(found[WITHOUT])
    for name, kind in KINDS.items():
        median = statistics.median(found[name])
        added = (median - without) / labels.num_rows
        # Of the same round, since a machine that gets slower does so for all.
        times = statistics.median(one / other for one, other in zip(found[name], found[WITHOUT], strict=True))
        yield Figure(
            f"extractor_{kind}_training_{size}",
            round(median, 3),
            "s",
            goal=round(without * SLOWER_MAX, 3) if name == COMPILED else None,
            floor=None if name == WITHOUT else round(without, 3),
            floor_is=None if name == WITHOUT else "the same labels without the extractor's feature",
            detail={
                "runs_s": [round(one, 3) for one in found[name]],
                "server_cpu_s": round(cpu[name] / TRAINING_ROUNDS, 3),
                **(
                    {}
                    if name == WITHOUT
                    else {
                        "added_us_per_label": round(added * 1e6, 2),
                        "times_without": round(times, 3),
                        "times_without_cpu": round(cpu[name] / max(cpu[WITHOUT], 1e-9), 3),
                    }
                ),
            },
        )


def _check(server: Server, users: list[str]) -> None:
    """The extractors run where this says they do, and give the same bits."""
    for name, place in ((COMPILED, "Rust"), (HOSTED, "CPython")):
        (said,) = server.client.inspect(name)["extractors"]
        if said["runs_in"] != place:
            raise BenchError(f"the extractor of {name} runs in {said['runs_in']}")
    at = time.time()
    names = (COMPILED, HOSTED)
    one, other = (server.client.query_batch(name, users[:1000], at=at).to_arrow()["score"] for name in names)
    if one.to_pylist() != other.to_pylist():
        raise BenchError("the extractors in Rust and in CPython give different scores")


def _definitions() -> list[Any]:
    known = orders.definitions(None)
    stats = next(one for one in known if one.__name__ == "UserOrders")

    @featureset
    class CompiledFeatures:
        user: str = feature(id=1)
        count_1h: int = feature(id=2, ref=stats.count_1h)
        count_24h: int = feature(id=3, ref=stats.count_24h)
        sum_24h: float = feature(id=4, ref=stats.sum_24h)
        sum_7d: float = feature(id=5, ref=stats.sum_7d)
        max_7d: float | None = feature(id=6, ref=stats.max_7d)
        avg_7d: float | None = feature(id=7, ref=stats.avg_7d)
        score: float = feature(id=8)

        @extractor
        @extractor_inputs(*WINDOWED)
        @extractor_outputs("score")
        def scored(cls, ts: datetime, count_1h: int, count_24h: int, sum_24h: float, avg_7d: float) -> float:
            if avg_7d is None:
                return 0.0
            mean = sum_24h / count_24h if count_24h else 0.0
            night = 0.5 if ts.hour >= 22 or ts.hour < 6 else 0.0
            return round(min(mean / avg_7d, 10.0) + night + max(count_1h - 3, 0), 3)

    @featureset
    class HostedFeatures:
        user: str = feature(id=1)
        count_1h: int = feature(id=2, ref=stats.count_1h)
        count_24h: int = feature(id=3, ref=stats.count_24h)
        sum_24h: float = feature(id=4, ref=stats.sum_24h)
        sum_7d: float = feature(id=5, ref=stats.sum_7d)
        max_7d: float | None = feature(id=6, ref=stats.max_7d)
        avg_7d: float | None = feature(id=7, ref=stats.avg_7d)
        score: float = feature(id=8)

        @extractor
        @extractor_inputs(*WINDOWED)
        @extractor_outputs("score")
        def scored(cls, ts: datetime, count_1h: int, count_24h: int, sum_24h: float, avg_7d: float) -> float:
            if avg_7d is None:
                return 0.0
            mean = sum_24h / count_24h if count_24h else 0.0
            night = 0.5 if ts.hour >= 22 or ts.hour < 6 else 0.0
            parts = [min(mean / avg_7d, 10.0), night, max(count_1h - 3, 0)]
            return round(parts[0] + parts[1] + parts[2], 3)

    return [*known, CompiledFeatures, HostedFeatures]

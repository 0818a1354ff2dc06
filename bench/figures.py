"""The measurements. Each gives the figures of one question about a running server."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orders
import pyarrow as pa
import pyarrow.parquet as pq
from aggregates import aggregates
from backfill import backfill
from budget import budget
from extracted import extractors
from footprint import footprint
from joined import joins
from report import Figure, say
from served import served
from server import BenchError, Server, floor_server, run, serving
from streamed import streamed
from wide import wide

FEATURESET = "UserFeatures"
POLL_S = 0.005
ROUNDS = 5
PATIENCE_S = 120.0
NDJSON_ROWS = 20_000
NDJSON_CONNECTIONS = 2


@dataclass(frozen=True)
class Size:
    """How large a run is."""

    name: str
    ingests: tuple[tuple[str, int, int, int], ...]  # name, events, users, repetitions
    labels: tuple[tuple[str, int, int], ...]  # name, labels, repetitions
    reads: int
    rates: tuple[tuple[int, int, float], ...]  # events a second, events a push, goal in ms
    seconds: int
    budget: tuple[int, int]  # MiB, entities


FULL = Size(
    "full",
    (("1m", 1_000_000, 10_000, 3), ("10m", 10_000_000, 200_000, 1)),
    (("100k", 100_000, 5), ("1m", 1_000_000, 3)),
    100_000,
    ((20_000, 100, 10.0), (100_000, 500, 5.0)),
    20,
    (256, 14_000_000),
)
QUICK = Size(
    "quick",
    (("100k", 100_000, 1_000, 1),),
    (("10k", 10_000, 3),),
    5_000,
    ((20_000, 100, 10.0),),
    3,
    (128, 50_000),
)


@dataclass
class Bench:
    """One run of the benchmark: its size, where it may write, and the Rust half.

    Attributes:
        loaded: A server with the first size's events, for the questions that only read.
    """

    size: Size
    scratch: Path
    binary: Path
    end_us: int
    _workloads: dict[str, orders.Orders]

    def workload(self, name: str) -> orders.Orders:
        """The events of a size, generated once."""
        if name not in self._workloads:
            rows, users = next((rows, users) for n, rows, users, _ in self.size.ingests if n == name)
            say(f"generating {rows:,} events of {users:,} users")
            self._workloads = {name: orders.generate(rows, users, self.end_us)}
        return self._workloads[name]

    def file(self, name: str) -> Path:
        """The events of a size as a Parquet file, written once."""
        path = self.scratch / f"orders-{name}.parquet"
        return path if path.exists() else self.workload(name).write(path)

    def lines(self, name: str, lines: list[str]) -> Path:
        """Writes a text file for the Rust half."""
        path = self.scratch / name
        path.write_text("\n".join(lines) + "\n")
        return path


def ingest(bench: Bench) -> Iterator[Figure]:
    """Events a second, from a file and by push, until a query sees the last one."""
    for name, _, _, repetitions in bench.size.ingests:
        path, work = bench.file(name), bench.workload(name)
        from_file, pushed = [], []
        for number in range(repetitions):
            with serving(bench.scratch / f"file-{name}-{number}") as server:
                commit = partial(server.client.commit, orders.definitions(path))
                from_file.append(ingest_once(server, work, commit))
            with serving(bench.scratch / f"push-{name}-{number}") as server:
                server.client.commit(orders.definitions(None))
                pushed.append(ingest_once(server, work, partial(server.client.log, "Order", work.events)))
        log_bytes = from_file[0]["log_bytes"]
        decode_s, write_s = _decode_s(path), _write_s(bench.scratch, log_bytes, max(work.rows // 32_768, 1))
        what = "Parquet decoded on one core, then the log's bytes written and synced"
        yield _ingest_figure(f"ingest_file_{name}", work.rows, from_file, decode_s + write_s, what)
        what = "the log's bytes written and synced"
        yield _ingest_figure(f"ingest_push_{name}", work.rows, pushed, write_s, what)
    yield _ingest_ndjson(bench)


def _ingest_ndjson(bench: Bench) -> Figure:
    """The first size again, as newline-delimited JSON over two connections."""
    name, _, _, repetitions = bench.size.ingests[0]
    work = bench.workload(name)
    bodies, runs = work.ndjson(NDJSON_ROWS), []
    for number in range(repetitions):
        with serving(bench.scratch / f"ndjson-{name}-{number}") as server:
            server.client.commit(orders.definitions(None))
            runs.append(ingest_once(server, work, partial(_post_all, server, bodies)))
    parse_s = _parse_s(bodies)
    what = "the same lines parsed by Python's json on one core"
    return _ingest_figure(f"ingest_ndjson_{name}", work.rows, runs, parse_s, what, goal=300_000)


def _post_all(server: Server, bodies: list[bytes]) -> None:
    def post(part: list[bytes]) -> None:
        with httpx.Client(base_url=f"http://{server.addr}", trust_env=False, timeout=60) as http:
            for body in part:
                headers = {"content-type": "application/x-ndjson"}
                answer = http.post("/api/v1/log?dataset=Order", content=body, headers=headers)
                if answer.status_code != 200:
                    raise BenchError(answer.text)

    with ThreadPoolExecutor(NDJSON_CONNECTIONS) as pool:
        list(pool.map(post, [bodies[i::NDJSON_CONNECTIONS] for i in range(NDJSON_CONNECTIONS)]))


def _parse_s(bodies: list[bytes]) -> float:
    start = time.perf_counter()
    for body in bodies:
        for line in body.splitlines():
            json.loads(line)
    return time.perf_counter() - start


def _ingest_figure(
    name: str, rows: int, runs: list[dict[str, Any]], floor_s: float, what: str, goal: float = 800_000
) -> Figure:
    median = sorted(runs, key=lambda run: run["s"])[len(runs) // 2]
    return Figure(
        name,
        round(rows / median["s"]),
        "events/s",
        goal=goal,
        more_is_better=True,
        floor=round(rows / floor_s),
        floor_is=what,
        detail={
            "runs_s": [round(run["s"], 3) for run in runs],
            "server_cpu_s": round(median["cpu_s"], 3),
            "log_bytes_per_event": round(median["log_bytes"] / rows, 1),
            "memory_mib": median["memory_mib"],
        },
    )


def ingest_once(server: Server, work: orders.Orders, start: Callable[[], object]) -> dict[str, Any]:
    """Seconds, and processor seconds of the server, from `start` until the last event is visible."""
    last = work.events["at"][-1].value
    user, known = work.busiest()
    before, begun = server.cpu_s(), time.perf_counter()
    start()
    deadline = time.monotonic() + PATIENCE_S
    while not _is_applied(server.client.status(), work.rows):
        if time.monotonic() > deadline:
            raise BenchError(f"{work.rows} events are not applied: {server.client.status()}")
        time.sleep(POLL_S)
    if server.client.query(FEATURESET, orders.LAST_USER, at=last / 1e6)["count_1h"] != 1:
        raise BenchError("the last event is applied and no query sees it")
    spent = {"s": time.perf_counter() - begun, "cpu_s": server.cpu_s() - before}
    seen = dict(server.client.query(FEATURESET, user, at=work.end_us / 1e6))
    if any(seen[name] != value for name, value in known.items()):
        raise BenchError(f"{user} has {seen}, the events say {known}")
    log = sum(path.stat().st_size for path in (server.data / "log").iterdir())
    return {**spent, "log_bytes": log, "memory_mib": server.memory_mib()}


def _is_applied(status: dict[str, Any], rows: int) -> bool:
    events = next((d["events"] for d in status["datasets"] if d["name"] == "Order"), 0)
    return events >= rows and status["position"] == status["applied"]


def _decode_s(path: Path) -> float:
    start = time.perf_counter()
    for _ in pq.ParquetFile(path).iter_batches(32_768, use_threads=False):
        pass
    return time.perf_counter() - start


def _write_s(where: Path, size: int, writes: int) -> float:
    """Seconds to append `size` bytes in as many synced writes."""
    block = os.urandom(max(size // writes, 1))
    path = where / "floor.bin"
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(writes):
            file.write(block)
            os.fdatasync(file.fileno())
    spent = time.perf_counter() - start
    path.unlink()
    return spent


def _sync_s(where: Path) -> float:
    """Seconds to append 4 KiB to a file and sync it, the median."""
    block, times = os.urandom(4096), []
    path = where / "floor.bin"
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            start = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    path.unlink()
    return statistics.median(times)


def loaded(bench: Bench, name: str) -> Server:
    """A server with the events of the first size, checkpointed or not as it comes."""
    first = bench.size.ingests[0][0]
    file, work = bench.file(first), bench.workload(first)
    server = Server(bench.scratch / f"loaded-{name}")
    try:
        ingest_once(server, work, lambda: server.client.commit(orders.definitions(file)))
    except BaseException:
        server.stop()
        raise
    return server


def training(bench: Bench) -> Iterator[Figure]:
    """Seconds for a training set, from the labels in the client's memory to the result in it.

    As served, the labels' times are spread over the load, so that each has a position of its own.
    """
    work = bench.workload(bench.size.ingests[0][0])
    before = time.time_ns() // 1000
    server = loaded(bench, "training")
    loading = (before, time.time_ns() // 1000)
    try:
        for name, count, repetitions in bench.size.labels:
            labels = work.labels(count, 7)
            yield training_set(server, f"training_{name}", labels, repetitions)
            if count <= 100_000:
                at = work.times_between(*loading, count, 7)
                labels = labels.set_column(1, "label_at", at)
                yield training_set(server, f"training_as_served_{name}", labels, repetitions, as_served=True)
    finally:
        server.stop()


def training_set(
    server: Server, name: str, labels: pa.Table, repetitions: int, *, as_served: bool = False
) -> Figure:
    """The median of some repetitions of one training set."""
    times, cpu = [], server.cpu_s()
    for _ in range(repetitions):
        start = time.perf_counter()
        result = server.client.query_offline(
            FEATURESET, labels, timestamp_column="label_at", as_served=as_served
        )
        rows = result.to_arrow().num_rows
        times.append(time.perf_counter() - start)
        if rows != labels.num_rows:
            raise BenchError(f"{labels.num_rows} labels gave {rows} rows")
    median = statistics.median(times)
    return Figure(
        name,
        round(median, 3),
        "s",
        goal=1.0 if labels.num_rows <= 100_000 and not as_served else None,
        detail={
            "runs_s": [round(t, 3) for t in times],
            "labels_per_s": round(labels.num_rows / median),
            "server_cpu_s": round((server.cpu_s() - cpu) / repetitions, 3),
        },
    )


def online(bench: Bench) -> Iterator[Figure]:
    """Microseconds of one read of one entity over HTTP; the floor is measured in turn with it."""
    work = bench.workload(bench.size.ingests[0][0])
    users = work.sample_users(10_000, 11)
    targets = bench.lines("targets.txt", [f"/features?featureset={FEATURESET}&entity_id={u}" for u in users])
    body, count = bench.scratch / "body.json", bench.size.reads // ROUNDS
    common = {"targets": targets, "count": count, "warmup": count // 10}
    reads, floors = [], []
    server = loaded(bench, "online")
    try:
        run(bench.binary, "read", addr=server.addr, targets=targets, count=1000, warmup=0, save_body=body)
        cpu = server.cpu_s()
        with floor_server(bench.binary, body) as addr:
            for _ in range(ROUNDS):
                reads.append(run(bench.binary, "read", addr=server.addr, **common))
                floors.append(run(bench.binary, "read", addr=addr, **common))
        cpu = (server.cpu_s() - cpu) / ((common["count"] + common["warmup"]) * ROUNDS)
    finally:
        server.stop()
    what = "a bare HTTP server that answers with the same bytes"
    for name, quantile, goal in (("p50", "p50_us", 300), ("p99", "p99_us", 2000)):
        rounds, floor = [found[quantile] for found in reads], [found[quantile] for found in floors]
        yield Figure(
            f"online_read_{name}",
            statistics.median(rounds),
            "us",
            goal,
            floor=statistics.median(floor),
            floor_is=what,
            detail={
                "rounds": rounds,
                "floor_rounds": floor,
                "reads_per_round": count,
                "body_bytes": reads[0]["mean_body_bytes"],
                "server_cpu_us": round(cpu * 1e6, 1),
            },
        )


def freshness(bench: Bench) -> Iterator[Figure]:
    """Milliseconds from an acknowledgement to a query that sees the event, under light and heavy load."""
    work = bench.workload(bench.size.ingests[0][0])
    users = bench.lines("users.txt", work.sample_users(50_000, 13))
    for rate, batch, goal in bench.size.rates:
        yield from _freshness(bench, users, rate, batch, goal)


def _freshness(bench: Bench, users: Path, rate: int, batch: int, goal: float) -> Iterator[Figure]:
    name, sync_ms = f"{rate // 1000}k", round(_sync_s(bench.scratch) * 1e3, 3)
    server = loaded(bench, f"freshness-{name}")
    try:
        cpu = server.cpu_s()
        found = run(
            bench.binary,
            "freshness",
            addr=server.addr,
            users=users,
            rate=rate,
            batch=batch,
            connections=8,
            seconds=bench.size.seconds,
            pause_ms=7,
            run="a",
        )
        cpu = server.cpu_s() - cpu
    finally:
        server.stop()
    visible, push, load = (found[part] for part in ("ack_to_visible", "probe_push", "load_push"))

    def ms(part: dict[str, float], quantile: str) -> float:
        return round(part[f"{quantile}_us"] / 1e3, 3)

    probes = {"probes": visible["count"], "not_in_the_first_answer": found["missed_once"]}
    yield Figure(f"freshness_{name}_p50", ms(visible, "p50"), "ms", detail=probes)
    yield Figure(
        f"freshness_{name}_p99", ms(visible, "p99"), "ms", goal=goal, detail={"max": ms(visible, "max")}
    )
    yield Figure(
        f"freshness_{name}_load",
        found["events_per_s"],
        "events/s",
        goal=rate * 0.97,
        more_is_better=True,
        detail={
            "events_per_push": batch,
            "connections": 8,
            "server_cores_used": round(cpu / (bench.size.seconds + 1), 2),
        },
    )
    yield Figure(
        f"push_{name}_p50",
        ms(push, "p50"),
        "ms",
        goal=3.0,
        floor=sync_ms,
        floor_is="4 KiB appended and synced, the median",
    )
    pushes = {"load_p50": ms(load, "p50"), "load_p99": ms(load, "p99"), "load_max": ms(load, "max")}
    yield Figure(f"push_{name}_p99", ms(push, "p99"), "ms", detail=pushes)


ALL: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "ingest": ingest,
    "training": training,
    "wide": wide,
    "streamed": streamed,
    "online": online,
    "served": served,
    "extractors": extractors,
    "freshness": freshness,
    "footprint": footprint,
    "joins": joins,
    "budget": budget,
    "backfill": backfill,
    "aggregates": aggregates,
}

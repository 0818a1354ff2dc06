"""The measurements. Each gives the figures of one question about a running server."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orders
import pyarrow.parquet as pq
from report import Figure, say
from server import BenchError, Server, floor_server, run, serving

FEATURESET = "UserFeatures"
POLL_S = 0.005
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Size:
    """How large a run is."""

    name: str
    ingests: tuple[tuple[str, int, int], ...]  # name, events, users
    labels: tuple[tuple[str, int, int], ...]  # name, labels, repetitions
    reads: int
    rate: int
    seconds: int


FULL = Size(
    "full",
    (("1m", 1_000_000, 10_000), ("10m", 10_000_000, 200_000)),
    (("100k", 100_000, 5), ("1m", 1_000_000, 3)),
    100_000,
    20_000,
    20,
)
QUICK = Size("quick", (("100k", 100_000, 1_000),), (("10k", 10_000, 3),), 5_000, 20_000, 3)


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
            rows, users = next((rows, users) for n, rows, users in self.size.ingests if n == name)
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
    for name, _, _ in bench.size.ingests:
        path, work = bench.file(name), bench.workload(name)
        with serving(bench.scratch / f"file-{name}") as server:
            spent = _ingest(server, work, lambda s=server, p=path: s.client.commit(orders.definitions(p)))
            yield _ingest_figure(f"ingest_file_{name}", server, work, spent, _decode_s(path))
        with serving(bench.scratch / f"push-{name}") as server:
            server.client.commit(orders.definitions(None))
            spent = _ingest(server, work, lambda s=server, w=work: s.client.log("Order", w.events))
            yield _ingest_figure(f"ingest_push_{name}", server, work, spent, 0.0)


def _ingest(server: Server, work: orders.Orders, start: Callable[[], object]) -> dict[str, float]:
    """Seconds, and processor seconds of the server, from `start` until the last event is visible."""
    before, begun = server.cpu_s(), time.perf_counter()
    start()
    deadline = time.monotonic() + PATIENCE_S
    while not _is_applied(server.client.status(), work.rows):
        if time.monotonic() > deadline:
            raise BenchError(f"{work.rows} events are not applied: {server.client.status()}")
        time.sleep(POLL_S)
    last = work.events["at"][-1].value
    if server.client.query(FEATURESET, orders.LAST_USER, at=last / 1e6)["count_1h"] != 1:
        raise BenchError("the last event is applied and no query sees it")
    return {"s": time.perf_counter() - begun, "cpu_s": server.cpu_s() - before}


def _is_applied(status: dict[str, Any], rows: int) -> bool:
    events = next((d["events"] for d in status["datasets"] if d["name"] == "Order"), 0)
    return events >= rows and status["position"] == status["applied"]


def _ingest_figure(
    name: str, server: Server, work: orders.Orders, spent: dict[str, float], decode_s: float
) -> Figure:
    log = sum(path.stat().st_size for path in (server.data / "log").iterdir())
    write_s = _write_s(server.data.parent, log, max(work.rows // 32_768, 1))
    what = (
        "the log's bytes written and synced"
        if not decode_s
        else "Parquet decoded, the log's bytes written and synced"
    )
    return Figure(
        name,
        round(work.rows / spent["s"]),
        "events/s",
        goal=300_000,
        more_is_better=True,
        floor=round(work.rows / (decode_s + write_s)),
        floor_is=what,
        detail={
            "seconds": round(spent["s"], 3),
            "server_cpu_s": round(spent["cpu_s"], 3),
            "decode_s": round(decode_s, 3),
            "write_s": round(write_s, 3),
            "log_bytes_per_event": round(log / work.rows, 1),
            "memory_mib": server.memory_mib(),
        },
    )


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


def loaded(bench: Bench, name: str) -> Server:
    """A server with the events of the first size, checkpointed or not as it comes."""
    first = bench.size.ingests[0][0]
    file, work = bench.file(first), bench.workload(first)
    server = Server(bench.scratch / f"loaded-{name}")
    try:
        _ingest(server, work, lambda: server.client.commit(orders.definitions(file)))
    except BaseException:
        server.stop()
        raise
    return server


def training(bench: Bench) -> Iterator[Figure]:
    """Seconds for a training set, from the labels in the client's memory to the result in it."""
    work = bench.workload(bench.size.ingests[0][0])
    server = loaded(bench, "training")
    try:
        for name, count, repetitions in bench.size.labels:
            labels, times = work.labels(count, 7), []
            cpu = server.cpu_s()
            for _ in range(repetitions):
                start = time.perf_counter()
                result = server.client.query_offline(FEATURESET, labels, timestamp_column="label_at")
                rows = result.to_arrow().num_rows
                times.append(time.perf_counter() - start)
                if rows != count:
                    raise BenchError(f"{count} labels gave {rows} rows")
            median = statistics.median(times)
            yield Figure(
                f"training_{name}",
                round(median, 3),
                "s",
                goal=1.0 if count <= 100_000 else None,
                detail={
                    "runs_s": [round(t, 3) for t in times],
                    "labels_per_s": round(count / median),
                    "server_cpu_s": round((server.cpu_s() - cpu) / repetitions, 3),
                },
            )
    finally:
        server.stop()


def online(bench: Bench) -> Iterator[Figure]:
    """Microseconds of one read of one entity over HTTP."""
    work = bench.workload(bench.size.ingests[0][0])
    users = work.sample_users(10_000, 11)
    targets = bench.lines("targets.txt", [f"/features?featureset={FEATURESET}&entity_id={u}" for u in users])
    body = bench.scratch / "body.json"
    common = {"targets": targets, "count": bench.size.reads, "warmup": bench.size.reads // 10}
    server = loaded(bench, "online")
    try:
        cpu = server.cpu_s()
        found = run(bench.binary, "read", addr=server.addr, save_body=body, **common)
        cpu = server.cpu_s() - cpu
    finally:
        server.stop()
    with floor_server(bench.binary, body) as addr:
        floor = run(bench.binary, "read", addr=addr, **common)
    what = "a bare HTTP server that answers with the same bytes"
    detail = {**found, "server_cpu_us": round(cpu * 1e6 / (bench.size.reads * 1.1), 1)}
    yield Figure(
        "online_read_p50", found["p50_us"], "us", 300, floor=floor["p50_us"], floor_is=what, detail=detail
    )
    yield Figure(
        "online_read_p99", found["p99_us"], "us", 2000, floor=floor["p99_us"], floor_is=what, detail=floor
    )


def freshness(bench: Bench) -> Iterator[Figure]:
    """Milliseconds from an event's acknowledgement to a query that sees it, under load."""
    work = bench.workload(bench.size.ingests[0][0])
    users = bench.lines("users.txt", work.sample_users(50_000, 13))
    batch = 100
    server = loaded(bench, "freshness")
    try:
        cpu = server.cpu_s()
        found = run(
            bench.binary,
            "freshness",
            addr=server.addr,
            users=users,
            rate=bench.size.rate,
            batch=batch,
            connections=8,
            seconds=bench.size.seconds,
            pause_ms=7,
            run="a",
        )
        cpu = server.cpu_s() - cpu
    finally:
        server.stop()
    pushes = round(bench.size.rate / batch)
    sync_ms = _write_s(bench.scratch, 4096 * 500, 500) / 500 * 1e3
    ms = {
        name: {k: round(v / 1e3, 3) if k.endswith("us") else v for k, v in part.items()}
        for name, part in found.items()
        if isinstance(part, dict)
    }
    visible, push = ms["ack_to_visible"], ms["probe_push"]
    yield Figure(
        "freshness_p50",
        visible["p50_us"],
        "ms",
        detail={"polled_again": found["missed_once"], "probes": visible["count"]},
    )
    yield Figure("freshness_p99", visible["p99_us"], "ms", goal=10, detail={"max": visible["max_us"]})
    yield Figure(
        "freshness_load",
        found["events_per_s"],
        "events/s",
        goal=bench.size.rate * 0.97,
        more_is_better=True,
        detail={
            "pushes_per_s": pushes,
            "events_per_push": batch,
            "connections": 8,
            "server_cores_used": round(cpu / (bench.size.seconds + 1), 2),
        },
    )
    yield Figure(
        "push_p50",
        push["p50_us"],
        "ms",
        floor=round(sync_ms, 3),
        floor_is="4 KiB written and synced, the mean",
    )
    yield Figure(
        "push_p99",
        push["p99_us"],
        "ms",
        detail={
            "load_p50": ms["load_push"]["p50_us"],
            "load_p99": ms["load_push"]["p99_us"],
            "load_since_due_p99": ms["load_push_since_due"]["p99_us"],
        },
    )


ALL: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "ingest": ingest,
    "training": training,
    "online": online,
    "freshness": freshness,
}

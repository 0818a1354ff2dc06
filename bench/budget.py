"""State that is many times the memory that a server may take: how much it takes, and how fast it is.

python bench/run.py --only budget
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orders
import pyarrow as pa
from report import Figure, say
from server import BenchError, Server, run

from thyme import Count, Sum, dataset, field, inputs, pipeline

if TYPE_CHECKING:
    from figures import Bench

ROWS_AN_ENTITY = 10
ENTITIES_A_PUSH = 10_000
SAMPLED = 200


class Peak:
    """The most resident memory that a process had since the last question, looked at every 20 ms."""

    def __init__(self, server: Server) -> None:
        self.server, self._most, self._stop = server, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            try:
                self._most = max(self._most, self.server.memory_mib())
            except OSError:
                return

    def take(self) -> float:
        """The peak in MiB; the next begins."""
        most, self._most = self._most, 0.0
        return most

    def end(self) -> None:
        """Stops looking."""
        self._stop.set()
        self._thread.join()


class State:
    """The events of many entities, made again whenever they are needed."""

    def __init__(self, entities: int, end_us: int) -> None:
        self.entities, self.end_us = entities, end_us

    def names(self, ids: np.ndarray) -> pa.Array:
        """The names of entities."""
        return pa.array([f"user-{i:08x}" for i in (ids * 2_654_435_761 % 2**32).tolist()])

    def events(self, push: int) -> pa.Table:
        """Ten events of each of the entities of one push."""
        rng = np.random.default_rng([orders.SEED, push])
        first = push * ENTITIES_A_PUSH
        ids = np.arange(first, min(first + ENTITIES_A_PUSH, self.entities))
        rows = len(ids) * ROWS_AN_ENTITY
        at = self.end_us - rng.integers(0, 7 * orders.DAY_US, rows)
        amounts = np.round(rng.lognormal(3.0, 1.0, rows), 2)
        names = self.names(ids).take(pa.array(np.tile(np.arange(len(ids)), ROWS_AN_ENTITY)))
        return pa.table({"user": names, "amount": amounts, "at": pa.array(at, orders.TIME)})

    def pushes(self) -> range:
        """The numbers of all pushes."""
        return range(math.ceil(self.entities / ENTITIES_A_PUSH))

    def check(self, server: Server, featureset: str, ids: list[int]) -> None:
        """Compares sums with those of the events, bit for bit."""
        for push in sorted({i // ENTITIES_A_PUSH for i in ids}):
            events = self.events(push)
            names, amounts = events["user"].to_numpy(), events["amount"].to_numpy()
            for i in (i for i in ids if i // ENTITIES_A_PUSH == push):
                name = self.names(np.array([i]))[0].as_py()
                seen = server.client.query(featureset, name, at=self.end_us / 1e6)["sum_7d"]
                known = math.fsum(amounts[names == name])
                if seen != known:
                    raise BenchError(f"{name} has a sum of {seen}, the events say {known}")


@contextmanager
def limited(data: Path, memory: str) -> Iterator[tuple[Server, Peak]]:
    """A server that may take so much memory, and the watch over it."""
    server = Server(data, memory)
    peak = Peak(server)
    try:
        yield server, peak
    finally:
        peak.end()
        server.stop()


def applied(server: Server) -> dict[str, Any]:
    """Waits until all is applied; gives the status."""
    while (status := server.client.status())["position"] != status["applied"]:
        time.sleep(0.05)
    return status


def more() -> list[Any]:
    """A pipeline that has to be filled from the log."""

    committed = orders.definitions(None)
    order = committed[0]

    @dataset(version=1)
    class UserTotals:
        user: str = field(key=True)
        at: datetime = field(timestamp=True)
        count: int
        total: float

        @pipeline(version=1)
        @inputs(order)
        def by_user(cls, found: Any) -> Any:
            return found.groupby("user").aggregate(count=Count(window=""), total=Sum(of="amount", window=""))

    return [*committed, UserTotals]


def budget(bench: Bench) -> Iterator[Figure]:
    """Peaks of resident memory in proportion to what was allowed; the speed of what is in memory and not."""
    allowed, entities = bench.size.budget
    rng = np.random.default_rng(7)
    state = State(entities, bench.end_us)
    sampled = sorted(rng.integers(0, entities, SAMPLED).tolist())
    data, memory = bench.scratch / "budget", f"{allowed}MiB"

    def peak_figure(name: str, most: float, **detail: Any) -> Figure:
        return Figure(
            f"budget_peak_{name}", round(most / allowed, 2), "of the memory allowed", goal=1.5, detail=detail
        )

    say(f"{entities:,} entities of {ROWS_AN_ENTITY} events in {memory}")
    with limited(data, memory) as (server, peak):
        server.client.commit(orders.definitions(None))
        begun = time.perf_counter()
        for push in state.pushes():
            server.client.log("Order", state.events(push))
        status = applied(server)
        spent = time.perf_counter() - begun
        room = status["memory"]
        times = (
            room["entities"]
            * (room["bytes_timelines"] / max(room["entities_in_memory"], 1))
            / (allowed << 20)
        )
        say(str(room))
        detail = {
            "entities": entities,
            "times_the_memory": round(times, 1),
            "events_per_s": round(entities * ROWS_AN_ENTITY / spent),
        }
        yield peak_figure("filling", peak.take(), **detail)
        time.sleep(12)
        yield peak_figure("at_rest", peak.take())
        state.check(server, "UserFeatures", sampled)
        yield from _reads(bench, server, state, rng)
        peak.take()
        yield from _updates(server, state, rng)
        yield peak_figure("updating", peak.take())
        begun = time.perf_counter()
        labels = min(entities, 1_000_000)
        ids = np.sort(rng.choice(entities, labels, replace=False))
        for part in np.array_split(ids, max(labels // 250_000, 1)):
            at = pa.array(np.full(len(part), state.end_us), orders.TIME)
            table = pa.table({"user": state.names(part), "at": at})
            server.client.query_offline("UserFeatures", table, entity_column="user", timestamp_column="at")
        yield peak_figure(
            "training", peak.take(), labels=labels, seconds=round(time.perf_counter() - begun, 1)
        )
        begun = time.perf_counter()
        server.client.commit(more())
        applied(server)
        yield peak_figure("backfill", peak.take(), seconds=round(time.perf_counter() - begun, 1))
    begun = time.perf_counter()
    with limited(data, memory) as (server, peak):
        state.check(server, "UserFeatures", sampled[:1])
        spent = time.perf_counter() - begun
        state.check(server, "UserFeatures", sampled)
        time.sleep(5)
        yield peak_figure("restart", peak.take(), first_right_answer_s=round(spent, 2))


def _reads(bench: Bench, server: Server, state: State, rng: np.random.Generator) -> Iterator[Figure]:
    for name, entities, goal in (("hot", 1_000, 2_000), ("cold", state.entities, None)):
        ids = rng.integers(0, entities, 20_000)
        targets = bench.lines(
            f"{name}.txt",
            [f"/features?featureset=UserFeatures&entity_id={n}" for n in state.names(ids).to_pylist()],
        )
        warmup = 20_000 if name == "hot" else 0
        if warmup:
            run(bench.binary, "read", addr=server.addr, targets=targets, count=warmup, warmup=0)
        found = run(bench.binary, "read", addr=server.addr, targets=targets, count=20_000, warmup=0)
        yield Figure(f"budget_read_{name}_p50", found["p50_us"], "us")
        yield Figure(f"budget_read_{name}_p99", found["p99_us"], "us", goal)


def _updates(server: Server, state: State, rng: np.random.Generator) -> Iterator[Figure]:
    count = min(200_000, state.entities)
    ids = rng.choice(state.entities, count, replace=False)
    # After the time that checks are as of.
    at = np.full(count, state.end_us + 1)
    table = pa.table({"user": state.names(ids), "amount": np.ones(count), "at": pa.array(at, orders.TIME)})
    begun = time.perf_counter()
    server.client.log("Order", table)
    status = applied(server)
    spent = time.perf_counter() - begun
    yield Figure(
        "budget_cold_updates",
        round(count / spent),
        "events/s",
        goal=50_000,
        more_is_better=True,
        detail={"loads": status["memory"]["loads"]},
    )

"""Joins: what it costs to look each order's user up in the profiles of that time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import orders
import pyarrow as pa
import pyarrow.compute as pc
from report import Figure
from server import BenchError, Server, serving

from thyme import Count, Last, Sum, col, dataset, field, inputs, pipeline

if TYPE_CHECKING:
    from figures import Bench

SLICES = 20
ORDERS_A_PROFILE = 20
SEED = 7


def joins(bench: Bench) -> Iterator[Figure]:
    """Events a second of both sides, without a join, with one, and with one whose other side comes last."""
    name, _, _, repetitions = bench.size.ingests[0]
    work = bench.workload(name)
    profiles = _profiles(work)
    few = work.events.slice(0, work.rows // 10)
    in_turn = _in_turn(work.events, profiles)
    for what, events, pushes in (
        ("without", work.events, in_turn),
        ("in_order", work.events, in_turn),
        # Each profile derives all later orders of its user again, up to the next one that is known.
        ("other_side_last", few, [("Order", few), ("Profile", profiles)]),
    ):
        joined = what != "without"
        runs = []
        for number in range(repetitions):
            with serving(bench.scratch / f"join-{what}-{number}") as server:
                server.client.commit(_definitions(joined=joined))
                runs.append(_ingest(server, pushes))
                if joined:
                    _check(server, work, events, profiles)
        rows = events.num_rows + profiles.num_rows
        seconds = statistics.median(run["s"] for run in runs)
        yield Figure(
            f"ingest_join_{what}_{name}",
            round(rows / seconds),
            "events/s",
            goal=200_000 if what == "in_order" else None,
            more_is_better=True,
            detail={
                "orders": events.num_rows,
                "profiles": profiles.num_rows,
                "cpu_us_per_event": round(statistics.median(r["cpu_s"] for r in runs) / rows * 1e6, 2),
                "memory_mib": statistics.median(run["memory_mib"] for run in runs),
                "runs_s": [round(run["s"], 3) for run in runs],
            },
        )


def _ingest(server: Server, pushes: list[tuple[str, pa.Table]]) -> dict[str, float]:
    before, begun = server.cpu_s(), time.perf_counter()
    for name, rows in pushes:
        position = server.client.log(name, rows)
    server.client.lookup("UserOrders", orders.LAST_USER, min_position=position)
    spent, cpu = time.perf_counter() - begun, server.cpu_s() - before
    return {"s": spent, "cpu_s": cpu, "memory_mib": server.memory_mib()}


def _check(server: Server, work: orders.Orders, events: pa.Table, profiles: pa.Table) -> None:
    """Compares the busiest user's values with what NumPy makes of the events, bit for bit."""
    user, _ = work.busiest()
    own, rows = (table.filter(pc.equal(table["user"], user)) for table in (events, profiles))
    since, times = (_us(table) for table in (rows, own))
    found = np.searchsorted(since, times, side="right") - 1
    tiers = np.append(rows["tier"].to_numpy(), -1)[found]
    inside = (tiers == 1) & (times > work.end_us - 7 * orders.DAY_US)
    wanted = {"gold_7d": int(inside.sum()), "gold_sum_7d": math.fsum(own["amount"].to_numpy()[inside])}
    seen = server.client.lookup("UserOrders", user, work.end_us / 1e6)
    if seen is None or any(seen[name] != value for name, value in wanted.items()):
        raise BenchError(f"{user} has {seen}, the events say {wanted}")


def _us(table: pa.Table) -> Any:
    return table["at"].cast(pa.int64()).to_numpy()


def _profiles(work: orders.Orders) -> pa.Table:
    """Rows of random users over the 30 days, in the order of their times, which are unique."""
    rng, count = np.random.default_rng(SEED), work.rows // ORDERS_A_PROFILE
    users = pc.unique(work.events["user"]).take(pa.array(rng.integers(0, work.users // 2, count)))
    at = np.unique(rng.integers(0, orders.DAYS * orders.DAY_US, count * 2))
    at = np.sort(rng.choice(at, count, replace=False)) + work.end_us - orders.DAYS * orders.DAY_US
    tiers = pa.array(rng.integers(0, 3, count))
    cities = pa.array([f"city-{n}" for n in range(50)]).take(pa.array(rng.integers(0, 50, count)))
    return pa.table({"user": users, "tier": tiers, "city": cities, "at": pa.array(at, orders.TIME)})


def _in_turn(events: pa.Table, profiles: pa.Table) -> list[tuple[str, pa.Table]]:
    """Slices of both sides, so that a profile comes before the orders of its time."""
    pushes, done = [], 0
    size = events.num_rows // SLICES + 1
    times = _us(profiles)
    for start in range(0, events.num_rows, size):
        part = events.slice(start, size)
        until = int(np.searchsorted(times, pc.max(part["at"]).value, side="right"))
        pushes += [("Profile", profiles.slice(done, until - done)), ("Order", part)]
        done = until
    pushes.append(("Profile", profiles.slice(done)))
    return [(name, rows) for name, rows in pushes if rows.num_rows]


def _definitions(*, joined: bool) -> list[Any]:
    @dataset(version=1)
    class Order:
        user: str = field(key=True)
        amount: float
        at: datetime = field(timestamp=True)

    @dataset(version=1)
    class Profile:
        user: str = field(key=True)
        tier: int
        city: str
        at: datetime = field(timestamp=True)

    @dataset(version=1)
    class UserOrders:
        user: str = field(key=True)
        at: datetime = field(timestamp=True)
        gold_7d: int
        gold_sum_7d: float
        last_city: str | None

        @pipeline(version=1)
        @inputs(Order)
        def by_user(cls, stream: Any) -> Any:
            if joined:
                stream = stream.join(Profile, on="user", fields=["tier", "city"])
            else:
                stream = stream.assign(tier=1, city=col("user"))
            gold = partial(lambda kind, **more: kind(where=col("tier") == 1, window="7d", **more))
            return stream.groupby("user").aggregate(
                gold_7d=gold(Count), gold_sum_7d=gold(Sum, of="amount"), last_city=Last(of="city")
            )

    return [Order, Profile, UserOrders]

"""Online reads while events come in: how many are answered beside a bare server, and what they take."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orders
from footprint import events_of
from report import Figure, say
from server import BenchError, Server, floor_server, run, serving

if TYPE_CHECKING:
    from figures import Bench

CONNECTIONS = 16
EVENTS_PER_S, EVENTS_A_PUSH, PUSHERS = 20_000, 100, 8
SLICE_MS, SLICES = 1000, 15
BATCH, BATCHES = 1000, 60
FLOOR_IS = "a bare axum server that answers with the same bytes, in turn with it, under the same pushes"


def served(bench: Bench) -> Iterator[Figure]:
    """Requests a second of six features of one entity over 16 connections, with a million entities loaded."""
    entities = 10_000 if bench.size.name == "quick" else 1_000_000
    slices = 3 if bench.size.name == "quick" else SLICES
    say(f"{entities:,} entities")
    with serving(bench.scratch / "served") as server:
        server.client.commit(orders.definitions(None))
        for first in range(0, entities, 100_000):
            part = min(100_000, entities - first)
            server.client.log("Order", events_of(bench, first, part))
        while (status := server.client.status())["position"] != status["applied"]:
            time.sleep(0.05)
        names = [f"user-{number * 7919 % entities:08x}" for number in range(50_000)]
        users = bench.lines("served-users.txt", names)
        featureset = "UserFeatures"
        found = [f"/features?featureset={featureset}&entity_id={name}" for name in names]
        targets, body = bench.lines("served.txt", found), bench.scratch / "served.json"
        run(bench.binary, "read", addr=server.addr, targets=targets, count=1000, warmup=0, save_body=body)
        with floor_server(bench.binary, body) as floor, _pushing(bench, server, users):
            yield from _rates(bench, server, floor, targets, slices)
            yield _batches(server, featureset, names)


def _rates(bench: Bench, server: Server, floor: str, targets: Path, slices: int) -> Iterator[Figure]:
    common = {"targets": targets, "connections": CONNECTIONS, "ms": SLICE_MS}
    before, answered, bare = _inside(server, "GET", "/features"), [], []
    for _ in range(slices):
        answered.append(run(bench.binary, "crowd", addr=server.addr, **common))
        bare.append(run(bench.binary, "crowd", addr=floor, **common))
    after = _inside(server, "GET", "/features")
    rates, floors = [each["per_s"] for each in answered], [each["per_s"] for each in bare]
    rate, most = statistics.median(rates), statistics.median(floors)
    # Of slices that follow each other, since a machine that gets slower does so for both.
    shares = [one / other for one, other in zip(rates, floors, strict=True)]
    share = statistics.median(shares)
    yield Figure(
        "served_share_of_floor",
        round(share * 100, 1),
        "%",
        goal=70,
        more_is_better=True,
        detail={"shares": [round(each, 3) for each in shares]},
    )
    yield Figure(
        "served_reads",
        rate,
        "requests/s",
        more_is_better=True,
        floor=most,
        floor_is=FLOOR_IS,
        detail={
            "slices": rates,
            "floor_slices": floors,
            "p99_us": statistics.median(each["p99_us"] for each in answered),
        },
    )
    yield Figure(
        "served_inside_mean",
        round((after[1] - before[1]) / max(after[0] - before[0], 1) * 1e6, 1),
        "us",
        goal=20,
        detail={"requests": after[0] - before[0]},
    )
    half = {**common, "rate": round(rate / 2)}
    paced, floor_paced = [], []
    for _ in range(slices):
        paced.append(run(bench.binary, "crowd", addr=server.addr, **half))
        floor_paced.append(run(bench.binary, "crowd", addr=floor, **half))
    yield Figure(
        "served_at_half_p99",
        round(statistics.median(each["p99_us"] for each in paced) / 1e3, 3),
        "ms",
        goal=1.0,
        floor=round(statistics.median(each["p99_us"] for each in floor_paced) / 1e3, 3),
        floor_is="the bare server at the same pace",
        detail={
            "requests_per_s": half["rate"],
            "slices": [each["p99_us"] for each in paced],
            "p50_us": statistics.median(each["p50_us"] for each in paced),
        },
    )


def _batches(server: Server, featureset: str, names: list[str]) -> Figure:
    """What a batch takes inside the server."""
    before = _inside(server, "POST", "/features/batch")
    with httpx.Client(base_url=f"http://{server.addr}", trust_env=False, timeout=60) as http:
        for number in range(BATCHES):
            first = number * 97 % (len(names) - BATCH)
            asked = {"featureset": featureset, "entity_ids": names[first : first + BATCH]}
            answer = http.post("/features/batch", json=asked)
            if answer.status_code != 200 or len(answer.json()["values"]) != BATCH:
                raise BenchError(answer.text[:300])
    after = _inside(server, "POST", "/features/batch")
    mean = (after[1] - before[1]) / (after[0] - before[0])
    return Figure(
        "served_batch_inside_mean", round(mean * 1e3, 3), "ms", goal=2.0, detail={"entities": BATCH}
    )


def _inside(server: Server, method: str, route: str) -> tuple[int, float]:
    """How many requests a route has answered, and how long that took inside the server."""
    text = httpx.get(f"http://{server.addr}/metrics", trust_env=False).text
    found = []
    for what in ("count", "sum"):
        labels = re.escape(f'{{method="{method}",route="{route}",status="2xx"}}')
        line = rf"^thyme_http_request_duration_seconds_{what}{labels} (\S+)$"
        match = re.search(line, text, re.MULTILINE)
        found.append(float(match[1]) if match else 0.0)
    return int(found[0]), found[1]


@contextmanager
def _pushing(bench: Bench, server: Server, users: Path) -> Iterator[None]:
    """Events come in at a steady pace while the block runs."""
    going = bench.scratch / "pushing"
    going.touch()
    arguments: dict[str, Any] = {
        "addr": server.addr,
        "users": users,
        "rate": EVENTS_PER_S,
        "batch": EVENTS_A_PUSH,
        "connections": PUSHERS,
        "while": going,
    }
    words = [str(word) for name, value in arguments.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([bench.binary, "push", *words], stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        going.unlink()
        said = process.communicate(timeout=60)[0]
    if process.returncode:
        raise BenchError("the pushes failed")
    say(f"meanwhile {json.loads(said)['events_per_s']:,.0f} events/s were pushed")

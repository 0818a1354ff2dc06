"""Joins under kills: a server with writers on both sides is killed again and again, and each order is counted once,
under the profile of its own time, on however many shards it comes back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from .lives import Lives, counted

KILLS = 6
AT = 1_773_568_800
USERS = 5
SECONDS = 300


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "data")
    yield lives
    lives.end()


class Side(threading.Thread):
    """Pushes rows of one dataset at random times of five minutes; a push that was not answered is sent again
    under its own key, so that what was acknowledged is known exactly."""

    def __init__(self, lives: Lives, dataset: str, seed: int) -> None:
        super().__init__(name=f"{dataset}{seed}")
        self.lives, self.dataset, self.random = lives, dataset, Random(seed)
        self.stop = threading.Event()
        self.rows: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.pushes = 0

    def run(self) -> None:
        with httpx.Client(base_url=self.lives.url, trust_env=False, timeout=30) as http:
            while not self.stop.is_set():
                self.pushes += 1
                rows = [self.row(number) for number in range(self.random.randint(1, 30))]
                if self.push(http, rows):
                    self.rows += rows

    def row(self, number: int) -> dict[str, Any]:
        # Unique times: no tie is the point.
        at = AT + self.random.randint(0, SECONDS) + self.pushes * 1e-3 + number * 1e-5
        user = f"u{self.random.randrange(USERS)}"
        if self.dataset == "Profile":
            return {"user": user, "city": self.random.choice("abc"), "at": at}
        return {"id": f"{self.name}-{self.pushes}-{number}", "user": user, "at": at}

    def push(self, http: httpx.Client, rows: list[dict[str, Any]]) -> bool:
        deadline, key = time.monotonic() + 60, f"{self.name}-{self.pushes}"
        while time.monotonic() < deadline:
            try:
                answer = http.post(
                    "/api/v1/log",
                    json={"dataset": self.dataset, "events": rows},
                    headers={"idempotency-key": key},
                )
            except httpx.TransportError:
                time.sleep(0.01)
                continue
            if answer.status_code == 200:
                return True
            if answer.status_code != 503:
                self.faults.append(answer.text)
                return False
            time.sleep(0.01)
        self.faults.append(f"{key} was not taken in a minute")
        return False


def document() -> dict[str, Any]:
    def fields(*names: str) -> list[dict[str, Any]]:
        found = [
            {"name": n, "type": "str", "role": "key" if i == 0 else "value"} for i, n in enumerate(names)
        ]
        return [*found, {"name": "at", "type": "datetime", "role": "timestamp"}]

    join = {
        "op": "join",
        "dataset": "Profile",
        "left_on": ["user"],
        "right_on": ["user"],
        "fields": [{"name": "city", "field": "city"}],
    }
    datasets = [
        {"name": "Order", "fields": fields("id", "user")},
        {"name": "Profile", "fields": fields("user", "city")},
    ]
    for made, key in (("ByCity", "city"), ("ById", "id")):
        _, derived = counted("Order", {made: key})
        derived["pipelines"][0]["operators"].insert(0, join)
        datasets.append(derived)
    return {"format": 1, "datasets": datasets}


def wait_for_pushes(sides: list[Side]) -> None:
    before = [len(side.rows) for side in sides]
    deadline = time.monotonic() + 30
    while any(len(side.rows) == n for side, n in zip(sides, before, strict=True)):
        assert time.monotonic() < deadline, [side.faults for side in sides]
        time.sleep(0.005)


def test_joined_events_are_counted_once_however_often_the_server_is_killed(lives: Lives) -> None:
    random = Random(5)
    lives.start()
    lives.wait_ready()
    lives.commit(document())
    sides = [Side(lives, name, seed) for seed, name in enumerate(("Order", "Order", "Profile"))]
    for side in sides:
        side.start()
    try:
        while lives.kills < KILLS:
            wait_for_pushes(sides)
            time.sleep(random.uniform(0, 0.3))  # any moment will do
            lives.kill(while_closing_s=random.choice((None, random.uniform(0, 0.05))))
            lives.start(shards=random.randint(1, 5))
            lives.wait_ready()
    finally:
        for side in sides:
            side.stop.set()
        for side in sides:
            side.join()
    assert [fault for side in sides for fault in side.faults] == []
    orders = [row for side in sides[:2] for row in side.rows]
    profiles = sorted(sides[2].rows, key=lambda row: row["at"])
    wanted: Counter[str] = Counter()
    for order in orders:
        cities = [p["city"] for p in profiles if p["user"] == order["user"] and p["at"] <= order["at"]]
        wanted.update(cities[-1:])
    assert lives.counts("ByCity") == dict(wanted)
    assert lives.counts("ById") == {order["id"]: 1 for order in orders}

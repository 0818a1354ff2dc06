"""A new pipeline is filled from the log while a server is pushed to, read and killed: no read fails, nothing else
changes, and what was pending is live in the end with every event in it once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from .lives import ARROW, Lives

AT = 1_773_568_800
KEYS = 40
ROWS = 200_000
LOADS = 6


def _field(name: str, kind: str, role: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "role": role, "optional": role == "value"}


def _derived(name: str, function: str, **more: Any) -> dict[str, Any]:
    aggregate = {"name": "out", "function": function, **more}
    operators = [{"op": "groupby", "keys": ["k"]}, {"op": "aggregate", "aggregates": [aggregate]}]
    fields = [
        _field("k", "str", "key"),
        _field("at", "datetime", "timestamp"),
        {"name": "out", "type": "int", "optional": True},
    ]
    pipeline = {"name": "compute", "version": 1, "inputs": ["Event"], "operators": operators}
    return {"name": name, "fields": fields, "pipelines": [pipeline]}


def _document(*derived: dict[str, Any]) -> dict[str, Any]:
    raw = {
        "name": "Event",
        "fields": [
            _field("k", "str", "key"),
            _field("x", "int", "value"),
            _field("at", "datetime", "timestamp"),
        ],
    }
    return {"format": 1, "datasets": [raw, *derived], "featuresets": []}


COUNT = _derived("Counted", "count")
SUM = _derived("Summed", "sum", of="x")


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "data")
    yield lives
    lives.end()


def _load(lives: Lives, number: int) -> None:
    keys = pa.array([f"k{row % KEYS}" for row in range(ROWS)])
    ones = pa.array([1] * ROWS, pa.int64())
    times = pa.array([(AT + row % 3600) * 1_000_000 for row in range(ROWS)], pa.timestamp("us", "UTC"))
    table = pa.table({"k": keys, "x": ones, "at": times})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    answer = httpx.post(
        f"{lives.url}/api/v1/log?dataset=Event",
        content=sink.getvalue().to_pybytes(),
        headers={"content-type": ARROW, "idempotency-key": f"load-{number}"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text


class Reads(threading.Thread):
    """Reads the live pipeline for as long as the server is there; a value never goes back."""

    def __init__(self, lives: Lives) -> None:
        super().__init__()
        self.lives, self.stop, self.faults = lives, threading.Event(), list[str]()
        self.is_down = threading.Event()
        self.reads = self.seen = 0

    def run(self) -> None:
        with httpx.Client(base_url=self.lives.url, trust_env=False, timeout=30) as http:
            while not self.stop.is_set():
                if self.is_down.is_set():
                    time.sleep(0.01)
                    continue
                try:
                    answer = http.get("/features?entity_type=Counted&entity_id=k1")
                except httpx.TransportError:
                    if not self.is_down.is_set():
                        self.faults.append("no answer")
                    continue
                if self.is_down.is_set():
                    continue
                if answer.status_code != 200:
                    self.faults.append(answer.text)
                    continue
                value = answer.json()["features"]["out"]
                if value < self.seen:
                    self.faults.append(f"{value} after {self.seen}")
                self.seen, self.reads = value, self.reads + 1


def _post(lives: Lives, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{lives.url}{path}", json=body, timeout=60, trust_env=False)


def _status(lives: Lives) -> dict[str, Any]:
    status: dict[str, Any] = lives.get("/api/v1/status").json()
    return status


def _value(lives: Lives, dataset: str, key: str, position: str) -> Any:
    answer = lives.get(
        "/features", entity_type=dataset, entity_id=key, min_position=position, wait_ms="30000"
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["features"]["out"]


def test_no_read_fails_while_a_pipeline_is_filled_and_a_kill_in_the_middle_is_made_good(lives: Lives) -> None:
    lives.start()
    lives.wait_ready()
    assert _post(lives, "/api/v1/commit", _document(COUNT)).status_code == 200
    for number in range(LOADS):
        _load(lives, number)
    reads = Reads(lives)
    reads.start()
    begun = _post(lives, "/api/v1/commit?wait=false", _document(COUNT, SUM))
    assert begun.status_code == 202, begun.text
    commit = begun.json()["commit"]
    assert begun.json()["pending"]["commit"] == commit
    other = _post(lives, "/api/v1/commit", _document(COUNT, _derived("Largest", "max", of="x")))
    is_live = _status(lives)["commit"] == commit
    assert (other.status_code == 409 and commit in other.json()["detail"]) or is_live, other.text
    time.sleep(0.1)
    reads.is_down.set()
    lives.kill()
    lives.start(shards=3)
    lives.wait_ready()
    reads.is_down.clear()
    # Pushes go on while the rest is filled.
    pushed = ""
    deadline = time.monotonic() + 120
    single = 0
    while _status(lives)["commit"] != commit:
        assert time.monotonic() < deadline, _status(lives)
        rows = [{"k": "k1", "x": 1, "at": AT + single}]
        answer = _post(lives, "/api/v1/log", {"dataset": "Event", "events": rows})
        assert answer.status_code == 200, answer.text
        pushed, single = answer.json()["position"], single + 1
    reads.stop.set()
    reads.join()
    assert not reads.faults, reads.faults[:3]
    assert reads.reads > 0
    pushed = pushed or _status(lives)["position"]
    every = LOADS * ROWS // KEYS
    for key, more in (("k1", single), ("k7", 0)):
        assert _value(lives, "Counted", key, pushed) == every + more
        assert _value(lives, "Summed", key, pushed) == every + more
    status = _status(lives)
    assert status["backfill"] is None
    assert not list((lives.data / "log").glob("commit.pending*"))
    raw = next(each for each in status["datasets"] if each["name"] == "Event")
    assert raw["events"] == LOADS * ROWS + single

"""A disk that is full, or that fails to sync, under a real server: what it promises then, and afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .faults import Faults
from .lives import Lives, committed, counted

AT = 1_773_568_800
#: Checkpoints come often, segments of the log are small.
CONFIG = {"checkpoint_every_ms": 100, "segment_bytes": 20_000}
DOCUMENT = {"format": 1, "datasets": counted("Hit", {"ById": "id", "ByWriter": "writer"})}


@pytest.fixture
def lives(faults: Faults, tmp_path: Path) -> Iterator[Lives]:
    with committed(Lives(tmp_path / "data", CONFIG, faults.env), DOCUMENT) as lives:
        yield lives


class Pushes:
    """Pushes of events with ids of their own, and what became of them."""

    def __init__(self, lives: Lives) -> None:
        self.lives = lives
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.number = 0

    def push(self, count: int = 50) -> httpx.Response:
        ids = [f"e{self.number + i}" for i in range(count)]
        self.number += count
        events = [{"id": one, "writer": "w", "at": AT} for one in ids]
        answer = httpx.post(
            f"{self.lives.url}/api/v1/log",
            json={"dataset": "Hit", "events": events},
            trust_env=False,
            timeout=30,
        )
        (self.acknowledged if answer.status_code == 200 else self.refused).extend(ids)
        return answer

    def check(self) -> None:
        """Every acknowledged event is there once, and nothing that was refused."""
        assert self.lives.counts("ById") == dict.fromkeys(self.acknowledged, 1)
        assert self.lives.counts("ByWriter") == {"w": len(self.acknowledged)}


def wait_for(what: str, reached: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = reached()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


def state(lives: Lives) -> dict[str, Any]:
    status: dict[str, Any] = lives.get("/api/v1/status").json()
    return status


def checkpoint_is_newest(lives: Lives) -> bool:
    status = state(lives)
    return bool(status["state"]["checkpoint_position"] == status["position"])


def failed_checkpoints(lives: Lives) -> list[str]:
    events = lives.get("/api/v1/events", event_type="checkpoint_failed").json()["events"]
    return [event["message"] for event in events]


def wait_for_failed_checkpoint(lives: Lives, before: int, why: str) -> None:
    """Until there is one more than `before`."""
    wait_for("a failed checkpoint", lambda: len(failed_checkpoints(lives)) > before)
    assert why in failed_checkpoints(lives)[0]


@pytest.mark.parametrize("where", [".", "log", "store"])
def test_a_full_disk_refuses_pushes_answers_reads_and_recovers_by_itself(
    lives: Lives, faults: Faults, where: str
) -> None:
    pushes = Pushes(lives)
    for _ in range(5):
        assert pushes.push().status_code == 200
    wait_for("a checkpoint", lambda: checkpoint_is_newest(lives))
    for _ in range(2):  # it may happen more than once
        faults.order(f"full {where}")
        if where == "store":
            # Pushes go on: the log has what no checkpoint could take.
            before = len(failed_checkpoints(lives))
            assert pushes.push().status_code == 200
            wait_for_failed_checkpoint(lives, before, "No space left")
        else:
            for count in (1, 50, 1_000):
                refused = pushes.push(count)
                assert (refused.status_code, refused.json()["error"]) == (507, "storage_full"), refused.text
        pushes.check()
        assert lives.get("/health").status_code == 200
        faults.clear()
        for _ in range(3):
            assert pushes.push().status_code == 200
        wait_for("a checkpoint after there is space again", lambda: checkpoint_is_newest(lives))
        pushes.check()
    lives.kill()
    lives.start()
    lives.wait_ready()
    pushes.check()
    assert pushes.push().status_code == 200


def test_a_source_waits_for_space_and_loses_nothing(lives: Lives, faults: Faults, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    written: list[str] = []

    def grow() -> None:
        ids = [f"{len(written) + i}" for i in range(500)]
        with path.open("a") as lines:
            lines.writelines(json.dumps({"id": one, "writer": "w", "at": AT}) + "\n" for one in ids)
        written.extend(ids)

    grow()
    source = {"kind": "file", "options": {"path": str(path)}}
    lives.commit({"format": 1, "datasets": counted("Line", {"LineById": "id"}, source)}, wait_sources="1")
    faults.order("full .")
    grow()
    error = wait_for("the source says why it waits", lambda: state(lives)["sources"][0]["error"])
    assert "no space is left" in error
    assert lives.counts("LineById") == dict.fromkeys(written[:500], 1)
    faults.clear()
    grow()
    wait_for("the rows", lambda: len(lives.counts("LineById")) == len(written))
    lives.kill()
    lives.start()
    lives.wait_ready()
    assert lives.counts("LineById") == dict.fromkeys(written, 1)
    assert state(lives)["sources"][0]["error"] is None


def test_a_failed_sync_of_the_log_ends_writes_until_a_restart_and_reads_go_on(
    lives: Lives, faults: Faults
) -> None:
    pushes = Pushes(lives)
    for _ in range(5):
        assert pushes.push().status_code == 200
    pushes.check()
    position = state(lives)["applied"]
    faults.order("sync log")
    unknown = [f"e{pushes.number + i}" for i in range(50)]
    refused = pushes.push()
    assert refused.status_code == 503, refused.text
    assert "until a restart" in refused.json()["detail"]
    faults.clear()
    for _ in range(3):  # the disk works again, but nobody knows what it kept
        refused = pushes.push()
        assert (refused.status_code, refused.json()["error"]) == (503, "unavailable")
    health = lives.get("/health")
    assert health.status_code == 503
    assert "failed (Input/output error" in health.json()["detail"]
    assert state(lives)["applied"] == position
    answer = lives.get("/features", entity_type="ByWriter", entity_id="w").json()
    assert (answer["features"]["n"], answer["as_of"]["position"]) == (len(pushes.acknowledged), position)
    lives.kill()
    lives.start()
    lives.wait_ready()
    # The push that met the fault was never acknowledged: it is there whole, or not at all.
    found = lives.counts("ById")
    assert set(found.values()) == {1}
    assert set(pushes.acknowledged) <= set(found)
    extra = set(found) - set(pushes.acknowledged)
    assert extra in (set(), set(unknown))
    assert pushes.push().status_code == 200


def test_a_failed_sync_of_the_store_costs_nothing_but_time_at_the_next_start(
    lives: Lives, faults: Faults
) -> None:
    pushes = Pushes(lives)
    assert pushes.push().status_code == 200
    wait_for("a checkpoint", lambda: checkpoint_is_newest(lives))
    faults.order("sync store")
    assert pushes.push().status_code == 200
    wait_for_failed_checkpoint(lives, 0, "rror")
    assert any("Input/output error" in message for message in failed_checkpoints(lives))
    faults.clear()
    assert pushes.push().status_code == 200
    pushes.check()
    assert lives.get("/health").status_code == 200
    lives.kill()
    lives.start()
    lives.wait_ready()
    pushes.check()
    assert pushes.push().status_code == 200
    wait_for("a checkpoint", lambda: checkpoint_is_newest(lives))


def test_a_slow_disk_makes_pushes_slow_and_reads_not(lives: Lives, faults: Faults) -> None:
    pushes = Pushes(lives)
    assert pushes.push().status_code == 200
    faults.order("slow log 400")
    with httpx.Client(base_url=lives.url, trust_env=False, timeout=30) as http:
        import threading

        pusher = threading.Thread(target=pushes.push)
        pusher.start()
        reads = 0
        while pusher.is_alive():
            answer = http.get("/features", params={"entity_type": "ByWriter", "entity_id": "w"})
            assert answer.status_code == 200
            reads += 1
        pusher.join()
    assert reads > 1, "a read waited for the disk"
    faults.clear()
    assert len(pushes.acknowledged) == 100
    pushes.check()

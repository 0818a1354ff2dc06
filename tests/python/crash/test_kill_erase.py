"""Kills a server while it erases: the entity is there whole or not at all, and an answer is kept."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from crash.lives import Lives

FIELDS = [
    {"name": "user", "type": "str", "role": "key"},
    {"name": "at", "type": "datetime", "role": "timestamp"},
    {"name": "note", "type": "str"},
]
OUTPUTS = [FIELDS[0], FIELDS[1], {"name": "n", "type": "int"}]
COMPUTE = {
    "name": "compute",
    "version": 1,
    "inputs": ["Visit"],
    "operators": [
        {"op": "groupby", "keys": ["user"]},
        {"op": "aggregate", "aggregates": [{"name": "n", "function": "count"}]},
    ],
}
DOCUMENT = {
    "format": 1,
    "datasets": [
        {"name": "Visit", "fields": FIELDS},
        {"name": "Visits", "fields": OUTPUTS, "pipelines": [COMPUTE]},
    ],
    "featuresets": [],
}
PUSHES = 30


def count(lives: Lives, user: str) -> int | None:
    answer = lives.get("/features", entity_type="Visits", entity_id=user).json()
    features = answer["features"]
    return features and features["n"]


@pytest.mark.parametrize("after_ms", [1, 4, 12, 40, 200])
def test_a_killed_erasure_is_done_or_was_never_begun(tmp_path: Path, after_ms: int) -> None:
    lives = Lives(tmp_path / "data")
    try:
        lives.start()
        lives.wait_ready()
        httpx.post(lives.url + "/api/v1/commit", json=DOCUMENT, trust_env=False).raise_for_status()
        for push in range(PUSHES):
            rows = [
                {"user": user, "at": 1_773_568_800 + push, "note": f"{user} {push} " * 20}
                for user in ["zebraq-secret-entity", *(f"user{i}" for i in range(40))]
            ]
            body = {"dataset": "Visit", "events": rows}
            httpx.post(lives.url + "/api/v1/log", json=body, trust_env=False).raise_for_status()
        answers: list[int] = []

        def erase() -> None:
            body = {"dataset": "Visit", "entity_ids": ["zebraq-secret-entity"]}
            try:
                answer = httpx.post(lives.url + "/api/v1/erase", json=body, trust_env=False, timeout=30)
                answers.append(answer.status_code)
            except httpx.TransportError:
                pass

        erasing = threading.Thread(target=erase)
        erasing.start()
        erasing.join(after_ms / 1000)
        lives.kill()
        erasing.join()
        lives.start()
        lives.wait_ready()
        assert [count(lives, f"user{i}") for i in (0, 39)] == [PUSHES, PUSHES]
        left = count(lives, "zebraq-secret-entity")
        assert left is None or (left == PUSHES and not answers)
        if left is None:
            files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
            assert not [path for path in files if b"zebraq" in path.read_bytes()]
            assert any(b"user39" in path.read_bytes() for path in files)
    finally:
        lives.end()

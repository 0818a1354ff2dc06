"""A server that takes long to open: it says how far it is, and takes nothing until it is ready."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from running import PYTHON

from .faults import Faults
from .lives import Lives, counted

AT = 1_773_568_800
DOCUMENT = {"format": 1, "datasets": counted("Hit", {"ByWriter": "writer"})}


@pytest.fixture
def lives(faults: Faults, tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "data", env=faults.env)
    lives.start()
    lives.wait_ready()
    lives.commit(DOCUMENT)
    yield lives
    lives.end()


def push(lives: Lives) -> httpx.Response:
    event = {"id": "e", "writer": "w", "at": AT}
    body = {"dataset": "Hit", "events": [event]}
    return httpx.post(f"{lives.url}/api/v1/log", json=body, trust_env=False, timeout=30)


def first_answer(lives: Lives) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            answer = lives.get("/health")
        except httpx.TransportError:
            time.sleep(0.01)
            continue
        assert answer.status_code == 503, "it is ready before a slow disk can be"
        assert answer.headers["retry-after"] == "1"
        health: dict[str, Any] = answer.json()
        return health
    raise AssertionError("nothing listens")


def test_a_server_that_starts_says_how_far_it_is_and_takes_nothing(lives: Lives, faults: Faults) -> None:
    assert push(lives).status_code == 200
    lives.kill()
    faults.order("slow . 4000")
    lives.start()
    health = first_answer(lives)
    assert health["status"] == "starting"
    assert set(health["progress"]) == {"doing", "done", "total"}
    assert health["detail"]
    refused = push(lives)
    assert (refused.status_code, refused.json()["error"]) == (503, "unavailable")
    assert refused.headers["retry-after"] == "1"
    assert "the server is starting" in refused.json()["detail"]
    assert lives.get("/features", entity_type="ByWriter", entity_id="w").status_code == 503
    status = subprocess.run(
        [sys.executable, "-m", "thyme", "status"],
        env={"PYTHONPATH": str(PYTHON), "THYME_API_URL": lives.url, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert status.stdout.startswith(f"{lives.url} is starting: "), status.stdout
    faults.clear()
    lives.wait_ready()
    assert lives.counts("ByWriter") == {"w": 1}
    assert push(lives).status_code == 200

"""One answer is at one position, across all datasets and look-ups in it, however fast others write."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clocks.sales import DEFINITIONS, SaleFeatures
from crash.lives import Lives
from thyme.client import ThymeClient

WRITER = Path(__file__).with_name("writer.py")
SECONDS = 1.5


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "data", {"shards": 3, "checkpoint_every_ms": 100})
    lives.start()
    lives.wait_ready()
    yield lives
    lives.end()


def agree(row: dict[str, Any]) -> int:
    """Each push has two sales of a shop that cancel each other out."""
    n: int = row["n"]
    assert (row["count"], row["n_looked_up"], row["total"]) == (n, n, 0.0), row
    assert n % 2 == 0, f"half a push: {row}"
    return n


def test_what_derives_from_one_event_agrees_in_every_answer_under_load(lives: Lives) -> None:
    client = ThymeClient(lives.url)
    client.commit(DEFINITIONS)
    writers = [
        subprocess.Popen(
            [sys.executable, str(WRITER), lives.url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("first", "second")
    ]
    later = datetime.now(UTC) + timedelta(hours=1)
    labels = [{"shop": shop, "at": later} for shop in "abab"]
    seen = set()
    deadline, rounds = time.monotonic() + SECONDS, 0
    # However slow the machine: until answers have met writes.
    while time.monotonic() < deadline or (len(seen) < 20 and rounds < 2_000):
        rounds += 1
        seen.add(agree(client.query(SaleFeatures, "a").to_dict()[0]))
        for result in (
            client.query_batch(SaleFeatures, ["a", "b", "a"]),
            client.query_offline(SaleFeatures, labels, timestamp_column="at"),
            client.query_offline(SaleFeatures, labels, timestamp_column="at", as_served=True),
        ):
            # Each push has the same of both shops, so all rows of an answer agree as well.
            (n,) = {agree(row) for row in result.to_dict()}
            seen.add(n)
            again = client.query(SaleFeatures, "a", position=result.metadata["as_of"]["position"], at=later)
            assert again["n"] == n
    assert len(seen) >= 20, "answers did not meet writes"
    pushes = 0
    for writer in writers:
        out, _ = writer.communicate("stop\n", timeout=60)
        assert writer.returncode == 0
        pushes += sum(json.loads(out).values())
    final = client.query(SaleFeatures, "b", min_position=client.status()["position"])
    assert final["n"] == 2 * pushes

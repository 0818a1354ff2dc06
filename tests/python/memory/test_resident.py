"""A server keeps to the memory it was given while its state is many times that, and answers with the same bits."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from running import start_server
from thyme import Count, Last, Sum, dataset, feature, featureset, field, inputs, pipeline
from thyme.client import ThymeClient

MIB = 2**20
ALLOWED = 128 * MIB  # the least that a server takes
ENTITIES, ROUNDS, TEXT = 50_000, 2, 3_000
PUSH = 2_000
START_US = int(datetime(2026, 3, 1, tzinfo=timezone.utc).timestamp()) * 1_000_000
LETTERS = np.random.default_rng(11).integers(97, 123, 2 * MIB, dtype=np.uint8).tobytes().decode()


@dataset
class Note:
    author: str = field(key=True)
    weight: float
    text: str
    at: datetime = field(timestamp=True)


@dataset
class AuthorNotes:
    author: str = field(key=True)
    at: datetime = field(timestamp=True)
    count: int
    weight: float
    latest: str | None

    @pipeline(version=1)
    @inputs(Note)
    def by_author(cls, notes: Any) -> Any:
        return notes.groupby("author").aggregate(
            count=Count(), weight=Sum(of="weight"), latest=Last(of="text")
        )


@featureset
class AuthorFeatures:
    author: str = feature(id=1)
    count: int = feature(id=2, ref=AuthorNotes.count)
    weight: float = feature(id=3, ref=AuthorNotes.weight)
    latest: str | None = feature(id=4, ref=AuthorNotes.latest)


def name(entity: int) -> str:
    return f"author-{entity * 2_654_435_761 % 2**32:08x}"


def weight(entity: int, turn: int) -> float:
    return (entity * 7 + turn * 13) % 1_000 / 7


def text(entity: int, turn: int) -> str:
    start = (entity * 31 + turn * 104_729) % (2 * MIB - TEXT)
    return LETTERS[start : start + TEXT]


def events(entities: list[int], turn: int) -> pa.Table:
    """One event of each, one microsecond after those of the turn before."""
    return pa.table(
        {
            "author": [name(e) for e in entities],
            "weight": [weight(e, turn) for e in entities],
            "text": [text(e, turn) for e in entities],
            "at": pa.array([START_US + turn] * len(entities), pa.timestamp("us", tz="UTC")),
        }
    )


@featureset
class AuthorCounts:
    author: str = feature(id=1)
    count: int = feature(id=2, ref=AuthorNotes.count)


class Running:
    """A server and what it was told."""

    def __init__(self, data: Path) -> None:
        self.server = start_server(data, "--memory", "128MiB")
        self.client = ThymeClient(self.server.url)

    def most(self) -> int:
        """The most resident bytes that it had so far."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10

    def log(self, *tables: pa.Table) -> None:
        """Pushes events and waits until queries see them."""
        for table in tables:
            self.client.log("Note", table)
        deadline = time.monotonic() + 120
        while (status := self.client.status())["applied"] != status["position"]:
            assert time.monotonic() < deadline, status
            time.sleep(0.02)

    def check(self, turns: dict[int, int]) -> None:
        """Compares entities with what their events say, bit for bit."""
        for entity, count in turns.items():
            seen = self.client.query(AuthorFeatures, name(entity), at=(START_US + 10) / 1e6)
            assert (seen["count"], seen["weight"], seen["latest"]) == (
                count,
                math.fsum(weight(entity, turn) for turn in range(count)),
                text(entity, count - 1),
            ), f"entity {entity} of {count} events"


@contextmanager
def running(data: Path) -> Iterator[Running]:
    it = Running(data)
    try:
        yield it
    finally:
        it.client.close()
        it.server.process.send_signal(signal.SIGTERM)
        assert it.server.process.wait(60) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_a_server_keeps_to_its_memory_while_its_state_is_many_times_that(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    sampled: list[int] = sorted(rng.choice(ENTITIES, 60, replace=False).tolist())
    updated: list[int] = sorted(rng.choice(ENTITIES, 3_000, replace=False).tolist())
    again = set(updated)
    turns = {e: ROUNDS + (e in again) for e in [*sampled, *updated[:40]]}
    with running(tmp_path / "data") as it:
        it.client.commit([Note, AuthorNotes, AuthorFeatures, AuthorCounts])
        for first in range(0, ENTITIES, PUSH):
            entities = list(range(first, min(first + PUSH, ENTITIES)))
            it.log(*(events(entities, turn) for turn in range(ROUNDS)))
        it.check(dict.fromkeys(sampled, ROUNDS))
        # All but a few of them rest on disk.
        it.log(events(updated, ROUNDS))
        it.check(turns)
        room = it.client.status()["memory"]
        assert room["entities"] == ENTITIES
        assert room["evictions"] > ENTITIES / 2
        assert room["loads"] > len(updated) / 2
        assert room["bytes_timelines"] <= room["bytes_timelines_max"] * 1.05
        labels = pa.table(
            {
                "author": [name(e) for e in range(0, ENTITIES, 3)],
                "at": pa.array([START_US + 10] * len(range(0, ENTITIES, 3)), pa.timestamp("us", tz="UTC")),
            }
        )
        trained = it.client.query_offline(
            AuthorCounts, labels, entity_column="author", timestamp_column="at"
        ).to_arrow()
        assert trained["count"].to_pylist() == [ROUNDS + (e in again) for e in range(0, ENTITIES, 3)]
        first_life = it.most()
    with running(tmp_path / "data") as it:
        it.check(turns)
        for turn in (ROUNDS, ROUNDS + 1):
            it.log(events([e for e, count in turns.items() if count == turn], turn))
        it.check({e: count + 1 for e, count in turns.items()})
        second_life = it.most()
    # Half as much again at the most, what an idle process takes included.
    assert first_life <= ALLOWED * 3 // 2, f"{first_life / MIB:.0f} MiB at the most"
    assert second_life <= ALLOWED * 3 // 2, f"{second_life / MIB:.0f} MiB at the most after a restart"

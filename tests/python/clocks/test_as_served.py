"""A live run with late events: what was served online is what an as-served training set gives, bit for bit."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from subprocess import CompletedProcess
from typing import Any

import polars as pl
import pytest

import thyme
from clocks.sales import DEFINITIONS, SHOPS, Sale, SaleFeatures
from crash.lives import Lives
from thyme.client import ThymeClient
from thyme.errors import ThymeError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FEATURES = ["n", "n_1s", "count", "total", "last", "n_looked_up", "n_before", "newest"]
READS = 120


@dataclass
class Pushed:
    """One event as it was pushed, with the log record that has it."""

    shop: str
    number: int
    amount: float
    at: int
    record: int = 0


@dataclass
class Served:
    """One online answer."""

    shop: str
    at: datetime
    position: str
    features: dict[str, Any]


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def record_of(position: str) -> int:
    return int(position.removeprefix("e").partition(".")[0])


class Feeder(threading.Thread):
    """Pushes events that happened just now, a while ago, or a moment from now, each push exactly once."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self.client = ThymeClient(url)
        self.random = Random(seed)
        self.seed = seed
        self.stop = threading.Event()
        self.pushed: list[Pushed] = []

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            batch = []
            for _ in range(self.random.randint(1, 8)):
                number += 1
                ago = self.random.choice([0.0, 0.0, 0.01, 0.2, 0.9, 1.5, -0.15, 3.0]) * self.random.random()
                at = micros(datetime.now(UTC)) - int(ago * 1e6)
                amount = self.random.choice([0.1, 1e16, -1e16, 3.3, -0.7])
                batch.append(Pushed(self.random.choice(SHOPS), self.seed * 10**6 + number, amount, at))
            record = record_of(self.push(batch, f"{self.seed}-{number}"))
            for event in batch:
                event.record = record
            self.pushed += batch
            self.stop.wait(self.random.random() * 0.01)

    def push(self, batch: list[Pushed], key: str) -> str:
        rows = [
            {
                "shop": e.shop,
                "number": e.number,
                "amount": e.amount,
                "at": EPOCH + timedelta(microseconds=e.at),
            }
            for e in batch
        ]
        while True:
            try:
                return self.client.log(Sale, rows, idempotency_key=key)
            except ThymeError:
                time.sleep(0.02)  # the server is dead or starts; the key makes it count once


def read(client: ThymeClient, random: Random, served: list[Served]) -> None:
    """One online answer, or a batch of them, noted with the time it names."""
    if random.random() < 0.3:
        result = client.query_batch(SaleFeatures, SHOPS)
        rows = {row["entity_id"]: row for row in result.to_dict()}
    else:
        shop = random.choice(SHOPS)
        result = client.query(SaleFeatures, shop)
        rows = {shop: result.to_dict()[0]}
    as_of = result.metadata["as_of"]
    for shop, row in rows.items():
        at = datetime.fromisoformat(as_of["time"])
        served.append(Served(shop, at, as_of["position"], {name: row[name] for name in FEATURES}))


def oracle(events: list[Pushed], shop: str, at: int, record: int) -> dict[str, Any]:
    """The contract, computed the slow way: events of the shop up to `at` in records up to `record`."""
    known = [e for e in events if e.shop == shop and e.record <= record]
    until = sorted((e for e in known if e.at <= at), key=lambda e: (e.at, e.record, e.number))
    recent = [e for e in until if e.at > at - 2_000_000]
    return {
        "n": len(until),
        "n_1s": sum(e.at > at - 1_000_000 for e in until),
        "count": len(until),
        "total": math.fsum(e.amount for e in until),
        "last": recent[-1].number if recent else None,
        "n_looked_up": len(until),
        "n_before": sum(e.at <= at - 300_000 for e in known),
        "newest": until[-1].number if until else None,
    }


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "data")
    yield lives
    lives.end()


def test_a_live_run_with_late_events_kills_and_restarts_is_given_back_as_it_was_served(
    lives: Lives, run: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    lives.start()
    lives.wait_ready()
    client = ThymeClient(lives.url)
    client.commit(DEFINITIONS)
    feeders = [Feeder(lives.url, seed) for seed in (1, 2)]
    random, served = Random(5), []
    before = datetime.now(UTC) - timedelta(hours=1)
    for feeder in feeders:
        feeder.start()
    try:
        for life in range(3):
            enough = len(served) + READS
            while len(served) < enough:
                read(client, random, served)
            if life == 0:
                lives.kill()
            elif life == 1:
                lives.kill(while_closing_s=0.05)
            if life < 2:
                lives.start()
                lives.wait_ready()
    finally:
        for feeder in feeders:
            feeder.stop.set()
        for feeder in feeders:
            feeder.join()
    events = [e for feeder in feeders for e in feeder.pushed]
    newest = client.log(Sale, [])
    served.append(Served("a", before, "e0", oracle([], "a", micros(before), 0)))
    labels = [{"shop": s.shop, "at": s.at, "row": i} for i, s in enumerate(served)]
    random.shuffle(labels)

    then = client.query_offline(SaleFeatures, labels, timestamp_column="at", as_served=True)
    plain = client.query_offline(SaleFeatures, labels, timestamp_column="at", min_position=newest)
    assert then.columns == ["shop", "at", "row", *FEATURES]
    assert then.metadata["as_of"]["as_served"] is True
    assert "provisional" not in then.metadata["as_of"]
    differing = 0
    for label, got, now in zip(labels, then.to_dict(), plain.to_dict(), strict=True):
        one = served[label["row"]]
        at = micros(one.at)
        assert {name: got[name] for name in FEATURES} == one.features, one
        assert one.features == oracle(events, one.shop, at, record_of(one.position)), one
        known_now = oracle(events, one.shop, at, 10**12)
        assert {name: now[name] for name in FEATURES} == known_now, one
        differing += known_now != one.features
    assert 0 < differing < len(served), "late events made a difference to some rows"

    check_json(lives, labels[:60], served)
    check_command(run, lives, tmp_path, labels, then.to_polars())


def check_json(lives: Lives, labels: list[dict[str, Any]], served: list[Served]) -> None:
    """The JSON door gives the same values, and the position of each row."""
    import httpx

    queries = [{"entity_id": label["shop"], "timestamp": label["at"].isoformat()} for label in labels]
    answer = httpx.post(
        f"{lives.url}/features/offline",
        json={"featureset": "SaleFeatures", "queries": queries, "as_served": True},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["as_of"]["as_served"] is True
    for label, result in zip(labels, body["results"], strict=True):
        one = served[label["row"]]
        assert result["position"] == one.position
        assert {name: result["features"][name] for name in FEATURES} == one.features


def check_command(
    run: Callable[..., CompletedProcess[str]],
    lives: Lives,
    tmp_path: Path,
    labels: list[dict[str, Any]],
    expected: pl.DataFrame,
) -> None:
    """The command writes the same rows."""
    source, target = tmp_path / "labels.parquet", tmp_path / "set.parquet"
    pl.DataFrame(labels).write_parquet(source)
    done = run(
        *("query-offline", "SaleFeatures", "--input", str(source), "--timestamp-column", "at"),
        *("--as-served", "--output", str(target)),
        THYME_API_URL=lives.url,
    )
    assert done.returncode == 0, done.stderr
    written = pl.read_parquet(target)
    assert written.select(FEATURES).equals(expected.select(FEATURES))


def test_an_engine_in_this_process_gives_back_what_it_served() -> None:
    with thyme.local() as client:
        client.commit(DEFINITIONS)
        now = datetime.now(UTC)
        client.log(Sale, [{"shop": "a", "number": 1, "amount": 1.0, "at": now - timedelta(seconds=2)}])
        first = client.query(SaleFeatures, "a")
        client.log(Sale, [{"shop": "a", "number": 2, "amount": 2.0, "at": now - timedelta(seconds=3)}])
        second = client.query(SaleFeatures, "a")
        assert (first["n"], second["n"]) == (1, 2)
        labels = [{"shop": "a", "at": each.metadata["as_of"]["time"]} for each in (second, first)]
        then = client.query_offline(SaleFeatures, labels, timestamp_column="at", as_served=True)
        assert then["n"] == [2, 1]
        assert then["newest"] == [1, 1]
        assert then["n_looked_up"] == [2, 1]
        plain = client.query_offline(SaleFeatures, labels, timestamp_column="at")
        assert plain["n"] == [2, 2]
        to_come = [{"shop": "a", "at": datetime.now(UTC) + timedelta(days=1)}]
        soon = client.query_offline(SaleFeatures, to_come, timestamp_column="at", as_served=True)
        assert soon["n"] == 2
        assert soon.metadata["as_of"]["provisional"] is True


@pytest.mark.parametrize("clock", ["event", "fixed"])
def test_only_the_wall_clock_says_what_was_served(clock: str) -> None:
    with thyme.local(clock="event" if clock == "event" else "wall") as client:
        client.commit(DEFINITIONS)
        if clock == "fixed":
            client.set_now(datetime.now(UTC))
        labels = [{"shop": "a", "at": datetime.now(UTC)}]
        with pytest.raises(ThymeError, match="event clock" if clock == "event" else "fixed") as refused:
            client.query_offline(SaleFeatures, labels, timestamp_column="at", as_served=True)
        assert refused.value.status == 422

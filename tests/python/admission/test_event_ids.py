"""One stream of events by history files, a live file and pushes, with overlaps, against a real server."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import polars as pl
import pytest

from running import Server, start_server
from thyme import Avg, Count, Last, Sum, dataset, field, inputs, pipeline, source
from thyme.client import ThymeClient
from thyme.connectors import FileSource
from thyme.testing import MockContext

TEN = datetime(2026, 3, 15, 10, tzinfo=UTC)
Row = dict[str, Any]


@dataset(index=True)
class Ride:
    ride: str = field(event_id=True)
    driver: str = field(key=True)
    city: str
    fare: float
    at: datetime = field(timestamp=True)


def derived(name: str, key: str) -> Any:
    def compute(cls: type, rides: Any) -> Any:
        return rides.groupby(key).aggregate(
            rides=Count(window="1h"),
            fares=Sum(of="fare"),
            mean=Avg(of="fare", window="2h"),
            last=Last(of="ride"),
        )

    body = {
        "__annotations__": {
            key: str,
            "at": datetime,
            "rides": int,
            "fares": float,
            "mean": float | None,
            "last": str | None,
        },
        "__module__": __name__,
        key: field(key=True),
        "at": field(timestamp=True),
        "compute": pipeline(inputs(Ride)(compute)),
    }
    return dataset(type(name, (), body))


def events(count: int) -> list[Row]:
    choose = random.Random(5)
    return [
        {
            "ride": f"r{number}",
            "driver": choose.choice("abcdef"),
            "city": choose.choice("xyz"),
            "fare": choose.choice([0.1, 1e16, -1e16, 3.3]),
            "at": TEN + timedelta(seconds=choose.randrange(9_000), microseconds=number),
        }
        for number in range(count)
    ]


class World:
    """A server over files that it reads, which may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: Server | None = None
        self.client = self.start()

    def start(self) -> ThymeClient:
        self.server = start_server(self.folder / "data")
        self.client = ThymeClient(self.server.url)
        return self.client

    def kill(self) -> None:
        assert self.server is not None
        os.kill(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()

    def follow(self, rows: list[Row]) -> None:
        with (self.folder / "live.jsonl").open("a") as file:
            for row in rows:
                file.write(json.dumps({**row, "at": row["at"].isoformat()}) + "\n")

    def write(self, name: str, rows: list[Row]) -> None:
        pl.DataFrame(rows).write_parquet(self.folder / name)

    def push(self, rows: list[Row]) -> Row:
        """What the server answers."""
        assert self.server is not None
        events = [{**row, "at": row["at"].isoformat()} for row in rows]
        body = {"dataset": "Ride", "events": events}
        answer: Row = httpx.post(f"{self.server.url}/api/v1/log", json=body, trust_env=False).json()
        return answer

    def settle(self, rows: int) -> Row:
        """Waits until so many rows are in the log; gives what the status says of the dataset."""
        deadline = time.monotonic() + 60
        while True:
            found: Row = next(d for d in self.client.status()["datasets"] if d["name"] == "Ride")
            if found["events"] >= rows or time.monotonic() > deadline:
                return found
            time.sleep(0.05)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.kill()


def test_history_then_live_has_no_gap_and_counts_nothing_twice(
    world: World, run: Callable[..., CompletedProcess[str]]
) -> None:
    folder = world.folder
    of_driver, of_city = derived("OfDriver", "driver"), derived("OfCity", "city")
    fed = source(FileSource(path=str(folder / "history*.parquet")))(Ride)
    fed = source(FileSource(path=str(folder / "live.jsonl")))(fed)
    world.client.commit([fed, of_driver])
    all_rows = events(600)
    # The seam: history ends after live has begun, and pushes tell of both.
    world.write("history-1.parquet", all_rows[:250])
    world.follow(all_rows[200:420])
    world.write("history-2.parquet", all_rows[240:330])
    told = world.push(all_rows[400:500])
    assert told["accepted"] == 100
    assert "duplicates" in told
    assert world.settle(660)["events"] == 660
    world.kill()
    world.follow(all_rows[380:560])
    world.start()
    world.client.commit([fed, of_driver, of_city])
    again = world.push(all_rows[100:110] + all_rows[540:])
    assert again["accepted"] == 70
    assert again["duplicates"] >= 10
    state = world.settle(660 + 180 + 70)
    assert (state["events"], state["duplicates"], state["late"]) == (910, 310, 0)
    single = MockContext()
    single.add_events(Ride, all_rows)
    for made, key in ((of_driver, "driver"), (of_city, "city")):
        for at in (TEN + timedelta(minutes=40), TEN + timedelta(hours=3)):
            found = world.client.scan(made, at).sort(key)
            wanted = single.get_aggregates_df(made, at).sort(key)
            assert found.equals(wanted.select(found.columns)), (found, wanted)
    duplicates = list(world.client.duplicates(Ride))
    assert len(duplicates) == 310 == world.client.duplicate_count(Ride)
    assert {event["of"] is None for event in duplicates} == {False}
    assert world.server is not None
    listed = run("duplicates", "Ride", "--limit", "1", "-f", "json", THYME_API_URL=world.server.url)
    assert json.loads(listed.stdout)[0]["of"] == duplicates[0]["of"]
    verified = run("verify", "--sample", "100", THYME_API_URL=world.server.url)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    metrics = httpx.get(f"{world.server.url}/metrics", trust_env=False).text
    assert 'thyme_events_duplicate_total{dataset="Ride"} 310' in metrics

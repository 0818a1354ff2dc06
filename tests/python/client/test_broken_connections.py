"""The client in front of connections that break: nothing is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from client.faulty_proxy import AFTER, BEFORE, MIDDLE, FaultyProxy
from client.rides import DEFINITIONS, ClientFeatures, ClientRide
from running import PYTHON, Server, free_port
from thyme import AsyncThymeClient, ThymeClient
from thyme._config import Config
from thyme.errors import ConnectionFailed

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)
POINTS = [BEFORE, AFTER, MIDDLE]


@pytest.fixture(scope="module")
def committed(server: Server) -> str:
    ThymeClient(server.url).commit(DEFINITIONS)
    return server.url


@pytest.fixture
def proxy(committed: str) -> Iterator[FaultyProxy]:
    running = FaultyProxy(committed)
    yield running
    running.close()


Ask = Callable[[str, str, Any], Any]


def blocking(url: str, method: str, *arguments: Any, **more: Any) -> Any:
    with ThymeClient(more.pop("config", None) or Config(api_url=url)) as client:
        return getattr(client, method)(*arguments, **more)


def awaited(url: str, method: str, *arguments: Any, **more: Any) -> Any:
    async def ask() -> Any:
        async with AsyncThymeClient(more.pop("config", None) or Config(api_url=url)) as client:
            return await getattr(client, method)(*arguments, **more)

    return asyncio.run(ask())


@pytest.fixture(params=[blocking, awaited])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    call: Callable[..., Any] = request.param
    return call


def ride(driver: str) -> dict[str, Any]:
    return {"driver": driver, "fare": 2.0, "seats": 1, "at": NOON}


@pytest.mark.parametrize("point", POINTS)
def test_a_push_counts_once_wherever_the_connection_breaks(
    proxy: FaultyProxy, committed: str, ask: Callable[..., Any], point: str
) -> None:
    driver = f"{ask.__name__}-{point}"
    proxy.faults = [point]
    position = ask(proxy.url, "log", ClientRide, ride(driver))
    row = ThymeClient(committed).query(ClientFeatures, driver, at=NOON, min_position=position)
    assert (row["rides_1h"], row["fare_sum"]) == (1, 2.0)
    assert len(proxy.passed) == (1 if point == BEFORE else 2)


@pytest.mark.parametrize("point", POINTS)
def test_without_keys_a_push_is_not_sent_again_and_the_error_does_not_guess(
    proxy: FaultyProxy, committed: str, ask: Callable[..., Any], point: str
) -> None:
    driver = f"{ask.__name__}-{point}-no-key"
    config = Config(api_url=proxy.url, push_keys=False)
    proxy.faults = [point]
    with pytest.raises(ConnectionFailed, match="broke before the answer came"):
        ask(proxy.url, "log", ClientRide, ride(driver), config=config)
    assert len(proxy.passed) == (0 if point == BEFORE else 1)
    with ThymeClient(committed) as client:
        later = client.log(ClientRide, ride("somebody else"))
        stored = client.query(ClientFeatures, driver, at=NOON, min_position=later)["rides_1h"]
    assert stored == len(proxy.passed)


@pytest.mark.parametrize("point", POINTS)
def test_reads_are_whole_wherever_the_connection_breaks(
    proxy: FaultyProxy, committed: str, ask: Callable[..., Any], point: str
) -> None:
    driver = f"{ask.__name__}-{point}-read"
    with ThymeClient(committed) as client:
        position = client.log(ClientRide, [ride(driver)] * 3)
        client.query(ClientFeatures, driver, min_position=position)
    proxy.faults = [point, point]
    assert ask(proxy.url, "query", ClientFeatures, driver, at=NOON)["fare_sum"] == 6.0
    proxy.faults = [point, point]
    batch = ask(proxy.url, "query_batch", ClientFeatures, [driver] * 50, at=NOON)
    assert batch["fare_sum"] == [6.0] * 50
    proxy.faults = [point, point]
    labels = pl.DataFrame({"driver": [driver] * 100, "at": [NOON] * 100})
    result = ask(
        proxy.url, "query_offline", ClientFeatures, labels, entity_column="driver", timestamp_column="at"
    )
    assert result["fare_sum"] == [6.0] * 100


def test_a_server_that_keeps_breaking_connections_is_given_up_with_the_number_of_tries(
    proxy: FaultyProxy, ask: Callable[..., Any]
) -> None:
    proxy.faults = [BEFORE] * 9
    config = Config(api_url=proxy.url, tries=3)
    with pytest.raises(ConnectionFailed, match=r"broke before the answer came .*\(tried 3 times\)"):
        ask(proxy.url, "query", ClientFeatures, "d1", config=config)
    assert len(proxy.faults) == 6


def test_a_server_that_is_away_is_given_up_with_the_number_of_tries(ask: Callable[..., Any]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionFailed, match=r"is `thyme serve` running\? \(tried 2 times\)"):
        ask(url, "inspect", config=Config(api_url=url, tries=2))


def test_connections_are_used_again(proxy: FaultyProxy) -> None:
    with ThymeClient(proxy.url) as client:
        for _ in range(20):
            client.status()
    assert proxy.connections == 1
    proxy.connections = 0

    async def ask() -> None:
        async with AsyncThymeClient(Config(api_url=proxy.url, connections=3)) as client:
            await asyncio.gather(*(client.query(ClientFeatures, f"d{i}") for i in range(200)))

    asyncio.run(ask())
    assert proxy.connections <= 3


def test_threads_share_one_client(proxy: FaultyProxy) -> None:
    counts: list[int] = []

    def pushes(client: ThymeClient, thread: int) -> None:
        for i in range(10):
            position = client.log(ClientRide, ride(f"thread-{thread}"))
            row = client.query(ClientFeatures, f"thread-{thread}", at=NOON, min_position=position)
            counts.append(row["rides_1h"] - i)

    proxy.faults = [point for _ in range(10) for point in (AFTER, "nowhere", "nowhere")]
    with ThymeClient(Config(api_url=proxy.url, connections=4, tries=20)) as client:
        threads = [threading.Thread(target=pushes, args=(client, i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == [1] * 80
    assert not proxy.faults


def test_pushes_go_on_over_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "thyme",
                "serve",
                "--data",
                tmp_path / "data",
                "--listen",
                f"127.0.0.1:{port}",
            ],
            env={**os.environ, "PYTHONPATH": str(PYTHON)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    running = start()
    pushed = [0, 0]
    last = ["", ""]
    killed = threading.Event()

    def push(client: ThymeClient, thread: int) -> None:
        while pushed[thread] < 20 or not killed.is_set():
            last[thread] = client.log(ClientRide, ride(f"thread-{thread}"))
            pushed[thread] += 1

    try:
        with ThymeClient(Config(api_url=url, tries=30, timeout_s=120)) as client:
            # A commit is no push: it is not sent again to a server that is starting.
            client.inspect()
            client.commit(DEFINITIONS)
            threads = [threading.Thread(target=push, args=(client, i)) for i in (0, 1)]
            for thread in threads:
                thread.start()
            while min(pushed) < 5:
                time.sleep(0.01)
            running.kill()
            running.wait()
            running = start()
            killed.set()
            for thread in threads:
                thread.join()
            for i in (0, 1):
                row = client.query(ClientFeatures, f"thread-{i}", at=NOON, min_position=last[i])
                assert row["rides_1h"] == pushed[i]
    finally:
        running.kill()
        running.wait()

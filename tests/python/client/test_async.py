"""`AsyncThymeClient`: the twin of `ThymeClient`, against a stand-in and a real `thyme serve`."""

from __future__ import annotations

import asyncio
import inspect
import typing
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from client.rides import DEFINITIONS, ClientFeatures, ClientLegFeatures, ClientRide, ClientStats
from running import Server
from stand_in import CATALOG, FakeServer
from thyme import AsyncThymeClient, ThymeClient
from thyme._async_transport import AsyncHttpTransport
from thyme._config import Config
from thyme._exchange import Answer
from thyme._steps import Blocking, iterate, run
from thyme.client import ThymeWarning
from thyme.errors import ConnectionFailed, InvalidDataError, NotFoundError, TooLargeError

TEN = datetime(2026, 5, 15, 10, tzinfo=UTC)


def methods(kind: type) -> dict[str, Callable[..., Any]]:
    return {
        name: getattr(kind, name)
        for name in dir(kind)
        if not name.startswith("_") and inspect.isfunction(getattr(kind, name))
    }


def shape(method: Callable[..., Any]) -> tuple[Any, ...]:
    """Arguments with kinds, defaults and types, and the type of what one call gives."""
    signature = inspect.signature(method)
    arguments = [(p.name, p.kind, p.default, p.annotation) for p in signature.parameters.values()]
    return (*arguments, str(signature.return_annotation).replace("AsyncIterator", "Iterator"))


def test_every_method_of_one_client_is_one_of_the_other() -> None:
    blocking, awaited = methods(ThymeClient), methods(AsyncThymeClient)
    assert set(blocking) == set(awaited)
    assert len(blocking) > 25
    for name, method in blocking.items():
        twin = awaited[name]
        assert shape(method) == shape(twin), name
        overloads = [list(map(shape, typing.get_overloads(each))) for each in (method, twin)]
        assert overloads[0] == overloads[1], name
        gives_many = "Iterator" in str(inspect.signature(method).return_annotation)
        assert inspect.iscoroutinefunction(twin) is not gives_many, name
        assert twin.__doc__ == method.__doc__, name
    assert shape(ThymeClient.__init__)[:2] == shape(AsyncThymeClient.__init__)[:2]


def over(fake: FakeServer) -> AsyncThymeClient:
    return AsyncThymeClient(transport=Blocking(fake))


def test_requests_and_results_are_those_of_the_other_client(fake: FakeServer) -> None:
    fake.replies["/features"] = {
        "features": {"rides_1h": 1, "last_ride": "2026-05-15T10:00:00Z"},
        "as_of": {"commit": "c1"},
    }
    here = ThymeClient(transport=fake).query("DriverFeatures", "d1", {"hour": 3}, at=TEN, wait_ms=5)
    there = asyncio.run(over(fake).query("DriverFeatures", "d1", {"hour": 3}, at=TEN, wait_ms=5))
    assert dict(here) == dict(there) == {"rides_1h": 1, "last_ride": TEN}
    first, second = fake.to("/features")
    assert first == second


def test_a_key_too_long_for_an_address_is_named() -> None:
    async def ask() -> None:
        transport = AsyncHttpTransport(
            Config(), httpx.MockTransport(lambda _: httpx.Response(200, json=CATALOG))
        )
        async with AsyncThymeClient(transport=transport) as client:
            with pytest.raises(TooLargeError, match="entity_id has 70,000 bytes"):
                await client.lookup("Ride", "k" * 70_000)

    asyncio.run(ask())


def test_the_servers_warnings_point_at_the_line_that_asked(fake: FakeServer) -> None:
    async def ask() -> None:
        await over(fake).query("DriverFeatures", "d1")

    fake.replies["/features"] = {"features": {}, "warnings": ["old"], "as_of": {"commit": "c1"}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ThymeClient(transport=fake).query("DriverFeatures", "d1")
        asyncio.run(ask())
    assert [each.category for each in caught] == [ThymeWarning] * 2
    assert {each.filename for each in caught} == {__file__}


def test_hundreds_who_ask_at_once_read_the_catalog_once_and_again_after_a_commit() -> None:
    commit = "c1"
    asked: list[str] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        await asyncio.sleep(0)
        if request.url.path == "/api/v1/featuresets":
            return httpx.Response(200, json={**CATALOG, "commit": commit})
        row = {"last_ride": "2026-05-15T10:00:00Z"}
        return httpx.Response(200, json={"features": row, "as_of": {"commit": commit}})

    async def ask() -> None:
        nonlocal commit
        async with AsyncThymeClient(
            transport=AsyncHttpTransport(Config(), httpx.MockTransport(handle))
        ) as client:
            for now in ("c1", "c2"):
                commit = now
                asked.clear()
                rows = await asyncio.gather(*(client.query("DriverFeatures", f"d{i}") for i in range(300)))
                assert [row["last_ride"] for row in rows] == [TEN] * 300
                assert asked.count("/api/v1/featuresets") == 1

    asyncio.run(ask())


def test_a_cancelled_call_takes_a_shared_one_from_nobody() -> None:
    release = asyncio.Event()

    async def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/featuresets":
            await release.wait()
            return httpx.Response(200, json=CATALOG)
        return httpx.Response(200, json={"features": {"rides_1h": 1}, "as_of": {"commit": "c1"}})

    async def ask() -> None:
        transport = AsyncHttpTransport(Config(), httpx.MockTransport(handle))
        async with AsyncThymeClient(transport=transport) as client:
            tasks = [asyncio.ensure_future(client.query("DriverFeatures", "d1")) for _ in range(3)]
            while not transport._shared:
                await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.wait([tasks[0]])
            release.set()
            assert [row["rides_1h"] for row in await asyncio.gather(*tasks[1:])] == [1, 1]
            assert not transport._shared

    asyncio.run(ask())


def test_a_coroutine_that_waits_is_no_blocking_call() -> None:
    with pytest.raises(RuntimeError, match="waited for something"):
        run(asyncio.sleep(0))


def test_a_listing_that_is_left_is_closed() -> None:
    ended: list[bool] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for i in range(10):
                yield i
        finally:
            ended.append(True)

    each = iterate(numbers())
    assert next(each) == 0
    each.close()  # type: ignore[attr-defined]
    assert ended == [True]


class WithoutCatalog:
    """A transport that answers nothing, for calls that should fail before they ask."""

    origin = "nowhere"

    def request(self, *_: Any, **__: Any) -> Answer:
        raise AssertionError("nothing should be asked")

    def close(self) -> None:
        """Nothing to close."""


def test_what_is_wrong_with_arguments_is_said_when_it_is_awaited() -> None:
    client = AsyncThymeClient(transport=Blocking(WithoutCatalog()))
    with pytest.raises(InvalidDataError, match="int cannot be pushed"):
        asyncio.run(client.log("Ride", 3))


@pytest.fixture(scope="module")
def real(server: Server) -> str:
    with ThymeClient(server.url) as client:
        client.commit(DEFINITIONS)
        times = [TEN + timedelta(minutes=i) for i in range(60)]
        rides = [
            {"driver": f"async-{i % 20}", "fare": float(i), "seats": i, "at": at}
            for i, at in enumerate(times)
        ]
        position = client.log(ClientRide, rides)
        client.query(ClientFeatures, "async-0", min_position=position)
    return server.url


def with_client(
    url: str, steps: Callable[[AsyncThymeClient], Coroutine[Any, Any, Any]], **config: Any
) -> Any:
    async def go() -> Any:
        async with AsyncThymeClient(Config(api_url=url, **config)) as client:
            return await steps(client)

    return asyncio.run(go())


def test_hundreds_of_queries_share_few_connections(real: str) -> None:
    at = TEN + timedelta(hours=1)
    ids = [f"async-{i % 25}" for i in range(500)]

    async def ask(client: AsyncThymeClient) -> list[Mapping[str, Any]]:
        return [
            dict(row) for row in await asyncio.gather(*(client.query(ClientFeatures, i, at=at) for i in ids))
        ]

    rows = with_client(real, ask, connections=4)
    with ThymeClient(real) as client:
        expected = client.query_batch(ClientFeatures, ids[:25], at=at).to_dict()
    assert rows == [{k: v for k, v in each.items() if k != "entity_id"} for each in expected] * 20


def test_pushes_and_reads_side_by_side_count_everything_once(real: str) -> None:
    async def ask(client: AsyncThymeClient) -> tuple[int, float]:
        ride = {"driver": "async-many", "seats": None, "at": TEN}
        positions = await asyncio.gather(*(client.log(ClientRide, {**ride, "fare": 1.0}) for _ in range(200)))
        rows = await asyncio.gather(
            *(client.query(ClientFeatures, "async-many", at=TEN, min_position=each) for each in positions)
        )
        assert all(row["rides_1h"] >= 1 for row in rows)
        last = await client.query(ClientFeatures, "async-many", at=TEN)
        return last["rides_1h"], last["fare_sum"]

    assert with_client(real, ask, connections=8) == (200, 200.0)


def test_every_kind_of_read_agrees_with_the_other_client(real: str, tmp_path: Path) -> None:
    at = TEN + timedelta(minutes=30)
    labels = pl.DataFrame({"driver": ["async-1", "async-2"], "at": [at, TEN]})
    labels.write_csv(path := tmp_path / "labels.csv")
    columns = {"entity_column": "driver", "timestamp_column": "at"}
    events = tmp_path / "rides.jsonl"
    events.write_text('{"driver": "async-file", "fare": 1.0, "seats": 1, "at": "2026-05-15T10:00:00Z"}\n' * 3)

    async def ask(client: AsyncThymeClient) -> None:
        total = await client.log_file(ClientRide, events)
        position = total["position"]
        row = await client.query(ClientFeatures, "async-file", at=TEN, position=position)
        assert row["rides_1h"] == 3
        with ThymeClient(real) as other:
            pinned = {"position": position}
            frame = await client.query_offline(ClientFeatures, labels, **columns, **pinned)
            assert (
                frame.to_dict() == other.query_offline(ClientFeatures, labels, **columns, **pinned).to_dict()
            )
            out = tmp_path / "out.parquet"
            filed = await client.query_offline(ClientFeatures, path, output=out, **columns, **pinned)
            assert filed["fare_sum"] == frame["fare_sum"]
            assert pl.read_parquet(out)["fare_sum"].to_list() == frame["fare_sum"]
            row, as_of = await client.lookup(ClientStats, "async-1", at, as_of=True, **pinned)
            assert (row, as_of) == other.lookup(ClientStats, "async-1", at, as_of=True, **pinned)
            scan = await client.scan(ClientStats, at, **pinned)
            assert scan.equals(other.scan(ClientStats, at, **pinned))
            assert await client.inspect(ClientFeatures) == other.inspect(ClientFeatures)
            commits = [each async for each in client.history(5)]
            assert commits == list(other.history(5))
            assert await client.committed(commits[0]["commit"]) == other.committed(commits[0]["commit"])
            assert [each async for each in client.late(ClientRide)] == list(other.late(ClientRide)) == []
            assert await client.dead_letters(ClientRide) == other.dead_letters(ClientRide)
            told = await client.explain(ClientFeatures.rides_1h, "async-1", at, **pinned)
            assert told == other.explain(ClientFeatures.rides_1h, "async-1", at, **pinned)
            assert (await client.query(ClientLegFeatures, ("NOW", 1)))["legs"] == 0
            assert (await client.health())["status"] == "ok"
        with pytest.raises(NotFoundError, match="ClientFeature"):
            await client.query("ClientFeature", "d0")

    with_client(real, ask)


def test_a_cancelled_read_gives_its_connection_back(real: str) -> None:
    """Reads that wait for a position of the future hold the only connection until they are cancelled."""

    async def ask(client: AsyncThymeClient) -> int:
        for _ in range(5):
            waiting = client.query(ClientFeatures, "async-1", min_position="e900000000", wait_ms=60_000)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting, 0.1)
        row = await client.query(ClientFeatures, "async-1", at=TEN + timedelta(hours=1))
        value: int = row["rides_1h"]
        return value

    assert with_client(real, ask, connections=1) == 3


def test_a_read_that_takes_too_long_says_how_long_it_waited(real: str) -> None:
    async def ask(client: AsyncThymeClient) -> None:
        with pytest.raises(ConnectionFailed, match=r"did not answer within 1 s$"):
            await client.query(ClientFeatures, "async-1", min_position="e900000000", wait_ms=60_000)
        await client.inspect()
        # An explanation takes as long as it takes, and has the only connection.
        waiting = client.explain(
            ClientFeatures.rides_1h, "async-1", min_position="e900000000", wait_ms=60_000
        )
        first = asyncio.ensure_future(waiting)
        while not client._session.transport._places.locked():  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
        with pytest.raises(ConnectionFailed, match=r"none of the 1 connections .* was free within 1 s"):
            await client.query(ClientFeatures, "async-1")
        first.cancel()
        await asyncio.wait([first])

    with_client(real, ask, timeout_s=1.0, connections=1)


def test_a_closed_client_says_so(real: str) -> None:
    async def ask() -> None:
        client = AsyncThymeClient(real)
        await client.close()
        with pytest.raises(ConnectionFailed, match="closed"):
            await client.status()

    asyncio.run(ask())

"""Several featuresets in one request, through the blocking and the awaited client."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from client.rides import DEFINITIONS, ClientFeatures, ClientLeg, ClientLegFeatures, ClientRide
from running import Server
from thyme import AsyncThymeClient, ThymeClient, ThymeResult
from thyme.client import Ask
from thyme.errors import InvalidDataError, NotFoundError

TEN = datetime(2026, 4, 15, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def real(server: Server) -> ThymeClient:
    client = ThymeClient(server.url)
    client.commit(DEFINITIONS)
    rides = [
        {"driver": f"m{i % 2}", "fare": float(i), "seats": i, "at": TEN + timedelta(minutes=i)}
        for i in range(10)
    ]
    client.log(ClientRide, rides)
    client.log(ClientLeg, [{"origin": "MUC", "stops": 2, "at": TEN}])
    return client


QUERIES = [
    Ask(ClientFeatures, ["m0", "m1"], {"hour": 23}),
    (ClientLegFeatures, [("MUC", 2), {"origin": "MUC", "stops": 3}]),
    Ask("ClientFeatures", ["m0", "nobody"], [{"hour": 1}, {"hour": 22}], features=["score", 2]),
]


def test_each_result_is_that_of_a_batch_at_the_same_position(real: ThymeClient) -> None:
    at = TEN + timedelta(minutes=30)
    results = real.query_multi(QUERIES, at)
    position = results[0].metadata["as_of"]["position"]
    assert {each.metadata["as_of"]["position"] for each in results} == {position}
    for given, result in zip(QUERIES, results, strict=True):
        ask = Ask(*given)
        alone = real.query_batch(ask.featureset, ask.ids, ask.inputs, at, features=ask.features)
        assert result.to_dict() == alone.to_dict()
    assert results[0]["score"] == [10.0, 10.0]
    assert results[1]["legs"] == [1, 0]
    assert results[2].columns == ["entity_id", "score", "rides_1h"]


def test_the_awaited_client_and_meta(real: ThymeClient, server: Server) -> None:
    async def ask() -> list[ThymeResult]:
        async with AsyncThymeClient(server.url) as client:
            return await client.query_multi(QUERIES, TEN + timedelta(minutes=30), meta=True)

    results = asyncio.run(ask())
    assert results[0].meta["rides_1h"].age_s == [22 * 60.0, 21 * 60.0]
    assert results[2].meta["rides_1h"].status == ["OK", "MISSING"]


def test_a_wrong_query_is_named(real: ThymeClient) -> None:
    with pytest.raises(NotFoundError, match=r"queries\[1\]"):
        real.query_multi([(ClientFeatures, ["m0"]), ("ClientFeature", ["m0"])])
    with pytest.raises(InvalidDataError, match="a list"):
        real.query_multi([(ClientFeatures, "m0")])
    with pytest.raises(InvalidDataError, match="featureset, ids"):
        real.query_multi([ClientFeatures])  # type: ignore[list-item]
    with pytest.raises(InvalidDataError, match="1 at least"):
        real.query_multi([])

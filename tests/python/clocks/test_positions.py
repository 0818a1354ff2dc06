"""Every answer names its time, position and commit, and every read can ask for one."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pytest

import thyme
from clocks.sales import DEFINITIONS, Sale, SaleFeatures
from running import Server
from thyme.client import ThymeClient
from thyme.errors import UnavailableError
from thyme.testing import MockContext

ARROW = "application/vnd.apache.arrow.stream"
AT = datetime(2026, 3, 15, 10, tzinfo=UTC)
LABEL = {"entity_id": "p", "timestamp": AT.isoformat()}
FS = {"featureset": "SaleFeatures"}


@pytest.fixture(scope="module")
def real(server: Server) -> ThymeClient:
    client = ThymeClient(server.url)
    client.commit(DEFINITIONS)
    return client


def sale(number: int) -> dict[str, Any]:
    return {"shop": "p", "number": number, "amount": 1.0, "at": AT}


def ipc(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def ask(url: str, door: str, **more: Any) -> httpx.Response:
    """One reading request through one door; `more` goes where that door takes it."""
    labels = ipc(pa.table({"shop": ["p"], "at": [AT]}))
    http = httpx.Client(base_url=url, trust_env=False, timeout=30)
    texts = {name: str(value) for name, value in more.items()}
    match door:
        case "get":
            return http.get("/features", params={**FS, "entity_id": "p", **texts})
        case "post":
            return http.post("/features", json={**FS, "entity_id": "p", **more})
        case "batch":
            return http.post("/features/batch", json={**FS, "entity_ids": ["p"], **more})
        case "batch arrow":
            body = {**FS, "entity_ids": ["p"], **more}
            return http.post("/features/batch", json=body, headers={"accept": ARROW})
        case "offline":
            return http.post("/features/offline", json={**FS, "queries": [LABEL], **more})
        case "offline arrow":
            params = {**FS, "timestamp_column": "at", **texts}
            headers = {"content-type": ARROW}
            return http.post("/features/offline", params=params, content=labels, headers=headers)
        case "lookup":
            return http.get("/features", params={"entity_type": "SaleCounts", "entity_id": "p", **texts})
        case "raw lookup":
            return http.get("/features", params={"entity_type": "Sale", "entity_id": "p", **texts})
        case _:
            return http.get("/features/scan", params={"dataset": "SaleCounts", **texts})


DOORS = [
    *("get", "post", "batch", "batch arrow", "offline", "offline arrow", "lookup", "raw lookup", "scan"),
]


def as_of(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == ARROW:
        schema = pa.ipc.open_stream(io.BytesIO(answer.content)).schema
        named: dict[str, str] = json.loads(schema.metadata[b"as_of"])
        return named
    return answer.json()["as_of"]


def number(answer: httpx.Response) -> Any:
    """How many sales an answer has seen, or the number of the last of them."""
    if answer.headers["content-type"] == ARROW:
        rows = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all().to_pylist()
        return next((row["n"] for row in rows if row.get("shop", "p") == "p"), 0)
    body = answer.json()
    if "values" in body:
        return body["values"][0][body["features"].index("n")]
    features = body["features"] if "features" in body else body["results"][0]["features"]
    return features.get("n", features.get("number"))


@pytest.mark.parametrize("door", DOORS)
def test_every_door_names_and_takes_times_and_positions(server: Server, real: ThymeClient, door: str) -> None:
    before = number(ask(server.url, door, min_position=real.log(Sale, [sale(0)])))
    first = real.log(Sale, [sale(1)])
    again = real.log(Sale, [sale(2)])
    expected = (1, 2) if door == "raw lookup" else (before + 1, before + 2)
    newest = ask(server.url, door, min_position=again)
    then = ask(server.url, door, position=first, wait_ms=20_000)
    assert (number(then), number(newest)) == expected
    assert as_of(then)["position"] == first
    assert as_of(newest).keys() == {"time", "position", "commit"}
    assert as_of(newest)["commit"] == real.status()["commit"]
    assert datetime.fromisoformat(as_of(newest)["time"]) <= datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize("door", DOORS)
def test_a_position_that_never_comes_is_refused_in_time_with_the_newest(
    server: Server, real: ThymeClient, door: str
) -> None:
    for asked in ("min_position", "position"):
        refused = ask(server.url, door, **{asked: "e99999999", "wait_ms": 20})
        assert refused.status_code == 503, refused.text
        assert "e99999999 is not applied after 0.02 s; the newest is e" in refused.json()["detail"]
    refused = ask(server.url, door, min_position="e1", wait_ms=60_001)
    assert (refused.status_code, "from 0 to 60000" in refused.json()["detail"]) == (400, True)


def test_a_client_reads_its_own_writes(real: ThymeClient) -> None:
    shop = f"own-{time.monotonic_ns()}"
    for n in range(1, 101):
        position = real.log(Sale, [{**sale(n), "shop": shop}])
        assert real.query(SaleFeatures, shop, min_position=position)["n"] == n
    labels = [{"shop": shop, "at": AT}]
    then = real.query_offline(SaleFeatures, labels, timestamp_column="at", position=position)
    assert then["n"] == 100
    assert then.metadata["as_of"]["position"] == position
    with pytest.raises(UnavailableError, match="the newest is e"):
        real.query(SaleFeatures, shop, min_position="e99999999", wait_ms=5)


def test_engines_in_this_process_name_theirs() -> None:
    with thyme.local() as client:
        client.commit(DEFINITIONS)
        position = client.log(Sale, [sale(1)])
        for result in (
            client.query(SaleFeatures, "p"),
            client.query_batch(SaleFeatures, ["p"]),
            client.query_offline(SaleFeatures, [{"shop": "p", "at": AT}], timestamp_column="at"),
        ):
            assert result.metadata["as_of"]["position"] == position
            assert result.metadata["as_of"]["commit"] == client.status()["commit"]
            assert result["n"] == 1
    with MockContext() as context:
        context.add_events(Sale, [sale(1), sale(2)])
        labels = [{"shop": "p", "at": AT}]
        result = context.query_offline(SaleFeatures, labels, timestamp_column="at")
        assert result["n"] == 2
        assert result.metadata["as_of"]["position"].startswith("e")


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"as_servd": "1"}, "no parameter as_servd (did you mean as_served?)"),
        ({"as_served": "maybe"}, 'expected true or false, got "maybe"'),
        ({"wait_ms": "soon"}, 'wait_ms: expected a number from 0 to 60000, got "soon"'),
    ],
)
def test_what_would_be_misread_is_refused(
    server: Server, real: ThymeClient, params: dict[str, str], complaint: str
) -> None:
    refused = ask(server.url, "offline arrow", **params)
    assert (refused.status_code, complaint in refused.json()["detail"]) == (400, True), refused.text


def test_a_json_training_set_takes_nothing_from_the_query_string(server: Server, real: ThymeClient) -> None:
    url = f"{server.url}/features/offline?as_served=1"
    refused = httpx.post(url, json={**FS, "queries": [LABEL]}, trust_env=False)
    assert refused.status_code == 400
    assert "give as_served in it" in refused.json()["detail"]

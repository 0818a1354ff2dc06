"""The client's requests and what it makes of the answers."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from stand_in import FakeServer, refusal, with_metadata
from thyme._errors import (
    ConflictError,
    InvalidDataError,
    NotFoundError,
    PoisonedError,
    StorageFullError,
    ThymeError,
    UnavailableError,
    UnsupportedError,
)
from thyme.client import ThymeClient, ThymeWarning

NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)
AS_OF = {"time": "2026-03-15T12:00:00Z", "position": "e17", "commit": "c1"}


class DriverFeatures:
    """Stands for a decorated class."""


def feature_answer(**features: Any) -> dict[str, Any]:
    return {"entity_type": "DriverFeatures", "features": features, "mode": "online", "as_of": AS_OF}


# Online


def test_query_sends_the_entity_the_inputs_and_when(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features"] = feature_answer(rides_1h=3)
    client.query(DriverFeatures, "d1", {"hour": 23}, at=NOON, min_position="e3", position="e9")
    assert fake.to("/features")[0].json == {
        "featureset": "DriverFeatures",
        "entity_id": "d1",
        "inputs": {"hour": 23},
        "timestamp": "2026-03-15T12:00:00Z",
        "min_position": "e3",
        "position": "e9",
    }


def test_query_gives_one_row_that_reads_like_a_dict(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features"] = feature_answer(driver="d1", rides_1h=3)
    result = client.query("DriverFeatures", "d1")
    assert len(result) == 1
    assert result["rides_1h"] == 3
    assert dict(result) == {"driver": "d1", "rides_1h": 3}
    assert result.get("nothing") is None
    assert result.metadata["as_of"] == AS_OF
    assert result.query_run_id is None


def test_values_have_the_types_of_their_features(fake: FakeServer, client: ThymeClient) -> None:
    answer = feature_answer(rides_1h=3, fare=None, last_ride="2026-03-15T11:59:00.5Z")
    answer["non_finite"] = {"fare": "-Infinity"}
    fake.replies["/features"] = answer
    row = client.query("DriverFeatures", "d1").to_dict()[0]
    assert row == {
        "rides_1h": 3,
        "fare": -math.inf,
        "last_ride": datetime(2026, 3, 15, 11, 59, 0, 500_000, tzinfo=UTC),
    }


def test_a_whole_float_is_a_float(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features"] = feature_answer(fare=3)
    assert isinstance(client.query("DriverFeatures", "d1")["fare"], float)


def test_a_row_of_nulls_keeps_its_types_in_arrow(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features"] = feature_answer(rides_1h=None, last_ride=None)
    schema = client.query("DriverFeatures", "d1").to_arrow().schema
    assert schema.types == [pa.int64(), pa.timestamp("us", "UTC")]


def test_types_are_read_once_a_commit(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features"] = feature_answer(rides_1h=3)
    for _ in range(3):
        client.query("DriverFeatures", "d1")
    assert len(fake.to("/api/v1/featuresets")) == 1
    for _ in range(3):
        fake.replies["/features"] = {**feature_answer(), "as_of": {**AS_OF, "commit": "c2"}}
        client.query("DriverFeatures", "d1")
    assert len(fake.to("/api/v1/featuresets")) == 2


def test_the_query_run_id_comes_from_the_header(fake: FakeServer, client: ThymeClient) -> None:
    import json

    from thyme._transport import Answer

    body = json.dumps(feature_answer(rides_1h=1)).encode()
    fake.replies["/features"] = Answer(200, {"x-query-run-id": "run-7"}, body)
    assert client.query("DriverFeatures", "d1").query_run_id == "run-7"


def test_warnings_of_the_server_are_python_warnings(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features"] = {
        **feature_answer(rides_1h=0),
        "warnings": ["every row is older than the window"],
    }
    with pytest.warns(ThymeWarning, match="older than the window"):
        client.query("DriverFeatures", "d1")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (("JFK", 2), {"origin": "JFK", "stops": 2}),
        ({"stops": 2, "origin": "JFK"}, {"origin": "JFK", "stops": 2}),
        ({"stops": np.int64(2), "origin": "JFK"}, {"origin": "JFK", "stops": 2}),
    ],
)
def test_composite_keys_are_objects(fake: FakeServer, client: ThymeClient, given: Any, sent: Any) -> None:
    fake.replies["/features"] = feature_answer(flights=1)
    client.query("RouteFeatures", given)
    assert fake.to("/features")[0].json["entity_id"] == sent


@pytest.mark.parametrize("given", [("JFK",), ("JFK", 2, 3), {"origin": "JFK"}, {"origin": "JFK", "stop": 2}])
def test_a_key_that_does_not_fit_names_the_key(client: ThymeClient, given: Any) -> None:
    with pytest.raises(InvalidDataError, match=r"key is \(origin, stops\)"):
        client.query("RouteFeatures", given)


def test_a_dict_for_a_single_key_is_its_value(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features"] = feature_answer(rides_1h=1)
    client.query("DriverFeatures", {"driver": "d1"})
    assert fake.to("/features")[0].json["entity_id"] == "d1"


@pytest.mark.parametrize(
    ("moment", "sent"),
    [
        (datetime(2026, 3, 15, 12), "2026-03-15T12:00:00Z"),
        (datetime(2026, 3, 15, 14, tzinfo=timezone(timedelta(hours=2))), "2026-03-15T12:00:00Z"),
        (pd.Timestamp("2026-03-15T12:00:00.25"), "2026-03-15T12:00:00.250000Z"),
        (date(2026, 3, 15), "2026-03-15"),
        ("2026-03-15 12:00", "2026-03-15 12:00"),
        (1_773_568_800, 1_773_568_800),
        (1_773_568_800.5, 1_773_568_800.5),
        (np.int64(7), 7),
    ],
)
def test_times_are_datetimes_text_or_seconds(
    fake: FakeServer, client: ThymeClient, moment: Any, sent: Any
) -> None:
    fake.replies["/features"] = feature_answer(rides_1h=1)
    client.query("DriverFeatures", "d1", at=moment)
    assert fake.to("/features")[0].json["timestamp"] == sent


@pytest.mark.parametrize("moment", [True, [1], pd.NaT])
def test_anything_else_is_no_time(client: ThymeClient, moment: Any) -> None:
    with pytest.raises(InvalidDataError, match="not a time"):
        client.query("DriverFeatures", "d1", at=moment)


@pytest.mark.parametrize(
    "ids",
    [
        ["a", "b"],
        ("a", "b"),
        np.array(["a", "b"]),
        pl.Series(["a", "b"]),
        pd.Series(["a", "b"]),
        pa.array(["a", "b"]),
    ],
)
def test_a_batch_takes_any_column_of_ids(fake: FakeServer, client: ThymeClient, ids: Any) -> None:
    table = pa.table({"entity_id": ["a", "b"], "rides_1h": [1, 2]})
    fake.replies["/features/batch"] = with_metadata(table, as_of=AS_OF, mode="online")
    result = client.query_batch("DriverFeatures", ids, inputs={"hour": 3})
    request = fake.to("/features/batch")[0]
    assert request.json == {"featureset": "DriverFeatures", "entity_ids": ["a", "b"], "inputs": {"hour": 3}}
    assert request.headers["accept"] == "application/vnd.apache.arrow.stream"
    assert result.to_dict() == [{"entity_id": "a", "rides_1h": 1}, {"entity_id": "b", "rides_1h": 2}]
    assert result.metadata == {"as_of": AS_OF, "mode": "online"}


def test_one_text_is_no_list_of_ids(client: ThymeClient) -> None:
    with pytest.raises(InvalidDataError, match="expected a list"):
        client.query_batch("DriverFeatures", "d1")


# Lookup and scan


def test_lookup_gives_the_row_or_none(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features"] = feature_answer(driver="d1", rides_1h=2, last_ride="2026-03-15T11:00:00Z")
    row = client.lookup("DriverStats", "d1", timestamp=NOON, missing="values")
    assert row == {"driver": "d1", "rides_1h": 2, "last_ride": datetime(2026, 3, 15, 11, tzinfo=UTC)}
    assert fake.to("/features")[0].params == {
        "entity_type": ["DriverStats"],
        "entity_id": ["d1"],
        "missing": ["values"],
        "timestamp": ["2026-03-15T12:00:00Z"],
    }
    row, as_of = client.lookup("DriverStats", "d1", as_of=True)
    assert row is not None
    assert as_of == AS_OF
    fake.replies["/features"] = {"entity_type": "DriverStats", "features": None, "as_of": AS_OF}
    assert client.lookup("DriverStats", "d1", as_of=True) == (None, AS_OF)
    assert client.lookup("DriverStats", "nobody") is None


def test_lookup_of_a_composite_key_names_its_fields(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features"] = feature_answer(flights=1)
    client.lookup("Route", ("J,F=K", 2))
    assert fake.to("/features")[0].params == {"entity_type": ["Route"], "origin": ["J,F=K"], "stops": ["2"]}


def test_scan_is_a_polars_frame(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features/scan"] = pa.table({"driver": ["d1"], "rides_1h": [3]})
    frame = client.scan("DriverStats", at=7)
    assert frame.equals(pl.DataFrame({"driver": ["d1"], "rides_1h": [3]}))
    assert fake.requests[0].params == {"dataset": ["DriverStats"], "timestamp": ["7"]}


# Errors, state


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_data", InvalidDataError),
        (404, "not_found", NotFoundError),
        (409, "conflict", ConflictError),
        (503, "unavailable", UnavailableError),
        (503, "poisoned", PoisonedError),
        (507, "storage_full", StorageFullError),
        (501, "a_code_of_tomorrow", UnsupportedError),
    ],
)
def test_each_code_has_its_class(
    fake: FakeServer, client: ThymeClient, status: int, code: str, kind: type[ThymeError]
) -> None:
    fake.replies["/api/v1/erase"] = refusal(status, code, "the sentence")
    with pytest.raises(kind) as caught:
        client.erase("Ride", ["d1"])
    assert (caught.value.code, caught.value.status, str(caught.value)) == (code, status, "the sentence")


def test_inspect_gives_one_definition_or_all(client: ThymeClient) -> None:
    assert client.inspect()["commit"] == "c1"
    assert client.inspect(DriverFeatures)["entity"] == ["driver"]
    with pytest.raises(NotFoundError, match="did you mean DriverFeatures"):
        client.inspect("DriverFeature")


def test_commit_sends_a_document_and_reads_types_again(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/api/v1/commit"] = {"commit": "c2", "changes": [], "counts": {}, "position": "e4"}
    client.inspect()
    answer = client.commit({"format": 1, "datasets": []}, dry_run=True, wait_sources=True)
    assert answer["commit"] == "c2"
    assert fake.to("/api/v1/commit")[0].params == {"dry_run": ["1"], "wait_sources": ["1"]}


def test_health_of_a_server_that_is_not_ready_is_no_error(fake: FakeServer, client: ThymeClient) -> None:
    from thyme._transport import Answer

    fake.replies["/health"] = Answer(503, {}, b'{"status": "starting", "detail": "40 %"}')
    assert client.health() == {"status": "starting", "detail": "40 %"}


def test_a_module_is_no_definition(client: ThymeClient) -> None:
    with pytest.raises(InvalidDataError, match="neither a featureset or dataset class nor a name"):
        client.inspect(json)  # type: ignore[arg-type]


def test_inspect_says_that_nothing_is_committed(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/api/v1/featuresets"] = {"commit": None, "datasets": [], "featuresets": []}
    with pytest.raises(NotFoundError, match='named "Ride"; nothing is committed yet'):
        client.inspect("Ride")

"""What a push sends, and what it makes of the answers."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from stand_in import FakeServer, Request, refusal
from thyme import _calls as calls
from thyme._errors import InvalidDataError
from thyme.client import ThymeClient

NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)
AS_OF = {"time": "2026-03-15T12:00:00Z", "position": "e17", "commit": "c1"}


def accept(request: Request) -> dict[str, Any]:
    if request.headers["content-type"] == "application/json":
        rows = len(request.json["events"])
    elif request.headers["content-type"] == "application/x-ndjson":
        rows = request.body.count(b"\n")
    else:
        rows = request.table.num_rows
    return {"accepted": rows, "position": f"e{rows}", "skipped": 0}


def test_dicts_are_pushed_as_json(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/api/v1/log"] = accept
    rows = [
        {"driver": "d1", "fare": math.nan, "tip": None, "at": datetime(2026, 3, 15, 12)},
        {"driver": "d2", "fare": np.float64(2.5), "tip": np.int64(2), "at": 1_773_568_800},
        {"driver": "d3", "fare": np.float64("inf"), "tip": pd.NA, "at": pd.NaT},
    ]
    assert client.log("Ride", rows, idempotency_key="k") == "e3"
    request = fake.to("/api/v1/log")[0]
    assert request.headers["idempotency-key"] == "k"
    assert request.json == {
        "dataset": "Ride",
        "events": [
            {"driver": "d1", "fare": "NaN", "tip": None, "at": "2026-03-15T12:00:00Z"},
            {"driver": "d2", "fare": 2.5, "tip": 2, "at": 1_773_568_800},
            {"driver": "d3", "fare": "Infinity", "tip": None, "at": None},
        ],
    }


@pytest.mark.parametrize("data", [{"driver": "d1", "fare": 1.5}, {"driver": ["d1"], "fare": [1.5]}])
def test_a_dict_is_one_event_or_columns(fake: FakeServer, client: ThymeClient, data: Any) -> None:
    fake.replies["/api/v1/log"] = accept
    client.log("Ride", data)
    assert fake.to("/api/v1/log")[0].json["events"] == [{"driver": "d1", "fare": 1.5}]


PLAIN = pa.table({"driver": pa.array(["d1", "d2"]), "fare": pa.array([1.5, None])})


@pytest.mark.parametrize(
    "frame",
    [
        PLAIN,
        PLAIN.to_batches()[0],
        PLAIN.to_reader(),
        pl.DataFrame({"driver": ["d1", "d2"], "fare": [1.5, None]}),
        pl.DataFrame({"driver": ["d1", "d2"], "fare": [1.5, None]}).lazy(),
        pl.DataFrame(
            {"driver": ["d1", "d2"], "fare": [1.5, None]}, schema_overrides={"driver": pl.Categorical}
        ),
        pd.DataFrame({"driver": ["d1", "d2"], "fare": [1.5, None]}, index=[7, 8]),
        {"driver": np.array(["d1", "d2"], dtype=object), "fare": pl.Series([1.5, None])},
    ],
    ids=["table", "batch", "reader", "polars", "lazy", "categorical", "pandas", "arrays"],
)
def test_frames_are_pushed_as_plain_arrow(fake: FakeServer, client: ThymeClient, frame: Any) -> None:
    fake.replies["/api/v1/log"] = accept
    assert client.log("Ride", frame) == "e2"
    request = fake.to("/api/v1/log")[0]
    assert request.params == {"dataset": ["Ride"]}
    assert request.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert request.table.equals(PLAIN)


def test_large_frames_go_in_slices_with_keys_of_their_own(
    fake: FakeServer, client: ThymeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LOG_SLICE_ROWS", 3)
    fake.replies["/api/v1/log"] = accept
    client.log("Ride", pa.table({"driver": list("abcdefgh")}), idempotency_key="k")
    requests = fake.to("/api/v1/log")
    assert [request.table["driver"].to_pylist() for request in requests] == [
        list("abc"),
        list("def"),
        list("gh"),
    ]
    assert [request.headers["idempotency-key"] for request in requests] == ["k", "k.1", "k.2"]


def test_faults_speak_of_the_callers_rows(
    fake: FakeServer, client: ThymeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LOG_SLICE_ROWS", 3)
    fault = {
        "row": 1,
        "subject": "fare",
        "expected": "float",
        "got": "null",
        "message": "fare: expected float",
    }

    def second_is_bad(request: Request) -> Any:
        if len(fake.to("/api/v1/log")) == 2:
            return refusal(400, "invalid_data", "1 row is invalid", [fault])
        return accept(request)

    fake.replies["/api/v1/log"] = second_is_bad
    with pytest.raises(InvalidDataError) as caught:
        client.log("Ride", [{"driver": str(i)} for i in range(8)])
    assert caught.value.faults == [{**fault, "row": 4}]
    assert str(caught.value) == (
        "1 row is invalid (the 3 rows before row 3 were accepted)\n  row 4: fare: expected float"
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"fare": 1j}], r"events\[0\]\.fare is a complex"),
        ([{"fare": 1}, {"fare": {(1, 2): 3}}], r"events\[1\]\.fare has the name \(1, 2\)"),
        (["d1"], "row 0 is a str"),
        (7, "int cannot be pushed"),
        ({"a": [1, 2], "b": [1]}, "different lengths: a 2, b 1"),
    ],
)
def test_what_cannot_be_sent_is_named(client: ThymeClient, rows: Any, said: str) -> None:
    with pytest.raises(InvalidDataError, match=said):
        client.log("Ride", rows)

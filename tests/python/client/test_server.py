"""The client against a real `thyme serve`."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from client.rides import DEFINITIONS, ClientFeatures, ClientLeg, ClientLegFeatures, ClientRide, ClientStats
from running import Server, start_server
from thyme.client import ThymeClient
from thyme.errors import ConflictError, InvalidDataError, NotFoundError

TEN = datetime(2026, 3, 15, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def real(server: Server) -> ThymeClient:
    """A client of the server, with this folder's definitions committed and some rides."""
    client = ThymeClient(server.url)
    answer = client.commit(DEFINITIONS)
    assert answer["counts"]["featuresets"] == 2
    rides = [
        {"driver": f"d{i % 3}", "fare": float(i), "seats": i, "at": TEN + timedelta(minutes=i)}
        for i in range(30)
    ]
    client.log(ClientRide, rides)
    client.log(ClientLeg, [{"origin": "JFK", "stops": 2, "at": TEN}])
    return client


def test_what_was_pushed_is_read_at_its_position(real: ThymeClient) -> None:
    now = datetime.now(UTC)
    before = real.log(ClientRide, {"driver": "fresh", "fare": 1.0, "seats": None, "at": now})
    after = real.log(ClientRide, {"driver": "fresh", "fare": math.nan, "seats": 1, "at": now})
    assert real.query(ClientFeatures, "fresh", min_position=after)["rides_1h"] == 2
    assert math.isnan(real.query(ClientFeatures, "fresh", min_position=after)["fare_sum"])
    assert real.query(ClientFeatures, "fresh", position=before)["fare_sum"] == 1.0


def test_online_batch_and_offline_agree(real: ThymeClient) -> None:
    at = TEN + timedelta(minutes=20)
    single = [real.query(ClientFeatures, f"d{i}", {"hour": 23}, at=at).to_dict()[0] for i in range(3)]
    batch = real.query_batch(ClientFeatures, ["d0", "d1", "d2"], {"hour": 23}, at=at)
    labels = pl.DataFrame({"driver": ["d0", "d1", "d2"], "at": [at] * 3, "hour": [23] * 3})
    offline = real.query_offline(ClientFeatures, labels, entity_column="driver", timestamp_column="at")
    for column in ("rides_1h", "fare_sum", "score"):
        values = [row[column] for row in single]
        assert batch[column] == values
        assert offline[column] == values
    assert batch.columns[0] == "entity_id"
    assert batch.metadata["as_of"]["commit"] == offline.metadata["as_of"]["commit"]


def test_composite_keys_work_everywhere(real: ThymeClient) -> None:
    assert real.query(ClientLegFeatures, ("JFK", 2))["legs"] == 1
    assert real.query_batch("ClientLegFeatures", [{"origin": "JFK", "stops": 2}, ("LGA", 1)])["legs"] == [
        1,
        0,
    ]
    assert real.lookup("ClientLegStats", ("JFK", 2)) is not None
    labels = [{"from": "JFK", "n": 2, "at": TEN}, {"from": "JFK", "n": 2, "at": TEN - timedelta(days=1)}]
    result = real.query_offline(ClientLegFeatures, labels, entity_column=["from", "n"], timestamp_column="at")
    assert result["legs"] == [1, 0]


def test_lookup_and_scan_read_datasets(real: ThymeClient) -> None:
    assert real.lookup(ClientStats, "nobody") is None
    values = real.lookup(ClientStats, "nobody", missing="values")
    assert values is not None
    assert values["rides_1h"] == 0
    frame = real.scan(ClientStats, at=TEN + timedelta(minutes=29))
    assert frame.filter(pl.col("driver") == "d0")["last_seats"].to_list() == [27]
    row, as_of = real.lookup(ClientStats, "d0", at := TEN + timedelta(minutes=29), as_of=True)
    assert row is not None
    assert set(as_of) >= {"time", "position", "commit"}
    again, _ = real.scan(ClientStats, at, position=as_of["position"], as_of=True)
    assert again.filter(pl.col("driver") == "d0")["rides_1h"].to_list() == [row["rides_1h"]]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_labels_in_a_file_give_the_same_values(real: ThymeClient, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels.{suffix}"
    times = ["2026-03-15T10:10:00Z", "2026-03-15T10:20:00Z"]
    labels = pl.DataFrame({"driver": ["d0", "d1"], "at": times})
    {"parquet": labels.write_parquet, "csv": labels.write_csv, "jsonl": labels.write_ndjson}[suffix](path)
    output = tmp_path / "out.parquet"
    result = real.query_offline(
        ClientFeatures, path, entity_column="driver", timestamp_column="at", output=output
    )
    assert result["rides_1h"] == [4, 7]
    assert pl.read_parquet(output)["rides_1h"].to_list() == [4, 7]


def test_every_kind_of_time_column_is_read(real: ThymeClient) -> None:
    seconds = int((TEN + timedelta(minutes=10)).timestamp())
    columns = [
        pa.array(["2026-03-15T10:10:00Z"]),
        pa.array(["2026-03-15 10:10:00"]),
        pa.array([seconds]),
        pa.array([float(seconds)]),
        pa.array([seconds], pa.timestamp("s")),
        pa.array([seconds * 10**9], pa.timestamp("ns", "Europe/Berlin")),
    ]
    for column in columns:
        labels = pa.table({"driver": ["d0"], "at": column})
        result = real.query_offline(ClientFeatures, labels, entity_column="driver", timestamp_column="at")
        assert result["rides_1h"] == 4, column.type


def test_an_idempotency_key_counts_once(real: ThymeClient) -> None:
    ride = {"driver": "once", "fare": 2.0, "seats": None, "at": TEN}
    first = real.log(ClientRide, ride, idempotency_key="once-1")
    assert real.log(ClientRide, ride, idempotency_key="once-1") == first
    with pytest.raises(ConflictError):
        real.log(ClientRide, {**ride, "fare": 3.0}, idempotency_key="once-1")
    assert real.query(ClientFeatures, "once", at=TEN, min_position=first)["fare_sum"] == 2.0


def test_refusals_name_what_is_wrong(real: ThymeClient) -> None:
    with pytest.raises(NotFoundError, match="ClientFeatures"):
        real.query("ClientFeature", "d0")
    with pytest.raises(InvalidDataError) as caught:
        real.log(ClientRide, [{"driver": "d0", "fare": 1.0, "seats": 1, "at": TEN, "tip": 1}])
    assert caught.value.faults[0]["subject"] == "tip"
    with pytest.raises(InvalidDataError, match="not a position"):
        real.query(ClientFeatures, "d0", position="nonsense")


def test_inspect_describes_keys_and_types(real: ThymeClient) -> None:
    found = real.inspect(ClientLegFeatures)
    assert found["entity"] == ["origin", "stops"]
    assert {feature["name"]: feature["type"] for feature in found["features"]}["legs"] == "int"
    fields = {field["name"]: field for field in real.inspect(ClientRide)["fields"]}
    assert (fields["driver"]["role"], fields["at"]["type"]) == ("key", "datetime")


def test_state_survives_a_restart(tmp_path: Path) -> None:
    first = start_server(tmp_path / "data")
    client = ThymeClient(first.url)
    client.commit(DEFINITIONS)
    client.log(ClientRide, {"driver": "d0", "fare": 1.5, "seats": None, "at": TEN})
    first.process.terminate()
    assert first.process.wait(timeout=20) == 0
    second = start_server(tmp_path / "data")
    try:
        assert ThymeClient(second.url).query(ClientFeatures, "d0")["fare_sum"] == 1.5
    finally:
        second.process.terminate()
        second.process.wait(timeout=20)

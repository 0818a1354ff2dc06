"""Training sets: labels out, rows and features in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from stand_in import FakeServer, Request, refusal, with_metadata
from thyme import _labels
from thyme._errors import ConflictError, InvalidDataError, ThymeError
from thyme.client import ThymeClient

NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)
AS_OF = {"time": "2026-03-15T12:00:00Z", "position": "e17", "commit": "c1"}


def answer_offline(request: Request) -> pa.Table:
    table = request.table.append_column("rides_1h", pa.array([1] * request.table.num_rows))
    return with_metadata(table, as_of=AS_OF)


LABELS = [{"driver": f"d{i}", "at": NOON + timedelta(hours=i)} for i in range(5)]


@pytest.mark.parametrize(
    "labels", [LABELS, pl.DataFrame(LABELS), pd.DataFrame(LABELS), pa.Table.from_pylist(LABELS)]
)
def test_a_training_set_is_the_labels_and_the_features(
    fake: FakeServer, client: ThymeClient, labels: Any
) -> None:
    fake.replies["/features/offline"] = answer_offline
    result = client.query_offline("DriverFeatures", labels, entity_column="driver", timestamp_column="at")
    assert result.columns == ["driver", "at", "rides_1h"]
    assert result.to_dict() == [{**label, "rides_1h": 1} for label in LABELS]
    assert fake.to("/features/offline")[0].params == {
        "featureset": ["DriverFeatures"],
        "timestamp_column": ["at"],
        "entity_column": ["driver"],
    }


def test_slices_keep_the_order_and_are_computed_at_one_position(
    fake: FakeServer, client: ThymeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_labels, "SLICE_ROWS_MAX", 2)
    fake.replies["/features/offline"] = answer_offline
    done: list[int] = []
    result = client.query_offline(
        "DriverFeatures", LABELS, entity_column="driver", timestamp_column="at", progress=done.append
    )
    assert result["driver"] == ["d0", "d1", "d2", "d3", "d4"]
    assert done == [2, 2, 1]
    assert [r.params.get("position") for r in fake.to("/features/offline")] == [None, ["e17"], ["e17"]]


def test_as_served_is_asked_for_in_every_slice(
    fake: FakeServer, client: ThymeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_labels, "SLICE_ROWS_MAX", 2)
    fake.replies["/features/offline"] = answer_offline
    client.query_offline("DriverFeatures", LABELS, timestamp_column="at", as_served=True)
    assert [r.params["as_served"] for r in fake.to("/features/offline")] == [["1"]] * 3
    assert [r.params.get("position") for r in fake.to("/features/offline")] == [None, ["e17"], ["e17"]]


def test_a_commit_in_between_is_a_conflict(
    fake: FakeServer, client: ThymeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_labels, "SLICE_ROWS_MAX", 2)

    def answer(request: Request) -> pa.Table:
        commit = f"c{len(fake.to('/features/offline'))}"
        return with_metadata(request.table, as_of={**AS_OF, "commit": commit})

    fake.replies["/features/offline"] = answer
    with pytest.raises(ConflictError, match="definitions were changed"):
        client.query_offline("DriverFeatures", LABELS, timestamp_column="at")


def test_mixed_times_in_rows_become_one_column(fake: FakeServer, client: ThymeClient) -> None:
    fake.replies["/features/offline"] = answer_offline
    rows = [
        {"driver": "a", "at": NOON},
        {"driver": "b", "at": "2026-03-15T12:00:00"},
        {"driver": "c", "at": NOON.timestamp() + 0.1},
        {"driver": "d", "at": None, "hour": 3},
    ]
    client.query_offline("DriverFeatures", rows, entity_column="driver", timestamp_column="at")
    table = fake.to("/features/offline")[0].table
    assert table["at"].to_pylist() == [NOON, NOON, NOON + timedelta(milliseconds=100), None]
    assert table["hour"].to_pylist() == [None, None, None, 3]


def test_a_column_of_mixed_types_is_named(client: ThymeClient) -> None:
    rows = [{"driver": "a", "at": 1}, {"driver": 2, "at": 2}]
    with pytest.raises(InvalidDataError, match=r'column "driver" mixes types .* int, str'):
        client.query_offline("DriverFeatures", rows, timestamp_column="at")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "arrow"])
def test_an_output_file_holds_the_rows(
    fake: FakeServer, client: ThymeClient, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_labels, "SLICE_ROWS_MAX", 2)
    fake.replies["/features/offline"] = answer_offline
    path = tmp_path / f"out.{suffix}"
    result = client.query_offline("DriverFeatures", LABELS, timestamp_column="at", output=path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name, f"{path.name}.manifest.json"]
    assert result["rides_1h"] == [1] * 5
    assert result["driver"] == [f"d{i}" for i in range(5)]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "arrow"])
@pytest.mark.parametrize("zone", [UTC, None])
def test_an_output_file_gives_times_back_as_times(
    fake: FakeServer, client: ThymeClient, tmp_path: Path, suffix: str, zone: timezone | None
) -> None:
    fake.replies["/features/offline"] = answer_offline
    rows = [{"driver": "d1", "at": datetime(2026, 3, 15, 12, 0, 0, 5, tzinfo=zone)}]
    frame = pl.DataFrame(rows)
    result = client.query_offline(
        "DriverFeatures", frame, timestamp_column="at", output=tmp_path / f"out.{suffix}"
    )
    assert result["at"] == rows[0]["at"]


def test_times_in_a_file_of_json_lines_may_be_mixed(
    fake: FakeServer, client: ThymeClient, tmp_path: Path
) -> None:
    fake.replies["/features/offline"] = answer_offline
    path = tmp_path / "labels.jsonl"
    path.write_text('{"driver": "a", "at": 1773576000}\n{"driver": "b", "at": "2026-03-15T12:00:00Z"}\n')
    client.query_offline("DriverFeatures", path, timestamp_column="at")
    at = datetime(2026, 3, 15, 12, tzinfo=UTC)
    assert fake.to("/features/offline")[0].table["at"].to_pylist() == [at, at]


def test_a_refused_training_set_leaves_no_file(fake: FakeServer, client: ThymeClient, tmp_path: Path) -> None:
    fake.replies["/features/offline"] = refusal(422, "extractor_failed", "scored raised ZeroDivisionError")
    with pytest.raises(ThymeError, match="scored raised"):
        client.query_offline("DriverFeatures", LABELS, timestamp_column="at", output=tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_labels_may_be_a_file(fake: FakeServer, client: ThymeClient, tmp_path: Path, suffix: str) -> None:
    fake.replies["/features/offline"] = answer_offline
    path = tmp_path / f"labels.{suffix}"
    rows = {
        "driver": ["007", "d1"],
        "at": ["2026-03-15T12:00:00Z", "2026-03-15T13:00:00Z"],
        "note": ["1", "x"],
    }
    frame = pl.DataFrame(rows)
    {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[suffix](path)
    client.query_offline("DriverFeatures", path, entity_column="driver", timestamp_column="at")
    assert fake.to("/features/offline")[0].table.to_pydict() == rows

"""Training sets hold what single reads and the slow way give, however the labels come."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from running import Server
from thyme import _labels
from thyme._errors import InvalidDataError
from thyme.client import ThymeClient
from training.conftest import Trained
from training.definitions import (
    DEFINITIONS,
    FEATURES,
    START,
    TrainFeatures,
    TrainTrip,
    expected,
    labels,
)


def bits(value: Any) -> Any:
    """A value, floats by their bits."""
    return struct.pack("<d", value) if isinstance(value, float) else value


def same(row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(bits(row[name]) == bits(wanted[name]) for name in FEATURES)


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every training set take several requests."""
    monkeypatch.setattr(_labels, "SLICE_ROWS_MAX", 97)


def reader(rows: list[dict[str, Any]]) -> pa.RecordBatchReader:
    table = pa.Table.from_pylist(rows)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=31))


CONTAINERS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "rows": list,
    "polars": pl.DataFrame,
    "lazy": lambda rows: pl.LazyFrame(rows).filter(pl.col("rider").is_not_null()),
    "pandas": pd.DataFrame,
    "arrow": pa.Table.from_pylist,
    "reader": reader,
    "columns": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_any_frame_gives_the_values_of_single_reads_and_of_the_slow_way(trained: Trained, kind: str) -> None:
    rows = labels(250, trained.events)
    result = trained.client.query_offline(
        TrainFeatures, CONTAINERS[kind](rows), entity_column="rider", timestamp_column="at"
    )
    assert result.columns == ["note", "rider", "at", "hour", *FEATURES]
    answers = result.to_dict()
    assert [{name: row[name] for name in rows[0]} for row in answers] == rows
    for row in answers:
        assert same(row, expected(row, trained.events)), row
    position = result.metadata["as_of"]["position"]
    for row in answers[::40]:
        single = trained.client.query(
            TrainFeatures, row["rider"], {"hour": row["hour"]}, at=row["at"], position=position
        )
        assert same(row, dict(single))


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "parquet": lambda table, path: pq.write_table(table, path, row_group_size=50),
    "arrow": lambda table, path: _arrow(table, path),
    "csv": lambda table, path: pl.DataFrame(pl.from_arrow(table)).write_csv(path),
    "jsonl": lambda table, path: pl.DataFrame(pl.from_arrow(table)).write_ndjson(path),
}


def _arrow(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("into", ["parquet", "csv", "arrow", "jsonl"])
@pytest.mark.parametrize("kind", WRITERS)
def test_files_of_a_pattern_give_the_same_in_the_order_of_their_names(
    trained: Trained, tmp_path: Path, kind: str, into: str
) -> None:
    rows = labels(250, trained.events)
    table = pa.Table.from_pylist(rows)
    for i in range(3):
        WRITERS[kind](table.slice(i * 100, 100), tmp_path / f"part-{i}.{kind}")
    output = tmp_path / f"out.{into}"
    result = trained.client.query_offline(
        TrainFeatures,
        tmp_path / f"part-*.{kind}",
        entity_column="rider",
        timestamp_column="at",
        output=output,
    )
    answers = result.to_dict()
    assert [row["note"] for row in answers] == [row["note"] for row in rows]
    for row, label in zip(answers, rows, strict=True):
        assert same(row, expected(label, trained.events))
    assert output.exists()


def test_columns_of_the_callers_keep_their_types(trained: Trained, tmp_path: Path) -> None:
    from decimal import Decimal

    frame = pl.DataFrame(
        {
            "rider": pl.Series(["r1", "r2"] * 100, dtype=pl.Categorical),
            "at": pl.Series([START] * 200, dtype=pl.Datetime("ns", "UTC")),
            "hour": pl.Series([1, 2] * 100, dtype=pl.Int8),
            "price": pl.Series([Decimal("1.10"), None] * 100, dtype=pl.Decimal(10, 2)),
            "tags": pl.Series([["a"], []] * 100, dtype=pl.List(pl.String)),
            "where": pl.Series([{"x": 1}, {"x": None}] * 100, dtype=pl.Struct({"x": pl.Int16})),
        }
    )
    query = {"entity_column": "rider", "timestamp_column": "at"}
    result = trained.client.query_offline(TrainFeatures, frame, **query)
    assert result.to_polars().select(frame.columns).equals(frame)
    assert result.to_polars().select(frame.columns).schema == frame.schema
    written = trained.client.query_offline(TrainFeatures, frame, output=tmp_path / "out.parquet", **query)
    assert written.to_polars().select(frame.columns).equals(frame)

    pandas = pd.DataFrame({"rider": pd.Categorical(["r1", "r2"]), "at": [START] * 2, "hour": [1, 2]})
    pandas["hour"] = pandas["hour"].astype("Int16")
    answered = trained.client.query_offline(TrainFeatures, pandas, **query).to_pandas()
    assert list(answered.dtypes[: len(pandas.columns)]) == list(pandas.dtypes)


def test_all_slices_are_at_the_position_of_the_first(trained: Trained) -> None:
    late = {"rider": "r0", "paid": 1e6, "tip": 1e6, "at": START}
    rows = [{"rider": "r0", "at": START, "hour": 1}] * 300

    def told(done: int) -> None:
        trained.client.log(TrainTrip, [late])
        trained.events.append(late)

    query = {"entity_column": "rider", "timestamp_column": "at"}
    counts = trained.client.query_offline(TrainFeatures, rows, progress=told, **query)["trips_6h"]
    assert len(set(counts)) == 1
    again = trained.client.query_offline(TrainFeatures, rows, **query)["trips_6h"]
    assert set(again) == {counts[0] + 4}


def test_what_is_not_kept_in_memory_is_mapped_from_a_file(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("thyme._training.memory_bytes", lambda given: 20_000)
    rows = labels(1000, trained.events)
    query = {"entity_column": "rider", "timestamp_column": "at"}
    answers = trained.client.query_offline(TrainFeatures, rows, **query).to_dict()
    assert [row["note"] for row in answers] == [row["note"] for row in rows]
    assert all(same(row, expected(row, trained.events)) for row in answers[::50])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["rows", "polars", "arrow", "reader", "pandas"])
def test_a_null_entity_is_refused_with_its_row(trained: Trained, kind: str) -> None:
    rows = labels(200, trained.events)
    rows[150]["rider"] = None
    with pytest.raises(InvalidDataError, match="row 150\\b.*rider") as caught:
        trained.client.query_offline(
            TrainFeatures, CONTAINERS[kind](rows), entity_column="rider", timestamp_column="at"
        )
    assert caught.value.faults[0]["row"] == 150


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [("rider", None, "rider"), ("at", None, "at"), ("at", "noon", "noon"), ("hour", None, "hour")],
)
def test_a_wrong_cell_is_named_with_its_file_and_row(
    trained: Trained, tmp_path: Path, column: str, value: Any, said: str
) -> None:
    rows = [{**row, "at": row["at"].isoformat()} for row in labels(300, trained.events)]
    rows[250][column] = value
    for i in range(2):
        pl.DataFrame(rows[i * 165 : (i + 1) * 165]).write_parquet(tmp_path / f"{i}.parquet")
    with pytest.raises(InvalidDataError, match=rf'row 85 of "[^"]*1\.parquet".*{said}|{said}.*row 85 of'):
        trained.client.query_offline(
            TrainFeatures,
            f"{tmp_path}/*.parquet",
            entity_column="rider",
            timestamp_column="at",
            output=tmp_path / "out.csv",
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.parquet", "1.parquet"]


def test_over_http_it_is_the_same(server: Server, trained: Trained) -> None:
    with ThymeClient(server.url) as client:
        client.commit(DEFINITIONS)
        position = client.log(TrainTrip, trained.events)
        rows = labels(300, trained.events)
        result = client.query_offline(
            TrainFeatures,
            pl.LazyFrame(rows),
            entity_column="rider",
            timestamp_column="at",
            min_position=position,
        )
        for row in result.to_dict():
            assert same(row, expected(row, trained.events))

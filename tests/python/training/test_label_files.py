"""Files of labels: what their columns are, and what is wrong with them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thyme import _label_files
from thyme._errors import InvalidDataError
from thyme._labels import Labels
from training.conftest import Trained
from training.definitions import TrainFeatures, expected, labels
from training.object_store import object_store
from training.test_values import same

TYPES = {"driver": "str", "hour": "int", "at": "datetime"}


def read(data: Any) -> pa.Table:
    with Labels(data, TYPES, "at") as found:
        return pa.concat_tables(list(found.slices(1 << 30, 0)[1]))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes types that only later rows decide come up in later parts."""
    monkeypatch.setattr(_label_files, "_PART_ROWS", 2)
    monkeypatch.setattr(_label_files, "_CSV_BLOCK_BYTES", 64)


def csv_of(path: Path, values: list[str]) -> Path:
    path.write_text("driver,x\n" + "".join(f"d{i},{value}\n" for i, value in enumerate(values)))
    return path


@pytest.mark.parametrize(
    ("values", "kind", "got"),
    [
        (["1"] * 50 + ["", "-7"], pa.int64(), -7),
        (["1"] * 50 + ["2.5"], pa.float64(), 2.5),
        (["1.5"] * 50 + ["1e3"], pa.float64(), 1000.0),
        (["1"] * 50 + ["x"], pa.string(), "x"),
        (["1"] * 50 + ["true"], pa.string(), "true"),
        (["true"] * 50 + ["False"], pa.bool_(), False),
        (["true"] * 50 + ["1"], pa.string(), "1"),
        (["1"] * 50 + ["007"], pa.string(), "007"),
        (["1"] * 50 + ["1234567890123456789"], pa.string(), "1234567890123456789"),
        ([""] * 50, pa.string(), None),
    ],
)
def test_a_column_of_a_csv_has_the_type_that_all_of_its_rows_have(
    tmp_path: Path, values: list[str], kind: pa.DataType, got: Any
) -> None:
    table = read(csv_of(tmp_path / "x.csv", values))
    assert table["x"].type == kind
    assert table["x"].to_pylist()[-1] == got
    assert table.num_rows == len(values)


def test_a_csv_of_a_header_alone_has_columns(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("driver,at,hour\n")
    table = read(tmp_path / "x.csv")
    assert (table.num_rows, table.column_names) == (0, ["driver", "at", "hour"])
    assert table.schema.field("hour").type == pa.int64()


def test_json_lines_have_the_columns_of_all_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"driver": "a", "at": 1, "n": 1}] * 5
    rows += [{"driver": "b", "at": "2026-03-15", "n": 2.5, "more": [1, None]}]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = read(path)
    assert table["n"].to_pylist() == [1.0] * 5 + [2.5]
    assert table["more"].to_pylist() == [None] * 5 + [[1, None]]
    assert pa.types.is_timestamp(table["at"].type)
    path.write_text('{"n": 1}\n{"n": 1}\n{"n": "x"}\n')
    with pytest.raises(InvalidDataError, match=r'x\.jsonl": a column mixes types up to row 2'):
        read(path)
    path.write_text('{"n": 1}\n[2]\n')
    with pytest.raises(InvalidDataError, match=r'x\.jsonl": row 1 is a list: expected an object'):
        read(path)


def test_files_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    pl.DataFrame({"driver": ["a"], "n": [1]}).write_parquet(tmp_path / "0.parquet")
    second = tmp_path / "1.parquet"
    for frame, said in [
        ({"driver": ["b"]}, r'1\.parquet" has no column "n", which ".*0\.parquet" has'),
        ({"driver": ["b"], "n": [1], "m": [1]}, r'1\.parquet" has a column "m", which ".*0\.parquet"'),
        ({"driver": ["b"], "n": ["x"]}, r'column "n" is int64 in ".*0\.parquet" and .*string.* in ".*1\.par'),
    ]:
        pl.DataFrame(frame).write_parquet(second)
        with pytest.raises(InvalidDataError, match=said):
            read(f"{tmp_path}/*.parquet")
    pl.DataFrame({"n": [2.5], "driver": ["b"]}).write_parquet(second)
    assert read([tmp_path / "0.parquet", second]).to_pydict() == {"driver": ["a", "b"], "n": [1.0, 2.5]}


def test_what_names_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match=r'no file is called ".*/\*\.csv"'):
        read(f"{tmp_path}/*.csv")
    with pytest.raises(InvalidDataError, match=r'is a directory; name its files, such as ".*/\*\.parquet"'):
        read(tmp_path)
    with pytest.raises(InvalidDataError, match='cannot use "nosuch://bucket/x.parquet"'):
        read("nosuch://someone:hidden@bucket/x.parquet?token=hidden")


def test_labels_and_output_may_be_on_an_object_store(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    rows = labels(90, trained.events)
    with object_store() as (options, objects):
        for i, suffix in enumerate(("parquet", "csv")):
            path = tmp_path / f"part-{i}.{suffix}"
            frame = pl.DataFrame(rows[i * 50 : (i + 1) * 50])
            frame.write_parquet(path) if suffix == "parquet" else frame.write_csv(path)
            objects[f"bucket/day/{path.name}"] = path.read_bytes()
            objects[f"bucket/day/deeper/{path.name}"] = b"not asked for"
        store = "s3://someone:hidden@bucket"
        for pattern, wanted in [("part-*.parquet", rows[:50]), ("part-1.csv", rows[50:])]:
            result = trained.client.query_offline(
                TrainFeatures,
                f"{store}/day/{pattern}?{options}",
                entity_column="rider",
                timestamp_column="at",
                output=f"{store}/out/rows.parquet?{options}",
            )
            assert "bucket/out/rows.parquet" in objects
            answers = result.to_dict()
            assert [row["note"] for row in answers] == [row["note"] for row in wanted]
            for row, label in zip(answers, wanted, strict=True):
                assert same(row, expected(label, trained.events))
        with pytest.raises(InvalidDataError, match="part-9") as caught:
            read(f"{store}/day/part-9.parquet?{options}")
        assert "hidden" not in str(caught.value)


def test_what_was_read_of_a_parquet_file_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_label_files, "_PART_ROWS", 65_536)
    path, numbers = tmp_path / "labels.parquet", random.Random(7)
    schema = pa.schema({"at": pa.timestamp("us", "UTC")})
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as file:
        for _ in range(32):
            times = pa.array([numbers.getrandbits(50) for _ in range(65_536)], pa.int64())
            file.write_table(pa.table({"at": times.cast(schema.field("at").type)}))
    before, most = pa.total_allocated_bytes(), 0
    with Labels(path, TYPES, "at") as rows:
        for part in rows.slices(1 << 30, 0, 65_536)[1]:
            assert part.num_rows == 65_536
            most = max(most, pa.total_allocated_bytes() - before)
    assert path.stat().st_size > 16 << 20
    assert most < 8 << 20

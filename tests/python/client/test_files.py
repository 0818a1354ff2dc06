"""Rows in files."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from stand_in import FakeServer
from thyme import _calls as calls
from thyme._errors import InvalidDataError
from thyme._files import FrameWriter, columns_of, json_line_slices, read_slices
from thyme._labels import Labels
from thyme.client import ThymeClient

TYPES = {"driver": "str", "fare": "float", "seats": "int", "at": "datetime"}


def read(path: Path, as_labels: bool = False) -> pa.Table:
    if as_labels:
        with Labels(path, TYPES, "at") as labels:
            return pa.concat_tables(list(labels.slices(1 << 30, 0)[1]))
    return pa.concat_tables(list(read_slices(path, TYPES)))


@pytest.fixture
def rides(tmp_path: Path) -> Path:
    path = tmp_path / "rides.csv"
    path.write_text(
        "driver,fare,seats,at\n007,1,,2026-03-15T10:00:00Z\n"
        '"",NaN,2,2026-03-15 10:00\n"a,\nb",-Infinity,3,2026-03-15\n'
    )
    return path


def test_a_csv_is_read_by_the_types_of_the_fields(rides: Path) -> None:
    table = read(rides)
    assert table.column_names == ["driver", "fare", "seats", "at"]
    assert table["driver"].to_pylist() == ["007", "", "a,\nb"]
    assert table["seats"].to_pylist() == [None, 2, 3]
    assert table["at"].to_pylist() == ["2026-03-15T10:00:00Z", "2026-03-15 10:00", "2026-03-15"]
    fares = table["fare"].to_pylist()
    assert fares[0] == 1.0
    assert fares[1] != fares[1]
    assert fares[2] == float("-inf")


@pytest.mark.parametrize("as_labels", [False, True])
def test_a_csv_may_have_times_in_seconds(tmp_path: Path, as_labels: bool) -> None:
    path = tmp_path / "x.csv"
    path.write_text("driver,at\nd1,1773568800\nd2,1773568800.5\n")
    assert read(path, as_labels)["at"].to_pylist() == [1773568800.0, 1773568800.5]


def test_a_cell_of_another_type_is_named_with_its_column(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("driver,seats\nd1,1\nd2,two\n")
    with pytest.raises(
        InvalidDataError, match=r'x\.csv" as csv: row 1, column "seats": expected int, got "two"'
    ):
        read(path)


def test_a_cell_of_another_type_is_named_as_the_field_is(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('driver,fare\n"d\n1",1\nd2,2,\n')
    with pytest.raises(InvalidDataError, match=r'x\.csv" as csv: '):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.csv", b"driver\xff,at\n", "as csv: it is not UTF-8 text"),
        ("x.jsonl", b'{"a": "\xff"}\n', "as jsonl: it is not UTF-8 text"),
        ("x.jsonl", b'\n{"a": 1\n', "as jsonl: line 2, column [0-9]+: Expecting"),
        ("x.csv", b"", "as csv: it has no columns"),
        ("x.jsonl", b"", "as jsonl: it has no columns"),
    ],
)
def test_columns_that_cannot_be_told(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=sentence):
        columns_of(path)


def test_a_line_that_is_no_json_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(InvalidDataError, match="line 3, column"):
        read(path)


def test_a_json_array_may_mix_times_as_json_lines_may(
    fake: FakeServer, client: ThymeClient, tmp_path: Path
) -> None:
    fake.replies["/api/v1/log"] = {"accepted": 2, "position": "e1"}
    path = tmp_path / "x.json"
    path.write_text('[{"driver": "a", "at": 1}, {"driver": "b", "at": "2026-03-15"}]')
    assert client.log_file("Ride", path)["accepted"] == 2
    events = [{"driver": "a", "at": 1}, {"driver": "b", "at": "2026-03-15"}]
    assert fake.to("/api/v1/log")[0].json == {"dataset": "Ride", "events": events}


def test_json_lines_are_cut_without_reading_them(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\n\n{"a":2}\r\n   \nnot json')
    assert list(json_line_slices(path, 2, 1 << 20)) == [(b'{"a":1}\n{"a":2}\r\n', 2), (b"not json\n", 1)]
    assert [rows for _, rows in json_line_slices(path, 100, 8)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.parquet", b"not parquet", "as parquet"),
        ("x.arrow", b"not arrow", "as arrow"),
        ("x.json", b'{"a": 1}', "array of objects"),
        ("x.jsonl", b"{", "as jsonl"),
        ("x.txt", b"", "the suffix should be one of"),
        ("x.csv", b"", "as csv"),
    ],
)
@pytest.mark.parametrize("as_labels", [False, True])
def test_what_is_not_what_its_suffix_says_is_refused(
    tmp_path: Path, name: str, content: bytes, said: str, as_labels: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=said) as caught:
        read(path, as_labels)
    assert name in str(caught.value)


@pytest.mark.parametrize("as_labels", [False, True])
def test_a_missing_file_is_named(as_labels: bool) -> None:
    with pytest.raises(InvalidDataError, match=r'"nowhere\.csv": No such file'):
        read(Path("nowhere.csv"), as_labels)


@pytest.mark.parametrize("kind", ["parquet", "csv", "arrow", "jsonl", "json"])
def test_a_file_appears_when_it_is_complete(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    moment = datetime(2026, 3, 15, 10, tzinfo=UTC)
    part = pa.table({"at": pa.array([moment], pa.timestamp("us", "UTC")), "n": [1]})
    with FrameWriter(path) as writer:
        writer.write(part)
        writer.write(part)
        assert not path.exists()
    assert os.listdir(tmp_path) == [path.name]
    rows = read(path, as_labels=True).to_pylist()
    text = "2026-03-15T10:00:00Z"
    assert rows == [{"at": moment if kind in ("parquet", "arrow") else text, "n": 1}] * 2


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), FrameWriter(path):
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.csv"]


def test_a_device_is_written_to_and_not_replaced() -> None:
    with FrameWriter("/dev/null", "csv") as writer:
        writer.write(pa.table({"a": [1]}))
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow", "json"])
def test_files_are_pushed_in_slices(
    fake: FakeServer,
    client: ThymeClient,
    tmp_path: Path,
    suffix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "LOG_SLICE_ROWS", 2)
    path = tmp_path / f"rides.{suffix}"
    with FrameWriter(path) as writer:
        writer.write(pa.table({"driver": ["1", "2", "3"], "fare": [1.0, 2.0, 3.0]}))
    fake.replies["/api/v1/log"] = lambda request: {"accepted": 7, "position": f"e{len(fake.requests)}"}
    done: list[int] = []
    total = client.log_file("Ride", path, progress=done.append)
    assert done == [2, 1]
    assert total["accepted"] == 14
    pushes = fake.to("/api/v1/log")
    assert total["position"] == f"e{fake.requests.index(pushes[-1]) + 1}"
    if suffix == "jsonl":
        assert pushes[1].body == b'{"driver": "3", "fare": 3.0}\n'
    elif suffix == "json":
        assert pushes[1].json == {"dataset": "Ride", "events": [{"driver": "3", "fare": 3.0}]}
    else:
        assert pushes[1].table.to_pylist() == [{"driver": "3", "fare": 3.0}]


def test_a_file_without_rows_is_refused(client: ThymeClient, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n\n")
    with pytest.raises(InvalidDataError, match="holds no rows"):
        client.log_file("Ride", path)

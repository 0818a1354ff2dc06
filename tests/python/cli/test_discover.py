"""`thyme discover`: its draft is committed as it is, and every row of the file becomes an event."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from running import Server, start_server
from thyme import ThymeClient
from thyme._draft import Choices, draft
from thyme._errors import InvalidDataError
from thyme._profile import profile
from thyme.cli._references import modules_at
from thyme.cli.commit import document_of

START = datetime(2026, 3, 1, 6, tzinfo=UTC)
ROWS = 500

Run = Callable[..., subprocess.CompletedProcess[str]]


def rides(rows: int = ROWS) -> dict[str, list[Any]]:
    """Rides of 20 drivers: no column is in the order of time, tips are missing."""
    numbers = np.random.default_rng(7)
    return {
        "ride_id": [f"r{i}" for i in range(rows)],
        "driver_id": [f"d{each}" for each in numbers.integers(0, 20, rows)],
        "fare": [round(float(each), 2) for each in numbers.uniform(3, 40, rows)],
        "tip": [None if i % 3 == 0 else round(i / 7, 1) for i in range(rows)],
        "seats": [int(each) for each in numbers.integers(1, 7, rows)],
        "shared": [bool(each) for each in numbers.integers(0, 2, rows)],
        "zip": [f"0{each}" for each in numbers.integers(1000, 1009, rows)],
        "picked up at": [START] * rows,
        "finished_at": [START + timedelta(minutes=int(each)) for each in numbers.permutation(rows)],
    }


def write_parquet(path: Path, rows: dict[str, list[Any]]) -> None:
    pl.DataFrame(rows).write_parquet(path)


def write_csv(path: Path, rows: dict[str, list[Any]]) -> None:
    pl.DataFrame(rows).write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")


def write_jsonl(path: Path, rows: dict[str, list[Any]]) -> None:
    with path.open("w") as file:
        for row in zip(*rows.values(), strict=True):
            file.write(json.dumps(dict(zip(rows, row, strict=True)), default=datetime.isoformat) + "\n")


def write_pandas(path: Path, rows: dict[str, list[Any]]) -> None:
    frame = pd.DataFrame(rows)
    frame["driver_id"] = frame["driver_id"].astype("category")
    frame[frame["seats"] < 9].iloc[::-1].to_parquet(path)


WRITERS: dict[str, Callable[[Path, dict[str, list[Any]]], None]] = {
    "polars.parquet": write_parquet,
    "comma.csv": write_csv,
    "lines.jsonl": write_jsonl,
    "pandas.parquet": write_pandas,
}


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("discover") / "data")
    yield running
    running.process.terminate()
    running.process.wait(timeout=20)


def drafted(path: Path, **choices: Any) -> str:
    return draft(profile(path, lambda rows: None), Choices(**choices))


def commit_all(url: str, path: Path, **choices: Any) -> tuple[str, dict[str, Any]]:
    """Commits the draft for a file; gives it, and the dataset's state once the file was read."""
    text = drafted(path, **choices)
    name = path.stem.title() if choices.get("name") is None else choices["name"]
    module = path.with_name(f"{path.stem}_{path.suffix[1:]}_draft.py")
    module.write_text(text)
    document = document_of(modules_at(module), module.name)
    with ThymeClient(url) as client:
        client.commit(document, wait_sources=True)
        status = client.status()
        client.scan(f"{name}Stats", min_position=status["position"])  # visible to reads
        return text, next(each for each in client.status()["datasets"] if each["name"] == name)


@pytest.mark.parametrize("file", WRITERS)
def test_a_draft_is_committed_as_it_is_and_takes_every_row(
    own_server: Server, tmp_path: Path, file: str
) -> None:
    rows = rides()
    WRITERS[file](path := tmp_path / file, rows)
    name = f"Ride{file.replace('.', '_').title().replace('_', '')}"
    text, state = commit_all(own_server.url, path, name=name)
    assert (state["events"], state["dead_letters"], state["late"]) == (ROWS, 0, 0)
    for line in (
        "    ride_id: str",
        "    driver_id: str = field(key=True)",
        "    fare: float",
        "    tip: float | None  # 33% null",
        "    seats: int",
        "    shared: bool",
        "    zip: str",
        "    finished_at: datetime = field(timestamp=True)",
        "    # left out: picked up at: its name is no name of Python; rename it in the file to have it",
    ):
        assert line in text.splitlines(), text
    driver = rows["driver_id"][0]
    end = max(rows["finished_at"])
    mine = [i for i, each in enumerate(rows["driver_id"]) if each == driver]
    with ThymeClient(own_server.url) as client:
        row = client.query(f"{name}Features", driver, at=end)
        recent = [i for i in mine if end - rows["finished_at"][i] < timedelta(days=1)]
        assert row["count_1d"] == len(mine) == len(recent)
        assert row["fare_max_1d"] == max(rows["fare"][i] for i in mine)


def test_keys_and_times_that_are_given_are_taken(own_server: Server, tmp_path: Path) -> None:
    write_parquet(path := tmp_path / "x.parquet", rides())
    text, state = commit_all(
        own_server.url, path, name="Composite", key=("driver_id", "seats"), timestamp="finished_at"
    )
    assert state["events"] == ROWS
    assert "guess:" not in text
    with ThymeClient(own_server.url) as client:
        assert client.inspect("CompositeFeatures")["entity"] == ["driver_id", "seats"]


def test_a_draft_without_a_source_is_pushed_to(own_server: Server, run: Run, tmp_path: Path) -> None:
    rows = {name: values for name, values in rides().items() if name != "picked up at"}
    write_csv(path := tmp_path / "pushed.csv", rows)
    url = {"THYME_API_URL": own_server.url}
    made = run("discover", str(path), "--no-source", "-o", "made.py")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == "made.py: a draft from 500 rows; look at it, then: thyme commit made.py\n"
    assert "already there" in run("discover", str(path), "-o", "made.py").stderr
    assert run("commit", "made.py", **url).returncode == 0
    pushed = run("log", "Pushed", "--input", str(path), **url)
    assert pushed.stdout.startswith("Pushed: 500 events accepted")


def test_names_that_the_draft_uses_itself_do_not_break_it(own_server: Server, tmp_path: Path) -> None:
    names = ["str", "int", "float", "bool", "Count", "Sum", "dataset", "source", "compute", "feature", "class",
             "lookup", "__index_level_0__", "größe", "a b", "count_1h", "inputs"]  # fmt: skip
    values = {name: [float(i) for i in range(30)] for name in names}
    pl.DataFrame(
        {"field": ["a", "b", "c"] * 10, **values, "datetime": [START + timedelta(hours=i) for i in range(30)]}
    ).write_parquet(path := tmp_path / "awkward.parquet")
    text, state = commit_all(own_server.url, path)
    assert (state["events"], state["dead_letters"]) == (30, 0)
    assert "    field: _str = _field(key=True)" not in text
    assert "    field: str = _field(key=True)" in text
    for i, key in enumerate(("str", "compute", "feature", "inputs")):
        table = pl.DataFrame({key: ["a", "b"] * 5, "at": [START + timedelta(hours=i) for i in range(10)]})
        table.write_parquet(path := tmp_path / f"key{i}.parquet")
        _, state = commit_all(own_server.url, path, key=(key,))
        assert state["events"] == 10


def test_every_type_of_a_parquet_file_is_a_field_or_is_said_to_be_none(
    own_server: Server, tmp_path: Path
) -> None:
    count = 12
    days = [date(2026, 3, 1) + timedelta(days=i) for i in range(count)]
    seconds = [int(START.timestamp()) + i for i in range(count)]
    table = pa.table(
        {
            "who": pa.array(["a", "b", "c"] * 4).dictionary_encode(),
            "small": pa.array(range(count), pa.int8()),
            "unsigned": pa.array(range(count), pa.uint64()),
            "beyond": pa.array([2**64 - 1] * count, pa.uint64()),
            "half": pa.array(np.arange(count), pa.float32()),
            "gaps": pa.array([None if i % 2 else float("nan") for i in range(count)]),
            "nothing": pa.nulls(count),
            "large": pa.array(["x"] * count, pa.large_string()),
            "day": pa.array(days),
            "fine": pa.array([each * 10**9 + 1 for each in seconds], pa.timestamp("ns", "Europe/Berlin")),
            "naive": pa.array(seconds, pa.timestamp("s")),
            "price": pa.array([Decimal("1.50")] * count),
            "tags": pa.array([["a"]] * count),
            "nested": pa.array([{"a": 1}] * count),
            "raw": pa.array([b"x"] * count),
        }
    )
    pq.write_table(table, path := tmp_path / "types.parquet")
    text, state = commit_all(own_server.url, path, name="Types", timestamp="fine")
    assert (state["events"], state["dead_letters"]) == (count, 0)
    for name in ("beyond", "price", "tags", "nested", "raw"):
        assert f"    # left out: {name}: " in text
    for line in (
        "small: int",
        "unsigned: int",
        "half: float",
        "nothing: str | None  # 100% null",
        "day: datetime",
    ):
        assert f"    {line}\n" in text
    with ThymeClient(own_server.url) as client:
        kept = client.lookup("Types", "c", datetime(2027, 1, 1, tzinfo=UTC))
    assert kept is not None
    assert (kept["unsigned"], kept["day"]) == (11, datetime(2026, 3, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"who": ["a"], "x": [1.0]}, "looks like an event time"),
        ({"x": [1.5], "at": [START]}, "looks like a key"),
        ({"who": ["a", None], "at": [START, START]}, "looks like a key"),
        ({"who": [], "at": []}, "holds no rows"),
    ],
)
def test_what_cannot_be_guessed_is_asked_for(tmp_path: Path, rows: dict[str, list[Any]], said: str) -> None:
    pl.DataFrame(rows).write_parquet(path := tmp_path / "x.parquet")
    with pytest.raises(InvalidDataError, match=said):
        drafted(path)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"key": ["nobody"]}, 'has no column "nobody"; it has who, ms, gap, at'),
        ({"timestamp": "ms"}, "are they milliseconds"),
        ({"timestamp": "who"}, "neither a time nor seconds"),
        ({"key": ["gap"]}, "1 of 2 rows have no value"),
        ({"key": ["at"], "timestamp": "at"}, "it is the event time"),
        ({"name": "class"}, "cannot be the name of a dataset"),
    ],
)
def test_what_cannot_be_so_is_said(tmp_path: Path, choices: dict[str, Any], said: str) -> None:
    rows = {"who": ["a", "b"], "ms": [1_772_000_000_000] * 2, "gap": ["a", None], "at": [START] * 2}
    pl.DataFrame(rows).write_parquet(path := tmp_path / "x.parquet")
    with pytest.raises(InvalidDataError, match=said):
        drafted(path, **choices)


def test_texts_are_what_all_of_them_are(tmp_path: Path) -> None:
    (path := tmp_path / "x.csv").write_text(
        "who,whole,real,code,flag,day,mixed,at\n"
        "a,1,1,007,true,2026-03-01,1,2026-03-01T00:00:00Z\n"
        "b,-2,2.5e3,12,FALSE,2026-03-02,x,2026-03-01 00:00:01.123456\n"
    )
    kinds = {each.name: each.kind for each in profile(path, lambda rows: None).columns}
    assert kinds == {
        "who": "str", "whole": "int", "real": "float", "code": "str", "flag": "bool",
        "day": "datetime", "mixed": "str", "at": "datetime",
    }  # fmt: skip
    (path := tmp_path / "x.jsonl").write_text(
        '{"who": "1", "n": 1, "r": 1, "b": true, "mix": 1, "at": "2026-03-01T00:00:00Z"}\n\n'
        '{"who": "2", "n": 2, "r": 1.5, "l": [], "mix": "x", "at": "2026-03-01", "late": 1}\n'
    )
    columns = {each.name: each for each in profile(path, lambda rows: None).columns}
    assert {name: each.kind for name, each in columns.items()} == {
        "who": "str", "n": "int", "r": "float", "b": "bool", "mix": None, "at": "datetime", "l": None, "late": "int",
    }  # fmt: skip
    assert (columns["late"].nulls, columns["b"].nulls, columns["mix"].why_not) == (
        1,
        1,
        "it holds values of several types",
    )


def test_disorder_is_measured_across_slices(tmp_path: Path) -> None:
    times = [START + timedelta(hours=each) for each in (0, 5, 4, 9, 2, 9)]
    pl.DataFrame({"who": ["a", "b"] * 3, "at": times}).write_parquet(
        path := tmp_path / "x.parquet", row_group_size=2
    )
    assert profile(path, lambda rows: None).columns[1].disorder == timedelta(hours=7)
    write_csv(path := tmp_path / "x.csv", {"who": ["a", "b"] * 3, "at": times})
    assert profile(path, lambda rows: None).columns[1].disorder == timedelta(hours=7)
    assert "# Rows are up to 7h out of order" in drafted(path)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "x.json").write_text("[]")
    with pytest.raises(InvalidDataError, match="a source reads parquet, csv, jsonl"):
        profile(path, lambda rows: None)
    (path := tmp_path / "x.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(InvalidDataError, match="not UTF-8"):
        profile(path, lambda rows: None)

"""The commands against a stand-in for the server."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from stand_in import FakeServer, Request, refusal, with_metadata
from thyme._transport import Answer
from thyme.cli import main

AT = datetime(2026, 3, 15, 10, tzinfo=UTC)
AS_OF = {"time": "2026-03-15T12:00:00Z", "position": "e17", "commit": "c1"}
ROWS = pa.table(
    {
        "entity_id": ["d1", "d2"],
        "rides_1h": pa.array([3, None], pa.int64()),
        "fare": [1.5, math.nan],
        "last_ride": pa.array([AT, None], pa.timestamp("us", "UTC")),
    }
)


class Thyme:
    """Runs commands in this process."""

    def __init__(self, fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake = fake
        monkeypatch.setattr("thyme.client.HttpTransport", lambda config: fake)

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments), prog_name="thyme")

    def fails(self, *arguments: str) -> str:
        """What a failing command writes to stderr; it writes nothing else and exits 1."""
        result = self(*arguments)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        return result.stderr


@pytest.fixture
def thyme(fake: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Thyme:
    monkeypatch.chdir(tmp_path)
    return Thyme(fake, monkeypatch)


# query, lookup


def test_query_prints_a_row_an_entity(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/features/batch"] = with_metadata(ROWS, as_of=AS_OF)
    result = thyme(
        "query",
        "DriverFeatures",
        "-e",
        "d1",
        "-e",
        "d2",
        "--at",
        "1773568800",
        "--input",
        "hour=23",
        "--min-position",
        "e3",
        "--wait-ms",
        "250",
    )
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines() if line.strip(" ─")] == [
        ["entity_id", "rides_1h", "fare", "last_ride"],
        ["d1", "3", "1.5", "2026-03-15T10:00:00Z"],
        ["d2", "null", "NaN", "null"],
    ]
    assert fake.to("/features/batch")[0].json == {
        "featureset": "DriverFeatures",
        "entity_ids": ["d1", "d2"],
        "inputs": {"hour": 23},
        "timestamp": 1773568800,
        "min_position": "e3",
        "wait_ms": 250,
    }


def test_every_format_holds_the_rows(thyme: Thyme, fake: FakeServer, tmp_path: Path) -> None:
    fake.replies["/features/batch"] = ROWS
    query = ["query", "DriverFeatures", "-e", "d1", "-e", "d2"]
    assert json.loads(thyme(*query, "-f", "json").stdout) == [
        {"entity_id": "d1", "rides_1h": 3, "fare": 1.5, "last_ride": "2026-03-15T10:00:00Z"},
        {"entity_id": "d2", "rides_1h": None, "fare": "NaN", "last_ride": None},
    ]
    assert thyme(*query, "-f", "csv").stdout == (
        "entity_id,rides_1h,fare,last_ride\nd1,3,1.5,2026-03-15T10:00:00Z\nd2,,NaN,\n"
    )
    expected = pl.DataFrame(ROWS)
    assert pl.read_parquet(io.BytesIO(thyme(*query, "-f", "parquet").stdout_bytes)).equals(expected)
    assert pl.read_ipc_stream(io.BytesIO(thyme(*query, "-f", "arrow").stdout_bytes)).equals(expected)
    for name in ("x.parquet", "x.csv", "x.json", "x.txt"):
        result = thyme(*query, "-o", name)
        assert (result.exit_code, result.stdout) == (0, "")
    assert pl.DataFrame(pq.read_table("x.parquet")).equals(expected)
    assert json.loads((tmp_path / "x.json").read_text())[0]["entity_id"] == "d1"
    assert "rides_1h" in (tmp_path / "x.txt").read_text()
    assert thyme(*query, "-f", "csv", "-o", "x.dat").exit_code == 0
    assert (tmp_path / "x.dat").read_text().startswith("entity_id,")


@pytest.mark.parametrize("text", ["origin=JFK,stops=2", '{"stops": 2, "origin": "JFK"}'])
def test_composite_keys_are_typed_by_the_definitions(thyme: Thyme, fake: FakeServer, text: str) -> None:
    fake.replies["/features/batch"] = ROWS
    assert thyme("query", "RouteFeatures", "-e", text).exit_code == 0
    assert fake.to("/features/batch")[0].json["entity_ids"] == [{"origin": "JFK", "stops": 2}]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["RouteFeatures", "-e", "JFK"],
            "-e JFK: the key is composite; write origin=...,stops=... or a JSON object",
        ),
        (["RouteFeatures", "-e", "origin=a,stops=x"], '-e origin=a,stops=x: "x" is not of type int'),
        (
            ["RouteFeatures", "-e", "origin=a"],
            "-e origin=a: the key is (origin, stops); write origin=...,stops=... or a JSON object",
        ),
        (
            ["DriverFeature", "-e", "d"],
            'no featureset or dataset named "DriverFeature"; did you mean DriverFeatures?',
        ),
        (["DriverFeatures", "-e", "d", "--input", "hour"], '--input "hour" should be NAME=VALUE'),
        (["DriverFeatures", "-e", "d", "--input", "hour=ten"], '--input hour=ten: "ten" is not of type int'),
        (["nowhere.py:X", "-e", "d"], "nowhere.py cannot be read: there is no such file"),
    ],
)
def test_a_mistake_is_one_sentence(thyme: Thyme, arguments: list[str], sentence: str) -> None:
    assert thyme.fails("query", *arguments) == sentence + "\n"


def test_an_error_of_the_server_is_its_sentence_and_its_faults(thyme: Thyme, fake: FakeServer) -> None:
    faults = [
        {"row": i, "subject": "fare", "message": f"fare: expected float, got text {i}"} for i in range(30)
    ]
    fake.replies["/features/batch"] = refusal(400, "invalid_data", "30 rows are invalid", faults)
    lines = thyme.fails("query", "DriverFeatures", "-e", "d1").splitlines()
    assert lines[0] == "30 rows are invalid"
    assert lines[1] == "  row 0: fare: expected float, got text 0"
    assert lines[-1] == "  ... and 10 more"
    assert len(lines) == 22


def test_a_fault_of_thyme_is_a_sentence_too(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/features/batch"] = {}.__getitem__
    assert thyme.fails("query", "DriverFeatures", "-e", "d1").count("\n") == 1


def test_lookup_names_entities_without_a_row(thyme: Thyme, fake: FakeServer) -> None:
    def answer(request: Request) -> Any:
        found = request.params["entity_id"] == ["d1"]
        return {"features": {"driver": "d1", "rides_1h": 2} if found else None, "as_of": AS_OF}

    fake.replies["/features"] = answer
    result = thyme("lookup", "DriverStats", "-e", "d1", "-e", "d9", "-f", "json")
    assert json.loads(result.stdout) == [{"driver": "d1", "rides_1h": 2}]
    assert result.stderr == "DriverStats has no row for d9\n"


def test_lookup_says_whose_row_it_is(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/features"] = lambda request: {"features": {"rides_1h": 2}, "as_of": AS_OF}
    result = thyme("lookup", "DriverStats", "-e", "d1", "-e", "d2", "-f", "json")
    assert json.loads(result.stdout) == [{"driver": "d1", "rides_1h": 2}, {"driver": "d2", "rides_1h": 2}]


def test_query_says_when_an_answer_is_provisional(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/features/batch"] = with_metadata(ROWS, as_of={**AS_OF, "provisional": True})
    result = thyme("query", "DriverFeatures", "-e", "d1", "--at", "2026-03-15T12:00:00Z", "-f", "csv")
    assert result.exit_code == 0
    assert result.stderr.startswith("provisional: 2026-03-15T12:00:00Z is later than now")


# query-offline


def offline(request: Request) -> pa.Table:
    return with_metadata(
        request.table.append_column("rides_1h", pa.array([1] * request.table.num_rows)), as_of=AS_OF
    )


def test_labels_of_a_file_become_a_training_set(thyme: Thyme, fake: FakeServer, tmp_path: Path) -> None:
    fake.replies["/features/offline"] = offline
    (tmp_path / "labels.csv").write_text("driver,at,note\n007,2026-03-15T10:00:00Z,x\n")
    result = thyme(
        "query-offline", "DriverFeatures", "--input", "labels.csv", "--output", "out.parquet", "--as-served"
    )
    assert result.exit_code == 0, result.output
    assert fake.to("/features/offline")[0].params == {
        "featureset": ["DriverFeatures"],
        "timestamp_column": ["at"],
        "as_served": ["1"],
    }
    assert pq.read_table("out.parquet").to_pylist() == [
        {"driver": "007", "at": "2026-03-15T10:00:00Z", "note": "x", "rides_1h": 1}
    ]


def test_labels_may_be_typed(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/features/offline"] = offline
    result = thyme(
        "query-offline", "RouteFeatures", "-e", "origin=JFK,stops=2", "--at", "2026-03-15", "-f", "json"
    )
    assert json.loads(result.stdout) == [
        {"origin": "JFK", "stops": 2, "timestamp": "2026-03-15", "rides_1h": 1}
    ]
    params = fake.to("/features/offline")[0].params
    assert params["entity_column"] == ["origin", "stops"]


@pytest.mark.parametrize(
    ("content", "more", "sentence"),
    [
        (
            "driver,x\n1,2\n",
            [],
            'which column of "labels.csv" has the times? Give --timestamp-column; it has driver, x',
        ),
        (
            "driver,x\n1,2\n",
            ["--timestamp-column", "at"],
            '"labels.csv" has no column "at"; it has driver, x',
        ),
        ("driver,at\n1,2\n", ["--entity-column", "id"], '"labels.csv" has no column "id"; it has driver, at'),
    ],
)
def test_a_column_that_is_not_there_is_named(
    thyme: Thyme, tmp_path: Path, content: str, more: list[str], sentence: str
) -> None:
    (tmp_path / "labels.csv").write_text(content)
    assert thyme.fails("query-offline", "DriverFeatures", "--input", "labels.csv", *more) == sentence + "\n"


# log


def test_log_pushes_a_file(thyme: Thyme, fake: FakeServer, tmp_path: Path) -> None:
    fake.replies["/api/v1/log"] = {"accepted": 2, "position": "e4", "skipped": 0}
    (tmp_path / "rides.jsonl").write_text('{"driver":"d1"}\n{"driver":"d2"}\n')
    result = thyme("log", "Ride", "--input", "rides.jsonl", "--idempotency-key", "k")
    assert result.stdout == "Ride: 2 events accepted, position e4\n"
    request = fake.to("/api/v1/log")[0]
    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.headers["idempotency-key"] == "k"
    result = thyme("log", "Ride", "--input", "rides.jsonl", "--json")
    assert json.loads(result.stdout) == {"accepted": 2, "skipped": 0, "position": "e4"}


def test_log_says_what_was_skipped(thyme: Thyme, fake: FakeServer, tmp_path: Path) -> None:
    fault = {"row": 1, "message": "fare: expected float, got text"}
    fake.replies["/api/v1/log"] = {"accepted": 1, "position": "e4", "skipped": 1, "faults": [fault]}
    (tmp_path / "rides.jsonl").write_text("{}\n{}\n")
    assert thyme("log", "Ride", "--input", "rides.jsonl").stderr.splitlines() == [
        "1 invalid row went to the dead letters (thyme dead-letters Ride)",
        "  row 1: fare: expected float, got text",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing.csv", 'cannot read "nothing.csv": No such file or directory'),
        (
            "nothing.xls",
            'cannot read "nothing.xls": the suffix should be one of .jsonl, .ndjson, .json, .csv',
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named(thyme: Thyme, name: str, sentence: str) -> None:
    assert thyme.fails("log", "Ride", "--input", name).startswith(sentence)


# commit


DEFINITIONS = """
from datetime import datetime
from thyme import dataset, field

@dataset
class Ride:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
"""
COMMITTED = {
    "commit": "c2",
    "changes": [{"kind": "added", "subject": "dataset Ride"}, {"kind": "unchanged", "subject": "dataset X"}],
    "counts": {"datasets": 2, "featuresets": 1},
    "position": "e1",
}


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions that no engine looks at: these tests are about files and answers."""
    monkeypatch.setattr("thyme._native.faults_of", lambda document, known: [])


@pytest.mark.usefixtures("unjudged")
def test_commit_sends_what_a_folder_defines(thyme: Thyme, fake: FakeServer, tmp_path: Path) -> None:
    fake.replies["/api/v1/commit"] = COMMITTED
    folder = tmp_path / "pkg_a"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "rides.py").write_text(DEFINITIONS)
    (folder / "again.py").write_text("from .rides import Ride\n")
    (folder / "test_rides.py").write_text("raise RuntimeError\n")
    (folder / "__main__.py").write_text("raise RuntimeError\n")
    for arguments in (["pkg_a"], ["-m", "pkg_a.rides"], ["pkg_a/again.py"]):
        result = thyme("commit", *arguments)
        assert result.stdout == "+ added dataset Ride\ncommit c2: 2 datasets, 1 featureset\n", result.output
        document = fake.to("/api/v1/commit")[-1].json
        assert [each["name"] for each in document["datasets"]] == ["Ride"]


@pytest.mark.usefixtures("unjudged")
def test_commit_can_be_a_dry_run(thyme: Thyme, fake: FakeServer, tmp_path: Path) -> None:
    fake.replies["/api/v1/commit"] = {**COMMITTED, "changes": []}
    (tmp_path / "dry.py").write_text(DEFINITIONS)
    result = thyme("commit", "dry.py", "--dry-run", "--output", "out.json")
    assert (
        result.stdout == "nothing changes\nvalid: 2 datasets, 1 featureset (dry run, nothing was committed)\n"
    )
    assert fake.to("/api/v1/commit")[0].params == {"dry_run": ["1"]}
    assert json.loads((tmp_path / "out.json").read_text())["datasets"][0]["name"] == "Ride"
    assert json.loads(thyme("commit", "dry.py", "--json").stdout)["commit"] == "c2"


@pytest.mark.usefixtures("unjudged")
def test_commit_says_which_datasets_the_log_does_not_fill_whole(
    thyme: Thyme, fake: FakeServer, tmp_path: Path
) -> None:
    fake.replies["/api/v1/commit"] = {**COMMITTED, "history_from": {"ByUser": "2023-06-01T00:00:00Z"}}
    (tmp_path / "late.py").write_text(DEFINITIONS)
    said = thyme("commit", "late.py").stdout
    assert "ByUser has history from 2023-06-01T00:00:00Z: older events have left the log\n" in said


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("nothing.py", None, '"nothing.py" does not exist: expected a .py file or a folder with some'),
        ("empty_a.py", "", '"empty_a.py" defines no dataset and no featureset'),
        ("syntax_a.py", "def f(:", "syntax_a.py:1: invalid syntax"),
        ("raises_a.py", "\n1 / 0\n", "raises_a.py:2: ZeroDivisionError: division by zero"),
        ("imports_a.py", "import nothing_like_it\n", "imports_a.py:1: No module named 'nothing_like_it'"),
        ("exits_a.py", "raise SystemExit('bye')\n", "exits_a.py:1: SystemExit: bye"),
    ],
)
def test_a_file_that_cannot_be_committed_is_one_sentence(
    thyme: Thyme, tmp_path: Path, name: str, content: str | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    said = thyme.fails("commit", name)
    assert sentence in said
    assert said.count("\n") == 1


# State


def test_status_shows_the_server_and_what_is_in_it(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/health"] = {"status": "ok"}
    fake.replies["/api/v1/status"] = {
        "version": "0.1.0",
        "ready": True,
        "clock": "wall",
        "position": "e17",
        "datasets": [{"name": "Ride", "version": 1, "kind": "raw", "events": 12}],
        "sources": [
            {
                "dataset": "Ride",
                "kind": "file",
                "path": "*.jsonl",
                "unfinished": [{"path": "rides.jsonl", "bytes": 1234}],
            }
        ],
        "pushes": {"bytes_in_flight": 77, "waiting": 0},
        "state": {"bytes_log": 4096, "log_kept_by": None},
    }
    text = thyme("status").stdout
    assert "Ride: rides.jsonl has an unfinished last line: 1,234 bytes wait" in " ".join(text.split())
    assert ["pushes_bytes_in_flight", "77"] in [line.split() for line in text.splitlines()]
    assert text.startswith("http://localhost:8080 is ok\n")
    assert "Ride" in text
    assert "4096" in text
    assert "removed_until" not in text
    fake.replies["/api/v1/status"]["datasets"][0]["removed_until"] = "2023-06-01T00:00:00Z"
    assert "removed_until" in thyme("status").stdout
    assert "log_kept_by" not in text
    kept = {"dataset": "Ride", "time": "2100-01-01T00:00:00Z", "record": "e7"}
    fake.replies["/api/v1/status"]["state"]["log_kept_by"] = kept
    assert "Ride: an event of 2100-01-01T00:00:00Z in e7" in thyme("status").stdout
    assert json.loads(thyme("status", "--json").stdout)["health"] == {"status": "ok"}


def test_status_of_a_server_that_starts(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/health"] = Answer(503, {}, b'{"status": "starting", "detail": "40 %"}')
    fake.replies["/api/v1/status"] = refusal(503, "unavailable", "starting, 40 %")
    assert thyme("status").stdout == "http://localhost:8080 is starting: 40 %\n"
    assert json.loads(thyme("status", "--json").stdout)["ready"] is False
    fake.replies["/health"] = Answer(503, {}, b'{"status": "starting", "detail": "starting: 40 %"}')
    assert thyme("status").stdout == "http://localhost:8080 is starting: 40 %\n"


def test_inspect_shows_everything_or_one_definition(thyme: Thyme) -> None:
    assert "RouteFeatures" in thyme("inspect").stdout
    assert "DriverStats.rides_1h" in thyme("inspect", "DriverFeatures").stdout
    assert "timestamp" in thyme("inspect", "Ride").stdout
    assert json.loads(thyme("inspect", "DriverFeatures", "--json").stdout)["entity"] == ["driver"]


def test_logs_and_dead_letters_are_tables(thyme: Thyme, fake: FakeServer) -> None:
    event = {
        "time": "2026-03-15T10:00:00Z",
        "severity": "error",
        "event_type": "overflow",
        "subject": "Ride",
        "message": "[x]",
    }
    fake.replies["/api/v1/events"] = {"events": [event]}
    assert "[x]" in thyme("logs", "--severity", "error", "--limit", "5").stdout
    assert fake.requests[-1].params == {"limit": ["5"], "severity": ["error"]}
    fake.replies["/api/v1/dead-letters"] = {"dead_letters": []}
    result = thyme("dead-letters", "Ride")
    assert (result.stdout, result.stderr) == ("", "none\n")
    assert thyme("dead-letters", "Ride", "-f", "json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("total", "shown", "unknown", "said"),
    [
        (0, 0, 0, []),
        (1, 1, 0, ["1 dead letter of Ride names this entity", "x: expected float"]),
        (3, 1, 0, ["3 dead letters of Ride name this entity, the newest 1", "x: expected float"]),
        (
            2,
            0,
            1,
            ["2 dead letters of Ride name this entity", "1 dead letter of Ride does not tell whose it is"],
        ),
        (0, 0, 1200, ["1,200 dead letters of Ride do not tell whose they are (see thyme dead-letters Ride)"]),
    ],
)
def test_an_explanation_says_whose_dead_letters_it_counts(
    total: int, shown: int, unknown: int, said: list[str], thyme: Thyme, fake: FakeServer
) -> None:
    letter = {"position": "e2", "origin": "push", "reason": "x: expected float"}
    fake.replies["/api/v1/explain"] = {
        "name": "Ride.fare",
        "entity_id": "d1",
        "value": 1.5,
        "origin": "field",
        "notes": [],
        "definition": {
            "dataset": "Ride",
            "version": 1,
            "field": "fare",
            "input": "Ride",
            "pipeline_version": None,
            "operators": [],
            "aggregate": "the latest row",
            "after": None,
            "until": "2026-03-15T10:00:00Z",
        },
        "events": {"total": 1, "shown": []},
        "left_out": [],
        "events_of_entity": 1,
        "dead_letters": {"total": total, "shown": [letter] * shown},
        "dead_letters_of_unknown_entity": unknown,
        "dead_letters_of_dataset": 5_000,
        "recomputed": {"served": 1.5, "value": 1.5, "same": True},
        "as_of": {"time": "2026-03-15T10:00:00Z", "position": "e3", "commit": "c1"},
    }
    result = thyme("explain", "Ride.fare", "-e", "d1")
    assert result.exit_code == 0, result.output
    for text in said:
        assert text in result.stdout
    assert "5,000" not in result.stdout
    assert ("dead letter" in result.stdout) == bool(said)


def test_a_table_shows_control_characters_and_does_not_obey_them(thyme: Thyme, fake: FakeServer) -> None:
    letter = {"position": "e1", "dataset": "Ride", "origin": "x:1", "reason": "r", "raw": "\x1b[2Ja\nb é日"}
    fake.replies["/api/v1/dead-letters"] = {"dead_letters": [letter]}
    assert "\\x1b[2Ja\\nb é日" in thyme("dead-letters", "Ride").stdout
    rows = json.loads(thyme("dead-letters", "Ride", "-f", "json").stdout)
    assert rows[0]["raw"] == "\\x1b[2Ja\\nb é日"


# login, version


def test_login_keeps_a_key_that_the_server_takes(thyme: Thyme, fake: FakeServer, no_settings: Path) -> None:
    fake.replies["/api/v1/status"] = {"version": "0.1.0"}
    result = thyme("login", "--url", "http://host:1", "--api-key", "k1")
    assert result.exit_code == 0
    assert "k1" not in result.output
    path = no_settings / ".thyme" / "credentials"
    assert json.loads(path.read_text()) == {"api_url": "http://host:1", "api_key": "k1"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert thyme("logout").exit_code == 0
    assert not path.exists()
    assert thyme("logout").stdout == "not logged in\n"


def test_login_keeps_no_key_that_the_server_refuses(
    thyme: Thyme, fake: FakeServer, no_settings: Path
) -> None:
    fake.replies["/api/v1/status"] = refusal(401, "unauthorized", "the API key is unknown")
    assert thyme.fails("login", "--url", "http://host:1", "--api-key", "k1") == "the API key is unknown\n"
    assert not (no_settings / ".thyme").exists()


def test_version_is_one_line(thyme: Thyme) -> None:
    assert thyme("version").stdout.startswith("thyme ")

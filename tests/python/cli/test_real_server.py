"""The commands against a real `thyme serve`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import polars as pl
import pytest

from running import Server

Run = Callable[..., "CompletedProcess[str]"]

DEFINITIONS = """
from datetime import datetime
from thyme import Count, Sum, dataset, feature, featureset, field, inputs, pipeline

@dataset(index=True)
class CliRide:
    driver: int = field(key=True)
    fare: float
    at: datetime = field(timestamp=True)

@dataset
class CliStats:
    driver: int = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int
    fare: float

    @pipeline(version=1)
    @inputs(CliRide)
    def compute(cls, rides):
        return rides.groupby("driver").aggregate(rides=Count(), fare=Sum(of="fare"))

@featureset
class CliFeatures:
    driver: int = feature(id=1)
    rides: int = feature(id=2, ref=CliStats.rides)
    fare: float = feature(id=3, ref=CliStats.fare)
"""
ROWS = {
    "driver": [1, 2, 1],
    "fare": [1.5, 2.0, 3.5],
    "at": ["2026-03-15T10:00:00Z", "2026-03-15T10:01:00Z", "2026-03-15T10:02:00Z"],
}


@pytest.fixture
def thyme(server: Server, run: Run, tmp_path: Path) -> Run:
    """Runs commands against the server; the definitions are committed."""
    (tmp_path / "cli_rides.py").write_text(DEFINITIONS)

    def command(*arguments: str, **more: str) -> CompletedProcess[str]:
        return run(*arguments, THYME_API_URL=server.url, **more)

    result = command("commit", "cli_rides.py")
    assert result.returncode == 0, result.stderr
    return command


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_file_is_pushed_and_its_features_are_read(thyme: Run, tmp_path: Path, suffix: str) -> None:
    driver = {"jsonl": 10, "csv": 20, "parquet": 30}[suffix]
    frame = pl.DataFrame(ROWS).with_columns(pl.col("driver") + driver)
    path = tmp_path / f"rides.{suffix}"
    {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[suffix](path)
    pushed = thyme("log", "cli_rides.py:CliRide", "--input", path.name, "--json")
    assert pushed.returncode == 0, pushed.stderr
    position = json.loads(pushed.stdout)["position"]
    ids = ["-e", str(driver + 1), "-e", str(driver + 2)]
    result = thyme("query", "CliFeatures", *ids, "--min-position", position, "-f", "json")
    assert result.returncode == 0, result.stderr
    assert [(row["rides"], row["fare"]) for row in json.loads(result.stdout)] == [(2, 5.0), (1, 2.0)]
    result = thyme("query", "CliFeatures", *ids, "--at", "2026-03-15T10:01:00Z", "-f", "csv")
    assert result.stdout.splitlines()[1:] == [
        f"{driver + 1},{driver + 1},1,1.5",
        f"{driver + 2},{driver + 2},1,2.0",
    ]
    result = thyme("lookup", "CliStats", *ids, "-f", "json")
    assert [row["rides"] for row in json.loads(result.stdout)] == [2, 1]
    result = thyme("query-offline", "CliFeatures", "--input", path.name, "-f", "json")
    assert result.returncode == 1  # `fare` is a column of the file and a feature
    assert "fare" in result.stderr
    frame.drop("fare").write_csv(tmp_path / "labels.csv")
    result = thyme("query-offline", "CliFeatures", "--input", "labels.csv", "--output", "out.parquet")
    assert result.returncode == 0, result.stderr
    assert pl.read_parquet(tmp_path / "out.parquet")["rides"].to_list() == [1, 1, 2]


def test_a_second_commit_changes_nothing(thyme: Run) -> None:
    assert thyme("commit", "cli_rides.py").stdout.startswith("nothing changed\ncommit ")


def test_an_invalid_row_is_named_and_nothing_is_pushed(thyme: Run, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"driver": 90, "fare": "much", "at": "2026-03-15T10:00:00Z"}\n')
    result = thyme("log", "CliRide", "--input", "x.jsonl")
    assert (result.returncode, result.stdout) == (1, "")
    assert "fare" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_name_that_is_not_committed_is_one_sentence(thyme: Run) -> None:
    for command in ("query", "lookup"):
        result = thyme(command, "Nothing", "-e", "1")
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.count("\n") == 1


def test_state_is_shown(thyme: Run) -> None:
    status = json.loads(thyme("status", "--json").stdout)
    assert status["ready"] is True
    assert status["health"] == {"status": "ok"}
    assert "CliRide" in thyme("status").stdout
    assert "CliStats.rides" in thyme("inspect", "CliFeatures").stdout
    assert thyme("logs", "-f", "json").returncode == 0
    assert thyme("dead-letters", "CliRide", "-f", "json").stdout == "[]\n"


def test_an_address_that_is_taken_is_one_sentence(server: Server, run: Run) -> None:
    result = run("serve", "--listen", server.url.removeprefix("http://"), "--data", "other")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


def test_values_are_verified_and_explained(thyme: Run, tmp_path: Path) -> None:
    rows = pl.DataFrame({**ROWS, "driver": [71, 72, 71]})
    rows.write_ndjson(tmp_path / "audit.jsonl")
    assert thyme("log", "CliRide", "--input", "audit.jsonl").returncode == 0
    result = thyme("verify", "--sample", "40", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["different"] == 0
    assert report["checked"] >= 40
    result = thyme("verify", "cli_rides.py:CliFeatures")
    assert result.returncode == 0, result.stderr
    assert "CliFeatures.fare" in result.stdout
    assert ": 0 different" in result.stdout
    at = ("--at", "2026-03-15T10:01:00Z")
    result = thyme("explain", "CliFeatures.fare", "-e", "71", *at)
    assert result.returncode == 0, result.stderr
    assert "CliFeatures.fare of 71 is 1.5\n" in result.stdout
    assert "1 event counts" in result.stdout
    assert "1 event does not: of a time after T" in result.stdout
    assert "the same bits" in result.stdout
    result = thyme("explain", "cli_rides.py:CliStats.fare", "-e", "71", *at, "--json")
    assert json.loads(result.stdout)["recomputed"]["same"] is True
    result = thyme("explain", "CliFeatures.far", "-e", "71")
    assert (result.returncode, result.stdout) == (1, "")
    assert "fare" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_erased_entity_is_gone_and_the_receipt_does_not_name_it(thyme: Run, tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS).with_columns(pl.col("driver") + 777_000)
    frame.write_ndjson(tmp_path / "rides.jsonl")
    before = json.loads(thyme("log", "CliRide", "--input", "rides.jsonl", "--json").stdout)["position"]
    refused = thyme("erase", "CliStats", "-e", "777001", "--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "erase from CliRide instead" in refused.stderr
    assert thyme("erase", "CliRide", "-e", "777001").returncode == 1, "nobody said yes"
    erased = thyme("erase", "CliRide", "-e", "777001", "--yes", "--json")
    assert erased.returncode == 0, erased.stderr
    receipt = json.loads(erased.stdout)
    assert (receipt["events"], receipt["datasets"]) == (2, ["CliRide", "CliStats"])
    assert "777001" not in erased.stdout
    read = thyme("query", "CliFeatures", "-e", "777001", "-e", "777002", "--position", before, "-f", "json")
    assert [row["rides"] for row in json.loads(read.stdout)] == [0, 1]
    assert "since position" in read.stderr, "what was known then is no longer answered, which is said"
    (tmp_path / "erased.csv").write_text("driver,at\n777002,2026-01-01T00:00:00Z\n")
    for served in ([], ["--as-served"]):
        told = thyme("query-offline", "CliFeatures", "--input", "erased.csv", *served)
        assert told.returncode == 0, told.stderr
        assert ("since position" in told.stderr) == bool(served), told.stderr
    again = thyme("erase", "CliRide", "-e", "777001", "--yes")
    assert "0 events in 0 log records, from no dataset" in again.stdout
    assert receipt["entities"][0] in again.stdout

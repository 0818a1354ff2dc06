"""`thyme late` and `thyme dead-letters` against a real server."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import polars as pl
import pytest

from admission.definitions import Snack
from running import Server
from thyme.client import ThymeClient

Run = Callable[..., "CompletedProcess[str]"]
TEN = datetime(2026, 3, 15, 10, tzinfo=UTC)


@pytest.fixture
def thyme(server: Server, run: Run) -> Run:
    def command(*arguments: str) -> CompletedProcess[str]:
        return run(*arguments, THYME_API_URL=server.url)

    return command


@pytest.fixture
def client(server: Server) -> ThymeClient:
    client = ThymeClient(server.url)
    client.commit(Snack)
    return client


def snack(minutes: int, **more: object) -> dict[str, object]:
    return {"guest": "g", "price": 1.5, "at": TEN + timedelta(minutes=minutes), **more}


def test_what_was_left_out_is_listed_counted_exported_and_replayed(
    client: ThymeClient, thyme: Run, tmp_path: Path
) -> None:
    extra = [snack(41, tip=i) for i in range(3)]
    position = client.log(Snack, [snack(40), snack(5), snack(31), *extra, snack(7, price=float("nan"))])
    client.lookup(Snack, "g", min_position=position)
    events = list(client.late(Snack))
    assert [event["fields"]["at"] for event in events] == [TEN + timedelta(minutes=m) for m in (7, 5)]
    assert [event["late_by_s"] for event in events] == [23 * 60, 25 * 60]
    assert thyme("late", "Snack", "--count").stdout == "2\n"
    rows = json.loads(thyme("late", "Snack", "--limit", "1", "-f", "json").stdout)
    assert (len(rows), rows[0]["watermark"], rows[0]["max_lateness"]) == (1, "2026-03-15T10:40:00Z", "10m")
    result = thyme("late", "Snack", "-o", "late.parquet")
    assert result.returncode == 0, result.stderr
    frame = pl.read_parquet(tmp_path / "late.parquet")
    assert frame["field.at"].to_list() == [event["fields"]["at"] for event in events]
    assert frame["field.price"].is_nan().to_list() == [True, False]
    assert "10:05" in thyme("late", "Snack").stdout
    assert thyme("late", "Snack", "--since", "2999-01-01").stderr == "none\n"

    assert thyme("dead-letters", "Snack", "--count").stdout == "3 waiting, 0 replayed, 3 in all\n"
    assert thyme("dead-letters", "Snack", "--export", "letters.jsonl").returncode == 0
    written = [json.loads(line) for line in (tmp_path / "letters.jsonl").read_text().splitlines()]
    assert [json.loads(base64.b64decode(letter["raw_base64"]))["tip"] for letter in written] == [2, 1, 0]
    assert thyme("dead-letters", "Snack", "--export", "letters.parquet").returncode == 0
    raw = pl.read_parquet(tmp_path / "letters.parquet")["raw_bytes"]
    assert [json.loads(text)["tip"] for text in raw] == [2, 1, 0]
    result = thyme("dead-letters", "Snack", "replay")
    assert "0 became events; 3 could not be read and stay" in result.stdout
    assert "tip" in result.stdout
    client.commit(_ignoring())
    answer = json.loads(thyme("dead-letters", "Snack", "replay", "--json").stdout)
    assert (answer["replayed"], answer["failed"]) == (3, 0)
    assert thyme("dead-letters", "Snack", "replay").stdout.startswith("0 became events;")
    assert thyme("dead-letters", "Snack", "--count").stdout == "0 waiting, 3 replayed, 3 in all\n"
    row = client.lookup(Snack, "g", min_position=answer["position"])
    assert row is not None
    assert row["at"] == TEN + timedelta(minutes=41)


def _ignoring() -> type:
    from thyme import dataset, field

    @dataset(index=True, max_lateness="10m", on_error="skip", extra="ignore")
    class Snack:
        guest: str = field(key=True)
        price: float
        at: datetime = field(timestamp=True)

    return Snack

"""Exactly once: a server under load is killed again and again, and no event is lost, halved or doubled."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx
import pyarrow as pa
import pytest

from .faults import Faults
from .lives import ARROW, Lives, counted

#: `make crash ROUNDS=n` runs for longer.
KILLS = int(os.environ.get("THYME_CRASH_ROUNDS", "6"))
BACKFILLS = max(3, KILLS // 4)
#: Checkpoints and new segments all the time, so that kills meet them.
CONFIG = {"checkpoint_every_ms": 40, "segment_bytes": 200_000}
#: What makes a step of them take long enough to be met.
SLOW = ((), ("slow store 30",), ("slow log 15",), ("slow . 8",))
AT = 1_773_568_800
#: More rows than one log record holds, so that half of a push could be there.
MANY_ROWS = 33_000


@pytest.fixture
def lives(faults: Faults, tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "data", CONFIG, faults.env)
    yield lives
    lives.end()


class Writer(threading.Thread):
    """Pushes events with ids of their own, in one format, and remembers what became of each push."""

    def __init__(self, lives: Lives, kind: str, seed: int) -> None:
        super().__init__(name=f"{kind}{seed}")
        self.lives = lives
        self.kind = kind
        self.random = Random(seed)
        self.stop = threading.Event()
        self.acknowledged: list[list[str]] = []
        self.unknown: list[list[str]] = []
        self.faults: list[str] = []
        self.sent = 0

    def run(self) -> None:
        with httpx.Client(base_url=self.lives.url, trust_env=False, timeout=30) as http:
            while not self.stop.is_set():
                large = self.kind == "arrow" and self.random.random() < 0.04
                count = MANY_ROWS if large else self.random.randint(1, 20)
                ids = [f"{self.name}-{self.sent + i}" for i in range(count)]
                self.sent += count
                try:
                    answer = self.push(http, ids)
                except httpx.TransportError:
                    self.unknown.append(ids)
                    self.stop.wait(0.01)
                    continue
                if answer.status_code == 200:
                    if answer.json()["accepted"] != count:
                        self.faults.append(answer.text)
                    self.acknowledged.append(ids)
                else:
                    if answer.status_code != 503:
                        self.faults.append(answer.text)
                    self.unknown.append(ids)

    def push(self, http: httpx.Client, ids: list[str]) -> httpx.Response:
        if self.kind == "arrow":
            table = pa.table({"id": ids, "writer": [self.name] * len(ids), "at": [AT] * len(ids)})
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            return self.post(http, sink.getvalue(), ARROW)
        rows = [{"id": one, "writer": self.name, "at": AT} for one in ids]
        if self.kind == "ndjson":
            return self.post(http, "\n".join(map(json.dumps, rows)).encode(), "application/x-ndjson")
        return http.post("/api/v1/log", json={"dataset": "Hit", "events": rows})

    def post(self, http: httpx.Client, body: bytes, kind: str) -> httpx.Response:
        headers = {"content-type": kind}
        return http.post("/api/v1/log", params={"dataset": "Hit"}, content=body, headers=headers)


def wait_for_pushes(writers: list[Writer]) -> None:
    """Until each writer has had an answer in this life."""
    before = [len(w.acknowledged) for w in writers]
    deadline = time.monotonic() + 30
    while any(len(w.acknowledged) == n for w, n in zip(writers, before, strict=True)):
        assert time.monotonic() < deadline, [w.faults for w in writers]
        time.sleep(0.005)


def test_every_acknowledged_event_is_counted_once_however_often_the_server_is_killed(
    lives: Lives, faults: Faults
) -> None:
    random = Random(11)
    document = {"format": 1, "datasets": counted("Hit", {"ById": "id", "ByWriter": "writer"})}
    lives.start()
    lives.wait_ready()
    lives.commit(document)
    writers = [Writer(lives, kind, seed) for seed, kind in enumerate(("json", "ndjson", "arrow", "arrow"))]
    for writer in writers:
        writer.start()
    try:
        while lives.kills < KILLS:
            faults.order(*random.choice(SLOW))
            wait_for_pushes(writers)
            time.sleep(random.uniform(0, 0.15))  # any moment will do
            lives.kill(while_closing_s=random.choice((None, random.uniform(0, 0.03))))
            for _ in range(random.randint(0, 2)):  # and during start-up, recovery included
                lives.start()
                time.sleep(random.uniform(0.1, 0.9))
                lives.kill()
            lives.start()
            lives.wait_ready()
    finally:
        for writer in writers:
            writer.stop.set()
        for writer in writers:
            writer.join()
    assert [fault for w in writers for fault in w.faults] == []
    found = lives.counts("ById")
    assert set(found.values()) == {1}, "an event is counted twice"
    for writer in writers:
        assert writer.acknowledged
        lost = [one for ids in writer.acknowledged for one in ids if one not in found]
        assert lost == [], f"{writer.name}: acknowledged and lost"
        for ids in writer.unknown:
            there = sum(one in found for one in ids)
            assert there in (0, len(ids)), f"{writer.name}: half a push of {len(ids)} is there"
        mine = sum(one.startswith(f"{writer.name}-") for one in found)
        assert lives.counts("ByWriter")[writer.name] == mine
    status = lives.get("/api/v1/status").json()
    assert [d["events"] for d in status["datasets"] if d["name"] == "Hit"] == [len(found)]


class Persistent(Writer):
    """A writer that sends a push again, under the same key, until it is acknowledged."""

    def push(self, http: httpx.Client, ids: list[str]) -> httpx.Response:
        events = [{"id": one, "writer": self.name, "at": AT} for one in ids]
        body = json.dumps({"dataset": "Hit", "events": events}).encode()
        headers = {"content-type": "application/json", "idempotency-key": ids[0]}
        while True:
            try:
                answer = http.post("/api/v1/log", content=body, headers=headers)
                if answer.status_code != 503:
                    return answer
            except httpx.TransportError:
                pass
            time.sleep(0.01)


def test_a_push_that_is_sent_again_under_its_key_is_counted_once(lives: Lives, faults: Faults) -> None:
    random = Random(3)
    lives.start()
    lives.wait_ready()
    lives.commit({"format": 1, "datasets": counted("Hit", {"ById": "id", "ByWriter": "writer"})})
    writers = [Persistent(lives, "keyed", seed) for seed in range(3)]
    for writer in writers:
        writer.start()
    try:
        while lives.kills < KILLS:
            faults.order(*random.choice(SLOW))
            wait_for_pushes(writers)
            time.sleep(random.uniform(0, 0.1))
            lives.kill(while_closing_s=random.choice((None, random.uniform(0, 0.03))))
            lives.start()
            lives.wait_ready()
    finally:
        for writer in writers:
            writer.stop.set()
        if lives.process is None:
            lives.start()
        for writer in writers:
            writer.join()
    assert [fault for w in writers for fault in w.faults] == []
    acknowledged = [one for w in writers for ids in w.acknowledged for one in ids]
    assert lives.counts("ById") == dict.fromkeys(acknowledged, 1)
    assert sum(lives.counts("ByWriter").values()) == len(acknowledged)


def test_a_pipeline_that_is_being_filled_when_the_server_is_killed_is_filled_once(
    lives: Lives, faults: Faults
) -> None:
    random = Random(17)
    by = {"ById": "id", "ByWriter": "writer"}
    lives.start()
    lives.wait_ready()
    lives.commit({"format": 1, "datasets": counted("Hit", by)})
    writer = Writer(lives, "arrow", 0)
    with httpx.Client(base_url=lives.url, trust_env=False, timeout=30) as http:
        for part in range(3):
            ids = [f"arrow0-{part * MANY_ROWS + i}" for i in range(MANY_ROWS)]
            assert writer.push(http, ids).status_code == 200
    rows = 3 * MANY_ROWS
    for number in range(BACKFILLS):
        faults.order(*random.choice(SLOW))
        by[f"Again{number}"] = "id"
        document = {"format": 1, "datasets": counted("Hit", by)}
        committing = threading.Thread(target=try_commit, args=(lives, document))
        committing.start()
        time.sleep(random.uniform(0, 0.4))
        lives.kill()
        committing.join()
        lives.start()
        lives.wait_ready()
        lives.commit(document)  # it is there already, or not at all
        found = lives.counts(f"Again{number}")
        assert len(found) == rows
        assert set(found.values()) == {1}
    assert lives.counts("ByWriter") == {"arrow0": rows}


def try_commit(lives: Lives, document: dict[str, object]) -> None:
    with contextlib.suppress(httpx.TransportError):
        httpx.post(f"{lives.url}/api/v1/commit", json=document, trust_env=False, timeout=60)


def test_every_line_of_every_file_is_counted_once_however_often_the_server_is_killed(
    lives: Lives, faults: Faults, tmp_path: Path
) -> None:
    random = Random(7)
    files = tmp_path / "files"
    files.mkdir()
    paths = {"Line": files / "lines.jsonl", "Cell": files / "cells.csv", "Group": files / "part-*.parquet"}
    datasets = []
    for name, path in paths.items():
        source = {"kind": "file", "options": {"path": str(path)}}
        datasets += counted(name, {f"{name}ById": "id"}, source)
    written: dict[str, list[str]] = {name: [] for name in paths}
    stop = threading.Event()

    def grow() -> None:
        """Appends to two files, sometimes in the middle of a line, and adds files of a third kind."""
        with paths["Line"].open("ab", buffering=0) as lines, paths["Cell"].open("ab", buffering=0) as cells:
            cells.write(b"id,writer,at\n")
            number = 0
            while not stop.is_set():
                number += 1
                ids = [f"{number}-{i}" for i in range(random.randint(1, 200))]
                text = "".join(json.dumps({"id": one, "writer": "w", "at": AT}) + "\n" for one in ids)
                cut = random.randint(0, len(text))
                lines.write(text[:cut].encode())
                table = "".join(f'{one},"a ""quoted""\nwriter",{AT}\n' for one in ids)
                cells.write(table[: cut % len(table)].encode())
                if number % 5 == 0:
                    columns = {"id": ids, "writer": ["w"] * len(ids), "at": [AT] * len(ids)}
                    part = files / f"part-{number:06}.parquet"
                    part.with_suffix(".tmp").write_bytes(parquet(pa.table(columns)))
                    part.with_suffix(".tmp").rename(part)
                    written["Group"] += ids
                stop.wait(random.uniform(0, 0.02))
                lines.write(text[cut:].encode())
                cells.write(table[cut % len(table) :].encode())
                written["Line"] += ids
                written["Cell"] += ids

    grower = threading.Thread(target=grow)
    grower.start()
    try:
        lives.start()
        lives.wait_ready()
        lives.commit({"format": 1, "datasets": datasets})
        while lives.kills < KILLS:
            faults.order(*random.choice(SLOW))
            time.sleep(random.uniform(0, 0.4))  # any moment will do
            lives.kill(while_closing_s=random.choice((None, random.uniform(0, 0.03))))
            lives.start()
            if random.random() < 0.7:
                lives.wait_ready()
            else:
                time.sleep(random.uniform(0.2, 0.9))
    finally:
        stop.set()
        grower.join()
    lives.wait_ready()
    lives.commit({"format": 1, "datasets": datasets}, wait_sources="1")
    for name, ids in written.items():
        found = lives.counts(f"{name}ById")
        assert len(ids) > 100, name
        assert found == dict.fromkeys(ids, 1), name
    status = lives.get("/api/v1/status").json()
    assert [(s["error"], s["dead_letters"]) for s in status["sources"]] == [(None, 0)] * 3


def parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()

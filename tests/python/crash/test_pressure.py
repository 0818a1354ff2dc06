"""More comes in than the disk can take: producers wait or are told to, memory stays flat, reads go on."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .faults import Faults
from .lives import Lives, committed, counted

AT = 1_773_568_800
MIB = 1 << 20
#: The least memory: then there is room for 4 MiB of pushes.
CONFIG = {"memory": "128MiB"}
DOCUMENT: dict[str, Any] = {"format": 1, "datasets": counted("Hit", {"ByWriter": "writer"})}
ROWS = 1000
PRODUCERS = 40


@pytest.fixture
def lives(faults: Faults, tmp_path: Path) -> Iterator[Lives]:
    with committed(Lives(tmp_path / "data", CONFIG, faults.env), DOCUMENT) as lives:
        yield lives


def lines(writer: str, id_bytes: int) -> bytes:
    """Events of one writer as NDJSON, with long ids."""
    row = {"id": "x" * id_bytes, "writer": writer, "at": AT}
    return (json.dumps(row).encode() + b"\n") * ROWS


def push(lives: Lives, body: bytes) -> httpx.Response:
    return httpx.post(
        f"{lives.url}/api/v1/log",
        params={"dataset": "Hit"},
        content=body,
        headers={"Content-Type": "application/x-ndjson"},
        trust_env=False,
        timeout=60,
    )


def metric(lives: Lives, name: str) -> float:
    for line in lives.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


class Stalled:
    """A connection that announces a body and sends only the beginning of it."""

    def __init__(self, lives: Lives, announced: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", lives.port), timeout=60)
        head = (
            f"POST /api/v1/log?dataset=Hit HTTP/1.1\r\nHost: localhost\r\nContent-Length: {announced}\r\n"
            "Content-Type: application/x-ndjson\r\n\r\n"
        )
        self.socket.sendall(head.encode() + lines("stalled", 10)[:1000])

    def answer(self) -> str:
        with self.socket:
            return self.socket.recv(4096).decode().split("\r\n")[0]


def test_producers_faster_than_the_disk_are_slowed_or_told_to_wait_and_memory_stays_flat(
    lives: Lives, faults: Faults
) -> None:
    assert push(lives, lines("first", 10)).status_code == 200
    before = metric(lives, "process_resident_memory_bytes")
    stalled = Stalled(lives, 64 * MIB)
    faults.order("slow log 1200")
    answers: dict[str, httpx.Response] = {}

    def produce(writer: str) -> None:
        answers[writer] = push(lives, lines(writer, 2000))

    producers = [threading.Thread(target=produce, args=(f"w{i}",)) for i in range(PRODUCERS)]
    for producer in producers:
        producer.start()
    reads, waiting = 0, 0
    with httpx.Client(base_url=lives.url, trust_env=False, timeout=30) as http:
        while any(producer.is_alive() for producer in producers):
            answer = http.get("/features", params={"entity_type": "ByWriter", "entity_id": "first"})
            assert answer.json()["features"]["n"] == ROWS, answer.text
            waiting = max(waiting, http.get("/api/v1/status").json()["pushes"]["waiting"])
            reads += 1
            time.sleep(0.02)
    assert reads > 10, "reads waited for the disk"
    assert waiting > 10
    peak = metric(lives, "thyme_process_resident_memory_peak_bytes")
    assert peak - before < 96 * MIB, f"{PRODUCERS * 2} MiB of pushes took {(peak - before) / MIB:.0f} MiB"

    stored = {writer for writer, answer in answers.items() if answer.status_code == 200}
    refused = answers.keys() - stored
    assert stored, "nothing came through"
    assert refused, "nobody was told to wait"
    for writer in refused:
        answer = answers[writer]
        assert (answer.status_code, answer.json()["error"]) == (429, "overloaded"), answer.text
        assert answer.headers["retry-after"] == "1"
        assert "nothing of it was stored" in answer.json()["detail"]
    assert metric(lives, "thyme_overloaded_total") >= len(refused)
    assert lives.counts("ByWriter") == dict.fromkeys(["first", *stored], ROWS)

    faults.clear()
    assert stalled.answer().split()[1] == "408"
    for writer in refused:
        assert push(lives, lines(writer, 2000)).status_code == 200
    everybody = dict.fromkeys(["first", *answers], ROWS)
    assert lives.counts("ByWriter") == everybody
    assert metric(lives, "thyme_push_in_flight_bytes") == 0
    assert metric(lives, "thyme_pushes_waiting") == 0
    lives.kill()
    lives.start()
    lives.wait_ready()
    assert lives.counts("ByWriter") == everybody


def test_a_push_larger_than_all_the_room_comes_in_however_it_is_sent(lives: Lives) -> None:
    body = lines("large", 12_000)
    assert len(body) > 8 * MIB
    assert push(lives, body).status_code == 200

    def parts() -> Iterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    # Without a length, so that nobody knows how large it will be.
    answer = httpx.post(
        f"{lives.url}/api/v1/log",
        params={"dataset": "Hit"},
        content=parts(),
        headers={"Content-Type": "application/x-ndjson"},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert lives.counts("ByWriter") == {"large": 2 * ROWS}
    assert metric(lives, "thyme_push_in_flight_bytes") == 0


def test_a_source_faster_than_the_disk_is_slowed_and_loses_nothing(
    lives: Lives, faults: Faults, tmp_path: Path
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"".join(lines(f"w{i}", 4000) for i in range(8)))
    before = metric(lives, "process_resident_memory_bytes")
    faults.order("slow log 300")
    source = {"kind": "file", "options": {"path": str(path)}}
    datasets = counted("Line", {"LineByWriter": "writer"}, source)
    lives.commit({"format": 1, "datasets": [*DOCUMENT["datasets"], *datasets]}, wait_sources="1")
    assert lives.counts("LineByWriter") == {f"w{i}": ROWS for i in range(8)}
    assert metric(lives, "thyme_overloaded_total") == 0
    peak = metric(lives, "thyme_process_resident_memory_peak_bytes")
    assert peak - before < 192 * MIB, f"a file of 32 MiB took {(peak - before) / MIB:.0f} MiB"

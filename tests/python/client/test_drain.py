"""A server that is told to stop answers what it was asked, and loses nothing that it accepted."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from client.rides import DEFINITIONS, ClientFeatures
from running import start_server
from thyme import ThymeClient

EVENT = {"driver": "last", "fare": 1.5, "seats": None, "at": "2026-03-15T10:00:00Z"}
DEADLINE_S = 60


def refuses_connections(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=DEADLINE_S).close()
    except ConnectionRefusedError:
        return True
    return False


def test_requests_under_way_are_answered_after_sigterm_and_what_they_wrote_is_there(tmp_path: Path) -> None:
    server = start_server(tmp_path / "data")
    client = ThymeClient(server.url)
    position = client.commit(DEFINITIONS)["position"]
    host, port = urlsplit(server.url).hostname, urlsplit(server.url).port
    assert host is not None
    assert port is not None
    body = json.dumps({"dataset": "ClientRide", "events": [EVENT]}).encode()
    head = f"POST /api/v1/log HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    wait = f"e{int(position[1:].split('.')[0]) + 1}"
    read = (
        f"GET /features?featureset=ClientFeatures&entity_id=last&min_position={wait}&wait_ms=50000 HTTP/1.1"
    )
    with (
        socket.create_connection((host, port), timeout=DEADLINE_S) as pushes,
        socket.create_connection((host, port), timeout=DEADLINE_S) as reads,
        socket.create_connection((host, port), timeout=DEADLINE_S) as idle,
    ):
        # One whose body is not whole, one that waits for what that will write, and one that asks nothing.
        idle.sendall(f"GET /health HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        pushes.sendall(head + body[:20])
        reads.sendall(f"{read}\r\nhost: {host}\r\n\r\n".encode())
        while (
            httpx.get(f"{server.url}/api/v1/status", trust_env=False).json()["pushes"]["bytes_in_flight"] == 0
        ):
            time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + DEADLINE_S
        while not refuses_connections((host, port)):
            assert time.monotonic() < until, "it goes on to accept connections"
            time.sleep(0.02)
        assert idle.recv(4096) == b"", "a connection that asks nothing is closed"
        pushes.sendall(body[20:])
        pushed = pushes.recv(65536)
        assert pushed.startswith(b"HTTP/1.1 200"), pushed
        answered = reads.recv(65536)
        assert answered.startswith(b"HTTP/1.1 200"), answered
        assert b'"fare_sum":1.5' in answered
    assert server.process.wait(timeout=DEADLINE_S) == 0
    again = start_server(server.data)
    try:
        row = ThymeClient(again.url).query(ClientFeatures, "last", features=["fare_sum"])
        assert dict(row) == {"fare_sum": 1.5}
    finally:
        again.process.terminate()
        again.process.wait(timeout=DEADLINE_S)

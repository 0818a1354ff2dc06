"""A real server, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import httpx

PYTHON = Path(__file__).resolve().parents[2] / "python"


class Server(NamedTuple):
    """A running `thyme serve`."""

    url: str
    process: subprocess.Popen[bytes]
    data: Path


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_server(data: Path, *more: str) -> Server:
    """Starts `thyme serve` and waits until it is ready."""
    port = free_port()
    log = data.with_name(data.name + ".log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "thyme", "serve", "--data", str(data), "--listen", f"127.0.0.1:{port}", *more],
        env={**os.environ, "PYTHONPATH": str(PYTHON)},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return Server(url, process, data)
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise RuntimeError(f"thyme serve is not ready: {Path(log.name).read_text()}")

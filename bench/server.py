"""Real processes: a `thyme serve` on a fresh data directory, and the Rust half of the benchmark."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thyme.client import ThymeClient

ROOT = Path(__file__).resolve().parents[1]
STARTING_S = 60.0


class BenchError(Exception):
    """The benchmark cannot go on; the text says why."""


class Server:
    """A running `thyme serve` in a process of its own.

    Attributes:
        addr: Where it listens, as `host:port`.
        data: Its data directory.
        client: A client of it.
    """

    def __init__(self, data: Path, memory: str | None = None) -> None:
        """Starts it and waits until it is ready.

        Args:
            data: Its data directory.
            memory: How much memory it should take; None leaves that to it.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.addr = f"127.0.0.1:{probe.getsockname()[1]}"
        self.data = data
        self._output = data.with_name(data.name + ".log")
        command = [sys.executable, "-m", "thyme", "serve", "--data", str(data), "--listen", self.addr]
        command += ["--memory", memory] if memory else []
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
                stdout=output,
                stderr=output,
            )
        self.client = ThymeClient(f"http://{self.addr}")
        self._wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def memory_mib(self) -> float:
        """Its resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return round(int(line.split()[1]) / 1024, 1)
        return 0.0

    def cpu_s(self) -> float:
        """The processor time that it has used, of all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Ends it."""
        self.client.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """Ends it as a crash does."""
        self.client.close()
        self._process.kill()
        self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTING_S
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with opener.open(f"http://{self.addr}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        self._process.kill()
        self._process.wait()
        raise BenchError(f"thyme serve is not ready: {self._output.read_text(errors='replace')}")


@contextmanager
def serving(data: Path) -> Iterator[Server]:
    """A server on the directory `data`, ended when the block is left."""
    server = Server(data)
    try:
        yield server
    finally:
        server.stop()


def build() -> Path:
    """Builds the Rust half and gives its binary.

    Raises:
        BenchError: It does not build.
    """
    done = subprocess.run(
        ["cargo", "build", "--release", "--quiet", "-p", "thyme-bench"], cwd=ROOT, stdout=sys.stderr
    )
    if done.returncode:
        raise BenchError("cargo build --release -p thyme-bench failed")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "thyme-bench"


def run(binary: Path, command: str, **arguments: object) -> dict[str, Any]:
    """Runs a command of the Rust half and gives the JSON that it prints.

    Raises:
        BenchError: It fails.
    """
    words = [
        str(word) for name, value in arguments.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    done = subprocess.run([binary, command, *words], capture_output=True, text=True)
    if done.returncode:
        raise BenchError(done.stderr.strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def floor_server(binary: Path, body: Path) -> Iterator[str]:
    """The address of a bare HTTP server that answers everything with the bytes of `body`."""
    process = subprocess.Popen([binary, "serve-floor", "--body", body], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise BenchError("the bare server did not start")
        yield json.loads(line)["addr"]
    finally:
        process.kill()
        process.wait()

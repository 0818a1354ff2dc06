"""A data directory and the servers that live on it, one after the other, each killed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from running import PYTHON, free_port

ARROW = "application/vnd.apache.arrow.stream"
READY_SECONDS = 30


class Lives:
    """Starts servers on one directory and one port, and kills them."""

    def __init__(
        self, data: Path, config: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self.config: list[str | Path] = []
        if config is not None:
            file = data.with_name(data.name + ".yaml")
            file.write_text(json.dumps(config))
            self.config = ["--config", file]
        self.env = dict(env or {})
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.with_name(data.name + ".log")
        self.kills = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, shards: int = 0) -> None:
        """Starts a server, on so many shards if it is said, and does not wait for it."""
        more = ["--shards", str(shards)] if shards else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "thyme", "serve", "--data", self.data),
                    *("--listen", self.address, *self.config, *more),
                ],
                env={**os.environ, "PYTHONPATH": str(PYTHON), **self.env},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, f"the server ended: {self.log.read_text()}"
            try:
                if self.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"the server is not ready: {self.log.read_text()}")

    def kill(self, *, while_closing_s: float | None = None) -> None:
        """SIGKILL; or SIGTERM first, so that it hits the last checkpoint."""
        assert self.process is not None
        if while_closing_s is not None:
            self.process.terminate()
            time.sleep(while_closing_s)
        self.process.kill()
        killed = self.process.wait(timeout=20) == -signal.SIGKILL
        self.kills += killed
        self.process = None

    def end(self) -> None:
        """Ends what still runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=20)

    def get(self, target: str, **parameters: str) -> httpx.Response:
        return httpx.get(self.url + target, params=parameters, trust_env=False, timeout=30)

    def commit(self, document: dict[str, Any], **parameters: str) -> None:
        answer = httpx.post(
            f"{self.url}/api/v1/commit", json=document, params=parameters, trust_env=False, timeout=60
        )
        assert answer.status_code == 200, answer.text

    def counts(self, dataset: str) -> dict[str, int]:
        """The count of each key of a derived dataset, once everything written is applied."""
        position = self.get("/api/v1/status").json()["position"]
        answer = self.get("/features/scan", dataset=dataset, min_position=position)
        assert answer.status_code == 200, answer.text
        table = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
        key = table.column_names[0]
        return dict(zip(table[key].to_pylist(), table["n"].to_pylist(), strict=True))


@contextmanager
def committed(lives: Lives, document: dict[str, Any]) -> Iterator[Lives]:
    """Its first server, with these definitions; ended however the test ends."""
    try:
        lives.start()
        lives.wait_ready()
        lives.commit(document)
        yield lives
    finally:
        lives.end()


def counted(raw: str, by: dict[str, str], source: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """A raw dataset of events with an id, a writer and a time, and counts of it: name to grouping key."""
    fields = [
        {"name": "id", "type": "str", "role": "key"},
        {"name": "writer", "type": "str"},
        {"name": "at", "type": "datetime", "role": "timestamp"},
    ]
    datasets: list[dict[str, Any]] = [{"name": raw, "fields": fields}]
    if source is not None:
        datasets[0]["source"] = source
    for name, key in by.items():
        datasets.append(
            {
                "name": name,
                "fields": [
                    {"name": key, "type": "str", "role": "key"},
                    {"name": "at", "type": "datetime", "role": "timestamp"},
                    {"name": "n", "type": "int"},
                ],
                "pipelines": [
                    {
                        "name": "compute",
                        "inputs": [raw],
                        "operators": [
                            {"op": "groupby", "keys": [key]},
                            {"op": "aggregate", "aggregates": [{"name": "n", "function": "count"}]},
                        ],
                    }
                ],
            }
        )
    return datasets

"""A `thyme serve` of our own, and a reader that times single online questions."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from parity import ENTITY, Answer

FEATURESET = "FlightDelayFeatures"
URL_VARIABLES = ("THYME_API_URL", "THYME_API_BASE", "THYME_QUERY_URL", "THYME_FRONTEND_URL")


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


class Server:
    """`thyme serve` in a process of its own on a free port of this machine, with its log in a file.

    Args:
        data: the server's data folder.
        log: where its output goes.
        clock: `--clock`; event time here, because the flights are of 2013.
    """

    def __init__(self, data: Path, log: Path, clock: str) -> None:
        self.data, self.log, self.clock = data, log, clock
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_with: int | None = None

    @property
    def arguments(self) -> list[str]:
        listen = f"127.0.0.1:{self.port}"
        return ["serve", "--data", str(self.data), "--listen", listen, "--clock", self.clock]

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which clients and the CLI find this server and no other."""
        return dict.fromkeys(URL_VARIABLES, self.url)

    def start(self, timeout_s: float = 60.0) -> None:
        """Starts it and waits until `/health` says ok."""
        # A session of its own: Ctrl-C reaches the demo, and the demo stops the server.
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "thyme", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        state = "not answering"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise DemoError("the server ended while it was starting")
            try:
                status, body = _get(self.port, "/health")
            except OSError:
                time.sleep(0.05)
                continue
            if status == 200:
                return
            state = body
            time.sleep(0.05)
        raise DemoError(f"the server was not ready after {timeout_s:.0f} s: {state}")

    @property
    def ended_with(self) -> int | None:
        """Its exit code if it ended before it was told to."""
        return self._ended_with

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log."""
        try:
            with self.log.open(errors="replace") as log:
                return "".join(deque(log, maxlen=lines)).rstrip()
        except OSError:
            return ""

    def wait(self) -> None:
        """Waits until it ends by itself."""
        # Not Popen.wait(): polars takes SIGINT with SA_RESTART, so Ctrl-C would not end a blocking call.
        while self._process is not None and self._process.poll() is None:
            time.sleep(0.2)

    def stop(self, timeout_s: float = 15.0) -> None:
        """Ends it: kindly, then not."""
        process = self._process
        if process is None:
            return
        self._process = None
        self._ended_with = process.poll()
        if self._ended_with is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Reader:
    """Asks single online questions over one kept connection and keeps how long each took."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.latencies_s: list[float] = []

    def ask(self, entity: tuple[str, str, str], min_position: str) -> Answer:
        """The features of `entity` now, with everything up to `min_position` in them."""
        body = json.dumps(
            {
                "featureset": FEATURESET,
                "entity_id": dict(zip(ENTITY, entity, strict=True)),
                "min_position": min_position,
            }
        ).encode()
        started = time.perf_counter()
        try:
            status, text = self._exchange(body)
        except (http.client.HTTPException, OSError) as error:
            raise DemoError(f"asking about {'/'.join(entity)}: the connection broke: {error!r}") from error
        self.latencies_s.append(time.perf_counter() - started)
        answer = _json(text)
        if status != 200 or not isinstance(answer, dict):
            raise DemoError(f"asking about {'/'.join(entity)}: {status} {_detail(answer, text)}")
        return _answer(entity, answer)

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        for last_try in (False, True):
            try:
                self._connection.request("POST", "/features", body, {"Content-Type": "application/json"})
                response = self._connection.getresponse()
                return response.status, response.read()
            except ConnectionError:  # a server may close a connection that was idle: once more on a new one
                self._connection.close()
                if last_try:
                    raise
        raise AssertionError("unreachable")

    def percentile_ms(self, percent: float) -> float:
        """The latency that `percent` of the questions did not exceed."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1e3

    def close(self) -> None:
        self._connection.close()


def _answer(entity: tuple[str, str, str], answer: dict[str, Any]) -> Answer:
    if answer["mode"] != "online" or answer["as_of"].get("provisional"):
        raise DemoError(f"asked online, was answered {answer['mode']} as of {answer['as_of']}")
    at = datetime.fromisoformat(answer["as_of"]["time"].replace("Z", "+00:00"))
    return Answer(entity, at, answer["features"], answer.get("non_finite") or {})


def run_cli(*arguments: str, environment: dict[str, str]) -> str:
    """Runs `thyme ARGUMENTS` and returns what it printed.

    Raises:
        DemoError: it failed; with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "thyme", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise DemoError(f"thyme {' '.join(arguments)} failed ({done.returncode}): {said}")
    return done.stdout.rstrip()


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """`server`, started; stopped at the end, however that comes."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _detail(answer: Any, text: bytes) -> str:
    if isinstance(answer, dict) and "detail" in answer:
        return f"{answer.get('error')}: {answer['detail']}"
    return text[:500].decode(errors="replace")

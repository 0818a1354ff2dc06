"""How requests reach an engine: over HTTP, or in this process."""

from __future__ import annotations

import importlib
import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from thyme._config import Config
from thyme._errors import ConnectionFailed, ThymeError, UnavailableError

if TYPE_CHECKING:
    import httpx


class Answer(NamedTuple):
    """What came back: the status, the headers with their names in lower case, the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Carries a request of `docs/http.md` to an engine and its answer back."""

    origin: str

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        repeatable: bool,
        timeout_s: float | None,
    ) -> Answer:
        """Sends one request.

        Args:
            method: `GET` or `POST`.
            target: The path with its query string.
            headers: Headers beside those of the transport itself.
            body: The body, empty for none.
            repeatable: Whether sending it twice does no more than sending it once.
            timeout_s: How long to wait for the answer, or None for as long as it takes.
        """

    def close(self) -> None:
        """Lets go of connections or of the engine."""


class HttpTransport:
    """Requests to a server, over connections that are kept open."""

    # A connection that the server closed while it was idle fails at its next use, so one more try is
    # usually enough; the third is for a server that is just coming back.
    PAUSES_S = (0.0, 0.2)
    # How often a server that says "not now, retry after" is asked again, and the longest it may ask to wait.
    BUSY_TRIES = 3
    # The same for one that says that too much comes in: it has done nothing, so any request may be repeated.
    OVERLOADED_TRIES = 20
    BUSY_PAUSE_MAX_S = 10.0

    def __init__(self, config: Config, transport: httpx.BaseTransport | None = None) -> None:
        import httpx

        self.origin = config.api_url
        self._query_origin = config.query_url
        headers = {"Authorization": f"Bearer {config.api_key}"} if config.api_key else {}
        hosts = {urlsplit(url).hostname for url in (config.api_url, config.query_url)}
        self._http = httpx.Client(
            headers=headers,
            transport=transport,
            # A proxy from the environment cannot reach this machine's own loopback.
            trust_env=not hosts <= {"localhost", "127.0.0.1", "::1"},
            limits=httpx.Limits(max_keepalive_connections=8, keepalive_expiry=30.0),
        )

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        repeatable: bool,
        timeout_s: float | None,
    ) -> Answer:
        """Sends one request.

        A repeatable one is sent again if the connection failed or the server is busy; any one, if the
        server says that too much comes in.
        """
        import httpx

        origin = self._query_origin if target.startswith("/features") else self.origin
        timeout = httpx.Timeout(timeout_s, connect=5.0)
        pauses = list(self.PAUSES_S) if repeatable else []
        # Whoever asks how the server is wants that answer.
        may_wait = target not in _ABOUT_THE_SERVER
        busy_tries = self.BUSY_TRIES if repeatable and may_wait else 0
        overloaded_tries = self.OVERLOADED_TRIES if may_wait else 0
        while True:
            try:
                answer = self._http.request(
                    method, origin + target, headers=dict(headers), content=body or None, timeout=timeout
                )
            except httpx.TimeoutException as error:
                if isinstance(error, httpx.ConnectTimeout):
                    raise ConnectionFailed(f"could not reach {origin}: no connection within 5 s") from None
                raise ConnectionFailed(f"{origin} did not answer within {timeout_s:g} s") from None
            except httpx.TransportError as error:
                if pauses:
                    time.sleep(pauses.pop(0))
                    continue
                raise ConnectionFailed(_unreachable(origin, error)) from None
            except RuntimeError as error:
                raise ConnectionFailed(f"this client is closed ({error})") from None
            pause = _retry_after(answer)
            if pause is not None and pause <= self.BUSY_PAUSE_MAX_S:
                if overloaded_tries and _is_overloaded(answer):
                    overloaded_tries -= 1
                    # Those who were sent away together should not come back together.
                    time.sleep(pause * random.uniform(1.0, 1.5))
                    continue
                if busy_tries:
                    busy_tries -= 1
                    time.sleep(pause)
                    continue
            return Answer(answer.status_code, dict(answer.headers), answer.content)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __repr__(self) -> str:
        """Names the server, never the key."""
        return f"HttpTransport({self.origin!r})"


_ABOUT_THE_SERVER = ("/health", "/api/v1/status", "/metrics")


def _retry_after(answer: httpx.Response) -> float | None:
    """The seconds after which a busy server wants to be asked again; None if it is not busy or says none."""
    text = answer.headers.get("retry-after", "") if answer.status_code in (429, 503) else ""
    return float(text) if text.isascii() and text.isdigit() else None


def _is_overloaded(answer: httpx.Response) -> bool:
    """Whether it says that it has done nothing because too much comes in."""
    return answer.status_code == 429 and b'"overloaded"' in answer.content


def _unreachable(origin: str, error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.ConnectError):
        return f"could not reach {origin}: is `thyme serve` running?"
    return f"the connection to {origin} broke before the answer came ({error or type(error).__name__})"


class Engine(Protocol):
    """`thyme._thyme.Engine`: the engine in this process, with the server's request handlers."""

    def request(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Answers one request as the server would."""

    def set_now(self, us: int | None) -> None:
        """Fixes the clock at `us` microseconds since the epoch; None lets it go again."""

    def close(self) -> None:
        """Stops the engine; with a path, everything accepted is on disk."""


class LocalTransport:
    """The same requests, answered by the native engine in this process."""

    def __init__(self, engine: Engine) -> None:
        self.origin = "the engine in this process"
        self._engine: Engine | None = engine

    @classmethod
    def open(
        cls,
        *,
        path: str | Path | None = None,
        clock: str = "wall",
        memory: str | int | None = None,
        now_us: int | None = None,
        shards: int | None = None,
    ) -> LocalTransport:
        """Opens an engine.

        Args:
            path: The data directory; None keeps everything in memory.
            clock: `"wall"`, `"event"`, or `"event=A,B"` for the largest event time of those datasets.
            memory: How much memory to take, such as `"512MiB"`, or bytes; None is half of the machine's.
            now_us: Fixes the clock, in microseconds since the epoch.
            shards: How many shards; None lets the engine choose.
        """
        native: Any = importlib.import_module("thyme._thyme")
        host: Any = importlib.import_module("thyme._host")
        options = {
            "path": None if path is None else str(path),
            "clock": clock,
            "memory": None if memory is None else str(memory),
            "now_us": now_us,
            "shards": shards,
        }
        try:
            return cls(native.Engine(json.dumps(options), host.Host()))
        except (ValueError, RuntimeError, OSError) as error:
            raise error if isinstance(error, ThymeError) else UnavailableError(str(error)) from None

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        repeatable: bool,
        timeout_s: float | None,
    ) -> Answer:
        """Hands one request to the engine. See `Transport`."""
        status, answered, content = self.engine.request(method, target, dict(headers), body)
        return Answer(status, {name.lower(): value for name, value in answered.items()}, bytes(content))

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            UnavailableError: It was closed.
        """
        if self._engine is None:
            raise UnavailableError("this engine is closed")
        return self._engine

    def close(self) -> None:
        """Stops the engine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __repr__(self) -> str:
        """Says whether it is open."""
        return "LocalTransport(closed)" if self._engine is None else "LocalTransport(open)"

"""How requests reach an engine: over HTTP, or in this process."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from thyme._config import Config
from thyme._errors import ThymeError, UnavailableError
from thyme._exchange import Answer, Target

if TYPE_CHECKING:
    import httpx


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
    """Requests to a server, over connections that are kept open; any thread may use it."""

    loses_answers = True

    def __init__(self, config: Config, transport: httpx.BaseTransport | None = None) -> None:
        import httpx

        self._target = Target(config)
        self.origin = config.api_url
        self._http = httpx.Client(transport=transport, **self._target.options())

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

        It is sent again if the server cannot be reached or says that too much comes in; a repeatable one
        also if the connection broke or the server is busy. See `_retries`.
        """
        exchange = self._target.exchange(target, repeatable, timeout_s)
        while True:
            try:
                response = self._http.request(
                    method,
                    exchange.url,
                    headers=dict(headers),
                    content=body or None,
                    timeout=exchange.begin(),
                )
            except Exception as error:
                pause = exchange.failed(error)
            else:
                answer = exchange.answered(response)
                if isinstance(answer, Answer):
                    return answer
                pause = answer
            time.sleep(pause)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __repr__(self) -> str:
        """Names the server, never the key."""
        return f"HttpTransport({self.origin!r})"


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


__all__ = ["Answer", "Engine", "HttpTransport", "LocalTransport", "Transport"]

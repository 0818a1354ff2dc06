"""The engine in this process, with the client's interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thyme._transport import LocalTransport
from thyme._values import Time, to_micros
from thyme.client import ThymeClient


class LocalClient(ThymeClient):
    """A client of an engine in this process; what it wrote, it reads.

    Use it as a context manager, or call `close()`.
    """

    def __init__(self, transport: LocalTransport) -> None:
        """Wraps an open engine; see `thyme.local`."""
        super().__init__(transport=transport)
        self._engine_transport = transport
        self._session.reads_own_writes = True

    def commit(
        self,
        definitions: Any,
        *,
        dry_run: bool = False,
        wait_sources: bool = True,
        base: str | None = None,
        message: str | None = None,
        author: str | None = None,
        source: bool = True,
        wait: bool = True,
    ) -> dict[str, Any]:
        """Commits definitions; when it returns they are live and new sources have read what was there.

        See `ThymeClient.commit`.
        """
        return super().commit(
            definitions,
            dry_run=dry_run,
            wait_sources=wait_sources,
            base=base,
            message=message,
            author=author,
            source=source,
            wait=wait,
        )

    def set_now(self, now: Time | None) -> None:
        """Fixes the clock; None lets it go again."""
        self._engine_transport.engine.set_now(None if now is None else to_micros(now))


def local(
    path: str | Path | None = None, clock: str = "wall", memory: str | int | None = None
) -> LocalClient:
    """Opens an engine in this process, for notebooks and scripts.

    Args:
        path: The data directory; what is accepted is on disk and there again next time. None keeps
            everything in memory.
        clock: `"wall"`; or, for old data, `"event"`: now is the largest event time so far.
        memory: How much memory the process should take, such as `"512MiB"`, or a number of bytes; at least
            128 MiB. What has no room rests in the data directory. None is half of the machine's.

    Returns:
        A client with the interface of `ThymeClient`.

    Raises:
        ValueError: `memory` without a path, where what has no room could rest.
        UnavailableError: The engine cannot be opened there, or not with so little memory.

    Example:
        with local(clock="event") as engine:
            engine.commit([Ride, DriverStats, DriverFeatures])
            engine.log(Ride, [{"driver": "d1", "fare": 12.5, "tip": None, "at": "2026-03-15T10:00:00Z"}])
            row = engine.query(DriverFeatures, "d1")
    """
    if memory is not None and path is None:
        raise ValueError("memory= needs a path: without one there is nowhere to put what has no room")
    return LocalClient(LocalTransport.open(path=path, clock=clock, memory=memory))

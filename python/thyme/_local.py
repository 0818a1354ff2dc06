"""The engine in this process, with the client's interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thyme._config import Config
from thyme._session import Definition
from thyme._transport import LocalTransport
from thyme._values import Time, to_micros
from thyme.client import ThymeClient


class LocalClient(ThymeClient):
    """A client of an engine in this process; what it wrote, it reads.

    Use it as a context manager, or call `close()`.
    """

    def __init__(self, transport: LocalTransport, *, has_sources: bool = True) -> None:
        """Wraps an open engine; see `thyme.local`. Without sources, what is committed has none."""
        super().__init__(transport=transport)
        self._calls._keeps_sources = has_sources
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
    path: str | Path | None = None,
    clock: str = "wall",
    memory: str | int | None = None,
    *,
    attach: str | Config | None = None,
    dataset: Definition | Sequence[Definition] | None = None,
    last: str | None = None,
    sample: float | None = None,
) -> LocalClient:
    """Opens an engine in this process, for notebooks and scripts.

    With `attach` it begins as a copy of a running server: its definitions, and the rows of some of its
    datasets with their positions, stamps and verdicts, so that what is read is what the server gives at the
    same time and position. Whatever is pushed or committed then stays here.

    Args:
        path: The data directory; what is accepted is on disk and there again next time. None keeps
            everything in memory.
        clock: `"wall"`; or, for old data, `"event"`: now is the largest event time so far.
        memory: How much memory the process should take, such as `"512MiB"`, or a number of bytes; at least
            128 MiB. What has no room rests in the data directory. None is half of the machine's.
        attach: The URL of a server, or its `Config`. The copy is in memory.
        dataset: What to copy: raw datasets, or derived ones and featuresets, which stand for the raw datasets
            that they are made of; None means all. What else rests on these datasets comes along.
        last: Copies events of the last `"30d"` only; what looks further back differs, and a warning says what
            that is.
        sample: Copies this part of the entities of each raw dataset, chosen by the hash of their key.

    Returns:
        A client with the interface of `ThymeClient`.

    Raises:
        ValueError: `memory` without a path, where what has no room could rest; `attach` with a path, or what
            belongs to it without it.
        NotFoundError: The server has no dataset or featureset of that name.
        UnavailableError: The engine cannot be opened there, or not with so little memory.

    Example:
        with local(clock="event") as engine:
            engine.commit([Ride, DriverStats, DriverFeatures])
            engine.log(Ride, [{"driver": "d1", "fare": 12.5, "tip": None, "at": "2026-03-15T10:00:00Z"}])
            row = engine.query(DriverFeatures, "d1")
    """
    if attach is not None:
        if path is not None or memory is not None:
            raise ValueError("attach= copies into memory; leave path= and memory= out")
        from thyme._attach import attach as attached

        copied = attached(attach, dataset, last=last, sample=sample, clock=clock)
        return LocalClient(copied, has_sources=False)
    if dataset is not None or last is not None or sample is not None:
        raise ValueError("dataset=, last= and sample= say what to copy; they need attach=")
    if memory is not None and path is None:
        raise ValueError("memory= needs a path: without one there is nowhere to put what has no room")
    return LocalClient(LocalTransport.open(path=path, clock=clock, memory=memory))

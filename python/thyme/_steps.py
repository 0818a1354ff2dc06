"""Coroutines that never wait: what lets one text of the client serve blocking and `async` callers.

The client's calls (`_calls`) are coroutines over an `AsyncTransport`. Over one that blocks they run from
their first line to their last without being suspended once, so that no event loop is needed to run them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from thyme._exchange import Answer
from thyme._transport import Transport

T = TypeVar("T")


def run(steps: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing."""
    try:
        steps.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    steps.close()
    raise RuntimeError("a call over a blocking transport waited for something")


def iterate(items: AsyncIterator[T]) -> Iterator[T]:
    """The items of an asynchronous generator that waits for nothing, one at a time."""
    try:
        while True:
            try:
                item = run(_next(items))
            except StopAsyncIteration:
                return
            yield item
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            run(close())


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


def loses_answers(transport: object) -> bool:
    """Whether a request may be done and its answer lost; an engine in this process never does that."""
    return bool(getattr(transport, "loses_answers", False))


class Blocking:
    """A blocking transport as one for coroutines."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @property
    def origin(self) -> str:
        """Where the answers come from."""
        return self.transport.origin

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        repeatable: bool,
        timeout_s: float | None,
    ) -> Answer:
        """Sends one request, and blocks until the answer is there. See `Transport`."""
        return self.transport.request(
            method, target, headers=headers, body=body, repeatable=repeatable, timeout_s=timeout_s
        )

    async def offload(self, call: Callable[..., T], *arguments: Any) -> T:
        """Calls it, here."""
        return call(*arguments)

    async def shared(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """Calls it: each thread for itself."""
        return await call()

    async def close(self) -> None:
        """Lets go of connections or of the engine."""
        self.transport.close()


class AsyncTransport(Protocol):
    """Carries a request of `docs/http.md` to an engine and its answer back, for coroutines."""

    @property
    def origin(self) -> str:
        """Where the answers come from, for errors."""

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        repeatable: bool,
        timeout_s: float | None,
    ) -> Answer:
        """Sends one request. See `Transport`."""

    async def offload(self, call: Callable[..., T], *arguments: Any) -> T:
        """What `call` gives, which may take its time."""

    async def shared(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` gives, called once for all who ask for it by this name at the same time."""

    async def close(self) -> None:
        """Lets go of connections or of the engine."""

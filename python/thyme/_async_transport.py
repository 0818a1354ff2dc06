"""Requests to a server from coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from thyme._config import Config
from thyme._exchange import Answer, Exchange, Target

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


class AsyncHttpTransport:
    """`HttpTransport` for coroutines: the same requests, tries and errors, for one event loop."""

    loses_answers = True

    def __init__(self, config: Config, transport: httpx.AsyncBaseTransport | None = None) -> None:
        import httpx

        self._target = Target(config)
        self.origin = config.api_url
        self._http = httpx.AsyncClient(transport=transport, **self._target.options())
        # The pool of httpx looks at all who wait for a connection whenever one is free; this one does not.
        self._places = asyncio.Semaphore(config.connections)
        self._shared: dict[str, asyncio.Future[Any]] = {}

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
        """Sends one request. See `HttpTransport.request`."""
        exchange = self._target.exchange(target, repeatable, timeout_s)
        while True:
            try:
                response = await self._try(exchange, method, headers, body)
            except Exception as error:
                pause = exchange.failed(error)
            else:
                answer = exchange.answered(response)
                if isinstance(answer, Answer):
                    return answer
                pause = answer
            await asyncio.sleep(pause)

    async def _try(
        self, exchange: Exchange, method: str, headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        import httpx

        timeout = exchange.begin()
        try:
            async with asyncio.timeout(timeout.pool):
                await self._places.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no connection is free") from None
        try:
            return await self._http.request(
                method, exchange.url, headers=dict(headers), content=body or None, timeout=exchange.timeout()
            )
        finally:
            self._places.release()

    async def offload(self, call: Callable[..., T], *arguments: Any) -> T:
        """What `call` gives, called on a thread; it has ended when this ends, also when it is cancelled."""
        working = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            # Whoever cancels goes on to close the file that the thread is at work with.
            await asyncio.wait([working])
            if not working.cancelled():
                working.exception()
            raise

    async def shared(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` gives, called once for all who ask for it by this name at the same time.

        Whoever is cancelled takes it away from nobody else.
        """
        working = self._shared.get(name)
        if working is None:
            working = self._shared[name] = asyncio.ensure_future(call())
            working.add_done_callback(lambda done: self._forget(name, done))
        result: T = await asyncio.shield(working)
        return result

    def _forget(self, name: str, done: asyncio.Future[Any]) -> None:
        self._shared.pop(name, None)
        if not done.cancelled():
            done.exception()  # it may be that nobody waits for it any more

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    def __repr__(self) -> str:
        """Names the server, never the key."""
        return f"AsyncHttpTransport({self.origin!r})"
